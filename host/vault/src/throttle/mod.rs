//! What all jobs of a host share: bytes per second to and from vaults, and threads for CPU work.
//!
//! Contract: both limits can be raised, lowered and removed while jobs run, and hold for all clones together. Restores go
//! before backups: while both want the same, restores get seven parts of eight, so that a backup is never stopped for so
//! long that its pins lapse. Without a limit nothing waits.
//!
//! Failure: none. A waiter that is dropped gives back what it was given; what it was promised is lost to the others for
//! a moment at most.

mod bandwidth;
mod cpu;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::bandwidth::Bandwidth;
pub use self::cpu::CpuPermit;
use self::cpu::CpuThreads;

/// Of eight parts, those that restores get while backups want some too.
const RESTORE_PARTS: u64 = 7;

/// Which work goes first when there is not enough for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Restores: somebody waits for them.
    Restore,
    /// Backups, copies, verifications, exports: everything else.
    #[default]
    Backup,
}

impl Priority {
    const fn place(self) -> usize {
        match self {
            Self::Restore => 0,
            Self::Backup => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Restore => Self::Backup,
            Self::Backup => Self::Restore,
        }
    }
}

/// What jobs may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleLimits {
    /// Bytes per second read from and written to vaults; `None` for as many as the stores take.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Threads that hash, encode, decode and check; `None` for as many as the machine has.
    pub cpu_threads: Option<usize>,
}

/// Shared limits of traffic and CPU work. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
    priority: Priority,
}

struct Shared {
    /// What the times of `bandwidth` count from.
    started: Instant,
    bandwidth: Mutex<Bandwidth>,
    /// Tells those who wait that the limit of traffic changed.
    changed: watch::Sender<()>,
    cpu: Arc<CpuThreads>,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (limits, priority) = (self.limits(), self.priority);
        f.debug_struct("Throttle").field("limits", &limits).field("priority", &priority).finish_non_exhaustive()
    }
}

impl Default for Throttle {
    /// No limit of traffic, and as many threads as the machine has.
    fn default() -> Self {
        Self::new(ThrottleLimits::default())
    }
}

impl Throttle {
    /// Limits that nobody else shares yet, for work with the priority of backups.
    #[must_use]
    pub fn new(limits: ThrottleLimits) -> Self {
        let shared = Shared {
            started: Instant::now(),
            bandwidth: Mutex::new(Bandwidth::new(limits.bandwidth_bytes_per_second)),
            changed: watch::Sender::new(()),
            cpu: Arc::new(CpuThreads::new(limits.cpu_threads)),
        };
        Self { shared: Arc::new(shared), priority: Priority::Backup }
    }

    /// The same limits for work with another priority.
    #[must_use]
    pub fn for_priority(&self, priority: Priority) -> Self {
        Self { shared: Arc::clone(&self.shared), priority }
    }

    /// Changes the limits for everybody at once, also for those who wait already.
    pub fn set(&self, limits: ThrottleLimits) {
        let now = self.shared.started.elapsed();
        self.bandwidth().set(limits.bandwidth_bytes_per_second, now);
        self.shared.cpu.set(limits.cpu_threads);
        self.shared.changed.send_replace(());
    }

    /// The limits as they are now.
    #[must_use]
    pub fn limits(&self) -> ThrottleLimits {
        ThrottleLimits {
            bandwidth_bytes_per_second: self.bandwidth().bytes_per_second(),
            cpu_threads: self.shared.cpu.limit(),
        }
    }

    /// Whether traffic is limited at this moment.
    #[must_use]
    pub fn limits_traffic(&self) -> bool {
        self.bandwidth().bytes_per_second().is_some()
    }

    /// Waits until so many bytes may be moved. Call it for every few hundred kilobytes: what is asked for at once may
    /// then be moved at once.
    pub async fn traffic(&self, bytes: u64) {
        let mut left = bytes;
        let mut changed = self.shared.changed.subscribe();
        while left > 0 {
            changed.mark_unchanged();
            let now = self.shared.started.elapsed();
            let (slot, displaced) = self.bandwidth().reserve(self.priority, left, now);
            if displaced {
                self.shared.changed.send_replace(());
            }
            if slot.due > now {
                let due = self.shared.started + slot.due;
                // A change may have taken the slot away; then a new one is asked for.
                loop {
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => break,
                        result = changed.changed() => {
                            if result.is_err() || !self.bandwidth().holds(self.priority, &slot) {
                                break;
                            }
                        }
                    }
                }
                if !self.bandwidth().holds(self.priority, &slot) {
                    continue;
                }
            }
            left -= slot.bytes.min(left);
        }
    }

    /// Waits for a thread's worth of CPU work; the permit is held while the work runs.
    pub async fn cpu(&self) -> CpuPermit {
        self.shared.cpu.acquire(self.priority).await
    }

    /// How many wait for a thread with this priority. Those who gave up waiting count until it would be their turn.
    #[must_use]
    pub fn waiting_for_cpu(&self, priority: Priority) -> usize {
        self.shared.cpu.waiting(priority)
    }

    fn bandwidth(&self) -> MutexGuard<'_, Bandwidth> {
        self.shared.bandwidth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that moving so many bytes takes at a rate.
fn duration_of(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn bandwidth(bytes_per_second: u64) -> ThrottleLimits {
        ThrottleLimits { bandwidth_bytes_per_second: Some(bytes_per_second), ..ThrottleLimits::default() }
    }

    #[tokio::test]
    async fn removing_a_limit_lets_go_of_those_who_wait() {
        // At a byte per second these would wait for years.
        let throttle = Throttle::new(bandwidth(1));
        let waiting: Vec<_> = [Priority::Backup, Priority::Restore, Priority::Backup]
            .map(|priority| throttle.for_priority(priority))
            .map(|throttle| tokio::spawn(async move { throttle.traffic(1 << 30).await }))
            .into();
        tokio::task::yield_now().await;
        throttle.set(ThrottleLimits::default());
        for task in waiting {
            task.await.unwrap();
        }
        assert!(!throttle.limits_traffic());
    }

    #[tokio::test]
    async fn a_raised_limit_counts_for_those_who_wait() {
        let throttle = Throttle::new(bandwidth(1));
        let waiting = tokio::spawn({
            let throttle = throttle.clone();
            async move { throttle.traffic(1 << 20).await }
        });
        tokio::task::yield_now().await;
        throttle.set(bandwidth(1 << 40));
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_limit_nothing_waits() {
        let throttle = Throttle::default();
        throttle.traffic(u64::MAX).await;
        assert_eq!(throttle.limits(), ThrottleLimits::default());
    }
}
