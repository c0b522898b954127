//! A restore under way: files are written into the staging folder, read back, counted, and moved at the end.
//!
//! Nothing here is visible to Milvus Lite until `commit` renames it, so the order in which the files of a collection are
//! written does not matter; a collection appears with its manifest and all files it names, or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::Digest;

use super::read_back::ReadBack;
use super::shared::Shared;
use super::target::{Staging, as_source, place_of};
use super::{commit, layout, plan, point, schema};
use crate::disk::{Folder, io_error};
use crate::staged::{StagedFiles, aside};
use crate::{
    CollectionPoint, Committed, FilePiece, Limits, PieceWriter, PointOptions, RestoreRun, RestoreWatch,
    RestoredCollection, SourceError, TargetPlan,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct StagedRun {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Taken by `commit` and `abort`.
    staging: Mutex<Option<Staging>>,
    files: StagedFiles,
    limits: Limits,
    source: Arc<Shared>,
    /// Which collections are finished.
    finished: Vec<AtomicBool>,
}

impl AsRef<StagedFiles> for Inner {
    fn as_ref(&self) -> &StagedFiles {
        &self.files
    }
}

impl StagedRun {
    pub(crate) fn new(staging: Staging, plan: Arc<TargetPlan>, limits: Limits) -> Result<Self, SourceError> {
        let source = as_source(&staging.root, limits)?;
        let dir = staging.root.dir.try_clone().map_err(|error| io_error("open", &staging.root.shown, error))?;
        let root = Folder { dir, shown: staging.root.shown.clone() };
        let finished = plan.collections.iter().map(|_| AtomicBool::new(false)).collect();
        let place_of = place_of(&plan);
        let files = StagedFiles::new(root, staging.folder.resumed, plan, place_of).written_back_early();
        Ok(Self { inner: Arc::new(Inner { staging: Mutex::new(Some(staging)), files, limits, source, finished }) })
    }
}

impl Inner {
    /// Hashes every file of a collection as it is on disk, then adapts its schema.
    fn read_back(&self, collection: usize, back: &mut ReadBack) -> Result<Vec<Digest>, SourceError> {
        let name = &self.files.collection(collection)?.mapping.to;
        let mut adapted_schema = None;
        let digests = self.files.read_back(collection, &mut |entry, file, bytes| {
            if plan::is_schema(&entry.path, entry.class) {
                let schema = match &bytes {
                    Some(bytes) if bytes.len() as u64 <= self.limits.json_bytes => bytes.clone(),
                    // Says so when it is beyond the limit.
                    _ => file.read_all(self.limits.json_bytes)?.into(),
                };
                let adapted = schema::adapt(&schema, &name.collection, &file.shown)?;
                adapted_schema = adapted.map(|adapted| (entry.path.clone(), adapted, file.shown.clone()));
            }
            back.add(entry, file, bytes, &self.source)
        })?;
        if let Some((path, adapted, shown)) = adapted_schema {
            back.forget(&path);
            let path = format!("{}/{path}", layout::collection_folder(name));
            let written = self.files.root.dir.write(&path, adapted);
            written.map_err(|error| io_error("write", &shown, error))?;
        }
        Ok(digests)
    }

    /// Reads a collection back and counts it, on one thread: handing each of thousands from one to the next costs more than
    /// opening it.
    fn finish(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let mut back = ReadBack::default();
        let file_digests = self.read_back(collection, &mut back)?;
        // Opened as a source would open it: every file the manifest names must be there, and everything must parse.
        let name = &self.files.collection(collection)?.mapping.to;
        back.remember(name, &self.source)?;
        let point = point::open_unchanging(&self.source, name, PointOptions::default());
        self.source.memory.forget(name);
        let point = point?;
        let live_rows = back.live_rows(&point, self.limits.count_memory_bytes)?;
        if let Some(finished) = self.finished.get(collection) {
            finished.store(true, Ordering::Release);
        }
        Ok(RestoredCollection { physical_rows: point.physical_rows(), live_rows, file_digests })
    }

    fn take(&self) -> Result<Staging, SourceError> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        staging.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }
}

impl PieceWriter for Inner {
    fn write_pieces_here(&self, collection: usize, pieces: &[FilePiece]) -> Result<(), SourceError> {
        let _at_work = self.files.enter()?;
        self.files.write_pieces(collection, pieces)
    }
}

#[async_trait]
impl RestoreRun for StagedRun {
    async fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        aside::left_over(&self.inner, collection, file).await
    }

    async fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        aside::clear(&self.inner, collection, file).await
    }

    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        aside::write(&self.inner, collection, file, offset, bytes).await
    }

    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        aside::write_pieces(&self.inner, collection, pieces).await
    }

    fn piece_writer(&self) -> Option<Arc<dyn PieceWriter>> {
        Some(Arc::clone(&self.inner) as Arc<dyn PieceWriter>)
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        aside::work(&self.inner, move |inner| inner.finish(collection)).await
    }

    async fn commit(self: Box<Self>, _watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        for (collection, finished) in self.inner.files.plan.collections.iter().zip(&self.inner.finished) {
            if !finished.load(Ordering::Acquire) {
                let reason = format!("collection {} is not finished", collection.mapping.to);
                return Err(SourceError::BadPlan { reason });
            }
        }
        aside::work(&self.inner, |inner| commit::run(inner.take()?, &inner.files.plan, &inner.limits)).await?;
        Ok(Committed::default())
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        aside::end(&self.inner, |inner| {
            inner.take()?.folder.keep();
            Ok(())
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        aside::end(&self.inner, |inner| inner.take()?.folder.remove()).await
    }
}
