//! The values of one field in one file, whether the file is of that field alone or of several.

use std::sync::Arc;

use super::values::EachValue;
use super::{LogFile, PackedFile, Values, damaged};
use crate::{Limits, SourceError};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) enum FieldLog {
    /// A file of its own (storage versions 0 and 1).
    Own(LogFile),
    /// A column of a file (storage version 2).
    Packed { file: Arc<PackedFile>, column: usize },
    /// Rows from before the field was added: none of them has a value.
    Missing { file: Arc<PackedFile> },
}

impl FieldLog {
    /// The path of its file, for messages.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Own(file) => &file.shown,
            Self::Packed { file, .. } | Self::Missing { file } => file.shown(),
        }
    }

    /// When it was written, in milliseconds since 1970; `None` where it does not tell, as files of storage version 2 do not.
    /// Blocks.
    ///
    /// # Errors
    /// As [`Values::open`].
    pub(crate) fn written_ms(&self, limits: &Limits) -> Result<Option<u64>, SourceError> {
        match self {
            Self::Own(file) => Ok(Some(Values::open(file, limits)?.binlog().written_ms).filter(|written| *written > 0)),
            Self::Packed { .. } | Self::Missing { .. } => Ok(None),
        }
    }

    /// Calls `visit` with each value in order, in the form that [`Values`] has; `None` is a missing one. Returns how many there
    /// are. Blocks.
    ///
    /// # Errors
    /// As [`Values::open`] and [`Values::each`].
    pub(crate) fn each(&self, limits: &Limits, visit: &mut EachValue<'_>) -> Result<u64, SourceError> {
        match self {
            Self::Own(file) => Values::open(file, limits)?.each(visit),
            Self::Packed { file, column } => file.payload(*column)?.each(file.shown(), visit),
            Self::Missing { file } => {
                (0..file.rows()).try_for_each(|_| visit(None))?;
                Ok(file.rows())
            }
        }
    }
}

/// The hybrid timestamps of the rows of a field's logs, in order.
pub(crate) fn read_timestamps(logs: &[FieldLog], limits: &Limits) -> Result<Vec<u64>, SourceError> {
    let mut timestamps = Vec::new();
    for log in logs {
        log.each(limits, &mut |value| {
            let value = value.and_then(|value| value.try_into().ok());
            let value = value
                .ok_or_else(|| damaged(log.shown(), "its timestamps are no 64-bit numbers, or some are missing"))?;
            timestamps.push(u64::from_le_bytes(value));
            within_rows(timestamps.len(), log.shown(), limits)
        })?;
    }
    Ok(timestamps)
}

/// Calls `visit` with each primary key of a field's logs, in order.
pub(crate) fn read_keys(logs: &[FieldLog], limits: &Limits, visit: &mut dyn FnMut(&[u8])) -> Result<(), SourceError> {
    for log in logs {
        log.each(limits, &mut |value| {
            visit(value.ok_or_else(|| damaged(log.shown(), "a row of it has no primary key"))?);
            Ok(())
        })?;
    }
    Ok(())
}

fn within_rows(rows: usize, shown: &str, limits: &Limits) -> Result<(), SourceError> {
    if rows as u64 > limits.segment_rows {
        let (path, what, limit) = (shown.to_owned(), "the rows of its segment", limits.segment_rows);
        return Err(SourceError::LimitExceeded { path, what, used: rows as u64, limit });
    }
    Ok(())
}
