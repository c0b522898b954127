//! The commands without a server, as a user types them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_tests::{Ran, longshore_in, sample_cluster};
use serde_json::Value;

/// Backs the sample cluster up into `vault` below `folder` and answers the result.
fn back_up(folder: &Path) -> Value {
    let sample = sample_cluster();
    let ran = longshore_in(folder, ["backup", sample.to_str().unwrap(), "--to", "vault", "--json"]).ok();
    ran.json()
}

/// Every file below a folder with its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// An error is one plain sentence on standard error, with a code that is not zero, and never a panic.
fn refused(ran: &Ran, code: i32, expected: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(expected), "expected `{expected}` in {ran:?}");
    assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("RUST_BACKTRACE"), "{ran:?}");
}

#[test]
fn a_backup_is_listed_shown_verified_and_restored_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let before = tree(&sample_cluster());
    let made = back_up(folder.path());
    assert_eq!(tree(&sample_cluster()), before, "the source was changed");
    assert!(made["collections"].as_array().unwrap().len() >= 4);
    let id = made["backupId"].as_str().unwrap();

    let listed = longshore_in(folder.path(), ["list", "vault", "--json"]).ok().json();
    assert_eq!(listed["backups"][0]["backupId"], id);
    let shown = longshore_in(folder.path(), ["show", "vault", id, "--json", "--records"]).ok().json();
    assert_eq!(shown["collections"], made["collections"]);
    let records = shown["decisions"]["records"].as_array().unwrap();
    assert!(records.len() >= 3, "a record per kind of policy");
    let digest = &shown["policies"]["selection"][0]["digest"];
    assert_eq!(digest.as_str().unwrap().len(), 64, "the manifest names the plugin by digest");
    let verified = longshore_in(folder.path(), ["verify", "vault", "--json"]).ok().json();
    assert_eq!(verified["whole"], true);
    assert!(verified["readBytes"].as_u64().unwrap() > 0);

    let restored = longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db", "--json"]).ok().json();
    let after = tree(&folder.path().join("restored.db"));
    let mut compared = 0;
    for (path, bytes) in &after {
        if path.extension().is_some_and(|extension| extension == "parquet") {
            assert_eq!(before.get(path), Some(bytes), "{}", path.display());
            compared += 1;
        }
    }
    assert!(compared >= 4, "{compared} data files");
    let rows = |value: &Value| -> Vec<Value> {
        value["collections"].as_array().unwrap().iter().map(|one| one["liveRows"].clone()).collect()
    };
    assert_eq!(rows(&restored), rows(&made));
}

#[test]
fn a_second_backup_reads_nothing_that_the_first_holds() {
    let folder = tempfile::tempdir().unwrap();
    let first = back_up(folder.path());
    assert_eq!(first["reusedBytes"], 0);
    let second = back_up(folder.path());
    let size = second["sizeBytes"].as_u64().unwrap();
    let (reused, added) = (second["reusedBytes"].as_u64().unwrap(), second["storedBytes"].as_u64().unwrap());
    assert!(reused * 2 > size, "{reused} of {size} reused");
    assert_eq!(added, 0, "nothing new was stored");
    assert_eq!(second["deduplicatedBytes"].as_u64().unwrap() + reused, size);
    let verified = longshore_in(folder.path(), ["verify", "vault"]).ok();
    assert!(verified.stdout.contains("is whole"), "{verified:?}");
}

#[test]
fn a_dry_run_decides_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let ran = longshore_in(folder.path(), ["backup", sample.to_str().unwrap(), "--to", "vault", "--dry-run"]).ok();
    assert!(ran.stdout.contains("Nothing was written") && ran.stdout.contains("selection"), "{ran:?}");
    assert!(!folder.path().join("vault").exists(), "a dry run made a vault");
}

