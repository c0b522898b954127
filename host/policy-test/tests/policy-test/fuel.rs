//! Recorded fuel.

use longshore_policy_test::cases::{FuelBaseline, TestOptions};
use longshore_policy_test::{Subject, report};

use crate::support::{Fake, outcome, selected, trapped, write};

const CASE: &str = "[[collection]]\nname = \"a\"\n[[expect]]\nselected = true";

/// A plugin that takes so much fuel.
fn costing(fuel_used: u64) -> Subject {
    Fake::new()
        .select_pages(move |_, _| {
            Ok(longshore_policy::Outcome { fuel_used, ..outcome(vec![(0, selected(true, "all"))]) })
        })
        .subject()
}

#[test]
fn a_case_that_takes_more_than_is_recorded_fails_and_less_passes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "one.toml", CASE);
    let first = costing(1_000).test(folder).unwrap();
    assert!(first.failed == 0 && first.cases[0].fuel_recorded.is_none());
    first.baseline(&FuelBaseline::read(folder).unwrap()).write(folder).unwrap();
    assert_eq!(FuelBaseline::read(folder).unwrap().fuel["one"], 1_000);
    for (fuel, failed) in [(1_000, 0), (500, 0), (1_100, 0), (1_101, 1)] {
        assert_eq!(costing(fuel).test(folder).unwrap().failed, failed, "{fuel}");
    }
    let slower = costing(1_500).test(folder).unwrap();
    assert_eq!(slower.cases[0].mismatches[0].found, "1500, 50 % more");
    insta::assert_snapshot!(report::test(&slower).replace(&folder.display().to_string(), "cases"));
    // A slower case that is as expected otherwise can be recorded anew.
    assert_eq!(slower.baseline(&FuelBaseline::default()).fuel["one"], 1_500);
    let options = TestOptions { tolerance_percent: Some(50), ..TestOptions::default() };
    assert_eq!(costing(1_500).test_with(&[folder], &options).unwrap().failed, 0);
}

#[test]
fn cases_that_fail_are_not_recorded_and_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "one.toml", "[[collection]]\nname = \"a\"\n[[expect]]\nselected = false");
    write(folder.path(), "two.toml", "[[collection]]\nname = \"a\"\n[[expect]]\nerror = \"trapped\"");
    let before = FuelBaseline { tolerance_percent: 3, fuel: [("gone".to_owned(), 5), ("one".to_owned(), 6)].into() };
    let after = costing(1).test(folder.path()).unwrap().baseline(&before);
    assert_eq!(
        (after.tolerance_percent, after.fuel.into_iter().collect::<Vec<_>>()),
        (3, vec![("gone".to_owned(), 5)])
    );
    let trapping = Fake::new().select_pages(|_, _| Err(trapped())).subject().test(folder.path()).unwrap();
    assert!(trapping.cases.iter().all(|case| case.fuel_used.is_none()));
}
