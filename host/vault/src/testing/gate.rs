//! Stores whose operations wait for a schedule: several actors on one store, one operation at a time.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use tokio::sync::{Notify, oneshot};

use super::intercept::{Hook, Intercept, Operation, Verdict};

/// An operation that waits for its turn.
#[derive(Debug)]
struct Waiting {
    actor: usize,
    turn: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: Vec<Waiting>,
    finished: Vec<bool>,
    trace: Vec<String>,
}

/// Holds every operation of every actor until the schedule picks it.
#[derive(Debug, Default, Clone)]
pub struct Gates {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Gate {
    gates: Gates,
    actor: usize,
}

impl Gates {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store as the actor with this number uses it.
    #[must_use]
    pub fn store(&self, inner: Arc<dyn ObjectStore>, actor: usize) -> Arc<dyn ObjectStore> {
        Arc::new(Intercept { inner, hook: Arc::new(Gate { gates: self.clone(), actor }) })
    }

    /// What was done so far, in order: the actor, what, and the key.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.with(|state| state.trace.clone())
    }

    /// Runs actors to their ends. Whenever each that has not ended waits for a turn, `pick` chooses which of
    /// the waiting actors goes on. Afterwards nothing waits any more.
    pub async fn run(&self, actors: Vec<BoxFuture<'static, ()>>, mut pick: impl FnMut(&[usize]) -> usize) {
        let count = actors.len();
        self.with(|state| state.finished = vec![false; count]);
        for (actor, work) in actors.into_iter().enumerate() {
            let gates = self.clone();
            tokio::spawn(async move {
                // Also when it panics: the schedule must go on, and the test that awaits its result sees the panic.
                let _end = End { gates, actor };
                work.await;
            });
        }
        loop {
            let changed = self.changed.notified();
            let turn = self.with(|state| {
                if state.finished.iter().all(|finished| *finished) {
                    return Err(());
                }
                let waits = |actor: usize| state.waiting.iter().any(|waiting| waiting.actor == actor);
                if !(0..count).all(|actor| state.finished.get(actor) == Some(&true) || waits(actor)) {
                    return Ok(None);
                }
                let ready: Vec<usize> = (0..count).filter(|actor| waits(*actor)).collect();
                let chosen = pick(&ready);
                let place = state.waiting.iter().position(|waiting| waiting.actor == chosen).unwrap_or_default();
                let place = (place < state.waiting.len()).then_some(place);
                Ok(place.map(|place| state.waiting.remove(place).turn))
            });
            match turn {
                Err(()) => break,
                Ok(None) => changed.await,
                // Nobody waits for it only when its actor was dropped.
                Ok(Some(turn)) => drop(turn.send(())),
            }
        }
        self.with(|state| state.open = true);
    }
}

struct End {
    gates: Gates,
    actor: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        let actor = self.actor;
        self.gates.with(|state| {
            if let Some(finished) = state.finished.get_mut(actor) {
                *finished = true;
            }
        });
        self.gates.changed.notify_one();
    }
}

#[async_trait]
impl Hook for Gate {
    async fn before(&self, operation: Operation, key: &str) -> Verdict {
        let actor = self.actor;
        let turn = self.gates.with(|state| {
            if state.open || state.finished.get(actor).is_none_or(|finished| *finished) {
                return None;
            }
            let (turn, wait) = oneshot::channel();
            state.waiting.push(Waiting { actor, turn });
            Some(wait)
        });
        if let Some(turn) = turn {
            self.gates.changed.notify_one();
            let _ = turn.await;
            self.gates.with(|state| state.trace.push(format!("{actor} {operation:?} {key}")));
        }
        Verdict::Go
    }

    fn after(&self, _operation: Operation, _key: &str, _ok: bool) {}
}
