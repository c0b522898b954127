//! Databases of elsewhere: a place in a volume, and the job that takes what lies there into a cluster.

use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore_catalog::Catalog as _;
use longshore_engine::Role;
use serde_json::{Value, json};

use crate::place::{Place, Start, copy_tree};
use crate::servers::{Asked, Behaviour, files, inventory, start_with};

const NEW: &str = "in01-new";
const START: &str = "/v2/migrations/startByRemote";
const APPLY: &str = "/v2/volumes/apply";
const MORE: &str = r#"
[[cluster]]
id = "in01-new"
name = "New"
region = "local-us"
milvus_lite = "new"
[[volume]]
name = "incoming"
folder = "incoming"
[[volume]]
name = "other"
folder = "incoming-2"
"#;

/// A host with an empty cluster and a volume that holds a database.
async fn place(start: impl FnOnce(&Path) -> Start) -> Place {
    let folder = Place::folder();
    copy_tree(&folder.path().join("cluster"), &folder.path().join("incoming/of-elsewhere"));
    for inside in ["new/collections", "new/databases", "incoming-2"] {
        std::fs::create_dir_all(folder.path().join(inside)).unwrap();
    }
    let start = start(&folder.path().join("data"));
    Place::start_in(folder, Start { more: format!("{MORE}{}", start.more), ..start }).await
}

fn body(volume: &str, path: &str, cluster: &str) -> Value {
    json!({ "source": { "volumeName": volume, "dataPath": path }, "destination": { "clusterId": cluster } })
}

async fn start(place: &Place, body: &Value) -> String {
    place.send("POST", START, &body.to_string()).await.data()["jobId"].as_str().unwrap().to_owned()
}

/// Waits until nothing of migrations is kept: it goes right after the end of the job is written down. Bounded.
async fn nothing_is_kept(place: &Place) {
    let kept = || std::fs::read_dir(place.path("data/migrations")).unwrap().count();
    for _ in 0..6_000 {
        if kept() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?}", files(&place.path("data/migrations")));
}

