//! Who is asked about what, and whose answer counts.

use std::sync::Arc;

use longshore_model::{FileClass, PolicyKind, RunKind, RunTrigger, Selected};
use longshore_policy::{Limits, PolicyError, PolicySet, explain};

use crate::support::*;

#[test]
fn a_collection_is_left_out_if_anybody_says_no_and_the_first_no_gives_the_reason() {
    let first = Arc::new(Fake::new("first").select_each(|c| Some(selected(c.name.collection != "tmp_b", "first"))));
    let second =
        Arc::new(Fake::new("second").select_each(|c| Some(selected(!c.name.collection.starts_with("tmp"), "second"))));
    let plan =
        set(&[&first, &second]).select(&manual(), &collections(&["a", "tmp_a", "tmp_b"]), &no_guardrails()).unwrap();
    let of = |at: usize| {
        let decision: &longshore_policy::Decision<Selected> = &plan.decisions[at];
        (decision.value.include_collection, decision.value.reason.code.as_str(), decision.decided_by.member.as_str())
    };
    assert_eq!(of(0), (true, "first", "first"));
    assert_eq!(of(1), (false, "second", "second"));
    assert_eq!(of(2), (false, "first", "first"));
    let others: Vec<(&str, bool)> =
        plan.decisions.iter().flat_map(|d| d.others.iter().map(|o| (o.member.as_str(), o.agrees))).collect();
    assert_eq!(others, [("second", true), ("first", false), ("second", true)]);
}

#[test]
fn index_files_and_priority_come_from_the_first_opinion() {
    let silent = Arc::new(Fake::new("silent"));
    let first = Arc::new(
        Fake::new("first")
            .select_each(|_| Some(Selected { include_index_files: true, priority: 5, ..selected(true, "first") })),
    );
    let standard = Arc::new(Fake::standard());
    let plan = set(&[&silent, &first, &standard]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    assert!(plan.decisions[0].value.include_index_files);
    assert_eq!(plan.decisions[0].value.priority, 5);
    assert_eq!(plan.decisions[0].decided_by.member, "first");
}

#[test]
fn the_first_opinion_wins_and_later_members_are_asked_only_about_the_rest() {
    let first = Arc::new(
        Fake::new("first")
            .choose_each(|s| (s.class == FileClass::Wal).then(|| codec("zstd-1", "wal")))
            .place_each(|c, _| (c.name.collection == "b").then(|| placed("eu-2", &[], None))),
    );
    let standard = Arc::new(Fake::standard());
    let set = set(&[&first, &standard]);
    let streams = [
        stream("b", FileClass::Wal, &["store", "zstd-1"]),
        stream("a", FileClass::Segment, &["store", "zstd-1"]),
        stream("a", FileClass::Wal, &["store", "zstd-1"]),
    ];
    let plan = set.choose(&manual(), &streams).unwrap();
    let codecs: Vec<String> = plan.decisions.iter().map(|d| d.value.codec.to_string()).collect();
    assert_eq!(codecs, ["zstd-1", "store", "zstd-1"], "in the order given");
    assert_eq!(standard.seen.lock().unwrap().last().unwrap().items, ["default.a/segment"]);

    let offers = regions(&["eu-1", "eu-2"]);
    let plan = set.place(&manual(), &collections(&["a", "b", "c"]), &offers, &no_guardrails()).unwrap();
    let places: Vec<&str> = plan.decisions.iter().map(|d| d.value.region.as_str()).collect();
    assert_eq!(places, ["eu-1", "eu-2", "eu-1"]);
    assert_eq!(standard.seen.lock().unwrap().last().unwrap().items, ["default.a", "default.c"]);
    let calls: Vec<(&str, u64)> = plan.usage.iter().map(|usage| (usage.member.as_str(), usage.calls)).collect();
    assert_eq!(calls, [("first", 1), ("standard", 1)]);
}

#[test]
fn a_member_behind_one_that_answered_everything_is_not_asked() {
    let standard = Arc::new(Fake::standard());
    let last = Arc::new(Fake::new("last"));
    let set = set(&[&standard, &last]);
    set.place(&manual(), &collections(&["a"]), &regions(&["eu-1"]), &no_guardrails()).unwrap();
    assert!(last.seen.lock().unwrap().is_empty());
    set.select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    assert_eq!(last.seen.lock().unwrap().len(), 1, "selection asks everybody, for anybody may say no");
}

#[test]
fn an_item_without_an_opinion_is_an_error_that_names_it_and_who_was_asked() {
    let one = Arc::new(Fake::new("one").select_each(|c| (c.name.collection == "a").then(|| selected(true, "a"))));
    let two = Arc::new(Fake::new("two"));
    let set = set(&[&one, &two]);
    let error = set.select(&manual(), &collections(&["a", "books.b"]), &no_guardrails()).unwrap_err();
    insta::assert_snapshot!(error, @"no selection policy has an opinion about books.b (asked: one, two); put a plugin that always has one at the end of the chain, for example `standard`");
    let error = set.choose(&manual(), &[stream("a", FileClass::Wal, &["store"])]).unwrap_err();
    insta::assert_snapshot!(error, @"no compression policy has an opinion about default.a/wal (asked: one, two); put a plugin that always has one at the end of the chain, for example `standard`");
    let error = set.place(&manual(), &collections(&["a"]), &regions(&["eu-1"]), &no_guardrails()).unwrap_err();
    assert!(matches!(error, PolicyError::NoOpinion { kind: PolicyKind::Placement, .. }));
}

#[test]
fn pages_are_in_order_hold_what_the_limit_says_and_hand_on_the_carry() {
    let counting = Arc::new(Fake::new("counting").select_pages(|call, page| {
        let before = call.carry.first().copied().unwrap_or(0);
        let answer = (0_u32..).zip(page).map(|(place, _)| (place, selected(true, "in"))).collect();
        let carry = vec![before + u8::try_from(page.len()).unwrap()];
        let peak_memory_bytes = 1_000 - 100 * u64::from(call.page_number.abs_diff(1));
        Ok(longshore_policy::Outcome { carry, peak_memory_bytes, ..outcome(answer) })
    }));
    let names = ["z.a", "b", "a", "a.z", "c"];
    let limits = Limits { page_items: 2, ..Limits::DEFAULT };
    let mut builder = PolicySet::builder().limits(limits);
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, member(&counting)).unwrap();
    }
    let plan = builder.build().unwrap().select(&manual(), &collections(&names), &no_guardrails()).unwrap();
    let seen = counting.seen.lock().unwrap();
    let pages: Vec<_> = seen.iter().map(|s| (s.page_number, s.last_page, s.carry.clone(), s.items.join(" "))).collect();
    assert_eq!(
        pages,
        [
            (0, false, vec![], "a.z default.a".to_owned()),
            (1, false, vec![2], "default.b default.c".to_owned()),
            (2, true, vec![4], "z.a".to_owned()),
        ]
    );
    let decided: Vec<String> = plan.decisions.iter().map(|d| d.collection.to_string()).collect();
    assert_eq!(decided, ["z.a", "default.b", "default.a", "a.z", "default.c"], "decisions keep the order given");
    assert_eq!(plan.usage[0].calls, 3);
    assert_eq!((plan.usage[0].fuel_used, plan.usage[0].elapsed_us), (300, 21), "sums");
    assert_eq!(plan.usage[0].peak_memory_bytes, 1_000, "the most that one call held");
}

