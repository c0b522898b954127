//! The live rows of a backed-up Milvus Lite collection, piece by piece, from its data files and its log.
//!
//! What is live is Milvus Lite's rule (`src/lite/rows.rs`). A row that is in a data file and still in the log counts once.
//!
//! No file is open but while it is read: a collection can have more of them than the process descriptors.
//!
//! Memory: what is known of keys, up to [`Limits::count_memory_bytes`]; beyond that the collection is refused, with the limit.

use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use longshore_model::FileClass;

use super::lite_files::{FileError, columns_of, decode};
use super::lite_schema::{LiteSchema, LiteType, SEQUENCE, Scalar};
use super::piece::{Column, PIECE_ROWS, Piece};
use crate::disk::{Folder, OpenFile};
use crate::lite::{Key, LiveKeys, from_start, is_log_of_rows, log_keys, parquet_batches, parquet_keys, partition_of};
use crate::{Limits, SourceError, TargetFile};

/// See the module.
pub(crate) struct LiteRows<'a> {
    files: LiteFiles<'a>,
    schema: &'a LiteSchema,
    limits: &'a Limits,
    key: &'a str,
    key_is_text: bool,
    keys: LiveKeys,
    physical_rows: u64,
}

/// The files of a collection.
#[derive(Clone, Copy)]
pub(crate) struct LiteFiles<'a> {
    /// Where they lie.
    pub(crate) folder: &'a Folder,
    /// Their paths there are those in the collection.
    pub(crate) files: &'a [TargetFile],
}

impl LiteFiles<'_> {
    /// Opens one of them. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] when it is gone; failures of reading.
    pub(crate) fn open(&self, file: &TargetFile) -> Result<Arc<OpenFile>, SourceError> {
        self.folder.seen_file(&file.path).map(Arc::new)
    }
}

/// What is done with rows of a partition.
type EachPiece<'a> = dyn FnMut(&str, Piece) -> Result<(), FileError> + 'a;

impl<'a> LiteRows<'a> {
    /// Reads all keys. Blocks.
    ///
    /// # Errors
    /// [`SourceError::LimitExceeded`] for more keys than fit into memory; [`SourceError::Damaged`], failures of reading.
    pub(crate) fn open(files: LiteFiles<'a>, schema: &'a LiteSchema, limits: &'a Limits) -> Result<Self, SourceError> {
        let key = schema.key();
        let (mut keys, mut physical_rows) = (LiveKeys::new(limits.count_memory_bytes), 0);
        let name = key.map_or("", |key| key.name.as_str());
        for file in files.files {
            match file.class {
                FileClass::Segment => parquet_keys(&files.open(file)?, name, limits, &mut |key, sequence| {
                    physical_rows += 1;
                    keys.insert(key, sequence);
                    Ok(())
                })?,
                FileClass::Delta => parquet_keys(&files.open(file)?, name, limits, &mut |key, sequence| {
                    keys.delete(key, sequence);
                    Ok(())
                })?,
                FileClass::Wal => {
                    let is_rows = is_log_of_rows(&file.path);
                    let log = files.open(file)?;
                    log_keys(&log, name, limits, &mut |key, sequence| {
                        physical_rows += u64::from(is_rows);
                        if is_rows { keys.insert(key, sequence) } else { keys.delete(key, sequence) }
                    })?;
                }
                FileClass::Metadata | FileClass::Index => {}
            }
        }
        if keys.is_full() {
            let what = "the memory that its keys take, in bytes";
            let limit = limits.count_memory_bytes;
            let path = "the collection".to_owned();
            return Err(SourceError::LimitExceeded { path, what, used: limit.saturating_add(1), limit });
        }
        let key_is_text = key.is_some_and(|key| key.kind == LiteType::Scalar(Scalar::VarChar));
        Ok(Self { files, schema, limits, key: name, key_is_text, keys, physical_rows })
    }

    /// Rows in its files, deleted ones included; each counts once for each file it is in.
    pub(crate) fn physical_rows(&self) -> u64 {
        self.physical_rows
    }

    /// Calls `visit` with live rows, each once. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], failures of reading, and what `visit` fails with.
    pub(crate) fn each(mut self, visit: &mut EachPiece<'_>) -> Result<(), FileError> {
        for file in self.files.files {
            let damaged = |reason: String| SourceError::Damaged { path: file.path.clone(), reason };
            match file.class {
                FileClass::Segment => {
                    let partition =
                        partition_of(&file.path).ok_or_else(|| damaged("it is in no partition".to_owned()))?;
                    let mut reader = parquet_batches(&self.files.open(file)?, PIECE_ROWS, self.limits)?;
                    while let Some(batch) = decode(&mut reader, &file.path)? {
                        self.batch(&batch, &file.path, partition, visit)?;
                    }
                }
                FileClass::Wal if is_log_of_rows(&file.path) => {
                    let bytes = BufReader::new(from_start(&self.files.open(file)?));
                    let reader = catch_unwind(AssertUnwindSafe(|| StreamReader::try_new(bytes, None)));
                    let reader = reader.map_err(|_| damaged("it cannot be decoded".to_owned()))?;
                    let mut reader = reader.map_err(|error| damaged(error.to_string()))?;
                    while let Some(batch) = decode(&mut reader, &file.path)? {
                        let partitions = batch.column_by_name("_partition").and_then(|one| one.as_string_opt::<i32>());
                        let partitions = partitions.filter(|one| one.null_count() == 0 || one.is_empty());
                        let partitions =
                            partitions.ok_or_else(|| damaged("it has no column `_partition`".to_owned()))?;
                        if partitions.is_empty() {
                            continue;
                        }
                        // As Milvus Lite replays it (`engine/recovery.py`): one batch is of one partition.
                        let partition = partitions.value(0).to_owned();
                        self.batch(&batch, &file.path, &partition, visit)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        batch: &RecordBatch,
        shown: &str,
        partition: &str,
        visit: &mut EachPiece<'_>,
    ) -> Result<(), FileError> {
        let damaged = |reason: String| SourceError::Damaged { path: shown.to_owned(), reason };
        let sequences = batch.column_by_name(SEQUENCE).and_then(|one| one.as_primitive_opt::<UInt64Type>());
        let sequences = sequences.ok_or_else(|| damaged(format!("it has no column `{SEQUENCE}` of numbers")))?;
        let columns = columns_of(batch, &self.schema.columns(), shown)?;
        let place = self.schema.columns().iter().position(|(name, _)| *name == self.key);
        let keys = place.and_then(|place| columns.get(place)).ok_or_else(|| damaged("it has no keys".to_owned()))?;
        let mut live = Vec::new();
        for row in 0..batch.num_rows() {
            let key = keys.value(row).ok_or_else(|| damaged("a row of it has no key".to_owned()))?;
            let sequence = sequences.values().get(row).copied().unwrap_or_default();
            let number = || key.try_into().map(i64::from_le_bytes).unwrap_or_default();
            let key = if self.key_is_text { Key::Text(key) } else { Key::Integer(number()) };
            if self.keys.take(key, sequence) {
                live.push(row);
            }
        }
        for rows in live.chunks(PIECE_ROWS) {
            let select = |from: &Column| {
                let mut to = Column::default();
                rows.iter().for_each(|row| to.push(from.value(*row)));
                to
            };
            visit(partition, Piece { rows: rows.len(), columns: columns.iter().map(select).collect() })?;
        }
        Ok(())
    }
}
