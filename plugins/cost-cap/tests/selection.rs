//! What goes in under a budget.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_cost_cap::CostCap;
use longshore_plugin::cost::GB;
use longshore_plugin::time::DAY_MS;
use longshore_plugin::{
    Answer, ClassBytes, Collection, FactValue, ItemId, LastBackup, Run, RunKind, Selected, SelectionPolicy, Totals,
};
use proptest::prelude::*;

/// Noon of 2024-10-04.
const NOW_MS: u64 = 20_000 * DAY_MS + DAY_MS / 2;
/// One unit of the currency a gigabyte and month: prices are gigabytes.
const PRICE: &str = r#""storage_price_micros_per_gb_month": 1000000"#;

fn gb(id: ItemId, name: &str, gigabytes: u64, written_days_ago: u64) -> Collection {
    Collection {
        size_bytes: ClassBytes { segment: gigabytes * GB, ..ClassBytes::default() },
        new_bytes: gigabytes * GB,
        last_write_time_ms: Some(NOW_MS - written_days_ago * DAY_MS),
        last_backup: Some(LastBackup { time_ms: NOW_MS - 100 * DAY_MS, ..LastBackup::default() }),
        ..Collection::named(id, "default", name)
    }
}

fn total(pages: &[&[Collection]]) -> Totals {
    let all = || pages.iter().flat_map(|page| page.iter());
    Totals {
        collections: all().count() as u64,
        size_bytes: all().map(|collection| collection.size_bytes.total()).sum(),
        new_bytes: all().map(|collection| collection.new_bytes).sum(),
        ..Totals::default()
    }
}

/// Asks about all pages of a run, carrying from one to the next.
fn ask(run: &Run, pages: &[&[Collection]]) -> Answer<Selected> {
    let mut all = Answer::new();
    let mut carry = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        let run = Run {
            carry,
            page_number: number as u32,
            last_page: number + 1 == pages.len(),
            totals: if run.totals == Totals::default() { total(pages) } else { run.totals },
            ..run.clone()
        };
        let answer = CostCap::select(&run, page).unwrap();
        let ids: Vec<ItemId> = page.iter().map(|collection| collection.id).collect();
        assert_eq!(answer.refused_by_host(&ids), None);
        all.decisions.extend(answer.decisions);
        carry = answer.carry;
    }
    all
}

