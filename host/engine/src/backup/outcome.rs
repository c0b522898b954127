//! What a backup did, in the words of whoever asked for it. It does no IO and cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{BackupId, CollectionName, RegionId, Timestamp};
use longshore_policy::Usage;
use longshore_source::{PointState, cannot_be_restored};
use longshore_vault::{DdlChange, RootOpen};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::BackupPlan;
use crate::transfer::TransferredCollection;
use crate::views::{BackedUpCollection, ExcludedCollection};

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupOutcome {
    /// Its id.
    pub backup_id: BackupId,
    /// Its name.
    pub backup_name: String,
    /// Home region.
    pub home_region: RegionId,
    /// Every region that holds a part.
    pub regions: Vec<RegionId>,
    /// Its collections, in order of name.
    pub collections: Vec<BackedUpCollection>,
    /// What a CLUSTER backup leaves out.
    pub excluded: Vec<ExcludedCollection>,
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Bytes of files that were not stored because an earlier backup holds them. They were not read for that; to digest the rows of
    /// a server, those of segments that changed are.
    pub reused_bytes: u64,
    /// Bytes that were read but that the vaults had already.
    pub deduplicated_bytes: u64,
    /// Bytes this backup added to the vaults.
    pub stored_bytes: u64,
    /// The same by region.
    #[serde(skip)]
    pub added_bytes: BTreeMap<RegionId, u64>,
    /// Collections that changed while the backup ran.
    pub ddl_changes: Vec<DdlChange>,
    /// Copies that are still to be made: region, and the collections that go there.
    pub copies: Vec<RequestedCopy>,
    /// What the calls of the plugins cost.
    pub policy_usage: Vec<Usage>,
    /// When it was committed.
    pub committed: Timestamp,
    /// How long planning and running took, in milliseconds.
    pub duration_ms: i64,
    /// What did not go as it should although the backup is whole, in sentences.
    pub warnings: Vec<String>,
}

/// A copy that a request or a placement policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestedCopy {
    /// Where.
    pub region: RegionId,
    /// Which collections.
    pub collections: Vec<CollectionName>,
}

pub(super) fn outcome(
    plan: &BackupPlan,
    moved: &[TransferredCollection],
    states: &[PointState],
    root: &RootOpen,
    ddl_changes: Vec<DdlChange>,
    committed: Timestamp,
) -> BackupOutcome {
    let collections =
        plan.collections.iter().zip(moved).zip(states).map(|((planned, moved), state)| BackedUpCollection {
            name: planned.facts.name.clone(),
            description: planned.entry.schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            loaded: planned.entry.load_state == longshore_model::LoadState::Loaded,
            physical_rows: moved.physical_rows,
            live_rows: moved.live_rows,
            size_bytes: moved.files.iter().map(|file| file.size_bytes).sum(),
            region: planned.placed.value.region.clone(),
            changed_during_backup: *state != PointState::Unaltered,
            cannot_be_restored: cannot_be_restored(&moved.description).map(str::to_owned),
        });
    let collections: Vec<BackedUpCollection> = collections.collect();
    let mut warnings = plan.inventory.warnings.clone();
    warnings.extend(kept_only(&collections));
    let mut regions: Vec<RegionId> = root.parts.iter().map(|part| part.region_id.clone()).collect();
    regions.sort();
    BackupOutcome {
        backup_id: plan.request.backup_id.clone(),
        backup_name: plan.request.backup_name.clone(),
        home_region: plan.request.cluster.home_region.clone(),
        regions,
        collections,
        excluded: excluded_views(plan),
        files: moved.iter().map(|collection| collection.files.len() as u64).sum(),
        size_bytes: root.sizes.plain_bytes,
        reused_bytes: moved.iter().map(|collection| collection.reused_bytes).sum(),
        deduplicated_bytes: moved.iter().map(|collection| collection.deduplicated_bytes).sum(),
        stored_bytes: root.sizes.new_bytes,
        added_bytes: root.added_bytes(),
        ddl_changes,
        copies: requested_copies(plan),
        policy_usage: plan.usage.clone(),
        committed,
        duration_ms: committed.millis_since(plan.started),
        warnings,
    }
}

/// What must be said of collections that are in a backup and cannot be restored from it: a backup that keeps their files is
/// better than none, as long as nobody relies on it.
fn kept_only(collections: &[BackedUpCollection]) -> Option<String> {
    let kept_only = collections.iter().filter(|one| one.cannot_be_restored.is_some());
    let names: Vec<String> = kept_only.map(|one| one.name.to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "in the backup, but NOT RESTORABLE by this version of Longshore (`cannotBeRestored` of each says why): {}",
            names.join(", ")
        )
    })
}

fn excluded_views(plan: &BackupPlan) -> Vec<ExcludedCollection> {
    plan.excluded
        .iter()
        .map(|decision| ExcludedCollection {
            name: decision.collection.clone(),
            decided_by: decision.decided_by.member.clone(),
            reason: decision.value.reason.message.clone(),
        })
        .collect()
}

/// Copies that the request or a placement policy asks for. A region that holds a collection already gets no copy of it.
pub(super) fn requested_copies(plan: &BackupPlan) -> Vec<RequestedCopy> {
    let mut by_region: BTreeMap<&RegionId, BTreeSet<&CollectionName>> = BTreeMap::new();
    for planned in &plan.collections {
        let wanted = planned.placed.value.copies.iter().map(|copy| &copy.region).chain(&plan.request.copies);
        for region in wanted.filter(|region| **region != planned.placed.value.region) {
            by_region.entry(region).or_default().insert(&planned.facts.name);
        }
    }
    by_region
        .into_iter()
        .map(|(region, names)| RequestedCopy {
            region: region.clone(),
            collections: names.into_iter().cloned().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_and_cannot_be_restored_is_said_by_name() {
        let collection = |name: &str, cannot_be_restored: Option<&str>| BackedUpCollection {
            name: CollectionName { database: "default".to_owned(), collection: name.to_owned() },
            description: String::new(),
            loaded: false,
            physical_rows: 1,
            live_rows: None,
            size_bytes: 1,
            region: "eu".parse().unwrap(),
            changed_during_backup: false,
            cannot_be_restored: cannot_be_restored.map(str::to_owned),
        };
        assert_eq!(kept_only(&[collection("a", None)]), None);
        let said = kept_only(&[collection("a", None), collection("b", Some("why")), collection("c", Some("why"))]);
        assert!(said.is_some_and(|said| said.contains("NOT RESTORABLE") && said.ends_with(": default.b, default.c")));
    }
}
