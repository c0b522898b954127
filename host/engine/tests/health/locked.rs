//! Copies by a host that cannot read names: only where nothing goes that was not asked for.

use std::sync::Arc;

use longshore_engine::{CopyRequest, RegionVaults, VerifyLevel, VerifyRequest, copy_backup, verify_backup};
use longshore_model::{BackupId, CollectionName, Timestamp};
use longshore_vault::{Encryption, Keys, NamedRecipient, ReaderKey, Vault, VaultOptions};
use object_store::memory::InMemory;

use crate::support::*;

#[tokio::test]
async fn a_host_without_a_reader_key_copies_a_part_only_when_all_of_it_was_asked_for() {
    let (home_store, other_store): (Store, Store) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let reader = ReaderKey::generate();
    let encrypted = |options: VaultOptions| {
        let added = Timestamp::from_millis(0);
        let recipient = NamedRecipient { name: "reader".to_owned(), recipient: reader.to_recipient(), added };
        VaultOptions { encryption: Encryption::Age1 { recipients: vec![recipient] }, ..options }
    };
    let options = VaultOptions::random("proj-test".parse().unwrap(), "eu".parse().unwrap(), None).unwrap();
    let home = Vault::init(Arc::clone(&home_store), encrypted(options)).await.unwrap();
    let other = Vault::init(Arc::clone(&other_store), encrypted(beside(&home))).await.unwrap();
    let place = Place { home_store, other_store, home, other, backup: BackupId::from_random([0; 10]) };
    let backup = place.back_up(&three()).await;
    let copy = async |collections: Vec<CollectionName>| {
        let request = CopyRequest {
            job_id: "job-copy".parse().unwrap(),
            fencing_token: 1,
            backup_id: backup.clone(),
            home: "eu".parse().unwrap(),
            to: "us".parse().unwrap(),
            collections,
        };
        copy_backup(&request, &place.both(), &context()).await
    };
    for some in [three()[..1].to_vec(), three()[1..].to_vec()] {
        let error = copy(some).await.unwrap_err().to_string();
        assert!(error.contains("takes a reader key"), "{error}");
        assert!(place.other.list_backups().await.unwrap().backups.is_empty());
        assert!(keys(&place.other_store, "packs").await.is_empty(), "bytes went where nobody placed them");
    }
    let nothing = copy(vec!["not_in_it".parse().unwrap()]).await.unwrap();
    assert_eq!(nothing.size_bytes, 0);
    assert!(keys(&place.other_store, "packs").await.is_empty());
    copy(three()).await.unwrap();
    let reading = Vault::open(Arc::clone(&place.other_store), &Keys::none().with_reader(reader)).await.unwrap();
    let request = VerifyRequest::new(VerifyLevel::Parsed);
    let verified = verify_backup(&RegionVaults::of([reading]).unwrap(), &backup, &request, &context()).await.unwrap();
    assert!(verified.whole && verified.collections.len() == 3, "{verified:?}");
}
