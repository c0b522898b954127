//! What was damaged is noted, stored again, fetched from another vault or rebuilt; nothing good is overwritten.

use std::collections::HashSet;
use std::sync::Mutex;

use longshore_model::{Codec, Timestamp};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::encryption::{encrypted, open};
use crate::support::*;

/// Two vaults of one project with the same backup.
pub(crate) struct Pair {
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) other_store: Store,
    pub(crate) other: Vault,
    pub(crate) part: FinishedPart,
}

pub(crate) async fn pair() -> Pair {
    let (store, other_store) = (memory(), memory());
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    let other = Vault::init(other_store.clone(), options("far", 2)).await.unwrap().with_limits(small_limits());
    let part = back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Zstd { level: 1 }).await.unwrap();
    Pair { store, vault, other_store, other, part }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn pack_of(key: &Path) -> PackId {
    key.filename().unwrap().parse().unwrap()
}

pub(crate) async fn session(vault: &Vault, token: u64) -> Session {
    let pin = vault.pin(request(token), clock()).await.unwrap();
    vault.begin(&pin, SessionOptions::default()).await.unwrap()
}

pub(crate) fn blobs(part: &Part) -> Vec<BlobId> {
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    files.flat_map(|file| file.blobs.iter().copied()).collect()
}

pub(crate) async fn flip(store: &Store, key: &Path) {
    change(store, key, |bytes| {
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0xff;
    })
    .await;
}

#[tokio::test]
async fn a_noted_pack_is_not_relied_on_by_the_next_backup_but_still_read() {
    let Pair { store, vault, .. } = pair().await;
    let key = keys(&store, "packs").await.remove(0);
    flip(&store, &key).await;
    // Without a note the next backup trusts the length and refers to what is damaged.
    back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    let report = verify(&vault, &backup_id(2), VerifyLevel::Stored).await;
    assert!(!report.is_whole());
    assert_eq!(report.damaged_packs, [pack_of(&key)]);
    vault.note_damage(&report.damaged_packs, now()).await.unwrap();
    // Noting alone changes nothing for readers: what is still good in the pack is read.
    let before: HashSet<BlobId> = report.bad_blobs.iter().copied().collect();
    let again = verify(&vault, &backup_id(2), VerifyLevel::Decoded).await;
    assert!(again.bad_blobs.iter().all(|blob| before.contains(blob)), "{again:?}");
    let part = back_up(&vault, &backup_id(3), 3, &sample(1), Codec::Store).await.unwrap();
    assert!(part.reference.sizes.new_bytes > 0, "the damaged pack was relied on");
    for backup in 1..=3 {
        assert_eq!(read_back(&vault, &backup_id(backup)).await.unwrap(), sample(1), "backup {backup}");
        assert!(verify(&vault, &backup_id(backup), VerifyLevel::Decoded).await.is_whole());
    }
}

#[tokio::test]
async fn what_a_noted_pack_held_is_stored_in_another_and_a_note_is_taken_back_even_where_nothing_can_be_deleted() {
    use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
    for may_delete in [true, false] {
        let faults = FaultStore::new(memory());
        let vault = new_vault(faults.store()).await.with_limits(small_limits());
        let store = faults.store();
        let blob = bytes::Bytes::from(noise(5, 30_000));
        let put = async |token: u64| {
            let session = session(&vault, token).await;
            let stored = session.put(blob.clone(), Codec::Store).await.unwrap();
            session.checkpoint().await.unwrap();
            stored
        };
        let id = put(1).await.id;
        let key = keys(&store, "packs").await.remove(0);
        flip(&store, &key).await;
        assert!(!put(2).await.new, "a pack without a note is trusted");
        vault.note_damage(&[pack_of(&key)], now()).await.unwrap();
        if !may_delete {
            faults.plan(vec![Fault::on(Operation::Delete, "damaged/", Effect::Fail)]);
        }
        assert!(put(3).await.new);
        assert_eq!(keys(&store, "packs").await.len(), 2, "no two writers make packs of one name");
        assert_eq!(vault.noted_packs().await.unwrap(), HashSet::from([pack_of(&key)]));
        assert_eq!(vault.open_reader().await.unwrap().read_blob(&id).await.unwrap(), blob);
        flip(&store, &key).await;
        vault.clear_damage(&[pack_of(&key)], now()).await.unwrap();
        assert!(vault.noted_packs().await.unwrap().is_empty(), "may delete: {may_delete}");
        assert_eq!(keys(&store, "damaged").await.is_empty(), may_delete);
        assert!(!put(4).await.new, "the healed pack counts again");
        assert_eq!(vault.open_reader().await.unwrap().read_blob(&id).await.unwrap(), blob);
    }
}

