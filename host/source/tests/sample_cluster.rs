//! The sample cluster, read and restored without Python.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{copy_cluster, copy_tree, open_all, plan_of, read_all, restore, sample, tree};
use longshore_model::{CollectionName, FileClass, FixedClock, Timestamp};
use longshore_source::{
    FileIdentity, KnownFile, KnownFiles, Limits, MilvusLiteSource, MilvusLiteTarget, PointOptions, PointState,
    RestoreTarget, Source, SourceError,
};
use serde_json::json;

const WITH_INDEXES: PointOptions = PointOptions { include_index_files: true, hold_all_files: false };
const ARTICLES: &str = "collections/medium_articles";

fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_inventory_tells_what_the_cluster_holds() {
    let folder = tempfile::tempdir().unwrap();
    let source = MilvusLiteSource::open(&sample(folder.path())).unwrap();
    let inventory = source.inventory().await.unwrap();
    let names: Vec<_> = inventory.collections.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(source.collection_names().await.unwrap(), names);
    let databases: Vec<_> = inventory.databases.iter().map(|d| (d.name.as_str(), &d.properties, &d.aliases)).collect();
    let alias = |alias: &str, to: &str| BTreeMap::from([(alias.to_owned(), to.to_owned())]);
    let (empty, team) = (json!({}), json!({"team": "databases"}));
    let (articles, manual) = (alias("articles", "medium_articles"), alias("manual", "postgres_manual"));
    assert_eq!(databases, [("default", &empty, &articles), ("handbook", &team, &manual)]);
    let rows: Vec<_> = inventory.collections.iter().map(|c| (c.name.to_string(), c.rows)).collect();
    // Counted with pyarrow: rows of the data files, and of the logs.
    let expected = [
        ("default.medium_articles", 1_144 + 376),
        ("default.python_manual", 795),
        ("default.recent_searches", 100),
        ("handbook.postgres_commands", 295),
        ("handbook.postgres_manual", 895),
    ];
    assert_eq!(rows, expected.map(|(name, rows)| (name.to_owned(), rows)));
    let articles = &inventory.collections[0];
    assert_eq!(articles.properties, [("data.region".to_owned(), "eu".to_owned())]);
    assert_eq!(articles.partitions, ["_default", "library", "reference"]);
    assert_eq!((articles.indexes[0].index_type.as_str(), articles.indexes[0].metric_type.as_str()), ("HNSW", "COSINE"));
    assert!(articles.size_bytes.index > 300_000 && articles.size_bytes.wal > 600_000);
    assert_eq!(inventory.collections[1].partitions.len(), 17);
    let searches = &inventory.collections[2];
    assert_eq!(searches.properties[0], ("collection.ttl.seconds".to_owned(), "86400".to_owned()));
    assert_eq!((searches.partitions.as_slice(), searches.indexes.len()), (["_default".to_owned()].as_slice(), 0));
}

/// Says of every file it knows that it has seven rows.
struct Seven;

impl KnownFiles for Seven {
    fn look_up(&self, _collection: &CollectionName, file: &FileIdentity) -> KnownFile {
        KnownFile { rows: file.path.contains("medium_articles").then_some(7), is_stored: false }
    }
}

#[tokio::test]
async fn files_whose_rows_are_known_are_not_opened_to_count_them() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let rows = async |now_ms: i64| {
        let clock = Arc::new(FixedClock(Timestamp::from_millis(now_ms)));
        let source = MilvusLiteSource::open_with(&database, Limits::DEFAULT, clock).unwrap();
        let inventory = source.inventory_knowing(Arc::new(Seven)).await.unwrap();
        let point = source.open_point(&name("medium_articles"), PointOptions::default()).await.unwrap();
        (inventory.collections[0].rows, inventory.collections[1].rows, point.physical_rows())
    };
    // Seven data files of it, and a log.
    assert_eq!(rows(i64::MAX).await, (7 * 7 + 376, 795, 7 * 7 + 376));
    // A file that was changed a moment ago has no identity that could be known.
    assert_eq!(rows(0).await.0, 1_144 + 376);
}

