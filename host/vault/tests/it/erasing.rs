//! What an erasure and the prunes after it leave in a vault, by its plain bytes.

use std::collections::{BTreeSet, HashSet};

use longshore_model::{Clock, CollectionName, Timestamp};
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::pruning::{HOUR, Timed, timed};
use crate::support::*;

const ERASED: &str = "images";

/// True when some pack holds these bytes as they are.
async fn in_a_pack(place: &Timed, bytes: &[u8]) -> bool {
    let store = place.store();
    for key in keys(&store, "packs").await {
        if bytes_of(&store, &key).await.windows(bytes.len()).any(|window| window == bytes) {
            return true;
        }
    }
    false
}

/// As the engine finds them, in a vault with one part.
fn packs_to_erase(reader: &Reader, erased: &[BlobId], part: &Part) -> BTreeSet<PackId> {
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    let spoken_of: HashSet<BlobId> = files.flat_map(|file| file.blobs.clone()).collect();
    reader.packs_of(erased).into_iter().chain(reader.packs_beside(&spoken_of)).collect()
}

/// After which step an erasure stops.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Record,
    Part,
    Root,
    End,
}

/// The steps of the engine, on one vault.
async fn erase(place: &Timed, number: u8, until: Until) {
    let (vault, id) = (&place.vault, backup_id(number));
    let pin = vault.pin(request(900), place.clock()).await.unwrap();
    let reader = vault.open_reader().await.unwrap();
    let loaded = vault.load_backup(&id).await.unwrap();
    let part = vault.load_part_of(&loaded).await.unwrap();
    let files = part.collections().unwrap().into_iter().filter(|(_, sealed)| sealed.name.collection == ERASED);
    let blobs: Vec<BlobId> = files.flat_map(|(files, _)| &files.files).flat_map(|file| file.blobs.clone()).collect();
    let known = vault.list_erasures().await.unwrap().pop();
    let record = Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: "erasure-00000000000000ab".to_owned(),
        collection: Some(ERASED.parse().unwrap()),
        name_id: None,
        clusters: BTreeSet::new(),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        started: Timestamp::from_millis(NOW),
        backups: BTreeSet::from([id.clone()]),
        packs: known.map_or_else(|| packs_to_erase(&reader, &blobs, &part), |known| known.packs),
        rewritten: None,
        completed: None,
    };
    assert!(!record.packs.is_empty());
    vault.put_erasure(&record).await.unwrap();
    if until >= Until::Part {
        let keep = |name: &CollectionName| name.collection != ERASED;
        let (reference, _) = vault.put_reduced_part(&part, 2, &keep, &reader, &pin).await.unwrap();
        if until >= Until::Root {
            vault.commit_root(&root_of(&id, 2, &[&reference]), &pin).await.unwrap();
        }
    }
    if until == Until::End {
        assert!(vault.remove_superseded(&id, 2).await.is_err(), "what still counts must not be removed");
        vault.withdraw_before(&id, 2, &withdrawal()).await.unwrap();
        assert_eq!(vault.remove_superseded(&id, 2).await.unwrap(), 2, "a root and a part");
        let rewritten = Some(Timestamp::from_millis(NOW));
        vault.put_erasure(&Erasure { rewritten, ..record }).await.unwrap();
    }
    pin.release().await.unwrap();
}

