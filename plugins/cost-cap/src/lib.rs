//! Keeps the estimated monthly cost of backups under a budget.
//!
//! What earlier backups hold is paid for already, so leaving a collection out saves what its new bytes would cost. Where
//! everything fits the budget everything goes in. Where it does not, what is protected goes in first, then what has no
//! good backup or has missed its recovery point, then the rest by last write: what nobody wrote to for longest is left out
//! first. Each decision says what it costs and what the budget is; nothing is left out silently.

mod estimate;
mod placement;
mod selection;
mod settings;

pub use settings::Settings;

use longshore_plugin::{About, Plugin};

/// The policy.
#[derive(Debug)]
pub struct CostCap;

impl Plugin for CostCap {
    fn about() -> About {
        About {
            name: "cost-cap",
            version: env!("CARGO_PKG_VERSION"),
            author: "Longshore",
            description: "Keeps the estimated monthly cost of backups under a budget, and what is protected in.",
            settings_schema: include_str!("settings.schema.json"),
        }
    }
}

longshore_plugin::export!(CostCap: selection, placement);
