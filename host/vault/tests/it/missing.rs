//! Objects that are gone: what can be told from what is left.

use longshore_model::Codec;
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::encryption::{open, prepared, writer};
use crate::support::*;

#[tokio::test]
async fn packs_of_a_job_that_was_killed_get_an_index_object_from_whoever_relies_on_them() {
    let store = memory();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    // As if it had been killed after its packs.
    for folder in ["index", "parts"] {
        for key in keys(&store, folder).await {
            store.delete(&key).await.unwrap();
        }
    }
    let mut some = sample(1);
    some.remove("images");
    let part = back_up(&vault, &backup_id(2), 2, &some, Codec::Store).await.unwrap();
    let unindexed = vault.plan_repair().await.unwrap().unindexed_packs;
    let relied_on: Vec<PackId> = part.part.open.packs.iter().map(|pack| pack.id).collect();
    assert!(!unindexed.is_empty(), "there are more packs than it relies on, or this shows nothing");
    assert!(relied_on.iter().all(|pack| !unindexed.contains(pack)), "{unindexed:?} of {relied_on:?}");
    assert!(verify(&vault, &backup_id(2), VerifyLevel::Exists).await.objects.is_empty(), "nothing was lost");
}

#[tokio::test]
async fn an_index_object_that_is_gone_is_missed_by_the_parts_that_need_it_and_hits_nothing() {
    let store = memory();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let first = keys(&store, "index").await.remove(0);
    // Nothing in it is in the first, too.
    let mut others = sample(2);
    others.values_mut().for_each(|files| files.retain(|path, _| path.ends_with("noise.parquet")));
    back_up(&vault, &backup_id(2), 2, &others, Codec::Store).await.unwrap();
    store.delete(&first).await.unwrap();
    let report = verify(&vault, &backup_id(1), VerifyLevel::Exists).await;
    let objects: Vec<_> = report.objects.iter().map(|damage| (damage.object.as_str(), damage.found.as_str())).collect();
    assert_eq!(objects, [(LOST_INDEX, "nothing")]);
    assert!(report.is_whole());
    assert!(verify(&vault, &backup_id(2), VerifyLevel::Exists).await.objects.is_empty(), "its own is there");
    // While another one is damaged, that is the one that named these packs, as far as anybody can tell.
    let damaged = keys(&store, "index").await.remove(0);
    let whole = bytes_of(&store, &damaged).await;
    change(&store, &damaged, |bytes| bytes[20] ^= 1).await;
    let objects = verify(&vault, &backup_id(1), VerifyLevel::Exists).await.objects;
    assert!(objects.len() == 1 && objects[0].object == damaged.as_ref(), "{objects:?}");
    change(&store, &damaged, |bytes| *bytes = whole).await;
    vault.run_repair(&vault.plan_repair().await.unwrap()).await.unwrap();
    assert!(verify(&vault, &backup_id(1), VerifyLevel::Exists).await.objects.is_empty());
}

fn objects(damages: &[ObjectDamage]) -> Vec<&str> {
    damages.iter().map(|damage| damage.object.as_str()).collect()
}

/// Its bytes lie in packs of an earlier session, and its names under a key of its own.
#[tokio::test]
async fn the_key_of_a_part_that_stored_nothing_new_is_missed_by_the_part_alone() {
    let (store, reader, _) = prepared(Codec::Store).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let first = keys(&store, "keys/sessions").await;
    let part = back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    assert_eq!(part.part.open.sizes.new_bytes, 0);
    let second: Vec<_> = keys(&store, "keys/sessions").await.into_iter().filter(|key| !first.contains(key)).collect();
    assert_eq!(second.len(), 1);
    store.delete(&second[0]).await.unwrap();
    let lost = second[0].as_ref().rsplit_once('/').unwrap().0;
    for level in [VerifyLevel::Exists, VerifyLevel::Stored] {
        let report = verify(&vault, &backup_id(2), level).await;
        assert_eq!(objects(&report.objects), [lost]);
        assert!(!report.is_whole(), "nobody can say any more whose bytes these are: {report:?}");
        assert!(report.damaged_packs.is_empty(), "the packs are of another session: {report:?}");
        let report = verify(&vault, &backup_id(1), level).await;
        assert!(report.is_whole() && report.objects.is_empty(), "{report:?}");
    }
    assert_eq!(objects(&vault.lost_keys().await.unwrap()), [lost]);
    let reading = open(&store, &Keys::none().with_reader(reader)).await;
    assert!(matches!(reading.load_backup(&backup_id(2)).await, Err(VaultError::SessionKey { lost: true, .. })));
}

