//! The adaptive codec: cuts a piece into segments, arranges each of them so that what is regular in it comes together,
//! and compresses the arranged bytes (FORMAT.md, "Adaptive").
//!
//! It knows no file format. Vectors inside Parquet pages, Arrow batches and index files are found by what their bytes
//! look like, wherever pages, page headers and the tags of a page's own compression have moved them to, and also where
//! a piece begins or ends inside a page. So nothing has to be opened and built again, and every arrangement can be undone.
//!
//! Failure: [`CodecError`]. Decoding checks every length before it makes room for it, and makes room for no more than
//! the plain length that the caller gives. No input panics.

mod arrange;
mod segment;

use longshore_model::Codec;
use zstd::zstd_safe::CParameter;

use self::arrange::{Comparison, STREAMS, Sink, Streams, arrange, restore, stream_lengths};
use super::{CodecError, malformed};

/// Bytes before the streams: one length each.
const HEADER_BYTES: usize = STREAMS * 4;
/// Set in a stream's length when the stream is a Zstandard frame.
const COMPRESSED: u32 = 1 << 31;
/// A stream longer than this is tried on samples before it is compressed as a whole.
const TRY_ABOVE_BYTES: usize = 64 * 1024;
/// Bytes between two places where a plane is searched for repeats.
const STEP_BYTES: u32 = 4096;
/// Length of one such sample; there are two.
const SAMPLE_BYTES: usize = 8 * 1024;
/// Of a shorter plane there are too few bytes to tell from a sample how they are spread.
const COUNT_ABOVE_BYTES: usize = 4096;
/// Every so many bytes of a plane are counted.
const COUNT_STEP: usize = 4;

/// Encodes and decodes; keeps its work memory for the next call.
#[derive(Default)]
pub(super) struct Adaptive {
    streams: Streams,
    /// For the byte planes of words, whose low entropy would lead a search for repeats astray.
    planes: Option<zstd::bulk::Compressor<'static>>,
    /// For the other streams, with its level.
    others: Option<(u8, zstd::bulk::Compressor<'static>)>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    scratch: Vec<u8>,
    decoded: [Vec<u8>; STREAMS],
}

impl Adaptive {
    /// Encodes `plain`; `None` when the result would not be smaller.
    pub(super) fn encode(&mut self, level: u8, plain: &[u8]) -> Result<Option<Vec<u8>>, CodecError> {
        arrange(plain, &mut self.streams);
        let streams = std::mem::take(&mut self.streams);
        let result = self.encode_streams(level, &streams, plain.len());
        self.streams = streams;
        result
    }

    fn encode_streams(
        &mut self,
        level: u8,
        streams: &Streams,
        plain_bytes: usize,
    ) -> Result<Option<Vec<u8>>, CodecError> {
        let mut lengths = Vec::with_capacity(HEADER_BYTES);
        let mut encoded = Vec::with_capacity(plain_bytes);
        encoded.resize(HEADER_BYTES, 0);
        for (number, stream) in streams.iter().enumerate() {
            let compressed = self.compress(level, Streams::is_plane(number), stream)?;
            let (stored, flag) = if compressed { (&self.scratch, COMPRESSED) } else { (stream, 0) };
            if encoded.len() + stored.len() >= plain_bytes {
                return Ok(None);
            }
            // Never cut: a stream is no longer than a blob.
            let length = u32::try_from(stored.len()).ok().filter(|length| length & COMPRESSED == 0);
            let length = length.ok_or_else(|| CodecError::Encoder("a stream is too long".to_owned()))?;
            lengths.extend_from_slice(&(length | flag).to_le_bytes());
            encoded.extend_from_slice(stored);
        }
        for (place, byte) in encoded.iter_mut().zip(&lengths) {
            *place = *byte;
        }
        // What waits for its upload should not hold the room that was set aside for the worst case.
        encoded.shrink_to_fit();
        Ok(Some(encoded))
    }

    /// Compresses a stream into the scratch buffer; false when that gains nothing.
    fn compress(&mut self, level: u8, is_plane: bool, stream: &[u8]) -> Result<bool, CodecError> {
        if stream.is_empty() {
            return Ok(false);
        }
        if stream.len() > TRY_ABOVE_BYTES {
            let quarter = stream.len() / 4;
            let mut shrinks = false;
            for from in [quarter, quarter * 3] {
                let sample = stream.get(from..from + SAMPLE_BYTES).unwrap_or_default();
                let encoded_bytes = self.compress_all(level, is_plane, sample)?;
                // A gain of less than one part in 64 is not worth decoding it later.
                shrinks |= encoded_bytes + SAMPLE_BYTES / 64 < SAMPLE_BYTES;
            }
            if !shrinks {
                return Ok(false);
            }
        } else if is_plane && stream.len() > COUNT_ABOVE_BYTES && hardly_shrinks(stream) {
            return Ok(false);
        }
        Ok(self.compress_all(level, is_plane, stream)? < stream.len())
    }

    fn compress_all(&mut self, level: u8, is_plane: bool, stream: &[u8]) -> Result<usize, CodecError> {
        let compressor = if is_plane {
            match &mut self.planes {
                Some(compressor) => compressor,
                none => none.insert(plane_compressor()?),
            }
        } else {
            match &mut self.others {
                Some((same, compressor)) if *same == level => compressor,
                other => &mut other.insert((level, new_compressor(level)?)).1,
            }
        };
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(stream.len()));
        compressor.compress_to_buffer(stream, &mut self.scratch).map_err(encoder_failed)
    }

