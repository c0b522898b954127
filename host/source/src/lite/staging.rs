//! A restore under way: files are written into the staging folder, read back, counted, and moved at the end.
//!
//! Nothing here is visible to Milvus Lite until `commit` renames it, so the order in which the files of a collection are
//! written does not matter; a collection appears with its manifest and all files it names, or not at all.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::OpenOptions;
use longshore_model::Digest;

use super::shared::Shared;
use super::target::{Staging, as_source, available_bytes};
use super::{commit, layout, plan, point, schema};
use crate::blocking::blocking;
use crate::disk::{Folder, OpenFile, ReadAt, io_error};
use crate::{
    CollectionPoint, FilePiece, Limits, PointOptions, RestoreRun, RestoredCollection, SourceError, TargetCollection,
    TargetFile, TargetPlan,
};

/// Bytes that are read back in one go.
const READ_BACK_BYTES: usize = 1 << 20;

/// Bytes handed to the system per write. Writes of several megabytes make ext4 look for page-cache blocks as large: a
/// restored file costs two to ten times the system time of these. Reserving a file's space beforehand gains nothing
/// measurable beside it.
const WRITE_BYTES: usize = 128 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct StagedRun {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken by `commit` and `abort`.
    staging: Mutex<Option<Staging>>,
    /// The staged data directory.
    root: Folder,
    /// Whether an earlier run left something in it.
    resumed: bool,
    plan: Arc<TargetPlan>,
    limits: Limits,
    source: Arc<Shared>,
    /// Which collections are finished.
    finished: Vec<AtomicBool>,
}

impl StagedRun {
    pub(crate) fn new(staging: Staging, plan: Arc<TargetPlan>, limits: Limits) -> Result<Self, SourceError> {
        let source = as_source(&staging.root, limits)?;
        let dir = staging.root.dir.try_clone().map_err(|error| io_error("open", &staging.root.shown, error))?;
        let root = Folder { dir, shown: staging.root.shown.clone() };
        let resumed = staging.resumed;
        let finished = plan.collections.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                staging: Mutex::new(Some(staging)),
                root,
                resumed,
                plan,
                limits,
                source,
                finished,
            }),
        })
    }
}

impl Inner {
    fn collection(&self, collection: usize) -> Result<&TargetCollection, SourceError> {
        let reason = || format!("the plan has no collection number {collection}");
        self.plan.collections.get(collection).ok_or_else(|| SourceError::BadPlan { reason: reason() })
    }

    fn file(&self, collection: usize, file: usize) -> Result<(String, &TargetFile), SourceError> {
        let wanted = self.collection(collection)?;
        let name = &wanted.mapping.to;
        let entry = wanted
            .files
            .get(file)
            .ok_or_else(|| SourceError::BadPlan { reason: format!("collection {name} has no file number {file}") })?;
        Ok((format!("{}/{}", layout::collection_folder(name), entry.path), entry))
    }

    fn open(&self, path: &str, create: bool) -> Result<OpenFile, SourceError> {
        if create {
            let mut options = OpenOptions::new();
            options.write(true).create(true);
            let made = self.root.dir.open_with(path, &options);
            drop(made.map_err(|error| io_error("write", &self.root.show(path), error))?);
        }
        let missing = || SourceError::Damaged {
            path: self.root.show(path),
            reason: "it was never written; the backup is incomplete or the restore is not done".to_owned(),
        };
        self.root.file(path)?.ok_or_else(missing)
    }

