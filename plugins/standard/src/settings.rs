//! What an operator can set. Names, defaults and bounds are those of `settings.schema.json`; a test holds the two
//! together.

use longshore_plugin::CollectionPattern;
use serde::Deserialize;

/// Settings of the standard policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Collections to leave out.
    pub exclude_collections: Vec<CollectionPattern>,
    /// Back up index files too.
    pub include_index_files: bool,
    /// What a codec must save, in percent of the plain bytes, to be worth its time.
    pub minimum_saving_percent: u32,
    /// Codecs that are slower than this, in megabytes of plain bytes per second, are not chosen.
    pub minimum_compress_mb_per_second: u32,
    /// Copies that every collection gets beside its main backup.
    pub copies: Vec<CopySettings>,
    /// Days to keep an automatic backup; absent means the schedule's own.
    pub retention_days: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exclude_collections: Vec::new(),
            include_index_files: false,
            minimum_saving_percent: 3,
            minimum_compress_mb_per_second: 100,
            copies: Vec::new(),
            retention_days: None,
        }
    }
}

/// A copy that every collection gets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopySettings {
    /// Id of the region.
    pub region: String,
    /// Days to keep it; absent means as long as the main one.
    #[serde(default)]
    pub retention_days: Option<u32>,
}
