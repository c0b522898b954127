//! The contract between the engine and a kind of cluster: what can be read, at which point, and how.
//!
//! A [`Source`] never changes what it reads and takes no lock on it. There is one consistent point per collection and
//! none across collections. Every failure is a [`SourceError`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{ClassBytes, CollectionName, Digest, FileClass, IndexFacts, LoadState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{SourceError, StoredBytes, StoredFile};

/// Which kind of cluster a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SourceKind {
    /// A Milvus Lite 3 data directory.
    MilvusLite,
    /// A Milvus server, 2.3 or newer.
    Milvus,
}

impl SourceKind {
    /// The spelling used in configuration and manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MilvusLite => "milvus-lite",
            Self::Milvus => "milvus",
        }
    }
}

/// A cluster that can be backed up.
#[async_trait]
pub trait Source: Send + Sync {
    /// Which kind of cluster this is.
    fn kind(&self) -> SourceKind;

    /// Lists databases and collections with what can be known cheaply: no row is read.
    ///
    /// # Errors
    /// When the cluster cannot be read, or a description in it is damaged.
    async fn inventory(&self) -> Result<Inventory, SourceError>;

    /// As [`Source::inventory`], told what earlier runs know: a kind of cluster that must open files to count their rows need
    /// not open those, and points opened after it need not hold files that are stored already.
    ///
    /// # Errors
    /// As [`Source::inventory`].
    async fn inventory_knowing(&self, known: Arc<dyn KnownFiles>) -> Result<Inventory, SourceError> {
        drop(known);
        self.inventory().await
    }

    /// Names of all collections, in order of database and name. A kind of cluster that can tell them more cheaply than
    /// an inventory does so.
    ///
    /// # Errors
    /// As [`Source::inventory`].
    async fn collection_names(&self) -> Result<Vec<CollectionName>, SourceError> {
        Ok(self.inventory().await?.collections.into_iter().map(|entry| entry.name).collect())
    }

    /// Looks whether backups of this cluster can work, and says what to change where they cannot. Changes nothing in it.
    async fn check(&self) -> Vec<SourceFinding> {
        match self.inventory().await {
            Ok(inventory) => {
                let (collections, databases) = (inventory.collections.len(), inventory.databases.len());
                vec![SourceFinding::good("read", format!("{collections} collections in {databases} databases"))]
            }
            Err(error) => vec![SourceFinding::bad("read", error.to_string())],
        }
    }

    /// Opens one collection at one consistent point. The point holds every row acknowledged before this call began.
    ///
    /// # Errors
    /// [`SourceError::UnknownCollection`], [`SourceError::KeepsChanging`] when the collection did not hold still within
    /// the limits, and whatever reading can fail with.
    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError>;

    /// What opens collections on a thread of the caller's; `None` where opening is more than a look at a disk.
    fn opener(&self) -> Option<Arc<dyn Opener>> {
        None
    }
}

/// One thing that [`Source::check`] looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceFinding {
    /// What was looked at, in a word or two.
    pub what: &'static str,
    /// How it is.
    pub state: FindingState,
    /// What was found, and what to do.
    pub text: String,
}

/// How something that was looked at is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingState {
    /// As it should be.
    Good,
    /// Backups work, but not all is as it should be.
    Warning,
    /// Backups do not work.
    Bad,
}

impl SourceFinding {
    /// As it should be.
    #[must_use]
    pub fn good(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, state: FindingState::Good, text: text.into() }
    }

    /// Not quite as it should be.
    #[must_use]
    pub fn warning(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, state: FindingState::Warning, text: text.into() }
    }

    /// In the way of backups.
    #[must_use]
    pub fn bad(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, state: FindingState::Bad, text: text.into() }
    }
}

/// What to include in a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointOptions {
    /// Take index files too, where they are whole and stable. They can be rebuilt and are left out otherwise.
    pub include_index_files: bool,
    /// Hold every file open, also those that an inventory saw a moment ago.
    pub hold_all_files: bool,
}

/// What a cluster holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// Version of the cluster's software or of its format, for example `milvus-lite format 2`.
    pub source_version: String,
    /// Databases in order of name; the default one is always there.
    pub databases: Vec<DatabaseEntry>,
    /// Collections in order of (database, name).
    pub collections: Vec<CollectionEntry>,
    /// Users, roles and what they may do, as the source keeps them; `None` where it has none or does not tell.
    pub access: Option<Value>,
    /// What could not be read and is left out, in sentences.
    pub warnings: Vec<String>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// Its name.
    pub name: String,
    /// Its properties as the source keeps them; `{}` when there are none.
    pub properties: Value,
    /// Aliases and the collections they stand for.
    pub aliases: BTreeMap<String, String>,
}

