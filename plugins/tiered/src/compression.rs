//! Fast codecs for hot collections, the smallest result for cold ones. Warm ones are left to the next policy.
//!
//! A stream tells about its collection by extra facts; where the host gives none nothing is said about the stream.

use std::cmp::Reverse;

use longshore_plugin::{Answer, CodecChoice, CodecOffer, CompressionPolicy, Reason, Refusal, Run, Stream};

use crate::tier::Rating;
use crate::{Settings, Tier, Tiered};

impl CompressionPolicy for Tiered {
    fn choose(run: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal> {
        let settings = Settings::of(run)?;
        let choose = |stream: &Stream| Some((stream.id, choose(run, &settings, stream)?));
        Ok(streams.iter().filter_map(choose).collect())
    }
}

fn choose(run: &Run, settings: &Settings, stream: &Stream) -> Option<CodecChoice> {
    let (named, ms_since_write) = (stream.property_or_label(&settings.tier_property), stream.ms_since_write(run));
    // Without a sample ratios are a guess, and without new bytes nothing is encoded: nothing to choose by tier.
    if stream.new_bytes == 0 || stream.sampled_bytes == 0 || (named.is_none() && ms_since_write.is_none()) {
        return None;
    }
    let rating = Rating::of(settings, named, ms_since_write);
    let (offer, what) = match rating.tier {
        Tier::Hot => (fast(settings, stream)?, "saves most of the codecs that are fast enough"),
        Tier::Warm => return None,
        Tier::Cold => (smallest(stream.offers.iter())?, "saves most"),
    };
    let saving = offer.saving_thousandths();
    let message = format!(
        "{} {what}: {}.{} % at {} MB/s; {}.",
        offer.codec,
        saving / 10,
        saving % 10,
        offer.compress_mb_per_second,
        rating.explain(settings)
    );
    Some(CodecChoice {
        codec: offer.codec.clone(),
        reason: Reason::new(format!("{}-codec", rating.tier.as_str()), message),
    })
}

fn fast<'a>(settings: &Settings, stream: &'a Stream) -> Option<&'a CodecOffer> {
    smallest(stream.offers.iter().filter(|offer| offer.compress_mb_per_second >= settings.hot_compress_mb_per_second))
}

/// The offer that saves most; between equals the faster one, and the name decides last, so that the order of offers never
/// matters. A ratio below 1 saves nothing, as storing does.
fn smallest<'a>(offers: impl Iterator<Item = &'a CodecOffer>) -> Option<&'a CodecOffer> {
    offers.max_by_key(|offer| {
        let speed = (offer.compress_mb_per_second, offer.decompress_mb_per_second);
        (offer.ratio_thousandths.max(1_000), offer.codec == "store", speed, Reverse(&offer.codec))
    })
}
