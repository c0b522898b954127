//! A 32-byte digest, written as 64 lower-case hexadecimal characters.
//!
//! The type only carries and prints bytes; whoever hashes says with what (BLAKE3 everywhere in Longshore).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ModelError;

/// 32 bytes that name content. Ordered as bytes, which is the order of the hexadecimal text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes of a hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// What [`NIBBLES`] says of a character that is no lower-case hexadecimal one; no four bits are as large.
const NO_NIBBLE: u8 = 0xF0;

/// The four bits that each character stands for. Digits and letters come in no order that a processor could foresee, so a
/// table is several times faster than to ask of each which it is; manifests hold tens of thousands of digests.
const NIBBLES: [u8; 256] = {
    let (mut table, digits, mut value) = ([NO_NIBBLE; 256], b"0123456789abcdef", 0);
    while value < 16 {
        table[digits[value as usize] as usize] = value;
        value += 1;
    }
    table
};

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hexadecimal(&self.0, &mut [0; 64]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let wrong = || ModelError::malformed("digest", text, "64 lower-case hexadecimal characters");
        if text.len() != 64 {
            return Err(wrong());
        }
        let (mut bytes, mut bad) = ([0_u8; 32], 0);
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().as_chunks().0) {
            let [high, low] = pair.map(|character| NIBBLES[usize::from(character)]);
            bad |= high | low;
            *byte = high << 4 | low;
        }
        if bad >= NO_NIBBLE {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(hexadecimal(&self.0, &mut [0; 64]).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Manifests hold tens of thousands of them: none is copied to a text of its own on the way.
        deserializer.deserialize_str(InText)
    }
}

/// Reads a digest from its text.
struct InText;

impl serde::de::Visitor<'_> for InText {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 64 lower-case hexadecimal characters")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

/// Writes bytes as lower-case hexadecimal characters.
fn hexadecimal<'a>(bytes: &[u8; 32], text: &'a mut [u8; 64]) -> Result<&'a str, std::str::Utf8Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        for (character, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *character = DIGITS[usize::from(nibble)];
        }
    }
    std::str::from_utf8(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Digest;

    #[test]
    fn a_digest_survives_its_text() {
        let mut bytes = [0_u8; 32];
        for (index, byte) in (0_u8..).zip(bytes.iter_mut()) {
            *byte = index.wrapping_mul(37).wrapping_add(9);
        }
        let digest = Digest::new(bytes);
        assert_eq!(digest.to_string().len(), 64);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.to_string().starts_with("092e5378"));
    }

    #[test]
    fn text_of_another_form_is_refused() {
        for text in ["", "00", &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        for character in (0..128).map(char::from).filter(|character| !"0123456789abcdef".contains(*character)) {
            for place in [0, 1, 62, 63] {
                let mut text = "a".repeat(64);
                text.replace_range(place..=place, &character.to_string());
                assert!(text.parse::<Digest>().is_err(), "{text:?}");
            }
        }
    }
}
