//! How often a key may call: so many times a second per method and path, as in Zilliz Cloud.
//!
//! Contract: each key and endpoint has a bucket that holds one second's worth of calls and fills evenly; a call that finds
//! it empty is refused, changes nothing and takes nothing. Kept in memory: a restart fills all buckets.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Buckets that are kept before full ones are forgotten.
const BUCKETS: usize = 10_000;

/// The buckets.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: u32,
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    calls: f64,
    filled: Instant,
}

impl Bucket {
    fn calls_at(self, now: Instant, per_second: f64) -> f64 {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        (self.calls + since * per_second).min(per_second)
    }
}

impl Rates {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), hasher: RandomState::new(), buckets: Mutex::default() }
    }

    /// Takes one call of a key from the bucket of an endpoint; false when there is none.
    pub(crate) fn take(&self, key: &str, method: &str, path: &str, now: Instant) -> bool {
        let per_second = f64::from(self.per_second);
        // The key itself is not kept; that two share a bucket by accident is as likely as any 64-bit collision.
        let place = self.hasher.hash_one((key, method, path));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS && !buckets.contains_key(&place) {
            buckets.retain(|_, bucket| bucket.calls_at(now, per_second) < per_second);
        }
        let full = Bucket { calls: per_second, filled: now };
        let calls = buckets.get(&place).copied().unwrap_or(full).calls_at(now, per_second);
        let allowed = calls >= 1.0;
        let calls = if allowed { calls - 1.0 } else { calls };
        buckets.insert(place, Bucket { calls, filled: now });
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_holds_as_many_calls_as_it_should_whenever_they_come() {
        let rates = Rates::new(20);
        let start = Instant::now();
        let taken = |from_ms: u64, tries: u32| {
            (0..tries).filter(|_| rates.take("key", "GET", "/v2/jobs", start + Duration::from_millis(from_ms))).count()
        };
        assert_eq!(taken(0, 50), 20, "a burst");
        assert_eq!(taken(49, 5), 0);
        assert_eq!(taken(101, 5), 2, "a tenth of a second later");
        assert_eq!(taken(10_000, 50), 20, "a pause of any length fills no more than one second");
    }

    #[test]
    fn keys_methods_and_paths_do_not_share() {
        let rates = Rates::new(1);
        let now = Instant::now();
        for (key, method, path) in
            [("a", "GET", "/v2/jobs"), ("b", "GET", "/v2/jobs"), ("a", "POST", "/v2/jobs"), ("a", "GET", "/v2/backups")]
        {
            assert!(rates.take(key, method, path, now));
            assert!(!rates.take(key, method, path, now));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let rates = Rates::new(5);
        let start = Instant::now();
        for number in 0..3 * BUCKETS {
            let now = start + Duration::from_millis(number as u64);
            assert!(rates.take(&number.to_string(), "GET", "/", now));
        }
        assert!(rates.buckets.lock().unwrap_or_else(PoisonError::into_inner).len() <= BUCKETS);
    }
}
