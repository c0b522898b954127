//! Snapshots of catalogs: what is stored comes back or is an error, encrypted where the vault is, and a prune keeps few.

use bytes::Bytes;
use longshore_model::Timestamp;
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::encryption::{encrypted, open, writer};
use crate::pruning::{HOUR, at_once, timed};
use crate::support::*;

/// Not a catalog, but bytes are bytes; long enough that packing shows.
fn catalog() -> Bytes {
    Bytes::from("the hash of a key and the name of a collection\n".repeat(1_000))
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(NOW + hours * HOUR)
}

async fn stored(store: &Store) -> Vec<(object_store::path::Path, Bytes)> {
    let mut objects = Vec::new();
    for key in keys(store, "catalogs").await {
        let bytes = store.get(&key).await.unwrap().bytes().await.unwrap();
        objects.push((key, bytes));
    }
    objects
}

#[tokio::test]
async fn what_is_stored_comes_back_and_the_newest_comes_first() {
    let store = memory();
    let vault = Vault::init(store.clone(), options("local", 1)).await.unwrap();
    assert!(vault.list_catalogs().await.unwrap().is_empty());
    let first = vault.put_catalog(catalog(), at(0)).await.unwrap();
    let empty = vault.put_catalog(Bytes::new(), at(1)).await.unwrap();
    assert_eq!(vault.list_catalogs().await.unwrap(), [empty.clone(), first.clone()]);
    assert_eq!(vault.load_catalog(&first).await.unwrap(), catalog());
    assert!(vault.load_catalog(&empty).await.unwrap().is_empty());
    assert!(first.stored_bytes * 10 < catalog().len() as u64, "it is packed");
    // It is no backup, and no object of an unknown name.
    assert!(vault.list_backups().await.unwrap().backups.is_empty());
    let seen = inspect_vault(store, &Keys::none()).await.unwrap();
    assert!(seen.problems.is_empty() && seen.content["unknown"] == serde_json::json!([]), "{seen:?}");
    assert_eq!(seen.content["catalogs"].as_object().unwrap().len(), 2, "{seen:?}");
}

#[tokio::test]
async fn every_changed_byte_is_noticed() {
    let store = memory();
    let reader = ReaderKey::generate();
    for options in [options("local", 1), encrypted("local", 2, &reader)] {
        let store = if options.encryption == Encryption::None { store.clone() } else { memory() };
        let vault = Vault::init(store.clone(), options).await.unwrap();
        let keys = if vault.is_encrypted() { Keys::none().with_reader(reader.clone()) } else { Keys::none() };
        let vault = open(&store, &keys).await;
        vault.put_catalog(catalog(), at(0)).await.unwrap();
        let (_, good) = stored(&store).await.remove(0);
        for place in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[place] ^= 0x20;
            // Under the name of its new content, as somebody would who can write to the store and has no key.
            let digest = digest_of(&bytes);
            let key = format!("catalogs/{:016x}-{digest}", at(0).as_millis());
            store.put(&object_store::path::Path::from(key.as_str()), bytes.into()).await.unwrap();
            let forged = vault.list_catalogs().await.unwrap().into_iter().find(|one| one.digest == digest).unwrap();
            let error = vault.load_catalog(&forged).await.unwrap_err();
            assert!(matches!(error, VaultError::Unauthentic { .. }), "byte {place}: {error}");
            store.delete(&object_store::path::Path::from(key)).await.unwrap();
        }
        // The name alone: another time, or bytes that are not those of the name.
        let snapshot = vault.list_catalogs().await.unwrap().remove(0);
        let key = format!("catalogs/{:016x}-{}", at(5).as_millis(), snapshot.digest);
        store.put(&object_store::path::Path::from(key), good.clone().into()).await.unwrap();
        let moved = vault.list_catalogs().await.unwrap().remove(0);
        assert_eq!(moved.created, at(5));
        assert!(vault.load_catalog(&moved).await.is_err(), "an old one must not pass for a new one");
    }
}

#[tokio::test]
async fn in_an_encrypted_vault_a_writer_writes_it_and_only_a_reader_reads_it() {
    let (store, reader) = (memory(), ReaderKey::generate());
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let writing = open(&store, &Keys::none().with_writer(writer())).await;
    let snapshot = writing.put_catalog(catalog(), at(0)).await.unwrap();
    let (_, bytes) = stored(&store).await.remove(0);
    let word = b"collection";
    let unpacked = zstd::stream::decode_all(&bytes[bytes.iter().position(|b| *b == b'\n').unwrap() + 1..]);
    assert!(unpacked.is_err() && !bytes.windows(word.len()).any(|window| window == word), "it stands in the open");
    let error = writing.load_catalog(&snapshot).await.unwrap_err();
    assert!(matches!(error, VaultError::Locked), "{error}");
    let reading = open(&store, &Keys::none().with_reader(reader)).await;
    assert_eq!(reading.load_catalog(&snapshot).await.unwrap(), catalog());
    // Without any key nothing is written, in the open least of all.
    let without = Vault::open(store.clone(), &Keys::none()).await;
    let refused = match without {
        Ok(vault) => vault.put_catalog(catalog(), at(1)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(refused.to_string().contains("key"), "{refused}");
    assert_eq!(stored(&store).await.len(), 1);
}

#[tokio::test]
async fn a_prune_keeps_the_newest_and_one_of_each_day_and_no_backup_suffers() {
    let timed = timed().await;
    let content = sample(1);
    timed.back_up(1, &content).await;
    let start = timed.vault.put_catalog(catalog(), at(-40 * 24)).await.unwrap();
    for hour in -72..0 {
        timed.vault.put_catalog(catalog(), at(hour)).await.unwrap();
    }
    let plan = timed.prune(&at_once()).await.unwrap();
    let left = timed.vault.list_catalogs().await.unwrap();
    assert!(!left.contains(&start), "it is older than a month, and there are newer ones");
    assert!((24..=28).contains(&left.len()), "{}", left.len());
    assert_eq!(left[0].created, at(-1));
    let oldest = left.last().unwrap().created;
    assert!(at(-72).millis_since(oldest).abs() < 24 * HOUR, "the newest of the first day stays");
    let deleted = plan.objects.iter().filter(|object| object.object.starts_with("catalogs/"));
    assert_eq!(deleted.count(), 73 - left.len());
    assert_eq!(read_back(&timed.vault, &backup_id(1)).await.unwrap(), content);
    // Doing it again finds nothing more to do.
    timed.prune(&at_once()).await.unwrap();
    assert_eq!(timed.vault.list_catalogs().await.unwrap(), left);
}