/// A vault that is not the home of a backup has the root in its receipt, sealed in a session of the home vault.
#[tokio::test]
async fn every_manifest_and_every_pack_misses_the_key_of_its_session() {
    let (home_store, reader, _) = prepared(Codec::Store).await;
    let keys_of_writer = Keys::none().with_writer(writer());
    let home = open(&home_store, &keys_of_writer).await;
    let store = memory();
    Vault::init(store.clone(), crate::encryption::encrypted("far", 2, &reader)).await.unwrap();
    let vault = open(&store, &keys_of_writer).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let copy = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let own = keys(&store, "keys/sessions").await;
    let loaded = open(&home_store, &Keys::none().with_reader(reader)).await.load_backup(&backup_id(1)).await.unwrap();
    vault.put_receipt(&loaded.committed(), &copy.reference).await.unwrap();
    let all = keys(&store, "keys/sessions").await;
    assert_eq!((own.len(), all.len()), (1, 2));
    assert!(vault.lost_keys().await.unwrap().is_empty());
    for key in &all {
        let bytes = bytes_of(&store, key).await;
        let session = key.as_ref().rsplit_once('/').unwrap().0;
        // One that is damaged opens nothing either.
        change(&store, key, |bytes| bytes[30] ^= 1).await;
        assert_eq!(objects(&vault.lost_keys().await.unwrap()), [session], "damaged");
        store.delete(key).await.unwrap();
        let lost = vault.lost_keys().await.unwrap();
        assert_eq!(objects(&lost), [session]);
        let healed = vault.heal_record(&lost[0], std::slice::from_ref(&home), clock().0, true).await.unwrap();
        // The home vault has the key of its own session alone.
        assert_eq!(healed.is_ok(), !own.contains(key), "{healed:?}");
        assert_eq!(vault.lost_keys().await.unwrap().is_empty(), healed.is_ok(), "{healed:?}");
        store.put(key, bytes.into()).await.unwrap();
    }
    // Of a part of an interrupted job, and of packs that nothing names, too.
    for folder in ["parts", "receipts", "index"] {
        for key in keys(&store, folder).await {
            store.delete(&key).await.unwrap();
        }
    }
    store.delete(&own[0]).await.unwrap();
    let session = own[0].as_ref().rsplit_once('/').unwrap().0;
    assert_eq!(objects(&vault.lost_keys().await.unwrap()), [session]);
}

/// Its header would then name a session that never was, of which no vault could give the key.
#[tokio::test]
async fn a_damaged_header_of_a_pack_makes_nobody_miss_a_key() {
    let (store, ..) = prepared(Codec::Store).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let pack = keys(&store, "packs").await.remove(0);
    // Within the session's id, which begins after magic, format and flags.
    change(&store, &pack, |bytes| bytes[20] ^= 1).await;
    assert!(vault.lost_keys().await.unwrap().is_empty());
    let report = verify(&vault, &backup_id(1), VerifyLevel::Stored).await;
    assert_eq!(objects(&report.objects), [pack.as_ref()], "no key is missed");
    assert_eq!(report.damaged_packs.len(), 1);
}

