//! What the tests share: the sandbox, the plugins that are built from `plugins/`, and questions to ask.

use std::path::PathBuf;
use std::sync::OnceLock;

use longshore_model::{
    CodecOffer, CollectionFacts, CollectionName, FileClass, RegionHealth, RegionOffer, RunFacts, RunKind, RunTrigger,
    Selected, StreamFacts, Timestamp, Totals,
};
use longshore_sandbox::{Budget, Call, GrantedFiles, Outcome, Plugin, Sandbox, SandboxConfig, SandboxError};

/// Bytes of a committed plugin, for example `hostile/hostile`.
pub(crate) fn wasm(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One sandbox for all tests, as a host has it.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig::default()).unwrap())
}

/// The hostile plugin, compiled once.
pub(crate) fn hostile() -> &'static Plugin {
    static HOSTILE: OnceLock<Plugin> = OnceLock::new();
    HOSTILE.get_or_init(|| sandbox().load(&wasm("hostile/hostile"), &Budget::default()).unwrap())
}

pub(crate) fn run() -> RunFacts {
    RunFacts {
        kind: RunKind::Cluster,
        trigger: RunTrigger::Manual,
        cluster_id: "in01-0123456789".parse().unwrap(),
        cluster_name: "articles".to_owned(),
        project_id: "proj-01".parse().unwrap(),
        home_region: "local".parse().unwrap(),
        time: Timestamp::from_millis(1_722_358_190_123),
        seed: 42,
        next_run: None,
        month_spend_micros: 0,
        month_budget_micros: None,
        totals: Totals { collections: 2, rows: 10, size_bytes: 100, new_bytes: 50 },
        extra: Vec::new(),
    }
}

pub(crate) fn page(collections: usize) -> Vec<CollectionFacts> {
    (0..collections)
        .map(|number| {
            let mut facts = CollectionFacts::named(CollectionName::new("default", &format!("c{number:04}")).unwrap());
            facts.rows = 1_000;
            facts.size_bytes.segment = 4_000_000;
            facts.new_bytes = 4_000_000;
            facts.properties = vec![("data.region".to_owned(), "eu".to_owned())];
            facts
        })
        .collect()
}

pub(crate) fn streams(count: usize) -> Vec<StreamFacts> {
    let offer = |codec: &str| CodecOffer {
        codec: codec.parse().unwrap(),
        ratio_thousandths: 1_100,
        compress_mb_per_second: 400,
        decompress_mb_per_second: 800,
    };
    page(count)
        .into_iter()
        .map(|facts| StreamFacts {
            collection: facts.name,
            class: FileClass::Segment,
            files: 2,
            size_bytes: 4_000_000,
            new_bytes: 4_000_000,
            sampled_bytes: 65_536,
            offers: vec![offer("store"), offer("zstd-1"), offer("shuffle4-zstd-1")],
            extra: Vec::new(),
        })
        .collect()
}

pub(crate) fn regions() -> Vec<RegionOffer> {
    [("local", "eu", true), ("second", "eu", false)]
        .into_iter()
        .map(|(id, jurisdiction, home)| RegionOffer {
            id: id.parse().unwrap(),
            provider: "local".to_owned(),
            jurisdiction: jurisdiction.to_owned(),
            home,
            storage_price_micros_per_gb_month: 20_000,
            transfer_price_micros_per_gb: 10_000,
            health: RegionHealth::Healthy,
            used_bytes: 0,
            extra: Vec::new(),
        })
        .collect()
}

/// Settings of the hostile plugin.
pub(crate) fn behave(behaviour: &str) -> String {
    format!("{{\"behaviour\": \"{behaviour}\"}}")
}

pub(crate) fn call<'a>(run: &'a RunFacts, settings: &'a str, budget: &'a Budget) -> Call<'a> {
    Call { run, settings, carry: &[], page_number: 0, last_page: true, budget, files: GrantedFiles::none() }
}

/// Asks a plugin about a page of two collections.
pub(crate) fn select_with(
    plugin: &Plugin,
    settings: &str,
    budget: &Budget,
) -> Result<Outcome<Vec<(u32, Selected)>>, SandboxError> {
    plugin.select(&call(&run(), settings, budget), &page(2))
}

/// Asks the hostile plugin to behave so.
pub(crate) fn select(behaviour: &str) -> Result<Outcome<Vec<(u32, Selected)>>, SandboxError> {
    select_with(hostile(), &behave(behaviour), &Budget::default())
}

/// Messages of a log.
pub(crate) fn messages(log: &[longshore_model::GuestLogLine]) -> Vec<&str> {
    log.iter().map(|line| line.message.as_str()).collect()
}
