//! Vaults of every format version, kept for ever as files. Made by `examples/make_golden_vault.rs` and
//! `examples/make_golden_pair.rs`.

use std::path::Path;

use bytes::Bytes;
use longshore_model::{Codec, Timestamp};

use longshore_vault::testing::golden::{self, FIRST_FILES};
use longshore_vault::*;

use crate::support::*;

fn content<'a>(files: impl IntoIterator<Item = &'a str>) -> Content {
    let files = files.into_iter().map(|name| (name.to_owned(), golden::content(name)));
    [("articles".to_owned(), files.collect())].into()
}

/// When the pair of golden vaults was some days old.
fn vault_time() -> Timestamp {
    Timestamp::from_millis(1_900_000_000_000)
}

/// What the encrypted vault was encrypted to. It protects nothing but a test.
const GOLDEN_READER: &str = "AGE-SECRET-KEY-13F67MENKXPLEYEHPWNAFYCPY7WUU7P74E8KCM5NJAUADFSYX407QSQMSGG";

#[tokio::test]
async fn an_encrypted_vault_of_format_1_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1-encrypted");
    let reading = Keys::none().with_reader(GOLDEN_READER.parse().unwrap());
    let writing = Keys::none().with_writer(WriterKey::new(IdKey::new([2; 32])));
    for keys in [reading.clone(), writing.clone()] {
        let vault = Vault::open_local(&folder, &keys).await.unwrap();
        assert_eq!(vault.recipients().await.unwrap().recipients.len(), 1);
        let backups = listed(&vault).await;
        assert_eq!(backups.len(), 1);
        assert!(verify(&vault, &backups[0], VerifyLevel::Stored).await.is_whole());
    }
    let vault = Vault::open_local(&folder, &reading).await.unwrap();
    let backup = listed(&vault).await.remove(0);
    assert_eq!(read_back(&vault, &backup).await.unwrap(), content(FIRST_FILES));
    assert!(verify(&vault, &backup, VerifyLevel::Decoded).await.is_whole());
    // What hosts without a reader key go by is frozen, too: names, digests, identities, and the text of the key.
    let vault = Vault::open_local(&folder, &writing).await.unwrap();
    let part = vault.load_part_of(&vault.load_backup(&backup).await.unwrap()).await.unwrap();
    let (collection, key) = (&part.open.collections[0], vault.id_key().unwrap());
    assert_eq!(collection.name_id, Some(key.name_id(&longshore_model::CollectionName::new("", "articles").unwrap())));
    for (file, path) in collection.files.iter().zip(FIRST_FILES) {
        let digest = key.mask_digest(&file.blobs, &file.masked_digest.unwrap());
        assert_eq!(digest, digest_of(&golden::content(path)));
        assert_eq!(file.identity, Some(key.identity(path.as_bytes())));
    }
    insta::assert_snapshot!(*WriterKey::new(key.clone()).to_text());
}

#[tokio::test]
async fn a_vault_of_format_1_is_read() {
    reads_as("format-1", content(FIRST_FILES)).await;
}

#[tokio::test]
async fn a_vault_with_the_adaptive_codec_is_read() {
    reads_as("format-1-adaptive", content(["adaptive-zstd-1", "adaptive-zstd-3"])).await;
}

/// Files of the vaults whose blobs are pieces of files, and named by what these hash to.
const PIECES: [&str; 3] = ["adaptive-zstd-1", "store", "zstd-1"];

#[tokio::test]
async fn a_vault_with_pieces_of_files_is_read() {
    reads_as("format-1-pieces", content(PIECES)).await;
}

