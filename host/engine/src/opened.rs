//! A committed backup, read back: its root, its parts from whichever vaults are open, and copies where a part is missing.
//!
//! Contract: nothing here is guessed. A collection whose part cannot be read is an error that names the region to ask,
//! never a shorter list, unless the caller asks for what is there. One good root or receipt of the newest commit is
//! enough; while a newer one is damaged everywhere, an older one is never taken for it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{BackupId, CollectionName, Digest, LoadState, RegionId, VaultId};
use longshore_source::cannot_be_restored;
use longshore_vault::{
    CollectionFiles, CollectionFinding, CollectionSealed, CommittedRoot, JsonText, Part, PartRef, Root, RootSealed,
    Vault, VaultError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::EngineError;
use crate::backup::RequestedCopy;
use crate::vaults::RegionVaults;
use crate::verify::DamagedObject;
use crate::views::{BackedUpCollection, ExcludedCollection};

/// A part and the vault it was read from.
#[derive(Debug)]
pub struct OpenedPart {
    /// The vault that holds its blobs.
    pub vault: Vault,
    /// The part.
    pub part: Part,
    /// What names it.
    pub reference: PartRef,
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
    /// Roots, receipts and parts of it that are lost or damaged.
    pub damages: Vec<DamagedObject>,
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
    /// a collection of it can be found in no open vault.
    pub async fn find(vaults: &RegionVaults, home: Option<&RegionId>, id: &BackupId) -> Result<Self, EngineError> {
        let opened = Self::find_what_is_there(vaults, home, id).await?;
        opened.require_complete()?;
        Ok(opened)
    }

    /// Reads as much of a backup as can be read. Manifests that are lost or damaged are named in
    /// [`OpenedBackup::damages`], and what is missing in all by [`OpenedBackup::require_complete`].
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when no vault knows it, [`EngineError::Vault`] when a vault does not answer, and
    /// [`EngineError::DamagedBackup`] when none of its newest roots and receipts can be read: an older one is not taken
    /// for it.
    pub async fn find_what_is_there(
        vaults: &RegionVaults,
        home: Option<&RegionId>,
        id: &BackupId,
    ) -> Result<Self, EngineError> {
        let (mut ordered, others): (Vec<_>, Vec<_>) =
            vaults.all().into_iter().partition(|vault| home == Some(vault.region_id()));
        ordered.extend(others);
        let mut commits = Vec::new();
        for vault in &ordered {
            let known = vault.commits_of(id).await.map_err(EngineError::vault(vault.region_id()))?;
            commits.extend(known.into_iter().map(|commit| (vault.region_id().clone(), commit)));
        }
        // A later attempt of the same job has a higher token, and only it counts, readable or not.
        let token = commits.iter().map(|(_, commit)| commit.token).max();
        let token = token.ok_or_else(|| EngineError::NotFound { what: "backup", id: id.to_string() })?;
        let (mut good, mut damages, mut no_key) = (Vec::new(), Vec::new(), None);
        for (region, commit) in commits.into_iter().filter(|(_, commit)| commit.token == token) {
            match commit.loaded {
                Ok(loaded) => good.push(loaded),
                // Nothing is wrong with it: it was encrypted to others.
                Err(error @ VaultError::SessionKey { lost: false, .. }) => {
                    no_key = Some(EngineError::vault(&region)(error));
                }
                Err(error) => {
                    damages.extend(DamagedObject::lost_key(&region, &error));
                    damages.push(DamagedObject::manifest(&region, commit.object, &error));
                }
            }
        }
        let mut copies: Vec<PartRef> = Vec::new();
        let mut replaced: Vec<(PartRef, Vec<Digest>)> = Vec::new();
        for part in good.iter().filter_map(|loaded| Some((loaded.part.as_ref()?, &loaded.replaces))) {
            if !copies.contains(part.0) {
                copies.push(part.0.clone());
            }
            replaced.push((part.0.clone(), part.1.clone()));
        }
        let Some(first) = good.into_iter().next() else {
            if let Some(error) = no_key {
                return Err(error);
            }
            let objects: Vec<String> =
                damages.iter().map(|one| format!("{} in {} ({})", one.object, one.region, one.found)).collect();
            let what = format!("none of its roots and receipts can be read: {}", objects.join("; "));
            return Err(EngineError::DamagedBackup { backup: id.to_string(), what });
        };
        copies.retain(|copy| !first.root.open.parts.contains(copy));
        let parts = read_parts(vaults, &first.root, &copies, &mut damages).await?;
        let committed = first.committed();
        let mut opened = Self { root: first.root, committed, parts, damages };
        opened.forget_replaced_parts(&copies, &replaced);
        Ok(opened)
    }

    /// A lost part is no damage any more once a part of the same vault, which can be read, holds all of it: that is how a
    /// heal replaces it, because the root, or a receipt, goes on naming the lost one. Another part in that vault alone says
    /// nothing: it may be a copy of other collections.
    fn forget_replaced_parts(&mut self, copies: &[PartRef], replaced: &[(PartRef, Vec<Digest>)]) {
        if self.require_complete().is_err() {
            return;
        }
        let named: Vec<PartRef> = self.root.open.parts.iter().chain(copies).cloned().collect();
        let is_replaced = |lost: &PartRef| {
            let by =
                replaced.iter().filter(|(by, digests)| by.vault_id == lost.vault_id && digests.contains(&lost.digest));
            by.into_iter().any(|(by, _)| self.parts.iter().any(|part| part.reference == *by))
        };
        let is_no_damage = |damage: &DamagedObject| {
            let lost = named.iter().find(|part| part.key == damage.object && part.region_id == damage.region);
            lost.is_some_and(is_replaced)
        };
        self.damages.retain(|damage| !is_no_damage(damage));
    }

    /// The names, schema and decisions of the backup.
    ///
    /// # Errors
    /// [`EngineError::DamagedBackup`] when the sealed half cannot be opened.
    pub fn sealed(&self) -> Result<&RootSealed, EngineError> {
        self.root.sealed.open().map_err(|error| self.locked_or_damaged(error, &self.root.open.home_region))
    }

    /// Copies that were asked for when it was made; none where that is sealed and cannot be read.
    pub(crate) fn requested_copies(&self) -> Vec<RequestedCopy> {
        let sealed = self.root.sealed.open().ok();
        let copies = sealed.and_then(|sealed| sealed.extra.get("copies"));
        copies.and_then(|copies| serde_json::from_value(copies.clone()).ok()).unwrap_or_default()
    }

    /// Users and roles of the cluster when it was made, as the source gave them; `None` when it has none.
    pub(crate) fn users(&self) -> Option<Value> {
        self.root.sealed.open().ok()?.extra.get("access").filter(|users| !users.is_null()).cloned()
    }

    /// Its collections in order of name, each from the first place that holds it: parts come before copies.
    ///
    /// # Errors
    /// [`EngineError::DamagedBackup`] when a part does not hold together.
    pub fn collections(&self) -> Result<Vec<OpenedCollection<'_>>, EngineError> {
        let mut found: BTreeMap<&CollectionName, OpenedCollection<'_>> = BTreeMap::new();
        for opened in &self.parts {
            let region = opened.vault.region_id();
            let collections = opened.part.collections().map_err(|error| self.locked_or_damaged(error, region))?;
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

    /// Fails unless every collection can be found: a part that is not here must be covered by copies.
    ///
    /// # Errors
    /// [`EngineError::DamagedBackup`], naming the regions to ask.
    pub fn require_complete(&self) -> Result<(), EngineError> {
        let read = |part: &PartRef| self.parts.iter().any(|opened| opened.reference == *part);
        let missing: Vec<&PartRef> = self.root.open.parts.iter().filter(|part| !read(part)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.covers_missing()? {
            return Ok(());
        }
        let mut reasons: Vec<String> = missing
            .iter()
            .map(|part| {
                let place = format!("region {} (vault {})", part.region_id, part.vault_id);
                match self.damages.iter().find(|damage| damage.object == part.key) {
                    Some(damage) => format!("its part in {place} cannot be read: {}", damage.found),
                    None => format!("parts of it are in {place}, which is not open here; name that vault too"),
                }
            })
            .collect();
        let lost = if self.is_locked() { Vec::new() } else { self.lost_collections()? };
        if !lost.is_empty() {
            reasons.push(format!("not found: {}", lost.join(", ")));
        }
        Err(self.damaged(reasons.join("; ")))
    }

    /// Whether what could be read makes up for parts that could not.
    fn covers_missing(&self) -> Result<bool, EngineError> {
        if self.is_locked() {
            // How many collections there should be, and which these are, is sealed: a copy is taken at its word by who
            // cannot read it. Restoring needs a reader key, and then they are counted.
            let is_copy = |part: &OpenedPart| !self.root.open.parts.contains(&part.reference);
            return Ok(self.parts.iter().any(is_copy));
        }
        let listed = self.sealed()?.extra.get("collections").and_then(Value::as_u64).unwrap_or(u64::MAX);
        Ok(self.collections()?.len() as u64 >= listed)
    }

    /// Names of collections that the backup placed somewhere and that no readable part holds.
    ///
    /// # Errors
    /// As [`OpenedBackup::collections`].
    pub fn lost_collections(&self) -> Result<Vec<String>, EngineError> {
        let there: BTreeSet<String> = self.collections()?.iter().map(|one| one.sealed.name.to_string()).collect();
        let decisions: Value = self.sealed()?.decisions.read().map_err(|error| self.damaged(error.to_string()))?;
        let rows = decisions.get("rows").and_then(Value::as_array);
        let placed = rows.into_iter().flatten().filter(|row| row["kind"] == "placement");
        let placed: BTreeSet<&str> = placed.filter_map(|row| row["item"].as_str()).collect();
        Ok(placed.into_iter().filter(|name| !there.contains(*name)).map(str::to_owned).collect())
    }

    /// A half that is encrypted is not damaged: the sentence says which key is needed.
    fn locked_or_damaged(&self, error: VaultError, region: &RegionId) -> EngineError {
        match error {
            VaultError::Locked => EngineError::vault(region)(error),
            error => self.damaged(error.to_string()),
        }
    }

    /// True when names can be read only with a reader key, and none was given.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.root.sealed.is_locked() || self.parts.iter().any(|part| part.part.sealed.is_locked())
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
            "decisions": sealed.and_then(|sealed| sealed.decisions.read::<Value>().ok()),
        })
    }
}

