//! The rows of a Milvus server's collection, written as a Milvus Lite one.
//!
//! Contract: every live row up to the cut is written once, into the partition it was in. Rows of a collection with a partition
//! key go where Milvus Lite would have put them (`engine/collection.py`, `_insert_with_partition_key`). What was written is read
//! back and has the digest of what was read; and no two rows have one key, because Milvus Lite would show one of them.
//!
//! Memory: that of [`SegmentPieces`] and [`DataWriter`], and for looking at keys [`Limits::count_memory_bytes`]: where they do
//! not fit, they are looked at in as many goes as it takes.

use std::io::Write as _;
use std::sync::Arc;

use longshore_model::{CollectionName, FileClass};
use md5::{Digest as _, Md5};
use serde_json::Value;

use super::fit_lite::{LITE, LitePlan, does_not_fit};
use super::lite_files::{DataReader, DataWriter, FileError, WrittenFiles};
use super::lite_schema::{LiteType, Scalar};
use super::misfit::Misfit;
use super::piece::{Piece, total};
use crate::disk::{Folder, OpenFile, io_error};
use crate::lite::{DEFAULT_PARTITION, Key, LiveKeys, MANIFEST, PARTITIONS, SCHEMA, new_manifest, parquet_keys};
use crate::milvus::{CollectionLogs, KeptPoint, RowSchema, SegmentPieces};
use crate::rows::{FieldName, PartitionSums, difference};
use crate::{Limits, SourceError, StoredFile, TargetFile};

/// Partitions that Milvus Lite makes for a partition key (`constants.py`), and what their names begin with.
const BUCKETS: usize = 16;
const BUCKET: &str = "_pk_";
/// Numbers that Milvus Lite gives to rows and, with automatic ids, to keys: it goes on after the largest. Beyond this one there
/// would be no room.
const LARGEST_SEQUENCE: u64 = 1 << 62;
/// Memory of one key while keys are looked at.
const KEY_BYTES: u64 = 84;

/// One collection.
pub(crate) struct IntoLite<'a> {
    /// Its name in the backup.
    pub(crate) from: &'a CollectionName,
    /// Its name in Milvus Lite.
    pub(crate) to: &'a CollectionName,
    pub(crate) plan: &'a LitePlan,
    pub(crate) rows: &'a RowSchema,
    pub(crate) point: &'a KeptPoint,
    /// Its folder, which is empty.
    pub(crate) folder: &'a Folder,
    pub(crate) limits: &'a Limits,
}

/// What was made of a collection.
#[derive(Debug)]
pub(crate) struct Converted {
    /// Rows in the server's files, deleted ones included.
    pub(crate) physical_rows: u64,
    /// The live ones by the partitions they were in.
    pub(crate) live: PartitionSums,
    /// The files of the Milvus Lite collection.
    pub(crate) files: Vec<TargetFile>,
}

/// Rows as they were read and as they were written.
#[derive(Default)]
struct Moved {
    physical_rows: u64,
    read: PartitionSums,
    /// The same by the partitions they were written into.
    written: PartitionSums,
    /// The largest key, where keys are numbers.
    largest_key: u64,
}

