//! Where a tier is kept, and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::time::DAY_MS;
use longshore_plugin::{
    Collection, LastBackup, Placed, PlacementPolicy, Refusal, Region, RegionHealth, Run, RunTrigger,
};
use longshore_tiered::Tiered;

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
    vec![
        region("eu-1", "eu", 20, 0),
        region("eu-2", "eu", 10, 30),
        region("eu-3", "eu", 19, 30),
        region("us-1", "us", 1, 0),
    ]
}

fn unwritten_for(days: u64) -> Collection {
    Collection { last_write_time_ms: Some((100 - days) * DAY_MS), ..Collection::named(1, "default", "docs") }
}

fn place(settings: &str, collection: Collection, regions: &[Region]) -> Result<Option<Placed>, Refusal> {
    let run = Run { time_ms: 100 * DAY_MS, trigger: RunTrigger::Automatic, ..Run::default() }.with_settings(settings);
    let answer = Tiered::place(&run, &[collection], regions)?;
    assert_eq!(answer.refused_by_host(&[1]), None);
    Ok(answer.get(1).cloned())
}

fn place_default(collection: Collection) -> Option<(String, String, Option<u32>)> {
    let placed = place("{}", collection, &regions()).unwrap()?;
    Some((placed.region, placed.reason.code, placed.retention_days))
}

fn placed(region: &str, code: &str, days: u32) -> Option<(String, String, Option<u32>)> {
    Some((region.to_owned(), code.to_owned(), Some(days)))
}

#[test]
fn cold_goes_where_it_pays_in_its_own_jurisdiction_and_hot_is_left_to_others() {
    assert_eq!(place_default(unwritten_for(1)), None);
    assert_eq!(place_default(unwritten_for(8)), placed("eu-1", "warm", 2));
    assert_eq!(place_default(unwritten_for(40)), placed("eu-2", "cold-cheaper-region", 14));
}

#[test]
fn it_stays_where_moving_does_not_pay() {
    let patient = |months: u32| {
        let settings = format!(r#"{{"payback_months": {months}}}"#);
        place(&settings, unwritten_for(40), &regions()).unwrap().unwrap().region
    };
    assert_eq!((patient(2).as_str(), patient(3).as_str()), ("eu-1", "eu-2"));
    // What an earlier backup holds in eu-3 would be stored anew in eu-2: 9 a month saved, 30 to pay.
    let last_backup = Some(LastBackup { regions: vec!["eu-3".to_owned()], ..LastBackup::default() });
    assert_eq!(place_default(Collection { last_backup, ..unwritten_for(40) }), placed("eu-3", "cold-stays", 14));
}

#[test]
fn other_jurisdictions_are_for_those_who_name_their_regions() {
    let settings = r#"{"cold_regions": ["us-1"]}"#;
    assert_eq!(place(settings, unwritten_for(40), &regions()).unwrap().unwrap().region, "us-1");
    let refusal = place(r#"{"cold_regions": ["us-9"]}"#, unwritten_for(40), &regions()).unwrap_err();
    assert_eq!(refusal.reason.code, "cold-region-not-offered");
    assert!(refusal.reason.message.contains("us-9"), "{}", refusal.reason.message);
}

#[test]
fn an_unhealthy_home_region_is_left_to_the_next_policy_and_an_unhealthy_cheap_one_is_not_used() {
    let mut ill = regions();
    ill[0].health = RegionHealth::Degraded;
    assert_eq!(place("{}", unwritten_for(40), &ill).unwrap(), None);
    let mut ill = regions();
    ill[1].health = RegionHealth::Degraded;
    assert_eq!(place("{}", unwritten_for(40), &ill).unwrap().unwrap().region, "eu-1");
}

#[test]
fn a_backup_is_kept_for_twice_its_pace_but_a_manual_one_as_ever() {
    let settings = r#"{"cold_every_hours": 25}"#;
    assert_eq!(place(settings, unwritten_for(40), &regions()).unwrap().unwrap().retention_days, Some(3));
    let run = Run { time_ms: 100 * DAY_MS, trigger: RunTrigger::Manual, ..Run::default() };
    let answer = Tiered::place(&run, &[unwritten_for(40)], &regions()).unwrap();
    assert_eq!(answer.get(1).unwrap().retention_days, None);
}
