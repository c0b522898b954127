//! Applies retention rules to the backups of open vaults.
//!
//! The vaults are read first and everything is decided before anything is deleted; deleting then goes through the one
//! function that deletes backups, so it may stop anywhere and be run again.

use std::collections::BTreeMap;

use longshore_model::{BackupId, ClusterId, CreationMethod, Phase, Timestamp, VaultId};
use longshore_vault::{Reader, RootOpen, Withdrawal};
use serde::Serialize;

use super::{RetainedBackup, RetentionDecision, RetentionRules, decide_retention};
use crate::opened::OpenedBackup;
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// What retention would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPlan {
    /// One decision per backup: clusters in order of id, newest first.
    pub decisions: Vec<RetentionDecision>,
    /// Backups whose manifest cannot be read, and why: nobody can say what they are, so they stay.
    pub unreadable: Vec<(BackupId, String)>,
}

/// What retention did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionOutcome {
    /// Backups that were deleted. Their bytes go with the next prune.
    pub deleted: Vec<BackupId>,
    /// Backups that were to go and did not, and why.
    pub failed: Vec<(BackupId, String)>,
}

/// Decides about the backups of open vaults, of one cluster or of all. Reads manifests and indexes, changes nothing.
///
/// # Errors
/// [`EngineError::Vault`] when a vault does not answer: rules are not applied to half of the facts.
pub async fn plan_retention(
    vaults: &RegionVaults,
    cluster: Option<&ClusterId>,
    rules: &(dyn Fn(&ClusterId) -> RetentionRules + Sync),
    now: Timestamp,
) -> Result<RetentionPlan, EngineError> {
    let mut roots: BTreeMap<BackupId, RootOpen> = BTreeMap::new();
    let mut unreadable = BTreeMap::new();
    for vault in vaults.all() {
        let listing = vault.list_backups().await.map_err(EngineError::vault(vault.region_id()))?;
        for found in listing.backups.into_iter().map(|backup| backup.root) {
            if cluster.is_none_or(|cluster| found.cluster_id == *cluster) {
                let known = roots.entry(found.backup_id.clone()).or_insert_with(|| found.clone());
                if found.token > known.token {
                    *known = found;
                }
            }
        }
        unreadable.extend(listing.damaged.into_iter().map(|(id, error)| (id, error.to_string())));
    }
    // One that another vault can still read is judged like any other; opening it below finds the damage.
    unreadable.retain(|id, _| !roots.contains_key(id));
    let readers = open_readers(vaults).await?;
    let mut backups = Vec::with_capacity(roots.len());
    for root in roots.into_values() {
        let damage = match root.creation_method {
            CreationMethod::Manual => None,
            CreationMethod::Auto => damage(vaults, &readers, &root).await?,
        };
        backups.push(retained(root, damage));
    }
    let decisions = decide_retention(&backups, &|cluster| rules(cluster), now);
    Ok(RetentionPlan { decisions, unreadable: unreadable.into_iter().collect() })
}

fn retained(root: RootOpen, damage: Option<String>) -> RetainedBackup {
    RetainedBackup {
        backup_id: root.backup_id,
        cluster_id: root.cluster_id,
        home_region: root.home_region,
        created: root.created,
        creation_method: root.creation_method,
        backup_type: root.backup_type,
        expires: root.expires,
        damage,
    }
}

async fn open_readers(vaults: &RegionVaults) -> Result<BTreeMap<VaultId, Reader>, EngineError> {
    let mut readers = BTreeMap::new();
    for vault in vaults.all() {
        let reader = vault.open_reader().await.map_err(EngineError::vault(vault.region_id()))?;
        readers.insert(vault.id().clone(), reader);
    }
    Ok(readers)
}

/// Why a backup is not whole: a manifest that cannot be read, or a blob that is in no pack that is there. Bytes of packs
/// are not read; that is for verify.
async fn damage(
    vaults: &RegionVaults,
    readers: &BTreeMap<VaultId, Reader>,
    root: &RootOpen,
) -> Result<Option<String>, EngineError> {
    let opened = match OpenedBackup::find(vaults, Some(&root.home_region), &root.backup_id).await {
        Ok(opened) => opened,
        Err(EngineError::Vault { region, source }) if source.is_unanswered() => {
            return Err(EngineError::Vault { region, source });
        }
        Err(error) => return Ok(Some(error.to_string())),
    };
    for part in &opened.parts {
        let Some(reader) = readers.get(part.vault.id()) else { continue };
        let files = part.part.open.collections.iter().flat_map(|collection| &collection.files);
        if files.flat_map(|file| &file.blobs).any(|blob| reader.blob_bytes(blob).is_none()) {
            let region = part.vault.region_id();
            return Ok(Some(format!("some of its bytes are missing in the vault of {region}; run verify")));
        }
    }
    Ok(None)
}

/// Deletes what a plan lets go, oldest first. One that cannot be deleted does not keep the others; run it again.
///
/// # Errors
/// [`EngineError::Stopped`]; what was deleted until then stays deleted.
pub async fn apply_retention(
    plan: &RetentionPlan,
    vaults: &RegionVaults,
    now: Timestamp,
    context: &RunContext,
) -> Result<RetentionOutcome, EngineError> {
    let mut outcome = RetentionOutcome { deleted: Vec::new(), failed: Vec::new() };
    let mut going: Vec<&RetentionDecision> = plan.decisions.iter().filter(|decision| decision.goes).collect();
    going.sort_by(|one, other| (one.created, &one.backup_id).cmp(&(other.created, &other.backup_id)));
    context.progress.enter(Phase::Commit);
    let withdrawal = Withdrawal { time: now, by: "retention".to_owned(), job_id: None };
    for decision in going {
        context.stop.check()?;
        match vaults.delete_backup(&decision.home_region, &decision.backup_id, &withdrawal).await {
            Ok(()) => outcome.deleted.push(decision.backup_id.clone()),
            Err(error) => outcome.failed.push((decision.backup_id.clone(), error.to_string())),
        }
    }
    Ok(outcome)
}