#[test]
fn chosen_collections_are_restored_under_new_names_beside_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    back_up(folder.path());
    longshore_in(folder.path(), ["restore", "vault", "--to", "new.db"]).ok();
    let before = tree(&folder.path().join("new.db"));
    let arguments = ["restore", "vault", "--to", "new.db", "--collection", "medium_articles=articles_copy"];
    let ran = longshore_in(folder.path(), arguments).ok();
    assert!(ran.stdout.contains("default.articles_copy"), "{ran:?}");
    let after = tree(&folder.path().join("new.db"));
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "what was there was changed");
    let copy = Path::new("collections/articles_copy/schema.json");
    assert!(String::from_utf8_lossy(&after[copy]).contains("articles_copy"));
    // A second time the name is taken, and nothing changes.
    refused(&longshore_in(folder.path(), arguments), 1, "already has a collection");
    assert_eq!(tree(&folder.path().join("new.db")), after);
}

#[test]
fn only_the_named_collections_are_backed_up_and_unknown_names_are_told_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    let one = ["backup", sample, "--to", "vault", "--json", "--collection", "medium_articles"];
    let made = longshore_in(folder.path(), one).ok().json();
    assert_eq!(made["collections"].as_array().unwrap().len(), 1);
    let unknown = ["backup", sample, "--to", "vault", "--collection", "no_such", "--collection", "medium_articles"];
    std::fs::remove_dir_all(folder.path().join("vault")).unwrap();
    let ran = longshore_in(folder.path(), unknown);
    assert!(!folder.path().join("vault").exists(), "a refused backup made a vault");
    back_up(folder.path());
    refused(&ran, 1, "no such collection: default.no_such");
    assert!(ran.stderr.contains("default.medium_articles"), "it says what there is: {ran:?}");
    let restore = ["restore", "vault", "--to", "r.db", "--collection", "no_such"];
    refused(&longshore_in(folder.path(), restore), 1, "no such collection: default.no_such");
    assert!(!folder.path().join("r.db").exists());
}

#[test]
fn what_is_no_database_and_what_is_no_vault_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::create_dir_all(here.join("photos/2024")).unwrap();
    std::fs::write(here.join("photos/2024/a.jpg"), "x").unwrap();
    std::fs::write(here.join("file.db"), "x").unwrap();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    refused(&longshore_in(here, ["backup", "nowhere", "--to", "v"]), 1, "`nowhere` does not exist");
    refused(&longshore_in(here, ["backup", "photos", "--to", "v"]), 1, "not a Milvus Lite 3 data directory");
    refused(&longshore_in(here, ["backup", "file.db", "--to", "v"]), 1, "not a Milvus Lite 3 data directory");
    refused(&longshore_in(here, ["backup", sample, "--to", "photos"]), 1, "`2024/`");
    refused(&longshore_in(here, ["backup", sample, "--to", "a/b/c"]), 1, "a/b/c");
    refused(&longshore_in(here, ["list", "photos"]), 1, "photos");
    refused(&longshore_in(here, ["list", "nowhere"]), 1, "nowhere");
    refused(&longshore_in(here, ["restore", "photos", "--to", "x"]), 1, "photos");
    assert_eq!(tree(&here.join("photos")).len(), 1, "nothing was written into another program's folder");
    assert!(!here.join("v").exists());
}

#[test]
fn a_vault_and_a_database_cannot_lie_inside_one_another() {
    let folder = tempfile::tempdir().unwrap();
    longshore_tests::copy_tree(&sample_cluster(), &folder.path().join("data.db"));
    let ran = longshore_in(folder.path(), ["backup", "data.db", "--to", "data.db/vault"]);
    refused(&ran, 1, "inside one another");
    assert!(!folder.path().join("data.db/vault").exists());
}

#[test]
fn a_time_in_another_unit_than_milliseconds_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let restore = |until: &str| {
        longshore_in(folder.path(), ["restore", "vault", "--config", "longshore.toml", "--until-ms", until])
    };
    refused(&restore("1790000000"), 2, "it looks like seconds; 2026-09-21T14:13:20Z would be 1790000000000");
    refused(&restore("5"), 2, "there was no Milvus at that time");
    refused(&restore("yesterday"), 2, "invalid digit");
    refused(&restore("1790000000000"), 1, "vault");
}

