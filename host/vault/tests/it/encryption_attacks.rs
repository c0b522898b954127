//! Encrypted vaults against whoever can write to their store, and what must never happen twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{Codec, Timestamp};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use serde_json::Value;

use crate::encryption::*;
use crate::support::*;

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    bytes[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

#[tokio::test]
async fn no_nonce_comes_twice_under_one_key() {
    // Read by the tables of FORMAT.md, "Packs", so that reader and writer cannot be wrong together.
    let (store, reader, _) = prepared(Codec::Zstd { level: 1 }).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Lz4).await.unwrap();
    let (mut keys_of_packs, mut most) = (BTreeSet::new(), 0);
    let packs = keys(&store, "packs").await;
    for pack in &packs {
        let bytes = bytes_of(&store, pack).await;
        let (session, salt) = (bytes[16..48].to_vec(), bytes[48..80].to_vec());
        assert!(salt != [0; 32] && keys_of_packs.insert((session, salt)), "{pack}: its key is that of another pack");
        let trailer = bytes.len() - 64;
        let (first, count) = (number(&bytes, trailer, 8), number(&bytes, trailer + 8, 4));
        let nonces: BTreeSet<usize> = (0..count).map(|entry| number(&bytes, first + 64 * entry + 55, 4)).collect();
        assert_eq!(nonces.len(), count, "{pack}: a nonce was used twice");
        most = most.max(count);
    }
    assert!(packs.len() > 3 && most > 1, "{} packs of up to {most} blobs", packs.len());
    // The halves of manifests have no nonces: each has a key of its own.
    let (mut salts, mut manifests) = (BTreeSet::new(), 0);
    for folder in ["roots", "parts"] {
        for key in keys(&store, folder).await {
            let manifest: Value = serde_json::from_slice(&bytes_of(&store, &key).await).unwrap();
            let body = &manifest["sealed"]["body"];
            salts.insert((body["session"].to_string(), body["salt"].to_string()));
            manifests += 1;
        }
    }
    assert_eq!((salts.len(), manifests), (4, 4));
    let reading = open(&store, &Keys::none().with_reader(reader)).await;
    assert_eq!(read_back(&reading, &backup_id(2)).await.unwrap(), sample(2));
}

#[tokio::test]
async fn a_recipient_who_is_added_while_a_session_begins_can_read_it() {
    let (store, recovery, _) = prepared(Codec::Store).await;
    // The job has read the list and is about to write its wrapped key.
    let held = FaultStore::new(store.clone());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let writing = Vault::open(held.store(), &Keys::none().with_writer(writer())).await.unwrap();
    let wait = Effect::Wait(Arc::clone(&gate));
    held.plan(vec![Fault::on(Operation::Put, "keys/sessions/", wait)]);
    let job =
        tokio::spawn(async move { back_up(&writing, &backup_id(2), 2, &sample(2), Codec::Store).await.map(drop) });
    while held.fired() == 0 {
        tokio::task::yield_now().await;
    }
    let second = ReaderKey::generate();
    let adding = open(&store, &Keys::none().with_reader(recovery)).await;
    assert_eq!(adding.add_recipient(named("second", &second)).await.unwrap().rewrapped_sessions, 1);
    gate.add_permits(10);
    job.await.unwrap().unwrap();
    let theirs = open(&store, &Keys::none().with_reader(second)).await;
    for number in [1, 2] {
        assert_eq!(read_back(&theirs, &backup_id(number)).await.unwrap(), sample(number.into()));
    }
}

#[tokio::test]
async fn a_manifest_in_the_open_is_not_believed_in_an_encrypted_vault() {
    let (store, _, _) = prepared(Codec::Store).await;
    // Whoever makes up a backup needs no key for that, only the ids.
    let plain_store = memory();
    let plain = Vault::init(plain_store.clone(), options("local", 1)).await.unwrap();
    back_up(&plain, &backup_id(7), 1, &sample(7), Codec::Store).await.unwrap();
    for folder in ["packs", "index", "parts", "roots"] {
        for key in keys(&plain_store, folder).await {
            store.put(&key, bytes_of(&plain_store, &key).await.into()).await.unwrap();
        }
    }
    // Without keys there is no code to check; with them there is.
    for keys in [Keys::none(), Keys::none().with_writer(writer())] {
        let vault = open(&store, &keys).await;
        let error = vault.load_backup(&backup_id(7)).await.unwrap_err();
        assert!(matches!(error, VaultError::Unauthentic { .. }), "{error}");
        let listing = vault.list_backups().await.unwrap();
        assert_eq!((listing.backups.len(), listing.damaged.len()), (1, 1), "{:?}", listing.damaged);
    }
}

#[tokio::test]
async fn the_key_of_another_session_is_not_taken_for_the_right_one() {
    let (store, reader, _) = prepared(Codec::Store).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let right = keys(&store, "keys/sessions").await.remove(0);
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let sessions = keys(&store, "keys/sessions").await;
    let other = sessions.iter().find(|key| **key != right).unwrap();
    // A good age file to the right recipient, under its own digest, in the folder of another session.
    let bytes = bytes_of(&store, other).await;
    let folder = right.as_ref().rsplit_once('/').unwrap().0;
    let forged = object_store::path::Path::from(format!("{folder}/{}.age", digest_of(&bytes)));
    store.put(&forged, bytes.into()).await.unwrap();
    let reading = open(&store, &Keys::none().with_reader(reader.clone())).await;
    assert_eq!(read_back(&reading, &backup_id(1)).await.unwrap(), sample(1), "the right one is there, too");
    store.delete(&right).await.unwrap();
    let reading = open(&store, &Keys::none().with_reader(reader)).await;
    let error = read_back(&reading, &backup_id(1)).await.unwrap_err();
    assert!(matches!(error, VaultError::SessionKey { .. }), "{error}");
}

#[tokio::test]
async fn a_pack_that_is_healed_brings_the_key_of_its_session() {
    let (store, reader, part) = prepared(Codec::Store).await;
    let copy = memory();
    for key in keys(&store, "").await {
        copy.put(&key, bytes_of(&store, &key).await.into()).await.unwrap();
    }
    for folder in ["packs", "keys/sessions"] {
        for key in keys(&store, folder).await {
            store.delete(&key).await.unwrap();
        }
    }
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let source = open(&copy, &Keys::none().with_writer(writer())).await;
    let now = Timestamp::from_millis(NOW);
    for pack in &part.part.open.packs {
        let from = vault.heal_pack(&pack.id, std::slice::from_ref(&source), now).await.unwrap();
        assert_eq!(from.as_ref(), Some(source.id()));
    }
    let reading = open(&store, &Keys::none().with_reader(reader)).await;
    assert_eq!(read_back(&reading, &backup_id(1)).await.unwrap(), sample(1));
}
