//! Blobs that lie beside each other are read together, and come out as if each had been read alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_model::Codec;
use longshore_vault::testing::{FaultStore, SeededRandom, seeds};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::*;

/// A vault with blobs of all lengths, with its pieces by id.
async fn stored(vault: &Vault, random: &mut SeededRandom) -> BTreeMap<BlobId, Bytes> {
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let mut blobs = BTreeMap::new();
    for number in 0..60 {
        let length = if random.chance(20) { 30_000 } else { random.below(3_000) };
        let plain = Bytes::from(noise(number, length as usize));
        let codec = if random.chance(50) { Codec::Store } else { Codec::Zstd { level: 1 } };
        let stored = session.put(plain.clone(), codec).await.unwrap();
        blobs.insert(stored.id, plain);
    }
    session.checkpoint().await.unwrap();
    blobs
}

#[tokio::test]
async fn runs_hold_every_blob_once_and_no_more_than_they_may() {
    for seed in seeds(0..8, 40) {
        let random = &mut SeededRandom::new(seed);
        let vault = new_vault(memory()).await.with_limits(small_limits());
        let blobs = stored(&vault, random).await;
        let reader = vault.open_reader().await.unwrap();
        let ids: Vec<BlobId> = blobs.keys().copied().collect();
        // In any order, some of them twice.
        let asked: Vec<BlobId> = (0..90).map(|_| *random.pick(&ids).unwrap()).collect();
        let most = 1 + random.below(100_000);
        let runs = reader.runs(&asked, most);
        let mut seen = vec![false; asked.len()];
        for run in &runs {
            let read = reader.read_run(run).await.unwrap();
            assert_eq!(read.len(), run.blobs(), "seed {seed}");
            let bytes: usize = read.iter().map(|(_, plain)| plain.len()).sum();
            assert!(read.len() == 1 || bytes as u64 <= most, "seed {seed}: {bytes} of {most}");
            for (place, plain) in read {
                assert!(!std::mem::replace(&mut seen[place], true), "seed {seed}: {place} came twice");
                assert_eq!(plain, blobs[&asked[place]], "seed {seed}");
            }
        }
        assert!(seen.iter().all(|seen| *seen), "seed {seed}");
    }
}

#[tokio::test]
async fn a_few_reads_do_for_many_blobs() {
    let counting = FaultStore::new(memory());
    let vault = new_vault(counting.store()).await;
    let blobs = stored(&vault, &mut SeededRandom::new(7)).await;
    let reader = vault.open_reader().await.unwrap();
    let ids: Vec<BlobId> = blobs.keys().copied().collect();
    let runs = reader.runs(&ids, 1 << 20);
    assert_eq!(runs.len(), 1, "all of them lie in one pack, one beside the other");
    counting.plan(Vec::new());
    reader.read_run(&runs[0]).await.unwrap();
    assert_eq!(counting.operations(), 1);
}

#[tokio::test]
async fn blobs_of_a_run_are_worked_on_when_all_of_them_are_there_and_not_otherwise() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let blobs = stored(&vault, &mut SeededRandom::new(7)).await;
    let ids: Vec<BlobId> = blobs.keys().copied().collect();
    let reader = vault.open_reader().await.unwrap();
    let all = || reader.runs(&ids, 1 << 20).remove(0);
    let total: usize = blobs.values().map(Bytes::len).sum();
    let work = |read: Vec<(usize, Bytes)>| read.iter().map(|(_, plain)| plain.len()).sum::<usize>();
    assert_eq!(reader.read_run_for(&all(), work).await.unwrap(), total);
    let error = reader.read_run_for(&all(), |_| panic!("the work's own fault")).await.unwrap_err();
    assert!(matches!(error, VaultError::TaskStopped { .. }), "{error}");

    // One of them is damaged.
    let pack = keys(&store, "packs").await.remove(0);
    flip(&store, &pack).await;
    let error = reader.read_run_for(&all(), |_| panic!("not all are there")).await.unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn another_pack_stands_in_for_what_is_damaged_in_a_run() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    // Two that know nothing of each other store the same.
    let sessions = [
        vault.begin(&pin, SessionOptions::default()).await.unwrap(),
        vault.begin(&pin, SessionOptions::default()).await.unwrap(),
    ];
    let plain: Vec<Bytes> = (0..20).map(|number| Bytes::from(noise(number, 3_000))).collect();
    let mut ids = Vec::new();
    for session in &sessions {
        ids.clear();
        for plain in &plain {
            ids.push(session.put(plain.clone(), Codec::Store).await.unwrap().id);
        }
        session.checkpoint().await.unwrap();
    }
    let packs = keys(&store, "packs").await;
    assert_eq!(packs.len(), 2);
    for pack in packs {
        let whole = bytes_of(&store, &pack).await;
        flip(&store, &pack).await;
        let reader = vault.open_reader().await.unwrap();
        let run = reader.runs(&ids, 1 << 20).remove(0);
        let mut read = reader.read_run_for(&run, |read| read).await.unwrap();
        read.sort_by_key(|(place, _)| *place);
        assert!(read.into_iter().map(|(_, plain)| plain).eq(plain.iter().cloned()), "{pack}");
        store.put(&pack, whole.into()).await.unwrap();
    }
}

/// Changes one bit in the middle of an object.
async fn flip(store: &Store, key: &Path) {
    change(store, key, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
    .await;
}

#[tokio::test]
async fn what_is_damaged_in_a_run_is_an_error_as_it_is_alone() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let blobs = stored(&vault, &mut SeededRandom::new(7)).await;
    let ids: Vec<BlobId> = blobs.keys().copied().collect();
    let pack = keys(&store, "packs").await.remove(0);
    flip(&store, &pack).await;
    let reader = vault.open_reader().await.unwrap();
    let mut failed = 0;
    for id in &ids {
        failed += u32::from(reader.read_blob(id).await.is_err());
    }
    assert_eq!(failed, 1);
    let runs = reader.runs(&ids, 1 << 20);
    let error = reader.read_run(&runs[0]).await.unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. }), "{error}");

    // A pack that was cut short: nothing of it can be read together, what is left of it can be read alone.
    change(&store, &pack, |bytes| bytes.truncate(bytes.len() / 2)).await;
    let error = reader.read_run(&runs[0]).await.unwrap_err();
    assert!(matches!(error, VaultError::Damaged { .. } | VaultError::Store { .. }), "{error}");
    let unknown = vault.id_key().unwrap().blob_id(b"never stored");
    let runs = reader.runs(&[unknown], 1 << 20);
    let error = reader.read_run(&runs[0]).await.unwrap_err();
    assert!(matches!(error, VaultError::UnknownBlob { .. }), "{error}");
}
