//! A Milvus Lite 3 data directory to restore into: a new one, or collections into one that exists.
//!
//! Everything is written into a staging folder first: beside the target if that does not exist yet, inside of it (where
//! Milvus Lite does not look) if it does, so that the last step is a rename within one file system. A staging folder is
//! named by its plan and locked while its run lives. One that is not locked was left by a run that was suspended or
//! killed: a run of the same plan goes on with it, a run of another plan removes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use longshore_model::SystemClock;
use rustix::fs::{FlockOperation, flock};

use super::shared::Shared;
use super::source::open_root;
use super::staging::StagedRun;
use super::{inventory, layout, plan};
use crate::blocking::blocking;
use crate::disk::{Folder, io_error};
use crate::{Limits, RestoreRun, RestoreTarget, SourceError, SourceKind, TargetPlan};

/// What is written before it is moved into place, within the staging folder.
pub(crate) const STAGED: &str = "data";
/// Part of the name of every staging folder.
const STAGING: &str = ".longshore-restore";
/// Held by flock(2) while the run lives.
const STAGING_LOCK: &str = "lock";

/// A Milvus Lite 3 data directory to restore into. The target is looked at when a restore begins.
#[derive(Debug, Clone)]
pub struct MilvusLiteTarget {
    path: PathBuf,
    limits: Limits,
}

impl MilvusLiteTarget {
    /// Names the directory: one that does not exist (its parent must), an empty one, or a Milvus Lite 3 data directory
    /// that no program has open.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self::with_limits(path, Limits::DEFAULT)
    }

    /// The same, with chosen limits.
    #[must_use]
    pub fn with_limits(path: &Path, limits: Limits) -> Self {
        Self { path: path.to_owned(), limits }
    }
}

/// Where the collections go.
#[derive(Debug)]
pub(crate) enum Place {
    /// The target does not exist: the staged folder becomes it.
    New {
        /// The folder it will be in.
        parent: Folder,
        /// Its name there.
        name: String,
    },
    /// The target exists: the staged collections are moved into it.
    Existing {
        /// The target.
        root: Folder,
    },
}

impl Place {
    /// The folder that holds the staging folder.
    pub(crate) fn base(&self) -> &Folder {
        match self {
            Self::New { parent, .. } => parent,
            Self::Existing { root } => root,
        }
    }

    /// What the names of all staging folders for this place begin with.
    fn staging_prefix(&self) -> String {
        match self {
            // A name may be as long as the file system allows already.
            Self::New { name, .. } => {
                let short: String = name.chars().take(40).collect();
                let digest = blake3::hash(name.as_bytes()).to_hex();
                format!(".{short}.{}{STAGING}", digest.get(..8).unwrap_or_default())
            }
            Self::Existing { .. } => STAGING.to_owned(),
        }
    }
}

/// The staging folder of a run, locked; removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) place: Place,
    name: String,
    /// The staging folder itself.
    pub(crate) folder: Folder,
    /// The staged data directory in it.
    pub(crate) root: Folder,
    /// Whether an earlier run of the same plan left something in it.
    pub(crate) resumed: bool,
    _lock: std::fs::File,
    removed: bool,
}

impl Staging {
    /// Leaves the folder for the next run of the same plan.
    pub(crate) fn keep(mut self) {
        self.removed = true;
    }

    /// Removes the folder and all that is in it.
    pub(crate) fn remove(&mut self) -> Result<(), SourceError> {
        if !self.removed {
            let base = self.place.base();
            base.dir.remove_dir_all(&self.name).map_err(|error| io_error("remove", &base.show(&self.name), error))?;
            self.removed = true;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A run that is dropped without commit failed or was cancelled. What cannot be removed now, the next run removes.
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a staging folder of a restore is left behind");
        }
    }
}

