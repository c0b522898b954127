//! What a policy costs: fuel and time per call and per collection, at several sizes.
//!
//! Fuel is the same on every machine; time is this machine's, the best of several rounds. Inventories are ordinary ones: each
//! collection has properties, an index, an earlier backup and streams of segments, index and metadata.

use std::time::{Duration, Instant};

use longshore_model::{Digest, PolicyKind};
use serde::Serialize;

use crate::asked::End;
use crate::{Asked, PolicyTestError, Scenario, Setup, Subject};

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Numbers of collections.
    pub sizes: Vec<usize>,
    /// The plugin's settings and files.
    pub setup: Setup,
    /// Time to spend on repeating one measurement.
    pub repeat: Duration,
}

impl BenchOptions {
    /// Sizes when none are given: one, a few, a page, many pages.
    pub const SIZES: [usize; 5] = [1, 100, 1_000, 10_000, 100_000];
}

/// What one kind of question costs at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BenchRow {
    /// Which kind; `None` for all kinds together.
    pub kind: Option<PolicyKind>,
    /// Number of collections.
    pub collections: usize,
    /// Number of calls: one per page.
    pub calls: u32,
    /// Fuel of all calls.
    pub fuel_used: u64,
    /// Fuel by collection.
    pub fuel_per_collection: f64,
    /// Time of all calls in microseconds: the best of `rounds`.
    pub elapsed_us: u64,
    /// Time by collection, in microseconds.
    pub us_per_collection: f64,
    /// Most memory one call held, in bytes.
    pub peak_memory_bytes: u64,
    /// How often it was measured.
    pub rounds: u32,
    /// Why there is no answer, if there is none.
    pub failed: Option<String>,
}

/// All measurements of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BenchReport {
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
    /// By size and kind; after the kinds of a size the row of all together, if there are several.
    pub rows: Vec<BenchRow>,
    /// Fuel by collection at the largest size over fuel by collection at 1,000 (or the size nearest to it): 1 is linear.
    pub growth: Option<f64>,
}

impl Subject {
    /// Measures the plugin.
    ///
    /// # Errors
    /// When the settings are not valid under its schema.
    pub fn bench(&self, options: &BenchOptions) -> Result<BenchReport, PolicyTestError> {
        self.settings(&options.setup.settings)?;
        let kinds = self.kinds();
        let mut rows = Vec::new();
        for size in &options.sizes {
            let scenario = options.setup.scenario(*size)?;
            let own: Vec<BenchRow> = kinds.iter().map(|kind| self.measure(*kind, &scenario, options.repeat)).collect();
            let all = (own.len() > 1).then(|| together(*size, &own));
            rows.extend(own.into_iter().chain(all));
        }
        let growth = growth(&rows);
        let about = self.about();
        let (plugin, version, digest) = (about.name.clone(), about.version.clone(), self.digest());
        Ok(BenchReport { plugin, version, digest, rows, growth })
    }

    fn measure(&self, kind: PolicyKind, scenario: &Scenario, repeat: Duration) -> BenchRow {
        let started = Instant::now();
        let first = self.ask(kind, scenario);
        let mut best = first.elapsed_us;
        let mut rounds = 1;
        while rounds < 1_000 && started.elapsed() < repeat && matches!(first.end, End::Answered(_)) {
            best = best.min(self.ask(kind, scenario).elapsed_us);
            rounds += 1;
        }
        row(Some(kind), scenario.collections.len(), &first, best, rounds)
    }
}

fn row(kind: Option<PolicyKind>, collections: usize, asked: &Asked, elapsed_us: u64, rounds: u32) -> BenchRow {
    let fuel_used = asked.fuel_used.unwrap_or(0);
    BenchRow {
        kind,
        collections,
        calls: asked.calls,
        fuel_used,
        fuel_per_collection: per(fuel_used, collections),
        elapsed_us,
        us_per_collection: per(elapsed_us, collections),
        peak_memory_bytes: asked.peak_memory_bytes,
        rounds,
        failed: (!matches!(asked.end, End::Answered(_))).then(|| asked.ending()),
    }
}

/// The kinds of one size together.
fn together(collections: usize, rows: &[BenchRow]) -> BenchRow {
    let fuel_used = rows.iter().map(|row| row.fuel_used).sum();
    let elapsed_us = rows.iter().map(|row| row.elapsed_us).sum();
    BenchRow {
        kind: None,
        collections,
        calls: rows.iter().map(|row| row.calls).sum(),
        fuel_used,
        fuel_per_collection: per(fuel_used, collections),
        elapsed_us,
        us_per_collection: per(elapsed_us, collections),
        peak_memory_bytes: rows.iter().map(|row| row.peak_memory_bytes).max().unwrap_or(0),
        rounds: rows.iter().map(|row| row.rounds).min().unwrap_or(0),
        failed: rows.iter().find_map(|row| row.failed.clone()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a quotient for people; fuel is far below 2^53")]
fn per(value: u64, collections: usize) -> f64 {
    let quotient = value as f64 / collections.max(1) as f64;
    (quotient * 1_000.0).round() / 1_000.0
}

fn growth(rows: &[BenchRow]) -> Option<f64> {
    // All kinds together where there are several, else the only kind.
    let several = rows.iter().any(|row| row.kind.is_none());
    let rows: Vec<&BenchRow> =
        rows.iter().filter(|row| row.kind.is_none() == several && row.failed.is_none()).collect();
    let largest = rows.iter().max_by_key(|row| row.collections)?;
    let page = rows.iter().min_by_key(|row| row.collections.abs_diff(1_000))?;
    let worth = page.collections < largest.collections && page.fuel_per_collection > 0.0;
    worth.then(|| (largest.fuel_per_collection / page.fuel_per_collection * 1_000.0).round() / 1_000.0)
}

impl Scenario {
    /// An inventory of so many ordinary collections in two regions, for measurements and first questions.
    ///
    /// # Errors
    /// For more than [`crate::Limits::case_collections`] collections.
    pub fn ordinary(collections: usize) -> Result<Self, PolicyTestError> {
        Self::from_toml(&format!(
            r#"
[[region]]
id = "eu-1"
jurisdiction = "eu"
[[region]]
id = "eu-2"
jurisdiction = "eu"
storage_price_micros_per_gb_month = 10_000

[[collection]]
name = "sales.orders_{{n}}"
count = {collections}
properties = {{ "data.region" = "eu", "collection.ttl.seconds" = "86400" }}
labels = {{ tier = "hot" }}
rows = 250_000
size_bytes = {{ segment = "700 MB", index = "90 MB", metadata = "4 kB" }}
new_bytes = "100 MB"
created = "300 days ago"
last_write = "2 hours ago"
load_state = "loaded"
indexes = [{{ field_name = "vector", index_type = "HNSW", metric_type = "COSINE" }}]
last_backup = "1 day ago"
previous_reason_code = "selected-by-default"
"#
        ))
    }
}
