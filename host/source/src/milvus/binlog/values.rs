//! The values in a binlog's payloads: a Parquet file with one column (`internal/storage/payload_{writer,reader}.go`).
//!
//! Values come as bytes in one form for each kind of type, whatever the server's version wrote: integers as 64-bit
//! little-endian, truth as one byte, fractions little-endian in their own width, everything else as it is (text, JSON,
//! arrays as Milvus' protobuf, vectors).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{Binlog, LogFile, damaged};
use crate::{Limits, SourceError};

/// What is done with each value; `None` is a missing one.
pub(super) type EachValue<'a> = dyn FnMut(Option<&[u8]>) -> Result<(), SourceError> + 'a;
/// What is done with each batch: its columns and their names.
type EachBatch<'a> = dyn FnMut(&[ArrayRef], &[String]) -> Result<(), SourceError> + 'a;

/// Rows that are decoded at once.
pub(super) const BATCH_ROWS: usize = 1024;
/// The last eight bytes of a Parquet file: length of the footer, magic.
pub(super) const TRAILER_BYTES: usize = 8;

/// The values of one log file.
#[derive(Debug)]
pub(crate) struct Values {
    binlog: Binlog,
    shown: String,
    limits: Limits,
}

impl Values {
    /// Reads a log file of inserted values. Blocks.
    ///
    /// # Errors
    /// As [`Binlog::parse`]; [`SourceError::Damaged`] for a log of deletes; failures of reading.
    pub(crate) fn open(file: &LogFile, limits: &Limits) -> Result<Self, SourceError> {
        let binlog = Binlog::parse(&file.read(limits)?, &file.shown)?;
        if binlog.is_deletes {
            return Err(damaged(&file.shown, "it holds deletes where rows are expected"));
        }
        Ok(Self { binlog, shown: file.shown.clone(), limits: *limits })
    }

    /// What the file says of itself.
    pub(crate) fn binlog(&self) -> &Binlog {
        &self.binlog
    }

    /// Calls `visit` with each value in order; `None` is a missing one. Returns how many there are.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], and what `visit` fails with.
    pub(crate) fn each(&self, visit: &mut EachValue<'_>) -> Result<u64, SourceError> {
        let mut rows = 0;
        for payload in &self.binlog.payloads {
            rows += open_payload(payload, &self.shown, &self.limits)?.each(&self.shown, visit)?;
        }
        Ok(rows)
    }
}

/// Decodes a payload piece by piece and calls `visit` with the columns of each piece and their names. Returns the rows.
pub(crate) fn batches(
    payload: &Bytes,
    shown: &str,
    limits: &Limits,
    visit: &mut EachBatch<'_>,
) -> Result<u64, SourceError> {
    let mut payload = open_payload(payload, shown, limits)?;
    let mut rows = 0;
    while let Some(batch) = payload.next(shown)? {
        rows += batch.num_rows() as u64;
        visit(batch.columns(), &payload.names)?;
    }
    payload.same_rows(rows, shown)
}

/// A payload that is ready to be decoded.
pub(super) struct Payload {
    pub(super) reader: ParquetRecordBatchReader,
    /// Rows that it says it has.
    pub(super) promised: u64,
    /// Names of its columns, where they are wanted.
    pub(super) names: Vec<String>,
    pub(super) failure: Failure,
}

impl Payload {
    /// The next rows. The decoder has no other way to say some things about damaged files than to panic; that ends here.
    pub(super) fn next(&mut self, shown: &str) -> Result<Option<RecordBatch>, SourceError> {
        let next = catch_unwind(AssertUnwindSafe(|| self.reader.next()));
        let next = next.map_err(|_| damaged(shown, "its Parquet part cannot be decoded"))?;
        next.transpose().map_err(|error| self.failure.or_damaged(shown, &error))
    }

    /// The rows, if they are as many as it promises.
    pub(super) fn same_rows(&self, rows: u64, shown: &str) -> Result<u64, SourceError> {
        if rows == self.promised {
            return Ok(rows);
        }
        Err(damaged(shown, format!("it has {rows} rows and promises {}", self.promised)))
    }

    /// Calls `visit` with each value of its only column; returns how many there are.
    pub(super) fn each(mut self, shown: &str, visit: &mut EachValue<'_>) -> Result<u64, SourceError> {
        let mut rows = 0;
        while let Some(batch) = self.next(shown)? {
            each_value(only_column(&batch, shown)?, shown, visit)?;
            rows += batch.num_rows() as u64;
        }
        self.same_rows(rows, shown)
    }
}

