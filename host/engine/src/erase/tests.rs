#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use longshore_model::{Region, RestoredLoadState};
use longshore_policy::Guardrails;
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_source::{MilvusLiteSource, MilvusLiteTarget};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::{Keys, VaultOptions};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::OnceCell;

use super::*;
use crate::{
    BackupRequest, ClusterTarget, HostFacts, Limits, PolicyConfig, RestoreScope, RunCosts, RunPolicy, build_chains,
    plan_backup, plan_restore, run_backup, run_restore,
};

const REGIONS: [&str; 3] = ["eu", "us", "eu-2"];
const ERASED: &str = "medium_articles";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn context() -> RunContext {
    RunContext::new(Limits::default())
}

/// Three vaults in memory; clones of it change nothing for each other.
struct Place {
    memory: Vec<InMemory>,
    backups: Vec<BackupId>,
}

/// What a case works with.
struct Case {
    stores: Vec<FaultStore>,
    vaults: RegionVaults,
}

impl Place {
    fn case(&self) -> Vec<FaultStore> {
        self.memory.iter().map(|memory| FaultStore::new(Arc::new(memory.fork()))).collect()
    }

    async fn open(&self) -> Case {
        let stores = self.case();
        let mut vaults = Vec::new();
        for store in &stores {
            vaults.push(Vault::open(store.store(), &Keys::none()).await.unwrap());
        }
        Case { stores, vaults: RegionVaults::of(vaults).unwrap() }
    }

    /// Two backups of the whole sample over two regions, one of the collection alone; the first is copied into a third.
    async fn make() -> Self {
        let memory: Vec<Arc<InMemory>> = REGIONS.iter().map(|_| Arc::new(InMemory::new())).collect();
        let (mut vaults, mut key) = (Vec::new(), None);
        for (region, memory) in REGIONS.iter().zip(&memory) {
            let store: Arc<dyn ObjectStore> = Arc::clone(memory) as _;
            let options = VaultOptions::random("proj-test".parse().unwrap(), region.parse().unwrap(), key.clone());
            let vault = Vault::init(store, options.unwrap()).await.unwrap();
            key = Some(vault.id_key().unwrap().clone());
            vaults.push(vault);
        }
        let vaults = RegionVaults::of(vaults).unwrap();
        let backups = vec![
            back_up(&vaults, Vec::new()).await,
            back_up(&vaults, Vec::new()).await,
            back_up(&vaults, vec![ERASED.parse().unwrap()]).await,
        ];
        copy_into("eu-2", &backups[0], &vaults).await;
        Self { memory: memory.iter().map(|memory| memory.fork()).collect(), backups }
    }
}

async fn place() -> &'static Place {
    static PLACE: OnceCell<Place> = OnceCell::const_new();
    PLACE.get_or_init(Place::make).await
}

async fn back_up(vaults: &RegionVaults, collections: Vec<CollectionName>) -> BackupId {
    let plugin = root().join("plugins/residency/residency.wasm");
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("[[placement]]\nplugin = '{}'\n[[placement]]\nplugin = \"standard\"\n", plugin.display());
    std::fs::write(file.path(), text).unwrap();
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let chains = build_chains(&sandbox, &PolicyConfig::read(file.path()).unwrap(), &Limits::default()).unwrap();
    let region = |id: &str| Region {
        id: id.parse().unwrap(),
        provider: "local".to_owned(),
        jurisdiction: id.split('-').next().unwrap().to_owned(),
        storage_price_micros_per_gb_month: 0,
        transfer_price_micros_per_gb: 0,
    };
    let regions = vec![region("eu"), region("us")];
    let policy = RunPolicy {
        set: Arc::new(chains),
        guardrails: Guardrails::default(),
        regions,
        costs: RunCosts::default(),
        known: HostFacts::default(),
    };
    let sample = root().join("examples/sample-cluster");
    let source = MilvusLiteSource::open(&sample).unwrap();
    let mut cluster = ClusterTarget::for_directory(&sample, "eu".parse().unwrap()).unwrap();
    cluster.project_id = "proj-test".parse().unwrap();
    let context = context();
    let request = BackupRequest::manual(cluster, collections, &context).unwrap();
    let plan = plan_backup(request, &source, &policy, vaults, &context).await.unwrap();
    run_backup(plan, &source, vaults, &context).await.unwrap().backup_id
}

async fn copy_into(region: &str, backup: &BackupId, vaults: &RegionVaults) {
    let copy = crate::copy::CopyRequest {
        job_id: "job-00".parse().unwrap(),
        fencing_token: 1,
        backup_id: backup.clone(),
        home: "eu".parse().unwrap(),
        to: region.parse().unwrap(),
        collections: Vec::new(),
    };
    crate::copy::copy_backup(&copy, vaults, &context()).await.unwrap();
}

fn request() -> EraseRequest {
    EraseRequest {
        collection: ERASED.parse().unwrap(),
        clusters: BTreeSet::new(),
        reason: "asked for".to_owned(),
        by: "tests".to_owned(),
    }
}

