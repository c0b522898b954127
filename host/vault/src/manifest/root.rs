//! The root manifest, whose existence is the backup's existence, and the receipt that repeats it in other vaults.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_model::{
    BackupId, BackupType, ClusterId, CollectionName, CreationMethod, Digest, ProjectId, Reason, RegionId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JsonText, ManifestSeal, PackedHalf, PartRef, Sealed, Sizes, bad, read, read_open};
use crate::crypto::SessionKey;
use crate::layout::ManifestKind;
use crate::{Limits, VaultError, digest_of};

/// Names all parts of a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// For whoever keeps the vault.
    pub open: RootOpen,
    /// For readers.
    pub sealed: Sealed<RootSealed>,
}

/// The open half of a root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootOpen {
    /// The backup.
    pub backup_id: BackupId,
    /// Fencing token of the job that wrote it. Of several roots of one backup the highest token counts.
    pub token: u64,
    /// Whole cluster or named collections.
    pub backup_type: BackupType,
    /// By hand or by schedule.
    pub creation_method: CreationMethod,
    /// The cluster it was made of.
    pub cluster_id: ClusterId,
    /// That cluster's project.
    pub project_id: ProjectId,
    /// That cluster's region; the vault of this region holds the root.
    pub home_region: RegionId,
    /// When it was made.
    pub created: Timestamp,
    /// When it expires; `None` means never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Sizes of all parts together.
    pub sizes: Sizes,
    /// The parts, one per vault.
    pub parts: Vec<PartRef>,
}

/// The sealed half of a root.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RootSealed {
    /// The backup's name, if it was given one.
    #[serde(default)]
    pub backup_name: Option<String>,
    /// The cluster's name.
    #[serde(default)]
    pub cluster_name: String,
    /// Databases, in order of name.
    #[serde(default)]
    pub databases: Vec<DatabaseSealed>,
    /// Collections that were left out.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
    /// What the policies decided, and why.
    #[serde(default)]
    pub decisions: JsonText,
    /// Which policy plugins decided, by digest.
    #[serde(default)]
    pub policies: Value,
    /// Collections that changed or vanished while the backup was made.
    #[serde(default)]
    pub ddl_changes: Vec<DdlChange>,
    /// Kind of source, for example `milvus-lite`.
    #[serde(default)]
    pub source_kind: String,
    /// Version of the source.
    #[serde(default)]
    pub source_version: String,
    /// Version of Longshore.
    #[serde(default)]
    pub host_version: String,
    /// Whatever has no field of its own.
    #[serde(default)]
    pub extra: Value,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseSealed {
    /// Its name.
    pub name: String,
    /// Its properties, as the source keeps them.
    #[serde(default)]
    pub properties: Value,
    /// Aliases and the collections they stand for.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
}

/// A collection that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Which.
    #[serde(flatten)]
    pub name: CollectionName,
    /// Why.
    pub reason: Reason,
    /// Who said so: the member of the chain of policies; empty where it was not noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided_by: String,
}

/// A change of a collection that happened while the backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlChange {
    /// Which collection.
    #[serde(flatten)]
    pub name: CollectionName,
    /// What happened, for example `dropped`.
    pub change: String,
}

impl Root {
    /// The bytes of the object, after all checks.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`], [`VaultError::TooLarge`].
    #[cfg(test)]
    pub(crate) fn to_bytes(&self, seal: &ManifestSeal<'_>, limits: &Limits) -> Result<Bytes, VaultError> {
        let backup = (&self.open.backup_id, self.open.token);
        let packed = PackedHalf::of(ManifestKind::Root, backup, &self.sealed, seal, limits)?;
        self.open.to_bytes(&packed, seal, limits)
    }

    /// Opens the sealed half with the key of its session.
    pub(crate) fn unlock(&mut self, key: &SessionKey, object: &str, limits: &Limits) -> Result<(), VaultError> {
        if let Sealed::Locked(locked) = &self.sealed {
            let backup = (&self.open.backup_id, self.open.token);
            self.sealed = Sealed::Readable(locked.open(key, object, ManifestKind::Root, backup, limits)?);
        }
        Ok(())
    }

    /// Reads the bytes of the object called `object`. What is encrypted stays locked.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`], [`VaultError::NewerFormat`], [`VaultError::Unsupported`].
    pub fn parse(object: &str, bytes: &[u8], limits: &Limits) -> Result<Self, VaultError> {
        let (open, sealed): (RootOpen, _) = read(ManifestKind::Root, object, bytes, limits)?;
        open.check(object)?;
        Ok(Self { open, sealed })
    }
}

