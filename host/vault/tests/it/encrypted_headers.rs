//! The header of an encrypted pack is covered by the pack's name alone, and without it no blob can be decrypted, however
//! sound its stored bytes are.

use longshore_model::Codec;
use longshore_vault::*;

use crate::encryption::{open, prepared, writer};
use crate::support::*;

const HEADER_BYTES: usize = 96;

/// Collections that cannot be read back whole with a reader key.
async fn lost(vault: &Vault, part: &FinishedPart) -> Vec<u32> {
    let reader = vault.open_reader().await.unwrap();
    let mut lost = Vec::new();
    for collection in &part.part.open.collections {
        let mut whole = true;
        for blob in collection.files.iter().flat_map(|file| &file.blobs) {
            whole &= reader.read_blob(blob).await.is_ok();
        }
        lost.extend((!whole).then_some(collection.number));
    }
    lost
}

#[tokio::test]
async fn a_flipped_byte_of_a_header_hits_what_cannot_be_decrypted_any_more() {
    let (store, reader, part) = prepared(Codec::Zstd { level: 1 }).await;
    let keys_of_reader = Keys::none().with_writer(writer()).with_reader(reader);
    let (mut hit, mut unhit) = (0, 0);
    let packs = keys(&store, "packs").await;
    for key in &packs {
        for place in 0..HEADER_BYTES {
            change(&store, key, |bytes| bytes[place] ^= 0x04).await;
            let (owner, host) =
                (open(&store, &keys_of_reader).await, open(&store, &Keys::none().with_writer(writer())).await);
            let lost = lost(&owner, &part).await;
            let seen = verify(&owner, &backup_id(1), VerifyLevel::Stored).await;
            assert_eq!(damaged(&seen), lost, "byte {place} of {key}: {seen:?}");
            assert!(seen.objects.iter().any(|damage| damage.object == key.to_string()), "{seen:?}");
            // Who cannot decrypt calls no collection whole that is not; of a byte that says nothing he cannot know it.
            let seen = verify(&host, &backup_id(1), VerifyLevel::Stored).await;
            assert!(!damaged(&seen).is_empty(), "byte {place} of {key}");
            assert!(lost.iter().all(|number| damaged(&seen).contains(number)), "byte {place} of {key}: {seen:?}");
            if lost.is_empty() {
                unhit += 1
            } else {
                hit += 1
            }
            change(&store, key, |bytes| bytes[place] ^= 0x04).await;
        }
    }
    // The last bytes only make a pack differ from others with the same blobs.
    assert_eq!((hit, unhit), (packs.len() * (HEADER_BYTES - 16), packs.len() * 16));
}

#[tokio::test]
async fn a_flipped_byte_of_a_blob_hits_its_collection_alone_also_for_who_cannot_decrypt() {
    let (store, reader, part) = prepared(Codec::Zstd { level: 1 }).await;
    let keys_of_reader = Keys::none().with_writer(writer()).with_reader(reader);
    for key in keys(&store, "packs").await {
        change(&store, &key, |bytes| bytes[HEADER_BYTES + 20] ^= 0x04).await;
        let owner = open(&store, &keys_of_reader).await;
        let lost = lost(&owner, &part).await;
        assert!(!lost.is_empty());
        for keys in [keys_of_reader.clone(), Keys::none().with_writer(writer())] {
            let seen = verify(&open(&store, &keys).await, &backup_id(1), VerifyLevel::Stored).await;
            assert_eq!(damaged(&seen), lost, "{key}: {seen:?}");
        }
        change(&store, &key, |bytes| bytes[HEADER_BYTES + 20] ^= 0x04).await;
    }
}
