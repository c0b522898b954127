//! Where a Milvus server keeps its files: a folder of this machine or a bucket.
//!
//! Contract: paths are relative to the server's root path, `/` between components. A listing is of what is there now; what
//! was listed may be gone when it is read, and is [`SourceError::FileChanged`] then. Nothing is written through it.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::bucket_location::BucketLocation;
use crate::{Reading, SourceError};

/// Where a server keeps its files, as people configure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageLocation {
    /// A folder of this machine: what the server calls `localStorage.path`, which has `insert_log` in it.
    Folder(PathBuf),
    /// A bucket.
    Bucket(BucketLocation),
}

/// A file that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedFile {
    /// Its path below the listed folder.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) modified_ms: i64,
    /// What makes it this file and no other, beside its path and size.
    pub(super) version: FileVersion,
}

/// What a storage says about a file beside its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FileVersion {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) modified_ns: i64,
    /// Of a bucket's object.
    pub(super) tag: Option<String>,
}

/// See the module.
#[async_trait]
pub(super) trait LogStorage: Send + Sync {
    /// Root path or bucket, for messages.
    fn shown(&self) -> &str;

    /// The same as part of the identity of files.
    fn identity(&self) -> String;

    /// All files below a folder, in order of path; none when the folder is not there.
    async fn list(&self, folder: &str) -> Result<Vec<ListedFile>, SourceError>;

    /// Names of the folders in a folder, in order; `""` is the root.
    async fn folders(&self, folder: &str) -> Result<Vec<String>, SourceError>;

    /// Exactly `length` bytes at `offset`.
    async fn read(&self, path: &str, offset: u64, length: usize) -> Result<Bytes, SourceError>;

    /// The same as work for a thread that may wait, where it is no more than that.
    fn reading(&self, path: &str, offset: u64, length: usize) -> Option<Reading> {
        let _ = (path, offset, length);
        None
    }
}

/// The error for a file that was listed and is no longer there, or is shorter.
pub(super) fn vanished(shown: String) -> SourceError {
    SourceError::FileChanged {
        path: shown,
        reason: "it was listed and is gone or shorter now, as after a compaction whose leftovers were removed"
            .to_owned(),
    }
}