#[tokio::test]
async fn live_rows_are_those_that_a_client_counts() {
    let folder = tempfile::tempdir().unwrap();
    let source = MilvusLiteSource::open(&sample(folder.path())).unwrap();
    // What `query(count(*))` of pymilvus answers for each.
    for (collection, live) in [
        ("medium_articles", 1_476),
        ("python_manual", 794),
        ("recent_searches", 100),
        ("handbook.postgres_commands", 294),
        ("handbook.postgres_manual", 894),
    ] {
        let point = source.open_point(&name(collection), PointOptions::default()).await.unwrap();
        assert_eq!(point.live_rows(1 << 20).await.unwrap(), Some(live), "{collection}");
        assert_eq!(point.live_rows(1_000).await.unwrap(), None, "too little memory");
    }
}

#[tokio::test]
async fn a_point_holds_the_files_of_the_manifest_and_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let point = source.open_point(&name("medium_articles"), PointOptions::default()).await.unwrap();
    let paths: Vec<_> = point.files().iter().map(|file| file.path.as_str()).collect();
    assert!(!paths.iter().any(|path| path.contains(".idx") || path.contains(".prev")), "{paths:?}");
    assert_eq!(paths.len(), 2 + 7 + 3 + 2, "{paths:?}");
    for (place, file) in point.files().iter().enumerate() {
        let bytes = read_all(point.as_ref(), place).await.unwrap();
        let on_disk = std::fs::read(database.join(ARTICLES).join(&file.path)).unwrap();
        assert!(on_disk.starts_with(&bytes), "{}", file.path);
        assert_eq!(on_disk.len() == bytes.len(), file.class != FileClass::Wal || on_disk.len() == bytes.len());
        // Just copied: too young to have an identity.
        assert_eq!(file.identity, None, "{}", file.path);
    }
    assert_eq!(point.description()["lastSequence"], 1_522);
    let outside = point.read(0, 0, 1 << 20).await.unwrap_err();
    assert!(matches!(outside, SourceError::OutOfRange { .. }), "{outside}");
}

#[tokio::test]
async fn index_files_come_along_only_when_wanted_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let index = database.join(ARTICLES).join("partitions/_default/indexes/data_000001_000187.vector.hnsw.idx");
    let limits = longshore_source::Limits { identity_age_ms: 0, ..Default::default() };
    let clock = std::sync::Arc::new(longshore_model::SystemClock);
    let source = MilvusLiteSource::open_with(&database, limits, clock).unwrap();
    let indexes = async || {
        let point = source.open_point(&name("medium_articles"), WITH_INDEXES).await.unwrap();
        let found = point.files().iter().filter(|file| file.class == FileClass::Index).count();
        (found, point.description()["leftOut"].as_array().unwrap().len())
    };
    assert_eq!(indexes().await, (1, 0));
    let bytes = std::fs::read(&index).unwrap();
    std::fs::write(&index, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(indexes().await, (0, 1), "a truncated one is left out and named");
}

#[tokio::test]
async fn old_files_have_an_identity_and_a_changed_one_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    // A clock that is ahead makes every file old.
    let later = longshore_model::Timestamp::from_millis(i64::MAX);
    let clock = std::sync::Arc::new(longshore_model::FixedClock(later));
    let source = MilvusLiteSource::open_with(&database, Default::default(), clock).unwrap();
    let identities = async || {
        let point = source.open_point(&name("medium_articles"), PointOptions::default()).await.unwrap();
        let files = point.files().iter().map(|file| (file.path.clone(), (file.class, file.identity.clone())));
        files.collect::<BTreeMap<_, _>>()
    };
    let before = identities().await;
    for (path, (class, identity)) in &before {
        assert_eq!(identity.is_some(), *class != FileClass::Wal, "{path}");
    }
    assert_eq!(before, identities().await);
    let changed = "partitions/library/data/data_000376_000562.parquet";
    let path = database.join(ARTICLES).join(changed);
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let after = identities().await;
    assert_ne!(before[changed], after[changed], "same bytes, but another file");
    assert_eq!(before["manifest.json"], after["manifest.json"]);
}