#[tokio::test]
async fn a_tombstone_of_a_copy_is_missed_by_a_copy_of_its_vault_without_the_home_vault() {
    let other_store = memory();
    let vault = new_vault(memory()).await;
    let other = Vault::init(other_store.clone(), options("away", 2)).await.unwrap();
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let pin = other.pin(request(1), clock()).await.unwrap();
    let copy = write_part(&other, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let root = vault.load_backup(&backup_id(1)).await.unwrap().committed();
    other.put_receipt(&root, &copy.reference).await.unwrap();
    other.withdraw_before(&backup_id(1), 2, &withdrawal()).await.unwrap();
    let saved = memory();
    for key in keys(&other_store, "").await {
        saved.put(&key, bytes_of(&other_store, &key).await.into()).await.unwrap();
    }
    let tombstone = keys(&other_store, "withdrawn").await.remove(0);
    other_store.delete(&tombstone).await.unwrap();
    let saved = Vault::open(saved, &Keys::none()).await.unwrap();
    assert_eq!(other.record_losses(std::slice::from_ref(&vault)).await.unwrap(), [], "its home says nothing");
    let lost = other.record_losses(std::slice::from_ref(&saved)).await.unwrap();
    assert_eq!(objects(&lost), [tombstone.as_ref()]);
    // Looking is no healing, and a dry run is none either.
    assert!(other.heal_record(&lost[0], std::slice::from_ref(&saved), clock().0, false).await.unwrap().is_ok());
    assert_eq!(listed(&other).await.len(), 1);
    other.heal_record(&lost[0], std::slice::from_ref(&saved), clock().0, true).await.unwrap().unwrap();
    assert!(listed(&other).await.is_empty());
    assert_eq!(other.list_withdrawn().await.unwrap(), saved.list_withdrawn().await.unwrap());
}

/// A tombstone of older commits says nothing about the one that took their place.
#[tokio::test]
async fn a_tombstone_of_older_commits_is_missed_by_them_alone() {
    let (vault, other_store) = (new_vault(memory()).await, memory());
    let other = Vault::init(other_store.clone(), options("away", 2)).await.unwrap();
    let pin = other.pin(request(1), clock()).await.unwrap();
    for token in [1, 2] {
        back_up(&vault, &backup_id(1), token, &sample(token), Codec::Store).await.unwrap();
        let copy = write_part(&other, &pin, &backup_id(1), token, &sample(token), Codec::Store).await.unwrap();
        let root = vault.load_backup(&backup_id(1)).await.unwrap().committed();
        other.put_receipt(&root, &copy.reference).await.unwrap();
    }
    vault.withdraw_before(&backup_id(1), 2, &withdrawal()).await.unwrap();
    let lost = other.record_losses(std::slice::from_ref(&vault)).await.unwrap();
    assert_eq!(lost.len(), 1, "{lost:?}");
    other_store.delete(&keys(&other_store, "receipts").await[0]).await.unwrap();
    assert_eq!(other.record_losses(std::slice::from_ref(&vault)).await.unwrap(), [], "what is left is the newer one");
}

/// Records in the project's vaults of the same erasure name different packs, and one that is written again names all.
#[tokio::test]
async fn a_record_of_an_erasure_that_comes_back_names_every_pack_here_and_is_open_again() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let other = Vault::init(memory(), options("away", 2)).await.unwrap();
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let packs: std::collections::BTreeSet<PackId> =
        keys(&store, "packs").await.iter().map(|key| key.filename().unwrap().parse().unwrap()).collect();
    let mut record = erasure(1, &other);
    (record.rewritten, record.completed) = (Some(record.started), Some(record.started));
    other.put_erasure(&record).await.unwrap();
    for damaged in [false, true] {
        vault.put_erasure(&record).await.unwrap();
        let key = keys(&store, "erasures").await.remove(0);
        let damages = if damaged {
            change(&store, &key, |bytes| bytes[0] ^= 1).await;
            vault.record_damages().await.unwrap()
        } else {
            store.delete(&key).await.unwrap();
            vault.record_losses(std::slice::from_ref(&other)).await.unwrap()
        };
        assert_eq!(objects(&damages), [key.as_ref()]);
        vault.heal_record(&damages[0], std::slice::from_ref(&other), clock().0, true).await.unwrap().unwrap();
        let here = vault.list_erasures().await.unwrap();
        assert_eq!((&here[0].packs, here[0].completed, here[0].rewritten), (&packs, None, record.rewritten));
    }
}

