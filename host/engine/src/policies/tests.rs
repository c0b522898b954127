//! What is remembered about policies, and what the next run is decided by: the rules one by one, without IO.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use longshore_model::{Digest, PolicyKind, Timestamp};
use longshore_policy::OnFailure;
use longshore_sandbox::Budget;
use serde_json::json;

use super::effective::{Effective, effective};
use super::spec::{CandidateSpec, MemberSpec, Scope, SetSpec};
use super::state::{HEALTH_MEMBERS, PolicyState, Promotion};
use super::transitions::{self, Activation, Verdict};
use crate::config::PluginsConfig;

const MINUTE_MS: i64 = 60_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * MINUTE_MS)
}

fn candidate(plugin: &str, digest: u8) -> CandidateSpec {
    CandidateSpec {
        plugin: plugin.to_owned(),
        digest: Digest::new([digest; 32]),
        version: format!("0.{digest}.0"),
        settings: json!({}),
        budget: Budget::default(),
    }
}

fn member(kind: PolicyKind, name: &str, digest: u8) -> MemberSpec {
    MemberSpec {
        kind,
        name: name.to_owned(),
        asked: candidate(&format!("{name}.wasm"), digest),
        on_failure: OnFailure::Fail,
        required: false,
        grants: Default::default(),
        pinned: false,
        shadow: None,
    }
}

fn project(members: Vec<MemberSpec>) -> SetSpec {
    SetSpec { scopes: [(Scope::Project, members)].into() }
}

/// Selection by `tiered` in this version, before `standard`.
fn set(digest: u8) -> SetSpec {
    let standard = MemberSpec { required: true, ..member(PolicyKind::Selection, "standard", 1) };
    project(vec![member(PolicyKind::Selection, "tiered", digest), standard])
}

/// Builds what a configuration says and puts it in force, as a host does.
fn run(state: &mut PolicyState, configured: &SetSpec, minute: i64) -> Effective {
    let now = effective(configured, state);
    transitions::end_promotions(state, &now.over);
    let activation = Activation {
        spec: now.spec.clone(),
        configured: now.configured,
        rolled_back: now.rolled_back,
        cause: "reload".to_owned(),
    };
    transitions::activate(state, &activation, 4, at(minute));
    now
}

fn asked(effective: &Effective) -> Vec<(String, u8)> {
    let members = effective.asked.members();
    members.map(|(_, member)| (member.name.clone(), member.asked.digest.as_bytes()[0])).collect()
}

/// Notes one run of the first member, good or failed.
fn note(state: &mut PolicyState, set: &SetSpec, failed: bool, minute: i64) -> usize {
    let (scope, first) = set.members().next().unwrap();
    let failure = failed.then(|| "trapped: it crashed".to_owned());
    let verdict = Verdict { scope: scope.clone(), member: first.clone(), failure };
    transitions::note_run(state, &set.fingerprint(), &[verdict], &PluginsConfig::default(), at(minute)).len()
}

#[test]
fn what_is_remembered_survives_the_catalog_and_another_form_is_not_read() {
    let mut state = PolicyState::default();
    run(&mut state, &set(2), 0);
    note(&mut state, &set(2), true, 1);
    let value = state.to_value().unwrap();
    assert_eq!(PolicyState::from_value(Some(&value)).unwrap(), state);
    assert_eq!(PolicyState::from_value(None).unwrap(), PolicyState::default());
    let mut later = value;
    later["formatVersion"] = json!(2);
    assert!(PolicyState::from_value(Some(&later)).unwrap_err().to_string().contains("form 2"));
    let scope: Scope = "in01-aa".to_owned().try_into().unwrap();
    assert_eq!((scope.to_string().as_str(), Scope::Project.to_string().as_str()), ("in01-aa", "project"));
    assert!(Scope::try_from("nonsense".to_owned()).is_err());
}

#[test]
fn a_set_is_written_down_when_it_differs_and_only_so_many_are_kept() {
    let mut state = PolicyState::default();
    for minute in 0..3 {
        run(&mut state, &set(2), minute);
    }
    assert_eq!((state.sets.len(), state.active), (1, Some(1)), "the same set is in force once");
    let mut shadowed = set(2);
    shadowed.scopes.get_mut(&Scope::Project).unwrap()[0].shadow = Some(candidate("new.wasm", 9));
    run(&mut state, &shadowed, 4);
    assert_eq!(state.sets.len(), 1, "a candidate decides nothing, so the set is the same");
    for digest in 3..20 {
        run(&mut state, &set(digest), i64::from(digest));
    }
    assert_eq!((state.sets.len(), state.sets[0].number, state.active), (4, 15, Some(18)));
}

