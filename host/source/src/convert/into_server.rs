//! The rows of a Milvus Lite collection, written as the logs of a Milvus server: what its `Import` takes from a backup of its
//! own kind, automatic keys and partitions included.
//!
//! Contract: every live row is written once, into the partition it was in. Rows of a collection with a partition key go where the
//! server would have put them (`pkg/util/typeutil/hash.go`), or its searches by that key would not find them. What was written is
//! read back and has the digest of what was read, before any server hears of it.
//!
//! Memory: that of [`LiteRows`], and what is not written yet: [`Limits::lite_write_bytes`].

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{CollectionName, FileClass};
use prost::Message as _;

use super::fit_server::{ServerPlan, check_name, does_not_fit_server, longest_text, server_indexes};
use super::lite_files::FileError;
use super::lite_rows::{LiteFiles, LiteRows};
use super::lite_schema::{DYNAMIC, LiteType, Scalar};
use super::lite_values::elements;
use super::misfit::Misfit;
use super::piece::{Column, Piece};
use crate::disk::{Folder, io_error};
use crate::lite::{DEFAULT_PARTITION, MANIFEST, Manifest};
use crate::milvus::proto::schema::scalar_field::Data;
use crate::milvus::proto::schema::{
    BoolArray, DataType, DoubleArray, FloatArray, IntArray, LongArray, ScalarField, StringArray,
};
use crate::milvus::{
    CollectionLogs, Descriptor, KeptPartition, KeptPoint, KeptSchema, KeptSegment, LogPath, RowSchema, WriteError,
    insert_log,
};
use crate::rows::{FieldName, PartitionSums, difference};
use crate::staged::stored_file;
use crate::{Limits, SourceError, StoredFile, TargetFile};

/// Partitions of a collection with a partition key: as many as Milvus Lite has.
const KEY_PARTITIONS: usize = 16;
/// Numbers of rows and timestamps, which every segment has and a server gives anew.
const OWN_FIELDS: [i64; 2] = [0, 1];
/// The one timestamp of all rows: a hybrid one, of the first millisecond of 1970.
const TIMESTAMP: u64 = 1 << 18;
/// Bytes of text that the server's hash looks at.
const HASHED_TEXT_BYTES: usize = 100;

/// One collection.
pub(crate) struct IntoServer<'a> {
    /// Its name in the backup.
    pub(crate) from: &'a CollectionName,
    /// Its name in the server.
    pub(crate) to: &'a CollectionName,
    pub(crate) plan: &'a ServerPlan,
    pub(crate) rows: &'a RowSchema,
    /// An empty folder for the logs.
    pub(crate) folder: &'a Arc<Folder>,
    pub(crate) limits: &'a Limits,
}

/// What was made of a collection.
#[derive(Debug)]
pub(crate) struct ForServer {
    /// The schema, with its partitions and indexes.
    pub(crate) schema: KeptSchema,
    /// Partitions and segments of the logs.
    pub(crate) point: KeptPoint,
    /// The logs, below the folder, under the names that a backup has for them.
    pub(crate) files: Vec<TargetFile>,
    /// Rows in Milvus Lite's files, deleted ones included.
    pub(crate) physical_rows: u64,
    /// The live ones by the partitions they are to be in.
    pub(crate) live: PartitionSums,
    /// What is not as it was, in sentences.
    pub(crate) notes: Vec<String>,
}