#[tokio::test]
async fn a_record_is_healed_by_a_good_one_alone_and_one_that_is_good_or_newer_is_left() {
    let (store, other_store) = (memory(), memory());
    let vault = new_vault(store.clone()).await;
    let other = Vault::init(other_store.clone(), options("away", 2)).await.unwrap();
    for vault in [&vault, &other] {
        vault.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    }
    let key = keys(&store, "withdrawn").await.remove(0);
    let good = bytes_of(&store, &key).await;
    for store in [&store, &other_store] {
        change(store, &key, |bytes| bytes[0] ^= 1).await;
    }
    let damages = vault.record_damages().await.unwrap();
    assert_eq!(objects(&damages), [key.as_ref()]);
    vault.heal_record(&damages[0], std::slice::from_ref(&other), clock().0, true).await.unwrap().unwrap();
    assert_eq!(vault.record_damages().await.unwrap(), [], "the damage was copied");
    assert_eq!(vault.list_withdrawn().await.unwrap()[0].backup_id, backup_id(1));
    // Called lost by a listing that lagged: what is there stays as it is.
    change(&store, &key, |bytes| *bytes = good.clone()).await;
    let lost = ObjectDamage { found: "nothing".to_owned(), ..damages[0].clone() };
    vault.heal_record(&lost, &[], clock().0, true).await.unwrap().unwrap();
    assert_eq!(bytes_of(&store, &key).await, good, "it was written again without who deleted it");
    // A record of a later version is not for this one to judge.
    change(&store, &key, |bytes| *bytes = b"{\"format\": 2, \"kind\": \"other\"}".to_vec()).await;
    assert_eq!(vault.record_damages().await.unwrap(), []);
}

fn erasure(number: u8, vault: &Vault) -> Erasure {
    let started = longshore_model::Timestamp::from_millis(NOW);
    Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: format!("erasure-00000000000000a{number}"),
        collection: Some("articles".parse().unwrap()),
        name_id: None,
        clusters: Default::default(),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        started,
        backups: Default::default(),
        packs: [PackId::new(digest_of(vault.place().as_bytes()))].into(),
        rewritten: None,
        completed: None,
    }
}

#[tokio::test]
async fn an_erasure_is_missed_once_it_reached_every_backup_and_a_new_vault_takes_it_over() {
    let vault = new_vault(memory()).await;
    let other = Vault::init(memory(), options("away", 2)).await.unwrap();
    let mut record = erasure(1, &vault);
    vault.put_erasure(&record).await.unwrap();
    assert_eq!(other.record_losses(std::slice::from_ref(&vault)).await.unwrap(), [], "it may be just beginning");
    let now = record.started;
    (record.rewritten, record.completed) = (Some(now), Some(now));
    vault.put_erasure(&record).await.unwrap();
    let losses = other.record_losses(std::slice::from_ref(&vault)).await.unwrap();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!(
        (losses[0].object.as_str(), losses[0].found.as_str()),
        ("erasures/erasure-00000000000000a1.json", "nothing")
    );
    assert_eq!(vault.record_losses(std::slice::from_ref(&other)).await.unwrap(), []);

    let new = Vault::init(memory(), options("new", 3)).await.unwrap();
    new.adopt_erasures(&vault).await.unwrap();
    new.adopt_erasures(&vault).await.unwrap();
    assert_eq!(new.record_losses(std::slice::from_ref(&vault)).await.unwrap(), []);
    let taken = new.list_erasures().await.unwrap();
    assert!(taken.len() == 1 && taken[0].packs.is_empty() && taken[0].completed.is_none(), "{taken:?}");
    assert_eq!(taken[0].rewritten, record.rewritten);
}

#[tokio::test]
async fn a_tombstone_is_missed_only_where_the_home_vault_has_it() {
    let other_store = memory();
    let vault = new_vault(memory()).await;
    let other = Vault::init(other_store.clone(), options("away", 2)).await.unwrap();
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let pin = other.pin(request(1), clock()).await.unwrap();
    let copy = write_part(&other, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let root = vault.load_backup(&backup_id(1)).await.unwrap().committed();
    other.put_receipt(&root, &copy.reference).await.unwrap();
    let losses = async |here: &Vault, there: &Vault| here.record_losses(std::slice::from_ref(there)).await.unwrap();
    // A copy that expired: its backup goes on.
    other.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert_eq!(losses(&vault, &other).await, []);
    vault.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert_eq!((losses(&vault, &other).await, losses(&other, &vault).await), (vec![], vec![]), "it is deleted in both");
    let tombstone = keys(&other_store, "withdrawn").await.remove(0);
    other_store.delete(&tombstone).await.unwrap();
    let lost = losses(&other, &vault).await;
    assert!(lost.len() == 1 && lost[0].object == tombstone.as_ref(), "{lost:?}");
    let healed = other.heal_record(&lost[0], std::slice::from_ref(&vault), clock().0, true).await.unwrap();
    assert!(healed.is_ok() && listed(&other).await.is_empty(), "{healed:?}");
}
