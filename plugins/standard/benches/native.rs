//! The standard policy in native Rust, without a sandbox, on the facts of `host/policy/benches`: what the sandbox is compared
//! with. `make bench-micro`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_plugin::{
    ClassBytes, CodecOffer, Collection, CompressionPolicy, IndexFacts, LastBackup, LoadState, PlacementPolicy, Region,
    Run, SelectionPolicy, Stream,
};
use longshore_standard::Standard;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn collection(id: u32) -> Collection {
    Collection {
        properties: pairs(&[
            ("data.region", "eu"),
            ("collection.description", "Articles of one tenant with their embeddings."),
        ]),
        labels: pairs(&[("team", "search")]),
        criticality: Some("high".to_owned()),
        rows: 10_000,
        size_bytes: ClassBytes { segment: 40_000_000, index: 9_000_000, delta: 10_000, wal: 500_000, metadata: 4_000 },
        new_bytes: 2_000_000,
        load_state: LoadState::Loaded,
        indexes: vec![IndexFacts {
            field_name: "embedding".to_owned(),
            index_type: "HNSW".to_owned(),
            metric_type: "COSINE".to_owned(),
        }],
        last_backup: Some(LastBackup {
            backup_id: "backup0_0707070707070707".to_owned(),
            time_ms: 1_699_900_000_000,
            regions: vec!["local-eu".to_owned()],
            codecs: vec!["zstd-1".to_owned(), "shuffle4-zstd-1".to_owned()],
            stored_bytes: 30_000_000,
        }),
        previous_reason_code: Some("selected-by-default".to_owned()),
        ..Collection::named(id, "default", format!("tenant_{id:06}_documents"))
    }
}

fn stream(id: u32, of: &Collection, class: &'static str) -> Stream {
    let codecs: &[&'static str] = match class {
        "metadata" => &["store", "zstd-3"],
        _ => &["store", "lz4", "zstd-1", "zstd-3", "shuffle4-zstd-1", "adaptive-zstd-1"],
    };
    let offers = (0_u32..).zip(codecs).map(|(place, codec)| CodecOffer {
        codec: (*codec).into(),
        ratio_thousandths: 1_000 + 40 * place,
        compress_mb_per_second: 4_000 / (1 + 2 * place),
        decompress_mb_per_second: 800,
    });
    Stream {
        id,
        database: of.database.clone().into(),
        collection: of.name.clone().into(),
        class: class.into(),
        files: 3,
        size_bytes: 40_000_000,
        new_bytes: 20_000_000,
        sampled_bytes: 65_536,
        offers: offers.collect(),
        ..Stream::default()
    }
}

/// The same page of 1,000 collections and their 5,000 streams as in the sandbox.
fn page(criterion: &mut Criterion) {
    let run = Run { home_region: "local-eu".to_owned(), ..Run::default() };
    let collections: Vec<Collection> = (0..1_000).map(collection).collect();
    let classes = ["segment", "index", "delta", "wal", "metadata"];
    let of_each = collections.iter().flat_map(|of| classes.map(|class| (of, class)));
    let streams: Vec<Stream> = (0_u32..).zip(of_each).map(|(id, (of, class))| stream(id, of, class)).collect();
    let region = |id: &str, jurisdiction: &str| Region {
        id: id.to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        home: id == "local-eu",
        ..Region::default()
    };
    let regions = [region("local-eu", "eu"), region("local-eu-2", "eu"), region("local-us", "us")];
    let mut group = criterion.benchmark_group("page of 1,000 collections, native");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("select", |bencher| bencher.iter(|| Standard::select(&run, &collections).unwrap()));
    group.bench_function("choose", |bencher| bencher.iter(|| Standard::choose(&run, &streams).unwrap()));
    group.bench_function("place", |bencher| bencher.iter(|| Standard::place(&run, &collections, &regions).unwrap()));
    group.finish();
}

criterion_group!(benches, page);
criterion_main!(benches);
