//! What is done with backups and clusters that are there: verify, export, rename, drop, the audit log, events of jobs.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::StreamExt as _;
use longshore_catalog::{Catalog as _, NewJob};
use longshore_engine::Role;
use longshore_model::{JobType, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::place::{CLUSTER, CREATE, Place, Start};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;

fn path_of(backup: &str) -> String {
    format!("/v2/clusters/{CLUSTER}/backups/{backup}")
}

/// Starts a job with a call and waits for its end.
async fn job(place: &Place, path: &str, body: &str) -> Value {
    let answer = place.send("POST", path, body).await;
    place.ended(answer.data()["jobId"].as_str().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_renamed() {
    let place = Place::start().await;
    let backup = place.backup(CLUSTER_BODY).await;
    let path = format!("{}/rename", path_of(&backup));
    let renamed = place.send("POST", &path, r#"{"backupName":"before the upgrade"}"#).await;
    assert_eq!(renamed.data(), &json!({ "backupId": backup, "backupName": "before the upgrade" }));
    let listed = place.send("GET", "/v2/backups", "").await;
    assert_eq!(listed.data()["backups"][0]["backupName"], "before the upgrade");
    let long = "x".repeat(129);
    for name in ["", " a", "a/b", "a\u{202e}b", "Größe", long.as_str()] {
        let body = json!({ "backupName": name }).to_string();
        assert_eq!(place.send("POST", &path, &body).await.refusal(), (400, 97002), "{name}");
    }
    let other = "/v2/clusters/in01-test/backups/backup0_ab/rename";
    assert_eq!(place.send("POST", other, r#"{"backupName":"a"}"#).await.refusal(), (404, 97003));
    let listed = place.send("GET", "/v2/backups", "").await;
    assert_eq!(listed.data()["backups"][0]["backupName"], "before the upgrade");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_succeeds_and_after_damage_fails_and_says_what_is_damaged() {
    let place = Place::start().await;
    let backup = place.backup(CLUSTER_BODY).await;
    let path = format!("{}/verify", path_of(&backup));
    for body in ["{}", r#"{"level":"parsed"}"#, r#"{"level":"stored","samplePercent":50}"#] {
        let job = job(&place, &path, body).await;
        assert_eq!((&job["status"], &job["type"]), (&json!("SUCCESSFUL"), &json!("VERIFY")), "{job}");
        assert_eq!(job["result"]["whole"], true, "{job}");
    }
    for body in [r#"{"level":"opened"}"#, r#"{"level":"deep"}"#, r#"{"samplePercent":0}"#, r#"{"samplePercent":101}"#] {
        assert_eq!(place.send("POST", &path, body).await.refusal(), (400, 97002), "{body}");
    }
    let pack = largest_file(&place.path("vault-eu"));
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    // The file itself may not be written to.
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let job = job(&place, &path, "{}").await;
    assert_eq!(job["status"], "FAILED", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains("damaged") && reason.contains("damaged files ("), "{job}");
    // What was checked and what was found stays in the record, collection by collection.
    let result = &job["result"];
    assert_eq!((&result["whole"], &result["backupId"]), (&json!(false), &json!(backup)), "{job}");
    let collections = result["collections"].as_array().unwrap();
    let hit =
        |one: &&Value| one["damagedFiles"].as_u64().unwrap() > 0 && !one["damages"].as_array().unwrap().is_empty();
    let (hit, sound): (Vec<&Value>, Vec<&Value>) = collections.iter().partition(hit);
    assert!(!hit.is_empty() && sound.iter().all(|one| one["checkedBlobs"] == one["blobs"]), "{job}");
    let key = pack.strip_prefix(place.path("vault-eu")).unwrap().display().to_string();
    assert!(result["damagedObjects"].as_array().unwrap().iter().any(|one| one["object"] == key), "{job}");
    place.host.shutdown().await;
}

/// The packs that the progress of a verification names as good; none while there is no progress.
fn good_packs(place: &Place, job: &str) -> usize {
    let read = std::fs::read(place.path(&format!("data/verifications/{job}.json"))).unwrap_or_default();
    let state: Value = serde_json::from_slice(&read).unwrap_or_default();
    state["good"]
        .as_object()
        .into_iter()
        .flat_map(|vaults| vaults.values())
        .map(|good| good.as_array().unwrap().len())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_goes_on_after_a_restart_with_what_was_not_read() {
    let place = Place::start().await;
    // Two packs: one for a small collection, one for all others.
    let small = r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":["recent_searches"]}]}"#;
    place.backup(small).await;
    let backup = place.backup(CLUSTER_BODY).await;
    // So slow that it cannot end.
    let slow = || Start { more: "[limits]\nbandwidth_bytes_per_second = 262144\n".to_owned(), ..Start::default() };
    let place = place.restart(slow()).await;
    let started = place.send("POST", &format!("{}/verify", path_of(&backup)), "{}").await;
    let id = started.data()["jobId"].as_str().unwrap().to_owned();
    loop {
        // Asked before the file is looked at: a pack that is counted here was written down there before.
        let job = place.send("GET", &format!("/v2/jobs/{id}"), "").await.data().clone();
        if good_packs(&place, &id) > 0 {
            break;
        }
        assert_eq!(
            job["doneBytes"], 0,
            "a pack was read, and the progress of the verification does not name it: {job}"
        );
        let running = ["PENDING", "IN_PROGRESS"].contains(&job["status"].as_str().unwrap());
        assert!(running, "it ended before a pack was read: {job}");
        tokio::task::yield_now().await;
    }
    place.host.shutdown().await;
    let (read, left) = (good_packs(&place, &id), place.path("data/verifications/job-ended.json"));
    std::fs::write(&left, "{}").unwrap();
    let place = place.restart(Start::default()).await;
    let job = place.ended(&id).await;
    assert_eq!((&job["status"], &job["result"]["whole"]), (&json!("SUCCESSFUL"), &json!(true)), "{job}");
    let packs = job["result"]["packs"].as_u64().unwrap();
    assert!(packs > 1 && read > 0, "{job}");
    assert_eq!(job["result"]["packsRead"].as_u64().unwrap() + read as u64, packs, "{job}");
    let all_checked = |one: &Value| one["checkedBlobs"] == one["blobs"];
    assert!(job["result"]["collections"].as_array().unwrap().iter().all(all_checked), "{job}");
    // Progress goes with its job, after the end of that is on record; what a host left that died before is removed at the next
    // start.
    place.host.shutdown().await;
    assert_eq!(std::fs::read_dir(place.path("data/verifications")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_receipt_is_gone_is_missed_by_the_host_that_made_it() {
    let place = Place::start().await;
    let backup = place.backup(r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-us"}]}"#).await;
    let copies = place.send("GET", "/v2/jobs?type=COPY", "").await;
    place.ended(copies.data()["jobs"][0]["jobId"].as_str().unwrap()).await;
    let path = format!("{}/verify", path_of(&backup));
    let sound = job(&place, &path, r#"{"level":"exists"}"#).await;
    assert_eq!(sound["status"], "SUCCESSFUL", "{sound}");
    std::fs::remove_dir_all(place.path("vault-us/receipts")).unwrap();
    let missed = job(&place, &path, r#"{"level":"exists"}"#).await;
    assert_eq!((&missed["status"], &missed["result"]["whole"]), (&json!("FAILED"), &json!(true)), "{missed}");
    let objects = missed["result"]["damagedObjects"].as_array().unwrap();
    let object = format!("receipts/{backup}");
    assert!(objects.len() == 1 && objects[0]["object"] == object && objects[0]["region"] == "local-us", "{missed}");
    place.host.shutdown().await;
}

fn largest_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut largest = (0, std::path::PathBuf::new());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                largest = largest.max((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    largest.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_exported_below_a_configured_folder_and_nowhere_else() {
    let place = Place::start().await;
    let backup = place.backup(CLUSTER_BODY).await;
    let path = format!("{}/export", path_of(&backup));
    let mut folders = std::collections::BTreeSet::new();
    for body in [r#"{"integrationId":"integ-1"}"#, r#"{"integrationId":"integ-1","directory":"2026/march"}"#] {
        let job = job(&place, &path, body).await;
        assert_eq!((&job["status"], &job["type"]), (&json!("SUCCESSFUL"), &json!("EXPORT")), "{job}");
        let folder = std::path::PathBuf::from(job["result"]["folder"].as_str().unwrap());
        assert!(folder.join("milvus-lite.db").is_dir() && folder.join("longshore-export.json").is_file(), "{folder:?}");
        assert!(folder.starts_with(place.path("exports")));
        assert!(folders.insert(folder));
    }
    for (body, expected) in [
        ("{}", (400, 97002)),
        (r#"{"integrationId":"integ-2"}"#, (400, 97002)),
        (r#"{"integrationId":"integ-1","directory":"../elsewhere"}"#, (400, 97002)),
        (r#"{"integrationId":"integ-1","directory":"/tmp"}"#, (400, 97002)),
        (r#"{"integrationId":"integ-1","directory":"a/../../b"}"#, (400, 97002)),
    ] {
        assert_eq!(place.send("POST", &path, body).await.refusal(), expected, "{body}");
    }
    place.host.shutdown().await;
}

/// Names and lengths of all files below a folder.
fn tree(folder: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata().unwrap().len()));
            }
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_cluster_deletes_its_automatic_backups_and_leaves_manual_ones_and_the_database() {
    let place = Place::start().await;
    let manual = place.backup(CLUSTER_BODY).await;
    let policy = "/v2/clusters/in01-test/backups/policy";
    place.send("POST", policy, r#"{"enabled":true}"#).await.data();
    let automatic = place.send("GET", "/v2/backups?creationMethod=AUTO", "").await.data()["backups"][0].clone();
    let jobs = place.send("GET", "/v2/jobs?type=BACKUP", "").await.data()["jobs"].clone();
    for job in jobs.as_array().unwrap() {
        place.ended(job["jobId"].as_str().unwrap()).await;
    }
    let before = tree(&place.path("cluster"));
    let drop = "/v2/clusters/in01-test/drop";
    let manager = place.key("manager", Role::BackupManage);
    assert_eq!(place.send_as(&manager, "DELETE", drop, "{}").await.refusal(), (403, 96027));
    assert_eq!(place.send("DELETE", "/v2/clusters/in01-other/drop", "{}").await.refusal(), (404, 96018));
    let admin = place.key("admin", Role::ProjectAdmin);
    let dropped = place.send_as(&admin, "DELETE", drop, "{}").await;
    assert_eq!((&dropped.data()["clusterId"], &dropped.data()["deletedBackups"]), (&json!(CLUSTER), &json!(1)));

    let listed = place.send("GET", "/v2/backups", "").await;
    assert_eq!((&listed.data()["count"], &listed.data()["backups"][0]["backupId"]), (&json!(1), &json!(manual)));
    let gone = place.send("GET", &path_of(automatic["backupId"].as_str().unwrap()), "").await;
    assert_eq!(gone.data()["status"], "DELETED");
    for (method, path, body) in [
        ("GET", "/v2/clusters/in01-test", ""),
        ("DELETE", drop, "{}"),
        ("POST", CREATE, CLUSTER_BODY),
        ("GET", policy, ""),
        ("POST", policy, r#"{"enabled":true}"#),
    ] {
        assert_eq!(place.send(method, path, body).await.refusal(), (404, 96018), "{method} {path}");
    }
    assert_eq!(tree(&place.path("cluster")), before, "the database is not touched");
    let body = r#"{"projectId":"proj-test","clusterName":"New-1","cuSize":1,"collectionStatus":"KEEP"}"#;
    let restored = job(&place, &format!("{}/restoreCluster", path_of(&manual)), body).await;
    assert_eq!(restored["status"], "SUCCESSFUL", "{restored}");
    // A reload reads the configuration, which still names it.
    place.send("POST", "/v2/reload", "{}").await.data();
    assert_eq!(place.send("GET", "/v2/clusters/in01-test", "").await.refusal(), (404, 96018));

    assert_eq!(place.send_as(&manager, "GET", "/v2/auditLogs", "").await.refusal(), (403, 96027));
    let log = place.send_as(&admin, "GET", "/v2/auditLogs?pageSize=100", "").await;
    let entries = log.data()["auditLogs"].as_array().unwrap();
    let said = |actor: &str, action: &str, outcome: &str| {
        entries.iter().any(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            text("actor").starts_with(actor) && text("action") == action && text("outcome").contains(outcome)
        })
    };
    assert!(said("manager", "cluster.drop", "may not"), "{log:?}");
    assert!(said("admin", "cluster.drop", "ok"), "{log:?}");
    assert!(said("expiry, cluster in01-test was dropped", "backup.delete", "ok"), "{log:?}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_by_events_until_it_has_ended() {
    let place = Place::start().await;
    let created = place.send("POST", CREATE, CLUSTER_BODY).await;
    let path = format!("/v2/jobs/{}/events", created.data()["jobId"].as_str().unwrap());
    let request = Request::get(&path).header("Authorization", format!("Bearer {}", place.owner));
    let response = place.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    // The stream ends by itself, or reading it would go on for ever.
    let bytes = to_bytes(response.into_body(), 10_000_000).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(text.matches("event: job\n").count(), events.len());
    let last = events.last().unwrap();
    assert_eq!((&last["status"], &last["progress"]), (&json!("SUCCESSFUL"), &json!("100")), "{text}");
    let described = place.send("GET", path.trim_end_matches("/events"), "").await;
    assert_eq!(last, described.data());
    assert!(events.windows(2).all(|pair| pair[0] != pair[1]), "an event tells of a change");
    let unknown = place.send("GET", "/v2/jobs/job-1/events", "").await;
    assert_eq!(unknown.refusal(), (404, 96026));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_catalog_is_written_when_something_has_changed_and_only_then() {
    let place = Place::start().await;
    place.backup(CLUSTER_BODY).await;
    // Nobody else writes into the catalog from here on, nor snapshots of it.
    place.host.shutdown().await;
    place.host.snapshot_catalog().await.unwrap();
    let kept = || std::fs::read_dir(place.path("vault-eu/catalogs")).unwrap().count();
    let before = kept();
    assert!(place.host.snapshot_catalog().await.unwrap().is_empty() && kept() == before, "nothing has changed");
    place.key("another", Role::BackupView);
    assert_eq!(place.host.snapshot_catalog().await.unwrap(), ["local-eu".parse().unwrap()]);
    assert_eq!(kept(), before + 1);
    // One that is gone from its vault is written again, although nothing has changed.
    for file in std::fs::read_dir(place.path("vault-eu/catalogs")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert_eq!(place.host.snapshot_catalog().await.unwrap(), ["local-eu".parse().unwrap()]);
    assert_eq!(kept(), 1);
    assert!(!place.path("vault-us/catalogs").exists(), "the first region's alone, unless the configuration says more");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_with_the_key_that_asked_for_them() {
    let place = Place::start().await;
    // Nobody works on the job, so nothing but the key can end the events.
    place.host.shutdown().await;
    let job = NewJob {
        id: "job-waiting".parse().unwrap(),
        job_type: JobType::Verify,
        project: "proj-test".parse().unwrap(),
        cluster: Some(CLUSTER.parse().unwrap()),
        backup: None,
        request: Value::Null,
    };
    place.catalog().create_job(&job, Timestamp::from_millis(1)).unwrap();
    let (row, key) = place.key_with_row("follower", Role::ProjectAdmin);
    let request = Request::get("/v2/jobs/job-waiting/events").header("Authorization", format!("Bearer {key}"));
    let response = place.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut events = response.into_body().into_data_stream();
    let first = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("PENDING"), "{first}");
    place.catalog().revoke_key(&row.id, Timestamp::from_millis(1)).unwrap();
    // Events that went on would do so for ever, with a sign of life now and then.
    let rest = async {
        while let Some(event) = events.next().await {
            let event = String::from_utf8(event.unwrap().to_vec()).unwrap();
            assert!(!event.contains("data:"), "nothing changed but the key: {event}");
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), rest).await.expect("the events end");
}
