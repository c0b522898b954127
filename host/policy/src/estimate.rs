//! What decisions come to in bytes and money, as far as records can say.
//!
//! Contract: pure arithmetic over facts that policies saw; nothing here is measured. A collection takes in its vault what
//! its streams take at the ratios of the host's sample under the chosen codecs, or its plain size where no compression was
//! recorded for it. That is before deduplication: what a vault that holds nothing else would hold. Another codec makes a
//! difference for new bytes only, as what earlier backups hold keeps the codec it was stored with.
//! Money is in millionths of the currency unit; a gigabyte has 10⁹ bytes.

use std::collections::BTreeMap;

use longshore_model::{
    Codec, CodecChoice, CollectionFacts, CollectionName, Placed, RegionId, RegionOffer, Selected, StreamFacts,
};
use serde::{Deserialize, Serialize};

use crate::{Answers, DecisionRecord, Question, RecordedOutcome};

/// Bytes of a gigabyte, as prices mean it.
const GB: u128 = 1_000_000_000;

/// What a change comes to; negative is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Bytes that are backed up, before compression.
    pub size_bytes: i64,
    /// Bytes that are kept in vaults, all copies together.
    pub stored_bytes: i64,
    /// What keeping them costs a month, in millionths of the currency unit.
    pub monthly_cost_micros: i64,
}

impl Effect {
    /// The effect of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            size_bytes: self.size_bytes.saturating_add(other.size_bytes),
            stored_bytes: self.stored_bytes.saturating_add(other.stored_bytes),
            monthly_cost_micros: self.monthly_cost_micros.saturating_add(other.monthly_cost_micros),
        }
    }

    /// From one state to another.
    #[must_use]
    pub const fn between(before: Self, after: Self) -> Self {
        Self {
            size_bytes: after.size_bytes.saturating_sub(before.size_bytes),
            stored_bytes: after.stored_bytes.saturating_sub(before.stored_bytes),
            monthly_cost_micros: after.monthly_cost_micros.saturating_sub(before.monthly_cost_micros),
        }
    }

    /// True when nothing changes.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.size_bytes == 0 && self.stored_bytes == 0 && self.monthly_cost_micros == 0
    }
}

/// What a decision comes to, all in all and in each region.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// In all regions together.
    pub total: Effect,
    /// In each region that holds some of it.
    pub regions: BTreeMap<RegionId, Effect>,
}

impl Kept {
    /// From one state to another; regions in which nothing changes are not in it.
    #[must_use]
    pub fn between(before: &Self, after: &Self) -> Self {
        let mut regions = BTreeMap::new();
        for region in before.regions.keys().chain(after.regions.keys()) {
            let at = |kept: &Self| kept.regions.get(region).copied().unwrap_or_default();
            let effect = Effect::between(at(before), at(after));
            if !effect.is_nothing() {
                regions.insert(region.clone(), effect);
            }
        }
        Self { total: Effect::between(before.total, after.total), regions }
    }

    /// Adds another to this one.
    pub fn add(&mut self, other: &Self) {
        self.total = self.total.plus(other.total);
        for (region, effect) in &other.regions {
            let slot = self.regions.entry(region.clone()).or_default();
            *slot = slot.plus(*effect);
        }
    }
}

/// Bytes that a selected collection brings, before compression.
#[must_use]
pub const fn selected_bytes(facts: &CollectionFacts, include_index_files: bool) -> u64 {
    let all = facts.size_bytes.total();
    if include_index_files { all } else { all.saturating_sub(facts.size_bytes.index) }
}

/// Bytes a stream takes under a codec; its plain size if that codec was not offered.
#[must_use]
pub fn stored_stream_bytes(stream: &StreamFacts, codec: Codec) -> u64 {
    encoded_bytes(stream, stream.size_bytes, codec)
}

/// Bytes that a backup of a stream adds under a codec to a vault that holds what is not new.
#[must_use]
pub fn added_stream_bytes(stream: &StreamFacts, codec: Codec) -> u64 {
    encoded_bytes(stream, stream.new_bytes, codec)
}

fn encoded_bytes(stream: &StreamFacts, plain_bytes: u64, codec: Codec) -> u64 {
    let offer = stream.offers.iter().find(|offer| offer.codec == codec);
    let ratio = offer.map_or(1_000, |offer| offer.ratio_thousandths.max(1));
    let stored = u128::from(plain_bytes) * 1_000 / u128::from(ratio);
    u64::try_from(stored).unwrap_or(u64::MAX)
}

