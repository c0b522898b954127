//! Restores to an earlier millisecond than the point of a backup: which ones can be asked for, and what of such a time a backup
//! may not hold.
//!
//! Contract: a time is refused that cannot be meant, because `Import` takes every number and says *Completed* with no rows in
//! it; and one after the point, of which the backup knows nothing. What the files hold of the time comes back. Rows that were
//! deleted or overwritten after it come back as long as no compaction took them away before the backup: a compaction
//! writes the segment anew without them. Which segments may be such ones is told by when their logs were written. It
//! stands in the head of each (`newEventHeader` of Milvus' `internal/storage`). The numbers of segments and logs do not tell
//! it, though an allocator of timestamps gives them: data nodes take 200,000 in advance, and 2.3.5 was seen to give numbers of
//! its start 164 seconds later.

use longshore_model::Timestamp;

use crate::milvus::kept::KeptPoint;
use crate::milvus::row_schema::RowSchema;
use crate::milvus::rows::CollectionLogs;
use crate::{Limits, SourceError, TargetPlan};

/// 2019-01-01: no collection of Milvus is older.
const FIRST_MS: u64 = 1_546_300_800_000;
/// 2200-01-01; what is later is another unit.
const LAST_MS: u64 = 7_258_118_400_000;

/// A time in words, with its number: what people compare and what they type.
pub(super) fn at(ms: u64) -> String {
    format!("{} ({ms})", Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// Whether this can be a millisecond since 1970 in which there was a Milvus.
///
/// # Errors
/// [`SourceError::BadPlan`], with the unit that it looks like.
pub fn check_until_ms(until_ms: u64) -> Result<(), SourceError> {
    let is_time = |ms: u64| (FIRST_MS..LAST_MS).contains(&ms);
    if is_time(until_ms) {
        return Ok(());
    }
    let looks = [
        ("seconds", until_ms.saturating_mul(1_000)),
        ("microseconds", until_ms / 1_000),
        ("nanoseconds", until_ms / 1_000_000),
        ("a hybrid timestamp of Milvus", until_ms >> 18),
    ];
    let meant = looks.into_iter().find(|(_, ms)| is_time(*ms));
    let hint = meant.map_or_else(
        || "there was no Milvus at that time".to_owned(),
        |(unit, ms)| format!("it looks like {unit}; {} would be {ms}", at(ms).split(' ').next().unwrap_or_default()),
    );
    Err(bad(format!("{until_ms} is no time in milliseconds since 1970 to restore to: {hint}")))
}

/// Whether every collection of a plan can be restored as it was when this millisecond began.
///
/// # Errors
/// [`SourceError::BadPlan`] for what is no such time, and for one after the point of a collection.
pub fn check_until(plan: &TargetPlan, until_ms: u64) -> Result<(), SourceError> {
    check_until_ms(until_ms)?;
    for collection in &plan.collections {
        let from = &collection.mapping.from;
        let point = KeptPoint::read(&collection.description, &format!("collection {from}"))?;
        if let Some(end_ms) = point.end_ms().filter(|end_ms| until_ms > *end_ms) {
            return Err(bad(format!(
                "{} is after the point of collection {from} in this backup, {}: what happened between is not in it; \
                 give a time up to that, leave the time out, or take a later backup",
                at(until_ms),
                at(end_ms)
            )));
        }
    }
    Ok(())
}

fn bad(reason: String) -> SourceError {
    SourceError::BadPlan { reason }
}

/// What a collection may lack of an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gap {
    /// Segments with rows from before the time that were written after it.
    pub(super) segments: u64,
    /// When the last of them was.
    pub(super) last_ms: u64,
    /// Segments that do not tell.
    pub(super) untold: u64,
}

impl Gap {
    /// Looks into the logs of timestamps of a collection. A segment of which one log is older than the time was there
    /// then, and has lost nothing since: no log of a segment is written twice. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] and failures of reading.
    pub(super) fn look(
        logs: &CollectionLogs,
        schema: &RowSchema,
        until_ms: u64,
        limits: &Limits,
    ) -> Result<Self, SourceError> {
        let mut gap = Self::default();
        for segment in logs.segments() {
            match segment.first_written(schema, limits)? {
                None => gap.untold += 1,
                Some(made_ms) if made_ms > until_ms => {
                    let timestamps = segment.timestamps(schema, limits)?;
                    if timestamps.into_iter().any(|timestamp| timestamp <= until_ms.saturating_mul(1 << 18)) {
                        gap.segments += 1;
                        gap.last_ms = gap.last_ms.max(made_ms);
                    }
                }
                Some(_) => {}
            }
        }
        Ok(gap)
    }

    /// The note for a collection of this name; `None` where nothing of what is there may lack a row.
    pub(super) fn note(&self, name: &str, until_ms: u64) -> Option<String> {
        if self.segments > 0 {
            return Some(format!(
                "collection {name}: {} of its segments hold rows from before {} and were written after it, the last one at \
                 {}: rows that were deleted or overwritten between these times may be missing, because a compaction \
                 leaves them out; a backup from before {} has them",
                self.segments,
                at(until_ms),
                at(self.last_ms),
                at(self.last_ms),
            ));
        }
        (self.untold > 0).then(|| {
            format!(
                "collection {name}: {} of its segments do not tell when they were written: rows that were deleted or \
                 overwritten after {} may be missing, because a compaction leaves them out",
                self.untold,
                at(until_ms)
            )
        })
    }
}

/// The note for a collection of which nothing was there at that time.
pub(super) fn nothing_then(name: &str, rows: u64, until_ms: u64) -> String {
    format!(
        "collection {name} is empty: none of the {rows} rows in the files of its backup was there at {}",
        at(until_ms)
    )
}

/// The note for a restore to an earlier time of which no file says that it may lack something.
pub(super) fn always(until_ms: u64) -> String {
    format!(
        "this is what the files of the backup hold of {}; whole segments that were deleted, partitions that were dropped and \
         rows that ran out between then and the backup are not in them",
        at(until_ms)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::milvus::proto::schema::{CollectionSchema, FieldSchema};

    #[test]
    fn only_milliseconds_are_taken_and_other_units_are_named() {
        for ms in [FIRST_MS, 1_790_000_000_123, LAST_MS - 1] {
            check_until_ms(ms).unwrap();
        }
        for (number, expected) in [
            (1_790_000_000, "it looks like seconds; 2026-09-21T14:13:20Z would be 1790000000000"),
            (1_790_000_000_123_456, "it looks like microseconds; 2026-09-21T14:13:20.123Z would be 1790000000123"),
            (1_790_000_000_123_456_789, "it looks like nanoseconds"),
            (1_790_000_000_123 << 18, "it looks like a hybrid timestamp of Milvus; 2026-09-21T14:13:20.123Z"),
            (0, "there was no Milvus"),
            (5, "there was no Milvus"),
            (u64::MAX, "there was no Milvus"),
        ] {
            let said = check_until_ms(number).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains(&number.to_string()), "{number}: {said}");
        }
    }

    /// The logs of two segments that a real 2.3.5 wrote, 500 ms after their rows came.
    fn corpus() -> CollectionLogs {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs/two.plain/insert_log");
        let (mut folders, mut files) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                files.push(crate::StoredFile {
                    path: format!("insert_log/{}", path.strip_prefix(&root).unwrap().display()),
                    class: longshore_model::FileClass::Segment,
                    size_bytes: bytes.len() as u64,
                    bytes: std::sync::Arc::new(bytes::Bytes::from(bytes)),
                });
            }
        }
        CollectionLogs::of(&files).unwrap()
    }

    #[test]
    fn a_segment_that_was_written_after_a_time_and_has_rows_from_before_it_may_lack_some() {
        let (logs, limits) = (corpus(), Limits::DEFAULT);
        let segment = logs.segments().next().unwrap();
        let key = FieldSchema { is_primary_key: true, ..FieldSchema::default() };
        let schema = CollectionSchema { fields: vec![key], ..CollectionSchema::default() };
        let schema = RowSchema::of(&schema, "a test").unwrap();
        let written = segment.first_written(&schema, &limits).unwrap().unwrap();
        let row = segment.timestamps(&schema, &limits).unwrap()[0] >> 18;
        assert!(row < written && written - row < 10_000, "{row} {written}");
        let look = |until_ms: u64| Gap::look(&logs, &schema, until_ms, &limits).unwrap();
        assert_eq!(look(row - 1_000).segments, 0, "none of its rows was there");
        let gap = look(row + 1);
        assert!(gap.segments > 0 && gap.last_ms >= written && gap.untold == 0, "{gap:?}");
        assert_eq!(look(written + 10_000).segments, 0, "it has been there since, and so have all its rows");
    }

    #[test]
    fn what_may_be_missing_is_said_with_the_collection_and_the_times() {
        let until = 1_790_000_000_000;
        assert_eq!(Gap::default().note("a.b", until), None);
        let gap = Gap { segments: 2, last_ms: until + 5_000, untold: 1 };
        let note = gap.note("a.b", until).unwrap();
        assert!(note.starts_with("collection a.b: 2 of its segments"), "{note}");
        assert!(note.contains("2026-09-21T14:13:20Z") && note.contains("2026-09-21T14:13:25Z"), "{note}");
        let untold = Gap { untold: 1, ..Gap::default() };
        assert!(untold.note("a.b", until).unwrap().contains("do not tell when"));
    }
}
