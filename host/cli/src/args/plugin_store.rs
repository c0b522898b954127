//! Plugins that a host keeps, and who vouches for them.

use std::path::PathBuf;

use clap::Subcommand;

use super::policy::ConfigFile;

/// The part of `longshore plugin` that is for operators.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginStoreCommand {
    /// Install a plugin file under a name that chains can give: `plugin = "name"`. Checks its signature.
    Install {
        /// The .wasm file; its signature lies beside it as FILE.sig.
        file: PathBuf,
        /// Its name here; what the plugin calls itself when left out.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List installed plugins.
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove an installed plugin that no chain uses.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sign a plugin file; writes FILE.sig.
    Sign {
        /// The .wasm file.
        file: PathBuf,
        /// File with the private key, from `longshore plugin keygen`.
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
    },
    /// Make a key that signs plugins. Prints the public key, for `trusted_keys` in the configuration.
    Keygen {
        /// New file that gets the private key.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}
