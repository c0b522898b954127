//! What of the listed files belongs to a point.
//!
//! A listing after a flush may show segments that were flushed after it, and, before level zero (2.4), delete logs that were
//! written into the folders of old segments after it. What holds nothing up to the flush's timestamp is not of the point and
//! is left out: with later deletes but without the later rows that came with them, an upsert would be half done. What holds
//! both stays, and a restore cuts it at the timestamp.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::binlog::LogFile;
use super::flush::Flushed;
use super::kept::KeptSegment;
use super::layout::TIMESTAMP_FIELD;
use super::segments::{LogFileEntry, SegmentFiles};
use super::shared::Shared;
use super::storage::LogStorage;
use crate::SourceError;

/// Bytes of a log up to the first timestamp and the last one in it (`internal/storage/event_data.go` of Milvus 2.3): a magic
/// number of 4, an event header of 17, four numbers of 8; then two timestamps of 8.
const BEFORE_TIMESTAMPS: usize = 4 + 17 + 4 * 8;
const HEAD_BYTES: usize = BEFORE_TIMESTAMPS + 2 * 8;
const MAGIC: u32 = 0x00ff_fabc;
/// How a log of storage version 2 (2.6) begins; it does not tell its timestamps.
const PARQUET_MAGIC: &[u8] = b"PAR1";
/// A log that is younger than this and not whole is one that is being written.
const BEING_WRITTEN_MS: i64 = 60_000;

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

/// Looks into the heads of logs.
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
        for file in files.iter().filter(|file| file.log.field_id == Some(TIMESTAMP_FIELD)) {
            match self.first_timestamp(file).await? {
                Some(first) if first > self.flushed.timestamp => looked = true,
                _ => return Ok(false),
            }
        }
        Ok(looked)
    }

    async fn has_deletes_of_point(&self, file: &LogFileEntry) -> Result<bool, SourceError> {
        let flushed_ms = i64::try_from(self.flushed.timestamp >> 18).unwrap_or(i64::MAX);
        // What lay there long before the flush is of the point.
        if file.listed.modified_ms < flushed_ms - BEING_WRITTEN_MS {
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
}

fn first_timestamp(head: &[u8]) -> Option<u64> {
    if head.starts_with(PARQUET_MAGIC) {
        return Some(0);
    }
    timestamp_at(head, BEFORE_TIMESTAMPS)
}

fn timestamp_at(head: &[u8], place: usize) -> Option<u64> {
    let magic = head.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))?;
    let found = head.get(place..)?.first_chunk::<8>()?;
    (magic == MAGIC).then(|| u64::from_le_bytes(*found))
}

/// The timestamp of the last entry of a log; `None` where it does not tell. Blocks.
///
/// # Errors
/// [`SourceError::Io`].
pub(super) fn last_timestamp(log: &LogFile) -> Result<Option<u64>, SourceError> {
    if log.size_bytes < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD_BYTES];
    log.bytes.fill(&mut head, 0).map_err(|error| SourceError::Io { action: "read", path: log.shown.clone(), error })?;
    Ok(timestamp_at(&head, BEFORE_TIMESTAMPS + 8))
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
        assert_eq!((first_timestamp(&head), timestamp_at(&head, BEFORE_TIMESTAMPS + 8)), (Some(5), Some(9)));
        assert_eq!(first_timestamp(b"PAR1 and more"), Some(0));
        assert_eq!(first_timestamp(&head[1..]), None);
        assert_eq!(first_timestamp(&head[..60]), None);
    }
}
