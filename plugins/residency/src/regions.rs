//! Regions by jurisdiction. The order in which the host offers regions never matters.

use longshore_plugin::{Region, RegionHealth};

/// A jurisdiction as it is compared: lower case, without spaces around it.
pub(crate) fn normalized(jurisdiction: &str) -> String {
    jurisdiction.trim().to_lowercase()
}

/// The regions of one jurisdiction, the best first: healthy before degraded, home first among these, then by price of
/// storage, price of transfer, id.
pub(crate) fn of_jurisdiction<'a>(regions: &'a [Region], jurisdiction: &str) -> Vec<&'a Region> {
    let mut found: Vec<&Region> = regions.iter().filter(|region| region.is_in(jurisdiction)).collect();
    let order = |region: &&Region| (health_rank(region.health), !region.home);
    found.sort_by(|one, other| order(one).cmp(&order(other)).then_with(|| one.price_order().cmp(&other.price_order())));
    found
}

fn health_rank(health: RegionHealth) -> u8 {
    match health {
        RegionHealth::Healthy => 0,
        RegionHealth::Degraded => 1,
        RegionHealth::Unreachable => 2,
    }
}

/// The regions on offer as a person reads them, in order of id.
pub(crate) fn on_offer(regions: &[Region]) -> String {
    if regions.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<String> = regions
        .iter()
        .map(|region| match normalized(&region.jurisdiction) {
            jurisdiction if jurisdiction.is_empty() => format!("{} (no jurisdiction)", region.id),
            jurisdiction => format!("{} ({jurisdiction})", region.id),
        })
        .collect();
    names.sort();
    names.join(", ")
}
