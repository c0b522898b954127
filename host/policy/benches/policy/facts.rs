//! What the benchmarks ask about: collections as a Milvus Lite directory has them, five streams each.

use std::path::Path;

use longshore_model::{
    BackupId, ClassBytes, CodecOffer, CollectionFacts, CollectionName, FileClass, IndexFacts, LastBackup, LoadState,
    RegionHealth, RegionOffer, RunFacts, RunKind, RunTrigger, StreamFacts, Timestamp, Totals,
};

/// Bytes of the standard policy as it is committed, or of another build of it, named by `LONGSHORE_BENCH_PLUGIN`.
///
/// # Panics
/// When the file is not there.
#[must_use]
pub(crate) fn standard_wasm() -> Vec<u8> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/standard/standard.wasm");
    let path = std::env::var_os("LONGSHORE_BENCH_PLUGIN").map_or(committed, Into::into);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parsed<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// A run over a whole cluster.
#[must_use]
pub(crate) fn run() -> RunFacts {
    RunFacts {
        kind: RunKind::Cluster,
        trigger: RunTrigger::Automatic,
        cluster_id: parsed("in01-0123456789abcdef"),
        cluster_name: "production".to_owned(),
        project_id: parsed("proj-0123456789abcdef"),
        home_region: parsed("local-eu"),
        time: Timestamp::from_millis(1_700_000_000_000),
        seed: 1,
        next_run: Some(Timestamp::from_millis(1_700_086_400_000)),
        month_spend_micros: 12_000_000,
        month_budget_micros: Some(50_000_000),
        totals: Totals { collections: 1_000, rows: 1 << 30, size_bytes: 1 << 40, new_bytes: 1 << 35 },
        extra: Vec::new(),
    }
}

/// Collections with properties, a label, an index and an earlier backup.
#[must_use]
pub(crate) fn collections(count: usize) -> Vec<CollectionFacts> {
    (0..count).map(collection).collect()
}

fn collection(number: usize) -> CollectionFacts {
    let name = CollectionName::new("default", &format!("tenant_{number:06}_documents"));
    let mut facts = CollectionFacts::named(name.unwrap_or_else(|error| panic!("{error}")));
    let wide = u64::try_from(number).unwrap_or(0);
    facts.properties = vec![
        ("data.region".to_owned(), "eu".to_owned()),
        ("collection.description".to_owned(), "Articles of one tenant with their embeddings.".to_owned()),
    ];
    facts.labels = vec![("team".to_owned(), "search".to_owned())];
    facts.criticality = Some("high".to_owned());
    facts.rows = 10_000 + wide;
    facts.size_bytes =
        ClassBytes { segment: 40_000_000 + wide, index: 9_000_000, delta: 10_000, wal: 500_000, metadata: 4_000 };
    facts.new_bytes = 2_000_000;
    facts.created = Some(Timestamp::from_millis(1_690_000_000_000));
    facts.last_write = Some(Timestamp::from_millis(1_699_999_000_000));
    facts.load_state = LoadState::Loaded;
    facts.indexes = vec![IndexFacts {
        field_name: "embedding".to_owned(),
        index_type: "HNSW".to_owned(),
        metric_type: "COSINE".to_owned(),
    }];
    facts.last_backup = Some(LastBackup {
        backup_id: BackupId::from_random([7; 10]),
        time: Timestamp::from_millis(1_699_900_000_000),
        regions: vec![parsed("local-eu")],
        codecs: vec!["zstd-1".to_owned(), "shuffle4-zstd-1".to_owned()],
        stored_bytes: 30_000_000,
    });
    facts.previous_reason_code = Some("selected-by-default".to_owned());
    facts
}

/// Five streams of each collection, with the codecs that the engine offers for their class.
#[must_use]
pub(crate) fn streams(collections: &[CollectionFacts]) -> Vec<StreamFacts> {
    collections.iter().flat_map(|facts| FileClass::ALL.map(|class| stream(facts, class))).collect()
}

fn stream(facts: &CollectionFacts, class: FileClass) -> StreamFacts {
    let codecs: &[&str] = match class {
        FileClass::Metadata => &["store", "zstd-3"],
        _ => &["store", "lz4", "zstd-1", "zstd-3", "shuffle4-zstd-1", "adaptive-zstd-1"],
    };
    let offers = (0_u32..).zip(codecs).map(|(place, codec)| CodecOffer {
        codec: parsed(codec),
        ratio_thousandths: 1_000 + 40 * place,
        compress_mb_per_second: 4_000 / (1 + 2 * place),
        decompress_mb_per_second: 800,
    });
    let bytes = facts.size_bytes.of(class);
    StreamFacts {
        collection: facts.name.clone(),
        class,
        files: 3,
        size_bytes: bytes,
        new_bytes: bytes / 2,
        sampled_bytes: 65_536,
        offers: offers.collect(),
        extra: Vec::new(),
    }
}

/// Two regions of one jurisdiction and one of another.
#[must_use]
pub(crate) fn regions() -> Vec<RegionOffer> {
    let offer = |(id, jurisdiction): (&str, &str)| RegionOffer {
        id: parsed(id),
        provider: "local".to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        home: id == "local-eu",
        storage_price_micros_per_gb_month: 20_000,
        transfer_price_micros_per_gb: 10_000,
        health: RegionHealth::Healthy,
        used_bytes: 1 << 40,
        extra: Vec::new(),
    };
    [("local-eu", "eu"), ("local-eu-2", "eu"), ("local-us", "us")].into_iter().map(offer).collect()
}
