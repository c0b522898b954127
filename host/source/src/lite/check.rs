//! Parses the stored files of one collection: schema, manifest, Parquet, write-ahead log, index files.
//!
//! Columns of a Parquet file are decoded one after the other, so that the file is read nearly in order and memory stays
//! at a few pages.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::FileClass;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::key_columns::{self, Failure};
use super::layout::{self, WalKind};
use super::manifest::Manifest;
use super::rows::LiveKeys;
use super::schema::Schema;
use super::{index_file, wal};
use crate::disk::ReadAt;
use crate::{CheckedFiles, Limits, SourceError, StoredBytes, StoredFile};

impl ReadAt for dyn StoredBytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        StoredBytes::fill(self, buffer, offset)
    }
}

/// See [`crate::check_files`].
pub(crate) fn check_files(files: &[StoredFile], complete: bool, limits: &Limits) -> CheckedFiles {
    let mut check = Check {
        limits,
        key: None,
        rows: 0,
        live: LiveKeys::new(limits.count_memory_bytes),
        segments: Vec::new(),
        found: CheckedFiles::default(),
    };
    let find = |name: &str| files.iter().find(|file| file.path == name);
    let schema = find(layout::SCHEMA);
    match schema.map(|file| (file, check.schema(file))) {
        Some((_, Ok(schema))) => check.passed(|check| check.key = Some(schema.key)),
        Some((file, Err(what))) => check.failed(&file.path, what),
        None if complete => check.failed(layout::SCHEMA, "it is missing".to_owned()),
        None => {}
    }
    match find(layout::MANIFEST).map(|file| (file, check.manifest(file))) {
        Some((_, Ok(manifest))) => {
            check.passed(|_| {});
            if complete {
                check.compare(&manifest, files);
            }
        }
        Some((file, Err(what))) => check.failed(&file.path, what),
        // A collection that was never flushed has none.
        None => {}
    }
    // Index files last: they are compared with the rows of their segments.
    let is_index = |file: &&StoredFile| file.class == FileClass::Index;
    for file in files.iter().filter(|file| !is_index(file)).chain(files.iter().filter(is_index)) {
        let result = match file.class {
            FileClass::Metadata => continue,
            FileClass::Segment => check.parquet(file, true),
            FileClass::Delta => check.parquet(file, false),
            FileClass::Wal => check.log(file),
            FileClass::Index => check.index(file),
        };
        match result {
            Ok(()) => check.passed(|_| {}),
            Err(what) => check.failed(&file.path, what),
        }
    }
    check.finish(complete)
}

struct Check<'a> {
    limits: &'a Limits,
    /// Name of the primary key, once the schema was read.
    key: Option<String>,
    rows: u64,
    live: LiveKeys,
    /// Path and rows of each segment.
    segments: Vec<(String, u64)>,
    found: CheckedFiles,
}

