//! A folder in the layout of milvus-backup to restore into, so that a backup can be taken away from Longshore: that tool, and
//! this one, read it.
//!
//! Contract: files are written into a staging folder beside the target, read back, compared and counted; then the metadata is
//! written, everything is forced to disk, and the folder gets its name by one rename. What the layout has no place for is
//! refused by name before the first byte.
//!
//! The layout knows no cut. Files of a collection that was written to during its backup may hold rows and deletes from after
//! the point; where they do, a note says so and names the time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use longshore_model::{CollectionName, Digest};

use super::write::{About, check, metadata};
use crate::blocking::blocking;
use crate::disk::{Folder, io_error};
use crate::milvus::RowSchema;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::layout::LogPath;
use crate::milvus::proto::schema::CollectionSchema;
use crate::milvus::staged_rows::read_back;
use crate::plan::{self, check_names, is_of_server};
use crate::rows::difference;
use crate::staged::{PlaceOf, StagedFiles, StagingFolder, aside, available_bytes, left_bytes};
use crate::{
    Committed, FilePiece, Limits, RestoreRun, RestoreTarget, RestoreWatch, RestoredCollection, SourceError, TargetPlan,
};

/// Folder of the files within the staging folder.
const STAGED: &str = "backup";

/// A folder in the layout of milvus-backup. It must not exist yet, and its parent must.
#[derive(Debug, Clone)]
pub struct MilvusBackupTarget {
    path: PathBuf,
    limits: Limits,
}

impl MilvusBackupTarget {
    /// Names the folder; it becomes one backup, the one that has `meta` and `binlogs` in it, under its own name.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), limits: Limits::DEFAULT }
    }
}

/// A collection of the plan, looked into.
struct Planned {
    name: CollectionName,
    schema: KeptSchema,
    message: CollectionSchema,
    rows: RowSchema,
    point: KeptPoint,
}

struct Staging {
    parent: Folder,
    name: String,
    folder: StagingFolder,
}

struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    plan: Arc<TargetPlan>,
    planned: Vec<Planned>,
    files: StagedFiles,
    limits: Limits,
    /// Taken when the run ends.
    staging: Mutex<Option<Staging>>,
    /// Sentences about collections.
    notes: Mutex<BTreeMap<usize, String>>,
}

impl AsRef<StagedFiles> for Inner {
    fn as_ref(&self) -> &StagedFiles {
        &self.files
    }
}

#[async_trait]
impl RestoreTarget for MilvusBackupTarget {
    async fn begin(&self, plan: &TargetPlan, _watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        let (target, plan) = (self.clone(), Arc::new(plan.clone()));
        blocking(&self.path.display().to_string(), move || Ok(Box::new(target.start(plan)?) as Box<dyn RestoreRun>))
            .await
    }
}

impl MilvusBackupTarget {
    fn start(&self, plan: Arc<TargetPlan>) -> Result<Run, SourceError> {
        check_names(&plan, &self.limits)?;
        let planned = planned(&plan)?;
        let (parent, name) = self.place()?;
        let prefix = format!(".{name}.longshore-restore");
        let mut folder = StagingFolder::alone(&parent, &prefix, &plan::digest(&plan), &self.limits)?;
        let root = folder.inner(STAGED)?;
        let place_of = place_of(&plan, &planned);
        let there = left_bytes(&root, &plan, &place_of)?;
        let needed_bytes = plan::needed_bytes(&plan, &self.limits);
        let available_bytes = available_bytes(&parent)?.saturating_add(there);
        if needed_bytes > available_bytes {
            folder.remove()?;
            return Err(SourceError::NoSpace { path: parent.shown, needed_bytes, available_bytes });
        }
        let places = plan
            .collections
            .iter()
            .enumerate()
            .flat_map(|(number, one)| (0..one.files.len()).map(move |file| (number, file)));
        let folders: BTreeSet<String> = places
            .filter_map(|(number, file)| Some(place_of(number, file)?.rsplit_once('/')?.0.to_owned()))
            .chain(["meta".to_owned(), "binlogs".to_owned()])
            .collect();
        for inner in folders {
            root.dir.create_dir_all(&inner).map_err(|error| io_error("make the folder", &root.show(&inner), error))?;
        }
        let files = StagedFiles::new(root, folder.resumed, Arc::clone(&plan), place_of);
        let staging = Mutex::new(Some(Staging { parent, name, folder }));
        let inner = Inner { plan, planned, files, limits: self.limits, staging, notes: Mutex::default() };
        Ok(Run { inner: Arc::new(inner) })
    }

    /// The folder that the backup will be in, and its name there.
    fn place(&self) -> Result<(Folder, String), SourceError> {
        let shown = self.path.display().to_string();
        let bad = |reason: String| Err(SourceError::BadPlan { reason });
        if std::fs::symlink_metadata(&self.path).is_ok() {
            return bad(format!("`{shown}` is there already; name a folder that is not"));
        }
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else {
            return bad(format!("`{shown}` is no name for a new folder"));
        };
        let parent_shown = parent.display().to_string();
        let dir = Dir::open_ambient_dir(parent, ambient_authority());
        let dir = dir.map_err(|error| io_error("open", &parent_shown, error))?;
        Ok((Folder { dir, shown: parent_shown }, name.to_owned()))
    }
}

