//! Roots, receipts and parts of one backup.
//!
//! A root is repeated by every receipt, a receipt can be made again from root and part. A part stands nowhere else but in
//! a copy of the whole vault; when there is none, a new one is made from the parts of other vaults (`parts.rs`), for those of
//! their collections whose blobs are all here still: so a heal never brings a collection into a region it was not placed in.
//!
//! While an erasure is under way, or stopped on the way, one vault may know a backup only by a commit that others have left
//! behind. Whoever reads that vault alone needs it, and so does the erasure when it goes on: such a commit is healed too
//! where something of it is damaged here, but what is missing of it is not made again.

use std::collections::BTreeMap;

use longshore_model::{BackupId, Digest};
use longshore_vault::{CommittedRoot, KnownCommit, LoadedBackup, Part, PartRef, Vault};

use super::{Heal, PartHere};
use crate::EngineError;
use crate::verify::DamagedObject;
use crate::verify::missing::erasures_of;

/// A root or receipt, the vault it is in, and whether that is the one that is healed.
struct Found {
    vault: Vault,
    here: bool,
    commit: KnownCommit,
}

/// What all vaults together know of one commit of a backup.
pub(super) struct Known {
    pub(super) root: LoadedBackup,
    /// No vault knows a later commit of it.
    is_newest: bool,
    /// Parts that should be in the vault that is healed.
    here: Vec<PartRef>,
    /// Parts in sources.
    pub(super) elsewhere: Vec<(Vault, PartRef)>,
    /// Roots and receipts here that cannot be trusted.
    damaged: Vec<DamagedObject>,
    /// A good root or receipt is here.
    is_known_here: bool,
    /// Digests of parts that were lost here before, each with the part that took its place.
    pub(super) replaced: Vec<(Digest, PartRef)>,
}

