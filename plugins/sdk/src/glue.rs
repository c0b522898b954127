//! Between the generated types and the plain ones. Values are moved, not copied.

use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::bindings::{base, compression, placement, selection};
use crate::{answer, facts, policy};
use base::exports::longshore::policy::about as wire_about;
use base::longshore::policy::types as wire;
use compression::exports::longshore::policy::compression as wire_compression;
use placement::exports::longshore::policy::placement as wire_placement;
use selection::exports::longshore::policy::selection as wire_selection;

/// `about.describe` of a plugin.
#[must_use]
pub fn describe<P: policy::Plugin>() -> wire_about::Info {
    let about = P::about();
    wire_about::Info {
        name: about.name.to_owned(),
        version: about.version.to_owned(),
        author: about.author.to_owned(),
        description: about.description.to_owned(),
        settings_schema: about.settings_schema.to_owned(),
    }
}

/// `selection.select` of a plugin.
///
/// # Errors
///
/// The plugin's refusal.
pub fn select<P: policy::SelectionPolicy>(
    run: wire::Run,
    page: Vec<wire::Collection>,
) -> Result<wire_selection::PageAnswer, wire::Refusal> {
    let (run, page) = (kept(run.into()), kept(convert(page)));
    let answer = P::select(&run, &page)?;
    let decisions = answer.decisions.into_iter().map(|(id, selected)| (id, selected.into())).collect();
    Ok(wire_selection::PageAnswer { decisions, carry: answer.carry })
}

/// `compression.choose` of a plugin.
///
/// # Errors
///
/// The plugin's refusal.
pub fn choose<P: policy::CompressionPolicy>(
    run: wire::Run,
    codecs: Vec<wire_compression::Codec>,
    collections: Vec<wire_compression::CollectionStreams>,
) -> Result<wire_compression::PageAnswer, wire::Refusal> {
    let (run, streams) = (kept(run.into()), kept(streams(codecs, collections)));
    let answer = P::choose(&run, &streams)?;
    let decisions = answer.decisions.into_iter().map(|(id, choice)| (id, choice.into())).collect();
    Ok(wire_compression::PageAnswer { decisions, carry: answer.carry })
}

/// `placement.place` of a plugin.
///
/// # Errors
///
/// The plugin's refusal.
pub fn place<P: policy::PlacementPolicy>(
    run: wire::Run,
    collections: Vec<wire::Collection>,
    regions: Vec<wire_placement::Region>,
) -> Result<wire_placement::PageAnswer, wire::Refusal> {
    let (run, collections, regions) = (kept(run.into()), kept(convert(collections)), kept(convert(regions)));
    let answer = P::place(&run, &collections, &regions)?;
    let decisions = answer.decisions.into_iter().map(|(id, placed)| (id, placed.into())).collect();
    Ok(wire_placement::PageAnswer { decisions, carry: answer.carry })
}

/// A question that is not given back: an instance answers one call, and its whole memory goes with it. Freeing the texts of
/// a page one by one would cost as much as taking them in did.
fn kept<T>(question: T) -> ManuallyDrop<T> {
    ManuallyDrop::new(question)
}

fn convert<From, To: std::convert::From<From>>(values: Vec<From>) -> Vec<To> {
    values.into_iter().map(To::from).collect()
}

fn extra(facts: wire::ExtraFacts) -> facts::ExtraFacts {
    facts.into_iter().map(|(name, value)| (name, value.into())).collect()
}

impl From<wire::FactValue> for facts::FactValue {
    fn from(value: wire::FactValue) -> Self {
        match value {
            wire::FactValue::Flag(flag) => Self::Flag(flag),
            wire::FactValue::Integer(integer) => Self::Integer(integer),
            wire::FactValue::Text(text) => Self::Text(text),
        }
    }
}

impl From<wire::Run> for facts::Run {
    fn from(run: wire::Run) -> Self {
        Self {
            kind: match run.kind {
                wire::RunKind::Cluster => facts::RunKind::Cluster,
                wire::RunKind::Collection => facts::RunKind::Collection,
            },
            trigger: match run.trigger {
                wire::RunTrigger::Manual => facts::RunTrigger::Manual,
                wire::RunTrigger::Automatic => facts::RunTrigger::Automatic,
            },
            cluster_id: run.cluster_id,
            cluster_name: run.cluster_name,
            project_id: run.project_id,
            home_region: run.home_region,
            time_ms: run.time_ms,
            seed: run.seed,
            next_run_time_ms: run.next_run_time_ms,
            month_spend_micros: run.month_spend_micros,
            month_budget_micros: run.month_budget_micros,
            totals: facts::Totals {
                collections: run.totals.collections,
                rows: run.totals.rows,
                size_bytes: run.totals.size_bytes,
                new_bytes: run.totals.new_bytes,
            },
            settings_json: run.settings,
            carry: run.carry,
            page_number: run.page_number,
            last_page: run.last_page,
            extra: extra(run.extra),
        }
    }
}

impl From<wire::ClassBytes> for facts::ClassBytes {
    fn from(bytes: wire::ClassBytes) -> Self {
        Self {
            segment: bytes.segment,
            index: bytes.index,
            delta: bytes.delta,
            wal: bytes.wal,
            metadata: bytes.metadata,
        }
    }
}

impl From<wire::IndexFacts> for facts::IndexFacts {
    fn from(index: wire::IndexFacts) -> Self {
        Self { field_name: index.field_name, index_type: index.index_type, metric_type: index.metric_type }
    }
}

