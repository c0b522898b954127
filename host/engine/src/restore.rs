//! Restores a backup into a target and proves that it is what was backed up.
//!
//! Contract: the target is untouched until everything was written, read back and compared; the last step moves it into
//! place. What is compared, per collection: the digest of every file read back from disk, physical rows and live rows,
//! each with what the manifest says. A difference is [`EngineError::ProofFailed`], and the target stays as it was.
//!
//! Failure: [`EngineError`]. The target's staging folder is removed; but when the run was stopped, or a vault failed, it is
//! left, as it is after a kill: a rerun of the same plan fetches only what is missing or wrong in it.

mod adjust;
mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{
    BackupId, CollectionMapping, CollectionName, Digest, JobType, Phase, RegionId, RestoredLoadState, Timestamp,
    VaultId,
};
use longshore_source::milvus::Secret;
use longshore_source::{
    DatabaseEntry, RestoreRun, RestoreTarget, RestoreWatch, RestoredCollection, SourceError, TargetCollection,
    TargetFile, TargetPlan,
};
use longshore_vault::{FileEntry, Priority, Reader};
use serde::Serialize;

use crate::opened::{OpenedBackup, OpenedCollection};
use crate::pins::{self, Reading};
use crate::vaults::RegionVaults;
use crate::worker::CANCELED;
use crate::{EngineError, RunContext};

pub use adjust::LoweredShards;

/// What to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreScope {
    /// Everything, under its own names, with all databases and aliases.
    WholeCluster(RestoredLoadState),
    /// Chosen collections, under the names given.
    Collections(Vec<CollectionMapping>),
}

/// A file to write.
struct FileToWrite {
    entry: FileEntry,
    digest: Digest,
    path: String,
}

/// A collection to write.
struct CollectionToWrite {
    vault: VaultId,
    files: Vec<FileToWrite>,
    physical_rows: u64,
    live_rows: Option<u64>,
    size_bytes: u64,
}

/// A restore, planned.
pub struct RestorePlan {
    /// Which backup.
    pub backup_id: BackupId,
    /// What the target will be asked to make.
    pub target: TargetPlan,
    /// Collections that get fewer shards than they had.
    pub lowered_shards: Vec<LoweredShards>,
    collections: Vec<CollectionToWrite>,
    pub(crate) opened: OpenedBackup,
    /// Nobody will run it again once it has failed, so what was staged is of no use then.
    only_once: bool,
}

impl RestorePlan {
    /// Says that nobody will run it again once it has failed: what was staged goes then, but for a host that stops.
    pub fn run_only_once(&mut self) {
        self.only_once = true;
    }

    /// Its collections under their new names, and their bytes.
    fn sizes(&self) -> impl Iterator<Item = (CollectionName, u64)> {
        let pairs = self.target.collections.iter().zip(&self.collections);
        pairs.map(|(target, write)| (target.mapping.to.clone(), write.size_bytes))
    }
}

/// What was restored, and how it was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreOutcome {
    /// Which backup.
    pub backup_id: BackupId,
    /// Its collections, in order of their names in the backup.
    pub collections: Vec<ProvenCollection>,
    /// Collections that got fewer shards than they had.
    pub lowered_shards: Vec<LoweredShards>,
    /// Bytes written.
    pub size_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// Until when the data is, at the latest: the time of the backup.
    pub backup_time: Timestamp,
    /// What somebody has to know or do, in sentences, for example that a collection could not be loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Users that were made, and their new passwords: to be shown once and kept nowhere.
    #[serde(skip)]
    pub passwords: Vec<(String, Secret)>,
}

/// One restored collection and what was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenCollection {
    /// Its name in the backup.
    pub from: CollectionName,
    /// Its name in the target.
    pub to: CollectionName,
    /// Files whose bytes, read back from disk, are those that were backed up.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// Rows in its files, deleted ones included; equal to the backup's.
    pub physical_rows: u64,
    /// Rows a client sees, equal to the backup's; `None` when they were too many to count.
    pub live_rows: Option<u64>,
}

