//! Measurements.

use std::time::Duration;

use longshore_policy_test::{BenchOptions, Setup};

use crate::support::{Fake, outcome, plain, selected, trapped};

fn options(sizes: &[usize]) -> BenchOptions {
    BenchOptions { sizes: sizes.to_vec(), setup: Setup::of(serde_json::json!({})), repeat: Duration::ZERO }
}

#[test]
fn fuel_is_counted_by_collection_page_and_kind() {
    let report = plain().subject().bench(&options(&[1, 2_500])).unwrap();
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.kind.map(|kind| kind.as_str()), row.collections, row.calls, row.fuel_used))
        .collect();
    assert_eq!(
        rows,
        [
            (Some("selection"), 1, 1, 100),
            // Segments, index and metadata.
            (Some("compression"), 1, 1, 300),
            (Some("placement"), 1, 1, 100),
            (None, 1, 3, 500),
            (Some("selection"), 2_500, 3, 250_000),
            (Some("compression"), 2_500, 8, 750_000),
            (Some("placement"), 2_500, 3, 250_000),
            (None, 2_500, 14, 1_250_000),
        ]
    );
    assert_eq!(report.growth, Some(1.0));
    // The oracle says 7 µs for every call, so the table is the same everywhere.
    insta::assert_snapshot!(longshore_policy_test::report::bench(&report));
}

#[test]
fn what_does_not_grow_linearly_shows() {
    let quadratic = Fake::new()
        .select_pages(|_, page| {
            let items = u64::try_from(page.len()).unwrap();
            let answers = (0..u32::try_from(page.len()).unwrap()).map(|place| (place, selected(true, "all"))).collect();
            Ok(longshore_policy::Outcome { fuel_used: items * items, ..outcome(answers) })
        })
        .subject();
    let report = quadratic.bench(&options(&[10, 1_000])).unwrap();
    assert_eq!(report.rows.iter().map(|row| row.fuel_per_collection).collect::<Vec<_>>(), [10.0, 1_000.0]);
    assert_eq!(report.growth, None, "1,000 is what others are compared with");
    let carrying = Fake::new()
        .select_pages(|call, _| {
            let fuel_used = 1_000 * (1 + u64::from(call.page_number));
            Ok(longshore_policy::Outcome { fuel_used, ..outcome(Vec::new()) })
        })
        .subject();
    assert_eq!(carrying.bench(&options(&[1_000, 3_000])).unwrap().growth, Some(2.0));
}

#[test]
fn a_failure_is_a_row_and_wrong_settings_are_an_error() {
    let report = Fake::new().select_pages(|_, _| Err(trapped())).subject().bench(&options(&[1])).unwrap();
    assert!(report.rows[0].failed.as_ref().unwrap().contains("trapped"));
    let wrong = BenchOptions { setup: Setup::of(serde_json::json!({"days": 0})), ..options(&[1]) };
    assert!(plain().subject().bench(&wrong).is_err());
}
