//! The files of a plan in its staging folder: written piece by piece, read back, and taken over from an earlier run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use cap_std::fs::OpenOptions;
use longshore_model::Digest;

use super::{WriteBack, available_bytes};
use crate::disk::{Folder, OpenFile, ReadAt, io_error};
use crate::{FilePiece, SourceError, TargetCollection, TargetFile, TargetPlan};

/// Bytes that are read back in one go.
const READ_BACK_BYTES: usize = 1 << 20;

/// Bytes handed to the system per write. Writes of several megabytes make ext4 look for page-cache blocks as large: a
/// restored file costs two to ten times the system time of these. Reserving a file's space beforehand gains nothing
/// measurable beside it.
const WRITE_BYTES: usize = 128 * 1024;

/// Where a file of a plan lies in the staging folder, by place of its collection and its own place there.
pub(crate) type PlaceOf = dyn Fn(usize, usize) -> Option<String> + Send + Sync;

/// Sees a file that was read back, and its bytes if it is small.
pub(crate) type VisitBack<'a> = dyn FnMut(&TargetFile, OpenFile, Option<Bytes>) -> Result<(), SourceError> + 'a;

/// See the module.
pub(crate) struct StagedFiles {
    pub(crate) root: Arc<Folder>,
    /// Whether an earlier run left something in it.
    pub(crate) resumed: bool,
    pub(crate) plan: Arc<TargetPlan>,
    place_of: Box<PlaceOf>,
    write_back: Option<WriteBack>,
    /// Read by whoever is at work on the files; true once the run has ended.
    ended: RwLock<bool>,
}

/// Leave to work on staged files; the run does not end before it is dropped.
pub(crate) struct AtWork<'a> {
    _held: RwLockReadGuard<'a, bool>,
}

impl std::fmt::Debug for StagedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedFiles").field("root", &self.root.shown).field("resumed", &self.resumed).finish()
    }
}

impl StagedFiles {
    pub(crate) fn new(root: Folder, resumed: bool, plan: Arc<TargetPlan>, place_of: Box<PlaceOf>) -> Self {
        Self { root: Arc::new(root), resumed, plan, place_of, write_back: None, ended: RwLock::new(false) }
    }

