//! Committing: the root, and receipts that repeat it.
//!
//! Contract: after [`Vault::commit_root`] has answered, the backup exists and everything it needs is kept; after it
//! failed, the backup does not exist, or the error says that this is not known. A receipt never says more than its root.

use bytes::Bytes;
use longshore_model::{BackupId, Digest};

use crate::backups::LoadedBackup;
use crate::crypto::WrappedSession;
use crate::layout::{ManifestKey, ManifestKind};
use crate::manifest::{PackedHalf, bad};
use crate::{
    Limits, PartRef, Pin, Receipt, ReceiptOpen, Root, RootOpen, RootSealed, Sealed, Vault, VaultError, Withdrawal,
    digest_of,
};

/// A root that is durable: the backup exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedRoot {
    /// The backup.
    pub backup_id: BackupId,
    /// The root's token.
    pub token: u64,
    /// Its key in the home vault.
    pub key: String,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its exact bytes, which receipts repeat.
    pub bytes: Bytes,
    /// The wrapped key to its sealed half, which goes where receipts go.
    pub(crate) session: Option<WrappedSession>,
}

/// The sealed half of a root, ready to be written: most of the work of a root, and it needs no part to be there.
#[derive(Debug)]
pub struct PackedRoot {
    backup_id: BackupId,
    token: u64,
    sealed: PackedHalf,
}

impl Vault {
    /// Packs what a root will say to readers, on a thread of its own.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`], [`VaultError::BadManifest`]; failures of the store while the key of the session is made
    /// durable.
    pub async fn pack_root(
        &self,
        backup_id: &BackupId,
        token: u64,
        sealed: RootSealed,
        pin: &Pin,
    ) -> Result<PackedRoot, VaultError> {
        let session = self.job_session(pin).await?.cloned();
        let (vault, backup_id) = (self.clone(), backup_id.clone());
        let packing = tokio::task::spawn_blocking(move || {
            let seal = vault.manifest_seal(session.as_ref())?;
            let sealed = Sealed::Readable(sealed);
            let sealed = PackedHalf::of(ManifestKind::Root, (&backup_id, token), &sealed, &seal, vault.limits())?;
            Ok(PackedRoot { backup_id, token, sealed })
        });
        packing.await.map_err(VaultError::stopped("packs a root"))?
    }

    /// Commits a backup: writes its root into this vault, which must be the one of the home region. When this returns,
    /// the backup exists. All parts must have been finished before.
    ///
    /// The pin is looked at before *and after* the root was written. A job that was suspended in between for so long
    /// that a prune took its pin away, and then packs that only the pin protected, finds that out here: its root is
    /// withdrawn and the job fails. A pin that is still there afterwards was there all the time, and whoever takes it
    /// away later sees the root.
    ///
    /// # Errors
    /// [`VaultError::PinLapsed`], [`VaultError::Withdrawn`], [`VaultError::BadManifest`], [`VaultError::Store`]: the
    /// backup does not exist. [`VaultError::Uncertain`]: it is not known whether it does; if it does, it is whole.
    pub async fn commit_root(&self, root: &Root, pin: &Pin) -> Result<CommittedRoot, VaultError> {
        let (backup_id, token) = (root.open.backup_id.clone(), root.open.token);
        let seal = self.manifest_seal(self.job_session(pin).await?)?;
        let sealed = PackedHalf::of(ManifestKind::Root, (&backup_id, token), &root.sealed, &seal, self.limits())?;
        self.commit_packed_root(&root.open, &PackedRoot { backup_id, token, sealed }, pin).await
    }

    /// As [`Vault::commit_root`], with a sealed half that was packed before.
    ///
    /// # Errors
    /// As [`Vault::commit_root`].
    pub async fn commit_packed_root(
        &self,
        open: &RootOpen,
        packed: &PackedRoot,
        pin: &Pin,
    ) -> Result<CommittedRoot, VaultError> {
        let RootOpen { backup_id, token, home_region, project_id, .. } = open;
        if (backup_id, *token) != (&packed.backup_id, packed.token) {
            return Err(bad("root", format!("its halves speak of {backup_id} and of {}", packed.backup_id)));
        }
        if home_region != self.region_id() || project_id != self.project_id() {
            let (region, project) = (self.region_id(), self.project_id());
            let reason = format!(
                "it belongs to {project_id} in {home_region}, this vault to {project} in {region}: commit it there"
            );
            return Err(bad("root", reason));
        }
        let session = self.job_session(pin).await?;
        let bytes = open.to_bytes(&packed.sealed, &self.manifest_seal(session)?, self.limits())?;
        for part in open.parts.iter().filter(|part| part.vault_id == *self.id()) {
            self.require_part(part).await?;
        }
        self.check_not_withdrawn(backup_id, *token).await?;
        let session = match session {
            Some(key) => Some(self.wrapped_session(&key.id()).await?),
            None => None,
        };
        pin.check().await?;
        let key = ManifestKey { backup_id: backup_id.clone(), token: *token, digest: digest_of(&bytes) };
        let path = key.path(ManifestKind::Root);
        self.objects().put_manifest(&path, bytes.clone()).await?;
        self.check_committed(&key, pin).await?;
        let ManifestKey { backup_id, token, digest } = key;
        Ok(CommittedRoot { backup_id, token, key: path.to_string(), digest, bytes, session })
    }

