//! What policies cost: loading a plugin, one call, and whole runs through chains with their records. `make bench-micro`.
//! The same policy in native Rust is measured beside its sources, by `plugins/standard/benches/native.rs`, with the
//! same facts.

#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use longshore_model::{CollectionFacts, PolicyKind, RegionOffer, RunFacts, StreamFacts};
use longshore_policy::{Budget, Call, DecisionRecord, GrantedFiles, Grants, Guardrails, Member, OnFailure, PolicySet};
use longshore_sandbox::{Plugin, Sandbox, SandboxConfig};

mod facts;

use facts::{collections, regions, run, standard_wasm, streams};

/// Facts about a cluster.
struct Cluster {
    run: RunFacts,
    collections: Vec<CollectionFacts>,
    streams: Vec<StreamFacts>,
    regions: Vec<RegionOffer>,
}

impl Cluster {
    fn of(count: usize) -> Self {
        let collections = collections(count);
        let streams = streams(&collections);
        Self { run: run(), collections, streams, regions: regions() }
    }
}

fn plugin() -> Plugin {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    sandbox.load(&standard_wasm(), &Budget::default()).unwrap()
}

fn chains() -> PolicySet {
    let plugin = Arc::new(plugin());
    let mut builder = PolicySet::builder();
    for kind in PolicyKind::ALL {
        let member = Member {
            name: "standard".to_owned(),
            plugin: plugin.clone(),
            settings: serde_json::json!({}),
            on_failure: OnFailure::Fail,
            required: true,
            budget: Budget::default(),
            grants: Grants::default(),
            shadow: None,
        };
        builder = builder.member(kind, member).unwrap();
    }
    builder.build().unwrap()
}

/// All three kinds, as a backup asks them; gives the records.
fn decide(set: &PolicySet, cluster: &Cluster) -> Vec<DecisionRecord> {
    let guardrails = Guardrails::default();
    let selection = set.select(&cluster.run, &cluster.collections, &guardrails).unwrap();
    let compression = set.choose(&cluster.run, &cluster.streams).unwrap();
    let placement = set.place(&cluster.run, &cluster.collections, &cluster.regions, &guardrails).unwrap();
    black_box((&selection.decisions, &compression.decisions, &placement.decisions));
    [selection.records, compression.records, placement.records].into_iter().flatten().collect()
}

fn loading(criterion: &mut Criterion) {
    let bytes = standard_wasm();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20);
    let cold = Sandbox::new(SandboxConfig::default()).unwrap();
    group.bench_function("cold", |bencher| bencher.iter(|| cold.load(&bytes, &Budget::default()).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let config = SandboxConfig { code_cache: Some(folder.path().join("code")), ..SandboxConfig::default() };
    let caching = Sandbox::new(config).unwrap();
    caching.load(&bytes, &Budget::default()).unwrap();
    group.bench_function("cached", |bencher| bencher.iter(|| caching.load(&bytes, &Budget::default()).unwrap()));
    group.finish();
}

fn one_call(criterion: &mut Criterion) {
    let plugin = plugin();
    let (budget, files) = (Budget::default(), GrantedFiles::none());
    let cluster = Cluster::of(1);
    let call =
        Call { run: &cluster.run, settings: "{}", carry: &[], page_number: 0, last_page: true, budget: &budget, files };
    let mut group = criterion.benchmark_group("call");
    group.bench_function("instantiate (an empty page)", |bencher| {
        bencher.iter(|| plugin.select(&call, &[]).unwrap());
    });
    group.bench_function("one decision", |bencher| {
        bencher.iter(|| plugin.select(&call, &cluster.collections).unwrap());
    });
    group.finish();
}

/// A page of 1,000 collections and their 5,000 streams.
fn page(criterion: &mut Criterion) {
    let plugin = plugin();
    let (budget, files) = (Budget::default(), GrantedFiles::none());
    let Cluster { run, collections, streams, regions } = &Cluster::of(1_000);
    let call = Call { run, settings: "{}", carry: &[], page_number: 0, last_page: true, budget: &budget, files };
    let mut group = criterion.benchmark_group("page of 1,000 collections");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("select", |b| b.iter(|| plugin.select(&call, collections).unwrap()));
    group.bench_function("choose", |b| b.iter(|| plugin.choose(&call, streams).unwrap()));
    group.bench_function("place", |b| b.iter(|| plugin.place(&call, collections, regions).unwrap()));
    group.finish();
}

fn runs(criterion: &mut Criterion) {
    let set = chains();
    let mut group = criterion.benchmark_group("all three kinds through chains, with records");
    for count in [1_usize, 1_000, 10_000, 100_000] {
        let cluster = Cluster::of(count);
        group.throughput(Throughput::Elements(count as u64));
        group.sample_size(if count > 1_000 { 10 } else { 50 });
        group.measurement_time(Duration::from_secs(if count > 10_000 { 15 } else { 4 }));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            // Giving the answers back to the heap is no part of deciding; a backup keeps them until it ends.
            bencher.iter_batched(|| (), |()| decide(&set, &cluster), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let records = decide(&chains(), &Cluster::of(1_000));
    let text = || records.iter().map(|record| record.to_json().unwrap()).collect::<Vec<_>>();
    let bytes: usize = text().iter().map(String::len).sum();
    eprintln!("records of 1,000 collections: {bytes} bytes of JSON");
    let mut group = criterion.benchmark_group("records of 1,000 collections");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("to JSON", |bencher| bencher.iter(text));
    group.finish();
}

criterion_group!(benches, loading, one_call, page, runs, records);
criterion_main!(benches);
