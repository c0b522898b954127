//! What a comparison of two policies found.

use std::collections::BTreeMap;

use longshore_model::{CollectionName, PolicyKind, RegionId};
use serde::Serialize;

use crate::{Change, ChangeKind, Effect};

/// Who was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What the plugin calls itself.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: String,
    /// Fuel of all its calls.
    pub fuel_used: u64,
}

/// Changes of one sort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeGroup {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// What changes.
    pub change: ChangeKind,
    /// Code of the reason before; none where there was no opinion.
    pub reason_before: Option<String>,
    /// Code of the reason after.
    pub reason_after: Option<String>,
    /// How many items.
    pub count: u64,
    /// From what to what, how often; the commonest first.
    pub steps: Vec<Step>,
    /// What all of them come to.
    pub effect: Effect,
    /// A few of them.
    pub examples: Vec<Change>,
}

/// From one decision to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
    /// How often.
    pub count: u64,
}

/// A call that one of both did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unanswered {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// Cluster of the run.
    pub cluster: String,
    /// Time of the run.
    pub time: String,
    /// Items of the call.
    pub items: usize,
    /// How the old policy ended.
    pub before: String,
    /// How the new one ended.
    pub after: String,
}

/// A protected collection that would lose its backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedLoss {
    /// Which one.
    pub collection: CollectionName,
    /// Why, in one sentence.
    pub why: String,
}

/// What another policy would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDiff {
    /// The policy that is there.
    pub old: Compared,
    /// The one that would come.
    pub new: Compared,
    /// Runs the records are of.
    pub runs: usize,
    /// Records that were asked again.
    pub records: usize,
    /// Items in them.
    pub items: u64,
    /// Items that are decided otherwise.
    pub changed_items: u64,
    /// The changes, those of most items first.
    pub groups: Vec<ChangeGroup>,
    /// What all of them come to.
    pub effect: Effect,
    /// The same in each region where something changes.
    pub regions: BTreeMap<RegionId, Effect>,
    /// Calls that one of both did not answer.
    pub unanswered: Vec<Unanswered>,
    /// Number of protected collections that would lose their backup.
    pub protected_losses: u64,
    /// The first of them.
    pub losses: Vec<ProtectedLoss>,
    /// Records to which the old policy, which is the one that was asked then, gives another answer now. A policy that
    /// does not answer the same question the same way cannot be compared.
    pub not_repeated: Vec<String>,
    /// Records of kinds that one of both does not decide: nothing can be said of those.
    pub not_compared: BTreeMap<PolicyKind, usize>,
}

impl PolicyDiff {
    /// True when nothing is decided otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed_items == 0 && self.unanswered.is_empty()
    }
}
