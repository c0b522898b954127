//! The rows in the logs of a Milvus collection: how many, and their digest.
//!
//! A row is live unless a delete of its key is later than the row. Deletes stand in the segment they hit
//! (2.3), or in level-zero segments that hit their whole partition or, with partition −1, all of them (2.4 and newer).
//! Row numbers and timestamps (fields 0 and 1) are the server's own and no part of a row.
//!
//! Memory: one log file at a time, unpacked, or one column chunk of a file of several fields, and 41 bytes for each row of a
//! segment.

use std::collections::{BTreeMap, BTreeSet};

use super::binlog::{Deletes, FieldLog, LogFile, damaged, read_deletes, read_keys, read_timestamps};
use super::columns::Columns;
use super::layout::{ALL_PARTITIONS, LogPath, TIMESTAMP_FIELD};
use super::row_schema::{RowSchema, elements};
use crate::rows::{FieldName, RowDigest};
use crate::{Limits, RowSum, SourceError, StoredFile};

/// The logs of one segment.
#[derive(Debug, Clone, Default)]
pub struct SegmentLogs {
    /// Number of its partition.
    pub partition_id: i64,
    /// Its number.
    pub segment_id: i64,
    /// Logs by field, or by group of fields (storage version 2), in order of number.
    pub(super) files: BTreeMap<i64, Vec<LogFile>>,
    deletes: Vec<LogFile>,
}

/// The segments of a collection.
#[derive(Debug, Clone, Default)]
pub struct CollectionLogs {
    segments: BTreeMap<(i64, i64), SegmentLogs>,
}

/// What a segment, a partition or a collection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountedRows {
    /// Rows in the files, deleted ones included.
    pub physical: u64,
    /// The live ones, and their digest.
    pub live: RowSum,
}

impl CountedRows {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { physical: self.physical.saturating_add(other.physical), live: self.live.plus(other.live) }
    }
}

/// What one segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentRows {
    pub(crate) counted: CountedRows,
    /// Whether nothing in its files, and of the deletes that hit it, is later than the cut.
    pub(crate) is_whole: bool,
    pub(crate) own: OwnRows,
}

/// What follows from the files of one segment alone, without deletes of whole partitions: what `Import` takes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnRows {
    /// Rows up to the cut that no delete of its own hits.
    pub(crate) rows: u64,
    /// Whether nothing in its files is later than the cut.
    pub(crate) is_whole: bool,
}

/// What a collection holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountedCollection {
    pub(crate) partitions: BTreeMap<i64, CountedRows>,
    /// By partition and number; of segments with rows.
    pub(crate) segments: BTreeMap<(i64, i64), OwnRows>,
    /// Partitions whose level-zero deletes are not all up to the cut.
    pub(crate) later_deletes: BTreeSet<i64>,
}

/// Which rows of a segment a client sees.
pub(super) struct Alive {
    pub(super) rows: Vec<bool>,
    is_whole: bool,
    own: OwnRows,
}

impl CollectionLogs {
    /// Sorts files by segment and field.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for a path that is no log's, or whose class is another.
    pub fn of(files: &[StoredFile]) -> Result<Self, SourceError> {
        let mut sorted: Vec<(LogPath, &StoredFile)> = Vec::with_capacity(files.len());
        for file in files {
            let path = LogPath::parse(&file.path).filter(|path| path.class() == file.class);
            sorted.push((path.ok_or_else(|| damaged(&file.path, "it is no place of a log of Milvus"))?, file));
        }
        sorted.sort_unstable_by_key(|(path, _)| *path);
        let mut segments: BTreeMap<(i64, i64), SegmentLogs> = BTreeMap::new();
        for (path, file) in sorted {
            let segment = segments.entry((path.partition_id, path.segment_id)).or_default();
            (segment.partition_id, segment.segment_id) = (path.partition_id, path.segment_id);
            let log = LogFile {
                shown: file.path.clone(),
                size_bytes: file.size_bytes,
                bytes: std::sync::Arc::clone(&file.bytes),
            };
            match path.field_id {
                Some(field) => segment.files.entry(field).or_default().push(log),
                None => segment.deletes.push(log),
            }
        }
        Ok(Self { segments })
    }

