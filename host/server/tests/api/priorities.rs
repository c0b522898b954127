//! Restores do not wait for backups that take long.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use longshore_engine::{ClusterAccess, EngineError, LocalClusters};
use longshore_model::CollectionName;
use longshore_source::{
    CollectionPoint, Inventory, MilvusLiteSource, PointOptions, RestoreTarget, Source, SourceError, SourceKind,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::place::{CREATE, Place, Start, copy_tree};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
/// More than any test takes.
const OPEN: usize = 1_000;

/// Clusters whose inventory is not answered while the gate is closed.
struct Gated {
    lite: LocalClusters,
    gate: Arc<Semaphore>,
}

impl ClusterAccess for Gated {
    fn source(&self, _kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError> {
        Ok(Arc::new(GatedSource(MilvusLiteSource::open(Path::new(location))?, Arc::clone(&self.gate))))
    }

    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError> {
        self.lite.target(kind, location)
    }

    fn provision(&self, kind: &str, cluster_id: &str) -> Result<Option<String>, EngineError> {
        self.lite.provision(kind, cluster_id)
    }
}

struct GatedSource(MilvusLiteSource, Arc<Semaphore>);

#[async_trait]
impl Source for GatedSource {
    fn kind(&self) -> SourceKind {
        self.0.kind()
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        let _open = self.1.acquire().await.unwrap();
        self.0.inventory().await
    }

    async fn collection_names(&self) -> Result<Vec<CollectionName>, SourceError> {
        self.0.collection_names().await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        self.0.open_point(name, options).await
    }
}

async fn status(place: &Place, job: &str) -> Value {
    place.send("GET", &format!("/v2/jobs/{job}"), "").await.data()["status"].clone()
}

/// Starts a job; its id.
async fn start(place: &Place, path: &str, body: &str) -> String {
    place.send("POST", path, body).await.data()["jobId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_does_not_wait_for_backups_that_take_all_other_room() {
    let folder = Place::folder();
    copy_tree(&folder.path().join("cluster"), &folder.path().join("second"));
    let gate = Arc::new(Semaphore::new(OPEN));
    let lite = LocalClusters::new(folder.path().join("data/clusters"));
    let second =
        "[[cluster]]\nid = \"in01-second\"\nname = \"Second\"\nregion = \"local-eu\"\nmilvus_lite = \"second\"\n";
    let clusters = Some(Arc::new(Gated { lite, gate: Arc::clone(&gate) }) as Arc<dyn ClusterAccess>);
    let place = Place::start_in(folder, Start { more: second.to_owned(), clusters, ..Start::default() }).await;
    let backup = place.backup(CLUSTER_BODY).await;

    assert_eq!(gate.forget_permits(OPEN), OPEN);
    let backups = [
        start(&place, CREATE, CLUSTER_BODY).await,
        start(&place, "/v2/clusters/in01-second/backups/create", CLUSTER_BODY).await,
    ];
    for job in &backups {
        while status(&place, job).await == "PENDING" {
            tokio::task::yield_now().await;
        }
    }
    let of_backup = format!("/v2/clusters/in01-test/backups/{backup}");
    let verify = start(&place, &format!("{of_backup}/verify"), "{}").await;
    for name in ["New-1", "New-2"] {
        let body =
            format!(r#"{{"projectId":"proj-test","clusterName":"{name}","cuSize":1,"collectionStatus":"KEEP"}}"#);
        let restore = start(&place, &format!("{of_backup}/restoreCluster"), &body).await;
        let ended = place.ended(&restore).await;
        assert_eq!(ended["status"], "SUCCESSFUL", "{ended}");
    }
    assert_eq!(status(&place, &verify).await, "PENDING", "the room of restores is theirs alone");
    for job in &backups {
        assert_eq!(status(&place, job).await, "IN_PROGRESS");
    }

    gate.add_permits(OPEN);
    for job in backups.iter().chain([&verify]) {
        let ended = place.ended(job).await;
        assert_eq!(ended["status"], "SUCCESSFUL", "{ended}");
    }
    place.host.shutdown().await;
}