/// Everything in `names` under its own name.
#[must_use]
pub fn all_under_their_own_names(names: &[CollectionName], load_state: RestoredLoadState) -> Vec<CollectionMapping> {
    names.iter().map(|name| CollectionMapping { from: name.clone(), to: name.clone(), load_state }).collect()
}

/// Refuses two collections with one destination, and one collection named twice.
///
/// # Errors
/// [`EngineError::BadRequest`].
pub fn check_destinations(mappings: &[CollectionMapping]) -> Result<(), EngineError> {
    let mut destinations = BTreeSet::new();
    let mut sources = BTreeSet::new();
    for mapping in mappings {
        if !destinations.insert(&mapping.to) {
            let what = format!("two collections would be restored as {}; give them different names", mapping.to);
            return Err(EngineError::BadRequest { what });
        }
        if !sources.insert(&mapping.from) {
            let what = format!("collection {} is named twice; restore it once per request", mapping.from);
            return Err(EngineError::BadRequest { what });
        }
    }
    Ok(())
}

/// Plans a restore. Reads manifests, writes nothing.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::UnknownCollections`], [`EngineError::BadRequest`],
/// [`EngineError::DamagedBackup`], [`EngineError::Vault`].
pub async fn plan_restore(
    vaults: &RegionVaults,
    home: Option<&RegionId>,
    backup: &BackupId,
    scope: RestoreScope,
) -> Result<RestorePlan, EngineError> {
    let opened = OpenedBackup::find_what_is_there(vaults, home, backup).await?;
    // Named collections that are whole are restored whatever happened to the others.
    if matches!(scope, RestoreScope::WholeCluster(_)) {
        opened.require_complete()?;
    }
    let there = opened.collections()?;
    let (whole_cluster, mappings) = match scope {
        RestoreScope::WholeCluster(load_state) => {
            let names: Vec<CollectionName> = there.iter().map(|collection| collection.sealed.name.clone()).collect();
            (true, all_under_their_own_names(&names, load_state))
        }
        RestoreScope::Collections(mappings) => (false, mappings),
    };
    check_destinations(&mappings)?;
    let by_name: BTreeMap<&CollectionName, &OpenedCollection<'_>> =
        there.iter().map(|collection| (&collection.sealed.name, collection)).collect();
    let missing: Vec<String> =
        mappings.iter().filter(|m| !by_name.contains_key(&m.from)).map(|m| m.from.to_string()).collect();
    if !missing.is_empty() {
        opened.require_complete()?;
        let available = by_name.keys().map(ToString::to_string).take(20).collect();
        return Err(EngineError::UnknownCollections { names: missing, available });
    }
    let (mut targets, mut collections) = (Vec::new(), Vec::new());
    for mapping in mappings {
        if let Some(collection) = by_name.get(&mapping.from) {
            let (target, write) = planned(mapping, collection).map_err(|error| EngineError::DamagedBackup {
                backup: backup.to_string(),
                what: format!("the schema of {} cannot be read: {error}", collection.sealed.name),
            })?;
            targets.push(target);
            collections.push(write);
        }
    }
    let databases = opened.sealed()?.databases.iter().map(|database| DatabaseEntry {
        name: database.name.clone(),
        properties: database.properties.clone(),
        aliases: database.aliases.clone(),
    });
    let target = TargetPlan { databases: databases.collect(), whole_cluster, collections: targets, access: None };
    Ok(RestorePlan {
        backup_id: backup.clone(),
        target,
        lowered_shards: Vec::new(),
        collections,
        opened,
        only_once: false,
    })
}

