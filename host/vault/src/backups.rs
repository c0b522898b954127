//! Backups as a whole: listing and loading them.
//!
//! A backup exists exactly if a root or a receipt of it exists that no tombstone withdraws. So committing (`commit.rs`)
//! ends with one put, and deleting is one put; what is left then means nothing, and a prune removes it.

mod newest;

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt, stream};
use longshore_model::{BackupId, Digest, Timestamp};

use self::newest::{LeftOut, newest_per_backup};
use crate::crypto::{SessionKey, WrappedSession, has_good_code};
use crate::layout::{ManifestKey, ManifestKind};
use crate::manifest::{ManifestSeal, bad, check_digest, check_names};
use crate::{Part, PartRef, Receipt, Root, RootOpen, Sealed, Vault, VaultError};

/// By which manifest a vault knows a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This is the home vault.
    Root,
    /// This vault has a receipt.
    Receipt,
}

/// A backup as one vault knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedBackup {
    /// The root.
    pub root: Root,
    /// Its exact bytes.
    pub root_bytes: Bytes,
    /// How this vault knows it.
    pub origin: Origin,
    /// The part in this vault; `None` when all collections are elsewhere.
    pub part: Option<PartRef>,
    /// Digests of lost parts of this vault that `part` takes the place of ([`ReceiptOpen::replaces`](crate::ReceiptOpen)).
    pub replaces: Vec<Digest>,
    pub(crate) session: Option<WrappedSession>,
}

/// A root or receipt, and what is wrong with it if it cannot be trusted.
#[derive(Debug)]
pub struct KnownCommit {
    /// Its token, as its name says.
    pub token: u64,
    /// Its key.
    pub object: String,
    /// What it holds.
    pub loaded: Result<LoadedBackup, VaultError>,
}

/// One line of a list of backups.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupSummary {
    /// What the root says to everybody.
    pub root: RootOpen,
    /// How this vault knows it.
    pub origin: Origin,
    /// The part in this vault.
    pub part: Option<PartRef>,
}

/// A backup of which only the names of its manifests are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBackup {
    /// Which.
    pub backup_id: BackupId,
    /// When its newest manifest was written, by the store's clock.
    pub written: Timestamp,
    manifests: Vec<(ManifestKind, ManifestKey)>,
}

/// A manifest that a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedManifest {
    pub(crate) kind: ManifestKind,
    pub(crate) key: ManifestKey,
    /// By the store's clock.
    written: Timestamp,
}

/// What a vault holds.
#[derive(Debug, Default)]
pub struct BackupListing {
    /// Backups, oldest first.
    pub backups: Vec<BackupSummary>,
    /// Backups whose root or receipt is there but cannot be read, and why.
    pub damaged: Vec<(BackupId, VaultError)>,
}

impl Vault {
    /// Lists the backups this vault knows, oldest first. One that is damaged does not hide the others.
    ///
    /// # Errors
    /// [`VaultError::TooMany`] beyond the limits; [`VaultError::Store`] when listing or reading fails.
    pub async fn list_backups(&self) -> Result<BackupListing, VaultError> {
        let mut listing = BackupListing::default();
        let newest = newest_per_backup(self.visible_manifests(None).await?);
        let mut loads = stream::iter(newest)
            .map(|(backup_id, newest)| async move { (backup_id, self.first_good_summary(&newest).await) })
            .buffered(self.limits().requests_in_flight.max(1));
        while let Some((backup_id, loaded)) = loads.next().await {
            match loaded {
                Ok(summary) => listing.backups.push(summary),
                // A vault that does not answer is not a vault with damaged backups.
                Err(error) if error.is_unanswered() => return Err(error),
                // Deleted between listing and reading.
                Err(VaultError::MissingObject { .. }) => {}
                Err(error) => listing.damaged.push((backup_id, error)),
            }
        }
        listing.backups.sort_by(|one, other| {
            (one.root.created, &one.root.backup_id).cmp(&(other.root.created, &other.root.backup_id))
        });
        Ok(listing)
    }

