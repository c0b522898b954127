//! Writes two vaults of one project with an object of every kind that a vault can hold, which `tests/it/golden.rs` reads
//! for ever: `make_golden_pair <new folder>`, vaults `home` and `other` in it. Run it once for whatever is new in the
//! format and commit the result; never write over one. With a reader key in the environment variable
//! `LONGSHORE_GOLDEN_READER` the vaults are encrypted to it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{Clock, Codec, CollectionName, SystemClock, Timestamp};
use longshore_vault::testing::golden;
use longshore_vault::*;

#[path = "../tests/it/support.rs"]
mod support;

use support::{backup_id, request, root_of, withdrawal, write_part};

fn content(codecs: &[&str]) -> support::Content {
    let collection = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), golden::content(name))).collect();
    [("articles".to_owned(), collection(codecs)), (golden::ERASED.to_owned(), collection(&["store"]))].into()
}

async fn back_up(vault: &Vault, number: u8, content: &support::Content) -> Part {
    let pin = vault.pin(request(u64::from(number)), Arc::new(SystemClock)).await.unwrap();
    let part =
        write_part(vault, &pin, &backup_id(number), 1, content, "zstd-1".parse::<Codec>().unwrap()).await.unwrap();
    vault.commit_root(&root_of(&backup_id(number), 1, &[&part.reference]), &pin).await.unwrap();
    pin.release().await.unwrap();
    vault.load_part(&part.reference).await.unwrap()
}

/// The steps of the engine: record, new commit, tombstone of the old one, and what goes with it.
async fn erase(vault: &Vault, number: u8) -> CommittedRoot {
    let (id, erased) = (backup_id(number), CollectionName::new("", golden::ERASED).unwrap());
    let pin = vault.pin(request(100 + u64::from(number)), Arc::new(SystemClock)).await.unwrap();
    let reader = vault.open_reader().await.unwrap();
    let part = vault.load_part_of(&vault.load_backup(&id).await.unwrap()).await.unwrap();
    let collections = part.collections().unwrap();
    let files = collections.iter().filter(|(_, sealed)| sealed.name == erased).flat_map(|(files, _)| &files.files);
    let packs = reader.packs_of(&files.flat_map(|file| file.blobs.clone()).collect::<Vec<_>>());
    let encrypted = vault.is_encrypted();
    let record = Erasure {
        format: FORMAT_VERSION,
        kind: Erasure::KIND.to_owned(),
        erasure_id: golden::ERASURE.to_owned(),
        name_id: encrypted.then(|| vault.id_key().unwrap().name_id(&erased)),
        collection: (!encrypted).then(|| erased.clone()),
        clusters: BTreeSet::from(["in01-demo".parse().unwrap()]),
        reason: "a golden vault".to_owned(),
        by: "a golden vault".to_owned(),
        started: Timestamp::from_millis(support::NOW),
        backups: BTreeSet::from([id.clone()]),
        packs,
        rewritten: Some(Timestamp::from_millis(support::NOW)),
        completed: None,
    };
    vault.put_erasure(&record).await.unwrap();
    let keep = |name: &CollectionName| *name != erased;
    let (reference, _) = vault.put_reduced_part(&part, 2, &keep, &reader, &pin).await.unwrap();
    let committed = vault.commit_root(&root_of(&id, 2, &[&reference]), &pin).await.unwrap();
    vault.withdraw_before(&id, 2, &withdrawal()).await.unwrap();
    vault.remove_superseded(&id, 2).await.unwrap();
    pin.release().await.unwrap();
    committed
}

/// What a copy job does.
async fn copy(home: &Vault, other: &Vault, committed: &CommittedRoot) {
    let pin = other.pin(request(50), Arc::new(SystemClock)).await.unwrap();
    if home.is_encrypted() {
        other.copy_session_objects(home).await.unwrap();
    }
    let session = other.begin(&pin, SessionOptions::default()).await.unwrap();
    let part = home.load_part_of(&home.load_backup(&committed.backup_id).await.unwrap()).await.unwrap();
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    let blobs: Vec<BlobId> = files.flat_map(|file| file.blobs.clone()).collect();
    session.copy_from(&home.open_reader().await.unwrap(), &blobs, &|_, _| {}).await.unwrap();
    let draft = PartDraft {
        backup_id: committed.backup_id.clone(),
        token: committed.token,
        home_vault_id: Some(home.id().clone()),
        created: Timestamp::from_millis(support::NOW),
        collections: part.open.collections.clone(),
        sealed: part.sealed.clone(),
    };
    let finished = session.finish(draft).await.unwrap();
    other.put_receipt(committed, &finished.reference).await.unwrap();
    pin.release().await.unwrap();
}

async fn make(folder: &Path, region: &str, number: u8) -> Vault {
    let mut options = support::options(region, number);
    let added = Timestamp::from_millis(support::NOW);
    let reader: Option<ReaderKey> = std::env::var("LONGSHORE_GOLDEN_READER").ok().map(|key| key.parse().unwrap());
    let named =
        |name: &str, key: &ReaderKey| NamedRecipient { name: name.to_owned(), recipient: key.to_recipient(), added };
    if let Some(reader) = &reader {
        options.encryption = Encryption::Age1 { recipients: vec![named("golden", reader)] };
    }
    let vault = Vault::init_local(&folder.join(region), options).await.unwrap();
    let Some(reader) = reader else { return vault };
    let vault = Vault::open_local(&folder.join(region), &Keys::none().with_reader(reader)).await.unwrap();
    // Who can read it changed twice.
    vault.add_recipient(named("second", &ReaderKey::generate())).await.unwrap();
    vault.remove_recipient("second").await.unwrap();
    vault
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("say where: make_golden_pair <new folder>");
    let folder = Path::new(&folder);
    std::fs::create_dir(folder).unwrap();
    let (home, other) = (make(folder, "local", 1).await, make(folder, "other", 2).await);
    back_up(&home, golden::KEPT, &content(&["empty", "zstd-1", "lz4"])).await;
    let committed = erase(&home, golden::KEPT).await;
    copy(&home, &other, &committed).await;
    // A backup that was deleted, whose pack a prune has marked.
    back_up(&home, golden::DELETED, &content(&["shuffle4-zstd-3"])).await;
    home.delete_backup(&backup_id(golden::DELETED), &withdrawal()).await.unwrap();
    let options = PruneOptions { minimum_age_ms: 0, compact_below_percent: 0, ..PruneOptions::default() };
    let report = prune(&[home.clone(), other.clone()], &options, &SystemClock, [7; 16]).await.unwrap();
    assert!(report.vaults.iter().all(|plan| plan.blocked.is_empty()), "{report:?}");
    // A job that is at work, a note about a damaged pack, and a snapshot of a catalog.
    let pin = home.pin(request(200), Arc::new(SystemClock)).await.unwrap();
    pin.refresh(ReliesOn { everything: true, ..ReliesOn::default() }, serde_json::json!({"files": []})).await.unwrap();
    home.note_damage(&[PackId::new(digest_of(b"a pack that is gone"))], SystemClock.now()).await.unwrap();
    home.put_catalog(Bytes::from_static(golden::CATALOG), SystemClock.now()).await.unwrap();
}