#[tokio::test]
async fn a_restored_cluster_is_the_same_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (database, restored) = (sample(folder.path()), folder.path().join("restored.db"));
    let before = tree(&database);
    let counts = copy_cluster(&database, &restored, PointOptions::default()).await.unwrap();
    assert_eq!(counts.iter().map(|c| c.live_rows).collect::<Vec<_>>(), [1_476, 794, 100, 294, 894].map(Some));
    assert_eq!(counts.iter().map(|c| c.physical_rows).collect::<Vec<_>>(), [1_520, 795, 100, 295, 895]);
    assert_eq!(tree(&database), before, "the source was not touched");
    let mut expected = before;
    let left_out = |path: &str| path == "LOCK" || path.ends_with(".idx") || path.ends_with(".prev");
    expected.retain(|path, _| !left_out(path));
    let mut found = tree(&restored);
    // Only the time-to-live property may differ.
    let schema = "collections/recent_searches/schema.json";
    let mut wanted: serde_json::Value = serde_json::from_slice(&expected.remove(schema).unwrap()).unwrap();
    wanted["properties"].as_object_mut().unwrap().remove("collection.ttl.seconds").unwrap();
    let adapted: serde_json::Value = serde_json::from_slice(&found.remove(schema).unwrap()).unwrap();
    assert_eq!(adapted, wanted);
    let json = |files: &mut BTreeMap<String, Vec<u8>>| -> BTreeMap<String, serde_json::Value> {
        let small = |path: &String| path.ends_with("aliases.json") || path.ends_with("database_properties.json");
        let keys: Vec<_> = files.keys().filter(|path| small(path)).cloned().collect();
        keys.into_iter().map(|k| (k.clone(), serde_json::from_slice(&files.remove(&k).unwrap()).unwrap())).collect()
    };
    assert_eq!(json(&mut found), json(&mut expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected, "some file differs");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no staging folder is left");
}

#[tokio::test]
async fn a_copy_of_a_copy_is_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1.db"), folder.path().join("2.db"));
    copy_cluster(&sample(folder.path()), &first, WITH_INDEXES).await.unwrap();
    copy_cluster(&first, &second, PointOptions::default()).await.unwrap();
    let mut expected = tree(&first);
    expected.retain(|path, _| !path.ends_with(".idx"));
    assert!(tree(&second) == expected);
}

#[tokio::test]
async fn collections_are_restored_into_an_existing_database_under_new_names() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let renamed = |from: &CollectionName| match from.collection.as_str() {
        "medium_articles" => Some(name("articles_again")),
        "recent_searches" => Some(name("archive.searches")),
        _ => None,
    };
    let points = open_all(&source, PointOptions::default(), renamed).await.unwrap();
    let plan = plan_of(&source, &points, false).await;
    let before = tree(&database);
    restore(&MilvusLiteTarget::new(&database), &plan, &points).await.unwrap();
    let mut after = tree(&database);
    let schema: serde_json::Value = serde_json::from_slice(&after["collections/articles_again/schema.json"]).unwrap();
    assert_eq!(schema["collection_name"], "articles_again");
    assert!(after.contains_key("databases/archive/collections/searches/wal/wal_data_000001.arrow"));
    let is_new = |path: &str| path.starts_with("collections/articles_again/") || path.starts_with("databases/archive/");
    let added: Vec<_> = after.keys().filter(|path| is_new(path)).cloned().collect();
    assert_eq!(added.len(), 14 + 2);
    after.retain(|path, _| !is_new(path));
    assert!(after == before, "what was there stays as it was, aliases included");
    let names: Vec<_> = MilvusLiteSource::open(&database)
        .unwrap()
        .inventory()
        .await
        .unwrap()
        .collections
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert!(names.contains(&name("articles_again")) && names.contains(&name("archive.searches")));
}

