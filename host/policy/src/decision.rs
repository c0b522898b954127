//! What a policy set decided, and everything a person may ask about it.

use std::sync::Arc;

use longshore_model::{CodecChoice, CollectionName, Digest, FileClass, Placed, PolicyKind, Reason, Selected};
use serde::{Deserialize, Serialize};

use crate::{DecisionRecord, Failure, Oracle};

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DecidedBy {
    /// Name of the member in the configuration.
    pub member: String,
    /// What the plugin calls itself.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
}

impl DecidedBy {
    /// A plugin under the name of a member.
    #[must_use]
    pub fn of(member: &str, plugin: &dyn Oracle) -> Self {
        let about = plugin.about();
        Self {
            member: member.to_owned(),
            plugin: about.name.clone(),
            version: about.version.clone(),
            digest: plugin.digest(),
        }
    }
}

impl std::fmt::Display for DecidedBy {
    /// `member (plugin version)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.member, self.plugin, self.version)
    }
}

/// A guardrail changed an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override<T> {
    /// Which rule: `protected`, `requested`, `retention-only-lengthened` or `manual-never-expires`.
    pub rule: String,
    /// One sentence for a person.
    pub message: String,
    /// What the plugin had answered.
    pub original: T,
}

/// Another member's opinion about the same item. Only selection asks everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherOpinion {
    /// Which member.
    pub member: String,
    /// Whether it wanted what the deciding member wanted.
    pub agrees: bool,
    /// Its reason.
    pub reason: Reason,
}

/// One decision about one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<T> {
    /// The collection it is about.
    pub collection: CollectionName,
    /// The class of files it is about; only for compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FileClass>,
    /// What holds.
    pub value: T,
    /// Whose answer it is, or whose answer was overridden; shared by all decisions of a member.
    pub decided_by: Arc<DecidedBy>,
    /// The guardrail that changed the answer, if one did.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override<T>>,
    /// What others said, in the order of the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherOpinion>,
}

/// A default that does not ask for `T: Default`.
const fn none<T>() -> Option<T> {
    None
}

/// A member that failed and was left out of the run, as the operator allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Who.
    pub by: DecidedBy,
    /// How it failed. None of its answers of the run count, not even those of earlier pages.
    pub failure: Failure,
}

/// What the calls of one member cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Who.
    pub member: String,
    /// Number of calls that were answered.
    pub calls: u64,
    /// Fuel of all of them.
    pub fuel_used: u64,
    /// Most memory one of them held, in bytes.
    pub peak_memory_bytes: u64,
    /// Time of all of them, in microseconds. The one number here that differs from run to run.
    pub elapsed_us: u64,
}

/// All decisions of one kind for one run.
#[derive(Debug, Clone)]
pub struct Plan<T> {
    /// Which kind.
    pub kind: PolicyKind,
    /// One per item, in the order the items were given.
    pub decisions: Vec<Decision<T>>,
    /// Every call, in the order they were made.
    pub records: Vec<DecisionRecord>,
    /// Members that failed and were left out.
    pub skipped: Vec<Skipped>,
    /// What the calls cost, by member in the order of the chain.
    pub usage: Vec<Usage>,
}

/// Which collections go in.
pub type SelectionPlan = Plan<Selected>;
/// How streams are compressed.
pub type CompressionPlan = Plan<CodecChoice>;
/// Where collections are kept.
pub type PlacementPlan = Plan<Placed>;
