//! The three manifests of a backup as values, their JSON, and the checks on both sides (FORMAT.md, "Manifests").
//!
//! Each has an open half, which whoever keeps the vault needs (blob ids, packs, sizes, keyed file identities), and a
//! sealed half, which only readers need (names, schema, decisions). In an unencrypted vault the sealed half is plain
//! JSON. Fields this version does not know are ignored, so that a later version can add some.

mod part;
mod root;

use bytes::Bytes;
use longshore_model::{BackupId, Digest, RegionId, VaultId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::layout::{FORMAT_VERSION, ManifestKey, ManifestKind};
use crate::{Limits, VaultError, digest_of};

pub use part::{
    CollectionFiles, CollectionFinding, CollectionSealed, FileEntry, FileSealed, PackRef, Part, PartOpen, PartSealed,
    content_digest,
};
pub use root::{DatabaseSealed, DdlChange, Excluded, Receipt, ReceiptOpen, Root, RootOpen, RootSealed};

/// The half of a manifest that only readers need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoding", content = "body", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Sealed<T> {
    /// Not encrypted.
    Plain(T),
}

impl<T> Sealed<T> {
    /// The content.
    ///
    /// # Errors
    /// None in an unencrypted vault; kept so that callers need not change when vaults are encrypted.
    pub fn open(&self) -> Result<&T, VaultError> {
        match self {
            Self::Plain(body) => Ok(body),
        }
    }
}

/// Names a part from anywhere: which vault it is in, and under which key with which digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// The vault that holds it.
    pub vault_id: VaultId,
    /// That vault's region.
    pub region_id: RegionId,
    /// Key of the part in that vault.
    pub key: String,
    /// BLAKE3 of the part's bytes.
    pub digest: Digest,
    /// Sizes of this part.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// Bytes of a backup or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sizes {
    /// Bytes of all files.
    pub plain_bytes: u64,
    /// Bytes that the blobs of these files take in packs, each blob counted once, whoever stored it first.
    pub stored_bytes: u64,
    /// Bytes of packs that were added to the vault for it.
    pub new_bytes: u64,
}

impl Sizes {
    /// The sum of both, field by field.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            plain_bytes: self.plain_bytes.saturating_add(other.plain_bytes),
            stored_bytes: self.stored_bytes.saturating_add(other.stored_bytes),
            new_bytes: self.new_bytes.saturating_add(other.new_bytes),
        }
    }
}

/// What stands around every manifest.
#[derive(Serialize, Deserialize)]
struct Envelope<O, S> {
    format: u32,
    kind: String,
    open: O,
    sealed: S,
}

/// Read first, so that a newer format or an encrypted half is not called damaged.
#[derive(Deserialize)]
struct Probe {
    format: u32,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    sealed: Option<SealedProbe>,
}

#[derive(Deserialize)]
struct SealedProbe {
    encoding: String,
}

/// The JSON of a manifest.
fn write<O: Serialize, S: Serialize>(
    kind: ManifestKind,
    open: &O,
    sealed: &S,
    limits: &Limits,
) -> Result<Bytes, VaultError> {
    let envelope = Envelope { format: FORMAT_VERSION, kind: kind.word().to_owned(), open, sealed };
    let bytes = serde_json::to_vec(&envelope).map_err(|error| bad(kind.word(), error.to_string()))?;
    if bytes.len() as u64 > limits.manifest_bytes {
        return Err(VaultError::TooLarge {
            what: format!("the {} manifest", kind.word()),
            size_bytes: bytes.len() as u64,
            limit_bytes: limits.manifest_bytes,
        });
    }
    Ok(Bytes::from(bytes))
}

/// Reads the JSON of a manifest named `object`.
fn read<O: DeserializeOwned, S: DeserializeOwned>(
    kind: ManifestKind,
    object: &str,
    bytes: &[u8],
) -> Result<(O, S), VaultError> {
    let probe: Probe = serde_json::from_slice(bytes).map_err(|error| bad(object, error.to_string()))?;
    if probe.format > FORMAT_VERSION {
        let object = object.to_owned();
        return Err(VaultError::NewerFormat { object, found: probe.format, supported: FORMAT_VERSION });
    }
    if probe.kind != kind.word() {
        return Err(bad(object, format!("it is a `{}`, not a `{}`", probe.kind.escape_debug(), kind.word())));
    }
    if let Some(SealedProbe { encoding }) = probe.sealed.filter(|sealed| sealed.encoding != "plain") {
        let what = format!("the encoding `{}`", encoding.escape_debug());
        return Err(VaultError::Unsupported { object: object.to_owned(), what });
    }
    let envelope: Envelope<O, S> = serde_json::from_slice(bytes).map_err(|error| bad(object, error.to_string()))?;
    Ok((envelope.open, envelope.sealed))
}

pub(crate) fn bad(object: &str, reason: impl Into<String>) -> VaultError {
    VaultError::BadManifest { object: object.to_owned(), reason: reason.into() }
}

/// Checks that bytes read under `key` are the ones its name promises, and that they speak of the same backup.
pub(crate) fn check_digest(kind: ManifestKind, key: &ManifestKey, bytes: &[u8]) -> Result<(), VaultError> {
    let found = digest_of(bytes);
    if found == key.digest {
        return Ok(());
    }
    Err(VaultError::Damaged {
        what: format!("the {} of {}", kind.word(), key.backup_id),
        object: key.path(kind).to_string(),
        expected: key.digest.to_string(),
        found: found.to_string(),
    })
}

/// Checks that a manifest's own words agree with the key it was read under.
pub(crate) fn check_names(key: &ManifestKey, object: &str, backup_id: &BackupId, token: u64) -> Result<(), VaultError> {
    if key.backup_id == *backup_id && key.token == token {
        return Ok(());
    }
    Err(bad(object, format!("it speaks of {backup_id} with token {token}, its name of another")))
}

#[cfg(test)]
mod tests;
