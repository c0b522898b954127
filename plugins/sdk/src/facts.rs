//! What a policy is told: plain structs, one for each record of the contract, with the same meaning.
//!
//! Every struct has a `Default`, so a native test names only the facts it is about:
//!
//! ```
//! use longshore_plugin::{Collection, Run};
//!
//! let run = Run { home_region: "eu-1".into(), ..Run::default() };
//! let docs = Collection { rows: 40_000, ..Collection::named(7, "default", "docs") };
//! assert_eq!(docs.qualified_name(), "default.docs");
//! assert_eq!(run.page_number, 0);
//! ```

use std::borrow::Cow;
use std::rc::Rc;

/// A text that many items of a page have in common, so that a copy of it costs nothing. Made by `.into()` of a `&'static str`
/// or a `String`, and compared with either.
pub type Text = Cow<'static, str>;

/// Number of an item within one call. It means nothing outside the call it came with.
pub type ItemId = u32;

/// A fact that this version of the contract has no field for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number; the fact's name says in which unit.
    Integer(i64),
    /// A text.
    Text(String),
}

/// Named facts beside the typed ones. A policy ignores the names it does not know.
pub type ExtraFacts = Vec<(String, FactValue)>;

/// What is being backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunKind {
    /// The whole cluster was asked for.
    #[default]
    Cluster,
    /// Named collections were asked for. A policy cannot leave one of them out, it can only refuse the run.
    Collection,
}

/// Who started the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunTrigger {
    /// A person or a program, by the API or the command line.
    #[default]
    Manual,
    /// The schedule.
    Automatic,
}

/// Sums over the whole cluster, the same on every page of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Number of collections.
    pub collections: u64,
    /// Rows of all collections, deleted ones included.
    pub rows: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Bytes that no earlier backup holds.
    pub new_bytes: u64,
}

/// Facts about the run a question belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whole cluster or named collections.
    pub kind: RunKind,
    /// Who started it.
    pub trigger: RunTrigger,
    /// Id of the cluster, `in01-…`.
    pub cluster_id: String,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Id of the project the cluster belongs to.
    pub project_id: String,
    /// Region of the cluster.
    pub home_region: String,
    /// The run's own time in milliseconds since 1970 UTC, fixed when the run was planned. There is no other clock.
    pub time_ms: u64,
    /// Random bits of the run, fixed when the run was planned. There is no other randomness.
    pub seed: u64,
    /// When the schedule runs next, in milliseconds since 1970 UTC, if there is a schedule.
    pub next_run_time_ms: Option<u64>,
    /// What backups of this project have cost this month, in millionths of the currency unit.
    pub month_spend_micros: u64,
    /// What they may cost in a month, in the same unit, if the operator set a budget.
    pub month_budget_micros: Option<u64>,
    /// Sums over the whole cluster.
    pub totals: Totals,
    /// The plugin's settings as JSON text, valid under the schema that the plugin exports. See [`Run::settings`].
    pub settings_json: String,
    /// What the previous page returned as `carry`; empty on the first page.
    pub carry: Vec<u8>,
    /// Zero-based number of this page.
    pub page_number: u32,
    /// This is the last page of this kind.
    pub last_page: bool,
    /// Facts without a field of their own.
    pub extra: ExtraFacts,
}

impl Default for Run {
    /// A manual backup of a whole, empty cluster with settings `{}` and a single page.
    fn default() -> Self {
        Self {
            kind: RunKind::default(),
            trigger: RunTrigger::default(),
            cluster_id: String::new(),
            cluster_name: String::new(),
            project_id: String::new(),
            home_region: String::new(),
            time_ms: 0,
            seed: 0,
            next_run_time_ms: None,
            month_spend_micros: 0,
            month_budget_micros: None,
            totals: Totals::default(),
            settings_json: "{}".to_owned(),
            carry: Vec::new(),
            page_number: 0,
            last_page: true,
            extra: Vec::new(),
        }
    }
}

/// Bytes of a collection by class of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassBytes {
    /// Row data.
    pub segment: u64,
    /// Index files, which can be built again from the rows.
    pub index: u64,
    /// Deletions.
    pub delta: u64,
    /// Write-ahead log.
    pub wal: u64,
    /// Schema and manifests.
    pub metadata: u64,
}

/// An index as the collection declares it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexFacts {
    /// The indexed field.
    pub field_name: String,
    /// For example `HNSW` or `AUTOINDEX`.
    pub index_type: String,
    /// For example `COSINE`.
    pub metric_type: String,
}

/// Whether a collection is held in memory for searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadState {
    /// The source cannot tell.
    #[default]
    Unknown,
    /// Not in memory.
    NotLoaded,
    /// In memory.
    Loaded,
}

/// The newest backup of a collection that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastBackup {
    /// Id of the backup.
    pub backup_id: String,
    /// When it was made, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Regions that hold it.
    pub regions: Vec<String>,
    /// Codecs its blobs were stored with.
    pub codecs: Vec<String>,
    /// Bytes it takes in the store.
    pub stored_bytes: u64,
}

