//! What an operator can set. Names, defaults and bounds are those of `settings.schema.json`; a test holds the two
//! together.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of the rules policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Directory with the rule files, as the plugin sees it.
    pub directory: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { directory: PathBuf::from("/rules") }
    }
}
