//! Deleting, receipts, and which of several manifests counts.

use longshore_model::Codec;
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;

use crate::support::*;

#[tokio::test]
async fn a_deleted_backup_is_gone_and_the_others_stay() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    let used = vault.used_bytes().await.unwrap();
    vault.delete_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert_eq!(listed(&vault).await, [backup_id(2)]);
    assert!(matches!(vault.load_backup(&backup_id(1)).await, Err(VaultError::NoSuchBackup { .. })));
    assert!(matches!(vault.delete_backup(&backup_id(1), &withdrawal()).await, Err(VaultError::NoSuchBackup { .. })));
    assert_eq!(keys(&store, "roots").await.len(), 2, "nothing is removed");
    assert_eq!(vault.list_withdrawn().await.unwrap().len(), 1);
    assert_eq!(vault.used_bytes().await.unwrap(), used, "bytes stay until a prune");
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), sample(1));
}

#[tokio::test]
async fn a_deletion_that_fails_anywhere_leaves_a_whole_backup_or_none() {
    for effect in [Effect::Fail, Effect::SucceedThenFail] {
        for number in 0..12 {
            let faults = FaultStore::new(memory());
            let vault = new_vault(faults.store()).await;
            // Three attempts at the same backup, the newest with other content.
            for token in 1..=3 {
                back_up(&vault, &backup_id(1), token, &sample(token), Codec::Store).await.unwrap();
            }
            faults.plan(vec![Fault::at(number, effect.clone())]);
            let result = vault.delete_backup(&backup_id(1), &withdrawal()).await;
            let fired = faults.fired();
            faults.plan(Vec::new());
            assert_eq!(result.is_err(), fired == 1, "{number}");
            if !listed(&vault).await.is_empty() {
                assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(3), "{number}: never an older one");
            }
            let again = vault.delete_backup(&backup_id(1), &withdrawal()).await;
            assert!(matches!(again, Ok(()) | Err(VaultError::NoSuchBackup { .. })), "{number}");
            assert!(listed(&vault).await.is_empty(), "{number}");
        }
    }
}

#[tokio::test]
async fn the_highest_token_counts() {
    let vault = new_vault(memory()).await;
    for token in [5, 9, 7] {
        back_up(&vault, &backup_id(1), token, &sample(token), Codec::Store).await.unwrap();
    }
    let listing = vault.list_backups().await.unwrap();
    assert_eq!(listing.backups.iter().map(|backup| backup.root.token).collect::<Vec<_>>(), [9]);
    assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(9));
}

