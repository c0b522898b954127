//! From the model to version 0.1.0: questions.
//!
//! Contract: texts are lent, never copied. What a question needs beside them, the lists of its items, stands in an arena
//! that lives for one call: a page has thousands of short lists, and they are given back all at once.

use bumpalo::Bump;
use longshore_model as model;
use longshore_model::{CollectionFacts, ExtraFact, RegionHealth, RegionOffer, StreamFacts, Timestamp};

use super::bindings::exports::longshore::policy::{compression, placement};
use super::bindings::longshore::policy::types;
use crate::plugin::Question;

/// The number of an item: its place in the list of the call.
fn id(place: usize) -> u32 {
    // A page is far smaller (`Limits::page_streams`); checked before the call.
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

/// A list of one item's, in the arena.
fn list<'a, T, R>(arena: &'a Bump, items: &'a [T], each: impl Fn(&'a T) -> R) -> &'a [R] {
    arena.alloc_slice_fill_iter(items.iter().map(each))
}

fn extra<'a>(arena: &'a Bump, facts: &'a [ExtraFact]) -> &'a [(&'a str, types::FactValue<'a>)] {
    list(arena, facts, extra_fact)
}

fn some_extra<'a>(
    arena: &'a Bump,
    facts: impl Iterator<Item = &'a ExtraFact>,
) -> &'a [(&'a str, types::FactValue<'a>)] {
    arena.alloc_slice_fill_iter(facts.map(extra_fact).collect::<Vec<_>>())
}

fn extra_fact(fact: &ExtraFact) -> (&str, types::FactValue<'_>) {
    let value = match &fact.value {
        model::FactValue::Flag(flag) => types::FactValue::Flag(*flag),
        model::FactValue::Integer(integer) => types::FactValue::Integer(*integer),
        model::FactValue::Text(text) => types::FactValue::Text(text),
    };
    (fact.name.as_str(), value)
}

fn pairs<'a>(arena: &'a Bump, pairs: &'a [(String, String)]) -> &'a [(&'a str, &'a str)] {
    list(arena, pairs, |(key, value)| (key.as_str(), value.as_str()))
}

/// The run a question belongs to.
pub(super) fn run<'a>(arena: &'a Bump, question: &Question<'a>) -> types::Run<'a> {
    let call = question.call;
    let run = call.run;
    types::Run {
        kind: match run.kind {
            model::RunKind::Cluster => types::RunKind::Cluster,
            model::RunKind::Collection => types::RunKind::Collection,
        },
        trigger: match run.trigger {
            model::RunTrigger::Manual => types::RunTrigger::Manual,
            model::RunTrigger::Automatic => types::RunTrigger::Automatic,
        },
        cluster_id: run.cluster_id.as_str(),
        cluster_name: &run.cluster_name,
        project_id: run.project_id.as_str(),
        home_region: run.home_region.as_str(),
        time_ms: millis(run.time),
        seed: run.seed,
        next_run_time_ms: run.next_run.map(millis),
        month_spend_micros: run.month_spend_micros,
        month_budget_micros: run.month_budget_micros,
        totals: types::Totals {
            collections: run.totals.collections,
            rows: run.totals.rows,
            size_bytes: run.totals.size_bytes,
            new_bytes: run.totals.new_bytes,
        },
        settings: call.settings,
        carry: call.carry,
        page_number: call.page_number,
        last_page: call.last_page,
        extra: extra(arena, &run.extra),
    }
}

/// A page of collections, numbered by place.
pub(super) fn collections<'a>(arena: &'a Bump, page: &'a [CollectionFacts]) -> Vec<types::Collection<'a>> {
    page.iter().enumerate().map(|(place, facts)| collection(arena, id(place), facts)).collect()
}

