//! What keeping and moving backups costs: this month so far and a whole month as things are, which policies are told, and who
//! caused it ([`report`]), which people ask.
//!
//! Contract: pure, but for [`note`], which writes what was seen into the catalog. Storage is paid by the day, a day that began
//! counts whole (so the least is one day), in the region that holds the bytes, at the price of that day: the one that was
//! noted, or else the configuration's. What a vault held on a day is what it still holds of that time by the store's clock, or
//! what was seen that day if that was more: a host notes it every hour and whenever it plans a backup, so that what a prune
//! removed is not forgotten. What was removed before anybody looked is not known, nor are requests. A transfer is paid when
//! bytes come into a region other than the home region. Days and months are those of the calendar in UTC.
//!
//! Failure: a region whose vault does not answer costs nothing here; it is offered as unreachable.

mod report;
mod shares;

use std::collections::BTreeMap;

use longshore_catalog::Catalog;
use longshore_model::{ClusterId, ExtraFact, FactValue, Region, RegionId, RunFacts, Timestamp};
use longshore_vault::StoredByDay;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::catalog_calls::Setting;
use crate::config::HostConfig;

pub use self::report::{CostGroup, CostLine, CostQuery, CostReport, cost_report};
pub(crate) use self::report::{read_storage, report};
pub use self::shares::StoredPart;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Bytes of a gigabyte, as prices mean it.
const GB: u128 = 1_000_000_000;
/// Parts of a millionth of the currency unit in which sums are kept, so that many small amounts do not vanish.
const PARTS: u128 = 1_000_000;
/// What was seen, as the catalog keeps it.
const SEEN: Setting = Setting { key: "stored-by-day", tries: 8, conflict: "other jobs keep noting what vaults hold" };
/// Days that are kept there: a year and a month.
const DAYS_KEPT: i64 = 397;

/// What is known about costs beside what vaults hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunCosts {
    /// What backups of the project may cost in a month, in millionths of the currency unit.
    pub month_budget_micros: Option<u64>,
    /// What vaults were seen to hold.
    pub seen: SeenBytes,
}

/// What the vaults of regions were seen to hold, by day since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBytes(BTreeMap<RegionId, BTreeMap<i64, SeenDay>>);

/// What was seen on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenDay {
    /// The most that the vault held.
    bytes: u64,
    /// The price of a gigabyte and month.
    price: u64,
}

/// What a region's vault holds, if it answered.
#[derive(Debug, Clone)]
pub(crate) struct RegionStorage {
    pub(crate) region: Region,
    pub(crate) stored: Option<StoredByDay>,
}

impl RegionStorage {
    /// Bytes it holds now.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.stored.as_ref().map_or(0, StoredByDay::total_bytes)
    }
}

/// The days of a month up to today, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Month {
    first: i64,
    today: i64,
    days: u32,
}

impl Month {
    fn of(time: Timestamp) -> Self {
        let at = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let today = time.as_millis().div_euclid(DAY_MS);
        let days = u32::from(date.days_in_month().unsigned_abs());
        Self { first: today - i64::from(date.day()) + 1, today, days }
    }
}

impl SeenBytes {
    fn on(&self, region: &RegionId, day: i64) -> Option<SeenDay> {
        self.0.get(region).and_then(|days| days.get(&day)).copied()
    }

    /// Notes what vaults hold on a day, and forgets what is too long ago.
    fn see(&mut self, storage: &[RegionStorage], today: i64) {
        for one in storage.iter().filter(|one| one.stored.is_some()) {
            let seen = self.0.entry(one.region.id.clone()).or_default().entry(today).or_default();
            seen.bytes = one.used_bytes().max(seen.bytes);
            seen.price = one.region.storage_price_micros_per_gb_month;
        }
        for days in self.0.values_mut() {
            days.retain(|day, _| (today - DAYS_KEPT..=today).contains(day));
        }
        self.0.retain(|_, days| !days.is_empty());
    }

    fn from_value(value: Option<&serde_json::Value>) -> Result<Self, EngineError> {
        let Some(value) = value else { return Ok(Self::default()) };
        Self::deserialize(value)
            .map_err(|error| EngineError::Internal { what: format!("reading what vaults held by day: {error}") })
    }
}