/// Price of keeping bytes in a region for a month.
#[must_use]
pub fn monthly_cost_micros(stored_bytes: u64, region: &RegionOffer) -> u64 {
    cost(stored_bytes, region.storage_price_micros_per_gb_month)
}

/// Price of moving bytes to a region once. What stays in the home region is not moved.
#[must_use]
pub fn transfer_cost_micros(moved_bytes: u64, region: &RegionOffer) -> u64 {
    if region.home { 0 } else { cost(moved_bytes, region.transfer_price_micros_per_gb) }
}

fn cost(bytes: u64, price_micros_per_gb: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(price_micros_per_gb) / GB).unwrap_or(u64::MAX)
}

/// What the records of one run say about its collections, to put numbers to a change of one decision.
#[derive(Debug, Default)]
pub struct Estimates<'a> {
    facts: BTreeMap<&'a CollectionName, &'a CollectionFacts>,
    streams: BTreeMap<&'a CollectionName, Vec<(&'a StreamFacts, Option<Codec>)>>,
    places: BTreeMap<&'a CollectionName, &'a Placed>,
    offers: &'a [RegionOffer],
}

impl<'a> Estimates<'a> {
    /// Reads the records of one run, in the order in which its calls were made: the first opinion counts.
    #[must_use]
    pub fn of(records: impl IntoIterator<Item = &'a DecisionRecord>) -> Self {
        let mut estimates = Self::default();
        for record in records {
            estimates.read(record);
        }
        estimates
    }

    fn read(&mut self, record: &'a DecisionRecord) {
        let answers = match &record.outcome {
            RecordedOutcome::Answered { answers, .. } => Some(answers),
            RecordedOutcome::Refused(_) | RecordedOutcome::Failed(_) => None,
        };
        match &record.question {
            Question::Selection { collections } => self.note(collections),
            Question::Compression { streams } => {
                let chosen: BTreeMap<u32, &CodecChoice> = match answers {
                    Some(Answers::Compression(answers)) => answers.iter().map(|one| (one.item, &one.answer)).collect(),
                    _ => BTreeMap::new(),
                };
                for (place, stream) in (0_u32..).zip(streams.iter()) {
                    let codec = chosen.get(&place).map(|choice| choice.codec);
                    let known = self.streams.entry(&stream.collection).or_default();
                    match known.iter_mut().find(|(one, _)| one.class == stream.class) {
                        Some((_, slot)) => *slot = slot.or(codec),
                        None => known.push((stream, codec)),
                    }
                }
            }
            Question::Placement { collections, regions } => {
                self.note(collections);
                self.offers = regions;
                if let Some(Answers::Placement(answers)) = answers {
                    for one in answers {
                        let facts = usize::try_from(one.item).ok().and_then(|place| collections.get(place));
                        if let Some(facts) = facts {
                            self.places.entry(&facts.name).or_insert(&one.answer);
                        }
                    }
                }
            }
        }
    }

    /// Later facts know more: what is new is known only once files were looked at.
    fn note(&mut self, collections: &'a [CollectionFacts]) {
        self.facts.extend(collections.iter().map(|facts| (&facts.name, facts)));
    }

    /// The offer of a region.
    #[must_use]
    pub fn region(&self, id: &RegionId) -> Option<&RegionOffer> {
        self.offers.iter().find(|offer| offer.id == *id)
    }

    /// Facts about a collection.
    #[must_use]
    pub fn facts(&self, collection: &CollectionName) -> Option<&CollectionFacts> {
        self.facts.get(collection).copied()
    }

    /// Bytes a collection takes in one vault, with one of its streams under another codec if that is asked.
    fn stored_once(&self, collection: &CollectionName, other: Option<(&StreamFacts, Codec)>) -> u64 {
        let Some(streams) = self.streams.get(collection) else {
            return self.facts.get(collection).map_or(0, |facts| selected_bytes(facts, false));
        };
        let bytes = streams.iter().map(|(stream, codec)| match other {
            Some((changed, codec)) if changed.class == stream.class => {
                let held = stream.size_bytes.saturating_sub(stream.new_bytes);
                held.saturating_add(added_stream_bytes(stream, codec))
            }
            _ => codec.map_or(stream.size_bytes, |codec| stored_stream_bytes(stream, codec)),
        });
        bytes.fold(0, u64::saturating_add)
    }

