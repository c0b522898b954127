//! How much a vault holds, and since when. Pure.

use std::collections::BTreeMap;

use longshore_model::Timestamp;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Bytes of packs by the day, counted from 1970 in UTC, on which they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredByDay(BTreeMap<i64, u64>);

impl StoredByDay {
    /// Adds what was written at a time.
    pub fn add(&mut self, written: Timestamp, bytes: u64) {
        let day = self.0.entry(written.as_millis().div_euclid(DAY_MS)).or_default();
        *day = day.saturating_add(bytes);
    }

    /// All of it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.0.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// What was written on a day or before it.
    #[must_use]
    pub fn bytes_until(&self, day: i64) -> u64 {
        self.0.range(..=day).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}
