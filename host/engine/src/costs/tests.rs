//! What a month costs, and what is noted of it.

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
    let spent = |packs: &[(&str, u64)], now: &str| costs.month_spend_micros(&[storage("eu", 30_000, packs)], time(now));
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
    costs.seen.see(&[storage("eu", 30_000, &[(NOON, 5)])], day("2026-09-02T00:00:00Z"));
    costs.seen.see(&[storage("eu", 30_000, &[(NOON, 2)])], day("2026-09-02T00:00:00Z"));
    let now = storage("eu", 30_000, &[("2026-08-01T00:00:00Z", 1)]);
    assert_eq!(costs.month_spend_micros(std::slice::from_ref(&now), time(NOON)), 14_000, "four more on one day");
    // A price that is raised does not make the days before it dearer.
    costs.seen.see(&[storage("eu", 60_000, &[(NOON, 5)])], day("2026-09-03T00:00:00Z"));
    assert_eq!(costs.month_spend_micros(std::slice::from_ref(&now), time(NOON)), 14_000 + 9_000);
    costs.seen.see(&[storage("eu", 1, &[])], day("2027-12-01T00:00:00Z"));
    assert_eq!(costs.month_spend_micros(&[now], time(NOON)), 10_000, "forgotten after a year and a month");
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
    let seen = again.seen.on(&"eu".parse().unwrap(), day(NOON));
    assert_eq!(seen, Some(SeenDay { bytes: 3_000_000_000, price: 1 }));
    assert_eq!(again.seen.on(&"eu".parse().unwrap(), day(NOON) - 1), None);
}

#[test]
fn a_transfer_is_paid_where_bytes_come_into_another_region() {
    let config = r#"
        data_directory = "data"
        project = { id = "proj-a", name = "A" }
        region = [
            { id = "eu", vault = "eu", transfer_price_micros_per_gb = 10000 },
            { id = "us", vault = "us", transfer_price_micros_per_gb = 20000 },
        ]
    "#;
    let config = HostConfig::parse(config, std::path::Path::new("")).unwrap();
    let [eu, us, gone] = ["eu", "us", "gone"].map(|id| id.parse().unwrap());
    let of = |home, to| transfer_micros(&config, home, to, 3_000_000_000);
    assert_eq!((of(&eu, &us), of(&us, &eu), of(&eu, &gone)), (60_000, 30_000, 0));
    assert_eq!((of(&eu, &eu), of(&us, &us)), (0, 0), "what stays at home is not moved");
}

/// A backup of cluster `in01-a` at home in `eu`, with what it has in each region.
fn backup(
    number: u8,
    made: &str,
    deleted: Option<&str>,
    stored: &serde_json::Value,
) -> longshore_catalog::BackupRecord {
    let backup = longshore_catalog::BackupRow {
        id: longshore_model::BackupId::from_random([number; 10]),
        name: format!("A_backup{number}"),
        project: "proj-a".parse().unwrap(),
        cluster: "in01-a".parse().unwrap(),
        cluster_name: "A".to_owned(),
        backup_type: longshore_model::BackupType::Cluster,
        creation_method: longshore_model::CreationMethod::Manual,
        status: match deleted {
            Some(_) => longshore_model::BackupStatus::Deleted,
            None => longshore_model::BackupStatus::Available,
        },
        size_bytes: 1_000_000_000,
        region: "eu".parse().unwrap(),
        created: time(made),
        ended: Some(time(made)),
        expires: None,
        deleted: deleted.map(time),
        purged: None,
        error: None,
    };
    let detail = serde_json::json!({ "stored": stored });
    longshore_catalog::BackupRecord { backup, collections: serde_json::json!([]), detail }
}

