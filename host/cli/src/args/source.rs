//! Which cluster a command without a host is about.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_model::ClusterId;

/// A Milvus Lite directory, or a cluster of a configuration.
#[derive(Debug, Args)]
pub(crate) struct WhichCluster {
    /// A Milvus Lite 3 data directory, or the folder of a backup that milvus-backup made.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    pub(crate) directory: Option<PathBuf>,
    /// The configuration of a host that has the cluster in it: how a Milvus server is reached stands only there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which of its clusters; may be left out if there is one.
    #[arg(long, value_name = "ID", requires = "config")]
    pub(crate) cluster: Option<ClusterId>,
}

/// `longshore source`.
#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Look whether a cluster can be reached and read, and whether its files are where the configuration says. Changes
    /// nothing; ends with 1 if backups would not work.
    Check(SourceCheck),
}

/// `longshore source check`.
#[derive(Debug, Args)]
pub(crate) struct SourceCheck {
    #[command(flatten)]
    pub(crate) which: WhichCluster,
    /// Also whether a Milvus server can be restored into: a probe is written where restores put files, read and removed.
    /// Without it that is looked at if the configuration names a staging folder.
    #[arg(long, requires = "config")]
    pub(crate) restore: bool,
    /// Look at the servers of `[[server_pool]]` in place of a cluster, and whether they can be restored into.
    #[arg(long, requires = "config", conflicts_with = "cluster")]
    pub(crate) server_pool: bool,
}
