//! Counts the rows that a client sees at a point, out of as few logs as it takes.
//!
//! A segment without deletes whose rows are not later than the point has as many as the server says. Of the others keys,
//! timestamps and deletes are read, and no vector. What was written long before the point is not read to know that: the head
//! of a log would not say it, because rows do not lie in the order of their timestamps.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::cut::BEING_WRITTEN_MS;
use super::kept::{KeptPoint, KeptSchema};
use super::layout::LogPath;
use super::row_schema::RowSchema;
use super::rows::{CollectionLogs, SegmentLogs};
use super::storage::LogStorage;
use crate::{Limits, PointFile, SourceError, StoredBytes};

/// A log of a point, read by threads that may wait.
pub(super) struct PointLog {
    pub(super) storage: Arc<dyn LogStorage>,
    pub(super) stored: String,
    pub(super) runtime: Handle,
}

impl StoredBytes for PointLog {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = match self.storage.reading(&self.stored, offset, buffer.len()) {
            Some(reading) => reading(),
            None => self.runtime.block_on(self.storage.read(&self.stored, offset, buffer.len())),
        };
        buffer.copy_from_slice(&bytes.map_err(io::Error::other)?);
        Ok(())
    }
}

/// What is counted.
pub(super) struct Counting {
    pub(super) storage: Arc<dyn LogStorage>,
    pub(super) schema: KeptSchema,
    pub(super) point: KeptPoint,
    pub(super) files: Vec<PointFile>,
    pub(super) stored: Vec<String>,
    pub(super) runtime: Handle,
    pub(super) limits: Limits,
}

impl Counting {
    /// Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], [`SourceError::Unsupported`], [`SourceError::Io`].
    pub(super) fn run(self) -> Result<u64, SourceError> {
        let shown = "the collection";
        if let Some(reason) = self.point.unreadable() {
            return Err(SourceError::Unsupported { path: shown.to_owned(), reason: reason.to_owned() });
        }
        let schema = RowSchema::of(&self.schema.decode(shown)?, shown)?;
        let files = self.files.iter().zip(&self.stored).map(|(file, stored)| {
            let storage = Arc::clone(&self.storage);
            file.stored(Arc::new(PointLog { storage, stored: stored.clone(), runtime: self.runtime.clone() }))
        });
        let logs = CollectionLogs::of(&files.collect::<Vec<_>>())?;
        let cut = self.point.cut();
        let recent = self.recent();
        let ends_by = |segment: &SegmentLogs| -> Result<bool, SourceError> {
            if !recent.contains(&segment.segment_id) {
                return Ok(true);
            }
            let timestamps = segment.timestamps(&schema, &self.limits)?;
            Ok(timestamps.into_iter().all(|timestamp| cut.is_none_or(|cut| timestamp <= cut)))
        };
        let level_zero = logs.level_zero(&schema, cut, &self.limits)?;
        let mut live = 0;
        for segment in logs.segments() {
            let told = self.point.segments.iter().find(|told| told.segment_id == segment.segment_id);
            live += match told {
                Some(told) if level_zero.is_empty() && !segment.has_deletes() && ends_by(segment)? => told.rows,
                _ => segment.live_rows(&schema, &level_zero, cut, &self.limits)?,
            };
        }
        Ok(live)
    }

    /// Segments with a log that is not older than the point, or may not be.
    fn recent(&self) -> BTreeSet<i64> {
        let point_ms = i64::try_from(self.point.flush_timestamp >> 18).unwrap_or(i64::MAX);
        let is_old = |file: &PointFile| {
            let written = file.identity.as_ref().map(|identity| identity.modified_ns / 1_000_000);
            written.is_some_and(|written_ms| written_ms > 0 && written_ms < point_ms - BEING_WRITTEN_MS)
        };
        let recent = self.files.iter().filter(|file| !is_old(file)).filter_map(|file| LogPath::parse(&file.path));
        recent.map(|log| log.segment_id).collect()
    }
}
