//! Where the default policy keeps backups.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::{Collection, Placed, PlacementPolicy, Refusal, Region, RegionHealth, Run};
use longshore_standard::Standard;

fn region(id: &str, jurisdiction: &str, price: u64, health: RegionHealth) -> Region {
    Region {
        id: id.to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        storage_price_micros_per_gb_month: price,
        home: id == "eu-1",
        health,
        ..Region::default()
    }
}

fn regions(home: RegionHealth) -> Vec<Region> {
    use RegionHealth::{Healthy, Unreachable};
    vec![
        region("eu-1", "eu", 20, home),
        region("us-1", "us", 1, Healthy),
        region("eu-2", "eu", 30, Healthy),
        region("eu-3", "eu", 25, Healthy),
        region("eu-4", "eu", 2, Unreachable),
    ]
}

fn place_with(settings: &str, regions: &[Region]) -> Result<Placed, Refusal> {
    let run = Run { home_region: "eu-1".to_owned(), ..Run::default().with_settings(settings) };
    let page = [Collection::named(3, "default", "docs")];
    Standard::place(&run, &page, regions).map(|mut answer| answer.decisions.remove(0).1)
}

fn place(regions: &[Region]) -> Result<Placed, Refusal> {
    place_with("{}", regions)
}

#[test]
fn the_home_region_is_taken_though_others_are_cheaper() {
    let placed = place(&regions(RegionHealth::Healthy)).unwrap();
    assert_eq!((placed.region.as_str(), placed.reason.code.as_str()), ("eu-1", "home-region"));
    assert!(placed.copies.is_empty());
    assert_eq!(placed.retention_days, None);
}

#[test]
fn while_the_home_region_is_not_healthy_the_cheapest_healthy_one_of_its_jurisdiction_stands_in() {
    for health in [RegionHealth::Degraded, RegionHealth::Unreachable] {
        let mut offered = regions(health);
        for _ in 0..offered.len() {
            offered.rotate_left(1);
            let placed = place(&offered).unwrap();
            assert_eq!((placed.region.as_str(), placed.reason.code.as_str()), ("eu-3", "home-region-not-healthy"));
        }
    }
}

#[test]
fn a_degraded_home_region_is_better_than_none() {
    let only_us = [region("eu-1", "eu", 20, RegionHealth::Degraded), region("us-1", "us", 1, RegionHealth::Healthy)];
    let placed = place(&only_us).unwrap();
    assert_eq!((placed.region.as_str(), placed.reason.code.as_str()), ("eu-1", "home-region-degraded"));
}

#[test]
fn an_unreachable_home_region_without_a_stand_in_in_its_jurisdiction_is_refused() {
    let only_us = [region("eu-1", "eu", 20, RegionHealth::Unreachable), region("us-1", "us", 1, RegionHealth::Healthy)];
    let refusal = place(&only_us).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-available");
    assert_eq!(
        refusal.reason.message,
        "The home region eu-1 is unreachable and no healthy region of the project is in eu. \
         Wait until it is back, or add a region there."
    );
}

#[test]
fn two_regions_without_a_jurisdiction_are_not_in_the_same_one() {
    let unknown = [region("eu-1", "", 20, RegionHealth::Unreachable), region("x-1", "", 1, RegionHealth::Healthy)];
    let refusal = place(&unknown).unwrap_err();
    assert_eq!(refusal.reason.code, "no-region-available");
    assert!(refusal.reason.message.contains("has no jurisdiction"), "{}", refusal.reason.message);
}

#[test]
fn a_home_region_that_the_project_does_not_have_is_refused_by_name() {
    let refusal = place(&[region("us-1", "us", 1, RegionHealth::Healthy)]).unwrap_err();
    assert_eq!(refusal.reason.code, "home-region-not-offered");
    assert!(refusal.reason.message.contains("eu-1"), "{}", refusal.reason.message);
    assert_eq!(place(&[]).unwrap_err().reason.code, "home-region-not-offered");
}

#[test]
fn an_empty_page_needs_no_region() {
    assert!(Standard::place(&Run::default(), &[], &[]).unwrap().decisions.is_empty());
}

#[test]
fn copies_and_retention_come_from_the_settings() {
    let settings = r#"{"retention_days": 14,
        "copies": [{"region": "us-1", "retention_days": 90}, {"region": "eu-4"}, {"region": "us-1"}]}"#;
    let placed = place_with(settings, &regions(RegionHealth::Healthy)).unwrap();
    assert_eq!(placed.retention_days, Some(14));
    let copies: Vec<_> = placed.copies.iter().map(|copy| (copy.region.as_str(), copy.retention_days)).collect();
    assert_eq!(copies, [("us-1", Some(90)), ("eu-4", None)], "one copy a region, also where it is down for now");
}

#[test]
fn the_main_region_gets_no_copy_of_itself() {
    let placed = place_with(r#"{"copies": [{"region": "eu-1"}]}"#, &regions(RegionHealth::Healthy)).unwrap();
    assert!(placed.copies.is_empty());
}

#[test]
fn a_copy_in_a_region_that_the_project_does_not_have_is_refused() {
    let refusal = place_with(r#"{"copies": [{"region": "mars-1"}]}"#, &regions(RegionHealth::Healthy)).unwrap_err();
    assert_eq!(refusal.reason.code, "copy-region-not-offered");
    assert!(refusal.reason.message.contains("mars-1"), "{}", refusal.reason.message);
}
