//! Objects that are gone: what can be told from what is left.

use longshore_model::Codec;
use longshore_vault::*;
use object_store::ObjectStoreExt;

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
    vault.run_repair(&vault.plan_repair().await.unwrap()).await.unwrap();
    assert!(verify(&vault, &backup_id(1), VerifyLevel::Exists).await.objects.is_empty());
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
