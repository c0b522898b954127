//! Heals that have to be careful.

use longshore_engine::{CopyRequest, HealRequest, VerifyLevel, copy_backup, heal};
use longshore_vault::{Vault, VaultOptions};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::deletion::Full;
use crate::records::everything;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_could_be_healed_and_writes_nothing() {
    let place = Place::new().await;
    let packs = keys(&place.home_store, "packs").await;
    flip(&place.home_store, &packs[0], 5_000).await;
    let before = keys(&place.home_store, "").await;
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: true };
    let outcome = heal(&place.home, std::slice::from_ref(&place.other), &request, &context()).await.unwrap();
    assert!(outcome.dry_run && outcome.whole && outcome.objects.len() == 1, "{outcome:?}");
    assert_eq!(keys(&place.home_store, "").await, before);
    assert!(!place.verify(VerifyLevel::Stored).await.unwrap().whole);
    assert!(place.heal().await.unwrap().whole);
    assert!(place.verify(VerifyLevel::Stored).await.unwrap().whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_same_place_of_both_vaults_is_reported_by_collection_and_nothing_good_is_touched() {
    let place = Place::new().await;
    let packs = keys(&place.home_store, "packs").await;
    let pack = &packs[0];
    let length = bytes_of(&place.home_store, pack).await.len();
    flip(&place.home_store, pack, length / 3).await;
    // In the other vault another pack of the same name is damaged elsewhere, and one more.
    flip(&place.other_store, pack, length / 3).await;
    flip(&place.other_store, &packs[1], 200).await;
    let right = bytes_of(&place.home_store, &packs[1]).await;
    let outcome = place.heal().await.unwrap();
    assert!(!outcome.whole, "{outcome:?}");
    let still: Vec<_> = outcome.collections.iter().filter(|one| one.still_damaged_files > 0).collect();
    assert!(!still.is_empty() && still.iter().all(|one| !one.reasons.is_empty()), "{outcome:?}");
    assert_eq!(bytes_of(&place.home_store, &packs[1]).await, right);
    // What verify says afterwards is the same.
    let verified = place.verify(VerifyLevel::Decoded).await.unwrap();
    let names: std::collections::BTreeSet<String> = still.iter().map(|one| one.name.clone()).collect();
    assert_eq!(hit(&verified), names);
    // The next backup of the same cluster stores again what is missing, and with it the old one is whole.
    place.back_up(&[]).await;
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_only_other_packs_can_replace_is_replaced_by_new_ones() {
    let place = Place::new().await;
    // A third vault, with the same files in packs of its own making.
    let store: Store = Arc::new(InMemory::new());
    let third = Vault::init(store.clone(), beside(&place.home)).await.unwrap();
    let reader = place.home.open_reader().await.unwrap();
    let pin = third.pin(pin_request(), context().clock).await.unwrap();
    let session = third.begin(&pin, longshore_vault::SessionOptions::default()).await.unwrap();
    let loaded = place.home.load_backup(&place.backup).await.unwrap();
    let part = place.home.load_part_of(&loaded).await.unwrap();
    for blob in part.open.collections.iter().flat_map(|one| &one.files).flat_map(|file| &file.blobs) {
        session.put(reader.read_blob(blob).await.unwrap(), longshore_model::Codec::Store).await.unwrap();
    }
    session.checkpoint().await.unwrap();
    let packs = keys(&place.home_store, "packs").await;
    let length = bytes_of(&place.home_store, &packs[0]).await.len();
    flip(&place.home_store, &packs[0], length / 2).await;
    place.home_store.delete(&packs[1]).await.unwrap();
    let request = HealRequest { backup: Some(place.backup.clone()), level: VerifyLevel::Stored, dry_run: false };
    let outcome = heal(&place.home, &[third], &request, &context()).await.unwrap();
    assert!(outcome.whole, "{outcome:?}");
    assert_eq!(place.restore(&[]).await.unwrap(), 5);
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().whole);
    // Nothing relies on the damaged pack any more: without it everything is whole.
    place.home_store.delete(&packs[0]).await.unwrap();
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().whole);
    assert_eq!(place.restore(&[]).await.unwrap(), 5);
}

