//! Whole sequences of work over two vaults whose stores fail by plan: backup, second backup, copy, verify, restore,
//! delete, backup again. Whatever the plan, what was reported as made can be restored bit for bit, what was reported as
//! failed never looks damaged, everything that failed works when it is tried again, and nothing panics or hangs.
//!
//! A plan that fails is in the message; `LONGSHORE_PLAN='any@7=error, list@2=stale(5)'` plays it again.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_model::{Codec, JobType};
use longshore_vault::testing::{Effect, Fault, FaultPlan, FaultStore, Operation, SeededRandom, long, seeds};
use longshore_vault::*;

use crate::support::*;

/// One piece of work, on the backup with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    BackUp(u8),
    CopyAway(u8),
    Verify(u8),
    Restore(u8),
    Delete(u8),
}

use Step::{BackUp, CopyAway, Delete, Restore, Verify};

const SCRIPT: [Step; 10] = [
    BackUp(1),
    BackUp(2),
    CopyAway(1),
    CopyAway(2),
    Verify(2),
    Restore(1),
    Delete(1),
    BackUp(3),
    CopyAway(3),
    Restore(2),
];

/// Backups overlap, and each has something of its own.
pub(crate) fn content(number: u8) -> Content {
    let files = |seed: u64, shared: u64| -> BTreeMap<String, Vec<u8>> {
        [
            ("manifest.json".to_owned(), format!("{{\"seed\": {seed}}}").into_bytes()),
            ("data/empty".to_owned(), Vec::new()),
            ("data/own".to_owned(), noise(seed, 2_500)),
            ("data/shared".to_owned(), noise(shared, 3_000)),
        ]
        .into()
    };
    let number = u64::from(number);
    [("articles".to_owned(), files(number, 77)), ("images".to_owned(), files(90, 78 + number / 2))].into()
}

pub(crate) fn tiny_limits() -> Limits {
    Limits { split_bytes: 1024, pack_target_bytes: 4 * 1024, ..Limits::DEFAULT }
}

/// Two vaults of a project over stores that fail by one plan, and what their user was told.
struct World {
    faults: FaultStore,
    home: Vault,
    away: Vault,
    token: u64,
    /// The plan has stale listings.
    stale: bool,
    told: Vec<(Step, Result<(), VaultError>)>,
}

impl World {
    async fn new() -> Self {
        let faults = FaultStore::new(memory());
        let other = faults.beside(memory(), "away/");
        let home = Vault::init(faults.store(), options("local", 1)).await.unwrap().with_limits(tiny_limits());
        let away = Vault::init(other.store(), options("far", 2)).await.unwrap().with_limits(tiny_limits());
        Self { faults, home, away, token: 0, stale: false, told: Vec::new() }
    }

    async fn run(&mut self, step: Step) -> Result<(), VaultError> {
        self.token += 1;
        match step {
            BackUp(number) => {
                let codec = Codec::Zstd { level: 1 };
                back_up(&self.home, &backup_id(number), self.token, &content(number), codec).await.map(|_| ())
            }
            CopyAway(number) => self.copy(number).await,
            Verify(number) => {
                let part = self.home.load_part_of(&self.home.load_backup(&backup_id(number)).await?).await?;
                let report = self.home.verify(&part, VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {})).await?;
                // A stale listing hides packs, which a verification can only call missing.
                assert!(report.is_whole() || self.stale, "{report:?}");
                Ok(())
            }
            Restore(number) => {
                let vault = if number % 2 == 0 { &self.away } else { &self.home };
                assert_eq!(read_back(vault, &backup_id(number)).await?, content(number), "restored, but not the same");
                Ok(())
            }
            Delete(number) => {
                let id = backup_id(number);
                self.away.withdraw_backup(&id, &withdrawal()).await?;
                self.home.withdraw_backup(&id, &withdrawal()).await
            }
        }
    }

    async fn copy(&self, number: u8) -> Result<(), VaultError> {
        let id = backup_id(number);
        let loaded = self.home.load_backup(&id).await?;
        let part = self.home.load_part_of(&loaded).await?;
        let as_copy = |relies_on| PinRequest { job_type: JobType::Copy, relies_on, ..request(self.token) };
        let reads = ReliesOn { backups: vec![id.clone()], ..ReliesOn::default() };
        let from = self.home.pin(as_copy(reads), clock()).await?;
        let to = self.away.pin(request(self.token), clock()).await?;
        let reader = self.home.open_reader().await?;
        let session = self.away.begin(&to, SessionOptions { cpu_threads: 2, ..SessionOptions::default() }).await?;
        for file in part.open.collections.iter().flat_map(|collection| &collection.files) {
            for piece in reader.file_pieces(file)? {
                if session.lookup(&piece.blob).is_none() {
                    let extent = reader.extent(&piece.blob).unwrap();
                    session.put_piece(reader.read_blob(&piece.blob).await?, Codec::Lz4, extent).await?;
                }
            }
        }
        let (token, created) = (loaded.root.open.token, part.open.created);
        let (collections, sealed) = (part.open.collections.clone(), part.sealed.open()?.clone());
        let copied = session
            .finish(PartDraft {
                backup_id: id,
                token,
                home_vault_id: Some(self.home.id().clone()),
                created,
                collections,
                sealed: Sealed::Readable(sealed),
            })
            .await?;
        self.away.put_receipt(&loaded.committed(), &copied.reference).await?;
        let _ = (from.release().await, to.release().await);
        Ok(())
    }

    fn outcome(&self, step: Step) -> Option<&Result<(), VaultError>> {
        self.told.iter().rev().find(|(done, _)| *done == step).map(|(_, outcome)| outcome)
    }

    /// Everything that can be seen is whole, and what can be seen is what was told.
    async fn check(&self, torn: bool) {
        for vault in [&self.home, &self.away] {
            let listing = vault.list_backups().await.unwrap();
            assert!(torn || listing.damaged.is_empty(), "{:?}", listing.damaged);
            for backup in &listing.backups {
                let id = &backup.root.backup_id;
                let number = (1..=3).find(|number| backup_id(*number) == *id).unwrap();
                // A deletion that a stale listing hid the root from removes the part and leaves the root: what stays
                // was meant to go.
                if self.stale && self.outcome(Delete(number)).is_some() {
                    continue;
                }
                assert_eq!(read_back(vault, id).await.unwrap(), content(number), "{} {id}", vault.region_id());
                assert!(verify(vault, id, VerifyLevel::Decoded).await.is_whole(), "{} {id}", vault.region_id());
            }
        }
        let (home, away) = (listed(&self.home).await, listed(&self.away).await);
        for number in 1..=3 {
            let id = backup_id(number);
            let deleted = self.outcome(Delete(number));
            match (self.outcome(BackUp(number)), deleted) {
                (Some(Ok(())), None) => assert!(home.contains(&id), "{id} was reported as made and is not there"),
                // A listing that lacks a root lets a deletion believe that it is done.
                (_, Some(Ok(()))) => {
                    assert!(self.stale || !home.contains(&id), "{id} was reported as deleted and is there");
                    assert!(self.stale || !away.contains(&id), "{id} was reported as deleted and is there");
                }
                (Some(Err(VaultError::Uncertain { .. })), _) => {}
                (Some(Err(error)), _) => assert!(!home.contains(&id), "{id} was reported as failed: {error}"),
                _ => {}
            }
            if let (Some(Ok(())), None) = (self.outcome(CopyAway(number)), deleted) {
                assert!(away.contains(&id), "{id} was reported as copied and is not there");
            }
        }
    }
}

