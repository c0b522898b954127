//! Beginning to read a backup beside running prunes: a pin, then the index, then another look.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use longshore_model::{BackupId, Clock};

use crate::{BlobId, PackId, Part, Pin, PinRequest, Reader, ReliesOn, Vault, VaultError};

/// How often a reader looks for packs that its pin does not name yet. Each time a compaction ended in between.
const PIN_TRIES: u32 = 8;

impl Vault {
    /// Takes a pin on what these parts of one backup need, and loads the index afterwards. The packs that the reader
    /// reads from first are all pinned: a prune that looked before the pin was written says which packs it may still
    /// delete, and those are read last.
    ///
    /// The caller then looks whether the backup still exists ([`Vault::exists`], in any vault of the project): one that
    /// was deleted before the pin was written may be half gone.
    ///
    /// # Errors
    /// As [`Vault::pin`] and [`Vault::open_reader`].
    pub async fn begin_reading(
        &self,
        parts: &[&Part],
        request: PinRequest,
        clock: Arc<dyn Clock>,
    ) -> Result<(Pin, Reader), VaultError> {
        let mut relies_on = request.relies_on.clone();
        relies_on.backups.extend(parts.iter().map(|part| part.open.backup_id.clone()));
        let mut packs: BTreeSet<PackId> =
            parts.iter().flat_map(|part| &part.open.packs).map(|pack| pack.id).chain(relies_on.packs).collect();
        let blobs: HashSet<BlobId> = parts
            .iter()
            .flat_map(|part| &part.open.collections)
            .flat_map(|collection| &collection.files)
            .flat_map(|file| &file.blobs)
            .copied()
            .collect();
        let state = request.state.clone();
        let reliance = |packs: &BTreeSet<PackId>| ReliesOn {
            everything: relies_on.everything,
            backups: relies_on.backups.clone(),
            packs: packs.iter().copied().collect(),
        };
        let pin = self.pin(PinRequest { relies_on: reliance(&packs), ..request }, clock).await?;
        for _ in 0..PIN_TRIES {
            let reader = self.open_reader().await?;
            let chosen: BTreeSet<PackId> =
                blobs.iter().filter_map(|blob| reader.index().first(blob)).map(|place| place.pack).collect();
            if chosen.is_subset(&packs) {
                return Ok((pin, reader));
            }
            packs.extend(chosen);
            pin.refresh(reliance(&packs), state.clone()).await?;
        }
        Ok((pin, self.open_reader().await?))
    }

    /// True when this vault knows the backup.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing fails.
    pub async fn exists(&self, backup_id: &BackupId) -> Result<bool, VaultError> {
        Ok(!self.visible_manifests(Some(backup_id)).await?.is_empty())
    }
}