    /// Its segments with rows, in order of partition and number.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentLogs> {
        self.segments.values().filter(|segment| segment.has_rows())
    }

    /// A segment with rows.
    pub(crate) fn segment(&self, partition_id: i64, segment_id: i64) -> Option<&SegmentLogs> {
        self.segments.get(&(partition_id, segment_id)).filter(|segment| segment.has_rows())
    }

    /// Partitions that rows are in.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<i64> {
        self.segments().map(|segment| segment.partition_id).collect()
    }

    /// Deletes that hit whole partitions, by partition. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(crate) fn level_zero(
        &self,
        schema: &RowSchema,
        cut: Option<u64>,
        limits: &Limits,
    ) -> Result<BTreeMap<i64, Deletes>, SourceError> {
        let mut files: BTreeMap<i64, Vec<&LogFile>> = BTreeMap::new();
        for segment in self.segments.values().filter(|segment| !segment.has_rows()) {
            files.entry(segment.partition_id).or_default().extend(&segment.deletes);
        }
        let read = |(partition, files)| Ok((partition, read_deletes(files, schema.key_is_text, cut, limits)?));
        files.into_iter().map(read).collect()
    }

    /// Reads everything and counts it, partition by partition. With `cut`, a hybrid timestamp, what happened after it did
    /// not happen. `name_of` gives a partition's name. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], [`SourceError::Unsupported`], [`SourceError::LimitExceeded`], failures of reading.
    pub fn count(
        &self,
        schema: &RowSchema,
        name_of: &dyn Fn(i64) -> Option<String>,
        cut: Option<u64>,
        limits: &Limits,
    ) -> Result<BTreeMap<i64, CountedRows>, SourceError> {
        Ok(self.count_each(schema, name_of, cut, limits, &mut |_| {})?.partitions)
    }

    /// The same, and what follows from each segment alone; `visit` is told of each live row.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(crate) fn count_each(
        &self,
        schema: &RowSchema,
        name_of: &dyn Fn(i64) -> Option<String>,
        cut: Option<u64>,
        limits: &Limits,
        visit: &mut dyn FnMut(&RowDigest),
    ) -> Result<CountedCollection, SourceError> {
        let level_zero = self.level_zero(schema, cut, limits)?;
        let mut counted = CountedCollection::default();
        counted.later_deletes.extend(level_zero.iter().filter(|(_, deletes)| deletes.has_later).map(|(id, _)| *id));
        for segment in self.segments() {
            let partition = name_of(segment.partition_id);
            let nameless = || damaged(&segment.shown(), "no partition of the collection has its number");
            let rows = segment.count(&partition.ok_or_else(nameless)?, schema, &level_zero, cut, limits, visit)?;
            let so_far = counted.partitions.entry(segment.partition_id).or_default();
            *so_far = so_far.plus(rows.counted);
            counted.segments.insert((segment.partition_id, segment.segment_id), rows.own);
        }
        Ok(counted)
    }
}

impl SegmentLogs {
    fn has_rows(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether deletes of its own came with it.
    #[must_use]
    pub fn has_deletes(&self) -> bool {
        !self.deletes.is_empty()
    }

    pub(super) fn shown(&self) -> String {
        format!("segment {} of partition {}", self.segment_id, self.partition_id)
    }

    /// Reads the segment and counts it. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(crate) fn count(
        &self,
        partition: &str,
        schema: &RowSchema,
        level_zero: &BTreeMap<i64, Deletes>,
        cut: Option<u64>,
        limits: &Limits,
        visit: &mut dyn FnMut(&RowDigest),
    ) -> Result<SegmentRows, SourceError> {
        let columns = self.columns(schema, limits)?;
        let Alive { rows: alive, is_whole, own } = self.alive(&columns, schema, level_zero, cut, limits)?;
        let mut rows = vec![RowDigest::new(partition); alive.len()];
        for (field, number) in schema.of_segment(&columns.fields(), &self.shown())? {
            let name = FieldName::new(&field.name);
            let Some(logs) = columns.of(number) else {
                rows.iter_mut().for_each(|row| row.add(&name, None));
                continue;
            };
            let mut place = 0_usize;
            for log in logs {
                log.each(limits, &mut |value| {
                    // More values than rows are found below.
                    if let (Some(row), Some(true)) = (rows.get_mut(place), alive.get(place)) {
                        match value.filter(|_| field.is_array) {
                            None => row.add(&name, value),
                            Some(array) => {
                                let array = elements(array);
                                let array = array.ok_or_else(|| damaged(log.shown(), "a value of it is no array"))?;
                                row.add(&name, Some(&array));
                            }
                        }
                    }
                    place += 1;
                    Ok(())
                })?;
            }
            self.same_rows(place, alive.len(), number)?;
        }
        let mut counted = CountedRows { physical: alive.len() as u64, live: RowSum::default() };
        for (row, _) in rows.iter().zip(&alive).filter(|(_, alive)| **alive) {
            counted.live.add(row);
            visit(row);
        }
        Ok(SegmentRows { counted, is_whole, own })
    }

