//! What a finished collection is to become in the server: read back from the staging folder, and compared with the backup.
//!
//! Contract: nothing here is of a server's own files only. A collection of Milvus Lite becomes logs as a server writes them
//! (`src/convert`); from there on both are imported, counted and proven in the same way.

use std::sync::Arc;

use longshore_model::{CollectionName, Digest};

use super::earlier::{Gap, nothing_then};
use super::run::{Inner, Planned, lock};
use super::tasks::{CollectionTasks, ImportTask, tasks};
use crate::convert::{ForServer, IntoServer, LiteFiles, ServerPlan};
use crate::disk::{Folder, io_error};
use crate::milvus::CollectionLogs;
use crate::milvus::binlog::without_later;
use crate::milvus::features;
use crate::milvus::kept::KeptSchema;
use crate::milvus::staged_rows::ReadBack;
use crate::rows::{PartitionSums, difference};
use crate::staged::digest;
use crate::{RestoredCollection, SourceError, TargetCollection};

/// Folder of what was fetched of a Milvus Lite collection, in the collection's folder.
pub(super) const FETCHED: &str = "lite";
/// Folder of the logs that are made of it.
const MADE: &str = "made";

/// See the module.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) schema: KeptSchema,
    pub(super) tasks: Vec<ImportTask>,
    /// Files of the calls of Import, below the staging folder.
    pub(super) places: Vec<String>,
    /// The BLAKE3 of each of them, as it was when it was compared with the backup, or made.
    pub(super) digests: Vec<Digest>,
    /// The rows that it is to have.
    pub(super) expected: PartitionSums,
    /// What is not as it was, in sentences.
    pub(super) notes: Vec<String>,
}

impl Inner {
    /// Reads a collection back. Blocks.
    ///
    /// # Errors
    /// As [`RestoreRun::finish_collection`](crate::RestoreRun::finish_collection).
    pub(super) fn finish(&self, number: usize) -> Result<RestoredCollection, SourceError> {
        let planned = self.planned(number)?;
        let (made, restored) = match &planned.lite {
            None => self.count(number, planned)?,
            Some((from, lite)) => self.convert(number, planned, from, lite)?,
        };
        if let Some(place) = self.made.get(number) {
            *lock(place) = Some(Arc::new(made));
        }
        Ok(restored)
    }

    /// Counts what the server is to make of the staged files of a collection, and compares it with what was counted at the
    /// backup.
    fn count(&self, number: usize, planned: &Planned) -> Result<(Made, RestoredCollection), SourceError> {
        let found = self.read_back(number, &mut |_| {})?;
        let kept = planned.point.live_by_partition().filter(|_| planned.until_ms.is_none());
        if let Some(what) = kept.and_then(|kept| difference(&kept, &found.live)) {
            return Err(planned.differs(&format!("its files, as they were fetched, differ: {what}")));
        }
        let notes = self.notes_of_earlier(planned, &found)?;
        let restored = RestoredCollection {
            physical_rows: found.total.physical,
            live_rows: planned.until_ms.is_none().then_some(found.total.live.rows),
            file_digests: found.digests.clone(),
        };
        let mut tasks: Vec<ImportTask> =
            planned.tasks.iter().map(|task| task.clone().counted(&found.counted)).collect();
        let mut files: Vec<(String, Digest)> = planned.places.iter().cloned().zip(found.digests).collect();
        if let Some(cut) = planned.cut().filter(|_| !features::cuts_level_zero(self.client.version())) {
            for task in tasks.iter_mut().filter(|task| !task.has_rows && task.is_cut) {
                self.leave_out_later(task, cut, &mut files)?;
                task.is_cut = false;
            }
            // A call without a file is refused.
            tasks.retain(|task| files.iter().any(|(place, _)| task.holds(place)));
        }
        let (places, digests) = files.into_iter().unzip();
        let made = Made { schema: planned.schema.clone(), tasks, places, digests, expected: found.live, notes };
        Ok((made, restored))
    }

    /// What is to be said of a collection that comes back as it was at an earlier time.
    fn notes_of_earlier(&self, planned: &Planned, found: &ReadBack) -> Result<Vec<String>, SourceError> {
        let Some(until_ms) = planned.until_ms else { return Ok(Vec::new()) };
        let name = planned.name.to_string();
        let gap = Gap::look(&CollectionLogs::of(&found.stored)?, &planned.rows, until_ms, &self.target.shared.limits)?;
        let missing = gap.note(&name, until_ms).inspect(|note| tracing::warn!("{note}"));
        let rows = found.total.physical;
        let empty = (found.total.live.rows == 0 && rows > 0).then(|| nothing_then(&name, rows, until_ms));
        Ok(missing.into_iter().chain(empty).collect())
    }