#[test]
fn a_page_never_has_more_items_than_the_contract_allows() {
    let standard = Arc::new(Fake::standard());
    let facts: Vec<_> = (0..2_001).map(|number| collection(&format!("c{number}"))).collect();
    let limits = Limits { page_items: 5_000, ..Limits::DEFAULT };
    let mut builder = PolicySet::builder().limits(limits);
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, member(&standard)).unwrap();
    }
    builder.build().unwrap().select(&manual(), &facts, &no_guardrails()).unwrap();
    let pages: Vec<usize> = standard.seen.lock().unwrap().iter().map(|seen| seen.items.len()).collect();
    assert_eq!(pages, [1_000, 1_000, 1]);
}

#[test]
fn nothing_to_decide_means_nothing_to_ask() {
    let standard = Arc::new(Fake::standard());
    let set = set(&[&standard]);
    assert!(set.select(&manual(), &[], &no_guardrails()).unwrap().decisions.is_empty());
    assert!(set.choose(&manual(), &[]).unwrap().decisions.is_empty());
    assert!(set.place(&manual(), &[], &regions(&["eu-1"]), &no_guardrails()).unwrap().decisions.is_empty());
    assert!(standard.seen.lock().unwrap().is_empty());
}

#[test]
fn mistakes_of_the_caller_are_told_apart_from_opinions() {
    let set = set(&[&Arc::new(Fake::standard())]);
    let error = set.select(&manual(), &collections(&["a", "b", "a"]), &no_guardrails()).unwrap_err();
    assert!(matches!(error, PolicyError::DuplicateItem { ref item, .. } if item == "default.a"), "{error}");
    let streams = [stream("a", FileClass::Wal, &["store"]), stream("a", FileClass::Wal, &["store"])];
    let error = set.choose(&manual(), &streams).unwrap_err();
    assert!(matches!(error, PolicyError::DuplicateItem { ref item, .. } if item == "default.a/wal"), "{error}");
    let error = set.choose(&manual(), &[stream("a", FileClass::Wal, &[])]).unwrap_err();
    assert!(matches!(error, PolicyError::NoOffers { .. }), "{error}");
    let named = run(RunKind::Collection, RunTrigger::Manual);
    let error = set.select(&named, &collections(&["a"]), &no_guardrails()).unwrap_err();
    assert!(matches!(error, PolicyError::NotRequested { .. }), "{error}");
}

#[test]
fn a_plan_can_be_shown_as_rows() {
    let tiered = Arc::new(
        Fake::new("tiered")
            .select_each(|c| (c.name.collection == "tmp").then(|| selected(false, "temporary")))
            .place_each(|_, _| Some(placed("eu-1", &[("eu-2", Some(30)), ("us-1", None)], Some(1)))),
    );
    let set = set(&[&tiered, &Arc::new(Fake::standard())]);
    let guardrails = longshore_policy::Guardrails { minimum_retention_days: Some(7), ..no_guardrails() };
    let facts = collections(&["a", "tmp"]);
    let rows = explain(&set.select(&automatic(), &facts, &guardrails).unwrap());
    let rows_placed =
        explain(&set.place(&automatic(), &facts[..1], &regions(&["eu-1", "eu-2", "us-1"]), &guardrails).unwrap());
    let rows_stored = explain(&set.choose(&automatic(), &[stream("a", FileClass::Wal, &["lz4"])]).unwrap());
    let all: Vec<_> = rows.into_iter().chain(rows_placed).chain(rows_stored).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&all).unwrap());
}
