//! A store that fails by plan.
//!
//! A plan is a value: written out (`put:roots/@0=done-then-error`), or drawn from a seed. It is counted over all stores
//! that share it, so one plan covers a project with several vaults.
//!
//! Which faults a real store can have: an error before or after the work is done, any delay, and no space left, all of
//! them. A *torn* object (a prefix of the bytes under the name) cannot come from S3, GCS or Azure, where a put is atomic,
//! nor from the local store, which writes under another name, syncs and links; it can come from gateways that write
//! through to a file server. An *unreadable* object is what a local disk has that lost a sector. *Stale listings* cannot come from today's S3, GCS, Azure or a local folder, which list what
//! was acknowledged; they can come from stores that answer from a replica (Swift, some S3 gateways, caches in between).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use super::SeededRandom;
use super::intercept::{Hook, Intercept, Operation, Past, Verdict};

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The operation is refused and nothing is done.
    Fail,
    /// The credentials do not suffice.
    Deny,
    /// It is done, but the answer is an error, as after a timeout.
    SucceedThenFail,
    /// It is refused, and from then on nothing answers until there is another plan: the host has crashed.
    Crash,
    /// It is done, and from then on nothing answers.
    SucceedThenCrash,
    /// A put leaves this many bytes and answers with an error. Other operations are refused.
    Torn(usize),
    /// No space is left.
    StorageFull,
    /// The disk cannot read it (`EIO`), until the object of exactly this key is written again or deleted.
    Unreadable,
    /// It is done this many milliseconds later.
    Delay(u64),
    /// A listing lacks what was created by the last so many operations and shows what they deleted. Other operations
    /// are done as asked.
    Stale(u64),
    /// It waits until the test adds a permit, then goes on. Cannot be written out.
    Wait(Arc<Semaphore>),
}

/// Which operations go wrong, and how.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operation; `None` means any.
    pub operation: Option<Operation>,
    /// Only keys that begin so. Keys begin with the label of their store, if it has one.
    pub key_prefix: String,
    /// How many matching operations go well before.
    pub skip: u64,
    /// How many go wrong then; `u64::MAX` for a store that stays so.
    pub times: u64,
    /// What goes wrong.
    pub effect: Effect,
}

impl Fault {
    /// The operation number `number`, counted from 0 over all operations, goes wrong once.
    #[must_use]
    pub fn at(number: u64, effect: Effect) -> Self {
        Self { operation: None, key_prefix: String::new(), skip: number, times: 1, effect }
    }

    /// Every `operation` on keys that begin with `key_prefix` goes wrong.
    #[must_use]
    pub fn on(operation: Operation, key_prefix: &str, effect: Effect) -> Self {
        Self { operation: Some(operation), key_prefix: key_prefix.to_owned(), skip: 0, times: u64::MAX, effect }
    }

    /// From operation number `number` on nothing answers any more.
    #[must_use]
    pub fn dead_from(number: u64) -> Self {
        Self::at(number, Effect::Fail).times(u64::MAX)
    }

    /// Lets the first `skip` matching operations go well.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Goes wrong this many times only.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, operation: Operation, key: &str) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation) && key.starts_with(&self.key_prefix)
    }
}

/// Several faults: `any@7=error, list@2*3=stale(5)`.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan(pub Vec<Fault>);

impl FaultPlan {
    /// One to `most` faults among the next `operations` operations, drawn from a seed. Now and then the store stays dead.
    #[must_use]
    pub fn random(random: &mut SeededRandom, operations: u64, most: u64) -> Self {
        let count = 1 + random.below(most);
        let mut faults: Vec<Fault> = (0..count).map(|_| random_fault(random, operations)).collect();
        if random.chance(15) {
            faults.push(Fault::dead_from(random.below(operations)));
        }
        Self(faults)
    }
}

