//! Forms of file that are accepted (the third one, a plain core module, is in `handmade`).

use longshore_model::PolicyKind;
use longshore_sandbox::Budget;

use super::fixtures::{behave, hostile, sandbox, select_with, wasm};

#[test]
fn a_component_says_who_it_is_and_what_it_serves() {
    let plugin = hostile();
    assert_eq!(plugin.kinds(), [PolicyKind::Selection, PolicyKind::Compression, PolicyKind::Placement]);
    assert_eq!(plugin.about().name, "hostile");
    assert!(plugin.about().settings_schema.contains("\"behaviour\""));
    assert_eq!(plugin.digest().to_string(), blake3::hash(&wasm("hostile/hostile")).to_string());
}

#[test]
fn a_core_module_for_wasip1_is_adapted_and_decides_alike() {
    let bytes = wasm("hostile/hostile-wasip1");
    let adapted = sandbox().load(&bytes, &Budget::default()).unwrap();
    assert_eq!(adapted.about(), hostile().about());
    assert_eq!(adapted.kinds(), hostile().kinds());
    assert_eq!(
        adapted.digest().to_string(),
        blake3::hash(&bytes).to_string(),
        "of the file, not of what is made of it"
    );
    for behaviour in ["honest", "exclude-all", "flood-log", "sleep", "network", "read-file"] {
        let there = select_with(&adapted, &behave(behaviour), &Budget::default()).unwrap();
        let here = select_with(hostile(), &behave(behaviour), &Budget::default()).unwrap();
        assert_eq!(there.answer.len(), here.answer.len(), "{behaviour}");
    }
    for behaviour in ["panic", "eat-memory", "answer-twice"] {
        select_with(&adapted, &behave(behaviour), &Budget::default()).unwrap_err();
    }
}

#[test]
fn the_shipped_policies_load_and_describe_themselves() {
    let standard = sandbox().load(&wasm("standard/standard"), &Budget::default()).unwrap();
    assert_eq!(standard.kinds().len(), 3);
    assert_eq!(standard.about().name, "standard");
    let residency = sandbox().load(&wasm("residency/residency"), &Budget::default()).unwrap();
    assert_eq!(residency.about().name, "residency");
}
