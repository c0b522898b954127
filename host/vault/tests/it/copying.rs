//! Blobs of one vault in another of its project: whole packs or single blobs, with and without a reader key, and never what
//! was erased.

use std::collections::BTreeSet;
use std::sync::Mutex;

use longshore_model::{Codec, Timestamp};
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::encryption::{encrypted, open, prepared, writer};
use crate::healing::{Pair, blobs, flip, now, pair, session};
use crate::support::*;

#[tokio::test]
async fn a_backup_is_copied_by_whole_packs_byte_for_byte() {
    let Pair { store, vault, other_store, other, part } = pair().await;
    let reader = vault.open_reader().await.unwrap();
    let session = session(&other, 1).await;
    let done = Mutex::new(0);
    let on_blob = |_: &BlobId, bytes| *done.lock().unwrap() += bytes;
    let wanted = blobs(&part.part);
    let copied = session.copy_from(&reader, &wanted, &on_blob).await.unwrap();
    assert_eq!((copied.packs as usize, copied.blobs), (part.part.open.packs.len(), 0));
    assert!(copied.unreadable.is_empty());
    session.checkpoint().await.unwrap();
    assert_eq!(keys(&store, "packs").await, keys(&other_store, "packs").await);
    for key in keys(&store, "packs").await {
        assert_eq!(bytes_of(&store, &key).await, bytes_of(&other_store, &key).await);
    }
    let there = other.open_reader().await.unwrap();
    for blob in &wanted {
        assert_eq!(there.read_blob(blob).await.unwrap(), reader.read_blob(blob).await.unwrap());
    }
    // Every blob was reported, as often as it was asked for or once; again, nothing moves.
    assert!(*done.lock().unwrap() > 0);
    let again = session.copy_from(&reader, &wanted, &|_, _| {}).await.unwrap();
    assert_eq!((again.packs, again.blobs, again.present as usize), (0, 0, wanted.len()));
}

#[tokio::test]
async fn a_few_blobs_of_a_pack_are_copied_without_the_rest_and_what_is_there_is_not_read() {
    let Pair { vault, other_store, other, part, .. } = pair().await;
    let reader = vault.open_reader().await.unwrap();
    let mut small: Vec<BlobId> = blobs(&part.part);
    small.sort_by_key(|blob| reader.blob_bytes(blob).unwrap());
    let wanted = &small[..2];
    let session = session(&other, 1).await;
    let copied = session.copy_from(&reader, wanted, &|_, _| {}).await.unwrap();
    assert_eq!((copied.packs, copied.blobs), (0, 2));
    session.checkpoint().await.unwrap();
    let bytes: u64 = bytes_of(&other_store, &keys(&other_store, "packs").await[0]).await.len() as u64;
    assert!(bytes < 10_000, "{bytes} bytes for two small blobs");
    // A pack of which most is here already is not copied whole either.
    let most: Vec<BlobId> = small[2..].to_vec();
    let session = self::session(&other, 2).await;
    session.copy_from(&reader, &most, &|_, _| {}).await.unwrap();
    session.checkpoint().await.unwrap();
    assert_eq!(other.open_reader().await.unwrap().blob_count(), reader.blob_count());
}

/// A record of an erasure that had to rid a vault of these packs.
pub(crate) fn erasure(packs: BTreeSet<PackId>, completed: bool) -> Erasure {
    Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: "erasure-00000000000000ab".to_owned(),
        collection: Some("images".parse().unwrap()),
        name_id: None,
        clusters: BTreeSet::new(),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        started: now(),
        backups: BTreeSet::new(),
        packs,
        rewritten: Some(now()),
        completed: completed.then(now),
    }
}

#[tokio::test]
async fn a_pack_with_bytes_of_an_erased_collection_is_not_copied_whole() {
    // Who has the record, and whether it is completed there (`None` for no record); whether its packs may be copied whole.
    for (home, away, whole) in [
        (Some(false), None, false),
        (Some(true), None, true),
        (None, Some(false), false),
        (None, Some(true), false),
        (Some(false), Some(true), false),
        (Some(true), Some(false), true),
        (Some(true), Some(true), true),
    ] {
        let Pair { vault, other, part, .. } = pair().await;
        let reader = vault.open_reader().await.unwrap();
        let mut all: Vec<BlobId> = blobs(&part.part);
        all.sort_by_key(|blob| (reader.blob_bytes(blob).unwrap(), *blob));
        all.dedup();
        let (erased, wanted) = all.split_first().unwrap();
        let packs: BTreeSet<PackId> = reader.packs_of(&[*erased]).into_iter().collect();
        for (vault, completed) in [(&vault, home), (&other, away)] {
            if let Some(completed) = completed {
                vault.put_erasure(&erasure(packs.clone(), completed)).await.unwrap();
            }
        }
        let session = session(&other, 1).await;
        let copied = session.copy_from(&reader, wanted, &|_, _| {}).await.unwrap();
        assert!(copied.unreadable.is_empty());
        session.checkpoint().await.unwrap();
        let there = other.open_reader().await.unwrap();
        for blob in wanted {
            there.read_blob(blob).await.unwrap();
        }
        let came = there.read_blob(erased).await.is_ok();
        assert_eq!(came, whole, "at home: {home:?}, away: {away:?}");
        assert_eq!(copied.blobs == 0, whole, "at home: {home:?}, away: {away:?}");
    }
}

