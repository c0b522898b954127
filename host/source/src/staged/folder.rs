//! The staging folder of a run: found or made, locked, and removed or left at the end.
//!
//! Contract: once [`StagingFolder::keep`] or [`StagingFolder::remove`] is done the next run may have the folder, whoever else
//! still holds this one.

use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::OpenOptions;
use longshore_model::Digest;
use rustix::fs::{FlockOperation, flock};

use super::WholeFileSystem;
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
    lock: std::fs::File,
    removed: AtomicBool,
    /// Not to be removed when it is dropped.
    kept: AtomicBool,
}

/// A folder that a run of another plan left, locked while this lives.
#[derive(Debug)]
pub(crate) struct LeftFolder {
    pub(crate) name: String,
    pub(crate) folder: Folder,
    _lock: std::fs::File,
}

impl LeftFolder {
    /// All that begin with `prefix`, but for the plan's own.
    ///
    /// # Errors
    /// [`SourceError::RestoreRunning`] when another run is at work there; failures of reading.
    pub(crate) fn all(base: &Folder, prefix: &str, plan: &Digest, limits: &Limits) -> Result<Vec<Self>, SourceError> {
        let own = name_of(prefix, plan);
        let others = base.names(limits.folder_entries)?.into_iter();
        let mut left = Vec::new();
        for name in others.filter(|other| other.starts_with(prefix) && *other != own) {
            // One run at a time for each target: whoever holds another folder of it is still at work.
            if let Some(folder) = base.folder(&name)? {
                left.push(Self { name, _lock: lock(&folder)?, folder });
            }
        }
        Ok(left)
    }

    /// Removes it from `base`, which it is in.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(self, base: &Folder) -> Result<(), SourceError> {
        base.dir.remove_dir_all(&self.name).map_err(|error| io_error("remove", &base.show(&self.name), error))
    }
}

fn name_of(prefix: &str, plan: &Digest) -> String {
    format!("{prefix}-{}", plan.to_string().get(..16).unwrap_or_default())
}

impl StagingFolder {
    /// Removes what runs of other plans left in `base`, then makes, or finds, and locks the staging folder of a plan there.
    ///
    /// # Errors
    /// [`SourceError::RestoreRunning`] when another run is at work there; what files fail with.
    pub(crate) fn alone(base: &Folder, prefix: &str, plan: &Digest, limits: &Limits) -> Result<Self, SourceError> {
        for left in LeftFolder::all(base, prefix, plan, limits)? {
            left.remove(base)?;
        }
        Self::open(base, prefix, plan)
    }

    /// Makes, or finds, and locks the staging folder of a plan in `base`.
    ///
    /// # Errors
    /// [`SourceError::RestoreRunning`] when another run is at work there; what files fail with.
    pub(crate) fn open(base: &Folder, prefix: &str, plan: &Digest) -> Result<Self, SourceError> {
        let name = name_of(prefix, plan);
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
        Ok(Self { base, name, folder, resumed, lock, removed: AtomicBool::new(false), kept: AtomicBool::new(false) })
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

    /// What it lies on, where that can be forced to disk as a whole. Asked before the first file is written.
    pub(crate) fn whole(&self) -> Option<WholeFileSystem> {
        if self.resumed { None } else { WholeFileSystem::of(&self.folder) }
    }

    /// Leaves the folder for the next run of the same plan.
    pub(crate) fn keep(&self) {
        self.keep_when_dropped();
        self.unlock();
    }

    /// From now on it is left when it is dropped, because something in it must not be forgotten.
    pub(crate) fn keep_when_dropped(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Removes the folder and all that is in it.
    pub(crate) fn remove(&self) -> Result<(), SourceError> {
        if !self.removed.load(Ordering::Acquire) {
            let removed = self.base.dir.remove_dir_all(&self.name);
            removed.map_err(|error| io_error("remove", &self.base.show(&self.name), error))?;
            // From here on the name may be that of another run's folder.
            self.removed.store(true, Ordering::Release);
            self.unlock();
        }
        Ok(())
    }

    /// What cannot be given back now is when the last holder is gone.
    fn unlock(&self) {
        if let Err(error) = flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(folder = %self.folder.shown, %error, "the lock of a staging folder was not given back");
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_an_earlier_run_left_is_not_forced_to_disk_as_a_whole() {
        let here = tempfile::tempdir().unwrap();
        let base = Folder::at(here.path());
        let open = || StagingFolder::open(&base, ".staging", &Digest::new([7; 32])).unwrap();
        let first = open();
        assert_eq!(first.whole().is_some(), WholeFileSystem::of(&base).is_some());
        first.keep();
        let second = open();
        assert!(second.resumed && second.whole().is_none());
    }

    /// A thread of a run that was stopped may hold the folder for a moment longer.
    #[test]
    fn the_next_run_may_have_what_somebody_still_holds() {
        let here = tempfile::tempdir().unwrap();
        let base = Folder::at(here.path());
        let open = || StagingFolder::open(&base, ".staging", &Digest::new([7; 32]));
        let held = open().unwrap();
        assert!(matches!(open(), Err(SourceError::RestoreRunning { .. })));
        held.keep();
        let next = open().unwrap();
        assert!(next.resumed);
        next.remove().unwrap();
        let last = open().unwrap();
        assert!(!last.resumed);
        // The folder is another one's now.
        next.remove().unwrap();
        drop((held, next));
        assert!(last.folder.dir.exists(LOCK) && matches!(open(), Err(SourceError::RestoreRunning { .. })));
    }
}
