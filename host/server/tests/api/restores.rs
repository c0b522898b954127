//! The rules of restores, over Milvus Lite directories and over servers that stand for them: what is asked of targets, and
//! what clients are told.

use std::path::Path;

use longshore_model::RestoredLoadState;
use longshore_source::Inventory;
use serde_json::{Value, json};

use crate::place::copy_tree;
use crate::servers::{
    CLUSTER_BODY, back_up, files, inventory, new_cluster, one, restore_cluster, restore_collections, servers,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_users_answers_no_password_and_says_why() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let (answer, job) =
        restore_cluster(&place, &backup, &new_cluster("New-1", 1, "RELEASE", r#","includeRbac":true"#)).await;
    assert_eq!((&answer["username"], &answer["password"]), (&json!(""), &json!("")));
    assert!(answer["note"].as_str().unwrap().contains("no users"), "{answer}");
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert!(job["result"]["note"].as_str().unwrap().contains("the backup holds none to restore"), "{job}");
    assert!(asked.lock().unwrap().access.is_empty());
    // It is a directory of its own, registered, with everything that the other has.
    let new = answer["clusterId"].as_str().unwrap();
    let described = place.send("GET", &format!("/v2/clusters/{new}"), "").await.data().clone();
    let location = described["connectAddress"].as_str().unwrap();
    assert!(Path::new(location).starts_with(place.path("data/clusters")), "{described}");
    let (old, restored) = (inventory(&place.path("cluster")).await, inventory(Path::new(location)).await);
    let names = |inventory: &Inventory| inventory.collections.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&restored), names(&old));
    assert_eq!(restored.databases, old.databases, "aliases and properties of databases");
    assert!(old.databases.iter().any(|database| !database.aliases.is_empty()), "the sample has aliases");
    for (old, new) in old.collections.iter().zip(&restored.collections) {
        assert_eq!(
            (&old.indexes, &old.partitions, old.rows),
            (&new.indexes, &new.partitions, new.rows),
            "{}",
            old.name
        );
    }
    assert!(old.collections.iter().any(|one| !one.indexes.is_empty()), "the sample has indexes");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_to_live_is_left_out_and_everything_else_stays() {
    let (place, _) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let (answer, job) = restore_cluster(&place, &backup, &new_cluster("New-1", 1, "KEEP", "")).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let location = place.path("data/clusters").join(answer["clusterId"].as_str().unwrap());
    let schema = std::fs::read(location.join("collections/medium_articles/schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    assert_eq!(schema["properties"], json!({ "kept": "yes" }), "{schema}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_states_and_names_reach_the_target_as_they_were_asked_for() {
    use RestoredLoadState::{Keep, Loaded, NotLoaded};
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    for (number, (status, expected)) in
        [("KEEP", Keep), ("RELEASE", NotLoaded), ("LOADED", Loaded), ("NOT_LOADED", NotLoaded)].into_iter().enumerate()
    {
        let (_, job) = restore_cluster(&place, &backup, &new_cluster(&format!("N-{number}"), 1, status, "")).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        let plan = asked.lock().unwrap().plans.pop().unwrap();
        assert!(plan.whole_cluster && plan.collections.len() > 3);
        assert!(
            plan.collections.iter().all(|one| one.mapping.load_state == expected && one.mapping.from == one.mapping.to)
        );
    }
    for (number, (status, expected)) in
        [(Some("LOADED"), Loaded), (Some("UNLOADED"), NotLoaded), (None, NotLoaded)].into_iter().enumerate()
    {
        let to = format!("copy_{number}");
        let job = restore_collections(&place, &backup, &one("medium_articles", "elsewhere", &to, status)).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        let plan = asked.lock().unwrap().plans.pop().unwrap();
        let mapping = &plan.collections[0].mapping;
        assert_eq!(mapping.load_state, expected);
        assert_eq!(
            (mapping.from.to_string(), mapping.to.to_string()),
            ("default.medium_articles".to_owned(), format!("elsewhere.{to}"))
        );
    }
    // The other database was made, with what is in it.
    let there = inventory(&place.path("cluster")).await;
    let copies = there.collections.iter().filter(|one| one.name.database == "elsewhere").count();
    assert!(copies == 3 && there.databases.iter().any(|database| database.name == "elsewhere"));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_names_no_collections_is_of_all_of_them_and_loads_none() {
    let (place, asked) = servers(&[]).await;
    let names = ["medium_articles", "recent_searches"];
    let body = json!({ "backupType": "COLLECTION", "dbCollections": [{ "collectionNames": names }] });
    let backup = back_up(&place, "in01-test", &body.to_string()).await;
    for name in names {
        std::fs::remove_dir_all(place.path("cluster/collections").join(name)).unwrap();
    }
    let job = restore_collections(&place, &backup, &json!({ "destClusterId": "in01-test" })).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let plan = asked.lock().unwrap().plans.pop().unwrap();
    let restored: Vec<_> =
        plan.collections.iter().map(|one| (one.mapping.to.collection.as_str(), one.mapping.load_state)).collect();
    assert_eq!(restored, names.map(|name| (name, RestoredLoadState::NotLoaded)));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_lowered_to_what_the_cluster_takes_and_never_raised() {
    let (place, asked) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    for (cu_size, expected) in [(1, 2), (3, 6), (4, 8), (64, 8)] {
        let (_, job) =
            restore_cluster(&place, &backup, &new_cluster(&format!("N-{cu_size}"), cu_size, "KEEP", "")).await;
        let plan = asked.lock().unwrap().plans.pop().unwrap();
        let shards = |name: &str| {
            let collection = plan.collections.iter().find(|one| one.mapping.to.collection == name).unwrap();
            collection.schema.get("shards_num").cloned()
        };
        assert_eq!(shards("medium_articles"), Some(json!(expected)), "{cu_size} CU");
        assert_eq!(shards("recent_searches"), None, "nothing is made up");
        let lowered = job["result"]["restore"]["loweredShards"].as_array().unwrap();
        assert_eq!(lowered.len(), if expected < 8 { 2 } else { 0 }, "{lowered:?}");
        if expected < 8 {
            assert_eq!((&lowered[0]["backedUp"], &lowered[0]["restored"]), (&json!(8), &json!(expected)));
        }
    }
    // Into a cluster that exists it is that one's size that counts: 1 CU.
    restore_collections(&place, &backup, &one("python_manual", "", "copy", None)).await;
    let plan = asked.lock().unwrap().plans.pop().unwrap();
    assert_eq!(plan.collections[0].schema["shards_num"], 2);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_administrator_gets_a_password_once_and_users_come_along_on_request_only() {
    let (place, asked) = servers(&[("server-1", 8), ("server-2", 8)]).await;
    let backup = back_up(&place, "in01-server", CLUSTER_BODY).await;
    let mut passwords = Vec::new();
    for (name, more) in [("Without", ""), ("With", r#","includeRbac":true"#)] {
        let (answer, job) = restore_cluster(&place, &backup, &new_cluster(name, 4, "KEEP", more)).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        assert_eq!(answer["username"], "db_admin");
        assert!(answer.get("note").is_none(), "{answer}");
        let access = asked.lock().unwrap().access.pop().unwrap();
        let password = answer["password"].as_str().unwrap().to_owned();
        let administrator = access.administrator.unwrap();
        let made = (administrator.name.as_str(), administrator.password.expose());
        assert_eq!(made, ("db_admin", password.as_str()), "the one that is made");
        let users = access.kept.map(|users| users["users"][0]["name"].clone());
        assert_eq!(users, (!more.is_empty()).then(|| json!("ann")));
        passwords.push(password);
        if more.is_empty() {
            assert!(answer.get("users").is_none() && access.new_password.is_none(), "{answer}");
            continue;
        }
        // The administrator of the backup is not told twice.
        let of_ann = access.new_password.unwrap()("ann").unwrap().expose().to_owned();
        assert_eq!(answer["users"], json!([{ "username": "ann", "password": of_ann }]));
        passwords.push(of_ann);
    }
    let different: std::collections::BTreeSet<&String> = passwords.iter().collect();
    assert_eq!((passwords.len(), different.len()), (3, 3));
    // It is kept nowhere: not in the catalog, not in its snapshot, not in any answer.
    place.host.snapshot_catalog().await.unwrap();
    place.host.shutdown().await;
    for password in &passwords {
        let found = files(place.folder.path()).into_iter().find(|path| {
            std::fs::read(path).unwrap().windows(password.len()).any(|window| window == password.as_bytes())
        });
        assert_eq!(found, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_empty_server_that_is_large_enough_is_taken_once() {
    let (place, _) = servers(&[("large", 16), ("full", 4), ("small", 4), ("tiny", 1)]).await;
    copy_tree(&place.path("cluster/collections"), &place.path("full/collections"));
    let backup = back_up(&place, "in01-server", CLUSTER_BODY).await;
    let mut places = Vec::new();
    for name in ["First", "Second"] {
        let (answer, job) = restore_cluster(&place, &backup, &new_cluster(name, 2, "KEEP", "")).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        let path = format!("/v2/clusters/{}", answer["clusterId"].as_str().unwrap());
        let described = place.send("GET", &path, "").await.data().clone();
        assert_eq!(described["cuSize"], 2);
        places.push(Path::new(described["connectAddress"].as_str().unwrap()).file_name().unwrap().to_owned());
    }
    assert_eq!(places, ["small", "large"]);
    let before = place.counts();
    let answer = place.send("POST", &format!("{backup}/restoreCluster"), &new_cluster("Third", 2, "KEEP", "")).await;
    assert_eq!(answer.refusal(), (409, 96040));
    let said = answer.body["message"].as_str().unwrap();
    assert!(said.contains("server_pool") && said.contains("`full` holds"), "{said}");
    assert_eq!(place.counts(), before);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_from_the_moment_a_restore_is_accepted() {
    let (place, _) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let path = format!("{backup}/restoreCluster");
    let body = new_cluster("Same", 1, "KEEP", "");
    let answers = futures::future::join_all((0..4).map(|_| place.send("POST", &path, &body))).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refusal(), (409, 96017));
    }
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_said_before_a_job_and_nothing_is_replaced() {
    let (place, _) = servers(&[]).await;
    let backup = back_up(&place, "in01-test", CLUSTER_BODY).await;
    let before = place.counts();
    let body = one("medium_articles", "", "python_manual", None).to_string();
    let answer = place.send("POST", &format!("{backup}/restoreCollection"), &body).await;
    assert_eq!(answer.refusal(), (409, 96039));
    assert!(answer.body["message"].as_str().unwrap().contains("python_manual"), "{answer:?}");
    assert_eq!(place.counts(), before);
    // Without a list everything is restored, and all of it is in the way here.
    let answer = place.send("POST", &format!("{backup}/restoreCollection"), r#"{"destClusterId":"in01-test"}"#).await;
    assert_eq!(answer.refusal(), (409, 96039));
    place.host.shutdown().await;
}
