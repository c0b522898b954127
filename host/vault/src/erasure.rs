//! What the erasure of a collection needs of a vault; the order of its steps is the engine's (`erase`).
//!
//! Contract: nothing here makes a backup less than it is. A reduced part means nothing until a root or receipt names
//! it, and older commits are removed only where a newer one, or a tombstone, already took their place.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use longshore_model::{BackupId, ClusterId, CollectionName, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::index::NOTHING;
use crate::layout::{self, FORMAT_VERSION, ManifestKey, ManifestKind};
use crate::manifest::bad;
use crate::{
    BlobId, CollectionFiles, PackId, PackRef, Part, PartOpen, PartRef, PartSealed, Pin, Reader, Sealed, Sizes, Vault,
    VaultError, digest_of,
};

/// The record of an erasure. It stays for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Format of the record.
    pub format: u32,
    /// `erasure`.
    pub kind: String,
    /// Its id, the same in all vaults.
    pub erasure_id: String,
    /// The collection; left out in an encrypted vault, which names nothing in the open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
    /// Recognises the collection ([`IdKey::name_id`](crate::IdKey::name_id)) in an encrypted vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_id: Option<Digest>,
    /// Of these clusters.
    pub clusters: BTreeSet<ClusterId>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// When it began.
    pub started: Timestamp,
    /// Backups that held or named it.
    pub backups: BTreeSet<BackupId>,
    /// Packs of this vault that hold bytes of it, and packs that held bytes which no manifest spoke of any more or whose
    /// index could not be read: bytes of it may be among them, of backups that were deleted and pruned before. A prune
    /// rewrites or removes them all, however much of them is needed.
    pub packs: BTreeSet<PackId>,
    /// When every backup was rewritten; `None` while that is under way.
    #[serde(default)]
    pub rewritten: Option<Timestamp>,
    /// When the last of the packs was gone; set by a prune.
    #[serde(default)]
    pub completed: Option<Timestamp>,
}

impl Erasure {
    /// The word for `kind`.
    pub const KIND: &'static str = "erasure";
}

impl Vault {
    /// Writes the record of an erasure, in place of what it said before.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] for an id that cannot be a key, [`VaultError::TooLarge`], failures of the store.
    pub async fn put_erasure(&self, erasure: &Erasure) -> Result<(), VaultError> {
        let path = layout::erasure_path(&erasure.erasure_id);
        if layout::parse_erasure_path(path.as_ref()) != Some(erasure.erasure_id.as_str()) {
            return Err(bad("erasure", "its id is not one"));
        }
        let bytes = serde_json::to_vec_pretty(erasure).map_err(|error| bad("erasure", error.to_string()))?;
        let (size_bytes, limit_bytes) = (bytes.len() as u64, self.limits().mark_bytes);
        if size_bytes > limit_bytes {
            return Err(VaultError::TooLarge { what: "the record of an erasure".to_owned(), size_bytes, limit_bytes });
        }
        self.objects().replace(&path, Bytes::from(bytes)).await
    }

    /// The records of erasures in this vault, in order of id.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] for a record that cannot be read: an erasure must not be forgotten silently. Failures
    /// of the store.
    pub async fn list_erasures(&self) -> Result<Vec<Erasure>, VaultError> {
        let mut listed = self.objects().list(Some(layout::ERASURES)).await?;
        listed.sort_by(|one, other| one.location.cmp(&other.location));
        let mut erasures = Vec::new();
        for meta in listed {
            let Some(id) = layout::parse_erasure_path(meta.location.as_ref()) else { continue };
            let bytes = self.objects().get(&meta.location, self.limits().mark_bytes).await?;
            let Some(bytes) = bytes else { continue };
            let object = meta.location.as_ref();
            let erasure: Erasure = serde_json::from_slice(&bytes).map_err(|error| bad(object, error.to_string()))?;
            if erasure.format > FORMAT_VERSION {
                let (object, found) = (object.to_owned(), erasure.format);
                return Err(VaultError::NewerFormat { object, found, supported: FORMAT_VERSION });
            }
            if erasure.kind != Erasure::KIND || erasure.erasure_id != id {
                return Err(bad(object, "it is not the record of the erasure it is named after"));
            }
            erasures.push(erasure);
        }
        Ok(erasures)
    }

