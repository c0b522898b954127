//! Every operation of a backup fails in turn, in every way. Each time: a clear error and no backup, or a whole backup;
//! earlier backups are never hurt, and the next attempt succeeds.

use longshore_model::Codec;
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;

use crate::support::*;

fn effects() -> [Effect; 4] {
    [Effect::Fail, Effect::SucceedThenFail, Effect::Torn(10), Effect::StorageFull]
}

/// The second backup: overlaps with the first, adds something of its own.
fn second() -> Content {
    let mut content = sample(1);
    content.insert("more".to_owned(), sample(2).remove("images").unwrap());
    content
}

/// A vault with one good backup in it.
async fn prepared() -> (FaultStore, Vault) {
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await.with_limits(small_limits());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    (faults, vault)
}

async fn check_after_fault(faults: &FaultStore, vault: &Vault, result: Result<FinishedPart, VaultError>, what: &str) {
    faults.plan(Vec::new());
    let listed = listed(vault).await;
    assert!(listed.contains(&backup_id(1)), "{what}");
    assert_eq!(read_back(vault, &backup_id(1)).await.unwrap(), sample(1), "{what}");
    let exists = listed.contains(&backup_id(2));
    match &result {
        Ok(_) => assert!(exists, "{what}: reported, but not there"),
        Err(VaultError::Uncertain { .. }) => {}
        Err(error) => assert!(!exists, "{what}: not reported, but there: {error}"),
    }
    if exists {
        assert_eq!(read_back(vault, &backup_id(2)).await.unwrap(), second(), "{what}");
        assert!(verify(vault, &backup_id(2), VerifyLevel::Decoded).await.is_whole(), "{what}");
    }
    back_up(vault, &backup_id(2), 3, &second(), Codec::Lz4).await.unwrap();
    assert_eq!(read_back(vault, &backup_id(2)).await.unwrap(), second(), "{what}: the next attempt");
    assert!(verify(vault, &backup_id(2), VerifyLevel::Decoded).await.is_whole(), "{what}: the next attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_operation_may_fail_in_any_way() {
    let (faults, vault) = prepared().await;
    faults.plan(Vec::new());
    back_up(&vault, &backup_id(2), 2, &second(), Codec::Zstd { level: 1 }).await.unwrap();
    let operations = faults.operations();
    assert!(operations > 12, "{operations}");
    let mut failed = 0;
    for effect in effects() {
        for number in 0..operations {
            let (faults, vault) = prepared().await;
            faults.plan(vec![Fault::at(number, effect.clone())]);
            let result = back_up(&vault, &backup_id(2), 2, &second(), Codec::Zstd { level: 1 }).await;
            let what = format!("operation {number} of {operations}, {effect:?}, {:?}", result.as_ref().err());
            assert_eq!(faults.fired(), 1, "{what}");
            failed += u64::from(result.is_err());
            check_after_fault(&faults, &vault, result, &what).await;
        }
    }
    assert!(failed > 2 * operations, "faults are not swallowed: {failed}");
}

#[tokio::test]
async fn a_root_that_was_written_although_the_store_says_no_is_a_success() {
    let (faults, vault) = prepared().await;
    faults.plan(vec![Fault::on(Operation::Put, "roots/", Effect::SucceedThenFail)]);
    back_up(&vault, &backup_id(2), 2, &second(), Codec::Store).await.unwrap();
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), second());
}

#[tokio::test]
async fn when_the_store_is_gone_after_the_root_the_outcome_is_called_unknown() {
    let (faults, vault) = prepared().await;
    let lost = vec![
        Fault::on(Operation::Put, "roots/", Effect::SucceedThenFail),
        Fault::on(Operation::Get, "roots/", Effect::Fail),
    ];
    faults.plan(lost);
    let error = back_up(&vault, &backup_id(2), 2, &second(), Codec::Store).await.unwrap_err();
    assert!(matches!(error, VaultError::Uncertain { .. }), "{error}");
    faults.plan(Vec::new());
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), second());
}

#[tokio::test]
async fn a_torn_root_is_shown_as_damaged_and_replaced_by_a_repeated_commit() {
    let (faults, vault) = prepared().await;
    let pin = vault.pin(request(2), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(2), 2, &second(), Codec::Store).await.unwrap();
    let root = root_of(&backup_id(2), 2, &[&part.reference]);
    faults.plan(vec![Fault::on(Operation::Put, "roots/", Effect::Torn(10)).times(1)]);
    vault.commit_root(&root, &pin).await.unwrap_err();
    let listing = vault.list_backups().await.unwrap();
    assert_eq!(listing.backups.len(), 1);
    assert!(matches!(&listing.damaged[..], [(id, VaultError::Damaged { .. })] if *id == backup_id(2)));
    // The same key again: "already exists", but with other bytes, which can only be damage.
    vault.commit_root(&root, &pin).await.unwrap();
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), second());
    assert!(vault.list_backups().await.unwrap().damaged.is_empty());
}

#[tokio::test]
async fn a_commit_may_be_repeated() {
    let (_, vault) = prepared().await;
    let pin = vault.pin(request(2), clock()).await.unwrap();
    let part = write_part(&vault, &pin, &backup_id(2), 2, &second(), Codec::Store).await.unwrap();
    let root = root_of(&backup_id(2), 2, &[&part.reference]);
    let first = vault.commit_root(&root, &pin).await.unwrap();
    assert_eq!(vault.commit_root(&root, &pin).await.unwrap(), first);
    assert_eq!(listed(&vault).await.len(), 2);
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_not_an_empty_one() {
    let (faults, vault) = prepared().await;
    for folder in ["roots", "receipts"] {
        faults.plan(vec![Fault::on(Operation::List, folder, Effect::Fail)]);
        assert!(matches!(vault.list_backups().await, Err(VaultError::Store { .. })), "{folder}");
    }
    faults.plan(vec![Fault::on(Operation::Get, "roots/", Effect::Fail)]);
    assert!(matches!(vault.list_backups().await, Err(VaultError::Store { .. })));
}
