//! Choosing among regions. The order in which the host offers them never matters: between equals the id decides.

use crate::facts::{Collection, Region, RegionHealth, Run};

impl Region {
    /// It works, and works well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.health == RegionHealth::Healthy
    }

    /// Something can be written there now.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.health != RegionHealth::Unreachable
    }

    /// Whether it lies in a jurisdiction, without regard to case and surrounding spaces. A region of which the operator
    /// gave no jurisdiction lies in none, not even in the empty one.
    #[must_use]
    pub fn is_in(&self, jurisdiction: &str) -> bool {
        let own = self.jurisdiction.trim().to_lowercase();
        !own.is_empty() && own == jurisdiction.trim().to_lowercase()
    }

    /// What regions are ordered by when the cheapest is wanted: storage, transfer, id.
    #[must_use]
    pub fn price_order(&self) -> (u64, u64, &str) {
        let transfer = if self.home { 0 } else { self.transfer_price_micros_per_gb };
        (self.storage_price_micros_per_gb_month, transfer, &self.id)
    }
}

impl Run {
    /// The cluster's own region among those on offer: the one that is marked, or else the one of that id.
    #[must_use]
    pub fn home<'a>(&self, regions: &'a [Region]) -> Option<&'a Region> {
        regions.iter().find(|region| region.home).or_else(|| find(regions, &self.home_region))
    }
}

/// The region of an id.
#[must_use]
pub fn find<'a>(regions: &'a [Region], id: &str) -> Option<&'a Region> {
    regions.iter().find(|region| region.id == id)
}

/// The cheapest region to keep something in: by price of storage, then of transfer, then by id.
///
/// ```
/// # use longshore_plugin::{Region, region};
/// let regions = [
///     Region { id: "b".into(), storage_price_micros_per_gb_month: 1, ..Region::default() },
///     Region { id: "a".into(), storage_price_micros_per_gb_month: 1, ..Region::default() },
/// ];
/// assert_eq!(region::cheapest(regions.iter().filter(|region| region.is_healthy())).unwrap().id, "a");
/// ```
pub fn cheapest<'a>(regions: impl IntoIterator<Item = &'a Region>) -> Option<&'a Region> {
    regions.into_iter().min_by(|one, other| one.price_order().cmp(&other.price_order()))
}

/// The healthy regions that something of the home region may be kept in: the home region and those named, or, where none
/// is named, all of the home region's jurisdiction.
///
/// # Errors
///
/// The name that is not on offer: a misspelt region must not quietly be one that is never used.
pub fn alternatives<'a>(home: &'a Region, regions: &'a [Region], named: &[String]) -> Result<Vec<&'a Region>, String> {
    let mut found = vec![home];
    if named.is_empty() {
        found.extend(regions.iter().filter(|region| region.id != home.id && region.is_in(&home.jurisdiction)));
    }
    for id in named.iter().filter(|id| **id != home.id) {
        found.push(find(regions, id).ok_or_else(|| id.clone())?);
    }
    found.retain(|region| region.is_healthy());
    Ok(found)
}

impl Collection {
    /// The first of these regions that holds its last good backup: what it holds there is not stored again.
    #[must_use]
    pub fn held_in<'a>(&self, regions: &[&'a Region]) -> Option<&'a Region> {
        let held = &self.last_backup.as_ref()?.regions;
        held.iter().find_map(|id| regions.iter().copied().find(|region| region.id == *id))
    }
}

