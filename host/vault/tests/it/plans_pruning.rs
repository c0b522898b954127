//! Prunes over two vaults whose stores fail by plan, with a backup between them. Whatever the plan: each prune ends well or
//! with a sentence, every backup that was reported and not deleted is whole in both vaults, and when the stores are well
//! again, prunes go on where the disturbed ones stopped, until nothing is left that nobody needs.
//!
//! A plan that fails is in the message; `LONGSHORE_PLAN='delete@2=crash'` plays it again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use longshore_model::{Clock, Codec, Timestamp};
use longshore_vault::testing::{
    Effect, Fault, FaultPlan, FaultStore, Operation, SeededRandom, TestClock, TimedStore, long, seeds,
};
use longshore_vault::*;

use crate::plans::{content, tiny_limits};
use crate::pruning::{HOUR, at_once};
use crate::support::*;

/// Two vaults of a project over stores that fail by one plan.
struct World {
    clock: TestClock,
    faults: FaultStore,
    vaults: [Vault; 2],
    stores: [Store; 2],
    tokens: u64,
    /// Backups that were reported as made and not deleted.
    alive: Vec<u8>,
}

impl World {
    /// Backups 1 and 2 with parts in both vaults; 1 is deleted.
    async fn new() -> Self {
        let clock = TestClock::new(Timestamp::from_millis(NOW));
        let store = || Arc::new(TimedStore::new(memory(), clock.clone()));
        let faults = FaultStore::new(store());
        let other = faults.beside(store(), "away/");
        let stores = [faults.store(), other.store()];
        let home = Vault::init(faults.store(), options("local", 1)).await.unwrap().with_limits(tiny_limits());
        let away = Vault::init(other.store(), options("far", 2)).await.unwrap().with_limits(tiny_limits());
        let mut world = Self { clock, faults, vaults: [home, away], stores, tokens: 0, alive: Vec::new() };
        for number in [1, 2] {
            world.back_up(number).await.unwrap();
        }
        world.alive.retain(|number| *number != 1);
        world.withdraw(1).await;
        world
    }

    async fn back_up(&mut self, number: u8) -> Result<(), VaultError> {
        self.tokens += 1;
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let (id, content, codec) = (backup_id(number), content(number), Codec::Zstd { level: 1 });
        let (mut pins, mut parts) = (Vec::new(), Vec::new());
        for vault in &self.vaults {
            pins.push(vault.pin(request(self.tokens), Arc::clone(&clock)).await?);
        }
        for (vault, pin) in self.vaults.iter().zip(&pins) {
            parts.push(write_part(vault, pin, &id, 1, &content, codec).await?.reference);
        }
        let root = root_of(&id, 1, &parts.iter().collect::<Vec<_>>());
        let committed = self.vaults[0].commit_root(&root, &pins[0]).await?;
        let receipt = self.vaults[1].put_receipt(&committed, &parts[1]).await;
        for pin in pins {
            let _ = pin.release().await;
        }
        // The commit counts; a receipt that is missing is written by a prune.
        if receipt.is_ok() {
            self.alive.push(number);
        }
        Ok(())
    }

    async fn withdraw(&self, number: u8) {
        for vault in self.vaults.iter().rev() {
            vault.withdraw_backup(&backup_id(number), &withdrawal()).await.unwrap();
        }
    }

    async fn prune(&mut self) -> Result<PruneReport, VaultError> {
        self.tokens += 1;
        let options = PruneOptions { fence_ms: HOUR, compact_below_percent: 90, ..at_once() };
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.tokens.to_le_bytes());
        prune(&self.vaults, &options, &self.clock, random).await
    }

    fn advance(&self, hours: i64) {
        self.clock.advance_ms(hours * HOUR);
        self.faults.settle();
    }

    /// What is reported is there and whole, and so is all that can be seen.
    async fn check(&self) {
        for vault in &self.vaults {
            let listing = vault.list_backups().await.unwrap();
            assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
            let listed: Vec<&longshore_model::BackupId> =
                listing.backups.iter().map(|backup| &backup.root.backup_id).collect();
            for number in &self.alive {
                assert!(listed.contains(&&backup_id(*number)), "{number} is gone from {}", vault.region_id());
            }
            for id in listed {
                let number = (1..=3).find(|number| backup_id(*number) == *id).unwrap();
                assert_ne!(number, 1, "it was deleted");
                assert_eq!(read_back(vault, id).await.unwrap(), content(number), "{} {id}", vault.region_id());
                assert!(verify(vault, id, VerifyLevel::Decoded).await.is_whole(), "{} {id}", vault.region_id());
            }
        }
    }

    /// Prunes that nothing disturbs, until nothing more can go.
    async fn prune_out(&mut self) -> PruneReport {
        for _ in 0..5 {
            self.advance(26);
            self.prune().await.unwrap();
        }
        self.prune().await.unwrap()
    }
}

