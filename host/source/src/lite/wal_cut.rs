//! Cuts the write-ahead log of a collection that is being written to, so that what is kept is everything up to one
//! sequence number.
//!
//! Rows and deletions are in two streams, and a new pair of files starts with each flush. A writer gives out sequence
//! numbers in order and appends to one stream at a time. So if the rows are looked at first (D0), then all deletions
//! are read, then all rows, and S is the largest sequence number among the rows of D0 and the deletions:
//!
//! * every deletion up to S is there: those below the last row of D0 were written before it, hence before D0 was noted,
//!   and the deletions were read afterwards;
//! * every row up to S is there: those below the last deletion were written before it, and the rows were read last;
//! * everything that was acknowledged before D0 was noted is at most S.
//!
//! Files that appear meanwhile matter too, so the folder is listed anew before each of the three steps. Where the first
//! listing finds no file at all, nothing that was acknowledged before it is in the log: then nothing is kept, and the two
//! other listings are not made.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{self, WalKind};
use super::wal::{Batch, Columns, Reader, Scan};
use crate::disk::{Folder, OpenFile};
use crate::{Limits, SourceError};

/// One log file, cut.
#[derive(Debug)]
pub(crate) struct CutFile {
    /// Path relative to the collection.
    pub(crate) path: String,
    pub(crate) kind: WalKind,
    pub(crate) file: Arc<OpenFile>,
    pub(crate) columns: Columns,
    /// The batches that are kept.
    pub(crate) batches: Vec<Batch>,
    /// The bytes that are kept: the schema and these batches. One range from 0 unless several writers wrote at once.
    pub(crate) ranges: Vec<(u64, u64)>,
}

impl CutFile {
    /// Bytes that are kept.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Rows, or deleted keys, that are kept.
    pub(crate) fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.rows).sum()
    }
}

/// A cut log.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// S; `None` when nothing is kept.
    pub(crate) last_sequence: Option<u64>,
    /// Files of which something is kept, in order of kind and number.
    pub(crate) files: Vec<CutFile>,
}

/// Why a log could not be cut.
pub(crate) enum CutError {
    /// A listed file vanished: the collection is being flushed or dropped.
    Vanished,
    /// Anything else.
    Fatal(SourceError),
}

impl From<SourceError> for CutError {
    fn from(error: SourceError) -> Self {
        Self::Fatal(error)
    }
}

/// Cuts the log files of a collection whose number is at least `from`. `key` names the primary key.
pub(crate) fn cut(folder: &Folder, from: u64, key: &str, limits: &Limits) -> Result<Cut, CutError> {
    let mut data = BTreeMap::new();
    let first = list_all(folder, from, limits)?;
    if first.is_empty() {
        return Ok(Cut::default());
    }
    for (_, number) in first.into_iter().filter(|(kind, _)| *kind == WalKind::Data) {
        let file = open(folder, WalKind::Data, number)?;
        let noted_bytes = file.stat_now()?.size_bytes;
        data.insert(number, (file, noted_bytes));
    }
    let mut deletions = Vec::new();
    for number in list(folder, WalKind::Delta, from, limits)? {
        let file = open(folder, WalKind::Delta, number)?;
        deletions.push((number, scan(&file, key, limits)?, file));
    }
    for number in list(folder, WalKind::Data, from, limits)? {
        if let std::collections::btree_map::Entry::Vacant(entry) = data.entry(number) {
            entry.insert((open(folder, WalKind::Data, number)?, 0));
        }
    }
    let mut rows = Vec::new();
    for (number, (file, noted_bytes)) in data {
        rows.push((number, scan(&file, key, limits)?, file, noted_bytes));
    }
    let last_sequence = last_sequence(
        rows.iter().map(|(_, scan, _, noted_bytes)| (scan.batches.as_slice(), *noted_bytes)),
        deletions.iter().map(|(_, scan, _)| scan.batches.as_slice()),
    );
    let rows = rows.into_iter().map(|(number, scan, file, _)| (WalKind::Data, number, scan, file));
    let deletions = deletions.into_iter().map(|(number, scan, file)| (WalKind::Delta, number, scan, file));
    let files =
        rows.chain(deletions).filter_map(|(kind, number, scan, file)| keep(kind, number, scan, file, last_sequence));
    Ok(Cut { last_sequence, files: files.collect() })
}

/// S: the largest sequence number among the deletions and the rows within the bytes that were noted first.
fn last_sequence<'a>(
    rows: impl Iterator<Item = (&'a [Batch], u64)>,
    deletions: impl Iterator<Item = &'a [Batch]>,
) -> Option<u64> {
    let noted = rows.flat_map(|(batches, noted_bytes)| batches.iter().filter(move |batch| batch.end <= noted_bytes));
    noted.chain(deletions.flatten()).filter_map(last).max()
}

/// The batches up to S, and the ranges of bytes that hold the schema and them.
fn kept(batches: Vec<Batch>, schema_end: u64, last_sequence: Option<u64>) -> (Vec<Batch>, Vec<(u64, u64)>) {
    let batches: Vec<Batch> =
        batches.into_iter().filter(|batch| last(batch).is_some_and(|last| Some(last) <= last_sequence)).collect();
    let mut ranges: Vec<(u64, u64)> = vec![(0, schema_end)];
    for batch in &batches {
        match ranges.last_mut() {
            Some((_, end)) if *end == batch.offset => *end = batch.end,
            _ => ranges.push((batch.offset, batch.end)),
        }
    }
    (batches, ranges)
}