#[test]
fn a_rollback_goes_to_the_newest_earlier_good_set_and_holds_until_the_configuration_changes() {
    let mut state = PolicyState::default();
    run(&mut state, &set(2), 0);
    note(&mut state, &set(2), false, 1);
    run(&mut state, &set(3), 2);
    note(&mut state, &set(3), true, 3);
    run(&mut state, &set(4), 4);
    let generation = state.generation;
    assert_eq!(transitions::roll_back(&mut state, None, at(5)).unwrap(), (3, 1), "set 2 never decided a run");
    assert!(state.generation > generation, "the host is told");
    let now = run(&mut state, &set(4), 6);
    assert_eq!((asked(&now)[0].1, now.rolled_back, state.active), (2, true, Some(1)));
    // A restart and a reload of the same configuration change nothing.
    assert_eq!(asked(&run(&mut state, &set(4), 7))[0].1, 2);
    assert_eq!(state.sets.len(), 3);
    let now = run(&mut state, &set(5), 8);
    assert_eq!((asked(&now)[0].1, now.rolled_back, state.rollback.is_none()), (5, false, true));
    assert!(state.sets[2].rejected, "nobody goes back to what was gone back from");
    assert_eq!(transitions::roll_back(&mut state, None, at(9)).unwrap(), (4, 1));
}

#[test]
fn a_rollback_can_be_ended_and_a_set_can_be_named() {
    let mut state = PolicyState::default();
    assert!(transitions::roll_back(&mut state, None, at(0)).unwrap_err().to_string().contains("start the host"));
    run(&mut state, &set(2), 0);
    assert!(transitions::roll_back(&mut state, None, at(0)).unwrap_err().to_string().contains("no earlier set"));
    assert!(transitions::follow(&mut state).unwrap_err().to_string().contains("nothing was rolled back"));
    run(&mut state, &set(3), 1);
    assert!(transitions::roll_back(&mut state, Some(9), at(2)).is_err());
    assert!(transitions::roll_back(&mut state, Some(2), at(2)).unwrap_err().to_string().contains("in force already"));
    transitions::roll_back(&mut state, Some(1), at(2)).unwrap();
    assert_eq!(asked(&run(&mut state, &set(3), 3))[0].1, 2);
    transitions::follow(&mut state).unwrap();
    assert_eq!(asked(&run(&mut state, &set(3), 4))[0].1, 3);
}

fn promotion(set: &SetSpec, digest: u8) -> Promotion {
    let (scope, first) = set.members().next().unwrap();
    Promotion {
        seat: first.seat(scope),
        in_place_of: first.asked.digest,
        plugin: "new.wasm".to_owned(),
        digest: Digest::new([digest; 32]),
        version: "9.0.0".to_owned(),
        settings: Some(json!({ "n": 1 })),
        budget: Some(Budget { memory_bytes: 512 << 20, ..Budget::default() }),
        time: at(0),
    }
}

#[test]
fn a_promoted_candidate_decides_as_long_as_the_configuration_names_what_it_replaced() {
    let (mut state, configured) = (PolicyState::default(), set(2));
    run(&mut state, &configured, 0);
    transitions::promote(&mut state, promotion(&configured, 9)).unwrap();
    let mut shadowed = configured.clone();
    shadowed.scopes.get_mut(&Scope::Project).unwrap()[0].shadow = Some(candidate("new.wasm", 9));
    let now = run(&mut state, &shadowed, 1);
    assert_eq!(asked(&now)[0].1, 9);
    let promoted = now.asked.members().next().unwrap().1;
    assert_eq!(
        (&promoted.asked.settings, promoted.shadow.as_ref()),
        (&json!({ "n": 1 }), None),
        "no candidate any more"
    );
    assert!(now.notes[0].what.contains("promoted in place of 0202"), "{:?}", now.notes);
    assert_eq!(promoted.asked.budget.memory_bytes, 512 << 20, "it decides under the budget it was tried under");
    // The configuration names another file: the operator has decided anew.
    let now = run(&mut state, &set(3), 2);
    assert_eq!((asked(&now)[0].1, now.over.len(), state.promotions.len()), (3, 1, 0));
    // A pin is not overridden.
    let mut pinned = set(2);
    pinned.scopes.get_mut(&Scope::Project).unwrap()[0].pinned = true;
    transitions::promote(&mut state, promotion(&pinned, 9)).unwrap();
    assert_eq!(asked(&effective(&pinned, &state))[0].1, 2);
}

