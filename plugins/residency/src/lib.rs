//! Keeps every collection in the jurisdiction that it names: by the property `data.region` of the collection, or by an
//! operator's label of the same key, where the property wins. Both are compared without regard to case and surrounding
//! spaces.
//!
//! A run is refused, never quietly placed elsewhere, where no offered region lies in the jurisdiction. A collection that
//! names none is left to the next policy of the chain, unless the settings give a default.

mod placement;
mod regions;
mod settings;

pub use settings::Settings;

use longshore_plugin::{About, Plugin};

/// Property and label that a collection names its jurisdiction with.
pub const DATA_REGION: &str = "data.region";

/// The policy.
#[derive(Debug)]
pub struct Residency;

impl Plugin for Residency {
    fn about() -> About {
        About {
            name: "residency",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Keeps every collection in the jurisdiction that its data.region property names.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

longshore_plugin::export!(Residency: placement);
