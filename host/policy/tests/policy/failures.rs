//! Plugins that fail, refuse or answer nonsense, and chains that cannot be built.

use std::sync::Arc;

use longshore_model::{FileClass, PolicyKind, Reason, Refusal};
use longshore_policy::{Limits, Member, OnFailure, Outcome, PolicyError, PolicySet, RecordedOutcome, SandboxError};

use crate::support::*;

fn skippable(fake: &Arc<Fake>) -> Member {
    Member { on_failure: OnFailure::Skip, ..member(fake) }
}

/// A set whose selection chain is given; the other chains are `standard`.
fn selection_chain(members: Vec<Member>, limits: Limits) -> PolicySet {
    let standard = Arc::new(Fake::standard());
    let mut builder = PolicySet::builder().limits(limits);
    for member in members {
        builder = builder.member(PolicyKind::Selection, member).unwrap();
    }
    for kind in [PolicyKind::Compression, PolicyKind::Placement] {
        builder = builder.member(kind, member(&standard)).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn a_plugin_that_fails_fails_the_run_by_name_and_leaves_a_record() {
    let broken = Arc::new(Fake::new("broken").select_pages(|_, _| Err(trapped())));
    let set = set(&[&broken, &Arc::new(Fake::standard())]);
    let error = set.select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `broken` 1.2.3 (member `broken`, selection) failed: plugin fake crashed: unreachable. This is a fault of the plugin: report it to its author with the log");
    let PolicyError::PluginFailed { failure, record, .. } = error else { panic!("{error}") };
    assert_eq!(failure.code, "trapped");
    assert_eq!(record.outcome, RecordedOutcome::Failed(*failure));
    assert_eq!(record.asked.member, "broken");
}

#[test]
fn a_skipped_plugin_has_no_opinion_about_any_page_of_the_run() {
    let half = Arc::new(Fake::new("half").select_pages(|call, page| {
        if call.page_number == 1 {
            return Err(trapped());
        }
        Ok(outcome((0_u32..).zip(page).map(|(place, _)| (place, selected(false, "half"))).collect()))
    }));
    let standard = Arc::new(Fake::standard());
    let limits = Limits { page_items: 1, ..Limits::DEFAULT };
    let set = selection_chain(vec![skippable(&half), member(&standard)], limits);
    let plan = set.select(&manual(), &collections(&["a", "b", "c"]), &no_guardrails()).unwrap();
    assert!(plan.decisions.iter().all(|d| d.value.include_collection && d.decided_by.member == "standard"));
    assert_eq!(plan.skipped.len(), 1);
    assert_eq!(plan.skipped[0].by.member, "half");
    assert_eq!(half.seen.lock().unwrap().len(), 2, "it is not asked again in this run");
    assert_eq!(plan.records.len(), 2 + 3, "calls of a skipped member are recorded too");
}

#[test]
fn of_a_run_without_decisions_every_call_is_left_and_of_another_none() {
    let broken = Arc::new(Fake::new("broken").select_pages(|_, _| Err(trapped())));
    let silent = Arc::new(Fake::new("silent").select_each(|_| None));
    let fatal = Arc::new(Fake::new("fatal").select_pages(|_, _| Err(trapped())));
    let ended = |members: Vec<Member>| {
        let mut asked = Vec::new();
        let run = (manual(), collections(&["a"]), no_guardrails());
        let error = selection_chain(members, Limits::DEFAULT)
            .select_noting(&run.0, &run.1, &run.2, &mut asked)
            .err()
            .map(|error| error.to_string().split(' ').take(2).collect::<Vec<_>>().join(" "));
        let calls =
            asked.into_iter().map(|record| (record.asked.member, matches!(record.outcome, RecordedOutcome::Failed(_))));
        (error, calls.collect::<Vec<_>>())
    };
    let call = |member: &str, failed| (member.to_owned(), failed);
    assert_eq!(
        ended(vec![skippable(&broken), member(&silent)]),
        (Some("no selection".to_owned()), vec![call("broken", true), call("silent", false)])
    );
    assert_eq!(
        ended(vec![skippable(&broken), member(&fatal)]),
        (Some("plugin `fatal`".to_owned()), vec![call("broken", true), call("fatal", true)])
    );
    assert_eq!(ended(vec![skippable(&broken), member(&Arc::new(Fake::standard()))]), (None, vec![]));
}

#[test]
fn a_refusal_fails_the_run_even_where_failures_are_skipped() {
    let refusing = Arc::new(Fake::new("refusing").select_pages(|_, _| {
        let refusal = Refusal { reason: Reason::new("no-region", "No region is allowed."), items: vec![1, 7] };
        Err(SandboxError::Refused { plugin: "refusing".to_owned(), refusal, log: Box::new([]) })
    }));
    let set = selection_chain(vec![skippable(&refusing), member(&Arc::new(Fake::standard()))], Limits::DEFAULT);
    let error = set.select(&manual(), &collections(&["a", "b"]), &no_guardrails()).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `refusing` 1.2.3 (member `refusing`, selection) refuses: No region is allowed. (no-region), about default.b");
}

#[test]
fn answers_about_strangers_and_answers_given_twice_are_failures() {
    for (answers, problem) in [
        (vec![(2, true)], "it answered for item 2, but the page has 2 items"),
        (vec![(u32::MAX, true)], "it answered for item 4294967295, but the page has 2 items"),
        (vec![(1, true), (0, true), (1, false)], "it answered twice for default.b"),
    ] {
        let wrong = Arc::new(Fake::new("wrong").select_pages(move |_, _| {
            Ok(outcome(answers.iter().map(|(place, yes)| (*place, selected(*yes, "x"))).collect()))
        }));
        let error = set(&[&wrong]).select(&manual(), &collections(&["a", "b"]), &no_guardrails()).unwrap_err();
        let PolicyError::PluginFailed { failure, .. } = error else { panic!("{error}") };
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("bad-answer", problem));
    }
}

#[test]
fn choices_outside_the_offers_are_failures() {
    let codec_fan = Arc::new(Fake::new("fan").choose_each(|_| Some(codec("zstd-19", "fan"))));
    let error = set(&[&codec_fan]).choose(&manual(), &[stream("a", FileClass::Wal, &["store"])]).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `fan` 1.2.3 (member `fan`, compression) failed: for default.a/wal it chose codec `zstd-19`, which was not offered");
    for (answer, problem) in [
        (placed("mars-1", &[], None), "for default.a it chose region `mars-1`, which was not offered"),
        (placed("eu-1", &[("mars-1", None)], None), "for default.a it chose region `mars-1`, which was not offered"),
        (
            placed("eu-1", &[("eu-1", None)], None),
            "for default.a it put two backups of one collection into region `eu-1`",
        ),
    ] {
        let lost = Arc::new(Fake::new("lost").place_each(move |_, _| Some(answer.clone())));
        let offers = regions(&["eu-1", "eu-2"]);
        let error = set(&[&lost]).place(&manual(), &collections(&["a"]), &offers, &no_guardrails()).unwrap_err();
        let PolicyError::PluginFailed { failure, .. } = error else { panic!("{error}") };
        assert_eq!(failure.message, problem);
    }
}

#[test]
fn skip_is_not_for_placement_and_not_for_required_members() {
    let standard = Arc::new(Fake::standard());
    let error = PolicySet::builder().member(PolicyKind::Placement, skippable(&standard)).unwrap_err();
    insta::assert_snapshot!(error, @r#"member `standard` of the placement chain cannot have `on_failure = "skip"`: data could end up in a region that the skipped policy rules out; use "fail""#);
    let required = Member { required: true, ..skippable(&standard) };
    let error = PolicySet::builder().member(PolicyKind::Compression, required).unwrap_err();
    insta::assert_snapshot!(error, @r#"member `standard` of the compression chain cannot have `on_failure = "skip"`: it is marked required; use "fail""#);
}

#[test]
fn a_chain_takes_only_named_members_that_serve_its_kind() {
    let selection_only = Arc::new(Fake::new("sel").serving(&[PolicyKind::Selection]));
    let error = PolicySet::builder().member(PolicyKind::Placement, member(&selection_only)).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `sel` (member `sel`) does not serve placement; take it out of the placement chain");
    let builder = PolicySet::builder().member(PolicyKind::Selection, member(&selection_only)).unwrap();
    let error = builder.clone().member(PolicyKind::Selection, member(&selection_only)).unwrap_err();
    insta::assert_snapshot!(error, @"the selection chain cannot have a member named `sel`: the chain has another member of that name; rename it in the configuration");
    let error = builder.build().unwrap_err();
    insta::assert_snapshot!(error, @"the compression chain is empty; add a plugin that always has an opinion, for example `standard`");
    for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        let named = Member { name: (*name).to_owned(), ..member(&selection_only) };
        let error = PolicySet::builder().member(PolicyKind::Selection, named).unwrap_err();
        assert!(matches!(error, PolicyError::BadMemberName { .. }), "{error}");
    }
    let mut builder = PolicySet::builder();
    for number in 0..Limits::DEFAULT.chain_members {
        let named = Member { name: format!("m{number}"), ..member(&selection_only) };
        builder = builder.member(PolicyKind::Selection, named).unwrap();
    }
    let error = builder.member(PolicyKind::Selection, member(&selection_only)).unwrap_err();
    assert!(matches!(error, PolicyError::TooManyMembers { limit: 16, .. }), "{error}");
}

#[test]
fn a_run_with_too_many_items_is_refused() {
    let limits = Limits { run_items: 2, ..Limits::DEFAULT };
    let set = selection_chain(vec![member(&Arc::new(Fake::standard()))], limits);
    set.select(&manual(), &collections(&["a", "b"]), &no_guardrails()).unwrap();
    let error = set.select(&manual(), &collections(&["a", "b", "c"]), &no_guardrails()).unwrap_err();
    assert!(matches!(error, PolicyError::TooManyItems { found: 3, limit: 2, .. }), "{error}");
}

#[test]
fn a_guest_that_answers_only_in_part_is_completed_by_the_next_member() {
    let partial = Arc::new(Fake::new("partial").select_pages(|_, page| {
        // Backwards: answers name their items, so their order means nothing.
        let answers = (0_u32..).zip(page).filter(|(place, _)| place % 2 == 0);
        let mut answers: Vec<_> = answers.map(|(place, item)| (place, selected(true, &item.name.collection))).collect();
        answers.reverse();
        Ok(Outcome { fuel_used: 1, ..outcome(answers) })
    }));
    let set = set(&[&partial, &Arc::new(Fake::standard())]);
    let plan = set.select(&manual(), &collections(&["a", "b", "c"]), &no_guardrails()).unwrap();
    let codes: Vec<&str> = plan.decisions.iter().map(|d| d.value.reason.code.as_str()).collect();
    assert_eq!(codes, ["a", "all-in", "c"]);
}
