//! Limits of the engine.

use serde::{Deserialize, Serialize};

/// Upper bounds on what running jobs may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of file content held in memory by one job, read but not yet stored or written. Too small starves the CPU.
    pub memory_budget_bytes: u64,
    /// Collections moved side by side by one job. Bounds open file descriptors.
    pub parallel_collections: usize,
    /// Chunks of one collection in flight. More than twice the cores gains nothing.
    pub parallel_chunks: usize,
    /// Jobs that run side by side.
    pub parallel_jobs: usize,
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
    /// Times a job is tried again after its host died; then it is marked failed.
    pub job_attempts: u32,
    /// Descriptors the points of one plan may hold between planning and transfer; beyond it they are opened again.
    pub held_descriptors: usize,
    /// Largest plugin file read from disk, in bytes.
    pub plugin_file_bytes: u64,
    /// Largest configuration file, in bytes.
    pub config_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_budget_bytes: 256 * 1024 * 1024,
            parallel_collections: 4,
            parallel_chunks: 4,
            parallel_jobs: 2,
            sample_bytes_per_stream: 1024 * 1024,
            sample_bytes_per_run: 64 * 1024 * 1024,
            live_rows_memory_bytes: 128 * 1024 * 1024,
            lease_ms: 30_000,
            heartbeat_ms: 1_000,
            job_attempts: 3,
            held_descriptors: 512,
            plugin_file_bytes: 64 * 1024 * 1024,
            config_file_bytes: 1024 * 1024,
        }
    }
}
