//! The values of a field of a segment, some at a time: so that all fields of the same rows can be in memory together, and all
//! rows of a segment need not be.
//!
//! Memory: one log file as it is stored, and one decoded batch of it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, ArrayRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::values::{EachValue, Payload, each_value, open_payload};
use super::{LogFile, Values, damaged};
use crate::{Limits, SourceError};

/// See the module.
pub(crate) struct PullValues {
    files: VecDeque<LogFile>,
    shown: String,
    payloads: VecDeque<Bytes>,
    open: Option<Open>,
    limits: Limits,
}

/// A payload that is being read.
struct Open {
    reader: ParquetRecordBatchReader,
    promised: u64,
    read: u64,
    batch: Option<ArrayRef>,
}

impl PullValues {
    /// The values of these logs, one log after the other.
    pub(crate) fn new(files: &[LogFile], limits: &Limits) -> Self {
        let files: VecDeque<LogFile> = files.iter().cloned().collect();
        let shown = files.front().map(|file| file.shown.clone()).unwrap_or_default();
        Self { files, shown, payloads: VecDeque::new(), open: None, limits: *limits }
    }

    /// Calls `visit` with the next `rows` values; returns how many there were: fewer at the end. Blocks.
    ///
    /// # Errors
    /// As [`Values::open`] and [`Values::each`].
    pub(crate) fn next(&mut self, rows: usize, visit: &mut EachValue<'_>) -> Result<usize, SourceError> {
        let mut taken = 0;
        while taken < rows {
            let Some(batch) = self.batch()? else { break };
            let wanted = batch.len().min(rows - taken);
            each_value(&batch.slice(0, wanted), &self.shown, visit)?;
            taken += wanted;
            let rest = (wanted < batch.len()).then(|| batch.slice(wanted, batch.len() - wanted));
            if let Some(open) = &mut self.open {
                open.batch = rest;
            }
        }
        Ok(taken)
    }

    /// What is decoded and not taken yet; `None` when there is nothing more.
    fn batch(&mut self) -> Result<Option<ArrayRef>, SourceError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.batch.take().filter(|batch| !batch.is_empty()) {
                    return Ok(Some(batch));
                }
                match decode(&mut open.reader, &self.shown)? {
                    Some(batch) => {
                        open.read += batch.len() as u64;
                        open.batch = Some(batch);
                        continue;
                    }
                    None if open.read != open.promised => {
                        let (read, promised) = (open.read, open.promised);
                        return Err(damaged(&self.shown, format!("it has {read} rows and promises {promised}")));
                    }
                    None => self.open = None,
                }
            }
            if let Some(payload) = self.payloads.pop_front() {
                let Payload { reader, promised, .. } = open_payload(&payload, &self.shown, &self.limits)?;
                self.open = Some(Open { reader, promised, read: 0, batch: None });
                continue;
            }
            let Some(file) = self.files.pop_front() else { return Ok(None) };
            self.payloads = Values::open(&file, &self.limits)?.binlog().payloads.clone().into();
            self.shown = file.shown;
        }
    }
}

/// The next batch of the one column. The decoder has no other way to say some things about damaged files than to panic.
fn decode(reader: &mut ParquetRecordBatchReader, shown: &str) -> Result<Option<ArrayRef>, SourceError> {
    let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
    let next = next.map_err(|_| damaged(shown, "its Parquet part cannot be decoded"))?;
    let Some(batch) = next else { return Ok(None) };
    let batch = batch.map_err(|error| damaged(shown, format!("its Parquet part: {error}")))?;
    match batch.columns() {
        [column] => Ok(Some(column.clone())),
        columns => Err(damaged(shown, format!("it has {} columns, a binlog has one", columns.len()))),
    }
}