/// Reads what can be read of these parts; what is lost or damaged goes to `damages`.
async fn read_parts(
    vaults: &RegionVaults,
    root: &Root,
    copies: &[PartRef],
    damages: &mut Vec<DamagedObject>,
) -> Result<Vec<OpenedPart>, EngineError> {
    let mut parts = Vec::new();
    for reference in root.open.parts.iter().chain(copies) {
        let Some(vault) = vaults.by_id(&reference.vault_id) else { continue };
        match vault.load_part(reference).await {
            Ok(part) => parts.push(OpenedPart { vault, part, reference: reference.clone() }),
            Err(error) if error.is_damage() => {
                damages.extend(DamagedObject::lost_key(vault.region_id(), &error));
                damages.push(DamagedObject::manifest(vault.region_id(), reference.key.clone(), &error));
            }
            Err(error) => return Err(EngineError::vault(vault.region_id())(error)),
        }
    }
    Ok(parts)
}

/// What its owner says a collection is, as far as the schema tells.
fn description(schema: &JsonText) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Described {
        description: Value,
    }
    let described: Described = schema.read().unwrap_or_default();
    described.description.as_str().unwrap_or_default().to_owned()
}

fn view(sealed: &CollectionSealed, files: &CollectionFiles, vault: &Vault) -> BackedUpCollection {
    BackedUpCollection {
        name: sealed.name.clone(),
        description: description(&sealed.schema),
        loaded: sealed.load_state == LoadState::Loaded,
        physical_rows: sealed.physical_rows,
        live_rows: sealed.live_rows,
        size_bytes: files.files.iter().map(|file| file.size_bytes).sum(),
        region: vault.region_id().clone(),
        changed_during_backup: sealed.finding != CollectionFinding::Unaltered,
        cannot_be_restored: cannot_be_restored(&sealed.consistent_point).map(str::to_owned),
    }
}
