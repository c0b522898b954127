//! What an operator can set. Names, defaults and bounds are those of `settings.schema.json`; a test holds the two
//! together.

use longshore_plugin::settings::INVALID_SETTINGS;
use longshore_plugin::time::{DAY_MS, HOUR_MS};
use longshore_plugin::{Refusal, Run};
use serde::Deserialize;

use crate::Tier;

/// Settings of the tiered policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Property, or else label, by which a collection names its tier.
    pub tier_property: String,
    /// Days without a write after which a collection is warm.
    pub warm_after_days: u32,
    /// Days without a write after which it is cold.
    pub cold_after_days: u32,
    /// Hours between two automatic backups of a warm collection.
    pub warm_every_hours: u32,
    /// Hours between two automatic backups of a cold collection.
    pub cold_every_hours: u32,
    /// Back up the index files of hot collections too.
    pub hot_index_files: bool,
    /// What a codec for a hot collection must reach, in megabytes of plain bytes per second.
    pub hot_compress_mb_per_second: u32,
    /// Regions that cold collections may be kept in, beside the home region; empty means those of its jurisdiction.
    pub cold_regions: Vec<String>,
    /// Months within which cheaper storage has to pay back the transfer.
    pub payback_months: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tier_property: "backup.tier".to_owned(),
            warm_after_days: 7,
            cold_after_days: 30,
            warm_every_hours: 24,
            cold_every_hours: 168,
            hot_index_files: false,
            hot_compress_mb_per_second: 400,
            cold_regions: Vec::new(),
            payback_months: 3,
        }
    }
}

impl Settings {
    /// The settings of a run.
    ///
    /// # Errors
    /// A refusal that names the two settings that contradict each other, which the schema cannot tell.
    pub fn of(run: &Run) -> Result<Self, Refusal> {
        let settings: Self = run.settings()?;
        if settings.cold_after_days <= settings.warm_after_days {
            let message = format!(
                "cold_after_days ({}) must be more than warm_after_days ({}): a collection is warm before it is cold.",
                settings.cold_after_days, settings.warm_after_days
            );
            return Err(Refusal::new(INVALID_SETTINGS, message));
        }
        Ok(settings)
    }

    /// Milliseconds without a write after which a collection is of a colder tier.
    pub(crate) fn warm_after_ms(&self) -> u64 {
        u64::from(self.warm_after_days) * DAY_MS
    }

    pub(crate) fn cold_after_ms(&self) -> u64 {
        u64::from(self.cold_after_days) * DAY_MS
    }

    /// Milliseconds between two automatic backups of a tier; `None`: every run.
    pub(crate) fn every_ms(&self, tier: Tier) -> Option<u64> {
        match tier {
            Tier::Hot => None,
            Tier::Warm => Some(u64::from(self.warm_every_hours) * HOUR_MS),
            Tier::Cold => Some(u64::from(self.cold_every_hours) * HOUR_MS),
        }
    }
}
