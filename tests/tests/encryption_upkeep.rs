//! Looking after encrypted vaults with the real binary: what each command does with the writer key alone, with a reader
//! key, and with wrong keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_model::Digest;
use longshore_tests::{
    Client, Encrypted, HostPlace, copy_tree, judge, longshore_in, private_file, python_for_a_part, residency,
    sample_cluster, set_mode,
};
use longshore_vault::digest_of;
use serde_json::{Value, json};

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(folder).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

/// Everything of a vault with its digest, to see whether a command wrote to it. Pins come and go with every command.
fn content(vault: &Path) -> BTreeMap<PathBuf, Digest> {
    let files = files(vault).into_iter().filter(|file| !file.starts_with("pins"));
    files.map(|file| (file.clone(), digest_of(&std::fs::read(vault.join(file)).unwrap()))).collect()
}

fn largest_pack(vault: &Path) -> PathBuf {
    let packs = files(&vault.join("packs")).into_iter().map(|pack| vault.join("packs").join(pack));
    packs.max_by_key(|pack| std::fs::metadata(pack).unwrap().len()).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// A vault of the same project in another region with a backup of the same data.
fn with_second_vault() -> Encrypted {
    let made = Encrypted::default();
    made.back_up();
    made.writing(&["init", "--vault", "away", "--like", "vault", "--region", "away"]).ok();
    let sample = sample_cluster();
    made.writing(&["backup", sample.to_str().unwrap(), "--to", "away"]).ok();
    made
}

#[test]
fn heal_with_the_writer_key_alone_brings_packs_back_and_says_what_needs_a_reader_key() {
    let made = with_second_vault();
    // A copy of the whole vault, as an object store keeps one: the same packs under the same names.
    copy_tree(&made.path().join("vault"), &made.path().join("copy"));
    let whole = content(&made.path().join("vault"));
    let pack = largest_pack(&made.path().join("vault"));
    flip(&pack, 5_000);
    let stored = ["verify", "vault", "--level", "stored", "--json"];
    assert_eq!(made.writing(&stored).code, 3);
    let heal = ["heal", "--all", "--vault", "vault", "--from", "copy", "--json"];
    let healed = made.writing(&heal).ok().json();
    assert_eq!((&healed["whole"], healed["objects"].as_array().unwrap().len()), (&json!(true), 1), "{healed}");
    let as_before = || {
        let now = content(&made.path().join("vault"));
        let differs: Vec<_> = whole.iter().filter(|(file, digest)| now.get(*file) != Some(digest)).collect();
        assert!(differs.is_empty(), "{differs:?}");
    };
    as_before();

    // Lost keys and manifests come back, too.
    for folder in ["keys/sessions", "parts", "roots"] {
        std::fs::remove_dir_all(made.path().join("vault").join(folder)).unwrap();
    }
    assert_eq!(made.writing(&heal).ok().json()["whole"], true);
    as_before();
    made.reading(&["verify", "vault"]).ok();

    // Another vault has the same content in packs of its own, which are copied whole.
    flip(&pack, 5_000);
    let heal = ["heal", "--all", "--vault", "vault", "--from", "away", "--json"];
    let healed = made.writing(&heal).ok();
    assert_eq!(healed.json()["whole"], true, "{healed:?}");
    assert!(!healed.stderr.contains("reader key"), "{healed:?}");
    made.reading(&["verify", "vault"]).ok();

    // Only single blobs of damaged packs are left, in both vaults. They cannot be proven without a reader key.
    let made = with_second_vault();
    flip(&largest_pack(&made.path().join("vault")), 5_000);
    // Another blob than there: in which order they lie in a pack is left to threads.
    let hit = |vault: &str| {
        let report = made.reading(&["verify", vault, "--json"]).json();
        let all = report["collections"].as_array().unwrap().clone();
        let damaged = all.into_iter().filter(|one| one["damagedFiles"] != 0);
        damaged.map(|one| one["name"].to_string()).collect::<Vec<_>>()
    };
    let (here, away) = (hit("vault"), largest_pack(&made.path().join("away")));
    assert!(!here.is_empty());
    let apart = (0..).map(|tenth| 5_000 + tenth * 100_000).find(|at| {
        flip(&away, *at);
        let there = hit("away");
        let is_apart = !there.is_empty() && there.iter().all(|name| !here.contains(name));
        if !is_apart {
            flip(&away, *at);
        }
        is_apart
    });
    assert!(apart.is_some());
    let locked = made.writing(&heal);
    assert_eq!(locked.code, 3, "{locked:?}");
    let locked = locked.json();
    assert_eq!(locked["whole"], false);
    assert!(locked["collections"].to_string().contains("reader key"), "it says why: {locked}");
    assert_eq!(made.reading(&heal).ok().json()["whole"], true);
    made.reading(&["verify", "vault"]).ok();
}

#[test]
fn a_part_that_is_lost_and_a_reader_key_that_is_not_given_do_not_keep_heal_from_the_rest() {
    let made = Encrypted::default();
    let first = made.back_up();
    // Two backups; of the first one the part is lost, of the other a pack is damaged.
    let other = made.path().join("other.db");
    copy_tree(&sample_cluster(), &other);
    std::fs::remove_dir_all(other.join("databases")).unwrap();
    made.writing(&["backup", "other.db", "--to", "vault"]).ok();
    copy_tree(&made.path().join("vault"), &made.path().join("copy"));
    let part = format!("parts/{}", first["backupId"].as_str().unwrap());
    for vault in ["vault", "copy"] {
        std::fs::remove_dir_all(made.path().join(vault).join(&part)).unwrap();
    }
    flip(&largest_pack(&made.path().join("vault")), 5_000);
    let healed = made.writing(&["heal", "--all", "--vault", "vault", "--from", "copy", "--json"]);
    assert_eq!(healed.code, 3, "{healed:?}");
    let objects = healed.json()["objects"].clone();
    let state = |prefix: &str| -> Vec<bool> {
        let objects = objects.as_array().unwrap().iter();
        objects
            .filter(|one| one["object"].as_str().unwrap().starts_with(prefix))
            .map(|one| one["healed"] == true)
            .collect()
    };
    assert_eq!((state("packs/"), state("parts/")), (vec![true], vec![false]), "{objects}");
    made.writing(&["verify", "vault", "--level", "stored"]).ok();
}

#[test]
fn repair_and_prune_with_compaction_need_no_reader_key() {
    let made = Encrypted::default();
    made.back_up();
    std::fs::remove_dir_all(made.path().join("vault/index")).unwrap();
    let repaired = made.run(&["vault", "repair", "vault", "--json"]).ok().json();
    assert!(!repaired["written"].as_array().unwrap().is_empty(), "{repaired}");
    made.reading(&["verify", "vault"]).ok();

    // A second backup of less; once the first is gone, most of its packs is unneeded.
    let less = made.path().join("less.db");
    copy_tree(&sample_cluster(), &less);
    std::fs::remove_dir_all(less.join("databases")).unwrap();
    let first = made.run(&["list", "vault", "--json"]).ok().json()["backups"][0]["backupId"].clone();
    made.writing(&["backup", "less.db", "--to", "vault"]).ok();
    made.writing(&["delete", first.as_str().unwrap(), "--vault", "vault"]).ok();
    let before = largest_pack(&made.path().join("vault"));
    let prune =
        ["prune", "--vault", "vault", "--fence", "0s", "--minimum-age", "0s", "--compact-below", "100", "--json"];
    let mut actions = Vec::new();
    for _ in 0..3 {
        let plan = made.writing(&prune).ok().json();
        let objects = plan["vaults"][0]["objects"].as_array().unwrap().clone();
        actions.extend(objects.iter().map(|one| one["action"].as_str().unwrap().to_owned()));
    }
    assert!(actions.iter().any(|action| action == "compact"), "{actions:?}");
    assert!(!before.exists(), "the pack that was rewritten is still there: {actions:?}");
    made.writing(&["verify", "vault", "--level", "stored"]).ok();
    made.reading(&["verify", "vault", "--level", "parsed"]).ok();
    made.reading(&["restore", "vault", "--to", "restored.db"]).ok();
}

#[test]
fn the_recovery_key_alone_restores_exports_and_verifies_on_a_machine_with_no_other_state() {
    let made = Encrypted::default();
    let backup = made.back_up();
    // All that reaches the other machine: the store and the line that was printed.
    let elsewhere = tempfile::tempdir().unwrap();
    copy_tree(&made.path().join("vault"), &elsewhere.path().join("vault"));
    private_file(&elsewhere.path().join("printed.key"), &made.recovery);
    drop(made);
    let run = |arguments: &[&str]| {
        longshore_in(elsewhere.path(), arguments.iter().chain(&["--reader-key", "printed.key", "--json"]))
    };
    std::fs::create_dir(elsewhere.path().join("scratch")).unwrap();
    for more in [&["--level", "parsed"][..], &["--level", "opened", "--scratch", "scratch"]] {
        let verified = run(&[&["verify", "vault"], more].concat()).ok().json();
        assert_eq!(verified["whole"], true, "{verified}");
        assert_eq!(verified["collections"].as_array().unwrap().len(), backup["collections"].as_array().unwrap().len());
    }
    assert!(files(&elsewhere.path().join("scratch")).is_empty());
    run(&["restore", "vault", "--to", "restored.db"]).ok();
    run(&["export", "latest", "--vault", "vault", "--to", "out"]).ok();
    for made in ["restored.db", "out/milvus-lite.db"] {
        let made = elsewhere.path().join(made);
        let data = files(&made);
        let parquet = data.iter().filter(|file| file.extension().is_some_and(|end| end == "parquet"));
        let compared = parquet.map(|file| {
            assert_eq!(std::fs::read(made.join(file)).unwrap(), std::fs::read(sample_cluster().join(file)).unwrap());
        });
        assert!(compared.count() >= 4, "{data:?}");
    }
    if let Some(python) = python_for_a_part() {
        let original = elsewhere.path().join("sample.db");
        copy_tree(&sample_cluster(), &original);
        let restored = elsewhere.path().join("restored.db");
        let ran = judge(&python, ["compare".as_ref(), original.as_os_str(), restored.as_os_str()]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    // With the vault alone the writer key is there again, and a host can back up.
    run(&["key", "writer", "--vault", "vault", "--to", "again.key"]).ok();
    let sample = sample_cluster();
    let again = ["backup", sample.to_str().unwrap(), "--to", "vault", "--writer-key", "again.key", "--json"];
    assert_eq!(longshore_in(elsewhere.path(), again).ok().json()["storedBytes"], 0);
}

#[test]
fn what_needs_a_reader_key_says_so_and_writes_nothing() {
    let made = Encrypted::default();
    made.back_up();
    std::fs::create_dir(made.path().join("scratch")).unwrap();
    let before = content(&made.path().join("vault"));
    let other = Encrypted::default();
    other.back_up();
    let theirs = |file: &str| other.path().join(file).to_str().unwrap().to_owned();
    let (their_reader, their_writer) = (theirs("recovery.key"), theirs("writer.key"));
    let listed = other.writing(&["key", "recipient", "list", "--vault", "vault", "--json"]).ok().json();
    let recipient = listed["vaults"][0]["recipients"][0]["recipient"].as_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["restore", "vault", "--to", "made/restored.db"],
        &["export", "latest", "--vault", "vault", "--to", "made"],
        &["verify", "vault"],
        &["verify", "vault", "--level", "parsed"],
        &["verify", "vault", "--level", "opened", "--scratch", "scratch"],
        &["erase", "medium_articles", "--vault", "vault", "--reason", "a request"],
        &["key", "recipient", "add", recipient, "--vault", "vault"],
        &["show", "vault"],
    ];
    for command in commands {
        made.writing(command).refused(1, "reader key");
        let wrong = [command, &["--reader-key", &their_reader]].concat();
        made.run(&wrong).refused(1, "is not one of the vault");
    }
    let writing: [&[&str]; 6] = [
        &["list", "vault"],
        &["prune", "--vault", "vault"],
        &["verify", "vault", "--level", "stored"],
        &["heal", "--all", "--vault", "vault", "--from", "vault"],
        &["retention", "--vault", "vault", "--keep-last", "1", "--apply"],
        &["space", "--vault", "vault"],
    ];
    for command in writing {
        made.run(&[command, &["--writer-key", &their_writer]].concat())
            .refused(1, "the writer key that was given is not");
    }
    let sample = sample_cluster();
    let backup = ["backup", sample.to_str().unwrap(), "--to", "vault", "--writer-key", &their_writer];
    made.run(&backup).refused(1, "the writer key that was given is not");
    // A key file that is no key at all, and one that is not there.
    private_file(&made.path().join("noise.key"), "hello");
    made.run(&["list", "vault", "--writer-key", "noise.key"]).refused(1, "LONGSHORE-WRITER-KEY-1");
    made.run(&["list", "vault", "--writer-key", "nowhere.key"]).refused(1, "nowhere.key");
    set_mode(&made.path().join("noise.key"), 0o644);
    made.run(&["list", "vault", "--reader-key", "noise.key"]).refused(1, "chmod 600");
    assert!(!made.path().join("made").exists());
    assert!(files(&made.path().join("scratch")).is_empty());
    assert_eq!(content(&made.path().join("vault")), before, "something was written");
}

#[test]
fn an_erasure_in_two_encrypted_vaults_is_finished_by_a_prune_without_a_reader_key() {
    let made = with_second_vault();
    let both = ["--vault", "vault", "--vault", "away"];
    let erase = [&["erase", "medium_articles", "--reason", "a request", "--json"][..], &both].concat();
    let done = made.reading(&erase).ok().json();
    assert_eq!(done["outcome"]["backups"].as_array().unwrap().len(), 2, "{done}");
    let prune = [&["prune", "--fence", "0s", "--minimum-age", "0s"][..], &both].concat();
    for _ in 0..3 {
        made.writing(&prune).ok();
    }
    for vault in ["vault", "away"] {
        let record = files(&made.path().join(vault).join("erasures")).remove(0);
        let record = std::fs::read_to_string(made.path().join(vault).join("erasures").join(record)).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        assert!(record["completed"].is_string(), "{record}");
        made.reading(&["verify", vault, "--level", "parsed"]).ok();
    }
    assert!(!made.reading(&["show", "away"]).ok().stdout.contains("medium_articles"));
}

const READER: &str = "reader_key_file = \"recovery.key\"";

/// A host over encrypted vaults; it begins with the writer key alone.
fn encrypted_host(more: &str) -> (HostPlace, impl Fn(&str) -> String) {
    let folder = Encrypted::new(&["--region", "local-eu", "--project", "proj-test"]).folder;
    copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
    let policy = residency("{ second_region = true }");
    let more = more.to_owned();
    let with = move |reader: &str| format!("{more}\n{policy}\n[keys]\nwriter_key_file = \"writer.key\"\n{reader}");
    (HostPlace::inside(folder, ", encryption = \"age-1\"", &with("")), with)
}

/// Makes a backup and its copies. Answers its path.
async fn back_up(client: &Client) -> String {
    let create = "/v2/clusters/in01-test/backups/create";
    let made = client.data("POST", create, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    assert_eq!(client.ended(made["jobId"].as_str().unwrap()).await["status"], "SUCCESSFUL");
    for job in client.data("GET", "/v2/jobs?pageSize=100", None).await["jobs"].as_array().unwrap() {
        let ended = client.ended(job["jobId"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "SUCCESSFUL", "{ended}");
    }
    format!("/v2/clusters/in01-test/backups/{}", made["backupId"].as_str().unwrap())
}

#[tokio::test]
async fn a_catalog_of_encrypted_vaults_is_rebuilt_with_a_reader_key() {
    let (host, with) = encrypted_host("[catalog_snapshots]\nregions = []\n");
    let (server, client) = host.start();
    let path = back_up(&client).await;
    let describe = async |client: &Client| {
        let mut described = client.data("GET", &path, None).await;
        // Which job made a copy goes with the jobs; where copies are, `regions` says.
        described.as_object_mut().unwrap().remove("crossRegionCopies");
        described
    };
    let before = describe(&client).await;
    server.stop();
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(host.path().join("data").join(name));
    }
    // Names of clusters and collections are sealed.
    let locked = host.rebuild(&[]);
    locked.refused(3, "reader key");
    assert_eq!(locked.json()["backups"], json!([]), "a row without names was made");
    host.write(&with(READER));
    let report = host.rebuild(&[]).ok().json();
    assert_eq!(report["clusters"][0]["clusterName"], "Dedicated-01", "{report}");
    let (server, client) = host.start();
    assert_eq!(describe(&client).await, before);
    server.stop();
}

#[tokio::test]
async fn a_part_is_made_again_from_copies_with_a_reader_key_only() {
    let (host, _) = encrypted_host("");
    let (server, client) = host.start();
    back_up(&client).await;
    server.stop();
    std::fs::remove_dir_all(host.path().join("vault-eu-2/parts")).unwrap();
    let arguments = ["heal", "--all", "--vault", "vault-eu-2", "--from", "vault", "--from", "vault-us", "--json"];
    let heal = |key: [&str; 2]| longshore_in(host.path(), arguments.iter().chain(&key));
    let locked = heal(["--writer-key", "writer.key"]);
    locked.refused(3, "takes a reader key");
    assert!(!host.path().join("vault-eu-2/parts").exists(), "{locked:?}");
    assert_eq!(heal(["--reader-key", "recovery.key"]).ok().json()["whole"], true);
    let restore =
        ["restore", "vault-eu-2", "--vault", "vault-us", "--to", "restored.db", "--reader-key", "recovery.key"];
    longshore_in(host.path(), restore).ok();
}

#[tokio::test]
async fn a_running_host_without_a_reader_key_lists_no_collection_that_was_erased() {
    erase_beside(&encrypted_host("").0, &["--reader-key", "recovery.key"]).await;
}

#[tokio::test]
async fn a_running_host_of_vaults_in_the_open_lists_no_collection_that_was_erased() {
    erase_beside(&HostPlace::new(&residency("{ second_region = true }")), &[]).await;
}

/// Erases a collection from the backups of a running host, and sees that its catalog follows.
async fn erase_beside(host: &HostPlace, keys: &[&str]) {
    let text = std::fs::read_to_string(&host.config).unwrap();
    std::fs::write(&host.config, text.replace("heartbeat_ms = 20", "heartbeat_ms = 20\nerasure_look_ms = 20")).unwrap();
    let (server, client) = host.start();
    let paths = [back_up(&client).await, back_up(&client).await];
    let before = client.data("GET", &paths[0], None).await;
    let erase = ["erase", "medium_articles", "--reason", "a request"];
    let vaults = ["--vault", "vault", "--vault", "vault-us", "--vault", "vault-eu-2"];
    longshore_in(host.path(), erase.iter().chain(&vaults).chain(keys)).ok();
    for path in &paths {
        let mut after = Value::Null;
        for _ in 0..3_000 {
            after = client.data("GET", path, None).await;
            if !after.to_string().contains("medium_articles") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let count = |backup: &Value| backup["collections"].as_array().unwrap().len();
        assert_eq!(count(&after), count(&before) - 1, "{after}");
        let size = |backup: &Value| backup["size"].as_u64().unwrap();
        assert!(size(&after) < size(&before), "{after}");
    }
    server.stop();
}