/// A small collection between large ones: its bytes share a pack with what stays.
fn content() -> Content {
    let mut content = sample(1);
    // So short that every pack on record also holds something of the backup that a test deletes.
    content.get_mut("articles").unwrap().insert("data/even.bin".to_owned(), vec![10; 34_000]);
    let secret = content.get_mut(ERASED).unwrap();
    secret.insert("data/even.bin".to_owned(), noise(77, 900));
    secret.insert("data/noise.parquet".to_owned(), noise(78, 1_200));
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_prune_no_pack_holds_a_byte_that_only_the_erased_collection_had() {
    let place = timed().await;
    let content = content();
    place.back_up(1, &content).await;
    let only_there = content[ERASED]["data/noise.parquet"].clone();
    let shared = &content[ERASED]["data/shared"][..2_000];
    assert!(in_a_pack(&place, &only_there).await && in_a_pack(&place, shared).await);
    erase(&place, 1, Until::End).await;
    place.prune_out(&PruneOptions::default()).await;
    assert!(!in_a_pack(&place, &only_there).await, "erased bytes are still in a pack");
    assert!(!in_a_pack(&place, &content[ERASED]["data/even.bin"]).await);
    assert!(in_a_pack(&place, shared).await, "what another collection has too stays");
    let mut expected = content.clone();
    expected.remove(ERASED);
    assert_eq!(read_back(&place.vault, &backup_id(1)).await.unwrap(), expected);
    let record = place.vault.list_erasures().await.unwrap().pop().unwrap();
    assert!(record.completed.is_some() && record.rewritten.is_some(), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_between_the_record_and_the_new_manifests_completes_nothing() {
    let place = timed().await;
    let content = content();
    place.back_up(1, &content).await;
    erase(&place, 1, Until::Record).await;
    place.prune_out(&PruneOptions::default()).await;
    let record = place.vault.list_erasures().await.unwrap().pop().unwrap();
    assert_eq!(record.completed, None);
    assert_eq!(read_back(&place.vault, &backup_id(1)).await.unwrap(), content);
    erase(&place, 1, Until::End).await;
    place.prune_out(&PruneOptions::default()).await;
    assert!(!in_a_pack(&place, &content[ERASED]["data/noise.parquet"]).await);
    assert!(place.vault.list_erasures().await.unwrap().pop().unwrap().completed.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_erasure_is_open_prunes_leave_its_backups_manifests_alone() {
    let place = timed().await;
    place.back_up(1, &content()).await;
    place.back_up(2, &sample(2)).await;
    erase(&place, 1, Until::Part).await;
    // Its pin is gone: it died, or stands still.
    let manifests = async || {
        let store = place.store();
        let mut found = keys(&store, "parts").await;
        found.extend(keys(&store, "roots").await);
        found
    };
    let reduced = manifests().await;
    assert_eq!(reduced.len(), 5);
    place.prune_out(&PruneOptions::default()).await;
    assert_eq!(manifests().await, reduced, "the reduced part that no root names yet went");
    erase(&place, 1, Until::Root).await;
    let committed = manifests().await;
    place.prune_out(&PruneOptions::default()).await;
    assert_eq!(manifests().await, committed, "what the new root took the place of is still gone by");
    let plan =
        plan_prune(std::slice::from_ref(&place.vault), &PruneOptions::default(), place.clock.now()).await.unwrap();
    let why =
        plan.vaults[0].objects.iter().filter(|object| matches!(object.reason, PruneReason::ErasureUnfinished { .. }));
    assert_eq!(why.count(), 2, "the old part and the old root");
    place.delete(1).await;
    place.prune_out(&PruneOptions::default()).await;
    assert_eq!(manifests().await.len(), 2, "what was deleted meanwhile goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_prune_beside_an_erasure_wrote_is_rewritten_too() {
    let place = timed().await;
    let content = content();
    let mut more = content.clone();
    more.insert("temporary".to_owned(), [("data/one.parquet".to_owned(), noise(79, 700))].into());
    place.back_up(2, &more).await;
    place.back_up(1, &content).await;
    place.delete(2).await;
    erase(&place, 1, Until::Record).await;
    let named = place.vault.list_erasures().await.unwrap().pop().unwrap().packs;
    place.prune_out(&PruneOptions::default()).await;
    let reader = place.vault.open_reader().await.unwrap();
    assert!(!named.iter().any(|pack| reader.has_pack(pack)), "the packs on record were not rewritten meanwhile");
    let only_there = &content[ERASED]["data/noise.parquet"];
    assert!(in_a_pack(&place, only_there).await, "they were needed");
    erase(&place, 1, Until::End).await;
    place.prune_out(&PruneOptions::default()).await;
    assert!(!in_a_pack(&place, only_there).await, "erased bytes are in a pack that was not on record");
    assert!(place.vault.list_erasures().await.unwrap().pop().unwrap().completed.is_some());
}

/// A note is left behind when a disk comes back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn packs_that_are_noted_as_damaged_and_are_not_go_with_an_erasure_too() {
    let place = timed().await;
    let content = content();
    place.back_up(1, &content).await;
    let reader = place.vault.open_reader().await.unwrap();
    let part = place.vault.load_part_of(&place.vault.load_backup(&backup_id(1)).await.unwrap()).await.unwrap();
    let packs: Vec<PackId> = packs_to_erase(&reader, &[], &part).into_iter().collect();
    let all: Vec<PackId> = part.open.packs.iter().map(|pack| pack.id).chain(packs).collect();
    place.vault.note_damage(&all, place.clock.now()).await.unwrap();
    erase(&place, 1, Until::End).await;
    place.prune_out(&PruneOptions::default()).await;
    assert!(!in_a_pack(&place, &content[ERASED]["data/noise.parquet"]).await, "erased bytes are still in a pack");
    assert!(place.vault.list_erasures().await.unwrap().pop().unwrap().completed.is_some());
    let mut expected = content;
    expected.remove(ERASED);
    assert_eq!(read_back(&place.vault, &backup_id(1)).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_nobody_can_look_into_goes_with_an_erasure_and_is_waited_for() {
    let place = timed().await;
    place.back_up(1, &content()).await;
    let strange = format!("packs/ab/{}", "ab".repeat(32));
    place.store().put(&strange.as_str().into(), noise(80, 500).into()).await.unwrap();
    let reader = place.vault.open_reader().await.unwrap();
    assert!(reader.packs_beside(&HashSet::new()).len() > 1);
    erase(&place, 1, Until::End).await;
    let record = || async { place.vault.list_erasures().await.unwrap().pop().unwrap() };
    assert!(record().await.packs.iter().any(|pack| strange.ends_with(&pack.to_string())));
    place.clock.advance_ms(2 * HOUR);
    let plan = place.prune(&PruneOptions::default()).await.unwrap();
    let marked = plan.objects.iter().find(|object| object.object == strange).map(|object| object.action);
    assert_eq!(marked, Some(PruneAction::Mark), "it is younger than the minimum age, and must go all the same");
    assert!(record().await.completed.is_none());
    place.prune_out(&PruneOptions::default()).await;
    assert!(record().await.completed.is_some() && place.store().head(&strange.as_str().into()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_an_error_and_not_forgotten() {
    let place = timed().await;
    place.back_up(1, &content()).await;
    erase(&place, 1, Until::End).await;
    let key = keys(&place.store(), "erasures").await.pop().unwrap();
    change(&place.store(), &key, |bytes| bytes.truncate(20)).await;
    assert!(matches!(place.vault.list_erasures().await, Err(VaultError::BadManifest { .. })));
    let strange = |id: &str| Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: id.to_owned(),
        collection: None,
        name_id: None,
        clusters: BTreeSet::new(),
        reason: String::new(),
        by: String::new(),
        started: Timestamp::from_millis(NOW),
        backups: BTreeSet::new(),
        packs: BTreeSet::new(),
        rewritten: None,
        completed: None,
    };
    for id in ["", "../packs/aa", "erasure-1", "erasure-00000000000000AB"] {
        assert!(place.vault.put_erasure(&strange(id)).await.is_err(), "{id}");
    }
}