#[tokio::test]
async fn a_note_that_cannot_be_read_counts_and_strange_ones_do_not() {
    let Pair { store, vault, .. } = pair().await;
    let pack = pack_of(&keys(&store, "packs").await[0]);
    for (name, content) in [(format!("damaged/{pack}.json"), "{broken"), ("damaged/readme".to_owned(), "hello")] {
        store.put(&name.into(), content.into()).await.unwrap();
    }
    assert_eq!(vault.noted_packs().await.unwrap(), HashSet::from([pack]));
    vault.clear_damage(&[pack], now()).await.unwrap();
    assert!(vault.noted_packs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pack_is_healed_by_the_same_pack_elsewhere_and_never_by_a_damaged_one() {
    let Pair { store, vault, other_store, other, part } = pair().await;
    let session = session(&other, 1).await;
    session.copy_from(&vault.open_reader().await.unwrap(), &blobs(&part.part), &|_, _| {}).await.unwrap();
    session.checkpoint().await.unwrap();
    let all = keys(&store, "packs").await;
    let (flipped, lost) = (&all[0], &all[1]);
    let right = bytes_of(&store, flipped).await;
    flip(&store, flipped).await;
    store.delete(lost).await.unwrap();
    vault.note_damage(&[pack_of(flipped)], now()).await.unwrap();
    let sources = [other.clone()];
    assert_eq!(vault.find_pack(&pack_of(flipped), &sources).await, Some(other.id().clone()));
    for key in [flipped, lost] {
        assert_eq!(vault.heal_pack(&pack_of(key), &sources, now()).await.unwrap(), Some(other.id().clone()));
    }
    assert_eq!(bytes_of(&store, flipped).await, right);
    assert!(vault.noted_packs().await.unwrap().is_empty());
    assert!(verify(&vault, &backup_id(1), VerifyLevel::Decoded).await.is_whole());
    // The other way round: a source whose pack is damaged too changes nothing here.
    flip(&other_store, flipped).await;
    assert_eq!(vault.heal_pack(&pack_of(flipped), &sources, now()).await.unwrap(), None);
    assert_eq!(bytes_of(&store, flipped).await, right, "a good pack was overwritten");
}

#[tokio::test]
async fn damaged_lost_and_outdated_index_objects_are_rebuilt_from_packs() {
    let Pair { store, vault, .. } = pair().await;
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    back_up(&vault, &backup_id(3), 3, &sample(3), Codec::Store).await.unwrap();
    assert!(vault.plan_repair().await.unwrap().is_empty(), "a whole vault needs no repair");
    let indexes = keys(&store, "index").await;
    let before = vault.open_reader().await.unwrap().blob_count();
    flip(&store, &indexes[0]).await;
    let damaged = bytes_of(&store, &indexes[0]).await;
    store.delete(&indexes[1]).await.unwrap();
    let plan = vault.plan_repair().await.unwrap();
    assert_eq!(plan.damaged.len(), 1);
    assert!(!plan.unindexed_packs.is_empty() && plan.blobs() > 0);
    assert_eq!(keys(&store, "index").await.len(), 2, "a plan changes nothing");
    let outcome = vault.run_repair(&plan).await.unwrap();
    assert_eq!(outcome.set_aside, [format!("set-aside/{}", indexes[0])]);
    assert_eq!(bytes_of(&store, &outcome.set_aside[0].as_str().into()).await, damaged, "what was damaged is kept");
    assert!(!keys(&store, "index").await.contains(&indexes[0]));
    assert_eq!(outcome.left, Vec::<String>::new());
    assert!(vault.plan_repair().await.unwrap().is_empty());
    // Without reading the end of any pack: the new index objects cover them all.
    assert_eq!(vault.open_reader().await.unwrap().blob_count(), before);
    for backup in 1..=3 {
        let report = verify(&vault, &backup_id(backup), VerifyLevel::Decoded).await;
        assert!(report.is_whole() && report.objects.is_empty(), "{report:?}");
    }
    // A lost pack leaves an index object that names too much.
    let pack = keys(&store, "packs").await.remove(0);
    store.delete(&pack).await.unwrap();
    let plan = vault.plan_repair().await.unwrap();
    assert_eq!(plan.lost_packs, [pack_of(&pack)]);
    vault.run_repair(&plan).await.unwrap();
    assert!(vault.plan_repair().await.unwrap().is_empty());
    let rest = vault.open_reader().await.unwrap().blob_count();
    assert!(rest < before && rest > 0);
}

#[tokio::test]
async fn a_repair_that_fails_half_way_leaves_everything_readable() {
    use longshore_vault::testing::{Effect, Fault, FaultStore};
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await.with_limits(small_limits());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let store = faults.store();
    let damaged = keys(&store, "index").await.remove(0);
    flip(&store, &damaged).await;
    let plan = vault.plan_repair().await.unwrap();
    for number in 0..4 {
        faults.plan(vec![Fault::at(number, Effect::Fail)]);
        let _ = vault.run_repair(&plan).await;
        faults.plan(Vec::new());
        assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1), "operation {number}");
        assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), sample(2), "operation {number}");
    }
    vault.run_repair(&vault.plan_repair().await.unwrap()).await.unwrap();
    assert!(vault.plan_repair().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_or_damaged_root_comes_back_from_a_receipt() {
    let Pair { store, vault, other, part, .. } = pair().await;
    let pin = other.pin(request(1), clock()).await.unwrap();
    let copy = write_part(&other, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let root = vault.load_backup(&backup_id(1)).await.unwrap().committed();
    other.put_receipt(&root, &copy.reference).await.unwrap();
    let key = keys(&store, "roots").await.remove(0);
    let right = bytes_of(&store, &key).await;
    for damage in [true, false] {
        if damage {
            flip(&store, &key).await;
            let found = vault.manifest_damages(None).await.unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].kind, found[0].damage.object.as_str()), (ManifestKind::Root, key.as_ref()));
        } else {
            store.delete(&key).await.unwrap();
        }
        let kept = other.load_backup(&backup_id(1)).await.unwrap().committed();
        assert!(vault.heal_root(&kept).await.unwrap());
        assert!(!vault.heal_root(&kept).await.unwrap(), "a good root was written again");
        assert_eq!(bytes_of(&store, &key).await, right);
        assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1));
    }
    assert_eq!(vault.good_parts(&backup_id(1), 1).await.unwrap()[0].0, part.reference);
    let mut forged = root;
    forged.bytes = "{}".into();
    assert!(vault.heal_root(&forged).await.is_err());
    assert_eq!(bytes_of(&store, &key).await, right);
}

