//! Any object may be flipped, cut or lost. What is hit is named; what is not hit is read; the next backup fills holes.

use longshore_model::Codec;
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::support::*;

const ID: u8 = 1;

async fn prepared(codec: Codec) -> (Store, Vault, FinishedPart) {
    let store = memory();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    let part = back_up(&vault, &backup_id(ID), 1, &sample(1), codec).await.unwrap();
    (store, vault, part)
}

/// Where a blob is stored: its pack's key and its offset, read from the packs themselves.
async fn find(store: &Store, blob: &BlobId) -> (object_store::path::Path, usize, usize) {
    for key in keys(store, "packs").await {
        let bytes = bytes_of(store, &key).await;
        let entries = bytes.windows(32).position(|window| window == blob.as_bytes());
        if let Some(place) = entries {
            let number = |at: usize, length: usize| {
                bytes[place + at..place + at + length]
                    .iter()
                    .rev()
                    .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
            };
            return (key, number(32, 8), number(40, 4));
        }
    }
    panic!("the blob is in no pack");
}

#[tokio::test]
async fn a_whole_backup_is_whole_at_every_level() {
    let (_, vault, part) = prepared(Codec::Zstd { level: 1 }).await;
    for level in [VerifyLevel::Exists, VerifyLevel::Stored, VerifyLevel::Decoded] {
        let report = verify(&vault, &backup_id(ID), level).await;
        assert!(report.is_whole() && report.objects.is_empty(), "{report:?}");
        assert_eq!(report.collections.len(), 2);
        assert_eq!(report.collections[0].files, 5);
        assert_eq!(report.read_bytes > 0, level > VerifyLevel::Exists);
        let bytes: u64 = report.collections.iter().map(|collection| collection.plain_bytes).sum();
        assert_eq!(bytes, part.part.open.sizes.plain_bytes);
    }
}

#[tokio::test]
async fn progress_reaches_the_end() {
    let (_, vault, part) = prepared(Codec::Store).await;
    let seen = std::sync::Mutex::new(Vec::new());
    let on_bytes = |done, total| seen.lock().unwrap().push((done, total));
    vault.verify(&part.part, VerifyOptions::new(VerifyLevel::Stored, &on_bytes)).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), part.part.open.packs.len());
    let total: u64 = part.part.open.packs.iter().map(|pack| pack.size_bytes).sum();
    assert!(seen.contains(&(total, total)), "{seen:?}");
}

