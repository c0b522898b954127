//! A lost catalog begins with the newest snapshot of it that a vault holds; then it is made to agree with the vaults.
//!
//! What must stay true: the vaults win about backups. A backup that the snapshot was still making and that a vault holds is
//! AVAILABLE; one that the snapshot has and that was withdrawn since, or that no vault holds, is deleted. What the snapshot
//! was doing else is over: nobody knows how restores and exports ended, so they are not run again. Copies and checks may be
//! repeated and stay as they were.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_catalog::{
    AuditEntry, BackupFilter, BackupOutcome, BackupRecord, Catalog, CatalogError, JobEnd, JobFilter, JobRow, NewJob,
    SqliteCatalog,
};
use longshore_model::{BackupId, BackupStatus, JobId, JobStatus, JobType, RegionId, Timestamp};
use longshore_vault::CatalogSnapshot;
use serde::Serialize;
use serde_json::{Value, json};

use super::Found;
use crate::backup::RequestedCopy;
use crate::blocking::blocking;
use crate::catalog_calls::every;
use crate::jobs::JobRequest;
use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::worker::sentence;
use crate::{EngineError, RunContext};

/// Rows that are read in one go.
const PAGE: u32 = 500;
/// Who works on jobs while a catalog is rebuilt, and who stands in its audit log.
const OWNER: &str = "catalog rebuild";
/// How long it may take to end one of them, in milliseconds.
const LEASE_MS: i64 = 60_000;

/// The snapshot that a catalog began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsedSnapshot {
    /// When it was made: what happened later, but for backups, is lost.
    pub created: Timestamp,
    /// From the vault of which region.
    pub region: RegionId,
    /// Jobs that it was running or had waiting and that are now failed.
    pub ended_jobs: Vec<JobId>,
    /// Backups it had that are deleted now: they were withdrawn since, or no vault holds them.
    pub deleted_backups: Vec<BackupId>,
    /// API keys that work, by name: also those that were revoked since.
    pub working_keys: Vec<String>,
}

/// A catalog made of a snapshot.
pub(super) struct Restored {
    pub(super) catalog: SqliteCatalog,
    pub(super) used: UsedSnapshot,
}

/// Makes the catalog file of the newest snapshot that can be read; the snapshots that could not, and why. `None` when there
/// is none.
pub(super) async fn restore(
    vaults: &RegionVaults,
    file: &Path,
    context: &RunContext,
) -> Result<(Option<Restored>, Vec<(String, String)>), EngineError> {
    let mut snapshots: Vec<(CatalogSnapshot, RegionId)> = Vec::new();
    for vault in vaults.all() {
        let region = vault.region_id().clone();
        let listed = vault.list_catalogs().await.map_err(EngineError::vault(&region))?;
        snapshots.extend(listed.into_iter().map(|snapshot| (snapshot, region.clone())));
    }
    snapshots.sort_by(|one, other| other.cmp(one));
    let mut unreadable = Vec::new();
    for (snapshot, region) in snapshots {
        context.stop.check()?;
        let vault = vaults.get(&region)?;
        let loaded = vault.load_catalog(&snapshot).await.map_err(EngineError::vault(&region));
        let file = file.to_owned();
        let opened = match loaded {
            Ok(bytes) => blocking("writing the catalog", move || write(&file, &bytes)).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(catalog) => {
                let (created, ended_jobs) = (snapshot.created, Vec::new());
                let used =
                    UsedSnapshot { created, region, ended_jobs, deleted_backups: Vec::new(), working_keys: Vec::new() };
                return Ok((Some(Restored { catalog, used }), unreadable));
            }
            // What cannot be written now cannot be written from an older snapshot either.
            Err(error @ EngineError::File { .. }) => return Err(error),
            Err(error) => unreadable.push((format!("{} in {region}", snapshot.created), sentence(&error))),
        }
    }
    Ok((None, unreadable))
}

/// Writes the file beside its place, opens it, so that it is known to be a catalog, and moves it there.
fn write(file: &Path, bytes: &[u8]) -> Result<SqliteCatalog, EngineError> {
    use std::io::Write as _;
    let beside = PathBuf::from(format!("{}.rebuilt", file.display()));
    for suffix in ["", "-wal", "-shm"] {
        let left = PathBuf::from(format!("{}{suffix}", beside.display()));
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(EngineError::file(&left, error)),
            _ => {}
        }
    }
    let fail = |error: std::io::Error| EngineError::file(&beside, error);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(&beside).map_err(fail)?;
    opened.write_all(bytes).and_then(|()| opened.sync_all()).map_err(fail)?;
    drop(opened);
    let checked = SqliteCatalog::open(&beside).map(drop);
    if let Err(error) = checked {
        std::fs::remove_file(&beside).map_err(fail)?;
        return Err(error.into());
    }
    // Closing it wrote everything into the one file.
    std::fs::rename(&beside, file).map_err(fail)?;
    Ok(SqliteCatalog::open(file)?)
}

