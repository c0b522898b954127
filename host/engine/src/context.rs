//! What a running job needs from outside: limits, time, randomness, where to report, when to stop.

use std::sync::Arc;

use longshore_model::{Clock, SystemClock};

use longshore_vault::Throttle;

use crate::{Limits, ProgressBoard, Random, StopSignal, SystemRandom};

/// Handed to every plan and run. Cheap to clone; clones report to the same board and stop together.
#[derive(Clone)]
pub struct RunContext {
    /// Upper bounds.
    pub limits: Limits,
    /// Traffic and CPU work, shared with every other job that has a clone of it.
    pub throttle: Throttle,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub random: Arc<dyn Random>,
    /// Where progress goes.
    pub progress: ProgressBoard,
    /// Asks the run to stop.
    pub stop: StopSignal,
}

impl RunContext {
    /// The machine's clock and random source, a fresh board, throttle and stop signal.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            throttle: Throttle::new(limits.throttle()),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            progress: ProgressBoard::default(),
            stop: StopSignal::default(),
        }
    }

    /// The same limits, throttle, clock and randomness for another job.
    #[must_use]
    pub fn for_another_job(&self) -> Self {
        Self { progress: ProgressBoard::default(), stop: StopSignal::default(), ..self.clone() }
    }
}