#[tokio::test]
async fn a_verification_that_was_stopped_goes_on_with_what_was_not_found_good() {
    let Pair { store, vault, part, .. } = pair().await;
    let packs = keys(&store, "packs").await;
    flip(&store, &packs[0]).await;
    let first = Mutex::new(Vec::new());
    let on_pack = |pack, good| first.lock().unwrap().push((pack, good));
    let mut options = VerifyOptions::new(VerifyLevel::Stored, &|_, _| {});
    options.on_pack = &on_pack;
    let report = vault.verify(&part.part, options).await.unwrap();
    assert_eq!((report.packs, report.packs_read), (packs.len() as u64, packs.len() as u64));
    let first = first.into_inner().unwrap();
    assert!(first.contains(&(pack_of(&packs[0]), false)));
    // All but one good pack are known: that one is read, and the damaged one again, or its damage would be forgotten.
    let mut good: HashSet<PackId> = first.iter().filter(|(_, good)| *good).map(|(pack, _)| *pack).collect();
    let left = *good.iter().next().unwrap();
    good.remove(&left);
    let mut options = VerifyOptions::new(VerifyLevel::Stored, &|_, _| {});
    options.good = good;
    let rest = vault.verify(&part.part, options).await.unwrap();
    assert_eq!(rest.packs_read, 2);
    assert_eq!((rest.damaged_packs, rest.good_packs), (vec![pack_of(&packs[0])], vec![left]));
    assert_eq!(damaged(&report), damaged_of(&rest.collections));
    let checked = |collection: &CollectionReport| collection.checked_blobs == collection.blobs;
    assert!(rest.collections.iter().all(checked), "{:?}", rest.collections);
}

fn damaged_of(collections: &[CollectionReport]) -> Vec<u32> {
    collections.iter().filter(|one| one.damaged_files > 0).map(|one| one.number).collect()
}