fn planned(
    mapping: CollectionMapping,
    collection: &OpenedCollection<'_>,
) -> Result<(TargetCollection, CollectionToWrite), serde_json::Error> {
    let files = collection.files.files.iter().zip(&collection.sealed.files);
    let target_files = files.clone().map(|(file, sealed)| TargetFile {
        path: sealed.path.clone(),
        class: file.class,
        size_bytes: file.size_bytes,
    });
    let target = TargetCollection {
        mapping,
        schema: collection.sealed.schema.read()?,
        files: target_files.collect(),
        description: collection.sealed.consistent_point.clone(),
    };
    let size_bytes = collection.files.files.iter().map(|file| file.size_bytes).sum();
    let write = CollectionToWrite {
        vault: collection.vault.id().clone(),
        files: files
            .map(|(file, sealed)| FileToWrite { entry: file.clone(), digest: sealed.digest, path: sealed.path.clone() })
            .collect(),
        physical_rows: collection.sealed.physical_rows,
        live_rows: collection.sealed.live_rows,
        size_bytes,
    };
    Ok((target, write))
}

/// Carries out a restore and proves it. It goes before everything else that shares its limits: somebody waits for it.
///
/// # Errors
/// [`EngineError::Source`] when the target is in use, has such a collection, or has no space;
/// [`EngineError::Vault`] when a blob is missing or damaged; [`EngineError::ProofFailed`]; [`EngineError::Stopped`].
pub async fn run_restore(
    plan: RestorePlan,
    target: &dyn RestoreTarget,
    context: &RunContext,
) -> Result<RestoreOutcome, EngineError> {
    let context = RunContext { throttle: context.throttle.for_priority(Priority::Restore), ..context.clone() };
    write_out(plan, target, &context).await
}

/// The same with the priority of whoever calls it: exports and verifications write files out, too, and nobody's database
/// waits for them.
pub(crate) async fn write_out(
    plan: RestorePlan,
    target: &dyn RestoreTarget,
    context: &RunContext,
) -> Result<RestoreOutcome, EngineError> {
    let started = context.clock.now();
    let progress = &context.progress;
    progress.expect(plan.sizes());
    let wanted = |id: &VaultId| plan.collections.iter().any(|collection| collection.vault == *id);
    let job = (JobType::Restore, None);
    let Reading { pins, readers } = pins::begin_reading(&plan.opened, &wanted, job, &context.throttle, context).await?;
    let restored = pins::pinned(&pins, restore_pinned(&plan, &readers, target, started, context)).await;
    pins::release(pins).await;
    restored
}

async fn restore_pinned(
    plan: &RestorePlan,
    readers: &BTreeMap<VaultId, Reader>,
    target: &dyn RestoreTarget,
    started: Timestamp,
    context: &RunContext,
) -> Result<RestoreOutcome, EngineError> {
    let progress = &context.progress;
    progress.enter(Phase::Transfer);
    let watch = Watch::of(plan, context);
    let begun = target.begin(&plan.target, &watch).await;
    progress.waits_for(None);
    let run = begun.map_err(|error| why_stopped(error, context))?;
    let written = write_all(plan, readers, run.as_ref(), context).await;
    match written {
        Ok(collections) => {
            progress.enter(Phase::Commit);
            let committed = run.commit(&watch).await.map_err(|error| why_stopped(error, context))?;
            progress.enter(Phase::Done);
            Ok(RestoreOutcome {
                backup_id: plan.backup_id.clone(),
                size_bytes: collections.iter().map(|collection| collection.size_bytes).sum(),
                collections,
                lowered_shards: plan.lowered_shards.clone(),
                duration_ms: context.clock.now().millis_since(started),
                backup_time: plan.opened.root.open.created,
                notes: committed.notes,
                passwords: committed.passwords,
            })
        }
        Err(error) => {
            let goes_on = can_go_on(&error, plan.only_once);
            let ended = if goes_on { run.suspend().await } else { run.abort().await };
            if let Err(left) = ended {
                tracing::warn!(error = %left, "the staging folder of a failed restore could not be removed");
            }
            match error {
                EngineError::Source(full @ SourceError::NoSpace { .. }) if goes_on => {
                    Err(EngineError::TargetFull { source: full })
                }
                error => Err(error),
            }
        }
    }
}

/// A commit that was told to stop says that it did. Why decides how its job ends: canceled, or to go on at the next start.
fn why_stopped(error: SourceError, context: &RunContext) -> EngineError {
    if matches!(error, SourceError::Stopped)
        && let Err(stopped) = context.stop.check()
    {
        return stopped;
    }
    error.into()
}

