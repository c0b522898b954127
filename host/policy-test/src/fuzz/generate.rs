//! Inventories as hosts could make them: within the contract, but as odd as it allows.

use longshore_model::{
    ClassBytes, Codec, CodecOffer, CollectionFacts, CollectionName, ExtraFact, FactValue, FileClass, IndexFacts,
    LastBackup, LoadState, RegionHealth, RegionOffer, RunFacts, RunKind, RunTrigger, StreamFacts, Timestamp,
};

use super::vocabulary::Vocabulary;
use crate::Scenario;
use crate::cases::When;
use crate::random::Random;

/// 2026-01-01; generated times lie around it.
const MIDDLE_MS: i64 = 1_767_225_600_000;
/// Larger numbers cannot be written in TOML.
const NUMBER_BITS: u32 = 50;

/// One scenario.
pub(crate) fn scenario(random: &mut Random, words: &Vocabulary) -> Scenario {
    let regions = regions(random, words);
    let time = Timestamp::from_millis(MIDDLE_MS.saturating_add(signed(random, 36)));
    let (mut collections, mut streams) = (Vec::new(), Vec::new());
    for number in 0..size(random) {
        let facts = collection(random, words, number, time, &regions);
        if collections.iter().any(|other: &CollectionFacts| other.name == facts.name) {
            continue;
        }
        streams.extend(FileClass::ALL.into_iter().filter_map(|class| stream(random, &facts, class)));
        collections.push(facts);
    }
    let run = run(random, words, time, &regions);
    if run.kind == RunKind::Collection {
        // Such a run is about what its request names.
        collections.iter_mut().for_each(|facts| facts.requested = true);
    }
    let settings = random.pick(&words.settings).cloned().unwrap_or_default();
    let page_items = if random.one_in(2) { 1_000 } else { as_size(1 + random.below(10)) };
    let files = random.pick(&words.files).cloned().unwrap_or_default();
    let mut scenario = Scenario { settings, budget: None, files, page_items, run, collections, streams, regions };
    scenario.settle();
    scenario
}

fn as_size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Mostly few, now and then more than a page of the contract.
fn size(random: &mut Random) -> usize {
    match random.below(64) {
        0 => 1_001,
        1..=3 => 0,
        4..=10 => as_size(random.below(60)),
        _ => as_size(1 + random.below(8)),
    }
}

/// A number of milliseconds, before or after.
fn signed(random: &mut Random, bits: u32) -> i64 {
    let size = i64::try_from(random.magnitude(bits)).unwrap_or(0);
    if random.one_in(2) { size } else { -size }
}

fn maybe<T>(random: &mut Random, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
    if random.one_in(2) { Some(value(random)) } else { None }
}

/// A length of time in milliseconds: any, or some days, in which people and policies think.
fn length_ms(random: &mut Random) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    if random.one_in(2) { random.magnitude(37) } else { random.below(400) * DAY_MS + random.below(3) }
}

/// How far a fact goes, at least by one.
pub(super) fn step(random: &mut Random, fact: When) -> u64 {
    let step = match fact {
        When::LastWrite | When::Created | When::LastBackup => length_ms(random),
        When::ConsecutiveFailures => random.magnitude(6),
        When::Ratio => random.magnitude(12),
        _ => random.magnitude(NUMBER_BITS - 4),
    };
    step.max(1)
}

/// A time before the run, mostly: clocks of a source may be ahead.
fn time(random: &mut Random, run: Timestamp) -> Timestamp {
    let before = i64::try_from(length_ms(random)).unwrap_or(0);
    run.plus_millis(if random.one_in(10) { before } else { -before })
}

/// A word of the list, or an odd one.
fn word(random: &mut Random, list: &[String], words: &Vocabulary) -> String {
    let list = if list.is_empty() || random.one_in(8) { &words.odd } else { list };
    random.pick(list).cloned().unwrap_or_default()
}

fn pairs(random: &mut Random, keys: &[(String, Vec<String>)], words: &Vocabulary) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (key, values) in keys {
        if random.one_in(2) {
            pairs.push((key.clone(), word(random, values, words)));
        }
    }
    if random.one_in(6) {
        pairs.push((format!("key-{}", random.below(3)), word(random, &[], words)));
    }
    pairs.sort();
    pairs
}

