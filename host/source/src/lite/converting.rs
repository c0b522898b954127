//! A restore of collections of a Milvus server into a Milvus Lite directory.
//!
//! Contract: as that of every restore into a directory. The server's files are fetched into the staging folder, read back and
//! compared with the backup, then written as Milvus Lite keeps them into the staged data directory, and proven once more
//! (`src/convert`); nothing is visible before `commit` renames it. What does not fit is refused before the first byte, with the
//! names of the fields in the way.
//!
//! A run that is suspended or killed leaves the fetched files to the next run of the same plan; what was made of them is
//! made anew.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{CollectionName, Digest};

use super::target::{STAGED, Staging};
use super::{commit, layout};
use crate::convert::{IntoLite, LitePlan, Misfit, does_not_fit, lite_plan};
use crate::disk::{Folder, io_error};
use crate::milvus::{KeptPoint, KeptSchema, LogPath, RowSchema};
use crate::plan::{check_names, is_of_server};
use crate::rows::{PartitionSums, difference};
use crate::staged::{PlaceOf, StagedFiles, aside, stored_back};
use crate::{
    Committed, FilePiece, Limits, RestoreRun, RestoreWatch, RestoredCollection, SourceError, TargetFile, TargetPlan,
};

/// Folder of the fetched files within the staging folder.
pub(super) const FETCHED: &str = "fetched";

/// A collection of the plan, looked into.
#[derive(Debug)]
pub(super) struct Planned {
    from: CollectionName,
    to: CollectionName,
    lite: LitePlan,
    rows: RowSchema,
    point: KeptPoint,
}

/// Looks whether all collections of a plan fit, and as what.
///
/// # Errors
/// [`SourceError::DoesNotFit`] with all that is in the way; [`SourceError::BadPlan`], [`SourceError::Damaged`].
pub(super) fn planned(plan: &TargetPlan, limits: &Limits) -> Result<Vec<Planned>, SourceError> {
    check_names(plan, limits)?;
    let (mut all, mut misfits): (Vec<Planned>, Vec<(CollectionName, Misfit)>) = (Vec::new(), Vec::new());
    for collection in &plan.collections {
        let (from, to) = (collection.mapping.from.clone(), collection.mapping.to.clone());
        if !is_of_server(collection) {
            let reason =
                format!("collection {from} is of Milvus Lite, and others of this backup are of a Milvus server");
            return Err(SourceError::BadPlan { reason });
        }
        let mut paths = BTreeSet::new();
        let is_log = |file: &TargetFile| LogPath::parse(&file.path).is_some_and(|log| log.class() == file.class);
        // A path comes out of a backup: it must not lead into another collection's files.
        if !collection.files.iter().all(|file| is_log(file) && paths.insert(file.path.as_str())) {
            let reason = format!("collection {from} has a file that is no log of Milvus, or one twice");
            return Err(SourceError::BadPlan { reason });
        }
        let shown = format!("collection {from}");
        let schema = KeptSchema::read(&collection.schema, &shown)?;
        let point = KeptPoint::read(&collection.description, &shown)?;
        let decoded = schema.decode(&shown)?;
        let rows = RowSchema::of(&decoded, &shown)?;
        match lite_plan(&from, &schema, &decoded, &point) {
            Ok(lite) => all.push(Planned { from, to, lite, rows, point }),
            Err(found) => misfits.extend(found.into_iter().map(|misfit| (from.clone(), misfit))),
        }
    }
    if misfits.is_empty() { Ok(all) } else { Err(does_not_fit(misfits).into()) }
}

/// Where a fetched file lies, below the folder of fetched files.
pub(super) fn place_of(plan: &Arc<TargetPlan>) -> Box<PlaceOf> {
    let plan = Arc::clone(plan);
    Box::new(move |collection, file| {
        let path = &plan.collections.get(collection)?.files.get(file)?.path;
        Some(format!("{collection}/{path}"))
    })
}

/// See the module.
pub(super) struct ConvertingRun {
    inner: Arc<Inner>,
}

struct Inner {
    planned: Vec<Planned>,
    files: StagedFiles,
    /// The staged data directory.
    data: Folder,
    limits: Limits,
    /// Taken when the run ends.
    staging: Mutex<Option<Staging>>,
    /// The files of each finished collection.
    made: Vec<Mutex<Option<Vec<TargetFile>>>>,
}