impl IntoLite<'_> {
    /// Writes the collection. Blocks.
    ///
    /// # Errors
    /// [`SourceError::DoesNotFit`] for rows that share a key and for values that do not fit their types;
    /// [`SourceError::RowsDiffer`] when what was written is not what was read; [`SourceError::Damaged`] and what else reading
    /// and writing fail with.
    pub(crate) fn run(&self, files: &[StoredFile]) -> Result<Converted, SourceError> {
        let (moved, written) = self.write(files).map_err(|error| self.told(error))?;
        let mut files = written.files.clone();
        files.extend(self.write_metadata(&moved, &written)?);
        self.prove(&moved, &written).map_err(|error| self.told(error))?;
        Ok(Converted { physical_rows: moved.physical_rows, live: moved.read, files })
    }

    fn told(&self, error: FileError) -> SourceError {
        match error {
            FileError::Misfit(misfit) => does_not_fit(vec![(self.from.clone(), misfit)]).into(),
            FileError::Other(error) => error,
        }
    }

    fn names(&self) -> Vec<FieldName> {
        self.plan.schema.columns().iter().map(|(name, _)| FieldName::new(name)).collect()
    }

    fn write(&self, files: &[StoredFile]) -> Result<(Moved, WrittenFiles), FileError> {
        let (logs, cut) = (CollectionLogs::of(files)?, self.point.cut());
        let level_zero = logs.level_zero(self.rows, cut, self.limits)?;
        let mut writer = DataWriter::new(self.folder, &self.plan.schema, self.limits);
        let (mut moved, mut before): (Moved, Option<&str>) = (Moved::default(), None);
        let (names, bucket_by) = (self.names(), self.bucket_by());
        for segment in logs.segments() {
            let partition = self.partition(segment.partition_id)?;
            // Segments come in order of partition, so nothing more goes into the one before.
            if let Some(before) = before.filter(|before| *before != partition && bucket_by.is_none()) {
                writer.end(before)?;
            }
            before = Some(partition);
            let mut pieces = SegmentPieces::open(segment, self.rows, &level_zero, cut, self.limits)?;
            self.same_fields(&pieces)?;
            moved.physical_rows += pieces.physical_rows();
            while let Some(piece) = pieces.next()? {
                piece.add_to(&mut moved.read, &names, partition);
                moved.note_keys(self.key_column(&piece));
                match bucket_by {
                    None => {
                        piece.add_to(&mut moved.written, &names, partition);
                        writer.write(partition, &piece)?;
                    }
                    Some((field, kind)) => {
                        for (bucket, part) in piece.spread(&|row| bucket(kind, piece.columns.get(field), row)) {
                            let bucket = format!("{BUCKET}{bucket}");
                            part.add_to(&mut moved.written, &names, &bucket);
                            writer.write(&bucket, &part)?;
                        }
                    }
                }
            }
        }
        Ok((moved, writer.finish()?))
    }

    fn partition(&self, id: i64) -> Result<&str, SourceError> {
        let found = self.point.partitions.iter().find(|partition| partition.partition_id == id);
        let nameless = || self.damaged(format!("its partition {id} has no name"));
        found.map(|partition| partition.name.as_str()).ok_or_else(nameless)
    }

    fn damaged(&self, reason: String) -> SourceError {
        SourceError::Damaged { path: format!("collection {}", self.from), reason }
    }

    /// Both sides order columns by name; a field that one of them does not know would shift them all.
    fn same_fields(&self, pieces: &SegmentPieces<'_>) -> Result<(), SourceError> {
        let columns = self.plan.schema.columns();
        if pieces.names().eq(columns.iter().map(|(name, _)| *name)) {
            return Ok(());
        }
        let there: Vec<&str> = pieces.names().collect();
        Err(self
            .damaged(format!("a segment of it has the fields {}, which are not those of its schema", there.join(", "))))
    }

    /// Place and type of the column by which rows are spread over partitions.
    fn bucket_by(&self) -> Option<(usize, LiteType)> {
        let field = self.plan.schema.partition_key()?;
        let place = self.plan.schema.columns().iter().position(|(name, _)| *name == field.name)?;
        Some((place, field.kind))
    }

    /// The keys of a piece, where they are numbers that Milvus Lite goes on counting from.
    fn key_column<'p>(&self, piece: &'p Piece) -> impl Iterator<Item = u64> + use<'p> {
        let key = self.plan.schema.key().filter(|key| key.auto_id);
        let columns = self.plan.schema.columns();
        let place = key.and_then(|key| columns.iter().position(|(name, _)| *name == key.name));
        let column = place.and_then(|place| piece.columns.get(place));
        column.into_iter().flat_map(|column| column.iter()).filter_map(|value| {
            let key = i64::from_le_bytes(value?.try_into().ok()?);
            u64::try_from(key).ok()
        })
    }

    /// `schema.json` and `manifest.json`. With automatic ids Milvus Lite goes on after its largest number of a row, so that one
    /// is not smaller than a key that is there: a new row would take its place.
    fn write_metadata(&self, moved: &Moved, written: &WrittenFiles) -> Result<Vec<TargetFile>, SourceError> {
        let mut partitions = written.by_partition.clone();
        let buckets = self.plan.schema.partition_key().map(|_| (0..BUCKETS).map(|number| format!("{BUCKET}{number}")));
        let named = self.plan.partitions.iter().cloned().chain(buckets.into_iter().flatten());
        for name in named.chain([DEFAULT_PARTITION.to_owned()]) {
            partitions.entry(name).or_default();
        }
        let current_sequence = written.last_sequence.max(moved.largest_key.min(LARGEST_SEQUENCE));
        let manifest = new_manifest(current_sequence, &partitions, &self.plan.indexes);
        let schema = self.plan.schema.to_json(&self.to.collection);
        [(SCHEMA, &schema), (MANIFEST, &manifest)]
            .into_iter()
            .map(|(path, value)| self.write_json(path, value))
            .collect()
    }

    fn write_json(&self, path: &str, value: &Value) -> Result<TargetFile, SourceError> {
        let fail = |error| io_error("write", &self.folder.show(path), error);
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| fail(error.into()))?;
        self.folder.dir.create(path).and_then(|mut file| file.write_all(&bytes)).map_err(fail)?;
        Ok(TargetFile { path: path.to_owned(), class: FileClass::Metadata, size_bytes: bytes.len() as u64 })
    }

    /// Reads what was written and compares it with what was read.
    fn prove(&self, moved: &Moved, written: &WrittenFiles) -> Result<(), FileError> {
        let names = self.names();
        let mut found = PartitionSums::new();
        let mut files = Vec::new();
        for (partition, of_partition) in &written.by_partition {
            for name in &of_partition.data_files {
                let file = self.open(&format!("{PARTITIONS}/{partition}/{name}"))?;
                let mut reader = DataReader::open(&file, &self.plan.schema, self.limits)?;
                while let Some(piece) = reader.next()? {
                    piece.add_to(&mut found, &names, partition);
                }
                files.push(format!("{PARTITIONS}/{partition}/{name}"));
            }
        }
        if let Some(what) = difference(&moved.written, &found) {
            let what = format!("what was written for Milvus Lite differs: {what}");
            return Err(SourceError::RowsDiffer { collection: self.to.clone(), what }.into());
        }
        let rows = total(&found).rows;
        let keys = self.different_keys(&files, rows)?;
        let field = self.plan.schema.key().map(|key| key.name.clone()).unwrap_or_default();
        if keys != rows {
            return Err(Misfit::SharedKeys { field, rows: rows.saturating_sub(keys), target: LITE }.into());
        }
        Ok(())
    }

    fn open(&self, path: &str) -> Result<Arc<OpenFile>, SourceError> {
        self.folder.seen_file(path).map(Arc::new)
    }

    /// How many different keys there are. Keys that do not fit into memory are looked at in several goes.
    fn different_keys(&self, files: &[String], rows: u64) -> Result<u64, SourceError> {
        let goes = rows.saturating_mul(KEY_BYTES).div_ceil(self.limits.count_memory_bytes.max(1) / 2).max(1);
        let key = self.plan.schema.key().map(|key| key.name.clone()).unwrap_or_default();
        let mut different = 0;
        for go in 0..goes {
            let mut keys = LiveKeys::new(u64::MAX);
            for path in files {
                parquet_keys(&self.open(path)?, &key, self.limits, &mut |key, sequence| {
                    if goes == 1 || share(key, goes) == go {
                        keys.insert(key, sequence);
                    }
                    Ok(())
                })?;
            }
            different += keys.count().unwrap_or(0);
        }
        Ok(different)
    }
}

