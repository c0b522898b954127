//! The segments of a collection and their files: which there are, and that none is missing.
//!
//! Contract: the server's list of segments, taken in one call, covers every row that was flushed before; after a compaction
//! the new segment stands in it in place of the old ones. Files are listed between two such calls, and only if every segment
//! of the first stands in the second is what was listed complete: the server keeps the files of a segment that it no longer
//! lists for a while (three hours by default), and removes them one by one then.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::CollectionName;

use super::client::MilvusClient;
use super::describe::{Described, found};
use super::features;
use super::kept::KeptSegment;
use super::layout::{DELTA_LOG, FIRST_GROUP, INSERT_LOG, LogPath, ROW_ID_FIELD, TIMESTAMP_FIELD};
use super::proto::common::{SegmentLevel, SegmentState};
use super::proto::milvus::{GetPersistentSegmentInfoRequest, PersistentSegmentInfo};
use super::storage::{ListedFile, LogStorage};
use crate::SourceError;

/// A file of a segment.
#[derive(Debug, Clone)]
pub(super) struct LogFileEntry {
    pub(super) log: LogPath,
    /// Its path below the storage's root.
    pub(super) stored: String,
    pub(super) listed: ListedFile,
}

/// Segments and all their files.
#[derive(Debug, Clone, Default)]
pub(super) struct SegmentFiles {
    pub(super) segments: Vec<KeptSegment>,
    /// In order of path.
    pub(super) files: Vec<LogFileEntry>,
    /// What every segment has first of all, of segments that are not among these: they grow, or were replaced, or were
    /// flushed a moment ago.
    pub(super) unlisted: Vec<LogFileEntry>,
}

/// What the server says its flushed segments are, in order of number. `None` when there is no such collection.
///
/// # Errors
/// What calls fail with.
pub(super) async fn flushed_segments(
    client: &MilvusClient,
    name: &CollectionName,
    collection_id: i64,
) -> Result<Option<Vec<PersistentSegmentInfo>>, SourceError> {
    let request =
        GetPersistentSegmentInfoRequest { db_name: name.database.clone(), collection_name: name.collection.clone() };
    let Some(answer) = found(client.call(request).await)? else { return Ok(None) };
    let mut segments: Vec<PersistentSegmentInfo> = answer
        .infos
        .into_iter()
        // A collection of the same name that was made meanwhile.
        .filter(|segment| segment.collection_id == collection_id && segment.state() == SegmentState::Flushed)
        .collect();
    segments.sort_unstable_by_key(|segment| segment.segment_id);
    Ok(Some(segments))
}

/// As a backup keeps them.
pub(super) fn kept(segments: &[PersistentSegmentInfo]) -> Vec<KeptSegment> {
    let kept = segments.iter().map(|segment| KeptSegment {
        partition_id: segment.partition_id,
        segment_id: segment.segment_id,
        rows: u64::try_from(segment.num_rows).unwrap_or(0),
        is_level_zero: segment.level() == SegmentLevel::L0,
        storage_version: segment.storage_version,
        live: None,
    });
    kept.collect()
}

/// Lists all files of these segments.
///
/// # Errors
/// [`SourceError::Unsupported`] for a file in a segment's folder that is no log; failures of listing.
pub(super) async fn list_files(
    storage: &dyn LogStorage,
    collection_id: i64,
    segments: Vec<KeptSegment>,
) -> Result<SegmentFiles, SourceError> {
    let wanted: BTreeSet<i64> = segments.iter().map(|segment| segment.segment_id).collect();
    let (mut files, mut unlisted) = (Vec::new(), Vec::new());
    for kind in [DELTA_LOG, INSERT_LOG] {
        let folder = format!("{kind}/{collection_id}");
        for listed in storage.list(&folder).await? {
            let mut parts = listed.path.split('/');
            let segment = parts.nth(1).and_then(|part| part.parse::<i64>().ok());
            if is_hidden(&listed.path) {
                continue;
            }
            let stored = format!("{folder}/{}", listed.path);
            let log = LogPath::parse(&format!("{kind}/{}", listed.path));
            if !segment.is_some_and(|segment| wanted.contains(&segment)) {
                if let Some(log) = log.filter(|log| matches!(log.field_id, Some(ROW_ID_FIELD | TIMESTAMP_FIELD))) {
                    unlisted.push(LogFileEntry { log, stored, listed });
                }
                continue;
            }
            let Some(log) = log else {
                let reason = "it lies among the logs of a segment and is none that is known here; a backup without it \
                              might lack rows, so none is made"
                    .to_owned();
                return Err(SourceError::Unsupported { path: format!("{}/{stored}", storage.shown()), reason });
            };
            files.push(LogFileEntry { log, stored, listed });
        }
    }
    files.sort_unstable_by(|one, other| one.stored.cmp(&other.stored));
    Ok(SegmentFiles { segments, files, unlisted })
}

/// Left by file systems and by tools; Milvus makes none.
fn is_hidden(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

impl SegmentFiles {
    /// Checks that every segment that has rows has files of the fields that all have.
    ///
    /// # Errors
    /// [`SourceError::SegmentWithoutFiles`], the usual sign of a wrong root path or bucket; [`SourceError::MissingFile`].
    pub(super) fn check_complete(
        &self,
        name: &CollectionName,
        described: &Described,
        storage: &dyn LogStorage,
    ) -> Result<(), SourceError> {
        let mut logs: BTreeMap<i64, BTreeMap<i64, usize>> = BTreeMap::new();
        for file in &self.files {
            if let Some(field) = file.log.field_id {
                *logs.entry(file.log.segment_id).or_default().entry(field).or_default() += 1;
            }
        }
        for segment in self.segments.iter().filter(|segment| segment.rows > 0 && !segment.is_level_zero) {
            let folder =
                format!("{INSERT_LOG}/{}/{}/{}", described.collection_id, segment.partition_id, segment.segment_id);
            let Some(fields) = logs.get(&segment.segment_id) else {
                return Err(SourceError::SegmentWithoutFiles {
                    collection: name.clone(),
                    rows: segment.rows,
                    folder: format!("{}/{folder}", storage.shown()),
                });
            };
            let most = fields.values().max().copied().unwrap_or(0);
            // Where several fields lie in one file, the numbers are those of groups: the first has the server's own fields, and all
            // have as many files (`verify` of Milvus `internal/util/importutilv2/binlog/util.go`).
            if features::is_packed(segment.storage_version) {
                let groups = fields.keys().copied().chain([FIRST_GROUP]);
                let mut missing = groups.filter(|group| fields.get(group).copied().unwrap_or(0) < most);
                if let Some(group) = missing.next().filter(|_| features::can_read(segment.storage_version)) {
                    let path = format!("{folder}/{group}");
                    return Err(SourceError::MissingFile { collection: name.clone(), path });
                }
                continue;
            }
            for field in [ROW_ID_FIELD, TIMESTAMP_FIELD, described.primary_key] {
                if fields.get(&field).copied().unwrap_or(0) < most {
                    let path = format!("{folder}/{field}");
                    return Err(SourceError::MissingFile { collection: name.clone(), path });
                }
            }
        }
        Ok(())
    }

    /// Bytes of inserted rows and of deletes.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let sum = |of_rows: bool| {
            let files = self.files.iter().filter(|file| file.log.field_id.is_some() == of_rows);
            files.map(|file| file.listed.size_bytes).sum()
        };
        (sum(true), sum(false))
    }

    /// Rows in them, deleted ones included.
    pub(super) fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.rows).sum()
    }
}