fn random_fault(random: &mut SeededRandom, operations: u64) -> Fault {
    let effect = match random.below(7) {
        0 | 1 => Effect::Fail,
        2 | 3 => Effect::SucceedThenFail,
        4 => Effect::StorageFull,
        5 => Effect::Delay(random.below(4)),
        _ => Effect::Stale(1 + random.below(operations)),
    };
    let fault = Fault::at(random.below(operations), effect).times(1 + random.below(3));
    match fault.effect {
        // Of listings there are few: counted by themselves, or nearly every draw would miss them.
        Effect::Stale(_) => Fault { operation: Some(Operation::List), skip: random.below(operations / 6 + 1), ..fault },
        _ => fault,
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail => f.write_str("error"),
            Self::Deny => f.write_str("denied"),
            Self::SucceedThenFail => f.write_str("done-then-error"),
            Self::Crash => f.write_str("crash"),
            Self::SucceedThenCrash => f.write_str("done-then-crash"),
            Self::Torn(bytes) => write!(f, "torn({bytes})"),
            Self::StorageFull => f.write_str("full"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Delay(milliseconds) => write!(f, "delay({milliseconds})"),
            Self::Stale(operations) => write!(f, "stale({operations})"),
            Self::Wait(_) => f.write_str("wait"),
        }
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, number) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((word, number)) => (word, number.parse::<u64>().map_err(|error| format!("`{text}`: {error}"))?),
            None => (text, 0),
        };
        match word {
            "error" => Ok(Self::Fail),
            "denied" => Ok(Self::Deny),
            "done-then-error" => Ok(Self::SucceedThenFail),
            "crash" => Ok(Self::Crash),
            "done-then-crash" => Ok(Self::SucceedThenCrash),
            "torn" => Ok(Self::Torn(usize::try_from(number).unwrap_or(usize::MAX))),
            "full" => Ok(Self::StorageFull),
            "unreadable" => Ok(Self::Unreadable),
            "delay" => Ok(Self::Delay(number)),
            "stale" => Ok(Self::Stale(number)),
            _ => Err(format!(
                "`{text}` is no effect: error, done-then-error, crash, done-then-crash, torn(n), full, delay(ms), stale(n)"
            )),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            None => "any",
            Some(Operation::Put) => "put",
            Some(Operation::Get) => "get",
            Some(Operation::Delete) => "delete",
            Some(Operation::List) => "list",
            Some(Operation::Copy) => "copy",
        };
        f.write_str(operation)?;
        if !self.key_prefix.is_empty() {
            write!(f, ":{}", self.key_prefix)?;
        }
        write!(f, "@{}", self.skip)?;
        match self.times {
            1 => {}
            u64::MAX => f.write_str("*")?,
            times => write!(f, "*{times}")?,
        }
        write!(f, "={}", self.effect)
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `<any|put|get|delete|list|copy>[:<key prefix>]@<how many go well>[*<how many go wrong, all if left out>]=<effect>`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no fault: it looks like `put:roots/@0*2=error`");
        let (what, effect) = text.trim().split_once('=').ok_or_else(wrong)?;
        let (subject, when) = what.split_once('@').ok_or_else(wrong)?;
        let (word, key_prefix) = subject.split_once(':').unwrap_or((subject, ""));
        let operation = match word {
            "any" => None,
            "put" => Some(Operation::Put),
            "get" => Some(Operation::Get),
            "delete" => Some(Operation::Delete),
            "list" => Some(Operation::List),
            "copy" => Some(Operation::Copy),
            _ => return Err(wrong()),
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (skip, times) = match when.split_once('*') {
            None => (number(when)?, 1),
            Some((skip, "")) => (number(skip)?, u64::MAX),
            Some((skip, times)) => (number(skip)?, number(times)?),
        };
        Ok(Self { operation, key_prefix: key_prefix.to_owned(), skip, times, effect: effect.parse()? })
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&faults.join(", "))
    }
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults = text.split(',').map(str::trim).filter(|fault| !fault.is_empty());
        faults.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Wraps a store and makes operations fail by plan.
#[derive(Debug, Clone)]
pub struct FaultStore {
    store: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<State>>,
}

/// Changes that are remembered for stale listings; a listing is never older than this many changes.
const REMEMBERED_CHANGES: usize = 1_000;

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    /// Operations since the plan was made.
    operations: u64,
    fired: u64,
    /// How many of them waited.
    waited: u64,
    /// Nothing answers any more.
    crashed: bool,
    /// Operations ever; orders the changes.
    now: u64,
    changes: VecDeque<Change>,
}

/// An object that came or went.
#[derive(Debug)]
struct Change {
    at: u64,
    label: String,
    key: String,
    /// What was there before; `None` for an object that came.
    before: Option<ObjectMeta>,
}

