//! `longshore plugin check`: whether a file is a plugin that hosts load, and what could be better.

use std::path::PathBuf;

use longshore_policy_test::check::{Severity, check};
use longshore_policy_test::{Subject, report};
use longshore_sandbox::{Sandbox, SandboxConfig};

use super::{read_plugin, setups};
use crate::Exit;
use crate::args::PluginCheck;
use crate::output::Output;

pub(crate) fn run(arguments: &PluginCheck, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let bytes = read_plugin(&arguments.file)?;
    let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
    let loaded = Subject::load_bytes(&sandbox, &arguments.file, &bytes, &arguments.budget.budget);
    let setups = setups(arguments.settings.as_deref(), &arguments.file)?;
    let checked = check(&bytes, &loaded, &setups);
    output.result(&serde_json::to_value(&checked)?, || report::check(&arguments.file, &checked));
    let warned = arguments.strict && !checked.findings.is_empty();
    Ok(if warned || checked.count(Severity::Error) > 0 { Exit::Failed } else { Exit::Done })
}