impl Heal<'_> {
    /// Heals the manifests of a backup and answers its good parts here.
    pub(super) async fn manifests(&mut self, backup: &BackupId) -> Result<Vec<PartHere>, EngineError> {
        let mut found: BTreeMap<u64, Vec<Found>> = BTreeMap::new();
        for (place, vault) in std::iter::once(&self.vault).chain(&self.sources).enumerate() {
            let commits = vault.commits_of(backup).await.map_err(EngineError::vault(vault.region_id()))?;
            // The vault itself comes first. Not told by id: a copy of the whole vault has the same one.
            for commit in commits {
                let one = Found { vault: vault.clone(), here: place == 0, commit };
                found.entry(one.commit.token).or_default().push(one);
            }
        }
        let Some(newest) = found.keys().next_back().copied() else {
            return Err(EngineError::NotFound { what: "backup", id: backup.to_string() });
        };
        found.retain(|token, found| *token == newest || found.iter().any(|found| found.here));
        let mut parts = Vec::new();
        for (token, found) in found {
            if let Some(known) = self.known(found, token == newest) {
                parts.extend(self.commit(backup, known).await?);
            }
        }
        Ok(parts)
    }

    /// Heals the manifests of one commit of a backup and answers its good parts here.
    async fn commit(&mut self, backup: &BackupId, mut known: Known) -> Result<Vec<PartHere>, EngineError> {
        let root = known.root.committed();
        self.lost_erasures(&known).await?;
        self.root(&root, &known).await?;
        self.parts_of_damaged_receipts(&root, &mut known).await?;
        let (mut parts, mut lost) = (Vec::new(), Vec::new());
        for reference in std::mem::take(&mut known.here) {
            match self.part(&reference).await? {
                Ok(part) => parts.push(PartHere { backup: backup.clone(), reference, part }),
                Err(damage) => lost.push((reference, damage)),
            }
        }
        let is_good = |reference: &PartRef| parts.iter().any(|part| part.reference == *reference);
        let is_replaced =
            |lost: &PartRef| known.replaced.iter().any(|(digest, by)| *digest == lost.digest && is_good(by));
        lost.retain(|(reference, _)| !is_replaced(reference));
        if !lost.is_empty() {
            parts.extend(self.replace_parts(&root, &known, &parts, &lost).await?);
        }
        self.receipt(&root, &known, &parts).await?;
        Ok(parts)
    }

    /// Erasures that the root names and that no vault records, or they would have come back before this.
    async fn lost_erasures(&mut self, known: &Known) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        let named = erasures_of(known.root.root.sealed.open().ok());
        let lost = self.vault.lost_of_erasures(&named).await.map_err(EngineError::vault(&region))?;
        for loss in lost.iter().map(|loss| DamagedObject::of(&region, loss)) {
            if self.outcome.objects.iter().all(|told| told.object != loss.object) {
                self.note(
                    &loss,
                    false,
                    "no vault that was named records this erasure: name the others, or copies of them",
                );
            }
        }
        Ok(())
    }

    /// A copy that was made later is named by its receipt alone. Where that is damaged, a good part of the same commit
    /// says as much: a part is written only when all of it is there.
    async fn parts_of_damaged_receipts(&self, root: &CommittedRoot, known: &mut Known) -> Result<(), EngineError> {
        if known.damaged.iter().all(|damage| damage.object == root.key) {
            return Ok(());
        }
        let good = self.vault.good_parts(&root.backup_id, root.token).await;
        for (reference, _) in good.map_err(EngineError::vault(self.vault.region_id()))? {
            if !known.here.contains(&reference) {
                known.here.push(reference);
            }
        }
        Ok(())
    }

    /// What the roots and receipts of one commit say; `None` (and a result that says so) when none of them is good.
    fn known(&mut self, found: Vec<Found>, is_newest: bool) -> Option<Known> {
        let (mut good, mut damaged) = (Vec::new(), Vec::new());
        for Found { vault, here, commit } in found {
            match commit.loaded {
                Ok(loaded) => good.push((vault, here, loaded)),
                Err(error) if here => {
                    damaged.push(DamagedObject::manifest(vault.region_id(), commit.object, &error));
                }
                Err(_) => {}
            }
        }
        let Some((_, _, root)) = good.first().cloned() else {
            let how = if is_newest {
                "no vault has a good root or receipt of this backup"
            } else {
                "other vaults have only a later commit of this backup: an erasure stopped on the way, begin it again"
            };
            for damage in damaged {
                self.note(&damage, false, how);
            }
            return None;
        };
        let (mut parts_here, mut elsewhere) = (Vec::new(), Vec::new());
        for (vault, here, loaded) in &good {
            for reference in loaded.part.iter().chain(&loaded.root.open.parts) {
                if reference.vault_id == *self.vault.id() {
                    if !parts_here.contains(reference) {
                        parts_here.push(reference.clone());
                    }
                } else if !here && reference.vault_id == *vault.id() {
                    elsewhere.push((vault.clone(), reference.clone()));
                }
            }
        }
        let is_known_here = good.iter().any(|(_, here, _)| *here);
        let receipts = good.iter().filter_map(|(_, _, loaded)| Some((loaded.part.as_ref()?, &loaded.replaces)));
        let receipts = receipts.filter(|(part, _)| part.vault_id == *self.vault.id());
        let replaced = receipts.flat_map(|(part, lost)| lost.iter().map(|digest| (*digest, part.clone()))).collect();
        Some(Known { root, is_newest, here: parts_here, elsewhere, damaged, is_known_here, replaced })
    }

    /// The home vault gets its root back.
    async fn root(&mut self, root: &CommittedRoot, known: &Known) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        if known.root.root.open.home_region != region {
            return Ok(());
        }
        let damage = known.damaged.iter().find(|damage| damage.object == root.key).cloned();
        if damage.is_none() && !known.is_newest {
            return Ok(());
        }
        let missing = DamagedObject {
            region: region.clone(),
            object: root.key.clone(),
            expected: "a root".to_owned(),
            found: "nothing".to_owned(),
        };
        let here = self.vault.commits_of(&root.backup_id).await.map_err(EngineError::vault(&region))?;
        if here.iter().any(|commit| commit.object == root.key && commit.loaded.is_ok()) {
            return Ok(());
        }
        if !self.request.dry_run {
            self.vault.heal_root(root).await.map_err(EngineError::vault(&region))?;
        }
        self.note(&damage.unwrap_or(missing), true, "written again from a receipt or root in another vault");
        Ok(())
    }

    /// Loads a part, from here or, proven by its name, from a copy of this vault.
    async fn part(&mut self, reference: &PartRef) -> Result<Result<Part, DamagedObject>, EngineError> {
        let region = self.vault.region_id().clone();
        let error = match self.vault.load_part(reference).await {
            Ok(part) => return Ok(Ok(part)),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(EngineError::vault(&region)(error)),
        };
        let damage = DamagedObject::manifest(&region, reference.key.clone(), &error);
        for source in self.sources.clone() {
            // Only a copy of this vault has a part of this name.
            let healed = self.vault.heal_part(reference, &source, !self.request.dry_run).await;
            if let Some(part) = healed.map_err(EngineError::vault(&region))? {
                self.note(&damage, true, format!("written again from {}", source.place()));
                return Ok(Ok(part));
            }
        }
        Ok(Err(damage))
    }

    /// Every vault with a part of a backup, but the home vault, has a receipt. A damaged one goes aside once a good one
    /// is here.
    async fn receipt(&mut self, root: &CommittedRoot, known: &Known, parts: &[PartHere]) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        let is_home = known.root.root.open.home_region == region;
        let receipts: Vec<DamagedObject> =
            known.damaged.iter().filter(|damage| damage.object != root.key).cloned().collect();
        let missing = !is_home && known.is_newest && !known.is_known_here && !parts.is_empty();
        if receipts.is_empty() && !missing {
            return Ok(());
        }
        if !self.request.dry_run {
            for part in parts {
                // In the home vault the root names the first part; further ones are named by receipts alone.
                if !is_home || !known.root.root.open.parts.contains(&part.reference) {
                    let put = self.vault.put_receipt(root, &part.reference).await;
                    put.map_err(EngineError::vault(&region))?;
                }
            }
            if !parts.is_empty() {
                let aside = self.vault.set_damaged_commits_aside(&root.backup_id, root.token).await;
                aside.map_err(EngineError::vault(&region))?;
            }
        }
        let how = if parts.is_empty() { "its part is not here" } else { "made again from the root and the part here" };
        for damage in &receipts {
            self.note(damage, !parts.is_empty(), how);
        }
        if receipts.is_empty() {
            let object = format!("receipts/{}", root.backup_id);
            let (expected, found) = ("a receipt".to_owned(), "nothing".to_owned());
            self.note(&DamagedObject { region, object, expected, found }, true, how);
        }
        Ok(())
    }
}
