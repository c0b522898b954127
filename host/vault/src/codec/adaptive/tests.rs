//! The arrangements undo, the right one is found, and no input misleads the decoder.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use fearless_simd::{Level, dispatch};
use longshore_model::Codec;
use proptest::prelude::*;

use super::segment::{self, Arrangement, SEGMENT_BYTES, SEGMENT_WORDS, STRIDE_MAX_BYTES};
use super::{Adaptive, COMPRESSED, HEADER_BYTES, hardly_shrinks};
use crate::codec::CodecError;

const CODEC: Codec = Codec::AdaptiveZstd { level: 1 };

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Floats as embeddings have them: random signs and mantissas, few exponents.
fn vectors(seed: u64, count: usize) -> Vec<u8> {
    let random = noise(seed, count * 8);
    let float = |bytes: &[u8; 8]| {
        let random = u64::from_le_bytes(*bytes);
        let exponent = 122 - ((random >> 32) as u32).leading_zeros().min(20);
        (random as u32 & 0x807f_ffff) | exponent << 23
    };
    random.as_chunks::<8>().0.iter().flat_map(|bytes| float(bytes).to_le_bytes()).collect()
}

/// Numbers that count up from `from`, packed with `width` bits each, as Parquet packs dictionary indices.
fn packed(width: u32, from: u64, count: u64) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u64, 0);
    for value in from..from + count {
        held |= (value & ((1 << width) - 1)) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    bytes
}

fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = ["segment ", "of ", "a ", "collection, ", "flushed ", "before ", "its ", "log "];
    noise(seed, length).iter().flat_map(|byte| words[usize::from(byte % 8)].bytes()).take(length).collect()
}

/// Runs of every kind, of lengths that fit no segment.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let run = (0_u8..6, any::<u64>(), 0_usize..20_000).prop_map(|(kind, seed, length)| match kind {
        0 => noise(seed, length),
        1 | 2 => vectors(seed, length / 4),
        3 => packed(9 + (seed % 12) as u32, seed % 5_000, length as u64 / 2),
        4 => text(seed, length),
        _ => vec![seed as u8; length],
    });
    prop::collection::vec(run, 0..6).prop_map(|runs| runs.concat())
}

fn chosen(segment: &segment::Segment) -> Arrangement {
    dispatch!(Level::new(), simd => Arrangement::of(simd, segment))
}

