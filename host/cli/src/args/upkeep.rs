//! Commands that look after vaults and the catalog.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_engine::RetentionRules;
use longshore_model::{ClusterId, CollectionName};

use super::keys::KeyArguments;
use crate::throttle::ThrottleArguments;

/// `longshore retention`.
#[derive(Debug, Args)]
#[command(after_help = RETENTION_HELP)]
pub(crate) struct Retention {
    /// Folder of a vault; repeat it for the other vaults of the project, because a backup whose parts are not all there
    /// is not touched.
    #[arg(long = "vault", value_name = "VAULT", required = true)]
    pub(crate) vaults: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
    #[command(flatten)]
    pub(crate) rules: Rules,
    /// Only backups of this cluster.
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<ClusterId>,
    /// Delete what goes. Without it nothing is changed.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) apply: bool,
    /// Change nothing; the default.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const RETENTION_HELP: &str = "A backup goes when no rule keeps it; one backup may satisfy several rules. Days, weeks \
(ISO), months and years are those of UTC, and those without a backup do not count. Backups made by hand, backups that \
are not whole, backups that expire later by themselves and the newest whole backup of a cluster are never deleted. \
Where a host with a catalog runs, put the rules under [retention] of its configuration instead.";

/// The rules.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Rules {
    /// Keep all that are younger than this many days.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    /// Keep the newest N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Keep the newest of each of the last N days that have one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_yearly: Option<u32>,
}

impl Rules {
    /// The rules as the engine takes them.
    pub(crate) fn rules(self) -> RetentionRules {
        RetentionRules {
            days: self.days.unwrap_or_default(),
            keep_last: self.keep_last.unwrap_or_default(),
            keep_daily: self.keep_daily.unwrap_or_default(),
            keep_weekly: self.keep_weekly.unwrap_or_default(),
            keep_monthly: self.keep_monthly.unwrap_or_default(),
            keep_yearly: self.keep_yearly.unwrap_or_default(),
        }
    }
}

/// `longshore export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Id of the backup, or `latest`.
    pub(crate) backup: String,
    /// Folder of the vault; repeat it for other vaults that hold parts of the backup.
    #[arg(long = "vault", value_name = "VAULT", required = true)]
    pub(crate) vaults: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
    /// Folder to make.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: PathBuf,
    /// Only these collections, `name` or `database.name`, parted by commas; may be repeated.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', alias = "collection")]
    pub(crate) collections: Vec<CollectionName>,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

/// `longshore catalog`.
#[derive(Debug, Subcommand)]
pub(crate) enum Catalog {
    /// Rebuild a lost catalog from the vaults: from the newest snapshot of it in one of them, and then from the backups that
    /// are there. Without a snapshot jobs, schedules, API keys and the audit log are lost. Changes nothing that a catalog
    /// which is there knows; may be run again.
    Rebuild {
        /// The configuration of the host, which must not be running.
        #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
        config: PathBuf,
        /// Show what would be added; write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Begin with nothing, although there are snapshots of the catalog.
        #[arg(long)]
        without_snapshot: bool,
    },
}

/// `longshore erase`.
#[derive(Debug, Args)]
#[command(after_help = ERASE_HELP)]
pub(crate) struct Erase {
    /// The collection, `name` or `database.name`.
    pub(crate) collection: CollectionName,
    /// Folder of a vault. Name all vaults of the project: what is in a vault that is not named stays there.
    #[arg(long = "vault", value_name = "VAULT", required = true)]
    pub(crate) vaults: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
    /// Only from backups of this cluster; may be repeated. Needed where several clusters have a collection of this name.
    #[arg(long = "cluster", value_name = "ID")]
    pub(crate) clusters: Vec<ClusterId>,
    /// Why; stands in the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who asked for it; stands in the record.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    pub(crate) by: String,
    /// Show which backups would be rewritten; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

const ERASE_HELP: &str = "For deletions that the law asks for. Afterwards no backup holds or names the collection; the \
other collections of each backup stay as they are, and a backup of this collection alone stays as an empty one. The \
bytes go with the next prunes: the first rewrites and marks, one at least a fence later deletes and completes the record \
erasures/<id>.json in each vault. They go from every pack that holds bytes of the collection or bytes that no backup \
needs, because those may be bytes of it too, of backups that were deleted before. A run that stops is finished by \
running it again. A host that runs beside it stops listing the collection within a minute; its jobs and its audit log \
keep the names that were asked for. The database itself is not touched: the next backup would hold the collection again.";
