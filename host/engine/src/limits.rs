//! Limits of the engine.

use serde::{Deserialize, Serialize};

use longshore_vault::ThrottleLimits;

/// Slowest traffic that may be asked for, in bytes per second: below it a pack takes longer than anybody waits.
pub const BANDWIDTH_MIN_BYTES_PER_SECOND: u64 = 64 * 1024;

/// A pause that grows by `factor` with each of the `times` before, up to the longest, in milliseconds.
pub(crate) fn growing_pause_ms(first_ms: u64, factor: u64, times: u32, longest_ms: u64) -> i64 {
    let grown = first_ms.saturating_mul(factor.checked_pow(times).unwrap_or(u64::MAX));
    i64::try_from(grown.min(longest_ms)).unwrap_or(i64::MAX)
}

/// Upper bounds on what running jobs may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory one job may take, in bytes. Three eighths of it hold file content that is read but not yet stored; the rest is for
    /// the index, manifests, open files, and what the allocator holds back. Too small starves the CPU. It is per job
    /// and not shared: a host holds up to `parallel_jobs` and `parallel_restores` times as much.
    pub memory_budget_bytes: u64,
    /// Bytes per second read from and written to vaults by all jobs together; no limit when left out. Can be changed
    /// while jobs run.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Threads that hash, encode, decode and check for all jobs together; as many as the machine has when left out. Can
    /// be changed while jobs run.
    pub cpu_threads: Option<usize>,
    /// Collections moved side by side by one job. Bounds open file descriptors.
    pub parallel_collections: usize,
    /// Chunks of one collection in flight. More than twice the cores gains nothing.
    pub parallel_chunks: usize,
    /// Files of at most as many bytes are stored several at a time by one thread.
    pub small_file_bytes: u64,
    /// As many bytes of small files are stored by one thread before it is somebody else's turn.
    pub small_files_batch_bytes: u64,
    /// How often a backup makes what it stored durable and notes the finished files for a later attempt, in
    /// milliseconds.
    pub checkpoint_ms: u64,
    /// The same, in bytes: whichever comes first.
    pub checkpoint_bytes: u64,
    /// Whether the free space of a vault's folder is looked at before a backup or a copy.
    pub check_free_space: bool,
    /// Bytes that must be free beyond what is estimated: for indexes, manifests and whatever an estimate cannot know.
    pub spare_bytes: u64,
    /// Jobs that run side by side.
    pub parallel_jobs: usize,
    /// Restores that run beside these: somebody waits for a restore, and backups may take hours.
    pub parallel_restores: usize,
    /// Damaged objects, and damages of collections, that the record of a verification lists; the rest is counted.
    pub listed_damages: usize,
    /// Bytes sampled from one stream to measure codecs.
    pub sample_bytes_per_stream: u64,
    /// Bytes sampled in one run; streams beyond it are planned by the host's guess.
    pub sample_bytes_per_run: u64,
    /// Memory for counting live rows of one collection; above it the count is left out.
    pub live_rows_memory_bytes: u64,
    /// How long a job may go without renewing its lease before another worker takes it, in milliseconds.
    pub lease_ms: u64,
    /// How often a running job renews its lease and writes its progress, in milliseconds.
    pub heartbeat_ms: u64,
    /// How often a host looks in its vaults for erasures that its catalog has to follow, in milliseconds.
    pub erasure_look_ms: u64,
    /// How often a host looks for automatic backups that are due and for backups that have expired, in milliseconds.
    pub schedule_look_ms: u64,
    /// How often a host applies retention rules, beside doing so after each automatic backup, in milliseconds.
    pub retention_look_ms: u64,
    /// How long after its start a scheduled backup may be missing before its cluster counts as overdue, in milliseconds.
    pub overdue_grace_ms: u64,
    /// Times a job is tried again after its host died; then it is marked failed.
    pub job_attempts: u32,
    /// Times a copy into another region is tried again when a vault did not answer; then it is marked failed.
    pub copy_retries: u32,
    /// How long a copy waits before it is tried again, in milliseconds; twice as long each time.
    pub copy_retry_ms: u64,
    /// Longest such pause, in milliseconds.
    pub copy_retry_longest_ms: u64,
    /// Times a copy is made before it gives up, because an erasure wrote the backup anew meanwhile or its pin lapsed.
    pub copied_commits: u32,
    /// How often a host looks for what it has to tell its webhook, in milliseconds.
    pub delivery_look_ms: u64,
    /// How long a message that was not taken waits before it is sent again, in milliseconds; four times as long each time.
    pub delivery_retry_ms: u64,
    /// Longest such pause, in milliseconds.
    pub delivery_retry_longest_ms: u64,
    /// How often a host looks for clusters without a good backup, in milliseconds.
    pub overdue_look_ms: u64,
    /// How often the alarm about one cluster is repeated while nothing changes, in milliseconds.
    pub overdue_repeat_ms: u64,
    /// Descriptors the points of one plan may hold between planning and transfer; beyond it they are opened again.
    pub held_descriptors: usize,
    /// Largest plugin file read from disk, in bytes.
    pub plugin_file_bytes: u64,
    /// Largest configuration file, in bytes.
    pub config_file_bytes: u64,
}