#[test]
fn a_rollback_takes_a_promotion_back_without_a_change_of_the_configuration() {
    let (mut state, configured) = (PolicyState::default(), set(2));
    run(&mut state, &configured, 0);
    note(&mut state, &configured, false, 0);
    transitions::promote(&mut state, promotion(&configured, 9)).unwrap();
    run(&mut state, &configured, 1);
    assert_eq!(transitions::roll_back(&mut state, None, at(2)).unwrap(), (2, 1));
    let now = run(&mut state, &configured, 3);
    assert_eq!((asked(&now)[0].1, state.promotions.len(), state.rollback.is_none()), (2, 0, true));
    assert_eq!((state.active, state.sets.len()), (Some(1), 2));
    // While an earlier set holds in place of the configuration, nothing is promoted.
    run(&mut state, &set(5), 4);
    transitions::roll_back(&mut state, Some(1), at(5)).unwrap();
    let refused = transitions::promote(&mut state, promotion(&configured, 9)).unwrap_err();
    assert!(refused.to_string().contains("policy follow"), "{refused}");
}

#[test]
fn a_member_is_quarantined_after_so_many_failures_within_the_window_and_not_before() {
    let (mut state, configured) = (PolicyState::default(), set(2));
    run(&mut state, &configured, 0);
    assert_eq!([note(&mut state, &configured, true, 0), note(&mut state, &configured, true, 30)], [0, 0]);
    // The first failure has left the window of an hour.
    assert_eq!(note(&mut state, &configured, true, 61), 0);
    assert_eq!(note(&mut state, &configured, false, 62), 0, "an answer between does not clear the others");
    assert_eq!(note(&mut state, &configured, true, 63), 1);
    assert_eq!(note(&mut state, &configured, true, 64), 0, "it is quarantined once");
    let one = &state.quarantine[0];
    assert_eq!((one.failures, one.since, one.seat.member.as_str()), (3, at(63), "tiered"));
    assert_eq!(state.counters["quarantines"], 1);
    // Another file, other settings or another budget are a new thing.
    let mut raised = configured.clone();
    raised.scopes.get_mut(&Scope::Project).unwrap()[0].asked.budget.fuel += 1;
    assert_eq!(asked(&effective(&raised, &state)).len(), 2);
    assert!(effective(&raised, &state).blocked.is_empty());
    assert_eq!(effective(&configured, &state).blocked.len(), 1);
    assert_eq!(transitions::release(&mut state, |seat| seat.member == "tiered", "tiered").unwrap().len(), 1);
    assert!(effective(&configured, &state).blocked.is_empty());
    assert_eq!(note(&mut state, &configured, true, 65), 0, "it starts with a clean record");
    assert!(transitions::release(&mut state, |_| true, "tiered").is_err());
}

fn quarantined(configured: &SetSpec) -> PolicyState {
    let mut state = PolicyState::default();
    run(&mut state, configured, 0);
    for minute in 1..=3 {
        note(&mut state, configured, true, minute);
    }
    assert_eq!(state.quarantine.len(), 1);
    state
}

#[test]
fn the_last_good_version_answers_for_a_member_in_quarantine() {
    let mut state = PolicyState::default();
    run(&mut state, &set(2), 0);
    note(&mut state, &set(2), false, 0);
    // This one was in force and only failed: it is no good version.
    run(&mut state, &set(3), 1);
    note(&mut state, &set(3), true, 1);
    run(&mut state, &set(4), 2);
    for minute in 3..6 {
        note(&mut state, &set(4), true, minute);
    }
    let now = effective(&set(4), &state);
    assert_eq!(asked(&now), [("tiered".to_owned(), 2), ("standard".to_owned(), 1)]);
    assert!(now.blocked.is_empty() && now.notes[0].what.contains("its last good version 0202"), "{:?}", now.notes);
    assert!(now.notes[0].fallback);
    // A pin names the one file that may answer.
    let mut pinned = set(4);
    pinned.scopes.get_mut(&Scope::Project).unwrap()[0].pinned = true;
    assert_eq!(effective(&pinned, &state).blocked.len(), 1);
}

