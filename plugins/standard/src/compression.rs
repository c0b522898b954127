//! The codec that saves most on the host's sample, if it saves enough and is fast enough.

use std::cmp::Reverse;

use longshore_plugin::{Answer, CodecChoice, CodecOffer, CompressionPolicy, Reason, Refusal, Run, Stream};

use crate::{Settings, Standard};

/// Metadata below this size is not worth a comparison: it compresses well and takes no time.
const SMALL_METADATA_BYTES: u64 = 1 << 20;
/// Codecs that are safe to choose blindly, the best first: cheap to encode and to decode, and whatever the bytes are
/// hardly larger than them.
const CHEAP_CODECS: [&str; 3] = ["zstd-1", "lz4", "store"];

impl CompressionPolicy for Standard {
    fn choose(run: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal> {
        let settings: Settings = run.settings()?;
        streams.iter().map(|stream| Ok((stream.id, choose(&settings, stream)?))).collect()
    }
}

fn choose(settings: &Settings, stream: &Stream) -> Result<CodecChoice, Refusal> {
    if stream.new_bytes == 0 {
        return cheap(settings, stream, "nothing-new", "earlier backups hold all of it, so nothing will be encoded");
    }
    if stream.class == "metadata" && stream.new_bytes <= SMALL_METADATA_BYTES {
        return cheap(settings, stream, "small-metadata", "it is too small for the choice to matter");
    }
    if stream.sampled_bytes == 0 {
        return cheap(settings, stream, "nothing-sampled", "nothing of it was sampled, so the ratios are a guess");
    }
    match best(settings, stream) {
        Some(offer) => Ok(CodecChoice { codec: offer.codec.clone(), reason: best_reason(stream, offer) }),
        None => store(settings, stream),
    }
}

/// The offer that saves most among those that save enough and are fast enough. Between equal ratios the faster one; the
/// name decides last, so that the order of the offers never matters.
fn best<'a>(settings: &Settings, stream: &'a Stream) -> Option<&'a CodecOffer> {
    stream
        .offers
        .iter()
        .filter(|offer| offer.codec != "store" && fast_enough(settings, offer) && saves_enough(settings, offer))
        .max_by_key(|offer| {
            let speed = (offer.compress_mb_per_second, offer.decompress_mb_per_second);
            (offer.ratio_thousandths, speed, Reverse(&offer.codec))
        })
}

fn best_reason(stream: &Stream, offer: &CodecOffer) -> Reason {
    let message = format!(
        "{} saves most on a sample of {} bytes of {}: {}.{} % at {} MB/s.",
        offer.codec,
        stream.sampled_bytes,
        stream.class,
        offer.saving_thousandths() / 10,
        offer.saving_thousandths() % 10,
        offer.compress_mb_per_second,
    );
    Reason::new("best-ratio", message)
}

/// No codec pays: the bytes stay as they are. Without an offer to store, the fastest codec is the next best thing.
fn store(settings: &Settings, stream: &Stream) -> Result<CodecChoice, Refusal> {
    let offer = stream.offer("store").or_else(|| fastest(stream)).ok_or_else(|| no_offer(stream))?;
    let slow = stream.offers.iter().any(|offer| offer.codec != "store" && saves_enough(settings, offer));
    let reason = if slow {
        let message = format!(
            "Every codec that saves {} % or more of its {} is slower than {} MB/s.",
            settings.minimum_saving_percent, stream.class, settings.minimum_compress_mb_per_second
        );
        Reason::new("codecs-too-slow", message)
    } else {
        let message =
            format!("No codec saves {} % of its {} on the sample.", settings.minimum_saving_percent, stream.class);
        Reason::new("nothing-to-gain", message)
    };
    Ok(CodecChoice { codec: offer.codec.clone(), reason })
}

/// A choice that is right enough without a comparison.
fn cheap(settings: &Settings, stream: &Stream, code: &str, because: &str) -> Result<CodecChoice, Refusal> {
    let offer = CHEAP_CODECS
        .iter()
        .filter_map(|codec| stream.offer(codec))
        .find(|offer| offer.codec == "store" || fast_enough(settings, offer))
        .or_else(|| fastest(stream))
        .ok_or_else(|| no_offer(stream))?;
    let message = format!("{} is a cheap choice for its {}: {because}.", offer.codec, stream.class);
    Ok(CodecChoice { codec: offer.codec.clone(), reason: Reason::new(code, message) })
}

fn fastest(stream: &Stream) -> Option<&CodecOffer> {
    stream.offers.iter().max_by_key(|offer| (offer.compress_mb_per_second, Reverse(&offer.codec)))
}

fn no_offer(stream: &Stream) -> Refusal {
    let message = format!(
        "The host offers no codec for the {} of {}.{}; a chain cannot decide without one.",
        stream.class, stream.database, stream.collection
    );
    Refusal::new("no-codec-offered", message).about([stream.id])
}

fn fast_enough(settings: &Settings, offer: &CodecOffer) -> bool {
    offer.compress_mb_per_second >= settings.minimum_compress_mb_per_second
}

/// A ratio of 1 or less saves nothing, whatever the setting.
fn saves_enough(settings: &Settings, offer: &CodecOffer) -> bool {
    let (ratio, minimum) = (u64::from(offer.ratio_thousandths), u64::from(settings.minimum_saving_percent));
    ratio > 1000 && (ratio - 1000) * 100 >= minimum * ratio
}
