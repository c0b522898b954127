//! Runs one job: from what the catalog kept to what the catalog will keep.

mod migrating;
mod restores;
mod verifying;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use longshore_catalog::{BackupOutcome as CatalogBackupOutcome, BackupRecord, Catalog, ClusterRow, JobRow, NewJob};
use longshore_model::{JobId, JobType, RegionId, Timestamp};
use longshore_policy::DecisionRecord;
use serde_json::{Value, json};

use crate::backup::{BackupOutcome, RequestedCopy, run_backup};
use crate::blocking::blocking;
use crate::config::HostConfig;
use crate::copy::{CopyRequest, copy_backup};
use crate::costs::{self, StoredPart};
use crate::export::{discard_export, export_backup};
use crate::host::Inner;
use crate::jobs::{BackupDetail, JobRequest};
use crate::opened::{OpenedBackup, OpenedPart};
use crate::plan::{BackupPlan, plan_backup_noting};
use crate::policies::RunChains;
use crate::random::draw;
use crate::request::{BackupRequest, ClusterTarget};
use crate::run_policy::RunPolicy;
use crate::views::CreateBackup;
use crate::worker::Finished;
use crate::{EngineError, RunContext};

use self::restores::NewPlace;

/// Runs a job to its end.
pub(crate) async fn run(inner: &Arc<Inner>, job: &JobRow, context: &RunContext) -> Result<Finished, EngineError> {
    match JobRequest::from_value(&job.request)? {
        JobRequest::Backup { request, time, seed } => backup(inner, job, request, time, seed, context).await,
        JobRequest::Copy { to, collections } => {
            let record = backup_record(inner, job).await?;
            let request = CopyRequest {
                job_id: job.id.clone(),
                fencing_token: job.fencing_token,
                backup_id: record.backup.id.clone(),
                home: record.backup.region.clone(),
                to: to.clone(),
                collections,
            };
            let copied = copy_backup(&request, &inner.vaults, context).await?;
            let part = stored_part(inner, &record.backup.region, &to, copied.stored_bytes);
            let detail = json!({ "copied": { to.as_str(): true }, "stored": { to.as_str(): to_value(&part)? } });
            let backup = CatalogBackupOutcome { size_bytes: 0, collections: Value::Null, detail };
            Ok(Finished { result: to_value(&copied)?, backup: Some(backup), follow_ups: Vec::new(), damage: None })
        }
        JobRequest::RestoreCluster { request, cluster_id, location, cluster_kind } => {
            let cluster = NewPlace { id: cluster_id, kind: cluster_kind, location };
            restores::cluster(inner, job, request, cluster, context).await
        }
        JobRequest::RestoreCollections { request } => restores::collections(inner, job, request, context).await,
        JobRequest::Verify { level, sample_percent } => {
            verifying::verify(inner, job, level, sample_percent, context).await
        }
        JobRequest::Export { folder } => export(inner, job, &folder, context).await,
        JobRequest::Migrate { folder, destination } => {
            migrating::migrate(inner, job, Path::new(&folder), &destination, context).await
        }
    }
}

/// Removes what a job that has ended kept beside the catalog.
pub(crate) fn forget(inner: &Inner, job: &JobRow) {
    verifying::forget(inner, job);
    migrating::forget(inner, job);
}

/// Removes what is left of jobs that have ended: their host died before it could.
pub(crate) fn sweep(data_directory: &Path, catalog: &dyn Catalog) -> Result<(), EngineError> {
    verifying::sweep(data_directory, catalog)?;
    migrating::sweep(data_directory, catalog)
}

/// Removes those entries of a folder that are named by jobs that have ended, or by no job.
fn sweep_of_jobs(folder: &Path, catalog: &dyn Catalog, remove: fn(&Path)) -> Result<(), EngineError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let job = path.file_stem().and_then(|name| name.to_str()?.parse::<JobId>().ok());
        let row = job.map(|job| catalog.get_job(&job)).transpose()?.flatten();
        if row.is_none_or(|row| row.status.is_terminal()) {
            remove(&path);
        }
    }
    Ok(())
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, EngineError> {
    serde_json::to_value(value).map_err(|error| EngineError::Internal { what: format!("writing a result: {error}") })
}

/// What a run of a host decides with.
async fn run_policy(
    inner: &Arc<Inner>,
    chains: &RunChains,
    config: &Arc<HostConfig>,
    cluster: &longshore_model::ClusterId,
) -> Result<RunPolicy, EngineError> {
    let (host, config, cluster) = (Arc::clone(inner), Arc::clone(config), cluster.clone());
    let set = Arc::clone(&chains.set);
    let configured = move || RunPolicy::configured(set, &config, &cluster, Some(host.catalog.as_ref()));
    blocking("reading the records of a cluster", configured).await
}

