#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const NOW: &str = "2024-07-31T12:00:00Z";

fn time(text: &str) -> Timestamp {
    // `2024-07-31`, or with an hour: `2024-07-31T10`.
    let text = if text.contains('T') { format!("{text}:00:00Z") } else { format!("{text}T03:00:00Z") };
    text.parse().unwrap()
}

fn auto(number: u32, created: Timestamp) -> RetainedBackup {
    RetainedBackup {
        backup_id: format!("backup0_{number:04x}").parse().unwrap(),
        cluster_id: "in01-a".parse().unwrap(),
        home_region: "eu".parse().unwrap(),
        created,
        creation_method: CreationMethod::Auto,
        backup_type: BackupType::Cluster,
        expires: None,
        damage: None,
    }
}

/// Backups from words: `2024-07-31`, and after it `m` made by hand, `x` damaged, `e2024-08-01` its own expiry,
/// `c` of another cluster, `p` of chosen
/// collections.
fn backups(words: &str) -> Vec<RetainedBackup> {
    let one = |(number, word): (u32, &str)| {
        let mut parts = word.split('/');
        let mut backup = auto(number, time(parts.next().unwrap()));
        for mark in parts {
            match mark.split_at(1) {
                ("m", _) => backup.creation_method = CreationMethod::Manual,
                ("x", _) => backup.damage = Some("a part is missing".to_owned()),
                ("p", _) => backup.backup_type = BackupType::Collection,
                ("c", _) => backup.cluster_id = "in01-b".parse().unwrap(),
                ("e", expires) => backup.expires = Some(time(expires)),
                other => panic!("{other:?}"),
            }
        }
        backup
    };
    (1..).zip(words.split_whitespace()).map(one).collect()
}

fn rules(text: &str) -> RetentionRules {
    let mut rules = RetentionRules::default();
    for word in text.split_whitespace() {
        let (name, count) = word.split_once('=').unwrap();
        let place = match name {
            "days" => &mut rules.days,
            "last" => &mut rules.keep_last,
            "daily" => &mut rules.keep_daily,
            "weekly" => &mut rules.keep_weekly,
            "monthly" => &mut rules.keep_monthly,
            "yearly" => &mut rules.keep_yearly,
            other => panic!("{other}"),
        };
        *place = count.parse().unwrap();
    }
    rules
}

const WEEK: &str = "2024-07-31 2024-07-30 2024-07-29 2024-07-28 2024-07-27";

