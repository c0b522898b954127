//! What of the listed files belongs to a point, and whether anything of the point is not listed.
//!
//! A listing after a flush may show segments that were flushed after it, and, before level zero (2.4), delete logs that were
//! written into the folders of old segments after it. What holds nothing up to the point's timestamp is not of the point and
//! is left out: with later deletes but without the later rows that came with them, an upsert would be half done. What holds
//! both stays, and a restore cuts it at the timestamp.
//!
//! Rows of the point may also lie in a segment that grows: a call gets its timestamp first and a segment for its rows
//! after that, and a flush that comes in between seals the segments without it (seen on 2.3.5: of upserts beside a
//! flush, the deletes were in the flushed segments and the rows were not). When the flush is done such rows are on storage,
//! in a segment that the server does not list yet; another flush makes it list them.
//!
//! The timestamps in the head of a log of rows are those of the first and the last row that came, and rows do not come in
//! the order of their timestamps (`InsertCodec.Serialize` of Milvus 2.3), so those of the rows themselves are read. The
//! head of a delete log says the earliest and the latest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::binlog::{FieldLog, LogFile, PackedFile, read_timestamps};
use super::features;
use super::flush::Flushed;
use super::kept::KeptSegment;
use super::layout::{FIRST_GROUP, TIMESTAMP_FIELD};
use super::live::PointLog;
use super::segments::{LogFileEntry, SegmentFiles};
use super::shared::Shared;
use super::storage::LogStorage;
use crate::SourceError;
use crate::blocking::blocking;

/// Bytes of a log up to the first timestamp in it (`internal/storage/event_data.go` of Milvus 2.3): a magic number of 4, an
/// event header of 17, four numbers of 8; then two timestamps of 8.
const BEFORE_TIMESTAMPS: usize = 4 + 17 + 4 * 8;
pub(super) const HEAD_BYTES: usize = BEFORE_TIMESTAMPS + 2 * 8;
const MAGIC: u32 = 0x00ff_fabc;
/// How a log of storage version 2 (2.6) begins; its head does not tell its timestamps.
const PARQUET_MAGIC: &[u8] = b"PAR1";
/// A log that is younger than this and not whole is one that is being written; and the clocks of a server and of its storage
/// are nearer to each other than this.
pub(super) const BEING_WRITTEN_MS: i64 = 60_000;

/// The same without what is later than the flush.
///
/// # Errors
/// [`SourceError::Damaged`] for a log that is none and not new; failures of reading.
pub(super) async fn up_to(
    flushed: &Flushed,
    listed: SegmentFiles,
    storage: &Arc<dyn LogStorage>,
    shared: &Shared,
) -> Result<SegmentFiles, SourceError> {
    let head = Heads { storage, shared, flushed };
    let mut cut = SegmentFiles::default();
    let mut by_segment: BTreeMap<i64, Vec<LogFileEntry>> = BTreeMap::new();
    for file in listed.files {
        by_segment.entry(file.log.segment_id).or_default().push(file);
    }
    for segment in listed.segments {
        let files = by_segment.remove(&segment.segment_id).unwrap_or_default();
        if !flushed.segments.contains(&segment.segment_id) && head.is_later(&segment, &files).await? {
            continue;
        }
        for file in files {
            if file.log.field_id.is_some() || head.has_deletes_of_point(&file).await? {
                cut.files.push(file);
            }
        }
        cut.segments.push(segment);
    }
    cut.files.sort_unstable_by(|one, other| one.stored.cmp(&other.stored));
    Ok(cut)
}

