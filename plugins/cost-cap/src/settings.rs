//! What an operator can set. Names, defaults and bounds are those of `settings.schema.json`; a test holds the two
//! together.

use longshore_plugin::CollectionPattern;
use serde::Deserialize;

/// Settings of the cost cap.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Price of keeping a gigabyte for a month, in millionths of the currency unit; absent: the home region's as the host has
    /// it.
    #[serde(default)]
    pub storage_price_micros_per_gb_month: Option<u64>,
    /// What backups may cost in a month, in the same unit; absent: the budget that the host gives.
    #[serde(default)]
    pub month_budget_micros: Option<u64>,
    /// Number of regions that each collection is kept in.
    #[serde(default = "one")]
    pub copies: u32,
    /// Plain bytes per 1,000 stored bytes that are to be expected.
    #[serde(default = "thousand")]
    pub expected_ratio_thousandths: u32,
    /// Collections that stay in whatever they cost.
    #[serde(default)]
    pub keep_collections: Vec<CollectionPattern>,
    /// Property, or else label, that keeps a collection in.
    #[serde(default = "keep_property")]
    pub keep_property: String,
    /// Back up index files too, and count them.
    #[serde(default)]
    pub include_index_files: bool,
    /// Regions that collections may be kept in, beside the home region; empty means those of its jurisdiction.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Months within which cheaper storage has to pay back the transfer.
    #[serde(default = "three")]
    pub payback_months: u32,
}

fn one() -> u32 {
    1
}

fn thousand() -> u32 {
    1_000
}

fn three() -> u32 {
    3
}

fn keep_property() -> String {
    "backup.keep".to_owned()
}
