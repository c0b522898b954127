//! What an erasure will do: found by reading every manifest, before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use longshore_model::{BackupId, ClusterId, CollectionName, Phase, RegionId, Timestamp};
use longshore_vault::{Erasure, PackId, Part, RootOpen, Vault};
use serde::Serialize;

use super::alone;
use super::scrub::is_named_in;
use crate::opened::OpenedBackup;
use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::worker::sentence;
use crate::{EngineError, RunContext};

/// What to erase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EraseRequest {
    /// The collection.
    pub collection: CollectionName,
    /// Of these clusters; empty where only one cluster has a collection of this name.
    pub clusters: BTreeSet<ClusterId>,
    /// Why, for the record. Stands there in the open, in an encrypted vault too.
    pub reason: String,
    /// Who asked for it, for the record.
    pub by: String,
}

/// A backup that holds or names the collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasedBackup {
    /// Which.
    pub backup_id: BackupId,
    /// Of which cluster.
    pub cluster_id: ClusterId,
    /// When it was made.
    pub created: Timestamp,
    /// Bytes of the collection's files; 0 when the backup only names it.
    pub size_bytes: u64,
    /// Regions that hold files of it.
    pub regions: Vec<RegionId>,
    /// Collections that stay in the backup.
    pub left: usize,
}

/// An erasure, planned.
#[derive(Debug, Clone)]
pub struct ErasePlan {
    /// What was asked.
    pub request: EraseRequest,
    /// Its id: a new one, or that of an erasure which was not finished.
    pub erasure_id: String,
    /// Backups to rewrite, oldest first.
    pub backups: Vec<ErasedBackup>,
    /// Objects that could not be looked into, and why.
    pub unreadable: Vec<(String, String)>,
    /// These and the ones of a run that stopped.
    pub(super) all_backups: BTreeSet<BackupId>,
    /// The record of each vault.
    pub(super) records: Vec<(Vault, Erasure)>,
    /// How many of the packs on record hold bytes that no manifest speaks of, and none that are known to be of it.
    unnamed_packs: usize,
}

impl ErasePlan {
    /// Packs that hold bytes of the collection by the manifests, over all vaults.
    #[must_use]
    pub fn pack_count(&self) -> usize {
        let all: usize = self.records.iter().map(|(_, record)| record.packs.len()).sum();
        all.saturating_sub(self.unnamed_packs)
    }

    /// Further packs that hold bytes which no manifest speaks of, over all vaults: what backups left that were deleted and
    /// pruned before, and jobs that were interrupted. Nobody can say whose bytes they are, so they go with the others.
    #[must_use]
    pub fn unnamed_pack_count(&self) -> usize {
        self.unnamed_packs
    }
}