#[test]
fn what_was_gone_back_from_does_not_answer_for_a_member_in_quarantine() {
    let mut state = PolicyState::default();
    for (digest, minute) in [(2, 0), (3, 1)] {
        run(&mut state, &set(digest), minute);
        note(&mut state, &set(digest), false, minute);
    }
    transitions::roll_back(&mut state, None, at(2)).unwrap();
    run(&mut state, &set(4), 3);
    for minute in 4..7 {
        note(&mut state, &set(4), true, minute);
    }
    assert_eq!(
        asked(&effective(&set(4), &state))[0],
        ("tiered".to_owned(), 2),
        "3 did well, and people went back from it"
    );
}

#[test]
fn without_a_good_version_nobody_stands_in_where_silence_would_decide() {
    let with = |kind, on_failure, required| {
        let first = MemberSpec { on_failure, required, ..member(kind, "tiered", 2) };
        project(vec![first, MemberSpec { required: true, ..member(kind, "standard", 1) }])
    };
    use OnFailure::{Fail, Skip};
    use PolicyKind::{Compression, Placement, Selection};
    for (kind, on_failure, required, left_out) in [
        (Selection, Skip, false, true),
        (Compression, Skip, false, true),
        (Selection, Fail, false, false),
        (Selection, Skip, true, false),
        (Placement, Fail, false, false),
        // Not even if somebody got it past the check of the chain.
        (Placement, Skip, false, false),
    ] {
        let configured = with(kind, on_failure, required);
        let now = effective(&configured, &quarantined(&configured));
        assert_eq!(now.blocked.is_empty(), left_out, "{kind} {on_failure:?} {required}");
        assert_eq!(asked(&now).len(), if left_out { 1 } else { 2 }, "{kind} {on_failure:?} {required}");
    }
    // Nobody would be left to ask.
    let alone = project(vec![MemberSpec { on_failure: Skip, ..member(Selection, "tiered", 2) }]);
    assert_eq!(effective(&alone, &quarantined(&alone)).blocked.len(), 1);
}

#[test]
fn a_cluster_has_its_own_chain_of_a_kind_or_that_of_the_project() {
    let scope: Scope = "in01-aa".to_owned().try_into().unwrap();
    let mut spec = set(2);
    spec.scopes.insert(scope.clone(), vec![member(PolicyKind::Selection, "own", 7)]);
    let names = |scope: &Scope, kind| {
        let (of, chain) = spec.chain(scope, kind);
        (of, chain.into_iter().map(|member| member.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&scope, PolicyKind::Selection), (scope.clone(), vec!["own".to_owned()]));
    assert_eq!(names(&scope, PolicyKind::Placement), (Scope::Project, vec![]));
    let other: Scope = "in01-bb".to_owned().try_into().unwrap();
    assert_eq!(names(&other, PolicyKind::Selection).1, ["tiered", "standard"]);
    let before = set(2).fingerprint();
    assert_ne!(spec.fingerprint(), before);
}

#[test]
fn health_is_bounded() {
    let mut state = PolicyState::default();
    for number in 0..HEALTH_MEMBERS + 10 {
        let mut configured = set(2);
        configured.scopes.get_mut(&Scope::Project).unwrap()[0].asked.settings = json!({ "n": number });
        note(&mut state, &configured, true, i64::try_from(number).unwrap());
    }
    assert_eq!(state.health.len(), HEALTH_MEMBERS);
    assert!(state.health.values().all(|health| health.last >= at(10)), "the oldest went");
}

#[test]
fn a_plugin_that_is_in_use_is_not_removed() {
    let mut state = PolicyState::default();
    let installed = || super::Installed {
        plugin: "tiered".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::new([2; 32]),
        kinds: vec![PolicyKind::Selection],
        signer: None,
        time: at(0),
    };
    transitions::install(&mut state, "tiered", installed());
    let mut configured = set(2);
    configured.scopes.get_mut(&Scope::Project).unwrap()[0].asked.plugin = "tiered".to_owned();
    run(&mut state, &configured, 0);
    let error = transitions::remove(&mut state, "tiered").unwrap_err().to_string();
    assert!(error.contains("selection/tiered of project"), "{error}");
    run(&mut state, &set(3), 1);
    assert_eq!(transitions::remove(&mut state, "tiered").unwrap(), installed());
    assert!(transitions::remove(&mut state, "tiered").is_err());
}
