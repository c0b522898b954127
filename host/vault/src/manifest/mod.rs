//! The three manifests of a backup as values, their JSON, and the checks on both sides (FORMAT.md, "Manifests").
//!
//! Each has an open half, which whoever keeps the vault needs (blob ids, packs, sizes, keyed file identities), and a
//! sealed half, which only readers need (names, schema, decisions). In an unencrypted vault the sealed half is plain
//! JSON. Fields this version does not know are ignored, so that a later version can add some.

mod json_text;
mod packed;
mod part;
mod root;

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::{BackupId, Digest, RegionId, VaultId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::layout::{FORMAT_VERSION, ManifestKey, ManifestKind};
use crate::{Limits, LockedBody, VaultError, digest_of};

pub use json_text::JsonText;
pub(crate) use packed::{ManifestSeal, PackedHalf, SEALED_LEVEL};
pub use part::{
    CollectionFiles, CollectionFinding, CollectionSealed, FileEntry, FileSealed, PackRef, Part, PartOpen, PartSealed,
    content_digest,
};
pub use root::{DatabaseSealed, DdlChange, Excluded, Receipt, ReceiptOpen, Root, RootOpen, RootSealed};

/// The half of a manifest that only readers need.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sealed<T> {
    /// Not encrypted, or opened with a reader key.
    Readable(T),
    /// Encrypted, and no reader key was given.
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

/// A manifest before its halves are read: so that a newer format or an unknown encoding is not called damaged, and whoever
/// needs the open half alone does not pay for the other one.
#[derive(Deserialize)]
struct Halves<'a> {
    format: u32,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    sealed: Option<SealedHalf<'a>>,
}

#[derive(Deserialize)]
struct SealedHalf<'a> {
    encoding: String,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl<'a> Halves<'a> {
    /// Splits the JSON of a manifest named `object`, without reading its halves.
    fn of(kind: ManifestKind, object: &str, bytes: &'a [u8]) -> Result<Self, VaultError> {
        let halves: Self = serde_json::from_slice(bytes).map_err(|error| bad(object, error.to_string()))?;
        if halves.format > FORMAT_VERSION {
            let object = object.to_owned();
            return Err(VaultError::NewerFormat { object, found: halves.format, supported: FORMAT_VERSION });
        }
        if halves.kind != kind.word() {
            return Err(bad(object, format!("it is a `{}`, not a `{}`", halves.kind.escape_debug(), kind.word())));
        }
        Ok(halves)
    }

    fn open<O: DeserializeOwned>(&self, object: &str) -> Result<O, VaultError> {
        let open = self.open.ok_or_else(|| bad(object, "it has no open half"))?;
        serde_json::from_str(open.get()).map_err(|error| bad(object, error.to_string()))
    }

    fn sealed_half(&self, object: &str) -> Result<&SealedHalf<'a>, VaultError> {
        self.sealed.as_ref().ok_or_else(|| bad(object, "it has no sealed half"))
    }

    /// Whether the sealed half is encrypted; unknown encodings are refused.
    fn is_locked(&self, object: &str) -> Result<bool, VaultError> {
        match self.sealed_half(object)?.encoding.as_str() {
            "plain" | "zstd" => Ok(false),
            "age-1" => Ok(true),
            encoding => {
                let what = format!("the encoding `{}`", encoding.escape_debug());
                Err(VaultError::Unsupported { object: object.to_owned(), what })
            }
        }
    }

    fn sealed<S: DeserializeOwned>(&self, object: &str, limits: &Limits) -> Result<Sealed<S>, VaultError> {
        let damaged = |error: serde_json::Error| bad(object, error.to_string());
        let locked = self.is_locked(object)?;
        let half = self.sealed_half(object)?;
        let body = half.body.ok_or_else(|| bad(object, "its sealed half is empty"))?.get();
        Ok(match (locked, half.encoding.as_str()) {
            (true, _) => Sealed::Locked(serde_json::from_str(body).map_err(damaged)?),
            (false, "zstd") => {
                let text: String = serde_json::from_str(body).map_err(damaged)?;
                let frame = STANDARD.decode(text).map_err(|error| bad(object, error.to_string()))?;
                let json = unpack_json(&frame, object, limits)?;
                Sealed::Readable(serde_json::from_slice(&json).map_err(damaged)?)
            }
            (false, _) => Sealed::Readable(serde_json::from_str(body).map_err(damaged)?),
        })
    }
}

/// Reads the JSON of a manifest named `object`.
fn read<O: DeserializeOwned, S: DeserializeOwned>(
    kind: ManifestKind,
    object: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(O, Sealed<S>), VaultError> {
    let halves = Halves::of(kind, object, bytes)?;
    Ok((halves.open(object)?, halves.sealed(object, limits)?))
}

/// Reads the open half of a manifest, and whether the other one is encrypted.
fn read_open<O: DeserializeOwned>(kind: ManifestKind, object: &str, bytes: &[u8]) -> Result<(O, bool), VaultError> {
    let halves = Halves::of(kind, object, bytes)?;
    Ok((halves.open(object)?, halves.is_locked(object)?))
}

/// The JSON in a Zstandard frame of a sealed half.
pub(crate) fn unpack_json(frame: &[u8], object: &str, limits: &Limits) -> Result<Vec<u8>, VaultError> {
    let decoder = zstd::stream::read::Decoder::new(frame).map_err(|error| bad(object, error.to_string()))?;
    // A frame of a few bytes can hold any number of them.
    let mut json = Vec::new();
    let read = decoder.take(limits.manifest_bytes.saturating_add(1)).read_to_end(&mut json);
    read.map_err(|error| bad(object, error.to_string()))?;
    if json.len() as u64 > limits.manifest_bytes {
        return Err(bad(object, format!("its sealed half has more than {} bytes", limits.manifest_bytes)));
    }
    Ok(json)
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