/// Plans an erasure over all vaults that are open: all of the project's should be. Writes nothing.
///
/// # Errors
/// [`EngineError::BadRequest`] when nothing holds, names or ever held the collection, when several clusters have one of
/// this name and none was chosen, or when a vault cannot be read without a key; [`EngineError::Vault`].
pub async fn plan_erase(
    request: EraseRequest,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<ErasePlan, EngineError> {
    if let Some(vault) = vaults.all().iter().find(|vault| !vault.is_readable()) {
        let what = format!("{} is encrypted: give a reader key, erasing needs to know names", vault.place());
        return Err(EngineError::BadRequest { what });
    }
    let vaults = &vaults.throttled(&context.throttle);
    context.progress.enter(Phase::Inventory);
    let mut unreadable = Vec::new();
    let backups = find_backups(&request, vaults, &mut unreadable, context).await?;
    let mut request = with_clusters(request, &backups)?;
    let Earlier { open, begun, finished } = earlier(&request, vaults).await?;
    if backups.is_empty() && open.is_empty() && finished.is_none() && unreadable.is_empty() {
        let what = format!(
            "no backup in these vaults holds or names {}; nothing was erased. (Bytes of backups that were deleted before \
             may be left in packs that others need: `longshore prune --compact-below 100` rewrites those packs.)",
            request.collection
        );
        return Err(EngineError::BadRequest { what });
    }
    let mut all_backups: BTreeSet<BackupId> = backups.iter().map(|backup| backup.backup_id.clone()).collect();
    all_backups.extend(open.iter().flat_map(|erasure| erasure.backups.iter().cloned()));
    let (mut erasure_id, mut started) = (None, context.clock.now());
    if let Some(first) = open.first() {
        // It is the same erasure that goes on: what its record said stays.
        (erasure_id, started) = (Some(first.erasure_id.clone()), first.started);
        (request.reason, request.by) = (first.reason.clone(), first.by.clone());
        request.clusters.extend(first.clusters.iter().cloned());
    }
    let going_on = !all_backups.is_empty() || !open.is_empty();
    let erasure_id = match erasure_id.or(begun).or(finished.clone().filter(|_| !going_on)) {
        Some(id) => id,
        None => format!("erasure-{:016x}", u64::from_be_bytes(draw(context.random.as_ref())?)),
    };
    let (mut records, mut unnamed_packs) = (Vec::new(), 0);
    // Also when it was finished before: backups that held it may have been made and deleted since.
    for vault in vaults.all().into_iter().filter(|_| going_on || finished.is_some()) {
        let mut record = record(&request, &vault, &erasure_id, started).await?;
        let Packs { named, unnamed } = packs(&request.collection, &vault, &mut unreadable).await?;
        if named.is_empty() && unnamed.is_empty() && !going_on {
            continue;
        }
        // Also where the record names them already: when it was completed, a later backup needed what lay in them.
        record.completed = None;
        if going_on {
            // It may say so in some vaults only: prunes must know that it is at work again.
            record.rewritten = None;
        }
        unnamed_packs += unnamed.len();
        record.packs.extend(named);
        record.packs.extend(unnamed);
        record.backups.extend(all_backups.iter().cloned());
        records.push((vault, record));
    }
    unreadable.sort();
    unreadable.dedup();
    Ok(ErasePlan { request, erasure_id, backups, unreadable, all_backups, records, unnamed_packs })
}

async fn find_backups(
    request: &EraseRequest,
    vaults: &RegionVaults,
    unreadable: &mut Vec<(String, String)>,
    context: &RunContext,
) -> Result<Vec<ErasedBackup>, EngineError> {
    let mut known = BTreeMap::new();
    for vault in vaults.all() {
        let listing = vault.list_backups().await.map_err(EngineError::vault(vault.region_id()))?;
        known.extend(listing.backups.into_iter().map(|backup| (backup.root.backup_id, backup.root.cluster_id)));
        unreadable.extend(listing.damaged.into_iter().map(|(id, error)| (id.to_string(), sentence(&error))));
    }
    let mut backups = Vec::new();
    for (id, cluster) in known {
        context.stop.check()?;
        if !request.clusters.is_empty() && !request.clusters.contains(&cluster) {
            continue;
        }
        match look(&id, request, vaults).await {
            Ok(found) => backups.extend(found),
            Err(EngineError::Vault { region, source }) if source.is_unanswered() => {
                return Err(EngineError::Vault { region, source });
            }
            Err(error) => unreadable.push((id.to_string(), sentence(&error))),
        }
    }
    backups.sort_by(|one, other| (one.created, &one.backup_id).cmp(&(other.created, &other.backup_id)));
    Ok(backups)
}

/// Looks into one backup: its root, its parts and its copies.
async fn look(
    id: &BackupId,
    request: &EraseRequest,
    vaults: &RegionVaults,
) -> Result<Option<ErasedBackup>, EngineError> {
    let opened = OpenedBackup::find(vaults, None, id).await?;
    let root = &opened.root.open;
    if let Some(damage) = opened.damages.first() {
        let what = format!("{} cannot be read and may hold it ({}); heal it first", damage.object, damage.found);
        return Err(EngineError::DamagedBackup { backup: id.to_string(), what });
    }
    require_open(root, vaults)?;
    if !is_named_in(&opened, &request.collection)? {
        return Ok(None);
    }
    let (mut size_bytes, mut regions) = (0, BTreeSet::new());
    for part in &opened.parts {
        for (files, sealed) in part.part.collections().map_err(EngineError::vault(part.vault.region_id()))? {
            if sealed.name == request.collection {
                size_bytes = files.files.iter().map(|file| file.size_bytes).sum();
                regions.insert(part.vault.region_id().clone());
            }
        }
    }
    let left = opened.collections()?.iter().filter(|one| one.sealed.name != request.collection).count();
    Ok(Some(ErasedBackup {
        backup_id: id.clone(),
        cluster_id: root.cluster_id.clone(),
        created: root.created,
        size_bytes,
        regions: regions.into_iter().collect(),
        left,
    }))
}

/// Fails unless the vaults of all parts are open. A copy may stand in for a part elsewhere, but the part would still hold the
/// collection, and a new root would not name it.
pub(super) fn require_open(root: &RootOpen, vaults: &RegionVaults) -> Result<(), EngineError> {
    let closed = root.parts.iter().find(|part| vaults.by_id(&part.vault_id).is_none());
    let home = &root.home_region;
    let region = closed.map(|part| &part.region_id).or_else(|| vaults.get(home).is_err().then_some(home));
    region.map_or(Ok(()), |region| {
        let what = format!("a part of it is in region {region}, whose vault is not open here; name that vault too");
        Err(EngineError::DamagedBackup { backup: root.backup_id.to_string(), what })
    })
}

/// Fixes the clusters. Two clusters may have collections of the same name that have nothing to do with each other.
fn with_clusters(mut request: EraseRequest, backups: &[ErasedBackup]) -> Result<EraseRequest, EngineError> {
    if request.clusters.is_empty() {
        let clusters: BTreeSet<ClusterId> = backups.iter().map(|backup| backup.cluster_id.clone()).collect();
        if clusters.len() > 1 {
            let list: Vec<String> = clusters.iter().map(ToString::to_string).collect();
            let what = format!(
                "backups of several clusters hold or name a collection {}: {}; say which are meant",
                request.collection,
                list.join(", ")
            );
            return Err(EngineError::BadRequest { what });
        }
        request.clusters = clusters;
    }
    Ok(request)
}

/// Erasures of the same collection.
struct Earlier {
    /// Those that stopped on the way, in any vault; the oldest first.
    open: Vec<Erasure>,
    /// One of which only a pin is left.
    begun: Option<String>,
    /// One that did not stop.
    finished: Option<String>,
}

async fn earlier(request: &EraseRequest, vaults: &RegionVaults) -> Result<Earlier, EngineError> {
    let mut earlier = Earlier { open: Vec::new(), begun: None, finished: None };
    let (mut begun, mut rewritten) = (BTreeSet::new(), BTreeSet::new());
    for vault in vaults.all() {
        begun.extend(alone::begun(request, &vault).await?);
        let fail = || EngineError::vault(vault.region_id());
        let name_id = vault.id_key().map_err(fail())?.name_id(&request.collection);
        for erasure in vault.list_erasures().await.map_err(fail())? {
            let same_name =
                erasure.collection.as_ref() == Some(&request.collection) || erasure.name_id == Some(name_id);
            let same_clusters = request.clusters.is_empty() || erasure.clusters == request.clusters;
            match erasure.rewritten {
                _ if !same_name || !same_clusters => {}
                None => earlier.open.push(erasure),
                Some(_) => {
                    rewritten.insert(erasure.erasure_id.clone());
                    earlier.finished = Some(erasure.erasure_id);
                }
            }
        }
    }
    earlier.begun = begun.difference(&rewritten).next().cloned();
    earlier.open.sort_by(|one, other| (one.started, &one.erasure_id).cmp(&(other.started, &other.erasure_id)));
    Ok(earlier)
}

/// Packs of a vault that an erasure is about.
struct Packs {
    /// They hold bytes of the collection, by all parts that are there: also those of backups that were deleted and of jobs
    /// that were interrupted.
    named: BTreeSet<PackId>,
    /// They hold bytes that no part speaks of, or what they hold cannot be read.
    unnamed: BTreeSet<PackId>,
}

async fn packs(
    collection: &CollectionName,
    vault: &Vault,
    unreadable: &mut Vec<(String, String)>,
) -> Result<Packs, EngineError> {
    let fail = || EngineError::vault(vault.region_id());
    let reader = vault.open_reader().await.map_err(fail())?;
    let (mut named, mut spoken_of) = (BTreeSet::new(), HashSet::new());
    // Parts after the index: what a part said that a prune removes in between is then on record as what nobody speaks of.
    let mut visit = |part: &Part| {
        for (files, sealed) in part.collections()? {
            let blobs = || files.files.iter().flat_map(|file| &file.blobs);
            if sealed.name == *collection {
                named.extend(reader.packs_of(blobs()));
            }
            spoken_of.extend(blobs().copied());
        }
        Ok(())
    };
    let bad = vault.scan_parts(&mut visit).await.map_err(fail())?;
    unreadable.extend(bad.into_iter().map(|(object, error)| (object, sentence(&error))));
    let unnamed = reader.packs_beside(&spoken_of).difference(&named).copied().collect();
    Ok(Packs { named, unnamed })
}

/// The record that a vault has of this erasure, or a new one.
async fn record(
    request: &EraseRequest,
    vault: &Vault,
    erasure_id: &str,
    started: Timestamp,
) -> Result<Erasure, EngineError> {
    let fail = || EngineError::vault(vault.region_id());
    let known = vault.list_erasures().await.map_err(fail())?.into_iter().find(|one| one.erasure_id == erasure_id);
    if let Some(known) = known {
        return Ok(known);
    }
    let encrypted = vault.is_encrypted();
    let name_id = vault.id_key().map_err(fail())?.name_id(&request.collection);
    Ok(Erasure {
        format: longshore_vault::FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: erasure_id.to_owned(),
        collection: (!encrypted).then(|| request.collection.clone()),
        name_id: encrypted.then_some(name_id),
        clusters: request.clusters.clone(),
        reason: request.reason.clone(),
        by: request.by.clone(),
        started,
        backups: BTreeSet::new(),
        packs: BTreeSet::new(),
        rewritten: None,
        completed: None,
    })
}
