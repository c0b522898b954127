//! From the model to version 0.1.0: questions.

use longshore_model as model;
use longshore_model::{CollectionFacts, ExtraFact, RegionHealth, RegionOffer, StreamFacts, Timestamp};

use super::bindings::about::longshore::policy::types;
use super::bindings::compression::exports::longshore::policy::compression;
use super::bindings::placement::exports::longshore::policy::placement;
use crate::plugin::Question;

/// The number of an item: its place in the list of the call.
fn id(place: usize) -> u32 {
    // A page is far smaller (`Limits::page_streams`); checked before the call.
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

fn extra(facts: &[ExtraFact]) -> Vec<(String, types::FactValue)> {
    let value = |fact: &ExtraFact| match &fact.value {
        model::FactValue::Flag(flag) => types::FactValue::Flag(*flag),
        model::FactValue::Integer(integer) => types::FactValue::Integer(*integer),
        model::FactValue::Text(text) => types::FactValue::Text(text.clone()),
    };
    facts.iter().map(|fact| (fact.name.clone(), value(fact))).collect()
}

/// The run a question belongs to.
pub(super) fn run(question: &Question<'_>) -> types::Run {
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
        cluster_id: run.cluster_id.to_string(),
        cluster_name: run.cluster_name.clone(),
        project_id: run.project_id.to_string(),
        home_region: run.home_region.to_string(),
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
        settings: call.settings.to_owned(),
        carry: call.carry.to_vec(),
        page_number: call.page_number,
        last_page: call.last_page,
        extra: extra(&run.extra),
    }
}

/// A page of collections, numbered by place.
pub(super) fn collections(page: &[CollectionFacts]) -> Vec<types::Collection> {
    page.iter().enumerate().map(|(place, facts)| collection(id(place), facts)).collect()
}

fn collection(id: u32, facts: &CollectionFacts) -> types::Collection {
    types::Collection {
        id,
        database: facts.name.database.clone(),
        name: facts.name.collection.clone(),
        properties: facts.properties.clone(),
        labels: facts.labels.clone(),
        criticality: facts.criticality.clone(),
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
        indexes: facts.indexes.iter().map(index).collect(),
        last_backup: facts.last_backup.as_ref().map(last_backup),
        consecutive_failures: facts.consecutive_failures,
        last_proven_restore_time_ms: facts.last_proven_restore.map(millis),
        previous_reason_code: facts.previous_reason_code.clone(),
        extra: extra(&facts.extra),
    }
}

fn index(index: &model::IndexFacts) -> types::IndexFacts {
    types::IndexFacts {
        field_name: index.field_name.clone(),
        index_type: index.index_type.clone(),
        metric_type: index.metric_type.clone(),
    }
}

fn last_backup(last: &model::LastBackup) -> types::LastBackup {
    types::LastBackup {
        backup_id: last.backup_id.to_string(),
        time_ms: millis(last.time),
        regions: last.regions.iter().map(ToString::to_string).collect(),
        codecs: last.codecs.clone(),
        stored_bytes: last.stored_bytes,
    }
}

/// Streams, numbered by place.
pub(super) fn streams(streams: &[StreamFacts]) -> Vec<compression::Stream> {
    let mut names = CodecNames::default();
    let stream = |(place, facts): (usize, &StreamFacts)| compression::Stream {
        id: id(place),
        database: facts.collection.database.clone(),
        collection: facts.collection.collection.clone(),
        class: facts.class.as_str().to_owned(),
        files: facts.files,
        size_bytes: facts.size_bytes,
        new_bytes: facts.new_bytes,
        sampled_bytes: facts.sampled_bytes,
        offers: facts.offers.iter().map(|offer| names.offer(offer)).collect(),
        extra: extra(&facts.extra),
    };
    streams.iter().enumerate().map(stream).collect()
}

/// Spellings of codecs: a page has thousands of offers of a few codecs, and spelling one out costs more than copying it.
#[derive(Default)]
struct CodecNames(Vec<(model::Codec, String)>);

impl CodecNames {
    fn offer(&mut self, offer: &model::CodecOffer) -> compression::CodecOffer {
        compression::CodecOffer {
            codec: self.name(offer.codec),
            ratio_thousandths: offer.ratio_thousandths,
            compress_mb_per_second: offer.compress_mb_per_second,
            decompress_mb_per_second: offer.decompress_mb_per_second,
        }
    }

    fn name(&mut self, codec: model::Codec) -> String {
        if let Some((_, name)) = self.0.iter().find(|(known, _)| *known == codec) {
            return name.clone();
        }
        let name = codec.to_string();
        self.0.push((codec, name.clone()));
        name
    }
}

/// The regions a project may use.
pub(super) fn regions(regions: &[RegionOffer]) -> Vec<placement::Region> {
    let region = |offer: &RegionOffer| placement::Region {
        id: offer.id.to_string(),
        provider: offer.provider.clone(),
        jurisdiction: offer.jurisdiction.clone(),
        home: offer.home,
        storage_price_micros_per_gb_month: offer.storage_price_micros_per_gb_month,
        transfer_price_micros_per_gb: offer.transfer_price_micros_per_gb,
        health: match offer.health {
            RegionHealth::Healthy => placement::RegionHealth::Healthy,
            RegionHealth::Degraded => placement::RegionHealth::Degraded,
            RegionHealth::Unreachable => placement::RegionHealth::Unreachable,
        },
        used_bytes: offer.used_bytes,
        extra: extra(&offer.extra),
    };
    regions.iter().map(region).collect()
}
