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
//! Files that appear meanwhile matter too, so the folder is listed anew before each of the three steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::{Folder, OpenFile};
use super::layout::{self, WalKind};
use super::wal::{Batch, Columns, Reader, Scan};
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
    for number in list(folder, WalKind::Data, from, limits)? {
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
    let mut last_sequence = deletions.iter().flat_map(|(_, scan, _)| &scan.batches).filter_map(last).max();
    for (number, (file, noted_bytes)) in data {
        let scan = scan(&file, key, limits)?;
        let noted = scan.batches.iter().filter(|batch| batch.end <= noted_bytes).filter_map(last).max();
        last_sequence = last_sequence.max(noted);
        rows.push((number, scan, file));
    }
    let rows = rows.into_iter().map(|(number, scan, file)| (WalKind::Data, number, scan, file));
    let deletions = deletions.into_iter().map(|(number, scan, file)| (WalKind::Delta, number, scan, file));
    let files =
        rows.chain(deletions).filter_map(|(kind, number, scan, file)| keep(kind, number, scan, file, last_sequence));
    Ok(Cut { last_sequence, files: files.collect() })
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
pub(crate) fn list(folder: &Folder, kind: WalKind, from: u64, limits: &Limits) -> Result<Vec<u64>, SourceError> {
    let Some(wal) = folder.folder(layout::WAL)? else { return Ok(Vec::new()) };
    let names = wal.names(limits.folder_entries)?;
    let files = names.iter().filter_map(|name| layout::wal_file(name));
    Ok(files.filter(|(found, number)| *found == kind && *number >= from).map(|(_, number)| number).collect())
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
    let batches: Vec<Batch> =
        scan.batches.into_iter().filter(|batch| last(batch).is_some_and(|last| Some(last) <= last_sequence)).collect();
    let mut ranges: Vec<(u64, u64)> = vec![(0, scan.schema_end)];
    for batch in &batches {
        match ranges.last_mut() {
            Some((_, end)) if *end == batch.offset => *end = batch.end,
            _ => ranges.push((batch.offset, batch.end)),
        }
    }
    let columns = scan.columns.filter(|_| !batches.is_empty())?;
    Some(CutFile { path: path(kind, number), kind, file, columns, batches, ranges })
}
