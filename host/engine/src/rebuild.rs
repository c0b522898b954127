//! Rebuilds a lost catalog from the vaults alone.
//!
//! Contract: a catalog that is not there begins with the newest snapshot of it that a vault holds (`from_snapshot.rs`), if
//! one does. Then clusters and backups that the vaults know and the catalog does not are added, as they were; nothing that the
//! catalog knows is changed, and nothing is invented: a backup that the catalog lists and no vault has is reported, and so
//! is one that cannot be read whole. So it can be run again, and on a catalog that lost nothing it does nothing. Jobs,
//! schedules, API keys and the audit log are in snapshots only: without one they are gone.
//!
//! Where a cluster is, only the configuration says. One that is not in it is registered without a location, unless a
//! restore of this host made it: its backups can be listed and restored, and it cannot be backed up until it is
//! configured.
//!
//! Failure: [`EngineError`]; what was added until then is whole, and the next run adds the rest.

mod from_snapshot;

use std::collections::{BTreeMap, BTreeSet};

use longshore_catalog::{
    BackupFilter, BackupRecord, BackupRow, Catalog, NewCluster, Page as CatalogPage, SqliteCatalog,
};
use longshore_model::{
    BackupId, BackupStatus, ClusterId, CollectionName, CreationMethod, Phase, ProjectId, RegionId, Timestamp,
};
use longshore_vault::RootOpen;
use serde::Serialize;

use crate::backup::RequestedCopy;
use crate::blocking::blocking;
use crate::costs::StoredPart;
use crate::data_lock::DataLock;
use crate::jobs::BackupDetail;
use crate::opened::OpenedBackup;
use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::worker::sentence;
use crate::{EngineError, HostConfig, RunContext};

pub use self::from_snapshot::UsedSnapshot;

/// How a catalog is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebuildOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Begin with nothing, although there are snapshots.
    pub without_snapshot: bool,
}

/// What rebuilding a catalog did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebuildReport {
    /// The snapshot that the catalog began with; `None` when there was a catalog, or no snapshot of one.
    pub snapshot: Option<UsedSnapshot>,
    /// Snapshots that could not be used, and why.
    pub unreadable_snapshots: Vec<(String, String)>,
    /// Clusters that were added.
    pub clusters: Vec<RebuiltCluster>,
    /// Backups that were added, oldest first.
    pub backups: Vec<RebuiltBackup>,
    /// Backups that the catalog knew already.
    pub known_backups: usize,
    /// Backups that cannot be read whole, and why. They are not added; run it again after they were healed.
    pub unreadable: Vec<(BackupId, String)>,
    /// Backups that the catalog says are there and no open vault has.
    pub missing_in_vaults: Vec<BackupId>,
    /// Backups that the catalog says are deleted and a vault still has: the deletion stopped half-way; delete them again.
    pub half_deleted: Vec<BackupId>,
    /// Regions whose vault is not there.
    pub missing_vaults: Vec<RegionId>,
}

impl RebuildReport {
    /// True when everything that the catalog should say could be found out.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty() && self.missing_in_vaults.is_empty() && self.missing_vaults.is_empty()
    }
}

/// A cluster that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebuiltCluster {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Its name, as its newest backup or the configuration says.
    pub cluster_name: String,
    /// Where it is; `None` when nobody knows.
    pub location: Option<String>,
}

/// A backup that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebuiltBackup {
    /// Its id.
    pub backup_id: BackupId,
    /// Its name.
    pub backup_name: String,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// When it was made.
    pub created: Timestamp,
}