/// Names and rows of what is in a directory.
async fn held(path: &Path) -> Vec<(String, u64)> {
    let mut held: Vec<_> =
        inventory(path).await.collections.into_iter().map(|one| (one.name.to_string(), one.rows)).collect();
    held.sort();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_volume_is_taken_in_whole_and_leaves_nothing_beside_it() {
    let place = place(|_| Start::default()).await;
    let wanted = held(&place.path("cluster")).await;
    assert!(wanted.len() > 2 && wanted.iter().any(|(_, rows)| *rows > 0), "{wanted:?}");
    let stage = json!({ "source": { "stageName": "incoming", "dataPath": "of-elsewhere/" }, "destination": { "clusterId": NEW } });
    let job = place.ended(&start(&place, &stage).await).await;
    assert_eq!(
        (&job["status"], &job["type"], &job["clusterId"]),
        (&json!("SUCCESSFUL"), &json!("MIGRATION"), &json!(NEW))
    );
    assert_eq!(job["backupId"], Value::Null, "{job}");
    assert_eq!(job["result"]["restore"]["collections"].as_array().unwrap().len(), wanted.len(), "{job}");
    assert_eq!(held(&place.path("new")).await, wanted);
    // No backup is left that somebody would have to pay for, and no second copy of the data.
    assert_eq!(place.send("GET", "/v2/backups", "").await.data()["count"], 0);
    nothing_is_kept(&place).await;
    let listed = place.send("GET", "/v2/jobs?type=MIGRATION", "").await;
    assert_eq!(listed.data()["count"], 1);
    // A second time its names are taken.
    let again = place.send("POST", START, &stage.to_string()).await;
    assert_eq!(again.refusal(), (409, 97004));
    assert!(again.body["message"].as_str().unwrap().contains("already has"), "{again:?}");
    let audit = place.send("GET", "/v2/auditLogs", "").await;
    let started = |one: &&Value| one["action"] == "migration.start" && one["subject"] == NEW;
    assert_eq!(audit.data()["auditLogs"].as_array().unwrap().iter().filter(started).count(), 2, "{audit:?}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_a_volume_is_made_and_told() {
    let place = place(|_| Start::default()).await;
    let body = json!({ "clusterId": NEW, "path": "from/milvus-backup" }).to_string();
    let applied = place.send("POST", APPLY, &body).await.data().clone();
    let folder = place.path("incoming/from/milvus-backup");
    assert!(folder.is_dir());
    assert_eq!(applied["uploadPath"], format!("{}/", folder.canonicalize().unwrap().display()));
    assert_eq!((&applied["volumeName"], &applied["stageName"]), (&json!("incoming"), &json!("incoming")));
    assert_eq!((&applied["region"], &applied["bucketName"]), (&json!("local-us"), &json!("")));
    assert!(applied["condition"]["maxContentLength"].as_u64().unwrap() > 0, "{applied}");
    // What is there already is kept.
    let body = json!({ "volumeName": "incoming", "path": "of-elsewhere" }).to_string();
    place.send("POST", APPLY, &body).await.data();
    assert!(place.path("incoming/of-elsewhere/collections").is_dir());
    let body = json!({ "volumeName": "other", "path": "a" }).to_string();
    place.send("POST", APPLY, &body).await.data();
    assert!(place.path("incoming-2/a").is_dir());
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_in_is_refused_and_nothing_changes() {
    let place = place(|_| Start::default()).await;
    std::fs::create_dir_all(place.path("incoming/empty")).unwrap();
    std::fs::create_dir_all(place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../cluster", place.path("incoming/out")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.path("incoming/away")).unwrap();
    let mut cases = vec![
        (body("nothing", "of-elsewhere", NEW), (400, 97002)),
        (body("", "of-elsewhere", NEW), (400, 97002)),
        (body("incoming", "", NEW), (400, 97002)),
        (body("incoming", "of-elsewhere", ""), (400, 96025)),
        (body("incoming", "of-elsewhere", "nonsense"), (400, 96036)),
        (body("incoming", "of-elsewhere", "in01-unknown"), (404, 96018)),
        (body("incoming", "of-elsewhere", "in01-test"), (409, 97004)),
        (json!({}), (400, 97002)),
        (json!({ "source": "incoming" }), (400, 97002)),
    ];
    let paths = ["..", "../cluster", "/etc", "a/../../cluster", "nowhere", "empty", "out", "of-elsewhere/collections"];
    cases.extend(paths.map(|path| (body("incoming", path, NEW), (400, 97002))));
    for field in ["bucketName", "objectUrl", "accessKey", "secretKey", "token"] {
        let mut with = body("incoming", "of-elsewhere", NEW);
        with["source"][field] = json!("hidden-value");
        cases.push((with, (400, 97002)));
    }
    for (body, refusal) in &cases {
        let answer = place.send("POST", START, &body.to_string()).await;
        assert_eq!(answer.refusal(), *refusal, "{body}: {answer:?}");
        assert!(!answer.body.to_string().contains("hidden-value"), "{answer:?}");
    }
    for path in ["", "..", "/etc/x", "../x", "away/x"] {
        let answer = place.send("POST", APPLY, &json!({ "path": path }).to_string()).await;
        assert!(!answer.status.is_success() && answer.body["message"].is_string(), "{path}: {answer:?}");
    }
    let viewer = place.key("viewer", Role::BackupView);
    for (path, body) in [(START, body("incoming", "of-elsewhere", NEW)), (APPLY, json!({ "path": "new" }))] {
        assert_eq!(place.send_as(&viewer, "POST", path, &body.to_string()).await.refusal(), (403, 96027), "{path}");
    }
    assert_eq!(place.send("GET", "/v2/jobs", "").await.data()["count"], 0);
    assert!(held(&place.path("new")).await.is_empty());
    assert!(!place.path("incoming/new").exists() && files(&place.path("elsewhere")).is_empty());
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_volumes_says_so() {
    let place = Place::start().await;
    for (path, body) in [(START, body("incoming", "a", "in01-test")), (APPLY, json!({ "path": "a" }))] {
        let answer = place.send("POST", path, &body.to_string()).await;
        assert_eq!(answer.refusal(), (400, 97002), "{answer:?}");
        assert!(answer.body["message"].as_str().unwrap().contains("volume"), "{answer:?}");
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_goes_on_after_its_host_has_stopped_and_what_dead_ones_left_goes() {
    let asked = Arc::new(Mutex::new(Asked { behaviour: Behaviour::UntilStopped, ..Asked::default() }));
    let place = place(|data| start_with(data, "[limits]\nheartbeat_ms = 10\n".to_owned(), &asked)).await;
    let id = start(&place, &body("incoming", "of-elsewhere", NEW)).await;
    place.in_phase(&id, "commit").await;
    place.host.shutdown().await;
    // It has all of it in a vault, so that it goes on although the volume was emptied.
    assert!(!files(&place.path(&format!("data/migrations/{id}/vault/packs"))).is_empty());
    assert!(held(&place.path("new")).await.is_empty());
    std::fs::remove_dir_all(place.path("incoming/of-elsewhere")).unwrap();
    std::fs::create_dir_all(place.path("data/migrations/job-of-a-dead-host/vault")).unwrap();
    asked.lock().unwrap().behaviour = Behaviour::Well;
    let restarted = start_with(&place.path("data"), MORE.to_owned(), &asked);
    let place = place.restart(restarted).await;
    let job = place.ended(&id).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert_eq!(place.catalog().get_job(&id.parse().unwrap()).unwrap().unwrap().attempt, 2);
    assert_eq!(held(&place.path("new")).await, held(&place.path("cluster")).await);
    nothing_is_kept(&place).await;
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_canceled_leaves_the_cluster_as_it_was_and_keeps_nothing() {
    let asked = Arc::new(Mutex::new(Asked { behaviour: Behaviour::UntilStopped, ..Asked::default() }));
    let place = place(|data| start_with(data, "[limits]\nheartbeat_ms = 10\n".to_owned(), &asked)).await;
    let id = start(&place, &body("incoming", "of-elsewhere", NEW)).await;
    place.in_phase(&id, "commit").await;
    place.send("POST", &format!("/v2/jobs/{id}/cancel"), "").await.data();
    assert_eq!(place.ended(&id).await["status"], "CANCELED");
    assert!(held(&place.path("new")).await.is_empty());
    nothing_is_kept(&place).await;
    place.host.shutdown().await;
}
