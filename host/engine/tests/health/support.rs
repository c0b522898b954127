//! A backup of the sample cluster over two regions, in memory, and everything that can be done to its objects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use futures::TryStreamExt;
use longshore_engine::{
    BackupRequest, ClusterTarget, CopyRequest, EngineError, HealOutcome, HealRequest, HostFacts, Limits, PolicyConfig,
    RegionVaults, RestoreScope, RunContext, RunCosts, RunPolicy, VerifyLevel, VerifyOutcome, VerifyRequest,
    build_chains, copy_backup, heal, plan_backup, plan_restore, run_backup, run_restore, verify_backup,
};
use longshore_model::{BackupId, CollectionMapping, CollectionName, Region, RestoredLoadState};
use longshore_policy::{Guardrails, PolicySet};
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_source::{MilvusLiteSource, MilvusLiteTarget};
use longshore_vault::{Encryption, Keys, NamedRecipient, ReaderKey, Vault, VaultOptions};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::records::everything;

pub(crate) type Store = Arc<dyn ObjectStore>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn chains() -> Arc<PolicySet> {
    static CHAINS: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let load = || {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[[placement]]\nplugin = \"standard\"\n").unwrap();
        let chains = PolicyConfig::read(file.path()).unwrap();
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        Arc::new(build_chains(&sandbox, &chains, &Limits::default()).unwrap())
    };
    Arc::clone(CHAINS.get_or_init(load))
}

/// A home vault with backups of the sample cluster, and a second vault with copies of them.
pub(crate) struct Place {
    pub(crate) home_store: Store,
    pub(crate) other_store: Store,
    pub(crate) home: Vault,
    pub(crate) other: Vault,
    pub(crate) backup: BackupId,
}

/// Three collections of the sample: enough to be hit or not, quick to restore.
pub(crate) fn three() -> Vec<CollectionName> {
    ["medium_articles", "recent_searches", "handbook.postgres_commands"].map(|name| name.parse().unwrap()).into()
}

fn region(id: &str) -> Region {
    Region {
        id: id.parse().unwrap(),
        provider: "local".to_owned(),
        jurisdiction: id.to_owned(),
        storage_price_micros_per_gb_month: 0,
        transfer_price_micros_per_gb: 0,
    }
}

/// Options for another vault of the same project.
pub(crate) fn beside(vault: &Vault) -> VaultOptions {
    let key = vault.id_key().unwrap().clone();
    VaultOptions::random(vault.project_id().clone(), "us".parse().unwrap(), Some(key)).unwrap()
}

pub(crate) fn context() -> RunContext {
    RunContext::new(Limits::default())
}

impl Place {
    /// One backup of everything, copied whole into the second vault.
    pub(crate) async fn new() -> Self {
        Self::of(&[]).await
    }

    /// One backup of these collections, copied whole into the second vault.
    pub(crate) async fn of(collections: &[CollectionName]) -> Self {
        Self::encrypted(collections, None).await
    }

    /// The same, encrypted to this reader.
    pub(crate) async fn encrypted(collections: &[CollectionName], reader: Option<&ReaderKey>) -> Self {
        let (home_store, other_store): (Store, Store) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        let encryption = || match reader {
            Some(reader) => {
                let (name, added) = ("test".to_owned(), longshore_model::Timestamp::from_millis(0));
                Encryption::Age1 { recipients: vec![NamedRecipient { name, recipient: reader.to_recipient(), added }] }
            }
            None => Encryption::None,
        };
        let project = || "proj-test".parse().unwrap();
        let options = VaultOptions::random(project(), "eu".parse().unwrap(), None).unwrap();
        let options = VaultOptions { encryption: encryption(), ..options };
        let home = Vault::init(Arc::clone(&home_store), options).await.unwrap();
        let options = VaultOptions { encryption: encryption(), ..beside(&home) };
        let other = Vault::init(Arc::clone(&other_store), options).await.unwrap();
        let place = Self { home_store, other_store, home, other, backup: BackupId::from_random([0; 10]) };
        let place = place.reopened(reader).await;
        let backup = place.back_up(collections).await;
        place.copy(&backup).await;
        Self { backup, ..place }
    }

    /// The same vaults without what they remember: keys of sessions, for one.
    pub(crate) async fn reopened(&self, reader: Option<&ReaderKey>) -> Self {
        let limits = longshore_vault::Limits {
            // Several packs, so that one of them hits some collections and not others.
            pack_target_bytes: 512 * 1024,
            ..longshore_vault::Limits::DEFAULT
        };
        let keys = reader.map_or_else(Keys::none, |reader| Keys::none().with_reader(reader.clone()));
        let (home_store, other_store) = (Arc::clone(&self.home_store), Arc::clone(&self.other_store));
        let home = Vault::open(Arc::clone(&home_store), &keys).await.unwrap().with_limits(limits);
        let other = Vault::open(Arc::clone(&other_store), &keys).await.unwrap().with_limits(limits);
        Self { home_store, other_store, home, other, backup: self.backup.clone() }
    }

    pub(crate) fn both(&self) -> RegionVaults {
        RegionVaults::of([self.home.clone(), self.other.clone()]).unwrap()
    }