impl IntoServer<'_> {
    /// Writes the logs. Blocks.
    ///
    /// # Errors
    /// [`SourceError::DoesNotFit`] for a value or a partition that a server does not take; [`SourceError::RowsDiffer`] when what
    /// was written is not what was read; [`SourceError::Damaged`] and what else reading and writing fail with.
    pub(crate) fn run(&self, files: LiteFiles<'_>) -> Result<ForServer, SourceError> {
        let told = |error| match error {
            FileError::Misfit(misfit) => does_not_fit_server(vec![(self.from.clone(), misfit)]).into(),
            FileError::Other(error) => error,
        };
        let manifest = self.manifest(files)?;
        let (schema, notes) = self.schema(&manifest).map_err(told)?;
        let rows = LiteRows::open(files, &self.plan.lite, self.limits)?;
        let physical_rows = rows.physical_rows();
        let mut logs = Logs::new(self, &schema.partitions);
        let names: Vec<FieldName> = self.plan.lite.columns().iter().map(|(name, _)| FieldName::new(name)).collect();
        let mut live = PartitionSums::new();
        let partition_key = self.partition_key();
        rows.each(&mut |partition, mut piece| {
            self.adapt(&mut piece)?;
            match partition_key {
                None => {
                    piece.add_to(&mut live, &names, partition);
                    logs.add(partition, piece)
                }
                Some((field, kind)) => {
                    let place_of = |row| {
                        place_of(kind, piece.columns.get(field).and_then(|column| column.value(row)), KEY_PARTITIONS)
                    };
                    for (number, part) in piece.spread(&place_of) {
                        let partition = partition_name(number);
                        part.add_to(&mut live, &names, &partition);
                        logs.add(&partition, part)?;
                    }
                    Ok(())
                }
            }
        })
        .map_err(told)?;
        let (point, files) = logs.finish().map_err(told)?;
        self.prove(&point, &files, &live)?;
        Ok(ForServer { schema, point, files, physical_rows, live, notes })
    }

    fn manifest(&self, files: LiteFiles<'_>) -> Result<Manifest, SourceError> {
        match files.files.iter().find(|file| file.class == FileClass::Metadata && file.path == MANIFEST) {
            Some(file) => Manifest::parse(&files.open(file)?.read_all(self.limits.json_bytes)?, &file.path),
            None => Ok(Manifest::absent()),
        }
    }

    /// The schema with what the manifest says of partitions and indexes.
    fn schema(&self, manifest: &Manifest) -> Result<(KeptSchema, Vec<String>), FileError> {
        let (indexes, mut notes) = server_indexes(self.from, &manifest.index_specs, &self.plan.lite);
        notes.extend(self.plan.notes.iter().cloned());
        let partitions = match self.partition_key() {
            Some(_) => (0..KEY_PARTITIONS).map(partition_name).collect(),
            None => {
                let names: Vec<String> = manifest.partitions.keys().cloned().collect();
                if let Some(misfit) = names.iter().find_map(|name| check_name("partition", name)) {
                    return Err(misfit.into());
                }
                names
            }
        };
        Ok((KeptSchema { partitions, indexes, ..self.plan.kept.clone() }, notes))
    }

    /// Place and type of the column by which rows are spread over partitions.
    fn partition_key(&self) -> Option<(usize, LiteType)> {
        let field = self.plan.lite.partition_key()?;
        let place = self.plan.lite.columns().iter().position(|(name, _)| *name == field.name)?;
        Some((place, field.kind))
    }

    /// What a server writes where Milvus Lite writes nothing, and a look at what it would not take.
    fn adapt(&self, piece: &mut Piece) -> Result<(), FileError> {
        for ((name, kind), column) in self.plan.lite.columns().iter().zip(&mut piece.columns) {
            let wrong = |what: &str| Misfit::Value { field: (*name).to_owned(), what: what.to_owned() };
            if *name == DYNAMIC {
                let mut filled = Column::default();
                column.iter().for_each(|value| filled.push(Some(value.unwrap_or(b"{}".as_slice()))));
                *column = filled;
            }
            let field = self.plan.lite.fields.iter().find(|field| field.name == *name);
            let longest = field.and_then(|field| usize::try_from(longest_text(field)).ok());
            for value in column.iter() {
                let value = value.ok_or_else(|| wrong("is missing"))?;
                match kind {
                    LiteType::Json if serde_json::from_slice::<serde::de::IgnoredAny>(value).is_err() => {
                        return Err(wrong("is no JSON").into());
                    }
                    LiteType::Scalar(Scalar::VarChar) if longest.is_some_and(|longest| value.len() > longest) => {
                        let length = value.len();
                        return Err(wrong(&format!(
                            "has {length} bytes, more than its max_length, which a server counts in bytes"
                        ))
                        .into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Reads the logs as a backup of a server is read, and compares them with what was read of Milvus Lite.
    fn prove(&self, point: &KeptPoint, files: &[TargetFile], live: &PartitionSums) -> Result<(), SourceError> {
        let stored: Vec<StoredFile> =
            files.iter().map(|file| stored_file(self.folder, file.path.clone(), file)).collect();
        let name_of = |id: i64| {
            point.partitions.iter().find(|one| one.partition_id == id).map(|partition| partition.name.clone())
        };
        let counted = CollectionLogs::of(&stored)?.count(self.rows, &name_of, None, self.limits)?;
        let found = counted.into_iter().filter_map(|(id, rows)| Some((name_of(id)?, rows.live))).collect();
        match difference(live, &found) {
            None => Ok(()),
            Some(what) => {
                let what = format!("what was written for the server differs: {what}");
                Err(SourceError::RowsDiffer { collection: self.to.clone(), what })
            }
        }
    }
}

fn partition_name(number: usize) -> String {
    format!("{DEFAULT_PARTITION}_{number}")
}

/// The number of the partition that a server puts a row into.
pub(super) fn place_of(kind: LiteType, value: Option<&[u8]>, partitions: usize) -> usize {
    let value = value.unwrap_or_default();
    let hash = match kind {
        LiteType::Scalar(Scalar::VarChar) => crc32fast::hash(value.get(..HASHED_TEXT_BYTES).unwrap_or(value)),
        _ => murmur3(value) & 0x7fff_ffff,
    };
    usize::try_from(hash).unwrap_or_default() % partitions.max(1)
}

/// MurmurHash3 of 32 bits without seed, of a length that is a multiple of 4.
fn murmur3(bytes: &[u8]) -> u32 {
    let (blocks, _) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        let block = u32::from_le_bytes(*block).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ block).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// A field of the logs.
struct LogField {
    name: String,
    number: i64,
    data_type: DataType,
    kind: LiteType,
    /// Bytes of a vector.
    width: usize,
    /// Its place in a piece.
    place: usize,
}

/// Rows of a partition that are not written yet.
#[derive(Default)]
struct Waiting {
    pieces: Vec<Piece>,
    bytes: usize,
}

/// The logs of a collection, being written: one segment for each partition and [`Limits::import_segment_bytes`].
struct Logs<'a> {
    job: &'a IntoServer<'a>,
    fields: Vec<LogField>,
    partitions: Vec<KeptPartition>,
    waiting: BTreeMap<String, Waiting>,
    /// By partition: the segment that is being written, and its bytes.
    open: BTreeMap<i64, (usize, u64)>,
    segments: Vec<KeptSegment>,
    files: Vec<TargetFile>,
    next_number: i64,
    next_row: i64,
}

impl<'a> Logs<'a> {
    fn new(job: &'a IntoServer<'a>, partitions: &[String]) -> Self {
        let columns = job.plan.lite.columns();
        let place = |name: &str| columns.iter().position(|(one, _)| *one == name);
        let mut fields: Vec<LogField> = Vec::new();
        let mut last = 0;
        for (decoded, lite) in job.plan.decoded.fields.iter().zip(&job.plan.lite.fields) {
            let width =
                if let LiteType::FloatVector(dim) = lite.kind { usize::try_from(dim).unwrap_or(0) * 4 } else { 0 };
            last = decoded.field_id;
            fields.extend(place(&lite.name).map(|place| LogField {
                name: lite.name.clone(),
                number: decoded.field_id,
                data_type: decoded.data_type(),
                kind: lite.kind,
                width,
                place,
            }));
        }
        // The server gives it the number after the last one.
        fields.extend(place(DYNAMIC).map(|place| LogField {
            name: DYNAMIC.to_owned(),
            number: last + 1,
            data_type: DataType::Json,
            kind: LiteType::Json,
            width: 0,
            place,
        }));
        let partitions: Vec<KeptPartition> = (1..)
            .zip(partitions)
            .map(|(partition_id, name)| KeptPartition { partition_id, name: name.clone() })
            .collect();
        let next_number = i64::try_from(partitions.len()).unwrap_or(0) + 1;
        Self {
            job,
            fields,
            partitions,
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            segments: Vec::new(),
            files: Vec::new(),
            next_number,
            next_row: 1,
        }
    }

    fn add(&mut self, partition: &str, piece: Piece) -> Result<(), FileError> {
        let waiting = self.waiting.entry(partition.to_owned()).or_default();
        waiting.bytes += piece.bytes();
        waiting.pieces.push(piece);
        while self.waiting.values().map(|waiting| waiting.bytes).sum::<usize>() >= self.job.limits.lite_write_bytes {
            let largest = self.waiting.iter().max_by_key(|(_, waiting)| waiting.bytes).map(|(name, _)| name.clone());
            let Some(largest) = largest else { break };
            self.write(&largest)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(KeptPoint, Vec<TargetFile>), FileError> {
        let rest: Vec<String> = self.waiting.keys().cloned().collect();
        rest.iter().try_for_each(|partition| self.write(partition))?;
        let Self { partitions, segments, files, .. } = self;
        Ok((KeptPoint { partitions, segments, ..KeptPoint::default() }, files))
    }

    /// Writes what waits of a partition: one log of each field.
    fn write(&mut self, partition: &str) -> Result<(), FileError> {
        let Some(Waiting { pieces, .. }) = self.waiting.remove(partition) else { return Ok(()) };
        let rows: usize = pieces.iter().map(|piece| piece.rows).sum();
        if rows == 0 {
            return Ok(());
        }
        let partition_id = self.partitions.iter().find(|one| one.name == partition).map(|one| one.partition_id);
        let nameless = || SourceError::Damaged {
            path: format!("collection {}", self.job.from),
            reason: format!("it has rows in partition `{partition}`, which its manifest does not name"),
        };
        let partition_id = partition_id.ok_or_else(nameless)?;
        let place = self.segment(partition_id);
        let segment_id = self.segments.get(place).map_or(0, |segment| segment.segment_id);
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        let numbers: Vec<[u8; 8]> =
            (self.next_row..self.next_row.saturating_add(count)).map(i64::to_le_bytes).collect();
        self.next_row = self.next_row.saturating_add(count);
        let timestamps = vec![TIMESTAMP.to_le_bytes(); rows];
        let mut written = 0;
        for (number, values) in OWN_FIELDS.into_iter().zip([&numbers, &timestamps]) {
            let values = values.iter().map(<[u8; 8]>::as_slice);
            let bytes = self.log((partition_id, segment_id, number), DataType::Int64, 0, values);
            let bytes = bytes.map_err(|error| self.told("", error))?;
            written += self.put((partition_id, segment_id, number), &bytes)?;
        }
        for field in 0..self.fields.len() {
            let Some(field) = self.fields.get(field) else { continue };
            let path = (partition_id, segment_id, field.number);
            let values =
                pieces.iter().filter_map(|piece| piece.columns.get(field.place)).flat_map(Column::iter).flatten();
            let bytes = match field.kind {
                LiteType::Array(element) => {
                    let arrays: Option<Vec<Vec<u8>>> = values.map(|value| array(element, value)).collect();
                    let wrong =
                        || Misfit::Value { field: field.name.clone(), what: "is no array of its type".to_owned() };
                    let arrays = arrays.ok_or_else(wrong)?;
                    self.log(path, field.data_type, 0, arrays.iter().map(Vec::as_slice))
                }
                _ => self.log(path, field.data_type, field.width, values),
            };
            let bytes = bytes.map_err(|error| self.told(&field.name, error))?;
            written += self.put(path, &bytes)?;
        }
        if let Some(segment) = self.segments.get_mut(place) {
            segment.rows += rows as u64;
        }
        if let Some((_, bytes)) = self.open.get_mut(&partition_id) {
            *bytes += written;
        }
        Ok(())
    }

    /// The segment that a partition's next rows go into.
    fn segment(&mut self, partition_id: i64) -> usize {
        if let Some((place, bytes)) = self.open.get(&partition_id)
            && *bytes < self.job.limits.import_segment_bytes
        {
            return *place;
        }
        let segment_id = self.number();
        self.segments.push(KeptSegment { partition_id, segment_id, ..KeptSegment::default() });
        let place = self.segments.len() - 1;
        self.open.insert(partition_id, (place, 0));
        place
    }

    fn number(&mut self) -> i64 {
        self.next_number += 1;
        self.next_number
    }

    fn log<'v>(
        &self,
        (partition_id, segment_id, field_id): (i64, i64, i64),
        data_type: DataType,
        width: usize,
        values: impl Iterator<Item = &'v [u8]>,
    ) -> Result<Vec<u8>, WriteError> {
        let descriptor =
            Descriptor { collection_id: 1, partition_id, segment_id, field_id, data_type: data_type.into() };
        insert_log(&descriptor, TIMESTAMP, width, values)
    }

    fn told(&self, field: &str, error: WriteError) -> FileError {
        match error {
            WriteError::Value(what) => Misfit::Value { field: field.to_owned(), what: what.to_owned() }.into(),
            WriteError::Parquet(error) => {
                io_error("write", &self.job.folder.shown, std::io::Error::other(error)).into()
            }
        }
    }

    /// Writes a log under the next number. Returns its length.
    fn put(&mut self, (partition_id, segment_id, field): (i64, i64, i64), bytes: &[u8]) -> Result<u64, SourceError> {
        let log = LogPath { partition_id, segment_id, field_id: Some(field), log_id: self.number() };
        let path = log.to_string();
        let folder = self.job.folder;
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let written = folder.dir.create_dir_all(parent).and_then(|()| folder.dir.write(&path, bytes));
        let size_bytes = bytes.len() as u64;
        written.map_err(|error| crate::staged::write_error(folder, &path, size_bytes, error))?;
        self.files.push(TargetFile { path, class: FileClass::Segment, size_bytes });
        Ok(size_bytes)
    }
}

/// An array as Milvus keeps it; `None` for elements of another type.
fn array(element: Scalar, value: &[u8]) -> Option<Vec<u8>> {
    fn all<T>(value: &[u8], of: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
        elements(value).map(|element| of(element.ok()?)).collect()
    }
    let long = |one: &[u8]| one.try_into().ok().map(i64::from_le_bytes);
    let data = match element {
        Scalar::Bool => Data::BoolData(BoolArray { data: all(value, |one| Some(one.first()? != &0))? }),
        Scalar::Int8 | Scalar::Int16 | Scalar::Int32 => {
            Data::IntData(IntArray { data: all(value, |one| i32::try_from(long(one)?).ok())? })
        }
        Scalar::Int64 => Data::LongData(LongArray { data: all(value, long)? }),
        Scalar::Float => {
            Data::FloatData(FloatArray { data: all(value, |one| one.try_into().ok().map(f32::from_le_bytes))? })
        }
        Scalar::Double => {
            Data::DoubleData(DoubleArray { data: all(value, |one| one.try_into().ok().map(f64::from_le_bytes))? })
        }
        Scalar::VarChar => {
            Data::StringData(StringArray { data: all(value, |one| String::from_utf8(one.to_vec()).ok())? })
        }
    };
    Some(ScalarField { data: Some(data) }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation, of `zlib` for text.
    #[test]
    fn rows_go_where_a_server_would_have_put_them() {
        assert_eq!(murmur3(&[]), 0);
        assert_eq!(murmur3(b"test"), 0xba6b_d213);
        assert_eq!(murmur3(&[0x21, 0x43, 0x65, 0x87]), 0xf55b_516b);
        let text = LiteType::Scalar(Scalar::VarChar);
        // crc32("123456789") is 0xcbf43926.
        assert_eq!(place_of(text, Some(b"123456789"), 16), 6);
        let (long, longer) = ([7_u8; 100], [7_u8; 150]);
        assert_eq!(
            place_of(text, Some(&long), 16),
            place_of(text, Some(&longer), 16),
            "only the first hundred bytes count"
        );
    }
}
