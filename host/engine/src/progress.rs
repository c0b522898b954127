//! How far a running job is, and how it is asked to stop.
//!
//! Contract: a job writes, anybody reads at any moment; reading never waits for the job. A job looks at its
//! [`StopSignal`] between pieces of work, so that stopping leaves nothing half-done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::{CollectionName, CollectionProgress, Phase, Progress};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::EngineError;
use crate::rate::{Rate, remaining_seconds};

/// The progress of one job. Cheap to clone; clones show the same job.
#[derive(Debug, Clone)]
pub struct ProgressBoard {
    state: Arc<watch::Sender<Progress>>,
    started: Instant,
    rate: Arc<Mutex<Rate>>,
    opening: Arc<Mutex<OpeningPoints>>,
}

/// Collections whose consistent points are waited for.
#[derive(Debug, Default)]
struct OpeningPoints {
    waiting: BTreeSet<CollectionName>,
    done: usize,
    total: usize,
}

impl OpeningPoints {
    fn told(&self) -> Option<String> {
        let first = self.waiting.first()?;
        let others = match self.waiting.len() {
            1 => String::new(),
            more => format!(" and {} more", more - 1),
        };
        let of_all = match self.total {
            0 | 1 => String::new(),
            total => format!(" ({} of {total} collections have one)", self.done.min(total)),
        };
        Some(format!("a consistent point of {first}{others}{of_all}"))
    }
}

/// Says that the point of a collection is waited for, until it is dropped.
pub(crate) struct Opening<'a> {
    board: &'a ProgressBoard,
    name: &'a CollectionName,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.board.change_opening(|opening| {
            opening.waiting.remove(self.name);
            opening.done += 1;
        });
    }
}

impl Default for ProgressBoard {
    fn default() -> Self {
        let state = Arc::new(watch::Sender::new(Progress::default()));
        Self { state, started: Instant::now(), rate: Arc::default(), opening: Arc::default() }
    }
}

impl ProgressBoard {
    /// Progress as it is now.
    #[must_use]
    pub fn now(&self) -> Progress {
        let mut progress = self.state.borrow().clone();
        // What stands in the state is as old as the last piece; a job that has stalled since must not look fast.
        self.estimate(&mut progress);
        progress
    }

    /// Says how fast it goes and how long it will take, as of now.
    pub fn estimate(&self, progress: &mut Progress) {
        let moving = matches!(progress.phase, Phase::Transfer | Phase::Proof);
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        progress.bytes_per_second = rate.bytes_per_second(self.started.elapsed()).filter(|_| moving);
        let (done, total) = progress.bytes();
        progress.remaining_seconds =
            progress.bytes_per_second.and_then(|rate| remaining_seconds(total.saturating_sub(done), rate));
    }

