//! The settings type and the settings schema say the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::{Plugin, Run, SelectionPolicy};
use longshore_tiered::{Settings, Tiered};
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(Tiered::about().settings_schema).unwrap()
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults_of_the_type() {
    let properties = schema()["properties"].as_object().unwrap().clone();
    let defaults: serde_json::Map<String, Value> =
        properties.into_iter().map(|(name, property)| (name, property["default"].clone())).collect();
    assert_eq!(defaults.len(), 9);
    let read: Settings = serde_json::from_value(Value::Object(defaults)).unwrap();
    assert_eq!(read, Settings::default());
}

#[test]
fn a_setting_that_it_does_not_know_is_refused() {
    assert!(serde_json::from_str::<Settings>(r#"{"surprise": true}"#).is_err());
    assert_eq!(schema()["additionalProperties"], Value::Bool(false));
}

#[test]
fn every_setting_has_a_title_and_a_description() {
    for (name, property) in schema()["properties"].as_object().unwrap() {
        for word in ["title", "description"] {
            assert!(property[word].as_str().is_some_and(|text| !text.is_empty()), "{word} of {name}");
        }
    }
}

#[test]
fn cold_before_warm_is_a_contradiction() {
    let run = Run::default().with_settings(r#"{"warm_after_days": 30}"#);
    let refusal = Tiered::select(&run, &[]).unwrap_err();
    assert_eq!(refusal.reason.code, "invalid-settings");
    assert!(refusal.reason.message.contains("cold_after_days (30)"), "{}", refusal.reason.message);
}
