//! One entry as bytes: magic, MAC, kinds, machine code.
//!
//! The MAC is keyed BLAKE3 over the length of the name, the name, the kinds and the code, so an entry is good for its own
//! name only and no byte of it can be changed.

use longshore_model::PolicyKind;

use super::{Cached, TrustedCode};

const MAGIC: [u8; 8] = *b"LSCODE\x00\x01";
const MAC_BYTES: usize = 32;
/// Magic, MAC, one byte of kinds.
const CODE_START: usize = MAGIC.len() + MAC_BYTES + 1;

const KINDS: [(PolicyKind, u8); 3] =
    [(PolicyKind::Selection, 1), (PolicyKind::Compression, 2), (PolicyKind::Placement, 4)];

/// The host's secret: whoever has it can make entries that are believed.
pub(super) struct Key([u8; Self::BYTES]);

impl Key {
    /// Its length, in bytes.
    pub(super) const BYTES: usize = 32;

    pub(super) fn random() -> std::io::Result<Self> {
        let mut key = [0; Self::BYTES];
        getrandom::fill(&mut key).map_err(|error| std::io::Error::other(format!("no random key: {error}")))?;
        Ok(Self(key))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn mac(&self, name: &str, body: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(body);
        hasher.finalize()
    }
}

/// The file of an entry.
pub(super) fn encode(key: &Key, name: &str, kinds: &[PolicyKind], code: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(CODE_START + code.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&[0; MAC_BYTES]);
    file.push(KINDS.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, bit)| bit).sum());
    file.extend_from_slice(code);
    let (head, body) = file.split_at_mut(MAGIC.len() + MAC_BYTES);
    head[MAGIC.len()..].copy_from_slice(key.mac(name, body).as_bytes());
    file
}

/// What an entry says, if its MAC is right: the one place that makes a [`TrustedCode`].
pub(super) fn decode(key: &Key, name: &str, file: Vec<u8>) -> Option<Cached> {
    let (magic, rest) = file.split_first_chunk::<{ MAGIC.len() }>()?;
    let (mac, body) = rest.split_first_chunk::<MAC_BYTES>()?;
    // Compared in constant time by `Hash`.
    if *magic != MAGIC || key.mac(name, body) != *mac {
        return None;
    }
    let bits = *body.first()?;
    let kinds = KINDS.iter().filter(|(_, bit)| bits & bit != 0).map(|(kind, _)| *kind).collect();
    Some(Cached { kinds, code: TrustedCode { file, start: CODE_START } })
}