/// Runs the script under a plan, heals the stores, checks, repeats what failed, and checks again.
async fn play(plan: &FaultPlan) -> (u64, u64) {
    let mut world = World::new().await;
    let has = |wanted: fn(&Effect) -> bool| plan.0.iter().any(|fault| wanted(&fault.effect));
    world.stale = has(|effect| matches!(effect, Effect::Stale(_)));
    world.faults.plan(plan.0.clone());
    for step in SCRIPT {
        let outcome = world.run(step).await;
        if let Err(error) = &outcome {
            assert!(error.to_string().len() > 20, "a sentence, not `{error}`");
        }
        world.told.push((step, outcome));
    }
    let (operations, fired) = (world.faults.operations(), world.faults.fired());
    world.faults.plan(Vec::new());
    world.check(has(|effect| matches!(effect, Effect::Torn(_)))).await;
    for step in SCRIPT {
        if world.outcome(step).is_some_and(Result::is_err) && (step == Delete(1) || world.outcome(Delete(1)).is_none())
        {
            world.run(step).await.unwrap_or_else(|error| panic!("{step:?} again: {error}"));
            world.told.push((step, Ok(())));
        }
    }
    // What the deletion had nothing to do with, in the order in which it was wanted.
    for step in [BackUp(2), BackUp(3), CopyAway(2), CopyAway(3), Verify(2), Restore(2), Restore(3)] {
        if world.outcome(step).is_none_or(Result::is_err) {
            world.run(step).await.unwrap_or_else(|error| panic!("{step:?} again: {error}"));
            world.told.push((step, Ok(())));
        }
    }
    world.check(false).await;
    (operations, fired)
}

/// Plays with the plan in every message, and a minute for what takes less than a second.
async fn play_in_time(plan: FaultPlan) -> (u64, u64) {
    use futures::FutureExt;
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
async fn every_plan_of_one_fault_ends_in_correct_vaults_or_a_clear_error() {
    let (operations, _) = play_in_time(FaultPlan::default()).await;
    assert!(operations > 60, "{operations}");
    let effects = [
        Effect::Fail,
        Effect::SucceedThenFail,
        Effect::Torn(10),
        Effect::StorageFull,
        Effect::Delay(1),
        Effect::Stale(12),
        Effect::Stale(1_000),
    ];
    // All of them in the long form; in the usual one every sixth operation, another sixth for each effect.
    let chosen = |shift: usize, number: u64| long() || number % 6 == shift as u64 % 6;
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
    for number in (0..operations).filter(|number| chosen(3, *number)) {
        play_in_time(FaultPlan(vec![Fault::dead_from(number)])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_plans_of_several_faults_end_in_correct_vaults_or_a_clear_error() {
    let (operations, _) = play_in_time(FaultPlan::default()).await;
    if let Ok(written) = std::env::var("LONGSHORE_PLAN") {
        play_in_time(written.parse().unwrap()).await;
        return;
    }
    let mut fired = 0;
    for seed in seeds(0..40, 2_000) {
        fired += play_in_time(FaultPlan::random(&mut SeededRandom::new(seed), operations, 5)).await.1;
    }
    assert!(fired > 0 || std::env::var_os("LONGSHORE_SEED").is_some(), "no plan hit anything");
}
