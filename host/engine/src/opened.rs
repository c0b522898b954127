//! A committed backup, read back: its root, its parts from whichever vaults are open, and copies where a part is missing.
//!
//! Contract: nothing here is guessed. A collection whose part cannot be read is an error that names the region to ask,
//! never a shorter list.

use std::collections::BTreeMap;

use longshore_model::{BackupId, CollectionName, LoadState, RegionId, VaultId};
use longshore_vault::{
    CollectionFiles, CollectionFinding, CollectionSealed, CommittedRoot, LoadedBackup, Part, PartRef, Root, RootSealed,
    Vault, VaultError,
};
use serde_json::{Value, json};

use crate::EngineError;
use crate::vaults::RegionVaults;
use crate::views::{BackedUpCollection, ExcludedCollection};

/// A part and the vault it was read from.
#[derive(Debug)]
pub struct OpenedPart {
    /// The vault that holds its blobs.
    pub vault: Vault,
    /// The part.
    pub part: Part,
}

/// A backup that can be restored, verified and shown.
#[derive(Debug)]
pub struct OpenedBackup {
    /// Its root.
    pub root: Root,
    /// The root as receipts repeat it.
    pub committed: CommittedRoot,
    /// Its parts and copies that could be read.
    pub parts: Vec<OpenedPart>,
}

/// One collection of an opened backup.
#[derive(Debug, Clone, Copy)]
pub struct OpenedCollection<'a> {
    /// The vault that holds its blobs.
    pub vault: &'a Vault,
    /// Its files by number.
    pub files: &'a CollectionFiles,
    /// What it is, and what its files are called.
    pub sealed: &'a CollectionSealed,
}

impl OpenedBackup {
    /// Reads a backup from the vaults of a host. `home` is asked first when it is known.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when no vault knows it, [`EngineError::Vault`], and [`EngineError::DamagedBackup`] when
    /// a part that the root names is in no open vault.
    pub async fn find(vaults: &RegionVaults, home: Option<&RegionId>, id: &BackupId) -> Result<Self, EngineError> {
        let (mut ordered, others): (Vec<_>, Vec<_>) =
            vaults.all().into_iter().partition(|vault| home == Some(vault.region_id()));
        ordered.extend(others);
        let mut newest: Option<LoadedBackup> = None;
        let mut copies = Vec::new();
        for vault in &ordered {
            let found = match vault.load_backup(id).await {
                Ok(found) => found,
                Err(VaultError::NoSuchBackup { .. }) => continue,
                Err(error) => return Err(EngineError::vault(vault.region_id())(error)),
            };
            // A later attempt of the same job has a higher token, and only it counts.
            let token = found.root.open.token;
            if newest.as_ref().is_none_or(|newest| token > newest.root.open.token) {
                newest = Some(found);
                copies.clear();
            }
            if newest.as_ref().is_some_and(|newest| token == newest.root.open.token) {
                copies.extend(vault.parts_here(id, token).await.map_err(EngineError::vault(vault.region_id()))?);
            }
        }
        let newest = newest.ok_or_else(|| EngineError::NotFound { what: "backup", id: id.to_string() })?;
        copies.retain(|copy: &PartRef| !newest.root.open.parts.contains(copy));
        let parts = read_parts(vaults, &newest.root, &copies).await?;
        let committed = newest.committed();
        let opened = Self { root: newest.root, committed, parts };
        opened.check_complete(vaults)?;
        Ok(opened)
    }

    /// The names, schema and decisions of the backup.
    ///
    /// # Errors
    /// [`EngineError::DamagedBackup`] when the sealed half cannot be opened.
    pub fn sealed(&self) -> Result<&RootSealed, EngineError> {
        self.root.sealed.open().map_err(|error| self.damaged(error.to_string()))
    }

