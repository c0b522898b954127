//! The plugins that ship, as they are committed, in real chains.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore_model::{FileClass, PolicyKind, Selected};
use longshore_policy::{
    Budget, DecisionRecord, Grants, Guardrails, Member, OnFailure, Oracle, PlacementPlan, PolicyError, PolicySet,
    replay,
};
use longshore_sandbox::{Plugin, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::support::*;

/// A committed plugin, compiled once for all tests of this file.
fn plugin(name: &'static str) -> Plugin {
    static LOADED: Mutex<Option<(Sandbox, BTreeMap<&'static str, Plugin>)>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sandbox, plugins) =
        loaded.get_or_insert_with(|| (Sandbox::new(SandboxConfig::default()).unwrap(), BTreeMap::new()));
    plugins.entry(name).or_insert_with(|| load(sandbox, name)).clone()
}

fn load(sandbox: &Sandbox, name: &str) -> Plugin {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/{name}/{name}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    sandbox.load(&bytes, &Budget::default()).unwrap()
}

fn real_member(name: &'static str, settings: Value) -> Member {
    Member {
        name: name.to_owned(),
        plugin: Arc::new(plugin(name)),
        settings,
        on_failure: OnFailure::Fail,
        required: false,
        budget: Budget::default(),
        grants: Grants::default(),
        shadow: None,
    }
}

/// A set of which the placement chain is given; `standard` decides the rest.
fn placement_chain(members: Vec<Member>) -> PolicySet {
    let mut builder = PolicySet::builder();
    for kind in [PolicyKind::Selection, PolicyKind::Compression] {
        builder = builder.member(kind, real_member("standard", json!({}))).unwrap();
    }
    for member in members {
        builder = builder.member(PolicyKind::Placement, member).unwrap();
    }
    builder.build().unwrap()
}

fn resident(name: &str, jurisdiction: &str) -> longshore_model::CollectionFacts {
    let mut facts = collection(name);
    facts.properties = vec![("data.region".to_owned(), jurisdiction.to_owned())];
    facts
}

fn places(plan: &PlacementPlan) -> Vec<String> {
    let line = |d: &longshore_policy::Decision<longshore_model::Placed>| {
        let copies: Vec<&str> = d.value.copies.iter().map(|copy| copy.region.as_str()).collect();
        format!("{} {} [{}] {}", d.collection, d.value.region, copies.join(" "), d.decided_by.plugin)
    };
    plan.decisions.iter().map(line).collect()
}

#[test]
fn putting_residency_into_the_chain_changes_where_collections_go() {
    let facts = [resident("american", "US"), resident("european", "eu"), collection("anywhere")];
    let offers = regions(&["eu-1", "eu-2", "us-1", "us-2"]);
    let before = placement_chain(vec![real_member("standard", json!({}))]);
    let plan = before.place(&automatic(), &facts, &offers, &no_guardrails()).unwrap();
    insta::assert_snapshot!(places(&plan).join("\n"), @r"
        default.american eu-1 [] standard
        default.european eu-1 [] standard
        default.anywhere eu-1 [] standard
        ");
    let settings = json!({"second_region": true, "retention_days": 3});
    let after = placement_chain(vec![real_member("residency", settings), real_member("standard", json!({}))]);
    let schedule = Guardrails { minimum_retention_days: Some(7), ..no_guardrails() };
    let plan = after.place(&automatic(), &facts, &offers, &schedule).unwrap();
    insta::assert_snapshot!(places(&plan).join("\n"), @r"
        default.american us-1 [us-2] residency
        default.european eu-1 [eu-2] residency
        default.anywhere eu-1 [] standard
        ");
    assert_eq!(plan.decisions[0].value.retention_days, Some(7));
    assert_eq!(plan.decisions[0].overridden.as_ref().unwrap().original.retention_days, Some(3));
}

#[test]
fn residency_refuses_by_name_where_guardrails_leave_no_region_of_the_jurisdiction() {
    let chain = placement_chain(vec![real_member("residency", json!({})), real_member("standard", json!({}))]);
    let offers = regions(&["eu-1", "us-1"]);
    let guardrails = Guardrails { allowed_regions: Some(vec!["eu-1".parse().unwrap()]), ..no_guardrails() };
    let facts = [collection("anywhere"), resident("american", "us")];
    let error = chain.place(&manual(), &facts, &offers, &guardrails).unwrap_err();
    insta::assert_snapshot!(error, @"plugin `residency` 0.1.0 (member `residency`, placement) refuses: default.american must stay in us, but no region on offer is there. On offer: eu-1 (eu). Add a region of that jurisdiction to the project, or correct data.region. (no-region-allowed), about default.american");
    let PolicyError::Refused { record, .. } = error else { panic!("{error}") };
    let again = replay(&record, &plugin("residency")).unwrap();
    assert!(again.same && again.same_plugin, "{:?}", again.differences);
}

#[test]
fn settings_that_a_shipped_plugin_does_not_know_are_refused_with_path_and_sentence() {
    let refusal =
        |kind, name, settings| PolicySet::builder().member(kind, real_member(name, settings)).unwrap_err().to_string();
    insta::assert_snapshot!(refusal(PolicyKind::Placement, "residency", json!({"second_region": "yes"})), @r#"settings of member `residency` (plugin `residency`) at `/second_region`: "yes" is not of type "boolean""#);
    insta::assert_snapshot!(refusal(PolicyKind::Placement, "residency", json!({"second_regoin": true})), @"settings of member `residency` (plugin `residency`) at `/`: Additional properties are not allowed ('second_regoin' was unexpected)");
    insta::assert_snapshot!(refusal(PolicyKind::Selection, "standard", json!({"exclude_collections": ["a", ""]})), @r#"settings of member `standard` (plugin `standard`) at `/exclude_collections/1`: "" is shorter than 1 character"#);
    insta::assert_snapshot!(refusal(PolicyKind::Placement, "standard", json!({"copies": [{"days": 1}]})), @"settings of member `standard` (plugin `standard`) at `/copies/0`: Additional properties are not allowed ('days' was unexpected)");
    insta::assert_snapshot!(refusal(PolicyKind::Selection, "residency", json!({})), @"plugin `residency` (member `residency`) does not serve selection; take it out of the selection chain");
}

#[test]
fn records_of_the_standard_policy_replay_the_same_on_another_engine() {
    let settings = json!({"exclude_collections": ["tmp_*"], "copies": [{"region": "eu-2"}]});
    let mut builder = PolicySet::builder();
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, real_member("standard", settings.clone())).unwrap();
    }
    let set = builder.build().unwrap();
    let facts: Vec<_> = (0..1_200)
        .map(|number| collection(&format!("{}{number}", if number % 3 == 0 { "tmp_" } else { "c" })))
        .collect();
    let streams =
        [stream("a", FileClass::Segment, &["store", "zstd-1"]), stream("a", FileClass::Wal, &["lz4", "store"])];
    let selection = set.select(&automatic(), &facts, &no_guardrails()).unwrap();
    let left_out = |value: &Selected| !value.include_collection;
    assert_eq!(selection.decisions.iter().filter(|d| left_out(&d.value)).count(), 400);
    let mut records = selection.records;
    assert_eq!(records.len(), 2, "1,200 collections are two pages");
    records.extend(set.choose(&automatic(), &streams).unwrap().records);
    records.extend(set.place(&automatic(), &facts, &regions(&["eu-1", "eu-2"]), &no_guardrails()).unwrap().records);
    let elsewhere = load(&Sandbox::new(SandboxConfig::default()).unwrap(), "standard");
    for record in records {
        let read = DecisionRecord::from_json(&record.to_json().unwrap()).unwrap();
        let again = replay(&read, &elsewhere).unwrap();
        assert!(again.same && again.same_plugin, "{:?}", again.differences);
    }
}

#[test]
fn a_plugin_that_loops_for_ever_is_named_or_skipped_as_the_operator_said() {
    let budget = Budget { fuel: 20_000_000, ..Budget::default() };
    let looping = Member { budget, ..real_member("hostile", json!({"behaviour": "loop", "kind": "selection"})) };
    let chain = |on_failure| {
        let mut builder = PolicySet::builder();
        builder = builder.member(PolicyKind::Selection, Member { on_failure, ..looping.clone() }).unwrap();
        for kind in PolicyKind::ALL {
            builder = builder.member(kind, real_member("standard", json!({}))).unwrap();
        }
        builder.build().unwrap()
    };
    let error = chain(OnFailure::Fail).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap_err();
    let PolicyError::PluginFailed { ref plugin, ref failure, .. } = error else { panic!("{error}") };
    assert_eq!((plugin.as_ref(), failure.code.as_str()), ("hostile", "out-of-fuel"));
    let plan = chain(OnFailure::Skip).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    assert_eq!(plan.decisions[0].decided_by.plugin, "standard");
    assert_eq!(plan.skipped[0].failure.code, "out-of-fuel");
}

#[test]
fn a_plugin_is_what_its_file_says() {
    let standard = plugin("standard");
    let oracle: &dyn Oracle = &standard;
    assert_eq!(oracle.about().name, "standard");
    assert!(PolicyKind::ALL.iter().all(|kind| oracle.serves(*kind)));
    assert!(!plugin("residency").serves(PolicyKind::Selection));
}
