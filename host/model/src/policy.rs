//! Questions to a policy and its answers, as plain values (`wit/v0.1.0/policy.wit`).
//!
//! Items are referred to by their place in the list of one call (`u32`); the sandbox turns places into item ids and
//! checks that each is answered at most once.

use serde::{Deserialize, Serialize};

use crate::{
    ClusterId, Codec, CollectionFacts, CollectionName, ExtraFact, FactValue, FileClass, ProjectId, RegionHealth,
    RegionId, Timestamp,
};

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Which collections.
    Selection,
    /// How their bytes are compressed.
    Compression,
    /// In which regions they are kept.
    Placement,
}

impl PolicyKind {
    /// All of them, in the order in which a run asks them.
    pub const ALL: [Self; 3] = [Self::Selection, Self::Compression, Self::Placement];

    /// The spelling used in configuration and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selection => "selection",
            Self::Compression => "compression",
            Self::Placement => "placement",
        }
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something was decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Short, stable and machine-readable: lower case letters, digits, hyphens.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

impl Reason {
    /// A reason from its two parts.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// A policy refuses the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Places of the items it is about, in the list of the call; empty for the run as a whole.
    pub items: Vec<u32>,
}

/// What is being backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// The whole cluster.
    Cluster,
    /// Named collections.
    Collection,
}

/// Who started the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunTrigger {
    /// A person or a program.
    Manual,
    /// The schedule.
    Automatic,
}

/// Sums over the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Number of collections.
    pub collections: u64,
    /// Rows, deleted ones included.
    pub rows: u64,
    /// Bytes of all classes.
    pub size_bytes: u64,
    /// Bytes that no earlier backup holds.
    pub new_bytes: u64,
}

/// Facts about a run that are the same for every call of it. Settings, carry and page belong to a single call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// What is being backed up.
    pub kind: RunKind,
    /// Who started it.
    pub trigger: RunTrigger,
    /// Which cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its region.
    pub home_region: RegionId,
    /// The run's own time, fixed when it was planned; the only clock a policy has.
    pub time: Timestamp,
    /// The run's own random bits, fixed when it was planned.
    pub seed: u64,
    /// When the schedule runs next.
    pub next_run: Option<Timestamp>,
    /// What keeping backups of this project has cost this month, in millionths of the currency unit.
    pub month_spend_micros: u64,
    /// What they may cost, in the same unit.
    pub month_budget_micros: Option<u64>,
    /// Sums over the cluster.
    pub totals: Totals,
    /// Facts without a field of their own.
    pub extra: Vec<ExtraFact>,
}

impl RunFacts {
    /// Name of the extra fact that tells what keeping all that the project stores now costs in a whole month, in millionths
    /// of the currency unit.
    pub const MONTH_ESTIMATE_MICROS: &'static str = "month-estimate-micros";
    /// Name of the extra fact that tells the price of keeping a gigabyte for a month in the home region, likewise.
    pub const HOME_STORAGE_PRICE: &'static str = "home-storage-price-micros-per-gb-month";
}

/// Answer of a selection policy about one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// False leaves the collection out.
    pub include_collection: bool,
    /// Take index files too.
    pub include_index_files: bool,
    /// Higher goes first.
    pub priority: i32,
    /// Why.
    pub reason: Reason,
}

/// A codec offered for a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecOffer {
    /// Which codec.
    pub codec: Codec,
    /// Plain bytes per 1,000 stored bytes on the sample.
    pub ratio_thousandths: u32,
    /// Encoding speed from the host's calibration, MB/s.
    pub compress_mb_per_second: u32,
    /// Decoding speed from the host's calibration, MB/s.
    pub decompress_mb_per_second: u32,
}

impl CodecOffer {
    /// An offer with the speeds of the host's calibration: MB/s on one core, in coarse steps, so that choices do not flap.
    /// Measured on real embeddings and text on a 2-core machine (medians of five rounds: lz4 4,300 / 8,200; zstd-1 280 to
    /// 877 / 900; zstd-3 150 to 563 / 820; byte shuffle + zstd-1 599 / 1,250; adaptive-zstd-1 with its check 541 to 882 /
    /// 2,526 to 3,861) and rounded down.
    #[must_use]
    pub const fn calibrated(codec: Codec, ratio_thousandths: u32) -> Self {
        let (compress_mb_per_second, decompress_mb_per_second) = match codec {
            Codec::Store => (4_000, 4_000),
            Codec::Lz4 => (2_000, 4_000),
            Codec::Zstd { level: 0..=1 } => (500, 800),
            Codec::Zstd { level: 2..=4 } => (250, 800),
            Codec::Zstd { level: 5..=9 } => (50, 800),
            Codec::Zstd { .. } => (5, 800),
            Codec::ShuffleZstd { level: 0..=1, .. } => (400, 800),
            Codec::ShuffleZstd { .. } => (200, 800),
            Codec::AdaptiveZstd { level: 0..=1 } => (500, 2_000),
            Codec::AdaptiveZstd { .. } => (400, 2_000),
        };
        Self { codec, ratio_thousandths, compress_mb_per_second, decompress_mb_per_second }
    }
}

