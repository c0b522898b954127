//! The real engine over made-up clusters and stores that fail by plan, beside a model of what must be there.
//!
//! After every step, over healed stores: what was reported as made and not deleted is there and comes back bit for bit,
//! from every vault that claims it; what was reported as failed or deleted is not listed; nothing that is listed is
//! damaged or lacks an object.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};

use futures::{FutureExt, TryStreamExt};
use longshore_engine::{
    BackupRequest, ClusterTarget, CopyRequest, EngineError, Limits, OpenedBackup, Random, RegionVaults, RestoreScope,
    RunContext, RunPolicy, copy_backup, plan_backup, plan_restore, run_backup, run_restore, standard_policies,
};
use longshore_model::{BackupId, Clock, JobId, Region, RegionId, RestoredLoadState, Timestamp};
use longshore_policy::{Guardrails, PolicySet};
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_vault::testing::{Effect, Fault, FaultStore, SeededRandom, TestClock, TimedStore};
use longshore_vault::{PruneOptions, Vault, VaultError, VaultOptions, Withdrawal, prune};
use object_store::memory::InMemory;
use object_store::{ObjectMeta, ObjectStore};
use tokio::sync::Semaphore;

use crate::cluster::{Content, MadeCluster, MadeTarget};
use crate::known::{Known, Told, change, read, told};
use crate::script::{Action, CLUSTERS, REGIONS, Step, crashes};

const START: i64 = 1_722_358_190_000;
const HOUR_MS: i64 = 3_600_000;

/// Randomness that follows from the script's seed.
struct Drawn(Mutex<SeededRandom>);

impl Random for Drawn {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        bytes.copy_from_slice(&self.0.lock().unwrap().bytes(bytes.len()));
        Ok(())
    }
}

/// The standard policy, loaded once.
fn policies() -> Arc<PolicySet> {
    static SET: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let load = || Arc::new(standard_policies(&Sandbox::new(SandboxConfig::default()).unwrap()).unwrap());
    Arc::clone(SET.get_or_init(load))
}

fn region(number: usize) -> RegionId {
    REGIONS[number].parse().unwrap()
}

pub(crate) struct World {
    clock: TestClock,
    faults: FaultStore,
    stores: Vec<Arc<dyn ObjectStore>>,
    vaults: Vec<Vault>,
    clusters: Vec<MadeCluster>,
    policy: RunPolicy,
    context: RunContext,
    known: Vec<Known>,
    /// The last error of this step that a user would see.
    heard: RefCell<Option<String>>,
}

