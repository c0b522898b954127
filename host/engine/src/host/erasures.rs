//! The catalog follows erasures: what was erased from the vaults is not listed by a running host either.
//!
//! An erasure works on vaults and may be started anywhere, so a host looks for records of erasures that are rewritten
//! (`erasures/<id>.json`). Collections are recognised by name, or in an encrypted vault by their keyed name, so a host
//! with the writer key alone follows, too. Contract: repeating it changes nothing; what fails is tried again the next
//! time. Jobs and the audit log are records of what was asked, and keep the names that were asked for.

use std::collections::BTreeSet;

use longshore_catalog::{BackupOutcome, BackupRecord};
use longshore_model::{BackupId, BackupStatus, CollectionName, Timestamp};
use longshore_vault::{Erasure, IdKey, RootOpen};
use serde::{Deserialize, Serialize};

use super::Host;
use crate::EngineError;
use crate::jobs::{BackupDetail, collections_from_value};

/// Where the catalog keeps which erasures it followed.
const SETTING: &str = "followed_erasures";

/// An erasure as it was followed: one that was run again later counts anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Followed {
    erasure_id: String,
    rewritten: Timestamp,
}

impl Host {
    /// Takes erased collections out of the rows of the backups that were rewritten. Answers how many rows changed.
    ///
    /// # Errors
    /// [`EngineError::Vault`], [`EngineError::Catalog`].
    pub async fn follow_erasures(&self) -> Result<u64, EngineError> {
        let known = self.catalog("reading a setting", |catalog, _| Ok(catalog.get_setting(SETTING)?)).await?;
        let known: BTreeSet<Followed> = known.and_then(|known| serde_json::from_value(known).ok()).unwrap_or_default();
        let mut followed = known.clone();
        let mut changed = 0;
        for vault in self.inner.vaults.all() {
            let region = vault.region_id().clone();
            for erasure in vault.list_erasures().await.map_err(EngineError::vault(&region))? {
                let Some(rewritten) = erasure.rewritten else { continue };
                let this = Followed { erasure_id: erasure.erasure_id.clone(), rewritten };
                if known.contains(&this) {
                    continue;
                }
                let key = vault.id_key().map_err(EngineError::vault(&region))?;
                for backup in &erasure.backups {
                    changed += u64::from(self.follow_in(backup, &erasure, key).await?);
                }
                followed.insert(this);
            }
        }
        if followed != known {
            let value = serde_json::to_value(&followed)
                .map_err(|error| EngineError::Internal { what: format!("writing a setting: {error}") })?;
            // After the rows: a host that dies in between follows them again.
            self.catalog("writing a setting", move |catalog, _| Ok(catalog.put_setting(SETTING, &value)?)).await?;
        }
        Ok(changed)
    }

    /// Brings one row up to date. False when the catalog does not know the backup, or it says so already.
    async fn follow_in(&self, backup: &BackupId, erasure: &Erasure, key: &IdKey) -> Result<bool, EngineError> {
        let id = backup.clone();
        let record = self.catalog("reading a backup", move |catalog, _| Ok(catalog.get_backup(&id)?)).await?;
        let Some(record) = record.filter(|record| record.backup.status == BackupStatus::Available) else {
            return Ok(false);
        };
        let home = self.inner.vaults.get(&record.backup.region)?;
        // The open half alone is needed, so no reader key is.
        let root = match home.load_backup(backup).await {
            Ok(loaded) => Some(loaded.root.open),
            // Deleted in the vault only, or damaged: what is left of the row says no more than it did.
            Err(error) if !error.is_unanswered() => {
                tracing::warn!(%backup, %error, "sizes of a backup after an erasure are not known");
                None
            }
            Err(error) => return Err(EngineError::vault(&record.backup.region)(error)),
        };
        let Some(outcome) = without(&record, erasure, key, root.as_ref())? else { return Ok(false) };
        let id = backup.clone();
        self.catalog("following an erasure", move |catalog, _| Ok(catalog.replace_backup_content(&id, &outcome)?))
            .await?;
        Ok(true)
    }

    /// [`Host::follow_erasures`] beside everything else: a failure is logged, and the next time tries again.
    pub(crate) async fn follow_erasures_quietly(&self) {
        match self.follow_erasures().await {
            Ok(0) => {}
            Ok(backups) => tracing::info!(backups, "an erasure was followed in the catalog"),
            Err(error) => tracing::warn!(%error, "an erasure was not followed; the next time tries again"),
        }
    }
}

/// The content of a row without the erased collection; `None` when it does not name it.
fn without(
    record: &BackupRecord,
    erasure: &Erasure,
    key: &IdKey,
    root: Option<&RootOpen>,
) -> Result<Option<BackupOutcome>, EngineError> {
    let erased = |name: &CollectionName| {
        erasure.collection.as_ref() == Some(name) || erasure.name_id.is_some_and(|id| key.name_id(name) == id)
    };
    let mut collections = collections_from_value(&record.collections);
    let mut detail = BackupDetail::from_value(&record.detail);
    let (held, excluded) = (collections.len(), detail.excluded.len());
    let gone_bytes: u64 = collections.iter().filter(|one| erased(&one.name)).map(|one| one.size_bytes).sum();
    collections.retain(|one| !erased(&one.name));
    detail.excluded.retain(|one| !erased(&one.name));
    if (collections.len(), detail.excluded.len()) == (held, excluded) {
        return Ok(None);
    }
    if let Some(root) = root {
        detail.stored_bytes = root.sizes.new_bytes;
    }
    let json = |value: serde_json::Result<serde_json::Value>| {
        value.map_err(|error| EngineError::Internal { what: format!("writing a backup's row: {error}") })
    };
    // What else is kept in the detail (copies, checks) stays as it is.
    let mut kept = record.detail.clone();
    if let (Some(kept), serde_json::Value::Object(new)) = (kept.as_object_mut(), json(serde_json::to_value(&detail))?) {
        kept.extend(new);
    }
    let size_bytes = root.map_or(record.backup.size_bytes.saturating_sub(gone_bytes), |root| root.sizes.plain_bytes);
    let collections = json(serde_json::to_value(&collections))?;
    Ok(Some(BackupOutcome { size_bytes, collections, detail: kept }))
}
