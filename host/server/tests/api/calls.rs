//! What each call does when it is made right.

use axum::http::{Method, StatusCode};
use longshore_engine::Role;
use serde_json::{Value, json};

use crate::place::{CLUSTER, Place};

/// The two bodies of the guide, byte for byte.
const GUIDE_CLUSTER: &str = include_str!("bodies/guide_cluster.json");
const GUIDE_COLLECTION: &str = include_str!("bodies/guide_collection.json");

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_works_as_it_is_written() {
    assert_eq!(GUIDE_CLUSTER, "{\n\"backupType\": \"CLUSTER\"\n}");
    let place = Place::start().await;
    for (body, number) in [(GUIDE_CLUSTER, 1), (GUIDE_COLLECTION, 2)] {
        let answer = place.send("POST", crate::place::CREATE, body).await;
        let data = answer.data();
        assert_eq!(keys(data), ["backupId", "backupName", "jobId"]);
        assert!(data["backupId"].as_str().unwrap().starts_with("backup0_"));
        assert!(data["jobId"].as_str().unwrap().starts_with("job-"));
        assert_eq!(data["backupName"], format!("Dedicated-01_backup{number}"));
        let job = place.ended(data["jobId"].as_str().unwrap()).await;
        assert_eq!((&job["status"], &job["progress"]), (&json!("SUCCESSFUL"), &json!("100")), "{job}");
        assert_eq!(job["backupId"], data["backupId"]);
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_described_listed_restored_and_deleted() {
    let place = Place::start().await;
    let backup = place.backup(GUIDE_CLUSTER).await;
    let path = format!("/v2/clusters/{CLUSTER}/backups/{backup}");

    let answer = place.send("GET", &path, "").await;
    let data = answer.data();
    for (name, expected) in [
        ("clusterId", json!(CLUSTER)),
        ("clusterName", json!("Dedicated-01")),
        ("projectId", json!("proj-test")),
        ("backupId", json!(backup)),
        ("backupName", json!("Dedicated-01_backup1")),
        ("backupType", json!("CLUSTER")),
        ("creationMethod", json!("MANUAL")),
        ("status", json!("AVAILABLE")),
        ("regionId", json!("local-eu")),
        ("expireTime", Value::Null),
        ("restoreNewInstancePolicies", json!(["LATEST", "ORIGINAL"])),
    ] {
        assert_eq!(data[name], expected, "{name}");
    }
    assert!(data["size"].as_u64().unwrap() > 1_000_000, "{data}");
    // Whole seconds, as the documents show them: 2024-07-30T16:49:50Z.
    assert_eq!(data["createTime"].as_str().unwrap().len(), 20);
    let databases = data["dbCollections"].as_array().unwrap();
    let nested: usize = databases.iter().map(|database| database["collections"].as_array().unwrap().len()).sum();
    assert_eq!(databases.iter().map(|database| &database["dbName"]).collect::<Vec<_>>(), ["default", "handbook"]);
    assert_eq!(data["collections"].as_array().unwrap().len(), nested, "the flat list has the same collections");
    let articles =
        data["collections"].as_array().unwrap().iter().find(|one| one["collectionName"] == "medium_articles");
    assert!(["LOADED", "UNLOADED"].contains(&articles.unwrap()["status"].as_str().unwrap()));

    let decisions = place.send("GET", &format!("{path}/decisions"), "").await;
    assert!(decisions.data().to_string().contains("medium_articles"), "{decisions:?}");

    let listed =
        place.send("GET", "/v2/backups?clusterId=in01-test&backupType=CLUSTER&creationMethod=MANUAL", "").await;
    assert_eq!(listed.data()["count"], 1);
    for other in [
        "clusterId=in01-other",
        "projectId=proj-other",
        "backupType=COLLECTION",
        "creationMethod=AUTO",
        "start=2999-01-01T00:00:00Z",
        "end=2001-01-01T00:00:00Z",
    ] {
        let listed = place.send("GET", &format!("/v2/backups?{other}"), "").await;
        assert_eq!((&listed.data()["count"], &listed.data()["backups"]), (&json!(0), &json!([])), "{other}");
    }
    let entry = &listed.data()["backups"][0];
    for name in keys(entry) {
        assert_eq!(entry[name], data[name], "{name} in the list and in describe");
    }

    let body = r#"{"targetProjectId":"proj-test","clusterName":"New-1","cuSize":1,"collectionStatus":"LOADED"}"#;
    let answer = place.send("POST", &format!("{path}/restoreCluster"), body).await;
    let restoring = answer.data();
    assert_eq!(keys(restoring), ["clusterId", "jobId", "note", "password", "username"]);
    let job = place.ended(restoring["jobId"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["type"]), (&json!("SUCCESSFUL"), &json!("RESTORE")), "{job}");
    let new = place.send("GET", &format!("/v2/clusters/{}", restoring["clusterId"].as_str().unwrap()), "").await;
    assert_eq!(new.data()["clusterName"], "New-1");

    // Clients send a body with a delete.
    let deleted = place.send("DELETE", &path, "{}").await;
    assert_eq!(deleted.data(), &json!({ "backupId": backup, "backupName": "Dedicated-01_backup1" }));
    assert_eq!(place.send("GET", "/v2/backups", "").await.data()["count"], 0);
    assert_eq!(place.send("DELETE", &path, "{}").await.refusal(), (404, 97003));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_restored_under_new_names() {
    let place = Place::start().await;
    let backup = place.backup(GUIDE_COLLECTION).await;
    let path = format!("/v2/clusters/{CLUSTER}/backups/{backup}");
    let described = place.send("GET", &path, "").await;
    assert_eq!(described.data()["collections"].as_array().unwrap().len(), 1);
    assert!(described.data().get("restoreNewInstancePolicies").is_none(), "only for CLUSTER backups");
    let body = r#"{"destClusterId":"in01-test","dbCollections":[{"dbName":"","destDbName":"handbook","collections":[
        {"collectionName":"medium_articles","destCollectionName":"articles_2","destCollectionStatus":"UNLOADED"}]}]}"#;
    let answer = place.send("POST", &format!("{path}/restoreCollection"), body).await;
    assert_eq!(keys(answer.data()), ["jobId"]);
    let job = place.ended(answer.data()["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert!(place.path("cluster/databases/handbook/collections/articles_2").is_dir());

    // A COLLECTION backup is no cluster.
    let body = r#"{"projectId":"proj-test","clusterName":"New-1","cuSize":1,"collectionStatus":"KEEP"}"#;
    assert_eq!(place.send("POST", &format!("{path}/restoreCluster"), body).await.refusal(), (400, 96040));
    let body = r#"{"destClusterId":"in01-test","dbCollections":[{"collections":[{"collectionName":"nothing"}]}]}"#;
    assert_eq!(place.send("POST", &format!("{path}/restoreCollection"), body).await.refusal(), (400, 96039));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_how_far_it_is_and_what_came_out_of_it() {
    let place = Place::start().await;
    let backup = place.backup(GUIDE_CLUSTER).await;
    let listed = place.send("GET", "/v2/jobs?status=SUCCESSFUL&type=BACKUP&clusterId=in01-test", "").await;
    assert_eq!(listed.data()["count"], 1);
    let job = &listed.data()["jobs"][0];
    assert_eq!(
        keys(job),
        [
            "backupId",
            "bytesPerSecond",
            "clusterId",
            "collections",
            "createTime",
            "doneBytes",
            "endTime",
            "jobId",
            "nextRetryTime",
            "phase",
            "progress",
            "reason",
            "remainingSeconds",
            "result",
            "retries",
            "startTime",
            "status",
            "totalBytes",
            "type",
            "waitingFor",
        ]
    );
    assert_eq!((&job["backupId"], &job["clusterId"]), (&json!(backup), &json!(CLUSTER)));
    assert_eq!((&job["progress"], &job["phase"], &job["reason"]), (&json!("100"), &json!("done"), &json!("")));
    let collection = &job["collections"][0];
    assert_eq!(keys(collection), ["collectionName", "dbName", "doneBytes", "totalBytes"]);
    assert!(job["result"].is_object(), "{job}");
    for filter in ["status=FAILED", "type=RESTORE", "clusterId=in01-other", "projectId=proj-other"] {
        let listed = place.send("GET", &format!("/v2/jobs?{filter}"), "").await;
        assert_eq!(listed.data()["count"], 0, "{filter}");
    }
    let path = format!("/v2/jobs/{}/cancel", job["jobId"].as_str().unwrap());
    assert_eq!(place.send("POST", &path, "").await.refusal(), (409, 97004), "an ended job cannot be canceled");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_projects_regions_and_clouds_have_the_fields_clients_read() {
    let place = Place::start().await;
    let clusters = place.send("GET", "/v2/clusters?pageSize=100&currentPage=1", "").await;
    assert_eq!(keys(clusters.data()), ["clusters", "count", "currentPage", "pageSize"]);
    let cluster = &clusters.data()["clusters"][0];
    for (name, expected) in [
        ("clusterId", json!(CLUSTER)),
        ("clusterName", json!("Dedicated-01")),
        ("projectId", json!("proj-test")),
        ("regionId", json!("local-eu")),
        ("status", json!("RUNNING")),
        ("snapshotNumber", json!(0)),
        ("deploymentOption", json!("Dedicated")),
        ("createProgress", json!(100)),
    ] {
        assert_eq!(cluster[name], expected, "{name}");
    }
    let described = place.send("GET", "/v2/clusters/in01-test", "").await;
    assert_eq!(described.data(), cluster);
    let projects = place.send("GET", "/v2/projects", "").await;
    let project = &projects.data()[0];
    assert_eq!((&project["projectId"], &project["projectName"]), (&json!("proj-test"), &json!("Test")));
    assert_eq!(project["instanceCount"], 1);
    let regions = place.send("GET", "/v2/regions", "").await;
    assert_eq!(regions.data()[0]["regionId"], "local-eu");
    assert_eq!(regions.data()[0]["cloudId"], "local");
    assert_eq!(regions.data()[0]["storagePriceMicrosPerGbMonth"], 25_000);
    assert_eq!(place.send("GET", "/v2/regions?cloudId=aws", "").await.data(), &json!([]));
    let clouds = place.send("GET", "/v2/clouds", "").await;
    assert_eq!(
        clouds.data(),
        &json!([{ "cloudId": "cloud", "description": "" }, { "cloudId": "local", "description": "" }])
    );
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages() {
    let place = Place::start().await;
    for _ in 0..3 {
        place.backup(GUIDE_COLLECTION).await;
    }
    let mut names = Vec::new();
    for page in 1..=2 {
        let listed = place.send("GET", &format!("/v2/backups?pageSize=2&currentPage={page}"), "").await;
        let data = listed.data();
        assert_eq!((&data["count"], &data["currentPage"], &data["pageSize"]), (&json!(3), &json!(page), &json!(2)));
        names.extend(data["backups"].as_array().unwrap().iter().map(|backup| backup["backupName"].clone()));
    }
    let expected = ["Dedicated-01_backup3", "Dedicated-01_backup2", "Dedicated-01_backup1"];
    assert_eq!(names, expected, "newest first");
    let far = place.send("GET", "/v2/backups?currentPage=4294967295", "").await;
    assert_eq!((&far.data()["count"], &far.data()["backups"]), (&json!(3), &json!([])));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_the_owners_and_a_wrong_configuration_leaves_the_old_one() {
    let place = Place::start().await;
    let answer = place.send("POST", "/v2/reload", "{}").await;
    assert!(!answer.data()["policies"].as_array().unwrap().is_empty());
    std::fs::write(place.path("longshore.toml"), "data_directory = 7").unwrap();
    assert_eq!(place.send("POST", "/v2/reload", "").await.refusal(), (422, 97012));
    std::fs::remove_file(place.path("longshore.toml")).unwrap();
    assert_eq!(place.send("POST", "/v2/reload", "").await.refusal(), (422, 97012));
    place.backup(GUIDE_COLLECTION).await;
    for role in [Role::ProjectAdmin, Role::BackupManage, Role::BackupView] {
        let key = place.key(role.as_str(), role);
        assert_eq!(place.send_as(&key, "POST", "/v2/reload", "{}").await.refusal(), (403, 96027));
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_key_and_a_head_is_answered_without_a_body() {
    let place = Place::start().await;
    for path in ["/healthz", "/readyz"] {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        place.ask(request).await.data();
    }
    let request = axum::http::Request::builder().method(Method::HEAD).uri("/healthz");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(place.router.clone(), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(axum::body::to_bytes(response.into_body(), 10).await.unwrap().is_empty());
    // A vault that cannot be read is not ready; what is wrong stays inside.
    std::fs::remove_dir_all(place.path("vault-us")).unwrap();
    std::fs::write(place.path("vault-us"), "not a folder").unwrap();
    let request = axum::http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap();
    let answer = place.ask(request).await;
    assert_eq!(answer.refusal(), (503, 97011));
    assert!(!answer.body.to_string().contains("vault-us"), "{answer:?}");
    place.host.shutdown().await;
}