#[tokio::test]
async fn a_restore_counts_the_same_however_much_it_keeps_of_what_it_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = MilvusLiteSource::open(&sample(folder.path())).unwrap();
    let mut expected = None;
    for (number, read_back_bytes) in [u64::MAX, 0, 3_000, 40_000].into_iter().enumerate() {
        // Under its own name, and under another, which changes the file of its schema after it was read back.
        let rename = |from: &CollectionName| {
            let to = if number % 2 == 0 { from.collection.clone() } else { format!("{}_2", from.collection) };
            CollectionName::new(&from.database, &to).ok()
        };
        let points = open_all(&source, PointOptions::default(), rename).await.unwrap();
        let plan = plan_of(&source, &points, false).await;
        let limits = Limits { read_back_bytes, ..Limits::DEFAULT };
        let target = MilvusLiteTarget::with_limits(&folder.path().join(format!("{number}.db")), limits);
        let restored = restore(&target, &plan, &points).await.unwrap();
        for ((point, _), restored) in points.iter().zip(&restored) {
            let live_rows = point.live_rows(u64::MAX).await.unwrap();
            assert_eq!((restored.physical_rows, restored.live_rows), (point.physical_rows(), live_rows));
        }
        assert_eq!(&restored, expected.get_or_insert_with(|| restored.clone()), "{read_back_bytes} bytes");
    }
}

#[tokio::test]
async fn a_restore_never_replaces_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let target = MilvusLiteTarget::new(&database);
    let begin = async |to: &str| {
        let points =
            open_all(&source, PointOptions::default(), |from| (from.collection == "medium_articles").then(|| name(to)));
        let points = points.await.unwrap();
        let plan = plan_of(&source, &points, false).await;
        target.begin(&plan, &()).await.map(|_| ()).unwrap_err()
    };
    let before = tree(&database);
    let error = begin("medium_articles").await;
    assert!(matches!(error, SourceError::CollectionExists { .. }), "{error}");
    let error = begin("articles").await;
    assert!(error.to_string().contains("is an alias"), "{error}");
    let lock = std::fs::File::open(database.join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = begin("new_name").await;
    assert!(matches!(error, SourceError::TargetInUse { .. }), "{error}");
    drop(lock);
    assert!(tree(&database) == before);
}

#[tokio::test]
async fn a_name_that_is_taken_while_the_restore_runs_leaves_the_target_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (database, target) = (sample(folder.path()), folder.path().join("target.db"));
    copy_tree(&database, &target);
    let source = MilvusLiteSource::open(&database).unwrap();
    let rename = |from: &CollectionName| CollectionName::new(&from.database, &format!("{}_2", from.collection)).ok();
    let points = open_all(&source, PointOptions::default(), rename).await.unwrap();
    let plan = plan_of(&source, &points, false).await;
    let run = MilvusLiteTarget::new(&target).begin(&plan, &()).await.unwrap();
    let second = MilvusLiteTarget::new(&target).begin(&plan, &()).await.map(|_| ()).unwrap_err();
    assert!(matches!(second, SourceError::RestoreRunning { .. }), "{second}");
    for (collection, (point, _)) in points.iter().enumerate() {
        for file in 0..point.files().len() {
            let bytes = read_all(point.as_ref(), file).await.unwrap();
            run.write(collection, file, 0, bytes.into()).await.unwrap();
        }
        run.finish_collection(collection).await.unwrap();
    }
    copy_tree(&database.join("collections/python_manual"), &target.join("collections/recent_searches_2"));
    let before =
        tree(&target).into_iter().filter(|(path, _)| !path.starts_with(".longshore")).collect::<BTreeMap<_, _>>();
    let error = run.commit(&()).await.unwrap_err();
    assert!(matches!(error, SourceError::CollectionExists { .. }), "{error}");
    assert!(tree(&target) == before);
}

