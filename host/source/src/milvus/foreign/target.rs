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
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use longshore_model::{CollectionName, Digest};

use super::write::{About, check, grouped, metadata};
use crate::blocking::blocking;
use crate::disk::{Folder, io_error};
use crate::milvus::RowSchema;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::layout::LogPath;
use crate::milvus::proto::schema::CollectionSchema;
use crate::milvus::staged_rows::read_back;
use crate::plan::{self, check_names, is_of_server};
use crate::rows::difference;
use crate::staged::{
    self, PlaceOf, StagedFiles, StagingFolder, WholeFileSystem, Written, aside, available_bytes, left_bytes,
    stored_back,
};
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
    /// What it lies on, where that can be forced to disk as a whole; known before the first file is written.
    whole: Option<WholeFileSystem>,
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
        let folder = StagingFolder::alone(&parent, &prefix, &plan::digest(&plan), &self.limits)?;
        let (root, whole) = (folder.inner(STAGED)?, folder.whole());
        let place_of = place_of(&plan, &planned);
        let there = left_bytes(&root, &plan, &place_of)?;
        let needed_bytes = plan::needed_bytes(&plan, &self.limits);
        let available_bytes = available_bytes(&parent)?.saturating_add(there);
        if needed_bytes > available_bytes {
            folder.remove()?;
            return Err(SourceError::NoSpace { path: parent.shown, needed_bytes, available_bytes });
        }
        let files = StagedFiles::new(root, folder.resumed, Arc::clone(&plan), place_of);
        for inner in folders_of(files.paths()) {
            let made = files.root.dir.create_dir_all(&inner);
            made.map_err(|error| io_error("make the folder", &files.root.show(&inner), error))?;
        }
        let staging = Mutex::new(Some(Staging { parent, name, folder, whole }));
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

/// The folders that files are in, and those that every backup has.
fn folders_of(files: impl Iterator<Item = String>) -> BTreeSet<String> {
    let parents = files.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned()));
    parents.chain(["meta".to_owned(), "binlogs".to_owned()]).collect()
}

/// `binlogs/<kind>/<collection>/<partition>/<segment>/…`; without groups, which stand for several folders in one call. Only where
/// files are of a newer storage version each segment is a group of its own: without them milvus-backup does not say that
/// version to the server (`notL0SegBatchesWithoutGroupID` of its `core/restore/coll_task.go`).
fn place_of(plan: &Arc<TargetPlan>, planned: &[Planned]) -> Box<PlaceOf> {
    let plan = Arc::clone(plan);
    let numbers: Vec<i64> = planned.iter().map(|one| one.point.collection_id).collect();
    let groups: Vec<BTreeSet<i64>> = planned.iter().map(|one| grouped(&one.point).collect()).collect();
    Box::new(move |collection, file| {
        let path = &plan.collections.get(collection)?.files.get(file)?.path;
        let (kind, rest) = path.split_once('/')?;
        let number = numbers.get(collection)?;
        match LogPath::parse(path).filter(|log| groups.get(collection).is_some_and(|of| of.contains(&log.segment_id))) {
            Some(log) => {
                let (partition, rest) = rest.split_once('/')?;
                Some(format!("binlogs/{kind}/{number}/{partition}/{}/{rest}", log.segment_id))
            }
            None => Some(format!("binlogs/{kind}/{number}/{rest}")),
        }
    })
}

impl Inner {
    fn planned(&self, collection: usize) -> Result<&Planned, SourceError> {
        let reason = || format!("the plan has no collection number {collection}");
        self.planned.get(collection).ok_or_else(|| SourceError::BadPlan { reason: reason() })
    }