/// The chains of a run that starts now.
async fn chains(
    inner: &Arc<Inner>,
    config: &Arc<HostConfig>,
    cluster: &longshore_model::ClusterId,
) -> Result<RunChains, EngineError> {
    let (host, config, cluster) = (Arc::clone(inner), Arc::clone(config), cluster.clone());
    blocking("looking for changed policies", move || host.policies.for_run(&config, &cluster)).await
}

async fn cluster_row(inner: &Arc<Inner>, id: &longshore_model::ClusterId) -> Result<ClusterRow, EngineError> {
    let (host, wanted) = (Arc::clone(inner), id.clone());
    let row = blocking("reading a cluster", move || Ok(host.catalog.get_cluster(&wanted)?)).await?;
    row.ok_or_else(|| EngineError::NotFound { what: "cluster", id: id.to_string() })
}

async fn backup_record(inner: &Arc<Inner>, job: &JobRow) -> Result<BackupRecord, EngineError> {
    let missing = || EngineError::Internal { what: format!("job {} names no backup", job.id) };
    let id = job.backup.clone().ok_or_else(missing)?;
    let host = Arc::clone(inner);
    let record = blocking("reading a backup", move || Ok(host.catalog.get_backup(&id)?)).await?;
    record.ok_or_else(missing)
}

async fn backup(
    inner: &Arc<Inner>,
    job: &JobRow,
    request: CreateBackup,
    time: Timestamp,
    seed: u64,
    context: &RunContext,
) -> Result<Finished, EngineError> {
    let record = backup_record(inner, job).await?;
    let row = cluster_row(inner, &record.backup.cluster).await?;
    let config = inner.config();
    // An attempt that was killed between the commit and the catalog has made this backup already.
    if job.attempt > 1
        && let Some(finished) = committed_before(inner, &record).await?
    {
        return Ok(finished);
    }
    let source = inner.clusters.source(&row.cluster.source_kind, &row.cluster.location)?;
    let request = BackupRequest {
        backup_id: record.backup.id.clone(),
        backup_name: record.backup.name.clone(),
        job_id: job.id.clone(),
        fencing_token: job.fencing_token,
        backup_type: request.backup_type,
        creation_method: record.backup.creation_method,
        collections: request.collections,
        copies: request.copies,
        expires: record.backup.expires,
        cluster: cluster_target(&row, &config),
        time,
        seed,
    };
    let chains = chains(inner, &config, &row.cluster.id).await?;
    let policy = run_policy(inner, &chains, &config, &row.cluster.id).await?;
    let mut asked = Vec::new();
    let planned = plan_backup_noting(request, source.as_ref(), &policy, &inner.vaults, context, &mut asked).await;
    let plan = note_run(inner, &config, chains, planned, asked).await?;
    let outcome = run_backup(plan, source.as_ref(), &inner.vaults, context).await?;
    finished(inner, &record, &outcome)
}

/// Writes down how the policies did, whether they made a plan or not.
async fn note_run(
    inner: &Arc<Inner>,
    config: &Arc<HostConfig>,
    chains: RunChains,
    planned: Result<BackupPlan, EngineError>,
    asked: Vec<DecisionRecord>,
) -> Result<BackupPlan, EngineError> {
    let (host, config) = (Arc::clone(inner), Arc::clone(config));
    blocking("noting how the policies did", move || {
        let outcome = planned.as_ref().map_err(|_| asked.as_slice());
        host.policies.note_run(&config, &chains, outcome);
        host.policy_calls.note(outcome);
        if let Ok(plan) = &planned
            && let Err(error) = costs::note(host.catalog.as_ref(), &plan.storage, plan.started)
        {
            tracing::warn!(%error, "what the vaults hold today could not be noted; costs of the month may be told too low");
        }
        planned
    })
    .await
}

fn cluster_target(row: &ClusterRow, config: &HostConfig) -> ClusterTarget {
    let configured = config.clusters.iter().find(|cluster| cluster.id == row.cluster.id);
    ClusterTarget {
        id: row.cluster.id.clone(),
        name: row.cluster.name.clone(),
        project_id: row.cluster.project.clone(),
        home_region: row.cluster.region.clone(),
        labels: configured.map(crate::config::ClusterConfig::labels_of_collections).unwrap_or_default(),
        recovery_point_objective_seconds: configured.and_then(|cluster| cluster.recovery_point_objective_seconds),
    }
}

fn finished(inner: &Inner, record: &BackupRecord, outcome: &BackupOutcome) -> Result<Finished, EngineError> {
    let detail = BackupDetail {
        stored_bytes: outcome.stored_bytes,
        regions: outcome.regions.clone(),
        excluded: outcome.excluded.clone(),
        stored: stored_parts(inner, &record.backup.region, &outcome.added_bytes),
        ..BackupDetail::default()
    };
    let backup = CatalogBackupOutcome {
        size_bytes: outcome.size_bytes,
        collections: to_value(&outcome.collections)?,
        detail: to_value(&detail)?,
    };
    let follow_ups =
        outcome.copies.iter().map(|copy| copy_job(inner, record, copy)).collect::<Result<Vec<_>, EngineError>>()?;
    Ok(Finished { result: to_value(outcome)?, backup: Some(backup), follow_ups, damage: None })
}

