//! The staging folder of a run: found or made, locked, and removed or left at the end.

use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::OpenOptions;
use longshore_model::Digest;
use rustix::fs::{FlockOperation, flock};

use crate::disk::{Folder, io_error};
use crate::{Limits, SourceError};

/// Held by flock(2) while the run lives.
const LOCK: &str = "lock";

/// The staging folder of a run, locked; removed when dropped.
#[derive(Debug)]
pub(crate) struct StagingFolder {
    /// The folder that it is in.
    base: Folder,
    name: String,
    /// The staging folder itself.
    pub(crate) folder: Folder,
    /// Whether an earlier run of the same plan left it.
    pub(crate) resumed: bool,
    _lock: std::fs::File,
    removed: bool,
    /// Not to be removed when it is dropped.
    kept: AtomicBool,
}

impl StagingFolder {
    /// Makes, or finds, and locks the staging folder of a plan in `base`. Before that, `clean` is called for each folder
    /// that begins with `prefix` and was left by a run of another plan, and it is removed.
    ///
    /// # Errors
    /// [`SourceError::RestoreRunning`] when another run is at work there; what files and `clean` fail with.
    pub(crate) fn open(
        base: &Folder,
        prefix: &str,
        plan: &Digest,
        limits: &Limits,
        clean: &mut dyn FnMut(&Folder) -> Result<(), SourceError>,
    ) -> Result<Self, SourceError> {
        let name = format!("{prefix}-{}", plan.to_string().get(..16).unwrap_or_default());
        let others = base.names(limits.folder_entries)?.into_iter();
        for other in others.filter(|other| other.starts_with(prefix) && *other != name) {
            // One run at a time for each target: whoever holds another folder of it is still at work.
            if let Some(left) = base.folder(&other)? {
                let lock = lock(&left)?;
                clean(&left)?;
                base.dir.remove_dir_all(&other).map_err(|error| io_error("remove", &base.show(&other), error))?;
                drop(lock);
            }
        }
        let shown = base.show(&name);
        let resumed = match base.dir.create_dir(&name) {
            Ok(()) => false,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => true,
            Err(error) => return Err(io_error("make the folder", &shown, error)),
        };
        let in_use = || SourceError::RestoreRunning { path: shown.clone() };
        let folder = base.folder(&name)?.ok_or_else(in_use)?;
        let lock = lock(&folder)?;
        // Whoever held it until a moment ago may have removed or moved it: then this one is not there under its name.
        let here = base.stat(&name)?;
        if !here.is_some_and(|here| folder.stat_self().is_ok_and(|stat| stat.same_inode(&here))) {
            return Err(in_use());
        }
        let dir = base.dir.try_clone().map_err(|error| io_error("open", &base.shown, error))?;
        let base = Folder { dir, shown: base.shown.clone() };
        Ok(Self { base, name, folder, resumed, _lock: lock, removed: false, kept: AtomicBool::new(false) })
    }

    /// Its name in the folder that it is in.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A folder in it, made when it is not there.
    pub(crate) fn inner(&self, name: &str) -> Result<Folder, SourceError> {
        match self.folder.dir.create_dir(name) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(io_error("make the folder", &self.folder.show(name), error));
            }
            _ => {}
        }
        let inner = self.folder.folder(name)?;
        inner.ok_or_else(|| SourceError::RestoreRunning { path: self.folder.shown.clone() })
    }

    /// Leaves the folder for the next run of the same plan.
    pub(crate) fn keep(self) {
        self.keep_when_dropped();
    }

    /// From now on it is left when it is dropped, because something in it must not be forgotten.
    pub(crate) fn keep_when_dropped(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Removes the folder and all that is in it.
    pub(crate) fn remove(&mut self) -> Result<(), SourceError> {
        if !self.removed {
            let removed = self.base.dir.remove_dir_all(&self.name);
            removed.map_err(|error| io_error("remove", &self.base.show(&self.name), error))?;
            self.removed = true;
        }
        Ok(())
    }
}

impl Drop for StagingFolder {
    fn drop(&mut self) {
        // A run that is dropped without commit failed or was cancelled. What cannot be removed now, the next run removes.
        if self.kept.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a staging folder of a restore is left behind");
        }
    }
}

fn lock(folder: &Folder) -> Result<std::fs::File, SourceError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let shown = folder.show(LOCK);
    let file = folder.dir.open_with(LOCK, &options).map_err(|error| io_error("open", &shown, error))?.into_std();
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SourceError::RestoreRunning { path: folder.shown.clone() }),
        Err(error) => Err(io_error("lock", &shown, error.into())),
    }
}
