//! `longshore plugin check`: whether a file is a plugin that hosts load, and what could be better.

use std::path::PathBuf;

use longshore_policy_test::check::{Severity, check, settings_of_cases};
use longshore_policy_test::{Subject, report};
use longshore_sandbox::{Budget, Sandbox, SandboxConfig};
use serde_json::Value;

use super::{cases_folder, parse_settings, read_plugin};
use crate::Exit;
use crate::args::PluginCheck;
use crate::output::Output;

pub(crate) fn run(arguments: &PluginCheck, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let bytes = read_plugin(&arguments.file)?;
    let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
    let loaded = Subject::load_bytes(&sandbox, &arguments.file, &bytes, &Budget::default());
    let mut settings: Vec<Value> = arguments.settings.as_deref().map(parse_settings).transpose()?.into_iter().collect();
    if let Some(folder) = cases_folder(&arguments.file) {
        settings.extend(settings_of_cases(&folder)?);
    }
    let checked = check(&bytes, &loaded, &settings);
    output.result(&serde_json::to_value(&checked)?, || report::check(&arguments.file, &checked));
    let warned = arguments.strict && !checked.findings.is_empty();
    Ok(if warned || checked.count(Severity::Error) > 0 { Exit::Failed } else { Exit::Done })
}
