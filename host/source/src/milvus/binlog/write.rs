//! Writes logs of inserted values as Milvus 2.3 writes them (`internal/storage/{binlog_writer,event_writer,payload_writer}.go`):
//! what [`Binlog::parse`](super::Binlog::parse) and [`Values`](super::Values) read.
//!
//! A server reads these files without mercy: one that is not what it expects may end it. So what is written here is the layout of
//! real ones, byte by byte but for the Parquet pages, and is read back before any server hears of it.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_schema::{Field, Schema};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::Descriptor;
use super::events::{DELETE, DESCRIPTOR, FIXED_BYTES, HEADER_BYTES, INSERT, MAGIC, POST_HEADER_BYTES, SPAN_BYTES};
use crate::milvus::proto::schema::DataType;

/// Lengths of the fixed part of each of eight types of events, as they stand in every descriptor.
const POST_HEADER: [u8; POST_HEADER_BYTES] = [52, 16, 16, 16, 16, 16, 16, 16];

/// Why values could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// A value does not fit its type; what is wrong with it.
    Value(&'static str),
    Parquet(ParquetError),
}

impl From<ParquetError> for WriteError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// One log: values in the form in which [`Values`](super::Values) gives them, none of them missing. `width` is that of vectors, in
/// bytes. All rows have one timestamp, because a server gives them new ones when it imports them.
pub(crate) fn insert_log<'a>(
    descriptor: &Descriptor,
    timestamp: u64,
    width: usize,
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, WriteError> {
    let data_type = DataType::try_from(descriptor.data_type).unwrap_or_default();
    log(descriptor, INSERT, [timestamp, timestamp], column(data_type, width, values)?)
}

/// One log of deletes, each a text with its key and its timestamp; `span` is the earliest and the latest of these.
pub(super) fn delete_log(
    descriptor: &Descriptor,
    span: [u64; 2],
    deletes: impl Iterator<Item = impl AsRef<str>>,
) -> Result<Vec<u8>, WriteError> {
    let mut builder = StringBuilder::new();
    deletes.for_each(|delete| builder.append_value(delete.as_ref()));
    log(descriptor, DELETE, span, Arc::new(builder.finish()))
}