/// Rebuilds the catalog of a configuration from its vaults.
///
/// # Errors
/// [`EngineError::Conflict`] while a host uses the data directory; [`EngineError::Vault`] for a vault that does not
/// answer; [`EngineError::Catalog`], also for a file that is damaged: move it away first; [`EngineError::BadRequest`] when
/// there are snapshots and none can be read, because a catalog that began without one could not be begun with it later.
pub async fn rebuild_catalog(
    config: &HostConfig,
    options: RebuildOptions,
    context: &RunContext,
) -> Result<RebuildReport, EngineError> {
    let dry_run = options.dry_run;
    let folder = config.data_directory.clone();
    let file = config.catalog_file();
    // A dry run makes neither the folder nor the file.
    let (exists, folder_exists) = (file.exists(), folder.exists());
    let lock = blocking("taking the data directory", move || {
        if dry_run && !folder_exists { Ok(None) } else { DataLock::take(&folder).map(Some) }
    });
    let _lock = lock.await?;
    let (vaults, missing_vaults) =
        RegionVaults::open_existing(&config.project.id, &config.regions, &config.keys.read()?).await?;
    let scratch = if dry_run { Some(Scratch::new(context)?) } else { None };
    let (mut restored, unreadable_snapshots) = if exists || options.without_snapshot {
        (None, Vec::new())
    } else {
        let place = scratch.as_ref().map_or(file.as_path(), |scratch| scratch.file.as_path());
        from_snapshot::restore(&vaults, place, context).await?
    };
    if restored.is_none() && !unreadable_snapshots.is_empty() {
        return Err(no_snapshot_can_be_read(&unreadable_snapshots));
    }
    context.progress.enter(Phase::Inventory);
    let found = find_backups(&vaults, context).await?;
    let withdrawn = from_snapshot::withdrawn(&vaults).await?;
    context.progress.enter(Phase::Commit);
    let (config, context_of_blocking) = (config.clone(), context.clone());
    let report = blocking("rebuilding the catalog", move || {
        // It goes with this work, when the catalog in it is closed.
        let _scratch = scratch;
        let context = &context_of_blocking;
        if let Some(restored) = &mut restored {
            from_snapshot::settle(restored, &found, &withdrawn, missing_vaults.is_empty(), context)?;
        }
        let opened = if exists || (restored.is_none() && !dry_run) { Some(SqliteCatalog::open(&file)?) } else { None };
        let (snapshot, catalog) = match restored {
            Some(restored) => (Some(restored.used), Some(restored.catalog)),
            None => (None, opened),
        };
        let catalog = catalog.as_ref().map(|catalog| catalog as &dyn Catalog);
        let mut report = RebuildReport {
            missing_vaults,
            snapshot,
            unreadable_snapshots,
            ..compare(catalog, &config.project.id, &found)?
        };
        add(catalog, dry_run, &config, &found, &mut report)?;
        Ok(report)
    })
    .await?;
    context.progress.enter(Phase::Done);
    Ok(report)
}

fn no_snapshot_can_be_read(unreadable: &[(String, String)]) -> EngineError {
    let some: Vec<String> = unreadable.iter().take(3).map(|(snapshot, why)| format!("{snapshot}: {why}")).collect();
    let what = format!(
        "there are {} snapshots of the catalog and none can be read ({}); mend that, or begin without one: jobs, schedules, \
         API keys and the audit log are lost then",
        unreadable.len(),
        some.join("; ")
    );
    EngineError::BadRequest { what }
}

/// A folder of its own for the catalog that a dry run looks at; removed when it is dropped.
struct Scratch {
    folder: std::path::PathBuf,
    file: std::path::PathBuf,
}

impl Scratch {
    fn new(context: &RunContext) -> Result<Self, EngineError> {
        let random: [u8; 8] = draw(context.random.as_ref())?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("longshore-rebuild-{name}"));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| EngineError::file(&folder, error))?;
        Ok(Self { file: folder.join("catalog.sqlite"), folder })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "a folder of a dry run is left behind");
        }
    }
}

/// What the vaults hold.
struct Found {
    /// Oldest first.
    records: Vec<BackupRecord>,
    source_kinds: BTreeMap<BackupId, String>,
    /// Copies that were asked for with a backup.
    copies: BTreeMap<BackupId, Vec<RequestedCopy>>,
    unreadable: Vec<(BackupId, String)>,
}