#[tokio::test]
async fn a_flipped_byte_names_exactly_the_collection_it_hits() {
    for codec in [Codec::Store, Codec::Zstd { level: 1 }] {
        let (store, vault, part) = prepared(codec).await;
        // The file `data/noise.parquet` of the second collection, third in order of path.
        let file = &part.part.open.collections[1].files[2];
        let (key, offset, length) = find(&store, &file.blobs[1]).await;
        change(&store, &key, |bytes| bytes[offset + length / 2] ^= 0x10).await;
        assert!(verify(&vault, &backup_id(ID), VerifyLevel::Exists).await.is_whole());
        for level in [VerifyLevel::Stored, VerifyLevel::Decoded] {
            let report = verify(&vault, &backup_id(ID), level).await;
            assert_eq!(damaged(&report), [1], "{level:?} {report:?}");
            assert_eq!(report.objects.len(), 1);
            assert_eq!(report.objects[0].object, key.to_string());
            let damage = &report.collections[1].damages[0];
            assert_eq!((damage.file_number, damage.blob, damage.object.as_str()), (2, file.blobs[1], key.as_ref()));
        }
        let reader = vault.open_reader().await.unwrap();
        let error = reader.read_blob(&file.blobs[1]).await.unwrap_err();
        assert!(matches!(&error, VaultError::Damaged { object, .. } if *object == key.to_string()), "{error}");
        for blob in &part.part.open.collections[0].files[2].blobs {
            reader.read_blob(blob).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lost_or_cut_pack_is_found_without_reading_and_filled_by_the_next_backup() {
    for cut in [false, true] {
        let (store, vault, part) = prepared(Codec::Store).await;
        let file = &part.part.open.collections[0].files[2];
        let (key, _, _) = find(&store, &file.blobs[0]).await;
        if cut {
            change(&store, &key, |bytes| bytes.truncate(bytes.len() - 1)).await;
        } else {
            store.delete(&key).await.unwrap();
        }
        let report = verify(&vault, &backup_id(ID), VerifyLevel::Exists).await;
        assert!(damaged(&report).contains(&0), "{report:?}");
        assert!(report.objects.iter().any(|damage| damage.object == key.to_string()), "{report:?}");
        let error = read_back(&vault, &backup_id(ID)).await.unwrap_err();
        assert!(matches!(error, VaultError::UnknownBlob { .. }), "{error}");
        back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
        assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), sample(1));
        assert_eq!(read_back(&vault, &backup_id(ID)).await.unwrap(), sample(1), "the old one is whole again too");
        assert!(verify(&vault, &backup_id(ID), VerifyLevel::Decoded).await.is_whole());
    }
}

#[tokio::test]
async fn a_pack_that_vanishes_while_it_is_read_is_a_missing_object() {
    let (store, vault, part) = prepared(Codec::Store).await;
    let blob = part.part.open.collections[0].files[2].blobs[0];
    let reader = vault.open_reader().await.unwrap();
    let (key, _, _) = find(&store, &blob).await;
    store.delete(&key).await.unwrap();
    let error = reader.read_blob(&blob).await.unwrap_err();
    assert!(matches!(&error, VaultError::MissingObject { object, .. } if *object == key.to_string()), "{error}");
}

#[tokio::test]
async fn without_any_index_object_everything_is_read_from_the_ends_of_the_packs() {
    for damage in [false, true] {
        let (store, vault, _) = prepared(Codec::Lz4).await;
        for key in keys(&store, "index").await {
            if damage {
                change(&store, &key, |bytes| bytes[20] ^= 1).await;
            } else {
                store.delete(&key).await.unwrap();
            }
        }
        assert_eq!(read_back(&vault, &backup_id(ID)).await.unwrap(), sample(1));
        let report = verify(&vault, &backup_id(ID), VerifyLevel::Decoded).await;
        assert!(report.is_whole());
        let named: Vec<bool> = report.objects.iter().map(|found| found.object == LOST_INDEX).collect();
        assert_eq!(named, [!damage], "{report:?}");
        // And nothing is stored twice because of it.
        let part = back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
        assert_eq!(part.part.open.sizes.new_bytes, 0);
    }
}

#[tokio::test]
async fn packs_that_a_killed_job_left_without_an_index_are_reused() {
    let store = memory();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let bytes = bytes::Bytes::from(noise(1, 200_000));
    session.put(bytes.clone(), Codec::Store).await.unwrap();
    session.checkpoint().await.unwrap();
    for key in keys(&store, "index").await {
        store.delete(&key).await.unwrap();
    }
    // A torn pack beside it, as a store without atomic puts could leave one, is not taken for a pack.
    let pack = keys(&store, "packs").await.remove(0);
    let torn = bytes_of(&store, &pack).await[..150_000].to_vec();
    let digest = digest_of(b"torn").to_string();
    store.put(&format!("packs/{}/{digest}", &digest[..2]).into(), torn.into()).await.unwrap();
    let next = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    assert!(!next.put(bytes, Codec::Store).await.unwrap().new);
    assert_eq!(vault.open_reader().await.unwrap().blob_count(), 1);
}

#[tokio::test]
async fn a_blob_in_two_packs_is_read_from_the_good_one() {
    let (store, vault, part) = prepared(Codec::Store).await;
    let blob = part.part.open.collections[0].files[2].blobs[0];
    let (key, offset, _) = find(&store, &blob).await;
    let whole = bytes_of(&store, &key).await;
    store.delete(&key).await.unwrap();
    // Something new before it, or the pack would be made again byte for byte, under the same name.
    let mut content = sample(1);
    content.entry("aaa".to_owned()).or_default().insert("new".to_owned(), noise(77, 40_000));
    back_up(&vault, &backup_id(2), 2, &content, Codec::Store).await.unwrap();
    let (other, other_offset, _) = find(&store, &blob).await;
    store.put(&key, whole.into()).await.unwrap();
    assert_ne!(key, other);
    // Whichever of the two a reader tries first.
    for (key, offset) in [(key, offset), (other, other_offset)] {
        change(&store, &key, |bytes| bytes[offset] ^= 1).await;
        assert_eq!(read_back(&vault, &backup_id(ID)).await.unwrap(), sample(1));
        for level in [VerifyLevel::Stored, VerifyLevel::Decoded] {
            assert!(verify(&vault, &backup_id(ID), level).await.is_whole(), "{level:?}");
        }
        change(&store, &key, |bytes| bytes[offset] ^= 1).await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_their_id_says_are_found_only_by_decoding() {
    let (store, vault, part) = prepared(Codec::Store).await;
    // Another project's vault with the same packs: every stored byte is right, every id is wrong.
    let other_store = memory();
    let other_options = VaultOptions { id_key: IdKey::new([8; 32]), ..options("local", 1) };
    let other = Vault::init(other_store.clone(), other_options).await.unwrap();
    for folder in ["packs", "index", "parts", "roots"] {
        for key in keys(&store, folder).await {
            other_store.put(&key, bytes_of(&store, &key).await.into()).await.unwrap();
        }
    }
    drop(vault);
    assert!(verify(&other, &backup_id(ID), VerifyLevel::Stored).await.is_whole());
    let report = verify(&other, &backup_id(ID), VerifyLevel::Decoded).await;
    assert_eq!(damaged(&report), [0, 1]);
    assert_eq!(report.collections[0].damaged_files, 4, "all but the empty file");
    assert!(report.objects.is_empty());
    let files = part.part.open.collections.iter().flat_map(|collection| &collection.files);
    let all: std::collections::BTreeSet<BlobId> = files.flat_map(|file| file.blobs.iter().copied()).collect();
    assert_eq!(report.bad_blobs, all.into_iter().collect::<Vec<_>>(), "no blob is left out, wherever it lies");
    let blob = part.part.open.collections[0].files[2].blobs[0];
    assert!(other.open_reader().await.unwrap().read_blob(&blob).await.is_err());
}

#[tokio::test]
async fn damaged_manifests_hit_their_own_backup_only() {
    let (store, vault, _) = prepared(Codec::Store).await;
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let part = keys(&store, "parts").await.remove(0);
    change(&store, &part, |bytes| bytes[30] ^= 1).await;
    let loaded = vault.load_backup(&backup_id(ID)).await.unwrap();
    let error = vault.load_part_of(&loaded).await.unwrap_err();
    assert!(matches!(&error, VaultError::Damaged { object, .. } if *object == part.to_string()), "{error}");
    store.delete(&part).await.unwrap();
    assert!(matches!(vault.load_part_of(&loaded).await, Err(VaultError::MissingObject { .. })));
    let root = keys(&store, "roots").await.remove(0);
    change(&store, &root, |bytes| bytes.truncate(50)).await;
    let listing = vault.list_backups().await.unwrap();
    assert_eq!(listing.backups.len(), 1);
    assert!(matches!(&listing.damaged[..], [(id, VaultError::Damaged { .. })] if *id == backup_id(ID)));
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), sample(2));
}

#[tokio::test]
async fn strange_objects_beside_ours_are_ignored() {
    let (store, vault, _) = prepared(Codec::Store).await;
    for key in ["packs/readme", "packs/ab/short", "index/x", "roots/notes.txt", "roots/backup0_ab/1.json", "x/y"] {
        store.put(&key.into(), "not ours".into()).await.unwrap();
    }
    assert_eq!(listed(&vault).await, [backup_id(ID)]);
    assert_eq!(read_back(&vault, &backup_id(ID)).await.unwrap(), sample(1));
    assert!(verify(&vault, &backup_id(ID), VerifyLevel::Decoded).await.objects.is_empty());
}
