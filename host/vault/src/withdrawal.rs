//! Tombstones: a withdrawn backup does not exist, whatever else of it is still there.
//!
//! Contract: withdrawing is one put; nothing is removed, so credentials that may not delete are enough. What counts is
//! the key of a tombstone, not its content: a torn one withdraws as well. A prune removes roots, receipts and parts
//! later, and the tombstone last.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_model::{BackupId, JobId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::layout::{self, FORMAT_VERSION, ManifestKey};
use crate::manifest::bad;
use crate::{Vault, VaultError};

/// Who withdraws a backup, when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// When, by the clock of the host.
    pub time: Timestamp,
    /// Who: a principal, `retention`, or whatever the caller knows them by.
    pub by: String,
    /// The job that did it, if one did.
    pub job_id: Option<JobId>,
}

/// A tombstone as it stands in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Format of the record.
    pub format: u32,
    /// `withdrawn`.
    pub kind: String,
    /// The backup.
    pub backup_id: BackupId,
    /// Only commits with a token below this one are withdrawn; `None` means all of them, later ones too.
    #[serde(default)]
    pub below_token: Option<u64>,
    /// When it was withdrawn.
    pub withdrawn: Timestamp,
    /// By whom.
    pub by: String,
    /// By which job.
    #[serde(default)]
    pub job_id: Option<JobId>,
}

/// Which commits of which backups are withdrawn in a vault, by the keys of its tombstones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    whole: BTreeSet<BackupId>,
    below: BTreeMap<BackupId, u64>,
}

impl Tombstones {
    pub(crate) fn add(&mut self, backup_id: BackupId, below_token: Option<u64>) {
        match below_token {
            None => {
                self.whole.insert(backup_id);
            }
            Some(token) => {
                let below = self.below.entry(backup_id).or_default();
                *below = (*below).max(token);
            }
        }
    }

    /// True when a commit with this token does not count.
    pub(crate) fn covers(&self, backup_id: &BackupId, token: u64) -> bool {
        self.whole.contains(backup_id) || self.below.get(backup_id).is_some_and(|below| token < *below)
    }

    /// True when a manifest does not count.
    pub(crate) fn cover(&self, key: &ManifestKey) -> bool {
        self.covers(&key.backup_id, key.token)
    }
}

impl Vault {
    /// Withdraws a backup from this vault: from then on it does not exist here. Removes nothing; its bytes go with a
    /// later prune. Repeating it is harmless, and so is withdrawing what this vault never held.
    ///
    /// A backup that lives in several vaults is withdrawn in the home vault last: until then every part is kept, and
    /// the backup is whole.
    ///
    /// # Errors
    /// [`VaultError::Store`]: repeat it.
    pub async fn withdraw_backup(&self, backup_id: &BackupId, withdrawal: &Withdrawal) -> Result<(), VaultError> {
        self.put_tombstone(backup_id, None, withdrawal).await
    }

    /// Withdraws the commits of a backup with a token below `token`, after a newer commit took their place: for a
    /// vault in which the newer commit has nothing, so that the older one would go on being found there.
    ///
    /// # Errors
    /// As [`Vault::withdraw_backup`].
    pub async fn withdraw_before(
        &self,
        backup_id: &BackupId,
        token: u64,
        withdrawal: &Withdrawal,
    ) -> Result<(), VaultError> {
        self.put_tombstone(backup_id, Some(token), withdrawal).await
    }

    /// Deletes a backup that is in this vault alone, by withdrawing it.
    ///
    /// # Errors
    /// [`VaultError::NoSuchBackup`]; otherwise as [`Vault::withdraw_backup`].
    pub async fn delete_backup(&self, backup_id: &BackupId, withdrawal: &Withdrawal) -> Result<(), VaultError> {
        if self.visible_manifests(Some(backup_id)).await?.is_empty() {
            return Err(VaultError::NoSuchBackup { backup_id: backup_id.clone(), place: self.place() });
        }
        self.withdraw_backup(backup_id, withdrawal).await
    }

    /// Tombstones in this vault that can be read, in order of key.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing or reading fails.
    pub async fn list_withdrawn(&self) -> Result<Vec<Tombstone>, VaultError> {
        let mut listed = self.objects().list(Some(layout::WITHDRAWN)).await?;
        listed.sort_by(|one, other| one.location.cmp(&other.location));
        let mut tombstones = Vec::new();
        for meta in listed {
            let bytes = match self.objects().get(&meta.location, self.limits().header_bytes).await {
                Err(error) if error.is_unreadable_object() => None,
                bytes => bytes?,
            };
            let read = bytes.and_then(|bytes| serde_json::from_slice::<Tombstone>(&bytes).ok());
            tombstones.extend(read);
        }
        Ok(tombstones)
    }

    /// Which commits are withdrawn here.
    pub(crate) async fn tombstones(&self) -> Result<Tombstones, VaultError> {
        let mut tombstones = Tombstones::default();
        for meta in self.objects().list(Some(layout::WITHDRAWN)).await? {
            if let Some((backup_id, below)) = layout::parse_tombstone_path(meta.location.as_ref()) {
                tombstones.add(backup_id, below);
            }
        }
        Ok(tombstones)
    }

    /// True when a tombstone here covers the commit of this backup with this token.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing fails.
    pub async fn is_withdrawn(&self, backup_id: &BackupId, token: u64) -> Result<bool, VaultError> {
        Ok(self.tombstones().await?.covers(backup_id, token))
    }

    /// Fails when a commit of this backup would not count, because the backup was deleted meanwhile.
    pub(crate) async fn check_not_withdrawn(&self, backup_id: &BackupId, token: u64) -> Result<(), VaultError> {
        if self.is_withdrawn(backup_id, token).await? {
            return Err(VaultError::Withdrawn { backup_id: backup_id.clone(), place: self.place() });
        }
        Ok(())
    }

    /// Writes a tombstone in place of one that cannot be read.
    pub(crate) async fn replace_tombstone(
        &self,
        backup_id: &BackupId,
        below_token: Option<u64>,
        withdrawal: &Withdrawal,
    ) -> Result<(), VaultError> {
        let (path, bytes) = tombstone(backup_id, below_token, withdrawal)?;
        self.objects().replace(&path, bytes).await
    }

    async fn put_tombstone(
        &self,
        backup_id: &BackupId,
        below_token: Option<u64>,
        withdrawal: &Withdrawal,
    ) -> Result<(), VaultError> {
        let (path, bytes) = tombstone(backup_id, below_token, withdrawal)?;
        match self.objects().create(&path, bytes).await {
            // Withdrawn before: the first one to do it stays on record.
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(VaultError::store("write", &path, error)),
        }
    }
}

/// The object, and its key.
fn tombstone(
    backup_id: &BackupId,
    below_token: Option<u64>,
    withdrawal: &Withdrawal,
) -> Result<(object_store::path::Path, Bytes), VaultError> {
    let Withdrawal { time, by, job_id } = withdrawal.clone();
    let tombstone = Tombstone {
        format: FORMAT_VERSION,
        kind: "withdrawn".to_owned(),
        backup_id: backup_id.clone(),
        below_token,
        withdrawn: time,
        by,
        job_id,
    };
    let bytes = serde_json::to_vec(&tombstone).map_err(|error| bad("tombstone", error.to_string()))?;
    Ok((layout::tombstone_path(backup_id, below_token), Bytes::from(bytes)))
}
