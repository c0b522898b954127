//! Reads Milvus Lite's Parquet files: their number of rows, keys and sequence numbers, and whole batches.
//!
//! A file is read by position, or out of its bytes where somebody has read all of them. Failure: [`SourceError`]; whatever a
//! damaged footer promises, nothing beyond the file is asked for, and no more is allocated than the file has.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::file::reader::{ChunkReader, Length};

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

/// The number of rows a Parquet file's footer names.
pub(crate) fn parquet_rows(file: &OpenFile, limits: &Limits) -> Result<u64, SourceError> {
    rows(file.stat.size_bytes, &|start, length| range(file, start, length), &file.shown, limits)
}

/// The same for a file of which all `bytes` were read.
pub(crate) fn parquet_rows_in(bytes: &Bytes, shown: &str, limits: &Limits) -> Result<u64, SourceError> {
    let bytes = InMemory(bytes.clone());
    rows(bytes.len(), &|start, length| bytes.slice(start, length), shown, limits)
}

fn rows(
    size_bytes: u64,
    read: &dyn Fn(u64, usize) -> Result<Bytes, ParquetError>,
    shown: &str,
    limits: &Limits,
) -> Result<u64, SourceError> {
    let rows = u64::try_from(footer(size_bytes, read, shown, limits)?.file_metadata().num_rows());
    rows.map_err(|_| damaged(shown, "it has fewer than no rows"))
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
    // Nobody looks at statistics here, and to decode them takes as long as everything else.
    let nothing = || ParquetStatisticsPolicy::SkipAll;
    let options = ParquetMetaDataOptions::new().with_column_stats_policy(nothing());
    let options = options.with_encoding_stats_policy(nothing()).with_size_stats_policy(nothing());
    let decode = |footer: &[u8]| ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options));
    let decoded = match before.len().checked_sub(footer_bytes).and_then(|from| before.get(from..)) {
        Some(footer) => decode(footer),
        None => decode(&read(size_bytes - TRAILER_BYTES as u64 - length, footer_bytes)?),
    };
    decoded.map_err(|error| damaged(shown, format!("its footer: {error}")))
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
