//! Healing single objects with what another vault of the project holds (the engine decides which, `heal`).
//!
//! Contract: only bytes that are proven by the name they are written under replace anything, so what is good is never
//! overwritten by something bad.

use bytes::Bytes;
use futures::{StreamExt, stream};
use longshore_model::{BackupId, Timestamp, VaultId};

use crate::CommittedRoot;
use crate::layout::{ManifestKey, ManifestKind};
use crate::manifest::bad;
use crate::session::fetch_pack;
use crate::verify::ObjectDamage;
use crate::{PackId, Part, PartRef, Vault, VaultError, digest_of, layout};

/// A manifest that is there and cannot be trusted.
#[derive(Debug)]
pub struct ManifestDamage {
    /// Root, receipt or part.
    pub kind: ManifestKind,
    /// Of which backup.
    pub backup_id: BackupId,
    /// The token in its name.
    pub token: u64,
    /// Its key, and what is wrong.
    pub damage: ObjectDamage,
}

impl Vault {
    /// Replaces a lost or damaged pack by the pack of the same name in another vault, and takes back its damage note.
    /// Answers which vault had it; `None` when none did.
    ///
    /// # Errors
    /// Failures of this vault's store. A source that fails is left out, with a warning.
    pub async fn heal_pack(
        &self,
        pack: &PackId,
        sources: &[Self],
        now: Timestamp,
    ) -> Result<Option<VaultId>, VaultError> {
        for source in sources.iter().filter(|source| source.project_id() == self.project_id()) {
            match fetch_pack(source, *pack).await {
                Ok(Some((bytes, _))) if self.take_session_of(&bytes, source).await? => {
                    self.objects().put_content(&layout::pack_path(pack), vec![bytes]).await?;
                    self.clear_damage(&[*pack], now).await?;
                    return Ok(Some(source.id().clone()));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(vault = %source.place(), %pack, %error, "could not be asked for a pack"),
            }
        }
        Ok(None)
    }

    /// Whether a pack could be healed by [`Vault::heal_pack`], and by which vault, without writing anything.
    ///
    /// # Errors
    /// None of its own: a source that fails is left out, with a warning.
    pub async fn find_pack(&self, pack: &PackId, sources: &[Self]) -> Option<VaultId> {
        for source in sources.iter().filter(|source| source.project_id() == self.project_id()) {
            match fetch_pack(source, *pack).await {
                Ok(Some(_)) => return Some(source.id().clone()),
                Ok(None) => {}
                Err(error) => tracing::warn!(vault = %source.place(), %pack, %error, "could not be asked for a pack"),
            }
        }
        None
    }

    /// Writes the root of a committed backup again if it is lost or damaged here. This must be the home vault. Answers
    /// whether it had to be written.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when the bytes are not the root that the name promises; failures of the store.
    pub async fn heal_root(&self, root: &CommittedRoot) -> Result<bool, VaultError> {
        let CommittedRoot { backup_id, token, digest, bytes, .. } = root;
        let key = ManifestKey { backup_id: backup_id.clone(), token: *token, digest: *digest };
        if digest_of(bytes) != *digest {
            return Err(bad("root", "its bytes do not match its digest"));
        }
        self.write_if_needed(ManifestKind::Root, &key, bytes.clone()).await
    }

    /// Writes a part again as a copy of this vault still has it. `None` when the source does not have it, or damaged.
    /// With `write` false nothing is written.
    ///
    /// # Errors
    /// Failures of this vault's store; a source that fails is left out, with a warning.
    pub async fn heal_part(&self, reference: &PartRef, source: &Self, write: bool) -> Result<Option<Part>, VaultError> {
        let key = ManifestKey::parse(ManifestKind::Part, &reference.key)
            .filter(|key| key.digest == reference.digest && reference.vault_id == *self.id());
        let Some(key) = key else { return Ok(None) };
        // The exact bytes, proven by the name: a part that was written by another version stays as it is.
        let bytes = match source.read_manifest(ManifestKind::Part, &key).await {
            Ok(bytes) => bytes,
            Err(VaultError::MissingObject { .. } | VaultError::Damaged { .. }) => return Ok(None),
            Err(error) => {
                tracing::warn!(vault = %source.place(), %error, "could not be asked for a part");
                return Ok(None);
            }
        };
        if write {
            self.write_if_needed(ManifestKind::Part, &key, bytes).await?;
            return self.load_part_by(&key).await.map(Some);
        }
        source.load_part_by(&key).await.map(Some)
    }

    async fn write_if_needed(&self, kind: ManifestKind, key: &ManifestKey, bytes: Bytes) -> Result<bool, VaultError> {
        let path = key.path(kind);
        match self.objects().get(&path, self.limits().manifest_bytes).await {
            Ok(Some(found)) if found == bytes => return Ok(false),
            Ok(_) => {}
            Err(error) if error.is_unreadable_object() => {}
            Err(error) => return Err(error),
        }
        self.objects().put_content(&path, vec![bytes]).await?;
        Ok(true)
    }

    /// Reads every root, receipt and part of one backup, or of all, and names those that cannot be trusted.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn manifest_damages(&self, backup_id: Option<&BackupId>) -> Result<Vec<ManifestDamage>, VaultError> {
        let mut keys = Vec::new();
        for kind in [ManifestKind::Root, ManifestKind::Receipt, ManifestKind::Part] {
            keys.extend(self.manifests(kind, backup_id).await?.into_iter().map(|key| (kind, key)));
        }
        let mut damages = Vec::new();
        // Few at a time: a part can be large.
        let mut looks = stream::iter(keys)
            .map(|(kind, key)| async move {
                let looked = self.look_at_manifest(kind, &key).await;
                (kind, key, looked)
            })
            .buffered(4);
        while let Some((kind, key, looked)) = looks.next().await {
            let Err(error) = looked else { continue };
            let (expected, found) = match error {
                VaultError::Damaged { expected, found, .. } => (expected, found),
                VaultError::BadManifest { reason, .. } => (format!("a {}", kind.word()), reason),
                // Deleted between listing and reading.
                VaultError::MissingObject { .. } => continue,
                error if error.is_unreadable_medium() => (format!("a {}", kind.word()), error.to_string()),
                error @ (VaultError::TooLarge { .. }
                | VaultError::Unauthentic { .. }
                | VaultError::NewerFormat { .. }
                | VaultError::Unsupported { .. }) => (format!("a {}", kind.word()), error.to_string()),
                error => return Err(error),
            };
            let object = key.path(kind).to_string();
            let damage = ObjectDamage { object, expected, found };
            damages.push(ManifestDamage { kind, backup_id: key.backup_id, token: key.token, damage });
        }
        Ok(damages)
    }