fn last(batch: &Batch) -> Option<u64> {
    (batch.rows > 0).then_some(batch.last_sequence)
}

/// Path of a log file relative to its collection.
pub(crate) fn path(kind: WalKind, number: u64) -> String {
    let kind = if kind == WalKind::Data { "data" } else { "delta" };
    format!("{}/wal_{kind}_{number:06}.arrow", layout::WAL)
}

/// Numbers of the log files of one kind.
fn list(folder: &Folder, kind: WalKind, from: u64, limits: &Limits) -> Result<Vec<u64>, SourceError> {
    let files = list_all(folder, from, limits)?.into_iter();
    Ok(files.filter(|(found, _)| *found == kind).map(|(_, number)| number).collect())
}

/// Kinds and numbers of all log files whose number is at least `from`.
pub(crate) fn list_all(folder: &Folder, from: u64, limits: &Limits) -> Result<Vec<(WalKind, u64)>, SourceError> {
    let Some(names) = folder.names_in(layout::WAL, limits.folder_entries)? else { return Ok(Vec::new()) };
    Ok(names.iter().filter_map(|name| layout::wal_file(name)).filter(|(_, number)| *number >= from).collect())
}

fn open(folder: &Folder, kind: WalKind, number: u64) -> Result<Arc<OpenFile>, CutError> {
    folder.file(&path(kind, number))?.map(Arc::new).ok_or(CutError::Vanished)
}

/// Lists the complete batches a log file has now.
pub(crate) fn scan(file: &OpenFile, key: &str, limits: &Limits) -> Result<Scan, SourceError> {
    let size_bytes = file.stat_now()?.size_bytes;
    Reader { file: &file.file, shown: &file.shown, limits }.scan(size_bytes, key)
}

/// What is kept of one file: batches up to `last_sequence`.
fn keep(kind: WalKind, number: u64, scan: Scan, file: Arc<OpenFile>, last_sequence: Option<u64>) -> Option<CutFile> {
    let (batches, ranges) = kept(scan.batches, scan.schema_end, last_sequence);
    let columns = scan.columns.filter(|_| !batches.is_empty())?;
    Some(CutFile { path: path(kind, number), kind, file, columns, batches, ranges })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SCHEMA_BYTES: u64 = 100;
    const BATCH_BYTES: u64 = 10;

    /// The batches of one stream after the first `moment` operations; an operation is (is a deletion, sequence).
    fn stream(operations: &[(bool, u64)], moment: usize, is_deletion: bool) -> Vec<Batch> {
        let of_stream = operations[..moment].iter().filter(|operation| operation.0 == is_deletion);
        let places = (0_u64..).map(|place| SCHEMA_BYTES + place * BATCH_BYTES);
        of_stream
            .zip(places)
            .map(|((_, sequence), offset)| Batch {
                offset,
                end: offset + BATCH_BYTES,
                rows: 1,
                first_sequence: *sequence,
                last_sequence: *sequence,
            })
            .collect()
    }

    proptest! {
        /// A writer goes on while its streams are looked at: rows, deletions, rows, at three moments. What is kept is
        /// everything up to one operation, and nothing is missing that was there at the first moment.
        #[test]
        fn what_is_kept_is_a_prefix_that_holds_all_that_was_acknowledged(
            kinds in proptest::collection::vec(any::<bool>(), 0..40), moments in any::<[prop::sample::Index; 3]>()
        ) {
            let operations: Vec<(bool, u64)> = kinds.into_iter().zip(1..).collect();
            let mut moments = moments.map(|moment| moment.index(operations.len() + 1));
            moments.sort_unstable();
            let [noted_at, deletions_at, rows_at] = moments;
            let noted = stream(&operations, noted_at, false);
            let noted_bytes = noted.last().map_or(SCHEMA_BYTES, |batch| batch.end);
            let deletions = stream(&operations, deletions_at, true);
            let rows = stream(&operations, rows_at, false);
            let cut = last_sequence([(rows.as_slice(), noted_bytes)].into_iter(), [deletions.as_slice()].into_iter());
            let mut held = BTreeSet::new();
            for batches in [rows, deletions] {
                let (batches, ranges) = kept(batches, SCHEMA_BYTES, cut);
                prop_assert_eq!(ranges.len(), 1, "one writer: the kept bytes are the beginning of the file");
                held.extend(batches.iter().map(|batch| batch.last_sequence));
            }
            let length = held.len() as u64;
            prop_assert_eq!(held, (1..=length).collect::<BTreeSet<u64>>(), "a prefix");
            // Operations up to the first moment were acknowledged; only those after it may be missing.
            let acknowledged = operations[..noted_at].iter().map(|(_, sequence)| *sequence).max().unwrap_or(0);
            prop_assert!(length >= acknowledged, "{length} of {acknowledged}");
        }
    }

    #[test]
    fn batches_beyond_the_cut_are_left_out_wherever_several_writers_put_them() {
        let rows = stream(&[(false, 1), (false, 3), (false, 2), (false, 4)], 4, false);
        let (batches, ranges) = kept(rows, SCHEMA_BYTES, Some(2));
        assert_eq!(batches.iter().map(|batch| batch.last_sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ranges, [(0, 110), (120, 130)]);
    }
}
