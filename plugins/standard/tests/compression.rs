//! Which codecs the default policy chooses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::{CodecChoice, CodecOffer, CompressionPolicy, Run, Stream};
use longshore_standard::Standard;
use proptest::prelude::*;

fn offer(codec: &str, ratio_thousandths: u32, compress_mb_per_second: u32) -> CodecOffer {
    CodecOffer {
        codec: codec.to_owned().into(),
        ratio_thousandths,
        compress_mb_per_second,
        decompress_mb_per_second: 2 * compress_mb_per_second,
    }
}

fn segment(offers: Vec<CodecOffer>) -> Stream {
    Stream {
        id: 1,
        database: "default".into(),
        collection: "docs".into(),
        class: "segment".into(),
        files: 10,
        size_bytes: 100 << 20,
        new_bytes: 100 << 20,
        sampled_bytes: 1 << 20,
        offers,
        ..Stream::default()
    }
}

fn choose_with(settings: &str, stream: &Stream) -> CodecChoice {
    let run = Run::default().with_settings(settings);
    Standard::choose(&run, std::slice::from_ref(stream)).unwrap().decisions.remove(0).1
}

fn choose(stream: &Stream) -> (String, String) {
    let choice = choose_with("{}", stream);
    (choice.codec.into_owned(), choice.reason.code)
}

fn chosen(codec: &str, code: &str) -> (String, String) {
    (codec.to_owned(), code.to_owned())
}