/// Prunes under a plan: marks, then, a backup later, deletions, then what those left.
async fn play(plan: &FaultPlan) -> (u64, u64) {
    let mut world = World::new().await;
    world.advance(2);
    world.faults.plan(plan.0.clone());
    for round in 0..3 {
        match world.prune().await {
            Ok(_) => {}
            Err(error) => assert!(error.to_string().len() > 20, "a sentence, not `{error}`"),
        }
        if round == 0 {
            world.advance(2);
            // It wants some of what is marked again.
            if let Err(error) = world.back_up(3).await {
                assert!(error.to_string().len() > 20, "a sentence, not `{error}`");
            }
        } else {
            world.advance(2);
        }
    }
    let (operations, fired) = (world.faults.operations(), world.faults.fired());
    world.faults.plan(Vec::new());
    world.check().await;
    let report = world.prune_out().await;
    world.check().await;
    for plan in &report.vaults {
        let space = &plan.space;
        assert!(plan.blocked.is_empty() && space.needed_bytes > 0, "{plan:?}");
        assert_eq!((space.marked_bytes, space.unreadable_bytes), (0, 0), "{plan:?}");
        assert!(space.unneeded_bytes * 10 <= space.needed_bytes, "{space:?}");
    }
    for number in [2, 3] {
        world.withdraw(number).await;
    }
    world.prune_out().await;
    for store in &world.stores {
        for folder in ["packs", "index", "parts", "roots", "receipts", "withdrawn", "marks"] {
            let left = keys(store, folder).await;
            assert!(left.is_empty(), "everything was deleted and pruned, and this is left: {left:?}");
        }
    }
    (operations, fired)
}

/// Plays with the plan in every message, and a minute for what takes less than a second.
async fn play_in_time(plan: FaultPlan) -> (u64, u64) {
    let text = plan.to_string();
    let playing = std::panic::AssertUnwindSafe(play(&plan)).catch_unwind();
    match tokio::time::timeout(Duration::from_secs(60), playing).await {
        Ok(Ok(counts)) => counts,
        Ok(Err(panic)) => {
            let what = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            panic!("plan `{text}`: {}", what.unwrap_or_default())
        }
        Err(_) => panic!("plan `{text}`: hangs"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plan_of_one_fault_in_a_prune_ends_in_correct_vaults_or_a_clear_error() {
    let (operations, _) = play_in_time(FaultPlan::default()).await;
    assert!(operations > 150, "{operations}");
    let effects = [
        Effect::Fail,
        Effect::SucceedThenFail,
        Effect::Deny,
        Effect::Crash,
        Effect::SucceedThenCrash,
        Effect::StorageFull,
        Effect::Stale(10),
        Effect::Stale(1_000),
    ];
    // All of them in the long form; in the usual one every twelfth operation, another twelfth for each effect.
    let chosen = |shift: usize, number: u64| long() || number % 12 == shift as u64 % 12;
    for (shift, effect) in effects.into_iter().enumerate() {
        for number in (0..operations).filter(|number| chosen(shift, *number)) {
            let fault = Fault::at(number, effect.clone());
            let fault = match effect {
                Effect::Stale(_) => Fault { operation: Some(Operation::List), skip: number / 3, ..fault },
                _ => fault,
            };
            play_in_time(FaultPlan(vec![fault])).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deletion_of_a_prune_may_be_the_last_thing_it_does() {
    for effect in [Effect::Crash, Effect::SucceedThenCrash, Effect::SucceedThenFail] {
        let mut number = 0;
        loop {
            let fault = Fault { operation: Some(Operation::Delete), ..Fault::at(number, effect.clone()) };
            if play_in_time(FaultPlan(vec![fault])).await.1 == 0 {
                break;
            }
            number += 1;
        }
        assert!(number > 10, "{number} deletions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_plans_of_several_faults_in_a_prune_end_in_correct_vaults_or_a_clear_error() {
    if let Ok(written) = std::env::var("LONGSHORE_PLAN") {
        play_in_time(written.parse().unwrap()).await;
        return;
    }
    let (operations, _) = play_in_time(FaultPlan::default()).await;
    let mut fired = 0;
    for seed in seeds(0..40, 1_000) {
        fired += play_in_time(FaultPlan::random(&mut SeededRandom::new(seed), operations, 5)).await.1;
    }
    assert!(fired > 0 || std::env::var_os("LONGSHORE_SEED").is_some(), "no plan hit anything");
}
