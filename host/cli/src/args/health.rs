//! Commands that find and mend damage.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use longshore_engine::VerifyLevel;
use longshore_model::BackupId;

use super::{KeyArguments, Which};
use crate::throttle::ThrottleArguments;

/// How thoroughly to check. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Everything a backup names is there with the right size.
    Exists,
    /// Stored bytes match their names; needs no key.
    Stored,
    /// Every blob decodes to what was backed up.
    Decoded,
    /// Every file parses, nothing that files name is missing, and rows are as many as the backup says.
    Parsed,
    /// The backup is restored into a scratch folder, proven, and opened there by --open-with.
    Opened,
}

impl From<Level> for VerifyLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Exists => Self::Exists,
            Level::Stored => Self::Stored,
            Level::Decoded => Self::Decoded,
            Level::Parsed => Self::Parsed,
            Level::Opened => Self::Opened,
        }
    }
}

/// `longshore verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) which: Which,
    /// All backups of the vaults, each pack once.
    #[arg(long, conflicts_with = "backup")]
    pub(crate) all: bool,
    /// How thoroughly.
    #[arg(long, value_enum, default_value = "decoded")]
    pub(crate) level: Level,
    /// Read only this share of the packs, for example 10%. Whole packs, at least one.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) sample: Option<u8>,
    /// Which sample; the next one of the resume file, or the number of the day, when left out.
    #[arg(long, requires = "sample")]
    pub(crate) seed: Option<u64>,
    /// Keep progress here: a stopped run goes on with the packs not yet found good, and the next sample is another one.
    #[arg(long, value_name = "FILE")]
    pub(crate) resume_file: Option<PathBuf>,
    /// Leave no note about damaged packs in the vault. Without a note the next backup may rely on them.
    #[arg(long)]
    pub(crate) no_notes: bool,
    /// For level opened: an existing folder with space for the whole backup.
    #[arg(long, value_name = "DIRECTORY", required_if_eq("level", "opened"))]
    pub(crate) scratch: Option<PathBuf>,
    /// For level opened: a program that is started with the path of the restored database and must end well.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) open_with: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

const VERIFY_HELP: &str = "Runs with --sample 10% on ten days in a row read everything: the sample moves on with the \
seed, which is the number of the day unless a resume file counts the runs. A pack that is found damaged is noted in the \
vault; the next backup then stores again what it held. `longshore heal` fetches it from another vault of the project.";

/// `longshore heal`.
#[derive(Debug, Args)]
pub(crate) struct Heal {
    /// Id of a backup.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) backup: Option<BackupId>,
    /// All backups of the vault.
    #[arg(long)]
    pub(crate) all: bool,
    /// The vault to heal.
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: PathBuf,
    /// Another vault of the project, or a copy of the vault; may be repeated. Nothing is written there but a pin.
    #[arg(long = "from", value_name = "VAULT", required = true)]
    pub(crate) from: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
    /// How thoroughly to look for damage: stored or decoded.
    #[arg(long, value_enum, default_value = "stored")]
    pub(crate) level: Level,
    /// Show what is damaged and what could be fetched from where; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

/// `longshore vault`.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Show what is in a vault as readable JSON, for emergencies. Only reads; works on damaged vaults, and ends with 3 and
    /// says what is damaged when something is. Keys are not shown.
    Open {
        /// Folder of the vault.
        #[arg(long, value_name = "VAULT")]
        vault: PathBuf,
        #[command(flatten)]
        keys: KeyArguments,
        /// Only this object, whole, for example `packs/ab/ab…`; all of the vault in short when left out.
        object: Option<String>,
    },
    /// Rebuild lost or damaged index objects from the packs, and set damaged ones aside. Needs no key. With --header-from a
    /// lost or damaged header is made again first.
    Repair {
        /// Folder of the vault.
        vault: PathBuf,
        /// Another vault of the project, which has the same key: the header is made from it and from the manifests here.
        #[arg(long, value_name = "VAULT")]
        header_from: Option<PathBuf>,
        #[command(flatten)]
        keys: KeyArguments,
        /// Show what would be done; write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err(format!("`{text}` is no share; write a whole number from 1% to 100%")),
    }
}
