//! Keys that are for some projects or clusters only: what they see, and what they are refused.

use longshore_catalog::{BackupRecord, BackupRow, Catalog as _, NewCluster, NewJob};
use longshore_engine::Role;
use longshore_model::{BackupId, BackupStatus, BackupType, CreationMethod, JobType, KeyScope, Timestamp};
use serde_json::{Value, json};

use crate::place::{CLUSTER, CREATE, Place};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
/// Of the second project.
const FOREIGN: &str = "in01-foreign";

/// A host with a second project, whose cluster has a backup and a job, and with a second cluster in the first project.
async fn place() -> (Place, String, String) {
    let place = Place::start().await;
    let backup = place.backup(CLUSTER_BODY).await;
    // Nobody works on the jobs from here on, so that nothing changes by itself.
    place.host.shutdown().await;
    let (catalog, now) = (place.catalog(), Timestamp::from_millis(1_700_000_000_000));
    catalog.put_project(&"proj-other".parse().unwrap(), "Other", now).unwrap();
    for (id, project) in [(FOREIGN, "proj-other"), ("in01-second", "proj-test")] {
        let cluster = NewCluster {
            id: id.parse().unwrap(),
            name: id.replace("in01-", "name-"),
            project: project.parse().unwrap(),
            region: "local-eu".parse().unwrap(),
            source_kind: "milvus-lite".to_owned(),
            location: "/nowhere".to_owned(),
            cu_size: 1,
            status: "RUNNING".to_owned(),
        };
        catalog.put_cluster(&cluster, now).unwrap();
    }
    let foreign = BackupRow {
        id: BackupId::from_random([7; 10]),
        name: "foreign".to_owned(),
        project: "proj-other".parse().unwrap(),
        cluster: FOREIGN.parse().unwrap(),
        cluster_name: "name-foreign".to_owned(),
        backup_type: BackupType::Cluster,
        creation_method: CreationMethod::Manual,
        status: BackupStatus::Available,
        size_bytes: 1,
        region: "local-eu".parse().unwrap(),
        created: now,
        ended: Some(now),
        expires: None,
        deleted: None,
        purged: None,
        error: None,
    };
    let id = foreign.id.clone();
    catalog.record_backup(&BackupRecord { backup: foreign, collections: json!([]), detail: json!({}) }).unwrap();
    let job = NewJob {
        id: "job-foreign".parse().unwrap(),
        job_type: JobType::Verify,
        project: "proj-other".parse().unwrap(),
        cluster: Some(FOREIGN.parse().unwrap()),
        backup: Some(id.clone()),
        request: Value::Null,
    };
    catalog.create_job(&job, now).unwrap();
    (place, backup, id.to_string())
}

fn scope(projects: &[&str], clusters: &[&str]) -> KeyScope {
    let projects = projects.iter().map(|id| id.parse().unwrap());
    KeyScope::of(projects, clusters.iter().map(|id| id.parse().unwrap()))
}

