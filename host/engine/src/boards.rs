//! The progress boards of the jobs that run in this process, so that a caller sees them between two heartbeats.

use std::collections::BTreeMap;
use std::sync::Mutex;

use longshore_model::{JobId, Progress};

use crate::ProgressBoard;

/// Boards by job.
#[derive(Debug, Default)]
pub(crate) struct Boards {
    boards: Mutex<BTreeMap<JobId, ProgressBoard>>,
}

impl Boards {
    pub(crate) fn insert(&self, job: &JobId, board: ProgressBoard) {
        self.lock().insert(job.clone(), board);
    }

    pub(crate) fn remove(&self, job: &JobId) {
        self.lock().remove(job);
    }

    /// Progress of a job that runs here.
    pub(crate) fn now(&self, job: &JobId) -> Option<Progress> {
        self.lock().get(job).map(ProgressBoard::now)
    }

    /// A thread that panicked while holding the lock cannot have left the map half-changed: every change is one call.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, ProgressBoard>> {
        self.boards.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