impl Moved {
    fn note_keys(&mut self, keys: impl Iterator<Item = u64>) {
        self.largest_key = keys.fold(self.largest_key, u64::max);
    }
}

/// In which of several goes a key is looked at.
fn share(key: Key<'_>, goes: u64) -> u64 {
    let hash = match key {
        Key::Integer(key) => blake3::hash(&key.to_le_bytes()),
        Key::Text(key) => blake3::hash(key),
    };
    let number = hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(number) % goes
}

/// The number of the partition that Milvus Lite puts a row into: the MD5 of the key as Python writes it, as one number, modulo
/// 16.
pub(super) fn bucket(kind: LiteType, keys: Option<&super::piece::Column>, row: usize) -> usize {
    let value = keys.and_then(|keys| keys.value(row));
    let text = match (kind, value) {
        (_, None) => b"None".to_vec(),
        (LiteType::Scalar(Scalar::VarChar), Some(value)) => value.to_vec(),
        (_, Some(value)) => {
            value.try_into().map(i64::from_le_bytes).map(|key| key.to_string().into_bytes()).unwrap_or_default()
        }
    };
    usize::from(Md5::digest(text).last().copied().unwrap_or_default()) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::super::piece::Column;
    use super::*;

    /// As `int(hashlib.md5(str(key).encode()).hexdigest(), 16) % 16` gives it.
    #[test]
    fn rows_go_where_milvus_lite_would_have_put_them() {
        let mut texts = Column::default();
        let mut numbers = Column::default();
        for (text, number) in [("tenant0", 0_i64), ("tenant1", 1), ("é", -7), ("", i64::MAX)] {
            texts.push(Some(text.as_bytes()));
            numbers.push(Some(&number.to_le_bytes()));
        }
        texts.push(None);
        let of = |kind, column| (0..4).map(|row| bucket(kind, Some(column), row)).collect::<Vec<_>>();
        assert_eq!(of(LiteType::Scalar(Scalar::VarChar), &texts), [15, 7, 15, 14]);
        assert_eq!(of(LiteType::Scalar(Scalar::Int64), &numbers), [10, 11, 5, 7]);
        assert_eq!(bucket(LiteType::Scalar(Scalar::VarChar), Some(&texts), 4), 4);
    }
}
