//! The settings type and the settings schema say the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_cost_cap::{CostCap, Settings};
use longshore_plugin::Plugin;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(CostCap::about().settings_schema).unwrap()
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults_of_the_type() {
    let mut written = json!({});
    for (name, property) in schema()["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            written[name] = default.clone();
        }
    }
    assert_eq!(written.as_object().unwrap().len(), 7, "all but price and budget, which have no default");
    let read = |value: Value| serde_json::from_value::<Settings>(value);
    assert!(schema()["required"].is_null());
    assert_eq!(written["copies"], 1);
    assert_eq!(read(written).unwrap(), read(json!({})).unwrap());
    assert!(read(json!({"surprise": 1})).is_err());
}

#[test]
fn every_setting_has_a_title_and_a_description() {
    for (name, property) in schema()["properties"].as_object().unwrap() {
        for word in ["title", "description"] {
            assert!(property[word].as_str().is_some_and(|text| !text.is_empty()), "{word} of {name}");
        }
    }
}
