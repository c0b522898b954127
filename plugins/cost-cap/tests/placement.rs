//! Where it is cheapest.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_cost_cap::CostCap;
use longshore_plugin::{Collection, LastBackup, PlacementPolicy, Region, RegionHealth, Run};

fn region(id: &str, jurisdiction: &str, storage: u64, transfer: u64) -> Region {
    Region {
        id: id.to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        home: id == "eu-1",
        storage_price_micros_per_gb_month: storage,
        transfer_price_micros_per_gb: transfer,
        ..Region::default()
    }
}

fn regions() -> Vec<Region> {
    vec![region("eu-1", "eu", 20, 0), region("eu-2", "eu", 10, 30), region("us-1", "us", 1, 0)]
}

fn place(more: &str, collection: Collection, regions: &[Region]) -> Option<(String, String)> {
    let run = Run::default().with_settings(format!(r#"{{"storage_price_micros_per_gb_month": 20 {more}}}"#));
    let answer = CostCap::place(&run, &[collection], regions).unwrap();
    answer.get(1).map(|placed| (placed.region.clone(), placed.reason.code.clone()))
}

fn placed(region: &str, code: &str) -> Option<(String, String)> {
    Some((region.to_owned(), code.to_owned()))
}

#[test]
fn it_moves_within_its_jurisdiction_where_that_pays_and_further_only_to_what_is_named() {
    let docs = || Collection::named(1, "default", "docs");
    assert_eq!(place("", docs(), &regions()), placed("eu-2", "cheaper-region"));
    assert_eq!(place(r#", "payback_months": 2"#, docs(), &regions()), placed("eu-1", "stays"));
    assert_eq!(place(r#", "regions": ["us-1"]"#, docs(), &regions()), placed("us-1", "cheaper-region"));
    let last_backup = Some(LastBackup { regions: vec!["eu-2".to_owned()], ..LastBackup::default() });
    assert_eq!(place("", Collection { last_backup, ..docs() }, &regions()), placed("eu-2", "stays"));
}

#[test]
fn an_unhealthy_home_region_is_left_to_the_next_policy_and_an_unhealthy_cheap_one_is_not_used() {
    let docs = || Collection::named(1, "default", "docs");
    for (ill, expected) in [(0, None), (1, placed("eu-1", "stays"))] {
        let mut regions = regions();
        regions[ill].health = RegionHealth::Degraded;
        assert_eq!(place("", docs(), &regions), expected);
    }
}

#[test]
fn a_region_that_the_project_does_not_have_is_refused_by_name() {
    let settings = r#"{"storage_price_micros_per_gb_month": 20, "regions": ["mars-1"]}"#;
    let refusal = CostCap::place(&Run::default().with_settings(settings), &[], &regions()).unwrap_err();
    assert_eq!(refusal.reason.code, "region-not-offered");
    assert!(refusal.reason.message.contains("mars-1"), "{}", refusal.reason.message);
}
