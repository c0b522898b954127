//! Real `longshore backup` and `longshore delete` processes beside real `longshore prune` processes without any fence,
//! as on two hosts that share a vault. Afterwards everything that was reported and not deleted is whole and comes back.
//! A few seconds in the usual run, two minutes with `LONGSHORE_LONG`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::{copy_tree, longshore_in, sample_cluster};
use longshore_vault::testing::{SeededRandom, long, seeds};

const PRUNE: [&str; 9] = ["prune", "--vault", "vault", "--fence", "0s", "--minimum-age", "0s", "--compact-below", "90"];

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Every data file of a restored cluster is that of the sample, byte for byte. Answers how many there are.
fn compare(restored: &Path, sample: &Path) -> usize {
    let mut compared = 0;
    for file in files(restored) {
        let name = file.strip_prefix(restored).unwrap();
        if name.extension().is_some_and(|end| end == "parquet") {
            assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(sample.join(name)).unwrap(), "{}", name.display());
            compared += 1;
        }
    }
    compared
}

/// Names of the collections of a backup, `database.name`.
fn collections(folder: &Path, id: &str) -> Vec<String> {
    let shown = longshore_in(folder, ["show", "vault", id, "--json"]).ok().json();
    let name = |one: &serde_json::Value| {
        let text = |key: &str| one["name"][key].as_str().or_else(|| one[key].as_str()).unwrap_or_default().to_owned();
        let (database, collection) = (text("database"), text("collection"));
        if database.is_empty() { collection } else { format!("{database}.{collection}") }
    };
    shown["collections"].as_array().expect("collections").iter().map(name).collect()
}

#[test]
fn backups_and_deletions_on_one_host_and_prunes_on_another_lose_nothing() {
    let seed = seeds([1], 1)[0];
    eprintln!("seed {seed}");
    let mut random = SeededRandom::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let (path, sample) = (folder.path(), folder.path().join("sample.db"));
    copy_tree(&sample_cluster(), &sample);
    let back_up = |names: &[String]| -> String {
        let mut arguments = vec!["backup", "sample.db", "--to", "vault", "--json", "--quiet"];
        for name in names {
            arguments.extend(["--collection", name.as_str()]);
        }
        let made = longshore_in(path, &arguments).ok().json();
        made["backupId"].as_str().expect("a backup id").to_owned()
    };
    let first = back_up(&[]);
    let all = collections(path, &first);
    assert!(all.len() > 2, "{all:?}");
    let over = Arc::new(AtomicBool::new(false));
    let pruner = {
        let (over, path) = (Arc::clone(&over), path.to_owned());
        std::thread::spawn(move || {
            let mut runs = 0;
            while !over.load(Ordering::SeqCst) {
                longshore_in(&path, PRUNE).ok();
                runs += 1;
            }
            runs
        })
    };
    let mut alive = vec![first];
    let (began, wanted) = (Instant::now(), Duration::from_secs(if long() { 120 } else { 6 }));
    let mut made = 0;
    while began.elapsed() < wanted || made < 6 {
        // One collection was never flushed and has no data file to compare; it does not go alone.
        let never_flushed = |name: &String| name.ends_with("recent_searches");
        let mut some: Vec<String> = all.iter().filter(|_| random.chance(40)).cloned().collect();
        if some.iter().all(never_flushed) {
            some.clear();
        }
        alive.push(back_up(&some));
        made += 1;
        if alive.len() > 3 {
            let goes = alive.remove(usize::try_from(random.below(alive.len() as u64)).unwrap());
            longshore_in(path, ["delete", &goes, "--vault", "vault"]).ok();
        }
    }
    over.store(true, Ordering::SeqCst);
    let runs = pruner.join().unwrap();
    eprintln!("{made} backups beside {runs} prunes");
    assert!(runs > 2);
    let check = || {
        let listed = longshore_in(path, ["list", "vault", "--json"]).ok().json();
        let mut listed: Vec<String> = listed["backups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["backupId"].as_str().unwrap().to_owned())
            .collect();
        let mut expected = alive.clone();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        for id in &alive {
            let verified = longshore_in(path, ["verify", "vault", id, "--level", "decoded", "--json"]).ok();
            assert_eq!(verified.json()["whole"], true, "{verified:?}");
            longshore_in(path, ["restore", "vault", id, "--to", "restored", "--quiet"]).ok();
            assert!(compare(&path.join("restored"), &sample) > 0);
            std::fs::remove_dir_all(path.join("restored")).unwrap();
        }
    };
    check();
    for _ in 0..3 {
        longshore_in(path, PRUNE).ok();
    }
    check();
    // When all are deleted, nothing is left but what a later prune would remove.
    for id in &alive {
        longshore_in(path, ["delete", id, "--vault", "vault"]).ok();
    }
    for _ in 0..3 {
        longshore_in(path, PRUNE).ok();
    }
    let packs: Vec<PathBuf> = files(&path.join("vault/packs"));
    assert!(packs.is_empty(), "{packs:?}");
}

#[test]
fn the_commands_say_what_they_did_and_what_they_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    copy_tree(&sample_cluster(), &path.join("sample.db"));
    let made = longshore_in(path, ["backup", "sample.db", "--to", "vault", "--json", "--quiet"]).ok().json();
    let id = made["backupId"].as_str().unwrap();
    let space = longshore_in(path, ["space", "--vault", "vault", "--json"]).ok().json();
    let of = &space["vaults"][0]["space"];
    assert_eq!(of["backups"][0]["backupId"], id);
    assert_eq!(of["backups"][0]["aloneBytes"], of["neededBytes"]);
    assert!(longshore_in(path, ["space", "--vault", "vault"]).ok().stdout.contains(id));
    let quiet = longshore_in(path, ["prune", "--vault", "vault"]).ok();
    assert!(quiet.stdout.contains("Deleted 0 objects"), "{}", quiet.stdout);
    let deleted = longshore_in(path, ["delete", id, "--vault", "vault"]).ok();
    assert!(deleted.stdout.contains("go with a later prune"), "{}", deleted.stdout);
    let again = longshore_in(path, ["delete", id, "--vault", "vault"]);
    assert_eq!(again.code, 1, "{again:?}");
    let dry = longshore_in(path, ["prune", "--vault", "vault", "--minimum-age", "0s", "--dry-run"]).ok();
    assert!(dry.stdout.contains("would be marked") && dry.stdout.contains("no backup needs"), "{}", dry.stdout);
    let marked = longshore_in(path, ["prune", "--vault", "vault", "--minimum-age", "0s"]).ok();
    assert!(marked.stdout.contains("may be deleted by a run at"), "{}", marked.stdout);
    let waiting = longshore_in(path, ["prune", "--vault", "vault", "--minimum-age", "0s"]).ok();
    assert!(waiting.stdout.contains("its mark is younger than the fence"), "{}", waiting.stdout);
    let done = longshore_in(path, ["prune", "--vault", "vault", "--minimum-age", "0s", "--fence", "0s", "--json"]).ok();
    let objects = done.json()["vaults"][0]["objects"].as_array().unwrap().clone();
    assert!(objects.iter().any(|one| one["action"] == "delete" && one["reason"]["code"] == "unneeded"), "{objects:?}");
    assert_eq!(longshore_in(path, ["prune", "--vault", "vault", "--fence", "1w"]).code, 2);
    assert_eq!(longshore_in(path, ["prune"]).code, 2);
}
