//! The lossless codecs a blob can be stored with, by the names used in policies, manifests and the vault format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ModelError;

/// A lossless codec. Its text form (`store`, `lz4`, `zstd-1`, `shuffle4-zstd-1`, `adaptive-zstd-1`) is
/// what policies answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// The bytes as they are.
    Store,
    /// LZ4 block format.
    Lz4,
    /// Zstandard at a level of 1 to 19.
    Zstd {
        /// Compression level.
        level: u8,
    },
    /// Bytes regrouped by their position in elements of `element_bytes`, then Zstandard.
    ShuffleZstd {
        /// Width of an element: 2, 4 or 8 bytes.
        element_bytes: u8,
        /// Compression level.
        level: u8,
    },
    /// Every 4 KiB arranged as they look (vectors by byte planes wherever their elements begin, packed indices as
    /// differences, other bytes as they are), then Zstandard.
    AdaptiveZstd {
        /// Compression level.
        level: u8,
    },
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd { level } => write!(f, "zstd-{level}"),
            Self::AdaptiveZstd { level } => write!(f, "adaptive-zstd-{level}"),
            Self::ShuffleZstd { element_bytes, level } => write!(f, "shuffle{element_bytes}-zstd-{level}"),
        }
    }
}

impl FromStr for Codec {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let expected = "`store`, `lz4`, `zstd-1` to `zstd-19`, or `shuffle2-`, `shuffle4-`, `shuffle8-` or `adaptive-` \
                        before a zstd codec";
        let wrong = || ModelError::malformed("codec", text, expected);
        let level = |text: &str| {
            let level = text.parse::<u8>().ok().filter(|level| (1..=19).contains(level));
            // `+1` and `01` parse as 1 but are not how a codec is spelled.
            level.filter(|_| !text.starts_with(['+', '0'])).ok_or_else(wrong)
        };
        match text {
            "store" => return Ok(Self::Store),
            "lz4" => return Ok(Self::Lz4),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("zstd-") {
            return Ok(Self::Zstd { level: level(rest)? });
        }
        if let Some(rest) = text.strip_prefix("adaptive-zstd-") {
            return Ok(Self::AdaptiveZstd { level: level(rest)? });
        }
        let (width, rest) =
            text.strip_prefix("shuffle").and_then(|rest| rest.split_once("-zstd-")).ok_or_else(wrong)?;
        let element_bytes = match width {
            "2" => 2,
            "4" => 4,
            "8" => 8,
            _ => return Err(wrong()),
        };
        Ok(Self::ShuffleZstd { element_bytes, level: level(rest)? })
    }
}

impl Serialize for Codec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Codec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Codec;

    #[test]
    fn every_codec_survives_its_text() {
        for text in ["store", "lz4", "zstd-1", "zstd-19", "shuffle2-zstd-1", "shuffle8-zstd-3", "adaptive-zstd-1"] {
            assert_eq!(text.parse::<Codec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "zstd",
            "zstd-0",
            "zstd-20",
            "zstd-01",
            "zstd-+1",
            "shuffle3-zstd-1",
            "shuffle4",
            "adaptive",
            "adaptive4-zstd-1",
            "STORE",
        ] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
