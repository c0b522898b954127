//! The tables of a case file as they are written (`CASES.md`). Everything but names may be left out.

use std::collections::BTreeMap;

use longshore_model::{
    BackupId, ClusterId, CollectionName, FactValue, FileClass, IndexFacts, LoadState, PolicyKind, ProjectId,
    RegionHealth, RegionId, RunKind, RunTrigger,
};
use longshore_policy::Grants;
use longshore_sandbox::Budget;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Expect;
use super::granted::WrittenFiles;
use super::values::{Bytes, FromShort, Offers, Short, When};

/// A file, or one of several cases of a file: the same tables at two levels. [`CaseTable::check`] says what belongs where.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CaseTable {
    /// A case has one, a file has none.
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) kind: Option<PolicyKind>,
    pub(crate) settings: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) budget: Option<Budget>,
    pub(crate) files: Option<WrittenFiles>,
    pub(crate) grants: Option<Grants>,
    pub(crate) page_items: Option<usize>,
    pub(crate) offers: Option<Offers>,
    pub(crate) run: RunTable,
    pub(crate) region: Vec<RegionTable>,
    pub(crate) collection: Vec<CollectionTable>,
    pub(crate) expect: Vec<Spanned<Expect>>,
    /// A file may have some, a case has none.
    pub(crate) case: Vec<Spanned<CaseTable>>,
}

impl CaseTable {
    /// Checks that this is a file: where something is wrong, and what.
    pub(crate) fn check(&self) -> Result<(), (usize, &'static str)> {
        if self.name.is_some() {
            return Err((0, "`name` is the name of a [[case]]; a file is named by its file name"));
        }
        for case in &self.case {
            let at = case.span().start;
            if case.get_ref().name.is_none() {
                return Err((at, "a [[case]] needs a `name`"));
            }
            if !case.get_ref().case.is_empty() {
                return Err((at, "a [[case]] has no cases of its own"));
            }
        }
        Ok(())
    }
}

/// Facts about the run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunTable {
    pub(crate) kind: Option<RunKind>,
    pub(crate) trigger: Option<RunTrigger>,
    pub(crate) time: Option<When>,
    pub(crate) seed: Option<u64>,
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) cluster_name: Option<String>,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) home_region: Option<RegionId>,
    pub(crate) next_run: Option<When>,
    pub(crate) month_spend_micros: Option<u64>,
    pub(crate) month_budget_micros: Option<u64>,
    pub(crate) totals: TotalsTable,
    pub(crate) extra: BTreeMap<String, FactValue>,
}

impl RunTable {
    /// This table with the fields of another over it.
    pub(crate) fn under(self, over: Self) -> Self {
        Self {
            kind: over.kind.or(self.kind),
            trigger: over.trigger.or(self.trigger),
            time: over.time.or(self.time),
            seed: over.seed.or(self.seed),
            cluster_id: over.cluster_id.or(self.cluster_id),
            cluster_name: over.cluster_name.or(self.cluster_name),
            project_id: over.project_id.or(self.project_id),
            home_region: over.home_region.or(self.home_region),
            next_run: over.next_run.or(self.next_run),
            month_spend_micros: over.month_spend_micros.or(self.month_spend_micros),
            month_budget_micros: over.month_budget_micros.or(self.month_budget_micros),
            totals: TotalsTable {
                collections: over.totals.collections.or(self.totals.collections),
                rows: over.totals.rows.or(self.totals.rows),
                size_bytes: over.totals.size_bytes.or(self.totals.size_bytes),
                new_bytes: over.totals.new_bytes.or(self.totals.new_bytes),
            },
            extra: self.extra.into_iter().chain(over.extra).collect(),
        }
    }
}

/// Sums of the run, where they are not those of the collections.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TotalsTable {
    pub(crate) collections: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) size_bytes: Option<Bytes>,
    pub(crate) new_bytes: Option<Bytes>,
}

