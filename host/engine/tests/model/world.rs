//! The real engine over made-up clusters and stores that fail by plan, beside a model of what must be there.
//!
//! After every step, over healed stores: what was reported as made and not deleted is there and comes back bit for bit,
//! from every vault that claims it; what was reported as failed or deleted is not listed; nothing that is listed is
//! damaged or lacks an object.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};

use futures::FutureExt;
use longshore_engine::{EngineError, HostFacts, Limits, Random, RunContext, RunCosts, RunPolicy, standard_policies};
use longshore_model::{BackupId, JobId, Region, RegionId, Timestamp};
use longshore_policy::{Guardrails, PolicySet};
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_vault::testing::{Effect, Fault, FaultStore, SeededRandom, TestClock, TimedStore};
use longshore_vault::{Encryption, Keys, NamedRecipient, ReaderKey, Vault, VaultOptions, WriterKey};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::Semaphore;

use crate::cluster::{Content, MadeCluster};
use crate::hurt::Hurt;
use crate::known::{Known, Told, change};
use crate::script::{Action, CLUSTERS, COLLECTIONS, REGIONS, Step, crashes, is_stale};

/// Files are split into pieces of so many bytes.
pub(crate) const SPLIT_BYTES: usize = 1024;
const START: i64 = 1_722_358_190_000;

/// How the tally calls collections of backups that were gone when the collection was erased.
pub(crate) const ERASED_AFTER_DELETION: &str = "collections erased when their backup was deleted already";

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

pub(crate) fn region(number: usize) -> RegionId {
    REGIONS[number].parse().unwrap()
}

/// Whether nothing runs meanwhile that an action must not survive: a prune must be no reason to fail, unless it comes when
/// the pin of a job that stood still for a day has lapsed.
fn is_left_alone(step: &Step) -> bool {
    match (step.action, step.meanwhile.as_ref().map(|(_, other)| *other)) {
        (_, None) => true,
        (Some(Action::Heal { .. }), _) => false,
        // The hours of the other one are too many for a prune that stands still: it says so and deletes nothing.
        (Some(Action::Prune { .. } | Action::Sweep { .. }), Some(Action::Sweep { .. })) => false,
        (_, Some(other)) => matches!(other, Action::Prune { .. } | Action::Sweep { hours: 2 }),
    }
}

/// A vault as the two kinds of hosts have it open.
struct Opened {
    /// With the writer key alone.
    host: Vault,
    /// With the reader key.
    owner: Vault,
    /// With the reader key, over the store without faults.
    seen: Vault,
}

/// What was met, and how often.
pub(crate) type Tally = BTreeMap<String, u64>;

pub(crate) struct World {
    pub(crate) clock: TestClock,
    faults: FaultStore,
    /// The stores without faults: what is really there.
    pub(crate) stores: Vec<Arc<dyn ObjectStore>>,
    /// The vaults as a host has them that makes backups: in an encrypted world it can read nothing.
    pub(crate) hosts: Vec<Vault>,
    /// The vaults as their owner has them, who can read everything.
    pub(crate) owners: Vec<Vault>,
    /// The vaults as they are looked at for comparing: no faults, and nothing is counted.
    pub(crate) seen: Vec<Vault>,
    pub(crate) clusters: Vec<MadeCluster>,
    pub(crate) policy: RunPolicy,
    pub(crate) context: RunContext,
    pub(crate) known: Vec<Known>,
    /// Backups that were there when the step began.
    pub(crate) visible: BTreeSet<BackupId>,
    /// The last error of this step that a user would see.
    pub(crate) heard: RefCell<Option<String>>,
    /// What this step damaged.
    pub(crate) hurt: RefCell<Option<Hurt>>,
    /// How often what was to be tried was really met.
    pub(crate) tally: Tally,
    /// What this step erases: cluster and collection.
    pub(crate) erasing: BTreeSet<(usize, String)>,
    /// Erasures that began and did not end, cluster and collection: while the pin of one counts, it alone may go on.
    pub(crate) interrupted: BTreeSet<(usize, usize)>,
}

/// What an action came to, before the model takes it over.
pub(crate) enum Outcome {
    Nothing,
    BackUp {
        id: BackupId,
        job: JobId,
        cluster: usize,
        seen: [Content; 2],
        told: Told,
    },
    Again {
        backup: usize,
        seen: [Content; 2],
        told: Told,
    },
    CopyTo {
        backup: usize,
        region: usize,
        told: Told,
    },
    Delete {
        backup: usize,
        told: Told,
    },
    /// `refused`: no backup named it, so nothing was done.
    Erase {
        cluster: usize,
        collection: usize,
        told: Told,
        refused: bool,
    },
}

