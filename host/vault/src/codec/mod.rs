//! The codecs of a blob: encoding with proof that it decodes, and decoding that cannot be made to allocate more than
//! the length that stands in the index.
//!
//! Failure: [`CodecError`], a sentence without a place; callers add which blob or pack it was. No input panics.

mod adaptive;
mod shuffle;

use bytes::Bytes;
use longshore_model::Codec;
use thiserror::Error;

/// Why encoding or decoding failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are not of this codec, or are cut or changed.
    #[error("the bytes are not valid {codec}: {reason}")]
    Malformed {
        /// Which codec.
        codec: String,
        /// What its decoder said.
        reason: String,
    },
    /// Decoding gave another number of bytes.
    #[error("{expected} bytes were expected, decoding gave {found}")]
    WrongLength {
        /// What the index says.
        expected: usize,
        /// What came out.
        found: usize,
    },
    /// Decoding gave other bytes than were encoded: a fault of the machine or of the codec.
    #[error("decoding did not give back what was encoded")]
    NotReversible,
    /// The encoder itself failed.
    #[error("the encoder failed: {0}")]
    Encoder(String),
    /// Numbers that stand for no codec this version knows.
    #[error("codec {id} with parameters {first} and {second} is unknown here")]
    Unknown {
        /// The codec byte.
        id: u8,
        /// First parameter byte.
        first: u8,
        /// Second parameter byte.
        second: u8,
    },
}

/// The three bytes that stand for a codec in packs and indexes: id and two parameters (FORMAT.md, "Codecs").
#[must_use]
pub(crate) fn codec_to_bytes(codec: Codec) -> [u8; 3] {
    match codec {
        Codec::Store => [0, 0, 0],
        Codec::Lz4 => [1, 0, 0],
        Codec::Zstd { level } => [2, 0, level],
        Codec::ShuffleZstd { element_bytes, level } => [3, element_bytes, level],
        Codec::AdaptiveZstd { level } => [4, 0, level],
    }
}

/// The codec that three bytes stand for.
pub(crate) fn codec_from_bytes(bytes: [u8; 3]) -> Result<Codec, CodecError> {
    match bytes {
        [0, 0, 0] => Ok(Codec::Store),
        [1, 0, 0] => Ok(Codec::Lz4),
        [2, 0, level @ 1..=19] => Ok(Codec::Zstd { level }),
        [3, element_bytes @ (2 | 4 | 8), level @ 1..=19] => Ok(Codec::ShuffleZstd { element_bytes, level }),
        [4, 0, level @ 1..=19] => Ok(Codec::AdaptiveZstd { level }),
        [id, first, second] => Err(CodecError::Unknown { id, first, second }),
    }
}

/// Encodes and decodes; keeps its work memory for the next call. One per thread at work.
#[derive(Default)]
pub struct Transcoder {
    compressor: Option<(u8, zstd::bulk::Compressor<'static>)>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    adaptive: adaptive::Adaptive,
    shuffled: Vec<u8>,
    decoded: Vec<u8>,
    restored: Vec<u8>,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcoder").finish_non_exhaustive()
    }
}

/// Plain bytes compared at a time when an unshuffle is checked: stays in the cache. A multiple of every width.
const CHECK_BYTES: usize = 32 * 1024;

impl Transcoder {
    /// A transcoder without work memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes `plain`. What does not get smaller is stored as it is, and the codec returned says so. Everything that
    /// was encoded has been decoded and compared.
    ///
    /// # Errors
    /// [`CodecError::Encoder`] or [`CodecError::NotReversible`]: nothing of it may be stored.
    pub fn encode(&mut self, codec: Codec, plain: &Bytes) -> Result<(Codec, Bytes), CodecError> {
        let encoded = match codec {
            Codec::Store => return Ok((Codec::Store, plain.clone())),
            Codec::Lz4 => Some(lz4_flex::block::compress(plain)),
            Codec::Zstd { level } => self.compress(level, plain, None)?,
            Codec::ShuffleZstd { element_bytes, level } => self.compress(level, plain, Some(element_bytes))?,
            Codec::AdaptiveZstd { level } => self.adaptive.encode(level, plain)?,
        };
        let Some(encoded) = encoded.filter(|encoded| encoded.len() < plain.len()) else {
            return Ok((Codec::Store, plain.clone()));
        };
        self.check(codec, plain, &encoded)?;
        Ok((codec, Bytes::from(encoded)))
    }

