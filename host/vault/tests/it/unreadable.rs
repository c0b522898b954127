//! Objects that are there and that the disk cannot read: as good as damaged, and never a reason to delete more.

use bytes::Bytes;
use longshore_model::{Clock, Codec, JobType, Timestamp};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;

use crate::encryption::{encrypted, named, open};
use crate::pruning::*;
use crate::support::*;

/// A sector is lost: the object cannot be read until it is written again.
fn bad_sector(key: &Path) -> Fault {
    Fault::on(Operation::Get, key.as_ref(), Effect::Unreadable)
}

/// And the file system cannot even link it.
fn bad_file(key: &Path) -> Vec<Fault> {
    vec![bad_sector(key), Fault::on(Operation::Copy, key.as_ref(), Effect::Unreadable)]
}

async fn one(store: &Store, folder: &str) -> Path {
    keys(store, folder).await.remove(0)
}

fn damage_of(key: &Path) -> ObjectDamage {
    ObjectDamage { object: key.to_string(), expected: "something".to_owned(), found: "an error".to_owned() }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

#[tokio::test]
async fn a_note_that_the_disk_cannot_read_counts() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let pack: PackId = one(&store, "packs").await.filename().unwrap().parse().unwrap();
    vault.note_damage(&[pack], now()).await.unwrap();
    faults.plan(vec![bad_sector(&one(&store, "damaged").await)]);
    assert_eq!(vault.noted_packs().await.unwrap(), [pack].into());
    assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1));
    vault.clear_damage(&[pack], now()).await.unwrap();
    assert!(vault.noted_packs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_whose_pin_the_disk_cannot_read_writes_it_again_and_goes_on() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let key = one(&store, "pins").await;
    faults.plan(vec![bad_sector(&key)]);
    assert!(vault.list_pins().await.unwrap().is_empty());
    vault.commit_root(&root_of(&backup_id(1), 1, &[&part.reference]), &pin).await.unwrap();
    pin.refresh(ReliesOn::default(), json!(1)).await.unwrap();
    assert_eq!(vault.list_pins().await.unwrap(), [pin.record()]);
    // That a prune took it away is said by the name of what it left.
    let left = Path::from(key.as_ref().replace(".json", ".lapsed"));
    store.put(&left, "{}".into()).await.unwrap();
    faults.plan(vec![bad_sector(&left)]);
    assert!(matches!(pin.refresh(ReliesOn::default(), json!(2)).await, Err(VaultError::PinLapsed { .. })));
}

/// Prunes every hour for a while after a backup was deleted that a reader has pinned; `true` when something of it went.
async fn is_pruned_away(unreadable: bool, pinned: bool, hours: i64) -> bool {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.back_up(2, &sample(2)).await;
    timed.clock.advance_ms(2 * DAY);
    if pinned {
        let relies_on = ReliesOn { backups: vec![backup_id(1)], ..ReliesOn::default() };
        let request = PinRequest { job_type: JobType::Restore, relies_on, ..request(7) };
        timed.vault.pin(request, timed.clock()).await.unwrap();
        let pin = keys(&timed.store(), "pins").await.into_iter().find(|key| key.as_ref().contains("0007-")).unwrap();
        if unreadable {
            timed.faults.plan(vec![bad_sector(&pin)]);
        }
    }
    timed.delete(1).await;
    for _ in 0..hours {
        timed.clock.advance_ms(HOUR + 1);
        timed.prune(&PruneOptions::default()).await.unwrap();
    }
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
    let parts = keys(&timed.store(), "parts").await;
    !parts.iter().any(|key| key.as_ref().contains(backup_id(1).as_str()))
}

#[tokio::test]
async fn a_reader_whose_pin_the_disk_cannot_read_keeps_its_backup_until_the_pin_lapses() {
    assert!(is_pruned_away(false, false, 3).await, "nothing holds it");
    assert!(!is_pruned_away(false, true, 3).await, "the pin names it");
    assert!(!is_pruned_away(true, true, 3).await, "nobody knows what the pin names");
    assert!(is_pruned_away(true, true, 30).await, "it has lapsed");
}

