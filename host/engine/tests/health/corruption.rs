//! Every kind of object, damaged in every way: found, named, survived, healed.
//!
//! One table: what is damaged, how, and what must follow. The short form damages a few places of each object, the long
//! form (`LONGSHORE_LONG=1`) one place in every region of it.

use std::collections::BTreeSet;

use longshore_engine::VerifyLevel;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

use crate::support::*;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// All bits of the byte at this place, in thousandths of the length.
    Flip(usize),
    /// Cut to this many thousandths.
    Truncate(usize),
    Delete,
    /// Exchanged with another object of its kind.
    Swap,
}

/// What must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nobody is hit: the object only repeats others, or says something about work.
    Harmless,
    /// Some collections may be hit, and verify says which.
    Collections,
    /// The backup cannot be read from this vault alone, and the error says why.
    Backup,
}

/// Which objects, and what damage to one of them does.
const OBJECTS: [(&str, Effect); 6] = [
    ("packs", Effect::Collections),
    ("index", Effect::Harmless),
    ("parts", Effect::Backup),
    ("roots", Effect::Backup),
    ("pins", Effect::Harmless),
    ("damaged", Effect::Harmless),
];

fn damages() -> Vec<Damage> {
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let places: Vec<usize> = if long { (0..1000).step_by(20).chain([999]).collect() } else { vec![0, 500, 999] };
    let flips = places.iter().map(|place| Damage::Flip(*place));
    let cuts = if long { vec![0, 1, 250, 500, 999] } else { vec![0, 600] };
    flips.chain(cuts.into_iter().map(Damage::Truncate)).chain([Damage::Delete, Damage::Swap]).collect()
}

/// Restores take long: in the short form some damages are judged by decoding everything alone.
fn is_thorough(damage: Damage) -> bool {
    std::env::var_os("LONGSHORE_LONG").is_some() || damage == Damage::Flip(500)
}

pub(crate) async fn apply(store: &Store, keys: &[Key], damage: Damage) {
    let key = &keys[0];
    let mut bytes = bytes_of(store, key).await;
    match damage {
        Damage::Flip(place) => {
            let place = (bytes.len() * place / 1000).min(bytes.len() - 1);
            bytes[place] ^= 0xff;
            put(store, key, bytes).await;
        }
        Damage::Truncate(to) => {
            bytes.truncate((bytes.len() * to / 1000).min(bytes.len() - 1));
            put(store, key, bytes).await;
        }
        Damage::Delete => store.delete(key).await.unwrap(),
        Damage::Swap => {
            let other = bytes_of(store, &keys[1]).await;
            put(store, key, other).await;
            put(store, &keys[1], bytes).await;
        }
    }
}

