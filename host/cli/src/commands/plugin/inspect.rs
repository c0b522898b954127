//! `longshore plugin inspect`: what a plugin is, as the host sees it.

use std::path::PathBuf;

use longshore_sandbox::{Budget, FileFacts, Origin};
use serde_json::{Value, json};

use super::{load, read_plugin};
use crate::Exit;
use crate::output::{Output, number};

/// Most imports that a person is shown.
const SHOWN_IMPORTS: usize = 24;

pub(crate) fn run(file: &str, budget: &Budget, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let plugin = load(file, budget, code_cache)?;
    let facts = FileFacts::read(&read_plugin(file)?)?;
    let about = plugin.about();
    let schema: Value = serde_json::from_str(&about.settings_schema).unwrap_or(Value::Null);
    let kinds: Vec<&str> = plugin.kinds().iter().map(|kind| kind.as_str()).collect();
    let built_by: Vec<String> = facts.producers.iter().map(|(_, name, version)| format!("{name} {version}")).collect();
    let inspected = json!({
        "name": about.name, "version": about.version, "author": about.author, "description": about.description,
        "kinds": kinds, "world": world(&kinds), "digest": plugin.digest(), "settingsSchema": schema,
        "builtAs": facts.form.as_str(), "builtBy": built_by, "sizeBytes": facts.size_bytes, "codeBytes": facts.code_bytes,
        "dataBytes": facts.data_bytes, "debugBytes": facts.debug_bytes, "imports": facts.imports,
        "compiled": if plugin.origin() == Origin::Cached { "earlier" } else { "now" },
    });
    output.result(&inspected, || describe(&inspected));
    Ok(Exit::Done)
}

/// The world of the contract that the kinds make up.
fn world(kinds: &[&str]) -> String {
    match kinds {
        [one] => format!("{one}-policy"),
        [_, _, _] => "full-policy".to_owned(),
        several => several.iter().map(|kind| format!("{kind}-policy")).collect::<Vec<_>>().join(" and "),
    }
}

fn describe(value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| -> Vec<String> {
        value[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let bytes = |key: &str| number(value[key].as_u64().unwrap_or_default());
    let built_by =
        if list("builtBy").is_empty() { String::new() } else { format!(", by {}", list("builtBy").join(", ")) };
    let mut lines = format!(
        "{} {}\n{}\nauthor    {}\nkinds     {} (world {})\nbuilt as  {}{built_by}\nsize      {} bytes: {} code, {} data, {} debug\n\
         digest    {}\ncompiled  {}\nimports ",
        text("name"),
        text("version"),
        text("description"),
        text("author"),
        list("kinds").join(", "),
        text("world"),
        text("builtAs"),
        bytes("sizeBytes"),
        bytes("codeBytes"),
        bytes("dataBytes"),
        bytes("debugBytes"),
        text("digest"),
        text("compiled"),
    );
    let imports = list("imports");
    match imports.len() {
        0 => lines.push_str("  nothing"),
        many => {
            imports.iter().take(SHOWN_IMPORTS).for_each(|name| lines.push_str(&format!("\n  {name}")));
            if many > SHOWN_IMPORTS {
                lines.push_str(&format!("\n  and {} more", many - SHOWN_IMPORTS));
            }
        }
    }
    lines.push_str("\nsettings");
    let properties = value["settingsSchema"]["properties"].as_object();
    if properties.is_none_or(serde_json::Map::is_empty) {
        lines.push_str("  none");
    }
    for (name, schema) in properties.into_iter().flatten() {
        let kind = schema["type"].as_str().unwrap_or("any");
        let default =
            if schema["default"].is_null() { String::new() } else { format!(", default {}", schema["default"]) };
        let about = schema["description"].as_str().unwrap_or_default();
        lines.push_str(&format!("\n  {name} ({kind}{default}): {about}"));
    }
    lines
}
