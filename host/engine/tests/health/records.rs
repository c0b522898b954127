//! Damaged records beside backups, and every kind of object of encrypted vaults: found, named, survived, mended.

use longshore_engine::{HealRequest, VerifyLevel, VerifyOutcome, heal};
use longshore_model::{BackupId, Timestamp};
use longshore_vault::{Erasure, FORMAT_VERSION, MarkId, ReaderKey, Withdrawal};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

use crate::corruption::{Damage, apply};
use crate::support::*;

const DAMAGES: [Damage; 5] = [Damage::Flip(0), Damage::Flip(500), Damage::Truncate(600), Damage::Delete, Damage::Swap];

fn erasure(number: u8) -> Erasure {
    let time = Timestamp::from_millis(0);
    Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: format!("erasure-00000000000000a{number}"),
        collection: Some(format!("erased_{number}").parse().unwrap()),
        name_id: None,
        clusters: Default::default(),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        started: time,
        backups: Default::default(),
        packs: Default::default(),
        rewritten: Some(time),
        completed: Some(time),
    }
}

/// Two records of each kind.
pub(crate) async fn add_records(place: &Place) {
    for number in [1, 2] {
        let withdrawal = Withdrawal { time: Timestamp::from_millis(0), by: "a test".to_owned(), job_id: None };
        place.home.withdraw_backup(&BackupId::from_random([100 + number; 10]), &withdrawal).await.unwrap();
        for vault in [&place.home, &place.other] {
            vault.put_erasure(&erasure(number)).await.unwrap();
        }
        let created = Timestamp::from_millis(i64::from(number));
        place.home.put_catalog(vec![number; 500].into(), created).await.unwrap();
        let id = MarkId::derive(&[number; 16], 0);
        let mark = serde_json::json!({
            "format": 1, "kind": "mark", "id": id, "state": "marked", "created": created, "packs": [], "parts": [],
        });
        put(&place.home_store, &format!("marks/{id}.json").as_str().into(), mark.to_string().into_bytes()).await;
    }
}

pub(crate) async fn everything(store: &Store) -> Vec<(Key, Vec<u8>)> {
    let mut all = Vec::new();
    for key in keys(store, "").await {
        let bytes = bytes_of(store, &key).await;
        all.push((key, bytes));
    }
    all
}

pub(crate) async fn put_back(store: &Store, original: &[(Key, Vec<u8>)]) {
    for key in keys(store, "").await {
        store.delete(&key).await.unwrap();
    }
    for (key, bytes) in original {
        put(store, key, bytes.clone()).await;
    }
}

fn names(outcome: &VerifyOutcome, object: &Key) -> bool {
    outcome.damaged_objects.iter().any(|one| one.object == object.as_ref())
}

async fn healed(place: &Place, what: &str) {
    let request = HealRequest { backup: Some(place.backup.clone()), level: VerifyLevel::Stored, dry_run: false };
    let sources = std::slice::from_ref(&place.other);
    let healed = heal_after_a_dry_run(&place.home, &place.home_store, sources, request).await;
    let healed = healed.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(healed.whole, "{what}: {healed:?}");
}

