//! Reads Milvus' binlogs: files of inserted values and of deletes (`internal/storage` of Milvus 2.3).
//!
//! Contract: bytes come from a stranger. Every number in them is checked before it is used, no length leads to an
//! allocation beyond the limits, and what does not fit is [`SourceError::Damaged`] or [`SourceError::Unsupported`] with the
//! path of the file, never a panic. A file is read to its end or not at all: there is no shorter answer.

mod deletes;
mod events;
mod field_log;
mod latest;
mod packed;
mod pull;
mod values;
mod write;

pub(crate) use deletes::{Deletes, read_deletes, without_later};
pub use events::{Binlog, Descriptor};
pub(crate) use field_log::{FieldLog, read_keys, read_timestamps};
pub(crate) use packed::PackedFile;
pub(crate) use pull::PullValues;
pub(crate) use values::Values;
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
    /// Whether it is of storage version 2, by how it begins. Blocks.
    ///
    /// # Errors
    /// Failures of reading.
    pub(crate) fn is_packed(&self) -> Result<bool, SourceError> {
        if self.size_bytes < packed::MAGIC.len() as u64 {
            return Ok(false);
        }
        let head = self.read_at(0, packed::MAGIC.len())?;
        Ok([packed::MAGIC, packed::ENCRYPTED_MAGIC].iter().any(|magic| head == magic.as_slice()))
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
