//! Parts of which no copy is left: a new one is made of what other vaults know and is still here.
//!
//! Contract: a new part is said to take the place of lost ones only when nothing that they alone told is lost: every
//! collection of the backup stands in a part that can be read, and the new part holds as many bytes as the lost ones did,
//! collections that other good parts here hold not counted. Then nobody misses the lost parts, though the root or old
//! receipts go on naming them. In every other case the new part stands beside them, and they stay what they are: damage.

use std::collections::{BTreeSet, HashSet};

use longshore_model::{CollectionName, Digest, VaultId};
use longshore_vault::{
    BlobId, CollectionFiles, CollectionSealed, CommittedRoot, PartDraft, PartRef, PartSealed, Sealed, Session,
    SessionOptions, Vault, VaultError,
};
use serde_json::Value;

use super::manifests::Known;
use super::{Heal, PartHere};
use crate::EngineError;
use crate::verify::DamagedObject;

type Collections = Vec<(CollectionFiles, CollectionSealed)>;

/// What a new part can be made of.
struct Found {
    /// Collections of parts in other vaults whose blobs are all here and that no good part here holds.
    collections: Collections,
    /// Every collection of the backup stands in some part that can be read.
    complete: bool,
}

impl Heal<'_> {
    /// Makes a part that takes the place of lost ones, as far as that can be done. `good` are the other parts here.
    pub(super) async fn replace_parts(
        &mut self,
        root: &CommittedRoot,
        known: &Known,
        good: &[PartHere],
        lost: &[(PartRef, DamagedObject)],
    ) -> Result<Option<PartHere>, EngineError> {
        let found = match self.find(known, good).await {
            // Whose collections these are is sealed. The rest of the vault can be healed all the same.
            Err(EngineError::Vault { source, .. }) if matches!(*source, VaultError::Locked) => {
                let how =
                    "other vaults have parts to make a new one from, which takes a reader key: heal again with one";
                self.note_lost(lost, false, how);
                return Ok(None);
            }
            found => found?,
        };
        if found.collections.is_empty() {
            self.note_lost(lost, false, "no other vault has a part with collections whose bytes are still here");
            return Ok(None);
        }
        let Some(pin) = self.pin.clone() else {
            let whole = holds_all(known, lost, &found, &found.collections);
            self.note_lost(lost, whole, how(&found.collections, whole));
            return Ok(None);
        };
        let region = self.vault.region_id().clone();
        let session = self
            .vault
            .begin(&pin, SessionOptions::holding(self.context.limits.content_budget_bytes()))
            .await
            .map_err(EngineError::vault(&region))?;
        let collections = self.readable(&session, found.collections.clone()).await?;
        let whole = holds_all(known, lost, &found, &collections);
        let draft = self.draft(root, known, &collections);
        let finished = session.finish(draft).await.map_err(EngineError::vault(&region))?;
        let replaces: Vec<Digest> = lost.iter().filter(|_| whole).map(|(lost, _)| lost.digest).collect();
        let receipt = self.vault.put_replacing_receipt(root, &finished.reference, &replaces).await;
        receipt.map_err(EngineError::vault(&region))?;
        self.note_lost(lost, whole, how(&collections, whole));
        Ok(Some(PartHere { backup: root.backup_id.clone(), reference: finished.reference, part: finished.part }))
    }

    fn draft(&self, root: &CommittedRoot, known: &Known, collections: &Collections) -> PartDraft {
        let numbered = || (0_u32..).zip(collections);
        PartDraft {
            backup_id: root.backup_id.clone(),
            token: root.token,
            home_vault_id: home_vault_id(known, &self.vault, &self.sources),
            created: self.context.clock.now(),
            collections: numbered().map(|(number, (files, _))| CollectionFiles { number, ..files.clone() }).collect(),
            sealed: Sealed::Readable(PartSealed {
                collections: numbered()
                    .map(|(number, (_, sealed))| CollectionSealed { number, ..sealed.clone() })
                    .collect(),
            }),
        }
    }

    fn note_lost(&mut self, lost: &[(PartRef, DamagedObject)], healed: bool, how: impl Into<String>) {
        let how = how.into();
        for (_, damage) in lost {
            self.note(damage, healed, how.clone());
        }
    }

    /// Looks what other vaults know of the backup, and what of that is here.
    async fn find(&self, known: &Known, good: &[PartHere]) -> Result<Found, EngineError> {
        let here = self.vault.region_id();
        let mut names: BTreeSet<CollectionName> = BTreeSet::new();
        for part in good {
            let collections = part.part.collections().map_err(EngineError::vault(here))?;
            names.extend(collections.into_iter().map(|(_, sealed)| sealed.name.clone()));
        }
        let in_good_parts = names.clone();
        let reader = self.vault.open_reader().await.map_err(EngineError::vault(here))?;
        let mut found: Collections = Vec::new();
        for (source, reference) in &known.elsewhere {
            let part = match source.load_part(reference).await {
                Ok(part) => part,
                Err(error) => {
                    tracing::warn!(%error, vault = %source.place(), "a part of a source is left out");
                    continue;
                }
            };
            for (files, sealed) in part.collections().map_err(EngineError::vault(source.region_id()))? {
                names.insert(sealed.name.clone());
                let is_here = |blob| reader.blob_bytes(blob).is_some();
                let all_here = files.files.iter().flat_map(|file| &file.blobs).all(is_here);
                let is_new =
                    !in_good_parts.contains(&sealed.name) && found.iter().all(|(_, one)| one.name != sealed.name);
                if all_here && is_new {
                    found.push((files.clone(), sealed.clone()));
                }
            }
        }
        found.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        let listed = match known.root.root.sealed.open() {
            Ok(sealed) => sealed.extra.get("collections").and_then(Value::as_u64).unwrap_or(u64::MAX),
            // Without anything to make a part of no key is asked for.
            Err(VaultError::Locked) if found.is_empty() => u64::MAX,
            Err(error) => return Err(EngineError::vault(here)(error)),
        };
        Ok(Found { collections: found, complete: names.len() as u64 >= listed })
    }

    /// Stores again what lies in packs that are noted as damaged, from here or from sources, and leaves out collections
    /// of which something can be read nowhere.
    async fn readable(
        &self,
        session: &Session,
        mut collections: Vec<(CollectionFiles, CollectionSealed)>,
    ) -> Result<Vec<(CollectionFiles, CollectionSealed)>, EngineError> {
        let blobs_of = |files: &CollectionFiles| -> Vec<BlobId> {
            files.files.iter().flat_map(|file| file.blobs.iter().copied()).collect()
        };
        let mut missing: Vec<BlobId> = collections.iter().flat_map(|(files, _)| blobs_of(files)).collect();
        for source in std::iter::once(&self.vault).chain(&self.sources) {
            let reader = source.open_reader().await.map_err(EngineError::vault(source.region_id()))?;
            let copied = session.copy_from(&reader, &missing, &|_, _| {}).await;
            let copied = copied.map_err(EngineError::vault(self.vault.region_id()))?;
            missing = copied.unreadable.into_iter().map(|(blob, _)| blob).collect();
            if missing.is_empty() {
                break;
            }
        }
        let missing: HashSet<BlobId> = missing.into_iter().collect();
        collections.retain(|(files, _)| blobs_of(files).iter().all(|blob| !missing.contains(blob)));
        Ok(collections)
    }
}

