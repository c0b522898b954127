//! A collection at one consistent point, with every file held open.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{CollectionName, Digest, FileClass};
use serde_json::{Value, json};

use super::attempt::{self, Miss, NamedKind, Opened};
use super::counting::{Counting, count_live};
use super::layout::{self, WalKind};
use super::looked::Described;
use super::shared::Shared;
use super::{fingerprint, wal_cut};
use crate::blocking::blocking;
use crate::buffers;
use crate::disk::{Folder, OpenFile, ReadAt, Stat, io_error};
use crate::{CollectionPoint, PointFile, PointOptions, PointState, Reading, Recheck, RowCounting, SourceError};

/// Where the bytes of a file come from.
#[derive(Debug, Clone)]
enum Content {
    /// Read when the point was opened.
    Memory(Bytes),
    /// Read by position from an open file: these ranges, one after the other.
    File { file: Arc<OpenFile>, ranges: Vec<(u64, u64)> },
    /// All of the file at this place of [`Opened::named`].
    Named(usize),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct LitePoint {
    shared: Arc<Shared>,
    name: CollectionName,
    opened: Arc<Opened>,
    files: Vec<PointFile>,
    contents: Vec<Content>,
    description: Value,
}

/// Opens a collection, trying again while it changes.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    name: &CollectionName,
    options: PointOptions,
) -> Result<LitePoint, SourceError> {
    let limits = shared.limits;
    let mut pause_ms = limits.first_pause_ms;
    let mut attempts = 1;
    loop {
        let (state, wanted) = (Arc::clone(shared), name.clone());
        let attempt = move || Ok(attempt(&state, &wanted, options, attempts));
        let reason = match blocking(&name.to_string(), attempt).await? {
            Ok(point) => return Ok(point),
            Err(Miss::Changed(reason)) if attempts < limits.open_attempts => reason,
            Err(Miss::Missing(path)) if attempts < limits.open_attempts => format!("`{path}` vanished"),
            Err(miss) => return Err(given_up(miss, name, attempts)),
        };
        tracing::debug!(collection = %name, attempts, reason, "opening a collection again");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(limits.longest_pause_ms);
        attempts += 1;
    }
}

/// Opens a collection on this thread; `None` when it changed meanwhile.
pub(crate) fn open_here(
    shared: &Arc<Shared>,
    name: &CollectionName,
    options: PointOptions,
) -> Option<Result<LitePoint, SourceError>> {
    match attempt(shared, name, options, 1) {
        Ok(point) => Some(Ok(point)),
        Err(Miss::Fatal(error)) => Some(Err(error)),
        Err(Miss::Missing(_) | Miss::Changed(_)) => None,
    }
}

/// Opens a collection that nobody changes on this thread.
pub(crate) fn open_unchanging(
    shared: &Arc<Shared>,
    name: &CollectionName,
    options: PointOptions,
) -> Result<LitePoint, SourceError> {
    attempt(shared, name, options, 1).map_err(|miss| given_up(miss, name, 1))
}

fn attempt(
    shared: &Arc<Shared>,
    name: &CollectionName,
    options: PointOptions,
    attempts: u32,
) -> Result<LitePoint, Miss> {
    Ok(LitePoint::new(shared, name, attempt::open(shared, name, options)?, attempts))
}

/// The error for a collection that could not be opened in so many attempts.
fn given_up(miss: Miss, name: &CollectionName, attempts: u32) -> SourceError {
    match miss {
        Miss::Fatal(error) => error,
        Miss::Missing(path) => SourceError::MissingFile { collection: name.clone(), path },
        Miss::Changed(reason) => SourceError::KeepsChanging { collection: name.clone(), attempts, reason },
    }
}

