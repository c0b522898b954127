//! Against real Milvus Lite: what is restored opens there and holds the same, and copies taken beside a writer hold
//! everything that was acknowledged before they began. Skipped, and said so, where Python packages cannot be had.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{copy_cluster, judge, open_all, plan_of, python, repository, restore, sample};
use longshore_model::CollectionName;
use longshore_source::{MilvusLiteSource, MilvusLiteTarget, PointOptions, PointState, Source, SourceError};

#[tokio::test]
async fn milvus_lite_finds_the_same_in_a_restored_cluster() {
    let Some(python) = python("milvus_lite_finds_the_same_in_a_restored_cluster") else { return };
    let folder = tempfile::tempdir().unwrap();
    let original = sample(folder.path());
    for (number, include_index_files) in [false, true].into_iter().enumerate() {
        let restored = folder.path().join(format!("{number}.db"));
        copy_cluster(&original, &restored, PointOptions { include_index_files, ..PointOptions::default() })
            .await
            .unwrap();
        let text = judge(&python, &["compare", original.to_str().unwrap(), restored.to_str().unwrap()]);
        for expected in [
            "default.medium_articles: 1476 rows and 40 searches",
            "default.python_manual: 794 rows and 40 searches",
            "default.recent_searches: 100 rows",
            "handbook.postgres_manual: 894 rows and 40 searches",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[tokio::test]
async fn milvus_lite_finds_the_same_under_a_new_name_beside_the_original() {
    let Some(python) = python("milvus_lite_finds_the_same_under_a_new_name_beside_the_original") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (original, target) = (sample(folder.path()), folder.path().join("target.db"));
    common::copy_tree(&original, &target);
    let source = MilvusLiteSource::open(&original).unwrap();
    let rename = |from: &CollectionName| match from.collection.as_str() {
        "medium_articles" => CollectionName::new("default", "articles_of_july").ok(),
        "postgres_manual" => CollectionName::new("elsewhere", "postgres_manual").ok(),
        _ => None,
    };
    let points = open_all(&source, PointOptions::default(), rename).await.unwrap();
    let plan = plan_of(&source, &points, false).await;
    restore(&MilvusLiteTarget::new(&target), &plan, &points).await.unwrap();
    let (original, target) = (original.to_str().unwrap(), target.to_str().unwrap());
    judge(&python, &["compare", original, target, "--only", "medium_articles", "--only", "handbook.postgres_manual"]);
    let renames = ["medium_articles=articles_of_july", "handbook.postgres_manual=elsewhere.postgres_manual"];
    let arguments = ["compare", original, target, "--ignore-aliases", "--rename", renames[0], "--rename", renames[1]];
    assert!(judge(&python, &arguments).contains("Both hold the same."));
}

#[tokio::test]
async fn the_judge_notices_what_is_missing() {
    let Some(python) = python("the_judge_notices_what_is_missing") else { return };
    let folder = tempfile::tempdir().unwrap();
    let original = sample(folder.path());
    let restored = folder.path().join("restored.db");
    copy_cluster(&original, &restored, PointOptions::default()).await.unwrap();
    std::fs::remove_file(restored.join("collections/medium_articles/wal/wal_delta_000006.arrow")).unwrap();
    std::fs::remove_file(restored.join("databases/handbook/aliases.json")).unwrap();
    let script = repository().join("tests/python/judge.py");
    let output = Command::new(&python).arg(script).arg("compare").arg(&original).arg(&restored).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("default.medium_articles: 2 rows should not be there, for example [1000, 1501]."), "{text}");
    assert!(text.contains("handbook.postgres_manual: aliases were ['manual'] and are []."), "{text}");
    assert!(!text.contains("Both hold the same"), "{text}");
}

/// A running writer.py; killed when dropped.
struct Writer(Child);

impl Writer {
    fn start(python: &Path, database: &Path, logs: &Path, seed: u64) -> Self {
        let script = repository().join("tests/python/writer.py");
        let mut command = Command::new(python);
        command.arg(script).arg(database).arg(logs).arg(seed.to_string()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn must_live(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the writer ended by itself");
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.kill();
    }
}

const COLLECTIONS: [&str; 3] = ["plain", "keyed", "reborn"];

/// Copies the writer's database into `target` and returns, by collection, how long its log was when its copy began.
/// Collections that were dropped or made again meanwhile are reported as such, and are not in the answer.
async fn copy(source: &MilvusLiteSource, logs: &Path, target: &Path) -> BTreeMap<&'static str, u64> {
    let (mut points, mut began) = (Vec::new(), BTreeMap::new());
    for collection in COLLECTIONS {
        let acknowledged = std::fs::metadata(logs.join(format!("{collection}.log"))).unwrap().len();
        let name = CollectionName::new("", collection).unwrap();
        match source.open_point(&name, PointOptions::default()).await {
            Ok(point) => {
                points.push((point, name));
                began.insert(collection, acknowledged);
            }
            // Dropped a moment ago, or just being dropped and made again.
            Err(SourceError::UnknownCollection { .. } | SourceError::KeepsChanging { .. })
                if collection == "reborn" => {}
            Err(error) => panic!("{error}"),
        }
    }
    let plan = plan_of(source, &points, true).await;
    restore(&MilvusLiteTarget::new(target), &plan, &points).await.unwrap();
    for (point, name) in &points {
        let state = point.recheck().await.unwrap();
        if state != PointState::Unaltered {
            assert_eq!(name.collection, "reborn", "{state:?}");
            began.remove("reborn");
        }
    }
    began
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_beside_a_writer_hold_all_that_was_acknowledged_before_they_began() {
    let test = "copies_beside_a_writer_hold_all_that_was_acknowledged_before_they_began";
    let Some(python) = python(test) else { return };
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let (rounds, copies) = if long { (8, 40) } else { (2, 12) };
    for round in 0..rounds {
        let seed = std::env::var("LONGSHORE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(round + 1);
        eprintln!("writer with seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let (database, logs) = (folder.path().join("written.db"), folder.path().join("logs"));
        std::fs::create_dir(&logs).unwrap();
        let mut writer = Writer::start(&python, &database, &logs, seed);
        wait_for_logs(&mut writer, &logs, 20);
        let source = MilvusLiteSource::open(&database).unwrap();
        let mut taken: Vec<(PathBuf, BTreeMap<&str, u64>)> = Vec::new();
        for number in 0..copies {
            writer.must_live();
            let target = folder.path().join(format!("copy-{number}"));
            let began = copy(&source, &logs, &target).await;
            taken.push((target, began));
            // Let it write on, so that no two copies are of the same moment.
            let operations = count(&logs, "plain") + 10;
            wait_for_logs(&mut writer, &logs, operations);
        }
        writer.kill();
        let target = folder.path().join("copy-after-kill");
        let began = copy(&source, &logs, &target).await;
        taken.push((target, began));
        check(&python, folder.path(), &logs, &taken);
        let checked = taken.iter().filter(|(_, began)| began.contains_key("reborn")).count();
        assert!(checked * 2 > taken.len(), "too few copies of the collection that is made again: {checked}");
    }
}

fn count(logs: &Path, collection: &str) -> usize {
    std::fs::read_to_string(logs.join(format!("{collection}.log"))).unwrap_or_default().lines().count()
}

/// Waits until every log has that many lines: the writer is seen to write, not assumed to.
fn wait_for_logs(writer: &mut Writer, logs: &Path, lines: usize) {
    let started = Instant::now();
    while COLLECTIONS.iter().any(|collection| count(logs, collection) < lines.min(20)) || count(logs, "plain") < lines {
        writer.must_live();
        assert!(started.elapsed() < Duration::from_secs(120), "the writer does not get on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check(python: &Path, folder: &Path, logs: &Path, taken: &[(PathBuf, BTreeMap<&str, u64>)]) {
    let list: Vec<_> = taken
        .iter()
        .map(|(directory, began)| serde_json::json!({"directory": directory, "acknowledged_bytes": began}))
        .collect();
    let copies = folder.join("copies.json");
    std::fs::write(&copies, serde_json::to_vec(&list).unwrap()).unwrap();
    let script = repository().join("tests/python/check_prefix.py");
    let output = Command::new(python).arg(script).arg(&copies).arg(logs).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