/// What an action came to, before the model takes it over.
enum Outcome {
    Nothing,
    BackUp { id: BackupId, job: JobId, cluster: usize, seen: [Content; 2], told: Told },
    Again { backup: usize, seen: [Content; 2], told: Told },
    CopyTo { backup: usize, region: usize, told: Told },
    Delete { backup: usize, told: Told },
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = TestClock::new(Timestamp::from_millis(START));
        let store = || Arc::new(TimedStore::new(Arc::new(InMemory::new()), clock.clone()));
        let home = FaultStore::new(store());
        let faults = [home.clone(), home.beside(store(), "us/")];
        let mut vaults: Vec<Vault> = Vec::new();
        for (number, store) in faults.iter().enumerate() {
            let key = vaults.first().map(|vault| vault.id_key().unwrap().clone());
            let options = VaultOptions::random("proj-test".parse().unwrap(), region(number), key).unwrap();
            let limits = longshore_vault::Limits {
                split_bytes: 1024,
                pack_target_bytes: 4 * 1024,
                ..longshore_vault::Limits::DEFAULT
            };
            vaults.push(Vault::init(store.store(), options).await.unwrap().with_limits(limits));
        }
        let regions = (0..REGIONS.len()).map(|number| Region {
            id: region(number),
            provider: "local".to_owned(),
            jurisdiction: String::new(),
            storage_price_micros_per_gb_month: 0,
            transfer_price_micros_per_gb: 0,
        });
        // One thing after the other, so that a script meets the same operations whenever it is played.
        let limits = Limits { parallel_collections: 1, parallel_chunks: 1, ..Limits::default() };
        let random = Arc::new(Drawn(Mutex::new(SeededRandom::new(1))));
        let context = RunContext { clock: Arc::new(clock.clone()), random, ..RunContext::new(limits) };
        let policy = RunPolicy { set: policies(), guardrails: Guardrails::default(), regions: regions.collect() };
        let clusters: Vec<MadeCluster> = CLUSTERS.iter().map(|name| MadeCluster::new(name)).collect();
        for (number, cluster) in clusters.iter().enumerate() {
            change(cluster, number as u64);
        }
        let stores = faults.iter().map(FaultStore::store).collect();
        Self {
            clock,
            faults: home,
            stores,
            vaults,
            clusters,
            policy,
            context,
            known: Vec::new(),
            heard: RefCell::default(),
        }
    }

    /// Does one step, takes it over into the model, and compares.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), String> {
        let Some(action) = step.action else { return Ok(()) };
        let crashed = crashes(&step.plan);
        let disturbed = step.meanwhile.is_some() || !step.plan.0.is_empty();
        let must_succeed = !disturbed && self.must_succeed(action);
        self.heard.take();
        let (first, second) = match &step.meanwhile {
            None => {
                self.faults.plan(step.plan.0.clone());
                (self.guarded(action).await?, Outcome::Nothing)
            }
            Some((at, other)) => self.interleaved(action, at, *other).await?,
        };
        if std::env::var_os("LONGSHORE_SCRIPT").is_some() {
            let (operations, fired) = (self.faults.operations(), self.faults.fired());
            eprintln!("{step}: {operations} operations, {fired} faults, heard {:?}", self.heard.borrow());
        }
        self.faults.plan(Vec::new());
        if let Some(error) = self.heard.take().filter(|_| must_succeed) {
            return Err(format!("nothing disturbs it, and it fails: {error}"));
        }
        self.take_over(first, crashed);
        self.take_over(second, false);
        self.check().await
    }

    /// Whether an action that nothing disturbs has no reason to fail, whatever happened before.
    fn must_succeed(&self, action: Action) -> bool {
        let there = |backup: usize| {
            let known = self.number(backup).map(|number| &self.known[number]);
            known.is_some_and(|known| known.told == Told::Done && known.deleted.is_none())
        };
        match action {
            Action::CopyTo { backup, .. } | Action::Restore { backup, region: None } => there(backup),
            Action::Restore { .. } => false,
            _ => true,
        }
    }

    /// What a user hears of a result; the error is kept.
    fn told<T>(&self, result: Result<T, EngineError>) -> Told {
        if let Err(error) = &result {
            *self.heard.borrow_mut() = Some(error.to_string());
        }
        told(result)
    }

    /// A panic is a finding, as is a step that does not end.
    async fn guarded(&self, action: Action) -> Result<Outcome, String> {
        let long = std::time::Duration::from_secs(20);
        match tokio::time::timeout(long, AssertUnwindSafe(self.act(action)).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().cloned();
                Err(format!("a panic: {}", text.unwrap_or_else(|| "without words".to_owned())))
            }
            Err(_) => Err("it hangs".to_owned()),
        }
    }

    /// Runs `first` up to its operation at `at`, then `other` to its end, then the rest of `first`.
    async fn interleaved(&self, first: Action, at: &Fault, other: Action) -> Result<(Outcome, Outcome), String> {
        let gate = Arc::new(Semaphore::new(0));
        self.faults.plan(vec![Fault { effect: Effect::Wait(Arc::clone(&gate)), ..at.clone() }]);
        let ended = Cell::new(false);
        let one = async {
            let outcome = self.guarded(first).await;
            ended.set(true);
            outcome
        };
        let another = async {
            while self.faults.fired() == 0 && !ended.get() {
                tokio::task::yield_now().await;
            }
            if self.faults.fired() == 0 {
                // It ended before: nobody is to stand still any more.
                self.faults.plan(Vec::new());
            }
            let outcome = self.guarded(other).await;
            gate.add_permits(1);
            outcome
        };
        let (one, another) = futures::join!(one, another);
        Ok((one?, another?))
    }

    /// A set of vaults for one job, so that nothing is kept from an earlier one.
    fn all_vaults(&self) -> RegionVaults {
        RegionVaults::of(self.vaults.iter().cloned()).unwrap()
    }

    fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.context.random.fill(&mut bytes).unwrap();
        bytes
    }

    fn number(&self, backup: usize) -> Option<usize> {
        backup.checked_rem(self.known.len())
    }

    async fn act(&self, action: Action) -> Result<Outcome, String> {
        Ok(match action {
            Action::Change { cluster, seed } => {
                change(&self.clusters[cluster], seed);
                Outcome::Nothing
            }
            Action::Advance { hours } => {
                self.clock.advance_ms(i64::try_from(hours).unwrap() * HOUR_MS);
                Outcome::Nothing
            }
            Action::BackUp { cluster } => self.back_up(cluster).await,
            Action::Again { backup } => self.again(backup).await,
            Action::CopyTo { backup, region } => self.copy(backup, region).await,
            Action::Restore { backup, region } => self.restore(backup, region).await?,
            Action::Delete { backup } => self.delete(backup).await,
            Action::Sweep { hours } => {
                for hours in [hours, 2, 0] {
                    if let Err(error) = self.prune(&self.vaults).await {
                        *self.heard.borrow_mut() = Some(error.to_string());
                    }
                    self.clock.advance_ms(i64::try_from(hours).unwrap() * HOUR_MS);
                }
                Outcome::Nothing
            }
            Action::Prune { region } => {
                // What a prune says is not judged here; what it left is.
                let vaults = region.map_or(self.vaults.clone(), |region| vec![self.vaults[region].clone()]);
                if let Err(error) = self.prune(&vaults).await {
                    *self.heard.borrow_mut() = Some(error.to_string());
                }
                Outcome::Nothing
            }
        })
    }

    async fn run_backup(&self, cluster: usize, id: &BackupId, job: &JobId, token: u64) -> Told {
        let context = self.context.for_another_job();
        let target = ClusterTarget {
            id: format!("in01-{}", CLUSTERS[cluster]).parse().unwrap(),
            name: CLUSTERS[cluster].to_owned(),
            project_id: "proj-test".parse().unwrap(),
            home_region: region(cluster),
            labels: BTreeMap::new(),
        };
        let request = BackupRequest::manual(target, Vec::new(), &context).unwrap();
        let request = BackupRequest { backup_id: id.clone(), job_id: job.clone(), fencing_token: token, ..request };
        let (source, vaults) = (&self.clusters[cluster], self.all_vaults());
        let run = async {
            let plan = plan_backup(request, source, &self.policy, &vaults, &context).await?;
            run_backup(plan, source, &vaults, &context).await
        };
        self.told(run.await)
    }

    async fn back_up(&self, cluster: usize) -> Outcome {
        let (id, job) = (BackupId::from_random(self.draw()), JobId::from_random(self.draw()));
        let before = self.clusters[cluster].content();
        let told = self.run_backup(cluster, &id, &job, 1).await;
        let seen = [before, self.clusters[cluster].content()];
        Outcome::BackUp { id, job, cluster, seen, told }
    }

    /// What a host does with a job whose host died: what was committed counts, or else it is done again.
    async fn again(&self, backup: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        if known.told == Told::Done || known.deleted.is_some() {
            return Outcome::Nothing;
        }
        let before = self.clusters[known.cluster].content();
        let told = match OpenedBackup::find(&self.all_vaults(), Some(&region(known.cluster)), &known.id).await {
            Ok(_) => Told::Done,
            Err(EngineError::NotFound { .. }) => {
                self.run_backup(known.cluster, &known.id, &known.job, known.token + 1).await
            }
            Err(error) => self.told::<()>(Err(error)),
        };
        let seen = [before, self.clusters[known.cluster].content()];
        Outcome::Again { backup, seen, told }
    }

    async fn copy(&self, backup: usize, to: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        if known.cluster == to {
            return Outcome::Nothing;
        }
        let request = CopyRequest {
            job_id: JobId::from_random(self.draw()),
            fencing_token: 1,
            backup_id: known.id.clone(),
            home: region(known.cluster),
            to: region(to),
            collections: Vec::new(),
        };
        let told = self.told(copy_backup(&request, &self.all_vaults(), &self.context.for_another_job()).await);
        Outcome::CopyTo { backup, region: to, told }
    }

    async fn delete(&self, backup: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        let withdrawal = Withdrawal { time: self.clock.now(), by: "a user".to_owned(), job_id: None };
        let told = self.told(self.all_vaults().delete_backup(&region(known.cluster), &known.id, &withdrawal).await);
        Outcome::Delete { backup, told }
    }

    /// Restores; an error is an answer, other bytes are not.
    async fn restore(&self, backup: usize, from: Option<usize>) -> Result<Outcome, String> {
        let Some(backup) = self.number(backup) else { return Ok(Outcome::Nothing) };
        let known = &self.known[backup];
        let vaults = match from {
            None => self.all_vaults(),
            Some(from) => RegionVaults::of([self.vaults[from].clone()]).unwrap(),
        };
        let target = MadeTarget::default();
        let context = self.context.for_another_job();
        let run = async {
            let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
            let plan = plan_restore(&vaults, None, &known.id, scope).await?;
            run_restore(plan, &target, &context).await
        };
        match run.await {
            Ok(_) if target.restored().is_some_and(|content| known.may_hold(&content)) => Ok(Outcome::Nothing),
            Ok(_) => Err(format!("{} was restored with other bytes than were backed up", known.id)),
            Err(error) => {
                *self.heard.borrow_mut() = Some(error.to_string());
                Ok(Outcome::Nothing)
            }
        }
    }

    /// A prune that spares nothing for its age: what protects a job is its pin, not luck.
    async fn prune(&self, vaults: &[Vault]) -> Result<(), VaultError> {
        let options = PruneOptions { minimum_age_ms: 0, ..PruneOptions::default() };
        prune(vaults, &options, &self.clock, self.draw()).await.map(|_| ())
    }

    /// The end of a script: when everything was deleted and nothing runs, two prunes past the fence leave nothing. Pins
    /// of jobs that crashed must have lapsed before, and tombstones stay one fence longer.
    pub(crate) async fn nothing_is_left(&mut self) -> Result<(), String> {
        for backup in 0..self.known.len() {
            let deleted = self.delete(backup).await;
            self.take_over(deleted, false);
        }
        self.check().await?;
        self.clock.advance_ms(30 * HOUR_MS);
        for _ in 0..4 {
            self.prune(&self.vaults).await.map_err(|error| format!("the last prunes: {error}"))?;
            self.clock.advance_ms(2 * HOUR_MS);
        }
        for store in &self.stores {
            let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.map_err(|error| error.to_string())?;
            let left: Vec<String> = listed
                .iter()
                .map(|meta| meta.location.to_string())
                .filter(|key| {
                    ["packs/", "index/", "parts/", "roots/", "receipts/"].iter().any(|folder| key.starts_with(folder))
                })
                .collect();
            if !left.is_empty() {
                return Err(format!("everything was deleted and pruned, and this is left: {left:?}"));
            }
        }
        Ok(())
    }

    fn take_over(&mut self, outcome: Outcome, crashed: bool) {
        let heard = |told: Told| if crashed { Told::Unknown } else { told };
        match outcome {
            Outcome::Nothing => {}
            Outcome::BackUp { id, job, cluster, seen, told } => self.known.push(Known {
                id,
                job,
                token: 1,
                cluster,
                told: heard(told),
                attempts: vec![seen],
                copies: BTreeMap::new(),
                deleted: None,
            }),
            Outcome::Again { backup, seen, told } => {
                let known = &mut self.known[backup];
                known.token += 1;
                known.attempts.push(seen);
                // A failed attempt takes nothing back that an earlier one, of which nobody knows, may have made.
                known.told = match heard(told) {
                    Told::Failed => known.told,
                    other => other,
                };
            }
            Outcome::CopyTo { backup, region, told } => {
                let copy = self.known[backup].copies.entry(region).or_insert(Told::Failed);
                *copy = match (heard(told), *copy) {
                    (Told::Failed, before) => before,
                    (Told::Unknown, Told::Done) | (Told::Done, _) => Told::Done,
                    (Told::Unknown, _) => Told::Unknown,
                };
            }
            Outcome::Delete { backup, told } => {
                let deleted = &mut self.known[backup].deleted;
                // Once it was deleted it stays so.
                *deleted = Some(deleted.unwrap_or(Told::Unknown).max(match heard(told) {
                    Told::Done => Told::Done,
                    _ => Told::Unknown,
                }));
            }
        }
    }

    /// Compares what is there with what must be there.
    async fn check(&self) -> Result<(), String> {
        let mut listed: Vec<BTreeSet<BackupId>> = Vec::new();
        for vault in &self.vaults {
            let listing = vault.list_backups().await.map_err(|error| format!("listing: {error}"))?;
            if let Some((id, error)) = listing.damaged.first() {
                return Err(format!("{id} shows as damaged: {error}"));
            }
            let ids: BTreeSet<BackupId> = listing.backups.into_iter().map(|backup| backup.root.backup_id).collect();
            let reader = vault.open_reader().await.map_err(|error| error.to_string())?;
            for id in &ids {
                let known = self.known.iter().find(|known| known.id == *id).ok_or(format!("nobody made {id}"))?;
                let content = read(vault, &reader, id)
                    .await
                    .map_err(|error| format!("{id} in {}: {error}", vault.region_id()))?;
                if content.is_some_and(|content| !known.may_hold(&content)) {
                    return Err(format!("{id} in {} holds other bytes than were backed up", vault.region_id()));
                }
            }
            listed.push(ids);
        }
        for (number, known) in self.known.iter().enumerate() {
            let there = |region: usize| listed[region].contains(&known.id);
            let anywhere = (0..REGIONS.len()).any(there);
            if known.deleted == Some(Told::Done) && anywhere {
                return Err(format!("backup {number} ({}) was reported as deleted and is there", known.id));
            }
            if known.told == Told::Failed && anywhere {
                return Err(format!("backup {number} ({}) was reported as failed and is there", known.id));
            }
            if known.deleted.is_some() {
                continue;
            }
            if known.told == Told::Done && !there(known.cluster) {
                return Err(format!("backup {number} ({}) was reported as made and is not there", known.id));
            }
            let copies = known.copies.iter().filter(|(_, told)| **told == Told::Done);
            for (region, _) in copies {
                if !there(*region) {
                    return Err(format!("backup {number} was reported as copied to {} and is not", REGIONS[*region]));
                }
            }
        }
        Ok(())
    }
}