    /// Moves the damaged roots and receipts of one commit of a backup under `set-aside/`. Good ones stay. Answers where they
    /// are kept.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when no root or receipt of this commit here is good: it would vanish from this vault.
    /// Failures of the store.
    pub async fn set_damaged_commits_aside(&self, backup_id: &BackupId, token: u64) -> Result<Vec<String>, VaultError> {
        let commits = self.commits_of(backup_id).await?;
        if !commits.iter().any(|commit| commit.token == token && commit.loaded.is_ok()) {
            return Err(bad("receipt", format!("no root or receipt of {backup_id} is good here")));
        }
        let mut aside = Vec::new();
        for damage in self.manifest_damages(Some(backup_id)).await? {
            if damage.kind != ManifestKind::Part && damage.token == token {
                aside.extend(self.set_manifest_aside(&damage).await?);
            }
        }
        Ok(aside)
    }

    /// Moves a damaged root, receipt or part under `set-aside/`, after what it said is here again under another name. `None`
    /// when the disk cannot even copy it: then it is removed.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when the object is good; failures of the store.
    pub async fn set_manifest_aside(&self, damage: &ManifestDamage) -> Result<Option<String>, VaultError> {
        let object = &damage.damage.object;
        let key = ManifestKey::parse(damage.kind, object).ok_or_else(|| bad(object, "it is not a manifest's name"))?;
        if self.look_at_manifest(damage.kind, &key).await.is_ok() {
            return Err(bad(object, "it is good"));
        }
        self.set_aside_or_remove(&key.path(damage.kind)).await
    }

    async fn look_at_manifest(&self, kind: ManifestKind, key: &ManifestKey) -> Result<(), VaultError> {
        match kind {
            ManifestKind::Root | ManifestKind::Receipt => self.load_manifest(kind, key).await.map(drop),
            ManifestKind::Part => self.load_part_by(key).await.map(drop),
        }
    }

    /// Parts of a commit that lie here and can be trusted, whether or not a root or receipt names them.
    ///
    /// # Errors
    /// Failures of the store; a damaged part is left out.
    pub async fn good_parts(&self, backup_id: &BackupId, token: u64) -> Result<Vec<(PartRef, Part)>, VaultError> {
        let mut parts = Vec::new();
        for key in self.manifests(ManifestKind::Part, Some(backup_id)).await? {
            if key.token != token {
                continue;
            }
            match self.load_part_by(&key).await {
                Ok(part) => {
                    let reference = PartRef {
                        vault_id: self.id().clone(),
                        region_id: self.region_id().clone(),
                        key: key.path(ManifestKind::Part).to_string(),
                        digest: key.digest,
                        sizes: part.open.sizes,
                    };
                    parts.push((reference, part));
                }
                Err(error) if error.is_unanswered() => return Err(error),
                Err(error) => tracing::warn!(%error, "a part is left out"),
            }
        }
        Ok(parts)
    }
}
