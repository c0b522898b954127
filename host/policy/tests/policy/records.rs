//! Decision records and asking again.

use std::sync::Arc;

use longshore_model::{ExtraFact, FactValue, FileClass, GuestLogLine, LogLevel, PolicyKind};
use longshore_policy::{DecisionRecord, Outcome, Plan, PolicyError, replay};

use crate::support::*;

fn logging() -> Fake {
    Fake::new("logging").select_pages(|call, page| {
        let answer = (0_u32..).zip(page).map(|(place, item)| (place, selected(item.rows > 10, "rows"))).collect();
        let log = vec![GuestLogLine { level: LogLevel::Warn, message: "small".to_owned() }];
        Ok(Outcome { carry: vec![0, 255, u8::try_from(call.page_number).unwrap()], log, ..outcome(answer) })
    })
}

fn records<T>(plan: Plan<T>) -> Vec<DecisionRecord> {
    plan.records
}

#[test]
fn a_record_is_one_line_of_json_that_reads_back_the_same() {
    let mut facts = collections(&["a"]);
    facts[0].rows = 11;
    facts[0].extra = vec![ExtraFact { name: "shards".to_owned(), value: FactValue::Integer(2) }];
    let plan = set(&[&Arc::new(logging())]).select(&manual(), &facts, &no_guardrails()).unwrap();
    let text = plan.records[0].to_json().unwrap();
    assert!(!text.contains('\n'));
    insta::assert_snapshot!(text);
    let read = DecisionRecord::from_json(&text).unwrap();
    assert_eq!(read, plan.records[0]);
    assert_eq!(read.to_json().unwrap(), text);
}

#[test]
fn every_kind_of_record_survives_json_and_replays_the_same() {
    let standard = Arc::new(Fake::standard());
    let set = set(&[&standard]);
    let facts = collections(&["a", "b"]);
    let mut all = records(set.select(&automatic(), &facts, &no_guardrails()).unwrap());
    all.extend(records(set.choose(&automatic(), &[stream("a", FileClass::Wal, &["shuffle4-zstd-1", "lz4"])]).unwrap()));
    all.extend(records(set.place(&automatic(), &facts, &regions(&["eu-1", "eu-2"]), &no_guardrails()).unwrap()));
    assert_eq!(all.iter().map(|record| record.question.kind()).collect::<Vec<_>>(), PolicyKind::ALL);
    for record in all {
        let read = DecisionRecord::from_json(&record.to_json().unwrap()).unwrap();
        assert_eq!(read, record);
        let outcome = replay(&read, standard.as_ref()).unwrap();
        assert!(outcome.same && outcome.same_plugin, "{:?}", outcome.differences);
    }
}

#[test]
fn a_replay_asks_exactly_the_recorded_question() {
    let limits = longshore_policy::Limits { page_items: 1, ..longshore_policy::Limits::DEFAULT };
    let fake = Arc::new(logging());
    let standard = Arc::new(Fake::standard());
    let set = longshore_policy::PolicySet::builder().limits(limits);
    let set = set.member(PolicyKind::Selection, member(&fake)).unwrap();
    let set = set.member(PolicyKind::Compression, member(&standard)).unwrap();
    let set = set.member(PolicyKind::Placement, member(&standard)).unwrap().build().unwrap();
    let plan = set.select(&manual(), &collections(&["a", "b"]), &no_guardrails()).unwrap();
    let asked_then = std::mem::take(&mut *fake.seen.lock().unwrap());
    for record in &plan.records {
        assert!(replay(record, fake.as_ref()).unwrap().same);
    }
    assert_eq!(*fake.seen.lock().unwrap(), asked_then, "page, carry and settings too");
}