fn decode(stored: &[u8], plain_bytes: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![9; 3];
    Adaptive::default().decode(CODEC, stored, plain_bytes, &mut out).map(|()| out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_was_encoded_comes_back(first in piece(), second in piece()) {
        // The second piece finds the work memory of the first.
        let mut adaptive = Adaptive::default();
        for plain in [first, second] {
            if let Some(stored) = adaptive.encode(1, &plain).unwrap() {
                prop_assert!(stored.len() < plain.len());
                prop_assert_eq!(&decode(&stored, plain.len()).unwrap(), &plain);
                let mut out = Vec::new();
                adaptive.decode(CODEC, &stored, plain.len(), &mut out).unwrap();
                prop_assert_eq!(out, plain);
            }
        }
    }

    #[test]
    fn every_arrangement_of_any_segment_can_be_undone(seed in any::<u64>(), skip in 0_usize..4, stride in 8_usize..=64) {
        let random = noise(seed, STRIDE_MAX_BYTES + SEGMENT_BYTES);
        let history: segment::History = random.as_slice().try_into().unwrap();
        let plain: segment::Segment = *history.last_chunk().unwrap();
        let mut planes: segment::Planes = [[0; SEGMENT_WORDS]; 4];
        segment::split_words(&plain, skip, &mut planes);
        let mut back = [0; SEGMENT_BYTES];
        segment::join_words(planes.each_ref(), skip, &mut back);
        prop_assert_eq!(back, plain);
        // As FORMAT.md says it, byte by byte.
        for (at, plane) in (0..SEGMENT_BYTES).flat_map(|at| (0..4).map(move |plane| (at, plane))).filter(|(at, _)| at % 4 == 0) {
            let word = u32::from_le_bytes(std::array::from_fn(|byte| plain[(at + byte + skip) % SEGMENT_BYTES]));
            prop_assert_eq!(planes[plane][at / 4], word.rotate_left(1).to_le_bytes()[plane]);
        }
        let mut differences = [0; SEGMENT_BYTES];
        segment::subtract(&history, stride, &mut differences);
        let mut carry = 0;
        for at in 0..SEGMENT_BYTES {
            let sum = u16::from(differences[at]) + u16::from(history[STRIDE_MAX_BYTES + at - stride]) + carry;
            prop_assert_eq!(plain[at], sum as u8);
            carry = sum >> 8;
        }
        let mut back = [0; SEGMENT_BYTES];
        segment::add(history.first_chunk().unwrap(), stride, &differences, &mut back);
        prop_assert_eq!(back, plain);
    }

    #[test]
    fn damage_gives_an_error_or_the_length_asked_for(
        plain in piece(), place in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<bool>(), more in 0_usize..9_000,
    ) {
        let Some(mut stored) = Adaptive::default().encode(1, &plain).unwrap() else { return Ok(()) };
        // Half of the time in the header or right behind it, where a byte decides most.
        let place = if value % 2 == 0 { place.index(stored.len().min(40)) } else { place.index(stored.len()) };
        if cut { stored.truncate(place) } else { stored[place] = value }
        for plain_bytes in [plain.len(), more] {
            if let Ok(decoded) = decode(&stored, plain_bytes) {
                prop_assert_eq!(decoded.len(), plain_bytes);
            }
        }
    }

    #[test]
    fn bytes_that_no_encoder_made_give_an_error_or_the_length_asked_for(
        lengths in prop::array::uniform7(0_u32..5_000), flags in any::<u8>(), seed in any::<u64>(), body in 0_usize..30_000, plain_bytes in 0_usize..20_000,
    ) {
        let flag = |number: usize| if flags >> number & 1 == 1 { COMPRESSED } else { 0 };
        let header = lengths.iter().enumerate().flat_map(|(number, length)| (length | flag(number)).to_le_bytes());
        let stored: Vec<u8> = header.chain(noise(seed, body).into_iter().map(|byte| byte % 9)).collect();
        if let Ok(decoded) = decode(&stored, plain_bytes) {
            prop_assert_eq!(decoded.len(), plain_bytes);
        }
    }
}

#[test]
fn vectors_are_found_wherever_they_begin_and_whatever_stands_between() {
    let plain = vectors(1, 100_000);
    let aligned = Adaptive::default().encode(1, &plain).unwrap().unwrap().len();
    assert!(aligned * 118 < plain.len() * 100, "{aligned} of {}", plain.len());
    // As Snappy leaves vectors in a page: a tag of three bytes before each 64 KiB.
    let mut shifted = vec![1];
    for literal in plain.chunks(1 << 16) {
        shifted.extend_from_slice(&[0xf4, 0xff, 0xff]);
        shifted.extend_from_slice(literal);
    }
    let stored = Adaptive::default().encode(1, &shifted).unwrap().unwrap();
    assert!(stored.len() < aligned + aligned / 100, "{} against {aligned}", stored.len());
    assert_eq!(decode(&stored, shifted.len()).unwrap(), shifted);
}

#[test]
fn of_small_vectors_the_exponents_are_compressed_and_the_mantissas_left() {
    for count in [2_048, 8_000, 15_000] {
        let plain = vectors(5, count);
        let stored = Adaptive::default().encode(1, &plain).unwrap().unwrap();
        let length = |number: usize| {
            let bytes = stored[number * 4..].first_chunk().unwrap();
            u32::from_le_bytes(*bytes)
        };
        for mantissa in 1..=3 {
            assert_eq!(length(mantissa) & COMPRESSED, 0, "plane {mantissa} of {count}");
        }
        assert_ne!(length(4) & COMPRESSED, 0, "exponents of {count}");
        assert_eq!(decode(&stored, plain.len()).unwrap(), plain);
    }
}

#[test]
fn planes_of_a_little_less_than_eight_bits_are_told_from_those_worth_a_table() {
    // Each value as often as any other, but for the highest ones, which do not come at all.
    let plane = |values: u8, length: usize| -> Vec<u8> {
        noise(9, length * 2).into_iter().filter(|byte| *byte < values).take(length).collect()
    };
    for length in [5_000, 16_000, 64_000] {
        assert!(hardly_shrinks(&plane(255, length)), "{length}");
        assert!(hardly_shrinks(&plane(246, length)), "7.94 bits, {length}");
        assert!(!hardly_shrinks(&plane(215, length)), "7.75 bits, {length}");
        assert!(!hardly_shrinks(&plane(16, length)), "{length}");
        assert!(!hardly_shrinks(&vec![0; length]), "{length}");
    }
}

#[test]
fn packed_indices_that_count_up_nearly_vanish() {
    for width in 9..=20 {
        let mut plain = vec![3; width as usize % 5];
        plain.extend(packed(width, 7, 60_000));
        let stored = Adaptive::default().encode(1, &plain).unwrap().unwrap();
        assert!(stored.len() * 20 < plain.len(), "{width} bits: {} of {}", stored.len(), plain.len());
        assert_eq!(decode(&stored, plain.len()).unwrap(), plain);
    }
}

#[test]
fn text_and_noise_stay_as_they_are() {
    for bytes in [text(1, SEGMENT_BYTES), noise(2, SEGMENT_BYTES)] {
        assert_eq!(chosen(bytes.as_slice().try_into().unwrap()), Arrangement::Plain);
    }
}

#[cfg(target_arch = "x86_64")]
proptest! {
    #[test]
    fn every_processor_chooses_alike(plain in piece()) {
        let level = Level::new();
        for segment in plain.as_chunks::<SEGMENT_BYTES>().0 {
            let chosen = chosen(segment);
            prop_assert_eq!(level.as_sse2().map_or(chosen, |simd| Arrangement::of(simd, segment)), chosen);
            prop_assert_eq!(level.as_avx2().map_or(chosen, |simd| Arrangement::of(simd, segment)), chosen);
            prop_assert_eq!(level.as_avx512().map_or(chosen, |simd| Arrangement::of(simd, segment)), chosen);
        }
    }
}

#[test]
fn every_arrangement_survives_its_byte_and_no_other_byte_is_taken() {
    let known: Vec<u8> = (0..=255).filter(|byte| Arrangement::from_byte(*byte).is_some()).collect();
    assert_eq!(known, (0..=4).chain(8..=64).collect::<Vec<u8>>());
    assert!(known.iter().all(|byte| Arrangement::from_byte(*byte).unwrap().to_byte() == *byte));
}

/// A piece of one plain segment and three bytes, not compressed: the parts that a hostile writer can set freely.
fn by_hand(code: u8) -> Vec<u8> {
    let lengths = [1, 0, 0, 0, 0, 0, 4_099_u32];
    let mut stored: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
    stored.push(code);
    stored.extend(noise(3, 4_099));
    stored
}

#[test]
fn each_way_of_not_fitting_is_refused() {
    assert_eq!(decode(&by_hand(0), 4_099).unwrap(), noise(3, 4_099));
    for (code, why) in [(5, "an arrangement is unknown"), (65, "an arrangement is unknown")] {
        assert!(decode(&by_hand(code), 4_099).unwrap_err().to_string().contains(why), "{code}");
    }
    // Planes or differences that are not there.
    for code in [1, 4, 8, 64] {
        assert!(matches!(decode(&by_hand(code), 4_099), Err(CodecError::WrongLength { .. })), "{code}");
    }
    for plain_bytes in [0, 4_095, 4_098, 4_100, 8_195, usize::MAX] {
        assert!(matches!(decode(&by_hand(0), plain_bytes), Err(CodecError::WrongLength { .. })), "{plain_bytes}");
    }
    let mut longer = by_hand(0);
    longer.push(0);
    assert!(decode(&longer, 4_099).unwrap_err().to_string().contains("bytes follow the last stream"));
    assert!(decode(&by_hand(0)[..HEADER_BYTES - 1], 4_099).unwrap_err().to_string().contains("too short"));
    assert!(decode(&by_hand(0)[..HEADER_BYTES + 9], 4_099).unwrap_err().to_string().contains("cut off"));
}
