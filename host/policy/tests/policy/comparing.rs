//! Another policy over recorded questions, and candidates beside the one that decides.

use std::sync::Arc;

use longshore_model::{FileClass, PolicyKind, Reason, Refusal};
use longshore_policy::{
    ChangeKind, DecisionRecord, Limits, Member, Oracle, PolicyDiff, PolicyError, PolicySet, SandboxError, Shadow, Side,
    diff,
};
use serde_json::json;

use crate::support::*;

const GB: u64 = 1_000_000_000;

/// Three collections of a gigabyte, `b` protected.
fn facts() -> Vec<longshore_model::CollectionFacts> {
    let mut all = collections(&["a", "b", "c"]);
    for one in &mut all {
        one.size_bytes.segment = GB;
    }
    all[1].protected = true;
    all
}

/// The records of a whole run in which every collection goes in, compressed to a half, at home.
fn corpus(set: &PolicySet) -> Vec<DecisionRecord> {
    let facts = facts();
    let mut streams: Vec<_> =
        ["a", "b", "c"].iter().map(|name| stream(name, FileClass::Segment, &["zstd-1", "store"])).collect();
    for stream in &mut streams {
        stream.size_bytes = GB;
        stream.new_bytes = GB;
        stream.offers[0].ratio_thousandths = 2_000;
        stream.offers[1].ratio_thousandths = 1_000;
    }
    // Earlier backups hold half of it, and keep it as it is.
    streams[2].new_bytes = GB / 2;
    let mut records = set.select(&manual(), &facts, &no_guardrails()).unwrap().records;
    records.extend(set.choose(&manual(), &streams).unwrap().records);
    records.extend(set.place(&manual(), &facts, &regions(&["eu-1", "us-1"]), &no_guardrails()).unwrap().records);
    records
}

fn standard_corpus() -> (Arc<Fake>, Vec<DecisionRecord>) {
    let standard = Arc::new(Fake::standard());
    let records = corpus(&set(&[&standard]));
    (standard, records)
}

fn compare(records: &[DecisionRecord], old: &dyn Oracle, new: &dyn Oracle) -> PolicyDiff {
    diff(records, None, Side::of(old), Side::of(new), &Limits::DEFAULT).unwrap()
}

/// As `standard`, but for what is overwritten.
fn candidate() -> Fake {
    Fake::standard().with_digest(longshore_model::Digest::new([77; 32]))
}

#[test]
fn a_policy_compared_with_itself_changes_nothing() {
    let (standard, records) = standard_corpus();
    let diff = compare(&records, standard.as_ref(), standard.as_ref());
    assert!(diff.is_empty() && diff.not_repeated.is_empty() && diff.groups.is_empty());
    assert_eq!((diff.runs, diff.records, diff.items, diff.protected_losses), (1, 3, 9, 0));
}

#[test]
fn changes_are_grouped_by_reason_with_bytes_regions_and_cost() {
    let (standard, records) = standard_corpus();
    let new = candidate()
        .select_each(|one| {
            Some(selected(one.name.collection != "a", if one.name.collection == "a" { "old" } else { "all-in" }))
        })
        .choose_each(|stream| {
            (stream.collection.collection == "c")
                .then(|| codec("store", "no-time"))
                .or(Some(codec("zstd-1", "first-offer")))
        })
        .place_each(|one, _| {
            Some(if one.name.collection == "c" {
                placed("us-1", &[("eu-1", None)], None)
            } else {
                placed("eu-1", &[], None)
            })
        });
    let diff = compare(&records, standard.as_ref(), &new);
    assert_eq!((diff.changed_items, diff.protected_losses), (3, 0), "an unprotected collection may be left out");
    let group = |change: ChangeKind| diff.groups.iter().find(|group| group.change == change).unwrap();
    let left_out = group(ChangeKind::LeftOut);
    assert_eq!((left_out.reason_before.as_deref(), left_out.reason_after.as_deref()), (Some("all-in"), Some("old")));
    let gb = i64::try_from(GB).unwrap();
    assert_eq!((left_out.effect.size_bytes, left_out.effect.stored_bytes), (-gb, -gb / 2), "stored at its ratio");
    assert_eq!(left_out.effect.monthly_cost_micros, -10_000, "half a gigabyte at 20000");
    assert_eq!(group(ChangeKind::Codec).effect.stored_bytes, gb / 4, "of what is new");
    let moved = group(ChangeKind::Region);
    assert_eq!(moved.effect.stored_bytes, gb / 2, "one vault becomes two");
    assert_eq!((moved.steps[0].before.as_str(), moved.steps[0].after.as_str()), ("eu-1", "us-1, copy in eu-1"));
    assert_eq!(diff.regions[&"us-1".parse().unwrap()].stored_bytes, gb / 2);
    assert_eq!(moved.examples[0].item, "default.c");
    insta::assert_snapshot!(serde_json::to_string_pretty(&diff).unwrap());
}