fn planned(plan: &TargetPlan) -> Result<Vec<Planned>, SourceError> {
    let mut numbers = BTreeSet::new();
    let mut all = Vec::with_capacity(plan.collections.len());
    for collection in &plan.collections {
        let shown = format!("collection {}", collection.mapping.from);
        let bad = |reason: &str| SourceError::BadPlan { reason: format!("{shown} {reason}") };
        if !is_of_server(collection) {
            return Err(bad("was not backed up from a Milvus server"));
        }
        let schema = KeptSchema::read(&collection.schema, &shown)?;
        let point = KeptPoint::read(&collection.description, &shown)?;
        let message = schema.decode(&shown)?;
        check(&collection.mapping.from, &message)?;
        if !numbers.insert(point.collection_id) {
            return Err(bad("has the number of another one"));
        }
        let is_log = |path: &str| LogPath::parse(path).is_some();
        if let Some(file) = collection.files.iter().find(|file| !is_log(&file.path)) {
            let path: String = file.path.chars().take(200).flat_map(char::escape_debug).collect();
            return Err(bad(&format!("has a file `{path}`, which is no log of Milvus")));
        }
        let rows = RowSchema::of(&message, &shown)?;
        all.push(Planned { name: collection.mapping.to.clone(), schema, message, rows, point });
    }
    Ok(all)
}

/// `binlogs/<kind>/<collection>/<partition>/<segment>/…`; without groups, which stand for several folders in one call.
fn place_of(plan: &Arc<TargetPlan>, planned: &[Planned]) -> Box<PlaceOf> {
    let plan = Arc::clone(plan);
    let numbers: Vec<i64> = planned.iter().map(|one| one.point.collection_id).collect();
    Box::new(move |collection, file| {
        let path = &plan.collections.get(collection)?.files.get(file)?.path;
        let (kind, rest) = path.split_once('/')?;
        Some(format!("binlogs/{kind}/{}/{rest}", numbers.get(collection)?))
    })
}

impl Inner {
    fn planned(&self, collection: usize) -> Result<&Planned, SourceError> {
        let reason = || format!("the plan has no collection number {collection}");
        self.planned.get(collection).ok_or_else(|| SourceError::BadPlan { reason: reason() })
    }

    fn finish(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let planned = self.planned(collection)?;
        let read =
            |cut| read_back(&self.files, collection, &planned.rows, &planned.point, cut, &self.limits, &mut |_| {});
        let cut = planned.point.cut();
        let found = read(cut)?;
        let kept = planned.point.live_by_partition();
        if let Some(what) = kept.and_then(|kept| difference(&kept, &found.live)) {
            return Err(SourceError::RowsDiffer { collection: planned.name.clone(), what });
        }
        if cut.is_some() {
            let whole = read(None)?.total;
            if whole.live != found.total.live {
                let note = format!(
                    "the files of collection {} hold rows or deletes from after its point: {} live rows with them and {} without; \
                     restore them only up to backup_timestamp {}",
                    planned.name, whole.live.rows, found.total.live.rows, planned.point.flush_timestamp
                );
                self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(collection, note);
            }
        }
        let (physical_rows, live_rows) = (found.total.physical, Some(found.total.live.rows));
        Ok(RestoredCollection { physical_rows, live_rows, file_digests: found.digests })
    }

    fn take(&self) -> Result<Staging, SourceError> {
        let taken = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }

    fn commit(&self) -> Result<Committed, SourceError> {
        let mut staging = self.take()?;
        let root = &self.files.root;
        let about: Vec<About<'_>> = self
            .planned
            .iter()
            .zip(&self.plan.collections)
            .map(|(one, collection)| {
                let databases =
                    self.plan.databases.iter().filter(|database| database.name == collection.mapping.from.database);
                let aliases = databases.flat_map(|database| &database.aliases);
                About {
                    name: &one.name,
                    schema: &one.schema,
                    message: &one.message,
                    point: &one.point,
                    aliases: aliases
                        .filter(|(_, of)| **of == collection.mapping.from.collection)
                        .map(|(alias, _)| alias.clone())
                        .collect(),
                    files: &collection.files,
                }
            })
            .collect();
        for (path, value) in metadata(&staging.name, &about) {
            let fail = |error| io_error("write", &root.show(path), error);
            let mut file = root.dir.create(path).map_err(fail)?;
            file.write_all(value.to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        }
        // Files before their folder, and the name last.
        let opened = root.dir.open(".").map_err(|error| io_error("open", &root.shown, error))?;
        rustix::fs::syncfs(&opened).map_err(|error| io_error("synchronise", &root.shown, error.into()))?;
        let (from, to) = (&staging.folder.folder, &staging.parent);
        let moved = from.dir.rename(STAGED, &to.dir, &staging.name);
        moved.map_err(|error| io_error("rename", &to.show(&staging.name), error))?;
        to.sync()?;
        staging.folder.remove()?;
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Ok(Committed { notes, ..Committed::default() })
    }
}

#[async_trait]
impl RestoreRun for Run {
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

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        aside::work(&self.inner, move |inner| inner.finish(collection)).await
    }

    async fn commit(self: Box<Self>, _watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        aside::work(&self.inner, Inner::commit).await
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        self.inner.take()?.folder.keep();
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        aside::work(&self.inner, |inner| inner.take()?.folder.remove()).await
    }
}