/// Whether a rerun can use what was written: nothing was wrong with it, and there will be one.
fn can_go_on(error: &EngineError, only_once: bool) -> bool {
    match error {
        EngineError::Stopped { why } => why != CANCELED,
        EngineError::Vault { .. } | EngineError::Source(SourceError::NoSpace { .. }) => !only_once,
        _ => false,
    }
}

/// Shows how far a commit is, and passes on that it is to stop. For a server it is most of the work, so bytes are counted
/// once more.
struct Watch<'a> {
    plan: &'a RestorePlan,
    context: &'a RunContext,
    begun: Once,
}

impl<'a> Watch<'a> {
    fn of(plan: &'a RestorePlan, context: &'a RunContext) -> Self {
        Self { plan, context, begun: Once::new() }
    }
}

impl RestoreWatch for Watch<'_> {
    fn moved(&self, collection: usize, bytes: u64) {
        self.begun.call_once(|| self.context.progress.expect(self.plan.sizes()));
        self.context.progress.add(collection, bytes);
    }

    fn waits_for(&self, what: Option<String>) {
        self.context.progress.waits_for(what);
    }

    fn is_stopped(&self) -> bool {
        self.context.stop.check().is_err()
    }
}

async fn write_all(
    plan: &RestorePlan,
    readers: &BTreeMap<VaultId, Reader>,
    run: &dyn RestoreRun,
    context: &RunContext,
) -> Result<Vec<ProvenCollection>, EngineError> {
    let proven = stream::iter(0..plan.collections.len()).map(|place| async move {
        let lost = || EngineError::Internal { what: "a planned collection got lost".to_owned() };
        let write = plan.collections.get(place).ok_or_else(lost)?;
        let mapping = &plan.target.collections.get(place).ok_or_else(lost)?.mapping;
        let reader = readers.get(&write.vault).ok_or_else(lost)?;
        fetch::fetch(place, write, reader, run, context).await?;
        let _thread = context.throttle.cpu().await;
        Ok::<_, EngineError>((place, prove(mapping, write, &run.finish_collection(place).await?)?))
    });
    // As they end: small ones do not wait for a large one before them.
    let proven = proven.buffer_unordered(context.limits.parallel_collections.max(1));
    let mut proven: Vec<(usize, ProvenCollection)> = proven.try_collect().await?;
    proven.sort_unstable_by_key(|(place, _)| *place);
    Ok(proven.into_iter().map(|(_, proven)| proven).collect())
}

/// Compares what was read back with what the manifest says.
fn prove(
    mapping: &CollectionMapping,
    write: &CollectionToWrite,
    restored: &RestoredCollection,
) -> Result<ProvenCollection, EngineError> {
    let failed = |what: String| EngineError::ProofFailed { collection: mapping.to.to_string(), what };
    if restored.file_digests.len() != write.files.len() {
        let (there, wanted) = (restored.file_digests.len(), write.files.len());
        return Err(failed(format!("it has {there} files, {wanted} were backed up")));
    }
    for (file, digest) in write.files.iter().zip(&restored.file_digests) {
        if file.digest != *digest {
            return Err(failed(format!("{} has digest {digest}, backed up was {}", file.path, file.digest)));
        }
    }
    if restored.physical_rows != write.physical_rows {
        let (there, wanted) = (restored.physical_rows, write.physical_rows);
        return Err(failed(format!("it has {there} physical rows, {wanted} were backed up")));
    }
    if let (Some(there), Some(wanted)) = (restored.live_rows, write.live_rows)
        && there != wanted
    {
        return Err(failed(format!("it has {there} live rows, {wanted} were backed up")));
    }
    Ok(ProvenCollection {
        from: mapping.from.clone(),
        to: mapping.to.clone(),
        files: write.files.len() as u64,
        size_bytes: write.size_bytes,
        physical_rows: restored.physical_rows,
        live_rows: restored.live_rows.filter(|_| write.live_rows.is_some()),
    })
}