    fn finish(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let planned = self.planned(collection)?;
        if let Some(reason) = planned.point.unreadable() {
            // What is kept and cannot be restored here must have a way out.
            let (file_digests, _) = stored_back(&self.files, collection)?;
            let note = format!(
                "the files of collection {} are as they were backed up, and their rows were not counted: {reason}",
                planned.name
            );
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(collection, note);
            let physical_rows = planned.point.segments.iter().map(|segment| segment.rows).sum();
            return Ok(RestoredCollection { physical_rows, live_rows: None, file_digests });
        }
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

    /// Forces everything staged to disk, files and the folders that name them.
    fn force(&self, staging: &Staging, metadata: impl Iterator<Item = &'static str>) -> Result<(), SourceError> {
        let written = || {
            let files: Vec<String> = self.files.paths().chain(metadata.map(str::to_owned)).collect();
            Written { folders: folders_of(files.iter().cloned()), files }
        };
        let count = self.plan.collections.iter().map(|collection| collection.files.len()).sum();
        staged::force(&self.files.root, staging.whole.as_ref(), count, written)
    }

    fn commit(&self) -> Result<Committed, SourceError> {
        let staging = self.take()?;
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
        let metadata = metadata(&staging.name, &about);
        for (path, value) in &metadata {
            let written = root.dir.write(path, value.to_string());
            written.map_err(|error| io_error("write", &root.show(path), error))?;
        }
        // The name comes last: it must not be on disk before what it stands for.
        self.force(&staging, metadata.keys().copied())?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_model::{CollectionMapping, FileClass};
    use serde_json::Value;

    use super::*;
    use crate::{TargetCollection, TargetFile};

    /// A collection of so many logs.
    fn plan(files: usize) -> TargetPlan {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs/docs/kept.json");
        let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
        let file = |log_id| {
            let log = LogPath { partition_id: 1, segment_id: 2, field_id: Some(3), log_id };
            TargetFile { path: log.to_string(), class: FileClass::Segment, size_bytes: 1 }
        };
        let name: CollectionName = "docs".parse().unwrap();
        let collection = TargetCollection {
            mapping: CollectionMapping { from: name.clone(), to: name, load_state: Default::default() },
            schema: kept["schema"].clone(),
            files: (1..).take(files).map(file).collect(),
            description: kept["point"].clone(),
        };
        TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None }
    }

    /// What a file system is taken for.
    type Whole = fn(&Folder) -> Option<WholeFileSystem>;

    /// A run whose files are all written.
    fn written(to: &Path, files: usize, whole: Whole) -> Arc<Inner> {
        let inner = MilvusBackupTarget::new(to).start(Arc::new(plan(files))).unwrap().inner;
        (0..files).for_each(|file| inner.files.write(0, file, 0, b"x").unwrap());
        inner.staging.lock().unwrap().as_mut().unwrap().whole = whole(&inner.files.root);
        inner
    }

    /// What could not be forced to disk, in words.
    fn not_forced(inner: &Inner) -> String {
        let error = inner.commit().unwrap_err();
        assert!(matches!(error, SourceError::Io { action: "synchronise", .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn a_backup_gets_its_name_only_when_everything_is_forced_to_disk() {
        let base = tempfile::tempdir().unwrap();
        let to = base.path().join("backup");
        let (broken, well, none): (Whole, Whole, Whole) =
            (|root| Some(WholeFileSystem::broken(root)), |root| Some(WholeFileSystem::unchecked(root)), |_| None);
        // The whole file system for many files; each single one for few, and where there is no whole to rely on.
        not_forced(&written(&to, 600, broken));
        assert!(!to.exists());
        for (files, whole) in [(3, broken), (3, none), (600, none)] {
            for missing in [0, files - 1] {
                let inner = written(&to, files, whole);
                let missing = inner.files.paths().nth(missing).unwrap();
                inner.files.root.dir.remove_file(&missing).unwrap();
                let said = not_forced(&inner);
                assert!(said.contains(&missing) && !to.exists(), "{files}: {said}");
            }
        }
        for whole in [well, none] {
            written(&to, 600, whole).commit().unwrap();
            assert!(to.join("meta/full_meta.json").exists() && to.join("binlogs").exists());
            std::fs::remove_dir_all(&to).unwrap();
        }
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn memory_is_not_taken_for_a_file_system_to_rely_on() {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            let base = tempfile::tempdir_in(shared).unwrap();
            let run = MilvusBackupTarget::new(&base.path().join("backup")).start(Arc::new(plan(3))).unwrap();
            assert!(run.inner.staging.lock().unwrap().as_ref().unwrap().whole.is_none());
        }
    }
}
