//! Opens the backup that a command names.

use std::path::PathBuf;

use longshore_engine::{OpenedBackup, RegionVaults};
use longshore_model::BackupId;
use longshore_vault::Keys;

use crate::args::Which;

/// The vaults and the id that were named; the newest backup of the first vault when no id was.
pub(crate) async fn find(which: &Which) -> anyhow::Result<(RegionVaults, BackupId)> {
    let keys = which.keys.read()?;
    let first = RegionVaults::open_one(&which.vault, &keys).await?;
    let id = match which.backup.as_deref() {
        Some("latest") | None => {
            let newest = first.list_backups().await?.backups.pop();
            let newest = newest.ok_or_else(|| anyhow::anyhow!("{} holds no backup yet", which.vault.display()))?;
            newest.root.backup_id
        }
        Some(id) => id.parse()?,
    };
    let mut open = vec![first];
    for folder in &which.more_vaults {
        open.push(RegionVaults::open_one(folder, &keys).await?);
    }
    Ok((RegionVaults::of(open)?, id))
}

/// Vaults of one project.
pub(crate) async fn open_all(folders: &[PathBuf], keys: &Keys) -> anyhow::Result<RegionVaults> {
    let mut open = Vec::with_capacity(folders.len());
    for folder in folders {
        open.push(RegionVaults::open_one(folder, keys).await?);
    }
    Ok(RegionVaults::of(open)?)
}

/// The same, opened.
pub(crate) async fn open(which: &Which) -> anyhow::Result<OpenedBackup> {
    let (vaults, id) = find(which).await?;
    Ok(OpenedBackup::find(&vaults, None, &id).await?)
}
