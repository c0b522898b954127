//! A collection that changes exactly between the opening of its manifest and the cut of its log: the attempt must be
//! thrown away. The clock that the source asks at that moment makes the change.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{copy_tree, sample};
use longshore_model::{Clock, Timestamp};
use longshore_source::{Limits, MilvusLiteSource, PointOptions, Source, SourceError};
use serde_json::{Value, json};

type Change = Box<dyn FnMut() + Send>;

/// A clock far ahead (every file is old) that does something when it is asked: the first time only, or every time.
struct MeddlingClock {
    change: Mutex<Change>,
    again: bool,
    done: Mutex<bool>,
}

impl Clock for MeddlingClock {
    fn now(&self) -> Timestamp {
        let mut done = self.done.lock().unwrap();
        if self.again || !*done {
            *done = true;
            (self.change.lock().unwrap())();
        }
        Timestamp::from_millis(i64::MAX)
    }
}

/// Opens a collection while `change` happens, and returns what its point says of itself, and its physical rows.
async fn open_while(
    database: &Path,
    collection: &str,
    again: bool,
    change: Change,
) -> Result<(Value, u64), SourceError> {
    let clock = MeddlingClock { change: Mutex::new(change), again, done: Mutex::new(false) };
    let limits = Limits { open_attempts: 4, ..Limits::DEFAULT };
    let source = MilvusLiteSource::open_with(database, limits, Arc::new(clock)).unwrap();
    let point = source.open_point(&collection.parse().unwrap(), PointOptions::default()).await?;
    Ok((point.description().clone(), point.physical_rows()))
}

/// Replaces a file as Milvus Lite does: by renaming a new one over it.
fn replace(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(&temporary, path).unwrap();
}

fn setup(collection: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let collection = database.join("collections").join(collection);
    (folder, database, collection)
}

#[tokio::test]
async fn a_first_flush_meanwhile_starts_the_attempt_again() {
    let (_folder, database, collection) = setup("recent_searches");
    let flush = move || {
        let manifest = json!({
            "manifest_format_version": 2, "version": 1, "current_seq": 100, "schema_version": 1, "active_wal_number": 2,
            "index_specs": {}, "partitions": {"_default": {"data_files": [], "delta_files": []}},
        });
        replace(&collection.join("manifest.json"), manifest.to_string().as_bytes());
        std::fs::remove_file(collection.join("wal/wal_data_000001.arrow")).unwrap();
    };
    let (description, _) = open_while(&database, "recent_searches", false, Box::new(flush)).await.unwrap();
    assert_eq!((&description["manifestVersion"], &description["attempts"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_manifest_replaced_by_the_same_bytes_starts_the_attempt_again() {
    let (_folder, database, collection) = setup("medium_articles");
    // Without a log the source looks whether the collection is settled, and asks the clock, after opening the manifest.
    std::fs::remove_dir_all(collection.join("wal")).unwrap();
    let manifest = collection.join("manifest.json");
    let bytes = std::fs::read(&manifest).unwrap();
    let change = move || replace(&manifest, &bytes);
    let (description, rows) = open_while(&database, "medium_articles", false, Box::new(change)).await.unwrap();
    assert_eq!((&description["attempts"], rows), (&json!(2), 1_144));
}

#[tokio::test]
async fn a_collection_dropped_and_made_again_meanwhile_starts_the_attempt_again() {
    let (folder, database, collection) = setup("recent_searches");
    let away = folder.path().join("away");
    let change = move || {
        std::fs::rename(&collection, &away).unwrap();
        copy_tree(&away, &collection);
    };
    let (description, rows) = open_while(&database, "recent_searches", false, Box::new(change)).await.unwrap();
    assert_eq!((&description["attempts"], rows), (&json!(2), 100));
}

#[tokio::test]
async fn an_altered_schema_starts_the_attempt_again() {
    let (_folder, database, collection) = setup("recent_searches");
    let schema = collection.join("schema.json");
    let altered = std::fs::read_to_string(&schema).unwrap().replace("\"eu\"", "\"us\"");
    let change = move || replace(&schema, altered.as_bytes());
    let (description, _) = open_while(&database, "recent_searches", false, Box::new(change)).await.unwrap();
    assert_eq!(description["attempts"], 2);
}

#[tokio::test]
async fn a_log_folder_that_vanishes_starts_the_attempt_again_and_a_collection_that_never_holds_still_is_an_error() {
    let (_folder, database, collection) = setup("recent_searches");
    let schema = collection.join("schema.json");
    let bytes = std::fs::read(&schema).unwrap();
    let change = move || replace(&schema, &bytes);
    let error = open_while(&database, "recent_searches", true, Box::new(change)).await.unwrap_err();
    assert!(matches!(error, SourceError::KeepsChanging { attempts: 4, .. }), "{error}");
    let log = collection.join("wal");
    let change = move || std::fs::remove_dir_all(&log).unwrap_or_default();
    let (description, rows) = open_while(&database, "recent_searches", false, Box::new(change)).await.unwrap();
    assert_eq!((&description["attempts"], rows), (&json!(2), 0));
}
