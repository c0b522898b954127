//! Packs before index objects before parts before the root before receipts, in two vaults.

use longshore_model::Codec;
use longshore_vault::testing::{Event, Operation, RecordingStore};
use longshore_vault::*;

use crate::support::*;

/// Places in the record of puts on keys with this prefix: when they began, and when they were acknowledged.
fn puts(events: &[Event], prefix: &str) -> (Vec<usize>, Vec<usize>) {
    let (mut began, mut ended) = (Vec::new(), Vec::new());
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Began(Operation::Put, key) if key.starts_with(prefix) => began.push(place),
            Event::Ended(Operation::Put, key, true) if key.starts_with(prefix) => ended.push(place),
            _ => {}
        }
    }
    assert_eq!(began.len(), ended.len(), "{prefix}");
    assert!(!began.is_empty(), "nothing was put at {prefix}");
    (began, ended)
}

fn in_order(events: &[Event], first: &str, then: &str) {
    let (_, acknowledged) = puts(events, first);
    let (began, _) = puts(events, then);
    assert!(acknowledged.iter().max() < began.iter().min(), "{then} began before {first} was durable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_named_before_it_is_durable() {
    let home_store = RecordingStore::new(memory());
    let away_store = home_store.beside(memory(), "away/");
    let home = Vault::init(home_store.store(), options("local", 1)).await.unwrap().with_limits(small_limits());
    let away = Vault::init(away_store.store(), options("far", 2)).await.unwrap().with_limits(small_limits());
    home_store.clear();
    let pins = (home.pin(request(1), clock()).await.unwrap(), away.pin(request(1), clock()).await.unwrap());
    let id = backup_id(1);
    let here = write_part(&home, &pins.0, &id, 1, &sample(1), Codec::Store).await.unwrap();
    let there = write_part(&away, &pins.1, &id, 1, &sample(2), Codec::Zstd { level: 1 }).await.unwrap();
    let root = root_of(&id, 1, &[&here.reference, &there.reference]);
    let root = home.commit_root(&root, &pins.0).await.unwrap();
    away.put_receipt(&root, &there.reference).await.unwrap();
    let events = home_store.events();
    for vault in ["", "away/"] {
        let key = |folder: &str| format!("{vault}{folder}/");
        in_order(&events, &key("pins"), &key("packs"));
        in_order(&events, &key("packs"), &key("index"));
        in_order(&events, &key("index"), &key("parts"));
        in_order(&events, &key("parts"), "roots/");
    }
    in_order(&events, "roots/", "away/receipts/");
    assert_eq!(read_back(&home, &id).await.unwrap(), sample(1));
    assert_eq!(read_back(&away, &id).await.unwrap(), sample(2));
}

#[tokio::test]
async fn the_record_would_show_a_wrong_order() {
    let recording = RecordingStore::new(memory());
    let store = recording.store();
    use object_store::ObjectStoreExt;
    store.put(&"index/a".into(), "x".into()).await.unwrap();
    store.put(&"packs/a".into(), "x".into()).await.unwrap();
    let events = recording.events();
    assert!(std::panic::catch_unwind(|| in_order(&events, "packs/", "index/")).is_err());
}
