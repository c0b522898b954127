//! Writing a manifest: its sealed half is packed, then both halves are put together.
//!
//! Contract: packing takes most of the time and needs nothing of the open half, so that both can be worked on at the same
//! time. What comes out is within [`Limits::manifest_bytes`], packed and unpacked, or it is refused: no reader would take it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longshore_model::BackupId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Sealed, bad};
use crate::crypto::{SessionKey, append_code};
use crate::layout::{FORMAT_VERSION, ManifestKind};
use crate::{IdKey, Limits, LockedBody, VaultError};

/// Sealed halves of as many bytes are shrunk: decisions and names of thousands of collections shrink to a tenth, and
/// small ones stay readable for people.
const SHRUNK_FROM_BYTES: usize = 64 * 1024;
/// Zstandard level of sealed halves: what repeats in them repeats so often that higher levels find little more.
pub(crate) const SEALED_LEVEL: i32 = 1;

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

/// A sealed half as it is written; `zstd` is `plain`, shrunk, where that pays.
#[derive(Debug, Serialize)]
#[serde(tag = "encoding", content = "body")]
pub(crate) enum PackedHalf {
    #[serde(rename = "plain")]
    Plain(Box<RawValue>),
    #[serde(rename = "zstd")]
    Zstd(String),
    #[serde(rename = "age-1")]
    Locked(LockedBody),
}

/// What stands around every manifest.
#[derive(Serialize)]
struct Envelope<'a, O> {
    format: u32,
    kind: &'a str,
    open: &'a O,
    sealed: &'a PackedHalf,
}

impl PackedHalf {
    /// Packs the sealed half of a manifest; `backup` is what it is bound to where it is encrypted.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`], [`VaultError::BadManifest`].
    pub(crate) fn of<S: Serialize>(
        kind: ManifestKind,
        backup: (&BackupId, u64),
        sealed: &Sealed<S>,
        seal: &ManifestSeal<'_>,
        limits: &Limits,
    ) -> Result<Self, VaultError> {
        let failed = |error: serde_json::Error| bad(kind.word(), error.to_string());
        match (seal, sealed) {
            (ManifestSeal::Plain, Sealed::Readable(body)) => {
                Self::readable(kind, to_raw_value(body).map_err(failed)?, limits)
            }
            // Its vault could never hand out the key of the session.
            (ManifestSeal::Plain, Sealed::Locked(_)) => Err(bad(kind.word(), "it is encrypted, and its vault is not")),
            (ManifestSeal::Age1 { .. }, Sealed::Locked(locked)) => Ok(Self::Locked(locked.clone())),
            (ManifestSeal::Age1 { session: Some(session), .. }, Sealed::Readable(body)) => {
                Ok(Self::Locked(LockedBody::seal(session, kind, backup, body)?))
            }
            (ManifestSeal::Age1 { .. }, Sealed::Readable(body)) if kind == ManifestKind::Receipt => {
                Ok(Self::Plain(to_raw_value(body).map_err(failed)?))
            }
            (ManifestSeal::Age1 { .. }, Sealed::Readable(_)) => {
                Err(bad(kind.word(), "there is no session to encrypt it in"))
            }
        }
    }

    fn readable(kind: ManifestKind, plain: Box<RawValue>, limits: &Limits) -> Result<Self, VaultError> {
        // No reader would unpack it.
        must_fit(kind, plain.get().len(), limits)?;
        if plain.get().len() < SHRUNK_FROM_BYTES {
            return Ok(Self::Plain(plain));
        }
        let frame = zstd::bulk::compress(plain.get().as_bytes(), SEALED_LEVEL);
        Ok(Self::Zstd(STANDARD.encode(frame.map_err(|error| bad(kind.word(), error.to_string()))?)))
    }

    /// The JSON of the manifest, this half and the open one.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`], [`VaultError::BadManifest`].
    pub(crate) fn write<O: Serialize>(
        &self,
        kind: ManifestKind,
        open: &O,
        seal: &ManifestSeal<'_>,
        limits: &Limits,
    ) -> Result<Bytes, VaultError> {
        let envelope = Envelope { format: FORMAT_VERSION, kind: kind.word(), open, sealed: self };
        let mut bytes = serde_json::to_vec(&envelope).map_err(|error| bad(kind.word(), error.to_string()))?;
        if let ManifestSeal::Age1 { id_key, .. } = seal {
            append_code(&mut bytes, |bytes| id_key.manifest_code(bytes));
        }
        must_fit(kind, bytes.len(), limits)?;
        Ok(Bytes::from(bytes))
    }
}

fn must_fit(kind: ManifestKind, size_bytes: usize, limits: &Limits) -> Result<(), VaultError> {
    if size_bytes as u64 <= limits.manifest_bytes {
        return Ok(());
    }
    let what = format!("the {} manifest", kind.word());
    Err(VaultError::TooLarge { what, size_bytes: size_bytes as u64, limit_bytes: limits.manifest_bytes })
}
