//! AES-256-GCM over blobs and over the sealed halves of manifests.
//!
//! Each cipher belongs to one subkey, and a subkey to one salt of 32 random bytes. Within it nonces are counted: a blob's
//! stands in its entry and is never used twice in a pack; a manifest's half is the only message under its subkey.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use longshore_model::{BackupId, Digest};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::keys::{SessionKey, random_bytes};
use crate::codec::codec_to_bytes;
use crate::ids::SessionId;
use crate::layout::{FORMAT_VERSION, ManifestKind};
use crate::manifest::{SEALED_LEVEL, unpack_json};
use crate::pack::BlobEntry;
use crate::{Limits, VaultError};

/// Bytes that encryption adds to a blob.
pub(crate) const TAG_BYTES: usize = MAX_TAG_LEN;

/// Seals and opens under one subkey.
pub(crate) struct BlobCipher {
    key: LessSafeKey,
}

impl fmt::Debug for BlobCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobCipher(..)")
    }
}

/// Work memory for sealing one blob after the other.
#[derive(Debug, Default)]
pub(crate) struct SealWork {
    plain: Vec<u8>,
    opened: Vec<u8>,
}

/// Why sealed bytes could not be opened: a sentence part. Says nothing of keys or content.
pub(crate) const NOT_AUTHENTIC: &str = "bytes that were not sealed under this key as they stand";

impl BlobCipher {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Cipher { what: "make a key" })?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals `plain` where it lies, opens what came out, and compares: what is stored can be read back. Gives the sealed
    /// bytes and their tag, which stands behind them.
    fn seal(
        &self,
        nonce: u32,
        aad: &[u8],
        plain: Bytes,
        work: &mut SealWork,
    ) -> Result<(Bytes, [u8; TAG_BYTES]), VaultError> {
        work.plain.clear();
        work.plain.extend_from_slice(&plain);
        // Nobody else holds it, mostly: a pack of its own size in new memory would double what a backup takes.
        let mut sealed = plain.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        let tag = self.key.seal_in_place_separate_tag(nonce_of(nonce), Aad::from(aad), &mut sealed);
        let tag = tag.map_err(|_| VaultError::Cipher { what: "encrypt" })?;
        work.opened.clear();
        work.opened.extend_from_slice(&sealed);
        work.opened.extend_from_slice(tag.as_ref());
        let mut stored_tag = [0; TAG_BYTES];
        stored_tag.copy_from_slice(tag.as_ref());
        match self.key.open_in_place(nonce_of(nonce), Aad::from(aad), &mut work.opened) {
            Ok(opened) if *opened == *work.plain => Ok((sealed.freeze(), stored_tag)),
            _ => Err(VaultError::Cipher { what: "decrypt what was just encrypted" }),
        }
    }

    fn open(&self, nonce: u32, aad: &[u8], stored: &[u8]) -> Option<Bytes> {
        let mut bytes = stored.to_vec();
        let length = self.key.open_in_place(nonce_of(nonce), Aad::from(aad), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(Bytes::from(bytes))
    }

    /// Seals the encoded bytes of a blob; they and the tag behind them are what is stored. Everything of `entry` but offset, stored length and checksum is final.
    ///
    /// # Errors
    /// [`VaultError::Cipher`]: nothing of it may be stored.
    pub(crate) fn seal_blob(
        &self,
        entry: &BlobEntry,
        encoded: Bytes,
        work: &mut SealWork,
    ) -> Result<(Bytes, [u8; TAG_BYTES]), VaultError> {
        self.seal(entry.nonce, &blob_aad(entry), encoded, work)
    }

    /// Opens the stored bytes of a blob; the error says what was found instead.
    pub(crate) fn open_blob(&self, entry: &BlobEntry, stored: &[u8]) -> Result<Bytes, String> {
        self.open(entry.nonce, &blob_aad(entry), stored).ok_or_else(|| NOT_AUTHENTIC.to_owned())
    }
}

