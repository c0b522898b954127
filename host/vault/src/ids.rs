//! Names of blobs and packs, and the key that blob names are made with.

use std::fmt;
use std::str::FromStr;

use longshore_model::{CollectionName, Digest, ModelError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::random_bytes;
use crate::file_digest::PieceDigest;
use crate::{BlobExtent, VaultError};

macro_rules! digest_name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Wraps a digest.
            #[must_use]
            pub const fn new(digest: Digest) -> Self {
                Self(digest)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ModelError;

            fn from_str(text: &str) -> Result<Self, ModelError> {
                text.parse().map(Self)
            }
        }
    };
}

digest_name!(
    /// Name of a blob: made from what its plain bytes hash to, with the project's [`IdKey`] (FORMAT.md, "Blobs").
    BlobId
);
digest_name!(
    /// Name of a pack: BLAKE3 of its stored bytes, without a key, so that anyone can check it.
    PackId
);

digest_name!(
    /// Name of a session of an encrypted vault: derived from its data key.
    SessionId
);

/// BLAKE3 of bytes, without a key: what packs, index objects and manifests are named by.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

/// The key of a project that blob ids and file identities are made with. All vaults of a project share it, so that they
/// can exchange packs byte for byte; vaults of different projects do not, so that nobody can ask one project's vault
/// whether it holds another project's bytes. Never printed by `Debug`, wiped when dropped.
///
/// In an encrypted vault it is secret: it is the writer key, and with it manifests are authenticated, too.
#[derive(Clone, PartialEq, Eq)]
pub struct IdKey {
    blob: Zeroizing<[u8; 32]>,
    identity: Zeroizing<[u8; 32]>,
    manifest_code: Zeroizing<[u8; 32]>,
    recipients_code: Zeroizing<[u8; 32]>,
    catalog_code: Zeroizing<[u8; 32]>,
    mask: Zeroizing<[u8; 32]>,
    name: Zeroizing<[u8; 32]>,
}

impl IdKey {
    /// What the key for file identities is derived with (BLAKE3 derive-key mode).
    const IDENTITY_CONTEXT: &'static str = "longshore vault 1 file identity";
    const CHECK_CONTEXT: &'static str = "longshore vault 1 id key check";
    const MANIFEST_CONTEXT: &'static str = "longshore vault 1 manifest code";
    const RECIPIENTS_CONTEXT: &'static str = "longshore vault 1 recipients code";
    const CATALOG_CONTEXT: &'static str = "longshore vault 1 catalog code";
    const MASK_CONTEXT: &'static str = "longshore vault 1 digest mask";
    const NAME_CONTEXT: &'static str = "longshore vault 1 collection name";

    /// A key from 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let derive = |context: &str| Zeroizing::new(blake3::derive_key(context, &bytes));
        Self {
            identity: derive(Self::IDENTITY_CONTEXT),
            manifest_code: derive(Self::MANIFEST_CONTEXT),
            recipients_code: derive(Self::RECIPIENTS_CONTEXT),
            catalog_code: derive(Self::CATALOG_CONTEXT),
            mask: derive(Self::MASK_CONTEXT),
            name: derive(Self::NAME_CONTEXT),
            blob: Zeroizing::new(bytes),
        }
    }

    /// A new one, from the operating system's randomness.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn generate() -> Result<Self, VaultError> {
        Ok(Self::new(*random_bytes()?))
    }

    /// Names the plain bytes of a whole file, or of what is no file.
    #[must_use]
    pub fn blob_id(&self, plain: &[u8]) -> BlobId {
        self.keyed(digest_of(plain).as_bytes())
    }

    /// Names a piece of a file; `None` where no piece of its length can lie there.
    #[must_use]
    pub fn piece_id(&self, piece: &[u8], extent: BlobExtent) -> Option<BlobId> {
        self.hash(piece, extent).map(|(id, _)| id)
    }

    /// Names a piece of a file, and says what it adds to the digest of that. The name is made from what the bytes hash to,
    /// or they would have to be hashed twice.
    pub(crate) fn hash(&self, piece: &[u8], extent: BlobExtent) -> Option<(BlobId, PieceDigest)> {
        let digest = extent.digest(piece)?;
        let named = if extent == BlobExtent::UNSAID { piece } else { digest.as_bytes() };
        Some((self.keyed(named), digest))
    }

    fn keyed(&self, named: &[u8]) -> BlobId {
        BlobId(Digest::new(*blake3::keyed_hash(&self.blob, named).as_bytes()))
    }

    /// Hides a file identity (path, device, inode, times) in a digest that a later backup can compare.
    #[must_use]
    pub fn identity(&self, identity: &[u8]) -> Digest {
        Digest::new(*blake3::keyed_hash(&self.identity, identity).as_bytes())
    }

    /// Hides the digest of a file from everybody but holders of this key: XOR with a keyed hash over its blob ids. Doing
    /// it twice gives the digest back.
    #[must_use]
    pub fn mask_digest(&self, blobs: &[BlobId], digest: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.mask);
        for blob in blobs {
            hasher.update(blob.as_bytes());
        }
        let mut masked = *hasher.finalize().as_bytes();
        masked.iter_mut().zip(digest.as_bytes()).for_each(|(place, byte)| *place ^= byte);
        Digest::new(masked)
    }

    /// Recognises a collection without naming it: keyed hash over database, a zero byte, and name.
    #[must_use]
    pub fn name_id(&self, name: &CollectionName) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.name);
        hasher.update(name.database.as_bytes()).update(&[0]).update(name.collection.as_bytes());
        Digest::new(*hasher.finalize().as_bytes())
    }

    /// The authentication code of the bytes of a manifest.
    pub(crate) fn manifest_code(&self, bytes: &[u8]) -> Digest {
        Digest::new(*blake3::keyed_hash(&self.manifest_code, bytes).as_bytes())
    }

    /// The authentication code of the bytes of a snapshot of a catalog.
    pub(crate) fn catalog_code(&self, bytes: &[u8]) -> Digest {
        Digest::new(*blake3::keyed_hash(&self.catalog_code, bytes).as_bytes())
    }

    /// The authentication code of the bytes of a list of recipients.
    pub(crate) fn recipients_code(&self, bytes: &[u8]) -> Digest {
        Digest::new(*blake3::keyed_hash(&self.recipients_code, bytes).as_bytes())
    }

    /// What the header of an encrypted vault knows its key by.
    pub(crate) fn check_value(&self) -> Digest {
        Digest::new(blake3::derive_key(Self::CHECK_CONTEXT, self.secret()))
    }

    /// The 32 bytes.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.blob
    }

    /// The 32 bytes as they stand in an unencrypted header.
    pub(crate) fn expose(&self) -> Digest {
        Digest::new(*self.blob)
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_separate_projects_and_purposes() {
        let (one, other) = (IdKey::new([1; 32]), IdKey::new([2; 32]));
        assert_ne!(one.blob_id(b"x"), other.blob_id(b"x"));
        assert_ne!(one.identity(b"x"), other.identity(b"x"));
        assert_ne!(one.blob_id(b"x").to_string(), one.identity(b"x").to_string());
        assert_eq!(one.blob_id(b"x"), IdKey::new([1; 32]).blob_id(b"x"));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", IdKey::new([0xab; 32])), "IdKey(..)");
    }
}
