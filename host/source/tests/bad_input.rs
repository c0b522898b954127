//! What is not a database, is damaged, hostile, or does not fit on the disk: a sentence, never a panic, nothing half done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::os::unix::fs::symlink;
use std::path::Path;

use common::{copy_cluster, open_all, plan_of, read_all, repository, restore, sample, tree};
use longshore_model::{Clock, CollectionName, FixedClock, SystemClock};
use longshore_source::{Limits, MilvusLiteSource, MilvusLiteTarget, PointOptions, RestoreTarget, Source, SourceError};
use proptest::prelude::*;

const ARTICLES: &str = "collections/medium_articles";

fn articles() -> CollectionName {
    "medium_articles".parse().unwrap()
}

/// Limits that give up soon, for what stays broken.
fn impatient(path: &Path) -> MilvusLiteSource {
    let limits = Limits { open_attempts: 2, ..Limits::DEFAULT };
    MilvusLiteSource::open_with(path, limits, std::sync::Arc::new(longshore_model::SystemClock)).unwrap()
}

async fn open_error(path: &Path) -> SourceError {
    impatient(path).open_point(&articles(), PointOptions::default()).await.map(|_| ()).unwrap_err()
}

#[test]
fn what_is_no_database_is_named_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |name: &str| {
        MilvusLiteSource::open(&at(name)).unwrap_err().to_string().replace(folder.path().to_str().unwrap(), "…")
    };
    std::fs::write(at("old.db"), b"SQLite format 3\0 and so on").unwrap();
    std::fs::write(at("text"), b"hello").unwrap();
    for directory in ["empty", "vault/collections", "collection"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    std::fs::write(at("vault/longshore-vault.json"), b"{}").unwrap();
    std::fs::write(at("collection/schema.json"), b"{}").unwrap();
    assert_eq!(refused("nowhere"), "`…/nowhere` does not exist: give the path of a Milvus Lite 3 data directory");
    assert!(refused("old.db").contains("single file, as Milvus Lite 2.x makes them"), "{}", refused("old.db"));
    assert!(refused("text").contains("it is a file; give the directory"), "{}", refused("text"));
    assert_eq!(
        refused("empty"),
        "`…/empty` is not a Milvus Lite 3 data directory: it has no folder `collections`, which Milvus Lite makes when \
         it first opens a directory"
    );
    assert!(refused("vault").contains("it is a Longshore vault"), "{}", refused("vault"));
    assert!(refused("collection").contains("it is a single collection"), "{}", refused("collection"));
}

#[tokio::test]
async fn a_collection_that_is_not_there_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let source = impatient(&sample(folder.path()));
    for (database, collection) in [("default", "nothing"), ("nowhere", "medium_articles")] {
        let name = CollectionName::new(database, collection).unwrap();
        let error = source.open_point(&name, PointOptions::default()).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, SourceError::UnknownCollection { .. }), "{error}");
    }
    let name = CollectionName { database: "..".to_owned(), collection: "../../etc".to_owned() };
    let error = source.open_point(&name, PointOptions::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Name(_)), "{error}");
    let error = source.opener().unwrap().open_here(&name, PointOptions::default()).unwrap().map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Name(_)), "{error}");
}

#[tokio::test]
async fn a_lost_data_file_is_named_and_the_other_collections_can_still_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let lost = "partitions/library/data/data_000376_000562.parquet";
    std::fs::remove_file(database.join(ARTICLES).join(lost)).unwrap();
    // At this moment it might be one that is being dropped.
    let error = open_error(&database).await;
    assert!(matches!(&error, SourceError::KeepsChanging { .. }), "{error}");
    let later = FixedClock(SystemClock.now().plus_millis(60_000));
    let limits = Limits { open_attempts: 2, ..Limits::DEFAULT };
    let source = MilvusLiteSource::open_with(&database, limits, std::sync::Arc::new(later)).unwrap();
    let error = source.open_point(&articles(), PointOptions::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, SourceError::MissingFile { path, .. } if path == lost), "{error}");
    let opener = source.opener().unwrap();
    assert!(opener.open_here(&articles(), PointOptions::default()).is_none(), "one attempt says nothing");
    assert!(opener.open_here(&"python_manual".parse().unwrap(), PointOptions::default()).unwrap().is_ok());
    let source = impatient(&database);
    assert_eq!(source.inventory().await.unwrap().collections.len(), 5);
    source.open_point(&"python_manual".parse().unwrap(), PointOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_lost_manifest_is_not_taken_for_an_empty_collection() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    std::fs::remove_file(database.join(ARTICLES).join("manifest.json")).unwrap();
    let error = open_error(&database).await;
    assert!(error.to_string().contains("manifest.json.prev"), "{error}");
}

