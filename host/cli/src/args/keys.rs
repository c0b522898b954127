//! Keys of encrypted vaults, and the commands that make and change who has them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_engine::{EngineError, KeyFiles};
use longshore_model::{ProjectId, RegionId};
use longshore_vault::{Keys, Recipient};

/// The keys of an encrypted vault.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeyArguments {
    /// File with the writer key of an encrypted vault: enough to back up, list, verify stored bytes.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_WRITER_KEY_FILE")]
    pub(crate) writer_key: Option<PathBuf>,
    /// File with a reader key of an encrypted vault: needed to see names, restore, and verify what is encrypted.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_READER_KEY_FILE")]
    pub(crate) reader_key: Option<PathBuf>,
}

impl KeyArguments {
    /// Reads the key files.
    pub(crate) fn read(&self) -> Result<Keys, EngineError> {
        KeyFiles { writer_key_file: self.writer_key.clone(), reader_key_file: self.reader_key.clone() }.read()
    }
}

/// A recipient with its name.
#[derive(Debug, Clone)]
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) recipient: Recipient,
}

impl std::str::FromStr for NamedKey {
    type Err = String;

    /// `age1…`, which is then its own name, or `name=age1…`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text.rsplit_once('=').unwrap_or((text, text));
        let recipient: Recipient = key.parse().map_err(|error: longshore_vault::VaultError| error.to_string())?;
        Ok(Self { name: name.trim().to_owned(), recipient })
    }
}

/// `longshore init`.
#[derive(Debug, Args)]
#[command(after_help = INIT_HELP)]
pub(crate) struct Init {
    /// Folder of the new vault; made when it does not exist.
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: PathBuf,
    /// Encrypt everything in it. Prints the recovery key, once.
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Somebody else who may read it: an age recipient, `age1…` or `name=age1…`; may be repeated.
    #[arg(long = "recipient", value_name = "AGE1", requires = "encrypt", conflicts_with = "like")]
    pub(crate) recipients: Vec<NamedKey>,
    /// New file that gets the writer key, for the hosts that back up. With --like: the file that holds it.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_WRITER_KEY_FILE")]
    pub(crate) writer_key: Option<PathBuf>,
    /// With --like: file with a reader key, in place of the writer key.
    #[arg(long, value_name = "FILE", requires = "like", env = "LONGSHORE_READER_KEY_FILE")]
    pub(crate) reader_key: Option<PathBuf>,
    /// Another vault of the same project: the new one gets its project, its key, and its recipients, so that the two can
    /// hold copies of each other's backups.
    #[arg(long, value_name = "VAULT", conflicts_with_all = ["encrypt", "project"])]
    pub(crate) like: Option<PathBuf>,
    /// Its project.
    #[arg(long, default_value = "proj-local")]
    pub(crate) project: ProjectId,
    /// Its region.
    #[arg(long, default_value = "local")]
    pub(crate) region: RegionId,
    /// Show what would be made; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const INIT_HELP: &str = "An encrypted vault has two kinds of keys. A reader key (the recovery key is one) opens \
everything; keep it off the hosts that back up. The writer key lies on each host that backs up: with it backups are \
added, found again and checked, and nothing is read. Without every reader key the backups are lost for ever.";

/// `longshore key recipient`.
#[derive(Debug, Subcommand)]
pub(crate) enum RecipientCommand {
    /// Let somebody else read: old backups, too. Needs a reader key.
    Add {
        /// An age recipient, `age1…` or `name=age1…`.
        recipient: NamedKey,
        #[command(flatten)]
        vaults: KeyVaults,
    },
    /// Encrypt to somebody no longer. What he could read before, he can still read.
    Remove {
        /// Name of the recipient, or its key, as `longshore key recipient list` shows them.
        recipient: String,
        #[command(flatten)]
        vaults: KeyVaults,
    },
    /// Show who can read what is backed up from now on.
    List {
        #[command(flatten)]
        vaults: KeyVaults,
    },
}

/// The vaults whose recipients are changed.
#[derive(Debug, Args)]
pub(crate) struct KeyVaults {
    /// Folder of the vault; repeat it for all vaults of the project.
    #[arg(long = "vault", value_name = "VAULT", required = true)]
    pub(crate) vaults: Vec<PathBuf>,
    /// Change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// `longshore key writer`.
#[derive(Debug, Args)]
pub(crate) struct WriterFile {
    /// Folder of the vault.
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: PathBuf,
    /// File with a reader key.
    #[arg(long, value_name = "FILE", env = "LONGSHORE_READER_KEY_FILE")]
    pub(crate) reader_key: PathBuf,
    /// New file that gets the writer key.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}
