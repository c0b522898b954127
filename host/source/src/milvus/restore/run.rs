//! A restore under way: files are written into the staging folder, read back and counted; the server hears of them at the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{CollectionName, Digest, RestoredLoadState};

use super::begin::Staged;
use super::commit::Commit;
use super::made::Made;
use super::marker::Marker;
use super::tasks::ImportTask;
use super::unfinished::{AtStop, Dropping};
use super::{MilvusTarget, server, upload};
use crate::convert::ServerPlan;
use crate::milvus::bucket_storage::BucketStorage;
use crate::milvus::features::EndUnit;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::proto::schema::CollectionSchema;
use crate::milvus::staged_rows::{ReadBack, read_back};
use crate::milvus::{MilvusClient, RowSchema};
use crate::rows::RowDigest;
use crate::staged::aside;
use crate::{Committed, FilePiece, RestoreRun, RestoreWatch, RestoredCollection, SourceError};

/// A collection of the plan, with everything that is known before the first byte.
#[derive(Debug)]
pub(super) struct Planned {
    /// The name it gets.
    pub(super) name: CollectionName,
    /// The name it has until it is proven, in the same database.
    pub(super) temporary: String,
    pub(super) schema: KeptSchema,
    pub(super) decoded: CollectionSchema,
    pub(super) rows: RowSchema,
    pub(super) point: KeptPoint,
    /// Where the plan's files lie below the staging folder.
    pub(super) places: Vec<String>,
    /// The calls of Import; none yet where what is imported is made of what was fetched.
    pub(super) tasks: Vec<ImportTask>,
    /// Its name in the backup and what it will be, where it is of Milvus Lite.
    pub(super) lite: Option<(CollectionName, ServerPlan)>,
    pub(super) has_partition_key: bool,
    pub(super) load_state: RestoredLoadState,
    /// Where the restore cuts, in milliseconds since 1970.
    pub(super) end_ms: Option<u64>,
    /// The millisecond that somebody asked for, where that is before the backup's point.
    pub(super) until_ms: Option<u64>,
}

impl Planned {
    pub(super) fn temporary_name(&self) -> CollectionName {
        CollectionName { database: self.name.database.clone(), collection: self.temporary.clone() }
    }

    /// The cut as a hybrid timestamp, as the server computes it from milliseconds.
    pub(super) fn cut(&self) -> Option<u64> {
        self.end_ms.map(|end_ms| end_ms.saturating_mul(1 << 18))
    }
}

/// See the module.
pub(super) struct MilvusRun {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) target: MilvusTarget,
    pub(super) client: MilvusClient,
    pub(super) planned: Arc<Vec<Planned>>,
    /// The staging place as the server sees it.
    pub(super) server_root: String,
    /// The server's bucket, where it reads from one.
    pub(super) bucket: Option<Arc<BucketStorage>>,
    /// Taken when the run ends.
    staged: Mutex<Option<Arc<Staged>>>,
    pub(super) marker: Mutex<Marker>,
    /// Held while the marker is written: several collections are made side by side, and the last one written must be the
    /// newest.
    writing: tokio::sync::Mutex<()>,
    /// Places in the plan of collections that an earlier run of it finished.
    pub(super) finished_before: Mutex<BTreeSet<usize>>,
    /// What is to become of each collection, once its files are finished.
    pub(super) made: Vec<Mutex<Option<Arc<Made>>>>,
    /// How the server wants to be told where to cut.
    end_unit: Mutex<EndUnit>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(super) fn staged(&self) -> Result<Arc<Staged>, SourceError> {
        let staged = lock(&self.staged).clone();
        staged.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }

    /// Changes the marker and writes it down before anything else is done.
    pub(super) async fn note(&self, change: impl FnOnce(&mut Marker)) -> Result<(), SourceError> {
        let staged = self.staged()?;
        let _writing = self.writing.lock().await;
        let marker = {
            let mut marker = lock(&self.marker);
            change(&mut marker);
            marker.clone()
        };
        // A run that is dropped in the middle leaves what is in the server to the next one, which finds it by the marker.
        staged.folder.keep_when_dropped();
        aside::work(&staged, move |staged| marker.write(&staged.folder.folder)).await
    }

    pub(super) fn end_unit(&self) -> EndUnit {
        *lock(&self.end_unit)
    }

    /// What the server itself said.
    pub(super) fn use_end_unit(&self, unit: EndUnit) {
        *lock(&self.end_unit) = unit;
    }

    pub(super) fn marker(&self) -> Marker {
        lock(&self.marker).clone()
    }

    pub(super) fn is_finished_before(&self, collection: usize) -> bool {
        lock(&self.finished_before).contains(&collection)
    }

    /// What is to become of a collection; an error while its files are not finished.
    pub(super) fn made(&self, collection: usize) -> Result<Arc<Made>, SourceError> {
        let made = self.made.get(collection).and_then(|made| lock(made).clone());
        let name = self.planned.get(collection).map(|planned| planned.name.to_string()).unwrap_or_default();
        made.ok_or_else(|| SourceError::BadPlan { reason: format!("collection {name} is not finished") })
    }

    pub(super) fn planned(&self, collection: usize) -> Result<&Planned, SourceError> {
        let lost = || SourceError::BadPlan { reason: format!("the plan has no collection number {collection}") };
        self.planned.get(collection).ok_or_else(lost)
    }

    /// Reads the staged files of a collection back, up to the cut.
    pub(super) fn read_back(
        &self,
        collection: usize,
        visit: &mut dyn FnMut(&RowDigest),
    ) -> Result<ReadBack, SourceError> {
        let (staged, planned) = (self.staged()?, self.planned(collection)?);
        let limits = &self.target.shared.limits;
        read_back(&staged.files, collection, &planned.rows, &planned.point, planned.cut(), limits, visit)
    }
}