impl LitePoint {
    fn new(shared: &Arc<Shared>, name: &CollectionName, opened: Opened, attempts: u32) -> Self {
        let mut list: Vec<(PointFile, Content)> = Vec::new();
        let mut small = |path: &str, stat: &Stat, bytes: &Bytes| {
            let identity = shared.identity(name, path, stat);
            let (path, size_bytes) = (path.to_owned(), bytes.len() as u64);
            let file =
                PointFile { path, class: FileClass::Metadata, partition: None, size_bytes, identity, rows: None };
            list.push((file, Content::Memory(bytes.clone())));
        };
        small(layout::SCHEMA, &opened.schema.stat, &opened.schema.bytes);
        if let Some(manifest) = &opened.manifest_file {
            small(layout::MANIFEST, &manifest.stat, &manifest.bytes);
        }
        for (place, named) in opened.named.iter().enumerate() {
            let (class, rows) = match named.kind {
                NamedKind::Data(rows) => (FileClass::Segment, Some(rows)),
                NamedKind::Delta => (FileClass::Delta, None),
                NamedKind::Index => (FileClass::Index, None),
            };
            let size_bytes = named.stat.size_bytes;
            let identity = shared.identity(name, &named.path, &named.stat);
            let (path, partition) = (named.path.clone(), Some(named.partition.clone()));
            list.push((PointFile { path, class, partition, size_bytes, identity, rows }, Content::Named(place)));
        }
        for cut in &opened.cut.files {
            let (path, size_bytes) = (cut.path.clone(), cut.size_bytes());
            let file =
                PointFile { path, class: FileClass::Wal, partition: None, size_bytes, identity: None, rows: None };
            list.push((file, Content::File { file: Arc::clone(&cut.file), ranges: cut.ranges.clone() }));
        }
        list.sort_unstable_by(|left, right| left.0.path.cmp(&right.0.path));
        let (files, contents) = list.into_iter().unzip();
        let description = describe(&opened, attempts);
        Self { shared: Arc::clone(shared), name: name.clone(), opened: Arc::new(opened), files, contents, description }
    }

    /// The folder this point was taken from.
    pub(crate) fn folder(&self) -> &Folder {
        &self.opened.folder
    }

    /// See [`CollectionPoint::counting`].
    pub(crate) fn counting_here(&self, memory_bytes: u64) -> Counting {
        let place = |content: &Content| match content {
            Content::Named(place) => Some(*place),
            Content::Memory(_) | Content::File { .. } => None,
        };
        let (opened, places) = (Arc::clone(&self.opened), self.contents.iter().map(place).collect());
        Counting::new(opened, places, memory_bytes, self.shared.limits)
    }
}

/// What goes into the backup's manifest about a point.
fn describe(opened: &Opened, attempts: u32) -> Value {
    let wal = opened.cut.files.iter().map(|cut| {
        json!({"path": cut.path, "sizeBytes": cut.size_bytes(), "batches": cut.batches.len(), "rows": cut.rows()})
    });
    let left_out = opened.left_out.iter().map(|(path, why)| json!({"path": path, "reason": why}));
    json!({
        "source": "milvus-lite",
        "manifestVersion": opened.manifest.version,
        "flushedSequence": opened.manifest.current_sequence,
        "lastSequence": opened.cut.last_sequence.unwrap_or(opened.manifest.current_sequence),
        "wal": wal.collect::<Vec<_>>(),
        "leftOut": left_out.collect::<Vec<_>>(),
        "attempts": attempts,
    })
}

#[async_trait]
impl CollectionPoint for LitePoint {
    fn name(&self) -> &CollectionName {
        &self.name
    }

    fn files(&self) -> &[PointFile] {
        &self.files
    }

    fn schema(&self) -> &Value {
        &self.opened.schema.content.value
    }

    fn description(&self) -> &Value {
        &self.description
    }

    fn physical_rows(&self) -> u64 {
        let flushed = self.opened.named.iter().map(|named| match named.kind {
            NamedKind::Data(rows) => rows,
            NamedKind::Delta | NamedKind::Index => 0,
        });
        let logged = self.opened.cut.files.iter().filter(|cut| cut.kind == WalKind::Data).map(wal_cut::CutFile::rows);
        flushed.chain(logged).sum()
    }