#[tokio::test]
async fn an_unfinished_restore_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (database, target) = (sample(folder.path()), folder.path().join("new.db"));
    let source = MilvusLiteSource::open(&database).unwrap();
    let points = open_all(&source, PointOptions::default(), |name| Some(name.clone())).await.unwrap();
    let plan = plan_of(&source, &points, true).await;
    let target = MilvusLiteTarget::new(&target);
    let run = target.begin(&plan, &()).await.unwrap();
    run.write(0, 0, 0, vec![1_u8; 7].into()).await.unwrap();
    let error = run.finish_collection(0).await.unwrap_err();
    assert!(error.to_string().contains("bytes were written"), "{error}");
    let error = run.commit(&()).await.unwrap_err();
    assert!(error.to_string().contains("not finished"), "{error}");
    let run = target.begin(&plan, &()).await.unwrap();
    run.abort().await.unwrap();
    drop(target.begin(&plan, &()).await.unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the source is there");
}

#[tokio::test]
async fn a_point_stays_readable_and_knows_that_its_collection_was_dropped_or_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let fingerprint = async || source.inventory().await.unwrap().collections[0].fingerprint;
    let before = fingerprint().await;
    let point = source.open_point(&name("medium_articles"), PointOptions::default()).await.unwrap();
    assert_eq!(point.recheck().await.unwrap(), PointState::Unaltered);
    assert_eq!(fingerprint().await, before);
    let articles = database.join(ARTICLES);
    let saved = folder.path().join("saved");
    copy_tree(&articles, &saved);
    std::fs::remove_dir_all(&articles).unwrap();
    assert_eq!(point.recheck().await.unwrap(), PointState::Dropped);
    copy_tree(&saved, &articles);
    assert_eq!(point.recheck().await.unwrap(), PointState::Altered, "the same bytes, but made again");
    assert_ne!(fingerprint().await, before);
    for file in 0..point.files().len() {
        let bytes = read_all(point.as_ref(), file).await.unwrap();
        assert!(std::fs::read(saved.join(&point.files()[file].path)).unwrap().starts_with(&bytes));
    }
}

#[tokio::test]
async fn an_altered_schema_changes_the_fingerprint_and_new_rows_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let point = source.open_point(&name("medium_articles"), PointOptions::default()).await.unwrap();
    let manifest = database.join(ARTICLES).join("manifest.json");
    let flushed = std::fs::read_to_string(&manifest).unwrap().replace("\"version\": 8", "\"version\": 9");
    std::fs::write(&manifest, flushed).unwrap();
    assert_eq!(point.recheck().await.unwrap(), PointState::Unaltered);
    let schema = database.join(ARTICLES).join("schema.json");
    let altered = std::fs::read_to_string(&schema).unwrap().replace("\"eu\"", "\"us\"");
    std::fs::write(&schema, altered).unwrap();
    assert_eq!(point.recheck().await.unwrap(), PointState::Altered);
}

#[tokio::test]
async fn the_first_flush_of_a_collection_is_no_alteration() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let point = source.open_point(&name("recent_searches"), PointOptions::default()).await.unwrap();
    assert_eq!(point.description()["manifestVersion"], 0);
    let manifest = json!({
        "manifest_format_version": 2, "version": 1, "current_seq": 0, "schema_version": 1, "active_wal_number": null,
        "index_specs": {}, "partitions": {"_default": {"data_files": [], "delta_files": []}},
    });
    std::fs::write(database.join("collections/recent_searches/manifest.json"), manifest.to_string()).unwrap();
    assert_eq!(point.recheck().await.unwrap(), PointState::Unaltered);
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let raised = longshore_source::raise_descriptor_limit().unwrap();
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(Some(raised), now.current.or(Some(u64::MAX)));
    assert_eq!(now.current, now.maximum);
}