#[test]
fn a_protected_collection_that_is_left_out_loses_its_backup() {
    let (standard, records) = standard_corpus();
    let new = candidate().select_each(|_| Some(selected(false, "nothing")));
    let diff = compare(&records, standard.as_ref(), &new);
    assert_eq!((diff.changed_items, diff.protected_losses), (3, 1));
    assert_eq!(diff.losses[0].collection.collection, "b");
    assert!(diff.losses[0].why.contains("left out: Because of nothing."), "{:?}", diff.losses);
}

#[test]
fn where_the_new_policy_refuses_or_fails_every_protected_collection_is_lost() {
    for failing in [
        candidate().place_each(|_, _| None).select_pages(|_, _| Err(trapped())),
        candidate().select_pages(|_, _| {
            let refusal = Refusal { reason: Reason::new("no", "No."), items: vec![] };
            Err(SandboxError::Refused { plugin: "x".to_owned(), refusal, log: Box::new([]) })
        }),
    ] {
        let (standard, records) = standard_corpus();
        let diff = compare(&records, standard.as_ref(), &failing);
        assert_eq!(diff.protected_losses, 1);
        assert!(diff.losses[0].why.contains("so the job fails"), "{:?}", diff.losses);
        assert_eq!((diff.unanswered.len(), diff.unanswered[0].items), (1, 3));
        assert_eq!(diff.unanswered[0].before, "answered");
    }
    // Whatever kind it fails at.
    for failing in [candidate().place_pages(|| Err(trapped())), candidate().choose_pages(|| Err(trapped()))] {
        let (standard, records) = standard_corpus();
        let diff = compare(&records, standard.as_ref(), &failing);
        assert_eq!((diff.protected_losses, diff.losses[0].collection.collection.as_str()), (1, "b"));
    }
    // The other way round it is a recovery and no loss.
    let broken = Arc::new(Fake::new("broken").select_pages(|_, _| Err(trapped())));
    let error = set(&[&broken]).select(&manual(), &facts(), &no_guardrails()).unwrap_err();
    let PolicyError::PluginFailed { record, .. } = error else { panic!("{error}") };
    let diff = compare(&[*record], broken.as_ref(), &Fake::standard());
    assert_eq!((diff.unanswered.len(), diff.protected_losses), (1, 0));
}

#[test]
fn silence_is_a_loss_only_where_nobody_else_in_the_chain_speaks() {
    let silent = candidate().select_each(|_| None);
    let (standard, records) = standard_corpus();
    let diff = compare(&records, standard.as_ref(), &silent);
    assert_eq!(diff.protected_losses, 1);
    assert!(diff.losses[0].why.contains("nobody has an opinion"), "{:?}", diff.losses);
    // A place or a codec that nobody names fails the job as well.
    for (silent, kind) in
        [(candidate().place_each(|_, _| None), "placement"), (candidate().choose_each(|_| None), "compression")]
    {
        let (standard, records) = standard_corpus();
        let diff = compare(&records, standard.as_ref(), &silent);
        assert_eq!((diff.protected_losses, diff.losses[0].collection.collection.as_str()), (1, "b"));
        assert!(diff.losses[0].why.contains(&format!("an opinion about its {kind}")), "{:?}", diff.losses);
    }
    // Beside another member that has an opinion about everything, nothing is lost.
    let other = Arc::new(Fake::new("other").select_each(|_| Some(selected(true, "mine"))));
    let records = corpus(&set(&[&other, &standard]));
    let diff = compare(&records, standard.as_ref(), &silent);
    assert_eq!(diff.protected_losses, 0);
    assert_eq!(diff.groups[0].change, ChangeKind::NoOpinion);
}