async fn records_are_found_and_mended(reader: Option<&ReaderKey>, folders: &[&str]) {
    let place = Place::encrypted(&three()[..1], reader).await;
    add_records(&place).await;
    let original = everything(&place.home_store).await;
    for folder in folders {
        let objects: Vec<Key> =
            original.iter().map(|(key, _)| key).filter(|key| key.as_ref().starts_with(folder)).cloned().collect();
        assert!(!objects.is_empty(), "no {folder}");
        for damage in DAMAGES {
            let what = format!("{folder} {damage:?}");
            if damage == Damage::Swap && objects.len() < 2 {
                continue;
            }
            apply(&place.home_store, &objects, damage).await;
            let fresh = place.reopened(reader).await;
            let outcome = fresh.verify(VerifyLevel::Exists).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(outcome.whole, "no collection is hit: {what}: {outcome:?}");
            // Alone a vault does not miss what is gone altogether: nothing else in it says that it should be there. What
            // other vaults say is in `deletion.rs`.
            assert_eq!(names(&outcome, &objects[0]), damage != Damage::Delete, "{what}: {outcome:?}");
            assert!(damage != Damage::Swap || names(&outcome, &objects[1]), "{what}: {outcome:?}");
            healed(&fresh, &what).await;
            let after = fresh.verify(VerifyLevel::Exists).await.unwrap();
            assert!(after.is_sound(), "{what}: {after:?}");
            // Who was deleted stays so, and what was erased is not forgotten.
            let forgotten = usize::from(damage == Damage::Delete && *folder == "withdrawn");
            assert_eq!(fresh.home.list_withdrawn().await.unwrap().len(), 2 - forgotten, "{what}");
            assert_eq!(fresh.home.list_erasures().await.unwrap().len(), 2, "{what}");
            put_back(&place.home_store, &original).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_are_named_and_mended_and_hit_no_collection() {
    records_are_found_and_mended(None, &["withdrawn", "erasures", "marks", "catalogs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_of_an_encrypted_vault_are_named_and_mended_too() {
    records_are_found_and_mended(Some(&ReaderKey::generate()), &["withdrawn", "erasures", "catalogs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_whose_record_no_vault_has_is_not_forgotten() {
    let place = Place::of(&three()[..1]).await;
    add_records(&place).await;
    let record = keys(&place.home_store, "erasures").await.remove(0);
    for store in [&place.home_store, &place.other_store] {
        flip(store, &record, 10).await;
    }
    let request = HealRequest { backup: Some(place.backup.clone()), level: VerifyLevel::Stored, dry_run: false };
    let outcome = heal(&place.home, std::slice::from_ref(&place.other), &request, &context()).await.unwrap();
    let told = outcome.objects.iter().find(|one| one.object == record.as_ref()).unwrap();
    assert!(!outcome.whole && !told.healed && told.how.contains("must not be forgotten"), "{outcome:?}");
    assert!(keys(&place.home_store, "erasures").await.contains(&record));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_an_encrypted_vault_is_named_and_healed_from_another() {
    let reader = ReaderKey::generate();
    let key = Some(&reader);
    let place = Place::encrypted(&three(), key).await;
    let session = keys(&place.home_store, "keys/sessions").await.remove(0);
    let second = place.back_up(&three()[..1]).await;
    place.copy(&second).await;
    // Somebody else may read it, too: keys are wrapped again, and there is a second list.
    let other = longshore_vault::NamedRecipient {
        name: "other".to_owned(),
        recipient: ReaderKey::generate().to_recipient(),
        added: Timestamp::from_millis(0),
    };
    for vault in [&place.home, &place.other] {
        vault.add_recipient(other.clone()).await.unwrap();
    }
    let original = everything(&place.home_store).await;
    for folder in ["packs", "index", "parts", "roots", "keys/sessions", "keys/recipients"] {
        let mut objects: Vec<Key> =
            original.iter().map(|(key, _)| key).filter(|key| key.as_ref().starts_with(folder)).cloned().collect();
        objects.sort_by_key(|key| (!key.as_ref().contains(place.backup.as_str()), *key != session));
        if folder == "keys/recipients" {
            // The newest counts.
            objects.reverse();
        }
        for damage in DAMAGES {
            let what = format!("{folder} {damage:?}");
            // Both wrapped keys of a session, or all lists, at once: see the test after this.
            if damage == Damage::Swap && (folder.starts_with("keys") || objects.len() < 2) {
                continue;
            }
            apply(&place.home_store, &objects, damage).await;
            let fresh = place.reopened(key).await;
            match fresh.verify(VerifyLevel::Decoded).await {
                Ok(outcome) => {
                    let gone = damage == Damage::Delete && !["packs", "parts", "roots"].contains(&folder);
                    let told =
                        if folder == "roots" { !outcome.problems.is_empty() } else { names(&outcome, &objects[0]) };
                    assert!(gone || told, "{what}: {outcome:?}");
                    let harmless = ["index", "keys/sessions", "keys/recipients"].contains(&folder);
                    assert_eq!(outcome.whole, harmless, "{what}: {outcome:?}");
                }
                // Without root and receipt there is no backup here.
                Err(error) => assert!(folder == "roots" && damage == Damage::Delete, "{what}: {error}"),
            }
            healed(&fresh, &what).await;
            let fresh = place.reopened(key).await;
            let after = fresh.verify(VerifyLevel::Decoded).await.unwrap();
            assert!(after.is_sound(), "{what}: {after:?}");
            if damage == Damage::Flip(500) {
                assert_eq!(fresh.restore(&[]).await.unwrap(), 3, "{what}");
            }
            put_back(&place.home_store, &original).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_of_a_session_is_said_and_comes_back_from_another_vault() {
    let reader = ReaderKey::generate();
    let key = Some(&reader);
    let place = Place::encrypted(&three()[..2], key).await;
    let session = keys(&place.home_store, "keys/sessions").await.remove(0);
    for damage in [Damage::Delete, Damage::Flip(500), Damage::Truncate(0)] {
        let what = format!("{damage:?}");
        apply(&place.home_store, std::slice::from_ref(&session), damage).await;
        let fresh = place.reopened(key).await;
        let said = match fresh.verify(VerifyLevel::Decoded).await {
            Ok(outcome) => {
                assert!(!outcome.whole, "{what}: {outcome:?}");
                format!("{outcome:?}")
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains("session"), "{what}: {said}");
        assert!(fresh.restore(&[]).await.is_err(), "{what}");
        healed(&fresh, &what).await;
        let fresh = place.reopened(key).await;
        assert!(fresh.verify(VerifyLevel::Decoded).await.unwrap().is_sound(), "{what}");
        assert_eq!(fresh.restore(&[]).await.unwrap(), 2, "{what}");
    }
}