/// Whether rows of the point lie in segments that the server does not list. Where it cannot be seen, they may.
///
/// # Errors
/// Failures of reading.
pub(super) async fn has_unlisted_rows(
    flushed: &Flushed,
    listed: &SegmentFiles,
    storage: &Arc<dyn LogStorage>,
    shared: &Shared,
) -> Result<bool, SourceError> {
    let head = Heads { storage, shared, flushed };
    // What a compaction replaced stays on storage for hours and is not listed either. What grows at the flush was written
    // after it.
    let recent = listed.unlisted.iter().filter(|file| file.listed.modified_ms >= head.flushed_ms() - BEING_WRITTEN_MS);
    for file in recent {
        match head.earliest_row(file).await {
            Ok(Some(earliest)) if earliest <= flushed.timestamp => return Ok(true),
            // What has vanished was replaced, and what grows does not vanish.
            Ok(_) | Err(SourceError::FileChanged { .. }) => {}
            Err(SourceError::Damaged { .. } | SourceError::Unsupported { .. } | SourceError::LimitExceeded { .. }) => {
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Looks into logs.
struct Heads<'a> {
    storage: &'a Arc<dyn LogStorage>,
    shared: &'a Shared,
    flushed: &'a Flushed,
}

impl Heads<'_> {
    /// Whether all rows of a segment came after the flush. One that a compaction made has older ones.
    async fn is_later(&self, segment: &KeptSegment, files: &[LogFileEntry]) -> Result<bool, SourceError> {
        if segment.is_level_zero {
            return Ok(false);
        }
        let mut looked = false;
        let timestamps = if features::is_packed(segment.storage_version) { FIRST_GROUP } else { TIMESTAMP_FIELD };
        for file in files.iter().filter(|file| file.log.field_id == Some(timestamps)) {
            match self.earliest_row(file).await? {
                Some(earliest) if earliest > self.flushed.timestamp => looked = true,
                _ => return Ok(false),
            }
        }
        Ok(looked)
    }

    fn flushed_ms(&self) -> i64 {
        i64::try_from(self.flushed.timestamp >> 18).unwrap_or(i64::MAX)
    }

    async fn has_deletes_of_point(&self, file: &LogFileEntry) -> Result<bool, SourceError> {
        // What lay there long before the flush is of the point.
        if file.listed.modified_ms < self.flushed_ms() - BEING_WRITTEN_MS {
            return Ok(true);
        }
        match self.first_timestamp(file).await? {
            Some(first) => Ok(first <= self.flushed.timestamp),
            // What belongs to the point was whole when the flush was done.
            None => {
                if self.shared.clock.now().as_millis() - file.listed.modified_ms < BEING_WRITTEN_MS {
                    return Ok(false);
                }
                let path = format!("{}/{}", self.storage.shown(), file.stored);
                Err(SourceError::Damaged { path, reason: "it does not begin like a log of Milvus".to_owned() })
            }
        }
    }

    /// The timestamp of the first entry of a log, 0 where a log does not tell; `None` for what is no log, or not yet.
    async fn first_timestamp(&self, file: &LogFileEntry) -> Result<Option<u64>, SourceError> {
        if file.listed.size_bytes < HEAD_BYTES as u64 {
            return Ok(None);
        }
        Ok(first_timestamp(&self.storage.read(&file.stored, 0, HEAD_BYTES).await?))
    }

    /// The earliest timestamp of the rows of a log of timestamps, or an early one that is of the point; 0 where a log does not
    /// tell, `None` for what is no log, or not yet.
    async fn earliest_row(&self, file: &LogFileEntry) -> Result<Option<u64>, SourceError> {
        if file.log.field_id.is_some() && self.is_packed(file).await? {
            return self.earliest_packed_row(file).await;
        }
        let first = self.first_timestamp(file).await?;
        if file.log.field_id != Some(TIMESTAMP_FIELD) || first.is_none_or(|first| first <= self.flushed.timestamp) {
            return Ok(first);
        }
        let limits = self.shared.limits;
        let shown = format!("{}/{}", self.storage.shown(), file.stored);
        let (used, limit) = (file.listed.size_bytes, limits.read_bytes);
        if used > limit {
            return Err(SourceError::LimitExceeded { path: shown, what: "its size in bytes", used, limit });
        }
        let bytes = self.storage.read(&file.stored, 0, usize::try_from(used).unwrap_or(usize::MAX)).await?;
        let log = LogFile { shown: shown.clone(), size_bytes: used, bytes: Arc::new(bytes) };
        blocking(&shown, move || Ok(read_timestamps(&[FieldLog::Own(log)], &limits)?.into_iter().min())).await
    }
}

impl Heads<'_> {
    async fn is_packed(&self, file: &LogFileEntry) -> Result<bool, SourceError> {
        if file.listed.size_bytes < PARQUET_MAGIC.len() as u64 {
            return Ok(false);
        }
        Ok(self.storage.read(&file.stored, 0, PARQUET_MAGIC.len()).await?.starts_with(PARQUET_MAGIC))
    }

    /// The same of a file of several fields; `None` where timestamps are in another one.
    async fn earliest_packed_row(&self, file: &LogFileEntry) -> Result<Option<u64>, SourceError> {
        let limits = self.shared.limits;
        let shown = format!("{}/{}", self.storage.shown(), file.stored);
        let runtime = tokio::runtime::Handle::current();
        let bytes = PointLog { storage: Arc::clone(self.storage), stored: file.stored.clone(), runtime };
        let log = LogFile { shown: shown.clone(), size_bytes: file.listed.size_bytes, bytes: Arc::new(bytes) };
        let read = blocking(&shown, move || {
            let file = Arc::new(PackedFile::open(&log, &limits)?);
            let Some(column) = file.column(TIMESTAMP_FIELD) else { return Ok(None) };
            Ok(read_timestamps(&[FieldLog::Packed { file, column }], &limits)?.into_iter().min())
        });
        // A file that has vanished comes out of the reader as bytes that could not be read.
        read.await.map_err(|error| match error {
            SourceError::Io { path, error, .. }
                if error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(is_file_changed) =>
            {
                SourceError::FileChanged { path, reason: error.to_string() }
            }
            error => error,
        })
    }
}

fn is_file_changed(error: &SourceError) -> bool {
    matches!(error, SourceError::FileChanged { .. })
}

/// Whether these are the first bytes of a log, of any storage version.
pub(super) fn begins_like_a_log(head: &[u8]) -> bool {
    head.starts_with(PARQUET_MAGIC) || head.starts_with(&MAGIC.to_le_bytes())
}

fn first_timestamp(head: &[u8]) -> Option<u64> {
    if head.starts_with(PARQUET_MAGIC) {
        return Some(0);
    }
    let magic = head.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))?;
    let found = head.get(BEFORE_TIMESTAMPS..)?.first_chunk::<8>()?;
    (magic == MAGIC).then(|| u64::from_le_bytes(*found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_where_milvus_writes_them() {
        let mut head = MAGIC.to_le_bytes().to_vec();
        head.resize(BEFORE_TIMESTAMPS, 7);
        head.extend(5_u64.to_le_bytes());
        head.extend(9_u64.to_le_bytes());
        assert_eq!(head.len(), HEAD_BYTES);
        assert_eq!(first_timestamp(&head), Some(5));
        assert_eq!(first_timestamp(b"PAR1 and more"), Some(0));
        assert_eq!(first_timestamp(&head[1..]), None);
        assert_eq!(first_timestamp(&head[..60]), None);
    }
}