#[test]
fn a_check_before_restores_into_a_server_says_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let configure = |more: &str| {
        let text = format!(
            "data_directory = \"data\"\n[project]\nid = \"proj-test\"\nname = \"Test\"\n[[region]]\nid = \"local-eu\"\n\
             vault = \"regional\"\n[[cluster]]\nid = \"in01-milvus\"\nname = \"Milvus\"\nregion = \"local-eu\"\n\
             [cluster.milvus]\nendpoint = \"http://127.0.0.1:1\"\n[cluster.milvus.storage]\nfolder = \"storage\"\n{more}"
        );
        std::fs::write(folder.path().join("longshore.toml"), text).unwrap();
    };
    std::fs::create_dir(folder.path().join("storage")).unwrap();
    let check = |more: &[&str]| {
        let all = ["source", "check", "--config", "longshore.toml"].iter().chain(more);
        longshore_in(folder.path(), all)
    };
    configure("");
    let ran = check(&["--json"]);
    assert!(ran.code == 1 && ran.json()["works"] == false && ran.json()["restoresWork"].is_null(), "{ran:?}");
    let fails = |ran: Ran, expected: &str| assert!(ran.code == 1 && ran.stdout.contains(expected), "{ran:?}");
    fails(check(&["--restore"]), "Restores into it do not work.");
    configure("[cluster.milvus.staging]\nfolder = \"staging\"\n");
    let said = check(&["--json"]).json();
    assert_eq!(said["restoresWork"], false, "the server is not there: {said}");
    assert!(said["restoreFindings"].to_string().contains("staging can be written to"), "{said}");
    assert!(!folder.path().join("staging").exists(), "a check leaves nothing");
    refused(&check(&["--server-pool"]), 1, "no [[server_pool]]");
    configure(
        "[[server_pool]]\nname = \"spare\"\nregion = \"local-eu\"\n[server_pool.milvus]\nendpoint = \"http://127.0.0.1:1\"\n\
         [server_pool.milvus.storage]\nfolder = \"storage\"\n",
    );
    fails(check(&["--server-pool"]), "spare cannot be restored into.");
}

