//! What can be typed.

mod costs;
mod health;
mod keys;
mod plugin;
mod plugin_store;
mod policy;
mod schedule;
mod source;
mod space;
mod upkeep;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use longshore_engine::Role;
use longshore_model::{ClusterId, CollectionName, ProjectId, Timestamp};

pub(crate) use costs::Costs;
pub(crate) use health::{Heal, VaultCommand, Verify};
pub(crate) use keys::{Init, KeyArguments, KeyVaults, RecipientCommand, WriterFile};
pub(crate) use plugin::{
    KindArgument, PluginBench, PluginBuild, PluginCheck, PluginCommand, PluginFuzz, PluginNew, PluginTest,
};
pub(crate) use plugin_store::PluginStoreCommand;
pub(crate) use policy::{Diff, Plan, PolicyCommand, Promote, RecordsFrom, Why};
pub(crate) use schedule::{ScheduleCommand, ScheduleOf};
pub(crate) use source::{SourceCheck, SourceCommand, WhichCluster};
pub(crate) use space::{Delete, Prune, Space, Vaults};
pub(crate) use upkeep::{Catalog, Erase, Export, Retention};

use crate::throttle::ThrottleArguments;

/// Backups of Milvus vector databases whose policies are sandboxed plugins.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Print JSON instead of tables; errors too.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress, no hints; only results and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How long work shows how far it is, on standard error.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: ShowProgress,
    /// Compile policy plugins anew: neither take them from the folder of compiled plugins
    /// ($XDG_CACHE_HOME/longshore/compiled-plugins) nor keep them there. For `serve` say `plugin_cache = false` in the
    /// configuration.
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The folder of compiled plugins; `None` if it is not to be used, or if there is no place for it.
    pub(crate) fn plugin_cache(&self) -> Option<PathBuf> {
        if self.no_cache {
            return None;
        }
        // A relative path is not valid there (XDG Base Directory Specification) and would follow the working directory.
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
        Some(caches.join("longshore").join("compiled-plugins"))
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ShowProgress {
    /// Bars on a terminal; nothing elsewhere, and nothing with --json or --quiet.
    #[default]
    Auto,
    /// One JSON object a line, about once a second: phase, percent, doneBytes, totalBytes, collections, bytesPerSecond,
    /// remainingSeconds (null while not known) and waitingFor. With --json the result alone is on standard output.
    Json,
    /// Nothing.
    None,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found or proof failed, 4 refused by a \
policy, 5 a protected collection would lose its backup, 130 interrupted.\nNO_COLOR and LONGSHORE_LOG (for example LONGSHORE_LOG=debug) are honoured.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a vault, encrypted if you say so. A vault that is not encrypted is also made by the first backup into it.
    Init(Init),
    /// Back up a Milvus Lite directory or a Milvus server into a vault, without a host.
    Backup(Backup),
    /// Show what a backup would do and why: collections, regions, bytes and cost a month. Writes nothing.
    Plan(Plan),
    /// Look whether a cluster can be backed up.
    #[command(subcommand)]
    Source(SourceCommand),
    /// List the backups of a vault.
    List(List),
    /// Show one backup: collections, sizes, where they are, and what each policy decided and why.
    Show(Show),
    /// Show why a collection of a backup is where it is, and what would have changed that.
    Why(Why),
    /// Restore a backup into a directory and prove that it is what was backed up.
    Restore(Restore),
    /// Check that backups are whole.
    Verify(Verify),
    /// Write a backup out as plain files that need no Longshore to be read.
    Export(Export),
    /// Fetch what is lost or damaged in a vault from other vaults of the project.
    Heal(Heal),
    /// Look after one vault.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Delete one backup. Needs no permission to delete objects; its bytes go with a later prune.
    Delete(Delete),
    /// Free the space that no backup needs.
    Prune(Prune),
    /// Show where the space of a vault goes: what each backup takes alone and shares, what is marked, what is unneeded.
    Space(Space),
    /// Erase one collection from all backups, with a record that it was done.
    Erase(Erase),
    /// Show which backups rules would let go and why, and delete them with --apply.
    Retention(Retention),
    /// Run the host: REST API, jobs, policies.
    Serve(Serve),
    /// Look after the catalog of a host.
    #[command(subcommand)]
    Catalog(Catalog),
    /// Make, list and revoke API keys; say who can read an encrypted vault.
    #[command(subcommand)]
    Key(Key),
    /// Back up clusters of a host automatically: when, how long backups stay, in which other regions.
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Show what keeping and moving backups costs, by day, region, cluster or backup.
    Costs(Costs),
    /// Write, build, check, test and measure policy plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look after the policies of a host: what decides, what another policy would change, going back.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show everything at work on the sample cluster, over the REST API.
    Demo(Demo),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// `longshore backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) of: WhichCluster,
    /// Folder of the vault; made when it does not exist.
    #[arg(long, value_name = "VAULT")]
    pub(crate) to: PathBuf,
    /// Only this collection, `name` or `database.name`; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<CollectionName>,
    /// A TOML file with the chains of policies (`[[selection]]`, `[[compression]]`, `[[placement]]`), as under
    /// `[policy]` in longshore.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A schedule asks for it, for example cron: the backup counts as automatic, and retention rules may delete it.
    #[arg(long, conflicts_with = "collections")]
    pub(crate) automatic: bool,
    /// Show what would be done and why; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Make what is stored durable this often, so that a later attempt can go on from there.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = parse_seconds)]
    pub(crate) checkpoint_seconds: f64,
    /// Do not look whether the vault's disk has room for the estimate of what is new.
    #[arg(long)]
    pub(crate) no_space_check: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("`{text}` is no number of seconds from 0.001 to 86400"))
}

