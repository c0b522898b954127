//! What an operator can set. Names, defaults and bounds are those of `settings.schema.json`; a test holds the two
//! together.

use serde::Deserialize;

/// Settings of the residency policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Jurisdiction of collections that name none; absent: the next policy decides about them.
    pub default_jurisdiction: Option<String>,
    /// Ask for a copy in a second region of the same jurisdiction.
    pub second_region: bool,
    /// Refuse the run where there is no second region.
    pub second_region_required: bool,
    /// Days to keep the copy in the second region; absent means as long as the main backup.
    pub second_region_retention_days: Option<u32>,
    /// Days to keep an automatic backup; absent means the schedule's own.
    pub retention_days: Option<u32>,
}
