//! Reads Milvus Lite's Parquet files: their number of rows, keys and sequence numbers, and whole batches.
//!
//! A file is read by position, or out of its bytes where somebody has read all of them. Failure: [`SourceError`]; whatever a
//! damaged footer promises, nothing beyond the file is asked for, and no more is allocated than the file has.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::SchemaDescPtr;

use super::key_columns::{self, Failure, Visit};
use crate::disk::{OpenFile, ReadAt, io_error};
use crate::{Limits, SourceError};

/// The last eight bytes of a Parquet file: length of the footer, magic.
const TRAILER_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// As many bytes are read at once where a page header begins; most have fewer.
const PAGE_HEADER_BYTES: usize = 256;
/// As many bytes are read at once at the end of a file: the footers of most have fewer.
const TAIL_BYTES: usize = 4096;

/// Counts the rows of files by their footers, one after the other. A footer says them whatever the columns are: it is decoded
/// with the columns of the file before, because to build those takes longer than everything else.
#[derive(Default)]
pub(crate) struct RowsByFooter {
    columns: Mutex<Option<SchemaDescPtr>>,
}

impl RowsByFooter {
    /// The number of rows that the footer of a file names.
    pub(crate) fn rows(&self, file: &OpenFile, limits: &Limits) -> Result<u64, SourceError> {
        self.count(file.stat.size_bytes, &|start, length| range(file, start, length), &file.shown, limits)
    }

    /// The same for a file of which all `bytes` were read.
    pub(crate) fn rows_in(&self, bytes: &Bytes, shown: &str, limits: &Limits) -> Result<u64, SourceError> {
        let bytes = InMemory(bytes.clone());
        self.count(bytes.len(), &|start, length| bytes.slice(start, length), shown, limits)
    }

    fn count(
        &self,
        size_bytes: u64,
        read: &dyn Fn(u64, usize) -> Result<Bytes, ParquetError>,
        shown: &str,
        limits: &Limits,
    ) -> Result<u64, SourceError> {
        let encoded = encoded_footer(size_bytes, read, shown, limits)?;
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = columns.and_then(|columns| decode(&encoded, Some(columns)).ok());
        let footer = match known {
            Some(footer) => footer,
            // Another number of columns, or damage, of which the second attempt says what it is.
            None => {
                let footer = decode(&encoded, None).map_err(|error| bad_footer(shown, &error))?;
                let columns = footer.file_metadata().schema_descr_ptr();
                *self.columns.lock().unwrap_or_else(PoisonError::into_inner) = Some(columns);
                footer
            }
        };
        let rows = u64::try_from(footer.file_metadata().num_rows());
        rows.map_err(|_| damaged(shown, "it has fewer than no rows"))
    }
}

/// All columns of a data file, so many rows at a time.
pub(crate) fn parquet_batches(
    file: &Arc<OpenFile>,
    batch_rows: usize,
    limits: &Limits,
) -> Result<ParquetRecordBatchReader, SourceError> {
    let input = Positional(Arc::clone(file));
    let reader = open(input, &file.shown, ArrowReaderOptions::new(), limits)?.with_batch_size(batch_rows).build();
    reader.map_err(|error| damaged(&file.shown, error))
}

/// Calls `visit` for every row of a data or delta file.
pub(crate) fn parquet_keys(
    file: &Arc<OpenFile>,
    key: &str,
    limits: &Limits,
    visit: Visit<'_>,
) -> Result<(), SourceError> {
    keys(Positional(Arc::clone(file)), &file.shown, key, limits, visit)
}

/// The same for a file of which all `bytes` were read.
pub(crate) fn parquet_keys_in(
    bytes: &Bytes,
    shown: &str,
    key: &str,
    limits: &Limits,
    visit: Visit<'_>,
) -> Result<(), SourceError> {
    keys(InMemory(bytes.clone()), shown, key, limits, visit)
}

/// Reads a file from its start, whatever others read of it.
pub(crate) fn from_start(file: &Arc<OpenFile>) -> impl Read + use<> {
    PositionalReader { file: Arc::clone(file), offset: 0 }
}

fn damaged(shown: &str, reason: impl ToString) -> SourceError {
    SourceError::Damaged { path: shown.to_owned(), reason: reason.to_string() }
}