/// Every entry's value of a field.
async fn listed(place: &Place, key: &str, path: &str, list: &str, name: &str) -> Vec<String> {
    let answer = place.send_as(key, "GET", path, "").await;
    let data = answer.data();
    let entries = if list.is_empty() { data } else { &data[list] };
    if !list.is_empty() {
        assert_eq!(data["count"].as_u64().unwrap() as usize, entries.as_array().unwrap().len(), "{path}");
    }
    let mut texts: Vec<String> =
        entries.as_array().unwrap().iter().map(|entry| entry[name].as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_a_key_is_for_and_nothing_else() {
    let (place, own, foreign) = place().await;
    let cases = [
        (scope(&["proj-test"], &[]), vec![own.clone()], vec!["in01-second", CLUSTER], vec!["proj-test"]),
        (scope(&["proj-other"], &[]), vec![foreign.clone()], vec![FOREIGN], vec!["proj-other"]),
        (scope(&[], &[CLUSTER]), vec![own.clone()], vec![CLUSTER], vec!["proj-test"]),
        (scope(&[], &["in01-second"]), vec![], vec!["in01-second"], vec!["proj-test"]),
        (
            scope(&[], &["in01-second", FOREIGN]),
            vec![foreign.clone()],
            vec![FOREIGN, "in01-second"],
            vec!["proj-other", "proj-test"],
        ),
        (
            KeyScope::All,
            vec![own.clone(), foreign.clone()],
            vec![FOREIGN, "in01-second", CLUSTER],
            vec!["proj-other", "proj-test"],
        ),
    ];
    for (scope, mut backups, clusters, projects) in cases {
        backups.sort();
        let (_, key) = place.key_for("narrow", Role::ProjectAdmin, scope.clone(), None);
        assert_eq!(listed(&place, &key, "/v2/backups", "backups", "backupId").await, backups, "{scope}");
        assert_eq!(listed(&place, &key, "/v2/clusters", "clusters", "clusterId").await, clusters, "{scope}");
        assert_eq!(listed(&place, &key, "/v2/projects", "", "projectId").await, projects, "{scope}");
        let jobs = listed(&place, &key, "/v2/jobs", "jobs", "backupId").await;
        assert_eq!(jobs, backups, "{scope}: each backup has one job here");
        let subjects = listed(&place, &key, "/v2/auditLogs?pageSize=100", "auditLogs", "subject").await;
        let sees_own = backups.contains(&own);
        assert_eq!(subjects.contains(&CLUSTER.to_owned()), sees_own, "{scope}: {subjects:?}");
        assert_eq!(subjects.iter().any(|subject| subject.starts_with("key-")), scope == KeyScope::All, "{scope}");
        let regions = place.send_as(&key, "GET", "/v2/regions", "").await;
        let whole = scope.has_project(&"proj-test".parse().unwrap());
        assert_eq!(regions.data()[0]["usedBytes"].is_u64(), whole, "{scope}: what all clusters of a project keep");
        let metrics = place.send_text(&key, "/metrics").await;
        assert_eq!(metrics.0 == 200, scope == KeyScope::All, "{scope}: {metrics:?}");
    }
    // The count of a project's clusters is of those that the key is for.
    let (_, key) = place.key_for("narrow", Role::BackupView, scope(&[], &[CLUSTER]), None);
    assert_eq!(place.send_as(&key, "GET", "/v2/projects/proj-test", "").await.data()["instanceCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_refused_and_nothing_changes() {
    let (place, own, foreign) = place().await;
    let before = place.everything();
    let backup = format!("/v2/clusters/{FOREIGN}/backups/{foreign}");
    let into_foreign = format!(r#"{{"destClusterId":"{FOREIGN}"}}"#);
    let policy = format!("/v2/clusters/{FOREIGN}/backups/policy");
    let source = r#"{"volumeName":"incoming","dataPath":"a"}"#;
    let migrate = format!(r#"{{"source":{source},"destination":{{"clusterId":"{FOREIGN}"}}}}"#);
    let apply = format!(r#"{{"clusterId":"{FOREIGN}","path":"a"}}"#);
    let restore = r#"{"projectId":"proj-other","clusterName":"N","cuSize":1,"collectionStatus":"KEEP"}"#;
    let calls: Vec<(&str, String, &str, u64)> = vec![
        ("POST", format!("/v2/clusters/{FOREIGN}/backups/create"), CLUSTER_BODY, 96016),
        // Before the body is looked at.
        ("POST", format!("/v2/clusters/{FOREIGN}/backups/create"), "nonsense", 96016),
        ("GET", backup.clone(), "", 96016),
        ("DELETE", backup.clone(), "", 96016),
        ("GET", format!("{backup}/decisions"), "", 96016),
        ("POST", format!("{backup}/restoreCluster"), restore, 96016),
        ("POST", format!("{backup}/restoreCollection"), r#"{"destClusterId":"in01-test"}"#, 96016),
        ("POST", format!("{backup}/verify"), "{}", 96016),
        ("POST", format!("{backup}/export"), r#"{"integrationId":"integ-1"}"#, 96016),
        ("POST", format!("{backup}/rename"), r#"{"backupName":"mine"}"#, 96016),
        ("GET", policy.clone(), "", 96016),
        ("POST", policy, r#"{"enabled":true}"#, 96016),
        ("GET", format!("/v2/clusters/{FOREIGN}"), "", 96016),
        ("DELETE", format!("/v2/clusters/{FOREIGN}/drop"), "", 96016),
        ("GET", "/v2/jobs/job-foreign".to_owned(), "", 96016),
        ("GET", "/v2/jobs/job-foreign/events".to_owned(), "", 96016),
        ("POST", "/v2/jobs/job-foreign/cancel".to_owned(), "", 96016),
        ("GET", "/v2/projects/proj-other".to_owned(), "", 96027),
        ("GET", "/v2/backups?projectId=proj-other".to_owned(), "", 96027),
        ("GET", format!("/v2/backups?clusterId={FOREIGN}"), "", 96016),
        ("GET", "/v2/jobs?projectId=proj-other".to_owned(), "", 96027),
        ("GET", format!("/v2/jobs?clusterId={FOREIGN}"), "", 96016),
        ("GET", "/v2/costs?projectId=proj-other".to_owned(), "", 96027),
        ("GET", format!("/v2/costs?clusterId={FOREIGN}"), "", 96016),
        ("GET", "/metrics".to_owned(), "", 96027),
        // What is one's own does not lead into what is not.
        ("POST", format!("/v2/clusters/{CLUSTER}/backups/{own}/restoreCollection"), &into_foreign, 96016),
        ("POST", format!("/v2/clusters/{CLUSTER}/backups/{own}/restoreCluster"), restore, 96027),
        ("POST", "/v2/migrations/startByRemote".to_owned(), &migrate, 96016),
        ("POST", "/v2/volumes/apply".to_owned(), &apply, 96016),
    ];
    for scope in [scope(&["proj-test"], &[]), scope(&[], &[CLUSTER])] {
        let (row, key) = place.key_for("narrow", Role::ProjectAdmin, scope.clone(), None);
        let keys = place.everything().replace(&before, "");
        for (method, path, body, code) in &calls {
            let answer = place.send_as(&key, method, path, body).await;
            assert_eq!(answer.refusal(), (403, *code), "{scope}: {method} {path}: {answer:?}");
            assert!(answer.body["message"].as_str().unwrap().contains("narrow"), "{answer:?}");
        }
        assert_eq!(place.everything().replace(&before, ""), keys, "{scope}");
        let audit = place.catalog().list_audit(&KeyScope::All, longshore_catalog::Page { size: 500, current: 1 });
        let refused = audit.unwrap().items.into_iter().filter(|row_| row_.entry.actor.contains(&row.id)).count();
        assert!(refused >= 12, "what was tried is on record: {refused}");
        // Another cluster's path does not lead to one's own backup, nor does one's own path to another's.
        let crossed = format!("/v2/clusters/{CLUSTER}/backups/{foreign}");
        assert_eq!(place.send_as(&key, "GET", &crossed, "").await.refusal(), (404, 97003));
        place.catalog().revoke_key(&row.id, Timestamp::from_millis(1)).unwrap();
    }
    // A key for a cluster makes no other clusters in its project, but may name the project to narrow a list.
    let (_, key) = place.key_for("narrow", Role::ProjectAdmin, scope(&[], &[CLUSTER]), None);
    let body = r#"{"projectId":"proj-test","clusterName":"New","cuSize":1,"collectionStatus":"KEEP"}"#;
    let path = format!("/v2/clusters/{CLUSTER}/backups/{own}/restoreCluster");
    assert_eq!(place.send_as(&key, "POST", &path, body).await.refusal(), (403, 96027));
    // Nor a place for a database without saying for which of its clusters.
    let applied = place.send_as(&key, "POST", "/v2/volumes/apply", r#"{"path":"a"}"#).await;
    assert_eq!(applied.refusal(), (403, 96027));
    let listed = place.send_as(&key, "GET", "/v2/backups?projectId=proj-test", "").await;
    assert_eq!(listed.data()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_key_may_do_what_its_role_says_within_its_scope() {
    let place = Place::start().await;
    let (_, key) = place.key_for("narrow", Role::BackupManage, scope(&[], &[CLUSTER]), None);
    let made = place.send_as(&key, "POST", CREATE, CLUSTER_BODY).await;
    let job = made.data()["jobId"].as_str().unwrap().to_owned();
    place.ended(&job).await;
    place.send_as(&key, "GET", &format!("/v2/jobs/{job}"), "").await.data();
    let path = format!("/v2/clusters/{CLUSTER}/backups/{}", made.data()["backupId"].as_str().unwrap());
    place.send_as(&key, "GET", &path, "").await.data();
    place.send_as(&key, "DELETE", &path, "").await.data();
    // The role counts within the scope, too.
    let drop = format!("/v2/clusters/{CLUSTER}/drop");
    assert_eq!(place.send_as(&key, "DELETE", &drop, "").await.refusal(), (403, 96027));
    place.host.shutdown().await;
}
