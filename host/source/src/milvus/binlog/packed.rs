//! Files of storage version 2 (Milvus 2.6 and newer): one column group each, which is a Parquet file with a column for every one
//! of its fields.
//!
//! Contract: as that of the module above. A file that is not whole, or not what it says of itself, is [`SourceError::Damaged`]; one
//! that may be whole and is not understood (encrypted, another version, a type that no older file has) is
//! [`SourceError::Unsupported`]. Memory: the footer, and of a column that is read one chunk as it is stored (about a mebibyte from a
//! server) and one decoded batch; each chunk is one read.
//!
//! What is known of these files:
//! - a column is a field, whose number is the Parquet `field_id`; the name is the field's name, or its number, and not used
//!   (`ConvertToArrowField` of Milvus `internal/storage/schema.go`); there is no Arrow schema beside it;
//! - types are those that older files have (`serdeMap` of `internal/storage/serde.go`): integers in their own width,
//!   timestamps as signed 64 bits, text as UTF-8, JSON and arrays as binary, vectors as fixed-size binary, those that may be missing as
//!   binary; only vectors in arrays of structs are lists;
//! - three texts stand in the footer: `group_field_id_list`, the fields of all groups of the same rows, this file's among them;
//!   `row_group_metadata`, memory, rows and first row of each row group; `storage_version`, which is `1.0.0`
//!   (milvus-storage `cpp/src/packed/writer.cpp`, `cpp/src/format/parquet/parquet_writer.cpp`, `cpp/src/common/metadata.cpp`);
//! - row groups are cut by bytes, so those of two groups do not lie side by side, but their rows do;
//! - columns are compressed with Zstandard, vectors not at all; an encrypted file begins with `PARE`
//!   (`internal/core/src/segcore/packed_writer_c.cpp`).

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::values::{BATCH_ROWS, Failure, Payload, TRAILER_BYTES};
use super::{LogFile, damaged};
use crate::{Limits, SourceError, StoredBytes};

/// How such a file begins and ends.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";
/// How it does when even its footer is encrypted, as Milvus has it.
pub(super) const ENCRYPTED_MAGIC: &[u8; 4] = b"PARE";
/// What these files call their version, at every time so far.
const VERSION: &str = "1.0.0";

const VERSION_KEY: &str = "storage_version";
const GROUPS_KEY: &str = "group_field_id_list";
const ROW_GROUPS_KEY: &str = "row_group_metadata";

/// A file whose footer was read.
pub(crate) struct PackedFile {
    shown: String,
    bytes: Arc<dyn StoredBytes>,
    size_bytes: u64,
    metadata: ArrowReaderMetadata,
    /// Numbers of its fields, in the order of its columns.
    fields: Vec<i64>,
    /// Those of all groups that were written with it, its own included.
    of_all_groups: BTreeSet<i64>,
    rows: u64,
    /// Where its column chunks lie, in order.
    chunks: Arc<[(u64, u64)]>,
}

impl std::fmt::Debug for PackedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedFile").field("shown", &self.shown).field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl PackedFile {
    /// Reads the footer, and checks all that it says. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], [`SourceError::Unsupported`], [`SourceError::LimitExceeded`], failures of reading.
    pub(crate) fn open(file: &LogFile, limits: &Limits) -> Result<Self, SourceError> {
        let shown = &file.shown;
        let (footer, footer_at) = read_footer(file, limits)?;
        let decode = AssertUnwindSafe(|| {
            let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
            ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new().with_skip_arrow_metadata(true))
        });
        // The decoder has no other way to say some things about damaged files than to panic.
        let metadata = catch_unwind(decode).map_err(|_| damaged(shown, "its footer cannot be decoded"))?;
        let metadata = metadata.map_err(|error| damaged(shown, format!("its footer: {error}")))?;
        let parquet = metadata.metadata();
        check_version(parquet, shown)?;
        let fields = fields(parquet, shown)?;
        let of_all_groups = check_groups(parquet, &fields, shown)?;
        let rows = check_rows(parquet, shown, limits)?;
        let chunks = chunks(parquet, footer_at, shown, limits)?;
        let (shown, bytes, size_bytes) = (shown.clone(), Arc::clone(&file.bytes), file.size_bytes);
        Ok(Self { shown, bytes, size_bytes, metadata, fields, of_all_groups, rows, chunks })
    }

    /// Its path, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Numbers of its fields, in the order of its columns.
    pub(crate) fn fields(&self) -> &[i64] {
        &self.fields
    }

    /// Those of all groups that were written with it, its own included.
    pub(crate) fn of_all_groups(&self) -> &BTreeSet<i64> {
        &self.of_all_groups
    }

    /// Rows that it promises.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Which of its columns is this field.
    pub(crate) fn column(&self, field: i64) -> Option<usize> {
        self.fields.iter().position(|one| *one == field)
    }

    /// One of its columns, ready to be decoded.
    pub(super) fn payload(&self, column: usize) -> Result<Payload, SourceError> {
        if self.metadata.schema().fields().get(column).is_none_or(|field| field.data_type().is_nested()) {
            let reason = "vectors in arrays of structs cannot be read by this version of Longshore".to_owned();
            return Err(SourceError::Unsupported { path: self.shown.clone(), reason });
        }
        let failure = Failure::default();
        let chunks = Chunks {
            bytes: Arc::clone(&self.bytes),
            size_bytes: self.size_bytes,
            places: Arc::clone(&self.chunks),
            held: Mutex::default(),
            failure: failure.clone(),
        };
        let open = AssertUnwindSafe(|| {
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), [column]);
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone());
            builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()
        });
        let reader = catch_unwind(open).map_err(|_| damaged(&self.shown, "its Parquet part cannot be decoded"))?;
        let reader = reader.map_err(|error| failure.or_damaged(&self.shown, &error))?;
        Ok(Payload { reader, promised: self.rows, names: Vec::new(), failure })
    }
}

