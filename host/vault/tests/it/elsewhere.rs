//! Blobs that lie in two packs of an encrypted vault, seen by who can decrypt and by who cannot.

use std::collections::HashSet;

use longshore_model::Codec;
use longshore_vault::*;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::encryption::{open, prepared, writer};
use crate::healing::now;
use crate::support::*;

const HEADER_BYTES: usize = 96;

/// A vault in which every blob lies in two packs, of two sessions.
struct Twice {
    store: Store,
    owner: Vault,
    host: Vault,
    packs: [Vec<Path>; 2],
    session_keys: [Vec<Path>; 2],
}

async fn twice() -> Twice {
    let (store, reader, _) = prepared(Codec::Zstd { level: 1 }).await;
    let host = open(&store, &Keys::none().with_writer(writer())).await;
    let owner = open(&store, &Keys::none().with_writer(writer()).with_reader(reader)).await;
    let (packs, sessions) = (keys(&store, "packs").await, keys(&store, "keys/sessions").await);
    // Who writes does not rely on packs that are noted as damaged.
    let names = packs.iter().map(|key| key.filename().unwrap().parse().unwrap()).collect::<Vec<PackId>>();
    host.note_damage(&names, now()).await.unwrap();
    back_up(&host, &backup_id(2), 2, &sample(1), Codec::Zstd { level: 1 }).await.unwrap();
    for note in keys(&store, "damaged").await {
        store.delete(&note).await.unwrap();
    }
    let later = |all: Vec<Path>, before: &[Path]| all.into_iter().filter(|key| !before.contains(key)).collect();
    let packs_later = later(keys(&store, "packs").await, &packs);
    let sessions_later = later(keys(&store, "keys/sessions").await, &sessions);
    Twice { store, owner, host, packs: [packs, packs_later], session_keys: [sessions, sessions_later] }
}

impl Twice {
    async fn flip(&self, packs: &[Path], places: impl Fn(&usize) -> bool + Copy) {
        for key in packs {
            let flipped = |bytes: &mut Vec<u8>| {
                let places = (HEADER_BYTES..bytes.len()).filter(places);
                places.for_each(|place| bytes[place] ^= 0x04);
            };
            change(&self.store, key, flipped).await;
        }
    }

    /// Collections that each of the two calls damaged, of both backups. Every damage is told once.
    async fn seen(&self) -> [Vec<u32>; 2] {
        let mut seen: [Vec<u32>; 2] = Default::default();
        for (seen, vault) in seen.iter_mut().zip([&self.owner, &self.host]) {
            for backup in [1, 2] {
                let report = verify(vault, &backup_id(backup), VerifyLevel::Stored).await;
                let once: HashSet<PackId> = report.damaged_packs.iter().copied().collect();
                assert_eq!(once.len(), report.damaged_packs.len(), "{report:?}");
                seen.extend(damaged(&report));
            }
        }
        seen
    }
}

#[tokio::test]
async fn what_lies_whole_in_another_pack_is_called_damaged_by_nobody() {
    let twice = twice().await;
    let all = verify(&twice.owner, &backup_id(1), VerifyLevel::Stored).await.collections.len();
    assert!(twice.packs.iter().all(|packs| !packs.is_empty()));
    let nothing: [Vec<u32>; 2] = Default::default();
    for (place, packs) in twice.packs.iter().enumerate() {
        // One blob of each pack, and all of them.
        for one_of in [10_000_000, 2] {
            let places = |place: &usize| (place - HEADER_BYTES).is_multiple_of(one_of);
            twice.flip(packs, places).await;
            assert_eq!(twice.seen().await, nothing, "packs of session {place}, every {one_of}th byte");
            let other = &twice.packs[1 - place];
            twice.flip(other, places).await;
            let [owner, host] = twice.seen().await;
            assert!(!owner.is_empty() && owner.iter().all(|number| host.contains(number)), "{owner:?} {host:?}");
            assert!(one_of > 2 || owner.len() == 2 * all, "{owner:?}");
            twice.flip(other, places).await;
            twice.flip(packs, places).await;
        }
        assert_eq!(twice.seen().await, nothing);
    }
}

#[tokio::test]
async fn a_pack_that_nobody_can_decrypt_stands_in_for_no_other() {
    let twice = twice().await;
    let reference = verify(&twice.host, &backup_id(1), VerifyLevel::Stored).await;
    let all: Vec<u32> = reference.collections.iter().map(|collection| collection.number).collect();
    for (place, session_keys) in twice.session_keys.iter().enumerate() {
        let mut bytes = Vec::new();
        for key in session_keys {
            bytes.push((key.clone(), bytes_of(&twice.store, key).await));
            twice.store.delete(key).await.unwrap();
        }
        assert!(!bytes.is_empty());
        // What names them is sealed under the key that is gone; of the other backup everything can be had.
        let other = backup_id(u8::try_from(2 - place).unwrap());
        assert!(verify(&twice.host, &other, VerifyLevel::Stored).await.is_whole());
        twice.flip(&twice.packs[1 - place], |_| true).await;
        assert_eq!(damaged(&verify(&twice.host, &other, VerifyLevel::Stored).await), all, "session {place}");
        twice.flip(&twice.packs[1 - place], |_| true).await;
        for (key, bytes) in bytes {
            twice.store.put(&key, bytes.into()).await.unwrap();
        }
        assert!(verify(&twice.host, &other, VerifyLevel::Stored).await.is_whole());
    }
}
