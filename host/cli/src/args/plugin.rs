//! `longshore plugin …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use longshore_sandbox::Budget;

use super::PluginStoreCommand;

/// `longshore plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a new policy in Rust: a crate that builds and passes its tests as it is.
    #[command(after_help = NEW_HELP)]
    New(PluginNew),
    /// Build the component of a policy in Rust, for wasm32-wasip2.
    #[command(after_help = BUILD_HELP)]
    Build(PluginBuild),
    /// Say whether a host would take a plugin, what is wrong if not, and what could be better.
    #[command(after_help = CHECK_HELP)]
    Check(PluginCheck),
    /// Run the sandboxed tests of a plugin: cases in TOML, under the host's budgets.
    #[command(after_help = TEST_HELP)]
    Test(PluginTest),
    /// Measure fuel and time of a plugin by call and by collection.
    #[command(after_help = BENCH_HELP)]
    Bench(PluginBench),
    /// Look for inventories on which a plugin breaks the contract, and write the smallest ones as cases.
    #[command(after_help = FUZZ_HELP)]
    Fuzz(PluginFuzz),
    /// Load a plugin as the host would and say what it is: name, version, kinds, settings, what it was built as.
    #[command(
        after_help = "Examples:\n  longshore plugin inspect standard\n  longshore plugin inspect tiered.wasm --json"
    )]
    Inspect {
        /// A .wasm file, or `standard`.
        file: String,
        #[command(flatten)]
        budget: BudgetArguments,
    },
    #[command(flatten)]
    Store(PluginStoreCommand),
}

/// What a plugin is loaded and called under.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BudgetArguments {
    /// Budgets that differ from the default, as the host's configuration has them: `fuel=5000000000,memory_bytes=536870912`.
    /// Cases that have a budget of their own keep it.
    #[arg(long, value_name = "NAME=VALUE,...", value_parser = parse_budget, default_value = "", hide_default_value = true)]
    pub(crate) budget: Budget,
}

/// Reads `name=value` pairs; names are those of the budget in a configuration file.
fn parse_budget(text: &str) -> Result<Budget, String> {
    let mut fields = serde_json::Map::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not NAME=VALUE"))?;
        let value: u64 =
            value.trim().replace('_', "").parse().map_err(|_| format!("`{value}` is not a whole number"))?;
        fields.insert(name.trim().to_owned(), value.into());
    }
    let budget: Budget = serde_json::from_value(fields.into()).map_err(|error| error.to_string())?;
    budget.within(&Budget::CEILING).map_err(|error| error.to_string())?;
    Ok(budget)
}

const NEW_HELP: &str = "Examples:
  longshore plugin new frozen
  longshore plugin new cost-cap --kind selection,placement
  longshore plugin new tiered --sdk ~/longshore/plugins/sdk

Without --sdk the SDK is written into the crate (vendor/longshore-plugin and wit/), in the version that this program
speaks: the crate needs nothing of Longshore but this program.";

/// `longshore plugin new`.
#[derive(Debug, Args)]
pub(crate) struct PluginNew {
    /// Name of the policy and its crate: lower case letters, digits and hyphens.
    pub(crate) name: String,
    /// What it decides.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "selection")]
    pub(crate) kind: Vec<KindArgument>,
    /// The new folder; the name when left out.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) path: Option<PathBuf>,
    /// Folder of the SDK to point to, `plugins/sdk` of a copy of Longshore's repository.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) sdk: Option<PathBuf>,
    /// Who writes it; whom git knows when left out.
    #[arg(long)]
    pub(crate) author: Option<String>,
}

/// A kind of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArgument {
    /// Which collections.
    Selection,
    /// How their bytes are compressed.
    Compression,
    /// In which regions they are kept.
    Placement,
}

const BUILD_HELP: &str = "Examples:
  longshore plugin build
  longshore plugin build plugins --package longshore-standard --json

The target wasm32-wasip2 is used if it is installed, else `rustup target add` gets it, else plugins/toolchain.sh of a copy
of Longshore's repository around the crate builds with Debian's compiler.";

