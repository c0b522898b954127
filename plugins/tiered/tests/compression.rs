//! Which codec a tier gets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::time::DAY_MS;
use longshore_plugin::{CodecOffer, CompressionPolicy, FactValue, Run, Stream};
use longshore_tiered::Tiered;

fn offer(codec: &str, ratio: u32, speed: u32) -> CodecOffer {
    CodecOffer {
        codec: codec.to_owned().into(),
        ratio_thousandths: ratio,
        compress_mb_per_second: speed,
        decompress_mb_per_second: 1_000,
    }
}

/// A stream of a collection that was written to so many days before the run, if that is known.
fn stream(days: Option<u64>) -> Stream {
    let written =
        |days| ("collection-last-write-time-ms".to_owned(), FactValue::Integer(((100 - days) * DAY_MS) as i64));
    Stream {
        id: 1,
        class: "segment".into(),
        new_bytes: 10,
        sampled_bytes: 10,
        offers: vec![
            offer("store", 1_000, 5_000),
            offer("lz4", 1_050, 700),
            offer("zstd-1", 1_090, 400),
            offer("zstd-9", 1_200, 40),
        ],
        extra: days.map(written).into_iter().collect(),
        ..Stream::default()
    }
}

fn choose(stream: &Stream) -> Option<(String, String)> {
    let run = Run { time_ms: 100 * DAY_MS, ..Run::default() };
    let mut turned = stream.clone();
    turned.offers.reverse();
    let answer = Tiered::choose(&run, std::slice::from_ref(stream)).unwrap();
    assert_eq!(answer.refused_by_host(&[1]), None);
    assert_eq!(answer, Tiered::choose(&run, &[turned]).unwrap(), "the order of offers does not matter");
    answer.get(1).map(|choice| (choice.codec.clone().into_owned(), choice.reason.code.clone()))
}

fn chosen(codec: &str, code: &str) -> Option<(String, String)> {
    Some((codec.to_owned(), code.to_owned()))
}

#[test]
fn hot_gets_the_best_of_the_fast_cold_the_best_and_warm_no_opinion() {
    assert_eq!(choose(&stream(Some(1))), chosen("zstd-1", "hot-codec"));
    assert_eq!(choose(&stream(Some(8))), None);
    assert_eq!(choose(&stream(Some(40))), chosen("zstd-9", "cold-codec"));
}

#[test]
fn where_nothing_saves_anything_it_is_stored() {
    let mut cold = stream(Some(40));
    for offer in &mut cold.offers {
        offer.ratio_thousandths = offer.ratio_thousandths.min(1_000) - 10 * u32::from(offer.codec != "store");
    }
    assert_eq!(choose(&cold), chosen("store", "cold-codec"));
}

#[test]
fn the_property_counts_before_the_last_write() {
    let mut named = stream(Some(1));
    named.extra.push(("collection-property:backup.tier".to_owned(), FactValue::Text("cold".to_owned())));
    assert_eq!(choose(&named), chosen("zstd-9", "cold-codec"));
}

#[test]
fn nothing_is_said_where_nothing_is_known_new_or_sampled() {
    assert_eq!(choose(&stream(None)), None);
    assert_eq!(choose(&Stream { new_bytes: 0, ..stream(Some(40)) }), None);
    assert_eq!(choose(&Stream { sampled_bytes: 0, ..stream(Some(40)) }), None);
    assert_eq!(choose(&Stream { offers: Vec::new(), ..stream(Some(40)) }), None);
    let slow = Stream { offers: vec![offer("zstd-9", 1_200, 40)], ..stream(Some(1)) };
    assert_eq!(choose(&slow), None, "no codec is fast enough for a hot collection");
}