/// The footer without its length and its magic, and where it begins.
fn read_footer(file: &LogFile, limits: &Limits) -> Result<(Bytes, u64), SourceError> {
    let shown = &file.shown;
    let trailer_at = file.size_bytes.checked_sub(TRAILER_BYTES as u64).filter(|at| *at >= MAGIC.len() as u64);
    let trailer_at = trailer_at.ok_or_else(|| damaged(shown, "it is too short for a Parquet file"))?;
    let (head, trailer) = (file.read_at(0, MAGIC.len())?, file.read_at(trailer_at, TRAILER_BYTES)?);
    let (length, magic) = trailer.split_at(TRAILER_BYTES - MAGIC.len());
    if head == ENCRYPTED_MAGIC.as_slice() && magic == ENCRYPTED_MAGIC {
        let reason = "it is encrypted by the server, and cannot be read without the server's key".to_owned();
        return Err(SourceError::Unsupported { path: shown.clone(), reason });
    }
    if head != MAGIC.as_slice() {
        return Err(damaged(shown, "it does not begin like a Parquet file"));
    }
    if magic != MAGIC {
        return Err(damaged(shown, "it begins as a Parquet file and does not end as one"));
    }
    let length = length.first_chunk().map_or(u64::MAX, |length| u64::from(u32::from_le_bytes(*length)));
    let footer_at = trailer_at.checked_sub(length).filter(|at| *at >= MAGIC.len() as u64);
    let footer_at = footer_at.filter(|_| length <= limits.parquet_footer_bytes);
    let footer_at =
        footer_at.ok_or_else(|| damaged(shown, format!("its footer of {length} bytes is beyond the limits")))?;
    Ok((file.read_at(footer_at, usize::try_from(length).unwrap_or(usize::MAX))?, footer_at))
}

/// A text of the footer.
fn text<'a>(parquet: &'a ParquetMetaData, key: &str, shown: &str) -> Result<&'a str, SourceError> {
    let texts = parquet.file_metadata().key_value_metadata().into_iter().flatten();
    let found = texts.filter(|pair| pair.key == key).find_map(|pair| pair.value.as_deref());
    found.ok_or_else(|| SourceError::Unsupported {
        path: shown.to_owned(),
        reason: format!("its footer has no `{key}`, as files of storage version 2 have"),
    })
}

fn check_version(parquet: &ParquetMetaData, shown: &str) -> Result<(), SourceError> {
    let version = text(parquet, VERSION_KEY, shown)?;
    if version == VERSION {
        return Ok(());
    }
    let version: String = version.chars().take(40).flat_map(char::escape_debug).collect();
    let reason = format!("its `{VERSION_KEY}` is `{version}`, and only {VERSION} is known");
    Err(SourceError::Unsupported { path: shown.to_owned(), reason })
}

/// The numbers of its columns' fields.
fn fields(parquet: &ParquetMetaData, shown: &str) -> Result<Vec<i64>, SourceError> {
    let columns = parquet.file_metadata().schema_descr().root_schema().get_fields();
    let numbers = columns.iter().map(|column| {
        let info = column.get_basic_info();
        info.has_id().then(|| i64::from(info.id())).ok_or_else(|| damaged(shown, "a column of it has no field number"))
    });
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    let different: BTreeSet<&i64> = numbers.iter().collect();
    if different.len() < numbers.len() {
        return Err(damaged(shown, "two columns of it have the same field number"));
    }
    Ok(numbers)
}

/// Whether its own fields are one of the groups that it names; the fields of all of them.
fn check_groups(parquet: &ParquetMetaData, fields: &[i64], shown: &str) -> Result<BTreeSet<i64>, SourceError> {
    let text = text(parquet, GROUPS_KEY, shown)?;
    let wrong = || damaged(shown, format!("its `{GROUPS_KEY}` cannot be read"));
    let mut is_there = false;
    let mut all = BTreeSet::new();
    for group in text.split(';') {
        let group: Vec<i64> = group.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        is_there |= group == fields;
        for field in group {
            if !all.insert(field) {
                return Err(damaged(shown, format!("its `{GROUPS_KEY}` has field {field} twice")));
            }
        }
    }
    if is_there {
        Ok(all)
    } else {
        Err(damaged(shown, format!("its columns are none of the groups of its `{GROUPS_KEY}`")))
    }
}