/// Seals the packed bytes of a catalog; `head` is what they are bound to.
///
/// # Errors
/// [`VaultError::Cipher`].
pub(crate) fn seal_whole(
    key: &SessionKey,
    salt: &[u8; 32],
    head: &[u8],
    packed: Vec<u8>,
) -> Result<Vec<u8>, VaultError> {
    let cipher = key.catalog_cipher(salt)?;
    let (sealed, tag) = cipher.seal(0, head, Bytes::from(packed), &mut SealWork::default())?;
    Ok([sealed.as_ref(), tag.as_ref()].concat())
}

/// Opens what [`seal_whole`] sealed; `None` for anything else.
///
/// # Errors
/// [`VaultError::Cipher`].
pub(crate) fn open_whole(
    key: &SessionKey,
    salt: &[u8; 32],
    head: &[u8],
    sealed: &[u8],
) -> Result<Option<Bytes>, VaultError> {
    Ok(key.catalog_cipher(salt)?.open(0, head, sealed))
}

/// A counter as 12 bytes: 4 little-endian, then zeros.
fn nonce_of(counter: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes.iter_mut().zip(counter.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    Nonce::assume_unique_for_key(bytes)
}

/// What a blob is bound to: format, kind, blob id, codec, plain length.
fn blob_aad(entry: &BlobEntry) -> [u8; 47] {
    let mut aad = [0; 47];
    let fields = FORMAT_VERSION
        .to_le_bytes()
        .into_iter()
        .chain(*b"blob")
        .chain(*entry.id.as_bytes())
        .chain(codec_to_bytes(entry.codec))
        .chain(entry.plain_bytes.to_le_bytes());
    aad.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
    aad
}

/// What a sealed half is bound to, as text.
fn manifest_aad(kind: ManifestKind, backup_id: &BackupId, token: u64) -> String {
    format!("longshore vault {FORMAT_VERSION} sealed\n{}\n{backup_id}\n{token}\n", kind.word())
}

/// The sealed half of a manifest as it stands in the object, for those who cannot open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedBody {
    /// The session whose data key it is sealed under.
    pub session: SessionId,
    /// What its subkey is derived with.
    salt: Digest,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    ciphertext: Bytes,
}

fn to_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

impl LockedBody {
    /// Seals the half of a manifest.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`], [`VaultError::Cipher`], [`VaultError::BadManifest`].
    pub(crate) fn seal<T: Serialize>(
        key: &SessionKey,
        kind: ManifestKind,
        (backup_id, token): (&BackupId, u64),
        body: &T,
    ) -> Result<Self, VaultError> {
        let bad = |reason: String| VaultError::BadManifest { object: kind.word().to_owned(), reason };
        let json = serde_json::to_vec(body).map_err(|error| bad(error.to_string()))?;
        let packed = zstd::bulk::compress(&json, SEALED_LEVEL).map_err(|error| bad(error.to_string()))?;
        let salt = random_bytes::<32>()?;
        let aad = manifest_aad(kind, backup_id, token);
        let cipher = key.manifest_cipher(&salt)?;
        let (sealed, tag) = cipher.seal(0, aad.as_bytes(), Bytes::from(packed), &mut SealWork::default())?;
        let ciphertext = Bytes::from([sealed.as_ref(), tag.as_ref()].concat());
        Ok(Self { session: key.id(), salt: Digest::new(*salt), ciphertext })
    }

