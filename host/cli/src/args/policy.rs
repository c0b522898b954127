//! What policies would do, did, and what another one would change.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_model::{ClusterId, CollectionName, PolicyKind};

use super::KeyArguments;

/// The configuration of a host.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The configuration of the host.
    #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// `longshore plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A Milvus Lite 3 data directory. Without a configuration, so with one region and no prices.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    pub(crate) directory: Option<PathBuf>,
    /// Folder of the vault it would be backed up into: what is in it already is not new. Nothing is made.
    #[arg(long, value_name = "VAULT", conflicts_with = "config")]
    pub(crate) to: Option<PathBuf>,
    /// A TOML file with the chains of policies, as for `longshore backup`.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) policy: Option<PathBuf>,
    /// The configuration of a host: its policies, regions, prices and labels.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which of its clusters; may be left out if there is one.
    #[arg(long, value_name = "ID", requires = "config")]
    pub(crate) cluster: Option<ClusterId>,
    /// Only this collection, `name` or `database.name`; may be repeated.
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<CollectionName>,
    /// As a scheduled backup, not one by hand.
    #[arg(long, conflicts_with = "collections")]
    pub(crate) automatic: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// Backups, in vaults or as a host's configuration names them.
#[derive(Debug, Args)]
pub(crate) struct BackupPlace {
    /// Folder of a vault; may be repeated.
    #[arg(long = "vault", value_name = "VAULT", required_unless_present_any = ["config", "records"])]
    pub(crate) vaults: Vec<PathBuf>,
    /// The configuration of a host, for its vaults and the plugins it keeps.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// `longshore why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The collection, `name` or `database.name`.
    pub(crate) collection: CollectionName,
    /// Id of the backup; the newest one when left out.
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    /// Folder of a vault; may be repeated.
    #[arg(long = "vault", value_name = "VAULT", required_unless_present = "config")]
    pub(crate) vaults: Vec<PathBuf>,
    /// The configuration of a host, for its vaults and the plugins it keeps.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The file of a plugin that decided; it is recognised by its digest. May be repeated.
    #[arg(long = "plugin", value_name = "WASM")]
    pub(crate) plugins: Vec<String>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// Where decision records are.
#[derive(Debug, Args)]
pub(crate) struct RecordsFrom {
    /// Folder of records, as `longshore policy records` writes it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["vaults", "config", "backup"])]
    pub(crate) records: Option<PathBuf>,
    /// Only those of this backup; all backups when left out.
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    #[command(flatten)]
    pub(crate) place: BackupPlace,
}

/// `longshore policy diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The policy that is there: a .wasm file, or `standard`.
    pub(crate) old: String,
    /// The policy that would come.
    pub(crate) new: String,
    #[command(flatten)]
    pub(crate) from: RecordsFrom,
    /// Compare by the records of this member, whatever file decided then; else by those that OLD made.
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
    /// Settings of the new policy, as JSON; those of the records when left out.
    #[arg(long, value_name = "JSON", value_parser = parse_settings)]
    pub(crate) new_settings: Option<serde_json::Value>,
}

fn parse_settings(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("these settings are not JSON: {error}"))
}

/// A member of a chain.
#[derive(Debug, Args)]
pub(crate) struct Seats {
    /// Only in the chain of this kind: selection, compression or placement.
    #[arg(long, value_parser = parse_kind)]
    pub(crate) kind: Option<PolicyKind>,
    /// Only in the chain of this cluster, or `project`.
    #[arg(long, value_name = "ID", value_parser = parse_scope)]
    pub(crate) cluster: Option<longshore_engine::Scope>,
}

fn parse_kind(text: &str) -> Result<PolicyKind, String> {
    PolicyKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no kind of policy: say selection, compression or placement"))
}

fn parse_scope(text: &str) -> Result<longshore_engine::Scope, String> {
    longshore_engine::Scope::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// `longshore policy promote`.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The member whose candidate is meant; may be left out if there is one candidate.
    pub(crate) member: Option<String>,
    #[command(flatten)]
    pub(crate) seats: Seats,
    /// Decisions that it must have made beside the member as it is now.
    #[arg(long, default_value_t = 100)]
    pub(crate) min_decisions: u64,
    /// Days over which it must have been asked.
    #[arg(long, default_value_t = 7)]
    pub(crate) min_days: u32,
    /// Protected collections that may have lost their backup, had it decided.
    #[arg(long, default_value_t = 0)]
    pub(crate) max_protected_changes: u64,
    /// Runs in which it may have failed or refused.
    #[arg(long, default_value_t = 0)]
    pub(crate) max_failures: u64,
    /// Items that it may not have been asked about because its time was up.
    #[arg(long, default_value_t = 0)]
    pub(crate) max_not_asked: u64,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

/// `longshore policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show what the next run is decided by: members, candidates, quarantine, and what is not as configured.
    Status {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the sets of policies that were in force.
    History {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Go back to an earlier set, from the next run on. It holds until the configuration says something else.
    Rollback {
        /// Number of the set, as `longshore policy history` shows it; the previous good one when left out.
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Follow the configuration again after a rollback.
    Follow {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Put a candidate (`shadow = …`) in the place of its member, if its record is clean. The configuration file stays as
    /// it is.
    Promote(Promote),
    /// Let a member out of quarantine.
    Release {
        /// Name of the member.
        member: String,
        #[command(flatten)]
        seats: Seats,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write the decision records of backups into a folder, one file each.
    Records {
        /// Folder that gets them; made when it does not exist.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        from: RecordsFrom,
    },
    /// Ask recorded questions again of the same plugins: everything must come out the same, fuel included.
    Replay {
        #[command(flatten)]
        from: RecordsFrom,
        /// The file of a plugin that decided; it is recognised by its digest. May be repeated.
        #[arg(long = "plugin", value_name = "WASM")]
        plugins: Vec<String>,
    },
    /// Show what another policy would change, over recorded questions. Exit code 5 if a protected collection would lose
    /// its backup.
    Diff(Diff),
}