fn keys(
    input: impl ChunkReader + 'static,
    shown: &str,
    key: &str,
    limits: &Limits,
    visit: Visit<'_>,
) -> Result<(), SourceError> {
    let read = AssertUnwindSafe(|| {
        let footer = footer(input.len(), &|start, length| input.get_bytes(start, length), shown, limits)?;
        key_columns::read(input, &footer, key, visit).map_err(|failure| match failure {
            Failure::Damaged(reason) => damaged(shown, reason),
            Failure::Visitor(error) => error,
        })
    });
    // The decoder sees bytes of unknown origin, on threads that have other work as well.
    let not_understood = |_| damaged(shown, "decoding its rows failed in a way that is not understood");
    catch_unwind(read).map_err(not_understood)?
}

fn open<R: ChunkReader + 'static>(
    input: R,
    shown: &str,
    options: ArrowReaderOptions,
    limits: &Limits,
) -> Result<ParquetRecordBatchReaderBuilder<R>, SourceError> {
    let footer = footer(input.len(), &|start, length| input.get_bytes(start, length), shown, limits)?;
    let described = ArrowReaderMetadata::try_new(Arc::new(footer), options);
    let described = described.map_err(|error| damaged(shown, error))?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(input, described))
}

fn footer(
    size_bytes: u64,
    read: &dyn Fn(u64, usize) -> Result<Bytes, ParquetError>,
    shown: &str,
    limits: &Limits,
) -> Result<ParquetMetaData, SourceError> {
    let encoded = encoded_footer(size_bytes, read, shown, limits)?;
    decode(&encoded, None).map_err(|error| bad_footer(shown, &error))
}

fn bad_footer(shown: &str, error: &ParquetError) -> SourceError {
    damaged(shown, format!("its footer: {error}"))
}

/// Decodes a footer, as if it had these columns where some are given.
fn decode(encoded: &[u8], columns: Option<SchemaDescPtr>) -> Result<ParquetMetaData, ParquetError> {
    // Nobody looks at statistics here, and to decode them takes as long as everything else.
    let nothing = || ParquetStatisticsPolicy::SkipAll;
    let options = ParquetMetaDataOptions::new().with_column_stats_policy(nothing());
    let mut options = options.with_encoding_stats_policy(nothing()).with_size_stats_policy(nothing());
    if let Some(columns) = columns {
        options.set_schema(columns);
    }
    ParquetMetaDataReader::decode_metadata_with_options(encoded, Some(&options))
}

/// The bytes of a footer.
fn encoded_footer(
    size_bytes: u64,
    read: &dyn Fn(u64, usize) -> Result<Bytes, ParquetError>,
    shown: &str,
    limits: &Limits,
) -> Result<Bytes, SourceError> {
    let read = |start, length| read(start, length).map_err(|error| not_read(shown, error));
    if size_bytes < (TRAILER_BYTES + MAGIC.len()) as u64 {
        return Err(damaged(shown, "it is too short for a Parquet file"));
    }
    let tail_bytes = usize::try_from(size_bytes).unwrap_or(usize::MAX).min(TAIL_BYTES);
    let tail = read(size_bytes - tail_bytes as u64, tail_bytes)?;
    let (before, trailer) = tail.split_at_checked(tail_bytes - TRAILER_BYTES).unwrap_or_default();
    let (length, magic) = trailer.split_at_checked(4).unwrap_or_default();
    if magic != MAGIC {
        return Err(damaged(shown, "it does not end like a Parquet file"));
    }
    let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
    if length > size_bytes - (TRAILER_BYTES + MAGIC.len()) as u64 {
        return Err(damaged(shown, "its footer is longer than the file"));
    }
    if length > limits.parquet_footer_bytes {
        let (path, what, limit) = (shown.to_owned(), "its footer in bytes", limits.parquet_footer_bytes);
        return Err(SourceError::LimitExceeded { path, what, used: length, limit });
    }
    let footer_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    match before.len().checked_sub(footer_bytes) {
        Some(from) => Ok(tail.slice(from..before.len())),
        None => read(size_bytes - TRAILER_BYTES as u64 - length, footer_bytes),
    }
}