    /// Its collections in order of name, each from the first place that holds it: parts come before copies.
    ///
    /// # Errors
    /// [`EngineError::DamagedBackup`] when a part does not hold together.
    pub fn collections(&self) -> Result<Vec<OpenedCollection<'_>>, EngineError> {
        let mut found: BTreeMap<&CollectionName, OpenedCollection<'_>> = BTreeMap::new();
        for opened in &self.parts {
            let collections = opened.part.collections().map_err(|error| self.damaged(error.to_string()))?;
            for (files, sealed) in collections {
                let collection = OpenedCollection { vault: &opened.vault, files, sealed };
                found.entry(&sealed.name).or_insert(collection);
            }
        }
        Ok(found.into_values().collect())
    }

    /// The vault that its root is in, as far as that vault is open.
    pub(crate) fn home_vault_id(&self, vaults: &RegionVaults) -> Option<VaultId> {
        let home = &self.root.open.home_region;
        let part = self.root.open.parts.iter().find(|part| part.region_id == *home);
        part.map(|part| part.vault_id.clone()).or_else(|| vaults.get(home).ok().map(|vault| vault.id().clone()))
    }

    /// A part of the root that is in no open vault must be covered by copies.
    fn check_complete(&self, vaults: &RegionVaults) -> Result<(), EngineError> {
        let missing: Vec<&PartRef> =
            self.root.open.parts.iter().filter(|part| vaults.by_id(&part.vault_id).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let listed = self.sealed()?.extra.get("collections").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let there = self.collections()?.len() as u64;
        if there >= listed {
            return Ok(());
        }
        let regions: Vec<String> =
            missing.iter().map(|part| format!("region {} (vault {})", part.region_id, part.vault_id)).collect();
        Err(self.damaged(format!(
            "parts of it are in {}, which is not open here; name that vault too",
            regions.join(" and ")
        )))
    }

    fn damaged(&self, what: String) -> EngineError {
        EngineError::DamagedBackup { backup: self.root.open.backup_id.to_string(), what }
    }

    /// Every region that holds a part or a copy.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions: Vec<RegionId> = self.parts.iter().map(|part| part.vault.region_id().clone()).collect();
        regions.push(self.root.open.home_region.clone());
        regions.sort();
        regions.dedup();
        regions
    }

    /// Its collections as a caller sees them.
    ///
    /// # Errors
    /// As [`OpenedBackup::collections`].
    pub fn collection_views(&self) -> Result<Vec<BackedUpCollection>, EngineError> {
        Ok(self
            .collections()?
            .iter()
            .map(|collection| view(collection.sealed, collection.files, collection.vault))
            .collect())
    }

    /// The collections it leaves out as a caller sees them.
    ///
    /// # Errors
    /// As [`OpenedBackup::sealed`].
    pub fn excluded_views(&self) -> Result<Vec<ExcludedCollection>, EngineError> {
        let excluded = &self.sealed()?.excluded;
        Ok(excluded
            .iter()
            .map(|excluded| ExcludedCollection {
                name: excluded.name.clone(),
                decided_by: excluded.decided_by.clone(),
                reason: excluded.reason.message.clone(),
            })
            .collect())
    }

    /// What the policies were asked and answered.
    #[must_use]
    pub fn decisions(&self) -> Value {
        let sealed = self.root.sealed.open().ok();
        json!({
            "policies": sealed.map(|sealed| sealed.policies.clone()),
            "decisions": sealed.map(|sealed| sealed.decisions.clone()),
        })
    }
}

async fn read_parts(vaults: &RegionVaults, root: &Root, copies: &[PartRef]) -> Result<Vec<OpenedPart>, EngineError> {
    let mut parts = Vec::new();
    for part in root.open.parts.iter().chain(copies) {
        let Some(vault) = vaults.by_id(&part.vault_id) else { continue };
        let read = vault.load_part(part).await.map_err(EngineError::vault(vault.region_id()))?;
        parts.push(OpenedPart { vault, part: read });
    }
    Ok(parts)
}

fn view(sealed: &CollectionSealed, files: &CollectionFiles, vault: &Vault) -> BackedUpCollection {
    let description = sealed.schema.get("description").and_then(Value::as_str).unwrap_or_default();
    BackedUpCollection {
        name: sealed.name.clone(),
        description: description.to_owned(),
        loaded: sealed.load_state == LoadState::Loaded,
        physical_rows: sealed.physical_rows,
        live_rows: sealed.live_rows,
        size_bytes: files.files.iter().map(|file| file.size_bytes).sum(),
        region: vault.region_id().clone(),
        changed_during_backup: sealed.finding != CollectionFinding::Unaltered,
    }
}