    /// Shows every part in this vault, whether a backup names it or not, and names those that cannot be read. One at a
    /// time: a part can be large.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn scan_parts(
        &self,
        visit: &mut (dyn FnMut(&Part) -> Result<(), VaultError> + Send),
    ) -> Result<Vec<(String, VaultError)>, VaultError> {
        let mut unreadable = Vec::new();
        for key in self.manifests(ManifestKind::Part, None).await? {
            match self.load_part_by(&key).await {
                Ok(part) => visit(&part)?,
                Err(VaultError::MissingObject { .. }) => {}
                Err(error) if error.is_unanswered() => return Err(error),
                Err(error) => unreadable.push((key.path(ManifestKind::Part).to_string(), error)),
            }
        }
        Ok(unreadable)
    }

    /// Tokens under which this vault knows a backup, lowest first.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn commits(&self, backup_id: &BackupId) -> Result<Vec<u64>, VaultError> {
        let manifests = self.visible_manifests(Some(backup_id)).await?;
        let tokens: BTreeSet<u64> = manifests.into_iter().map(|found| found.key.token).collect();
        Ok(tokens.into_iter().collect())
    }

    /// Writes a part again under a higher token, with only the collections that `keep` names. It means nothing until a
    /// root or receipt names it. Blobs need not be there: what is damaged stays as damaged as it was.
    ///
    /// # Errors
    /// [`VaultError::Locked`] without a reader key, [`VaultError::PinLapsed`], failures of the store.
    pub async fn put_reduced_part(
        &self,
        part: &Part,
        token: u64,
        keep: &(dyn Fn(&CollectionName) -> bool + Sync),
        reader: &Reader,
        pin: &Pin,
    ) -> Result<(PartRef, Part), VaultError> {
        let kept = part.collections()?.into_iter().filter(|(_, sealed)| keep(&sealed.name));
        let (collections, sealed): (Vec<CollectionFiles>, Vec<_>) =
            kept.map(|(files, sealed)| (files.clone(), sealed.clone())).unzip();
        let (sizes, packs) = sizes_and_packs(part, &collections, reader);
        let open = PartOpen { token, sizes, collections, packs, ..part.open.clone() };
        let part = Part { open, sealed: Sealed::Readable(PartSealed { collections: sealed }) };
        let session = self.job_session(pin).await?;
        let bytes = part.to_bytes(&self.manifest_seal(session)?, self.limits())?;
        let key = ManifestKey { backup_id: part.open.backup_id.clone(), token, digest: digest_of(&bytes) };
        let path = key.path(ManifestKind::Part);
        pin.check().await?;
        self.objects().put_manifest(&path, bytes).await?;
        let (vault_id, region_id) = (self.id().clone(), self.region_id().clone());
        let reference = PartRef { vault_id, region_id, key: path.to_string(), digest: key.digest, sizes };
        Ok((reference, part))
    }

    /// Removes all roots, receipts and parts of a backup with a token below `token`, which no reader looks at any more:
    /// a tombstone covers them. Roots and receipts go before parts.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when they still count: call [`Vault::withdraw_before`] first. Failures of the store:
    /// repeat it.
    pub async fn remove_superseded(&self, backup_id: &BackupId, token: u64) -> Result<u64, VaultError> {
        let (tombstones, mut removed) = (self.tombstones().await?, 0);
        for kind in [ManifestKind::Receipt, ManifestKind::Root, ManifestKind::Part] {
            let mut keys = self.manifests(kind, Some(backup_id)).await?;
            keys.retain(|key| key.token < token);
            keys.sort_by_key(|key| key.token);
            for key in keys {
                if !tombstones.cover(&key) {
                    return Err(bad(kind.word(), format!("{backup_id} still counts in {}", self.place())));
                }
                self.objects().delete(&key.path(kind)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Reader {
    /// Every pack that holds a blob which is not one of these, and every pack of which nobody knows what it holds.
    #[must_use]
    pub fn packs_beside(&self, blobs: &HashSet<BlobId>) -> BTreeSet<PackId> {
        let unknown = self.index_damages().iter().filter(|damage| damage.found != NOTHING);
        let unknown = unknown.filter_map(|damage| layout::parse_pack_path(&damage.object));
        self.index().packs_beside(blobs).into_iter().chain(unknown).collect()
    }

    /// Every pack that holds one of these blobs, also where another pack holds it too.
    #[must_use]
    pub fn packs_of<'a>(&self, blobs: impl IntoIterator<Item = &'a BlobId>) -> BTreeSet<PackId> {
        blobs.into_iter().flat_map(|blob| self.index().all(blob)).map(|location| location.pack).collect()
    }
}

fn sizes_and_packs(old: &Part, collections: &[CollectionFiles], reader: &Reader) -> (Sizes, Vec<PackRef>) {
    let files = || collections.iter().flat_map(|collection| &collection.files);
    let plain_bytes = files().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    let blobs: HashSet<&BlobId> = files().flat_map(|file| &file.blobs).collect();
    let (mut stored_bytes, mut packs) = (0_u64, BTreeSet::new());
    for location in blobs.into_iter().filter_map(|blob| reader.index().first(blob)) {
        stored_bytes = stored_bytes.saturating_add(u64::from(location.entry.stored_bytes));
        packs.insert(location.pack);
    }
    let size_of = |id: PackId| reader.index().pack_bytes(&id).map(|size_bytes| PackRef { id, size_bytes });
    // What the job added to the vault is a fact about that job and stays.
    let sizes = Sizes { plain_bytes, stored_bytes, new_bytes: old.open.sizes.new_bytes };
    (sizes, packs.into_iter().filter_map(size_of).collect())
}
