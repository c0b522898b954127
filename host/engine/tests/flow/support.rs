//! What these tests share: a sample cluster that counts what is read of it, and a vault that fails by plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use longshore_engine::{
    BackupOutcome, BackupRequest, ClusterTarget, EngineError, Limits, RegionVaults, RestoreScope, RunContext,
    RunPolicy, plan_backup, plan_restore, run_backup, run_restore,
};
use longshore_model::{BackupId, CollectionName, FixedClock, RestoredLoadState, Timestamp};
use longshore_source::{
    CollectionPoint, Inventory, KnownFiles, MilvusLiteSource, MilvusLiteTarget, PointFile, PointOptions, PointState,
    Recheck, Source, SourceError, SourceKind,
};
use longshore_vault::testing::FaultStore;
use longshore_vault::{Vault, VaultOptions};
use object_store::memory::InMemory;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A copy of the sample cluster, which the tests may change.
pub(crate) fn sample(folder: &Path) -> PathBuf {
    let to = folder.join("sample.db");
    copy(&root().join("examples/sample-cluster"), &to);
    to
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Every file below a folder, by its path in it.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// Called before each read of a file of a collection.
pub(crate) type BeforeRead =
    Arc<dyn Fn(&CollectionName, &str) -> BoxFuture<'static, Result<(), SourceError>> + Send + Sync>;

/// Bytes read, by collection and path.
pub(crate) type ReadBytes = Arc<Mutex<BTreeMap<(String, String), u64>>>;

/// A Milvus Lite directory that counts what is read of its files, and whose files are all old enough for an identity.
pub(crate) struct Counting {
    inner: MilvusLiteSource,
    pub(crate) read: ReadBytes,
    before_read: Option<BeforeRead>,
    /// Every point holds it, too.
    alive: Arc<()>,
}

impl Counting {
    pub(crate) fn open(path: &Path) -> Self {
        Self::at(path, i64::MAX)
    }

    /// The same with a clock that shows this time.
    pub(crate) fn at(path: &Path, now_ms: i64) -> Self {
        let clock = Arc::new(FixedClock(Timestamp::from_millis(now_ms)));
        let inner = MilvusLiteSource::open_with(path, longshore_source::Limits::DEFAULT, clock).unwrap();
        Self { inner, read: ReadBytes::default(), before_read: None, alive: Arc::default() }
    }

    pub(crate) fn before_read(mut self, hook: BeforeRead) -> Self {
        self.before_read = Some(hook);
        self
    }

    /// Every point of it holds `alive` as long as it lives.
    pub(crate) fn watched_by(mut self, alive: Arc<()>) -> Self {
        self.alive = alive;
        self
    }

    /// Bytes read of files whose path ends so.
    pub(crate) fn read_of(&self, ending: &str) -> u64 {
        self.read.lock().unwrap().iter().filter(|((_, path), _)| path.ends_with(ending)).map(|(_, bytes)| bytes).sum()
    }
}

#[async_trait]
impl Source for Counting {
    fn kind(&self) -> SourceKind {
        self.inner.kind()
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        self.inner.inventory().await
    }

    async fn inventory_knowing(&self, known: Arc<dyn KnownFiles>) -> Result<Inventory, SourceError> {
        self.inner.inventory_knowing(known).await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        let inner = self.inner.open_point(name, options).await?;
        let (read, before_read, alive) = (Arc::clone(&self.read), self.before_read.clone(), Arc::clone(&self.alive));
        Ok(Arc::new(CountingPoint { inner, read, before_read, _alive: alive }))
    }
}

struct CountingPoint {
    inner: Arc<dyn CollectionPoint>,
    read: ReadBytes,
    before_read: Option<BeforeRead>,
    _alive: Arc<()>,
}

#[async_trait]
impl CollectionPoint for CountingPoint {
    fn name(&self) -> &CollectionName {
        self.inner.name()
    }

    fn files(&self) -> &[PointFile] {
        self.inner.files()
    }

    fn schema(&self) -> &serde_json::Value {
        self.inner.schema()
    }

    fn description(&self) -> &serde_json::Value {
        self.inner.description()
    }

    fn physical_rows(&self) -> u64 {
        self.inner.physical_rows()
    }

    async fn live_rows(&self, memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        // Counting reads the keys of every file.
        for file in self.files() {
            *self.read.lock().unwrap().entry((self.name().to_string(), file.path.clone())).or_default() += 1;
        }
        self.inner.live_rows(memory_bytes).await
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let path = self.files()[file].path.clone();
        if let Some(hook) = &self.before_read {
            hook(self.name(), &path).await?;
        }
        *self.read.lock().unwrap().entry((self.name().to_string(), path)).or_default() += length as u64;
        self.inner.read(file, offset, length).await
    }

    fn holds_all_files(&self) -> bool {
        self.inner.holds_all_files()
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        self.inner.recheck().await
    }

    fn recheck_later(&self) -> Option<Arc<dyn Recheck>> {
        self.inner.recheck_later()
    }
}

/// A vault over a store that fails by plan.
pub(crate) struct Place {
    pub(crate) store: FaultStore,
    pub(crate) vault: Vault,
    pub(crate) vaults: RegionVaults,
    policy: RunPolicy,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with_limits(longshore_vault::Limits::DEFAULT).await
    }

    pub(crate) async fn with_limits(limits: longshore_vault::Limits) -> Self {
        let store = FaultStore::new(Arc::new(InMemory::new()));
        let options = VaultOptions::random("proj-local".parse().unwrap(), "local".parse().unwrap(), None).unwrap();
        let vault = Vault::init(store.store(), options).await.unwrap().with_limits(limits);
        let policy = RunPolicy::standard(&vault).unwrap();
        Self { store, vaults: RegionVaults::of([vault.clone()]).unwrap(), vault, policy }
    }

    pub(crate) fn policy(&self) -> &RunPolicy {
        &self.policy
    }

    pub(crate) async fn back_up(
        &self,
        directory: &Path,
        source: &dyn Source,
        limits: Limits,
    ) -> Result<BackupOutcome, EngineError> {
        let context = RunContext::new(limits);
        let cluster = ClusterTarget::for_directory(directory, "local".parse()?)?;
        let request = BackupRequest::manual(cluster, Vec::new(), &context)?;
        let plan = plan_backup(request, source, &self.policy, &self.vaults, &context).await?;
        run_backup(plan, source, &self.vaults, &context).await
    }

    /// Restores a backup into a new directory; every file of it is proven on the way.
    pub(crate) async fn restore(&self, id: &BackupId, to: &Path) {
        let plan = plan_restore(&self.vaults, None, id, RestoreScope::WholeCluster(RestoredLoadState::Keep));
        let plan = plan.await.unwrap();
        run_restore(plan, &MilvusLiteTarget::new(to), &RunContext::new(Limits::default())).await.unwrap();
    }
}