fn name(random: &mut Random, words: &Vocabulary, number: usize) -> CollectionName {
    if random.one_in(4)
        && let Some(name) = random.pick(&words.names)
    {
        return name.clone();
    }
    let database = ["default", "default", "default", "sales", "ä b", "Z"];
    let database = random.pick(&database).copied().unwrap_or("default");
    let odd = if random.one_in(10) { word(random, &[], words) } else { String::new() };
    let plain = CollectionName { database: database.to_owned(), collection: format!("c{number}") };
    CollectionName::new(database, &format!("c{number}{odd}")).unwrap_or(plain)
}

fn collection(
    random: &mut Random,
    words: &Vocabulary,
    number: usize,
    run: Timestamp,
    regions: &[RegionOffer],
) -> CollectionFacts {
    let mut size_bytes = ClassBytes::default();
    for class in FileClass::ALL {
        if class == FileClass::Segment || random.one_in(2) {
            size_bytes.add(class, random.magnitude(NUMBER_BITS - 4));
        }
    }
    let total = size_bytes.total();
    let new_bytes = match random.below(4) {
        0 => 0,
        1 => random.below(total.saturating_add(1)),
        _ => total,
    };
    let states = [LoadState::Unknown, LoadState::NotLoaded, LoadState::Loaded];
    CollectionFacts {
        name: name(random, words, number),
        properties: pairs(random, &words.properties, words),
        labels: pairs(random, &words.labels, words),
        criticality: maybe(random, |random| word(random, &words.criticality, words)),
        recovery_point_objective_seconds: maybe(random, |random| random.magnitude(32)),
        protected: random.one_in(4),
        requested: random.one_in(4),
        rows: random.magnitude(NUMBER_BITS - 10),
        size_bytes,
        new_bytes,
        created: maybe(random, |random| time(random, run)),
        last_write: maybe(random, |random| time(random, run)),
        load_state: random.pick(&states).copied().unwrap_or_default(),
        indexes: maybe(random, |_| index()).into_iter().collect(),
        last_backup: maybe(random, |random| last_backup(random, run, regions)).flatten(),
        consecutive_failures: u32::try_from(random.magnitude(8)).unwrap_or(0),
        last_proven_restore: maybe(random, |random| time(random, run)),
        previous_reason_code: maybe(random, |random| format!("code-{}", random.below(3))),
        extra: extra(random, words),
    }
}

fn index() -> IndexFacts {
    IndexFacts { field_name: "vector".to_owned(), index_type: "HNSW".to_owned(), metric_type: "COSINE".to_owned() }
}

fn last_backup(random: &mut Random, run: Timestamp, regions: &[RegionOffer]) -> Option<LastBackup> {
    let held: Vec<_> = regions.iter().filter(|_| random.one_in(2)).map(|region| region.id.clone()).collect();
    Some(LastBackup {
        backup_id: "backup0_1".parse().ok()?,
        time: time(random, run),
        regions: held,
        codecs: vec!["zstd-1".to_owned()],
        stored_bytes: random.magnitude(NUMBER_BITS),
    })
}

fn extra(random: &mut Random, words: &Vocabulary) -> Vec<ExtraFact> {
    let mut facts = Vec::new();
    for (name, values) in &words.extra {
        if random.one_in(2)
            && let Some(value) = random.pick(values)
        {
            facts.push(ExtraFact { name: name.clone(), value: value.clone() });
        }
    }
    if random.one_in(10) {
        // Unknown facts must be ignored.
        facts.push(ExtraFact { name: "unknown".to_owned(), value: FactValue::Integer(signed(random, 40)) });
    }
    facts.sort_by(|one, two| one.name.cmp(&two.name));
    facts
}

fn stream(random: &mut Random, facts: &CollectionFacts, class: FileClass) -> Option<StreamFacts> {
    let size_bytes = facts.size_bytes.of(class);
    if size_bytes == 0 {
        return None;
    }
    let new_bytes = if facts.new_bytes == 0 { 0 } else { random.below(size_bytes.saturating_add(1)) };
    let sampled_bytes = if random.one_in(3) { 0 } else { new_bytes.min(1 << 20) };
    let files = 1 + random.magnitude(12);
    let (collection, offers) = (facts.name.clone(), offers(random));
    Some(StreamFacts { collection, class, files, size_bytes, new_bytes, sampled_bytes, offers, extra: Vec::new() })
}

/// Nearly always with `store`, as hosts offer it.
fn offers(random: &mut Random) -> Vec<CodecOffer> {
    let others = [
        Codec::Lz4,
        Codec::Zstd { level: 1 },
        Codec::Zstd { level: 3 },
        Codec::ShuffleZstd { element_bytes: 4, level: 1 },
        Codec::AdaptiveZstd { level: 1 },
    ];
    let mut offers = Vec::new();
    for codec in others {
        if random.one_in(2) {
            let ratio = u32::try_from(random.below(2_500)).unwrap_or(0) + 500;
            offers.push(CodecOffer::calibrated(codec, ratio));
        }
    }
    if offers.is_empty() || !random.one_in(16) {
        offers.insert(0, CodecOffer::calibrated(Codec::Store, 1_000));
    }
    offers
}