    /// Leave to work on the files. To be asked for once for one piece of work, not again within it.
    ///
    /// # Errors
    /// [`SourceError::BadPlan`] when the run has ended: whoever waited for the work is gone.
    pub(crate) fn enter(&self) -> Result<AtWork<'_>, SourceError> {
        let held = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        if *held {
            return Err(SourceError::BadPlan { reason: "this restore has ended already".to_owned() });
        }
        Ok(AtWork { _held: held })
    }

    /// Waits until nobody is at work on the files; from then on nobody can be. Blocks.
    pub(crate) fn end(&self) {
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// The same for files that are forced to disk at the end: the disk begins with them before.
    pub(crate) fn written_back_early(self) -> Self {
        Self { write_back: WriteBack::below(&self.root), ..self }
    }

    pub(crate) fn collection(&self, collection: usize) -> Result<&TargetCollection, SourceError> {
        let reason = || format!("the plan has no collection number {collection}");
        self.plan.collections.get(collection).ok_or_else(|| SourceError::BadPlan { reason: reason() })
    }

    /// A file's path in the staging folder, and what the plan says of it.
    pub(crate) fn file(&self, collection: usize, file: usize) -> Result<(String, &TargetFile), SourceError> {
        let wanted = self.collection(collection)?;
        let reason = || format!("collection {} has no file number {file}", wanted.mapping.to);
        let entry = wanted.files.get(file).and_then(|entry| Some(((self.place_of)(collection, file)?, entry)));
        entry.ok_or_else(|| SourceError::BadPlan { reason: reason() })
    }

    /// The paths of all files in the staging folder.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let places = self.plan.collections.iter().enumerate();
        let places = places.flat_map(|(number, one)| (0..one.files.len()).map(move |file| (number, file)));
        places.filter_map(move |(collection, file)| (self.place_of)(collection, file))
    }

    /// A file that must be there; an empty one is made.
    pub(crate) fn open(&self, collection: usize, file: usize) -> Result<OpenFile, SourceError> {
        let (path, entry) = self.file(collection, file)?;
        // An empty file needs no write, so nobody may have made it yet.
        if entry.size_bytes == 0 {
            drop(self.open_to_write(&path)?);
        }
        let missing = || SourceError::Damaged {
            path: self.root.show(&path),
            reason: "it was never written; the backup is incomplete or the restore is not done".to_owned(),
        };
        self.root.file(&path)?.ok_or_else(missing)
    }

    /// See [`RestoreRun::left_over`](crate::RestoreRun::left_over).
    pub(crate) fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        let (path, entry) = self.file(collection, file)?;
        match self.root.file(&path)? {
            Some(left) if left.stat.size_bytes == entry.size_bytes => digest(&left).map(Some),
            _ => Ok(None),
        }
    }

    /// See [`RestoreRun::clear`](crate::RestoreRun::clear).
    pub(crate) fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        let (path, _) = self.file(collection, file)?;
        match self.root.dir.remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.root.show(&path), error))
            }
            _ => Ok(()),
        }
    }

    /// See [`RestoreRun::write_pieces`](crate::RestoreRun::write_pieces).
    pub(crate) fn write_pieces(&self, collection: usize, pieces: &[FilePiece]) -> Result<(), SourceError> {
        pieces.iter().try_for_each(|piece| self.write(collection, piece.file, piece.offset, &piece.bytes))
    }

    /// See [`RestoreRun::write`](crate::RestoreRun::write).
    pub(crate) fn write(&self, collection: usize, file: usize, offset: u64, bytes: &[u8]) -> Result<(), SourceError> {
        let (path, entry) = self.file(collection, file)?;
        let shown = self.root.show(&path);
        let end = offset.saturating_add(bytes.len() as u64);
        if end > entry.size_bytes {
            return Err(SourceError::OutOfRange { path: shown, offset, end, size_bytes: entry.size_bytes });
        }
        let file = self.open_to_write(&path)?;
        let starts = (offset..).step_by(WRITE_BYTES);
        let written =
            bytes.chunks(WRITE_BYTES).zip(starts).try_for_each(|(piece, start)| file.write_all_at(piece, start));
        written.map_err(|error| write_error(&self.root, &path, bytes.len() as u64, error))?;
        self.write_back.iter().for_each(|write_back| write_back.wrote(bytes.len() as u64));
        Ok(())
    }

    /// Opens a file, or makes it. Its folder is made with the first file in it: to make those of thousands of collections
    /// beforehand would keep one thread busy while the others wait.
    fn open_to_write(&self, path: &str) -> Result<File, SourceError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        let failed = |error| write_error(&self.root, path, 0, error);
        match (self.root.dir.open_with(path, &options), path.rsplit_once('/')) {
            (Err(error), Some((folder, _))) if error.kind() == std::io::ErrorKind::NotFound => {
                self.root.dir.create_dir_all(folder).map_err(failed)?;
                self.root.dir.open_with(path, &options).map_err(failed).map(|file| file.into_std())
            }
            (opened, _) => opened.map_err(failed).map(|file| file.into_std()),
        }
    }

    /// The digest of every file of a collection as it is on disk; `visit` sees each as well.
    pub(crate) fn read_back(&self, collection: usize, visit: &mut VisitBack<'_>) -> Result<Vec<Digest>, SourceError> {
        let wanted = self.collection(collection)?;
        let mut digests = Vec::with_capacity(wanted.files.len());
        for (number, entry) in wanted.files.iter().enumerate() {
            let file = self.open(collection, number)?;
            if file.stat.size_bytes != entry.size_bytes {
                let (have, want) = (file.stat.size_bytes, entry.size_bytes);
                let reason = format!("{have} of {want} bytes were written");
                return Err(SourceError::Damaged { path: file.shown, reason });
            }
            let bytes = match usize::try_from(file.stat.size_bytes) {
                Ok(length) if length <= READ_BACK_BYTES => {
                    let read = file.read_new(0, length).map_err(|error| io_error("read", &file.shown, error))?;
                    digests.push(Digest::new(*blake3::hash(&read).as_bytes()));
                    Some(Bytes::from(read))
                }
                _ => {
                    digests.push(digest(&file)?);
                    None
                }
            };
            visit(entry, file, bytes)?;
        }
        Ok(digests)
    }
}

/// Why so many bytes of a file in `folder` could not be written: a full disk says how full it is.
pub(crate) fn write_error(folder: &Folder, path: &str, needed_bytes: u64, error: std::io::Error) -> SourceError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => SourceError::NoSpace {
            path: folder.show(path),
            needed_bytes,
            available_bytes: available_bytes(folder).unwrap_or(0),
        },
        _ => io_error("write", &folder.show(path), error),
    }
}

/// BLAKE3 of a file's bytes. Blocks.
pub(crate) fn digest(file: &OpenFile) -> Result<Digest, SourceError> {
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
