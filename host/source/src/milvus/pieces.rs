//! The live rows of a segment, piece by piece, with all their fields.
//!
//! Memory: of each field one log file as it is stored, or one column chunk of a file of several fields, and one decoded batch, and 9 bytes for each row of the segment.

use std::collections::BTreeMap;

use super::binlog::{Deletes, PullValues, damaged};
use super::row_schema::{RowField, RowSchema, elements};
use super::rows::SegmentLogs;
use crate::convert::{Column, PIECE_ROWS, Piece};
use crate::{Limits, SourceError};

/// See the module.
pub(crate) struct SegmentPieces<'a> {
    segment: &'a SegmentLogs,
    alive: Vec<bool>,
    /// Rows that were read.
    at: usize,
    /// In order of name; a field that rows are older than has no logs.
    fields: Vec<(RowField, i64, Option<PullValues>)>,
}

impl<'a> SegmentPieces<'a> {
    /// Reads keys, timestamps and deletes; rows later than `cut` are none. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`](super::CollectionLogs::count).
    pub(crate) fn open(
        segment: &'a SegmentLogs,
        schema: &RowSchema,
        level_zero: &BTreeMap<i64, Deletes>,
        cut: Option<u64>,
        limits: &Limits,
    ) -> Result<Self, SourceError> {
        let columns = segment.columns(schema, limits)?;
        let alive = segment.alive(&columns, schema, level_zero, cut, limits)?.rows;
        let fields = schema.of_segment(&columns.fields(), &segment.shown())?.into_iter().map(|(field, number)| {
            let logs = columns.of(number).map(|logs| PullValues::new(logs, limits));
            (field, number, logs)
        });
        Ok(Self { segment, alive, at: 0, fields: fields.collect() })
    }

    /// The names of its fields, in the order of a piece's columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(field, ..)| field.name.as_str())
    }

    /// Rows in it, deleted ones included.
    pub(crate) fn physical_rows(&self) -> u64 {
        self.alive.len() as u64
    }

    /// The next live rows; `None` at the end. Blocks.
    ///
    /// # Errors
    /// As [`CollectionLogs::count`](super::CollectionLogs::count).
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, SourceError> {
        let end = self.alive.len().min(self.at + PIECE_ROWS);
        let Some(alive) = self.alive.get(self.at..end).filter(|alive| !alive.is_empty()) else {
            return self.end().map(|()| None);
        };
        let rows = alive.iter().filter(|alive| **alive).count();
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, number, logs) in &mut self.fields {
            let mut column = Column::default();
            match logs {
                None => (0..rows).for_each(|_| column.push(None)),
                Some(logs) => {
                    let mut alive = alive.iter();
                    let read = logs.next(end - self.at, &mut |value| {
                        if alive.next() == Some(&true) {
                            match value.filter(|_| field.is_array) {
                                None => column.push(value),
                                Some(array) => {
                                    let no_array = || {
                                        damaged(
                                            &self.segment.shown(),
                                            format!("a value of `{}` is no array", field.name),
                                        )
                                    };
                                    column.push(Some(&elements(array).ok_or_else(no_array)?));
                                }
                            }
                        }
                        Ok(())
                    })?;
                    if self.at + read != end {
                        self.segment.same_rows(self.at + read, self.alive.len(), *number)?;
                    }
                }
            }
            columns.push(column);
        }
        self.at = end;
        Ok(Some(Piece { rows, columns }))
    }

    /// More values than rows are as wrong as fewer.
    fn end(&mut self) -> Result<(), SourceError> {
        for (_, number, logs) in &mut self.fields {
            if let Some(logs) = logs {
                let more = logs.next(1, &mut |_| Ok(()))?;
                self.segment.same_rows(self.alive.len() + more, self.alive.len(), *number)?;
            }
        }
        Ok(())
    }
}