/// True when these collections hold all that the lost parts did, as far as can be told without reading those.
fn holds_all(known: &Known, lost: &[(PartRef, DamagedObject)], found: &Found, collections: &Collections) -> bool {
    // Of a part that was replaced by one that is lost now, too, the later one held everything.
    let was_replaced = |part: &PartRef| known.replaced.iter().any(|(digest, _)| *digest == part.digest);
    let lost = lost.iter().map(|(part, _)| part).filter(|part| !was_replaced(part));
    let lost_bytes = lost.fold(0_u64, |sum, part| sum.saturating_add(part.sizes.plain_bytes));
    let files = collections.iter().flat_map(|(files, _)| &files.files);
    let bytes = files.fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    found.complete && collections.len() == found.collections.len() && bytes >= lost_bytes
}

fn how(collections: &Collections, whole: bool) -> String {
    let names: Vec<String> = collections.iter().map(|(_, sealed)| sealed.name.to_string()).collect();
    let names = names.join(", ");
    if whole {
        return format!("a new part names what other vaults know and is still here: {names}");
    }
    format!("a new part names what other vaults know and is still here: {names}; not everything that the lost one held")
}

/// The vault of the backup's home region, as far as it is open or named.
fn home_vault_id(known: &Known, vault: &Vault, sources: &[Vault]) -> Option<VaultId> {
    let open = &known.root.root.open;
    let open_vaults = std::iter::once(vault).chain(sources);
    let named = open.parts.iter().find(|part| part.region_id == open.home_region).map(|part| part.vault_id.clone());
    named.or_else(|| {
        open_vaults.filter(|vault| *vault.region_id() == open.home_region).map(|vault| vault.id().clone()).next()
    })
}