/// A second backup of its own files, so that there are two objects of each kind, and a pin and a note.
async fn prepared() -> Place {
    let place = Place::of(&three()).await;
    let name = place.verify(VerifyLevel::Exists).await.unwrap().collections[0].name.clone();
    let second = place.back_up(&[name]).await;
    place.copy(&second).await;
    for number in [1, 2] {
        let pack = &keys(&place.home_store, "packs").await[number];
        let pin = format!("pins/job-{number}/0000000000000001-000000000000000{number}.json");
        put(&place.home_store, &pin.as_str().into(), b"{\"format\":1,\"kind\":\"pin\"}".to_vec()).await;
        let name: longshore_vault::PackId = pack.filename().unwrap().parse().unwrap();
        let now = longshore_model::Timestamp::from_millis(0);
        place.home.note_damage(&[name], now).await.unwrap();
    }
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_is_found_and_named_and_the_rest_restored_and_all_of_it_healed() {
    let mut hit_some = 0;
    let place = prepared().await;
    let everything = keys(&place.home_store, "").await;
    let mut original = Vec::new();
    for key in &everything {
        original.push((key.clone(), bytes_of(&place.home_store, key).await));
    }
    for (folder, effect) in OBJECTS {
        let mut objects: Vec<Key> = everything.iter().filter(|key| key.as_ref().starts_with(folder)).cloned().collect();
        // The manifests of the backup that is looked at come first.
        objects.sort_by_key(|key| !key.as_ref().contains(place.backup.as_str()));
        for damage in damages() {
            let what = format!("{folder} {damage:?}");
            if damage == Damage::Swap && objects.len() < 2 {
                continue;
            }
            apply(&place.home_store, &objects, damage).await;
            hit_some += usize::from(judge(&place, effect, damage, &objects, &what).await);
            let healed = place.heal().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(healed.whole, "{what}: {healed:?}");
            if is_thorough(damage) {
                assert_eq!(place.restore(&[]).await.unwrap_or_else(|error| panic!("{what}: {error}")), 3);
            }
            let outcome = place.verify(VerifyLevel::Decoded).await.unwrap();
            assert!(outcome.whole && outcome.damaged_objects.is_empty(), "{what}: {outcome:?}");
            // As it was, for the next damage.
            for key in keys(&place.home_store, "").await {
                place.home_store.delete(&key).await.unwrap();
            }
            for (key, bytes) in &original {
                put(&place.home_store, key, bytes.clone()).await;
            }
        }
    }
    assert!(hit_some > 3, "no damage ever hit a collection: the test damages nothing");
}

/// Checks what must follow from a damage; true when collections were hit.
async fn judge(place: &Place, effect: Effect, damage: Damage, objects: &[Key], what: &str) -> bool {
    let outcome = place.verify(VerifyLevel::Decoded).await;
    match effect {
        Effect::Harmless => {
            let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(outcome.whole, "{what}: {outcome:?}");
            if is_thorough(damage) {
                assert_eq!(place.restore(&[]).await.unwrap(), 3, "{what}");
            }
            false
        }
        Effect::Collections => {
            let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
            let hit = hit(&outcome);
            let named: BTreeSet<&str> = outcome.damaged_objects.iter().map(|one| one.object.as_str()).collect();
            let count = if damage == Damage::Swap { 2 } else { 1 };
            for object in objects.iter().take(count) {
                assert!(named.contains(object.as_ref()), "{what}: {object} is not named in {named:?}");
            }
            // Exactly those: each that is named cannot be restored, all others together can.
            for one in outcome.collections.iter().filter(|one| !one.damages.is_empty()) {
                assert!(place.restore(std::slice::from_ref(&one.name)).await.is_err(), "{what}: {} is fine", one.name);
            }
            let rest = unhit(&outcome);
            assert_eq!(hit.len() + rest.len(), 3, "{what}: {outcome:?}");
            if !rest.is_empty() && is_thorough(damage) {
                assert_eq!(place.restore(&rest).await.unwrap(), rest.len(), "{what}");
            }
            !hit.is_empty()
        }
        Effect::Backup => {
            match outcome {
                Ok(outcome) => {
                    assert!(!outcome.whole && !outcome.problems.is_empty(), "{what}: {outcome:?}");
                    // A lost part hits all three by name; of a lost root nothing can be known here.
                    let expected = if objects[0].as_ref().starts_with("parts") { 3 } else { 0 };
                    assert_eq!(hit(&outcome).len(), expected, "{what}: {outcome:?}");
                }
                // Without root and receipt there is no backup here.
                Err(error) => assert!(damage == Damage::Delete, "{what}: {error}"),
            }
            assert!(place.restore(&[]).await.is_err(), "{what}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_header_is_a_sentence_and_the_other_vault_restores() {
    let place = Place::of(&three()).await;
    let key: Key = "longshore-vault.json".into();
    for damage in damages().into_iter().filter(|damage| *damage != Damage::Swap) {
        let right = bytes_of(&place.home_store, &key).await;
        apply(&place.home_store, std::slice::from_ref(&key), damage).await;
        let opened = longshore_vault::Vault::open(place.home_store.clone(), &longshore_vault::Keys::default()).await;
        // The end of the file is a line feed, which says nothing.
        let last = right.len() - 1;
        let harmless = matches!(damage, Damage::Flip(at) | Damage::Truncate(at) if right.len() * at / 1000 >= last);
        assert!(opened.is_err() || harmless, "{damage:?}");
        put(&place.home_store, &key, right).await;
    }
    let other = Place { home: place.other.clone(), home_store: place.other_store.clone(), ..place };
    assert_eq!(other.restore(&[]).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_header_is_made_again_from_another_vault_of_the_project() {
    let reader = longshore_vault::ReaderKey::generate();
    let key: Key = "longshore-vault.json".into();
    for reader in [None, Some(&reader)] {
        let place = Place::encrypted(&three()[..1], reader).await;
        let right = bytes_of(&place.home_store, &key).await;
        let made = |store: &Store, other: &longshore_vault::Vault, write| {
            let (store, other) = (store.clone(), other.clone());
            async move { longshore_vault::Vault::rebuild_header(store, &other, write).await }
        };
        let good = made(&place.home_store, &place.other, true).await.unwrap_err().to_string();
        assert!(good.contains("already"), "a good header is left alone: {good}");
        for damage in [Damage::Delete, Damage::Flip(500), Damage::Truncate(0)] {
            apply(&place.home_store, std::slice::from_ref(&key), damage).await;
            let error = longshore_vault::Vault::open(place.home_store.clone(), &longshore_vault::Keys::none()).await;
            let said = error.unwrap_err().to_string();
            assert!(said.contains("--header-from"), "{damage:?}: {said}");
            // Not from a vault of another project, although it has the same id.
            let stranger = Place::encrypted(&three()[..1], reader).await;
            let refused = made(&place.home_store, &stranger.other, true).await.unwrap_err().to_string();
            assert!(refused.contains("does not fit"), "{damage:?}: {refused}");
            made(&place.home_store, &place.other, false).await.unwrap();
            assert!(
                bytes_of_or_none(&place.home_store, &key).await != Some(right.clone()),
                "nothing was to be written"
            );
            // In a second vault the region is the one of its receipts.
            let header = made(&place.home_store, &place.other, true).await.unwrap();
            assert_eq!(header.region_id.as_str(), "eu");
            assert_eq!(bytes_of(&place.home_store, &key).await, right, "{damage:?}");
            assert_eq!(place.reopened(reader).await.restore(&[]).await.unwrap(), 1);
        }
        let right = bytes_of(&place.other_store, &key).await;
        place.other_store.delete(&key).await.unwrap();
        assert_eq!(made(&place.other_store, &place.home, true).await.unwrap().region_id.as_str(), "us");
        assert_eq!(bytes_of(&place.other_store, &key).await, right);
    }
}

async fn bytes_of_or_none(store: &Store, key: &Key) -> Option<Vec<u8>> {
    Some(store.get(key).await.ok()?.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_receipt_or_copied_part_is_healed_from_the_home_vault() {
    let place = Place::of(&three()).await;
    for folder in ["receipts", "parts"] {
        for damage in [Damage::Flip(500), Damage::Truncate(300), Damage::Delete] {
            let what = format!("{folder} {damage:?}");
            let key = keys(&place.other_store, folder).await.remove(0);
            apply(&place.other_store, std::slice::from_ref(&key), damage).await;
            let request = longshore_engine::HealRequest {
                backup: Some(place.backup.clone()),
                level: VerifyLevel::Stored,
                dry_run: false,
            };
            let sources = [place.home.clone()];
            let healed = longshore_engine::heal(&place.other, &sources, &request, &context()).await.unwrap();
            if folder == "receipts" && damage == Damage::Delete {
                // A copy that was made later is named by its receipt alone; without it, it is not there. It can be made
                // again, and nothing of it has to be moved.
                place.copy(&place.backup).await;
            } else {
                assert!(healed.whole, "{what}: {healed:?}");
            }
            let alone = Place {
                home: place.other.clone(),
                other: place.other.clone(),
                home_store: place.other_store.clone(),
                other_store: place.other_store.clone(),
                backup: place.backup.clone(),
            };
            assert_eq!(alone.restore(&[]).await.unwrap_or_else(|error| panic!("{what}: {error}")), 3);
        }
    }
}