#[test]
fn every_decision_is_explained() {
    let cases = [
        ("no rules delete nothing", "", WEEK),
        ("no backups", "last=3", ""),
        ("the last two", "last=2", WEEK),
        ("the last of more than there are", "last=9", "2024-07-31 2024-07-30"),
        ("days alone", "days=3", WEEK),
        ("one day", "days=1", WEEK),
        ("exactly as old as the rule is too old", "days=1", "2024-07-31T12 2024-07-30T12 2024-07-30T13"),
        ("days and last", "days=2 last=3", WEEK),
        ("daily takes the newest of each day", "daily=2", "2024-07-31T10 2024-07-31T02 2024-07-30T23 2024-07-30T01"),
        ("a day without a backup does not count", "daily=3", "2024-07-31 2024-07-28 2024-07-20 2024-07-10"),
        ("midnight in UTC parts two days", "daily=5", "2024-07-31T00 2024-07-30T23"),
        ("weeks begin on Monday", "weekly=2", "2024-07-29 2024-07-28 2024-07-22 2024-07-21"),
        ("four weeks", "weekly=4", "2024-07-31 2024-07-24 2024-07-17 2024-07-10 2024-07-03"),
        ("the first days of 2021 are week 53 of 2020", "weekly=1", "2021-01-03 2020-12-28"),
        ("and 4 January 2021 is a new week", "weekly=1", "2021-01-04 2021-01-03"),
        ("the last days of 2019 are week 1 of 2020", "weekly=2", "2020-01-01 2019-12-30 2019-12-29"),
        ("the same week of another year is another week", "weekly=2", "2024-07-24 2023-07-26"),
        ("months", "monthly=2", "2024-07-31 2024-07-01 2024-06-30 2024-06-01 2024-05-31"),
        ("the same month of another year is another month", "monthly=2", "2024-07-15 2023-07-15"),
        ("years", "yearly=2", "2024-07-31 2024-01-01 2023-12-31 2023-01-01 2022-06-01"),
        ("a leap day", "daily=2 monthly=2", "2024-03-01 2024-02-29 2024-02-28"),
        ("one backup satisfies several rules", "last=1 daily=1 weekly=1 monthly=1 yearly=1", WEEK),
        (
            "a usual set",
            "days=2 last=2 daily=3 weekly=2 monthly=3 yearly=2",
            "2024-07-31T11 2024-07-31 2024-07-30 2024-07-29 2024-07-22 2024-07-15 2024-06-30 2024-05-31 2024-04-30 \
             2023-12-31 2022-12-31",
        ),
        ("made by hand never goes", "last=1", "2024-07-31 2020-01-01/m 2020-01-02"),
        ("made by hand takes no place", "last=1", "2024-07-31/m 2024-07-30 2024-07-29"),
        ("made by hand with an expiry that passed", "last=1", "2024-07-31 2020-01-01/m/e2020-02-01"),
        ("damaged takes no place and stays", "last=1", "2024-07-31/x 2024-07-30 2024-07-29"),
        ("damaged takes no place in a day", "daily=1", "2024-07-31T10/x 2024-07-31T02 2024-07-30"),
        ("nothing but damaged ones", "last=1", "2024-07-31/x 2024-07-30/x"),
        ("its own later expiry keeps it", "last=1", "2024-07-31 2024-07-01/e2024-08-30 2024-07-02"),
        ("its own expiry passed", "last=1", "2024-07-31 2024-07-01/e2024-07-30"),
        ("a rule keeps what expired", "last=2", "2024-07-31 2024-07-01/e2024-07-30"),
        ("what expired goes without rules too", "", "2024-07-31 2024-07-01/e2024-07-30"),
        ("the newest whole one stays whatever the rules say", "days=3", "2024-05-02/x 2024-05-01 2024-04-01"),
        ("the newest stays although it expired", "days=3", "2024-05-01/e2024-05-04 2024-04-01/e2024-04-04"),
        ("a newest one made by hand is one", "days=3", "2024-05-01/m 2024-04-01"),
        ("chosen collections are no substitute", "last=1", "2024-07-31/p 2024-07-30 2024-07-29 2020-01-01/p"),
        ("each cluster on its own", "last=1", "2024-07-31 2024-07-30 2024-07-30/c 2024-07-29/c"),
        ("two of the same moment", "last=1", "2024-07-31 2024-07-31"),
        ("from the future", "days=1 last=1", "2024-08-02 2024-08-01 2024-07-20"),
    ];
    let mut text = String::new();
    for (name, given, words) in cases {
        let rules = rules(given);
        writeln!(text, "{name}\n  rules: {}", if given.is_empty() { "none" } else { given }).unwrap();
        for decision in decide_retention(&backups(words), &|_| rules, NOW.parse().unwrap()) {
            let RetentionDecision { backup_id, cluster_id, created, reason, .. } = decision;
            writeln!(text, "  {cluster_id} {backup_id} {created} {reason}").unwrap();
        }
        text.push('\n');
    }
    insta::assert_snapshot!(text.trim_end());
}

#[test]
fn rules_are_read_strictly() {
    let read: RetentionRules = toml::from_str("days = 30\nkeep_weekly = 4").unwrap();
    assert_eq!(read, rules("days=30 weekly=4"));
    assert!(toml::from_str::<RetentionRules>("keep_hourly = 4").is_err());
    assert!(toml::from_str::<RetentionRules>("keep_last = -1").is_err());
}

fn any_rules() -> impl Strategy<Value = RetentionRules> {
    let count = || prop_oneof![3 => Just(0_u32), 5 => 1..6_u32, 1 => Just(u32::MAX)];
    (prop_oneof![2 => Just(0_u32), 2 => 1..400_u32], count(), count(), count(), count(), count()).prop_map(
        |(days, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly)| RetentionRules {
            days,
            keep_last,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
        },
    )
}