/// A region on offer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegionTable {
    pub(crate) id: RegionId,
    pub(crate) provider: Option<String>,
    #[serde(default)]
    pub(crate) jurisdiction: String,
    pub(crate) home: Option<bool>,
    pub(crate) storage_price_micros_per_gb_month: Option<u64>,
    pub(crate) transfer_price_micros_per_gb: Option<u64>,
    #[serde(default)]
    pub(crate) health: RegionHealth,
    pub(crate) used_bytes: Option<Bytes>,
    #[serde(default)]
    pub(crate) extra: BTreeMap<String, FactValue>,
}

/// A collection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionTable {
    /// As it was written: `{n}` is replaced before it is read as a name.
    pub(crate) name: String,
    pub(crate) count: Option<usize>,
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) criticality: Option<String>,
    pub(crate) recovery_point_objective_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) protected: bool,
    #[serde(default)]
    pub(crate) requested: bool,
    pub(crate) rows: Option<u64>,
    pub(crate) size_bytes: Option<Short<SizesTable>>,
    pub(crate) new_bytes: Option<Bytes>,
    pub(crate) created: Option<When>,
    pub(crate) last_write: Option<When>,
    #[serde(default)]
    pub(crate) load_state: LoadState,
    #[serde(default)]
    pub(crate) indexes: Vec<IndexFacts>,
    pub(crate) last_backup: Option<Short<LastBackupTable>>,
    #[serde(default)]
    pub(crate) consecutive_failures: u32,
    pub(crate) last_proven_restore: Option<When>,
    pub(crate) previous_reason_code: Option<String>,
    #[serde(default)]
    pub(crate) extra: BTreeMap<String, FactValue>,
    #[serde(default)]
    pub(crate) stream: Vec<StreamTable>,
}

/// Bytes by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SizesTable {
    pub(crate) segment: Option<Bytes>,
    pub(crate) index: Option<Bytes>,
    pub(crate) delta: Option<Bytes>,
    pub(crate) wal: Option<Bytes>,
    pub(crate) metadata: Option<Bytes>,
}

impl FromShort for SizesTable {
    const EXPECTED: &'static str = "bytes, or a table of bytes by class like { segment = \"4 GB\" }";

    fn from_short(text: &str) -> Result<Self, String> {
        use serde::de::IntoDeserializer;
        let bytes = Bytes::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(text));
        Ok(Self { segment: Some(bytes.map_err(|error| error.to_string())?), ..Self::default() })
    }
}

/// The newest good backup.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastBackupTable {
    pub(crate) time: When,
    pub(crate) regions: Option<Vec<RegionId>>,
    pub(crate) codecs: Option<Vec<String>>,
    pub(crate) stored_bytes: Option<Bytes>,
    pub(crate) backup_id: Option<BackupId>,
}

impl FromShort for LastBackupTable {
    const EXPECTED: &'static str = "a time, or a table like { time = \"1 day ago\", stored_bytes = \"1 GB\" }";

    fn from_short(text: &str) -> Result<Self, String> {
        let time = When::parse(text)?;
        Ok(Self { time, regions: None, codecs: None, stored_bytes: None, backup_id: None })
    }
}

/// A stream of a collection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamTable {
    pub(crate) class: FileClass,
    pub(crate) files: Option<u64>,
    pub(crate) size_bytes: Option<Bytes>,
    pub(crate) new_bytes: Option<Bytes>,
    pub(crate) sampled_bytes: Option<Bytes>,
    pub(crate) offers: Option<Offers>,
    #[serde(default)]
    pub(crate) extra: BTreeMap<String, FactValue>,
}

/// A name in a case file, checked where it is used.
pub(crate) fn collection_name(text: &str) -> Result<CollectionName, String> {
    text.parse().map_err(|error: longshore_model::ModelError| error.to_string())
}

/// Reads a pattern, for fields.
pub(crate) fn pattern<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<longshore_policy::CollectionPattern>, D::Error> {
    longshore_policy::CollectionPattern::deserialize(deserializer).map(Some)
}