    /// Loads one backup by its root or receipt; of several, the one with the highest token. Its sealed half stays locked
    /// in an encrypted vault that was opened without a reader key.
    ///
    /// # Errors
    /// [`VaultError::NoSuchBackup`], [`VaultError::Damaged`], [`VaultError::BadManifest`], [`VaultError::Unauthentic`],
    /// [`VaultError::SessionKey`], failures of the store.
    pub async fn load_backup(&self, backup_id: &BackupId) -> Result<LoadedBackup, VaultError> {
        match newest_per_backup(self.visible_manifests(Some(backup_id)).await?).pop_first() {
            Some((_, newest)) => {
                let mut left_out = LeftOut::default();
                for (kind, key) in &newest {
                    if let Some(loaded) = left_out.sort(key, self.load_unlocked(*kind, key).await) {
                        return loaded;
                    }
                }
                Err(left_out.error())
            }
            None => Err(VaultError::NoSuchBackup { backup_id: backup_id.clone(), place: self.place() }),
        }
    }

    /// Loads a root or receipt as it can be repeated in another vault: with its wrapped session, its sealed half locked.
    pub(crate) async fn load_for_receipts(
        &self,
        kind: ManifestKind,
        key: &ManifestKey,
    ) -> Result<LoadedBackup, VaultError> {
        let mut loaded = self.load_manifest(kind, key).await?;
        if let Sealed::Locked(locked) = &loaded.root.sealed {
            loaded.session = Some(self.wrapped_session(&locked.session).await?);
        }
        Ok(loaded)
    }

    /// Loads a root or receipt with its sealed half opened, as far as this vault's keys go.
    pub(crate) async fn load_unlocked(
        &self,
        kind: ManifestKind,
        key: &ManifestKey,
    ) -> Result<LoadedBackup, VaultError> {
        let mut loaded = self.load_for_receipts(kind, key).await?;
        if let Sealed::Locked(locked) = &loaded.root.sealed
            && self.is_readable()
        {
            let session_key = self.session_key(&locked.session).await?;
            loaded.root.unlock(&session_key, key.path(kind).as_ref(), self.limits())?;
        }
        Ok(loaded)
    }

    async fn first_good_summary(&self, manifests: &[(ManifestKind, ManifestKey)]) -> Result<BackupSummary, VaultError> {
        let mut left_out = LeftOut::default();
        for (kind, key) in manifests {
            if let Some(loaded) = left_out.sort(key, self.load_summary(*kind, key).await) {
                return loaded.map(|(summary, _)| summary);
            }
        }
        Err(left_out.error())
    }

    /// Names the backups this vault knows, those first whose manifest was written last, without reading one. That is the
    /// order in which they were made, unless somebody copied the vault or a later job wrote manifests again.
    ///
    /// # Errors
    /// As [`Vault::list_backups`].
    pub async fn name_backups(&self) -> Result<Vec<NamedBackup>, VaultError> {
        let visible = self.visible_manifests(None).await?;
        let written: HashMap<Digest, Timestamp> =
            visible.iter().map(|found| (found.key.digest, found.written)).collect();
        let name = |(backup_id, manifests): (BackupId, Vec<(ManifestKind, ManifestKey)>)| {
            let written = manifests.iter().filter_map(|(_, key)| written.get(&key.digest)).max();
            NamedBackup { written: written.copied().unwrap_or(Timestamp::from_millis(0)), backup_id, manifests }
        };
        let mut named: Vec<NamedBackup> = newest_per_backup(visible).into_iter().map(name).collect();
        named.sort_by(|one, other| (other.written, &other.backup_id).cmp(&(one.written, &one.backup_id)));
        Ok(named)
    }

    /// Reads what one of [`Vault::name_backups`] says to everybody.
    ///
    /// # Errors
    /// As [`Vault::load_backup`]; [`VaultError::MissingObject`] when it was deleted meanwhile.
    pub async fn summary(&self, named: &NamedBackup) -> Result<BackupSummary, VaultError> {
        self.first_good_summary(&named.manifests).await
    }

