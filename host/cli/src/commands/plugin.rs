//! `longshore plugin`: look at policy plugins as the host sees them.

use std::path::PathBuf;

use longshore_engine::{Limits, load_plugin};
use longshore_sandbox::{Budget, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::Exit;
use crate::args::Plugin;
use crate::output::Output;

pub(crate) async fn run(arguments: Plugin, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let Plugin::Inspect { file } = arguments;
    let inspected = tokio::task::spawn_blocking(move || -> anyhow::Result<Value> {
        let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
        let plugin = load_plugin(&sandbox, &file, &Budget::default(), &Limits::default())?;
        let about = plugin.about();
        let schema: Value = serde_json::from_str(&about.settings_schema).unwrap_or(Value::Null);
        let kinds: Vec<&str> = plugin.kinds().iter().map(|kind| kind.as_str()).collect();
        Ok(json!({
            "name": about.name, "version": about.version, "author": about.author, "description": about.description,
            "kinds": kinds, "digest": plugin.digest(), "settingsSchema": schema,
        }))
    })
    .await??;
    output.result(&inspected, || describe(&inspected));
    Ok(Exit::Done)
}

fn describe(value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let kinds: Vec<&str> = value["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = format!(
        "{} {}\n{}\nauthor    {}\nkinds     {}\ndigest    {}\nsettings",
        text("name"),
        text("version"),
        text("description"),
        text("author"),
        kinds.join(", "),
        text("digest"),
    );
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