    /// Counts the rows that a client sees, reading keys, timestamps and deletes only. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(crate) fn live_rows(
        &self,
        schema: &RowSchema,
        level_zero: &BTreeMap<i64, Deletes>,
        cut: Option<u64>,
        limits: &Limits,
    ) -> Result<u64, SourceError> {
        let alive = self.alive(&self.columns(schema, limits)?, schema, level_zero, cut, limits)?;
        Ok(alive.rows.into_iter().filter(|alive| *alive).count() as u64)
    }

    /// When each of its rows was written. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(super) fn timestamps(&self, schema: &RowSchema, limits: &Limits) -> Result<Vec<u64>, SourceError> {
        self.timestamps_of(&self.columns(schema, limits)?, limits)
    }

    /// When the first of its logs was written, in milliseconds since 1970; `None` where they do not tell. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`].
    pub(super) fn first_written(&self, schema: &RowSchema, limits: &Limits) -> Result<Option<u64>, SourceError> {
        let columns = self.columns(schema, limits)?;
        let mut first: Option<u64> = None;
        for log in self.logs(&columns, TIMESTAMP_FIELD)? {
            let Some(written) = log.written_ms(limits)? else { return Ok(None) };
            first = Some(first.map_or(written, |first| first.min(written)));
        }
        Ok(first)
    }

    fn timestamps_of(&self, columns: &Columns, limits: &Limits) -> Result<Vec<u64>, SourceError> {
        read_timestamps(self.logs(columns, TIMESTAMP_FIELD)?, limits)
    }

    /// The logs of a field that every segment has.
    fn logs<'a>(&self, columns: &'a Columns, field: i64) -> Result<&'a [FieldLog], SourceError> {
        let missing = || damaged(&self.shown(), format!("field {field}, which every segment has, has no logs"));
        columns.of(field).ok_or_else(missing)
    }

    /// Which of its rows a client sees.
    pub(super) fn alive(
        &self,
        columns: &Columns,
        schema: &RowSchema,
        level_zero: &BTreeMap<i64, Deletes>,
        cut: Option<u64>,
        limits: &Limits,
    ) -> Result<Alive, SourceError> {
        let own = read_deletes(&self.deletes, schema.key_is_text, cut, limits)?;
        let of_partitions = [self.partition_id, ALL_PARTITIONS].map(|partition| level_zero.get(&partition));
        let shared: Vec<&Deletes> = of_partitions.into_iter().flatten().filter(|deletes| !deletes.is_empty()).collect();
        let has_later_deletes = of_partitions.into_iter().flatten().any(|deletes| deletes.has_later);
        let timestamps = self.timestamps_of(columns, limits)?;
        let mut alive: Vec<bool> = timestamps.iter().map(|timestamp| cut.is_none_or(|cut| *timestamp <= cut)).collect();
        let own_is_whole = !own.has_later && alive.iter().all(|alive| *alive);
        let (mut place, mut own_rows) = (0, 0);
        read_keys(self.logs(columns, schema.key)?, limits, &mut |key| {
            if let (Some(alive), Some(timestamp)) = (alive.get_mut(place), timestamps.get(place)) {
                let hides = |deletes: &Deletes| deletes.hide(key, schema.key_is_text, *timestamp);
                *alive &= own.is_empty() || !hides(&own);
                own_rows += u64::from(*alive);
                *alive &= !shared.iter().any(|deletes| hides(deletes));
            }
            place += 1;
        })?;
        self.same_rows(place, alive.len(), schema.key)?;
        let own = OwnRows { rows: own_rows, is_whole: own_is_whole };
        Ok(Alive { rows: alive, is_whole: own_is_whole && !has_later_deletes, own })
    }

    pub(super) fn same_rows(&self, rows: usize, expected: usize, field: i64) -> Result<(), SourceError> {
        if rows == expected {
            return Ok(());
        }
        Err(damaged(&self.shown(), format!("field {field} has {rows} rows in it, and the timestamps say {expected}")))
    }
}
