//! What a rule means. Every condition that is given has to hold; a fact that is not known satisfies no condition.

use std::collections::BTreeMap;

use longshore_plugin::time::{DAY_MS, HOUR_MS};
use longshore_plugin::{Collection, CollectionPattern, Pattern, Run, RunTrigger, Stream};
use serde::Deserialize;

/// The conditions of a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Condition {
    /// The collection is one of these.
    collections: Option<Vec<CollectionPattern>>,
    /// The properties, or else labels, of these names have values of these patterns.
    properties: BTreeMap<String, Pattern>,
    /// The operator's word for how much it matters is one of these.
    criticality: Option<Vec<String>>,
    /// The operator protects it.
    protected: Option<bool>,
    /// Who started the run.
    trigger: Option<Trigger>,
    /// Nobody wrote to it for so many days.
    unchanged_for_days: Option<u64>,
    /// Bytes of the collection, or of the stream.
    at_least_bytes: Option<u64>,
    at_most_bytes: Option<u64>,
    /// It has no good backup that is younger. Never holds for a stream.
    no_backup_for_hours: Option<u64>,
    /// Class of files. Never holds for a collection.
    classes: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Trigger {
    Manual,
    Automatic,
}

/// What collections and streams have in common.
struct Item<'a> {
    database: &'a str,
    collection: &'a str,
    property: &'a dyn Fn(&str) -> Option<&'a str>,
    criticality: Option<&'a str>,
    protected: bool,
    ms_since_write: Option<u64>,
    bytes: u64,
}

impl Condition {
    /// Whether it means a collection.
    pub(crate) fn means_collection(&self, run: &Run, collection: &Collection) -> bool {
        let young = |hours: u64| {
            let limit_ms = hours.saturating_mul(HOUR_MS);
            collection.ms_since_backup(run).is_some_and(|age_ms| age_ms < limit_ms)
        };
        self.classes.is_none()
            && !self.no_backup_for_hours.is_some_and(young)
            && self.means(
                run,
                &Item {
                    database: &collection.database,
                    collection: &collection.name,
                    property: &|key| collection.property_or_label(key),
                    criticality: collection.criticality.as_deref(),
                    protected: collection.protected,
                    ms_since_write: collection.ms_since_write(run),
                    bytes: collection.size_bytes.total(),
                },
            )
    }

    /// Whether it means a stream.
    pub(crate) fn means_stream(&self, run: &Run, stream: &Stream) -> bool {
        self.no_backup_for_hours.is_none()
            && self.classes.as_ref().is_none_or(|classes| classes.iter().any(|class| *class == stream.class))
            && self.means(
                run,
                &Item {
                    database: &stream.database,
                    collection: &stream.collection,
                    property: &|key| stream.property_or_label(key),
                    criticality: stream.criticality(),
                    protected: stream.protected(),
                    ms_since_write: stream.ms_since_write(run),
                    bytes: stream.size_bytes,
                },
            )
    }

    fn means(&self, run: &Run, item: &Item<'_>) -> bool {
        let named = |patterns: &Vec<CollectionPattern>| {
            patterns.iter().any(|pattern| pattern.matches(item.database, item.collection))
        };
        let has =
            |(key, pattern): (&String, &Pattern)| (item.property)(key).is_some_and(|value| pattern.matches(value));
        let critical = |words: &Vec<String>| item.criticality.is_some_and(|own| words.iter().any(|word| word == own));
        let unchanged = |days: u64| item.ms_since_write.is_some_and(|ms| ms >= days.saturating_mul(DAY_MS));
        let trigger = match run.trigger {
            RunTrigger::Manual => Trigger::Manual,
            RunTrigger::Automatic => Trigger::Automatic,
        };
        self.collections.as_ref().is_none_or(named)
            && self.properties.iter().all(has)
            && self.criticality.as_ref().is_none_or(critical)
            && self.protected.is_none_or(|protected| protected == item.protected)
            && self.trigger.is_none_or(|wanted| wanted == trigger)
            && self.unchanged_for_days.is_none_or(unchanged)
            && self.at_least_bytes.is_none_or(|bytes| item.bytes >= bytes)
            && self.at_most_bytes.is_none_or(|bytes| item.bytes <= bytes)
    }
}