#[test]
fn wrong_words_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [vec!["frobnicate"], vec!["backup"], vec!["backup", "x", "--to", "v", "--collection", "a/b"]] {
        let ran = longshore_in(folder.path(), arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    let ran = longshore_in(folder.path(), ["show", "v", "not-an-id"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn a_flipped_byte_is_found_and_never_restored() {
    let folder = tempfile::tempdir().unwrap();
    back_up(folder.path());
    let packs = tree(&folder.path().join("vault/packs"));
    let (path, mut bytes) = packs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(folder.path().join("vault/packs").join(&path), bytes).unwrap();
    let ran = longshore_in(folder.path(), ["verify", "vault", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.json()["whole"], false);
    let ran = longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db"]);
    assert!(ran.code == 1 || ran.code == 3, "{ran:?}");
    assert!(!folder.path().join("restored.db").exists(), "a damaged backup left a target");
    // What was good stays in the staging folder: after a heal the same restore goes on from there.
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| !name.contains(".longshore-restore-")).collect();
    assert_eq!(left, ["vault"], "something was left behind");
}

#[test]
fn a_lost_index_is_made_up_for_from_the_packs() {
    let folder = tempfile::tempdir().unwrap();
    back_up(folder.path());
    std::fs::remove_dir_all(folder.path().join("vault/index")).unwrap();
    longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db"]).ok();
}

#[test]
fn a_full_disk_is_a_sentence_and_leaves_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let binary = longshore_tests::binary().display().to_string();
    let (sample, here) = (sample_cluster().display().to_string(), folder.path().display().to_string());
    // A mount namespace of its own: the tmpfs is gone with the shell, whatever happens.
    let script = format!(
        "set -e; mkdir -p '{here}/small'; mount -t tmpfs -o size=8m tmpfs '{here}/small'
         dd if=/dev/zero of='{here}/small/taken' bs=1M count=5 status=none; set +e
         '{binary}' backup '{sample}' --to '{here}/small/vault' --no-space-check; echo \"code $?\"
         '{binary}' list '{here}/small/vault'; echo \"code $?\"
         '{binary}' backup '{sample}' --to '{here}/vault' >/dev/null; echo \"code $?\"
         '{binary}' restore '{here}/vault' --to '{here}/small/restored.db'; echo \"code $?\"
         ls '{here}/small'"
    );
    let ran: Ran =
        std::process::Command::new("unshare").args(["-m", "bash", "-c", &script]).output().map(Ran::from).unwrap();
    if !ran.stdout.contains("code") {
        longshore_tests::not_run("full disk: a tmpfs cannot be mounted in a namespace here (needs root)");
        return;
    }
    let codes: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("code ")).collect();
    assert_eq!(codes, ["code 1", "code 0", "code 0", "code 1"], "{ran:?}");
    assert!(ran.stdout.contains("no backup yet"), "{ran:?}");
    assert!(ran.stderr.contains("no space is left") && ran.stderr.contains("not enough space"), "{ran:?}");
    assert!(!ran.stdout.contains("restored.db"), "half a restore was left: {ran:?}");
}

#[test]
fn progress_is_json_lines_on_standard_error_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let backup = ["backup", sample.to_str().unwrap(), "--to", "vault", "--json"];
    let quiet = longshore_in(folder.path(), backup).ok();
    assert_eq!(quiet.stderr, "", "nobody asked for it");
    let commands: [&[&str]; 3] =
        [&backup, &["verify", "vault", "--json"], &["restore", "vault", "--to", "r.db", "--json"]];
    for command in commands {
        let ran = longshore_in(folder.path(), command.iter().chain(&["--progress", "json"])).ok();
        assert!(ran.json().is_object(), "the result alone is on standard output");
        let lines: Vec<serde_json::Value> =
            ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"))).collect();
        let last = lines.last().unwrap();
        assert_eq!((&last["phase"], &last["percent"]), (&"done".into(), &100.into()), "{ran:?}");
        assert_eq!(last["doneBytes"], last["totalBytes"]);
    }
}

#[test]
fn upkeep_says_how_far_it_is_too_and_nothing_when_nobody_asked() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    longshore_in(folder.path(), ["backup", sample.to_str().unwrap(), "--to", "vault"]).ok();
    let erase = ["erase", "medium_articles", "--reason", "a request", "--vault", "vault", "--json"];
    let prune = ["prune", "--vault", "vault", "--fence", "0s", "--minimum-age", "0s", "--json"];
    let retention = ["retention", "--vault", "vault", "--keep-last", "1", "--apply", "--json"];
    // The prune after the erasure rewrites the packs that held the collection.
    for (command, moves) in [(&erase[..], true), (&prune, true), (&retention, false)] {
        let ran = longshore_in(folder.path(), command.iter().chain(&["--progress", "json"])).ok();
        assert!(ran.json().is_object(), "the result alone is on standard output");
        let lines: Vec<serde_json::Value> =
            ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"))).collect();
        let last = lines.last().unwrap();
        assert_eq!((&last["phase"], &last["percent"]), (&"done".into(), &100.into()), "{ran:?}");
        assert_eq!(last["doneBytes"], last["totalBytes"]);
        assert_eq!(last["totalBytes"].as_u64().unwrap() > 0, moves, "{ran:?}");
        let quiet = longshore_in(folder.path(), command.iter().chain(&["--quiet"]));
        assert!(!quiet.stderr.contains("phase"), "nobody asked for it: {quiet:?}");
    }
}