impl Check<'_> {
    fn passed(&mut self, then: impl FnOnce(&mut Self)) {
        self.found.parsed += 1;
        then(self);
    }

    fn failed(&mut self, path: &str, what: String) {
        self.found.problems.push((path.to_owned(), what));
    }

    fn finish(mut self, complete: bool) -> CheckedFiles {
        if complete && self.found.problems.is_empty() {
            self.found.physical_rows = Some(self.rows);
            self.found.live_rows = self.live.count();
        }
        self.found
    }

    fn read_all(&self, file: &StoredFile) -> Result<Vec<u8>, String> {
        if file.size_bytes > self.limits.json_bytes {
            return Err(format!("it has {} bytes; the limit is {}", file.size_bytes, self.limits.json_bytes));
        }
        let mut bytes = vec![0; usize::try_from(file.size_bytes).unwrap_or(usize::MAX)];
        StoredBytes::fill(file.bytes.as_ref(), &mut bytes, 0).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn schema(&self, file: &StoredFile) -> Result<Schema, String> {
        Schema::parse(&self.read_all(file)?, &file.path).map_err(reason)
    }

    fn manifest(&self, file: &StoredFile) -> Result<Manifest, String> {
        Manifest::parse(&self.read_all(file)?, &file.path).map_err(reason)
    }

    /// Milvus Lite only warns about a file that its manifest names and that is missing: rows would be silently lost.
    fn compare(&mut self, manifest: &Manifest, files: &[StoredFile]) {
        let there: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        for (_, path, _) in manifest.files() {
            if !there.contains(path.as_str()) {
                self.failed(&path, "the collection's manifest names it, and the backup lacks it".to_owned());
            }
        }
    }

    /// Decodes every column of a data or delta file.
    fn parquet(&mut self, file: &StoredFile, is_data: bool) -> Result<(), String> {
        self.footer(file)?;
        let open = || {
            let bytes = Positional { bytes: Arc::clone(&file.bytes), size_bytes: file.size_bytes };
            ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())
        };
        let first = open()?;
        let promised = u64::try_from(first.metadata().file_metadata().num_rows()).unwrap_or(u64::MAX);
        let columns = first.parquet_schema().root_schema().get_fields().len();
        let name_of = |column: usize| {
            first.parquet_schema().root_schema().get_fields().get(column).map(|field| field.name().to_owned())
        };
        for column in 0..columns {
            let builder = open()?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
            let reader = builder.with_projection(mask).build().map_err(|error| error.to_string())?;
            let mut rows = 0_u64;
            for batch in reader {
                rows += batch.map_err(|error| error.to_string())?.num_rows() as u64;
            }
            if rows != promised {
                let name = name_of(column).unwrap_or_default();
                return Err(format!("column `{name}` has {rows} rows, its footer promises {promised}"));
            }
        }
        if let Some(key) = self.key.clone() {
            let bytes = Positional { bytes: Arc::clone(&file.bytes), size_bytes: file.size_bytes };
            let live = &mut self.live;
            let read = key_columns::read(bytes, first.metadata(), &key, &mut |key, sequence| {
                if is_data {
                    live.insert(key, sequence)
                } else {
                    live.delete(key, sequence)
                }
                Ok(())
            });
            read.map_err(|failure| match failure {
                Failure::Damaged(what) => what,
                Failure::Visitor(error) => reason(error),
            })?;
        }
        if is_data {
            self.rows += promised;
            self.segments.push((file.path.clone(), promised));
        }
        Ok(())
    }

    /// Looks at the length of the footer before the reader allocates it.
    fn footer(&self, file: &StoredFile) -> Result<(), String> {
        let start = file.size_bytes.checked_sub(8).ok_or("it is too short for a Parquet file")?;
        let mut trailer = [0; 8];
        StoredBytes::fill(file.bytes.as_ref(), &mut trailer, start).map_err(|error| error.to_string())?;
        let [one, two, three, four, magic @ ..] = trailer;
        let length = u64::from(u32::from_le_bytes([one, two, three, four]));
        if &magic != b"PAR1" {
            return Err("it does not end like a Parquet file".to_owned());
        }
        if length > start || length > self.limits.parquet_footer_bytes {
            return Err(format!("its footer of {length} bytes is beyond the limits"));
        }
        Ok(())
    }

    /// Reads every batch of a log file. A backup holds whole batches only, so nothing may be left at its end.
    fn log(&mut self, file: &StoredFile) -> Result<(), String> {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let (kind, _) = layout::wal_file(name).ok_or("it is not named like a log file")?;
        let Some(key) = self.key.clone() else { return Err("it cannot be read without the schema".to_owned()) };
        let reader = wal::Reader { file: file.bytes.as_ref(), shown: &file.path, limits: self.limits };
        let scan = reader.scan(file.size_bytes, &key).map_err(reason)?;
        let end = scan.batches.last().map_or(scan.schema_end, |batch| batch.end);
        let left = file.size_bytes.saturating_sub(end);
        // The mark at the end of a stream has 4 or 8 bytes.
        if scan.columns.is_none() || left > 8 {
            return Err(format!("{left} bytes at its end are no whole batch"));
        }
        let Some(columns) = scan.columns else { return Ok(()) };
        for batch in &scan.batches {
            let live = &mut self.live;
            let mut visit = |key: wal::Key<'_>, sequence| {
                match kind {
                    WalKind::Data => live.insert(key, sequence),
                    WalKind::Delta => live.delete(key, sequence),
                }
                Ok(())
            };
            reader.keys(batch, columns, &mut visit).map_err(reason)?;
            if kind == WalKind::Data {
                self.rows += batch.rows;
            }
        }
        Ok(())
    }

    /// An index file must agree with the rows of the segment whose name it bears.
    fn index(&mut self, file: &StoredFile) -> Result<(), String> {
        let (folder, name) = file.path.rsplit_once("/indexes/").ok_or("it is in no folder of indexes")?;
        let segment = self.segments.iter().find(|(path, _)| {
            let stem = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix("/data/"));
            let stem = stem.and_then(|stem| stem.strip_suffix(".parquet"));
            stem.is_some_and(|stem| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.')))
        });
        match segment {
            Some((_, rows)) => {
                index_file::check_bytes(file.bytes.as_ref(), file.size_bytes, *rows).map_err(str::to_owned)
            }
            // Its segment was not given, or does not parse, which is a problem of its own.
            None => Ok(()),
        }
    }
}

/// What is wrong, without the path, which stands beside it.
fn reason(error: SourceError) -> String {
    match error {
        SourceError::Damaged { reason, .. } | SourceError::Unsupported { reason, .. } => reason,
        error => error.to_string(),
    }
}

/// A stored file as the Parquet reader wants it.
struct Positional {
    bytes: Arc<dyn StoredBytes>,
    size_bytes: u64,
}

impl Length for Positional {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Positional {
    type T = PositionalReader;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(PositionalReader { bytes: Arc::clone(&self.bytes), size_bytes: self.size_bytes, offset: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A damaged footer can name any length; more than the file has is not allocated.
        if start.checked_add(length as u64).is_none_or(|end| end > self.size_bytes) {
            return Err(ParquetError::EOF("a column reaches beyond the end of the file".to_owned()));
        }
        let mut bytes = vec![0; length];
        self.bytes.fill(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

struct PositionalReader {
    bytes: Arc<dyn StoredBytes>,
    size_bytes: u64,
    offset: u64,
}

impl Read for PositionalReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size_bytes.saturating_sub(self.offset);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..length) else { return Ok(0) };
        self.bytes.fill(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
