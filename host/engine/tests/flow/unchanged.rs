//! A second backup of an unchanged cluster reads metadata only.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_engine::{
    BackupOutcome, BackupRequest, ClusterTarget, Limits, RegionVaults, RunContext, RunPolicy, plan_backup, run_backup,
};
use longshore_model::{CollectionName, FileClass};
use longshore_source::{
    CollectionPoint, Inventory, MilvusLiteSource, PointFile, PointOptions, PointState, Source, SourceError, SourceKind,
};
use longshore_vault::{Vault, VaultOptions};
use serde_json::Value;

use crate::support::{root, sample};

/// What was asked of a source.
#[derive(Default)]
struct Asked {
    inventories: AtomicU64,
    /// Reads of files that are written once.
    reads: AtomicU64,
    counts: AtomicU64,
}

impl Asked {
    fn take(&self) -> [u64; 3] {
        [&self.inventories, &self.reads, &self.counts].map(|count| count.swap(0, Ordering::AcqRel))
    }
}

struct Watched {
    inner: MilvusLiteSource,
    asked: Arc<Asked>,
}

#[async_trait]
impl Source for Watched {
    fn kind(&self) -> SourceKind {
        self.inner.kind()
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        self.asked.inventories.fetch_add(1, Ordering::AcqRel);
        self.inner.inventory().await
    }

    async fn collection_names(&self) -> Result<Vec<CollectionName>, SourceError> {
        self.inner.collection_names().await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        let inner = self.inner.open_point(name, options).await?;
        Ok(Arc::new(WatchedPoint { inner, asked: Arc::clone(&self.asked) }))
    }
}

struct WatchedPoint {
    inner: Arc<dyn CollectionPoint>,
    asked: Arc<Asked>,
}

#[async_trait]
impl CollectionPoint for WatchedPoint {
    fn name(&self) -> &CollectionName {
        self.inner.name()
    }

    fn files(&self) -> &[PointFile] {
        self.inner.files()
    }

    fn schema(&self) -> &Value {
        self.inner.schema()
    }

    fn description(&self) -> &Value {
        self.inner.description()
    }

    fn physical_rows(&self) -> u64 {
        self.inner.physical_rows()
    }

    async fn live_rows(&self, memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        self.asked.counts.fetch_add(1, Ordering::AcqRel);
        self.inner.live_rows(memory_bytes).await
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        if matches!(self.inner.files()[file].class, FileClass::Segment | FileClass::Delta) {
            self.asked.reads.fetch_add(1, Ordering::AcqRel);
        }
        self.inner.read(file, offset, length).await
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        self.inner.recheck().await
    }
}

async fn back_up(directory: &Path, vault: &Vault, asked: &Arc<Asked>) -> BackupOutcome {
    let context = RunContext::new(Limits::default());
    let source = Watched { inner: MilvusLiteSource::open(directory).unwrap(), asked: Arc::clone(asked) };
    let vaults = RegionVaults::of([vault.clone()]).unwrap();
    let mut cluster = ClusterTarget::for_directory(directory, vault.region_id().clone()).unwrap();
    cluster.project_id = vault.project_id().clone();
    let request = BackupRequest::manual(cluster, Vec::new(), &context).unwrap();
    let policy = RunPolicy::standard(vault).unwrap();
    let plan = plan_backup(request, &source, &policy, &vaults, &context).await.unwrap();
    run_backup(plan, &source, &vaults, &context).await.unwrap()
}

fn rows(outcome: &BackupOutcome) -> Vec<(String, u64, Option<u64>)> {
    let row = |one: &longshore_engine::BackedUpCollection| (one.name.to_string(), one.physical_rows, one.live_rows);
    outcome.collections.iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_neither_read_nor_counted_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = VaultOptions::random("proj-local".parse().unwrap(), "local".parse().unwrap(), None).unwrap();
    let vault = Vault::init_local(&folder.path().join("vault"), options).await.unwrap();
    let (directory, asked) = (root().join("examples/sample-cluster"), Arc::<Asked>::default());
    let first = back_up(&directory, &vault, &asked).await;
    let [_, reads, counts] = asked.take();
    assert!(reads > 20 && counts == 5, "{reads} reads, {counts} counts");
    let second = back_up(&directory, &vault, &asked).await;
    assert_eq!(asked.take(), [1, 0, 0], "inventories, reads, counts");
    assert_eq!(rows(&second), rows(&first));
    assert!(second.collections.iter().all(|one| one.live_rows.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_counted_again_when_only_its_log_has_fewer_rows() {
    let folder = tempfile::tempdir().unwrap();
    let directory = sample(folder.path());
    let options = VaultOptions::random("proj-local".parse().unwrap(), "local".parse().unwrap(), None).unwrap();
    let vault = Vault::init_local(&folder.path().join("vault"), options).await.unwrap();
    let asked = Arc::<Asked>::default();
    let first = back_up(&directory, &vault, &asked).await;
    asked.take();
    let log = directory.join("collections/recent_searches/wal/wal_data_000001.arrow");
    std::fs::remove_file(log).unwrap();
    let second = back_up(&directory, &vault, &asked).await;
    let [_, _, counts] = asked.take();
    assert_eq!(counts, 1, "only the collection that lost its log");
    let named =
        |outcome: &BackupOutcome| rows(outcome).into_iter().find(|row| row.0.contains("recent_searches")).unwrap();
    assert_eq!((named(&first).2, named(&second).2), (Some(100), Some(0)));
}
