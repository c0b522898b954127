//! The catalog of a host, for commands that work on it directly, also while the host runs.

use std::path::Path;

use anyhow::Context;
use longshore_catalog::SqliteCatalog;
use longshore_engine::HostConfig;

/// Opens the configuration and the catalog; a new catalog is made where there is none.
pub(super) fn open(config: &Path) -> anyhow::Result<(HostConfig, SqliteCatalog)> {
    let config = HostConfig::read(config)?;
    let folder = &config.data_directory;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let catalog = SqliteCatalog::open(&folder.join("catalog.sqlite"))?;
    Ok((config, catalog))
}