#[async_trait]
impl RestoreTarget for MilvusLiteTarget {
    async fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn RestoreRun>, SourceError> {
        let (target, plan) = (self.clone(), Arc::new(plan.clone()));
        blocking(&self.path.display().to_string(), move || Ok(Box::new(target.start(plan)?) as Box<dyn RestoreRun>))
            .await
    }
}

impl MilvusLiteTarget {
    fn start(&self, plan: Arc<TargetPlan>) -> Result<StagedRun, SourceError> {
        plan::check(&plan, &self.limits)?;
        let place = self.place()?;
        if let Place::Existing { root } = &place {
            drop(lock_database(root, false)?);
            check_names_are_free(root, &plan, &self.limits)?;
        }
        let staging = stage(place, &plan, &self.limits)?;
        for folder in plan::folders(&plan) {
            let made = staging.root.dir.create_dir_all(&folder);
            made.map_err(|error| io_error("make the folder", &staging.root.show(&folder), error))?;
        }
        StagedRun::new(staging, plan, self.limits)
    }

    fn place(&self) -> Result<Place, SourceError> {
        let shown = self.path.display().to_string();
        let open = |path: &Path, shown: &str| {
            let dir =
                Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| io_error("open", shown, error))?;
            Ok::<_, SourceError>(Folder { dir, shown: shown.to_owned() })
        };
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => {
                let root = open(&self.path, &shown)?;
                if root.names(self.limits.folder_entries)?.iter().any(|name| !name.starts_with(STAGING)) {
                    return Ok(Place::Existing { root: open_root(&self.path)? });
                }
                Ok(Place::Existing { root })
            }
            Ok(_) => Ok(Place::Existing { root: open_root(&self.path)? }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or_else(|| Path::new("."));
                let name =
                    self.path.file_name().and_then(|name| name.to_str()).ok_or_else(|| SourceError::BadPlan {
                        reason: format!(
                            "`{shown}` is no name for a new directory; give one that ends with a plain name"
                        ),
                    })?;
                if !parent.is_dir() {
                    let parent = parent.display();
                    let reason = format!(
                        "the folder `{parent}`, which is to hold the new database, does not exist; make it first"
                    );
                    return Err(SourceError::BadPlan { reason });
                }
                Ok(Place::New { parent: open(parent, &parent.display().to_string())?, name: name.to_owned() })
            }
            Err(error) => Err(io_error("look at", &shown, error)),
        }
    }
}

