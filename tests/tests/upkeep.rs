//! Looking after vaults and the catalog with the command line, as a user does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_tests::{
    Client, HostPlace, copy_tree, judge, longshore_in, python_for_a_part, residency, sample_cluster,
};
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

#[test]
fn an_export_is_a_database_and_a_note_that_says_what_it_is() {
    let folder = place();
    let place = folder.path();
    let id = back_up(place, &[]);
    let made = longshore_in(place, ["export", &id, "--vault", "vault", "--to", "out", "--json"]).ok().json();
    let note: Value = serde_json::from_str(&std::fs::read_to_string(place.join("out/longshore-export.json")).unwrap())
        .expect("the note is JSON");
    assert_eq!((&note["backupId"], &note["data"]), (&id.as_str().into(), &"milvus-lite.db".into()));
    assert_eq!(note["collections"], made["collections"]);
    let files = note["files"].as_array().unwrap();
    assert_eq!(files.len() as u64, made["files"].as_u64().unwrap());
    for file in files {
        let bytes = std::fs::read(place.join("out").join(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(file["blake3"], longshore_vault::digest_of(&bytes).to_string().as_str(), "{file}");
    }
    let names: Vec<_> = std::fs::read_dir(place).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("longshore-export")), "left behind: {names:?}");
    if let Some(python) = python_for_a_part() {
        let (original, export) = (place.join("sample.db"), place.join("out/milvus-lite.db"));
        let ran = judge(&python, ["compare".as_ref(), original.as_os_str(), export.as_os_str()]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    // A second one to the same place is refused and changes nothing.
    let again = longshore_in(place, ["export", "latest", "--vault", "vault", "--to", "out"]);
    assert!(again.code == 1 && again.stderr.contains("is there already"), "{again:?}");
    assert!(place.join("out/longshore-export.json").exists());
    let one = ["export", "latest", "--vault", "vault", "--to", "one", "--collections", "medium_articles", "--json"];
    let one = longshore_in(place, one).ok().json();
    assert_eq!(one["collections"].as_array().unwrap().len(), 1);
    let none = ["export", "latest", "--vault", "vault", "--to", "none", "--collections", "nowhere"];
    assert!(longshore_in(place, none).stderr.contains("no such collection"));
    assert!(!place.join("none").exists());
}

#[test]
fn an_export_that_was_killed_is_taken_over_by_the_next_one() {
    let folder = place();
    let place = folder.path();
    back_up(place, &[]);
    let left = place.join(".out.longshore-export");
    std::fs::create_dir_all(left.join("milvus-lite.db/collections")).unwrap();
    std::fs::write(left.join("milvus-lite.db/collections/half"), "half").unwrap();
    std::fs::write(left.join("longshore-export.json"), "{").unwrap();
    std::fs::write(left.join("something"), "else").unwrap();
    longshore_in(place, ["export", "latest", "--vault", "vault", "--to", "out"]).ok();
    assert!(!place.join("out/something").exists() && !place.join("out/milvus-lite.db/collections/half").exists());
    assert!(!left.exists());
}

/// A host with a policy that spreads the sample over two regions and copies it into a third.
fn service() -> HostPlace {
    // What snapshots of the catalog add is `catalog_snapshots.rs`.
    HostPlace::new(&format!("{}[catalog_snapshots]\nregions = []\n", residency("{ second_region = true }")))
}

/// Makes a backup and waits for it and for the copies that follow.
async fn make(client: &Client, body: &str) -> String {
    let made = client.data("POST", "/v2/clusters/in01-test/backups/create", Some(body)).await;
    client.ended(made["jobId"].as_str().unwrap()).await;
    let jobs = client.data("GET", "/v2/jobs?pageSize=100", None).await;
    for job in jobs["jobs"].as_array().unwrap() {
        let ended = client.ended(job["jobId"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "SUCCESSFUL", "{ended}");
    }
    made["backupId"].as_str().unwrap().to_owned()
}

/// Everything REST says about clusters and backups.
async fn everything(client: &Client) -> Vec<Value> {
    let listed = client.data("GET", "/v2/backups?pageSize=100", None).await;
    let mut all = vec![listed.clone()];
    for backup in listed["backups"].as_array().unwrap() {
        let path = format!(
            "/v2/clusters/{}/backups/{}",
            backup["clusterId"].as_str().unwrap(),
            backup["backupId"].as_str().unwrap()
        );
        let mut described = client.data("GET", &path, None).await;
        // Which job made a copy goes with the jobs; where copies are, `regions` says.
        described.as_object_mut().unwrap().remove("crossRegionCopies");
        all.push(described);
    }
    let mut clusters = client.data("GET", "/v2/clusters?pageSize=100", None).await;
    for cluster in clusters["clusters"].as_array_mut().unwrap() {
        // When a cluster was registered stood in the catalog only.
        cluster.as_object_mut().unwrap().remove("createTime");
    }
    all.push(clusters);
    all
}

#[tokio::test]
async fn a_catalog_that_is_lost_is_rebuilt_from_the_vaults() {
    let service = service();
    let place = service.path();
    let (server, client) = service.start();
    let first = make(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let collection = r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":["medium_articles"]}]}"#;
    make(&client, collection).await;
    let deleted = make(&client, r#"{"backupType":"CLUSTER"}"#).await;
    client.data("DELETE", &format!("/v2/clusters/in01-test/backups/{deleted}"), None).await;
    let before = everything(&client).await;
    assert!(before.iter().any(|answer| answer.to_string().contains("local-eu-2")), "there are copies: {before:?}");
    let refused = service.rebuild(&[]);
    assert!(refused.code == 1 && refused.stdout.contains("another longshore"), "{refused:?}");
    server.stop();

    // Nothing is lost, so nothing is done.
    let report = service.rebuild(&[]).ok().json();
    assert_eq!((report["backups"].as_array().unwrap().len(), &report["knownBackups"]), (0, &2.into()), "{report}");

    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(place.join("data").join(name));
    }
    let plan = service.rebuild(&["--dry-run"]).ok().json();
    assert_eq!(plan["backups"].as_array().unwrap().len(), 2, "{plan}");
    assert!(!place.join("data/catalog.sqlite").exists(), "a dry run wrote a catalog");
    let report = service.rebuild(&[]).ok().json();
    assert_eq!(report["backups"], plan["backups"]);
    assert_eq!(report["clusters"][0]["clusterName"], "Dedicated-01");
    let again = service.rebuild(&[]).ok().json();
    assert_eq!((again["backups"].as_array().unwrap().len(), &again["knownBackups"]), (0, &2.into()), "{again}");

    let (server, client) = service.start();
    assert_eq!(everything(&client).await, before);
    assert_eq!(client.data("GET", "/v2/jobs", None).await["count"], 0);
    let body = r#"{"projectId":"proj-test","clusterName":"Restored","cuSize":1,"collectionStatus":"KEEP"}"#;
    let path = format!("/v2/clusters/in01-test/backups/{first}/restoreCluster");
    let restoring = client.data("POST", &path, Some(body)).await;
    let job = client.ended(restoring["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    // The name of the next backup is not one of those that are there.
    let next = make(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let next = client.data("GET", &format!("/v2/clusters/in01-test/backups/{next}"), None).await;
    assert_eq!(next["backupName"], "Dedicated-01_backup3", "{next}");
    server.stop();
}

#[tokio::test]
async fn a_rebuild_reports_what_it_cannot_know_and_rules_apply_to_what_it_found() {
    let service = service();
    let place = service.path();
    let (server, client) = service.start();
    let kept = make(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let lost = make(&client, r#"{"backupType":"CLUSTER"}"#).await;
    server.stop();
    for folder in ["vault/roots", "vault-us/receipts", "vault-eu-2/receipts"] {
        let _ = std::fs::remove_dir_all(place.join(folder).join(&lost));
    }
    // Backups that the command line made beside the host, of a cluster that is not configured.
    let old = back_up(place, &["--automatic"]);
    let new = back_up(place, &["--automatic"]);
    let ran = service.rebuild(&[]);
    let report = ran.json();
    assert_eq!(ran.code, 3, "{report}");
    assert_eq!(report["missingInVaults"], serde_json::json!([lost]), "{report}");
    assert_eq!(report["knownBackups"], 1, "{report}");
    assert_eq!(report["clusters"][0]["location"], Value::Null, "{report}");
    let ids: Vec<&str> =
        report["backups"].as_array().unwrap().iter().map(|one| one["backupId"].as_str().unwrap()).collect();
    assert_eq!(ids, [old.as_str(), new.as_str()], "{report}");

    let text = std::fs::read_to_string(&service.config).unwrap();
    std::fs::write(&service.config, format!("{text}\n[retention]\nkeep_last = 1\n")).unwrap();
    let (server, client) = service.start();
    let mut ids = Vec::new();
    // Rules are applied beside everything else when a host starts.
    for _ in 0..3_000 {
        let listed = client.data("GET", "/v2/backups?pageSize=100", None).await;
        let backups = listed["backups"].as_array().unwrap().clone();
        ids = backups.iter().map(|one| one["backupId"].as_str().unwrap().to_owned()).collect();
        if !ids.contains(&old) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!ids.contains(&old) && ids.contains(&new) && ids.contains(&kept), "{ids:?} {}", server.log());
    server.stop();
    assert!(!listed(place).contains(&old), "the vault still lists it");
}

#[test]
fn an_erased_collection_is_gone_from_every_backup_and_the_others_are_not() {
    let folder = place();
    let place = folder.path();
    let id = back_up(place, &[]);
    back_up(place, &["--collection", "medium_articles"]);
    let arguments = ["erase", "medium_articles", "--vault", "vault", "--reason", "a request", "--by", "tests"];
    let plan = longshore_in(place, arguments.iter().chain(&["--dry-run", "--json"])).ok().json();
    assert_eq!(plan["backups"].as_array().unwrap().len(), 2, "{plan}");
    assert!(!place.join("vault/erasures").exists(), "a dry run wrote a record");
    let done = longshore_in(place, arguments.iter().chain(&["--json"])).ok().json();
    assert_eq!(done["outcome"]["backups"].as_array().unwrap().len(), 2, "{done}");
    let names = |ran: &Value| -> Vec<String> {
        let collections = ran["collections"].as_array().unwrap();
        collections.iter().map(|one| one["collection"].as_str().unwrap().to_owned()).collect()
    };
    let shown = longshore_in(place, ["show", "vault", &id, "--json"]).ok().json();
    assert_eq!(names(&shown).len(), 4, "{shown}");
    assert!(!shown.to_string().contains("medium_articles"), "{shown}");
    assert_eq!(longshore_in(place, ["verify", "vault", &id, "--json"]).ok().json()["whole"], true);
    longshore_in(place, ["restore", "vault", &id, "--to", "restored.db"]).ok();
    if let Some(python) = python_for_a_part() {
        let (original, restored) = (place.join("sample.db"), place.join("restored.db"));
        for name in names(&shown) {
            let database = if name.starts_with("postgres") { "handbook" } else { "default" };
            let only = format!("{database}.{name}");
            let arguments = ["compare".as_ref(), original.as_os_str(), restored.as_os_str()];
            let more = ["--only".as_ref(), std::ffi::OsStr::new(&only), "--ignore-aliases".as_ref()];
            let ran = judge(&python, arguments.into_iter().chain(more));
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }
    let typo = ["erase", "medium_article", "--vault", "vault", "--reason", "a request"];
    let refused = longshore_in(place, typo);
    assert!(refused.code == 1 && refused.stderr.contains("nothing was erased"), "{refused:?}");
}

#[test]
fn a_vault_shows_what_is_in_it_also_when_it_is_damaged() {
    let folder = place();
    let place = folder.path();
    let id = back_up(place, &[]);
    let open = |more: &[&str]| longshore_in(place, ["vault", "open", "--vault", "vault"].iter().chain(more));
    let whole = open(&[]).ok().json();
    let header = std::fs::read_to_string(place.join("vault/longshore-vault.json")).unwrap();
    let key: Value = serde_json::from_str(&header).unwrap();
    let key = key["blob_id_key"].as_str().unwrap();
    assert!(!whole.to_string().contains(key), "the id key is shown");
    assert_eq!(whole["content"]["header"]["blob_id_key"], "(not shown)");
    let roots = whole["content"]["roots"].as_object().unwrap();
    let (root, shown) = roots.iter().next().unwrap();
    assert_eq!((&shown["open"]["backup_id"], roots.len()), (&id.as_str().into(), 1));
    let pack = whole["content"]["packs"]["list"][0]["pack"].as_str().unwrap().to_owned();
    let pack = format!("packs/{}/{pack}", &pack[..2]);
    let shown = open(&[&pack]).ok().json();
    assert!(!shown["content"]["blobs"].as_array().unwrap().is_empty(), "{shown}");
    let shown = open(&[root]).ok().json();
    assert!(shown["content"]["sealed"]["decisions"]["records"].is_array(), "one object is shown whole: {shown}");
    assert!(open(&["packs/aa/none"]).stderr.contains("missing"));

    std::fs::write(place.join("vault").join(&pack), "short").unwrap();
    std::fs::write(place.join("vault").join(root), "{\"format\": 1").unwrap();
    std::fs::write(place.join("vault/stranger.txt"), "hello").unwrap();
    std::fs::write(place.join("vault/longshore-vault.json"), header.replacen("proj-", "prox-", 1)).unwrap();
    let ran = open(&[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let damaged = ran.json();
    let problems = damaged["problems"].to_string();
    for object in [pack.as_str(), root.as_str(), "longshore-vault.json"] {
        assert!(problems.contains(object), "{object} in {problems}");
    }
    assert!(damaged["content"]["parts"].as_object().is_some_and(|parts| parts.len() == 1), "{damaged}");
    assert_eq!(damaged["content"]["unknown"][0]["object"], "stranger.txt");
    assert!(!ran.stdout.contains(key) && !ran.stderr.contains(key), "the id key is shown");
}

#[test]
fn an_encrypted_vault_is_erased_from_and_shown_with_a_reader_key_and_names_nothing_in_the_open() {
    let folder = place();
    let place = folder.path();
    let init = ["init", "--vault", "vault", "--encrypt", "--writer-key", "writer.key", "--json"];
    let made = longshore_in(place, init).ok().json();
    std::fs::write(place.join("reader.key"), made["recoveryKey"].as_str().unwrap()).unwrap();
    std::fs::set_permissions(place.join("reader.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let id = back_up(place, &["--writer-key", "writer.key"]);
    let erase = ["erase", "medium_articles", "--vault", "vault", "--reason", "a request"];
    let refused = longshore_in(place, erase.iter().chain(&["--writer-key", "writer.key"]));
    assert!(refused.code == 1 && refused.stderr.contains("reader key"), "{refused:?}");
    let done = longshore_in(place, erase.iter().chain(&["--reader-key", "reader.key", "--json"])).ok().json();
    assert_eq!(done["outcome"]["backups"], serde_json::json!([id]), "{done}");
    let shown = longshore_in(place, ["show", "vault", &id, "--reader-key", "reader.key", "--json"]).ok().json();
    assert_eq!(shown["collections"].as_array().unwrap().len(), 4, "{shown}");
    assert!(!shown.to_string().contains("medium_articles"), "{shown}");
    longshore_in(place, ["restore", "vault", &id, "--to", "restored.db", "--reader-key", "reader.key"]).ok();

    let open = |more: &[&str]| longshore_in(place, ["vault", "open", "--vault", "vault"].iter().chain(more)).ok();
    let locked = open(&[]).stdout;
    assert!(!locked.contains("medium_articles") && !locked.contains("python_manual"), "{locked}");
    let readable = open(&["--reader-key", "reader.key"]).stdout;
    assert!(!readable.contains("medium_articles") && readable.contains("python_manual"), "{readable}");
    let record = std::fs::read_dir(place.join("vault/erasures")).unwrap().next().unwrap().unwrap().path();
    let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
    assert!(record["name_id"].is_string() && record.get("collection").is_none(), "{record}");
    assert!(record["rewritten"].is_string(), "{record}");
}