impl MilvusRun {
    pub(super) fn new(
        target: MilvusTarget,
        client: MilvusClient,
        planned: Arc<Vec<Planned>>,
        staged: Staged,
        server_root: String,
        bucket: Option<Arc<BucketStorage>>,
    ) -> Self {
        let made = planned.iter().map(|_| Mutex::new(None)).collect();
        let marker = Mutex::new(staged.marker.clone());
        let staged = Mutex::new(Some(Arc::new(staged)));
        let finished_before = Mutex::default();
        let end_unit = Mutex::new(EndUnit::of(client.version()));
        Self {
            inner: Arc::new(Inner {
                target,
                client,
                planned,
                server_root,
                bucket,
                staged,
                marker,
                writing: tokio::sync::Mutex::default(),
                finished_before,
                made,
                end_unit,
            }),
        }
    }

    /// Drops what a killed run of this plan made and did not finish, and checks that the names are free.
    pub(super) async fn take_over(&self, watch: &dyn RestoreWatch) -> Result<(), SourceError> {
        let inner = &self.inner;
        let dropping = Dropping::new(&inner.client, &inner.target.shared, watch, AtStop::Stop);
        let mut kept = Vec::new();
        for made in inner.marker().collections {
            dropping.drop_when_ended(&made.database, &made.temporary).await?;
            let found = server::find(&inner.client, &made.database, &made.name).await?;
            if found.is_some_and(|found| made.collection_id != 0 && found.collection_id == made.collection_id) {
                // Only what was proven gets its name.
                let is_it = |one: &Planned| one.name.database == made.database && one.name.collection == made.name;
                lock(&inner.finished_before).extend(inner.planned.iter().position(is_it));
                kept.push(made);
            }
        }
        if inner.marker() != Marker::default() {
            inner.note(|marker| marker.collections = kept).await?;
        }
        for (number, planned) in inner.planned.iter().enumerate() {
            if inner.is_finished_before(number) {
                continue;
            }
            let (database, name) = (&planned.name.database, &planned.name.collection);
            let path = inner.client.endpoint().to_owned();
            match server::find(&inner.client, database, name).await? {
                None => {}
                Some(found) if found.name == *name => {
                    return Err(SourceError::CollectionExists { path, collection: planned.name.clone() });
                }
                Some(found) => {
                    let reason = format!(
                        "{} is an alias of {} in the server at {path}; restore under another name, or drop that alias first",
                        planned.name, found.name
                    );
                    return Err(SourceError::BadPlan { reason });
                }
            }
        }
        Ok(())
    }

    /// Ends a run that did not begin well: what stands in its marker must still be found.
    pub(super) async fn keep_or_remove(self) {
        let ended = if self.inner.marker() == Marker::default() {
            Box::new(self).abort().await
        } else {
            Box::new(self).suspend().await
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "a staging folder of a restore is left behind");
        }
    }

    fn shown(&self) -> String {
        self.inner.server_root.clone()
    }

    /// Takes the staging folder out of the run: no work on it begins any more.
    fn take(&self) -> Result<Arc<Staged>, SourceError> {
        let staged = lock(&self.inner.staged).take();
        staged.ok_or_else(|| SourceError::BadPlan { reason: "this restore has ended already".to_owned() })
    }
}