/// Takes the lock that Milvus Lite takes, or fails when a program holds it. It is given back when the result is dropped.
/// With `create` the file is made when it is not there, as Milvus Lite does.
pub(crate) fn lock_database(root: &Folder, create: bool) -> Result<Option<std::fs::File>, SourceError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    let file = match root.dir.open_with(layout::LOCK, &options) {
        Ok(file) => file.into_std(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !create => return Ok(None),
        Err(error) => return Err(io_error("open", &root.show(layout::LOCK), error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SourceError::TargetInUse { path: root.shown.clone() }),
        Err(error) => Err(io_error("lock", &root.show(layout::LOCK), error.into())),
    }
}

/// Refuses a plan when one of its names is a collection or an alias of the target.
pub(crate) fn check_names_are_free(root: &Folder, plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
    for collection in &plan.collections {
        let name = &collection.mapping.to;
        if root.stat(&layout::collection_folder(name))?.is_some() {
            return Err(SourceError::CollectionExists { path: root.shown.clone(), collection: name.clone() });
        }
        if inventory::aliases(root, &name.database, limits.json_bytes)?.contains_key(&name.collection) {
            let path = &root.shown;
            let reason =
                format!("{name} is an alias in `{path}`; restore under another name, or drop that alias first");
            return Err(SourceError::BadPlan { reason });
        }
    }
    Ok(())
}

/// Refuses a plan that does not fit. What an earlier run of it left counts as space that is there.
fn check_space(base: &Folder, plan: &TargetPlan, limits: &Limits, left_bytes: u64) -> Result<(), SourceError> {
    let available_bytes = available_bytes(base)?.saturating_add(left_bytes);
    let needed_bytes = plan::needed_bytes(plan, limits);
    if needed_bytes > available_bytes {
        return Err(SourceError::NoSpace { path: base.shown.clone(), needed_bytes, available_bytes });
    }
    Ok(())
}

/// Bytes that this user may still write on the file system of a folder.
pub(crate) fn available_bytes(folder: &Folder) -> Result<u64, SourceError> {
    let system = rustix::fs::fstatvfs(&folder.dir);
    let system = system.map_err(|error| io_error("look at the free space of", &folder.shown, error.into()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Makes, or finds, and locks the staging folder of a plan, after removing those that runs of other plans left.
fn stage(place: Place, plan: &TargetPlan, limits: &Limits) -> Result<Staging, SourceError> {
    let prefix = place.staging_prefix();
    let digest = plan::digest(plan).to_string();
    let name = format!("{prefix}-{}", digest.get(..16).unwrap_or_default());
    let base = place.base();
    let others = base.names(limits.folder_entries)?.into_iter();
    for other in others.filter(|other| other.starts_with(&prefix) && *other != name) {
        // One run at a time for each target: whoever holds another folder of it is still at work.
        if let Some(left) = base.folder(&other)? {
            let lock = lock_staging(&left)?;
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
    let lock = lock_staging(&folder)?;
    // Whoever held it until a moment ago may have removed or moved it: then this one is not there under its name.
    let here = base.stat(&name)?;
    if !here.is_some_and(|here| folder.stat_self().is_ok_and(|stat| stat.same_inode(&here))) {
        return Err(in_use());
    }
    match folder.dir.create_dir(STAGED) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io_error("make the folder", &folder.show(STAGED), error));
        }
        _ => {}
    }
    let root = folder.folder(STAGED)?.ok_or_else(in_use)?;
    let mut staging = Staging { place, name, folder, root, resumed, _lock: lock, removed: false };
    let left_bytes = if resumed { left_bytes(&staging.root, plan)? } else { 0 };
    if let Err(error) = check_space(staging.place.base(), plan, limits, left_bytes) {
        staging.remove()?;
        return Err(error);
    }
    Ok(staging)
}

/// Bytes on disk of the files of a plan that an earlier run left.
fn left_bytes(root: &Folder, plan: &TargetPlan) -> Result<u64, SourceError> {
    let mut sum = 0_u64;
    for collection in &plan.collections {
        let folder = layout::collection_folder(&collection.mapping.to);
        for file in &collection.files {
            let stat = root.stat(&format!("{folder}/{}", file.path))?;
            sum = sum.saturating_add(stat.map_or(0, |stat| stat.size_bytes.min(file.size_bytes)));
        }
    }
    Ok(sum)
}

fn lock_staging(folder: &Folder) -> Result<std::fs::File, SourceError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let shown = folder.show(STAGING_LOCK);
    let file =
        folder.dir.open_with(STAGING_LOCK, &options).map_err(|error| io_error("open", &shown, error))?.into_std();
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SourceError::RestoreRunning { path: folder.shown.clone() }),
        Err(error) => Err(io_error("lock", &shown, error.into())),
    }
}

/// A staged data directory seen as a source, to read back what was restored.
pub(crate) fn as_source(root: &Folder, limits: Limits) -> Result<Arc<Shared>, SourceError> {
    let dir = root.dir.try_clone().map_err(|error| io_error("open", &root.shown, error))?;
    let root = Folder { dir, shown: root.shown.clone() };
    // Nobody else writes here, so nothing has to settle and nothing changes meanwhile.
    let limits = Limits { settle_ms: i64::MIN, open_attempts: 1, vanishing_ms: 0, ..limits };
    Ok(Arc::new(Shared::new(root, SourceKind::MilvusLite.as_str().to_owned(), limits, Arc::new(SystemClock))))
}
