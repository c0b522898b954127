//! Files that an inventory saw are opened when they are read, and let go when their collection is stored. What if one is gone?

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use longshore_engine::{BackupOutcome, BackupRequest, ClusterTarget, Limits, RunContext, plan_backup, run_backup};
use longshore_model::{FixedClock, Timestamp};
use longshore_source::MilvusLiteSource;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::{Counting, Place, sample, tree};

const ARTICLES: &str = "collections/medium_articles";

/// Gives every data file of a collection another name, and a manifest that names them so: what a compaction does.
fn compact(database: &Path) {
    let collection = database.join(ARTICLES);
    let manifest = collection.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replace(".parquet\"", "_new.parquet\"");
    for partition in std::fs::read_dir(collection.join("partitions")).unwrap() {
        for folder in ["data", "delta"] {
            let Ok(files) = std::fs::read_dir(partition.as_ref().unwrap().path().join(folder)) else { continue };
            for file in files {
                let path = file.unwrap().path();
                let name = format!("{}_new.parquet", path.file_stem().unwrap().to_str().unwrap());
                std::fs::rename(&path, path.with_file_name(name)).unwrap();
            }
        }
    }
    std::fs::write(collection.join("manifest.json.new"), text).unwrap();
    std::fs::rename(collection.join("manifest.json.new"), manifest).unwrap();
}

#[tokio::test]
async fn a_collection_is_opened_again_when_a_file_that_was_not_held_must_be_read_and_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let place = Place::new().await;
    let clock = Arc::new(FixedClock(Timestamp::from_millis(i64::MAX)));
    let source = MilvusLiteSource::open_with(&database, longshore_source::Limits::DEFAULT, clock).unwrap();
    place.back_up(&database, &source, Limits::default()).await.unwrap();

    let context = RunContext::new(Limits::default());
    let cluster = ClusterTarget::for_directory(&database, "local".parse().unwrap()).unwrap();
    let request = BackupRequest::manual(cluster, Vec::new(), &context).unwrap();
    let plan = plan_backup(request, &source, place.policy(), &place.vaults, &context).await.unwrap();
    // The vault has lost what it stored: nothing can be referred to, everything must be read.
    let store = place.store.store();
    let mut lost = 0;
    for folder in ["index", "packs"] {
        let objects: Vec<_> = store.list(Some(&folder.into())).try_collect().await.unwrap();
        lost += objects.len();
        for object in objects {
            store.delete(&object.location).await.unwrap();
        }
    }
    assert!(lost > 1);
    compact(&database);
    let outcome = run_backup(plan, &source, &place.vaults, &context).await.unwrap();
    assert_eq!(outcome.reused_bytes, 0);

    holds_the_compacted(&place, &outcome, &database, folder.path()).await;
}

/// Whether a backup restores to the files that are there after [`compact`].
async fn holds_the_compacted(place: &Place, outcome: &BackupOutcome, database: &Path, folder: &Path) {
    let restored = folder.join("restored.db");
    place.restore(&outcome.backup_id, &restored).await;
    let data = |database: &Path| {
        let files = tree(&database.join(ARTICLES).join("partitions")).into_iter();
        files.filter(|(path, _)| path.ends_with(".parquet")).collect::<Vec<_>>()
    };
    assert!(data(database).iter().all(|(path, _)| path.ends_with("_new.parquet")));
    assert!(data(&restored) == data(database), "what is there after the compaction was stored");
}

#[tokio::test]
async fn a_collection_that_was_compacted_between_planning_and_its_first_transfer_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let place = Place::new().await;
    let clock = Arc::new(FixedClock(Timestamp::from_millis(i64::MAX)));
    let source = MilvusLiteSource::open_with(&database, longshore_source::Limits::DEFAULT, clock).unwrap();
    let context = RunContext::new(Limits::default());
    let cluster = ClusterTarget::for_directory(&database, "local".parse().unwrap()).unwrap();
    let request = BackupRequest::manual(cluster, Vec::new(), &context).unwrap();
    let plan = plan_backup(request, &source, place.policy(), &place.vaults, &context).await.unwrap();
    compact(&database);
    let outcome = run_backup(plan, &source, &place.vaults, &context).await.unwrap();
    let counted: Vec<_> = outcome.collections.iter().map(|one| one.live_rows).collect();
    assert_eq!(counted, [1_476, 794, 100, 294, 894].map(Some), "what pymilvus counts");
    holds_the_compacted(&place, &outcome, &database, folder.path()).await;
}

#[tokio::test]
async fn a_point_is_let_go_when_its_collection_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let place = Place::new().await;
    let alive = Arc::new(());
    let (watched, seen) = (Arc::downgrade(&alive), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&seen);
    let source = Counting::open(&database).watched_by(alive).before_read(Arc::new(move |name, _| {
        let mut noted = noted.lock().unwrap();
        // The source holds one, the points the others.
        let points = watched.strong_count() - 1;
        match noted.last_mut() {
            Some((last, count)) if *last == *name => *count = points,
            _ => noted.push((name.clone(), points)),
        }
        Box::pin(async { Ok(()) })
    }));
    let limits = Limits { parallel_collections: 1, sample_bytes_per_run: 0, ..Limits::default() };
    let outcome = place.back_up(&database, &source, limits).await.unwrap();
    let points: Vec<usize> = seen.lock().unwrap().iter().map(|(_, points)| *points).collect();
    assert_eq!(points, (1..=outcome.collections.len()).rev().collect::<Vec<_>>());
}