#[tokio::test]
async fn samples_with_seeds_one_after_the_other_find_any_damage() {
    let Pair { store, vault, part, .. } = pair().await;
    let packs = keys(&store, "packs").await;
    flip(&store, &packs[packs.len() / 2]).await;
    let (mut read, mut found) = (0, 0);
    for seed in 5..5 + packs.len() as u64 {
        let mut options = VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {});
        options.sample = Some(Sample { percent: 1, seed });
        let report = vault.verify(&part.part, options).await.unwrap();
        assert_eq!(report.packs_read, 1);
        assert!(report.collections.iter().any(|collection| collection.checked_blobs < collection.blobs));
        read += report.packs_read;
        found += report.damaged_packs.len();
    }
    assert_eq!((read, found), (packs.len() as u64, 1));
}

/// A header as another program might find it: of a vault whose manifests, project and key must agree.
#[tokio::test]
async fn a_header_is_made_again_only_from_a_vault_of_the_project_and_a_damaged_one_is_kept() {
    let Pair { store, other_store, other, vault, .. } = pair().await;
    let key = Path::from("longshore-vault.json");
    let right = bytes_of(&store, &key).await;
    assert!(Vault::rebuild_header(store.clone(), &other, true).await.is_err(), "it is there");
    store.delete(&key).await.unwrap();
    assert!(matches!(Vault::open(store.clone(), &Keys::none()).await, Err(VaultError::LostHeader { .. })));
    // Another project with the same key, then another key in the same project.
    let project = VaultOptions { project_id: "proj-other".parse().unwrap(), ..options("far", 3) };
    let foreign = VaultOptions { id_key: IdKey::new([8; 32]), ..options("far", 3) };
    for wrong in [project, foreign] {
        let wrong = Vault::init(memory(), wrong).await.unwrap();
        assert!(Vault::rebuild_header(store.clone(), &wrong, true).await.is_err());
        assert!(!keys(&store, "").await.contains(&key), "something was written");
    }
    Vault::rebuild_header(store.clone(), &other, false).await.unwrap();
    assert!(!keys(&store, "").await.contains(&key), "a dry run wrote something");
    let found = Vault::rebuild_header(store.clone(), &other, true).await.unwrap();
    assert_eq!((&found.vault_id, &found.region_id), (vault.id(), vault.region_id()));
    assert_eq!(bytes_of(&store, &key).await, right);
    flip(&store, &key).await;
    let damaged = bytes_of(&store, &key).await;
    Vault::rebuild_header(store.clone(), &other, true).await.unwrap();
    assert_eq!(bytes_of(&store, &key).await, right);
    assert_eq!(bytes_of(&store, &"set-aside/longshore-vault.json".into()).await, damaged);
    // A part of another vault lies here, too: whose header it should be cannot be told.
    let pin = other.pin(request(9), clock()).await.unwrap();
    let strange = write_part(&other, &pin, &backup_id(9), 9, &sample(1), Codec::Store).await.unwrap();
    let strange = Path::from(strange.reference.key);
    store.put(&strange, bytes_of(&other_store, &strange).await.into()).await.unwrap();
    store.delete(&key).await.unwrap();
    assert!(Vault::rebuild_header(store.clone(), &other, true).await.is_err());
    assert!(!keys(&store, "").await.contains(&key), "something was written");
}

/// What a rehearsal writes, and what it unwraps with that, is known to nobody else.
#[tokio::test]
async fn a_rehearsal_leaves_the_vault_and_its_keys_as_they_are() {
    let (store, reader) = (memory(), ReaderKey::generate());
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let keys_of_reader = Keys::none().with_reader(reader);
    let writing = open(&store, &keys_of_reader).await;
    back_up(&writing, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let copy = memory();
    for key in keys(&store, "").await {
        copy.put(&key, bytes_of(&store, &key).await.into()).await.unwrap();
    }
    let copy = open(&copy, &keys_of_reader).await;
    for key in keys(&store, "keys/sessions").await {
        store.delete(&key).await.unwrap();
    }
    let before = keys(&store, "").await;
    let vault = open(&store, &keys_of_reader).await;
    let rehearsal = vault.rehearsal();
    rehearsal.copy_session_objects(&copy).await.unwrap();
    assert_eq!(read_back(&rehearsal, &backup_id(1)).await.unwrap(), sample(1));
    assert!(read_back(&vault, &backup_id(1)).await.is_err());
    let pin = rehearsal.pin(request(1), clock()).await.unwrap();
    pin.release().await.unwrap();
    assert_eq!(keys(&store, "").await, before);
}
