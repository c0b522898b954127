//! Facts about collections: what a policy may see (`wit/v0.1.0/policy.wit`, record `collection`).

use serde::{Deserialize, Serialize};

use crate::{BackupId, CollectionName, RegionId, Timestamp};

/// Class of a file of a collection. A *stream* is all files of one class of one collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileClass {
    /// Rows.
    Segment,
    /// Index files made from rows; they can be rebuilt.
    Index,
    /// Deletions.
    Delta,
    /// Write-ahead log: rows and deletions not yet flushed.
    Wal,
    /// Schema and other small descriptions.
    Metadata,
}

impl FileClass {
    /// All classes, in the order they are listed.
    pub const ALL: [Self; 5] = [Self::Segment, Self::Index, Self::Delta, Self::Wal, Self::Metadata];

    /// The spelling used in policies and manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Index => "index",
            Self::Delta => "delta",
            Self::Wal => "wal",
            Self::Metadata => "metadata",
        }
    }
}

impl std::fmt::Display for FileClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes by class of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClassBytes {
    /// Bytes of segments.
    pub segment: u64,
    /// Bytes of index files.
    pub index: u64,
    /// Bytes of deletions.
    pub delta: u64,
    /// Bytes of write-ahead log.
    pub wal: u64,
    /// Bytes of metadata.
    pub metadata: u64,
}

impl ClassBytes {
    /// Adds bytes to one class.
    pub fn add(&mut self, class: FileClass, bytes: u64) {
        let slot = match class {
            FileClass::Segment => &mut self.segment,
            FileClass::Index => &mut self.index,
            FileClass::Delta => &mut self.delta,
            FileClass::Wal => &mut self.wal,
            FileClass::Metadata => &mut self.metadata,
        };
        *slot = slot.saturating_add(bytes);
    }

    /// Bytes of one class.
    #[must_use]
    pub const fn of(&self, class: FileClass) -> u64 {
        match class {
            FileClass::Segment => self.segment,
            FileClass::Index => self.index,
            FileClass::Delta => self.delta,
            FileClass::Wal => self.wal,
            FileClass::Metadata => self.metadata,
        }
    }

    /// Bytes of all classes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.segment
            .saturating_add(self.index)
            .saturating_add(self.delta)
            .saturating_add(self.wal)
            .saturating_add(self.metadata)
    }
}

/// Whether a collection is held in memory for searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadState {
    /// The source cannot tell.
    #[default]
    Unknown,
    /// Not held in memory.
    NotLoaded,
    /// Held in memory.
    Loaded,
}

/// An index as the collection declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFacts {
    /// Field it is on.
    pub field_name: String,
    /// For example `HNSW`.
    pub index_type: String,
    /// For example `COSINE`; empty for scalar indexes.
    pub metric_type: String,
}

/// The newest backup of a collection that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Which backup.
    pub backup_id: BackupId,
    /// When it was made.
    pub time: Timestamp,
    /// Regions that hold it.
    pub regions: Vec<RegionId>,
    /// Codecs its blobs were stored with, as text.
    pub codecs: Vec<String>,
    /// Bytes it takes in the vault.
    pub stored_bytes: u64,
}

/// A fact that the contract has no field for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FactValue {
    /// True or false.
    Flag(bool),
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// A named fact beside the typed ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFact {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: FactValue,
}

/// Everything a policy may know about a collection. Facts that the source cannot know are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionFacts {
    /// Which collection.
    pub name: CollectionName,
    /// The collection's own properties, in order of key.
    pub properties: Vec<(String, String)>,
    /// Labels from the host's configuration, in order of key.
    pub labels: Vec<(String, String)>,
    /// The operator's word for how much it matters.
    pub criticality: Option<String>,
    /// How much recent work may be lost at most, in seconds.
    pub recovery_point_objective_seconds: Option<u64>,
    /// The operator protects it: it stays in whatever a policy says.
    pub protected: bool,
    /// It was named in the request.
    pub requested: bool,
    /// Rows in data files and write-ahead log, deleted ones included.
    pub rows: u64,
    /// Bytes by class of file.
    pub size_bytes: ClassBytes,
    /// Bytes that no earlier backup holds.
    pub new_bytes: u64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was last written to.
    pub last_write: Option<Timestamp>,
    /// Whether it is held in memory.
    pub load_state: LoadState,
    /// Its indexes, in order of field.
    pub indexes: Vec<IndexFacts>,
    /// Its newest good backup.
    pub last_backup: Option<LastBackup>,
    /// Backups of it that failed since then.
    pub consecutive_failures: u32,
    /// When a restore of it was last proven.
    pub last_proven_restore: Option<Timestamp>,
    /// Reason code of the previous decision of the same kind about it.
    pub previous_reason_code: Option<String>,
    /// Facts without a field of their own.
    pub extra: Vec<ExtraFact>,
}

impl CollectionFacts {
    /// Facts about a collection of which nothing but the name is known.
    #[must_use]
    pub fn named(name: CollectionName) -> Self {
        Self {
            name,
            properties: Vec::new(),
            labels: Vec::new(),
            criticality: None,
            recovery_point_objective_seconds: None,
            protected: false,
            requested: false,
            rows: 0,
            size_bytes: ClassBytes::default(),
            new_bytes: 0,
            created: None,
            last_write: None,
            load_state: LoadState::Unknown,
            indexes: Vec::new(),
            last_backup: None,
            consecutive_failures: 0,
            last_proven_restore: None,
            previous_reason_code: None,
            extra: Vec::new(),
        }
    }
}