#[tokio::test]
async fn a_collection_that_is_being_deleted_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let articles = database.join(ARTICLES);
    // As rmtree leaves it half way: schema.json is still there.
    std::fs::remove_file(articles.join("manifest.json")).unwrap();
    std::fs::remove_file(articles.join("manifest.json.prev")).unwrap();
    std::fs::remove_dir_all(articles.join("wal")).unwrap();
    std::fs::remove_dir_all(articles.join("partitions")).unwrap();
    let now = longshore_model::Clock::now(&longshore_model::SystemClock);
    let clock = std::sync::Arc::new(longshore_model::FixedClock(now));
    let limits = Limits { open_attempts: 3, ..Limits::DEFAULT };
    let source = MilvusLiteSource::open_with(&database, limits, clock).unwrap();
    let error = source.open_point(&"medium_articles".parse().unwrap(), PointOptions::default()).await;
    let error = error.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::KeepsChanging { attempts: 3, .. }), "{error}");
}

#[tokio::test]
async fn links_that_lead_out_of_the_database_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    for path in [
        "schema.json",
        "manifest.json",
        "wal/wal_data_000006.arrow",
        "wal",
        "partitions/library/data/data_000376_000562.parquet",
        "partitions/library",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let database = sample(folder.path());
        let victim = database.join(ARTICLES).join(path);
        let original = outside.path().join("original");
        std::fs::rename(&victim, &original).unwrap();
        // The link leads to a faithful copy, so nothing but where it leads is wrong.
        symlink(&original, &victim).unwrap();
        let error = open_error(&database).await;
        assert!(matches!(error, SourceError::LeadsOutside { .. }), "{path}: {error}");
        if original.is_dir() {
            std::fs::remove_dir_all(&original).unwrap();
        } else {
            std::fs::remove_file(&original).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    symlink("/etc", database.join("collections/outside")).unwrap();
    let error = impatient(&database).inventory().await.unwrap_err();
    assert!(matches!(error, SourceError::LeadsOutside { .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_cannot_name_files_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let manifest = database.join(ARTICLES).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for path in ["../../../../../etc/passwd", "data/../../x", "/etc/passwd", "delta/x.parquet", "data/"] {
        std::fs::write(&manifest, text.replace("data/data_000376_000562.parquet", path)).unwrap();
        let error = open_error(&database).await;
        assert!(matches!(error, SourceError::Damaged { .. }), "{path}: {error}");
    }
    std::fs::write(&manifest, text.replace("\"library\"", "\"../python_manual\"")).unwrap();
    assert!(matches!(open_error(&database).await, SourceError::Damaged { .. }));
    std::fs::write(&manifest, text.replace("\"manifest_format_version\": 2", "\"manifest_format_version\": 3"))
        .unwrap();
    assert!(matches!(open_error(&database).await, SourceError::Unsupported { .. }));
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let schema = database.join(ARTICLES).join("schema.json");
    std::fs::remove_file(&schema).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&schema).status().unwrap();
    assert!(made.success());
    let error = open_error(&database).await;
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn a_log_that_was_cut_in_the_middle_of_a_batch_ends_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let log = database.join(ARTICLES).join("wal/wal_data_000006.arrow");
    let bytes = std::fs::read(&log).unwrap();
    let mut sizes = Vec::new();
    for cut in [bytes.len(), bytes.len() - 1, bytes.len() / 2, 100, 3, 0] {
        std::fs::write(&log, &bytes[..cut]).unwrap();
        let source = impatient(&database);
        let point = source.open_point(&articles(), PointOptions::default()).await.unwrap();
        let place = point.files().iter().position(|file| file.path == "wal/wal_data_000006.arrow");
        let kept = match place {
            Some(place) => read_all(point.as_ref(), place).await.unwrap(),
            None => Vec::new(),
        };
        assert!(kept.len() <= cut && bytes.starts_with(&kept));
        sizes.push((kept.len(), point.physical_rows()));
    }
    assert!(sizes.is_sorted_by(|left, right| left >= right), "{sizes:?}");
    assert_eq!((sizes[0].1, sizes[5]), (1_520, (0, 1_144)));
    assert!(sizes[1].1 < 1_520 && sizes[2].1 > 1_144, "{sizes:?}");
    // A file that the system grew before a power cut, but never filled.
    std::fs::write(&log, [bytes.as_slice(), &[0; 5_000]].concat()).unwrap();
    let point = impatient(&database).open_point(&articles(), PointOptions::default()).await.unwrap();
    assert_eq!(point.physical_rows(), 1_520);
}

#[tokio::test]
async fn damage_in_the_middle_of_a_log_is_an_error_and_not_a_shorter_copy() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let log = database.join(ARTICLES).join("wal/wal_data_000006.arrow");
    let mut bytes = std::fs::read(&log).unwrap();
    // The second batch: its message starts with four bytes of ones.
    let second = bytes.windows(4).skip(10_000).position(|window| window == [0xff; 4]).unwrap() + 10_000;
    bytes[second] = 0x7f;
    std::fs::write(&log, &bytes).unwrap();
    let error = open_error(&database).await;
    assert!(matches!(&error, SourceError::Damaged { path, .. } if path.ends_with("wal_data_000006.arrow")), "{error}");
}

#[tokio::test]
async fn a_restore_that_lacks_a_file_of_its_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let points = open_all(&source, PointOptions::default(), |name| (*name == articles()).then(|| name.clone()));
    let points = points.await.unwrap();
    let mut plan = plan_of(&source, &points, false).await;
    let lost = plan.collections[0].files.iter().position(|file| file.path.contains("data_000376")).unwrap();
    plan.collections[0].files.remove(lost);
    let run = MilvusLiteTarget::new(&folder.path().join("new.db")).begin(&plan, &()).await.unwrap();
    for (place, file) in plan.collections[0].files.iter().enumerate() {
        let original = points[0].0.files().iter().position(|original| original.path == file.path).unwrap();
        run.write(0, place, 0, read_all(points[0].0.as_ref(), original).await.unwrap().into()).await.unwrap();
    }
    let error = run.finish_collection(0).await.unwrap_err();
    assert!(matches!(error, SourceError::MissingFile { .. }), "{error}");
}

#[tokio::test]
async fn targets_that_are_something_else_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = MilvusLiteSource::open(&sample(folder.path())).unwrap();
    let points = open_all(&source, PointOptions::default(), |name| Some(name.clone())).await.unwrap();
    let plan = plan_of(&source, &points, true).await;
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.tex"), b"text").unwrap();
    let before = tree(folder.path());
    for path in [other.clone(), other.join("thesis.tex"), other.join("no/such/parent"), other.join("..")] {
        let error = MilvusLiteTarget::new(&path).begin(&plan, &()).await.map(|_| ()).unwrap_err();
        let known = matches!(error, SourceError::NotMilvusLite { .. } | SourceError::BadPlan { .. });
        assert!(known, "{}: {error}", path.display());
    }
    assert!(tree(folder.path()) == before);
}

