//! What each step of the storage core costs on one core: hash, encode, decode, and the whole way of a file (split, hash,
//! look up, encode, pack) into a store in memory. `make bench-micro`.
//!
//! The bytes are real: Parquet files and vectors of the sample cluster, and numbers that are spread like an embedding's.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use longshore_model::{Codec, JobType, SystemClock, VaultId};
use longshore_vault::testing::SeededRandom;
use longshore_vault::{
    Encryption, IdKey, PieceSource, PinRequest, ReliesOn, Session, SessionOptions, Transcoder, Vault, VaultOptions,
    digest_of,
};
use object_store::memory::InMemory;

/// Larger than what zstd looks back at its fast levels, so that what is repeated is not found again.
const PIECE_BYTES: usize = 4 << 20;

/// Parquet files of the sample cluster, as many as it takes.
fn parquet(bytes: usize) -> Bytes {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sample-cluster");
    collect(&root, &mut files);
    files.sort();
    let whole: Vec<u8> = files.iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    whole.iter().copied().cycle().take(bytes).collect()
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
}

/// Values of vectors with the norm of an embedding: float32, mantissas full of entropy.
fn vectors(bytes: usize) -> Bytes {
    let mut random = SeededRandom::new(7);
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        // A sum of four even draws is nearly a bell curve.
        let draws = random.next_u64().to_le_bytes();
        let sum: f32 = draws.iter().take(4).map(|draw| f32::from(*draw) / 256.0 - 0.5).sum();
        let fine = f32::from(u16::from_le_bytes([draws[6], draws[7]])) / 16_777_216.0;
        out.extend_from_slice(&((sum + fine) * 0.08).to_le_bytes());
    }
    out.truncate(bytes);
    Bytes::from(out)
}

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let key = IdKey::new([1; 32]);
    for bytes in [4 << 10, 256 << 10, PIECE_BYTES] {
        let plain = vectors(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("blob id, {} KiB", bytes >> 10), |b| b.iter(|| key.blob_id(black_box(&plain))));
        group.bench_function(format!("digest, {} KiB", bytes >> 10), |b| b.iter(|| digest_of(black_box(&plain))));
    }
    group.finish();
}

const CODECS: [(&str, Codec); 4] = [
    ("lz4", Codec::Lz4),
    ("zstd-1", Codec::Zstd { level: 1 }),
    ("zstd-3", Codec::Zstd { level: 3 }),
    ("shuffle4-zstd-1", Codec::ShuffleZstd { element_bytes: 4, level: 1 }),
];

/// Encoding includes decoding and comparing, as everywhere.
fn codecs(criterion: &mut Criterion) {
    for (what, plain) in [("parquet", parquet(PIECE_BYTES)), ("vectors", vectors(PIECE_BYTES))] {
        let mut group = criterion.benchmark_group(what);
        group.throughput(Throughput::Bytes(plain.len() as u64));
        for (name, codec) in CODECS {
            let mut transcoder = Transcoder::new();
            group.bench_function(format!("encode and check {name}"), |b| {
                b.iter(|| transcoder.encode(codec, black_box(&plain)).unwrap());
            });
            let (codec, stored) = transcoder.encode(codec, &plain).unwrap();
            let ratio = plain.len() as f64 / stored.len() as f64;
            group.bench_function(format!("decode {name} (ratio {ratio:.2})"), |b| {
                b.iter(|| transcoder.decode(codec, black_box(&stored), plain.len()).unwrap());
            });
        }
        group.finish();
    }
}

/// A file in memory.
struct InHand(Bytes);

#[async_trait::async_trait]
impl PieceSource for InHand {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let start = usize::try_from(offset)?;
        Ok(self.0.slice(start..start + length))
    }
}

async fn session() -> Session {
    let options = VaultOptions {
        project_id: "proj-bench".parse().unwrap(),
        region_id: "local".parse().unwrap(),
        vault_id: VaultId::from_random([1; 10]),
        id_key: IdKey::new([1; 32]),
        encryption: Encryption::None,
    };
    let vault = Vault::init(Arc::new(InMemory::new()), options).await.unwrap();
    let request = PinRequest {
        job_id: "job-bench".parse().unwrap(),
        job_type: JobType::Backup,
        token: 1,
        random: [1; 8],
        relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
        state: serde_json::Value::Null,
    };
    let pin = vault.pin(request, Arc::new(SystemClock)).await.unwrap();
    vault.begin(&pin, SessionOptions { cpu_threads: 1, ..SessionOptions::default() }).await.unwrap()
}

/// Files of one size, all different, through a whole session until they are durable.
fn files(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("split, hash, encode, pack");
    group.sample_size(10);
    let most = 64 << 20;
    for file_bytes in [64 << 10, 1 << 20, most] {
        let whole = vectors(most);
        let files: Vec<Bytes> =
            (0..most / file_bytes).map(|n| whole.slice(n * file_bytes..(n + 1) * file_bytes)).collect();
        group.throughput(Throughput::Bytes(most as u64));
        for (name, codec) in [("store", Codec::Store), ("shuffle4-zstd-1", CODECS[3].1)] {
            let store = |session: Session| async {
                for file in &files {
                    let file = InHand(file.clone());
                    session.put_file(&file, file.0.len() as u64, codec, &|_| {}).await.unwrap();
                }
                session.checkpoint().await.unwrap();
                session
            };
            group.bench_function(format!("{name}, files of {} KiB", file_bytes >> 10), |b| {
                b.iter_batched(
                    || runtime.block_on(session()),
                    |session| runtime.block_on(store(session)),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, hash, codecs, files);
criterion_main!(benches);
