//! Limits on what the catalog keeps.

/// Upper bounds, checked before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest JSON value of a row (request, result, progress, collections, detail, setting), in bytes of its text.
    /// A cluster of 10,000 collections needs about 5 MB.
    pub json_bytes: usize,
    /// Longest reason or error text that is kept, in bytes; longer ones are cut, because a job must be able to end.
    pub reason_bytes: usize,
    /// Longest name, role, description, location, owner, actor, action, subject or setting key, in bytes.
    pub text_bytes: usize,
    /// Most rows on one page of a list.
    pub page_items: u32,
    /// Most jobs that the end of one job may start.
    pub follow_up_jobs: usize,
    /// Longest lease on a job, in milliseconds: a dead worker's job is picked up after this time at the latest.
    pub lease_ms: i64,
    /// Restores are claimed before other jobs, but not before one that has waited this long, in milliseconds.
    pub passed_over_ms: i64,
    /// How long a delivery is kept after it ended, in milliseconds.
    pub ended_deliveries_kept_ms: i64,
    /// Most bounds that durations of jobs are counted by.
    pub duration_bounds: usize,
    /// How long a call waits for another process that holds the database, in milliseconds.
    pub busy_timeout_ms: u64,
    /// Prepared statements kept per connection.
    pub cached_statements: usize,
}

impl Limits {
    /// The limits used unless the caller gives others.
    pub const DEFAULT: Self = Self {
        json_bytes: 32 * 1024 * 1024,
        reason_bytes: 4 * 1024,
        text_bytes: 4 * 1024,
        page_items: 1_000,
        follow_up_jobs: 64,
        lease_ms: 60 * 60 * 1000,
        passed_over_ms: 10 * 60 * 1000,
        ended_deliveries_kept_ms: 7 * 24 * 60 * 60 * 1000,
        duration_bounds: 32,
        busy_timeout_ms: 5_000,
        cached_statements: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
