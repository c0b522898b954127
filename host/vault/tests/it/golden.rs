//! Vaults of every format version, kept for ever as files. Made by `examples/make_golden_vault.rs`.

use std::path::Path;

use longshore_vault::testing::golden::{self, FIRST_FILES};
use longshore_vault::*;

use crate::support::*;

fn content<'a>(files: impl IntoIterator<Item = &'a str>) -> Content {
    let files = files.into_iter().map(|name| (name.to_owned(), golden::content(name)));
    [("articles".to_owned(), files.collect())].into()
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