/// `longshore plugin build`.
#[derive(Debug, Args)]
pub(crate) struct PluginBuild {
    /// Folder of the crate.
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Which package, in a workspace of several.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// Without optimisation: quick to build, large and slow.
    #[arg(long)]
    pub(crate) debug: bool,
    /// Do not change Cargo.lock.
    #[arg(long)]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
    /// Download nothing: no crates, no target.
    #[arg(long)]
    pub(crate) offline: bool,
}

const CHECK_HELP: &str = "Example:
  longshore plugin check target/wasm32-wasip2/release/tiered.wasm --strict

Every kind is asked one ordinary question, twice, to see whether the answers agree.
Exit codes: 0 a host takes it, 1 it does not (or, with --strict, there are warnings).";

/// `longshore plugin check`.
#[derive(Debug, Args)]
pub(crate) struct PluginCheck {
    /// A .wasm file, or `standard`.
    pub(crate) file: String,
    /// Settings for the question, as JSON; those of the cases when left out.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Warnings count as errors.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
}

const TEST_HELP: &str = "Examples:
  longshore plugin test target/wasm32-wasip2/release/tiered.wasm
  longshore plugin test tiered.wasm cases/tiers.toml --filter cold
  longshore plugin test tiered.wasm --update-fuel

A case, cases/tiers.toml (the whole format: host/policy-test/CASES.md):
  settings = { cold_after_days = 30 }
  [[collection]]
  name = \"archive\"
  last_write = \"90 days ago\"
  [[expect]]
  collection = \"archive\"
  selected = false
  reason_code = \"cold\"

Exit codes: 0 all passed, 1 a case failed or cannot be read.";

/// `longshore plugin test`.
#[derive(Debug, Args)]
pub(crate) struct PluginTest {
    /// A .wasm file, or `standard`.
    pub(crate) file: String,
    /// Folders or files of cases; the folder `cases` of the plugin's crate when left out.
    pub(crate) cases: Vec<PathBuf>,
    /// Only cases whose name holds this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Record the fuel that the cases take now in `fuel.toml` beside them.
    #[arg(long)]
    pub(crate) update_fuel: bool,
    /// How much more fuel than recorded a case may take; `fuel.toml` says 10 where it says nothing else.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) fuel_tolerance: Option<u32>,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
}

const BENCH_HELP: &str = "Examples:
  longshore plugin bench standard
  longshore plugin bench tiered.wasm --settings '{\"cold_after_days\": 30}' --sizes 1000,50000 --json

Inventories are ordinary: two regions, and for each collection properties, an index, an earlier backup and three streams.
Fuel is the same on every machine. Exit codes: 0 measured, 1 a question had no answer.";

/// `longshore plugin bench`.
#[derive(Debug, Args)]
pub(crate) struct PluginBench {
    /// A .wasm file, or `standard`.
    pub(crate) file: String,
    /// Numbers of collections; 1, 100, 1,000, 10,000 and 100,000 when left out.
    #[arg(long, value_delimiter = ',', value_name = "COUNT")]
    pub(crate) sizes: Vec<usize>,
    /// Settings, as JSON; none, or those of the cases if it needs some, when left out.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Time to spend on repeating each measurement; the best one counts.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 300)]
    pub(crate) repeat_ms: u64,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
}

const FUZZ_HELP: &str = "Examples:
  longshore plugin fuzz tiered.wasm
  longshore plugin fuzz tiered.wasm --seed 42 --rounds 10000

Words and settings come from the cases of the plugin; cases/fuzz.toml declares what always holds, whether order matters
and which decisions follow which facts (host/policy-test/CASES.md). Exit codes: 0 nothing found, 1 something was.";

/// `longshore plugin fuzz`.
#[derive(Debug, Args)]
pub(crate) struct PluginFuzz {
    /// A .wasm file, or `standard`.
    pub(crate) file: String,
    /// Folder of cases and of fuzz.toml; `cases` of the plugin's crate when left out.
    pub(crate) cases: Option<PathBuf>,
    /// What everything random follows from; another one each time when left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Number of inventories.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rounds: u32,
    /// Folder for what is found; the folder of cases when left out.
    #[arg(long, value_name = "FOLDER", conflicts_with = "dry_run")]
    pub(crate) into: Option<PathBuf>,
    /// Show what is found; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
}
