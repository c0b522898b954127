//! `longshore plugin fuzz`: looks for inventories on which a policy breaks the contract.

use std::path::{Path, PathBuf};

use longshore_policy_test::{FuzzOptions, report};

use super::{cases_folder, subject};
use crate::Exit;
use crate::args::PluginFuzz;
use crate::output::Output;

pub(crate) fn run(arguments: &PluginFuzz, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let subject = subject(&arguments.file, &arguments.budget.budget, code_cache)?;
    let cases = arguments.cases.clone().or_else(|| cases_folder(&arguments.file));
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    // Said first, so that it is known even if this never ends.
    output.hint(&format!("seed {seed}, {} inventories", arguments.rounds));
    let mut fuzzed = subject.fuzz(cases.as_deref(), FuzzOptions { seed, rounds: arguments.rounds })?;
    if !arguments.dry_run {
        let folder = arguments.into.clone().or(cases).unwrap_or_else(|| beside(&arguments.file));
        fuzzed.write(&folder)?;
    }
    output.result(&serde_json::to_value(&fuzzed)?, || report::fuzz(&fuzzed));
    Ok(if fuzzed.counterexamples.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Another one each time; small enough to be typed again.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs().wrapping_mul(1_000_003) % 1_000_000_007)
}

/// The folder of cases that a plugin without one would have.
fn beside(file: &str) -> PathBuf {
    let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| PathBuf::from("cases"), |folder| folder.join("cases"))
}