    /// A receiver that is told of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.state.subscribe()
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.state.send_modify(|progress| {
            progress.phase = phase;
            progress.waiting_for = None;
        });
    }

    /// Says what the job waits for while nothing moves; `None` when it no longer does.
    pub fn waits_for(&self, what: Option<String>) {
        self.state.send_if_modified(|progress| {
            let is_new = progress.waiting_for != what;
            progress.waiting_for = what;
            is_new
        });
    }

    /// Sets for how many collections consistent points will be waited for.
    pub(crate) fn expect_points(&self, total: usize) {
        self.change_opening(|opening| *opening = OpeningPoints { total, ..OpeningPoints::default() });
    }

    /// Shows that the point of a collection is waited for: a server may take long to write down what it has of it.
    pub(crate) fn opening<'a>(&'a self, name: &'a CollectionName) -> Opening<'a> {
        self.change_opening(|opening| {
            opening.waiting.insert(name.clone());
        });
        Opening { board: self, name }
    }

    fn change_opening(&self, change: impl FnOnce(&mut OpeningPoints)) {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut opening);
        // Under the lock: the newest is the last one to be told.
        self.waits_for(opening.told());
    }

    /// Sets the collections and the bytes that will be moved for each, nothing done yet.
    pub fn expect(&self, collections: impl IntoIterator<Item = (CollectionName, u64)>) {
        let collections = collections
            .into_iter()
            .map(|(name, total_bytes)| CollectionProgress { name, total_bytes, done_bytes: 0 })
            .collect();
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).restart(self.started.elapsed());
        self.state.send_modify(|progress| progress.collections = collections);
    }

    /// Sets the bytes of one collection, by its place, when they are known better than before.
    pub fn set_total(&self, collection: usize, total_bytes: u64) {
        self.state.send_modify(|progress| {
            if let Some(entry) = progress.collections.get_mut(collection) {
                entry.total_bytes = total_bytes;
            }
        });
    }

    /// Begins one collection again, by its place.
    pub(crate) fn restart(&self, collection: usize) {
        self.state.send_modify(|progress| {
            if let Some(entry) = progress.collections.get_mut(collection) {
                entry.done_bytes = 0;
            }
        });
    }

    /// Adds bytes done to one collection, by its place.
    pub fn add(&self, collection: usize, bytes: u64) {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).add(bytes, self.started.elapsed());
        self.state.send_modify(|progress| {
            if let Some(entry) = progress.collections.get_mut(collection) {
                entry.done_bytes = entry.done_bytes.saturating_add(bytes).min(entry.total_bytes);
            }
        });
    }
}

/// Asks a job to stop. Cheap to clone; clones share the request.
#[derive(Debug, Clone)]
pub struct StopSignal {
    state: Arc<watch::Sender<Option<String>>>,
}

impl Default for StopSignal {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(None)) }
    }
}

impl StopSignal {
    /// Asks for a stop, with the reason that the job will give. The first reason stays.
    pub fn stop(&self, why: &str) {
        self.state.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(why.to_owned());
            }
            first
        });
    }

    /// Goes on unless a stop was asked for.
    ///
    /// # Errors
    /// [`EngineError::Stopped`].
    pub fn check(&self) -> Result<(), EngineError> {
        match self.state.borrow().as_ref() {
            Some(why) => Err(EngineError::Stopped { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Waits until a stop is asked for.
    pub async fn stopped(&self) {
        let mut receiver = self.state.subscribe();
        // The sender lives as long as self, so waiting can only end with a request.
        let _ = receiver.wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn progress_reaches_a_hundred_only_when_the_job_is_done() {
        let board = ProgressBoard::default();
        board.expect([("a".parse().unwrap(), 10), ("b".parse().unwrap(), 0)]);
        board.enter(Phase::Transfer);
        board.add(0, 25);
        assert_eq!(board.now().bytes(), (10, 10));
        assert_eq!(board.now().percent(), 99);
        board.enter(Phase::Done);
        assert_eq!(board.now().percent(), 100);
    }

    #[test]
    fn what_is_waited_for_is_told_while_it_is() {
        let board = ProgressBoard::default();
        let (one, other) = ("a".parse().unwrap(), "b".parse().unwrap());
        board.expect_points(3);
        let waiting = || board.now().waiting_for;
        let first = board.opening(&one);
        assert_eq!(waiting().unwrap(), "a consistent point of default.a (0 of 3 collections have one)");
        let second = board.opening(&other);
        assert_eq!(waiting().unwrap(), "a consistent point of default.a and 1 more (0 of 3 collections have one)");
        drop(first);
        assert_eq!(waiting().unwrap(), "a consistent point of default.b (1 of 3 collections have one)");
        drop(second);
        assert_eq!(waiting(), None);
        board.waits_for(Some("x".to_owned()));
        board.enter(Phase::Transfer);
        assert_eq!(waiting(), None, "a new phase waits for nothing yet");
    }

    #[test]
    fn the_first_reason_to_stop_is_the_one_that_is_given() {
        let stop = StopSignal::default();
        stop.check().unwrap();
        stop.stop("canceled by key `ops`");
        stop.stop("something later");
        let error = stop.check().unwrap_err().to_string();
        assert_eq!(error, "the job was stopped: canceled by key `ops`");
    }
}
