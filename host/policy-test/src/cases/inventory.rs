//! From the tables of a case file to a scenario: names checked, defaults filled in, sums counted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_model::{
    ClassBytes, Codec, CodecOffer, CollectionFacts, ExtraFact, FactValue, FileClass, LastBackup, RegionOffer, RunFacts,
    RunKind, RunTrigger, StreamFacts, Timestamp,
};
use longshore_policy::Grants;
use longshore_sandbox::Budget;

use super::format::{CollectionTable, RegionTable, RunTable, SizesTable, StreamTable, collection_name};
use super::granted::{WrittenFiles, granted};
use super::values::{Bytes, OfferTable, Offers, Short, When};
use crate::scenario::totals;
use crate::{Limits, Scenario};

/// Time of a run that names none.
pub(crate) const DEFAULT_TIME: &str = "2026-01-01T00:00:00Z";
/// Facts of a collection that names none.
pub(crate) const DEFAULT_ROWS: u64 = 1_000;
pub(crate) const DEFAULT_SIZE_BYTES: u64 = 4_000_000;
/// What a host samples of a stream at most, about.
pub(crate) const DEFAULT_SAMPLED_BYTES: u64 = 1 << 20;
pub(crate) const DEFAULT_STORAGE_PRICE: u64 = 20_000;
pub(crate) const DEFAULT_TRANSFER_PRICE: u64 = 10_000;
/// Ratios in thousandths of a stream whose file names no offers: what a host measures on ordinary segments.
pub(crate) const DEFAULT_RATIOS: [(Codec, u32); 5] = [
    (Codec::Store, 1_000),
    (Codec::Lz4, 1_020),
    (Codec::Zstd { level: 1 }, 1_090),
    (Codec::Zstd { level: 3 }, 1_100),
    (Codec::ShuffleZstd { element_bytes: 4, level: 1 }, 1_190),
];

/// Everything a case is made of, the file's tables and its own already joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) settings: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) budget: Option<Budget>,
    pub(crate) files: Option<WrittenFiles>,
    pub(crate) grants: Option<Grants>,
    /// Where the case file lies.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) page_items: Option<usize>,
    pub(crate) offers: Option<Offers>,
    pub(crate) run: RunTable,
    pub(crate) regions: Vec<RegionTable>,
    pub(crate) collections: Vec<CollectionTable>,
}

impl Parts {
    /// Makes the scenario. An error is a sentence that names the wrong value.
    pub(crate) fn scenario(&self) -> Result<Scenario, String> {
        let limit = longshore_model::Limits::DEFAULT.page_items;
        let page_items = self.page_items.unwrap_or(limit);
        if !(1..=limit).contains(&page_items) {
            return Err(format!("`page_items` is {page_items}; it can be 1 to {limit}"));
        }
        let time = match self.run.time {
            None => DEFAULT_TIME.parse().map_err(|error: longshore_model::ModelError| error.to_string())?,
            Some(When::At(time)) => time,
            Some(When::After(_)) => return Err("the run's own time cannot be relative to itself".to_owned()),
        };
        let regions = regions(&self.regions)?;
        let home = regions.iter().find(|region| region.home).or(regions.first()).map(|region| region.id.clone());
        let home = home.ok_or("there is no region")?;
        let (mut collections, mut streams) = (Vec::new(), Vec::new());
        for table in &self.collections {
            for name in names(table)? {
                let facts = collection(table, &name, time, &home)?;
                streams.extend(self.streams(table, &facts)?);
                collections.push(facts);
            }
            if collections.len() > Limits::DEFAULT.case_collections {
                return Err(format!("it has more than {} collections", Limits::DEFAULT.case_collections));
            }
        }
        let run = run(&self.run, time, home)?;
        let settings = serde_json::Value::Object(self.settings.clone().unwrap_or_default());
        let budget = self.budget;
        let (written, grants) = (self.files.clone().unwrap_or_default(), self.grants.clone().unwrap_or_default());
        let files = granted(&written, &grants, self.folder.as_deref())?;
        let mut scenario = Scenario { settings, budget, files, page_items, run, collections, streams, regions };
        scenario.settle();
        unique(&scenario)?;
        override_totals(&mut scenario.run, &self.run);
        Ok(scenario)
    }

    fn streams(&self, table: &CollectionTable, facts: &CollectionFacts) -> Result<Vec<StreamFacts>, String> {
        if !table.stream.is_empty() {
            return table.stream.iter().map(|stream| self.stream(facts, stream)).collect();
        }
        let classes = FileClass::ALL.into_iter().filter(|class| facts.size_bytes.of(*class) > 0);
        classes.map(|class| self.stream(facts, &plain_stream(class))).collect()
    }

