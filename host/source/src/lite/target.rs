//! A Milvus Lite 3 data directory to restore into: a new one, or collections into one that exists.
//!
//! Everything is written into a staging folder first: beside the target if that does not exist yet, inside of it (where
//! Milvus Lite does not look) if it does, so that the last step is a rename within one file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use longshore_model::SystemClock;
use rustix::fs::{FlockOperation, flock};

use super::converting::{self, ConvertingRun};
use super::shared::Shared;
use super::source::open_root;
use super::staging::StagedRun;
use super::{inventory, layout, plan};
use crate::blocking::blocking;
use crate::disk::{Folder, io_error};
use crate::plan::is_of_server;
use crate::staged::{PlaceOf, StagingFolder, WholeFileSystem, available_bytes, left_bytes};
use crate::{Limits, RestoreRun, RestoreTarget, RestoreWatch, SourceError, SourceKind, TargetPlan};

/// What is written before it is moved into place, within the staging folder.
pub(crate) const STAGED: &str = "data";
/// Part of the name of every staging folder.
const STAGING: &str = ".longshore-restore";

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

/// The staging folder of a run.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) place: Place,
    pub(crate) folder: StagingFolder,
    /// The staged data directory in it.
    pub(crate) root: Folder,
    /// What it lies on, where that can be forced to disk as a whole; known before the first file is written.
    pub(crate) whole: Option<WholeFileSystem>,
}

#[async_trait]
impl RestoreTarget for MilvusLiteTarget {
    async fn begin(&self, plan: &TargetPlan, _watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        let (target, plan) = (self.clone(), Arc::new(plan.clone()));
        blocking(&self.path.display().to_string(), move || {
            if plan.collections.iter().any(is_of_server) {
                return Ok(Box::new(target.start_converting(plan)?) as Box<dyn RestoreRun>);
            }
            Ok(Box::new(target.start(plan)?) as Box<dyn RestoreRun>)
        })
        .await
    }
}

impl MilvusLiteTarget {
    fn start(&self, plan: Arc<TargetPlan>) -> Result<StagedRun, SourceError> {
        plan::check(&plan, &self.limits)?;
        let needed_bytes = plan::needed_bytes(&plan, &self.limits);
        let staging = stage(self.free_place(&plan)?, &plan, needed_bytes, STAGED, &place_of(&plan), &self.limits)?;
        for folder in plan::outer_folders(&plan) {
            let made = staging.root.dir.create_dir_all(&folder);
            made.map_err(|error| io_error("make the folder", &staging.root.show(&folder), error))?;
        }
        StagedRun::new(staging, plan, self.limits)
    }

    /// The same for collections of a Milvus server. They are fetched, and written as Milvus Lite keeps them beside that.
    fn start_converting(&self, plan: Arc<TargetPlan>) -> Result<ConvertingRun, SourceError> {
        let planned = converting::planned(&plan, &self.limits)?;
        let needed_bytes = plan::needed_bytes(&plan, &self.limits).saturating_mul(2);
        let (place, place_of) = (self.free_place(&plan)?, converting::place_of(&plan));
        let staging = stage(place, &plan, needed_bytes, converting::FETCHED, &place_of, &self.limits)?;
        ConvertingRun::new(staging, plan, planned, self.limits)
    }

    /// Where the collections go, if nobody uses it and none of their names is taken.
    fn free_place(&self, plan: &TargetPlan) -> Result<Place, SourceError> {
        let place = self.place()?;
        if let Place::Existing { root } = &place {
            drop(lock_database(root, false)?);
            check_names_are_free(root, plan, &self.limits)?;
        }
        Ok(place)
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
fn check_space(base: &Folder, needed_bytes: u64, left_bytes: u64) -> Result<(), SourceError> {
    let available_bytes = available_bytes(base)?.saturating_add(left_bytes);
    if needed_bytes > available_bytes {
        return Err(SourceError::NoSpace { path: base.shown.clone(), needed_bytes, available_bytes });
    }
    Ok(())
}

/// Where a file of a plan lies in the staged data directory.
pub(crate) fn place_of(plan: &Arc<TargetPlan>) -> Box<PlaceOf> {
    let plan = Arc::clone(plan);
    Box::new(move |collection, file| {
        let collection = plan.collections.get(collection)?;
        let folder = layout::collection_folder(&collection.mapping.to);
        Some(format!("{folder}/{}", collection.files.get(file)?.path))
    })
}

/// Makes, or finds, and locks the staging folder of a plan, after removing those that runs of other plans left. What is fetched
/// goes into its folder `fetched`.
fn stage(
    place: Place,
    plan: &TargetPlan,
    needed_bytes: u64,
    fetched: &str,
    place_of: &PlaceOf,
    limits: &Limits,
) -> Result<Staging, SourceError> {
    let (prefix, digest) = (place.staging_prefix(), plan::digest(plan));
    let folder = StagingFolder::alone(place.base(), &prefix, &digest, limits)?;
    let root = folder.inner(STAGED)?;
    let left_bytes = if folder.resumed { left_bytes(&folder.inner(fetched)?, plan, place_of)? } else { 0 };
    if let Err(error) = check_space(place.base(), needed_bytes, left_bytes) {
        // What an earlier run left is worth more than the space it takes: more may be free next time.
        if folder.resumed {
            folder.keep();
        } else {
            folder.remove()?;
        }
        return Err(error);
    }
    let whole = folder.whole();
    Ok(Staging { place, folder, root, whole })
}

/// A staged data directory seen as a source, to read back what was restored.
pub(crate) fn as_source(root: &Folder, limits: Limits) -> Result<Arc<Shared>, SourceError> {
    let dir = root.dir.try_clone().map_err(|error| io_error("open", &root.shown, error))?;
    let root = Folder { dir, shown: root.shown.clone() };
    // Nobody else writes here, so nothing has to settle and nothing changes meanwhile.
    let settled = Limits { settle_ms: i64::MIN, identity_age_ms: i64::MIN, ..limits };
    let limits = Limits { open_attempts: 1, vanishing_ms: 0, last_look_ms: 0, ..settled };
    Ok(Arc::new(Shared::new(root, SourceKind::MilvusLite.as_str().to_owned(), limits, Arc::new(SystemClock))))
}