    /// Every root and receipt of a backup in this vault, readable or not: which token it has can be told from its name.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn commits_of(&self, backup_id: &BackupId) -> Result<Vec<KnownCommit>, VaultError> {
        let mut commits = Vec::new();
        for ListedManifest { kind, key, .. } in self.visible_manifests(Some(backup_id)).await? {
            let (token, object) = (key.token, key.path(kind).to_string());
            match self.load_unlocked(kind, &key).await {
                Err(error @ VaultError::Store { .. }) if error.is_unanswered() => return Err(error),
                // Deleted between listing and reading.
                Err(VaultError::MissingObject { .. }) => {}
                loaded => commits.push(KnownCommit { token, object, loaded }),
            }
        }
        Ok(commits)
    }

    /// All parts of one commit of a backup that this vault holds: the one the root names, and copies that came later,
    /// each named by a receipt of its own. Empty when this vault does not know the backup under this token. A part that
    /// cannot be read is left out if one that can be read holds all of it ([`ReceiptOpen::replaces`](crate::ReceiptOpen)).
    ///
    /// # Errors
    /// As [`Vault::load_backup`]. A receipt that is damaged fails the call only if no other manifest of this commit is
    /// good: whoever then misses the collections it would have led to says so, since the root says how many there are.
    pub async fn parts_here(&self, backup_id: &BackupId, token: u64) -> Result<Vec<PartRef>, VaultError> {
        let (mut parts, mut good, mut first_error) = (Vec::<PartRef>::new(), false, None);
        let mut replaced: Vec<(Digest, PartRef)> = Vec::new();
        for ListedManifest { kind, key, .. } in self.visible_manifests(Some(backup_id)).await? {
            if key.token != token {
                continue;
            }
            match self.load_summary(kind, &key).await {
                Ok((BackupSummary { part, .. }, replaces)) => {
                    good = true;
                    if let Some(part) = &part {
                        replaced.extend(replaces.into_iter().map(|lost| (lost, part.clone())));
                    }
                    parts.extend(part.filter(|part| !parts.contains(part)));
                }
                // One that the disk cannot read is not left out: an erasure goes by this list.
                Err(
                    error @ (VaultError::Damaged { .. }
                    | VaultError::BadManifest { .. }
                    | VaultError::Unauthentic { .. }),
                ) => {
                    tracing::warn!(backup = %backup_id, %error, "a manifest was left out");
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first_error {
            Some(error) if !good => Err(error),
            _ => self.without_replaced(parts, &replaced).await,
        }
    }

    /// Leaves out parts that cannot be read where one that can be read took their place.
    async fn without_replaced(
        &self,
        parts: Vec<PartRef>,
        replaced: &[(Digest, PartRef)],
    ) -> Result<Vec<PartRef>, VaultError> {
        let mut left = Vec::with_capacity(parts.len());
        for part in parts {
            let mut is_replaced = false;
            for (_, by) in replaced.iter().filter(|(lost, _)| *lost == part.digest) {
                is_replaced |= !self.can_load(&part).await? && self.can_load(by).await?;
            }
            if !is_replaced {
                left.push(part);
            }
        }
        Ok(left)
    }

    async fn can_load(&self, part: &PartRef) -> Result<bool, VaultError> {
        match self.load_part(part).await {
            Ok(_) => Ok(true),
            Err(error @ (VaultError::Store { .. } | VaultError::StorageFull { .. })) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Loads the part of a backup that is in this vault.
    ///
    /// # Errors
    /// [`VaultError::NoPartHere`], otherwise as [`Vault::load_part`].
    pub async fn load_part_of(&self, backup: &LoadedBackup) -> Result<Part, VaultError> {
        let Some(part) = &backup.part else {
            let RootOpen { backup_id, parts, .. } = &backup.root.open;
            let elsewhere: Vec<String> =
                parts.iter().map(|part| format!("{} ({})", part.region_id, part.vault_id)).collect();
            return Err(VaultError::NoPartHere {
                backup_id: backup_id.clone(),
                place: self.place(),
                elsewhere: elsewhere.join(", "),
            });
        };
        self.load_part(part).await
    }

    /// Loads a part by its reference.
    ///
    /// # Errors
    /// As [`Vault::load_backup`], and [`VaultError::MissingObject`].
    pub async fn load_part(&self, reference: &PartRef) -> Result<Part, VaultError> {
        self.load_part_by(&self.part_key(reference)?).await
    }

    /// The name of a part of this vault that a root or receipt names.
    pub(crate) fn part_key(&self, reference: &PartRef) -> Result<ManifestKey, VaultError> {
        let key = ManifestKey::parse(ManifestKind::Part, &reference.key)
            .filter(|key| key.digest == reference.digest && reference.vault_id == *self.id());
        key.ok_or_else(|| {
            let named = reference.key.escape_debug();
            bad("root", format!("its part `{named}` is not the name of a part in this vault"))
        })
    }

    /// Loads a part by its name.
    pub(crate) async fn load_part_by(&self, key: &ManifestKey) -> Result<Part, VaultError> {
        let object = key.path(ManifestKind::Part).to_string();
        let bytes = self.read_manifest(ManifestKind::Part, key).await?;
        let mut part = Part::parse(&object, &bytes, self.limits())?;
        check_names(key, &object, &part.open.backup_id, part.open.token)?;
        self.check_sealed(&object, part.sealed.is_locked())?;
        if let Sealed::Locked(locked) = &part.sealed
            && self.is_readable()
        {
            let key = self.session_key(&locked.session).await?;
            part.unlock(&key, &object, self.limits())?;
        }
        Ok(part)
    }

    /// Roots and receipts of one backup or of all, without those that are withdrawn.
    pub(crate) async fn visible_manifests(
        &self,
        backup_id: Option<&BackupId>,
    ) -> Result<Vec<ListedManifest>, VaultError> {
        let mut found = Vec::new();
        for kind in [ManifestKind::Root, ManifestKind::Receipt] {
            found.extend(self.listed_manifests(kind, backup_id).await?);
        }
        if !found.is_empty() {
            let tombstones = self.tombstones().await?;
            found.retain(|found| !tombstones.cover(&found.key));
        }
        Ok(found)
    }

    /// Keys of one kind of manifest.
    pub(crate) async fn manifests(
        &self,
        kind: ManifestKind,
        backup_id: Option<&BackupId>,
    ) -> Result<Vec<ManifestKey>, VaultError> {
        Ok(self.listed_manifests(kind, backup_id).await?.into_iter().map(|found| found.key).collect())
    }

    async fn listed_manifests(
        &self,
        kind: ManifestKind,
        backup_id: Option<&BackupId>,
    ) -> Result<Vec<ListedManifest>, VaultError> {
        let folder = match backup_id {
            Some(backup_id) => format!("{}/{backup_id}", kind.folder()),
            None => kind.folder().to_owned(),
        };
        let listed = self.objects().list(Some(&folder)).await?;
        let (count, limit) = (listed.len() as u64, self.limits().manifests as u64);
        if count > limit {
            return Err(VaultError::TooMany { what: "manifests in this vault", count, limit });
        }
        let listed = listed.iter().filter_map(|meta| {
            let written = Timestamp::from_millis(meta.last_modified.timestamp_millis());
            Some(ListedManifest { kind, key: ManifestKey::parse(kind, meta.location.as_ref())?, written })
        });
        Ok(listed.collect())
    }

    pub(crate) async fn read_manifest(&self, kind: ManifestKind, key: &ManifestKey) -> Result<Bytes, VaultError> {
        let path = key.path(kind);
        let bytes = self.objects().get(&path, self.limits().manifest_bytes).await?;
        let bytes = bytes.ok_or_else(|| VaultError::MissingObject {
            what: format!("the backup {}", key.backup_id),
            object: path.to_string(),
        })?;
        check_digest(kind, key, &bytes)?;
        self.check_code(path.as_ref(), &bytes)?;
        Ok(bytes)
    }

    /// Checks that a manifest of an encrypted vault was made by a holder of the writer key. A vault that was opened
    /// without keys cannot check that.
    fn check_code(&self, object: &str, bytes: &[u8]) -> Result<(), VaultError> {
        match self.keyring().id_key() {
            Some(id_key) if self.is_encrypted() && !has_good_code(bytes, |body| id_key.manifest_code(body)) => {
                Err(VaultError::Unauthentic { object: object.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Checks that a manifest is encrypted exactly if its vault is.
    fn check_sealed(&self, object: &str, is_locked: bool) -> Result<(), VaultError> {
        match (self.is_encrypted(), is_locked) {
            (true, false) => Err(VaultError::Unauthentic { object: object.to_owned() }),
            (false, true) => Err(bad(object, "it is encrypted, and its vault is not")),
            _ => Ok(()),
        }
    }

    /// What manifests are written with.
    pub(crate) fn manifest_seal<'a>(&'a self, session: Option<&'a SessionKey>) -> Result<ManifestSeal<'a>, VaultError> {
        if self.is_encrypted() {
            return Ok(ManifestSeal::Age1 { session, id_key: self.id_key()? });
        }
        Ok(ManifestSeal::Plain)
    }

    /// Loads a root or receipt. What is sealed stays locked.
    pub(crate) async fn load_manifest(
        &self,
        kind: ManifestKind,
        key: &ManifestKey,
    ) -> Result<LoadedBackup, VaultError> {
        let object = key.path(kind).to_string();
        let bytes = self.read_manifest(kind, key).await?;
        let loaded = if kind == ManifestKind::Receipt {
            let (receipt, root) = Receipt::parse(&object, &bytes, self.limits())?;
            let root_bytes = Bytes::from(receipt.open.root);
            self.check_code(&object, &root_bytes)?;
            let (part, replaces) = (Some(receipt.open.part), receipt.open.replaces);
            LoadedBackup { root, root_bytes, origin: Origin::Receipt, part, replaces, session: None }
        } else {
            let root = Root::parse(&object, &bytes, self.limits())?;
            let part = root.open.parts.iter().find(|part| part.vault_id == *self.id()).cloned();
            LoadedBackup { root, root_bytes: bytes, origin: Origin::Root, part, replaces: Vec::new(), session: None }
        };
        self.check_sealed(&object, loaded.root.sealed.is_locked())?;
        check_names(key, &object, &loaded.root.open.backup_id, loaded.root.open.token)?;
        Ok(loaded)
    }

    /// Reads what a root or receipt says to everybody, and nothing that is sealed; and which parts its own replaces.
    pub(crate) async fn load_summary(
        &self,
        kind: ManifestKind,
        key: &ManifestKey,
    ) -> Result<(BackupSummary, Vec<Digest>), VaultError> {
        let object = key.path(kind).to_string();
        let bytes = self.read_manifest(kind, key).await?;
        let (root, is_locked, origin, part, replaces) = if kind == ManifestKind::Receipt {
            let (receipt, root, is_locked) = Receipt::parse_open(&object, &bytes)?;
            self.check_code(&object, receipt.open.root.as_bytes())?;
            (root, is_locked, Origin::Receipt, Some(receipt.open.part), receipt.open.replaces)
        } else {
            let (root, is_locked) = RootOpen::parse(&object, &bytes)?;
            let part = root.parts.iter().find(|part| part.vault_id == *self.id()).cloned();
            (root, is_locked, Origin::Root, part, Vec::new())
        };
        self.check_sealed(&object, is_locked)?;
        check_names(key, &object, &root.backup_id, root.token)?;
        Ok((BackupSummary { root, origin, part }, replaces))
    }
}
