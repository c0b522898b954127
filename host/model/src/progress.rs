//! How far a running job is.

use serde::{Deserialize, Serialize};

use crate::CollectionName;

/// The step a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not started.
    #[default]
    Waiting,
    /// Listing what there is.
    Inventory,
    /// Asking the policies.
    Policy,
    /// Moving bytes.
    Transfer,
    /// Looking again whether collections changed meanwhile.
    Recheck,
    /// Writing manifests, or moving restored collections into place.
    Commit,
    /// Comparing what was restored with the manifest.
    Proof,
    /// Ended.
    Done,
}

/// How far one collection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionProgress {
    /// Which one.
    #[serde(flatten)]
    pub name: CollectionName,
    /// Bytes that will be moved, as far as known.
    pub total_bytes: u64,
    /// Bytes done.
    pub done_bytes: u64,
}

/// How far a job is: a value that can be shown at any moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The step the job is at.
    pub phase: Phase,
    /// One entry per collection, in order of name; empty until the inventory is known.
    pub collections: Vec<CollectionProgress>,
    /// Bytes per second, smoothed over some seconds; `None` while that cannot be said yet, or nothing moves.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// Seconds until all bytes are moved if it goes on like this; `None` while that cannot be said.
    #[serde(default)]
    pub remaining_seconds: Option<u64>,
    /// What it waits for, in words, while nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

impl Progress {
    /// Bytes done and bytes in all.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        self.collections
            .iter()
            .fold((0, 0), |(done, total), collection| (done + collection.done_bytes, total + collection.total_bytes))
    }

    /// Whole percent, 0 to 100; 100 only when the job is done.
    #[must_use]
    pub fn percent(&self) -> u8 {
        if self.phase == Phase::Done {
            return 100;
        }
        let (done, total) = self.bytes();
        let percent = done.saturating_mul(99).checked_div(total).unwrap_or(0).min(99);
        u8::try_from(percent).unwrap_or(99)
    }
}
