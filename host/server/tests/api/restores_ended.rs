//! How restores end that do not simply succeed: they fail, are canceled, their host stops or dies.

use longshore_catalog::Catalog as _;
use serde_json::{Value, json};

use crate::place::Place;
use crate::servers::{
    Behaviour, CLUSTER_BODY, back_up, files, inventory, new_cluster, one, restore_cluster, restore_collections,
    servers, start_with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_leaves_the_target_as_it_was_and_says_so() {
    let (place, _) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let before = files(&place.path("cluster"));
    // Packs are gone: what is restored cannot be read.
    std::fs::rename(place.path("vault-eu/packs"), place.path("packs")).unwrap();
    let job = restore_collections(&place, &backup, &one("medium_articles", "", "copy", None)).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.ends_with("the target was left as it was"), "{reason}");
    let left: Vec<_> = files(&place.path("cluster"))
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains(".longshore-restore"))
        .collect();
    assert_eq!(left, before);
    let (answer, job) = restore_cluster(&place, &backup, &new_cluster("New", 1, "KEEP", "")).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    assert!(job["reason"].as_str().unwrap().ends_with("the target was left as it was"), "{job}");
    let new = answer["clusterId"].as_str().unwrap();
    assert!(!place.path("data/clusters").join(new).exists());
    assert_eq!(place.send("GET", &format!("/v2/clusters/{new}"), "").await.refusal(), (404, 96018));
    // The name is free again, and with the packs it works.
    std::fs::rename(place.path("packs"), place.path("vault-eu/packs")).unwrap();
    let (_, job) = restore_cluster(&place, &backup, &new_cluster("New", 1, "KEEP", "")).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_after_a_host_that_died_between_two_collections() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let body = json!({ "destClusterId": "in01-test", "dbCollections": [{ "destDbName": "again", "collections": [
        { "collectionName": "medium_articles" }, { "collectionName": "python_manual" },
    ] }] });
    let answer = place.send("POST", &format!("{backup}/restoreCollection"), &body.to_string()).await;
    let id: longshore_model::JobId = answer.data()["jobId"].as_str().unwrap().parse().unwrap();
    place.ended(id.as_str()).await;
    place.host.shutdown().await;
    // As if the host had died with one of the two in place: one is taken away again, and the job is not ended.
    std::fs::remove_dir_all(place.path("cluster/databases/again/collections/python_manual")).unwrap();
    let request = place.catalog().get_job(&id).unwrap().unwrap();
    let again = longshore_catalog::NewJob {
        id: "job-again".parse().unwrap(),
        job_type: request.job_type,
        project: request.project,
        cluster: request.cluster,
        backup: request.backup,
        request: request.request,
    };
    let now = longshore_model::Timestamp::from_millis(1);
    place.catalog().create_job(&again, now).unwrap();
    place.catalog().claim(&again.id, "dead", now, 1_000).unwrap();
    asked.lock().unwrap().plans.clear();
    let start = start_with(&place.path("data"), String::new(), &asked);
    let place = place.restart(start).await;
    let job = place.ended("job-again").await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert_eq!(
        job["result"]["restoredByAnEarlierAttempt"],
        json!([{ "database": "again", "collection": "medium_articles" }]),
        "{job}"
    );
    let plan = asked.lock().unwrap().plans.pop().unwrap();
    let names: Vec<_> = plan.collections.iter().map(|one| one.mapping.to.to_string()).collect();
    assert_eq!(names, ["again.python_manual"]);
    let there = inventory(&place.path("cluster")).await;
    assert_eq!(there.collections.iter().filter(|one| one.name.database == "again").count(), 2);
    place.host.shutdown().await;
}

/// Files of the cluster, but for what a restore keeps to go on with.
fn cluster_files(place: &Place) -> Vec<std::path::PathBuf> {
    let mut files = files(&place.path("cluster"));
    files.retain(|path| !path.to_string_lossy().contains(".longshore-restore"));
    files.sort();
    files
}

