//! Which collections are due.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::time::{DAY_MS, HOUR_MS};
use longshore_plugin::{Collection, LastBackup, Run, RunTrigger, Selected, SelectionPolicy};
use longshore_tiered::Tiered;
use proptest::prelude::*;

const NOW_MS: u64 = 20_000 * DAY_MS;

fn automatic() -> Run {
    Run { time_ms: NOW_MS, trigger: RunTrigger::Automatic, ..Run::default() }
}

/// Written to and backed up so long ago.
fn aged(written_ms: u64, backed_up_ms: u64) -> Collection {
    let last_backup = LastBackup { time_ms: NOW_MS - backed_up_ms, ..LastBackup::default() };
    Collection {
        last_write_time_ms: Some(NOW_MS - written_ms),
        last_backup: Some(last_backup),
        ..Collection::named(4, "default", "docs")
    }
}

fn select(run: &Run, collection: Collection) -> Selected {
    let answer = Tiered::select(run, &[collection]).unwrap();
    assert_eq!(answer.refused_by_host(&[4]), None);
    answer.decisions.into_iter().next().unwrap().1
}

fn code(run: &Run, collection: Collection) -> (bool, String) {
    let selected = select(run, collection);
    (selected.include_collection, selected.reason.code)
}

fn included(code: &str) -> (bool, String) {
    (true, code.to_owned())
}

fn left_out(code: &str) -> (bool, String) {
    (false, code.to_owned())
}

#[test]
fn each_tier_has_its_pace_and_its_priority() {
    let run = automatic();
    assert_eq!(code(&run, aged(DAY_MS, 1)), included("hot"));
    assert_eq!(code(&run, aged(8 * DAY_MS, 21 * HOUR_MS)), left_out("warm-not-due"));
    assert_eq!(code(&run, aged(8 * DAY_MS, 22 * HOUR_MS)), included("warm-due"));
    assert_eq!(code(&run, aged(30 * DAY_MS, 6 * DAY_MS)), left_out("cold-not-due"));
    assert_eq!(code(&run, aged(30 * DAY_MS, 7 * DAY_MS)), included("cold-due"));
    let priorities = [DAY_MS, 8 * DAY_MS, 30 * DAY_MS].map(|age| select(&run, aged(age, 7 * DAY_MS)).priority);
    assert_eq!(priorities, [10, 0, -10]);
}

#[test]
fn a_tier_begins_at_its_day() {
    let run = automatic();
    assert_eq!(code(&run, aged(7 * DAY_MS - 1, 7 * DAY_MS)).1, "hot");
    assert_eq!(code(&run, aged(7 * DAY_MS, 7 * DAY_MS)).1, "warm-due");
    assert_eq!(code(&run, aged(30 * DAY_MS - 1, 7 * DAY_MS)).1, "warm-due");
    assert_eq!(code(&run, aged(30 * DAY_MS, 7 * DAY_MS)).1, "cold-due");
}

#[test]
fn a_run_after_which_it_would_be_too_late_is_the_time() {
    let next_in = |hours: u64| Run { next_run_time_ms: Some(NOW_MS + hours * HOUR_MS), ..automatic() };
    let cold = aged(30 * DAY_MS, 6 * DAY_MS);
    assert_eq!(code(&next_in(24), cold.clone()), left_out("cold-not-due"));
    assert_eq!(code(&next_in(25), cold), included("cold-due"));
}

#[test]
fn a_property_or_label_names_the_tier_and_a_word_that_is_none_is_hot() {
    let run = automatic();
    let named = |word: &str| Collection { labels: vec![("backup.tier".into(), word.into())], ..aged(DAY_MS, DAY_MS) };
    assert_eq!(code(&run, named(" COLD ")), left_out("cold-not-due"));
    assert_eq!(code(&run, named("icy")), included("hot"));
    assert!(select(&run, named("icy")).reason.message.contains("none of hot, warm and cold"));
    let other = Run { settings_json: r#"{"tier_property": "tier"}"#.to_owned(), ..run };
    assert_eq!(code(&other, named("cold")), included("hot"));
}

#[test]
fn nothing_is_left_out_that_was_asked_for_protected_or_never_backed_up() {
    let cold = aged(90 * DAY_MS, HOUR_MS);
    assert_eq!(code(&automatic(), cold.clone()), left_out("cold-not-due"));
    assert_eq!(code(&Run { trigger: RunTrigger::Manual, ..automatic() }, cold.clone()), included("manual-run"));
    assert_eq!(code(&automatic(), Collection { protected: true, ..cold.clone() }), included("protected"));
    assert_eq!(code(&automatic(), Collection { last_backup: None, ..cold }), included("first-backup"));
    let unknown = Collection { last_write_time_ms: None, ..aged(0, HOUR_MS) };
    assert_eq!(code(&automatic(), unknown), included("hot"));
}

#[test]
fn a_stricter_recovery_point_quickens_the_pace_of_what_has_changed() {
    let cold = Collection {
        labels: vec![("backup.tier".into(), "cold".into())],
        recovery_point_objective_seconds: Some(24 * 3_600),
        ..aged(HOUR_MS, 2 * DAY_MS)
    };
    assert_eq!(code(&automatic(), cold.clone()), included("cold-due"));
    let unchanged = Collection { last_write_time_ms: Some(NOW_MS - 3 * DAY_MS), ..cold };
    assert_eq!(code(&automatic(), unchanged), left_out("cold-not-due"));
}

#[test]
fn index_files_are_for_hot_collections_where_the_settings_say_so() {
    let run = automatic().with_settings(r#"{"hot_index_files": true}"#);
    assert!(select(&run, aged(1, 1)).include_index_files);
    assert!(!select(&run, aged(30 * DAY_MS, 30 * DAY_MS)).include_index_files);
    assert!(!select(&automatic(), aged(1, 1)).include_index_files);
}

#[test]
fn what_is_left_out_is_told_when_it_was_and_will_be_backed_up() {
    let message = select(&automatic(), aged(45 * DAY_MS, 3 * DAY_MS)).reason.message;
    let expected = "Its good backup of 2024-10-01 is 3 days old, and the next one is made after 7 days; it is cold: \
                    nobody wrote to it for 45 days.";
    assert_eq!(message, expected);
}

proptest! {
    #[test]
    fn with_runs_every_hour_no_backup_gets_older_than_the_pace_and_no_page_order_matters(
        written in 0..60 * DAY_MS, backed_up in 0..60 * DAY_MS, hours in 1..300_u64,
    ) {
        let run = Run { next_run_time_ms: Some(NOW_MS + HOUR_MS), ..automatic() }
            .with_settings(format!(r#"{{"warm_every_hours": {hours}, "cold_every_hours": {hours}}}"#));
        let (one, other) = (aged(written, backed_up), Collection { id: 5, ..aged(backed_up, written) });
        let answer = Tiered::select(&run, &[one.clone(), other.clone()]).unwrap();
        let turned = Tiered::select(&run, &[other, one]).unwrap();
        prop_assert_eq!(answer.get(4), turned.get(4));
        let selected = answer.get(4).unwrap();
        prop_assert!(selected.include_collection || backed_up + HOUR_MS <= hours * HOUR_MS);
    }
}