    /// Reads a part that a root is about to name: it must be there, and be what was written. It was parsed before it got
    /// its name, and its name is its digest; parsing thousands of collections again would find nothing more.
    async fn require_part(&self, part: &PartRef) -> Result<(), VaultError> {
        let key = self.part_key(part)?;
        self.read_manifest(ManifestKind::Part, &key).await.map(drop)
    }

    /// Looks at the pin once more, now that the root is there, and takes the root back when the pin is gone.
    async fn check_committed(&self, key: &ManifestKey, pin: &Pin) -> Result<(), VaultError> {
        let Err(error) = pin.check_still_held().await else { return Ok(()) };
        match (self.take_back(key, pin).await, error) {
            (Ok(()), error) => Err(error),
            (Err(left), VaultError::PinLapsed { job_id, reason }) => {
                let reason = format!("{reason}; its root could not be taken back ({left}): delete {}", key.backup_id);
                Err(VaultError::PinLapsed { job_id, reason })
            }
            (Err(_), error) => Err(error),
        }
    }

    /// Takes back the root of this attempt alone: one with a higher token, or an earlier one, may be whole.
    async fn take_back(&self, key: &ManifestKey, pin: &Pin) -> Result<(), VaultError> {
        // An erasure writes a new root of a backup that is there already: a tombstone would cover that one, too. Whoever
        // erases may delete.
        if self.commits(&key.backup_id).await?.iter().any(|token| *token < key.token) {
            return self.objects().delete(&key.path(ManifestKind::Root)).await;
        }
        let record = pin.record();
        let withdrawal = Withdrawal {
            time: record.refreshed,
            by: "the job that wrote it, whose pin had lapsed".to_owned(),
            job_id: Some(record.job_id),
        };
        self.withdraw_before(&key.backup_id, key.token.saturating_add(1), &withdrawal).await
    }

    /// Writes the receipt of a committed backup into this vault, which holds `part` of it. Repeating it is harmless.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when `part` is not in this vault; [`VaultError::Withdrawn`] when the backup was
    /// deleted meanwhile; otherwise as [`Vault::commit_root`]. What is wrong here does not touch the root.
    pub async fn put_receipt(&self, root: &CommittedRoot, part: &PartRef) -> Result<(), VaultError> {
        self.put_replacing_receipt(root, part, &[]).await
    }

    /// Writes a receipt that also says which lost or damaged parts of this vault `part` takes the place of: only the ones
    /// of which it holds everything may be named, because nobody misses those any more ([`ReceiptOpen::replaces`]).
    ///
    /// # Errors
    /// As [`Vault::put_receipt`].
    pub async fn put_replacing_receipt(
        &self,
        root: &CommittedRoot,
        part: &PartRef,
        replaces: &[Digest],
    ) -> Result<(), VaultError> {
        if part.vault_id != *self.id() {
            return Err(bad("receipt", format!("its part is in {}, this is {}", part.vault_id, self.id())));
        }
        self.load_part(part).await?;
        self.check_not_withdrawn(&root.backup_id, root.token).await?;
        let text = std::str::from_utf8(&root.bytes).map_err(|error| bad("receipt", error.to_string()))?;
        let open = ReceiptOpen {
            backup_id: root.backup_id.clone(),
            token: root.token,
            root: text.to_owned(),
            root_digest: root.digest,
            part: part.clone(),
            replaces: replaces.to_vec(),
        };
        // Before the receipt, which holds the root: whoever finds the root here finds the key to its sealed half.
        if let Some(session) = &root.session {
            self.put_wrapped_session(session).await?;
        }
        if let Sealed::Locked(locked) = &Root::parse("receipt", &root.bytes, self.limits())?.sealed {
            self.require_session(&locked.session).await?;
        }
        let bytes = Receipt { open }.to_bytes(&self.manifest_seal(None)?, self.limits())?;
        let key = ManifestKey { backup_id: root.backup_id.clone(), token: root.token, digest: digest_of(&bytes) };
        self.objects().put_manifest(&key.path(ManifestKind::Receipt), bytes).await
    }
}

impl CommittedRoot {
    /// The root; its sealed half is as it was stored.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`].
    pub fn parse(&self, limits: &Limits) -> Result<Root, VaultError> {
        Root::parse(&self.key, &self.bytes, limits)
    }
}

impl LoadedBackup {
    /// The root as [`Vault::put_receipt`] takes it, for copies made later and for receipts that a crash left out.
    #[must_use]
    pub fn committed(&self) -> CommittedRoot {
        let RootOpen { backup_id, token, .. } = &self.root.open;
        let digest = digest_of(&self.root_bytes);
        let key = ManifestKey { backup_id: backup_id.clone(), token: *token, digest };
        CommittedRoot {
            backup_id: backup_id.clone(),
            token: *token,
            key: key.path(ManifestKind::Root).to_string(),
            digest,
            bytes: self.root_bytes.clone(),
            session: self.session.clone(),
        }
    }
}
