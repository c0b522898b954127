//! Calls that are refused: each with its status, its code and a sentence, and nothing changed.

use axum::body::Body;
use axum::http::Request;
use longshore_catalog::{Catalog as _, Page};
use longshore_engine::Role;
use longshore_model::{BackupId, BackupType, ClusterId, CreationMethod, JobId, Timestamp};
use serde_json::Value;

use crate::place::{CREATE, Place};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_said() {
    let place = Place::start().await;
    let (row, revoked) = place.key_with_row("revoked", Role::OrganizationOwner);
    place.catalog().revoke_key(&row.id, Timestamp::from_millis(1)).unwrap();
    let long = "x".repeat(600);
    let headers: Vec<Vec<String>> = vec![
        vec![],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec!["Bearer wrong".to_owned()],
        vec![format!("Basic {}", place.owner)],
        vec![place.owner.clone()],
        vec![format!("Bearer {revoked}")],
        vec![format!("Bearer {}x", place.owner)],
        vec![format!("Bearer {long}")],
        vec!["Bearer ' OR 1=1 --".to_owned()],
        // Two headers could mean two different callers.
        vec![format!("Bearer {}", place.owner), "Bearer wrong".to_owned()],
    ];
    let calls = [
        ("GET", "/v2/backups"),
        ("GET", "/v2/clusters"),
        ("GET", "/v2/jobs/job-1"),
        ("POST", CREATE),
        ("DELETE", "/v2/clusters/in01-test/backups/backup0_ab"),
        ("POST", "/v2/reload"),
    ];
    let mut texts = std::collections::BTreeSet::new();
    for header in &headers {
        for (method, path) in calls {
            let mut request = Request::builder().method(method).uri(path);
            for value in header {
                request = request.header("Authorization", value);
            }
            let answer = place.ask(request.body(Body::from(CLUSTER_BODY)).unwrap()).await;
            assert_eq!(answer.refusal(), (401, 21119), "{header:?} {method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            texts.insert(answer.body.to_string());
        }
    }
    assert_eq!(texts.len(), 1, "which of them is wrong is not said: {texts:?}");
    // The scheme's case does not matter (RFC 9110).
    let request = Request::get("/v2/backups").header("Authorization", format!("bearer {}", place.owner));
    place.ask(request.body(Body::empty()).unwrap()).await.data();
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_look_changes_nothing() {
    let place = Place::start().await;
    let viewer = place.key("viewer", Role::BackupView);
    let before = place.counts();
    for path in ["/v2/backups", "/v2/jobs", "/v2/clusters", "/v2/clusters/in01-test", "/v2/projects", "/v2/regions"] {
        place.send_as(&viewer, "GET", path, "").await.data();
    }
    let backup = "/v2/clusters/in01-test/backups/backup0_ab";
    let calls = [
        ("POST", CREATE.to_owned()),
        ("DELETE", backup.to_owned()),
        ("POST", format!("{backup}/restoreCluster")),
        ("POST", format!("{backup}/restoreCollection")),
        ("POST", format!("{backup}/verify")),
        ("POST", format!("{backup}/export")),
        ("POST", format!("{backup}/rename")),
        ("POST", "/v2/clusters/in01-test/backups/policy".to_owned()),
        ("DELETE", "/v2/clusters/in01-test/drop".to_owned()),
        ("POST", "/v2/jobs/job-1/cancel".to_owned()),
        ("POST", "/v2/reload".to_owned()),
    ];
    for (method, path) in &calls {
        // The role counts before anything in the body does.
        for body in [CLUSTER_BODY, "", "nonsense"] {
            let answer = place.send_as(&viewer, method, path, body).await;
            assert_eq!(answer.refusal(), (403, 96027), "{method} {path}");
        }
    }
    let audit = place.catalog().list_audit(&longshore_model::KeyScope::All, Page { size: 100, current: 1 }).unwrap();
    let refused = audit
        .items
        .iter()
        .filter(|row| row.entry.actor.starts_with("viewer (") && row.entry.outcome.contains("may not"));
    assert_eq!(refused.count(), calls.len() * 3, "every refused attempt is in the audit log: {audit:?}");
    assert_eq!(place.counts(), before);
    for role in [Role::BackupManage, Role::ProjectAdmin] {
        let key = place.key(role.as_str(), role);
        let answer = place.send_as(&key, "POST", CREATE, CLUSTER_BODY).await;
        place.ended(answer.data()["jobId"].as_str().unwrap()).await;
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_body_has_its_code_and_changes_nothing() {
    let place = Place::start().await;
    let backup = place.backup(CLUSTER_BODY).await;
    let before = place.counts();
    let cluster = format!("/v2/clusters/in01-test/backups/{backup}/restoreCluster");
    let collection = format!("/v2/clusters/in01-test/backups/{backup}/restoreCollection");
    let cases: &[(&str, &str, u16, u64)] = &[
        (CREATE, "", 400, 97001),
        (CREATE, " \n ", 400, 97001),
        (CREATE, "{", 400, 97001),
        (CREATE, "{}}", 400, 97001),
        (CREATE, "{'backupType':'CLUSTER'}", 400, 97001),
        (CREATE, "[]", 400, 97002),
        (CREATE, "null", 400, 97002),
        (CREATE, "\"CLUSTER\"", 400, 97002),
        (CREATE, "{}", 400, 96029),
        (CREATE, r#"{"backupType":"cluster"}"#, 400, 96029),
        (CREATE, r#"{"backupType":7}"#, 400, 96029),
        (CREATE, r#"{"backupType":"COLLECTION"}"#, 400, 96038),
        (CREATE, r#"{"backupType":"CLUSTER","dbCollections":[{"collectionNames":["medium_articles"]}]}"#, 400, 96038),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":{}}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":["a"]}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{}]}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":"a"}]}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":[1]}]}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":[""]}]}"#, 400, 97002),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":["../up"]}]}"#, 400, 97002),
        (
            CREATE,
            r#"{"backupType":"COLLECTION","dbCollections":[{"dbName":"a/b","collectionNames":["c"]}]}"#,
            400,
            97002,
        ),
        (CREATE, r#"{"backupType":"COLLECTION","dbCollections":[{"collectionNames":["nothing"]}]}"#, 400, 96038),
        (CREATE, r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"mars"}]}"#, 400, 96001),
        (CREATE, r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"-"}]}"#, 400, 96001),
        (CREATE, r#"{"backupType":"CLUSTER","crossRegionCopies":[{}]}"#, 400, 96001),
        (CREATE, r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-eu"}]}"#, 400, 96038),
        (CREATE, r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"cloud-us"}]}"#, 400, 96038),
        ("/v2/clusters/in01-other/backups/create", CLUSTER_BODY, 404, 96018),
        ("/v2/clusters/other/backups/create", CLUSTER_BODY, 400, 96036),
        (&cluster, "{}", 400, 96005),
        (&cluster, r#"{"projectId":"x","clusterName":"N","cuSize":1,"collectionStatus":"KEEP"}"#, 400, 96005),
        (&cluster, r#"{"projectId":"proj-a","targetProjectId":"proj-b","clusterName":"N","cuSize":1}"#, 400, 96005),
        (&cluster, r#"{"projectId":"proj-other","clusterName":"N","cuSize":1,"collectionStatus":"KEEP"}"#, 404, 96005),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"a b","cuSize":1,"collectionStatus":"KEEP"}"#, 400, 96010),
        (&cluster, r#"{"projectId":"proj-test","cuSize":1,"collectionStatus":"KEEP"}"#, 400, 96010),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"N","cuSize":0,"collectionStatus":"KEEP"}"#, 400, 96002),
        (
            &cluster,
            r#"{"projectId":"proj-test","clusterName":"N","cuSize":1025,"collectionStatus":"KEEP"}"#,
            400,
            96002,
        ),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"N","cuSize":"1","collectionStatus":"KEEP"}"#, 400, 96002),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"N","cuSize":1.5,"collectionStatus":"KEEP"}"#, 400, 96002),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"N","cuSize":1,"collectionStatus":"HOT"}"#, 400, 96031),
        (&cluster, r#"{"projectId":"proj-test","clusterName":"N","cuSize":1}"#, 400, 96031),
        (
            &cluster,
            r#"{"projectId":"proj-test","clusterName":"Dedicated-01","cuSize":1,"collectionStatus":"KEEP"}"#,
            409,
            96017,
        ),
        (&collection, "{}", 400, 96025),
        (&collection, r#"{"destClusterId":"x"}"#, 400, 96036),
        (&collection, r#"{"destClusterId":"in01-other"}"#, 404, 96018),
        (
            &collection,
            r#"{"destClusterId":"in01-test","dbCollections":[{"collections":[{"collectionName":"medium_articles","destCollectionStatus":"KEEP"}]}]}"#,
            400,
            96037,
        ),
        (&collection, r#"{"destClusterId":"in01-test","dbCollections":[{}]}"#, 400, 97002),
        (&collection, r#"{"destClusterId":"in01-test","dbCollections":[{"collections":[{}]}]}"#, 400, 97002),
        ("/v2/clusters/in01-test/backups/backup0_ab/restoreCollection", r#"{"destClusterId":"in01-test"}"#, 404, 97003),
        ("/v2/jobs/job-1/cancel", "", 404, 96026),
    ];
    for (path, body, status, code) in cases {
        let answer = place.send("POST", path, body).await;
        assert_eq!(answer.refusal(), (*status, *code), "{path} {body}: {answer:?}");
    }
    assert_eq!(place.counts(), before);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_path_or_parameter_has_its_code() {
    let place = Place::start().await;
    let cases: &[(&str, &str, u16, u64)] = &[
        ("GET", "/", 404, 97005),
        ("GET", "/v2", 404, 97005),
        ("GET", "/v2/backups/", 404, 97005),
        ("GET", "/v1/backups", 404, 97005),
        ("GET", "/v2/clusters/in01-test/backups/backup0_ab/restoreCluster", 405, 97006),
        ("PUT", "/v2/backups", 405, 97006),
        ("DELETE", "/v2/clusters/in01-test", 405, 97006),
        ("OPTIONS", "/v2/backups", 405, 97006),
        ("GET", "/v2/clusters/in01-test/backups/backup0_ab", 404, 97003),
        ("GET", "/v2/clusters/in01-test/backups/x", 404, 97003),
        ("GET", "/v2/clusters/in01-test/backups/backup0_ab/decisions", 404, 97003),
        ("DELETE", "/v2/clusters/in01-test/backups/backup0_ab", 404, 97003),
        ("GET", "/v2/clusters/x/backups/backup0_ab", 400, 96036),
        ("GET", "/v2/clusters/in01-other", 404, 96018),
        ("GET", "/v2/clusters/%2e%2e", 400, 96036),
        ("GET", "/v2/clusters/%ff", 400, 97002),
        ("GET", "/v2/jobs/job-1", 404, 96026),
        ("GET", "/v2/jobs/%27%20OR%201=1", 404, 96026),
        ("GET", "/v2/backups?pageSize=0", 400, 96008),
        ("GET", "/v2/backups?pageSize=101", 400, 96008),
        ("GET", "/v2/clusters?currentPage=0", 400, 96009),
        ("GET", "/v2/jobs?currentPage=-1", 400, 96009),
        ("GET", "/v2/backups?backupType=ALL", 400, 96029),
        ("GET", "/v2/backups?creationMethod=manual", 400, 96030),
        ("GET", "/v2/backups?clusterId=%27;DROP%20TABLE%20jobs", 400, 96036),
        ("GET", "/v2/backups?projectId=..", 400, 96005),
        ("GET", "/v2/backups?start=1&end=2", 400, 96007),
        ("GET", "/v2/backups?start=2024-07-30T16:49:51Z&end=2024-07-30T16:49:50Z", 400, 96035),
        ("GET", "/v2/backups?start=%ff", 400, 96007),
        ("GET", "/v2/jobs?type=DANCE", 400, 97002),
    ];
    for (method, path, status, code) in cases {
        let answer = place.send(method, path, "").await;
        assert_eq!(answer.refusal(), (*status, *code), "{method} {path}: {answer:?}");
        if *status == 405 {
            assert!(answer.headers.contains_key("allow"), "{method} {path}: {answer:?}");
        }
    }
    // Empty and unknown parameters are left alone.
    place.send("GET", "/v2/backups?clusterId=&projectId=&sort=up&pageSize=", "").await.data();
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_manual_backup_is_refused_with_the_job_that_is_in_the_way() {
    let place = Place::start().await;
    // Put into the catalog and held by nobody else: whether the first one is still running is not left to chance.
    let other = place.catalog();
    let job: JobId = "job-first".parse().unwrap();
    let backup = longshore_catalog::NewBackup {
        id: BackupId::from_random([1; 10]),
        cluster: "in01-test".parse::<ClusterId>().unwrap(),
        backup_type: BackupType::Cluster,
        creation_method: CreationMethod::Auto,
        expires: None,
        expiring_copies: Vec::new(),
        collections: Value::Null,
        detail: Value::Null,
    };
    place.host.shutdown().await;
    let its_job = longshore_catalog::NewBackupJob { id: job, request: Value::Null };
    other.create_backup(&backup, &its_job, Timestamp::from_millis(1)).unwrap();
    let answer = place.send("POST", CREATE, CLUSTER_BODY).await;
    assert_eq!(answer.refusal(), (409, 96038));
    assert!(answer.body["message"].as_str().unwrap().contains("job-first"), "{answer:?}");
    let path = "/v2/clusters/in01-test/backups/backup0_01010101010101010101";
    assert_eq!(place.send("DELETE", path, "").await.refusal(), (409, 97004), "a backup that is being made");
    assert_eq!(place.send("GET", &format!("{path}/decisions"), "").await.refusal(), (409, 97004));
    let body = r#"{"destClusterId":"in01-test"}"#;
    assert_eq!(place.send("POST", &format!("{path}/restoreCollection"), body).await.refusal(), (409, 96039));
    // Somebody else's backup is nobody's.
    let elsewhere = "/v2/clusters/in01-other/backups/backup0_01010101010101010101";
    assert_eq!(place.send("GET", elsewhere, "").await.refusal(), (404, 97003));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_calls_too_often_is_told_to_wait_and_others_are_not() {
    let place = Place::start_with(longshore_server::Limits { calls_per_second: 3, ..crate::place::FAST }).await;
    let other = place.key("other", Role::BackupView);
    let mut refused = None;
    // Each bucket fills while the calls are made, so more than three may pass; not all of a hundred in a row.
    for _ in 0..100 {
        let answer = place.send("GET", "/v2/clusters", "").await;
        if answer.status.as_u16() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a hundred calls in a row passed");
    assert_eq!(refused.refusal(), (429, 97013));
    assert_eq!(refused.headers["retry-after"], "1");
    place.send("GET", "/v2/clusters/in01-test", "").await.data();
    place.send_as(&other, "GET", "/v2/clusters", "").await.data();
    place.host.shutdown().await;
}
