//! How fast bytes move, smoothed, and how long the rest will take. Times are passed in.

use std::time::Duration;

/// Bytes of this long are looked at together; below it a rate is noise.
const STEP: Duration = Duration::from_millis(500);
/// What lies this far back counts a third of what happens now.
const MEMORY_SECONDS: f64 = 8.0;
/// Nothing is said before so much time has passed.
const FIRST: Duration = Duration::from_secs(1);
/// An estimate beyond this says nothing.
const LONGEST_SECONDS: u64 = 30 * 24 * 3_600;

/// An exponentially smoothed rate.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// Bytes per second until `since`; `None` before the first step.
    smoothed: Option<f64>,
    since: Duration,
    /// Bytes moved after `since`.
    pending_bytes: u64,
}

impl Rate {
    /// Forgets everything; work begins now.
    pub(crate) fn restart(&mut self, now: Duration) {
        *self = Self { since: now, ..Self::default() };
    }

    /// Notes bytes that have been moved.
    pub(crate) fn add(&mut self, bytes: u64, now: Duration) {
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
        let long_enough = if self.smoothed.is_some() { STEP } else { FIRST };
        if now.saturating_sub(self.since) >= long_enough {
            self.smoothed = self.at(now);
            self.since = now;
            self.pending_bytes = 0;
        }
    }

    /// Bytes per second as of now; `None` while it is too early to say, and when nothing moves.
    pub(crate) fn bytes_per_second(&self, now: Duration) -> Option<u64> {
        let rate = self.at(now).filter(|rate| rate.is_finite() && *rate >= 1.0)?;
        Some(rate as u64)
    }

    fn at(&self, now: Duration) -> Option<f64> {
        let passed = now.saturating_sub(self.since);
        let seconds = passed.as_secs_f64();
        match self.smoothed {
            None if passed < FIRST => None,
            None => Some(self.pending_bytes as f64 / seconds),
            // Too short a time since the last step: what it gave is still true.
            Some(rate) if passed < STEP => Some(rate),
            Some(rate) => {
                let old = (-seconds / MEMORY_SECONDS).exp();
                Some(rate * old + self.pending_bytes as f64 / seconds * (1.0 - old))
            }
        }
    }
}

/// Seconds that so many bytes take, rounded up; `None` when that is beyond any plan.
pub(crate) fn remaining_seconds(left_bytes: u64, bytes_per_second: u64) -> Option<u64> {
    if bytes_per_second == 0 {
        return None;
    }
    Some(left_bytes.div_ceil(bytes_per_second)).filter(|seconds| *seconds <= LONGEST_SECONDS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_steady_flow_is_reported_as_it_is() {
        let mut rate = Rate::default();
        rate.restart(at(5_000));
        for step in 1..=300 {
            rate.add(1_000_000, at(5_000 + step * 100));
        }
        let found = rate.bytes_per_second(at(35_000)).unwrap();
        assert!(found.abs_diff(10_000_000) < 200_000, "{found}");
    }

    #[test]
    fn nothing_is_said_too_early_and_never_without_bytes() {
        let mut rate = Rate::default();
        assert_eq!(rate.bytes_per_second(at(0)), None);
        rate.add(u64::MAX, at(0));
        rate.add(u64::MAX, at(0));
        assert_eq!(rate.bytes_per_second(at(999)), None, "a burst at the start is no rate");
        let idle = Rate::default();
        assert_eq!(idle.bytes_per_second(at(60_000)), None);
    }

    #[test]
    fn a_stall_shows_and_a_clock_that_stands_still_does_no_harm() {
        let mut rate = Rate::default();
        for step in 1..=100 {
            rate.add(1_000_000, at(step * 100));
        }
        let before = rate.bytes_per_second(at(10_000)).unwrap();
        let after = rate.bytes_per_second(at(40_000)).unwrap();
        assert!(after < before / 20, "{before} then {after}");
        assert_eq!(rate.bytes_per_second(at(10_000_000)), None, "in the end nothing moves");
        rate.add(1_000, at(100));
        rate.add(1_000, at(100));
        assert!(rate.bytes_per_second(at(0)).is_some());
    }

    #[test]
    fn estimates_are_rounded_up_and_never_absurd() {
        assert_eq!(remaining_seconds(0, 10), Some(0));
        assert_eq!(remaining_seconds(11, 10), Some(2));
        assert_eq!(remaining_seconds(1, 0), None);
        assert_eq!(remaining_seconds(u64::MAX, 1), None);
    }
}