/// Makes a vault and opens it as the hosts do, through `faults`, and as it really is, through `store`.
async fn make_vault(faults: &FaultStore, store: &Arc<dyn ObjectStore>, options: VaultOptions) -> Opened {
    let limits = longshore_vault::Limits {
        split_bytes: SPLIT_BYTES,
        pack_target_bytes: 4 * 1024,
        ..longshore_vault::Limits::DEFAULT
    };
    let (mut writes, mut reads) = (Keys::none(), Keys::none());
    if options.encryption != Encryption::None {
        writes = writes.with_writer(WriterKey::new(options.id_key.clone()));
        reads = writes.clone().with_reader(reader_key());
    }
    Vault::init(Arc::clone(store), options).await.unwrap();
    let open = async |store, keys: &Keys| Vault::open(store, keys).await.unwrap().with_limits(limits);
    let host = open(faults.store(), &writes).await;
    let (owner, seen) = (open(faults.store(), &reads).await, open(Arc::clone(store), &reads).await);
    assert!(owner.is_readable() && seen.is_readable() && host.is_readable() != host.is_encrypted());
    Opened { host, owner, seen }
}

/// The same in all worlds: making one takes longer than a step.
fn reader_key() -> ReaderKey {
    static KEY: OnceLock<ReaderKey> = OnceLock::new();
    KEY.get_or_init(ReaderKey::generate).clone()
}

fn encryption() -> Encryption {
    let (recipient, added) = (reader_key().to_recipient(), Timestamp::from_millis(START));
    Encryption::Age1 { recipients: vec![NamedRecipient { name: "recovery key".to_owned(), recipient, added }] }
}

impl World {
    pub(crate) async fn new(encrypted: bool) -> Self {
        let clock = TestClock::new(Timestamp::from_millis(START));
        let store = || -> Arc<dyn ObjectStore> { Arc::new(TimedStore::new(Arc::new(InMemory::new()), clock.clone())) };
        let stores = vec![store(), store()];
        let home = FaultStore::new(Arc::clone(&stores[0]));
        let faults = [home.clone(), home.beside(Arc::clone(&stores[1]), "us/")];
        let (mut hosts, mut owners, mut seen): (Vec<Vault>, Vec<Vault>, Vec<Vault>) = Default::default();
        for (number, (faults, store)) in faults.iter().zip(&stores).enumerate() {
            let key = owners.first().map(|vault| vault.id_key().unwrap().clone());
            let options = VaultOptions::random("proj-test".parse().unwrap(), region(number), key).unwrap();
            let encryption = if encrypted { encryption() } else { Encryption::None };
            let opened = make_vault(faults, store, VaultOptions { encryption, ..options }).await;
            hosts.push(opened.host);
            owners.push(opened.owner);
            seen.push(opened.seen);
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
        let policy = RunPolicy {
            set: policies(),
            guardrails: Guardrails::default(),
            regions: regions.collect(),
            costs: RunCosts::default(),
            known: HostFacts::default(),
        };
        let clusters: Vec<MadeCluster> = CLUSTERS.iter().map(|name| MadeCluster::new(name)).collect();
        for (number, cluster) in clusters.iter().enumerate() {
            change(cluster, number as u64);
        }
        Self {
            clock,
            faults: home,
            stores,
            hosts,
            owners,
            seen,
            clusters,
            policy,
            context,
            known: Vec::new(),
            visible: BTreeSet::new(),
            heard: RefCell::default(),
            hurt: RefCell::default(),
            tally: Tally::new(),
            erasing: BTreeSet::new(),
            interrupted: BTreeSet::new(),
        }
    }

    /// Moves the clock on. Listings lag by less than that.
    pub(crate) fn advance_ms(&self, milliseconds: i64) {
        self.clock.advance_ms(milliseconds);
        self.faults.settle();
    }

    /// Does one step, takes it over into the model, and compares.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), String> {
        let Some(action) = step.action else { return Ok(()) };
        let crashed = crashes(&step.plan);
        let must_succeed = step.plan.0.is_empty() && is_left_alone(step) && self.must_succeed(action);
        self.heard.take();
        self.erasing = [Some(action), step.meanwhile.as_ref().map(|(_, other)| *other)]
            .into_iter()
            .flatten()
            .filter_map(|action| match action {
                Action::Erase { cluster, collection } => Some((cluster, COLLECTIONS[collection].to_owned())),
                _ => None,
            })
            .collect();
        let (first, second) = match &step.meanwhile {
            None => {
                self.faults.plan(step.plan.0.clone());
                (self.guarded(action).await?, Outcome::Nothing)
            }
            Some((at, other)) => self.interleaved(action, at, *other, &step.plan.0).await?,
        };
        if std::env::var_os("LONGSHORE_SCRIPT").is_some() {
            let (operations, fired) = (self.faults.operations(), self.faults.fired());
            eprintln!("{step}: {operations} operations, {fired} faults, heard {:?}", self.heard.borrow());
        }
        self.count(step.plan.0.iter().any(is_stale));
        self.faults.plan(Vec::new());
        if let Some(error) = self.heard.take().filter(|_| must_succeed) {
            return Err(format!("nothing may disturb it, and it fails: {error}"));
        }
        let lagged = step.plan.0.iter().any(is_stale);
        let known_before = self.known.len();
        self.take_over(first, crashed, lagged);
        self.take_over(second, false, lagged);
        // A backup that was made while a collection was erased may have been seen, and may not.
        for known in self.known.iter_mut().skip(known_before) {
            let here = self.erasing.iter().filter(|(cluster, _)| *cluster == known.cluster);
            for (_, name) in here {
                known.erased.entry(name.clone()).or_insert(Told::Unknown);
            }
        }
        if let Some(hurt) = self.hurt.take() {
            self.healed(&hurt, step.meanwhile.is_some()).await?;
        }
        self.erasing.clear();
        self.visible = self.check().await?;
        Ok(())
    }

