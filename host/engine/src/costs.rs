//! What keeping backups costs: this month so far, a whole month as things are, and what it may cost. Facts for policies.
//!
//! Contract: pure, but for [`note`], which writes what was seen into the catalog. Storage is paid by the day, a day that began
//! counts whole, in the region that holds the bytes, at the price that the configuration has now. What a vault held on a day
//! is what it still holds of that time by the store's clock, or what was seen that day if that was more: a host notes it
//! whenever it plans a backup, so that what a prune removed is not forgotten. What was removed before anybody looked is not
//! known, nor are transfers and requests. Days and months are those of the calendar in UTC.
//!
//! Failure: a region whose vault does not answer costs nothing here; it is offered as unreachable.

use std::collections::BTreeMap;

use longshore_catalog::Catalog;
use longshore_model::{ClusterId, ExtraFact, FactValue, Region, RegionId, RunFacts, Timestamp};
use longshore_vault::StoredByDay;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::catalog_calls::Setting;
use crate::config::HostConfig;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Bytes of a gigabyte, as prices mean it.
const GB: u128 = 1_000_000_000;
/// What was seen, as the catalog keeps it.
const SEEN: Setting =
    Setting { key: "stored-bytes-by-day", tries: 8, conflict: "other jobs keep noting what vaults hold" };
/// Days that are kept there: this month and the one before.
const DAYS_KEPT: i64 = 62;

/// What is known about costs beside what vaults hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunCosts {
    /// What backups of the project may cost in a month, in millionths of the currency unit.
    pub month_budget_micros: Option<u64>,
    /// What vaults were seen to hold.
    pub seen: SeenBytes,
}

/// Bytes that the vaults of regions were seen to hold, by day since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBytes(BTreeMap<RegionId, BTreeMap<i64, u64>>);

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
    fn on(&self, region: &RegionId, day: i64) -> u64 {
        self.0.get(region).and_then(|days| days.get(&day)).copied().unwrap_or(0)
    }

    /// Notes what vaults hold on a day, and forgets what is too long ago.
    fn see(&mut self, storage: &[RegionStorage], today: i64) {
        for one in storage.iter().filter(|one| one.stored.is_some()) {
            let seen = self.0.entry(one.region.id.clone()).or_default().entry(today).or_default();
            *seen = one.used_bytes().max(*seen);
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
            let held = |day: i64| {
                // What a store wrote in the future, by its clock, is there today.
                let still = one.stored.as_ref().map_or(0, |stored| {
                    if day == month.today { stored.total_bytes() } else { stored.bytes_until(day) }
                });
                u128::from(still.max(self.seen.on(&one.region.id, day)))
            };
            let byte_days: u128 = (month.first..=month.today).map(held).sum();
            byte_days.saturating_mul(u128::from(one.region.storage_price_micros_per_gb_month))
                / (GB * u128::from(month.days.max(1)))
        });
        u64::try_from(spent.sum::<u128>()).unwrap_or(u64::MAX)
    }
}

