//! Hot, warm and cold collections, each backed up at its own pace, with its own codec and in its own region.
//!
//! The tier is what the collection's property says, or else follows from when it was last written to. Nothing that
//! somebody asked for, that the operator protects, or that has no backup yet is left out; what is left out keeps a backup
//! at least twice as long as its pace, so that there is always one.

mod compression;
mod placement;
mod selection;
mod settings;
mod tier;

pub use settings::Settings;
pub use tier::Tier;

use longshore_plugin::{About, Plugin};

/// The policy.
#[derive(Debug)]
pub struct Tiered;

impl Plugin for Tiered {
    fn about() -> About {
        About {
            name: "tiered",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Backs up hot, warm and cold collections at their own pace, with their own codec and region.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

longshore_plugin::export!(Tiered: selection, compression, placement);
