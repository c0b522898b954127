//! Turns an inventory into the facts a policy may see. Pure.

use std::collections::BTreeSet;

use longshore_model::{CollectionFacts, CollectionName, LastBackup, Timestamp, Totals};
use longshore_source::CollectionEntry;

/// What the host knows about a collection that the source does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostKnowledge {
    /// Labels from the configuration.
    pub(crate) labels: Vec<(String, String)>,
    /// An operator protects it.
    pub(crate) protected: bool,
    /// It was named in the request.
    pub(crate) requested: bool,
    /// Its newest good backup.
    pub(crate) last_backup: Option<LastBackup>,
    /// What the cluster is to lose at most, in seconds; a label of the collection goes first.
    pub(crate) recovery_point_objective_seconds: Option<u64>,
    /// Backups of it that failed since the last good one.
    pub(crate) consecutive_failures: u32,
    /// When a restore of it was last proven.
    pub(crate) last_proven_restore: Option<Timestamp>,
    /// Reason code of the previous selection.
    pub(crate) previous_reason_code: Option<String>,
}

/// Label that carries the operator's word for how much a collection matters.
const CRITICALITY_LABEL: &str = "criticality";
/// Label that carries a recovery point objective in seconds.
pub(crate) const RECOVERY_POINT_OBJECTIVE_LABEL: &str = "recovery_point_objective_seconds";

/// Facts about one collection. `new_bytes` is what no earlier backup holds, as far as known before files are opened: files
/// that are rewritten in place count as new, and index files only where the last backup took them.
#[must_use]
pub(crate) fn collection_facts(entry: &CollectionEntry, known: HostKnowledge) -> CollectionFacts {
    let label = |key: &str| known.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    CollectionFacts {
        properties: entry.properties.clone(),
        criticality: label(CRITICALITY_LABEL),
        recovery_point_objective_seconds: label(RECOVERY_POINT_OBJECTIVE_LABEL)
            .and_then(|text| text.parse().ok())
            .or(known.recovery_point_objective_seconds),
        labels: known.labels,
        protected: known.protected,
        requested: known.requested,
        rows: entry.rows,
        size_bytes: entry.size_bytes,
        new_bytes: new_bytes(entry, known.last_backup.is_some()),
        created: entry.created,
        last_write: entry.last_write,
        load_state: entry.load_state,
        indexes: entry.indexes.clone(),
        last_backup: known.last_backup,
        consecutive_failures: known.consecutive_failures,
        last_proven_restore: known.last_proven_restore,
        previous_reason_code: known.previous_reason_code,
        ..CollectionFacts::named(entry.name.clone())
    }
}

fn new_bytes(entry: &CollectionEntry, backed_up: bool) -> u64 {
    let new = entry.size_bytes.total().saturating_sub(entry.stored_bytes.total());
    if backed_up && entry.stored_bytes.index == 0 { new.saturating_sub(entry.size_bytes.index) } else { new }
}

/// Sums over a cluster.
#[must_use]
pub(crate) fn totals(facts: &[CollectionFacts]) -> Totals {
    facts.iter().fold(Totals::default(), |sum, collection| Totals {
        collections: sum.collections + 1,
        rows: sum.rows.saturating_add(collection.rows),
        size_bytes: sum.size_bytes.saturating_add(collection.size_bytes.total()),
        new_bytes: sum.new_bytes.saturating_add(collection.new_bytes),
    })
}

/// Names of a request that the inventory does not have, in the order of the request.
#[must_use]
pub(crate) fn missing_names(requested: &[CollectionName], entries: &[CollectionEntry]) -> Vec<String> {
    let there: Vec<CollectionName> = entries.iter().map(|entry| entry.name.clone()).collect();
    missing_names_of(requested, &there)
}

/// Names of a request that are not among those that are there, in the order of the request.
#[must_use]
pub(crate) fn missing_names_of(requested: &[CollectionName], there: &[CollectionName]) -> Vec<String> {
    let there: BTreeSet<&CollectionName> = there.iter().collect();
    requested.iter().filter(|name| !there.contains(name)).map(ToString::to_string).collect()
}