#[test]
fn the_best_ratio_wins_among_codecs_that_are_fast_enough() {
    let stream = segment(vec![
        offer("store", 1000, 4000),
        offer("lz4", 1080, 900),
        offer("zstd-1", 1190, 500),
        offer("shuffle4-zstd-1", 1240, 400),
        offer("zstd-19", 1400, 4),
    ]);
    let choice = choose_with("{}", &stream);
    assert_eq!(choice.codec, "shuffle4-zstd-1");
    assert_eq!(
        choice.reason.message,
        "shuffle4-zstd-1 saves most on a sample of 1048576 bytes of segment: 19.3 % at 400 MB/s."
    );
    assert_eq!(choose_with(r#"{"minimum_compress_mb_per_second": 4}"#, &stream).codec, "zstd-19");
}

#[test]
fn where_no_codec_saves_enough_the_bytes_are_stored() {
    // 3 % of the plain bytes are saved from a ratio of 1/0.97 = 1.0309 on.
    let with = |ratio| choose(&segment(vec![offer("store", 1000, 4000), offer("zstd-1", ratio, 500)]));
    assert_eq!(with(1030), chosen("store", "nothing-to-gain"));
    assert_eq!(with(1031), chosen("zstd-1", "best-ratio"));
    assert_eq!(with(1000), chosen("store", "nothing-to-gain"));
    assert_eq!(with(990), chosen("store", "nothing-to-gain"));
}

#[test]
fn a_codec_that_saves_nothing_is_not_chosen_even_where_the_least_saving_is_zero() {
    let stream = segment(vec![offer("store", 1000, 4000), offer("zstd-1", 1000, 500)]);
    assert_eq!(choose_with(r#"{"minimum_saving_percent": 0}"#, &stream).codec, "store");
}

#[test]
fn where_only_slow_codecs_save_enough_the_bytes_are_stored_and_the_reason_says_so() {
    let stream = segment(vec![offer("store", 1000, 4000), offer("zstd-19", 1400, 99)]);
    assert_eq!(choose(&stream), chosen("store", "codecs-too-slow"));
    let stream = segment(vec![offer("store", 1000, 4000), offer("zstd-19", 1400, 100)]);
    assert_eq!(choose(&stream), chosen("zstd-19", "best-ratio"));
}

#[test]
fn between_equal_ratios_the_faster_codec_wins() {
    let stream = segment(vec![offer("zstd-3", 1200, 300), offer("zstd-1", 1200, 500), offer("zstd-2", 1200, 400)]);
    assert_eq!(choose(&stream).0, "zstd-1");
}

#[test]
fn what_was_not_sampled_gets_a_cheap_codec_whatever_the_guesses_say() {
    let offers = vec![offer("store", 1000, 4000), offer("zstd-9", 9000, 200), offer("zstd-1", 1000, 500)];
    let stream = Stream { sampled_bytes: 0, ..segment(offers) };
    assert_eq!(choose(&stream), chosen("zstd-1", "nothing-sampled"));
}

#[test]
fn what_earlier_backups_hold_gets_a_cheap_codec() {
    let offers = vec![offer("store", 1000, 4000), offer("zstd-9", 9000, 200), offer("lz4", 1000, 900)];
    let stream = Stream { new_bytes: 0, ..segment(offers) };
    assert_eq!(choose(&stream), chosen("lz4", "nothing-new"));
}

#[test]
fn small_metadata_is_compressed_without_a_comparison_and_large_metadata_is_compared() {
    let offers = vec![offer("store", 1000, 4000), offer("zstd-9", 9000, 200), offer("zstd-1", 3000, 500)];
    let small = Stream { class: "metadata".into(), new_bytes: 1 << 20, ..segment(offers) };
    assert_eq!(choose(&small), chosen("zstd-1", "small-metadata"));
    let large = Stream { new_bytes: (1 << 20) + 1, ..small };
    assert_eq!(choose(&large), chosen("zstd-9", "best-ratio"));
}

#[test]
fn a_cheap_codec_is_fast_enough_too() {
    let stream = Stream { sampled_bytes: 0, ..segment(vec![offer("store", 1000, 4000), offer("zstd-1", 2000, 50)]) };
    assert_eq!(choose(&stream).0, "store");
    let only_slow = Stream { sampled_bytes: 0, ..segment(vec![offer("zstd-9", 2000, 50), offer("zstd-1", 2000, 60)]) };
    assert_eq!(choose(&only_slow).0, "zstd-1");
}

#[test]
fn without_an_offer_to_store_the_fastest_codec_takes_its_place() {
    let stream = segment(vec![offer("zstd-9", 1001, 200), offer("zstd-1", 1001, 500)]);
    assert_eq!(choose(&stream), chosen("zstd-1", "nothing-to-gain"));
}

#[test]
fn a_stream_without_offers_is_refused_by_name() {
    for stream in [segment(Vec::new()), Stream { new_bytes: 0, ..segment(Vec::new()) }] {
        let refusal = Standard::choose(&Run::default(), &[stream]).unwrap_err();
        assert_eq!(refusal.reason.code, "no-codec-offered");
        assert_eq!(refusal.items, [1]);
        assert!(refusal.reason.message.contains("default.docs"), "{}", refusal.reason.message);
    }
}

fn any_offer() -> impl Strategy<Value = CodecOffer> {
    let numbers = (0..3_u32, any::<u32>()).prop_map(|(small, large)| [0, 1000 + large % 300, large][small as usize]);
    (0..6_usize, numbers, 0..1000_u32, 0..3_u32).prop_map(|(codec, ratio, speed, decompress)| CodecOffer {
        codec: ["store", "lz4", "zstd-1", "zstd-9", "shuffle4-zstd-1", "new-one"][codec].into(),
        ratio_thousandths: ratio,
        compress_mb_per_second: speed,
        decompress_mb_per_second: decompress,
    })
}

fn any_stream() -> impl Strategy<Value = Stream> {
    let class = prop_oneof![Just("segment"), Just("metadata"), Just("varchar-binlog")];
    let bytes = prop_oneof![Just(0_u64), Just(100), any::<u64>()];
    let offers = proptest::collection::vec(any_offer(), 1..6).prop_map(|mut offers| {
        offers.sort_by(|a, b| a.codec.cmp(&b.codec));
        offers.dedup_by(|a, b| a.codec == b.codec);
        offers
    });
    (class, bytes.clone(), bytes, offers).prop_map(|(class, new_bytes, sampled_bytes, offers)| Stream {
        class: class.to_owned().into(),
        new_bytes,
        sampled_bytes,
        ..segment(offers)
    })
}

proptest! {
    #[test]
    fn every_stream_gets_one_of_its_own_offers_and_the_order_of_offers_and_page_does_not_matter(
        streams in proptest::collection::vec(any_stream(), 0..6),
        minimum_saving in 0..100_u32,
        minimum_speed in 0..600_u32,
    ) {
        let mut streams = streams;
        for (id, stream) in streams.iter_mut().enumerate() {
            stream.id = id as u32;
        }
        let run = Run::default().with_settings(format!(
            r#"{{"minimum_saving_percent": {minimum_saving}, "minimum_compress_mb_per_second": {minimum_speed}}}"#
        ));
        let answer = Standard::choose(&run, &streams).unwrap();
        prop_assert_eq!(answer.decisions.len(), streams.len());
        let mut reversed: Vec<Stream> = streams.iter().rev().cloned().collect();
        for stream in &mut reversed {
            stream.offers.reverse();
        }
        let other = Standard::choose(&run, &reversed).unwrap();
        for stream in &streams {
            let choice = answer.get(stream.id).unwrap();
            prop_assert!(stream.offer(&choice.codec).is_some());
            prop_assert_eq!(Some(choice), other.get(stream.id));
        }
    }
}
