//! The values in a binlog's payloads: a Parquet file with one column (`internal/storage/payload_{writer,reader}.go`).
//!
//! Values come as bytes in one form for each kind of type, whatever the server's version wrote: integers as 64-bit
//! little-endian, truth as one byte, fractions little-endian in their own width, everything else as it is (text, JSON,
//! arrays as Milvus' protobuf, vectors).

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
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
const BATCH_ROWS: usize = 1024;
/// The last eight bytes of a Parquet file: length of the footer, magic.
const TRAILER_BYTES: usize = 8;

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
            rows += batches(payload, &self.shown, &self.limits, &mut |columns, _| {
                let [column] = columns else {
                    let reason = format!("it has {} columns, a binlog has one", columns.len());
                    return Err(damaged(&self.shown, reason));
                };
                each_value(column, &self.shown, visit)
            })?;
        }
        Ok(rows)
    }
}

/// Decodes a payload piece by piece and calls `visit` with the columns of each piece and their names. Returns the rows.
///
/// The decoder has no other way to say some things about damaged files than to panic; that ends here.
pub(crate) fn batches(
    payload: &Bytes,
    shown: &str,
    limits: &Limits,
    visit: &mut EachBatch<'_>,
) -> Result<u64, SourceError> {
    let Payload { reader, promised, names } = open_payload(payload, shown, limits)?;
    let decode = AssertUnwindSafe(|| {
        let mut rows = 0;
        for batch in reader {
            let batch = batch.map_err(|error| damaged(shown, format!("its Parquet part: {error}")))?;
            rows += batch.num_rows() as u64;
            visit(batch.columns(), &names)?;
        }
        if rows == promised {
            Ok(rows)
        } else {
            Err(damaged(shown, format!("it has {rows} rows and promises {promised}")))
        }
    });
    catch_unwind(decode).unwrap_or_else(|_| Err(damaged(shown, "its Parquet part cannot be decoded")))
}

/// A payload that is ready to be decoded.
pub(super) struct Payload {
    pub(super) reader: ParquetRecordBatchReader,
    /// Rows that it says it has.
    pub(super) promised: u64,
    /// Names of its columns.
    pub(super) names: Vec<String>,
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
        Ok(Payload { reader, promised, names })
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

/// The hybrid timestamps of the rows of a field's logs, in order.
pub(crate) fn read_timestamps(files: &[LogFile], limits: &Limits) -> Result<Vec<u64>, SourceError> {
    let mut timestamps = Vec::new();
    for file in files {
        Values::open(file, limits)?.each(&mut |value| {
            let value = value.and_then(|value| value.try_into().ok());
            let value = value
                .ok_or_else(|| damaged(&file.shown, "its timestamps are no 64-bit numbers, or some are missing"))?;
            timestamps.push(u64::from_le_bytes(value));
            within_rows(timestamps.len(), &file.shown, limits)
        })?;
    }
    Ok(timestamps)
}

/// When a log of inserted values was written, in milliseconds since 1970; `None` where it does not tell. Blocks.
///
/// # Errors
/// As [`Values::open`], but for files of a kind that does not tell.
pub(crate) fn written_ms(file: &LogFile, limits: &Limits) -> Result<Option<u64>, SourceError> {
    match Values::open(file, limits) {
        Ok(values) => Ok(Some(values.binlog.written_ms).filter(|written| *written > 0)),
        Err(SourceError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `visit` with each primary key of a field's logs, in order.
pub(crate) fn read_keys(files: &[LogFile], limits: &Limits, visit: &mut dyn FnMut(&[u8])) -> Result<(), SourceError> {
    for file in files {
        Values::open(file, limits)?.each(&mut |value| {
            visit(value.ok_or_else(|| damaged(&file.shown, "a row of it has no primary key"))?);
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
