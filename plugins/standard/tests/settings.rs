//! The settings type and the settings schema say the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::Plugin;
use longshore_standard::{Settings, Standard};
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(Standard::about().settings_schema).unwrap()
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults_of_the_type() {
    let defaults: serde_json::Map<String, Value> = schema()["properties"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
        .collect();
    assert_eq!(defaults.len(), 5);
    let read: Settings = serde_json::from_value(Value::Object(defaults)).unwrap();
    assert_eq!(read, Settings::default());
}

#[test]
fn the_type_takes_every_property_of_the_schema_and_no_other() {
    let everything = serde_json::json!({
        "exclude_collections": ["tmp_*"],
        "include_index_files": true,
        "minimum_saving_percent": 5,
        "minimum_compress_mb_per_second": 50,
        "copies": [{"region": "eu-2", "retention_days": 7}],
        "retention_days": 30
    });
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&everything), names(&schema()["properties"]));
    serde_json::from_value::<Settings>(everything.clone()).unwrap();
    let mut more = everything;
    more["surprise"] = Value::Bool(true);
    assert!(serde_json::from_value::<Settings>(more).is_err());
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