#[test]
fn each_side_hands_its_own_carry_from_page_to_page() {
    let limits = Limits { page_items: 1, ..Limits::DEFAULT };
    let counting = || {
        candidate().select_pages(|call, page| {
            let mut carry = call.carry.to_vec();
            carry.push(9);
            let answer = (0_u32..).zip(page).map(|(place, _)| (place, selected(carry.len() < 3, "budget")));
            Ok(longshore_policy::Outcome { carry: carry.clone(), ..outcome(answer.collect()) })
        })
    };
    let standard = Arc::new(Fake::standard());
    let set = builder_with(limits, &standard);
    let records = set.select(&manual(), &facts(), &no_guardrails()).unwrap().records;
    let diff = compare(&records, standard.as_ref(), &counting());
    assert_eq!(diff.changed_items, 1, "the third page is over the candidate's budget: {:?}", diff.groups);
}

fn builder_with(limits: Limits, fake: &Arc<Fake>) -> PolicySet {
    let mut builder = PolicySet::builder().limits(limits);
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, member(fake)).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn what_one_of_both_does_not_decide_is_told_and_not_compared() {
    let (standard, records) = standard_corpus();
    let selection_only = candidate().serving(&[PolicyKind::Selection]);
    let diff = compare(&records, standard.as_ref(), &selection_only);
    let of = |kind| records.iter().filter(|record| record.question.kind() == kind).count();
    assert_eq!(diff.records, of(PolicyKind::Selection));
    let left: Vec<_> = diff.not_compared.into_iter().collect();
    let expected = [PolicyKind::Compression, PolicyKind::Placement].map(|kind| (kind, of(kind)));
    assert_eq!(left, expected);
    let nothing: Vec<_> =
        records.into_iter().filter(|record| record.question.kind() != PolicyKind::Selection).collect();
    let error = longshore_policy::diff(
        &nothing,
        None,
        Side::of(standard.as_ref()),
        Side::of(&selection_only),
        &Limits::DEFAULT,
    );
    insta::assert_snapshot!(error.unwrap_err());
}

#[test]
fn an_old_policy_that_no_longer_answers_as_it_did_is_told() {
    let (standard, mut records) = standard_corpus();
    let drifted = Fake::standard().select_each(|_| Some(selected(false, "drift")));
    let diff = compare(&records, &drifted, standard.as_ref());
    assert_eq!(diff.not_repeated.len(), 1);
    assert!(diff.not_repeated[0].contains("selection of in01-abc"), "{:?}", diff.not_repeated);
    records.truncate(1);
    let stranger = candidate();
    let error = longshore_policy::diff(&records, None, Side::of(&stranger), Side::of(&stranger), &Limits::DEFAULT);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("no record was made by this file") && error.contains("standard (standard 1.2.3)"),
        "{error}"
    );
    let by_member =
        longshore_policy::diff(&records, Some("standard"), Side::of(&stranger), Side::of(&stranger), &Limits::DEFAULT);
    assert_eq!(by_member.unwrap().records, 1);
}

