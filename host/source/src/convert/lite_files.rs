//! Data files of a Milvus Lite collection: written piece by piece, and read back.
//!
//! Contract: a file has at most as many rows and bytes as the limits say, because Milvus Lite loads each as a whole
//! (`storage/segment.py`). Rows are numbered in the order in which they come, and a file is named by its first and last number
//! (`storage/data_file.py`), so it gets its name when it is whole.
//!
//! Memory: what is written is held back until the files that are open have [`Limits::lite_write_bytes`] together.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::SchemaRef;
use longshore_model::FileClass;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::lite_schema::{LiteSchema, LiteType, Scalar};
use super::lite_values::{from_arrow, to_arrow};
use super::misfit::Misfit;
use super::piece::{Column, PIECE_ROWS, Piece};
use crate::disk::{Folder, OpenFile, io_error};
use crate::lite::{PARTITIONS, PartitionFiles, parquet_batches};
use crate::{Limits, SourceError, TargetFile};

/// What a file is called until it is whole.
const UNNAMED: &str = "being-written";

/// Why a piece could not be written or read.
#[derive(Debug)]
pub(crate) enum FileError {
    /// A value does not fit.
    Misfit(Misfit),
    Other(SourceError),
}

impl From<SourceError> for FileError {
    fn from(error: SourceError) -> Self {
        Self::Other(error)
    }
}

impl From<Misfit> for FileError {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}

/// The data files of one collection, being written.
pub(crate) struct DataWriter<'a> {
    /// The collection's folder.
    folder: &'a Folder,
    schema: &'a LiteSchema,
    arrow: SchemaRef,
    properties: WriterProperties,
    limits: &'a Limits,
    /// By name of partition.
    open: BTreeMap<String, OpenData>,
    last_sequence: u64,
    files: BTreeMap<String, PartitionFiles>,
    written: Vec<TargetFile>,
}

struct OpenData {
    writer: ArrowWriter<std::fs::File>,
    path: String,
    first_sequence: u64,
    last_sequence: u64,
    rows: u64,
}

/// All data files of a collection.
#[derive(Debug, Default)]
pub(crate) struct WrittenFiles {
    pub(crate) by_partition: BTreeMap<String, PartitionFiles>,
    /// The same as files of the collection, in order of path.
    pub(crate) files: Vec<TargetFile>,
    /// The number of the last row; 0 without rows.
    pub(crate) last_sequence: u64,
}

impl<'a> DataWriter<'a> {
    pub(crate) fn new(folder: &'a Folder, schema: &'a LiteSchema, limits: &'a Limits) -> Self {
        Self {
            folder,
            schema,
            arrow: schema.arrow(),
            properties: properties(schema),
            limits,
            open: BTreeMap::new(),
            last_sequence: 0,
            files: BTreeMap::new(),
            written: Vec::new(),
        }
    }

    /// Writes rows into a partition. Blocks.
    ///
    /// # Errors
    /// [`Misfit::Value`]; failures of writing.
    pub(crate) fn write(&mut self, partition: &str, piece: &Piece) -> Result<(), FileError> {
        if piece.rows == 0 {
            return Ok(());
        }
        let first = self.last_sequence + 1;
        self.last_sequence += piece.rows as u64;
        let batch = self.batch(piece, first)?;
        if !self.open.contains_key(partition) {
            let begun = self.begin(partition, first)?;
            self.open.insert(partition.to_owned(), begun);
        }
        let share = self.limits.lite_write_bytes / self.open.len().max(1);
        let Some(open) = self.open.get_mut(partition) else { return Ok(()) };
        let fail = |error: ParquetError, path: &str| write_error(self.folder, path, self.limits, error);
        open.writer.write(&batch).map_err(|error| fail(error, &open.path))?;
        open.rows += piece.rows as u64;
        open.last_sequence = self.last_sequence;
        if open.writer.in_progress_size() >= share {
            open.writer.flush().map_err(|error| fail(error, &open.path))?;
        }
        let bytes = open.writer.bytes_written() + open.writer.in_progress_size();
        if open.rows >= self.limits.lite_file_rows || bytes >= self.limits.lite_file_bytes {
            self.end(partition)?;
        }
        Ok(())
    }

    /// Ends the files of a partition that no more rows come into. Blocks.
    ///
    /// # Errors
    /// Failures of writing.
    pub(crate) fn end(&mut self, partition: &str) -> Result<(), SourceError> {
        let Some(mut open) = self.open.remove(partition) else { return Ok(()) };
        open.writer.finish().map_err(|error| write_error(self.folder, &open.path, self.limits, error))?;
        let name = format!("data/data_{:06}_{:06}.parquet", open.first_sequence, open.last_sequence);
        let path = format!("{PARTITIONS}/{partition}/{name}");
        let renamed = self.folder.dir.rename(&open.path, &self.folder.dir, &path);
        renamed.map_err(|error| io_error("write", &self.folder.show(&path), error))?;
        let size_bytes = self.folder.stat(&path)?.map_or(0, |stat| stat.size_bytes);
        self.written.push(TargetFile { path, class: FileClass::Segment, size_bytes });
        self.files.entry(partition.to_owned()).or_default().data_files.push(name);
        Ok(())
    }