fn regions(random: &mut Random, words: &Vocabulary) -> Vec<RegionOffer> {
    let count = 1 + random.below(4);
    // Guardrails may leave the home region out.
    let home = if random.one_in(12) { count } else { random.below(count) };
    let usual = ["eu".to_owned(), "us".to_owned(), String::new()];
    let jurisdictions: Vec<String> = words.jurisdictions.iter().chain(&usual).cloned().collect();
    let region = |number| {
        let health = match random.below(6) {
            0 => RegionHealth::Degraded,
            1 => RegionHealth::Unreachable,
            _ => RegionHealth::Healthy,
        };
        Some(RegionOffer {
            id: format!("region-{number}").parse().ok()?,
            provider: random.pick(&["local", "aws", "gcp"]).copied().unwrap_or_default().to_owned(),
            jurisdiction: random.pick(&jurisdictions).cloned().unwrap_or_default(),
            home: number == home,
            storage_price_micros_per_gb_month: random.magnitude(24),
            transfer_price_micros_per_gb: random.magnitude(24),
            health,
            used_bytes: random.magnitude(NUMBER_BITS),
            extra: Vec::new(),
        })
    };
    (0..count).filter_map(region).collect()
}

fn run(random: &mut Random, words: &Vocabulary, time: Timestamp, regions: &[RegionOffer]) -> RunFacts {
    let plain = words.plain.run.clone();
    let home = regions.iter().find(|region| region.home).or(regions.first()).map(|region| region.id.clone());
    RunFacts {
        kind: if random.one_in(4) { RunKind::Collection } else { RunKind::Cluster },
        trigger: if random.one_in(2) { RunTrigger::Automatic } else { RunTrigger::Manual },
        cluster_name: word(random, &["test".to_owned()], words),
        home_region: home.unwrap_or_else(|| plain.home_region.clone()),
        time,
        seed: random.magnitude(NUMBER_BITS),
        next_run: maybe(random, |random| time.plus_millis(i64::try_from(random.magnitude(32)).unwrap_or(0))),
        month_spend_micros: random.magnitude(40),
        month_budget_micros: maybe(random, |random| random.magnitude(40)),
        ..plain
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use longshore_model::{FactValue, PolicyKind};
    use longshore_policy::GrantedFiles;

    use super::scenario;
    use crate::Scenario;
    use crate::cases::{CaseFile, Written, write_case};
    use crate::fuzz::vocabulary::{Vocabulary, odd};
    use crate::random::Random;

    #[test]
    fn what_is_written_as_a_case_is_read_as_it_was() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let rules = BTreeMap::from([("a b.toml".to_owned(), b"x = \"1\"\n".to_vec())]);
        let granted = GrantedFiles::new(BTreeMap::from([("/rules".to_owned(), rules)])).unwrap();
        let words = Vocabulary {
            settings: vec![serde_json::json!({}), serde_json::json!({"a": [1, {"b c": "\"\\\n"}], "d": true})],
            plain: Scenario::from_toml("").unwrap(),
            files: vec![GrantedFiles::default(), granted],
            names: vec!["sales.orders".parse().unwrap()],
            properties: vec![("data.region".to_owned(), list(&["eu", "us"]))],
            labels: vec![("a \"b\"".to_owned(), Vec::new())],
            criticality: list(&["high"]),
            jurisdictions: list(&["mars"]),
            extra: vec![("x".to_owned(), vec![FactValue::Flag(true), FactValue::Text("\u{7f}".to_owned())])],
            odd: odd(),
        };
        let (mut collections, mut streams) = (0, 0);
        for seed in 0..400 {
            let made = scenario(&mut Random::new(seed), &words);
            (collections, streams) = (collections + made.collections.len(), streams + made.streams.len());
            let (comment, description, expect) = ("one\ntwo", "a \"case\"", "holds = \"contract\"");
            let kind = PolicyKind::Compression;
            let text = write_case(&Written { comment, description, kind, scenario: &made, expect });
            let cases = CaseFile::parse("x", &text).and_then(|file| file.cases());
            let cases = cases.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            assert_eq!(cases[0].scenario, made, "seed {seed}:\n{text}");
        }
        assert!(collections > 4_000 && streams > 4_000, "{collections} {streams}");
    }
}
