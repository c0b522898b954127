//! Looking after vaults and the catalog with the command line, as a user does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_tests::{copy_tree, longshore_in, sample_cluster};
use serde_json::Value;

/// A folder with a copy of the sample cluster.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
    folder
}

fn back_up(place: &Path, more: &[&str]) -> String {
    let arguments = ["backup", "sample.db", "--to", "vault", "--json"];
    let made = longshore_in(place, arguments.iter().chain(more)).ok().json();
    made["backupId"].as_str().unwrap().to_owned()
}

fn listed(place: &Path) -> Vec<String> {
    let listed = longshore_in(place, ["list", "vault", "--json"]).ok().json();
    let ids = listed["backups"].as_array().unwrap().iter().map(|one| one["backupId"].as_str().unwrap().to_owned());
    ids.collect()
}

#[test]
fn retention_shows_what_would_go_and_deletes_it_only_when_asked() {
    let folder = place();
    let place = folder.path();
    let by_hand = back_up(place, &[]);
    let old = back_up(place, &["--automatic"]);
    let new = back_up(place, &["--automatic"]);
    let arguments = ["retention", "--vault", "vault", "--keep-last", "1"];

    let plan = longshore_in(place, arguments.iter().chain(&["--json"])).ok().json();
    assert_eq!(plan["dryRun"], true);
    let reason = |id: &str| -> Value {
        let decisions = plan["decisions"].as_array().unwrap();
        decisions.iter().find(|one| one["backupId"] == id).unwrap()["reason"].clone()
    };
    assert_eq!(reason(&by_hand), "kept: made by hand, which no rule deletes");
    assert_eq!(reason(&old), "goes: no rule keeps it");
    assert_eq!(reason(&new), "kept: last 1 of 1");
    assert_eq!(listed(place).len(), 3, "a dry run deleted something");
    let text = longshore_in(place, arguments).ok().stdout;
    assert!(text.contains("1 would go, 2 are kept. Nothing was changed; add --apply."), "{text}");

    let done = longshore_in(place, arguments.iter().chain(&["--apply", "--json"])).ok().json();
    assert_eq!(done["outcome"]["deleted"], serde_json::json!([old]));
    assert_eq!(listed(place), [new.clone(), by_hand.clone()]);
    let again = longshore_in(place, arguments.iter().chain(&["--apply", "--json"])).ok().json();
    assert_eq!(again["outcome"]["deleted"], serde_json::json!([]));
    for kept in [&new, &by_hand] {
        longshore_in(place, ["verify", "vault", kept]).ok();
    }
    let without_rules = longshore_in(place, ["retention", "--vault", "vault"]);
    assert_eq!(without_rules.code, 2, "{without_rules:?}");
}

#[test]
fn retention_leaves_a_backup_alone_whose_bytes_are_not_all_there() {
    let folder = place();
    let place = folder.path();
    // First without one database, so that the second backup has a pack of its own.
    let handbook = place.join("sample.db/databases/handbook");
    std::fs::rename(&handbook, place.join("handbook")).unwrap();
    let good = back_up(place, &["--automatic"]);
    let packs = || -> Vec<PathBuf> {
        let folders = std::fs::read_dir(place.join("vault/packs")).unwrap();
        folders.flat_map(|one| std::fs::read_dir(one.unwrap().path()).unwrap()).map(|one| one.unwrap().path()).collect()
    };
    let before = packs();
    std::fs::rename(place.join("handbook"), &handbook).unwrap();
    let damaged = back_up(place, &["--automatic"]);
    let new: Vec<PathBuf> = packs().into_iter().filter(|pack| !before.contains(pack)).collect();
    assert!(!new.is_empty());
    new.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());

    let arguments = ["retention", "--vault", "vault", "--keep-last", "1", "--apply", "--json"];
    let done = longshore_in(place, arguments).ok().json();
    assert_eq!(done["outcome"]["deleted"], serde_json::json!([]), "{done}");
    assert_eq!(listed(place), [damaged, good]);
}
