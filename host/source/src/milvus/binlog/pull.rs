//! The values of a field of a segment, some at a time: so that all fields of the same rows can be in memory together, and all
//! rows of a segment need not be.
//!
//! Memory: one log file as it is stored, or one column chunk of a file of several fields, and one decoded batch of it.

use std::collections::VecDeque;

use arrow_array::{Array, ArrayRef};
use bytes::Bytes;

use super::values::{EachValue, Payload, each_value, only_column, open_payload};
use super::{FieldLog, Values};
use crate::{Limits, SourceError};

/// See the module.
pub(crate) struct PullValues {
    logs: VecDeque<FieldLog>,
    shown: String,
    payloads: VecDeque<Bytes>,
    open: Option<Open>,
    /// Rows without a value that come next.
    missing: u64,
    limits: Limits,
}

/// A payload that is being read.
struct Open {
    payload: Payload,
    read: u64,
    batch: Option<ArrayRef>,
}

impl From<Payload> for Open {
    fn from(payload: Payload) -> Self {
        Self { payload, read: 0, batch: None }
    }
}

impl PullValues {
    /// The values of these logs, one log after the other.
    pub(crate) fn new(logs: &[FieldLog], limits: &Limits) -> Self {
        let shown = logs.first().map(|log| log.shown().to_owned()).unwrap_or_default();
        let logs = logs.iter().cloned().collect();
        Self { logs, shown, payloads: VecDeque::new(), open: None, missing: 0, limits: *limits }
    }

    /// Calls `visit` with the next `rows` values; returns how many there were: fewer at the end. Blocks.
    ///
    /// # Errors
    /// As [`Values::open`] and [`Values::each`].
    pub(crate) fn next(&mut self, rows: usize, visit: &mut EachValue<'_>) -> Result<usize, SourceError> {
        let mut taken = 0;
        while taken < rows {
            if self.missing > 0 {
                visit(None)?;
                (self.missing, taken) = (self.missing - 1, taken + 1);
                continue;
            }
            let Some(batch) = self.batch()? else {
                if self.missing > 0 {
                    continue;
                }
                break;
            };
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

    /// What is decoded and not taken yet; `None` when there is nothing more, or rows without a value come next.
    fn batch(&mut self) -> Result<Option<ArrayRef>, SourceError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.batch.take().filter(|batch| !batch.is_empty()) {
                    return Ok(Some(batch));
                }
                match open.payload.next(&self.shown)? {
                    Some(batch) => {
                        let column = only_column(&batch, &self.shown)?;
                        open.read += column.len() as u64;
                        open.batch = Some(column.clone());
                        continue;
                    }
                    None => {
                        open.payload.same_rows(open.read, &self.shown)?;
                        self.open = None;
                    }
                }
            }
            if let Some(payload) = self.payloads.pop_front() {
                self.open = Some(open_payload(&payload, &self.shown, &self.limits)?.into());
                continue;
            }
            let Some(log) = self.logs.pop_front() else { return Ok(None) };
            log.shown().clone_into(&mut self.shown);
            match log {
                FieldLog::Own(file) => {
                    self.payloads = Values::open(&file, &self.limits)?.binlog().payloads.clone().into();
                }
                FieldLog::Packed { file, column } => self.open = Some(file.payload(column)?.into()),
                FieldLog::Missing { file } => {
                    self.missing = file.rows();
                    if self.missing > 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