    fn kept(&self, size_bytes: u64, stored_once: u64, placed: Option<&Placed>) -> Kept {
        let mut kept =
            Kept { total: Effect { size_bytes: signed(size_bytes), ..Effect::default() }, ..Kept::default() };
        let Some(placed) = placed else {
            kept.total.stored_bytes = signed(stored_once);
            return kept;
        };
        for id in std::iter::once(&placed.region).chain(placed.copies.iter().map(|copy| &copy.region)) {
            let price = self.region(id).map_or(0, |offer| monthly_cost_micros(stored_once, offer));
            let here = Effect { size_bytes: 0, stored_bytes: signed(stored_once), monthly_cost_micros: signed(price) };
            kept.total = kept.total.plus(here);
            kept.regions.insert(id.clone(), here);
        }
        kept
    }

    /// What a selection comes to; nothing for a collection that is left out.
    #[must_use]
    pub fn selected(&self, facts: &CollectionFacts, selected: &Selected) -> Kept {
        if !selected.include_collection {
            return Kept::default();
        }
        let size = selected_bytes(facts, selected.include_index_files);
        let known = self.streams.contains_key(&facts.name);
        let stored = if known { self.stored_once(&facts.name, None) } else { size };
        self.kept(size, stored, self.places.get(&facts.name).copied())
    }

    /// What a collection comes to with the new bytes of one stream under this codec.
    #[must_use]
    pub fn chosen(&self, stream: &StreamFacts, choice: &CodecChoice) -> Kept {
        let stored = self.stored_once(&stream.collection, Some((stream, choice.codec)));
        self.kept(0, stored, self.places.get(&stream.collection).copied())
    }

    /// What a collection comes to in these regions.
    #[must_use]
    pub fn placed(&self, facts: &CollectionFacts, placed: &Placed) -> Kept {
        self.kept(0, self.stored_once(&facts.name, None), Some(placed))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_model::{CodecOffer, FileClass, RegionHealth};

    use super::*;

    fn region(home: bool) -> RegionOffer {
        RegionOffer {
            id: "eu-1".parse().unwrap(),
            provider: "local".to_owned(),
            jurisdiction: "eu".to_owned(),
            home,
            storage_price_micros_per_gb_month: 20_000,
            transfer_price_micros_per_gb: 10_000,
            health: RegionHealth::Healthy,
            used_bytes: 0,
            extra: Vec::new(),
        }
    }

    #[test]
    fn money_is_price_times_gigabytes_and_the_home_region_needs_no_transfer() {
        assert_eq!(monthly_cost_micros(2_500_000_000, &region(true)), 50_000);
        assert_eq!(transfer_cost_micros(2_500_000_000, &region(false)), 25_000);
        assert_eq!(transfer_cost_micros(2_500_000_000, &region(true)), 0);
        assert_eq!(monthly_cost_micros(u64::MAX, &region(true)), 368_934_881_474_191, "no overflow");
    }

    #[test]
    fn a_stream_takes_its_size_over_the_ratio_of_the_sample() {
        let offer = |codec: &str, ratio_thousandths| CodecOffer {
            codec: codec.parse().unwrap(),
            ratio_thousandths,
            compress_mb_per_second: 1,
            decompress_mb_per_second: 1,
        };
        let stream = StreamFacts {
            collection: "docs".parse().unwrap(),
            class: FileClass::Segment,
            files: 1,
            size_bytes: 3_000,
            new_bytes: 600,
            sampled_bytes: 1,
            offers: vec![offer("zstd-1", 1_500), offer("lz4", 0)],
            extra: Vec::new(),
        };
        assert_eq!(stored_stream_bytes(&stream, "zstd-1".parse().unwrap()), 2_000);
        assert_eq!(added_stream_bytes(&stream, "zstd-1".parse().unwrap()), 400);
        assert_eq!(stored_stream_bytes(&stream, "store".parse().unwrap()), 3_000, "what was not offered saves nothing");
        assert_eq!(
            stored_stream_bytes(&stream, "lz4".parse().unwrap()),
            3_000_000,
            "a ratio of nothing is no division"
        );
    }
}