    async fn live_rows(&self, memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        let (opened, limits) = (Arc::clone(&self.opened), self.shared.limits);
        blocking(&self.folder().shown, move || count_live(&opened, memory_bytes, &limits)).await
    }

    fn counting(&self, memory_bytes: u64) -> Option<Arc<dyn RowCounting>> {
        Some(Arc::new(self.counting_here(memory_bytes)))
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        match self.plan_read(file, offset, length)? {
            Read::Done(bytes) => Ok(bytes),
            Read::Work(reading) => blocking(&self.folder().shown, reading).await,
        }
    }

    fn reading(&self, file: usize, offset: u64, length: usize) -> Option<Reading> {
        match self.plan_read(file, offset, length) {
            Ok(Read::Work(reading)) => Some(reading),
            // What cannot be read says so when it is read.
            Ok(Read::Done(_)) | Err(_) => None,
        }
    }

    fn holds_all_files(&self) -> bool {
        self.opened.named.iter().all(attempt::NamedFile::is_held)
    }

    fn descriptors(&self) -> usize {
        let opened = &self.opened;
        let manifest = opened.manifest_file.as_ref().is_some_and(|manifest| manifest.held.is_some());
        let described = usize::from(opened.schema.held.is_some()) + usize::from(manifest);
        let named = opened.named.iter().filter(|named| named.is_held()).count();
        // And the folder.
        named + opened.cut.files.len() + described + 1
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        self.later().recheck().await
    }

    fn recheck_later(&self) -> Option<Arc<dyn Recheck>> {
        Some(Arc::new(self.later()))
    }
}

/// A read of a point.
enum Read {
    /// From memory.
    Done(Bytes),
    /// From a file, by a thread that may wait.
    Work(Reading),
}

impl LitePoint {
    fn plan_read(&self, file: usize, offset: u64, length: usize) -> Result<Read, SourceError> {
        let (Some(entry), Some(content)) = (self.files.get(file), self.contents.get(file)) else {
            let reason = format!("collection {} has no file number {file}", self.name);
            return Err(SourceError::BadPlan { reason });
        };
        let shown = || self.folder().show(&entry.path);
        let wanted = length as u64;
        if wanted > self.shared.limits.read_bytes {
            let (path, what, limit) = (shown(), "one read in bytes", self.shared.limits.read_bytes);
            return Err(SourceError::LimitExceeded { path, what, used: wanted, limit });
        }
        let end = offset.saturating_add(wanted);
        if end > entry.size_bytes {
            return Err(SourceError::OutOfRange { path: shown(), offset, end, size_bytes: entry.size_bytes });
        }
        let buffers = Arc::clone(&self.shared.buffers);
        Ok(match content {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Read::Done(bytes.slice(start..start + length))
            }
            Content::File { file, ranges } => {
                let (file, pieces) = (Arc::clone(file), pieces(ranges, offset, wanted));
                Read::Work(Box::new(move || buffers.filled(length, |bytes| read_pieces(&file, &pieces, bytes))))
            }
            Content::Named(place) => {
                let (opened, place) = (Arc::clone(&self.opened), *place);
                Read::Work(Box::new(move || {
                    let lost = || SourceError::BadPlan { reason: format!("a point has no named file {place}") };
                    let file = opened.named.get(place).ok_or_else(lost)?.open(&opened.folder)?;
                    if length < buffers::LEAST_BYTES {
                        let read = file.read_new(offset, length);
                        return Ok(read.map_err(|error| not_read(&file, offset + wanted, error))?.into());
                    }
                    buffers.filled(length, |bytes| read_pieces(&file, &[(offset, wanted)], bytes))
                }))
            }
        })
    }

    fn later(&self) -> Later {
        let opened = &self.opened;
        let manifest = opened.manifest_file.as_ref().map(|manifest| manifest.stat);
        Later {
            shared: Arc::clone(&self.shared),
            name: self.name.clone(),
            fingerprint: opened.fingerprint,
            described: Described::settled(&self.shared, opened.folder_stat, opened.schema.stat, manifest),
        }
    }
}

