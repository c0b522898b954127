//! Copies whose pin lapses while they end.

use std::sync::Arc;

use futures::TryStreamExt;
use longshore_engine::{
    CopyOutcome, CopyRequest, EngineError, Limits, RegionVaults, RestoreScope, RunContext, copy_backup, plan_restore,
};
use longshore_model::{BackupId, RestoredLoadState};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::{Vault, VaultOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use crate::support::{Counting, Place, sample};

struct Far {
    place: Place,
    store: FaultStore,
    vault: Vault,
    backup: BackupId,
}

async fn far() -> Far {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let directory = sample(folder.path());
    let backup = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let key = place.vault.id_key().unwrap().clone();
    let options = VaultOptions::random(place.vault.project_id().clone(), "far".parse().unwrap(), Some(key)).unwrap();
    let store = FaultStore::new(Arc::new(InMemory::new()));
    let vault = Vault::init(store.store(), options).await.unwrap();
    Far { place, store, vault, backup }
}

impl Far {
    /// Copies. The first `lapses` times a receipt is about to be written, the pin lapses before.
    async fn copy(&self, lapses: u64, limits: Limits) -> (Result<CopyOutcome, EngineError>, u64) {
        let both = RegionVaults::of([self.place.vault.clone(), self.vault.clone()]).unwrap();
        let request = CopyRequest {
            job_id: "job-copy".parse().unwrap(),
            fencing_token: 1,
            backup_id: self.backup.clone(),
            home: "local".parse().unwrap(),
            to: "far".parse().unwrap(),
            collections: Vec::new(),
        };
        let (gate, context) = (Arc::new(Semaphore::new(0)), RunContext::new(limits));
        let wait = Fault::on(Operation::Put, "receipts/", Effect::Wait(Arc::clone(&gate)));
        self.store.plan(vec![wait.times(u64::MAX)]);
        let lapsing = async {
            for round in 1.. {
                while self.store.waited() < round {
                    tokio::task::yield_now().await;
                }
                if round <= lapses {
                    self.take_pins_away().await;
                }
                gate.add_permits(1);
            }
        };
        let copied = tokio::select! {
            copied = copy_backup(&request, &both, &context) => copied,
            () = lapsing => unreachable!("it goes on for ever"),
        };
        let receipts = self.store.waited();
        self.store.plan(Vec::new());
        (copied, receipts)
    }

    /// As a prune on another host does it.
    async fn take_pins_away(&self) {
        let store = self.store.store();
        let pins: Vec<ObjectMeta> = store.list(Some(&Path::from("pins"))).try_collect().await.unwrap();
        for pin in pins.into_iter().filter_map(|pin| pin.location.as_ref().strip_suffix(".json").map(str::to_owned)) {
            store.put(&Path::from(format!("{pin}.lapsed")), Vec::new().into()).await.unwrap();
            store.delete(&Path::from(format!("{pin}.json"))).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_pin_lapsed_before_its_receipt_is_made_again() {
    let far = far().await;
    let (copied, receipts) = far.copy(2, Limits::default()).await;
    assert!(copied.unwrap().size_bytes > 0);
    assert_eq!(receipts, 3);
    let alone = RegionVaults::of([far.vault.clone()]).unwrap();
    let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
    assert!(plan_restore(&alone, None, &far.backup, scope).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_pin_lapses_each_time_gives_up_and_says_so() {
    let far = far().await;
    let (copied, receipts) = far.copy(u64::MAX, Limits { copied_commits: 3, ..Limits::default() }).await;
    let error = copied.unwrap_err();
    assert!(matches!(error, EngineError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("copy it again"), "{error}");
    assert_eq!(receipts, 3, "as often as the limit says");
    let (copied, receipts) = far.copy(0, Limits::default()).await;
    assert!(copied.is_ok() && receipts == 1, "{copied:?} after {receipts} receipts");
}
