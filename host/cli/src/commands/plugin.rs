//! `longshore plugin`: what authors of policies need. The work is done by `longshore-policy-test`; here it is called and
//! shown.

mod bench;
mod check;
mod create;
mod fuzz;
mod inspect;
mod test;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use longshore_engine::{Limits, STANDARD_PLUGIN_BYTES, load_plugin};
use longshore_policy_test::cases::FuzzFile;
use longshore_policy_test::{PolicyTestError, Setup, Subject, setups_of_cases};
use longshore_sandbox::{Budget, Plugin, Sandbox, SandboxConfig};
use serde_json::Value;

use crate::Exit;
use crate::args::PluginCommand;
use crate::commands::plugin_store;
use crate::output::Output;

pub(crate) async fn run(arguments: PluginCommand, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    // Plugins are compiled and called on a thread that may block; nothing else waits for it.
    tokio::task::spawn_blocking(move || match arguments {
        PluginCommand::New(arguments) => create::new(arguments, output),
        PluginCommand::Build(arguments) => create::compile(&arguments, code_cache, output),
        PluginCommand::Check(arguments) => check::run(&arguments, code_cache, output),
        PluginCommand::Test(arguments) => test::run(&arguments, code_cache, output),
        PluginCommand::Bench(arguments) => bench::run(&arguments, code_cache, output),
        PluginCommand::Fuzz(arguments) => fuzz::run(&arguments, code_cache, output),
        PluginCommand::Store(command) => plugin_store::run(command, code_cache, output),
        PluginCommand::Inspect { file, budget } => inspect::run(&file, &budget.budget, code_cache, output),
    })
    .await?
}

/// Loads `standard` or a file, as a host would that gives it this budget.
fn load(file: &str, budget: &Budget, code_cache: Option<PathBuf>) -> anyhow::Result<Plugin> {
    let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
    Ok(load_plugin(&sandbox, file, budget, &Limits::default())?)
}

/// The same, to be tested.
fn subject(file: &str, budget: &Budget, code_cache: Option<PathBuf>) -> anyhow::Result<Subject> {
    Ok(Subject::new(Arc::new(load(file, budget, code_cache)?))?.under(*budget))
}

/// Bytes of `standard` or of a file.
fn read_plugin(file: &str) -> anyhow::Result<Vec<u8>> {
    if file == "standard" {
        return Ok(STANDARD_PLUGIN_BYTES.to_vec());
    }
    Ok(longshore_policy_test::read_plugin(Path::new(file))?)
}

/// Settings as JSON on the command line.
fn parse_settings(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text)
        .with_context(|| format!("--settings is not JSON: `{text}`; write for example '{{\"days\": 3}}'"))
}

/// What a plugin may be asked under, the likeliest first: the settings that were given, else none, those of `fuzz.toml` and
/// of the cases; and the files that the cases grant.
fn setups(given: Option<&str>, file: &str) -> anyhow::Result<Vec<Setup>> {
    let given = given.map(parse_settings).transpose()?;
    let mut setups = vec![Setup::of(given.clone().unwrap_or_else(|| Value::Object(serde_json::Map::new())))];
    let Some(folder) = cases_folder(file) else { return Ok(setups) };
    if given.is_none() {
        setups.extend(FuzzFile::read(&folder)?.settings.into_iter().map(|one| Setup::of(Value::Object(one))));
    }
    for case in setups_of_cases(&folder)? {
        setups.push(Setup { settings: given.clone().unwrap_or(case.settings), ..case });
    }
    Ok(setups)
}

/// The folder of cases that belongs to a plugin's file: `cases` beside it, or in the nearest folder above it up to its own
/// crate, else in the working folder. What lies above the crate, or above a file that is in no crate, is somebody else's.
fn cases_folder(file: &str) -> Option<PathBuf> {
    let absolute = Path::new(file).canonicalize().ok();
    let above: Vec<&Path> = absolute.iter().flat_map(|path| path.ancestors().skip(1)).collect();
    let crate_at = above.iter().position(|folder| folder.join("Cargo.toml").is_file()).unwrap_or(0);
    let own = above.iter().take(crate_at + 1).map(|folder| folder.join("cases"));
    own.chain([PathBuf::from("cases")]).find(|cases| cases.is_dir())
}

/// The same, where there must be one.
fn cases_of(file: &str) -> anyhow::Result<PathBuf> {
    cases_folder(file).ok_or_else(|| {
        let beside = Path::new(file).parent().map_or_else(|| PathBuf::from("cases"), |folder| folder.join("cases"));
        PolicyTestError::NoCases { path: beside }.into()
    })
}