/// What keeping all that is stored costs in a whole month.
pub(crate) fn month_estimate_micros(storage: &[RegionStorage]) -> u64 {
    let cost = |one: &RegionStorage| {
        u128::from(one.used_bytes()) * u128::from(one.region.storage_price_micros_per_gb_month) / GB
    };
    u64::try_from(storage.iter().map(cost).sum::<u128>()).unwrap_or(u64::MAX)
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_catalog::SqliteCatalog;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn day(text: &str) -> i64 {
        time(text).as_millis() / DAY_MS
    }

    fn storage(id: &str, price: u64, packs: &[(&str, u64)]) -> RegionStorage {
        let region = Region {
            id: id.parse().unwrap(),
            provider: "local".to_owned(),
            jurisdiction: String::new(),
            storage_price_micros_per_gb_month: price,
            transfer_price_micros_per_gb: 0,
        };
        let mut stored = StoredByDay::default();
        packs.iter().for_each(|(written, gigabytes)| stored.add(time(written), gigabytes * 1_000_000_000));
        RegionStorage { region, stored: Some(stored) }
    }

    fn run(home: &str) -> RunFacts {
        RunFacts {
            kind: longshore_model::RunKind::Cluster,
            trigger: longshore_model::RunTrigger::Manual,
            cluster_id: "in01-a".parse().unwrap(),
            cluster_name: "A".to_owned(),
            project_id: "proj-a".parse().unwrap(),
            home_region: home.parse().unwrap(),
            time: time(NOON),
            seed: 1,
            next_run: None,
            month_spend_micros: 0,
            month_budget_micros: None,
            totals: longshore_model::Totals::default(),
            extra: Vec::new(),
        }
    }

    const NOON: &str = "2026-09-10T12:00:00Z";

    #[test]
    fn a_month_is_paid_by_the_day_and_a_day_that_began_counts_whole() {
        let costs = RunCosts::default();
        let spent =
            |packs: &[(&str, u64)], now: &str| costs.month_spend_micros(&[storage("eu", 30_000, packs)], time(now));
        // September has 30 days: a gigabyte costs 1,000 a day.
        assert_eq!(spent(&[("2026-09-10T11:00:00Z", 1)], NOON), 1_000);
        assert_eq!(spent(&[("2026-09-10T23:59:59Z", 1)], "2026-09-10T23:59:59Z"), 1_000);
        assert_eq!(spent(&[("2026-09-01T23:00:00Z", 1)], NOON), 10_000);
        assert_eq!(spent(&[("2020-01-01T00:00:00Z", 1), ("2026-09-09T00:00:00Z", 2)], NOON), 14_000);
        assert_eq!(spent(&[("2020-01-01T00:00:00Z", 1)], "2026-09-30T00:00:00Z"), 30_000);
        assert_eq!(spent(&[("2020-01-01T00:00:00Z", 1)], "2026-10-01T00:00:00Z"), 30_000 / 31);
        // By a store whose clock is ahead.
        assert_eq!(spent(&[("2026-09-11T00:00:01Z", 1)], NOON), 1_000);
        assert_eq!(spent(&[], NOON), 0);
    }

    #[test]
    fn what_a_prune_removed_was_paid_for_on_the_days_it_was_seen() {
        let mut costs = RunCosts::default();
        costs.seen.see(&[storage("eu", 1, &[(NOON, 5)])], day("2026-09-02T00:00:00Z"));
        costs.seen.see(&[storage("eu", 1, &[(NOON, 2)])], day("2026-09-02T00:00:00Z"));
        let now = storage("eu", 30_000, &[("2026-08-01T00:00:00Z", 1)]);
        assert_eq!(costs.month_spend_micros(std::slice::from_ref(&now), time(NOON)), 14_000, "four more on one day");
        costs.seen.see(&[storage("eu", 1, &[])], day("2026-12-01T00:00:00Z"));
        assert_eq!(costs.month_spend_micros(&[now], time(NOON)), 10_000, "forgotten after two months");
    }

    #[test]
    fn a_run_is_told_the_sums_of_all_regions_and_the_price_of_its_own() {
        let mut told_run = run("local-eu");
        let regions =
            [storage("local-us", 60_000, &[(NOON, 1)]), storage("local-eu", 30_000, &[("2026-09-01T00:00:00Z", 2)])];
        RunCosts { month_budget_micros: Some(7), ..RunCosts::default() }.tell(&mut told_run, &regions);
        assert_eq!((told_run.month_spend_micros, told_run.month_budget_micros), (2_000 + 20_000, Some(7)));
        let told: Vec<_> = told_run.extra.iter().map(|fact| (fact.name.as_str(), fact.value.clone())).collect();
        let expected = [("month-estimate-micros", 120_000), ("home-storage-price-micros-per-gb-month", 30_000)];
        assert_eq!(told, expected.map(|(name, value)| (name, FactValue::Integer(value))));

        let mut free = run("local-eu");
        RunCosts::default().tell(&mut free, &[storage("local-eu", 0, &[(NOON, 1)])]);
        assert_eq!((free.month_spend_micros, free.extra.len()), (0, 0));
        let silent = RegionStorage { stored: None, ..storage("local-eu", 30_000, &[]) };
        RunCosts::default().tell(&mut free, &[silent]);
        assert_eq!(free.month_spend_micros, 0);
    }

    #[test]
    fn what_is_noted_is_read_again_and_a_cluster_may_have_a_budget_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).unwrap();
        let config = r#"
            data_directory = "data"
            project = { id = "proj-a", name = "A", month_budget_micros = 9 }
            [[region]]
            id = "eu"
            vault = "eu"
            [[cluster]]
            id = "in01-a"
            name = "a"
            region = "eu"
            milvus_lite = "a"
            month_budget_micros = 4
        "#;
        let config = HostConfig::parse(config, std::path::Path::new("")).unwrap();
        let of = |cluster: &str| RunCosts::of(&config, &cluster.parse().unwrap(), Some(&catalog)).unwrap();
        assert_eq!(of("in01-a"), RunCosts { month_budget_micros: Some(4), ..RunCosts::default() });
        note(&catalog, &[storage("eu", 1, &[(NOON, 3)]), storage("us", 1, &[])], time(NOON)).unwrap();
        let again = of("in01-b");
        assert_eq!(again.month_budget_micros, Some(9));
        assert_eq!(again.seen.on(&"eu".parse().unwrap(), day(NOON)), 3_000_000_000);
        assert_eq!(again.seen.on(&"eu".parse().unwrap(), day(NOON) - 1), 0);
    }
}