    pub(crate) fn home_alone(&self) -> RegionVaults {
        RegionVaults::of([self.home.clone()]).unwrap()
    }

    pub(crate) async fn back_up(&self, collections: &[CollectionName]) -> BackupId {
        let context = context();
        let sample = root().join("examples/sample-cluster");
        let source = MilvusLiteSource::open(&sample).unwrap();
        let mut cluster = ClusterTarget::for_directory(&sample, "eu".parse().unwrap()).unwrap();
        cluster.project_id = "proj-test".parse().unwrap();
        let policy = RunPolicy {
            set: chains(),
            guardrails: Guardrails::default(),
            regions: vec![region("eu")],
            costs: RunCosts::default(),
            known: HostFacts::default(),
        };
        let vaults = self.home_alone();
        let request = BackupRequest::manual(cluster, collections.to_vec(), &context).unwrap();
        let plan = plan_backup(request, &source, &policy, &vaults, &context).await.unwrap();
        run_backup(plan, &source, &vaults, &context).await.unwrap().backup_id
    }

    pub(crate) async fn copy(&self, backup: &BackupId) {
        let request = CopyRequest {
            job_id: "job-copy".parse().unwrap(),
            fencing_token: 1,
            backup_id: backup.clone(),
            home: "eu".parse().unwrap(),
            to: "us".parse().unwrap(),
            collections: Vec::new(),
        };
        copy_backup(&request, &self.both(), &context()).await.unwrap();
    }

    pub(crate) async fn verify(&self, level: VerifyLevel) -> Result<VerifyOutcome, EngineError> {
        verify_backup(&self.home_alone(), &self.backup, &VerifyRequest::new(level), &context()).await
    }

    pub(crate) async fn heal(&self) -> Result<HealOutcome, EngineError> {
        let request = HealRequest { backup: Some(self.backup.clone()), level: VerifyLevel::Decoded, dry_run: false };
        heal(&self.home, std::slice::from_ref(&self.other), &request, &context()).await
    }

    /// Restores and proves these collections (all when there are none) from the home vault alone.
    pub(crate) async fn restore(&self, collections: &[CollectionName]) -> Result<usize, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        let load_state = RestoredLoadState::Keep;
        let scope = if collections.is_empty() {
            RestoreScope::WholeCluster(load_state)
        } else {
            let mapping =
                |name: &CollectionName| CollectionMapping { from: name.clone(), to: name.clone(), load_state };
            RestoreScope::Collections(collections.iter().map(mapping).collect())
        };
        let plan = plan_restore(&self.home_alone(), None, &self.backup, scope).await?;
        let target = MilvusLiteTarget::new(&folder.path().join("restored.db"));
        Ok(run_restore(plan, &target, &context()).await?.collections.len())
    }
}

/// Heals, and before that says what it would do: that writes nothing, and all that is done then was said, and nothing else.
pub(crate) async fn heal_after_a_dry_run(
    vault: &Vault,
    store: &Store,
    sources: &[Vault],
    request: HealRequest,
) -> Result<HealOutcome, EngineError> {
    let before = everything(store).await;
    let dry = HealRequest { dry_run: true, ..request.clone() };
    let would = heal(vault, sources, &dry, &context()).await?;
    assert!(everything(store).await == before, "a dry run wrote something: {would:?}");
    let healed = heal(vault, sources, &request, &context()).await?;
    let told = |outcome: &HealOutcome| -> BTreeSet<(String, bool)> {
        outcome.objects.iter().map(|one| (one.object.clone(), one.healed)).collect()
    };
    assert_eq!(would.whole, healed.whole, "{would:?} {healed:?}");
    assert_eq!(told(&healed), told(&would), "{would:?} {healed:?}");
    Ok(healed)
}

/// Keys under a folder, in order.
pub(crate) async fn keys(store: &Store, folder: &str) -> Vec<Key> {
    let prefix = Key::from(folder);
    let mut keys: Vec<Key> = store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await.unwrap();
    keys.sort();
    keys
}

pub(crate) async fn bytes_of(store: &Store, key: &Key) -> Vec<u8> {
    store.get(key).await.unwrap().bytes().await.unwrap().to_vec()
}

pub(crate) async fn put(store: &Store, key: &Key, bytes: Vec<u8>) {
    store.put(key, bytes.into()).await.unwrap();
}

pub(crate) async fn flip(store: &Store, key: &Key, place: usize) {
    let mut bytes = bytes_of(store, key).await;
    let length = bytes.len();
    bytes[place % length] ^= 0xff;
    put(store, key, bytes).await;
}

/// Names of the collections that an outcome calls damaged or lost.
pub(crate) fn hit(outcome: &VerifyOutcome) -> BTreeSet<String> {
    let damaged = outcome.collections.iter().filter(|one| !one.damages.is_empty()).map(|one| one.name.to_string());
    damaged.chain(outcome.lost_collections.iter().cloned()).collect()
}

/// Names of the collections that are fine.
pub(crate) fn unhit(outcome: &VerifyOutcome) -> Vec<CollectionName> {
    outcome.collections.iter().filter(|one| one.damages.is_empty()).map(|one| one.name.clone()).collect()
}