impl RunCosts {
    /// What a configuration and a catalog say about the runs of a cluster. A budget of the cluster stands in place of the
    /// project's: both are about all that the project keeps, so a lower one makes way for other clusters.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub(crate) fn of(
        config: &HostConfig,
        cluster: &ClusterId,
        catalog: Option<&dyn Catalog>,
    ) -> Result<Self, EngineError> {
        let own = config.clusters.iter().find(|one| one.id == *cluster).and_then(|one| one.month_budget_micros);
        let seen = catalog.map(|catalog| catalog.get_setting(SEEN.key)).transpose()?.flatten();
        Ok(Self {
            month_budget_micros: own.or(config.project.month_budget_micros),
            seen: SeenBytes::from_value(seen.as_ref())?,
        })
    }

    /// Tells a run what backups cost. Prices and estimates are told only where something has a price.
    pub(crate) fn tell(&self, run: &mut RunFacts, storage: &[RegionStorage]) {
        run.month_budget_micros = self.month_budget_micros;
        run.month_spend_micros = self.month_spend_micros(storage, run.time);
        if storage.iter().all(|one| one.region.storage_price_micros_per_gb_month == 0) {
            return;
        }
        let home = storage.iter().find(|one| one.region.id == run.home_region);
        let price = home.map(|one| one.region.storage_price_micros_per_gb_month);
        let estimate = Some(month_estimate_micros(storage));
        for (name, value) in [(RunFacts::MONTH_ESTIMATE_MICROS, estimate), (RunFacts::HOME_STORAGE_PRICE, price)] {
            if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
                run.extra.push(ExtraFact { name: name.to_owned(), value: FactValue::Integer(value) });
            }
        }
    }

    fn month_spend_micros(&self, storage: &[RegionStorage], now: Timestamp) -> u64 {
        let month = Month::of(now);
        let spent = storage.iter().map(|one| {
            (month.first..=month.today).map(|day| self.seen.held(one, day, month.today).parts()).sum::<u128>()
        });
        micros(spent.sum())
    }
}

/// What a vault held on a day, and what that cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    bytes: u64,
    /// Of a gigabyte and month.
    price: u64,
    days_in_month: u32,
}

impl Held {
    /// What some of it cost on that day, in [`PARTS`].
    fn parts_of(self, bytes: u128) -> u128 {
        bytes.saturating_mul(u128::from(self.price)).saturating_mul(PARTS)
            / (GB * u128::from(self.days_in_month.max(1)))
    }

    fn parts(self) -> u128 {
        self.parts_of(u128::from(self.bytes))
    }
}

impl SeenBytes {
    /// What a region's vault held on a day, `today` or before.
    fn held(&self, one: &RegionStorage, day: i64, today: i64) -> Held {
        // What a store wrote in the future, by its clock, is there today.
        let still = one
            .stored
            .as_ref()
            .map_or(0, |stored| if day == today { stored.total_bytes() } else { stored.bytes_until(day) });
        let seen = self.on(&one.region.id, day);
        Held {
            bytes: still.max(seen.map_or(0, |seen| seen.bytes)),
            price: seen.map_or(one.region.storage_price_micros_per_gb_month, |seen| seen.price),
            days_in_month: Month::of(begin_of(day)).days,
        }
    }
}

/// The first moment of a day.
fn begin_of(day: i64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY_MS))
}

/// Whole millionths of the currency unit.
fn micros(parts: u128) -> u64 {
    u64::try_from(parts / PARTS).unwrap_or(u64::MAX)
}

/// What keeping all that is stored costs in a whole month.
pub(crate) fn month_estimate_micros(storage: &[RegionStorage]) -> u64 {
    let cost = |one: &RegionStorage| {
        u128::from(one.used_bytes()) * u128::from(one.region.storage_price_micros_per_gb_month) / GB
    };
    u64::try_from(storage.iter().map(cost).sum::<u128>()).unwrap_or(u64::MAX)
}

/// What moving bytes into a region costs, in millionths of the currency unit. What stays in the home region is not moved.
pub(crate) fn transfer_micros(config: &HostConfig, home: &RegionId, to: &RegionId, bytes: u64) -> u64 {
    let price = config.region(to).filter(|_| to != home).map_or(0, |region| region.transfer_price_micros_per_gb);
    u64::try_from(u128::from(bytes) * u128::from(price) / GB).unwrap_or(u64::MAX)
}

/// Notes what the vaults of a host hold today.
///
/// # Errors
/// [`EngineError::Catalog`], [`EngineError::Conflict`].
pub(crate) fn note(catalog: &dyn Catalog, storage: &[RegionStorage], now: Timestamp) -> Result<(), EngineError> {
    let write = |seen: &SeenBytes| {
        serde_json::to_value(seen)
            .map_err(|error| EngineError::Internal { what: format!("writing what vaults held by day: {error}") })
    };
    SEEN.change(catalog, SeenBytes::from_value, write, |seen| {
        seen.see(storage, now.as_millis().div_euclid(DAY_MS));
        Ok(())
    })
}

#[cfg(test)]
mod tests;