    fn count(&mut self, lagged: bool) {
        let mut met = vec![if self.owners[0].is_encrypted() { "encrypted steps" } else { "plain steps" }.to_owned()];
        if lagged && self.faults.fired() > self.faults.waited() {
            met.push("steps with listings that lagged".to_owned());
        }
        if let Some(hurt) = self.hurt.borrow().as_ref() {
            met.push(format!("heals of {}", hurt.kind()));
        }
        met.into_iter().for_each(|what| *self.tally.entry(what).or_default() += 1);
    }

    /// Whether an action that nothing disturbs has no reason to fail, whatever happened before.
    fn must_succeed(&self, action: Action) -> bool {
        let there = |backup: usize| {
            let known = self.number(backup).map(|number| &self.known[number]);
            known.is_some_and(|known| known.told == Told::Done && known.deleted.is_none())
        };
        match action {
            // Without a reader key nothing is copied out of packs with bytes that were erased and not pruned yet.
            Action::CopyTo { backup, region } => {
                let erased = self.known.iter().any(|known| !known.erased.is_empty());
                there(backup) && (self.can_read(backup, region) || !erased)
            }
            Action::Restore { backup, region: None } => there(backup),
            Action::Restore { .. } => false,
            Action::Erase { cluster, collection } => {
                self.interrupted.iter().all(|other| other.0 != cluster || other.1 == collection)
            }
            _ => true,
        }
    }

    /// A panic is a finding, as is a step that does not end.
    async fn guarded(&self, action: Action) -> Result<Outcome, String> {
        let long = std::time::Duration::from_secs(60);
        match tokio::time::timeout(long, AssertUnwindSafe(self.act(action)).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(format!("a panic: {}", text.unwrap_or("without words")))
            }
            Err(_) => Err("it hangs".to_owned()),
        }
    }

    /// Runs `first` up to its operation at `at`, then `other` to its end, then the rest of `first`; all under `faults`.
    async fn interleaved(
        &self,
        first: Action,
        at: &Fault,
        other: Action,
        faults: &[Fault],
    ) -> Result<(Outcome, Outcome), String> {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Fault { effect: Effect::Wait(Arc::clone(&gate)), ..at.clone() };
        self.faults.plan(std::iter::once(waits).chain(faults.iter().cloned()).collect());
        let ended = Cell::new(false);
        let one = async {
            let outcome = self.guarded(first).await;
            ended.set(true);
            outcome
        };
        let another = async {
            while self.faults.waited() == 0 && !ended.get() {
                tokio::task::yield_now().await;
            }
            if self.faults.waited() == 0 {
                // It ended before: nobody is to stand still any more.
                self.faults.plan(faults.to_vec());
            }
            let outcome = self.guarded(other).await;
            gate.add_permits(1);
            outcome
        };
        let (one, another) = futures::join!(one, another);
        Ok((one?, another?))
    }

    /// `lagged`: its listings lagged. That is no excuse for a backup or a deletion, but a copy or an erasure may have been
    /// shown an older commit.
    pub(crate) fn take_over(&mut self, outcome: Outcome, crashed: bool, lagged: bool) {
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
                erased: BTreeMap::new(),
                erased_after_deletion: BTreeSet::new(),
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
                    (Told::Unknown, Told::Done) => Told::Done,
                    (Told::Done, before) if lagged => before.max(Told::Unknown),
                    (Told::Done, _) => Told::Done,
                    (Told::Unknown, _) => Told::Unknown,
                };
            }
            Outcome::Erase { cluster, collection, told, refused } => {
                let told = if lagged { Told::Unknown } else { heard(told) };
                if told == Told::Done {
                    self.interrupted.remove(&(cluster, collection));
                } else {
                    self.interrupted.insert((cluster, collection));
                }
                for known in self.known.iter_mut().filter(|known| known.cluster == cluster) {
                    // One that was not there when it began may have been seen, and may not.
                    let there = self.visible.contains(&known.id);
                    if !there && !refused && told == Told::Done && known.deleted == Some(Told::Done) {
                        known.erased_after_deletion.insert(COLLECTIONS[collection].to_owned());
                        *self.tally.entry(ERASED_AFTER_DELETION.to_owned()).or_default() += 1;
                    }
                    let told = if there && told == Told::Done { Told::Done } else { Told::Unknown };
                    let erased = known.erased.entry(COLLECTIONS[collection].to_owned()).or_insert(told);
                    *erased = told.max(*erased);
                    if there && told == Told::Done {
                        *self.tally.entry("collections erased from a backup".to_owned()).or_default() += 1;
                    }
                }
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
}
