//! The keys people hold, and the data keys of sessions.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use longshore_model::Digest;
use zeroize::Zeroizing;

use super::cipher::BlobCipher;
use crate::ids::SessionId;
use crate::{IdKey, VaultError};

/// What every writer key begins with.
const WRITER_PREFIX: &str = "LONGSHORE-WRITER-KEY-1-";
/// What the checksum in the text of a writer key is derived with.
const WRITER_TEXT_CONTEXT: &str = "longshore vault 1 writer key text";
/// Bytes of that checksum.
const CHECKSUM_BYTES: usize = 4;
/// What a session's id is derived from its data key with.
const SESSION_ID_CONTEXT: &str = "longshore vault 1 session id";
/// What the key of a pack is derived with, from data key and salt.
const PACK_CONTEXT: &str = "longshore vault 1 pack key";
/// What the key of a manifest's sealed half is derived with, from data key and salt.
const MANIFEST_CONTEXT: &str = "longshore vault 1 manifest key";
const CATALOG_CONTEXT: &str = "longshore vault 1 catalog key";

/// Bytes from the operating system.
///
/// # Errors
/// [`VaultError::NoRandomness`].
pub(crate) fn random_bytes<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, VaultError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| VaultError::NoRandomness { reason: error.to_string() })?;
    Ok(bytes)
}

/// The key of a host that writes: the project's [`IdKey`]. It names blobs and authenticates manifests; it opens nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct WriterKey(IdKey);

impl WriterKey {
    /// The writer key of a project.
    #[must_use]
    pub const fn new(id_key: IdKey) -> Self {
        Self(id_key)
    }

    /// The id key.
    #[must_use]
    pub const fn id_key(&self) -> &IdKey {
        &self.0
    }

    /// The line that a key file holds: `LONGSHORE-WRITER-KEY-1-`, then 72 upper-case hexadecimal characters: the 32
    /// bytes of the key and 4 bytes of a checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let bytes = self.0.secret();
        let mut text = Zeroizing::new(String::with_capacity(WRITER_PREFIX.len() + 2 * (bytes.len() + CHECKSUM_BYTES)));
        text.push_str(WRITER_PREFIX);
        for byte in bytes.iter().chain(&checksum(bytes)) {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
        text
    }
}

fn checksum(key: &[u8; 32]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    let derived = Zeroizing::new(blake3::derive_key(WRITER_TEXT_CONTEXT, key));
    sum.iter_mut().zip(derived.iter()).for_each(|(place, byte)| *place = *byte);
    sum
}

/// The line of a key file that holds the key; empty lines and lines that begin with `#` are for people.
fn key_line<'a>(text: &'a str, kind: &'static str) -> Result<&'a str, VaultError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(VaultError::BadKey { kind, reason: "there is no key in it" }),
        (Some(_), Some(_)) => Err(VaultError::BadKey { kind, reason: "there is more than one key in it" }),
    }
}

impl FromStr for WriterKey {
    type Err = VaultError;

    /// Reads the text of a key file.
    fn from_str(text: &str) -> Result<Self, VaultError> {
        const KIND: &str = "writer key";
        let bad = |reason| VaultError::BadKey { kind: KIND, reason };
        let line = key_line(text, KIND)?;
        if line.starts_with("AGE-SECRET-KEY-") {
            return Err(bad("it is a reader key; a writer key begins with `LONGSHORE-WRITER-KEY-1-`"));
        }
        let digits = line.strip_prefix(WRITER_PREFIX);
        let digits = digits.ok_or_else(|| bad("it does not begin with `LONGSHORE-WRITER-KEY-1-`"))?;
        let mut bytes = Zeroizing::new([0_u8; 32 + CHECKSUM_BYTES]);
        if digits.len() != 2 * bytes.len() || !digits.is_ascii() {
            return Err(bad("it is cut or lengthened"));
        }
        for (place, pair) in bytes.iter_mut().zip(digits.as_bytes().as_chunks::<2>().0) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            let strict = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            let value = u8::from_str_radix(pair, 16).ok().filter(|_| strict);
            *place = value.ok_or_else(|| bad("it holds characters that no key has"))?;
        }
        let mut key = Zeroizing::new([0_u8; 32]);
        key.iter_mut().zip(bytes.iter()).for_each(|(place, byte)| *place = *byte);
        if bytes.last_chunk() != Some(&checksum(&key)) {
            return Err(bad("its checksum does not match: a character was mistyped"));
        }
        Ok(Self(IdKey::new(*key)))
    }
}

impl fmt::Debug for WriterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterKey(..)")
    }
}

/// The key of somebody who may read: an age X25519 identity. The recovery key is one of these.
#[derive(Clone)]
pub struct ReaderKey(age::x25519::Identity);