impl FaultStore {
    /// Wraps a store; nothing fails until there is a plan.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self::with_plan(inner, "", Arc::default())
    }

    /// Wraps another store that is counted and fails by the same plan, its keys after `label`.
    #[must_use]
    pub fn beside(&self, inner: Arc<dyn ObjectStore>, label: &str) -> Self {
        Self::with_plan(inner, label, Arc::clone(&self.plan))
    }

    fn with_plan(inner: Arc<dyn ObjectStore>, label: &str, plan: Arc<Mutex<State>>) -> Self {
        let planned = Planned {
            label: label.to_owned(),
            inner: Arc::clone(&inner),
            plan: Arc::clone(&plan),
            before: Mutex::default(),
        };
        Self { store: Arc::new(Intercept { inner, hook: Arc::new(planned) }), plan }
    }

    /// The store to hand out.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Replaces the plan and counts from 0 again. An empty plan heals the store.
    pub fn plan(&self, faults: Vec<Fault>) {
        let mut state = lock(&self.plan);
        (state.faults, state.operations, state.fired, state.crashed) = (faults, 0, 0, false);
        state.waited = 0;
    }

    /// Time has passed: whatever was changed until now shows in every listing from here on, however stale it is.
    pub fn settle(&self) {
        lock(&self.plan).changes.clear();
    }

    /// Operations since the plan was made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.plan).operations
    }

    /// Faults that happened since the plan was made.
    #[must_use]
    pub fn fired(&self) -> u64 {
        lock(&self.plan).fired
    }

    /// Operations that a fault made wait since the plan was made, whether or not they have gone on.
    #[must_use]
    pub fn waited(&self) -> u64 {
        lock(&self.plan).waited
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Counts this operation against every fault and picks the first that is due.
    fn next(&mut self, operation: Operation, key: &str) -> Option<Effect> {
        self.operations += 1;
        self.now += 1;
        if self.crashed {
            return Some(Effect::Fail);
        }
        let mut due = None;
        for fault in &mut self.faults {
            if !fault.matches(operation, key) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 && due.is_none() {
                fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
                due = Some(fault.effect.clone());
            }
        }
        self.fired += u64::from(due.is_some());
        self.waited += u64::from(matches!(due, Some(Effect::Wait(_))));
        self.crashed = matches!(due, Some(Effect::Crash | Effect::SucceedThenCrash));
        due
    }

    /// The object of this key lies in other sectors now, or nowhere.
    fn renew(&mut self, key: &str) {
        self.faults.retain(|fault| !(matches!(fault.effect, Effect::Unreadable) && fault.key_prefix == key));
    }

    /// What a listing of the store with this label looked like `operations` operations ago.
    fn past(&self, label: &str, operations: u64) -> Past {
        let since = self.now.saturating_sub(operations);
        let mut then: HashMap<&str, Option<&ObjectMeta>> = HashMap::new();
        for change in self.changes.iter().filter(|change| change.label == label && change.at >= since) {
            // The first change since then tells what was there then.
            then.entry(&change.key).or_insert(change.before.as_ref());
        }
        let hidden: HashSet<String> = then.keys().map(|key| (*key).to_owned()).collect();
        Past { hidden, shown: then.into_values().flatten().cloned().collect() }
    }
}

/// The plan as one store sees it.
#[derive(Debug)]
struct Planned {
    label: String,
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<State>>,
    /// What was there when an operation under way began.
    before: Mutex<HashMap<String, Option<ObjectMeta>>>,
}

/// As a disk says it that has lost a sector.
fn unreadable() -> object_store::Error {
    const EIO: i32 = 5;
    object_store::Error::Generic { store: "test", source: Box::new(std::io::Error::from_raw_os_error(EIO)) }
}

fn planned(kind: std::io::ErrorKind) -> object_store::Error {
    object_store::Error::Generic { store: "test", source: Box::new(std::io::Error::new(kind, "planned fault")) }
}

#[async_trait]
impl Hook for Planned {
    async fn before(&self, operation: Operation, key: &str) -> Verdict {
        if matches!(operation, Operation::Put | Operation::Delete) {
            let there = self.inner.head(&Path::from(key)).await.ok();
            lock(&self.before).insert(key.to_owned(), there);
        }
        let due = lock(&self.plan).next(operation, &format!("{}{key}", self.label));
        match due {
            None => Verdict::Go,
            Some(Effect::Fail | Effect::Crash) => Verdict::Refuse(planned(std::io::ErrorKind::ConnectionReset)),
            Some(Effect::Deny) => Verdict::Refuse(object_store::Error::PermissionDenied {
                path: key.to_owned(),
                source: "planned fault".into(),
            }),
            Some(Effect::SucceedThenFail | Effect::SucceedThenCrash) => {
                Verdict::DoThenFail(planned(std::io::ErrorKind::TimedOut))
            }
            Some(Effect::Torn(bytes)) => Verdict::Tear(bytes, planned(std::io::ErrorKind::ConnectionReset)),
            Some(Effect::StorageFull) => Verdict::Refuse(planned(std::io::ErrorKind::StorageFull)),
            Some(Effect::Unreadable) => Verdict::Refuse(unreadable()),
            Some(Effect::Delay(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Verdict::Go
            }
            Some(Effect::Stale(operations)) => Verdict::Stale(lock(&self.plan).past(&self.label, operations)),
            Some(Effect::Wait(gate)) => {
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                Verdict::Go
            }
        }
    }

    fn after(&self, operation: Operation, key: &str, ok: bool) {
        if ok && matches!(operation, Operation::Put | Operation::Delete) {
            lock(&self.plan).renew(&format!("{}{key}", self.label));
        }
        let Some(before) = lock(&self.before).remove(key) else { return };
        // An object that was replaced is listed before and after.
        let changed = ok && before.is_some() == (operation == Operation::Delete);
        if changed {
            let mut state = lock(&self.plan);
            let at = state.now;
            state.changes.push_back(Change { at, label: self.label.clone(), key: key.to_owned(), before });
            if state.changes.len() > REMEMBERED_CHANGES {
                state.changes.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
