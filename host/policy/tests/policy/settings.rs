//! Settings under a plugin's own schema.

use std::sync::Arc;

use longshore_model::PolicyKind;
use longshore_policy::{Limits, Member, PolicyError, PolicySet, SettingsSchema};
use serde_json::{Value, json};

use crate::support::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "second_copy": {"type": "boolean"},
            "days": {"$ref": "#/$defs/days"},
            "tiers": {"type": "array", "items": {"type": "object", "properties": {"days": {"$ref": "#/$defs/days"}}}},
            "prefix": {"type": "string", "pattern": "^[a-z]{1,8}$"}
        },
        "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 30}}
    })
}

fn refusal(settings: &Value) -> String {
    let schema = SettingsSchema::parse("tiered", &schema().to_string(), &Limits::DEFAULT).unwrap();
    schema.check("first", settings, &Limits::DEFAULT).unwrap_err().to_string()
}

#[test]
fn settings_that_fit_are_accepted_and_reach_the_plugin_in_canonical_form() {
    let tiered = Arc::new(Fake::standard().schema(schema()));
    let settings = json!({"tiers": [{"days": 3}], "days": 7, "second_copy": true});
    let mut builder = PolicySet::builder();
    for kind in PolicyKind::ALL {
        builder = builder.member(kind, Member { settings: settings.clone(), ..member(&tiered) }).unwrap();
    }
    let plan = builder.build().unwrap().select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    let text = r#"{"days":7,"second_copy":true,"tiers":[{"days":3}]}"#;
    assert_eq!(tiered.seen.lock().unwrap()[0].settings, text);
    assert_eq!(plan.records[0].settings, text);
    assert_eq!(plan.records[0].settings_digest.as_bytes(), blake3::hash(text.as_bytes()).as_bytes());
}

#[test]
fn settings_left_out_are_an_empty_object() {
    let schema = SettingsSchema::parse("tiered", &schema().to_string(), &Limits::DEFAULT).unwrap();
    schema.check("first", &Value::Null, &Limits::DEFAULT).unwrap();
    let needs = SettingsSchema::parse("needs", r#"{"required": ["a"]}"#, &Limits::DEFAULT).unwrap();
    let error = needs.check("first", &Value::Null, &Limits::DEFAULT).unwrap_err();
    insta::assert_snapshot!(error, @r#"settings of member `first` (plugin `needs`) at `/`: "a" is a required property"#);
}

#[test]
fn settings_that_do_not_fit_are_refused_with_the_place_and_a_sentence() {
    insta::assert_snapshot!(refusal(&json!({"second_copy": "yes"})), @r#"settings of member `first` (plugin `tiered`) at `/second_copy`: "yes" is not of type "boolean""#);
    insta::assert_snapshot!(refusal(&json!({"days": 31})), @"settings of member `first` (plugin `tiered`) at `/days`: 31 is greater than the maximum of 30");
    insta::assert_snapshot!(refusal(&json!({"tiers": [{"days": 1}, {"days": 0}]})), @"settings of member `first` (plugin `tiered`) at `/tiers/1/days`: 0 is less than the minimum of 1");
    insta::assert_snapshot!(refusal(&json!({"secnd_copy": true})), @"settings of member `first` (plugin `tiered`) at `/`: Additional properties are not allowed ('secnd_copy' was unexpected)");
    insta::assert_snapshot!(refusal(&json!({"prefix": "Ab"})), @r#"settings of member `first` (plugin `tiered`) at `/prefix`: "Ab" does not match "^[a-z]{1,8}$""#);
    insta::assert_snapshot!(refusal(&json!([1])), @"settings of member `first` (plugin `tiered`) at `/`: settings are a table of names and values");
}

#[test]
fn settings_that_are_too_long_or_too_deep_are_refused() {
    let anything = SettingsSchema::parse("any", "{}", &Limits::DEFAULT).unwrap();
    let long = json!({"a": "x".repeat(Limits::DEFAULT.settings_bytes)});
    let error = anything.check("first", &long, &Limits::DEFAULT).unwrap_err();
    insta::assert_snapshot!(error, @"settings of member `first` (plugin `any`) at `/`: they have 262152 bytes, more than 262144");
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!({"a": deep});
    }
    let error = anything.check("first", &deep, &Limits::DEFAULT).unwrap_err();
    insta::assert_snapshot!(error, @"settings of member `first` (plugin `any`) at `/`: they are nested 41 levels deep, more than 32");
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_before_the_plugin_is_accepted() {
    let problem = |schema: &str| {
        let plugin = Arc::new(Fake::new("odd").schema(schema));
        PolicySet::builder().member(PolicyKind::Selection, member(&plugin)).unwrap_err().to_string()
    };
    insta::assert_snapshot!(problem(""), @"plugin `odd` has an unusable settings schema: it is not JSON: EOF while parsing a value at line 1 column 0; its author has to correct it");
    insta::assert_snapshot!(problem("{"), @"plugin `odd` has an unusable settings schema: it is not JSON: EOF while parsing an object at line 1 column 1; its author has to correct it");
    insta::assert_snapshot!(problem(r#"{"type": "objekt"}"#), @r#"plugin `odd` has an unusable settings schema: at `/type`: "objekt" is not valid under any of the schemas listed in the 'anyOf' keyword; its author has to correct it"#);
    insta::assert_snapshot!(problem(r#"{"properties": {"a": {"pattern": "(a"}}}"#), @r#"plugin `odd` has an unusable settings schema: at `/properties/a/pattern`: "(a" is not a "regex"; its author has to correct it"#);
    insta::assert_snapshot!(problem(r#"{"properties": {"a": {"$ref": "https://example.com/x.json"}}}"#), @"plugin `odd` has an unusable settings schema: `$ref` at `/properties/a/$ref` is not a path within the schema, like `#/$defs/name`; its author has to correct it");
    let long = format!(r#"{{"description": "{}"}}"#, "x".repeat(64 * 1024));
    insta::assert_snapshot!(problem(&long), @"plugin `odd` has an unusable settings schema: it has 65555 bytes, more than 65536; its author has to correct it");
}

#[test]
fn regular_expressions_that_need_backtracking_or_much_memory_are_refused() {
    for pattern in [r"^(?=a)b", r"(a)\\1", r"(?:(?:a{1000}){1000}){1000}"] {
        let schema = format!(r#"{{"properties": {{"a": {{"pattern": "{pattern}"}}}}}}"#);
        let error = SettingsSchema::parse("odd", &schema, &Limits::DEFAULT).unwrap_err();
        assert!(matches!(error, PolicyError::BadSchema { .. }), "{error}");
    }
}

#[test]
fn a_pattern_that_takes_for_ever_elsewhere_takes_no_time_here() {
    // With backtracking this is 2^60000 steps: the test would not end.
    let schema = SettingsSchema::parse("odd", r#"{"properties": {"a": {"pattern": "^(a+)+$"}}}"#, &Limits::DEFAULT);
    let settings = json!({"a": format!("{}!", "a".repeat(60_000))});
    schema.unwrap().check("first", &settings, &Limits::DEFAULT).unwrap_err();
}