#[tokio::test]
async fn an_encrypted_vault_with_pieces_of_files_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1-pieces-encrypted");
    let vault = Vault::open_local(&folder, &Keys::none().with_reader(GOLDEN_READER.parse().unwrap())).await.unwrap();
    let backup = listed(&vault).await.remove(0);
    assert_eq!(read_back(&vault, &backup).await.unwrap(), content(PIECES));
    assert!(verify(&vault, &backup, VerifyLevel::Decoded).await.is_whole());
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_tree(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// What is in a vault already is found there by its content: names that are made in another way would store it again.
#[tokio::test]
async fn what_a_vault_with_pieces_of_files_holds_is_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1-pieces"), folder.path());
    let limits = Limits { split_bytes: 32 * 1024, ..Limits::DEFAULT };
    let vault = Vault::open_local(folder.path(), &Keys::none()).await.unwrap().with_limits(limits);
    let pin = vault.pin(request(9), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    for name in PIECES {
        let bytes = Bytes::from(golden::content(name));
        let (size_bytes, pieces) = (bytes.len() as u64, bytes.len().div_ceil(32 * 1024));
        let stored = session.put_file(&Memory(bytes), size_bytes, Codec::Store, &|_| {}).await.unwrap();
        assert_eq!((stored.new_plain_bytes, stored.blobs.len()), (0, pieces), "{name}");
    }
}

/// What a vault shows of itself in an emergency, by folder.
async fn shown(folder: &Path, keys: &Keys) -> serde_json::Value {
    let store = local_store(folder).unwrap();
    let seen = inspect_vault(store, keys).await.unwrap();
    assert!(seen.problems.is_empty() && seen.content["unknown"] == serde_json::json!([]), "{seen:?}");
    seen.content
}

/// Every kind of object that a vault can hold: records of deletion, erasure, marks, jobs, damage and catalogs too.
async fn the_pair_is_read(name: &str, keys: Keys) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let (home_folder, other_folder) = (folder.join("local"), folder.join("other"));
    let kept = backup_id(golden::KEPT);
    let expected = content(["empty", "lz4", "zstd-1"]);
    for folder in [&home_folder, &other_folder] {
        let vault = Vault::open_local(folder, &keys).await.unwrap();
        assert_eq!(listed(&vault).await, std::slice::from_ref(&kept), "{folder:?}");
        assert_eq!(read_back(&vault, &kept).await.unwrap(), expected, "{folder:?}");
        assert!(verify(&vault, &kept, VerifyLevel::Decoded).await.is_whole());
        // A prune knows what all of it means.
        let plan = plan_prune(std::slice::from_ref(&vault), &PruneOptions::default(), vault_time()).await.unwrap();
        assert!(plan.vaults[0].blocked.is_empty(), "{plan:?}");
    }
    let home = Vault::open_local(&home_folder, &keys).await.unwrap();
    let withdrawn = home.list_withdrawn().await.unwrap();
    let below: Vec<_> = withdrawn.iter().map(|one| (one.backup_id.clone(), one.below_token)).collect();
    assert_eq!(below, [(kept.clone(), Some(2)), (backup_id(golden::DELETED), None)]);
    let erasures = home.list_erasures().await.unwrap();
    let erased: longshore_model::CollectionName = golden::ERASED.parse().unwrap();
    assert_eq!((erasures.len(), erasures[0].erasure_id.as_str()), (1, golden::ERASURE));
    assert_eq!(erasures[0].collection, (!home.is_encrypted()).then(|| erased.clone()));
    let name_id = home.is_encrypted().then(|| home.id_key().unwrap().name_id(&erased));
    assert_eq!((erasures[0].name_id, erasures[0].completed), (name_id, None));
    let pins = home.list_pins().await.unwrap();
    let at_work = pins.iter().find(|pin| pin.token == 200).unwrap();
    assert_eq!((at_work.released, at_work.relies_on.everything), (false, true));
    assert_eq!(at_work.state, serde_json::json!({"files": []}));
    assert_eq!(home.noted_packs().await.unwrap(), [PackId::new(digest_of(b"a pack that is gone"))].into());
    let catalogs = home.list_catalogs().await.unwrap();
    assert_eq!(home.load_catalog(&catalogs[0]).await.unwrap(), golden::CATALOG);
    let (home_shown, other_shown) = (shown(&home_folder, &keys).await, shown(&other_folder, &keys).await);
    assert_eq!(other_shown["receipts"].as_object().unwrap().len(), 1);
    let marks = home_shown["marks"].as_object().unwrap();
    let listed_packs = |mark: &serde_json::Value| mark["packs"].as_array().unwrap().len();
    assert!(!marks.is_empty() && marks.values().all(|mark| listed_packs(mark) > 0), "{marks:?}");
    for folder in ["packs", "parts", "roots", "pins", "damaged", "withdrawn", "erasures", "catalogs", "marks"] {
        assert!(!home_shown[folder].is_null(), "{folder} is in no golden vault");
    }
    if home.is_encrypted() {
        let recipients = home.recipients().await.unwrap();
        assert_eq!((recipients.generation, recipients.recipients.len()), (3, 1));
    }
}

#[tokio::test]
async fn every_kind_of_object_of_format_1_is_read() {
    the_pair_is_read("format-1-pair", Keys::none()).await;
}

#[tokio::test]
async fn every_kind_of_object_of_an_encrypted_vault_of_format_1_is_read() {
    let keys = Keys::none().with_reader(GOLDEN_READER.parse().unwrap());
    the_pair_is_read("format-1-pair-encrypted", keys).await;
}

async fn reads_as(folder: &str, content: Content) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let vault = Vault::open_local(&folder, &Keys::none()).await.unwrap();
    let backups = listed(&vault).await;
    assert_eq!(backups.len(), 1);
    assert_eq!(read_back(&vault, &backups[0]).await.unwrap(), content);
    assert!(verify(&vault, &backups[0], VerifyLevel::Decoded).await.is_whole());
    // Each file with the codec it is named after: the table of codecs in FORMAT.md is frozen.
    let part = vault.load_part_of(&vault.load_backup(&backups[0]).await.unwrap()).await.unwrap();
    let reader = vault.open_reader().await.unwrap();
    for (files, sealed) in part.collections().unwrap() {
        for (file, name) in files.files.iter().zip(&sealed.files) {
            for blob in &file.blobs {
                assert_eq!(reader.codec(blob).unwrap().to_string(), name.path);
            }
        }
    }
}
