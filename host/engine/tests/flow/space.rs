//! Disks that are too small, or that fill while a restore runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_engine::{
    CopyRequest, EngineError, Limits, RegionVaults, RestoreScope, RunContext, copy_backup, plan_restore, run_restore,
};
use longshore_model::{Digest, RestoredLoadState};
use longshore_source::{
    Committed, FilePiece, MilvusLiteTarget, RestoreRun, RestoreTarget, RestoreWatch, RestoredCollection, SourceError,
    TargetPlan,
};
use longshore_vault::{Vault, VaultOptions};

use crate::support::{Counting, Place, root, tree};

/// A target on a disk that has room for so many more bytes.
struct Small {
    target: MilvusLiteTarget,
    room: Arc<AtomicI64>,
    written: Arc<AtomicI64>,
}

struct SmallRun {
    run: Box<dyn RestoreRun>,
    room: Arc<AtomicI64>,
    written: Arc<AtomicI64>,
}

#[async_trait]
impl RestoreTarget for Small {
    async fn begin(&self, plan: &TargetPlan, watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        let (room, written) = (Arc::clone(&self.room), Arc::clone(&self.written));
        Ok(Box::new(SmallRun { run: self.target.begin(plan, watch).await?, room, written }))
    }
}

impl SmallRun {
    fn take(&self, bytes: usize) -> Result<(), SourceError> {
        let bytes = i64::try_from(bytes).unwrap();
        if self.room.fetch_sub(bytes, Ordering::SeqCst) < bytes {
            let path = "a small disk".to_owned();
            return Err(SourceError::NoSpace { path, needed_bytes: bytes.unsigned_abs(), available_bytes: 0 });
        }
        self.written.fetch_add(bytes, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl RestoreRun for SmallRun {
    async fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        self.run.left_over(collection, file).await
    }

    async fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        self.run.clear(collection, file).await
    }

    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        self.take(bytes.len())?;
        self.run.write(collection, file, offset, bytes).await
    }

    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        self.take(pieces.iter().map(|piece| piece.bytes.len()).sum())?;
        self.run.write_pieces(collection, pieces).await
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        self.run.finish_collection(collection).await
    }

    async fn commit(self: Box<Self>, watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        self.run.commit(watch).await
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        self.run.suspend().await
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        self.run.abort().await
    }
}

fn leftovers(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains(".longshore-restore")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fills_the_disk_goes_on_when_there_is_room() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("restored.db");
    // Whole files one after the other, so that what was written before the disk was full is of use.
    let limits = Limits { parallel_collections: 1, parallel_chunks: 1, ..Limits::default() };
    let plan = async || {
        let whole = RestoreScope::WholeCluster(RestoredLoadState::Keep);
        plan_restore(&place.vaults, None, &id, whole).await.unwrap()
    };
    let all = plan()
        .await
        .target
        .collections
        .iter()
        .flat_map(|one| one.files.clone())
        .map(|file| file.size_bytes)
        .sum::<u64>();
    let target = Small { target: MilvusLiteTarget::new(&to), room: Arc::default(), written: Arc::default() };
    target.room.store(i64::try_from(all / 2).unwrap(), Ordering::SeqCst);
    let error = run_restore(plan().await, &target, &RunContext::new(limits)).await.unwrap_err();
    assert!(matches!(error, EngineError::TargetFull { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("not enough space for `a small disk`") && said.contains("goes on with it"), "{said}");
    assert!(!to.exists() && leftovers(folder.path()) == 1);

    target.room.store(i64::MAX, Ordering::SeqCst);
    let before = target.written.swap(0, Ordering::SeqCst);
    run_restore(plan().await, &target, &RunContext::new(limits)).await.unwrap();
    let after = target.written.load(Ordering::SeqCst);
    assert!(before > 0 && after < i64::try_from(all).unwrap() - before / 2, "{before} and then {after} bytes of {all}");
    let reference = folder.path().join("reference.db");
    run_restore(plan().await, &MilvusLiteTarget::new(&reference), &RunContext::new(limits)).await.unwrap();
    assert!(tree(&to) == tree(&reference) && leftovers(folder.path()) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_nobody_will_repeat_leaves_nothing_on_a_full_disk() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let folder = tempfile::tempdir().unwrap();
    let target = MilvusLiteTarget::new(&folder.path().join("restored.db"));
    let target = Small { target, room: Arc::new(AtomicI64::new(1_000_000)), written: Arc::default() };
    let whole = RestoreScope::WholeCluster(RestoredLoadState::Keep);
    let mut plan = plan_restore(&place.vaults, None, &id, whole).await.unwrap();
    plan.run_only_once();
    let error = run_restore(plan, &target, &RunContext::new(Limits::default())).await.unwrap_err();
    assert!(matches!(error, EngineError::Source(SourceError::NoSpace { .. })), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_does_not_fit_is_refused_before_anything_is_written() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let folder = tempfile::tempdir().unwrap();
    let home = place.vaults.all().into_iter().next().unwrap();
    let key = Some(home.id_key().unwrap().clone());
    let options = VaultOptions::random(home.project_id().clone(), "copies".parse().unwrap(), key).unwrap();
    let far = Vault::init_local(folder.path(), options).await.unwrap();
    let vaults = RegionVaults::of([home.clone(), far]).unwrap();
    let request = CopyRequest {
        job_id: "job-copy".parse().unwrap(),
        fencing_token: 1,
        backup_id: id,
        home: home.region_id().clone(),
        to: "copies".parse().unwrap(),
        collections: Vec::new(),
    };
    let packs = || std::fs::read_dir(folder.path().join("packs")).map_or(0, Iterator::count);
    let full = Limits { spare_bytes: 1 << 60, ..Limits::default() };
    let error = copy_backup(&request, &vaults, &RunContext::new(full)).await.unwrap_err();
    assert!(matches!(&error, EngineError::NoSpace { region, .. } if region.as_str() == "copies"), "{error}");
    assert!(error.may_pass(), "a host tries a copy again: somebody may make room");
    assert_eq!(packs(), 0);
    let unchecked = Limits { check_free_space: false, ..full };
    copy_backup(&request, &vaults, &RunContext::new(unchecked)).await.unwrap();
    assert!(packs() > 0);
    // What is there already needs no room.
    copy_backup(&request, &vaults, &RunContext::new(full)).await.unwrap();
}