#[tokio::test]
async fn an_empty_folder_becomes_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let (empty, fresh) = (folder.path().join("empty.db"), folder.path().join("fresh.db"));
    std::fs::create_dir(&empty).unwrap();
    copy_cluster(&database, &empty, PointOptions::default()).await.unwrap();
    copy_cluster(&database, &fresh, PointOptions::default()).await.unwrap();
    let mut found = tree(&empty);
    assert_eq!(found.remove("LOCK"), Some(Vec::new()));
    assert!(found == tree(&fresh));
}

#[tokio::test]
async fn too_little_space_is_noticed_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let source = MilvusLiteSource::open(&database).unwrap();
    let points = open_all(&source, PointOptions::default(), |name| Some(name.clone())).await.unwrap();
    let plan = plan_of(&source, &points, true).await;
    let limits = Limits { spare_bytes: u64::MAX / 2, ..Limits::DEFAULT };
    let target = MilvusLiteTarget::with_limits(&folder.path().join("new.db"), limits);
    let error = target.begin(&plan, &()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::NoSpace { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Set in the process that runs the test below inside of a mount namespace: a folder with 8 MB.
const SMALL_DISK: &str = "LONGSHORE_TEST_SMALL_DISK";

#[tokio::test]
async fn a_disk_that_fills_up_leaves_the_target_as_it_was() {
    let test = "a_disk_that_fills_up_leaves_the_target_as_it_was";
    let Some(small) = std::env::var_os(SMALL_DISK) else { return in_a_namespace_with_a_small_disk(test) };
    let small = Path::new(&small);
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let target = small.join("target.db");
    std::fs::create_dir_all(target.join("collections")).unwrap();
    std::fs::write(target.join("collections/note"), b"here before").unwrap();
    let source = MilvusLiteSource::open(&database).unwrap();
    let points = open_all(&source, PointOptions::default(), |name| Some(name.clone())).await.unwrap();
    let mut plan = plan_of(&source, &points, true).await;
    let error = MilvusLiteTarget::new(&target).begin(&plan, &()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::NoSpace { .. }), "noticed beforehand: {error}");
    // Somebody else fills the disk while the restore runs: here the plan of a smaller collection fits at first.
    plan.collections.retain(|collection| collection.mapping.from.collection == "python_manual");
    let points: Vec<_> = points.into_iter().filter(|(_, to)| to.collection == "python_manual").collect();
    let before = tree(&target);
    let run = MilvusLiteTarget::new(&target).begin(&plan, &()).await.unwrap();
    let block = vec![7; 64 * 1024];
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    let mut failed = None;
    for file in 0..points[0].0.files().len() {
        let bytes = read_all(points[0].0.as_ref(), file).await.unwrap();
        if let Err(error) = run.write(0, file, 0, bytes.into()).await {
            failed = Some(error);
            break;
        }
    }
    let error = failed.expect("the disk is full");
    assert!(matches!(error, SourceError::NoSpace { .. }), "{error}");
    drop(run);
    assert!(tree(&target) == before);
    drop(filler);
    std::fs::remove_file(small.join("filler")).unwrap();
    restore(&MilvusLiteTarget::new(&target), &plan, &points).await.unwrap();
    eprintln!("ran on a small disk");
}

fn in_a_namespace_with_a_small_disk(test: &str) {
    let mount = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m none '{0}' && {SMALL_DISK}='{0}' exec '{1}' --exact {test} --nocapture",
        mount.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", "true"]);
    if !command.output().is_ok_and(|output| output.status.success()) {
        return common::skip(test, "mount namespaces are not available to this user");
    }
    let output =
        std::process::Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-c", &script]).output();
    let output = output.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if text.contains("mount:") {
        return common::skip(test, "a tmpfs cannot be mounted by this user");
    }
    assert!(output.status.success() && text.contains("ran on a small disk"), "{text}");
}

/// Files of the sample that are parsed, one of each kind.
const PARSED: [&str; 6] = [
    "schema.json",
    "manifest.json",
    "wal/wal_data_000006.arrow",
    "wal/wal_delta_000006.arrow",
    "partitions/library/data/data_000376_000562.parquet",
    "partitions/library/delta/delta_001126_001126.parquet",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed in a file: opening, reading and counting end with an answer or an error, and what was
    /// acknowledged as readable is the bytes of the file.
    #[test]
    fn random_damage_never_panics(
        file in 0..PARSED.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        near_the_end: bool,
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("sample.db");
        common::copy_tree(&repository().join("examples/sample-cluster").join(ARTICLES), &database.join(ARTICLES));
        let path = database.join(ARTICLES).join(PARSED[file]);
        let mut bytes = std::fs::read(&path).unwrap();
        for (place, value) in changes {
            let length = bytes.len();
            // Footers and the last batch are where the structure is.
            let start = if near_the_end { length.saturating_sub(2_000) } else { 0 };
            let place = start + place.index(length - start);
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let source = impatient(&database);
            let Ok(point) = source.open_point(&articles(), PointOptions { include_index_files: true, ..PointOptions::default() }).await else { return };
            let whole = point.live_rows(1 << 24).await;
            if let Err(error) = &whole {
                let text = error.to_string();
                assert!(!text.contains("not understood"), "a decoder panicked: {text}");
            }
            let counting = point.counting(1 << 24).unwrap();
            for place in 0..point.files().len() {
                let bytes = read_all(point.as_ref(), place).await.unwrap();
                assert!(counting.add(place, &bytes.into()).is_ok() || whole.is_err(), "file {place}");
            }
            assert_eq!(counting.finish().ok(), whole.ok(), "counted out of bytes that were read anyway");
        });
    }
}