#[tokio::test]
async fn a_mark_that_the_disk_cannot_read_stops_who_writes_and_who_deletes_until_it_is_set_aside() {
    for can_copy in [true, false] {
        let timed = timed().await;
        timed.back_up(1, &sample(1)).await;
        timed.back_up(2, &sample(2)).await;
        timed.delete(1).await;
        for _ in 0..2 {
            timed.clock.advance_ms(26 * HOUR);
            timed.prune(&PruneOptions::default()).await.unwrap();
        }
        let mark = one(&timed.store(), "marks").await;
        timed.faults.plan(if can_copy { vec![bad_sector(&mark)] } else { bad_file(&mark) });
        let before = keys(&timed.store(), "packs").await;
        timed.clock.advance_ms(26 * HOUR);
        let error = timed.prune(&PruneOptions::default()).await.unwrap_err();
        let is_said = |error: &VaultError| {
            matches!(error, VaultError::UnreadableMark { object, .. } if *object == mark.to_string())
                && error.to_string().contains("longshore heal")
        };
        assert!(is_said(&error), "{error}");
        let vaults = [timed.vault.clone()];
        let error = plan_prune(&vaults, &PruneOptions::default(), timed.clock.now()).await.unwrap_err();
        assert!(is_said(&error), "{error}");
        assert_eq!(keys(&timed.store(), "packs").await, before);
        let pin = timed.vault.pin(request(9), timed.clock()).await.unwrap();
        let error = timed.vault.begin(&pin, SessionOptions::default()).await.unwrap_err();
        assert!(is_said(&error), "{error}");
        pin.release().await.unwrap();
        // Whoever only reads goes on.
        assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
        let found = timed.vault.record_damages().await.unwrap();
        assert_eq!(found.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), [mark.as_ref()]);
        let how = timed.vault.heal_record(&found[0], &[], now(), true).await.unwrap().unwrap();
        assert!(how.starts_with(if can_copy { "set aside" } else { "removed" }), "{how}");
        assert_eq!(keys(&timed.store(), "set-aside").await.len(), usize::from(can_copy));
        timed.prune_out(&PruneOptions::default()).await;
        assert!(keys(&timed.store(), "marks").await.is_empty());
        assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
    }
}

#[tokio::test]
async fn an_index_object_that_cannot_even_be_copied_goes_once_another_lists_its_packs() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let bad = one(&store, "index").await;
    let all_bad = |key: &Path| {
        let mut faults = bad_file(key);
        faults.push(Fault::on(Operation::Put, "index/", Effect::Fail));
        faults
    };
    faults.plan(all_bad(&bad));
    let plan = vault.plan_repair().await.unwrap();
    assert_eq!(plan.damaged.len(), 1);
    assert!(vault.run_repair(&plan).await.is_err());
    assert_eq!(keys(&store, "index").await, std::slice::from_ref(&bad), "nothing else lists its packs yet");
    // Another backup, or the new one has the content, and so the name, of the bad one.
    faults.plan(Vec::new());
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let both = keys(&store, "index").await;
    faults.plan(both.iter().flat_map(bad_file).collect());
    let plan = vault.plan_repair().await.unwrap();
    let outcome = vault.run_repair(&plan).await.unwrap();
    assert!(outcome.set_aside.is_empty() && outcome.left.is_empty(), "{outcome:?}");
    let gone: Vec<String> = both.iter().map(ToString::to_string).filter(|key| !outcome.written.contains(key)).collect();
    assert!(!gone.is_empty() && outcome.removed == gone, "{outcome:?}");
    assert!(vault.plan_repair().await.unwrap().is_empty());
    for number in [1, 2] {
        assert_eq!(read_back(&vault, &backup_id(number)).await.unwrap(), sample(number.into()));
    }
}

#[tokio::test]
async fn the_end_of_a_pack_that_the_disk_cannot_read_ends_neither_a_repair_nor_a_reader() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    for key in keys(&store, "index").await {
        store.delete(&key).await.unwrap();
    }
    let packs = keys(&store, "packs").await;
    faults.plan(vec![bad_sector(&packs[0])]);
    let plan = vault.plan_repair().await.unwrap();
    assert_eq!(plan.unreadable.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), [packs[0].as_ref()]);
    assert_eq!(plan.unindexed_packs.len(), packs.len() - 1);
    let report = verify(&vault, &backup_id(1), VerifyLevel::Stored).await;
    assert!(!report.is_whole() && report.objects.iter().any(|one| one.object == packs[0].as_ref()), "{report:?}");
}