async fn find_backups(vaults: &RegionVaults, context: &RunContext) -> Result<Found, EngineError> {
    let (mut homes, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    for vault in vaults.all() {
        let listing = vault.list_backups().await.map_err(EngineError::vault(vault.region_id()))?;
        homes.extend(listing.backups.into_iter().map(|backup| {
            let RootOpen { backup_id, home_region, sizes, .. } = backup.root;
            (backup_id, (home_region, sizes.plain_bytes))
        }));
        unreadable.extend(listing.damaged.into_iter().map(|(id, error)| (id, sentence(&error))));
    }
    unreadable.retain(|id, _| !homes.contains_key(id));
    let (mut records, mut source_kinds) = (Vec::with_capacity(homes.len()), BTreeMap::new());
    let mut copies = BTreeMap::new();
    // One row for all: there may be thousands of backups.
    let name = CollectionName { database: "backups".to_owned(), collection: "read".to_owned() };
    context.progress.expect([(name, homes.values().map(|(_, size_bytes)| size_bytes).sum())]);
    for (id, (home, size_bytes)) in homes {
        context.stop.check()?;
        let read = match OpenedBackup::find(vaults, Some(&home), &id).await {
            Ok(opened) => {
                copies.insert(id.clone(), opened.requested_copies());
                record(&opened)
            }
            Err(error) => Err(error),
        };
        context.progress.add(0, size_bytes);
        match read {
            Ok((record, source_kind)) => {
                source_kinds.insert(id, source_kind);
                records.push(record);
            }
            Err(EngineError::Vault { region, source }) if source.is_unanswered() => {
                return Err(EngineError::Vault { region, source });
            }
            Err(error) => {
                unreadable.insert(id, sentence(&error));
            }
        }
    }
    records.sort_by(|one, other| (one.backup.created, &one.backup.id).cmp(&(other.backup.created, &other.backup.id)));
    Ok(Found { records, source_kinds, copies, unreadable: unreadable.into_iter().collect() })
}

/// What a backup has in each vault. What moving it cost is not in the vaults.
fn stored_parts(opened: &OpenedBackup) -> std::collections::BTreeMap<RegionId, StoredPart> {
    let parts = opened.parts.iter().map(|part| {
        let (bytes, since) = (part.reference.sizes.new_bytes, part.part.open.created);
        (part.reference.region_id.clone(), StoredPart { bytes, since, until: None, transfer_micros: 0 })
    });
    parts.collect()
}

/// A backup as its job left it in the catalog.
fn record(opened: &OpenedBackup) -> Result<(BackupRecord, String), EngineError> {
    let (root, sealed) = (&opened.root.open, opened.sealed()?);
    let to_value = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|error| EngineError::Internal { what: format!("writing a backup's detail: {error}") })
    };
    let detail = BackupDetail {
        stored_bytes: root.sizes.new_bytes,
        regions: opened.regions(),
        excluded: opened.excluded_views()?,
        stored: stored_parts(opened),
        ..BackupDetail::default()
    };
    let name = sealed.backup_name.clone().unwrap_or_else(|| root.backup_id.to_string());
    let backup = BackupRow {
        id: root.backup_id.clone(),
        name,
        project: root.project_id.clone(),
        cluster: root.cluster_id.clone(),
        cluster_name: sealed.cluster_name.clone(),
        backup_type: root.backup_type,
        creation_method: root.creation_method,
        status: BackupStatus::Available,
        size_bytes: root.sizes.plain_bytes,
        region: root.home_region.clone(),
        created: root.created,
        // The job wrote its last part just before it ended.
        ended: opened.parts.iter().map(|part| part.part.open.created).max(),
        expires: root.expires.filter(|_| root.creation_method == CreationMethod::Auto),
        deleted: None,
        purged: None,
        error: None,
    };
    let record = BackupRecord {
        backup,
        collections: to_value(serde_json::to_value(opened.collection_views()?))?,
        detail: to_value(serde_json::to_value(detail))?,
    };
    Ok((record, sealed.source_kind.clone()))
}

