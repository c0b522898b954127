//! `longshore plugin bench`: what a policy costs.

use std::path::PathBuf;
use std::time::Duration;

use longshore_policy_test::{BenchOptions, Setup, report};

use super::{parse_settings, setups, subject};
use crate::Exit;
use crate::args::PluginBench;
use crate::output::Output;

pub(crate) fn run(arguments: &PluginBench, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let subject = subject(&arguments.file, &arguments.budget.budget, code_cache)?;
    let setups = setups(arguments.settings.as_deref(), &arguments.file)?;
    let setup = match (subject.usable(&setups), &arguments.settings) {
        (Some(setup), _) => setup.clone(),
        // What is wrong with them is said where they are used.
        (None, Some(given)) => Setup::of(parse_settings(given)?),
        (None, None) => anyhow::bail!("the plugin cannot run without settings: give them with --settings '{{…}}'"),
    };
    let options = BenchOptions {
        sizes: if arguments.sizes.is_empty() { BenchOptions::SIZES.to_vec() } else { arguments.sizes.clone() },
        setup,
        repeat: Duration::from_millis(arguments.repeat_ms),
    };
    let measured = subject.bench(&options)?;
    output.result(&serde_json::to_value(&measured)?, || report::bench(&measured));
    let failed = measured.rows.iter().any(|row| row.failed.is_some());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