#[tokio::test]
async fn a_backup_is_listed_by_its_receipt_where_its_root_cannot_be_read_and_others_are_listed_too() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    for number in [1, 2] {
        back_up(&vault, &backup_id(number), number.into(), &sample(1), Codec::Store).await.unwrap();
    }
    faults.plan(vec![bad_sector(&one(&store, &format!("roots/{}", backup_id(1))).await)]);
    let listing = vault.list_backups().await.unwrap();
    assert_eq!(listing.backups.len(), 1);
    assert_eq!(listing.damaged.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [backup_id(1)]);
    faults.plan(vec![Fault::on(Operation::Get, "roots/", Effect::Fail)]);
    assert!(vault.list_backups().await.is_err(), "a store that does not answer is no damage");
}

#[tokio::test]
async fn tombstones_are_listed_without_the_one_that_cannot_be_read_and_all_of_them_count() {
    let faults = FaultStore::new(memory());
    let (vault, store) = (new_vault(faults.store()).await.with_limits(small_limits()), faults.store());
    for number in [1, 2] {
        back_up(&vault, &backup_id(number), number.into(), &sample(1), Codec::Store).await.unwrap();
        vault.delete_backup(&backup_id(number), &withdrawal()).await.unwrap();
    }
    faults.plan(vec![bad_sector(&one(&store, "withdrawn").await)]);
    assert_eq!(vault.list_withdrawn().await.unwrap().len(), 1);
    assert!(listed(&vault).await.is_empty());
}

/// Of what stands nowhere else nothing is thrown away: it may be read some day.
#[tokio::test]
async fn the_newest_list_of_recipients_and_the_newest_catalog_stay_where_they_cannot_be_copied() {
    let (faults, reader) = (FaultStore::new(memory()), ReaderKey::generate());
    let store = faults.store();
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let vault = open(&store, &Keys::none().with_reader(reader.clone())).await;
    for time in [1, 2] {
        vault.put_catalog(Bytes::from(vec![time; 100]), Timestamp::from_millis(time.into())).await.unwrap();
    }
    let second = ReaderKey::generate();
    vault.add_recipient(named("second", &second)).await.unwrap();
    for folder in ["keys/recipients", "catalogs"] {
        let newest = keys(&store, folder).await.pop().unwrap();
        faults.plan(bad_file(&newest));
        assert_eq!(vault.record_damages().await.unwrap().len(), 1, "{folder}");
        let why = vault.heal_record(&damage_of(&newest), &[], now(), true).await.unwrap().unwrap_err();
        assert!(why.contains("left where it is"), "{folder}: {why}");
        assert!(keys(&store, folder).await.contains(&newest), "{folder}");
        if folder == "catalogs" {
            vault.put_catalog(Bytes::from_static(b"newer"), Timestamp::from_millis(3)).await.unwrap();
        } else {
            assert_eq!(vault.recipients().await.unwrap().recipients.len(), 1, "the one before counts");
            vault.add_recipient(named("second", &second)).await.unwrap();
        }
        let how = vault.heal_record(&damage_of(&newest), &[], now(), true).await.unwrap().unwrap();
        assert!(how.starts_with("removed"), "{folder}: {how}");
        assert!(!keys(&store, folder).await.contains(&newest) && keys(&store, "set-aside").await.is_empty());
    }
    assert_eq!(vault.recipients().await.unwrap().recipients.len(), 2);
    // Where it can be copied it is kept, as any damaged one is.
    let newest = keys(&store, "keys/recipients").await.pop().unwrap();
    faults.plan(vec![bad_sector(&newest)]);
    let how = vault.heal_record(&damage_of(&newest), &[], now(), true).await.unwrap().unwrap();
    assert!(how.starts_with("set aside"), "{how}");
    assert_eq!(keys(&store, "set-aside").await.len(), 1);
}

#[tokio::test]
async fn a_header_that_cannot_be_read_nor_copied_is_made_again_in_its_place() {
    let faults = FaultStore::new(memory());
    let store = faults.store();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    let other = Vault::init(memory(), options("far", 2)).await.unwrap();
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    faults.plan(bad_file(&HEADER_KEY.into()));
    let error = Vault::open(store.clone(), &Keys::none()).await.unwrap_err();
    assert!(matches!(error, VaultError::DamagedHeader { .. }), "{error}");
    Vault::rebuild_header(store.clone(), &other, true).await.unwrap();
    assert_eq!(Vault::open(store.clone(), &Keys::none()).await.unwrap().id(), vault.id());
}
