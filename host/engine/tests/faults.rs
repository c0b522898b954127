//! Backups over stores that fail: every plan of faults ends in a whole backup or in an error and no backup.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use futures::TryStreamExt;
use longshore_engine::{
    BackupOutcome, BackupRequest, ClusterTarget, EngineError, HostFacts, Limits, PolicyConfig, RegionVaults,
    RestoreScope, RunContext, RunCosts, RunPolicy, VerifyLevel, VerifyRequest, build_chains, plan_backup, plan_restore,
    run_backup, run_prune, run_restore, verify_backup,
};
use longshore_model::{BackupId, Clock, FixedClock, Region, RestoredLoadState, SystemClock, Timestamp};
use longshore_policy::{Guardrails, PolicySet};
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_source::{MilvusLiteSource, MilvusLiteTarget};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::{PruneOptions, Vault, VaultOptions};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The residency policy in front of the standard one, loaded once.
fn chains() -> Arc<PolicySet> {
    static CHAINS: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let load = || {
        let plugin = root().join("plugins/residency/residency.wasm");
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("[[placement]]\nplugin = '{}'\n[[placement]]\nplugin = \"standard\"\n", plugin.display());
        std::fs::write(file.path(), text).unwrap();
        let chains = PolicyConfig::read(file.path()).unwrap();
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        Arc::new(build_chains(&sandbox, &chains, &Limits::default()).unwrap())
    };
    Arc::clone(CHAINS.get_or_init(load))
}

/// Two regions over stores that fail by plan, and the policy that spreads the sample cluster over both.
struct Place {
    home: FaultStore,
    other: FaultStore,
    vaults: RegionVaults,
    policy: RunPolicy,
}

impl Place {
    async fn new() -> Self {
        let (home, other) = (FaultStore::new(Arc::new(InMemory::new())), FaultStore::new(Arc::new(InMemory::new())));
        let project = "proj-test".parse().unwrap();
        let options =
            |region: &str, key| VaultOptions::random("proj-test".parse().unwrap(), region.parse().unwrap(), key);
        let first = Vault::init(home.store(), VaultOptions { project_id: project, ..options("eu", None).unwrap() });
        let first = first.await.unwrap();
        let second = options("us", Some(first.id_key().unwrap().clone())).unwrap();
        let second = Vault::init(other.store(), second).await.unwrap();
        let region = |id: &str| Region {
            id: id.parse().unwrap(),
            provider: "local".to_owned(),
            jurisdiction: id.to_owned(),
            storage_price_micros_per_gb_month: 0,
            transfer_price_micros_per_gb: 0,
        };
        let regions = vec![region("eu"), region("us")];
        let policy = RunPolicy {
            set: chains(),
            guardrails: Guardrails::default(),
            regions,
            costs: RunCosts::default(),
            known: HostFacts::default(),
        };
        Self { home, other, vaults: RegionVaults::of([first, second]).unwrap(), policy }
    }

    async fn back_up(&self) -> Result<BackupOutcome, EngineError> {
        let context = RunContext::new(Limits::default());
        let sample = root().join("examples/sample-cluster");
        let source = MilvusLiteSource::open(&sample)?;
        let mut cluster = ClusterTarget::for_directory(&sample, "eu".parse()?)?;
        cluster.project_id = "proj-test".parse()?;
        let request = BackupRequest::manual(cluster, Vec::new(), &context)?;
        let plan = plan_backup(request, &source, &self.policy, &self.vaults, &context).await?;
        run_backup(plan, &source, &self.vaults, &context).await
    }

    fn heal(&self) {
        self.home.plan(Vec::new());
        self.other.plan(Vec::new());
    }

    /// The backups that anybody can see.
    async fn visible(&self) -> BTreeSet<BackupId> {
        let mut ids = BTreeSet::new();
        for vault in self.vaults.all() {
            let listed = vault.list_backups().await.unwrap();
            assert!(listed.damaged.is_empty(), "{:?}", listed.damaged);
            ids.extend(listed.backups.into_iter().map(|backup| backup.root.backup_id));
        }
        ids
    }

    /// What a verification over both vaults calls damaged or lost, by this clock.
    async fn damages(&self, id: &BackupId, now: Timestamp) -> Vec<String> {
        let context = RunContext { clock: Arc::new(FixedClock(now)), ..RunContext::new(Limits::default()) };
        let request = VerifyRequest::new(VerifyLevel::Exists);
        let outcome = verify_backup(&self.vaults, id, &request, &context).await.unwrap();
        assert!(outcome.whole, "{outcome:?}");
        outcome.damaged_objects.into_iter().map(|damage| damage.object).collect()
    }

