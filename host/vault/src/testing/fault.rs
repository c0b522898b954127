//! A store that fails by plan.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::ObjectStore;
use tokio::sync::Semaphore;

use super::intercept::{Hook, Intercept, Operation, Verdict};

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The operation is refused and nothing is done.
    Fail,
    /// It is done, but the answer is an error, as after a timeout.
    SucceedThenFail,
    /// A put leaves this many bytes and answers with an error. Other operations are refused.
    Torn(usize),
    /// No space is left.
    StorageFull,
    /// It waits until the test adds a permit, then goes on.
    Wait(Arc<Semaphore>),
}

/// Which operations go wrong, and how.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operation; `None` means any.
    pub operation: Option<Operation>,
    /// Only keys that begin so.
    pub key_prefix: String,
    /// How many matching operations go well before.
    pub skip: u64,
    /// How many go wrong then.
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
}

/// Wraps a store and makes operations fail by plan.
#[derive(Debug, Clone)]
pub struct FaultStore {
    store: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    operations: u64,
    fired: u64,
}

impl FaultStore {
    /// Wraps a store; nothing fails until there is a plan.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        let plan = Arc::new(Plan::default());
        let store = Arc::new(Intercept { inner, hook: Arc::clone(&plan) });
        Self { store, plan }
    }

    /// The store to hand out.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Replaces the plan and counts from 0 again. An empty plan heals the store.
    pub fn plan(&self, faults: Vec<Fault>) {
        *self.plan.lock() = State { faults, operations: 0, fired: 0 };
    }

    /// Operations since the plan was made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.plan.lock().operations
    }

    /// Faults that happened since the plan was made.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.plan.lock().fired
    }
}

impl Plan {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts this operation against every fault and picks the first that is due.
    fn next(&self, operation: Operation, key: &str) -> Option<Effect> {
        let mut state = self.lock();
        state.operations += 1;
        let mut due = None;
        for fault in &mut state.faults {
            let matches =
                fault.operation.is_none_or(|wanted| wanted == operation) && key.starts_with(&fault.key_prefix);
            if !matches {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 && due.is_none() {
                fault.times -= 1;
                due = Some(fault.effect.clone());
            }
        }
        state.fired += u64::from(due.is_some());
        due
    }
}

fn planned(kind: std::io::ErrorKind) -> object_store::Error {
    object_store::Error::Generic { store: "test", source: Box::new(std::io::Error::new(kind, "planned fault")) }
}

#[async_trait]
impl Hook for Plan {
    async fn before(&self, operation: Operation, key: &str) -> Verdict {
        match self.next(operation, key) {
            None => Verdict::Go,
            Some(Effect::Fail) => Verdict::Refuse(planned(std::io::ErrorKind::ConnectionReset)),
            Some(Effect::SucceedThenFail) => Verdict::DoThenFail(planned(std::io::ErrorKind::TimedOut)),
            Some(Effect::Torn(bytes)) => Verdict::Tear(bytes, planned(std::io::ErrorKind::ConnectionReset)),
            Some(Effect::StorageFull) => Verdict::Refuse(planned(std::io::ErrorKind::StorageFull)),
            Some(Effect::Wait(gate)) => {
                if let Ok(permit) = gate.acquire().await {
                    permit.forget();
                }
                Verdict::Go
            }
        }
    }

    fn after(&self, _operation: Operation, _key: &str, _ok: bool) {}
}
