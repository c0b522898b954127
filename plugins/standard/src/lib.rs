//! The default policy, the last one of every chain. It decides about every item it is asked about:
//!
//! * selection: everything goes in, without index files, but for what the settings exclude;
//! * compression: the codec that saves most on the host's sample, if it saves enough and is fast enough;
//! * placement: the home region, or while it is down a healthy region of the same jurisdiction.
//!
//! It refuses a run only where no decision could be right: no usable region, or a copy asked for in a region that the
//! project does not have.

mod compression;
mod placement;
mod selection;
mod settings;

pub use settings::{CopySettings, Settings};

use longshore_plugin::{About, Plugin};

/// The policy.
#[derive(Debug)]
pub struct Standard;

impl Plugin for Standard {
    fn about() -> About {
        About {
            name: "standard",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Backs up everything, compresses where it pays and keeps backups in the home region.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

longshore_plugin::export!(Standard: selection, compression, placement);
