//! Signatures of plugin files: who vouches for a file, and whether that counts here.
//!
//! Format of a signature file, `x.wasm.sig` beside `x.wasm`, UTF-8, at most 16 KiB; lines that start with `#` are comments:
//!
//! ```text
//! longshore-plugin-signature-1
//! digest <BLAKE3 of the plugin file, 64 hexadecimal characters>
//! key ed25519:<public key, 32 bytes in base64url without padding>
//! signature <64 bytes in base64url without padding>
//! ```
//!
//! Signed (Ed25519, RFC 8032) are the bytes `longshore plugin signature 1`, a zero byte and the 32 bytes of the digest, so a
//! signature of a plugin can stand for nothing else. A private key file holds
//! `LONGSHORE-PLUGIN-KEY-1-<32 bytes of seed in base64url>` and is for its owner alone.
//!
//! Failure: [`EngineError::Untrusted`], [`EngineError::BadRequest`]; no message repeats a private key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_model::Digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::config::SMALL_FILE_BYTES;
use crate::random::draw;
use crate::{EngineError, Random};

const FIRST_LINE: &str = "longshore-plugin-signature-1";
const PRIVATE_PREFIX: &str = "LONGSHORE-PLUGIN-KEY-1-";
const PUBLIC_PREFIX: &str = "ed25519:";
const CONTEXT: &[u8] = b"longshore plugin signature 1\0";

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_prefix(PUBLIC_PREFIX).and_then(bytes::<32>);
        bytes.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            format!(
                "`{shown}` is not a public key: write ed25519: and 43 characters, as `longshore plugin keygen` prints"
            )
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// A key whose signatures count, with the name under which it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What people call it.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

impl FromStr for TrustedKey {
    type Err = String;

    /// `ed25519:…`, which is then its own name, or `name=ed25519:…`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text.split_once('=').unwrap_or((text, text));
        Ok(Self { key: key.parse()?, name: name.trim().to_owned() })
    }
}

impl Serialize for TrustedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}={}", self.name, self.key))
    }
}

impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A private key that signs plugins.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// [`EngineError::NoRandomness`].
    pub fn generate(random: &dyn Random) -> Result<Self, EngineError> {
        Self::of(Zeroizing::new(draw::<32>(random)?))
    }

    fn of(seed: Zeroizing<[u8; 32]>) -> Result<Self, EngineError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|_| EngineError::BadRequest { what: "this is no key for Ed25519 signatures".to_owned() })?;
        Ok(Self { pair, seed })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`EngineError::File`] for a file that cannot be read or that others can read, [`EngineError::BadRequest`] for one
    /// that holds no such key.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = crate::keys::read_private(path)?;
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let seed = line.and_then(|line| line.strip_prefix(PRIVATE_PREFIX)).and_then(bytes::<32>);
        let seed = seed.ok_or_else(|| EngineError::BadRequest {
            what: format!(
                "{} holds no key that signs plugins; `longshore plugin keygen --to FILE` makes one",
                path.display()
            ),
        })?;
        Self::of(Zeroizing::new(seed))
    }

    /// The key as its file holds it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PRIVATE_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.seed.as_slice())))
    }

    /// The key that checks its signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(key)
    }

    /// Signs a plugin file.
    #[must_use]
    pub fn sign(&self, plugin: &[u8]) -> PluginSignature {
        let digest = digest_of(plugin);
        let signature = self.pair.sign(&message(&digest));
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        PluginSignature { digest, key: self.public(), signature: bytes }
    }
}

/// BLAKE3 of a plugin file, by which it is known everywhere.
#[must_use]
pub(crate) fn digest_of(plugin: &[u8]) -> Digest {
    Digest::new(*blake3::hash(plugin).as_bytes())
}

fn message(digest: &Digest) -> Vec<u8> {
    [CONTEXT, digest.as_bytes()].concat()
}

/// A signature of a plugin file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSignature {
    /// The file it is of.
    pub digest: Digest,
    /// Whose it says it is.
    pub key: PublicKey,
    signature: [u8; 64],
}

impl fmt::Display for PluginSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = URL_SAFE_NO_PAD.encode(self.signature);
        writeln!(f, "{FIRST_LINE}\ndigest {}\nkey {}\nsignature {signature}", self.digest, self.key)
    }
}

impl FromStr for PluginSignature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next() != Some(FIRST_LINE) {
            return Err(format!("its first line is not `{FIRST_LINE}`"));
        }
        let mut field = |name: &str| -> Result<&str, String> {
            let line = lines.next().ok_or_else(|| format!("it ends before `{name}`"))?;
            line.strip_prefix(name).map(str::trim).ok_or_else(|| format!("where `{name}` should stand is another line"))
        };
        let digest = field("digest")?.parse::<Digest>().map_err(|error| error.to_string())?;
        let key = field("key")?.parse()?;
        let signature = bytes(field("signature")?).ok_or("its signature is not 64 bytes in base64url")?;
        match lines.next() {
            None => Ok(Self { digest, key, signature }),
            Some(_) => Err("something stands after the signature".to_owned()),
        }
    }
}

impl PluginSignature {
    /// Checks that this is a signature of exactly this file by exactly this key. Whether the key is trusted is another
    /// question.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn check(&self, plugin: &[u8]) -> Result<(), String> {
        let found = digest_of(plugin);
        if found != self.digest {
            return Err(format!("it is a signature of another file: {}, not {found}", self.digest));
        }
        let key = UnparsedPublicKey::new(&ED25519, self.key.0);
        key.verify(&message(&self.digest), &self.signature)
            .map_err(|_| format!("it was not made with the key {} that it names, or was changed", self.key))
    }
}