fn any_backups() -> impl Strategy<Value = Vec<RetainedBackup>> {
    let now = NOW.parse::<Timestamp>().unwrap();
    // Hours back, mostly close together so that days and weeks are shared.
    let hours = prop_oneof![3 => 0..100_i64, 3 => 0..3_000_i64, 1 => -50..30_000_i64];
    let marks = (0..10_u8, 0..10_u8, 0..10_u8, 0..10_u8, -60..60_i64, 0..4_u8);
    let one = (hours, marks).prop_map(move |(hours, (manual, chosen, damaged, expiring, days, cluster))| {
        let mut backup = auto(0, now.plus_millis(-hours * 3_600_000));
        if manual == 0 {
            backup.creation_method = CreationMethod::Manual;
        }
        if chosen == 0 {
            backup.backup_type = BackupType::Collection;
        }
        backup.damage = (damaged == 0).then(|| "lost".to_owned());
        backup.expires = (expiring < 3).then(|| now.plus_millis(days * DAY_MS));
        if cluster == 0 {
            backup.cluster_id = "in01-b".parse().unwrap();
        }
        backup
    });
    proptest::collection::vec(one, 0..40).prop_map(|mut backups| {
        for (number, backup) in backups.iter_mut().enumerate() {
            backup.backup_id = format!("backup0_{number:04x}").parse().unwrap();
        }
        backups
    })
}

fn going(backups: &[RetainedBackup], rules: RetentionRules) -> BTreeSet<BackupId> {
    let decisions = decide_retention(backups, &|_| rules, NOW.parse().unwrap());
    assert_eq!(decisions.len(), backups.len(), "one decision per backup");
    decisions.into_iter().filter(|decision| decision.goes).map(|decision| decision.backup_id).collect()
}

proptest! {
    #[test]
    fn more_rules_never_delete_more(backups in any_backups(), one in any_rules(), other in any_rules()) {
        prop_assume!(!one.is_empty());
        let more = RetentionRules {
            days: one.days.max(other.days),
            keep_last: one.keep_last.max(other.keep_last),
            keep_daily: one.keep_daily.max(other.keep_daily),
            keep_weekly: one.keep_weekly.max(other.keep_weekly),
            keep_monthly: one.keep_monthly.max(other.keep_monthly),
            keep_yearly: one.keep_yearly.max(other.keep_yearly),
        };
        prop_assert!(going(&backups, more).is_subset(&going(&backups, one)));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(backups in any_backups(), rules in any_rules(), turn in 0..40_usize) {
        let mut other = backups.clone();
        other.reverse();
        let turn = if other.is_empty() { 0 } else { turn % other.len() };
        other.rotate_left(turn);
        let now = NOW.parse().unwrap();
        prop_assert_eq!(decide_retention(&backups, &|_| rules, now), decide_retention(&other, &|_| rules, now));
    }

    #[test]
    fn running_twice_deletes_nothing_more(backups in any_backups(), rules in any_rules()) {
        let gone = going(&backups, rules);
        let left: Vec<RetainedBackup> =
            backups.into_iter().filter(|backup| !gone.contains(&backup.backup_id)).collect();
        prop_assert_eq!(going(&left, rules), BTreeSet::new());
    }

    #[test]
    fn what_no_rule_may_delete_never_goes(backups in any_backups(), rules in any_rules()) {
        let gone = going(&backups, rules);
        let now: Timestamp = NOW.parse().unwrap();
        for backup in &backups {
            let safe = backup.creation_method == CreationMethod::Manual
                || backup.backup_type == BackupType::Collection
                || backup.damage.is_some()
                || backup.expires.is_some_and(|expires| expires > now);
            prop_assert!(!(safe && gone.contains(&backup.backup_id)));
        }
        for cluster in backups.iter().map(|backup| &backup.cluster_id) {
            let whole = |backup: &&RetainedBackup| {
                let good = backup.damage.is_none() && backup.backup_type == BackupType::Cluster;
                good && backup.cluster_id == *cluster
            };
            let any = backups.iter().any(|backup| whole(&backup));
            let left = backups.iter().filter(whole).any(|backup| !gone.contains(&backup.backup_id));
            prop_assert_eq!(any, left, "a cluster must not be left without a whole backup");
        }
    }
}