fn collection<'a>(arena: &'a Bump, id: u32, facts: &'a CollectionFacts) -> types::Collection<'a> {
    types::Collection {
        id,
        database: &facts.name.database,
        name: &facts.name.collection,
        properties: pairs(arena, &facts.properties),
        labels: pairs(arena, &facts.labels),
        criticality: facts.criticality.as_deref(),
        recovery_point_objective_seconds: facts.recovery_point_objective_seconds,
        protected: facts.protected,
        requested: facts.requested,
        rows: facts.rows,
        size_bytes: types::ClassBytes {
            segment: facts.size_bytes.segment,
            index: facts.size_bytes.index,
            delta: facts.size_bytes.delta,
            wal: facts.size_bytes.wal,
            metadata: facts.size_bytes.metadata,
        },
        new_bytes: facts.new_bytes,
        created_time_ms: facts.created.map(millis),
        last_write_time_ms: facts.last_write.map(millis),
        load_state: match facts.load_state {
            model::LoadState::Unknown => types::LoadState::Unknown,
            model::LoadState::NotLoaded => types::LoadState::NotLoaded,
            model::LoadState::Loaded => types::LoadState::Loaded,
        },
        indexes: list(arena, &facts.indexes, index),
        last_backup: facts.last_backup.as_ref().map(|last| last_backup(arena, last)),
        consecutive_failures: facts.consecutive_failures,
        last_proven_restore_time_ms: facts.last_proven_restore.map(millis),
        previous_reason_code: facts.previous_reason_code.as_deref(),
        extra: extra(arena, &facts.extra),
    }
}

fn index(index: &model::IndexFacts) -> types::IndexFacts<'_> {
    types::IndexFacts { field_name: &index.field_name, index_type: &index.index_type, metric_type: &index.metric_type }
}

fn last_backup<'a>(arena: &'a Bump, last: &'a model::LastBackup) -> types::LastBackup<'a> {
    types::LastBackup {
        backup_id: last.backup_id.as_str(),
        time_ms: millis(last.time),
        regions: list(arena, &last.regions, model::RegionId::as_str),
        codecs: list(arena, &last.codecs, String::as_str),
        stored_bytes: last.stored_bytes,
    }
}

/// Streams and their codecs, as [`streams`] gives them.
pub(super) struct Streams<'a> {
    /// Every codec that is offered for one of the streams.
    pub(super) codecs: Vec<compression::Codec<'a>>,
    /// The streams, by collection.
    pub(super) collections: Vec<compression::CollectionStreams<'a>>,
}

/// Streams by collection, numbered by place. A page has thousands of offers of a few codecs, and five streams or so of each
/// collection: what they share goes over once.
pub(super) fn streams<'a>(arena: &'a Bump, streams: &'a [StreamFacts]) -> Streams<'a> {
    let mut codecs = Codecs::default();
    let mut place = 0;
    let together = |one: &StreamFacts, two: &StreamFacts| {
        one.collection == two.collection && about_collection(one).eq(about_collection(two))
    };
    let collection = |streams: &'a [StreamFacts]| {
        let first = place;
        place += streams.len();
        let numbered = (first..).zip(streams).map(|(place, facts)| stream(arena, id(place), facts, &mut codecs));
        let numbered: &[compression::Stream<'a>] = arena.alloc_slice_fill_iter(numbered.collect::<Vec<_>>());
        let facts = streams.first().map(|first| (&first.collection, about_collection(first)));
        facts.map(|(name, about)| compression::CollectionStreams {
            database: &name.database,
            name: &name.collection,
            streams: numbered,
            extra: some_extra(arena, about),
        })
    };
    let collections = streams.chunk_by(together).filter_map(collection).collect();
    Streams { codecs: codecs.0.into_iter().map(|(_, codec)| codec).collect(), collections }
}

/// Facts of a stream that are about its collection.
fn about_collection(stream: &StreamFacts) -> impl Iterator<Item = &ExtraFact> {
    stream.extra.iter().filter(|fact| StreamFacts::tells_about_collection(&fact.name))
}

fn stream<'a>(arena: &'a Bump, id: u32, facts: &'a StreamFacts, codecs: &mut Codecs<'a>) -> compression::Stream<'a> {
    let own = facts.extra.iter().filter(|fact| !StreamFacts::tells_about_collection(&fact.name));
    compression::Stream {
        id,
        class: facts.class.as_str(),
        files: facts.files,
        size_bytes: facts.size_bytes,
        new_bytes: facts.new_bytes,
        sampled_bytes: facts.sampled_bytes,
        offers: arena.alloc_slice_fill_iter(facts.offers.iter().map(|offer| compression::CodecOffer {
            codec: codecs.place(arena, offer),
            ratio_thousandths: offer.ratio_thousandths,
        })),
        extra: some_extra(arena, own),
    }
}

/// The codecs of a page. One codec at two speeds counts twice, so that nothing of an offer is lost.
#[derive(Default)]
struct Codecs<'a>(Vec<(model::Codec, compression::Codec<'a>)>);

