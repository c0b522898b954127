//! `longshore plugin test`: sandboxed tests.

use std::path::{Path, PathBuf};

use longshore_policy_test::cases::{FuelBaseline, TestOptions, fuel_folder};
use longshore_policy_test::report;

use super::{cases_of, subject};
use crate::Exit;
use crate::args::PluginTest;
use crate::output::Output;

pub(crate) fn run(arguments: &PluginTest, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let subject = subject(&arguments.file, &arguments.budget.budget, code_cache)?;
    let found;
    let paths: Vec<&Path> = if arguments.cases.is_empty() {
        found = cases_of(&arguments.file)?;
        vec![found.as_path()]
    } else {
        arguments.cases.iter().map(PathBuf::as_path).collect()
    };
    let options = TestOptions {
        filter: arguments.filter.clone(),
        tolerance_percent: arguments.fuel_tolerance,
        ignore_fuel: arguments.update_fuel,
    };
    let tested = subject.test_with(&paths, &options)?;
    if arguments.update_fuel {
        let mut folders: Vec<&Path> = paths.iter().map(|path| fuel_folder(path)).collect();
        folders.sort_unstable();
        folders.dedup();
        // One folder at a time, so that each gets its own cases only.
        for folder in folders {
            let own = |path: &&&Path| fuel_folder(path) == folder;
            let own: Vec<&Path> = paths.iter().filter(own).copied().collect();
            subject.test_with(&own, &options)?.baseline(&FuelBaseline::read(folder)?).write(folder)?;
            output.hint(&format!("recorded the fuel in {}", folder.join("fuel.toml").display()));
        }
    }
    output.result(&serde_json::to_value(&tested)?, || report::test(&tested));
    Ok(if tested.failed == 0 { Exit::Done } else { Exit::Failed })
}