impl Limits {
    /// What the jobs of a host share.
    #[must_use]
    pub const fn throttle(&self) -> ThrottleLimits {
        ThrottleLimits { bandwidth_bytes_per_second: self.bandwidth_bytes_per_second, cpu_threads: self.cpu_threads }
    }

    /// The same limits but for what can be changed while jobs run.
    #[must_use]
    pub(crate) const fn without_throttle(self) -> Self {
        Self { bandwidth_bytes_per_second: None, cpu_threads: None, ..self }
    }

    /// Bytes of file content one job may hold. Measured on a first backup of 700 MB to a slow disk, when all of it is in
    /// use: the process, pages of its own file included, then stays under the whole budget.
    #[must_use]
    pub const fn content_budget_bytes(&self) -> u64 {
        self.memory_budget_bytes / 8 * 3
    }

    /// Refuses values that would only look like limits.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn check(&self) -> Result<(), String> {
        if let Some(rate) = self.bandwidth_bytes_per_second
            && rate < BANDWIDTH_MIN_BYTES_PER_SECOND
        {
            return Err(format!(
                "bandwidth_bytes_per_second = {rate} is slower than the least of {BANDWIDTH_MIN_BYTES_PER_SECOND}; \
                 leave it out for no limit"
            ));
        }
        if self.cpu_threads == Some(0) {
            return Err("cpu_threads = 0 would let nothing run; leave it out for as many as the machine has".to_owned());
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_budget_bytes: 256 * 1024 * 1024,
            bandwidth_bytes_per_second: None,
            cpu_threads: None,
            parallel_collections: 4,
            parallel_chunks: 4,
            small_file_bytes: 128 * 1024,
            small_files_batch_bytes: 512 * 1024,
            checkpoint_ms: 30_000,
            checkpoint_bytes: 1024 * 1024 * 1024,
            check_free_space: true,
            spare_bytes: 16 * 1024 * 1024,
            parallel_jobs: 2,
            parallel_restores: 1,
            listed_damages: 1_000,
            sample_bytes_per_stream: 128 * 1024,
            sample_bytes_per_run: 64 * 1024 * 1024,
            live_rows_memory_bytes: 128 * 1024 * 1024,
            lease_ms: 30_000,
            heartbeat_ms: 1_000,
            erasure_look_ms: 60_000,
            schedule_look_ms: 10_000,
            retention_look_ms: 60 * 60 * 1_000,
            overdue_grace_ms: 6 * 60 * 60 * 1_000,
            job_attempts: 3,
            copied_commits: 4,
            copy_retries: 6,
            copy_retry_ms: 30_000,
            copy_retry_longest_ms: 60 * 60 * 1_000,
            delivery_look_ms: 2_000,
            delivery_retry_ms: 5_000,
            delivery_retry_longest_ms: 60 * 60 * 1_000,
            overdue_look_ms: 10 * 60 * 1_000,
            overdue_repeat_ms: 24 * 60 * 60 * 1_000,
            held_descriptors: 512,
            plugin_file_bytes: 64 * 1024 * 1024,
            config_file_bytes: 1024 * 1024,
        }
    }
}
