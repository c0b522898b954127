//! A host with two kinds of cluster: Milvus Lite directories, and servers that stand for them, which have users, wait in a
//! pool, and whose targets behave as a test wants.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Bytes;
use longshore_catalog::{Catalog as _, NewCluster};
use longshore_engine::{ClusterAccess, EngineError, LocalClusters};
use longshore_model::{CollectionName, Digest};
use longshore_source::{
    CollectionPoint, Committed, FilePiece, Inventory, MilvusLiteSource, PointOptions, RestoreRun, RestoreTarget,
    RestoreWatch, RestoredCollection, Source, SourceError, SourceKind, TargetAccess, TargetPlan,
};
use serde_json::{Value, json};

use crate::place::{Place, Start, copy_tree};

pub(crate) const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
/// A kind of cluster that is a Milvus Lite directory with users.
const KIND: &str = "milvus";

/// What targets were asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) plans: Vec<TargetPlan>,
    pub(crate) access: Vec<TargetAccess>,
    /// How restores that are begun from now on go.
    pub(crate) behaviour: Behaviour,
}

/// How a restore goes once everything is written.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Well,
    /// It goes on until it is told to stop, and takes back what it has made then, as a server that imports does.
    UntilStopped,
    /// Everything is in place, and then this folder is gone and it fails.
    Loses(PathBuf),
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
        let users = json!([{ "name": "ann", "roles": ["reader"] }, { "name": "db_admin", "roles": ["admin"] }]);
        let access = Some(json!({ "users": users, "roles": ["reader"], "grants": [] }));
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
    async fn begin(&self, plan: &TargetPlan, watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        assert!(self.has_users || plan.access.is_none(), "Milvus Lite has no users");
        self.asked.lock().unwrap().plans.push(plan.clone());
        self.asked.lock().unwrap().access.extend(plan.access.clone());
        let behaviour = self.asked.lock().unwrap().behaviour.clone();
        Ok(Box::new(Run { run: self.target.begin(plan, watch).await?, behaviour }))
    }
}

struct Run {
    run: Box<dyn RestoreRun>,
    behaviour: Behaviour,
}

#[async_trait]
impl RestoreRun for Run {
    async fn left_over(&self, collection: usize, file: usize) -> Result<Option<Digest>, SourceError> {
        self.run.left_over(collection, file).await
    }

    async fn clear(&self, collection: usize, file: usize) -> Result<(), SourceError> {
        self.run.clear(collection, file).await
    }

    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        self.run.write(collection, file, offset, bytes).await
    }

    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        self.run.write_pieces(collection, pieces).await
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        self.run.finish_collection(collection).await
    }

    async fn commit(self: Box<Self>, watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        let Self { run, behaviour } = *self;
        match behaviour {
            Behaviour::Well => run.commit(watch).await,
            Behaviour::UntilStopped => {
                while !watch.is_stopped() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                run.abort().await?;
                Err(SourceError::Stopped)
            }
            Behaviour::Loses(folder) => {
                run.commit(watch).await?;
                std::fs::remove_dir_all(folder).unwrap();
                Err(SourceError::Cancelled)
            }
        }
    }

    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        self.run.suspend().await
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        self.run.abort().await
    }
}

/// How a host with these servers is started.
pub(crate) fn start_with(data: &Path, more: String, asked: &Arc<Mutex<Asked>>) -> Start {
    let lite = LocalClusters::new(data.join("clusters"));
    let clusters: Arc<dyn ClusterAccess> = Arc::new(Servers { lite, asked: Arc::clone(asked) });
    Start { more, clusters: Some(clusters), ..Start::default() }
}

/// A host with two kinds of cluster: `in01-test`, a Milvus Lite directory, and `in01-server`, a server with users. Their
/// collections have eight shards and a time to live.
pub(crate) async fn servers(pool: &[(&str, u32)]) -> (Place, Arc<Mutex<Asked>>) {
    let folder = Place::folder();
    for name in ["medium_articles", "python_manual"] {
        let path = folder.path().join("cluster/collections").join(name).join("schema.json");
        let mut schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        schema["shards_num"] = json!(8);
        schema["properties"] = json!({ "collection.ttl.seconds": 3600, "kept": "yes" });
        std::fs::write(&path, serde_json::to_vec(&schema).unwrap()).unwrap();
    }
    copy_tree(&folder.path().join("cluster"), &folder.path().join("server"));
    let mut more = "[limits]\nheartbeat_ms = 10\n[restore]\nshards_per_cu = 2\n".to_owned();
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
    let start = start_with(&folder.path().join("data"), more, &asked);
    let place = Place::start_in(folder, start).await;
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
pub(crate) async fn back_up(place: &Place, cluster: &str, body: &str) -> String {
    let made = place.send("POST", &format!("/v2/clusters/{cluster}/backups/create"), body).await;
    let job = place.ended(made.data()["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    format!("/v2/clusters/{cluster}/backups/{}", made.data()["backupId"].as_str().unwrap())
}

pub(crate) fn new_cluster(name: &str, cu_size: u32, status: &str, more: &str) -> String {
    format!(
        r#"{{"projectId":"proj-test","clusterName":"{name}","cuSize":{cu_size},"collectionStatus":"{status}"{more}}}"#
    )
}

/// Restores into a new cluster; the answer and the job that has ended.
pub(crate) async fn restore_cluster(place: &Place, backup: &str, body: &str) -> (Value, Value) {
    let answer = place.send("POST", &format!("{backup}/restoreCluster"), body).await.data().clone();
    let job = place.ended(answer["jobId"].as_str().unwrap()).await;
    (answer, job)
}

pub(crate) async fn restore_collections(place: &Place, backup: &str, body: &Value) -> Value {
    let answer = place.send("POST", &format!("{backup}/restoreCollection"), &body.to_string()).await;
    place.ended(answer.data()["jobId"].as_str().unwrap()).await
}

pub(crate) fn one(from: &str, database: &str, to: &str, status: Option<&str>) -> Value {
    let mut collection = json!({ "collectionName": from, "destCollectionName": to });
    if let Some(status) = status {
        collection["destCollectionStatus"] = json!(status);
    }
    json!({ "destClusterId": "in01-test", "dbCollections": [
        { "dbName": "", "destDbName": database, "collections": [collection] },
    ] })
}

pub(crate) async fn inventory(path: &Path) -> Inventory {
    MilvusLiteSource::open(path).unwrap().inventory().await.unwrap()
}

pub(crate) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