impl From<wire::LastBackup> for facts::LastBackup {
    fn from(backup: wire::LastBackup) -> Self {
        Self {
            backup_id: backup.backup_id,
            time_ms: backup.time_ms,
            regions: backup.regions,
            codecs: backup.codecs,
            stored_bytes: backup.stored_bytes,
        }
    }
}

impl From<wire::Collection> for facts::Collection {
    fn from(collection: wire::Collection) -> Self {
        Self {
            id: collection.id,
            database: collection.database,
            name: collection.name,
            properties: collection.properties,
            labels: collection.labels,
            criticality: collection.criticality,
            recovery_point_objective_seconds: collection.recovery_point_objective_seconds,
            protected: collection.protected,
            requested: collection.requested,
            rows: collection.rows,
            size_bytes: collection.size_bytes.into(),
            new_bytes: collection.new_bytes,
            created_time_ms: collection.created_time_ms,
            last_write_time_ms: collection.last_write_time_ms,
            load_state: match collection.load_state {
                wire::LoadState::Unknown => facts::LoadState::Unknown,
                wire::LoadState::NotLoaded => facts::LoadState::NotLoaded,
                wire::LoadState::Loaded => facts::LoadState::Loaded,
            },
            indexes: convert(collection.indexes),
            last_backup: collection.last_backup.map(Into::into),
            consecutive_failures: collection.consecutive_failures,
            last_proven_restore_time_ms: collection.last_proven_restore_time_ms,
            previous_reason_code: collection.previous_reason_code,
            extra: extra(collection.extra),
        }
    }
}

/// A text that lives as long as the instance.
fn shared(text: String) -> facts::Text {
    facts::Text::Borrowed(text.leak())
}

/// The streams of a page, each with what it shares with others.
fn streams(
    codecs: Vec<wire_compression::Codec>,
    collections: Vec<wire_compression::CollectionStreams>,
) -> Vec<facts::Stream> {
    let codecs: Vec<facts::CodecOffer> = codecs.into_iter().map(codec).collect();
    let mut all = Vec::with_capacity(collections.iter().map(|collection| collection.streams.len()).sum());
    for of in collections {
        let (database, collection) = (shared(of.database), shared(of.name));
        let collection_extra = Rc::new(extra(of.extra));
        all.extend(of.streams.into_iter().map(|stream| facts::Stream {
            id: stream.id,
            database: database.clone(),
            collection: collection.clone(),
            class: shared(stream.class),
            files: stream.files,
            size_bytes: stream.size_bytes,
            new_bytes: stream.new_bytes,
            sampled_bytes: stream.sampled_bytes,
            offers: stream.offers.iter().filter_map(|made| offer(&codecs, made)).collect(),
            extra: extra(stream.extra),
            collection_extra: Rc::clone(&collection_extra),
        }));
    }
    all
}

/// A codec as an offer that says nothing about a stream yet.
fn codec(codec: wire_compression::Codec) -> facts::CodecOffer {
    facts::CodecOffer {
        codec: shared(codec.name),
        ratio_thousandths: 0,
        compress_mb_per_second: codec.compress_mb_per_second,
        decompress_mb_per_second: codec.decompress_mb_per_second,
    }
}

/// `None` for a place where no codec is, which no host sends.
fn offer(codecs: &[facts::CodecOffer], made: &wire_compression::CodecOffer) -> Option<facts::CodecOffer> {
    let codec = codecs.get(usize::try_from(made.codec).ok()?)?;
    Some(facts::CodecOffer { ratio_thousandths: made.ratio_thousandths, ..codec.clone() })
}

impl From<wire_placement::Region> for facts::Region {
    fn from(region: wire_placement::Region) -> Self {
        Self {
            id: region.id,
            provider: region.provider,
            jurisdiction: region.jurisdiction,
            home: region.home,
            storage_price_micros_per_gb_month: region.storage_price_micros_per_gb_month,
            transfer_price_micros_per_gb: region.transfer_price_micros_per_gb,
            health: match region.health {
                wire_placement::RegionHealth::Healthy => facts::RegionHealth::Healthy,
                wire_placement::RegionHealth::Degraded => facts::RegionHealth::Degraded,
                wire_placement::RegionHealth::Unreachable => facts::RegionHealth::Unreachable,
            },
            used_bytes: region.used_bytes,
            extra: extra(region.extra),
        }
    }
}

impl From<answer::Reason> for wire::Reason {
    fn from(reason: answer::Reason) -> Self {
        Self { code: reason.code, message: reason.message }
    }
}

impl From<answer::Refusal> for wire::Refusal {
    fn from(refusal: answer::Refusal) -> Self {
        Self { reason: refusal.reason.into(), items: refusal.items }
    }
}

impl From<answer::Selected> for wire_selection::Selected {
    fn from(selected: answer::Selected) -> Self {
        Self {
            include_collection: selected.include_collection,
            include_index_files: selected.include_index_files,
            priority: selected.priority,
            reason: selected.reason.into(),
        }
    }
}

impl From<answer::CodecChoice> for wire_compression::CodecChoice {
    fn from(choice: answer::CodecChoice) -> Self {
        Self { codec: choice.codec.into_owned(), reason: choice.reason.into() }
    }
}

impl From<answer::RegionCopy> for wire_placement::PlacedCopy {
    fn from(copy: answer::RegionCopy) -> Self {
        Self { region: copy.region, retention_days: copy.retention_days }
    }
}

impl From<answer::Placed> for wire_placement::Placed {
    fn from(placed: answer::Placed) -> Self {
        Self {
            region: placed.region,
            copies: convert(placed.copies),
            retention_days: placed.retention_days,
            reason: placed.reason.into(),
        }
    }
}