fn pin_request() -> longshore_vault::PinRequest {
    longshore_vault::PinRequest {
        job_id: "job-1".parse().unwrap(),
        job_type: longshore_model::JobType::Copy,
        token: 1,
        random: [3; 8],
        relies_on: longshore_vault::ReliesOn { everything: true, ..longshore_vault::ReliesOn::default() },
        state: serde_json::Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_backup_shares_the_packs_of_the_first_byte_for_byte() {
    let place = Place::new().await;
    let (home, other) = (keys(&place.home_store, "packs").await, keys(&place.other_store, "packs").await);
    assert_eq!(home, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_of_other_projects_heal_nothing() {
    let place = Place::new().await;
    let options = VaultOptions::random("proj-else".parse().unwrap(), "us".parse().unwrap(), None).unwrap();
    let foreign = Vault::init(Arc::new(InMemory::new()), options).await.unwrap();
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
    let error = heal(&place.home, &[foreign], &request, &context()).await.unwrap_err().to_string();
    assert!(error.contains("proj-else"), "{error}");
}

/// A copy holds some collections. A part of which no copy is left gets back what they say, and stays damage for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_comes_back_in_part_stays_damage_and_gives_back_what_there_is() {
    let place = Place::of(&three()).await;
    let backup = place.back_up(&three()).await;
    let copied = three()[..1].to_vec();
    let request = CopyRequest {
        job_id: "job-copy".parse().unwrap(),
        fencing_token: 1,
        backup_id: backup.clone(),
        home: "eu".parse().unwrap(),
        to: "us".parse().unwrap(),
        collections: copied.clone(),
    };
    copy_backup(&request, &place.both(), &context()).await.unwrap();
    let place = Place { backup: backup.clone(), ..place };
    let part = keys(&place.home_store, &format!("parts/{backup}")).await.remove(0);
    let right = bytes_of(&place.home_store, &part).await;
    flip(&place.home_store, &part, 500).await;
    for run in 0..2 {
        let request = HealRequest { backup: Some(backup.clone()), level: VerifyLevel::Stored, dry_run: false };
        let sources = std::slice::from_ref(&place.other);
        let healed = heal(&place.home, sources, &request, &context()).await.unwrap();
        let told = healed.objects.iter().find(|one| one.object == part.as_ref());
        assert!(!healed.whole && told.is_some_and(|one| !one.healed), "{run}: {healed:?}");
        let verified = place.verify(VerifyLevel::Decoded).await.unwrap();
        assert!(!verified.whole, "{run}: {verified:?}");
        assert!(verified.damaged_objects.iter().any(|one| one.object == part.as_ref()), "{run}: {verified:?}");
        let lost: BTreeSet<String> = three()[1..].iter().map(ToString::to_string).collect();
        assert_eq!(verified.lost_collections.iter().cloned().collect::<BTreeSet<_>>(), lost, "{run}");
        let names: Vec<_> = verified.collections.iter().map(|one| one.name.clone()).collect();
        assert_eq!(names, copied, "{run}: what the copy says is here again");
    }
    // The right one comes back from elsewhere.
    put(&place.home_store, &part, right).await;
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().is_sound());
    assert_eq!(place.restore(&[]).await.unwrap(), 3);
}

/// Which backups should be here is told by what is here, by the region that a root names, and by its parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_heal_of_everything_finds_backups_of_which_nothing_is_left_here() {
    let place = Place::of(&three()[..1]).await;
    let second = place.back_up(&three()[..2]).await;
    place.copy(&second).await;
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
    for root in keys(&place.home_store, "roots").await {
        place.home_store.delete(&root).await.unwrap();
    }
    let sources = std::slice::from_ref(&place.other);
    let healed = heal(&place.home, sources, &request, &context()).await.unwrap();
    assert!(healed.whole && healed.backups == 2, "{healed:?}");
    assert_eq!(place.home.list_backups().await.unwrap().backups.len(), 2);
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().is_sound());
    // Damaged here and unknown to others: told, and nothing is made of it.
    let third = place.back_up(&three()[..1]).await;
    let root = keys(&place.home_store, &format!("roots/{third}")).await.remove(0);
    flip(&place.home_store, &root, 300).await;
    let healed = heal(&place.home, sources, &request, &context()).await.unwrap();
    let told = healed.objects.iter().find(|one| one.object == root.as_ref());
    assert!(!healed.whole && told.is_some_and(|one| !one.healed), "{healed:?}");
    // What was copied there only is not missed here.
    let healed = heal(&place.other, std::slice::from_ref(&place.home), &request, &context()).await.unwrap();
    assert!(healed.whole && healed.objects.is_empty(), "{healed:?}");
}

/// A dry run tells of a lost key that it would come back, and nothing of what was hidden without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_nothing_that_a_key_which_comes_back_opens() {
    let full = Full::new().await;
    let store = &full.place.home_store;
    let lost = format!("keys/sessions/{}", full.fill("{session}"));
    let source = full.open(&full.place.other_store).await.unwrap();
    for key in keys(store, &lost).await {
        store.delete(&key).await.unwrap();
    }
    let before = everything(store).await;
    // With a reader key and without any.
    for vault in [full.open(store).await.unwrap(), full.open_without_keys(store).await] {
        for level in [VerifyLevel::Stored, VerifyLevel::Decoded] {
            if level == VerifyLevel::Decoded && !vault.is_readable() {
                continue;
            }
            let request = HealRequest { backup: None, level, dry_run: true };
            let would = heal(&vault, std::slice::from_ref(&source), &request, &context()).await.unwrap();
            let told: Vec<&str> = would.objects.iter().map(|one| one.object.as_str()).collect();
            assert_eq!(told, [lost.as_str()], "{would:?}");
            assert!(would.whole && would.collections.is_empty(), "{would:?}");
            assert!(everything(store).await == before, "a dry run wrote something");
            // Where no key would come back, everything that it opens is told as before.
            let would = heal(&vault, &[], &request, &context()).await.unwrap();
            let told = would.objects.len() + would.collections.len();
            assert!(!would.whole && told > 1, "{would:?}");
        }
    }
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
    let healed = heal(&full.open(store).await.unwrap(), &[source], &request, &context()).await.unwrap();
    assert!(healed.whole && healed.objects.len() == 1, "{healed:?}");
}