    /// Ends all files. Blocks.
    ///
    /// # Errors
    /// Failures of writing.
    pub(crate) fn finish(mut self) -> Result<WrittenFiles, SourceError> {
        let open: Vec<String> = self.open.keys().cloned().collect();
        open.iter().try_for_each(|partition| self.end(partition))?;
        self.written.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(WrittenFiles { by_partition: self.files, files: self.written, last_sequence: self.last_sequence })
    }

    fn begin(&self, partition: &str, first_sequence: u64) -> Result<OpenData, SourceError> {
        let folder = format!("{PARTITIONS}/{partition}/data");
        let made = self.folder.dir.create_dir_all(&folder);
        made.map_err(|error| io_error("make the folder", &self.folder.show(&folder), error))?;
        let path = format!("{folder}/{UNNAMED}");
        let file = self.folder.dir.create(&path).map_err(|error| io_error("write", &self.folder.show(&path), error))?;
        let writer = ArrowWriter::try_new(file.into_std(), Arc::clone(&self.arrow), Some(self.properties.clone()));
        let writer = writer.map_err(|error| write_error(self.folder, &path, self.limits, error))?;
        Ok(OpenData { writer, path, first_sequence, last_sequence: first_sequence, rows: 0 })
    }

    fn batch(&self, piece: &Piece, first_sequence: u64) -> Result<RecordBatch, FileError> {
        let columns = self.schema.columns();
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from_iter_values(first_sequence..first_sequence + piece.rows as u64))];
        for field in self.arrow.fields().iter().skip(1) {
            let place = columns.iter().position(|(name, _)| name == field.name());
            let found = place.and_then(|place| Some((columns.get(place)?.1, piece.columns.get(place)?)));
            let lost = || self.unwritable(&format!("field `{}` got lost", field.name()));
            let (kind, column) = found.ok_or_else(lost)?;
            arrays.push(to_arrow(field.name(), kind, field.is_nullable(), column)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.arrow), arrays);
        Ok(batch.map_err(|error| self.unwritable(&error.to_string()))?)
    }

    fn unwritable(&self, reason: &str) -> SourceError {
        io_error("write", &self.folder.shown, std::io::Error::other(reason.to_owned()))
    }
}

/// As Milvus Lite writes its own: Snappy. Dictionaries are for text alone, because fractions do not repeat.
fn properties(schema: &LiteSchema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("longshore".to_owned());
    let is_text = |kind: LiteType| matches!(kind, LiteType::Scalar(Scalar::VarChar) | LiteType::Json);
    for (name, kind) in schema.columns() {
        if is_text(kind) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
        }
    }
    properties.build()
}

fn write_error(folder: &Folder, path: &str, limits: &Limits, error: ParquetError) -> SourceError {
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(inner) => std::io::Error::other(inner),
        },
        error => std::io::Error::other(error),
    };
    crate::staged::write_error(folder, path, limits.lite_write_bytes as u64, error)
}

/// Reads the rows of a data file.
pub(crate) struct DataReader {
    reader: ParquetRecordBatchReader,
    columns: Vec<(String, LiteType)>,
    shown: String,
}

impl DataReader {
    /// Opens it. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], failures of reading.
    pub(crate) fn open(file: &Arc<OpenFile>, schema: &LiteSchema, limits: &Limits) -> Result<Self, SourceError> {
        let reader = parquet_batches(file, PIECE_ROWS, limits)?;
        let columns = schema.columns().into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        Ok(Self { reader, columns, shown: file.shown.clone() })
    }

    /// The next rows; `None` at the end. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], [`Misfit::Value`], failures of reading.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, FileError> {
        let Some(batch) = decode(&mut self.reader, &self.shown)? else { return Ok(None) };
        let wanted: Vec<(&str, LiteType)> = self.columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        let columns = columns_of(&batch, &wanted, &self.shown)?;
        Ok(Some(Piece { rows: batch.num_rows(), columns }))
    }
}

/// The columns of a batch in the order of a piece.
pub(crate) fn columns_of(
    batch: &RecordBatch,
    wanted: &[(&str, LiteType)],
    shown: &str,
) -> Result<Vec<Column>, FileError> {
    let mut columns = Vec::with_capacity(wanted.len());
    for (name, kind) in wanted {
        let missing = || SourceError::Damaged { path: shown.to_owned(), reason: format!("it has no column `{name}`") };
        let array = batch.column_by_name(name).ok_or_else(missing)?;
        columns.push(from_arrow(name, *kind, array)?);
    }
    Ok(columns)
}

/// The next batch. Decoders have no other way to say some things about damaged files than to panic.
pub(crate) fn decode<E: std::fmt::Display>(
    reader: &mut impl Iterator<Item = Result<RecordBatch, E>>,
    shown: &str,
) -> Result<Option<RecordBatch>, SourceError> {
    let damaged = |reason: String| SourceError::Damaged { path: shown.to_owned(), reason };
    let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
    let next = next.map_err(|_| damaged("it cannot be decoded".to_owned()))?;
    next.transpose().map_err(|error| damaged(error.to_string()))
}