#[tokio::test]
async fn where_a_record_of_an_erasure_cannot_be_read_no_pack_is_copied_whole() {
    let Pair { store, vault, other, part, .. } = pair().await;
    vault.put_erasure(&erasure(BTreeSet::new(), false)).await.unwrap();
    let key = keys(&store, "erasures").await[0].clone();
    store.put(&key, "{broken".into()).await.unwrap();
    let reader = vault.open_reader().await.unwrap();
    let session = session(&other, 1).await;
    let copied = session.copy_from(&reader, &blobs(&part.part), &|_, _| {}).await.unwrap();
    assert!(copied.packs == 0 && copied.blobs > 0 && copied.unreadable.is_empty(), "{copied:?}");
}

#[tokio::test]
async fn a_copy_of_a_damaged_pack_takes_what_is_good_and_names_the_rest() {
    let Pair { store, vault, other, part, .. } = pair().await;
    for key in keys(&store, "packs").await {
        flip(&store, &key).await;
    }
    let bad = verify(&vault, &backup_id(1), VerifyLevel::Decoded).await.bad_blobs;
    let reader = vault.open_reader().await.unwrap();
    let session = session(&other, 1).await;
    let copied = session.copy_from(&reader, &blobs(&part.part), &|_, _| {}).await.unwrap();
    let mut unreadable: Vec<BlobId> = copied.unreadable.iter().map(|(blob, _)| *blob).collect();
    unreadable.sort_unstable();
    unreadable.dedup();
    assert_eq!(unreadable, bad);
    assert_eq!(copied.packs, 0, "a pack that does not match its name was copied");
    session.checkpoint().await.unwrap();
    let there = other.open_reader().await.unwrap();
    for blob in blobs(&part.part).iter().filter(|blob| !bad.contains(blob)) {
        there.read_blob(blob).await.unwrap();
    }
}

#[tokio::test]
async fn packs_are_never_copied_between_projects() {
    let Pair { vault, part, .. } = pair().await;
    let foreign = VaultOptions { project_id: "proj-other".parse().unwrap(), ..options("local", 3) };
    let foreign = Vault::init(memory(), foreign).await.unwrap();
    let session = session(&foreign, 1).await;
    let reader = vault.open_reader().await.unwrap();
    assert!(session.copy_from(&reader, &blobs(&part.part), &|_, _| {}).await.is_err());
}

#[tokio::test]
async fn a_copy_into_another_vault_of_the_project_needs_no_reader_key() {
    let (store, reader, part) = prepared(Codec::Zstd { level: 1 }).await;
    let home = open(&store, &Keys::none().with_writer(writer())).await;
    let away_store = memory();
    Vault::init(away_store.clone(), encrypted("away", 2, &reader)).await.unwrap();
    let away = open(&away_store, &Keys::none().with_writer(writer())).await;
    let loaded = home.load_backup(&backup_id(1)).await.unwrap();
    let sealed = home.load_part_of(&loaded).await.unwrap().sealed;
    let pin = away.pin(request(1), clock()).await.unwrap();
    let session = away.begin(&pin, SessionOptions::default()).await.unwrap();
    let blobs: Vec<BlobId> =
        part.part.open.collections.iter().flat_map(|one| &one.files).flat_map(|file| file.blobs.clone()).collect();
    let copied = session.copy_from(&home.open_reader().await.unwrap(), &blobs, &|_, _| {}).await.unwrap();
    assert!(copied.unreadable.is_empty() && copied.blobs == 0, "{copied:?}");
    let draft = PartDraft {
        backup_id: backup_id(1),
        token: 1,
        home_vault_id: Some(home.id().clone()),
        created: Timestamp::from_millis(NOW),
        collections: part.part.open.collections.clone(),
        sealed,
    };
    away.copy_session_objects(&home).await.unwrap();
    let copy = session.finish(draft).await.unwrap();
    away.put_receipt(&loaded.committed(), &copy.reference).await.unwrap();
    drop((home, away, store));
    let reading = open(&away_store, &Keys::none().with_reader(reader)).await;
    assert_eq!(read_back(&reading, &backup_id(1)).await.unwrap(), sample(1));
    let loaded = reading.load_backup(&backup_id(1)).await.unwrap();
    assert_eq!(loaded.root.sealed.open().unwrap().cluster_name, "demo");
}