/// Facts about one collection. Facts that the source cannot know are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collection {
    /// Number of the item in this call.
    pub id: ItemId,
    /// Database the collection lives in.
    pub database: String,
    /// Name within the database.
    pub name: String,
    /// The collection's own properties. See [`Collection::property`].
    pub properties: Vec<(String, String)>,
    /// Labels of the host's configuration; operators often cannot set properties. See [`Collection::label`].
    pub labels: Vec<(String, String)>,
    /// The operator's word for how much it matters, if given.
    pub criticality: Option<String>,
    /// How much recent work may be lost at most, in seconds, if given.
    pub recovery_point_objective_seconds: Option<u64>,
    /// The operator protects it: leaving it out would be overridden by the host.
    pub protected: bool,
    /// It was named in the request.
    pub requested: bool,
    /// Rows in data files and write-ahead log, deleted ones included.
    pub rows: u64,
    /// Bytes by class of file.
    pub size_bytes: ClassBytes,
    /// Bytes that no earlier backup holds.
    pub new_bytes: u64,
    /// When it was created, in milliseconds since 1970 UTC.
    pub created_time_ms: Option<u64>,
    /// When it was last written to, in milliseconds since 1970 UTC.
    pub last_write_time_ms: Option<u64>,
    /// Whether it is held in memory.
    pub load_state: LoadState,
    /// Its indexes.
    pub indexes: Vec<IndexFacts>,
    /// Its newest good backup, if there is one.
    pub last_backup: Option<LastBackup>,
    /// Backups of it that failed since the last good one.
    pub consecutive_failures: u32,
    /// When a restore of it was last proven, in milliseconds since 1970 UTC.
    pub last_proven_restore_time_ms: Option<u64>,
    /// Code of the reason given for it in the previous run by this kind of policy.
    pub previous_reason_code: Option<String>,
    /// Facts without a field of their own.
    pub extra: ExtraFacts,
}

impl Collection {
    /// A collection of which only number and name are known.
    #[must_use]
    pub fn named(id: ItemId, database: impl Into<String>, name: impl Into<String>) -> Self {
        Self { id, database: database.into(), name: name.into(), ..Self::default() }
    }

    /// `database.name`, the way people write it.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// A codec that the host offers for a stream. Every offered codec is lossless.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CodecOffer {
    /// For example `store`, `lz4`, `zstd-1`, `shuffle4-zstd-1`.
    pub codec: Text,
    /// Plain bytes per 1,000 stored bytes on the host's sample of this stream: 1190 is a ratio of 1.19.
    pub ratio_thousandths: u32,
    /// Speed of encoding on this host in megabytes of plain bytes per second.
    pub compress_mb_per_second: u32,
    /// Speed of decoding on this host in megabytes of plain bytes per second.
    pub decompress_mb_per_second: u32,
}

/// One class of files of one collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// Number of the item in this call.
    pub id: ItemId,
    /// Database of the collection.
    pub database: Text,
    /// Name of the collection.
    pub collection: Text,
    /// `segment`, `index`, `delta`, `wal` or `metadata`; other sources may have others.
    pub class: Text,
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Bytes that no earlier backup holds; only these will be encoded.
    pub new_bytes: u64,
    /// Bytes the ratios were measured on. 0: nothing was sampled and the ratios are the host's guess.
    pub sampled_bytes: u64,
    /// The codecs to choose from.
    pub offers: Vec<CodecOffer>,
    /// Facts without a field of their own.
    pub extra: ExtraFacts,
    /// Facts about its collection, shared by all streams of it. See [`Stream::property`] and its neighbours.
    pub collection_extra: Rc<ExtraFacts>,
}

impl Stream {
    /// The offer for a codec, if the host makes one.
    #[must_use]
    pub fn offer(&self, codec: &str) -> Option<&CodecOffer> {
        self.offers.iter().find(|offer| offer.codec == codec)
    }
}

/// How a region is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegionHealth {
    /// Works.
    #[default]
    Healthy,
    /// Works, with trouble.
    Degraded,
    /// Cannot be reached now.
    Unreachable,
}

/// A region that the project may use. Regions outside the list of a call do not exist for a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// Id, for example `aws-eu-central-1`.
    pub id: String,
    /// Who runs it.
    pub provider: String,
    /// For example `eu` or `us`; empty when the operator gave none.
    pub jurisdiction: String,
    /// It is the cluster's own region.
    pub home: bool,
    /// Price of keeping a gigabyte for a month, in millionths of the currency unit.
    pub storage_price_micros_per_gb_month: u64,
    /// Price of moving a gigabyte there from the home region, in millionths of the currency unit.
    pub transfer_price_micros_per_gb: u64,
    /// How it is doing.
    pub health: RegionHealth,
    /// Bytes that the project keeps there.
    pub used_bytes: u64,
    /// Facts without a field of their own.
    pub extra: ExtraFacts,
}