/// What the catalog says about what the vaults hold, and the other way round.
fn compare(catalog: Option<&dyn Catalog>, project: &ProjectId, found: &Found) -> Result<RebuildReport, EngineError> {
    let mut report = RebuildReport { unreadable: found.unreadable.clone(), ..RebuildReport::default() };
    let Some(catalog) = catalog else { return Ok(report) };
    let in_vaults: BTreeSet<&BackupId> =
        found.records.iter().map(|record| &record.backup.id).chain(found.unreadable.iter().map(|(id, _)| id)).collect();
    for record in &found.records {
        match catalog.get_backup(&record.backup.id)? {
            None => {}
            Some(known) if known.backup.status == BackupStatus::Deleted => {
                report.half_deleted.push(record.backup.id.clone());
            }
            Some(_) => report.known_backups += 1,
        }
    }
    let filter = BackupFilter {
        project: Some(project.clone()),
        statuses: Some(vec![BackupStatus::Available]),
        ..BackupFilter::default()
    };
    let mut page = CatalogPage { size: 100, current: 1 };
    loop {
        let listed = catalog.list_backups(&filter, page)?;
        let ids = listed.items.into_iter().map(|row| row.id);
        report.missing_in_vaults.extend(ids.filter(|id| !in_vaults.contains(id)));
        if u64::from(page.size) * u64::from(page.current) >= listed.count {
            return Ok(report);
        }
        page.current += 1;
    }
}

/// Adds what is not known: first projects, then clusters, because a backup's name counts for its cluster, then backups.
/// A dry run only fills the report.
fn add(
    catalog: Option<&dyn Catalog>,
    dry_run: bool,
    config: &HostConfig,
    found: &Found,
    report: &mut RebuildReport,
) -> Result<(), EngineError> {
    let writing = catalog.filter(|_| !dry_run);
    let first = found.records.first().map(|record| record.backup.created);
    if let (Some(catalog), Some(first)) = (writing, first) {
        catalog.put_project(&config.project.id, &config.project.name, first)?;
    }
    let mut newest: BTreeMap<&ClusterId, (&BackupRow, Timestamp)> = BTreeMap::new();
    for record in &found.records {
        let entry = newest.entry(&record.backup.cluster).or_insert((&record.backup, record.backup.created));
        entry.0 = &record.backup;
    }
    for (id, (backup, first)) in newest {
        if catalog.map(|catalog| catalog.get_cluster(id)).transpose()?.flatten().is_some() {
            continue;
        }
        let kind = found.source_kinds.get(&backup.id).cloned().unwrap_or_default();
        let cluster = cluster(config, backup, kind);
        let location = Some(cluster.location.clone()).filter(|location| !location.is_empty());
        report.clusters.push(RebuiltCluster { cluster_id: id.clone(), cluster_name: cluster.name.clone(), location });
        if let Some(catalog) = writing {
            catalog.put_cluster(&cluster, first)?;
        }
    }
    for record in &found.records {
        let new = match writing {
            Some(catalog) => catalog.record_backup(record)?,
            None => catalog.map(|catalog| catalog.get_backup(&record.backup.id)).transpose()?.flatten().is_none(),
        };
        if new {
            report.backups.push(RebuiltBackup {
                backup_id: record.backup.id.clone(),
                backup_name: record.backup.name.clone(),
                cluster_id: record.backup.cluster.clone(),
                created: record.backup.created,
            });
        }
    }
    Ok(())
}

/// A cluster as far as it can be known: as configured, or as a restore of this host made it, or only its name.
fn cluster(config: &HostConfig, backup: &BackupRow, source_kind: String) -> NewCluster {
    let made_here = config.data_directory.join("clusters").join(backup.cluster.as_str());
    let configured = config.clusters.iter().find(|cluster| cluster.id == backup.cluster);
    let location = match configured {
        Some(configured) => Some(configured.location()),
        None => made_here.is_dir().then(|| made_here.display().to_string()),
    };
    NewCluster {
        id: backup.cluster.clone(),
        name: configured.map_or_else(|| backup.cluster_name.clone(), |configured| configured.name.clone()),
        project: backup.project.clone(),
        region: configured.map_or_else(|| backup.region.clone(), |configured| configured.region.clone()),
        source_kind,
        status: if location.is_some() { "RUNNING" } else { "UNKNOWN" }.to_owned(),
        location: location.unwrap_or_default(),
        cu_size: 1,
    }
}