/// Whether row groups have the rows that are promised in three places; how many these are.
fn check_rows(parquet: &ParquetMetaData, shown: &str, limits: &Limits) -> Result<u64, SourceError> {
    let told = text(parquet, ROW_GROUPS_KEY, shown)?;
    let mut told = told.split(';').filter(|one| !one.is_empty()).map(|one| {
        let mut parts = one.split('|').map(str::parse::<u64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(_)), Some(Ok(rows)), Some(Ok(first)), None) => Some((rows, first)),
            _ => None,
        }
    });
    let mut rows = 0_u64;
    for group in parquet.row_groups() {
        let there = u64::try_from(group.num_rows()).ok().filter(|there| told.next() == Some(Some((*there, rows))));
        let there =
            there.ok_or_else(|| damaged(shown, format!("its row groups are not those of its `{ROW_GROUPS_KEY}`")))?;
        rows = rows.saturating_add(there);
    }
    if told.next().is_some() {
        return Err(damaged(shown, format!("it has fewer row groups than its `{ROW_GROUPS_KEY}`")));
    }
    if u64::try_from(parquet.file_metadata().num_rows()) != Ok(rows) {
        return Err(damaged(shown, "its row groups have other rows than it promises"));
    }
    if rows > limits.segment_rows {
        let (path, what, limit) = (shown.to_owned(), "its rows", limits.segment_rows);
        return Err(SourceError::LimitExceeded { path, what, used: rows, limit });
    }
    Ok(rows)
}

/// Where its column chunks lie: all between its first bytes and its footer.
fn chunks(parquet: &ParquetMetaData, end: u64, shown: &str, limits: &Limits) -> Result<Arc<[(u64, u64)]>, SourceError> {
    let mut found = Vec::new();
    for chunk in parquet.row_groups().iter().flat_map(|group| group.columns()) {
        let first = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let place = u64::try_from(first).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        let place = place.filter(|(first, length)| {
            *first >= MAGIC.len() as u64 && first.checked_add(*length).is_some_and(|after| after <= end)
        });
        let (first, length) = place.ok_or_else(|| damaged(shown, "a column of it lies outside of it"))?;
        let plain = u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX);
        for (what, used, limit) in [
            ("the size of a column chunk in bytes", length, limits.binlog_bytes),
            ("the unpacked size of a column chunk in bytes", plain, limits.binlog_plain_bytes),
        ] {
            if used > limit {
                return Err(SourceError::LimitExceeded { path: shown.to_owned(), what, used, limit });
            }
        }
        found.push((first, length));
    }
    found.sort_unstable();
    if found.array_windows().any(|[(first, length), (next, _)]| first + length > *next) {
        return Err(damaged(shown, "two columns of it lie in the same place"));
    }
    Ok(found.into())
}

/// Gives the decoder column chunks, one in memory at a time.
struct Chunks {
    bytes: Arc<dyn StoredBytes>,
    size_bytes: u64,
    places: Arc<[(u64, u64)]>,
    held: Mutex<Option<(u64, Bytes)>>,
    failure: Failure,
}

impl Chunks {
    /// The chunk that this byte is in, from it on.
    fn rest_of(&self, start: u64) -> Result<Bytes, ParquetError> {
        let outside = || ParquetError::EOF(format!("byte {start} is in no column"));
        let place = self.places.partition_point(|(first, _)| *first <= start).checked_sub(1).ok_or_else(outside)?;
        let (first, length) = self.places.get(place).copied().ok_or_else(outside)?;
        let skipped = usize::try_from(start - first).map_err(|_| outside())?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = match held.as_ref().filter(|(at, _)| *at == first) {
            Some((_, chunk)) => chunk.clone(),
            None => {
                *held = None;
                let mut buffer = vec![0; usize::try_from(length).map_err(|_| outside())?];
                if let Err(error) = self.bytes.fill(&mut buffer, first) {
                    self.failure.note(error);
                    return Err(ParquetError::General("it cannot be read".to_owned()));
                }
                let chunk = Bytes::from(buffer);
                *held = Some((first, chunk.clone()));
                chunk
            }
        };
        if skipped > chunk.len() { Err(outside()) } else { Ok(chunk.slice(skipped..)) }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Chunks {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.rest_of(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.rest_of(start)?;
        if length > rest.len() {
            return Err(ParquetError::EOF(format!("{length} bytes from byte {start} on are not in one column")));
        }
        Ok(rest.slice(..length))
    }
}

impl LogFile {
    /// A piece of it.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let mut buffer = vec![0; length];
        let read = self.bytes.fill(&mut buffer, offset);
        read.map_err(|error: io::Error| SourceError::Io { action: "read", path: self.shown.clone(), error })?;
        Ok(buffer.into())
    }
}
