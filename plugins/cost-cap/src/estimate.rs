//! The estimate of a month's bill. All of it rounds up: a budget that is kept here is kept.

use longshore_plugin::cost::{price_micros, scaled};
use longshore_plugin::{Collection, Run};

use crate::Settings;

/// What is known before any collection is looked at. The same on every page of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// What a gigabyte and month costs in one region.
    pub(crate) price_micros: u64,
    /// What the month may cost.
    pub(crate) budget_micros: u64,
    /// What it costs without anything new.
    pub(crate) held_micros: u64,
    /// What it costs with everything that is new in the cluster.
    pub(crate) everything_micros: u64,
}

impl Estimate {
    /// The estimate of a run; a sentence where there is no budget or no price.
    pub(crate) fn of(run: &Run, settings: &Settings) -> Result<Self, &'static str> {
        let budget_micros = settings
            .month_budget_micros
            .or(run.month_budget_micros)
            .ok_or("There is no budget, neither in the settings nor from the host, so nothing is left out.")?;
        let price_micros = settings
            .storage_price_micros_per_gb_month
            .or(run.home_storage_price_micros_per_gb_month())
            .filter(|price| *price > 0)
            .ok_or(
                "The home region has no price, neither in the settings nor from the host, so nothing is left out.",
            )?;
        let held_bytes = run.totals.size_bytes.saturating_sub(run.totals.new_bytes);
        // What is really stored, at the prices of all regions, unless the settings say that those do not count.
        let stored_micros = match (settings.storage_price_micros_per_gb_month, run.month_estimate_micros()) {
            (None, Some(micros)) => micros,
            _ => month_micros(settings, price_micros, held_bytes),
        };
        let held_micros = forecast_micros(run).max(stored_micros);
        let new_micros = month_micros(settings, price_micros, run.totals.new_bytes);
        let everything_micros = held_micros.saturating_add(new_micros);
        Ok(Self { price_micros, budget_micros, held_micros, everything_micros })
    }

    /// What new bytes may cost.
    pub(crate) fn room_micros(&self) -> u64 {
        self.budget_micros.saturating_sub(self.held_micros)
    }

    /// What keeping plain bytes costs in a whole month. A whole one though the month may be nearly over: the next bill
    /// counts them in full, and nothing could be done about it then.
    pub(crate) fn month_micros(&self, settings: &Settings, plain_bytes: u64) -> u64 {
        month_micros(settings, self.price_micros, plain_bytes)
    }
}

/// What this month will have cost at its end if it goes on as it began. Spending is metered by day, today included.
fn forecast_micros(run: &Run) -> u64 {
    let today = run.date();
    scaled(run.month_spend_micros, u64::from(today.days_in_month()), u64::from(today.day))
}

fn month_micros(settings: &Settings, price: u64, plain_bytes: u64) -> u64 {
    let stored_bytes = scaled(plain_bytes, 1_000, u64::from(settings.expected_ratio_thousandths));
    price_micros(stored_bytes, price).saturating_mul(u64::from(settings.copies))
}

/// Bytes that a backup of the collection would add to what is kept.
pub(crate) fn added_bytes(settings: &Settings, collection: &Collection) -> u64 {
    collection.new_bytes.min(collection.size_bytes.backed_up(settings.include_index_files))
}