/// One collection, without its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionEntry {
    /// Its name.
    pub name: CollectionName,
    /// Its schema as the source keeps it.
    pub schema: Arc<Value>,
    /// Its properties, in order of key.
    pub properties: Vec<(String, String)>,
    /// Its indexes, in order of field.
    pub indexes: Vec<IndexFacts>,
    /// Its partitions, in order of name.
    pub partitions: Vec<String>,
    /// Bytes by class of file.
    pub size_bytes: ClassBytes,
    /// Of these, bytes of files that an earlier run stored ([`KnownFile::is_stored`]).
    pub stored_bytes: ClassBytes,
    /// Physical rows: rows of the data files, deleted ones included, and inserted rows of the write-ahead log.
    /// A row that was flushed a moment ago may be counted twice while its log file is still there.
    pub rows: u64,
    /// Newest modification time of its files.
    pub last_write: Option<Timestamp>,
    /// When it was created, where the source tells.
    pub created: Option<Timestamp>,
    /// Whether it is held in memory.
    pub load_state: LoadState,
    /// Changes when the collection is altered (schema, properties, partitions, indexes) or dropped and created again,
    /// even with the same content; does not change with inserts, deletes, flushes and compactions.
    pub fingerprint: Digest,
}

/// One collection at one consistent point. Files that it holds open can be read to the end even when the source deletes them
/// meanwhile; which it does not hold open, [`CollectionPoint::holds_all_files`] says.
#[async_trait]
pub trait CollectionPoint: Send + Sync {
    /// Which collection.
    fn name(&self) -> &CollectionName;

    /// The files, in order of path. What does not belong to the point is not listed.
    fn files(&self) -> &[PointFile];

    /// The schema at this point, as the source keeps it.
    fn schema(&self) -> &Value;

    /// What the point is (manifest version, last sequence number, where the log was cut, what was left out): goes into
    /// the backup's manifest and back into [`TargetCollection::description`](crate::TargetCollection).
    fn description(&self) -> &Value;

    /// Rows in the files of this point, deleted ones included; every row is counted once per file it is in.
    fn physical_rows(&self) -> u64;

    /// Rows a client sees at this point, or `None` when counting them would take more than `memory_bytes`.
    ///
    /// # Errors
    /// When a file of the point cannot be read or decoded.
    async fn live_rows(&self, memory_bytes: u64) -> Result<Option<u64>, SourceError>;

    /// Begins the same count for somebody who reads the files anyway. `None` where a source does not count like that.
    fn counting(&self, memory_bytes: u64) -> Option<Arc<dyn RowCounting>> {
        let _ = memory_bytes;
        None
    }

    /// Whether [`CollectionPoint::count_rows`] does what it says: where a restore cannot be proven by the files alone.
    fn digests_rows(&self) -> bool {
        false
    }

    /// Counts the rows that a client sees, and digests them for the proof of a restore. `digests` are the BLAKE3 of all
    /// [`CollectionPoint::files`], in their order; `earlier` is the description of an earlier point, so that what has not
    /// changed since is not read. `None` when it cannot be done within the limits, or not for files of this kind.
    ///
    /// # Errors
    /// When a file of the point cannot be read or decoded, or does not hold what the source said.
    async fn count_rows(
        &self,
        _digests: &[Digest],
        _earlier: Option<&Value>,
    ) -> Result<Option<CountedPoint>, SourceError> {
        Ok(None)
    }

    /// Reads exactly `length` bytes at `offset` of the file at place `file` of [`CollectionPoint::files`].
    ///
    /// # Errors
    /// [`SourceError::FileChanged`] when fewer bytes are there than the point says, or when a file that is not held open
    /// is no longer there; [`SourceError::OutOfRange`] for a range outside the file.
    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError>;

    /// The same as work for a thread that may wait for a disk; `None` where reading is more than that, or less.
    fn reading(&self, file: usize, offset: u64, length: usize) -> Option<Reading> {
        let _ = (file, offset, length);
        None
    }

    /// False when not all files are held open: those that an inventory saw a moment ago are opened when they are read, and
    /// a server's are not held at all. Whoever reads one, and finds it changed or gone, opens the collection again with
    /// [`PointOptions::hold_all_files`], as often as it takes but not for ever.
    fn holds_all_files(&self) -> bool {
        true
    }

    /// Number of files it holds open: one for each of [`CollectionPoint::files`] unless it says otherwise.
    fn descriptors(&self) -> usize {
        self.files().len()
    }

    /// Looks again at the collection this point was taken from.
    ///
    /// # Errors
    /// When the collection is there but cannot be read.
    async fn recheck(&self) -> Result<PointState, SourceError>;