/// One class of files of one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Which collection.
    pub collection: CollectionName,
    /// Which class.
    pub class: FileClass,
    /// Number of files.
    pub files: u64,
    /// Bytes of all of them.
    pub size_bytes: u64,
    /// Bytes that no earlier backup holds.
    pub new_bytes: u64,
    /// Bytes the ratios were measured on.
    pub sampled_bytes: u64,
    /// Codecs to choose from; never empty.
    pub offers: Vec<CodecOffer>,
    /// Facts without a field of their own.
    pub extra: Vec<ExtraFact>,
}

impl StreamFacts {
    /// Whether an extra fact of this name is one of those by which a stream tells about its collection.
    #[must_use]
    pub fn tells_about_collection(name: &str) -> bool {
        let named = ["collection-last-write-time-ms", "collection-criticality", "collection-protected"];
        named.contains(&name) || name.starts_with("collection-property:") || name.starts_with("collection-label:")
    }

    /// The same stream with the extra facts by which it tells about its collection (`wit/v0.1.0/policy.wit`, `collection-streams`):
    /// a compression policy is not given the collections themselves.
    #[must_use]
    pub fn telling_about(mut self, collection: &CollectionFacts) -> Self {
        let text = |name: String, value: &str| ExtraFact { name, value: FactValue::Text(value.to_owned()) };
        if let Some(time) = collection.last_write {
            let value = FactValue::Integer(time.as_millis());
            self.extra.push(ExtraFact { name: "collection-last-write-time-ms".to_owned(), value });
        }
        if let Some(criticality) = &collection.criticality {
            self.extra.push(text("collection-criticality".to_owned(), criticality));
        }
        let protected = FactValue::Flag(collection.protected);
        self.extra.push(ExtraFact { name: "collection-protected".to_owned(), value: protected });
        for (key, value) in &collection.properties {
            self.extra.push(text(format!("collection-property:{key}"), value));
        }
        for (key, value) in &collection.labels {
            self.extra.push(text(format!("collection-label:{key}"), value));
        }
        self
    }
}

/// Answer of a compression policy about one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecChoice {
    /// One of the offered codecs.
    pub codec: Codec,
    /// Why.
    pub reason: Reason,
}

/// A region offered to a placement policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionOffer {
    /// Which region.
    pub id: RegionId,
    /// Who runs it.
    pub provider: String,
    /// Its legal area; empty when none was given.
    pub jurisdiction: String,
    /// It is the cluster's own region.
    pub home: bool,
    /// Price of keeping one gigabyte for a month, in millionths of the currency unit.
    pub storage_price_micros_per_gb_month: u64,
    /// Price of moving one gigabyte there from the home region, in the same unit.
    pub transfer_price_micros_per_gb: u64,
    /// Whether it can be written to now.
    pub health: RegionHealth,
    /// Bytes its vault holds.
    pub used_bytes: u64,
    /// Facts without a field of their own.
    pub extra: Vec<ExtraFact>,
}

/// A further copy of a collection's backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Where.
    pub region: RegionId,
    /// Days to keep it; `None` means as long as the main one.
    pub retention_days: Option<u32>,
}

/// Answer of a placement policy about one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Region of the main backup of this collection.
    pub region: RegionId,
    /// Further copies.
    pub copies: Vec<Copy>,
    /// Days to keep an automatic backup; `None` means the schedule's own.
    pub retention_days: Option<u32>,
    /// Why.
    pub reason: Reason,
}

/// How much a line of a plugin's log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// For the curious.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// One line a plugin logged, control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub message: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::StreamFacts;
    use crate::{CollectionFacts, CollectionName, FactValue, FileClass, Timestamp};

    #[test]
    fn a_stream_tells_about_its_collection_in_the_words_of_the_contract() {
        let name = CollectionName::new("default", "docs").unwrap();
        let pair = |value: &str| vec![("tier".to_owned(), value.to_owned())];
        let facts = CollectionFacts {
            last_write: Some(Timestamp::from_millis(7)),
            criticality: Some("high".to_owned()),
            protected: true,
            properties: pair("hot"),
            labels: pair("cold"),
            ..CollectionFacts::named(name.clone())
        };
        let (files, size_bytes, new_bytes, sampled_bytes) = (0, 0, 0, 0);
        let (offers, extra) = (Vec::new(), Vec::new());
        let class = FileClass::Wal;
        let stream =
            StreamFacts { collection: name, class, files, size_bytes, new_bytes, sampled_bytes, offers, extra };
        let told = stream.telling_about(&facts).extra;
        let told: Vec<(&str, FactValue)> = told.iter().map(|fact| (fact.name.as_str(), fact.value.clone())).collect();
        let text = |text: &str| FactValue::Text(text.to_owned());
        let expected = [
            ("collection-last-write-time-ms", FactValue::Integer(7)),
            ("collection-criticality", text("high")),
            ("collection-protected", FactValue::Flag(true)),
            ("collection-property:tier", text("hot")),
            ("collection-label:tier", text("cold")),
        ];
        assert_eq!(told, expected);
        let contract = include_str!("../../../wit/v0.1.0/policy.wit");
        for (name, _) in expected {
            let word = name.split(':').next().unwrap();
            assert!(contract.contains(&format!("`{word}")), "{word} is not in the contract");
        }
    }
}