/// Tells a disk that cannot be read from a file that is damaged.
fn not_read(shown: &str, error: ParquetError) -> SourceError {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => io_error("read", shown, *error),
            Err(error) => damaged(shown, error),
        },
        error => damaged(shown, error),
    }
}

/// Refuses a range that is not all within a file of `size_bytes` bytes: a damaged footer can name any.
fn within(size_bytes: u64, start: u64, length: usize) -> Result<(), ParquetError> {
    if start.checked_add(length as u64).is_none_or(|end| end > size_bytes) {
        return Err(ParquetError::EOF("a column reaches beyond the end of the file".to_owned()));
    }
    Ok(())
}

/// A file of which all bytes were read.
struct InMemory(Bytes);

impl InMemory {
    fn slice(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        within(self.len(), start, length)?;
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        Ok(self.0.slice(start..start + length))
    }
}

impl Length for InMemory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

impl ChunkReader for InMemory {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let rest = usize::try_from(self.len().saturating_sub(start)).unwrap_or(usize::MAX);
        Ok(self.slice(start, rest)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, length)
    }
}

/// A file read by position, so that several readers can share one descriptor.
struct Positional(Arc<OpenFile>);

impl Length for Positional {
    fn len(&self) -> u64 {
        self.0.stat.size_bytes
    }
}

impl ChunkReader for Positional {
    type T = BufReader<PositionalReader>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        // Page headers are read from it byte by byte.
        let reader = PositionalReader { file: Arc::clone(&self.0), offset: start };
        Ok(BufReader::with_capacity(PAGE_HEADER_BYTES, reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        range(&self.0, start, length)
    }
}

fn range(file: &OpenFile, start: u64, length: usize) -> Result<Bytes, ParquetError> {
    within(file.stat.size_bytes, start, length)?;
    Ok(file.read_new(start, length)?.into())
}

struct PositionalReader {
    file: Arc<OpenFile>,
    offset: u64,
}

impl Read for PositionalReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.stat.size_bytes.saturating_sub(self.offset);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..length) else { return Ok(0) };
        self.file.file.fill(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use parquet::data_type::Int64Type;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file of `rows` rows in each of two groups, with columns of these names.
    fn file(columns: &[&str], rows: i64) -> Bytes {
        let fields: String = columns.iter().map(|name| format!("required int64 {name}; ")).collect();
        let schema = Arc::new(parse_message_type(&format!("message m {{ {fields}}}")).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            while let Some(mut column) = group.next_column().unwrap() {
                let values: Vec<i64> = (0..rows).collect();
                column.typed::<Int64Type>().write_batch(&values, None, None).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn rows_do_not_depend_on_the_columns_of_the_file_before() {
        let counts = RowsByFooter::default();
        let files = [(&["a", "b"][..], 3), (&["a", "c"], 4), (&["a"], 5), (&["d", "e", "f"], 0), (&["a", "b"], 6)];
        for (columns, rows) in files {
            let counted = counts.rows_in(&file(columns, rows), "a file", &Limits::DEFAULT).unwrap();
            assert_eq!(counted, u64::try_from(2 * rows).unwrap(), "{columns:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_footer_is_said_in_the_same_words_whatever_came_before() {
        let good = file(&["a", "b"], 3);
        let before = RowsByFooter::default();
        before.rows_in(&good, "a file", &Limits::DEFAULT).unwrap();
        let trailer = good.len() - TRAILER_BYTES;
        let mut refused = 0;
        for place in trailer - 60..good.len() {
            let mut bytes = good.to_vec();
            bytes[place] ^= 0x55;
            let bytes = Bytes::from(bytes);
            let first = RowsByFooter::default().rows_in(&bytes, "a file", &Limits::DEFAULT);
            let second = before.rows_in(&bytes, "a file", &Limits::DEFAULT);
            let sentence = |counted: Result<u64, SourceError>| counted.map_err(|error| error.to_string());
            let (first, second) = (sentence(first), sentence(second));
            refused += usize::from(first.is_err());
            assert_eq!(first, second, "byte {place}");
        }
        assert!(refused > 20, "{refused} of the changes were noticed");
    }
}
