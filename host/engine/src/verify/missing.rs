//! What is missing although nothing that is there is damaged: roots and receipts that another vault says should be there, and
//! records that other vaults or the backup itself name.
//!
//! Contract: only of vaults that are open here, and nothing that a deletion, or a backup or an erasure under way, leaves
//! missing.

use longshore_vault::{PinRecord, RootOpen, Vault};

use super::{DamagedObject, Run};
use crate::EngineError;
use crate::opened::OpenedBackup;

/// Ids of the erasures that a backup was rewritten by; none where that is sealed and cannot be read.
pub(crate) fn erasures_of(sealed: Option<&longshore_vault::RootSealed>) -> Vec<String> {
    let named = sealed.and_then(|sealed| sealed.extra.get("erasures"));
    named.and_then(|named| serde_json::from_value(named.clone()).ok()).unwrap_or_default()
}

impl Run<'_> {
    /// A root that was lost at home, and receipts of parts that the root names. Copies that were made later are named by
    /// their receipts alone: of those nobody here knows.
    pub(super) async fn missing_commits(&self, opened: &OpenedBackup) -> Result<Vec<DamagedObject>, EngineError> {
        let open = &opened.root.open;
        let mut missing = Vec::new();
        for vault in self.vaults.all() {
            let region = vault.region_id();
            let is_home = *region == open.home_region;
            if !is_home && open.parts.iter().all(|part| part.vault_id != *vault.id()) {
                continue;
            }
            // Twice, around the pins: a job that gave its pin up in between has written its receipts.
            if self.accounts_for(&vault, open).await?
                || !is_home && self.is_being_written(&vault, open).await?
                || self.accounts_for(&vault, open).await?
            {
                continue;
            }
            let (object, expected) = match is_home {
                true => (opened.committed.key.clone(), "a root"),
                false => (format!("receipts/{}", open.backup_id), "a receipt"),
            };
            let (region, expected, found) = (region.clone(), expected.to_owned(), "nothing".to_owned());
            missing.push(DamagedObject { region, object, expected, found });
        }
        Ok(missing)
    }

    /// True for a vault that knows the backup, or knows that it was deleted. One of another token is no loss: an erasure that
    /// stopped leaves them so.
    async fn accounts_for(&self, vault: &Vault, open: &RootOpen) -> Result<bool, EngineError> {
        let fail = || EngineError::vault(vault.region_id());
        Ok(vault.exists(&open.backup_id).await.map_err(fail())?
            || vault.is_withdrawn(&open.backup_id, open.token).await.map_err(fail())?)
    }

    /// True while the job that wrote the root holds its pin in this vault: it is at its receipts, or it was killed before
    /// them. Then a prune or a heal writes them; once the pin has lapsed they count as lost.
    async fn is_being_written(&self, vault: &Vault, open: &RootOpen) -> Result<bool, EngineError> {
        let pins = vault.list_pins().await.map_err(EngineError::vault(vault.region_id()))?;
        let (now, lapse_ms) = (self.context.clock.now(), vault.limits().pin_lapse_ms);
        let writes = |pin: &PinRecord| {
            pin.relies_on.everything
                && pin.token == open.token
                && pin.relies_on.backups.contains(&open.backup_id)
                && now.millis_since(pin.refreshed) <= lapse_ms
        };
        Ok(pins.iter().any(writes))
    }

    /// Keys that the root is sealed with and that vaults which know it have lost; and whether all of them have.
    pub(super) async fn missing_keys(&self, opened: &OpenedBackup) -> Result<(Vec<DamagedObject>, bool), EngineError> {
        let (mut missing, mut everywhere) = (Vec::new(), true);
        for vault in self.vaults.all() {
            let region = vault.region_id();
            let fail = || EngineError::vault(region);
            if vault.exists(&opened.root.open.backup_id).await.map_err(fail())? {
                let lost = vault.lost_key_of(&opened.root).await.map_err(fail())?;
                everywhere &= lost.is_some();
                missing.extend(lost.map(|loss| DamagedObject::of(region, &loss)));
            }
        }
        Ok((missing, everywhere))
    }

    /// Records of erasures that this backup names and that a vault has not.
    pub(super) async fn missing_erasures(&self, opened: &OpenedBackup) -> Result<Vec<DamagedObject>, EngineError> {
        let named = erasures_of(opened.root.sealed.open().ok());
        let mut missing = Vec::new();
        for vault in self.vaults.all() {
            let region = vault.region_id();
            let lost = vault.lost_of_erasures(&named).await.map_err(EngineError::vault(region))?;
            missing.extend(lost.iter().map(|loss| DamagedObject::of(region, loss)));
        }
        Ok(missing)
    }

    /// The other vaults that are open.
    pub(super) fn beside(&self, vault: &Vault) -> Vec<Vault> {
        self.vaults.all().into_iter().filter(|other| other.id() != vault.id()).collect()
    }
}
