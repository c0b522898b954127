//! The rules of jobs, one by one, as a client meets them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use longshore_catalog::{Catalog as _, NewBackup, NewBackupJob};
use longshore_engine::{ClusterAccess, EngineError, LocalClusters};
use longshore_model::{BackupId, BackupType, CollectionName, CreationMethod, JobId, Timestamp};
use longshore_source::{
    CollectionPoint, Inventory, MilvusLiteSource, PointOptions, RestoreTarget, Source, SourceError, SourceKind,
};
use serde_json::{Value, json};

use crate::place::{CREATE, Place, Start, copy_tree};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
const POLICY: &str = "/v2/clusters/in01-test/backups/policy";

/// A host whose workers have stopped, so that what waits goes on waiting, with a backup job of this kind that waits.
async fn with_waiting(method: CreationMethod) -> Place {
    let place = Place::start().await;
    place.host.shutdown().await;
    let backup = NewBackup {
        id: BackupId::from_random([1; 10]),
        cluster: "in01-test".parse().unwrap(),
        backup_type: BackupType::Cluster,
        creation_method: method,
        expires: None,
        expiring_copies: Vec::new(),
        collections: Value::Null,
        detail: Value::Null,
    };
    let job = NewBackupJob { id: "job-first".parse::<JobId>().unwrap(), request: Value::Null };
    place.catalog().create_backup(&backup, &job, Timestamp::from_millis(1)).unwrap();
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_backup_waits_for_a_manual_one_that_is_pending_or_running() {
    let place = with_waiting(CreationMethod::Manual).await;
    let first: JobId = "job-first".parse().unwrap();
    for running in [false, true] {
        if running {
            place.catalog().claim(&first, "somebody", Timestamp::from_millis(2), 1_000).unwrap();
        }
        let answer = place.send("POST", CREATE, CLUSTER_BODY).await;
        assert_eq!(answer.refusal(), (409, 96038), "running: {running}");
        assert!(answer.body["message"].as_str().unwrap().contains("job-first"), "{answer:?}");
    }
    place.catalog().cancel_job(&first, Timestamp::from_millis(3)).unwrap();
    assert_eq!(
        place.send("POST", CREATE, CLUSTER_BODY).await.refusal().0,
        409,
        "one that is being canceled holds the slot"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_backup_starts_although_a_manual_one_is_active() {
    let place = with_waiting(CreationMethod::Manual).await;
    place.send("POST", POLICY, r#"{"enabled":true}"#).await.data();
    let listed = place.send("GET", "/v2/backups?creationMethod=AUTO", "").await;
    assert_eq!(listed.data()["count"], 1, "{listed:?}");
    let backup = &listed.data()["backups"][0];
    assert_eq!((&backup["status"], &backup["backupType"]), (&json!("CREATING"), &json!("CLUSTER")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_automatic_backup_starts_beside_one_and_it_is_made_up_for_afterwards() {
    let place = with_waiting(CreationMethod::Auto).await;
    place.send("POST", POLICY, r#"{"enabled":true}"#).await.data();
    assert!(place.host.start_due_backups().await.unwrap().is_empty());
    let first: JobId = "job-first".parse().unwrap();
    place.catalog().cancel_job(&first, Timestamp::from_millis(3)).unwrap();
    assert_eq!(place.host.start_due_backups().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_backups_are_kept_seven_days_unless_it_is_said_and_manual_ones_for_ever() {
    let place = Place::start().await;
    place.send("POST", POLICY, r#"{"enabled":true}"#).await.data();
    let policy = place.send("GET", POLICY, "").await.data().clone();
    assert_eq!((&policy["retentionDays"], &policy["startTime"]), (&json!(7), &json!("02:00-04:00")), "{policy}");
    let automatic = place.send("GET", "/v2/backups?creationMethod=AUTO", "").await.data()["backups"][0].clone();
    let time = |name: &str| automatic[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time("expireTime").millis_since(time("createTime")), 7 * 24 * 3_600_000);
    for days in ["0", "31", "-1"] {
        let body = format!(r#"{{"enabled":true,"retentionDays":{days}}}"#);
        assert_eq!(place.send("POST", POLICY, &body).await.refusal(), (400, 96034), "{days}");
    }
    let jobs = place.send("GET", "/v2/jobs", "").await.data()["jobs"].clone();
    place.ended(jobs[0]["jobId"].as_str().unwrap()).await;
    let manual = place.backup(CLUSTER_BODY).await;
    let manual = place.send("GET", &format!("/v2/clusters/in01-test/backups/{manual}"), "").await.data().clone();
    assert_eq!(manual["expireTime"], Value::Null);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_available_backup_is_exported_verified_or_restored() {
    let place = with_waiting(CreationMethod::Manual).await;
    let backup = format!("/v2/clusters/in01-test/backups/{}", BackupId::from_random([1; 10]));
    let new = r#"{"projectId":"proj-test","clusterName":"New","cuSize":1,"collectionStatus":"KEEP"}"#;
    for (path, body, code) in [
        ("export", r#"{"integrationId":"integ-1"}"#, 97004),
        ("verify", "{}", 97004),
        ("restoreCluster", new, 96040),
        ("restoreCollection", r#"{"destClusterId":"in01-test"}"#, 96039),
    ] {
        assert_eq!(place.send("POST", &format!("{backup}/{path}"), body).await.refusal(), (409, code), "{path}");
    }
}

/// A cluster whose collections are altered, dropped and made as soon as a backup has opened those that are.
struct Changing {
    lite: LocalClusters,
}

impl ClusterAccess for Changing {
    fn source(&self, _kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError> {
        let path = PathBuf::from(location);
        Ok(Arc::new(ChangingSource { lite: MilvusLiteSource::open(&path)?, path, opened: Mutex::default() }))
    }

    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError> {
        self.lite.target(kind, location)
    }

    fn provision(&self, kind: &str, cluster_id: &str) -> Result<Option<String>, EngineError> {
        self.lite.provision(kind, cluster_id)
    }
}

struct ChangingSource {
    lite: MilvusLiteSource,
    path: PathBuf,
    opened: Mutex<BTreeSet<String>>,
}

fn alter(path: &Path) {
    let file = path.join("collections/medium_articles/schema.json");
    let mut schema: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    schema["properties"] = json!({ "altered": "meanwhile" });
    std::fs::write(&file, serde_json::to_vec(&schema).unwrap()).unwrap();
    copy_tree(&path.join("collections/recent_searches"), &path.join("collections/made_meanwhile"));
    std::fs::remove_dir_all(path.join("collections/recent_searches")).unwrap();
}

#[async_trait]
impl Source for ChangingSource {
    fn kind(&self) -> SourceKind {
        self.lite.kind()
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        self.lite.inventory().await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        let point = self.lite.open_point(name, options).await?;
        let mut opened = self.opened.lock().unwrap();
        let both = |opened: &BTreeSet<String>| {
            ["medium_articles", "recent_searches"].iter().all(|name| opened.contains(*name))
        };
        let before = both(&opened);
        opened.insert(name.collection.clone());
        if both(&opened) && !before {
            alter(&self.path);
        }
        Ok(point)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_during_a_backup_is_detected_and_told_by_collection() {
    let folder = Place::folder();
    let clusters = Changing { lite: LocalClusters::new(folder.path().join("data/clusters")) };
    let place = Place::start_in(folder, Start { clusters: Some(Arc::new(clusters)), ..Start::default() }).await;
    let answer = place.send("POST", CREATE, CLUSTER_BODY).await;
    let job = place.ended(answer.data()["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "what was read is one consistent point all the same: {job}");
    let changes = job["result"]["ddlChanges"].as_array().unwrap();
    let mut told: Vec<(String, String)> = changes
        .iter()
        .map(|change| {
            let text = |name: &str| change[name].as_str().unwrap_or_else(|| panic!("{change}")).to_owned();
            (text("collection"), text("change"))
        })
        .collect();
    told.sort();
    let expected = [
        ("made_meanwhile", "created, and not in this backup"),
        ("medium_articles", "altered, or dropped and created again"),
        ("recent_searches", "dropped"),
    ];
    assert_eq!(told, expected.map(|(name, change)| (name.to_owned(), change.to_owned())), "{job}");
    let backup = answer.data()["backupId"].as_str().unwrap();
    let described = place.send("GET", &format!("/v2/clusters/in01-test/backups/{backup}"), "").await.data().clone();
    for collection in described["collections"].as_array().unwrap() {
        let name = collection["collectionName"].as_str().unwrap();
        let changed = expected.iter().any(|(other, _)| *other == name);
        assert_eq!(collection["changedDuringBackup"], changed, "{collection}");
    }
    // It can be restored as it was at that point.
    let body = json!({ "destClusterId": "in01-test", "dbCollections": [{ "collections": [
        { "collectionName": "recent_searches" },
    ] }] });
    let path = format!("/v2/clusters/in01-test/backups/{backup}/restoreCollection");
    let restoring = place.send("POST", &path, &body.to_string()).await;
    let job = place.ended(restoring.data()["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    place.host.shutdown().await;
}