/// Home and away, with a backup whose only collections are away.
async fn two_vaults() -> (Vault, Vault, FinishedPart) {
    let home = Vault::init(memory(), options("local", 1)).await.unwrap();
    let away = Vault::init(memory(), options("far", 2)).await.unwrap();
    let pins = (home.pin(request(1), clock()).await.unwrap(), away.pin(request(1), clock()).await.unwrap());
    let part = write_part(&away, &pins.1, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    assert!(listed(&away).await.is_empty(), "a part alone means nothing");
    let root = home.commit_root(&root_of(&backup_id(1), 1, &[&part.reference]), &pins.0).await.unwrap();
    away.put_receipt(&root, &part.reference).await.unwrap();
    (home, away, part)
}

#[tokio::test]
async fn a_receipt_leads_to_the_part_beside_it_and_the_home_vault_says_where_it_is() {
    let (home, away, part) = two_vaults().await;
    let (here, there) =
        (home.load_backup(&backup_id(1)).await.unwrap(), away.load_backup(&backup_id(1)).await.unwrap());
    assert_eq!((here.origin, there.origin), (Origin::Root, Origin::Receipt));
    assert_eq!(here.root_bytes, there.root_bytes);
    assert_eq!(here.committed(), there.committed());
    assert_eq!(there.part, Some(part.reference.clone()));
    assert_eq!(read_back(&away, &backup_id(1)).await.unwrap(), sample(1));
    let error = home.load_part_of(&here).await.unwrap_err();
    assert!(
        matches!(&error, VaultError::NoPartHere { elsewhere, .. } if elsewhere.starts_with("far (vault-")),
        "{error}"
    );
    away.put_receipt(&here.committed(), &part.reference).await.unwrap();
    assert_eq!(listed(&away).await.len(), 1, "a repeated receipt is the same receipt");
}

#[tokio::test]
async fn a_later_copy_is_found_by_its_receipt_though_the_root_does_not_name_it() {
    let (_, away, _) = two_vaults().await;
    let third = Vault::init(memory(), options("third", 3)).await.unwrap();
    let pin = third.pin(request(2), clock()).await.unwrap();
    let copy = write_part(&third, &pin, &backup_id(1), 2, &sample(1), Codec::Lz4).await.unwrap();
    let loaded = away.load_backup(&backup_id(1)).await.unwrap();
    third.put_receipt(&loaded.committed(), &copy.reference).await.unwrap();
    assert_eq!(read_back(&third, &backup_id(1)).await.unwrap(), sample(1));
    let here = away.put_receipt(&loaded.committed(), &copy.reference).await;
    assert!(matches!(here, Err(VaultError::BadManifest { .. })), "that part is not in this vault");
}

#[tokio::test]
async fn a_damaged_receipt_does_not_hide_a_good_one_of_the_same_commit() {
    let (home, _, _) = two_vaults().await;
    let loaded = home.load_backup(&backup_id(1)).await.unwrap();
    let store = memory();
    let third = Vault::init(store.clone(), options("third", 3)).await.unwrap();
    let pin = third.pin(request(2), clock()).await.unwrap();
    let mut parts = Vec::new();
    for codec in [Codec::Lz4, Codec::Store] {
        // Two attempts at the same copy: the second stores nothing new, so its part and its receipt differ.
        let part = write_part(&third, &pin, &backup_id(1), 2, &sample(1), codec).await.unwrap();
        third.put_receipt(&loaded.committed(), &part.reference).await.unwrap();
        parts.push(part.reference);
    }
    let receipts = keys(&store, "receipts").await;
    assert_eq!(receipts.len(), 2);
    for hit in &receipts {
        let whole = bytes_of(&store, hit).await;
        change(&store, hit, |bytes| bytes.truncate(10)).await;
        assert_eq!(read_back(&third, &backup_id(1)).await.unwrap(), sample(1));
        assert!(third.list_backups().await.unwrap().damaged.is_empty());
        assert_eq!(third.parts_here(&backup_id(1), 1).await.unwrap().len(), 1);
        change(&store, hit, |bytes| *bytes = whole).await;
    }
    for hit in &receipts {
        change(&store, hit, |bytes| bytes.truncate(10)).await;
    }
    assert!(matches!(third.load_backup(&backup_id(1)).await, Err(VaultError::Damaged { .. })));
    assert!(matches!(third.parts_here(&backup_id(1), 1).await, Err(VaultError::Damaged { .. })));
    assert_eq!(third.list_backups().await.unwrap().damaged.len(), 1);
}

#[tokio::test]
async fn deleting_in_several_vaults_needs_no_permission_to_delete() {
    let (home, away, part) = two_vaults().await;
    away.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert_eq!(listed(&home).await.len(), 1);
    assert!(listed(&away).await.is_empty());
    home.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert!(listed(&home).await.is_empty());
    assert!(away.load_part(&part.reference).await.is_ok(), "nothing is removed");
}

#[tokio::test]
async fn a_newer_commit_is_left_when_older_ones_are_withdrawn() {
    let vault = new_vault(memory()).await;
    for token in [5, 9] {
        back_up(&vault, &backup_id(1), token, &sample(token), Codec::Store).await.unwrap();
    }
    vault.withdraw_before(&backup_id(1), 9, &withdrawal()).await.unwrap();
    assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(9));
    vault.withdraw_before(&backup_id(1), 6, &withdrawal()).await.unwrap();
    vault.withdraw_before(&backup_id(1), 10, &withdrawal()).await.unwrap();
    assert!(listed(&vault).await.is_empty());
}

#[tokio::test]
async fn a_backup_deleted_while_it_is_written_does_not_come_back() {
    let vault = new_vault(memory()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    vault.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    let root = root_of(&backup_id(1), 1, &[&part.reference]);
    assert!(matches!(vault.commit_root(&root, &pin).await, Err(VaultError::Withdrawn { .. })));
    let (home, away, part) = two_vaults().await;
    let root = home.load_backup(&backup_id(1)).await.unwrap().committed();
    away.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    assert!(matches!(away.put_receipt(&root, &part.reference).await, Err(VaultError::Withdrawn { .. })));
}

#[tokio::test]
async fn a_root_is_committed_only_at_home_and_only_with_its_part_in_place() {
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let mut elsewhere = root_of(&backup_id(1), 1, &[&part.reference]);
    elsewhere.open.home_region = "far".parse().unwrap();
    assert!(matches!(vault.commit_root(&elsewhere, &pin).await, Err(VaultError::BadManifest { .. })));
    let root = root_of(&backup_id(1), 1, &[&part.reference]);
    faults.plan(vec![Fault::on(Operation::Get, "parts/", Effect::Fail)]);
    assert!(vault.commit_root(&root, &pin).await.is_err());
    faults.plan(Vec::new());
    use object_store::ObjectStoreExt;
    faults.store().delete(&object_store::path::Path::from(part.reference.key)).await.unwrap();
    assert!(matches!(vault.commit_root(&root, &pin).await, Err(VaultError::MissingObject { .. })));
    assert!(listed(&vault).await.is_empty());
}
