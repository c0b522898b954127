//! The committed plugins decide as the ones built from the sources beside them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use longshore_model::{
    Codec, CodecOffer, CollectionFacts, CollectionName, FileClass, PolicyKind, RegionHealth, RegionOffer, RunFacts,
    RunKind, RunTrigger, StreamFacts, Timestamp, Totals,
};
use longshore_sandbox::{Budget, Call, GrantedFiles, Plugin, Sandbox, SandboxConfig};
use longshore_tests::{not_run, root};

const NOW_MS: i64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn ms(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// Numbers that look random and are the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()].clone()
    }
}

fn run(seed: u64) -> RunFacts {
    RunFacts {
        kind: RunKind::Cluster,
        trigger: RunTrigger::Manual,
        cluster_id: "in01-a".parse().unwrap(),
        cluster_name: "A".to_owned(),
        project_id: "proj-a".parse().unwrap(),
        home_region: "eu-1".parse().unwrap(),
        time: Timestamp::from_millis(NOW_MS),
        seed,
        next_run: None,
        month_spend_micros: 0,
        month_budget_micros: None,
        totals: Totals { collections: 50, rows: 0, size_bytes: 1 << 45, new_bytes: 1 << 44 },
        extra: Vec::new(),
    }
}

fn collections(numbers: &mut Numbers) -> Vec<CollectionFacts> {
    (0..50)
        .map(|number| {
            let name = CollectionName::new("default", &format!("c{number:03}")).unwrap();
            let mut facts = CollectionFacts::named(name);
            if numbers.below(2) == 0 {
                facts.properties.push(("data.region".to_owned(), numbers.one_of(&["eu".to_owned(), "us".to_owned()])));
            }
            facts.rows = numbers.below(1_000_000);
            facts.size_bytes.segment = numbers.below(1 << 40);
            facts.new_bytes = numbers.below(facts.size_bytes.segment + 1);
            facts.last_write = Some(Timestamp::from_millis(NOW_MS - ms(numbers.below(60 * DAY_MS))));
            facts
        })
        .collect()
}

fn streams(numbers: &mut Numbers) -> Vec<StreamFacts> {
    let codecs =
        [Codec::Store, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::ShuffleZstd { element_bytes: 4, level: 1 }];
    (0..200)
        .map(|number| StreamFacts {
            collection: CollectionName::new("default", &format!("c{number:03}")).unwrap(),
            class: numbers.one_of(&FileClass::ALL),
            files: numbers.below(100),
            size_bytes: numbers.below(1 << 40),
            new_bytes: numbers.below(3) * numbers.below(1 << 40),
            sampled_bytes: numbers.below(2) * 1_000_000,
            offers: codecs
                .iter()
                .map(|codec| CodecOffer {
                    codec: *codec,
                    ratio_thousandths: 900 + u32::try_from(numbers.below(1_500)).unwrap(),
                    compress_mb_per_second: 50 + u32::try_from(numbers.below(4_000)).unwrap(),
                    decompress_mb_per_second: 4_000,
                })
                .collect(),
            extra: Vec::new(),
        })
        .collect()
}

fn regions(numbers: &mut Numbers) -> Vec<RegionOffer> {
    ["eu-1", "eu-2", "us-1", "us-2"]
        .into_iter()
        .map(|id| RegionOffer {
            id: id.parse().unwrap(),
            provider: "local".to_owned(),
            jurisdiction: id[..2].to_owned(),
            home: id == "eu-1",
            storage_price_micros_per_gb_month: numbers.below(50_000),
            transfer_price_micros_per_gb: numbers.below(50_000),
            health: if id == "us-1" && numbers.below(2) == 0 { RegionHealth::Degraded } else { RegionHealth::Healthy },
            used_bytes: numbers.below(1 << 40),
            extra: Vec::new(),
        })
        .collect()
}

/// Everything a plugin answers to one round of questions, as text.
fn answers(plugin: &Plugin, settings: &str, seed: u64) -> String {
    let (run, budget) = (run(seed), Budget::default());
    let files = GrantedFiles::none();
    let call = Call { run: &run, settings, carry: &[], page_number: 0, last_page: true, budget: &budget, files };
    let mut numbers = Numbers(seed);
    let (collections, streams, regions) = (collections(&mut numbers), streams(&mut numbers), regions(&mut numbers));
    let streams: Vec<_> = streams
        .into_iter()
        .zip(collections.iter().cycle())
        .map(|(stream, facts)| stream.telling_about(facts))
        .collect();
    let mut text = format!("{:?} {:?}\n", plugin.about(), plugin.kinds());
    if plugin.serves(PolicyKind::Selection) {
        text.push_str(&format!("{:?}\n", plugin.select(&call, &collections).map(|outcome| outcome.answer)));
    }
    if plugin.serves(PolicyKind::Compression) {
        text.push_str(&format!("{:?}\n", plugin.choose(&call, &streams).map(|outcome| outcome.answer)));
    }
    text.push_str(&format!("{:?}\n", plugin.place(&call, &collections, &regions).map(|outcome| outcome.answer)));
    text
}

#[test]
fn committed_plugins_decide_as_those_built_from_their_sources() {
    let Some(rebuilt) = std::env::var_os("LONGSHORE_REBUILT_GUESTS").map(PathBuf::from) else {
        not_run("rebuilt plugins: none were built in this run, so the committed ones were not compared with them");
        return;
    };
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let cost_cap = r#"{"storage_price_micros_per_gb_month": 20000, "month_budget_micros": 352100000}"#;
    let policies = [("standard", "{}"), ("residency", "{}"), ("tiered", "{}"), ("cost-cap", cost_cap), ("rules", "{}")];
    for (name, settings) in policies {
        let file = format!("{name}.wasm");
        let load = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            sandbox.load(&bytes, &Budget::default()).unwrap()
        };
        let (committed, built) = (load(root().join("plugins").join(name).join(&file)), load(rebuilt.join(&file)));
        for seed in 0..20 {
            assert_eq!(answers(&committed, settings, seed), answers(&built, settings, seed), "{name}, seed {seed}");
        }
    }
}

#[test]
fn a_policy_answers_the_same_question_the_same_way_with_the_same_fuel() {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let bytes = std::fs::read(root().join("plugins/standard/standard.wasm")).unwrap();
    let plugin = sandbox.load(&bytes, &Budget::default()).unwrap();
    let (run, budget) = (run(7), Budget::default());
    let files = GrantedFiles::none();
    let call = Call { run: &run, settings: "{}", carry: &[], page_number: 0, last_page: true, budget: &budget, files };
    let streams = streams(&mut Numbers(7));
    let first = plugin.choose(&call, &streams).unwrap();
    for _ in 0..5 {
        let again = plugin.choose(&call, &streams).unwrap();
        assert_eq!((again.answer, again.fuel_used), (first.answer.clone(), first.fuel_used));
    }
}
