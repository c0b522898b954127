//! Making and opening vaults, and everything else that can be where a vault was expected.

use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::support::*;

#[tokio::test]
async fn a_vault_opens_as_it_was_made() {
    let store = memory();
    let made = new_vault(store.clone()).await;
    let opened = Vault::open(store, &Keys::none()).await.unwrap();
    assert_eq!(
        (opened.id(), opened.region_id(), opened.project_id()),
        (made.id(), made.region_id(), made.project_id())
    );
    assert_eq!(opened.id_key().unwrap(), made.id_key().unwrap());
    assert_eq!(opened.used_bytes().await.unwrap(), 0);
}

#[tokio::test]
async fn a_second_vault_in_the_same_place_is_refused() {
    let store = memory();
    new_vault(store.clone()).await;
    let error = Vault::init(store.clone(), options("local", 2)).await.unwrap_err();
    assert!(matches!(error, VaultError::AlreadyAVault { .. }), "{error}");
    assert_eq!(Vault::open(store, &Keys::none()).await.unwrap().id(), &longshore_model::VaultId::from_random([1; 10]));
}

#[tokio::test]
async fn another_programs_folder_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    std::fs::write(folder.path().join("photos/a.jpg"), "x").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let error = Vault::init_local(folder.path(), options("local", 1)).await.unwrap_err();
    let place = folder.path().canonicalize().unwrap().display().to_string();
    let said = error.to_string().replace(&place, "PLACE");
    insta::assert_snapshot!(said, @"PLACE is not a vault: it holds `notes.txt`, `photos/`. Choose an empty folder, or check the address");
    assert!(matches!(Vault::open_local(folder.path(), &Keys::none()).await, Err(VaultError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn an_empty_place_is_told_from_a_foreign_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    // What a write leaves that was killed before it counted.
    std::fs::write(folder.path().join("longshore-vault.json#1"), "{").unwrap();
    assert!(matches!(Vault::open_local(folder.path(), &Keys::none()).await, Err(VaultError::Empty { .. })));
    Vault::init_local(folder.path(), options("local", 1)).await.unwrap();
    Vault::open_local(folder.path(), &Keys::none()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_or_newer_header_is_neither_empty_nor_foreign() {
    let store = memory();
    new_vault(store.clone()).await;
    let key = Path::from(HEADER_KEY);
    let good = bytes_of(&store, &key).await;
    change(&store, &key, |bytes| bytes.truncate(40)).await;
    assert!(matches!(Vault::open(store.clone(), &Keys::none()).await, Err(VaultError::DamagedHeader { .. })));
    assert!(matches!(Vault::init(store.clone(), options("local", 2)).await, Err(VaultError::DamagedHeader { .. })));
    store.put(&key, vec![b' '; 1 << 20].into()).await.unwrap();
    assert!(
        matches!(Vault::open(store.clone(), &Keys::none()).await, Err(VaultError::DamagedHeader { .. })),
        "too long to be ours"
    );
    let newer = String::from_utf8(good).unwrap().replace("\"format\": 1", "\"format\": 3");
    store.put(&key, newer.into_bytes().into()).await.unwrap();
    assert!(matches!(Vault::open(store, &Keys::none()).await, Err(VaultError::NewerFormat { found: 3, .. })));
}

#[tokio::test]
async fn a_vault_is_made_or_not_made_whatever_the_store_answers() {
    for effect in [Effect::Fail, Effect::SucceedThenFail, Effect::StorageFull] {
        for number in 0..4 {
            let inner = memory();
            let faults = FaultStore::new(inner.clone());
            faults.plan(vec![Fault::at(number, effect.clone())]);
            let result = Vault::init(faults.store(), options("local", 1)).await;
            let opened = Vault::open(inner, &Keys::none()).await;
            match result {
                Ok(vault) => assert_eq!(vault.id(), opened.unwrap().id()),
                Err(_) => assert!(matches!(opened, Err(VaultError::Empty { .. })), "{number} {effect:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_full_disk_has_a_sentence_of_its_own() {
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await;
    faults.plan(vec![Fault::on(Operation::Put, "packs/", Effect::StorageFull)]);
    let error = back_up(&vault, &backup_id(1), 1, &sample(1), longshore_model::Codec::Store).await.unwrap_err();
    assert!(error.is_storage_full(), "{error}");
    assert!(error.to_string().starts_with("no space is left in the vault"), "{error}");
}

#[tokio::test]
async fn a_vault_that_is_gone_or_was_replaced_is_noticed() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    vault.check().await.unwrap();
    store.delete(&Path::from(HEADER_KEY)).await.unwrap();
    assert!(matches!(vault.check().await, Err(VaultError::Empty { .. })));
    Vault::init(store, options("local", 2)).await.unwrap();
    assert!(matches!(vault.check().await, Err(VaultError::AlreadyAVault { .. })));
}