    /// Restores a backup, which proves every file of it.
    async fn restores(&self, id: &BackupId) {
        let folder = tempfile::tempdir().unwrap();
        let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
        let plan = plan_restore(&self.vaults, None, id, scope).await.unwrap();
        let target = MilvusLiteTarget::new(&folder.path().join("restored.db"));
        let restored = run_restore(plan, &target, &RunContext::new(Limits::default())).await.unwrap();
        assert_eq!(restored.collections.len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_cannot_be_written_is_a_warning_about_a_whole_backup() {
    let place = Place::new().await;
    place.other.plan(vec![Fault::on(Operation::Put, "receipts/", Effect::Fail)]);
    let outcome = place.back_up().await.unwrap();
    assert!(place.other.fired() > 1, "it was tried again");
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].contains("region us"), "{:?}", outcome.warnings);
    place.heal();
    assert_eq!(place.visible().await.len(), 1);
    place.restores(&outcome.backup_id).await;
}

/// Between root and receipts nothing is lost yet: whoever looks then must not call somebody who keeps watch.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_not_called_lost_while_its_job_is_at_it_nor_right_after_it_was_killed() {
    let place = Arc::new(Place::new().await);
    let held = Effect::Wait(Arc::new(Semaphore::new(0)));
    place.other.plan(vec![Fault::on(Operation::Put, "receipts/", held)]);
    let job = tokio::spawn({
        let place = Arc::clone(&place);
        async move { place.back_up().await }
    });
    while place.visible().await.is_empty() {
        assert!(!job.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    let id = place.visible().await.pop_first().unwrap();
    let now = SystemClock.now();
    assert_eq!(place.damages(&id, now).await, Vec::<String>::new(), "its job is at work");
    job.abort();
    assert!(job.await.is_err());
    place.heal();
    assert_eq!(place.damages(&id, now).await, Vec::<String>::new(), "it was killed a moment ago");
    let later = now.plus_millis(longshore_vault::Limits::DEFAULT.pin_lapse_ms + 60_000);
    assert_eq!(place.damages(&id, later).await, [format!("receipts/{id}")], "its pin has lapsed");
    // A prune need not wait for that.
    run_prune(&place.vaults, &PruneOptions::default(), &RunContext::new(Limits::default())).await.unwrap();
    assert_eq!(place.damages(&id, later).await, Vec::<String>::new());
    place.restores(&id).await;
    // Its pin, which is still there, says nothing about the backup of another job.
    let second = place.back_up().await.unwrap().backup_id;
    let store = place.other.store();
    let receipts = store.list(Some(&format!("receipts/{second}").as_str().into())).map_ok(|meta| meta.location);
    for receipt in receipts.try_collect::<Vec<_>>().await.unwrap() {
        store.delete(&receipt).await.unwrap();
    }
    assert_eq!(place.damages(&second, now).await, [format!("receipts/{second}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_leaves_no_backup_and_the_next_one_stores_nothing_twice() {
    for prefix in ["packs/", "index/", "parts/", "roots/", "pins/"] {
        let place = Place::new().await;
        place.home.plan(vec![Fault::on(Operation::Put, prefix, Effect::Fail)]);
        let error = place.back_up().await.unwrap_err().to_string();
        assert!(error.contains("region eu"), "{prefix}: {error}");
        place.heal();
        assert!(place.visible().await.is_empty(), "{prefix}: a failed backup can be seen");
        let outcome = place.back_up().await.unwrap();
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
        assert_eq!(place.visible().await.len(), 1);
        place.restores(&outcome.backup_id).await;
        // Before the root everything else is durable, so the second attempt finds all of it by content.
        if prefix == "roots/" {
            assert_eq!(outcome.stored_bytes, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_fault_ends_in_a_whole_backup_or_in_none() {
    let place = Place::new().await;
    place.home.plan(Vec::new());
    place.back_up().await.unwrap();
    let operations = place.home.operations();
    assert!(operations > 10, "{operations}");
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    // Every operation in the long form; in the short one half of them, the other half for each effect.
    for (shift, effect) in [(0, Effect::Fail), (1, Effect::SucceedThenFail)] {
        for number in (0..operations).filter(|number| long || number % 2 == shift) {
            let place = Place::new().await;
            place.home.plan(vec![Fault::at(number, effect.clone())]);
            let result = place.back_up().await;
            place.heal();
            let visible = place.visible().await;
            assert!(visible.len() <= 1, "operation {number}");
            if let Ok(outcome) = &result {
                assert!(visible.contains(&outcome.backup_id), "operation {number}: a reported backup is not there");
            }
            // Also a backup whose job failed is whole if it can be seen.
            for id in &visible {
                place.restores(id).await;
            }
        }
    }
}