fn log(descriptor: &Descriptor, kind: u8, times: [u64; 2], column: ArrayRef) -> Result<Vec<u8>, WriteError> {
    let timestamp = times[0];
    let plain_bytes = column.get_array_memory_size();
    let payload = payload(column)?;
    let extra = format!("{{\"original_size\":\"{plain_bytes}\"}}");
    let mut bytes = Vec::with_capacity(payload.len() + 256);
    bytes.extend(MAGIC.to_le_bytes());
    let length = HEADER_BYTES + FIXED_BYTES + POST_HEADER_BYTES + 4 + extra.len();
    header(&mut bytes, timestamp, DESCRIPTOR, length)?;
    for number in [descriptor.collection_id, descriptor.partition_id, descriptor.segment_id, descriptor.field_id] {
        bytes.extend(number.to_le_bytes());
    }
    span(&mut bytes, times);
    bytes.extend(descriptor.data_type.to_le_bytes());
    bytes.extend(POST_HEADER);
    bytes.extend(u32::try_from(extra.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(extra.as_bytes());
    header(&mut bytes, timestamp, kind, HEADER_BYTES + SPAN_BYTES + payload.len())?;
    span(&mut bytes, times);
    bytes.extend(payload);
    Ok(bytes)
}

/// Timestamp, type, length of the event, place of the next one.
fn header(bytes: &mut Vec<u8>, timestamp: u64, kind: u8, length: usize) -> Result<(), WriteError> {
    let too_long = |_| WriteError::Value("is too long for one log");
    let next = u32::try_from(bytes.len() + length).map_err(too_long)?;
    bytes.extend(timestamp.to_le_bytes());
    bytes.push(kind);
    bytes.extend(u32::try_from(length).map_err(too_long)?.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    Ok(())
}

/// First and last timestamp.
fn span(bytes: &mut Vec<u8>, times: [u64; 2]) {
    times.iter().for_each(|time| bytes.extend(time.to_le_bytes()));
}

fn payload(column: ArrayRef) -> Result<Vec<u8>, WriteError> {
    let field = Field::new("val", column.data_type().clone(), false);
    let schema = Arc::new(Schema::new(vec![field]));
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3)?);
    let properties = WriterProperties::builder().set_compression(zstd).set_dictionary_enabled(false).build();
    // What Arrow adds is not in a server's files.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, Arc::clone(&schema), options)?;
    let batch = RecordBatch::try_new(schema, vec![column]).map_err(ParquetError::from)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

fn column<'a>(
    data_type: DataType,
    width: usize,
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<ArrayRef, WriteError> {
    const WIDTH: WriteError = WriteError::Value("has another width than its type");
    const RANGE: WriteError = WriteError::Value("is beyond the range of its type");
    fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], WriteError> {
        value.try_into().map_err(|_| WIDTH)
    }
    fn numbers<'a, T: ArrowPrimitiveType>(
        values: impl Iterator<Item = &'a [u8]>,
        of: impl Fn(&[u8]) -> Result<T::Native, WriteError>,
    ) -> Result<ArrayRef, WriteError> {
        let array = PrimitiveArray::<T>::from_iter_values(values.map(of).collect::<Result<Vec<_>, _>>()?);
        Ok(Arc::new(array))
    }
    fn integer<T: TryFrom<i64>>(value: &[u8]) -> Result<T, WriteError> {
        T::try_from(i64::from_le_bytes(exact(value)?)).map_err(|_| RANGE)
    }
    match data_type {
        DataType::Bool => {
            let mut builder = BooleanBuilder::new();
            for value in values {
                builder.append_value(exact::<1>(value)? != [0]);
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Int8 => numbers::<Int8Type>(values, integer),
        DataType::Int16 => numbers::<Int16Type>(values, integer),
        DataType::Int32 => numbers::<Int32Type>(values, integer),
        DataType::Int64 => numbers::<Int64Type>(values, integer),
        DataType::Float => numbers::<Float32Type>(values, |value| exact(value).map(f32::from_le_bytes)),
        DataType::Double => numbers::<Float64Type>(values, |value| exact(value).map(f64::from_le_bytes)),
        DataType::VarChar | DataType::String => {
            let mut builder = StringBuilder::new();
            for value in values {
                builder.append_value(std::str::from_utf8(value).map_err(|_| WriteError::Value("is no UTF-8 text"))?);
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::FloatVector | DataType::BinaryVector => {
            let width = i32::try_from(width).map_err(|_| WIDTH)?;
            let mut builder = FixedSizeBinaryBuilder::new(width);
            for value in values {
                builder
                    .append_value(value)
                    .map_err(|_| WriteError::Value("has another number of dimensions than its field"))?;
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Json | DataType::Array => {
            let mut builder = BinaryBuilder::new();
            values.for_each(|value| builder.append_value(value));
            Ok(Arc::new(builder.finish()))
        }
        _ => Err(WriteError::Value("is of a type that is not written")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Binlog, LogFile, Values};
    use super::*;
    use crate::Limits;

    fn descriptor(data_type: DataType) -> Descriptor {
        let (collection_id, partition_id, segment_id, field_id) = (1, 2, 3, 104);
        Descriptor { collection_id, partition_id, segment_id, field_id, data_type: data_type.into() }
    }

    #[test]
    fn what_is_written_is_read_as_a_servers_own_logs_are() {
        let long = |value: i64| value.to_le_bytes().to_vec();
        let cases = [
            (DataType::Bool, vec![vec![1], vec![0]]),
            (DataType::Int8, vec![long(-128), long(127)]),
            (DataType::Int16, vec![long(-32_768)]),
            (DataType::Int32, vec![long(i64::from(i32::MIN))]),
            (DataType::Int64, vec![long(i64::MIN), long(i64::MAX)]),
            (DataType::Float, vec![f32::NAN.to_le_bytes().to_vec()]),
            (DataType::Double, vec![(-0.0_f64).to_le_bytes().to_vec()]),
            (DataType::VarChar, vec!["é".as_bytes().to_vec(), Vec::new()]),
            (DataType::Json, vec![b"{}".to_vec()]),
            (DataType::Array, vec![vec![0, 255, 1]]),
            (DataType::FloatVector, vec![vec![1, 2, 3, 4, 5, 6, 7, 8]]),
        ];
        for (kind, values) in cases {
            let wanted = descriptor(kind);
            let bytes = insert_log(&wanted, 77 << 18, 8, values.iter().map(Vec::as_slice)).unwrap();
            let parsed = Binlog::parse(&bytes.clone().into(), "log").unwrap();
            assert_eq!((parsed.descriptor, parsed.is_deletes, parsed.payloads.len()), (wanted, false, 1), "{kind:?}");
            let size_bytes = bytes.len() as u64;
            let file = LogFile { shown: "log".to_owned(), size_bytes, bytes: Arc::new(bytes::Bytes::from(bytes)) };
            let mut found = Vec::new();
            let each = &mut |value: Option<&[u8]>| {
                found.push(value.unwrap().to_vec());
                Ok(())
            };
            Values::open(&file, &Limits::DEFAULT).unwrap().each(each).unwrap();
            assert_eq!(found, values, "{kind:?}");
        }
        for (kind, value) in [(DataType::Int8, long(128)), (DataType::Int8, vec![1]), (DataType::VarChar, vec![0xff])] {
            assert!(matches!(
                insert_log(&descriptor(kind), 1, 8, std::iter::once(value.as_slice())),
                Err(WriteError::Value(_))
            ));
        }
    }
}
