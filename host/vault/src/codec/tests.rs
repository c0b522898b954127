//! Round trips, hostile input, and the rule that nothing gets larger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use longshore_model::Codec;
use proptest::prelude::*;

use super::{CodecError, Transcoder, codec_from_bytes, codec_to_bytes};

fn codecs() -> Vec<Codec> {
    let mut codecs = vec![Codec::Store, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::Zstd { level: 9 }];
    codecs.extend([2, 4, 8].map(|element_bytes| Codec::ShuffleZstd { element_bytes, level: 1 }));
    codecs.push(Codec::AdaptiveZstd { level: 1 });
    codecs
}

/// Bytes from nothing to random, of any length, so that every branch of the encoders is reached.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0_usize..70, 1_000_usize..3_000, 65_500_usize..65_600];
    (length, any::<u64>(), 0_u32..64).prop_map(|(length, seed, shift)| {
        (0..length as u64).map(|i| (i.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as u8).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_codec_gives_back_what_was_encoded(plain in content(), codec in prop::sample::select(codecs())) {
        let plain = Bytes::from(plain);
        let mut transcoder = Transcoder::new();
        let (used, stored) = transcoder.encode(codec, &plain).unwrap();
        prop_assert!(stored.len() <= plain.len());
        prop_assert!(used == codec || used == Codec::Store);
        prop_assert_eq!(transcoder.decode(used, &stored, plain.len()).unwrap(), plain.clone());
        // A transcoder that has done other work before decodes alike.
        prop_assert_eq!(Transcoder::new().decode(used, &stored, plain.len()).unwrap(), plain);
    }

    #[test]
    fn bytes_that_no_encoder_made_give_an_error_or_the_length_asked_for(
        stored in prop::collection::vec(any::<u8>(), 0..600),
        plain_bytes in 0_usize..100_000,
        codec in prop::sample::select(codecs()),
    ) {
        if let Ok(plain) = Transcoder::new().decode(codec, &Bytes::from(stored), plain_bytes) {
            prop_assert_eq!(plain.len(), plain_bytes);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        plain in content(), codec in prop::sample::select(codecs()), place in any::<prop::sample::Index>(), cut in any::<bool>(),
    ) {
        let mut transcoder = Transcoder::new();
        let (used, stored) = transcoder.encode(codec, &Bytes::from(plain.clone())).unwrap();
        if stored.is_empty() { return Ok(()); }
        let mut damaged = stored.to_vec();
        let place = place.index(damaged.len());
        if cut { damaged.truncate(place) } else { damaged[place] ^= 0xff }
        if let Ok(decoded) = transcoder.decode(used, &Bytes::from(damaged), plain.len()) {
            prop_assert_eq!(decoded.len(), plain.len());
        }
    }
}

#[test]
fn a_bomb_is_stopped_at_the_length_the_index_gives() {
    let bomb = Bytes::from(vec![0_u8; 8 << 20]);
    for codec in codecs().into_iter().filter(|codec| *codec != Codec::Store) {
        let (used, stored) = Transcoder::new().encode(codec, &bomb).unwrap();
        assert_eq!(used, codec);
        let error = Transcoder::new().decode(codec, &stored, 1 << 10).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. } | CodecError::WrongLength { .. }), "{error}");
        assert!(Transcoder::new().decode(codec, &stored, (8 << 20) + 1).is_err(), "too little is an error too");
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let noise = Bytes::from(noise);
    for codec in codecs() {
        let (used, stored) = Transcoder::new().encode(codec, &noise).unwrap();
        assert_eq!((used, stored.as_ptr()), (Codec::Store, noise.as_ptr()), "{codec}: and without a copy");
    }
}

#[test]
fn the_check_before_storing_notices_bytes_that_decode_to_something_else() {
    let plain = Bytes::from(vec![7_u8; 5_000]);
    for codec in codecs().into_iter().filter(|codec| *codec != Codec::Store) {
        let mut transcoder = Transcoder::new();
        let (_, right) = transcoder.encode(codec, &plain).unwrap();
        let (_, wrong) = Transcoder::new().encode(codec, &Bytes::from(vec![8_u8; 5_000])).unwrap();
        assert_eq!(transcoder.check(codec, &plain, &wrong), Err(CodecError::NotReversible), "{codec}");
        assert!(transcoder.check(codec, &plain, &right[..right.len() - 1]).is_err(), "{codec}");
        // A shuffle that went wrong is seen even though zstd itself was right.
        if let Codec::ShuffleZstd { .. } = codec {
            let other = Bytes::from((0..5_000_u32).map(|i| (i % 250) as u8).collect::<Vec<_>>());
            let (_, encoded) = transcoder.encode(codec, &other).unwrap();
            assert_eq!(transcoder.check(codec, &plain, &encoded), Err(CodecError::NotReversible), "{codec}");
        }
    }
}

#[test]
fn every_codec_survives_its_three_bytes_and_no_other_bytes_are_taken() {
    for codec in codecs() {
        assert_eq!(codec_from_bytes(codec_to_bytes(codec)), Ok(codec));
    }
    let known = (0..=255_u8).flat_map(|id| (0..=255).map(move |first| (id, first))).flat_map(|(id, first)| {
        (0..=255).filter_map(move |second| {
            codec_from_bytes([id, first, second]).ok().map(|codec| (codec, [id, first, second]))
        })
    });
    let mut count = 0;
    for (codec, bytes) in known {
        assert_eq!(codec_to_bytes(codec), bytes, "one spelling per codec");
        count += 1;
    }
    assert_eq!(count, 2 + 19 + 3 * 19 + 19);
}