/// Where the signature of a plugin file is: `x.wasm.sig` for `x.wasm`.
#[must_use]
pub fn signature_path(plugin: &Path) -> PathBuf {
    let mut path = plugin.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Reads the signature file of a plugin; `None` if there is none.
///
/// # Errors
/// [`EngineError::File`].
pub(crate) fn read_signature(plugin: &Path) -> Result<Option<String>, EngineError> {
    use std::io::Read;
    let path = signature_path(plugin);
    let fail = |error: std::io::Error| EngineError::file(&path, error);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut text = String::new();
    file.take(SMALL_FILE_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > SMALL_FILE_BYTES {
        return Err(EngineError::file(
            &path,
            format!("is longer than {SMALL_FILE_BYTES} bytes; a signature has four lines"),
        ));
    }
    Ok(Some(text))
}

/// Whose plugins are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) keys: Vec<TrustedKey>,
    pub(crate) require_signature: bool,
}

impl Trust {
    /// Who vouches for a plugin: the name of a trusted key, or `None` where nobody has to. A signature that is there must
    /// hold, whether one is required or not: one that does not says that the file is not what its author signed.
    ///
    /// # Errors
    /// [`EngineError::Untrusted`] with what does not fit and what to do.
    pub(crate) fn signer(
        &self,
        plugin: &str,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<Option<String>, EngineError> {
        let untrusted = |why: String| Err(EngineError::Untrusted { plugin: plugin.to_owned(), why });
        let Some(text) = signature else {
            if self.require_signature {
                let why = "has no signature, and `require_signature = true`; its author signs it with `longshore plugin \
                           sign FILE --key KEY`, which writes FILE.sig";
                return untrusted(why.to_owned());
            }
            return Ok(None);
        };
        let checked = text.parse::<PluginSignature>().and_then(|one| one.check(bytes).map(|()| one));
        let signature = match checked {
            Ok(signature) => signature,
            Err(what) => {
                return untrusted(format!("has a signature that does not hold: {what}; get file and signature anew"));
            }
        };
        match self.keys.iter().find(|trusted| trusted.key == signature.key) {
            Some(trusted) => Ok(Some(trusted.name.clone())),
            None if self.require_signature => untrusted(format!(
                "is signed by {}, which is not among the `trusted_keys`; add the key if you trust who has it",
                signature.key
            )),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SystemRandom;

    fn key() -> SigningKey {
        SigningKey::generate(&SystemRandom).unwrap()
    }

    fn trust(keys: &[&SigningKey], require_signature: bool) -> Trust {
        let keys = keys.iter().map(|key| format!("ops={}", key.public()).parse().unwrap());
        Trust { keys: keys.collect(), require_signature }
    }

    #[test]
    fn a_signature_of_a_trusted_key_says_who_signed_and_survives_its_file() {
        let key = key();
        let text = key.sign(b"plugin").to_string();
        assert_eq!(trust(&[&key], true).signer("x", b"plugin", Some(&text)).unwrap().as_deref(), Some("ops"));
        let commented = format!("# made by hand\n\n{text}");
        assert_eq!(commented.parse::<PluginSignature>().unwrap(), key.sign(b"plugin"));
        assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
    }

    #[test]
    fn nothing_but_the_signed_file_and_the_named_key_will_do() {
        let (key, other) = (key(), key());
        let signature = key.sign(b"plugin");
        let refused = |trust: &Trust, bytes: &[u8], text: &str| {
            trust.signer("x.wasm", bytes, Some(text)).unwrap_err().to_string()
        };
        let text = signature.to_string();
        let lax = trust(&[], false);
        assert!(refused(&lax, b"plugin!", &text).contains("of another file"));
        let stolen = text.replace(&key.public().to_string(), &other.public().to_string());
        assert!(refused(&lax, b"plugin", &stolen).contains("not made with the key"));
        let renamed = text.replace(&signature.digest.to_string(), &digest_of(b"plugin!").to_string());
        assert!(refused(&lax, b"plugin!", &renamed).contains("not made with the key"));
        assert!(refused(&trust(&[&other], true), b"plugin", &text).contains("not among the `trusted_keys`"));
        assert!(refused(&lax, b"plugin", "hello").contains("its first line"));
        assert!(refused(&lax, b"plugin", &format!("{text}more")).contains("something stands after"));
        for cut in 0..text.len() {
            let _ = text[..cut].parse::<PluginSignature>();
        }
    }

    #[test]
    fn a_signature_is_asked_for_only_where_one_is_required() {
        assert_eq!(trust(&[], false).signer("x", b"plugin", None).unwrap(), None);
        let error = trust(&[&key()], true).signer("x.wasm", b"plugin", None).unwrap_err().to_string();
        assert!(error.contains("x.wasm has no signature") && error.contains("longshore plugin sign"), "{error}");
        // Signed by a stranger, and nobody asked for a signature.
        let text = key().sign(b"plugin").to_string();
        assert_eq!(trust(&[], false).signer("x", b"plugin", Some(&text)).unwrap(), None);
    }

    #[test]
    fn a_key_file_gives_the_key_back_and_a_debug_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("sign.key"), key());
        crate::write_key_file(&path, "signs plugins", &key.to_text()).unwrap();
        let read = SigningKey::read(&path).unwrap();
        assert_eq!(read.public(), key.public());
        assert!(!format!("{key:?}").contains(&key.to_text()[PRIVATE_PREFIX.len()..]));
        std::fs::write(&path, "nothing").unwrap();
        assert!(SigningKey::read(&path).unwrap_err().to_string().contains("keygen"));
    }
}