impl AsRef<StagedFiles> for Inner {
    fn as_ref(&self) -> &StagedFiles {
        &self.files
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConvertingRun {
    /// Makes the folders of a run. What an earlier run made of fetched files is removed. Blocks.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn new(
        mut staging: Staging,
        plan: Arc<TargetPlan>,
        planned: Vec<Planned>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let fetched = staging.folder.inner(FETCHED)?;
        let make = |folder: &Folder, path: &str| {
            folder.dir.create_dir_all(path).map_err(|error| io_error("make the folder", &folder.show(path), error))
        };
        let place_of = place_of(&plan);
        if staging.folder.resumed {
            let removed = staging.folder.folder.dir.remove_dir_all(STAGED);
            removed.map_err(|error| io_error("remove", &staging.folder.folder.show(STAGED), error))?;
            staging.root = staging.folder.inner(STAGED)?;
        }
        let dir = staging.root.dir.try_clone().map_err(|error| io_error("open", &staging.root.shown, error))?;
        let data = Folder { dir, shown: staging.root.shown.clone() };
        make(&data, layout::COLLECTIONS)?;
        make(&data, layout::DATABASES)?;
        for database in crate::plan::databases(&plan).keys() {
            make(&data, &format!("{}{}", layout::database_folder(database), layout::COLLECTIONS))?;
        }
        let files = StagedFiles::new(fetched, staging.folder.resumed, Arc::clone(&plan), place_of);
        let made = planned.iter().map(|_| Mutex::new(None)).collect();
        let inner = Inner { planned, files, data, limits, staging: Mutex::new(Some(staging)), made };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn finish(&self, number: usize) -> Result<RestoredCollection, SourceError> {
        let lost = || SourceError::BadPlan { reason: format!("the plan has no collection number {number}") };
        let planned = self.planned.get(number).ok_or_else(lost)?;
        let (file_digests, files) = stored_back(&self.files, number)?;
        let path = layout::collection_folder(&planned.to);
        self.data.dir.create_dir(&path).map_err(|error| io_error("make the folder", &self.data.show(&path), error))?;
        let folder = self.data.folder(&path)?.ok_or_else(lost)?;
        let converted = IntoLite {
            from: &planned.from,
            to: &planned.to,
            plan: &planned.lite,
            rows: &planned.rows,
            point: &planned.point,
            folder: &folder,
            limits: &self.limits,
        }
        .run(&files)?;
        self.compare(planned, &converted.live)?;
        if let Some(made) = self.made.get(number) {
            *lock(made) = Some(converted.files);
        }
        let live_rows = converted.live.values().map(|rows| rows.rows).sum();
        Ok(RestoredCollection { physical_rows: converted.physical_rows, live_rows: Some(live_rows), file_digests })
    }

    /// Compares the rows with those that were counted at the backup.
    fn compare(&self, planned: &Planned, live: &PartitionSums) -> Result<(), SourceError> {
        match planned.point.live_by_partition().and_then(|kept| difference(&kept, live)) {
            None => Ok(()),
            Some(what) => {
                let what = format!("its files, as they were fetched, differ: {what}");
                Err(SourceError::RowsDiffer { collection: planned.to.clone(), what })
            }
        }
    }

    fn take(&self) -> Result<Staging, SourceError> {
        let staging = lock(&self.staging).take();
        staging.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }

    /// The plan of what was made: the same collections with the files of Milvus Lite.
    fn made(&self) -> Result<TargetPlan, SourceError> {
        let mut plan = TargetPlan::clone(&self.files.plan);
        for (collection, made) in plan.collections.iter_mut().zip(&self.made) {
            let unfinished = || format!("collection {} is not finished", collection.mapping.to);
            let files = lock(made).take().ok_or_else(|| SourceError::BadPlan { reason: unfinished() })?;
            collection.files = files;
        }
        Ok(plan)
    }

    fn commit(&self) -> Result<Committed, SourceError> {
        let plan = self.made()?;
        commit::run(self.take()?, &plan, &self.limits)?;
        let notes = self.planned.iter().flat_map(|planned| planned.lite.notes.iter().cloned());
        Ok(Committed { notes: notes.collect(), ..Committed::default() })
    }
}

#[async_trait]
impl RestoreRun for ConvertingRun {
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