#[test]
fn another_policy_shows_what_would_change_and_its_fuel_is_not_compared() {
    let plan =
        set(&[&Arc::new(Fake::standard())]).select(&manual(), &collections(&["a", "tmp"]), &no_guardrails()).unwrap();
    let candidate = Fake::new("candidate").select_pages(|_, page| {
        let answers = (0_u32..).zip(page).filter(|(_, item)| item.name.collection == "tmp");
        Ok(Outcome {
            fuel_used: 5,
            ..outcome(answers.map(|(place, _)| (place, selected(false, "temporary"))).collect())
        })
    });
    let outcome = replay(&plan.records[0], &candidate).unwrap();
    assert!(!outcome.same && !outcome.same_plugin);
    let differences: Vec<String> = outcome
        .differences
        .iter()
        .map(|d| format!("{} {}: {} -> {}", d.item.as_deref().unwrap_or("-"), d.what, d.recorded, d.replayed))
        .collect();
    insta::assert_snapshot!(differences.join("\n"), @r"
default.a answer: in (all-in: Because of all-in.) -> no opinion
default.tmp answer: in (all-in: Because of all-in.) -> left out (temporary: Because of temporary.)
");
}

#[test]
fn a_plugin_that_behaves_otherwise_the_second_time_is_found_out() {
    let fickle = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&fickle);
    let fake = Arc::new(Fake::new("fickle").select_pages(move |_, page| {
        let times = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let log = vec![GuestLogLine { level: LogLevel::Info, message: times.to_string() }];
        let answer = (0_u32..).zip(page).map(|(place, _)| (place, selected(true, "in"))).collect();
        Ok(Outcome { fuel_used: 100 + times, peak_memory_bytes: times, carry: vec![9; 3], log, ..outcome(answer) })
    }));
    let plan = set(&[&fake]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    let outcome = replay(&plan.records[0], fake.as_ref()).unwrap();
    let what: Vec<&str> = outcome.differences.iter().map(|d| d.what.as_str()).collect();
    assert_eq!(what, ["fuel", "memory", "log"]);
}

/// An oracle that changes its mind with every call. A stand-in: no plugin in the sandbox was found to be able to.
fn fickle() -> Arc<Fake> {
    let times = std::sync::atomic::AtomicU64::new(0);
    Arc::new(Fake::standard().select_pages(move |_, page| {
        let times = times.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let yes = |place| (place, selected(times.is_multiple_of(2), "mood"));
        Ok(outcome((0_u32..).zip(page).map(|(place, _)| yes(place)).collect()))
    }))
}

#[test]
fn one_run_in_many_asks_twice_and_reports_the_first_difference() {
    let run = |seed| longshore_model::RunFacts { seed, ..manual() };
    let every = longshore_policy::Limits::DEFAULT.runs_per_recheck;
    let ask = |seed| set(&[&fickle()]).select(&run(seed), &collections(&["a", "b"]), &no_guardrails());
    let error = ask(7 * every).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `standard` 1.2.3 (member `standard`, selection) failed: asked the same question twice it did not give the same answer about default.a: first in (mood: Because of mood.), then left out (mood: Because of mood.); report this to the authors of Longshore, with the plugin");
    assert!(matches!(&error, PolicyError::PluginFailed { failure, .. } if failure.code == "unrepeatable"));
    ask(7 * every + 1).unwrap();
    let steady = Arc::new(Fake::standard());
    set(&[&steady]).select(&run(0), &collections(&["a"]), &no_guardrails()).unwrap();
    assert_eq!(steady.seen.lock().unwrap().len(), 2);
}

#[test]
fn which_page_is_asked_twice_follows_from_the_seed_and_a_skipped_member_is_left_out() {
    let limits = longshore_policy::Limits { page_items: 1, runs_per_recheck: 2, ..longshore_policy::Limits::DEFAULT };
    let (fickle, standard) = (fickle(), Arc::new(Fake::standard()));
    let skipped = longshore_policy::Member {
        name: "fickle".to_owned(),
        on_failure: longshore_policy::OnFailure::Skip,
        ..member(&fickle)
    };
    let mut builder = longshore_policy::PolicySet::builder().limits(limits);
    builder = builder.member(PolicyKind::Selection, skipped).unwrap();
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, member(&standard)).unwrap();
    }
    // Of three pages the second, because 8 / 2 % 3 is 1.
    let run = longshore_model::RunFacts { seed: 8, ..manual() };
    let plan = builder.build().unwrap().select(&run, &collections(&["a", "b", "c"]), &no_guardrails()).unwrap();
    assert_eq!(plan.skipped[0].failure.code, "unrepeatable");
    let pages = |fake: &Fake| fake.seen.lock().unwrap().iter().map(|seen| seen.page_number).collect::<Vec<_>>();
    assert_eq!(pages(&fickle), [0, 1, 1]);
    assert_eq!(pages(&standard), [0, 1, 1, 2]);
    assert!(plan.decisions.iter().all(|decision| decision.decided_by.member == "standard"));
}

#[test]
fn failures_replay_as_the_same_failure() {
    let broken = Arc::new(Fake::new("broken").select_pages(|_, _| Err(trapped())));
    let error = set(&[&broken]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap_err();
    let PolicyError::PluginFailed { record, .. } = error else { panic!("{error}") };
    let read = DecisionRecord::from_json(&record.to_json().unwrap()).unwrap();
    assert!(replay(&read, broken.as_ref()).unwrap().same);
    let repaired = replay(&read, &Fake::standard()).unwrap();
    assert_eq!(repaired.differences[0].what, "outcome");
    assert_eq!(repaired.differences[0].replayed, "answered");
}

#[test]
fn a_record_of_another_contract_or_kind_cannot_be_replayed() {
    let mut record =
        records(set(&[&Arc::new(Fake::standard())]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap())
            .remove(0);
    let placement_only = Fake::new("placement").serving(&[PolicyKind::Placement]);
    insta::assert_snapshot!(replay(&record, &placement_only).unwrap_err(), @"the record cannot be replayed: plugin `placement` does not serve selection");
    record.world = "longshore:policy@9.0.0".to_owned();
    insta::assert_snapshot!(replay(&record, &Fake::standard()).unwrap_err(), @"the record cannot be replayed: it was made with `longshore:policy@9.0.0`, this program speaks `longshore:policy@0.1.0`");
}

#[test]
fn text_that_is_no_record_or_one_of_another_form_is_refused() {
    insta::assert_snapshot!(DecisionRecord::from_json("{}").unwrap_err(), @"this is not a decision record: missing field `format_version` at line 1 column 2; give one that this version of Longshore wrote");
    insta::assert_snapshot!(DecisionRecord::from_json(r#"{"format_version": 2}"#).unwrap_err(), @"this is not a decision record: it has format version 2, this program reads 1; give one that this version of Longshore wrote");
    insta::assert_snapshot!(DecisionRecord::from_json(r#"{"format_version": 1}"#).unwrap_err(), @"this is not a decision record: missing field `world` at line 1 column 21; give one that this version of Longshore wrote");
}

#[test]
fn a_record_is_short_in_a_log() {
    let plan = set(&[&Arc::new(Fake::standard())])
        .select(&manual(), &collections(&["secret_name"]), &no_guardrails())
        .unwrap();
    let shown = format!("{:?}", plan.records[0]);
    assert!(shown.len() < 400 && !shown.contains("secret_name"), "{shown}");
}
