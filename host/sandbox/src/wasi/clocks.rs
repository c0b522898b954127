//! Time as a plugin sees it: the wall clock stands at the run's time, the monotonic clock is virtual.
//!
//! The monotonic clock moves by one step at every look, so that a plugin that waits for it by looking gets on, and jumps
//! to the earliest awaited time when everything else is waiting, so that a sleep takes no time at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::WasiView;

/// Where the monotonic clock starts, in nanoseconds: an hour, because programs subtract from what it shows.
const START_NS: u64 = 3_600_000_000_000;

/// How much time passes by looking at the monotonic clock, in nanoseconds.
const STEP_NS: u64 = 1_000;

/// The two clocks of one call. Clones share the virtual time.
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    wall: Duration,
    now_ns: Arc<AtomicU64>,
    /// The earliest time that something waits for, `u64::MAX` when nothing does. Collected while polling.
    awaited_ns: Arc<AtomicU64>,
}

impl Clocks {
    /// Clocks at this run time, in milliseconds since 1970.
    pub(crate) fn at(time_ms: u64) -> Self {
        Self {
            wall: Duration::from_millis(time_ms),
            now_ns: Arc::new(AtomicU64::new(START_NS)),
            awaited_ns: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// Looks at the monotonic clock.
    fn look(&self) -> u64 {
        let now = self.now_ns();
        self.now_ns.store(now.saturating_add(STEP_NS), Ordering::Relaxed);
        now
    }

    /// Forgets what was waited for; to be called before polling.
    pub(crate) fn forget_awaited(&self) {
        self.awaited_ns.store(u64::MAX, Ordering::Relaxed);
    }

    /// Jumps to the earliest awaited time. False if nothing waits for a time, or only for the end of all time.
    pub(crate) fn jump_to_awaited(&self) -> bool {
        let awaited = self.awaited_ns.load(Ordering::Relaxed);
        if awaited == u64::MAX {
            return false;
        }
        self.now_ns.fetch_max(awaited, Ordering::Relaxed);
        true
    }
}

/// Ready once the virtual time has come.
struct Deadline {
    clocks: Clocks,
    when_ns: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        if self.clocks.now_ns() < self.when_ns {
            self.clocks.awaited_ns.fetch_min(self.when_ns, Ordering::Relaxed);
            // Polled again after the jump; nothing ever wakes it by itself.
            std::future::pending::<()>().await;
        }
    }
}

impl WasiView<'_> {
    fn wait_until(&mut self, when_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let deadline = self.table.push(Deadline { clocks: self.wasi.clocks.clone(), when_ns })?;
        subscribe(self.table, deadline)
    }
}

impl monotonic_clock::Host for WasiView<'_> {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        Ok(self.wasi.clocks.look())
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(STEP_NS)
    }

    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        self.wait_until(when)
    }

    fn subscribe_duration(&mut self, when: monotonic_clock::Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.wasi.clocks.now_ns();
        self.wait_until(now.saturating_add(when))
    }
}

impl wall_clock::Host for WasiView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let wall = self.wasi.clocks.wall;
        Ok(wall_clock::Datetime { seconds: wall.as_secs(), nanoseconds: wall.subsec_nanos() })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}