    /// Zstandard, after a shuffle if asked; `None` when the result would not be smaller.
    fn compress(&mut self, level: u8, plain: &[u8], shuffle: Option<u8>) -> Result<Option<Vec<u8>>, CodecError> {
        let fail = |error: std::io::Error| CodecError::Encoder(error.to_string());
        let mut compressor = match self.compressor.take() {
            Some((same, compressor)) if same == level => compressor,
            _ => zstd::bulk::Compressor::new(i32::from(level)).map_err(fail)?,
        };
        let input = match shuffle {
            None => plain,
            Some(element_bytes) => {
                self.shuffled.resize(plain.len(), 0);
                shuffle::shuffle(element_bytes, plain, &mut self.shuffled);
                self.shuffled.as_slice()
            }
        };
        let mut encoded = Vec::with_capacity(zstd::zstd_safe::compress_bound(input.len()));
        let result = compressor.compress_to_buffer(input, &mut encoded);
        self.compressor = Some((level, compressor));
        result.map_err(fail)?;
        // What waits for its upload should not hold the room that was set aside for the worst case.
        if encoded.len() < input.len() {
            encoded.shrink_to_fit();
        }
        Ok(Some(encoded))
    }

    /// Proves that `encoded` decodes to `plain`.
    fn check(&mut self, codec: Codec, plain: &[u8], encoded: &[u8]) -> Result<(), CodecError> {
        if let Codec::AdaptiveZstd { .. } = codec {
            let same = self.adaptive.decodes_to(codec, encoded, plain);
            return if same { Ok(()) } else { Err(CodecError::NotReversible) };
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        let result = match codec {
            Codec::ShuffleZstd { element_bytes, .. } => {
                self.decompress_into(codec, encoded, plain.len(), &mut decoded).and_then(|()| {
                    let same = decoded == self.shuffled && self.unshuffles_to(element_bytes, plain);
                    if same { Ok(()) } else { Err(CodecError::NotReversible) }
                })
            }
            _ => self
                .decode_into(codec, encoded, plain.len(), &mut decoded)
                .and_then(|()| if decoded == plain { Ok(()) } else { Err(CodecError::NotReversible) }),
        };
        self.decoded = decoded;
        result
    }

    /// Proves that the shuffled bytes give `plain` again.
    fn unshuffles_to(&mut self, element_bytes: u8, plain: &[u8]) -> bool {
        self.restored.resize(plain.len(), 0);
        shuffle::unshuffle(element_bytes, &self.shuffled, &mut self.restored);
        self.restored.chunks(CHECK_BYTES).zip(plain.chunks(CHECK_BYTES)).all(|(one, other)| one == other)
    }

    /// Decodes to exactly `plain_bytes` bytes. The caller has checked that length against its limit.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] or [`CodecError::WrongLength`] for bytes that are not what an encoder made.
    pub fn decode(&mut self, codec: Codec, stored: &Bytes, plain_bytes: usize) -> Result<Bytes, CodecError> {
        if codec == Codec::Store {
            if stored.len() != plain_bytes {
                return Err(CodecError::WrongLength { expected: plain_bytes, found: stored.len() });
            }
            return Ok(stored.clone());
        }
        let mut plain = Vec::new();
        self.decode_into(codec, stored, plain_bytes, &mut plain)?;
        Ok(Bytes::from(plain))
    }

    /// Decodes into `out`, whatever it held before.
    fn decode_into(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match codec {
            Codec::Store => {
                out.clear();
                out.extend_from_slice(stored);
            }
            Codec::Lz4 => {
                out.resize(plain_bytes, 0);
                let found = lz4_flex::block::decompress_into(stored, out).map_err(|error| malformed(codec, error))?;
                out.truncate(found);
            }
            Codec::Zstd { .. } => self.decompress_into(codec, stored, plain_bytes, out)?,
            Codec::ShuffleZstd { element_bytes, .. } => {
                let mut shuffled = std::mem::take(&mut self.shuffled);
                let result = self.decompress_into(codec, stored, plain_bytes, &mut shuffled);
                if result.is_ok() {
                    out.resize(plain_bytes, 0);
                    shuffle::unshuffle(element_bytes, &shuffled, out);
                }
                self.shuffled = shuffled;
                result?;
            }
            Codec::AdaptiveZstd { .. } => self.adaptive.decode(codec, stored, plain_bytes, out)?,
        }
        if out.len() == plain_bytes {
            Ok(())
        } else {
            Err(CodecError::WrongLength { expected: plain_bytes, found: out.len() })
        }
    }

    /// Zstandard's part of decoding. The output buffer is the bound: zstd stops with an error when it is full.
    fn decompress_into(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let mut decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new().map_err(|error| malformed(codec, error))?,
        };
        out.clear();
        out.reserve_exact(plain_bytes);
        let result = decompressor.decompress_to_buffer(stored, out);
        self.decompressor = Some(decompressor);
        let found = result.map_err(|error| malformed(codec, error))?;
        if found == plain_bytes { Ok(()) } else { Err(CodecError::WrongLength { expected: plain_bytes, found }) }
    }
}

fn malformed(codec: Codec, error: impl std::fmt::Display) -> CodecError {
    CodecError::Malformed { codec: codec.to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