async fn erase(vaults: &RegionVaults) -> Result<EraseOutcome, EngineError> {
    let plan = plan_erase(request(), vaults, &context()).await?;
    run_erase(&plan, vaults, &context()).await
}

/// Objects by folder, and every manifest that names the collection.
async fn look(case: &Case) -> (BTreeMap<String, usize>, Vec<String>) {
    let (mut counts, mut naming) = (BTreeMap::new(), Vec::new());
    for (region, store) in REGIONS.iter().zip(&case.stores) {
        let objects: Vec<_> = store.store().list(None).try_collect().await.unwrap();
        for meta in objects {
            let key = meta.location.to_string();
            let folder = key.split('/').next().unwrap().to_owned();
            if !["pins", "packs", "index"].contains(&folder.as_str()) {
                *counts.entry(format!("{region} {folder}")).or_default() += 1;
            }
            if ["roots", "receipts", "parts"].contains(&folder.as_str()) {
                let bytes = store.store().get(&meta.location).await.unwrap().bytes().await.unwrap();
                if String::from_utf8_lossy(&bytes).contains(ERASED) {
                    naming.push(key);
                }
            }
        }
    }
    (counts, naming)
}

/// The collections of every backup, after restoring and so proving each of them.
async fn restored(case: &Case, backups: &[BackupId]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for id in backups {
        let folder = tempfile::tempdir().unwrap();
        let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
        let plan = plan_restore(&case.vaults, None, id, scope).await.unwrap();
        let target = MilvusLiteTarget::new(&folder.path().join("restored.db"));
        let outcome = run_restore(plan, &target, &context()).await.unwrap();
        all.push(outcome.collections.iter().map(|one| one.from.to_string()).collect());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_collection_is_named_nowhere_and_everything_else_is_as_it_was() {
    let place = place().await;
    let case = place.open().await;
    let before = restored(&case, &place.backups).await;
    let (counts_before, naming) = look(&case).await;
    assert!(naming.len() >= 6, "{naming:?}");
    let outcome = erase(&case.vaults).await.unwrap();
    assert_eq!(outcome.backups.len(), 3);
    assert!(outcome.unreadable.is_empty() && outcome.packs > 0, "{outcome:?}");
    let (counts, naming) = look(&case).await;
    assert_eq!(naming, Vec::<String>::new());
    let after = restored(&case, &place.backups).await;
    let expected: Vec<Vec<String>> =
        before.into_iter().map(|names| names.into_iter().filter(|name| !name.ends_with(ERASED)).collect()).collect();
    assert_eq!(after, expected);
    assert_eq!(expected[2], Vec::<String>::new(), "a backup of this collection alone stays as an empty one");
    assert_eq!(counts["eu roots"], counts_before["eu roots"], "every backup still exists");

    for vault in case.vaults.all() {
        let records = vault.list_erasures().await.unwrap();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!((record.reason.as_str(), record.by.as_str()), ("asked for", "tests"));
        assert!(record.rewritten.is_some() && record.completed.is_none() && record.backups.len() == 3);
    }
    // The copy is reduced too, and still stands in for what it copies.
    let copy = case.vaults.get(&"eu-2".parse().unwrap()).unwrap();
    let loaded = copy.load_backup(&place.backups[0]).await.unwrap();
    let part = copy.load_part_of(&loaded).await.unwrap();
    assert_eq!(part.open.collections.len(), after[0].len());

    let again = erase(&case.vaults).await.unwrap();
    assert_eq!((again.erasure_id, again.backups.len()), (outcome.erasure_id, 0));
    assert_eq!(look(&case).await.0, counts, "running it again changed something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_a_name_that_nobody_knows_is_refused() {
    let place = place().await;
    let case = place.open().await;
    let (before, _) = look(&case).await;
    let plan = plan_erase(request(), &case.vaults, &context()).await.unwrap();
    assert_eq!(plan.backups.len(), 3);
    assert!(plan.pack_count() > 0 && plan.backups.iter().all(|backup| backup.size_bytes > 0));
    let unknown = EraseRequest { collection: "nowhere".parse().unwrap(), ..request() };
    let error = plan_erase(unknown, &case.vaults, &context()).await.unwrap_err().to_string();
    assert!(error.contains("nothing was erased"), "{error}");
    assert_eq!(look(&case).await.0, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_not_open_leaves_the_erasure_open() {
    let place = place().await;
    let case = place.open().await;
    let some = RegionVaults::of(case.vaults.all().into_iter().filter(|vault| vault.region_id().as_str() == "eu"));
    let plan = plan_erase(request(), &some.unwrap(), &context()).await.unwrap();
    assert!(plan.unreadable.iter().any(|(_, why)| why.contains("name that vault too")), "{:?}", plan.unreadable);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_on_without_a_vault_leaves_the_root_as_it_was() {
    let place = place().await;
    let case = place.open().await;
    // It dies with its record written and nothing else.
    case.stores[0].plan(vec![Fault::on(Operation::Put, "parts/", Effect::Fail).times(u64::MAX)]);
    assert!(erase(&case.vaults).await.is_err());
    case.stores[0].plan(Vec::new());
    let home = case.vaults.get(&"eu".parse().unwrap()).unwrap();
    let before = home.load_backup(&place.backups[0]).await.unwrap().root.open;
    assert!(before.parts.len() > 1, "it has a part in another region, and its copy holds what that has");
    let without_us = case.vaults.all().into_iter().filter(|vault| vault.region_id().as_str() != "us");
    let error = erase(&RegionVaults::of(without_us).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("region us") && error.contains("name that vault too"), "{error}");
    assert_eq!(home.load_backup(&place.backups[0]).await.unwrap().root.open, before);
    erase(&case.vaults).await.unwrap();
    assert_eq!(look(&case).await.1, Vec::<String>::new());
}

/// One that died had brought the vault's own part up to its commit and not the copy beside it.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_all_earlier_commits_follow_the_new_one() {
    let place = place().await;
    let case = place.open().await;
    let (id, us) = (&place.backups[1], case.vaults.get(&"us".parse().unwrap()).unwrap());
    copy_into("us", id, &case.vaults).await;
    let in_us = async || {
        let token = us.commits(id).await.unwrap().pop().unwrap();
        let mut names = BTreeSet::new();
        for reference in us.parts_here(id, token).await.unwrap() {
            names.extend(names_in(&us.load_part(&reference).await.unwrap()).unwrap());
        }
        names
    };
    let home = us.load_part_of(&us.load_backup(id).await.unwrap()).await.unwrap();
    let other = names_in(&home).unwrap().pop().unwrap();
    let before = in_us().await;
    assert!(before.len() > 2, "{before:?}");
    // Its second receipt in this vault is that of the copy.
    let receipts = format!("receipts/{id}");
    case.stores[1].plan(vec![Fault::on(Operation::Put, &receipts, Effect::Fail).after(1).times(u64::MAX)]);
    assert!(erase(&case.vaults).await.is_err());
    assert_eq!(us.commits(id).await.unwrap(), [1, 2], "it did not die where it should");
    for store in &case.stores {
        store.plan(Vec::new());
        let pins: Vec<_> = store.store().list(Some(&"pins".into())).try_collect().await.unwrap();
        for pin in pins {
            store.store().delete(&pin.location).await.unwrap();
        }
    }
    let plan = plan_erase(EraseRequest { collection: other.clone(), ..request() }, &case.vaults, &context()).await;
    run_erase(&plan.unwrap(), &case.vaults, &context()).await.unwrap();
    let mut expected = before;
    expected.retain(|name| *name != other && name.collection != ERASED);
    assert_eq!(in_us().await, expected, "a copy got lost, or came back with what was erased");
    erase(&case.vaults).await.unwrap();
    assert_eq!(look(&case).await.1, Vec::<String>::new());
    assert_eq!(in_us().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_stops_at_any_operation_is_finished_by_the_next_run() {
    let place = place().await;
    let whole = place.open().await;
    for store in &whole.stores {
        store.plan(Vec::new());
    }
    erase(&whole.vaults).await.unwrap();
    let operations: Vec<u64> = whole.stores.iter().map(FaultStore::operations).collect();
    let (expected, _) = look(&whole).await;
    let names = restored(&whole, &place.backups).await;
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let mut cases = 0_u64;
    for (number, operations) in operations.into_iter().enumerate() {
        assert!(operations > 20, "{operations}");
        // Every operation in the long form; some of them in the short one, others for each effect.
        for (shift, effect) in [(0, Effect::Fail), (4, Effect::SucceedThenFail)] {
            for operation in (0..operations).filter(|operation| long || operation % 9 == shift) {
                let case = place.open().await;
                case.stores[number].plan(vec![Fault::at(operation, effect.clone())]);
                let first = erase(&case.vaults).await;
                for store in &case.stores {
                    store.plan(Vec::new());
                }
                let shown = format!("store {number}, operation {operation}, {effect:?}: {first:?}");
                // Whatever the moment, every backup can be read, as it was or without the collection.
                for (id, left) in place.backups.iter().zip(&names) {
                    let opened =
                        OpenedBackup::find(&case.vaults, None, id).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
                    let there = opened.collections().unwrap().len();
                    assert!(there == left.len() || there == left.len() + 1, "{shown}");
                }
                erase(&case.vaults).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
                let (counts, naming) = look(&case).await;
                assert_eq!((counts, naming), (expected.clone(), Vec::new()), "{shown}");
                for vault in case.vaults.all() {
                    let records = vault.list_erasures().await.unwrap();
                    assert!(records.len() == 1 && records[0].rewritten.is_some(), "{shown}: {records:?}");
                    assert_eq!(records[0].packs.is_empty(), vault.region_id().as_str() == "us", "{shown}");
                }
                cases += 1;
                // Restoring takes longer than everything else; damage would show in the counts first.
                if cases.is_multiple_of(25) {
                    assert_eq!(restored(&case, &place.backups).await, names, "{shown}");
                }
            }
        }
    }
}