/// What a backup has in each region, as of now.
fn stored_parts(inner: &Inner, home: &RegionId, added: &BTreeMap<RegionId, u64>) -> BTreeMap<RegionId, StoredPart> {
    let part = |(region, bytes): (&RegionId, &u64)| (region.clone(), stored_part(inner, home, region, *bytes));
    added.iter().map(part).collect()
}

fn stored_part(inner: &Inner, home: &RegionId, region: &RegionId, bytes: u64) -> StoredPart {
    StoredPart {
        bytes,
        since: inner.clock.now(),
        until: None,
        transfer_micros: costs::transfer_micros(&inner.config(), home, region, bytes),
    }
}

/// One job per further region, accepted in the transaction that ends the home job.
fn copy_job(inner: &Inner, record: &BackupRecord, copy: &RequestedCopy) -> Result<NewJob, EngineError> {
    let request = JobRequest::Copy { to: copy.region.clone(), collections: copy.collections.clone() };
    Ok(NewJob {
        id: JobId::from_random(draw(inner.random.as_ref())?),
        job_type: JobType::Copy,
        project: record.backup.project.clone(),
        cluster: Some(record.backup.cluster.clone()),
        backup: Some(record.backup.id.clone()),
        request: request.to_value()?,
    })
}

async fn committed_before(inner: &Arc<Inner>, record: &BackupRecord) -> Result<Option<Finished>, EngineError> {
    let home: &RegionId = &record.backup.region;
    let opened = match OpenedBackup::find(&inner.vaults, Some(home), &record.backup.id).await {
        Ok(opened) => opened,
        Err(EngineError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    put_missing_receipts(&opened).await;
    let sizes = opened.root.open.sizes;
    let detail = BackupDetail {
        stored_bytes: sizes.new_bytes,
        regions: opened.regions(),
        excluded: if_readable(opened.excluded_views())?,
        stored: stored_parts(inner, home, &opened.root.open.added_bytes()),
        ..BackupDetail::default()
    };
    let backup = CatalogBackupOutcome {
        size_bytes: sizes.plain_bytes,
        collections: to_value(&if_readable(opened.collection_views())?)?,
        detail: to_value(&detail)?,
    };
    let copies = opened.requested_copies();
    let follow_ups =
        copies.iter().map(|copy| copy_job(inner, record, copy)).collect::<Result<Vec<_>, EngineError>>()?;
    let mut result = json!({ "backupId": record.backup.id, "committedByAnEarlierAttempt": true });
    if opened.is_locked() {
        let warning = "this host has no reader key: which collections the backup holds, and which copies were asked for, \
                       is sealed in it; copies that are missing must be asked for again";
        result["warning"] = json!(warning);
    }
    Ok(Some(Finished { result, backup: Some(backup), follow_ups, damage: None }))
}

/// An attempt that died after its commit may not have come to its receipts. Writing one again is harmless; that one cannot be
/// written is a warning, as for the attempt itself.
async fn put_missing_receipts(opened: &OpenedBackup) {
    let root = &opened.root.open;
    let elsewhere = |part: &&OpenedPart| *part.vault.region_id() != root.home_region;
    let named = opened.parts.iter().filter(|part| root.parts.contains(&part.reference));
    for OpenedPart { vault, reference, .. } in named.filter(elsewhere) {
        if let Err(error) = vault.put_receipt(&opened.committed, reference).await {
            tracing::warn!(backup = %root.backup_id, region = %vault.region_id(), %error, "a receipt could not be written");
        }
    }
}

/// Nothing where it is sealed and this host has no reader key.
fn if_readable<T>(views: Result<Vec<T>, EngineError>) -> Result<Vec<T>, EngineError> {
    match views {
        Err(EngineError::Vault { source, .. }) if matches!(*source, longshore_vault::VaultError::Locked) => {
            Ok(Vec::new())
        }
        views => views,
    }
}

async fn export(inner: &Arc<Inner>, job: &JobRow, folder: &str, context: &RunContext) -> Result<Finished, EngineError> {
    let record = backup_record(inner, job).await?;
    let path = Path::new(folder);
    // The folder is named by its job and appears by one rename. If it is there, an earlier attempt got that far.
    let result = if job.attempt > 1 && path.exists() {
        json!({ "backupId": record.backup.id, "folder": folder, "exportedByAnEarlierAttempt": true })
    } else {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| EngineError::file(parent, error))?;
        }
        let exported = export_backup(&inner.vaults, &record.backup.id, &[], path, context).await;
        // An export that is asked for again gets a folder of its own; one whose host stops goes on in this one.
        if let Err(error) = &exported
            && !matches!(error, EngineError::Stopped { .. })
            && let Err(error) = discard_export(path)
        {
            tracing::warn!(%error, "what a failed export left could not be removed");
        }
        to_value(&exported?)?
    };
    Ok(Finished::with(result))
}
