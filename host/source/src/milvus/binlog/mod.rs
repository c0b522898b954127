//! Reads Milvus' binlogs: files of inserted values and of deletes (`internal/storage` of Milvus 2.3).
//!
//! Contract: bytes come from a stranger. Every number in them is checked before it is used, no length leads to an
//! allocation beyond the limits, and what does not fit is [`SourceError::Damaged`] or [`SourceError::Unsupported`] with the
//! path of the file, never a panic. A file is read to its end or not at all: there is no shorter answer.

mod deletes;
mod events;
mod latest;
mod pull;
mod values;
mod write;

pub(crate) use deletes::{Deletes, read_deletes, without_later};
pub use events::{Binlog, Descriptor};
use events::{PARQUET_MAGIC, packed_is_whole};
pub(crate) use pull::PullValues;
pub(crate) use values::{Values, read_keys, read_timestamps, written_ms};
pub(crate) use write::{WriteError, insert_log};

use std::sync::Arc;

use bytes::Bytes;

use crate::{Limits, SourceError, StoredBytes};

/// A log file, wherever its bytes are.
#[derive(Clone)]
pub struct LogFile {
    /// Its path, for messages.
    pub shown: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its bytes.
    pub bytes: Arc<dyn StoredBytes>,
}

impl std::fmt::Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFile").field("shown", &self.shown).field("size_bytes", &self.size_bytes).finish()
    }
}

impl LogFile {
    /// Whether it is of storage version 2; `None` if not, else whether it is whole. Blocks.
    ///
    /// # Errors
    /// As [`LogFile::read`].
    pub(crate) fn packed(&self, limits: &Limits) -> Result<Option<bool>, SourceError> {
        let mut head = [0; PARQUET_MAGIC.len()];
        if self.size_bytes < head.len() as u64 {
            return Ok(None);
        }
        let read = self.bytes.fill(&mut head, 0);
        read.map_err(|error| SourceError::Io { action: "read", path: self.shown.clone(), error })?;
        if head != PARQUET_MAGIC { Ok(None) } else { Ok(packed_is_whole(&self.read(limits)?)) }
    }

    /// Reads all of it. Blocks.
    ///
    /// # Errors
    /// [`SourceError::LimitExceeded`], [`SourceError::Io`].
    pub(crate) fn read(&self, limits: &Limits) -> Result<Bytes, SourceError> {
        if self.size_bytes > limits.binlog_bytes {
            let (path, what, limit) = (self.shown.clone(), "its size in bytes", limits.binlog_bytes);
            return Err(SourceError::LimitExceeded { path, what, used: self.size_bytes, limit });
        }
        let mut buffer = vec![0; usize::try_from(self.size_bytes).unwrap_or(usize::MAX)];
        let read = self.bytes.fill(&mut buffer, 0);
        read.map_err(|error| SourceError::Io { action: "read", path: self.shown.clone(), error })?;
        Ok(buffer.into())
    }
}

pub(crate) fn damaged(shown: &str, reason: impl Into<String>) -> SourceError {
    SourceError::Damaged { path: shown.to_owned(), reason: reason.into() }
}
