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

use crate::crypto::{SessionKey, append_code};
use crate::layout::{FORMAT_VERSION, ManifestKey, ManifestKind};
use crate::{IdKey, Limits, LockedBody, VaultError, digest_of};

pub use part::{
    CollectionFiles, CollectionFinding, CollectionSealed, FileEntry, FileSealed, PackRef, Part, PartOpen, PartSealed,
    content_digest,
};
pub use root::{DatabaseSealed, DdlChange, Excluded, Receipt, ReceiptOpen, Root, RootOpen, RootSealed};

/// The half of a manifest that only readers need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoding", content = "body")]
#[non_exhaustive]
pub enum Sealed<T> {
    /// Not encrypted, or opened with a reader key.
    #[serde(rename = "plain")]
    Readable(T),
    /// Encrypted, and no reader key was given.
    #[serde(rename = "age-1")]
    Locked(LockedBody),
}

impl<T> Sealed<T> {
    /// The content.
    ///
    /// # Errors
    /// [`VaultError::Locked`] when it is encrypted and the vault was opened without a reader key.
    pub fn open(&self) -> Result<&T, VaultError> {
        match self {
            Self::Readable(body) => Ok(body),
            Self::Locked(_) => Err(VaultError::Locked),
        }
    }

    /// True when the content cannot be had without a reader key.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_))
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

/// What the manifests of a vault are written with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ManifestSeal<'a> {
    /// As they are.
    Plain,
    /// Sealed halves encrypted in this session, and a code at the end.
    Age1 {
        /// The job's data key; `None` where nothing is to be encrypted (a receipt has no content of its own).
        session: Option<&'a SessionKey>,
        /// What the code is made with.
        id_key: &'a IdKey,
    },
}

/// The JSON of a manifest. `backup` is what its sealed half is bound to.
fn write<O: Serialize, S: Serialize + Clone>(
    kind: ManifestKind,
    backup: (&BackupId, u64),
    open: &O,
    sealed: &Sealed<S>,
    seal: &ManifestSeal<'_>,
    limits: &Limits,
) -> Result<Bytes, VaultError> {
    let too_large = |size_bytes: usize| VaultError::TooLarge {
        what: format!("the {} manifest", kind.word()),
        size_bytes: size_bytes as u64,
        limit_bytes: limits.manifest_bytes,
    };
    let json = |sealed: &Sealed<S>| {
        let envelope = Envelope { format: FORMAT_VERSION, kind: kind.word().to_owned(), open, sealed };
        serde_json::to_vec(&envelope).map_err(|error| bad(kind.word(), error.to_string()))
    };
    let bytes = match (seal, sealed) {
        (ManifestSeal::Plain, Sealed::Readable(_)) => json(sealed)?,
        // Its vault could never hand out the key of the session.
        (ManifestSeal::Plain, Sealed::Locked(_)) => {
            return Err(bad(kind.word(), "it is encrypted, and its vault is not"));
        }
        (ManifestSeal::Age1 { session, id_key }, _) => {
            let mut bytes = match (sealed, session) {
                (Sealed::Locked(_), _) => json(sealed)?,
                (Sealed::Readable(body), Some(session)) => {
                    let locked = LockedBody::seal(session, kind, backup, body)?;
                    json(&Sealed::Locked(locked))?
                }
                (Sealed::Readable(_), None) if kind == ManifestKind::Receipt => json(sealed)?,
                (Sealed::Readable(_), None) => return Err(bad(kind.word(), "there is no session to encrypt it in")),
            };
            append_code(&mut bytes, |bytes| id_key.manifest_code(bytes));
            bytes
        }
    };
    if bytes.len() as u64 > limits.manifest_bytes {
        return Err(too_large(bytes.len()));
    }
    Ok(Bytes::from(bytes))
}

/// Reads the JSON of a manifest named `object`.
fn read<O: DeserializeOwned, S: DeserializeOwned>(
    kind: ManifestKind,
    object: &str,
    bytes: &[u8],
) -> Result<(O, Sealed<S>), VaultError> {
    let probe: Probe = serde_json::from_slice(bytes).map_err(|error| bad(object, error.to_string()))?;
    if probe.format > FORMAT_VERSION {
        let object = object.to_owned();
        return Err(VaultError::NewerFormat { object, found: probe.format, supported: FORMAT_VERSION });
    }
    if probe.kind != kind.word() {
        return Err(bad(object, format!("it is a `{}`, not a `{}`", probe.kind.escape_debug(), kind.word())));
    }
    if let Some(SealedProbe { encoding }) =
        probe.sealed.filter(|sealed| !matches!(sealed.encoding.as_str(), "plain" | "age-1"))
    {
        let what = format!("the encoding `{}`", encoding.escape_debug());
        return Err(VaultError::Unsupported { object: object.to_owned(), what });
    }
    let envelope: Envelope<O, Sealed<S>> =
        serde_json::from_slice(bytes).map_err(|error| bad(object, error.to_string()))?;
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