impl RootOpen {
    /// Reads the open half alone, and whether the other one is encrypted. Costs a fraction of [`Root::parse`].
    pub(crate) fn parse(object: &str, bytes: &[u8]) -> Result<(Self, bool), VaultError> {
        let (open, locked): (Self, bool) = read_open(ManifestKind::Root, object, bytes)?;
        open.check(object)?;
        Ok((open, locked))
    }

    /// Bytes of packs that were added for it, by region.
    #[must_use]
    pub fn added_bytes(&self) -> BTreeMap<RegionId, u64> {
        self.parts.iter().map(|part| (part.region_id.clone(), part.sizes.new_bytes)).collect()
    }

    /// The bytes of the root with this sealed half, after all checks.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`], [`VaultError::TooLarge`].
    pub(crate) fn to_bytes(
        &self,
        sealed: &PackedHalf,
        seal: &ManifestSeal<'_>,
        limits: &Limits,
    ) -> Result<Bytes, VaultError> {
        self.check("root")?;
        sealed.write(ManifestKind::Root, self, seal, limits)
    }

    fn check(&self, object: &str) -> Result<(), VaultError> {
        let parts = &self.parts;
        let twice = parts
            .iter()
            .enumerate()
            .any(|(place, part)| parts.iter().skip(place + 1).any(|other| other.vault_id == part.vault_id));
        if twice {
            return Err(bad(object, "it names two parts in one vault"));
        }
        let sum = parts.iter().fold(Sizes::default(), |sum, part| sum.plus(part.sizes));
        if sum != self.sizes {
            return Err(bad(object, "the sizes of its parts do not add up"));
        }
        Ok(())
    }
}

/// Repeats the root in a vault that is not the home vault.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// All of it.
    pub open: ReceiptOpen,
}

/// The content of a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptOpen {
    /// The backup.
    pub backup_id: BackupId,
    /// Token of the root.
    pub token: u64,
    /// The exact bytes of the root.
    pub root: String,
    /// BLAKE3 of those bytes.
    pub root_digest: Digest,
    /// The part in this vault. A copy made later is not named by the root, only here.
    pub part: PartRef,
    /// Digests of parts of this vault, of the same backup and token, that were lost or damaged and of which `part` holds
    /// all that they held. While `part` can be read nothing is wrong with them missing, whoever still names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Digest>,
}

/// A receipt has nothing sealed of its own: the root inside brings its own sealed half.
#[derive(Serialize)]
struct Nothing {}

impl Receipt {
    /// The bytes of the object.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`].
    pub(crate) fn to_bytes(&self, seal: &ManifestSeal<'_>, limits: &Limits) -> Result<Bytes, VaultError> {
        let backup = (&self.open.backup_id, self.open.token);
        let packed = PackedHalf::of(ManifestKind::Receipt, backup, &Sealed::Readable(Nothing {}), seal, limits)?;
        packed.write(ManifestKind::Receipt, &self.open, seal, limits)
    }

    /// Reads the bytes of the object called `object`, and the root inside.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`], [`VaultError::NewerFormat`], [`VaultError::Unsupported`].
    pub fn parse(object: &str, bytes: &[u8], limits: &Limits) -> Result<(Self, Root), VaultError> {
        let receipt = Self::parse_outside(object, bytes)?;
        let root = Root::parse(object, receipt.open.root.as_bytes(), limits)?;
        receipt.check(object, &root.open)?;
        Ok((receipt, root))
    }

    /// As [`Receipt::parse`], with the open half of the root alone and whether the other one is encrypted.
    pub(crate) fn parse_open(object: &str, bytes: &[u8]) -> Result<(Self, RootOpen, bool), VaultError> {
        let receipt = Self::parse_outside(object, bytes)?;
        let (root, locked) = RootOpen::parse(object, receipt.open.root.as_bytes())?;
        receipt.check(object, &root)?;
        Ok((receipt, root, locked))
    }

    fn parse_outside(object: &str, bytes: &[u8]) -> Result<Self, VaultError> {
        let (open, _): (ReceiptOpen, bool) = read_open(ManifestKind::Receipt, object, bytes)?;
        if digest_of(open.root.as_bytes()) != open.root_digest {
            return Err(bad(object, "the root inside does not match its digest"));
        }
        Ok(Self { open })
    }

    fn check(&self, object: &str, root: &RootOpen) -> Result<(), VaultError> {
        if root.backup_id != self.open.backup_id || root.token != self.open.token {
            return Err(bad(object, "the root inside is of another backup"));
        }
        Ok(())
    }
}