impl ReaderKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The line that a key file holds, as `age-keygen` writes it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// What is encrypted to this key is encrypted to this recipient: `age1…`. Not secret.
    #[must_use]
    pub fn to_recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    pub(super) const fn identity(&self) -> &age::x25519::Identity {
        &self.0
    }
}

impl FromStr for ReaderKey {
    type Err = VaultError;

    /// Reads the text of a key file, also one that `age-keygen` wrote.
    fn from_str(text: &str) -> Result<Self, VaultError> {
        const KIND: &str = "reader key";
        let bad = |reason| VaultError::BadKey { kind: KIND, reason };
        let line = key_line(text, KIND)?;
        if line.starts_with(WRITER_PREFIX) {
            return Err(bad("it is a writer key, which opens nothing; a reader key begins with `AGE-SECRET-KEY-1`"));
        }
        if line.starts_with("age1") {
            return Err(bad("it is a recipient; the reader key that belongs to it begins with `AGE-SECRET-KEY-1`"));
        }
        if !line.starts_with("AGE-SECRET-KEY-1") {
            return Err(bad("it does not begin with `AGE-SECRET-KEY-1`"));
        }
        line.parse().map(Self).map_err(|_| bad("it is not a whole age identity: a character was mistyped or lost"))
    }
}

impl fmt::Debug for ReaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReaderKey(..)")
    }
}

/// Who may read: the public half of a [`ReaderKey`], `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    pub(super) const fn as_age(&self) -> &age::x25519::Recipient {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, VaultError> {
        let text = text.trim();
        let reason = if text.starts_with("AGE-SECRET-KEY-") {
            "it is a secret key: give the recipient that belongs to it, `age1…`, and keep the secret key to yourself"
        } else {
            "it is not an age X25519 recipient, `age1…`"
        };
        text.parse().map(Self).map_err(|_| VaultError::BadKey { kind: "recipient", reason })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The keys a vault is opened with. Without any, an encrypted vault can be listed and its stored bytes verified, but
/// nothing in it is authenticated; with a writer key it can be written to; with a reader key it can be read, too.
#[derive(Clone, Default)]
pub struct Keys {
    writer: Option<WriterKey>,
    reader: Option<ReaderKey>,
}

impl Keys {
    /// No keys: enough for a vault that is not encrypted.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a writer key.
    #[must_use]
    pub fn with_writer(mut self, key: WriterKey) -> Self {
        self.writer = Some(key);
        self
    }

    /// Adds a reader key.
    #[must_use]
    pub fn with_reader(mut self, key: ReaderKey) -> Self {
        self.reader = Some(key);
        self
    }

    /// True when there is none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.writer.is_none() && self.reader.is_none()
    }

    /// The writer key, if there is one.
    #[must_use]
    pub const fn writer(&self) -> Option<&WriterKey> {
        self.writer.as_ref()
    }

    /// The reader key, if there is one.
    #[must_use]
    pub const fn reader(&self) -> Option<&ReaderKey> {
        self.reader.as_ref()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Keys");
        out.field("writer", &self.writer.is_some()).field("reader", &self.reader.is_some()).finish()
    }
}

/// The data key of one job in one vault: packs and sealed halves of manifests are encrypted under keys derived from it.
#[derive(Clone)]
pub(crate) struct SessionKey(Zeroizing<[u8; 32]>);

impl SessionKey {
    /// A new one.
    pub(crate) fn generate() -> Result<Self, VaultError> {
        random_bytes().map(Self)
    }

    /// Takes the bytes of an unwrapped one; `None` for another length.
    pub(super) fn from_plain(plain: &[u8]) -> Option<Self> {
        <[u8; 32]>::try_from(plain).ok().map(|key| Self(Zeroizing::new(key)))
    }

    /// The bytes to be wrapped.
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// Names the session. Derived from the key, so that a wrong key is told from the right one.
    pub(crate) fn id(&self) -> SessionId {
        SessionId::new(Digest::new(blake3::derive_key(SESSION_ID_CONTEXT, self.secret())))
    }

    /// The cipher of a pack with this salt.
    pub(crate) fn pack_cipher(&self, salt: &[u8; 32]) -> Result<BlobCipher, VaultError> {
        BlobCipher::new(&self.subkey(PACK_CONTEXT, salt))
    }

    /// The cipher of a manifest's sealed half with this salt.
    pub(super) fn manifest_cipher(&self, salt: &[u8; 32]) -> Result<BlobCipher, VaultError> {
        BlobCipher::new(&self.subkey(MANIFEST_CONTEXT, salt))
    }

    /// The cipher of a snapshot of a catalog with this salt.
    pub(super) fn catalog_cipher(&self, salt: &[u8; 32]) -> Result<BlobCipher, VaultError> {
        BlobCipher::new(&self.subkey(CATALOG_CONTEXT, salt))
    }

    /// BLAKE3 in derive-key mode over data key and salt.
    fn subkey(&self, context: &str, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(self.secret()).update(salt);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}