/// Backups that a tombstone covers in some vault.
pub(super) async fn withdrawn(vaults: &RegionVaults) -> Result<BTreeSet<BackupId>, EngineError> {
    let mut withdrawn = BTreeSet::new();
    for vault in vaults.all() {
        let listed = vault.list_withdrawn().await.map_err(EngineError::vault(vault.region_id()))?;
        withdrawn.extend(listed.into_iter().filter(|one| one.below_token.is_none()).map(|one| one.backup_id));
    }
    Ok(withdrawn)
}

/// Makes what a snapshot says agree with the vaults. `all_there` says that no vault is missing.
pub(super) fn settle(
    restored: &mut Restored,
    found: &Found,
    withdrawn: &BTreeSet<BackupId>,
    all_there: bool,
    context: &RunContext,
) -> Result<(), EngineError> {
    let (catalog, used) = (&restored.catalog, &mut restored.used);
    let now = context.clock.now();
    end_jobs(catalog, used, found, context, now)?;
    let in_vaults: BTreeSet<&BackupId> = found.records.iter().map(|record| &record.backup.id).collect();
    let readable = |id: &BackupId| !found.unreadable.iter().any(|(unreadable, _)| unreadable == id);
    let filter = BackupFilter { statuses: Some(vec![BackupStatus::Available]), ..BackupFilter::default() };
    for row in every(PAGE, |page| catalog.list_backups(&filter, page))? {
        let gone = withdrawn.contains(&row.id) || (all_there && readable(&row.id));
        if in_vaults.contains(&row.id) || !gone {
            continue;
        }
        match catalog.mark_backup_deleted(&row.id, now) {
            Ok(_) => {}
            // A copy or check of it waits; it fails when it is tried, and the backup can be deleted then.
            Err(CatalogError::BackupBusy { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        catalog.mark_backup_purged(&row.id, now)?;
        used.deleted_backups.push(row.id);
    }
    used.working_keys = catalog
        .list_keys()?
        .into_iter()
        .filter(|key| key.revoked.is_none() && key.expires.is_none_or(|time| time > now))
        .map(|key| key.name)
        .collect();
    catalog.append_audit(&AuditEntry {
        time: now,
        actor: OWNER.to_owned(),
        action: "catalog.rebuild".to_owned(),
        subject: format!("snapshot of {} in {}", used.created, used.region),
        outcome: "ok".to_owned(),
    })?;
    Ok(())
}

fn end_jobs(
    catalog: &dyn Catalog,
    used: &mut UsedSnapshot,
    found: &Found,
    context: &RunContext,
    now: Timestamp,
) -> Result<(), EngineError> {
    let active = vec![JobStatus::Pending, JobStatus::InProgress, JobStatus::Canceling];
    let filter = JobFilter { statuses: Some(active), ..JobFilter::default() };
    let jobs = every(PAGE, |page| catalog.list_jobs(&filter, page))?;
    for owner in jobs.iter().filter_map(|job| job.lease_owner.as_deref()).collect::<BTreeSet<_>>() {
        catalog.release_leases_of(owner)?;
    }
    for job in jobs {
        if matches!(job.job_type, JobType::Copy | JobType::Verify) {
            continue;
        }
        let made = job.backup.as_ref().filter(|_| job.job_type == JobType::Backup);
        let made = made.and_then(|id| found.records.iter().find(|record| record.backup.id == *id));
        let end = match made {
            Some(record) => finished(&job, record, found, context)?,
            None => {
                used.ended_jobs.push(job.id.clone());
                unknown(used.created)
            }
        };
        let held = catalog.claim(&job.id, OWNER, now, LEASE_MS)?;
        catalog.finish_job(&job.id, held.fencing_token, &end, now)?;
    }
    Ok(())
}

/// The end of a backup job whose backup is there, with the copies that were asked for: bytes that are there already are
/// found by content.
fn finished(job: &JobRow, record: &BackupRecord, found: &Found, context: &RunContext) -> Result<JobEnd, EngineError> {
    let copies = found.copies.get(&record.backup.id).map(Vec::as_slice).unwrap_or_default();
    let follow_up = |copy: &RequestedCopy| {
        let request = JobRequest::Copy { to: copy.region.clone(), collections: copy.collections.clone() };
        Ok::<_, EngineError>(NewJob {
            id: JobId::from_random(draw(context.random.as_ref())?),
            job_type: JobType::Copy,
            project: job.project.clone(),
            cluster: job.cluster.clone(),
            backup: job.backup.clone(),
            request: request.to_value()?,
        })
    };
    Ok(JobEnd {
        status: JobStatus::Successful,
        reason: None,
        result: json!({ "backupId": record.backup.id, "foundInTheVaults": true }),
        backup: Some(BackupOutcome {
            size_bytes: record.backup.size_bytes,
            collections: record.collections.clone(),
            detail: record.detail.clone(),
        }),
        follow_ups: copies.iter().map(follow_up).collect::<Result<_, _>>()?,
    })
}

fn unknown(created: Timestamp) -> JobEnd {
    let reason = format!(
        "the catalog was lost and rebuilt from its snapshot of {created}, in which this job had not ended; how it ended is \
         not known"
    );
    JobEnd {
        status: JobStatus::Failed,
        reason: Some(reason),
        result: Value::Null,
        backup: None,
        follow_ups: Vec::new(),
    }
}
