//! The rules of restores, over Milvus Lite directories and over servers that stand for them: a kind of cluster with users,
//! restored into servers that wait.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use longshore_catalog::{Catalog as _, NewCluster};
use longshore_engine::{ClusterAccess, EngineError, LocalClusters};
use longshore_model::{CollectionName, RestoredLoadState};
use longshore_source::{
    CollectionPoint, Inventory, MilvusLiteSource, PointOptions, RestoreRun, RestoreTarget, Source, SourceError,
    SourceKind, TargetAccess, TargetPlan,
};
use serde_json::{Value, json};

use crate::place::{Place, Start, copy_tree};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
/// A kind of cluster that is a Milvus Lite directory with users.
const KIND: &str = "milvus";

/// What targets were asked for.
#[derive(Default)]
struct Asked {
    plans: Vec<TargetPlan>,
    access: Vec<TargetAccess>,
}

/// Opens directories as clusters of two kinds.
struct Servers {
    lite: LocalClusters,
    asked: Arc<Mutex<Asked>>,
}

impl ClusterAccess for Servers {
    fn source(&self, kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError> {
        if kind != KIND {
            return self.lite.source(kind, location);
        }
        Ok(Arc::new(Server(MilvusLiteSource::open(Path::new(location))?)))
    }

    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError> {
        let target = self.lite.target(SourceKind::MilvusLite.as_str(), location)?;
        let has_users = kind == KIND;
        Ok(Arc::new(Target { target, asked: Arc::clone(&self.asked), has_users }))
    }

    fn has_users(&self, kind: &str) -> bool {
        kind == KIND
    }

    fn provision(&self, kind: &str, cluster_id: &str) -> Result<Option<String>, EngineError> {
        if kind == KIND { Ok(None) } else { self.lite.provision(kind, cluster_id) }
    }
}

struct Server(MilvusLiteSource);

#[async_trait]
impl Source for Server {
    fn kind(&self) -> SourceKind {
        self.0.kind()
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        let access = Some(json!({ "users": ["ann"], "roles": { "reader": ["ann"] } }));
        Ok(Inventory { access, ..self.0.inventory().await? })
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        self.0.open_point(name, options).await
    }
}

struct Target {
    target: Arc<dyn RestoreTarget>,
    asked: Arc<Mutex<Asked>>,
    has_users: bool,
}

#[async_trait]
impl RestoreTarget for Target {
    async fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn RestoreRun>, SourceError> {
        assert!(self.has_users || plan.access.is_none(), "Milvus Lite has no users");
        self.asked.lock().unwrap().plans.push(plan.clone());
        self.asked.lock().unwrap().access.extend(plan.access.clone());
        self.target.begin(plan).await
    }
}

/// A host with two kinds of cluster: `in01-test`, a Milvus Lite directory, and `in01-server`, a server with users. Their
/// collections have eight shards and a time to live.
async fn servers(pool: &[(&str, u32)]) -> (Place, Arc<Mutex<Asked>>) {
    let folder = Place::folder();
    for name in ["medium_articles", "python_manual"] {
        let path = folder.path().join("cluster/collections").join(name).join("schema.json");
        let mut schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        schema["shards_num"] = json!(8);
        schema["properties"] = json!({ "collection.ttl.seconds": 3600, "kept": "yes" });
        std::fs::write(&path, serde_json::to_vec(&schema).unwrap()).unwrap();
    }
    copy_tree(&folder.path().join("cluster"), &folder.path().join("server"));
    let mut more = "[restore]\nshards_per_cu = 2\n".to_owned();
    for (name, cu_size) in pool {
        let location = folder.path().join(name);
        // An empty Milvus Lite directory.
        std::fs::create_dir_all(location.join("collections")).unwrap();
        std::fs::create_dir_all(location.join("databases")).unwrap();
        more.push_str(&format!(
            "[[server_pool]]\nname = \"{name}\"\nkind = \"{KIND}\"\nregion = \"local-eu\"\ncu_size = {cu_size}\nlocation = \"{}\"\n",
            location.display()
        ));
    }
    let asked = Arc::new(Mutex::new(Asked::default()));
    let lite = LocalClusters::new(folder.path().join("data/clusters"));
    let clusters: Arc<dyn ClusterAccess> = Arc::new(Servers { lite, asked: Arc::clone(&asked) });
    let place = Place::start_in(folder, Start { more, clusters: Some(clusters), ..Start::default() }).await;
    let server = NewCluster {
        id: "in01-server".parse().unwrap(),
        name: "Server".to_owned(),
        project: "proj-test".parse().unwrap(),
        region: "local-eu".parse().unwrap(),
        source_kind: KIND.to_owned(),
        location: place.path("server").display().to_string(),
        cu_size: 4,
        status: "RUNNING".to_owned(),
    };
    place.catalog().put_cluster(&server, longshore_model::Timestamp::from_millis(1)).unwrap();
    (place, asked)
}

/// Makes a backup of a cluster; its path in the API.
async fn back_up(place: &Place, cluster: &str, body: &str) -> String {
    let made = place.send("POST", &format!("/v2/clusters/{cluster}/backups/create"), body).await;
    let job = place.ended(made.data()["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    format!("/v2/clusters/{cluster}/backups/{}", made.data()["backupId"].as_str().unwrap())
}

fn new_cluster(name: &str, cu_size: u32, status: &str, more: &str) -> String {
    format!(
        r#"{{"projectId":"proj-test","clusterName":"{name}","cuSize":{cu_size},"collectionStatus":"{status}"{more}}}"#
    )
}

/// Restores into a new cluster; the answer and the job that has ended.
async fn restore_cluster(place: &Place, backup: &str, body: &str) -> (Value, Value) {
    let answer = place.send("POST", &format!("{backup}/restoreCluster"), body).await.data().clone();
    let job = place.ended(answer["jobId"].as_str().unwrap()).await;
    (answer, job)
}

async fn restore_collections(place: &Place, backup: &str, body: &Value) -> Value {
    let answer = place.send("POST", &format!("{backup}/restoreCollection"), &body.to_string()).await;
    place.ended(answer.data()["jobId"].as_str().unwrap()).await
}

fn one(from: &str, database: &str, to: &str, status: Option<&str>) -> Value {
    let mut collection = json!({ "collectionName": from, "destCollectionName": to });
    if let Some(status) = status {
        collection["destCollectionStatus"] = json!(status);
    }
    json!({ "destClusterId": "in01-test", "dbCollections": [
        { "dbName": "", "destDbName": database, "collections": [collection] },
    ] })
}

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

async fn inventory(path: &Path) -> Inventory {
    MilvusLiteSource::open(path).unwrap().inventory().await.unwrap()
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
        assert!(more.is_empty() || access.new_password.unwrap()().is_ok(), "users get passwords");
        let users = access.kept.map(|users| users["roles"]["reader"][0].clone());
        assert_eq!(users, (!more.is_empty()).then(|| json!("ann")));
        passwords.push(password);
    }
    assert_ne!(passwords[0], passwords[1]);
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

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
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
    let lite = LocalClusters::new(place.path("data/clusters"));
    let clusters: Arc<dyn ClusterAccess> = Arc::new(Servers { lite, asked: Arc::clone(&asked) });
    let place = place.restart(Start { clusters: Some(clusters), ..Start::default() }).await;
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