    /// Decodes to exactly `plain_bytes` bytes into `out`, whatever it held before.
    pub(super) fn decode(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        self.decode_to(codec, stored, plain_bytes, out)?;
        if out.len() == plain_bytes { Ok(()) } else { Err(malformed(codec, "its streams do not fit together")) }
    }

    /// Whether `stored` decodes to `plain`, without writing that out.
    pub(super) fn decodes_to(&mut self, codec: Codec, stored: &[u8], plain: &[u8]) -> bool {
        let mut comparison = Comparison::with(plain);
        self.decode_to(codec, stored, plain.len(), &mut comparison).is_ok() && comparison.is_complete()
    }

    fn decode_to(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut impl Sink,
    ) -> Result<(), CodecError> {
        let wrong = |reason: &str| malformed(codec, reason);
        let (lengths, mut body) = stored.split_at_checked(HEADER_BYTES).ok_or_else(|| wrong("it is too short"))?;
        let mut parts = [(false, <&[u8]>::default()); STREAMS];
        for (part, length) in parts.iter_mut().zip(lengths.as_chunks::<4>().0) {
            let length = u32::from_le_bytes(*length);
            let bytes = usize::try_from(length & !COMPRESSED).unwrap_or(usize::MAX);
            let (stream, rest) = body.split_at_checked(bytes).ok_or_else(|| wrong("a stream is cut off"))?;
            *part = (length & COMPRESSED != 0, stream);
            body = rest;
        }
        if !body.is_empty() {
            return Err(wrong("bytes follow the last stream"));
        }
        let [arrangement, others @ ..] = parts;
        let mut decoded = std::mem::take(&mut self.decoded);
        let [first, rest @ ..] = &mut decoded;
        let result = self.open(codec, arrangement, plain_bytes / segment::SEGMENT_BYTES, first).and_then(|codes| {
            let lengths = stream_lengths(codes, plain_bytes).ok_or_else(|| wrong("an arrangement is unknown"))?;
            let mut opened = [<&[u8]>::default(); STREAMS - 1];
            for (((opened, part), length), buffer) in opened.iter_mut().zip(others).zip(lengths).zip(rest) {
                *opened = self.open(codec, part, length, buffer)?;
            }
            out.begin(plain_bytes);
            restore(codes, opened, out).ok_or_else(|| wrong("its streams do not fit together"))
        });
        self.decoded = decoded;
        result
    }

    /// The plain bytes of one stream, which must be `plain_bytes` long.
    fn open<'a>(
        &mut self,
        codec: Codec,
        (compressed, stream): (bool, &'a [u8]),
        plain_bytes: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], CodecError> {
        let found = if compressed {
            let decompressor = match &mut self.decompressor {
                Some(decompressor) => decompressor,
                none => none.insert(zstd::bulk::Decompressor::new().map_err(|error| malformed(codec, error))?),
            };
            buffer.clear();
            // The room is the bound: the decoder stops with an error when it is full.
            buffer.reserve_exact(plain_bytes);
            decompressor.decompress_to_buffer(stream, buffer).map_err(|error| malformed(codec, error))?;
            buffer.as_slice()
        } else {
            stream
        };
        if found.len() == plain_bytes {
            Ok(found)
        } else {
            Err(CodecError::WrongLength { expected: plain_bytes, found: found.len() })
        }
    }
}

/// Whether entropy coding would gain less than one part in 64, as far as a count of some of the bytes can tell: the planes of
/// mantissas, whose tables would cost more than they save, and again on every restore.
fn hardly_shrinks(plane: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for byte in plane.iter().step_by(COUNT_STEP) {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let pairs = |count: u64| count.saturating_mul(count.saturating_sub(1));
    let all = pairs(plane.len().div_ceil(COUNT_STEP) as u64);
    let equal: u64 = counts.iter().map(|count| pairs(u64::from(*count))).sum();
    // One pair of samples in 2^R is equal, R being the Rényi entropy of order two, which is never above Shannon's: above
    // 8 - 8/64 = log2(234.8) bits there is nothing to gain.
    equal.saturating_mul(235) < all
}

fn encoder_failed(error: std::io::Error) -> CodecError {
    CodecError::Encoder(error.to_string())
}

fn new_compressor(level: u8) -> Result<zstd::bulk::Compressor<'static>, CodecError> {
    zstd::bulk::Compressor::new(i32::from(level)).map_err(encoder_failed)
}

/// A compressor that does little more than entropy coding: with the smallest table it hardly finds repeats. In the
/// exponents of vectors repeats of a few bytes are chance; taking them costs more than the literals they replace
/// (measured: 3.19 against 2.92 bits a byte).
fn plane_compressor() -> Result<zstd::bulk::Compressor<'static>, CodecError> {
    let mut compressor = new_compressor(1)?;
    let parameters = [
        CParameter::HashLog(6),
        // Steps so far between looks that a block is hardly searched; Zstandard would then leave literals as they are.
        CParameter::TargetLength(STEP_BYTES),
        CParameter::LiteralCompressionMode(zstd::zstd_safe::ParamSwitch::Enable),
    ];
    parameters.into_iter().try_for_each(|parameter| compressor.set_parameter(parameter)).map_err(encoder_failed)?;
    Ok(compressor)
}

#[cfg(test)]
mod tests;