    /// See [`RestoreRun::left_over`].
    fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        let (path, entry) = self.file(collection, file)?;
        match self.root.file(&path)? {
            Some(left) if left.stat.size_bytes == entry.size_bytes => digest(&left).map(Some),
            _ => Ok(None),
        }
    }

    /// See [`RestoreRun::clear`].
    fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        let (path, _) = self.file(collection, file)?;
        match self.root.dir.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.root.show(&path), error))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, collection: usize, file: usize, offset: u64, bytes: &[u8]) -> Result<(), SourceError> {
        let (path, entry) = self.file(collection, file)?;
        let shown = self.root.show(&path);
        let end = offset.saturating_add(bytes.len() as u64);
        if end > entry.size_bytes {
            return Err(SourceError::OutOfRange { path: shown, offset, end, size_bytes: entry.size_bytes });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        let file = self.root.dir.open_with(&path, &options).map_err(|error| io_error("write", &shown, error))?;
        let file = file.into_std();
        let starts = (offset..).step_by(WRITE_BYTES);
        let written =
            bytes.chunks(WRITE_BYTES).zip(starts).try_for_each(|(piece, start)| file.write_all_at(piece, start));
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => SourceError::NoSpace {
                path: shown,
                needed_bytes: bytes.len() as u64,
                available_bytes: available_bytes(&self.root).unwrap_or(0),
            },
            _ => io_error("write", &shown, error),
        })
    }

    /// Hashes every file of a collection as it is on disk, then adapts its schema.
    fn read_back(&self, collection: usize) -> Result<Vec<Digest>, SourceError> {
        let wanted = self.collection(collection)?;
        let mut digests = Vec::with_capacity(wanted.files.len());
        let mut schema_path = None;
        for (number, entry) in wanted.files.iter().enumerate() {
            let (path, _) = self.file(collection, number)?;
            // An empty file needs no write, so nobody may have made it yet.
            let file = self.open(&path, entry.size_bytes == 0)?;
            if file.stat.size_bytes != entry.size_bytes {
                let (have, want) = (file.stat.size_bytes, entry.size_bytes);
                let reason = format!("{have} of {want} bytes were written");
                return Err(SourceError::Damaged { path: file.shown, reason });
            }
            digests.push(digest(&file)?);
            if plan::is_schema(&entry.path, entry.class) {
                schema_path = Some((path, file));
            }
        }
        if let Some((path, file)) = schema_path {
            let bytes = file.read_all(self.limits.json_bytes)?;
            if let Some(adapted) = schema::adapt(&bytes, &wanted.mapping.to.collection, &file.shown)? {
                let written = self.root.dir.write(&path, adapted);
                written.map_err(|error| io_error("write", &file.shown, error))?;
            }
        }
        Ok(digests)
    }

    fn take(&self) -> Result<Staging, SourceError> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        staging.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }
}

/// BLAKE3 of a file's bytes.
fn digest(file: &OpenFile) -> Result<Digest, SourceError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(file.stat.size_bytes).unwrap_or(usize::MAX).min(READ_BACK_BYTES)];
    let mut at = 0;
    while at < file.stat.size_bytes {
        let length = usize::try_from(file.stat.size_bytes - at).unwrap_or(usize::MAX).min(READ_BACK_BYTES);
        let Some(piece) = buffer.get_mut(..length) else { break };
        file.file.fill(piece, at).map_err(|error| io_error("read", &file.shown, error))?;
        hasher.update(piece);
        at += length as u64;
    }
    Ok(Digest::new(*hasher.finalize().as_bytes()))
}

#[async_trait]
impl RestoreRun for StagedRun {
    async fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        if !self.inner.resumed {
            return Ok(None);
        }
        let inner = Arc::clone(&self.inner);
        blocking(&self.inner.root.shown, move || inner.left_over(collection, file)).await
    }

    async fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        if !self.inner.resumed {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        blocking(&self.inner.root.shown, move || inner.clear(collection, file)).await
    }

    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        let inner = Arc::clone(&self.inner);
        blocking(&self.inner.root.shown, move || inner.write(collection, file, offset, &bytes)).await
    }

    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        let inner = Arc::clone(&self.inner);
        let write =
            move || pieces.iter().try_for_each(|piece| inner.write(collection, piece.file, piece.offset, &piece.bytes));
        blocking(&self.inner.root.shown, write).await
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let inner = Arc::clone(&self.inner);
        let name = inner.collection(collection)?.mapping.to.clone();
        let file_digests = blocking(&self.inner.root.shown, move || inner.read_back(collection)).await?;
        // Opened as a source would open it: every file the manifest names must be there, and everything must parse.
        let point = point::open(&self.inner.source, &name, PointOptions::default()).await?;
        let live_rows = point.live_rows(self.inner.limits.count_memory_bytes).await?;
        if let Some(finished) = self.inner.finished.get(collection) {
            finished.store(true, Ordering::Release);
        }
        Ok(RestoredCollection { physical_rows: point.physical_rows(), live_rows, file_digests })
    }

    async fn commit(self: Box<Self>) -> Result<(), SourceError> {
        for (collection, finished) in self.inner.plan.collections.iter().zip(&self.inner.finished) {
            if !finished.load(Ordering::Acquire) {
                let reason = format!("collection {} is not finished", collection.mapping.to);
                return Err(SourceError::BadPlan { reason });
            }
        }
        let (inner, staging) = (Arc::clone(&self.inner), self.inner.take()?);
        blocking(&self.inner.root.shown, move || commit::run(staging, &inner.plan, &inner.limits)).await
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        self.inner.take()?.keep();
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        let mut staging = self.inner.take()?;
        blocking(&self.inner.root.shown, move || staging.remove()).await
    }
}
