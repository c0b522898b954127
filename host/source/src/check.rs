//! Checks that the files of a backed-up collection parse and agree with one another, wherever their bytes are kept.
//!
//! Contract: nothing is restored and nothing is written. Every file that is given is read to its end with the reader
//! that its kind needs; what does not parse is a problem with the path it belongs to, never a panic or an error of the
//! whole check. Only failing to read bytes at all ends it early, as a problem of that file.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::FileClass;

use crate::disk::ReadAt;
use crate::{Limits, SourceError, SourceKind};

/// Bytes of one stored file, read by position.
pub trait StoredBytes: Send + Sync {
    /// Fills `buffer` from `offset`. Called on threads that may wait.
    ///
    /// # Errors
    /// When fewer bytes are there, or they cannot be read.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Bytes in memory.
impl StoredBytes for Bytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::fill(self.as_ref(), buffer, offset)
    }
}

/// A stored file of a collection.
#[derive(Clone)]
pub struct StoredFile {
    /// Path relative to the collection.
    pub path: String,
    /// Its class.
    pub class: FileClass,
    /// Its length.
    pub size_bytes: u64,
    /// Its bytes.
    pub bytes: Arc<dyn StoredBytes>,
}

impl std::fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredFile").field("path", &self.path).field("size_bytes", &self.size_bytes).finish()
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedFiles {
    /// Files that were read to their end and parse.
    pub parsed: u64,
    /// Paths and what is wrong with them; the path of the collection itself is empty.
    pub problems: Vec<(String, String)>,
    /// Rows in the files, deleted ones included; `None` when not all files were given, or some do not parse.
    pub physical_rows: Option<u64>,
    /// Rows a client sees; `None` as above, or when counting them takes too much memory.
    pub live_rows: Option<u64>,
}

/// Checks the files of one collection. `complete` says that all files of the collection are given: only then is it
/// checked that what the files name is there, and are rows counted. Blocks.
///
/// # Errors
/// [`SourceError::Unsupported`] for a kind of source that has no reader here.
pub fn check_files(
    kind: &str,
    files: &[StoredFile],
    complete: bool,
    limits: &Limits,
) -> Result<CheckedFiles, SourceError> {
    if kind == SourceKind::MilvusLite.as_str() {
        return Ok(crate::lite::check_files(files, complete, limits));
    }
    if kind == SourceKind::Milvus.as_str() {
        return Ok(crate::milvus::check_files(files, complete, limits));
    }
    Err(SourceError::Unsupported {
        path: kind.to_owned(),
        reason: "this Longshore cannot parse the files of this kind of source".to_owned(),
    })
}