    /// Takes deletes after the cut out of the staged files of a call for level-zero deletes, because the server would apply all of
    /// them. Files with nothing left go; of the others the digest is that of what is left.
    fn leave_out_later(
        &self,
        task: &ImportTask,
        cut: u64,
        files: &mut Vec<(String, Digest)>,
    ) -> Result<(), SourceError> {
        let (staged, limits) = (self.staged()?, &self.target.shared.limits);
        let root = &staged.files.root;
        let mut left = Vec::with_capacity(files.len());
        for (place, digest) in std::mem::take(files) {
            if !task.holds(&place) {
                left.push((place, digest));
                continue;
            }
            let shown = root.show(&place);
            let gone = || SourceError::Damaged { path: shown.clone(), reason: "it is gone".to_owned() };
            let bytes = root.file(&place)?.ok_or_else(gone)?.read_all(limits.binlog_bytes)?;
            let written = match without_later(&bytes.into(), &shown, cut, limits)? {
                Some(bytes) => {
                    let digest = Digest::new(*blake3::hash(&bytes).as_bytes());
                    let written = root.dir.write(&place, bytes);
                    left.push((place, digest));
                    written
                }
                None => root.dir.remove_file(&place),
            };
            written.map_err(|error| io_error("write", &shown, error))?;
        }
        *files = left;
        Ok(())
    }

    /// Makes logs of a collection of Milvus Lite.
    fn convert(
        &self,
        number: usize,
        planned: &Planned,
        from: &CollectionName,
        lite: &ServerPlan,
    ) -> Result<(Made, RestoredCollection), SourceError> {
        let staged = self.staged()?;
        let limits = &self.target.shared.limits;
        let folder = staged.files.root.folder(&number.to_string())?.ok_or_else(|| lost(number))?;
        // What an earlier run made there would be imported as well.
        for name in folder.names(limits.folder_entries)?.into_iter().filter(|name| name != FETCHED) {
            folder.dir.remove_dir_all(&name).map_err(|error| io_error("remove", &folder.show(&name), error))?;
        }
        let file_digests = staged.files.read_back(number, &mut |_, _, _| Ok(()))?;
        let collection = staged.files.collection(number)?;
        let fetched = folder.folder(FETCHED)?.ok_or_else(|| lost(number))?;
        folder.dir.create_dir(MADE).map_err(|error| io_error("make the folder", &folder.show(MADE), error))?;
        let into = Arc::new(folder.folder(MADE)?.ok_or_else(|| lost(number))?);
        let job = IntoServer { from, to: &planned.name, plan: lite, rows: &planned.rows, folder: &into, limits };
        let fetched = LiteFiles { folder: &fetched, files: &collection.files };
        let ForServer { schema, point, files, physical_rows, live, notes } = job.run(fetched)?;
        let collection = TargetCollection { files, ..collection.clone() };
        let CollectionTasks { places, tasks } = tasks(number, &collection, &point, limits)?;
        let tasks = tasks.into_iter().map(|task| task.whole(&point)).collect();
        let paths = collection.files.iter().map(|file| file.path.as_str());
        self.lay_out(&into, &staged.files.root, paths.zip(&places))?;
        let digests = self.digests(&staged.files.root, &places)?;
        let live_rows = live.values().map(|rows| rows.rows).sum();
        let restored = RestoredCollection { physical_rows, live_rows: Some(live_rows), file_digests };
        Ok((Made { schema, tasks, places, digests, expected: live, notes }, restored))
    }

    fn digests(&self, root: &Folder, places: &[String]) -> Result<Vec<Digest>, SourceError> {
        let of = |place: &String| {
            let gone = || SourceError::Damaged { path: root.show(place), reason: "it is gone".to_owned() };
            digest(&root.file(place)?.ok_or_else(gone)?)
        };
        places.iter().map(of).collect()
    }

    /// Moves files to where a call of Import finds them.
    fn lay_out<'a>(
        &self,
        from: &Folder,
        root: &Folder,
        moves: impl Iterator<Item = (&'a str, &'a String)>,
    ) -> Result<(), SourceError> {
        for (path, place) in moves {
            let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
            let moved = root.dir.create_dir_all(parent).and_then(|()| from.dir.rename(path, &root.dir, place));
            moved.map_err(|error| io_error("move", &root.show(place), error))?;
        }
        Ok(())
    }
}

fn lost(number: usize) -> SourceError {
    SourceError::BadPlan { reason: format!("the plan has no collection number {number}") }
}