#[test]
fn settings_that_do_not_fit_the_new_policy_are_an_error_and_can_be_given() {
    let (standard, records) = standard_corpus();
    let schema = json!({ "type": "object", "required": ["days"], "properties": { "days": { "type": "integer" } } });
    let new = candidate().schema(schema);
    let error = diff(&records, None, Side::of(standard.as_ref()), Side::of(&new), &Limits::DEFAULT).unwrap_err();
    assert!(matches!(error, PolicyError::BadSettings { .. }), "{error}");
    let settings = json!({ "days": 3 });
    let side = Side { settings: Some(&settings), ..Side::of(&new) };
    diff(&records, None, Side::of(standard.as_ref()), side, &Limits::DEFAULT).unwrap();
    assert_eq!(new.seen.lock().unwrap()[0].settings, r#"{"days":3}"#);
}

fn with_shadow(candidate: Fake) -> (Arc<Fake>, PolicySet) {
    let (standard, candidate) = (Arc::new(Fake::standard()), Arc::new(candidate));
    let shadow = Shadow {
        plugin: Arc::clone(&candidate) as Arc<dyn Oracle>,
        settings: json!({ "n": 1 }),
        budget: longshore_policy::Budget::default(),
    };
    let shadowed = Member { shadow: Some(shadow), ..member(&standard) };
    (candidate, builder(&[shadowed]).build().unwrap())
}

#[test]
fn a_shadow_is_asked_what_its_member_was_asked_and_never_acts() {
    let new = candidate().select_each(|one| Some(selected(one.name.collection != "b", "not-b")));
    let (candidate, set) = with_shadow(new);
    let plan = set.select(&manual(), &facts(), &no_guardrails()).unwrap();
    assert!(plan.decisions.iter().all(|one| one.value.include_collection), "the member decides");
    assert!(candidate.seen.lock().unwrap().is_empty(), "it is asked after the decisions, if at all");
    let shadows = set.ask_shadows(&plan.records);
    assert_eq!(shadows.len(), 1);
    let outcome = &shadows[0];
    assert_eq!((outcome.decisions, outcome.changed, outcome.protected_changes, outcome.not_asked), (3, 1, 1, 0));
    assert_eq!((outcome.kind, outcome.failure.as_ref()), (PolicyKind::Selection, None));
    assert_eq!(outcome.active.digest, Fake::standard().digest);
    assert_eq!(outcome.candidate.digest, candidate.digest);
    assert_eq!(outcome.examples[0].item, "default.b");
    let seen = candidate.seen.lock().unwrap();
    assert_eq!((seen[0].settings.as_str(), seen[0].items.len()), (r#"{"n":1}"#, 3), "its own settings");
}

#[test]
fn what_a_shadow_does_wrong_is_written_down_and_hurts_nothing() {
    let limits = Limits { page_items: 1, ..Limits::DEFAULT };
    let failing = Arc::new(candidate().select_pages(|call, page| {
        if call.page_number == 1 {
            Err(trapped())
        } else {
            Ok(outcome((0..).zip(page).map(|(n, _)| (n, selected(true, "x"))).collect()))
        }
    }));
    let shadow = Shadow {
        plugin: Arc::clone(&failing) as Arc<dyn Oracle>,
        settings: json!({}),
        budget: longshore_policy::Budget::default(),
    };
    let standard = Arc::new(Fake::standard());
    let mut builder = PolicySet::builder().limits(limits);
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, Member { shadow: Some(shadow.clone()), ..member(&standard) }).unwrap();
    }
    let set = builder.build().unwrap();
    let plan = set.select(&manual(), &facts(), &no_guardrails()).unwrap();
    let outcome = &set.ask_shadows(&plan.records)[0];
    assert_eq!(outcome.failure.as_ref().unwrap().code, "trapped");
    assert_eq!((outcome.decisions, outcome.not_asked), (1, 2), "it is not asked again in this run");
    assert_eq!(outcome.protected_changes, 1, "the page it failed on held a protected collection");
    assert_eq!(failing.seen.lock().unwrap().len(), 2);
}

#[test]
fn a_shadow_whose_time_is_up_is_not_asked_again() {
    let slow = Arc::new(candidate().select_pages(|_, page| {
        let answer = (0_u32..).zip(page).map(|(place, _)| (place, selected(true, "all-in"))).collect();
        Ok(longshore_policy::Outcome { elapsed_us: 6_000_000, ..outcome(answer) })
    }));
    let shadow = Shadow {
        plugin: Arc::clone(&slow) as Arc<dyn Oracle>,
        settings: json!({}),
        budget: longshore_policy::Budget::default(),
    };
    let standard = Arc::new(Fake::standard());
    let mut builder = PolicySet::builder().limits(Limits { page_items: 1, ..Limits::DEFAULT });
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, Member { shadow: Some(shadow.clone()), ..member(&standard) }).unwrap();
    }
    let set = builder.build().unwrap();
    let plan = set.select(&manual(), &facts(), &no_guardrails()).unwrap();
    let outcome = &set.ask_shadows(&plan.records)[0];
    assert_eq!((outcome.decisions, outcome.not_asked), (2, 1), "12 seconds are more than 10");
    assert_eq!(outcome.failure, None);
}

#[test]
fn a_shadow_must_serve_the_kind_and_its_settings_must_be_valid() {
    let placement_only = Arc::new(candidate().serving(&[PolicyKind::Placement]));
    let shadow = |fake: &Arc<Fake>| Shadow {
        plugin: Arc::clone(fake) as Arc<dyn Oracle>,
        settings: json!({}),
        budget: longshore_policy::Budget::default(),
    };
    let standard = Arc::new(Fake::standard());
    let shadowed = Member { shadow: Some(shadow(&placement_only)), ..member(&standard) };
    let error = PolicySet::builder().member(PolicyKind::Selection, shadowed).unwrap_err();
    assert!(matches!(error, PolicyError::NotServed { .. }) && error.to_string().contains("(shadow)"), "{error}");
    let strict = Arc::new(candidate().schema(json!({ "type": "object", "required": ["days"] })));
    let shadowed = Member { shadow: Some(shadow(&strict)), ..member(&standard) };
    let error = PolicySet::builder().member(PolicyKind::Selection, shadowed).unwrap_err();
    assert!(matches!(error, PolicyError::BadSettings { .. }), "{error}");
}