/// A restore that is done stays so when its staged files could not be removed; somebody has to know of them.
fn with_what_stays(mut done: Committed, staging: &str, removed: Result<(), SourceError>) -> Committed {
    if let Err(why) = removed {
        done.notes.push(format!(
            "staged files below {staging} could not be removed ({why}); the next restore into the same staging folder does"
        ));
    }
    done
}

/// Why a restore failed comes first, whatever removing its staged files came to.
fn and_what_stays(error: SourceError, staging: &str, removed: Result<(), SourceError>) -> SourceError {
    let Err(why) = removed else { return error };
    let files = format!("staged files below {staging} ({why})");
    match error {
        SourceError::LeftBehind { error, left } => SourceError::LeftBehind { error, left: format!("{left}, {files}") },
        error => SourceError::LeftBehind { error: Box::new(error), left: files },
    }
}

#[async_trait]
impl RestoreRun for MilvusRun {
    async fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        aside::left_over(&self.inner.staged()?, collection, file).await
    }

    async fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        aside::clear(&self.inner.staged()?, collection, file).await
    }

    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        aside::write(&self.inner.staged()?, collection, file, offset, bytes).await
    }

    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        aside::write_pieces(&self.inner.staged()?, collection, pieces).await
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let inner = Arc::clone(&self.inner);
        aside::work(&self.inner.staged()?, move |_| inner.finish(collection)).await
    }

    async fn commit(self: Box<Self>, watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        (0..self.inner.planned.len()).try_for_each(|number| self.inner.made(number).map(drop))?;
        let committed = (Commit { inner: &self.inner, watch }).run().await;
        let shown = self.shown();
        match committed {
            Ok(done) => {
                // First the marker: what stands in it may be dropped by a later run, and from here on the collections belong
                // to those who use them.
                let forgotten = self.inner.note(|marker| *marker = Marker::default()).await;
                // The marker goes with its folder: that it could not be written matters only when that stays.
                let removed = self.abort().await.map_err(|why| forgotten.err().unwrap_or(why));
                Ok(with_what_stays(done, &shown, removed))
            }
            // What could not be taken back is found again by its marker.
            Err(error @ SourceError::LeftBehind { .. }) => {
                let kept = self.suspend().await;
                Err(and_what_stays(error, &shown, kept))
            }
            Err(error) => {
                let removed = self.abort().await;
                Err(and_what_stays(error, &shown, removed))
            }
        }
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        let on_folder = |staged: &Staged| {
            staged.folder.keep();
            Ok(())
        };
        aside::end(&self.take()?, on_folder).await
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        let staged = self.take()?;
        aside::end(&staged, |_| Ok(())).await?;
        if let Err(error) = upload::remove_all(self.inner.bucket.as_deref(), staged.folder.name()).await {
            // Its name is all that leads to what is left in the bucket: the next run looks there again.
            staged.folder.keep();
            return Err(error);
        }
        aside::end(&staged, |staged| staged.folder.remove()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Result<(), SourceError> {
        Err(SourceError::BadPlan { reason: "the disk is away".to_owned() })
    }

    #[test]
    fn why_a_restore_failed_is_not_hidden_by_what_it_left() {
        let error = || SourceError::BadPlan { reason: "rows are missing".to_owned() };
        assert_eq!(and_what_stays(error(), "/s", Ok(())).to_string(), error().to_string());
        let both = and_what_stays(error(), "/s", full()).to_string();
        assert!(both.contains("rows are missing; and this is left: staged files below /s ("), "{both}");
        assert!(both.contains("the disk is away"), "{both}");
        let left = SourceError::LeftBehind { error: Box::new(error()), left: "collection d.c".to_owned() };
        let all = and_what_stays(left, "/s", full()).to_string();
        assert_eq!(all.matches("and this is left").count(), 1, "{all}");
        assert!(all.contains("collection d.c, staged files below /s"), "{all}");
    }

    #[test]
    fn a_restore_that_is_done_is_done_whatever_it_left() {
        assert!(with_what_stays(Committed::default(), "/s", Ok(())).notes.is_empty());
        let done = with_what_stays(Committed::default(), "/s", full());
        assert!(done.notes.concat().contains("/s could not be removed (") && done.notes.len() == 1, "{:?}", done.notes);
    }
}