    /// What is needed to look again later, without the point and the files it holds open. `None` where only the point
    /// itself can.
    fn recheck_later(&self) -> Option<Arc<dyn Recheck>> {
        None
    }
}

/// Counts the live rows of a point while its files are read for something else.
pub trait RowCounting: Send + Sync {
    /// Counts the file at this place of [`CollectionPoint::files`], of which these are all bytes. Work for a thread that
    /// computes.
    ///
    /// # Errors
    /// When it cannot be decoded, or has another length than at the point.
    fn add(&self, file: usize, bytes: &Bytes) -> Result<(), SourceError>;

    /// Whether [`RowCounting::finish`] has nothing more to read.
    fn needs_no_reading(&self) -> bool;

    /// Reads and counts what was not added. Work for a thread that may wait for a disk. As [`CollectionPoint::live_rows`].
    ///
    /// # Errors
    /// As [`CollectionPoint::live_rows`].
    fn finish(&self) -> Result<Option<u64>, SourceError>;
}

/// A point whose rows were counted.
#[derive(Debug, Clone, PartialEq)]
pub struct CountedPoint {
    /// Rows that a client sees.
    pub live_rows: u64,
    /// Its description, with the digests of its rows in it.
    pub description: Value,
}

/// Reads a piece of a file; made by [`CollectionPoint::reading`].
pub type Reading = Box<dyn FnOnce() -> Result<Bytes, SourceError> + Send>;

/// What earlier runs know of files.
pub trait KnownFiles: Send + Sync {
    /// What is known of this very file of a collection. May wait until that has been read: to be called on a thread that
    /// may wait, never on one that runs tasks.
    fn look_up(&self, collection: &CollectionName, file: &FileIdentity) -> KnownFile;
}

/// What earlier runs know of one file; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownFile {
    /// Its rows, if they were counted.
    pub rows: Option<u64>,
    /// Its bytes are stored where this run would store them: most likely it need not be read.
    pub is_stored: bool,
}

/// Nothing is known.
impl KnownFiles for () {
    fn look_up(&self, _collection: &CollectionName, _file: &FileIdentity) -> KnownFile {
        KnownFile::default()
    }
}

/// Opens collections of a source one after the other.
pub trait Opener: Send + Sync {
    /// As [`Source::open_point`], on this thread, which may wait for a disk; `None` where the first attempt did not
    /// succeed and the source has to be asked. Of thousands of collections, handing each to a thread of its own would cost
    /// more than opening it.
    fn open_here(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Option<Result<Arc<dyn CollectionPoint>, SourceError>>;
}

/// Looks again at a collection of which a point was taken.
#[async_trait]
pub trait Recheck: Send + Sync {
    /// As [`CollectionPoint::recheck`].
    ///
    /// # Errors
    /// As [`CollectionPoint::recheck`].
    async fn recheck(&self) -> Result<PointState, SourceError>;

    /// The same on this thread, which may wait for a disk; `None` where looking again is more than that. Of thousands of
    /// collections, handing each to a thread of its own would cost more than the look.
    fn recheck_here(&self) -> Option<Result<PointState, SourceError>> {
        None
    }
}

/// What became of a collection after a point of it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointState {
    /// The same collection with the same schema, properties, partitions and indexes; rows may have changed.
    Unaltered,
    /// The same name, but altered, or dropped and created again.
    Altered,
    /// Gone.
    Dropped,
}

/// One file of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PointFile {
    /// Path relative to the collection, `/` between components.
    pub path: String,
    /// Its class.
    pub class: FileClass,
    /// The partition it belongs to, if it belongs to one.
    pub partition: Option<String>,
    /// Its size at the point.
    pub size_bytes: u64,
    /// What makes it the same file in a later backup; `None` for files that are written in place and for files that
    /// were changed less than two seconds before the point was taken.
    pub identity: Option<FileIdentity>,
    /// Rows in it, where it is a data file whose rows the source could count without reading them.
    pub rows: Option<u64>,
}

impl PointFile {
    /// The same as parsers take it.
    pub(crate) fn stored(&self, bytes: Arc<dyn StoredBytes>) -> StoredFile {
        StoredFile { path: self.path.clone(), class: self.class, size_bytes: self.size_bytes, bytes }
    }
}

/// What makes an immutable file the same file without reading it. Numbers that a kind of source does not have are 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Kind of source, and the absolute path of its directory or the bucket that its files are in.
    pub source: String,
    /// Path within the source.
    pub path: String,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change of the inode, nanoseconds since 1970.
    pub changed_ns: i64,
    /// What the store of a bucket says to tell one content of a key from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}