/// Looks again at a collection; holds nothing open.
#[derive(Clone)]
struct Later {
    shared: Arc<Shared>,
    name: CollectionName,
    fingerprint: Digest,
    /// Where the files had been unchanged for so long that the same files with the same times have the same fingerprint.
    described: Option<Described>,
}

#[async_trait]
impl Recheck for Later {
    async fn recheck(&self) -> Result<PointState, SourceError> {
        let later = self.clone();
        blocking(&self.name.to_string(), move || later.look_again()).await
    }

    fn recheck_here(&self) -> Option<Result<PointState, SourceError>> {
        Some(self.look_again())
    }
}

impl Later {
    fn look_again(&self) -> Result<PointState, SourceError> {
        let Some(folder) = self.shared.collection(&self.name)? else { return Ok(PointState::Dropped) };
        if let Some(described) = &self.described
            && described.is_current(&folder)?
        {
            return Ok(PointState::Unaltered);
        }
        let Some(schema) = attempt::open_schema(&self.shared, &folder)? else { return Ok(PointState::Dropped) };
        let manifest = match attempt::open_manifest(&self.shared, &folder) {
            Ok(manifest) => attempt::content_of(manifest.as_ref()),
            Err(Miss::Fatal(error)) => return Err(error),
            Err(Miss::Changed(_) | Miss::Missing(_)) => return Ok(PointState::Altered),
        };
        let now = fingerprint::of(&folder.stat_self()?, &schema, &manifest);
        Ok(if now == self.fingerprint { PointState::Unaltered } else { PointState::Altered })
    }
}

/// The ranges of a file that make up `length` bytes at `offset` of its kept bytes.
fn pieces(ranges: &[(u64, u64)], mut offset: u64, mut length: u64) -> Vec<(u64, u64)> {
    let mut pieces = Vec::new();
    for (start, end) in ranges {
        let kept = end - start;
        if offset >= kept {
            offset -= kept;
            continue;
        }
        let taken = length.min(kept - offset);
        if taken > 0 {
            pieces.push((start + offset, taken));
        }
        (offset, length) = (0, length - taken);
    }
    pieces
}

/// Why the bytes of a file up to `end` could not be read.
fn not_read(file: &OpenFile, end: u64, error: std::io::Error) -> SourceError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            let reason = format!("it has become shorter than {end} bytes");
            SourceError::FileChanged { path: file.shown.clone(), reason }
        }
        _ => io_error("read", &file.shown, error),
    }
}

/// Fills all of `bytes`, or fails.
fn read_pieces(file: &OpenFile, pieces: &[(u64, u64)], bytes: &mut [u8]) -> Result<(), SourceError> {
    let mut rest = bytes;
    for (start, count) in pieces {
        let wanted = usize::try_from(*count).unwrap_or(usize::MAX).min(rest.len());
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(wanted);
        file.file.fill(piece, *start).map_err(|error| not_read(file, start + count, error))?;
        rest = after;
    }
    if rest.is_empty() {
        return Ok(());
    }
    // The buffer may still hold what was read before: nothing may be made of it.
    let reason = format!("{} bytes of it are in no range of the point", rest.len());
    Err(SourceError::FileChanged { path: file.shown.clone(), reason })
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn kept_ranges_read_as_one_file() {
        let ranges = [(0, 10), (20, 25), (40, 100)];
        assert_eq!(pieces(&ranges, 0, 75), vec![(0, 10), (20, 5), (40, 60)]);
        assert_eq!(pieces(&ranges, 9, 3), vec![(9, 1), (20, 2)]);
        assert_eq!(pieces(&ranges, 10, 5), vec![(20, 5)]);
        assert_eq!(pieces(&ranges, 74, 1), vec![(99, 1)]);
        assert_eq!(pieces(&ranges, 75, 0), vec![]);
    }
}