    /// Opens the half of a manifest that was read from `object`.
    ///
    /// # Errors
    /// [`VaultError::Unauthentic`] for changed bytes, [`VaultError::BadManifest`].
    pub(crate) fn open<T: DeserializeOwned>(
        &self,
        key: &SessionKey,
        object: &str,
        kind: ManifestKind,
        (backup_id, token): (&BackupId, u64),
        limits: &Limits,
    ) -> Result<T, VaultError> {
        let bad = |reason: String| VaultError::BadManifest { object: object.to_owned(), reason };
        let aad = manifest_aad(kind, backup_id, token);
        let opened = key.manifest_cipher(self.salt.as_bytes())?.open(0, aad.as_bytes(), &self.ciphertext);
        let packed = opened.ok_or_else(|| VaultError::Unauthentic { object: object.to_owned() })?;
        // Only holders of the session's key can have written this; bounded all the same.
        let json = unpack_json(&packed, object, limits)?;
        serde_json::from_slice(&json).map_err(|error| bad(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{BlobExtent, BlobId, digest_of};
    use longshore_model::Codec;
    use proptest::prelude::*;

    fn entry(bytes: &[u8], nonce: u32) -> BlobEntry {
        let entry =
            BlobEntry::new(BlobId::new(digest_of(bytes)), BlobExtent::WHOLE, Codec::Zstd { level: 3 }, 900, bytes);
        BlobEntry { nonce, ..entry }
    }

    /// Seals bytes that nobody else holds, and bytes that somebody does: it must make no difference.
    fn seal(cipher: &BlobCipher, entry: &BlobEntry, bytes: &[u8]) -> Vec<u8> {
        let mut work = SealWork::default();
        let (alone, tag) = cipher.seal_blob(entry, Bytes::copy_from_slice(bytes), &mut work).unwrap();
        let held = Bytes::copy_from_slice(bytes);
        let shared = cipher.seal_blob(entry, held.clone(), &mut work).unwrap();
        assert_eq!(shared, (alone.clone(), tag));
        assert_eq!(held, bytes, "what somebody else holds stays as it is");
        [alone.as_ref(), tag.as_ref()].concat()
    }

    proptest! {
        #[test]
        fn only_the_same_bytes_under_the_same_key_nonce_and_name_are_opened(
            bytes in prop::collection::vec(any::<u8>(), 0..200), nonce in any::<u32>(), place in any::<prop::sample::Index>()
        ) {
            let cipher = BlobCipher::new(&[7; 32]).unwrap();
            let entry = entry(&bytes, nonce);
            let sealed = seal(&cipher, &entry, &bytes);
            prop_assert_eq!(sealed.len(), bytes.len() + TAG_BYTES);
            prop_assert_eq!(cipher.open_blob(&entry, &sealed).unwrap(), bytes.as_slice());
            let mut flipped = sealed.clone();
            flipped[place.index(sealed.len())] ^= 1;
            prop_assert!(cipher.open_blob(&entry, &flipped).is_err());
            for other in [
                BlobEntry { nonce: nonce ^ 1, ..entry },
                BlobEntry { id: BlobId::new(digest_of(b"another")), ..entry },
                BlobEntry { plain_bytes: 901, ..entry },
                BlobEntry { codec: Codec::Zstd { level: 4 }, ..entry },
            ] {
                prop_assert!(cipher.open_blob(&other, &sealed).is_err());
            }
            prop_assert!(BlobCipher::new(&[8; 32]).unwrap().open_blob(&entry, &sealed).is_err());
            prop_assert!(cipher.open_blob(&entry, &sealed[..sealed.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_sealed_half_belongs_to_one_backup_token_and_kind() {
        let (key, id): (_, BackupId) = (SessionKey::generate().unwrap(), "backup0_ab".parse().unwrap());
        let locked = LockedBody::seal(&key, ManifestKind::Part, (&id, 7), &vec![1_u32, 2]).unwrap();
        let open = |key: &SessionKey, kind, id: &BackupId, token| {
            locked.open::<Vec<u32>>(key, "p", kind, (id, token), &Limits::DEFAULT)
        };
        assert_eq!(open(&key, ManifestKind::Part, &id, 7).unwrap(), [1, 2]);
        assert!(open(&key, ManifestKind::Root, &id, 7).is_err());
        assert!(open(&key, ManifestKind::Part, &id, 8).is_err());
        assert!(open(&key, ManifestKind::Part, &"backup0_ac".parse().unwrap(), 7).is_err());
        assert!(open(&SessionKey::generate().unwrap(), ManifestKind::Part, &id, 7).is_err());
    }

    #[test]
    fn salts_separate_packs_and_purposes() {
        let key = SessionKey::generate().unwrap();
        let entry = entry(b"bytes", 0);
        let sealed = seal(&key.pack_cipher(&[1; 32]).unwrap(), &entry, b"bytes");
        assert!(key.pack_cipher(&[1; 32]).unwrap().open_blob(&entry, &sealed).is_ok());
        assert!(key.pack_cipher(&[2; 32]).unwrap().open_blob(&entry, &sealed).is_err());
        assert!(key.manifest_cipher(&[1; 32]).unwrap().open_blob(&entry, &sealed).is_err());
    }
}