/// Starts a restore whose commit does not end by itself; its job, which has got that far.
async fn in_its_commit(place: &Place, path: &str, body: &str) -> Value {
    let answer = place.send("POST", path, body).await.data().clone();
    place.in_phase(answer["jobId"].as_str().unwrap(), "commit").await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_canceled_is_canceled_and_leaves_the_target_as_it_was() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let before = cluster_files(&place);
    asked.lock().unwrap().behaviour = Behaviour::UntilStopped;
    let body = one("medium_articles", "", "copy", None).to_string();
    let answer = in_its_commit(&place, &format!("{backup}/restoreCollection"), &body).await;
    let id = answer["jobId"].as_str().unwrap();
    place.send("POST", &format!("/v2/jobs/{id}/cancel"), "{}").await.data();
    let job = place.ended(id).await;
    assert_eq!(job["status"], "CANCELED", "{job}");
    assert_eq!(cluster_files(&place), before);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_host_stops_goes_on_at_the_next_start() {
    let (place, asked) = servers(&[("server-1", 8)]).await;
    let backup = back_up(&place, "in01-server", CLUSTER_BODY).await;
    asked.lock().unwrap().behaviour = Behaviour::UntilStopped;
    let more = r#","includeRbac":true"#;
    let body = new_cluster("New", 4, "KEEP", more);
    let answer = in_its_commit(&place, &format!("{backup}/restoreCluster"), &body).await;
    asked.lock().unwrap().behaviour = Behaviour::Well;
    let start = start_with(&place.path("data"), String::new(), &asked);
    let place = place.restart(start).await;
    let job = place.ended(answer["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    // The second attempt comes to the passwords that the client was told before the first.
    let access = asked.lock().unwrap().access.clone();
    assert_eq!(access.len(), 2);
    for access in access {
        assert_eq!(access.administrator.unwrap().password.expose(), answer["password"].as_str().unwrap());
        let of_ann = access.new_password.unwrap()("ann").unwrap();
        assert_eq!(answer["users"], json!([{ "username": "ann", "password": of_ann.expose() }]));
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_restore_left_is_said_by_name() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let lost = place.path("cluster/databases/again/collections/python_manual");
    asked.lock().unwrap().behaviour = Behaviour::Loses(lost);
    let body = json!({ "destClusterId": "in01-test", "dbCollections": [{ "destDbName": "again", "collections": [
        { "collectionName": "medium_articles" }, { "collectionName": "python_manual" },
    ] }] });
    let job = restore_collections(&place, &backup, &body).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(
        reason.ends_with("in the target are now again.medium_articles; not restored are again.python_manual"),
        "{reason}"
    );
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_known_while_it_is_restored_and_not_after_that_was_canceled() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    asked.lock().unwrap().behaviour = Behaviour::UntilStopped;
    let body = new_cluster("New", 3, "KEEP", "");
    let answer = in_its_commit(&place, &format!("{backup}/restoreCluster"), &body).await;
    let path = format!("/v2/clusters/{}", answer["clusterId"].as_str().unwrap());
    let described = place.send("GET", &path, "").await.data().clone();
    for (name, expected) in [
        ("clusterName", json!("New")),
        ("status", json!("RESTORE_BACKUP")),
        ("cuSize", json!(3)),
        ("regionId", json!("local-eu")),
        ("projectId", json!("proj-test")),
        ("connectAddress", json!("")),
    ] {
        assert_eq!(described[name], expected, "{described}");
    }
    assert!(described["createProgress"].as_u64().unwrap() < 100, "{described}");
    // It is nothing that could be backed up yet.
    let create = place.send("POST", &format!("{path}/backups/create"), CLUSTER_BODY).await;
    assert_eq!(create.refusal(), (404, 96018));
    let other = longshore_model::KeyScope::of(["proj-other".parse().unwrap()], []);
    let (_, key) = place.key_for("elsewhere", longshore_engine::Role::ProjectAdmin, other, None);
    assert_eq!(place.send_as(&key, "GET", &path, "").await.refusal(), (403, 96016));
    let id = answer["jobId"].as_str().unwrap();
    place.send("POST", &format!("/v2/jobs/{id}/cancel"), "{}").await.data();
    assert_eq!(place.ended(id).await["status"], "CANCELED");
    assert_eq!(place.send("GET", &path, "").await.refusal(), (404, 96018));
    place.host.shutdown().await;
}