    fn stream(&self, facts: &CollectionFacts, table: &StreamTable) -> Result<StreamFacts, String> {
        let size_bytes = table.size_bytes.map_or(facts.size_bytes.of(table.class), |bytes| bytes.0);
        let new_bytes = table.new_bytes.map_or_else(|| share(facts, size_bytes), |bytes| bytes.0);
        let offers = offers(table.offers.as_ref().or(self.offers.as_ref()));
        if offers.is_empty() {
            return Err(format!("{}/{} has no offers; a host always offers a codec", facts.name, table.class));
        }
        Ok(StreamFacts {
            collection: facts.name.clone(),
            class: table.class,
            files: table.files.unwrap_or(1),
            size_bytes,
            new_bytes,
            sampled_bytes: table.sampled_bytes.map_or(new_bytes.min(DEFAULT_SAMPLED_BYTES), |bytes| bytes.0),
            offers,
            extra: extra(&table.extra),
        })
    }
}

/// A stream of a class with nothing said about it.
fn plain_stream(class: FileClass) -> StreamTable {
    StreamTable {
        class,
        files: None,
        size_bytes: None,
        new_bytes: None,
        sampled_bytes: None,
        offers: None,
        extra: BTreeMap::new(),
    }
}

/// What of so many bytes is new, if it is as new as the collection.
fn share(facts: &CollectionFacts, size_bytes: u64) -> u64 {
    let total = u128::from(facts.size_bytes.total()).max(1);
    let new = u128::from(size_bytes) * u128::from(facts.new_bytes) / total;
    u64::try_from(new).unwrap_or(u64::MAX).min(size_bytes)
}

/// The names that a table stands for.
fn names(table: &CollectionTable) -> Result<Vec<String>, String> {
    let Some(count) = table.count else { return Ok(vec![table.name.clone()]) };
    let limit = Limits::DEFAULT.case_collections;
    if count > limit {
        return Err(format!("`count` of `{}` is {count}; it can be at most {limit}", table.name));
    }
    if !table.name.contains("{n}") {
        return Err(format!("`{}` has a `count`, so its name needs `{{n}}` where the number goes", table.name));
    }
    let digits = count.to_string().len();
    Ok((1..=count).map(|number| table.name.replace("{n}", &format!("{number:0digits$}"))).collect())
}

fn collection(
    table: &CollectionTable,
    name: &str,
    run: Timestamp,
    home: &longshore_model::RegionId,
) -> Result<CollectionFacts, String> {
    let size_bytes = sizes(table.size_bytes.as_ref());
    let at = |when: Option<When>| when.map(|when| when.at(run));
    let last_backup = match &table.last_backup {
        None => None,
        Some(Short(backup)) => Some(LastBackup {
            backup_id: match &backup.backup_id {
                Some(id) => id.clone(),
                None => "backup0_1".parse().map_err(|error: longshore_model::ModelError| error.to_string())?,
            },
            time: backup.time.at(run),
            regions: backup.regions.clone().unwrap_or_else(|| vec![home.clone()]),
            codecs: backup.codecs.clone().unwrap_or_else(|| vec!["zstd-1".to_owned()]),
            stored_bytes: backup.stored_bytes.map_or(size_bytes.total(), |bytes| bytes.0),
        }),
    };
    Ok(CollectionFacts {
        name: collection_name(name)?,
        properties: table.properties.clone().into_iter().collect(),
        labels: table.labels.clone().into_iter().collect(),
        criticality: table.criticality.clone(),
        recovery_point_objective_seconds: table.recovery_point_objective_seconds,
        protected: table.protected,
        requested: table.requested,
        rows: table.rows.unwrap_or(DEFAULT_ROWS),
        size_bytes,
        new_bytes: table.new_bytes.map_or(size_bytes.total(), |bytes| bytes.0),
        created: at(table.created),
        last_write: at(table.last_write),
        load_state: table.load_state,
        indexes: table.indexes.clone(),
        last_backup,
        consecutive_failures: table.consecutive_failures,
        last_proven_restore: at(table.last_proven_restore),
        previous_reason_code: table.previous_reason_code.clone(),
        extra: extra(&table.extra),
    })
}

fn sizes(table: Option<&Short<SizesTable>>) -> ClassBytes {
    let Some(Short(table)) = table else {
        return ClassBytes { segment: DEFAULT_SIZE_BYTES, ..ClassBytes::default() };
    };
    let of = |bytes: Option<Bytes>| bytes.map_or(0, |bytes| bytes.0);
    ClassBytes {
        segment: of(table.segment),
        index: of(table.index),
        delta: of(table.delta),
        wal: of(table.wal),
        metadata: of(table.metadata),
    }
}