/// The region to keep something in that may move for its price: the cheapest, unless moving there from where it is now
/// would not be paid back by cheaper storage within so many months. So small differences of price move nothing.
///
/// `now` is where it would be kept without moving: the home region, or the region that holds its last backup.
pub fn worth_moving<'a>(
    now: &'a Region,
    candidates: impl IntoIterator<Item = &'a Region>,
    payback_months: u32,
) -> &'a Region {
    let Some(best) = cheapest(candidates) else { return now };
    let saved = now.storage_price_micros_per_gb_month.saturating_sub(best.storage_price_micros_per_gb_month);
    let transfer = if best.home { 0 } else { best.transfer_price_micros_per_gb };
    if saved > 0 && saved.saturating_mul(u64::from(payback_months)) >= transfer { best } else { now }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn region(id: &str, storage: u64, transfer: u64) -> Region {
        Region {
            id: id.to_owned(),
            storage_price_micros_per_gb_month: storage,
            transfer_price_micros_per_gb: transfer,
            ..Region::default()
        }
    }

    #[test]
    fn the_cheapest_is_by_storage_then_transfer_then_id_and_home_needs_no_transfer() {
        let home = Region { home: true, ..region("z", 5, 9) };
        let regions = [region("d", 6, 0), region("c", 5, 2), region("b", 5, 1), region("a", 5, 1), home.clone()];
        assert_eq!(cheapest(&regions[..4]).unwrap().id, "a");
        assert_eq!(cheapest(&regions).unwrap().id, "z");
        assert_eq!(cheapest(&[]), None);
    }

    #[test]
    fn moving_has_to_pay_back() {
        let now = region("now", 20, 0);
        let [near, far] = [region("near", 19, 3), region("far", 10, 30)];
        assert_eq!(worth_moving(&now, [&near], 3).id, "near");
        assert_eq!(worth_moving(&now, [&near], 2).id, "now");
        assert_eq!(worth_moving(&now, [&near, &far], 3).id, "far");
        assert_eq!(worth_moving(&now, [&region("same", 20, 0)], 100).id, "now", "no gain, no move");
        assert_eq!(worth_moving(&now, [], 3).id, "now");
        let home = Region { home: true, ..region("home", 19, 1_000) };
        assert_eq!(worth_moving(&now, [&home], 1).id, "home");
    }

    #[test]
    fn alternatives_are_what_is_named_or_else_what_lies_in_the_home_jurisdiction() {
        let in_eu = |id: &str| Region { jurisdiction: "eu".to_owned(), ..region(id, 1, 0) };
        let home = Region { home: true, ..in_eu("home") };
        let ill = Region { health: RegionHealth::Degraded, ..in_eu("ill") };
        let regions =
            [home.clone(), in_eu("near"), ill, Region { jurisdiction: "us".to_owned(), ..region("far", 1, 0) }];
        let ids = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|id| (*id).to_owned()).collect();
            alternatives(&home, &regions, &named)
                .map(|found| found.iter().map(|region| region.id.clone()).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[]).unwrap(), ["home", "near"]);
        assert_eq!(ids(&["far", "ill", "home"]).unwrap(), ["home", "far"]);
        assert_eq!(ids(&["far", "mars"]).unwrap_err(), "mars");
        let stateless = Region { home: true, ..region("home", 1, 0) };
        assert_eq!(
            alternatives(&stateless, &[region("other", 1, 0)], &[]).unwrap().len(),
            1,
            "no jurisdiction is no common one"
        );
    }

    #[test]
    fn a_collection_is_held_by_the_first_region_of_its_last_backup_that_is_there() {
        let (near, far) = (region("near", 0, 0), region("far", 0, 0));
        let regions = ["gone", "far", "near"].map(str::to_owned).to_vec();
        let held = Collection {
            last_backup: Some(crate::LastBackup { regions, ..crate::LastBackup::default() }),
            ..Collection::default()
        };
        assert_eq!(held.held_in(&[&near, &far]).unwrap().id, "far");
        assert_eq!(held.held_in(&[]), None);
        assert_eq!(Collection::default().held_in(&[&near]), None);
    }

    #[test]
    fn a_region_without_a_jurisdiction_is_in_none() {
        let eu = Region { jurisdiction: " EU ".to_owned(), ..Region::default() };
        assert!(eu.is_in("eu") && eu.is_in(" Eu") && !eu.is_in("us"));
        assert!(!Region::default().is_in("") && !Region::default().is_in("eu"));
    }

    #[test]
    fn home_is_what_is_marked_or_else_what_is_named() {
        let run = Run { home_region: "b".to_owned(), ..Run::default() };
        let mut regions = [region("a", 0, 0), region("b", 0, 0)];
        assert_eq!(run.home(&regions).unwrap().id, "b");
        regions[0].home = true;
        assert_eq!(run.home(&regions).unwrap().id, "a");
        assert_eq!(run.home(&regions[2..]), None);
    }

    #[test]
    fn degraded_is_usable_and_not_healthy() {
        use RegionHealth::{Degraded, Healthy, Unreachable};
        let states = [Healthy, Degraded, Unreachable].map(|health| Region { health, ..Region::default() });
        assert_eq!(states.each_ref().map(Region::is_usable), [true, true, false]);
        assert_eq!(states.each_ref().map(Region::is_healthy), [true, false, false]);
    }
}