#[test]
fn lines_add_up_to_what_policies_are_told_and_copies_pay_their_transfer_once() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).unwrap();
    let project: longshore_model::ProjectId = "proj-a".parse().unwrap();
    catalog.put_project(&project, "A", time(NOON)).unwrap();
    let part = |bytes: u64, since: &str, transfer: u64| serde_json::json!({ "bytes": bytes, "since": since, "until": null, "transferMicros": transfer });
    let gb = 1_000_000_000_u64;
    let mut withdrawn = part(gb, "2026-09-04T00:00:00Z", 0);
    withdrawn["until"] = "2026-09-05T10:00:00Z".into();
    for record in [
        backup(
            1,
            "2026-09-02T01:00:00Z",
            Some("2026-09-06T01:00:00Z"),
            &serde_json::json!({
                "eu": part(2 * gb, "2026-09-02T02:00:00Z", 0), "us": withdrawn,
            }),
        ),
        backup(
            2,
            "2026-09-03T01:00:00Z",
            None,
            &serde_json::json!({
                "eu": part(gb, "2026-09-03T02:00:00Z", 0), "us": part(gb, "2026-09-04T03:00:00Z", 40_000),
            }),
        ),
    ] {
        catalog.record_backup(&record).unwrap();
    }
    let storage = [
        storage("eu", 30_000, &[("2026-09-02T02:00:00Z", 2), ("2026-09-03T02:00:00Z", 1)]),
        storage("us", 60_000, &[("2026-09-04T03:00:00Z", 2)]),
    ];
    let all = longshore_model::KeyScope::All;
    let ask = |by: &str, start: Option<&str>, end: Option<&str>| {
        let group_by = by.parse().unwrap();
        let query = CostQuery { start: start.map(time), end: end.map(time), group_by, ..CostQuery::default() };
        report(&project, &storage, &catalog, (&query, &all), time(NOON)).unwrap()
    };
    let told = RunCosts::default().month_spend_micros(&storage, time(NOON));
    for by in ["day", "region", "cluster", "backup", "day,region,cluster,backup", "month"] {
        let report = ask(by, None, None);
        assert_eq!((report.storage_cost_micros, report.transfer_cost_micros), (told, 40_000), "{by}");
        let bytes: u64 = report.costs.iter().map(|line| line.stored_byte_days).sum();
        // eu: 2 GB on one day, then 3 GB for eight; us: 2 GB for seven.
        assert_eq!(bytes, (2 + 3 * 8 + 2 * 7) * gb, "{by}");
    }
    let lines = ask("region,backup", None, None).costs;
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let (region, name) = (line.region_id.as_ref().unwrap().as_str(), line.backup_name.as_deref().unwrap());
            (region, name, line.stored_byte_days / gb, line.transfer_cost_micros)
        })
        .collect();
    let expected = [
        // Its own two gigabytes from the 2nd to the 6th; then the later one, which still uses them, bears them, too.
        ("eu", "A_backup1", 10, 0),
        ("eu", "A_backup2", 4 + 3 * 4, 0),
        // Withdrawn on the 5th.
        ("us", "A_backup1", 2, 0),
        ("us", "A_backup2", 2 + 2 * 5, 40_000),
    ];
    assert_eq!(seen, expected);
    let one_day = ask("day", Some("2026-09-02T23:59:59Z"), Some("2026-09-02T23:59:59Z"));
    assert_eq!((one_day.start, one_day.end), (time("2026-09-02T00:00:00Z"), time("2026-09-02T23:59:59Z")));
    assert_eq!(one_day.storage_cost_micros, 2_000, "a day is paid whole, whatever part of it is asked for");
    let months = ask("month", Some("2026-08-20T00:00:00Z"), None).costs;
    assert_eq!(months.iter().map(|line| line.month.as_deref().unwrap()).collect::<Vec<_>>(), ["2026-09"]);
    let narrow = longshore_model::KeyScope::of([], ["in01-b".parse().unwrap()]);
    let query = CostQuery::default();
    let nothing = report(&project, &storage, &catalog, (&query, &narrow), time(NOON)).unwrap();
    assert_eq!((nothing.costs.len(), nothing.storage_cost_micros), (0, 0));
    let silent = [RegionStorage { stored: None, ..storage[0].clone() }];
    let unknown = report(&project, &silent, &catalog, (&query, &all), time(NOON)).unwrap();
    assert_eq!(unknown.unknown_regions, ["eu".parse().unwrap()]);
}