fn regions(tables: &[RegionTable]) -> Result<Vec<RegionOffer>, String> {
    let marked = tables.iter().any(|table| table.home == Some(true));
    let offer = |(place, table): (usize, &RegionTable)| RegionOffer {
        id: table.id.clone(),
        provider: table.provider.clone().unwrap_or_else(|| "local".to_owned()),
        jurisdiction: table.jurisdiction.clone(),
        home: table.home.unwrap_or(!marked && place == 0),
        storage_price_micros_per_gb_month: table.storage_price_micros_per_gb_month.unwrap_or(DEFAULT_STORAGE_PRICE),
        transfer_price_micros_per_gb: table.transfer_price_micros_per_gb.unwrap_or(DEFAULT_TRANSFER_PRICE),
        health: table.health,
        used_bytes: table.used_bytes.map_or(0, |bytes| bytes.0),
        extra: extra(&table.extra),
    };
    let offers: Vec<RegionOffer> = tables.iter().enumerate().map(offer).collect();
    if !offers.is_empty() {
        return Ok(offers);
    }
    Ok(vec![home_region().map_err(|error| error.to_string())?])
}

/// The region of a file that names none.
pub(crate) fn home_region() -> Result<RegionOffer, longshore_model::ModelError> {
    Ok(RegionOffer {
        id: "local".parse()?,
        provider: "local".to_owned(),
        jurisdiction: String::new(),
        home: true,
        storage_price_micros_per_gb_month: DEFAULT_STORAGE_PRICE,
        transfer_price_micros_per_gb: DEFAULT_TRANSFER_PRICE,
        health: longshore_model::RegionHealth::Healthy,
        used_bytes: 0,
        extra: Vec::new(),
    })
}

fn run(table: &RunTable, time: Timestamp, home: longshore_model::RegionId) -> Result<RunFacts, String> {
    let bad = |error: longshore_model::ModelError| error.to_string();
    Ok(RunFacts {
        kind: table.kind.unwrap_or(RunKind::Cluster),
        trigger: table.trigger.unwrap_or(RunTrigger::Manual),
        cluster_id: table.cluster_id.clone().map_or_else(|| "in01-test".parse(), Ok).map_err(bad)?,
        cluster_name: table.cluster_name.clone().unwrap_or_else(|| "test".to_owned()),
        project_id: table.project_id.clone().map_or_else(|| "proj-test".parse(), Ok).map_err(bad)?,
        home_region: table.home_region.clone().unwrap_or(home),
        time,
        seed: table.seed.unwrap_or(1),
        next_run: table.next_run.map(|when| when.at(time)),
        month_spend_micros: table.month_spend_micros.unwrap_or(0),
        month_budget_micros: table.month_budget_micros,
        totals: totals(&[]),
        extra: extra(&table.extra),
    })
}

fn override_totals(run: &mut RunFacts, table: &RunTable) {
    let totals = &mut run.totals;
    totals.collections = table.totals.collections.unwrap_or(totals.collections);
    totals.rows = table.totals.rows.unwrap_or(totals.rows);
    totals.size_bytes = table.totals.size_bytes.map_or(totals.size_bytes, |bytes| bytes.0);
    totals.new_bytes = table.totals.new_bytes.map_or(totals.new_bytes, |bytes| bytes.0);
}

fn extra(facts: &BTreeMap<String, FactValue>) -> Vec<ExtraFact> {
    facts.iter().map(|(name, value)| ExtraFact { name: name.clone(), value: value.clone() }).collect()
}

/// Offers as the host makes them, with its calibrated speeds where none are given.
pub(crate) fn offers(written: Option<&Offers>) -> Vec<CodecOffer> {
    match written {
        None => DEFAULT_RATIOS.into_iter().map(|(codec, ratio)| CodecOffer::calibrated(codec, ratio)).collect(),
        Some(Offers::Ratios(ratios)) => {
            ratios.iter().map(|(codec, ratio)| CodecOffer::calibrated(*codec, *ratio)).collect()
        }
        Some(Offers::List(list)) => list.iter().map(offer_with_speeds).collect(),
    }
}

fn offer_with_speeds(table: &OfferTable) -> CodecOffer {
    let plain = CodecOffer::calibrated(table.codec, table.ratio_thousandths);
    CodecOffer {
        compress_mb_per_second: table.compress_mb_per_second.unwrap_or(plain.compress_mb_per_second),
        decompress_mb_per_second: table.decompress_mb_per_second.unwrap_or(plain.decompress_mb_per_second),
        ..plain
    }
}

/// Two things of one name could not be told apart.
fn unique(scenario: &Scenario) -> Result<(), String> {
    if let Some([one, _]) = scenario.collections.windows(2).find(|pair| matches!(pair, [a, b] if a.name == b.name)) {
        return Err(format!("collection {} is there twice", one.name));
    }
    let same = |pair: &&[StreamFacts]| matches!(pair, [a, b] if (&a.collection, a.class) == (&b.collection, b.class));
    if let Some([one, _]) = scenario.streams.windows(2).find(same) {
        return Err(format!("stream {}/{} is there twice", one.collection, one.class));
    }
    let mut ids: Vec<_> = scenario.regions.iter().map(|region| &region.id).collect();
    ids.sort();
    match ids.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        Some([one, _]) => Err(format!("region {one} is there twice")),
        _ => Ok(()),
    }
}