pub(super) fn only_column<'a>(batch: &'a RecordBatch, shown: &str) -> Result<&'a ArrayRef, SourceError> {
    match batch.columns() {
        [column] => Ok(column),
        columns => Err(damaged(shown, format!("it has {} columns, a binlog has one", columns.len()))),
    }
}

/// Why the bytes that the decoder wanted could not be read: it only tells that they could not.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(super) fn note(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// That, or what the decoder says.
    pub(super) fn or_damaged(&self, shown: &str, error: &dyn std::error::Error) -> SourceError {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => SourceError::Io { action: "read", path: shown.to_owned(), error },
            None => damaged(shown, format!("its Parquet part: {error}")),
        }
    }
}

/// Looks into the footer of a payload, and whether what it promises is within the limits.
pub(super) fn open_payload(payload: &Bytes, shown: &str, limits: &Limits) -> Result<Payload, SourceError> {
    check_footer(payload, shown, limits)?;
    let open = AssertUnwindSafe(|| {
        let fail = |error: &dyn std::error::Error| damaged(shown, format!("its Parquet part: {error}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(payload.clone()).map_err(|error| fail(&error))?;
        let promised = u64::try_from(builder.metadata().file_metadata().num_rows())
            .map_err(|_| damaged(shown, "it promises fewer than no rows"))?;
        let plain: i64 = builder.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
        let plain = u64::try_from(plain).unwrap_or(u64::MAX);
        for (what, used, limit) in [
            ("its rows", promised, limits.segment_rows),
            ("its unpacked size in bytes", plain, limits.binlog_plain_bytes),
        ] {
            if used > limit {
                return Err(SourceError::LimitExceeded { path: shown.to_owned(), what, used, limit });
            }
        }
        let names = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| fail(&error))?;
        Ok(Payload { reader, promised, names, failure: Failure::default() })
    });
    catch_unwind(open).unwrap_or_else(|_| Err(damaged(shown, "its Parquet part cannot be decoded")))
}

/// Looks at the length of the footer before the decoder allocates it.
fn check_footer(payload: &Bytes, shown: &str, limits: &Limits) -> Result<(), SourceError> {
    let short = || damaged(shown, "its payload is too short for a Parquet file");
    let start = payload.len().checked_sub(TRAILER_BYTES).ok_or_else(short)?;
    let trailer: [u8; TRAILER_BYTES] =
        payload.get(start..).and_then(|trailer| trailer.try_into().ok()).ok_or_else(short)?;
    let [one, two, three, four, magic @ ..] = trailer;
    let length = u64::from(u32::from_le_bytes([one, two, three, four]));
    if &magic != b"PAR1" {
        return Err(damaged(shown, "its payload does not end like a Parquet file"));
    }
    if length > start as u64 || length > limits.parquet_footer_bytes {
        return Err(damaged(shown, format!("its footer of {length} bytes is beyond the limits")));
    }
    Ok(())
}

/// Calls `visit` with each value of a column in the form the module names.
pub(crate) fn each_value(column: &ArrayRef, shown: &str, visit: &mut EachValue<'_>) -> Result<(), SourceError> {
    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        column: &PrimitiveArray<T>,
        bytes_of: impl Fn(T::Native) -> [u8; N],
        visit: &mut EachValue<'_>,
    ) -> Result<(), SourceError> {
        column.iter().try_for_each(|value| match value {
            Some(value) => visit(Some(&bytes_of(value))),
            None => visit(None),
        })
    }
    macro_rules! integers {
        ($kind:ty) => {
            numbers(column.as_primitive::<$kind>(), |value| i64::from(value).to_le_bytes(), visit)
        };
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().iter().try_for_each(|value| match value {
            Some(value) => visit(Some(&[u8::from(value)])),
            None => visit(None),
        }),
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::Float32 => numbers(column.as_primitive::<Float32Type>(), f32::to_le_bytes, visit),
        DataType::Float64 => numbers(column.as_primitive::<Float64Type>(), f64::to_le_bytes, visit),
        DataType::Utf8 => column.as_string::<i32>().iter().try_for_each(|value| visit(value.map(str::as_bytes))),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().try_for_each(|value| visit(value.map(str::as_bytes))),
        DataType::Binary => column.as_binary::<i32>().iter().try_for_each(visit),
        DataType::LargeBinary => column.as_binary::<i64>().iter().try_for_each(visit),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().iter().try_for_each(visit),
        other => Err(damaged(shown, format!("its values are of type {other}, which no field of Milvus has"))),
    }
}