impl<'a> Codecs<'a> {
    /// The place of the codec of an offer, which is added where it is new.
    fn place(&mut self, arena: &'a Bump, offer: &model::CodecOffer) -> u32 {
        let (compress, decompress) = (offer.compress_mb_per_second, offer.decompress_mb_per_second);
        let known = self.0.iter().position(|(codec, known)| {
            let speeds = (known.compress_mb_per_second, known.decompress_mb_per_second);
            *codec == offer.codec && speeds == (compress, decompress)
        });
        id(known.unwrap_or_else(|| {
            let codec = compression::Codec {
                name: arena.alloc_str(&offer.codec.to_string()),
                compress_mb_per_second: compress,
                decompress_mb_per_second: decompress,
            };
            self.0.push((offer.codec, codec));
            self.0.len() - 1
        }))
    }
}

/// The regions a project may use.
pub(super) fn regions<'a>(arena: &'a Bump, regions: &'a [RegionOffer]) -> Vec<placement::Region<'a>> {
    let region = |offer: &'a RegionOffer| placement::Region {
        id: offer.id.as_str(),
        provider: &offer.provider,
        jurisdiction: &offer.jurisdiction,
        home: offer.home,
        storage_price_micros_per_gb_month: offer.storage_price_micros_per_gb_month,
        transfer_price_micros_per_gb: offer.transfer_price_micros_per_gb,
        health: match offer.health {
            RegionHealth::Healthy => placement::RegionHealth::Healthy,
            RegionHealth::Degraded => placement::RegionHealth::Degraded,
            RegionHealth::Unreachable => placement::RegionHealth::Unreachable,
        },
        used_bytes: offer.used_bytes,
        extra: extra(arena, &offer.extra),
    };
    regions.iter().map(region).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bumpalo::Bump;
    use longshore_model::{CodecOffer, CollectionName, ExtraFact, FactValue, FileClass, StreamFacts};

    use super::streams;

    fn stream(collection: &str, class: FileClass, speed: u32, extra: &[(&str, i64)]) -> StreamFacts {
        let offer = |codec: &str| CodecOffer {
            codec: codec.parse().unwrap(),
            ratio_thousandths: 1_000 + speed,
            compress_mb_per_second: speed,
            decompress_mb_per_second: 2 * speed,
        };
        let fact =
            |(name, value): &(&str, i64)| ExtraFact { name: (*name).to_owned(), value: FactValue::Integer(*value) };
        StreamFacts {
            collection: CollectionName::new("db", collection).unwrap(),
            class,
            files: 1,
            size_bytes: 2,
            new_bytes: 3,
            sampled_bytes: 4,
            offers: vec![offer("store"), offer("lz4")],
            extra: extra.iter().map(fact).collect(),
        }
    }

    /// Every stream with what its call says about it, read back from what it shares with others.
    #[test]
    fn what_streams_share_goes_over_once_and_nothing_is_lost() {
        const WRITTEN: &str = "collection-last-write-time-ms";
        let asked = [
            stream("a", FileClass::Segment, 10, &[(WRITTEN, 1), ("own", 7)]),
            stream("a", FileClass::Wal, 10, &[(WRITTEN, 1)]),
            // Of the same collection, but told otherwise about it, and with another speed of the same codecs.
            stream("a", FileClass::Metadata, 20, &[(WRITTEN, 2)]),
            stream("b", FileClass::Segment, 10, &[(WRITTEN, 2)]),
        ];
        let arena = Bump::new();
        let sent = streams(&arena, &asked);
        let speeds = sent.codecs.iter().map(|codec| (codec.name, codec.compress_mb_per_second));
        assert_eq!(speeds.collect::<Vec<_>>(), [("store", 10), ("lz4", 10), ("store", 20), ("lz4", 20)]);
        let said = sent.collections.iter().map(|of| {
            let streams = of.streams.iter().map(|stream| {
                let offers: Vec<u32> = stream.offers.iter().map(|offer| offer.codec).collect();
                format!("{} {} {offers:?} {}", stream.id, stream.class, stream.extra.len())
            });
            format!("{}.{} {:?}: {}", of.database, of.name, of.extra, streams.collect::<Vec<_>>().join(", "))
        });
        insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"), @r#"
        db.a [("collection-last-write-time-ms", FactValue::Integer(1))]: 0 segment [0, 1] 1, 1 wal [0, 1] 0
        db.a [("collection-last-write-time-ms", FactValue::Integer(2))]: 2 metadata [2, 3] 0
        db.b [("collection-last-write-time-ms", FactValue::Integer(2))]: 3 segment [0, 1] 0
        "#);
    }
}