fn budget(units: u64) -> Run {
    let run = Run { time_ms: NOW_MS, ..Run::default() };
    run.with_settings(format!(r#"{{{PRICE}, "month_budget_micros": {}}}"#, units * 1_000_000))
}

/// Codes of the reasons, in order of item, with `-` before those left out.
fn codes(answer: &Answer<Selected>) -> Vec<String> {
    let mut decisions = answer.decisions.clone();
    decisions.sort_by_key(|(id, _)| *id);
    let code =
        |selected: &Selected| format!("{}{}", if selected.include_collection { "" } else { "-" }, selected.reason.code);
    decisions.iter().map(|(_, selected)| code(selected)).collect()
}

#[test]
fn where_everything_fits_everything_goes_in() {
    let page = [gb(0, "a", 3, 1), gb(1, "b", 4, 2)];
    assert_eq!(codes(&ask(&budget(7), &[&page])), ["everything-fits", "everything-fits"]);
    assert_eq!(codes(&ask(&budget(6), &[&page])), ["fits", "-over-budget"]);
}

#[test]
fn without_a_budget_it_has_no_opinion_and_the_hosts_budget_counts_too() {
    let page = [gb(0, "a", 3, 1)];
    let run = Run { time_ms: NOW_MS, ..Run::default() }.with_settings(format!("{{{PRICE}}}"));
    assert!(ask(&run, &[&page]).decisions.is_empty());
    assert_eq!(codes(&ask(&Run { month_budget_micros: Some(2_000_000), ..run.clone() }, &[&page])), ["-over-budget"]);
    assert_eq!(codes(&ask(&Run { month_budget_micros: Some(3_000_000), ..run }, &[&page])), ["everything-fits"]);
}

/// A run as a host with prices makes it.
fn priced(price: u64, estimate_units: u64, budget_units: u64) -> Run {
    let fact = |name: &str, value: u64| (name.to_owned(), FactValue::Integer(i64::try_from(value).unwrap()));
    Run {
        time_ms: NOW_MS,
        month_budget_micros: Some(budget_units * 1_000_000),
        extra: vec![
            fact("month-estimate-micros", estimate_units * 1_000_000),
            fact("home-storage-price-micros-per-gb-month", price),
        ],
        ..Run::default()
    }
}

#[test]
fn prices_and_what_is_stored_come_from_the_host_and_settings_stand_before_them() {
    let page = [Collection { new_bytes: GB, ..gb(0, "a", 6, 1) }];
    // Three units a gigabyte, and what is stored costs four a month, whatever the plain bytes of this cluster.
    assert_eq!(codes(&ask(&priced(3_000_000, 4, 7), &[&page])), ["everything-fits"]);
    assert_eq!(codes(&ask(&priced(3_000_000, 4, 6), &[&page])), ["-over-budget"]);
    // 4 of 31 days have cost 0.8: the month will cost 6.2, which is more than the four of what is stored.
    let spent = Run { month_spend_micros: 800_000, ..priced(1_000_000, 4, 7) };
    assert_eq!(codes(&ask(&spent, &[&page])), ["-over-budget"]);
    assert_eq!(codes(&ask(&priced(1_000_000, 4, 7), &[&page])), ["everything-fits"]);
    let own = priced(3_000_000, 4, 6).with_settings(format!("{{{PRICE}}}"));
    assert_eq!(codes(&ask(&own, &[&page])), ["everything-fits"], "five held and one new, at one unit each");
    let richer = priced(3_000_000, 4, 6).with_settings(r#"{"month_budget_micros": 7000000}"#);
    assert_eq!(codes(&ask(&richer, &[&page])), ["everything-fits"]);
    let free = Run { extra: Vec::new(), ..priced(0, 0, 1) };
    assert!(ask(&free, &[&page]).decisions.is_empty(), "nobody gave a price");
}

#[test]
fn the_longest_unchanged_is_left_out_first_and_what_does_not_fit_keeps_nothing_else_out() {
    let page = [gb(0, "old", 2, 90), gb(1, "newer", 2, 30), gb(2, "giant", 50, 0), gb(3, "newest", 2, 1)];
    assert_eq!(codes(&ask(&budget(4), &[&page])), ["-over-budget", "fits", "-over-budget", "fits"]);
}

#[test]
fn what_has_no_backup_or_missed_its_recovery_point_goes_before_what_would_lose_less() {
    let none = Collection { last_backup: None, ..gb(0, "none", 2, 90) };
    let missed = Collection { recovery_point_objective_seconds: Some(3_600), ..gb(1, "missed", 2, 80) };
    let fresh = gb(2, "fresh", 2, 0);
    let page = [none, missed, fresh];
    assert_eq!(codes(&ask(&budget(4), &[&page])), ["fits", "fits", "-over-budget"]);
    assert_eq!(codes(&ask(&budget(2), &[&page])), ["-over-budget", "fits", "-over-budget"]);
}

#[test]
fn what_is_protected_tagged_named_or_already_held_stays_in_over_the_budget() {
    let mut tagged = gb(1, "tagged", 5, 90);
    tagged.labels.push(("backup.keep".to_owned(), "yes".to_owned()));
    let mut untagged = gb(2, "untagged", 5, 90);
    untagged.labels.push(("backup.keep".to_owned(), "no".to_owned()));
    let protected = Collection { protected: true, ..gb(0, "protected", 5, 90) };
    let held = Collection { new_bytes: 0, ..gb(3, "held", 5, 90) };
    let page = [protected, tagged, untagged, held, gb(4, "billing_7", 5, 90)];
    let settings = format!(r#"{{{PRICE}, "month_budget_micros": 1, "keep_collections": ["billing_*"]}}"#);
    let run = Run { time_ms: NOW_MS, ..Run::default() }.with_settings(settings);
    let expected = ["protected", "kept-by-property", "-over-budget", "nothing-new", "kept-by-pattern"];
    assert_eq!(codes(&ask(&run, &[&page])), expected);
    let requested = Collection { requested: true, ..gb(0, "asked", 5, 90) };
    let run = Run { kind: RunKind::Collection, ..budget(1) };
    assert_eq!(codes(&ask(&run, &[&[requested]])), ["requested-by-name"]);
}

#[test]
fn what_must_stay_in_leaves_less_for_the_rest() {
    let page = [Collection { protected: true, ..gb(0, "protected", 3, 90) }, gb(1, "a", 2, 1), gb(2, "b", 2, 2)];
    assert_eq!(codes(&ask(&budget(5), &[&page])), ["protected", "fits", "-over-budget"]);
}

#[test]
fn spending_so_far_is_carried_on_to_the_end_of_the_month() {
    // 4 of 31 days have cost 0.8: the month will cost 6.2.
    let page = [gb(0, "a", 3, 1), gb(1, "b", 1, 2)];
    let run = Run { month_spend_micros: 800_000, ..budget(10) };
    assert_eq!(codes(&ask(&run, &[&page])), ["fits", "-over-budget"]);
    let message = ask(&run, &[&page]).get(1).unwrap().reason.message.clone();
    let expected = "Its 1.0 GB of new data would add 1.00 a month, and 0.80 of the budget of 10.00 is left for it after what \
                    is held, kept and more urgent; its last good backup is of 2024-06-26.";
    assert_eq!(message, expected);
}

#[test]
fn what_earlier_backups_hold_counts_where_no_spending_is_known() {
    let page = [Collection { new_bytes: GB, ..gb(0, "a", 6, 1) }];
    assert_eq!(codes(&ask(&budget(6), &[&page])), ["everything-fits"]);
    assert_eq!(codes(&ask(&budget(5), &[&page])), ["-over-budget"]);
}

#[test]
fn copies_multiply_and_expected_compression_divides_and_index_files_count_where_they_are_taken() {
    let with = |more: &str, units: u64, collection: &Collection| {
        let settings = format!(r#"{{{PRICE}, "month_budget_micros": {}, {more}}}"#, units * 1_000_000);
        let run = Run { time_ms: NOW_MS, ..Run::default() }.with_settings(settings);
        ask(&run, &[std::slice::from_ref(collection)]).get(0).unwrap().clone()
    };
    let four = gb(0, "a", 4, 1);
    assert!(
        !with(r#""copies": 2"#, 7, &four).include_collection && with(r#""copies": 2"#, 8, &four).include_collection
    );
    let ratio = r#""expected_ratio_thousandths": 2000"#;
    assert!(!with(ratio, 1, &four).include_collection && with(ratio, 2, &four).include_collection);
    let size_bytes = ClassBytes { segment: GB, index: 3 * GB, ..ClassBytes::default() };
    let indexed = Collection { size_bytes, ..four };
    assert!(with(r#""include_index_files": false"#, 1, &indexed).include_collection);
    let counted = with(r#""include_index_files": true"#, 3, &indexed);
    assert!(!counted.include_collection);
    assert!(with(r#""include_index_files": true"#, 4, &indexed).include_index_files);
}

#[test]
fn pages_share_the_budget_by_their_new_bytes_and_hand_on_what_they_leave_over() {
    let first: Vec<Collection> = (0..10).map(|id| gb(id, &format!("a{id}"), 1, 1)).collect();
    let second: Vec<Collection> = (10..20).map(|id| gb(id, &format!("b{id}"), 1, 1)).collect();
    let answer = ask(&budget(10), &[&first, &second]);
    let taken = |ids: std::ops::Range<u32>| ids.filter(|id| answer.get(*id).unwrap().include_collection).count();
    // The share of the first page is a millionth under 5, so that shares never sum up to more than there is.
    assert_eq!((taken(0..10), taken(10..20)), (4, 6));
    let giant = [gb(0, "giant", 10, 1)];
    let answer = ask(&budget(10), &[&giant, &second]);
    assert!(!answer.get(0).unwrap().include_collection, "half of the budget is not enough for it");
    assert!((10..20).all(|id| answer.get(id).unwrap().include_collection), "and so the second page has all of it");
}

fn any_collection() -> impl Strategy<Value = Collection> {
    let flags = (any::<bool>(), any::<bool>(), 0..10_u32);
    (0..40_u64, 0..20_u64, 0..100_u64, flags).prop_map(|(size, new, days, (unknown, none, protected))| Collection {
        new_bytes: new.min(size) * GB / 3,
        protected: protected == 0,
        last_write_time_ms: (!unknown).then_some(NOW_MS - days * DAY_MS),
        last_backup: (!none).then(LastBackup::default),
        ..gb(0, "c", size, 0)
    })
}

proptest! {
    #[test]
    fn the_budget_is_kept_but_for_what_must_stay_in_and_the_order_of_a_page_does_not_matter(
        collections in proptest::collection::vec(any_collection(), 1..40),
        units in 0..400_u64, page_size in 1..40_usize, spend in 0..30_000_000_u64,
    ) {
        let mut collections = collections;
        for (id, collection) in collections.iter_mut().enumerate() {
            collection.id = id as u32;
            collection.name = format!("c{id:03}");
        }
        let pages: Vec<&[Collection]> = collections.chunks(page_size).collect();
        let run = Run { month_spend_micros: spend, ..budget(units.max(1)) };
        let answer = ask(&run, &pages);
        prop_assert_eq!(answer.decisions.len(), collections.len());
        let cost = |kept: bool| -> u64 {
            let taken = |collection: &&Collection| answer.get(collection.id).unwrap().include_collection;
            let taken = collections.iter().filter(taken).filter(|collection| collection.protected == kept);
            taken.map(|collection| collection.new_bytes.div_ceil(1_000)).sum()
        };
        let held = total(&pages).size_bytes - total(&pages).new_bytes;
        let held_micros = (held.div_ceil(1_000)).max((spend * 31).div_ceil(4));
        let room = (units.max(1) * 1_000_000).saturating_sub(held_micros);
        prop_assert!(cost(false) <= room, "{} of {room}", cost(false));
        let turned: Vec<Vec<Collection>> = pages.iter().map(|page| page.iter().rev().cloned().collect()).collect();
        let other = ask(&run, &turned.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for collection in &collections {
            prop_assert_eq!(answer.get(collection.id), other.get(collection.id));
            let selected = answer.get(collection.id).unwrap();
            prop_assert!(selected.include_collection || !(collection.protected || collection.new_bytes == 0));
        }
    }
}
