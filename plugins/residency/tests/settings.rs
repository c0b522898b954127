//! The settings type and the settings schema say the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::Plugin;
use longshore_residency::{Residency, Settings};
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(Residency::about().settings_schema).unwrap()
}

#[test]
fn the_defaults_of_the_schema_are_the_defaults_of_the_type() {
    let properties = schema()["properties"].clone();
    for name in ["second_region", "second_region_required"] {
        assert_eq!(properties[name]["default"], json!(false));
    }
    let read: Settings = serde_json::from_str("{}").unwrap();
    assert_eq!(read, Settings::default());
    assert!(!read.second_region && !read.second_region_required && read.default_jurisdiction.is_none());
}

#[test]
fn the_type_takes_every_property_of_the_schema_and_no_other() {
    let everything = json!({
        "default_jurisdiction": "eu",
        "second_region": true,
        "second_region_required": true,
        "second_region_retention_days": 90,
        "retention_days": 30
    });
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&everything), names(&schema()["properties"]));
    serde_json::from_value::<Settings>(everything.clone()).unwrap();
    let mut more = everything;
    more["surprise"] = json!(true);
    assert!(serde_json::from_value::<Settings>(more).is_err());
    assert_eq!(schema()["additionalProperties"], json!(false));
}