/// `longshore list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Folder of the vault.
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// Which backup of which vaults.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Folder of the vault.
    pub(crate) vault: PathBuf,
    /// Id of the backup; the newest one when left out.
    pub(crate) backup: Option<String>,
    /// Another vault that holds parts of it; may be repeated.
    #[arg(long = "vault", value_name = "VAULT")]
    pub(crate) more_vaults: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// `longshore show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Also the decision records: every question to a policy and its answer.
    #[arg(long)]
    pub(crate) records: bool,
}

/// `longshore restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Directory to restore into: a new one, or a Milvus Lite directory that no program has open.
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) to: Option<PathBuf>,
    /// The configuration of a host that has the Milvus server to restore into in it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which of its clusters to restore into; may be left out if there is one.
    #[arg(long, value_name = "ID", requires = "config")]
    pub(crate) cluster: Option<ClusterId>,
    /// Users, roles and what they may do as well; users get new passwords, which are printed once.
    #[arg(long, requires = "config")]
    pub(crate) users: bool,
    /// Collections as they were when this millisecond since 1970 began (`date -d '2026-11-27 15:00 UTC' +%s000`), before the
    /// backup. Rows that were deleted after it come back unless a compaction took them away first; notes say where.
    #[arg(long, value_name = "MILLISECONDS", requires = "config", value_parser = parse_until_ms)]
    pub(crate) until_ms: Option<u64>,
    /// Also into a server whose version is older than the backup's, or cannot be compared.
    #[arg(long, requires = "config")]
    pub(crate) any_version: bool,
    /// Only this collection, `from` or `from=to`, each `name` or `database.name`; may be repeated.
    #[arg(long = "collection", value_name = "FROM[=TO]")]
    pub(crate) collections: Vec<String>,
    /// Show what would be restored; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

/// `longshore serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration; examples/longshore.toml explains every key.
    #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
    pub(crate) config: PathBuf,
    /// Check the configuration, load its plugins, and stop.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `longshore key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Who can read an encrypted vault.
    #[command(subcommand)]
    Recipient(RecipientCommand),
    /// Write the writer key of an encrypted vault to a new file, with a reader key.
    Writer(WriterFile),
    /// Make a key and print it once.
    Create {
        /// What people call it; stands in the audit log.
        name: String,
        /// What it may do: organization-owner (everything), project-admin (everything but the host itself), or a custom
        /// role with backup privileges, backup-manage or backup-view.
        #[arg(long, default_value = "backup-manage", value_parser = parse_role)]
        role: Role,
        /// Only for this project and all its clusters; may be repeated. For everything when neither this nor --cluster is
        /// given. An organization-owner's key is always for everything.
        #[arg(long = "project", value_name = "ID")]
        projects: Vec<ProjectId>,
        /// Only for this cluster; may be repeated, also beside --project.
        #[arg(long = "cluster", value_name = "ID")]
        clusters: Vec<ClusterId>,
        /// When it stops working: days (90d), a day in UTC (2027-01-31, its first moment) or a time
        /// (2027-01-31T12:00:00Z); never when left out.
        #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
        expires: Option<Expiry>,
        /// The configuration of the host.
        #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
        config: PathBuf,
    },
    /// List keys; the keys themselves are kept nowhere.
    List {
        /// The configuration of the host.
        #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
        config: PathBuf,
    },
    /// Make a key stop working.
    Revoke {
        /// Its id, as `longshore key list` shows it.
        id: String,
        /// The configuration of the host.
        #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
        config: PathBuf,
    },
}

/// When a key stops working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many days from now.
    Days(u32),
    /// At a time.
    At(Timestamp),
}

fn parse_until_ms(text: &str) -> Result<u64, String> {
    let until_ms = text.parse::<u64>().map_err(|error| error.to_string())?;
    longshore_source::milvus::check_until_ms(until_ms).map(|()| until_ms).map_err(|error| error.to_string())
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days > 0) {
        return Ok(Expiry::Days(days));
    }
    parse_day(text).map(Expiry::At).map_err(|_| {
        format!("`{text}` is no number of days (90d), no day (2027-01-31) and no time (2027-01-31T12:00:00Z)")
    })
}

/// A time, or the first moment of a day in UTC.
pub(crate) fn parse_day(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("`{text}` is no day (2027-01-31) and no time (2027-01-31T12:00:00Z)"))
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error: longshore_model::ModelError| error.to_string())
}

/// `longshore demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The sample cluster.
    #[arg(long, default_value = "examples/sample-cluster")]
    pub(crate) sample: PathBuf,
    /// The residency policy that the demo swaps in.
    #[arg(long, default_value = "plugins/residency/residency.wasm")]
    pub(crate) residency: PathBuf,
    /// Folder of everything the demo writes; what an earlier demo left in it is removed first.
    #[arg(long, default_value = "target/demo")]
    pub(crate) directory: PathBuf,
}