#[tokio::test]
async fn without_a_reader_key_no_pack_with_erased_bytes_is_copied_until_the_erasure_is_completed() {
    let (store, reader, part) = prepared(Codec::Store).await;
    let keys = Keys::none().with_writer(writer());
    let home = open(&store, &keys).await;
    let away_store = memory();
    Vault::init(away_store.clone(), encrypted("away", 2, &reader)).await.unwrap();
    let away = open(&away_store, &keys).await;
    let blobs: Vec<BlobId> =
        part.part.open.collections.iter().flat_map(|one| &one.files).flat_map(|file| file.blobs.clone()).collect();
    let there = home.open_reader().await.unwrap();
    let hit: PackId = *there.packs_of(&blobs[..1]).first().unwrap();
    let of_hit = |blob: &BlobId| there.packs_of([blob]).contains(&hit);
    let copy = async |token| {
        let pin = away.pin(request(token), clock()).await.unwrap();
        let session = away.begin(&pin, SessionOptions::default()).await.unwrap();
        let copied = session.copy_from(&there, &blobs, &|_, _| {}).await.unwrap();
        session.checkpoint().await.unwrap();
        copied
    };
    home.put_erasure(&erasure([hit].into(), false)).await.unwrap();
    let copied = copy(1).await;
    assert!(!copied.unreadable.is_empty() && copied.blobs == 0, "{copied:?}");
    for (blob, error) in &copied.unreadable {
        let said = error.to_string();
        assert!(of_hit(blob) && matches!(error, VaultError::HoldsErased { .. }), "{said}");
        assert!(said.contains(&hit.to_string()) && said.contains("prune that vault"), "{said}");
    }
    let came: Vec<&BlobId> = copied.unreadable.iter().map(|(blob, _)| blob).collect();
    let arrived = away.open_reader().await.unwrap();
    for blob in &blobs {
        assert_eq!(arrived.blob_bytes(blob).is_none(), came.contains(&blob), "{blob}");
    }
    // The prune that ends the erasure says so in the record.
    home.put_erasure(&erasure([hit].into(), true)).await.unwrap();
    let copied = copy(2).await;
    assert!(copied.unreadable.is_empty(), "{copied:?}");
    let arrived = away.open_reader().await.unwrap();
    assert!(blobs.iter().all(|blob| arrived.blob_bytes(blob).is_some()));
}

#[tokio::test]
async fn a_copy_between_readers_brings_the_key_of_the_root() {
    let (store, reader, _) = prepared(Codec::Zstd { level: 1 }).await;
    let keys = Keys::none().with_reader(reader.clone());
    let home = open(&store, &keys).await;
    let away_store = memory();
    Vault::init(away_store.clone(), encrypted("away", 2, &reader)).await.unwrap();
    let away = open(&away_store, &keys).await;
    let pin = away.pin(request(1), clock()).await.unwrap();
    let part = write_part(&away, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    // As the engine finds it, for receipts that are written later.
    let mut commits = home.commits_of(&backup_id(1)).await.unwrap();
    let loaded = commits.remove(0).loaded.unwrap();
    assert!(!loaded.root.sealed.is_locked());
    away.put_receipt(&loaded.committed(), &part.reference).await.unwrap();
    drop((store, home));
    let there = open(&away_store, &keys).await.load_backup(&backup_id(1)).await.unwrap();
    assert_eq!(there.root.sealed.open().unwrap().cluster_name, "demo");
}

#[tokio::test]
async fn a_locked_part_is_not_written_where_its_session_key_is_not() {
    let (store, reader, part) = prepared(Codec::Store).await;
    let home = open(&store, &Keys::none().with_writer(writer())).await;
    let sealed = home.load_part(&part.reference).await.unwrap().sealed;
    let away_store = memory();
    Vault::init(away_store.clone(), encrypted("away", 2, &reader)).await.unwrap();
    let away = open(&away_store, &Keys::none().with_writer(writer())).await;
    let pin = away.pin(request(1), clock()).await.unwrap();
    let session = away.begin(&pin, SessionOptions::default()).await.unwrap();
    let draft = PartDraft {
        backup_id: backup_id(1),
        token: 1,
        home_vault_id: None,
        created: Timestamp::from_millis(NOW),
        collections: Vec::new(),
        sealed,
    };
    let error = session.finish(draft).await.unwrap_err();
    assert!(matches!(error, VaultError::SessionKey { .. }), "{error}");
}

#[tokio::test]
async fn packs_of_a_plain_vault_are_not_taken_into_an_encrypted_one() {
    let plain_store = memory();
    let plain = new_vault(plain_store).await.with_limits(small_limits());
    let part = back_up(&plain, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap().part;
    let (store, reader) = (memory(), ReaderKey::generate());
    Vault::init(store.clone(), encrypted("away", 2, &reader)).await.unwrap();
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let blobs: Vec<BlobId> =
        part.open.collections.iter().flat_map(|one| &one.files).flat_map(|file| file.blobs.clone()).collect();
    let copied = session.copy_from(&plain.open_reader().await.unwrap(), &blobs, &|_, _| {}).await.unwrap();
    assert!(copied.packs == 0 && copied.blobs > 0, "{copied:?}");
    session.checkpoint().await.unwrap();
    let secret = noise(10, 64);
    for key in keys(&store, "packs").await {
        assert!(!bytes_of(&store, &key).await.windows(64).any(|window| window == secret), "{key}");
    }
}
