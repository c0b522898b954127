//! Notes about packs that were found damaged (FORMAT.md, "Damage notes").
//!
//! A pack whose bytes changed but not its length looks whole to whoever only lists it, so the next backup would go on
//! referring to its blobs. Whoever reads such a pack through leaves a note. From then on writers treat the pack as
//! absent and store its blobs again; readers try it last. A note never makes anything unreadable: a wrong one, or one
//! that was left behind, costs space at most.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::layout::{self, FORMAT_VERSION};
use crate::manifest::bad;
use crate::objects::Objects;
use crate::{PackId, Vault, VaultError};

const KIND: &str = "damaged-pack";

/// A note as it stands in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DamageNote {
    format: u32,
    kind: String,
    pack: PackId,
    noted: Timestamp,
    /// The pack is good again, and this note could not be deleted.
    #[serde(default)]
    healed: bool,
}

impl DamageNote {
    fn new(pack: PackId, noted: Timestamp, healed: bool) -> Self {
        Self { format: FORMAT_VERSION, kind: KIND.to_owned(), pack, noted, healed }
    }
}

impl Vault {
    /// Notes that these packs are not what their names say. Repeating it is harmless.
    ///
    /// # Errors
    /// Failures of the store; the notes before the failing one are written.
    pub async fn note_damage(&self, packs: &[PackId], now: Timestamp) -> Result<(), VaultError> {
        for pack in packs {
            write(self.objects(), &DamageNote::new(*pack, now, false)).await?;
        }
        Ok(())
    }

    /// Takes back the notes about packs that were read through and are good.
    ///
    /// # Errors
    /// Failures of the store. That notes may not be deleted is none: they are marked as healed then.
    pub async fn clear_damage(&self, packs: &[PackId], now: Timestamp) -> Result<(), VaultError> {
        let noted = self.noted_packs().await?;
        for pack in packs.iter().filter(|pack| noted.contains(*pack)) {
            clear(self.objects(), pack, now).await?;
        }
        Ok(())
    }

    /// Packs with a note that still counts.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn noted_packs(&self) -> Result<HashSet<PackId>, VaultError> {
        load(self.objects()).await
    }
}

/// Packs with a note that still counts. A note that cannot be read counts: storing twice is better than losing.
pub(crate) async fn load(objects: &Objects) -> Result<HashSet<PackId>, VaultError> {
    counting(objects, list(objects).await?.into_iter().map(|(pack, _)| pack).collect()).await
}

/// All notes, whether or not they count.
pub(crate) async fn list(objects: &Objects) -> Result<Vec<(PackId, ObjectMeta)>, VaultError> {
    let listed = objects.list(Some(layout::DAMAGED)).await?;
    Ok(listed
        .into_iter()
        .filter_map(|meta| layout::parse_damage_path(meta.location.as_ref()).map(|pack| (pack, meta)))
        .collect())
}

/// Of packs that have a note those whose note counts.
pub(crate) async fn counting(objects: &Objects, packs: Vec<PackId>) -> Result<HashSet<PackId>, VaultError> {
    let limits = objects.limits();
    stream::iter(packs)
        .map(|pack| async move {
            let path = layout::damage_path(&pack);
            let counts = match objects.get(&path, limits.header_bytes).await {
                Ok(Some(bytes)) => !parse(&bytes, &pack).is_some_and(|note| note.healed),
                Ok(None) => false,
                Err(error) if error.is_unreadable_object() => {
                    tracing::warn!(note = %path, %error, "it counts, because it cannot be read");
                    true
                }
                Err(error) => return Err(error),
            };
            Ok(counts.then_some(pack))
        })
        .buffer_unordered(limits.requests_in_flight.max(1))
        .try_filter_map(|pack| async move { Ok(pack) })
        .try_collect()
        .await
}

/// True for the bytes of a note, about whichever pack.
pub(crate) fn is_note(bytes: &[u8]) -> bool {
    serde_json::from_slice::<DamageNote>(bytes).is_ok_and(|note| note.kind == KIND)
}

fn parse(bytes: &[u8], pack: &PackId) -> Option<DamageNote> {
    let note: DamageNote = serde_json::from_slice(bytes).ok()?;
    (note.kind == KIND && note.pack == *pack).then_some(note)
}

/// Removes the note about a pack whose right bytes are durable; where deleting is refused, the note says so itself.
pub(crate) async fn clear(objects: &Objects, pack: &PackId, now: Timestamp) -> Result<(), VaultError> {
    match objects.delete(&layout::damage_path(pack)).await {
        Ok(()) => Ok(()),
        Err(_) => write(objects, &DamageNote::new(*pack, now, true)).await,
    }
}

async fn write(objects: &Objects, note: &DamageNote) -> Result<(), VaultError> {
    let path: Path = layout::damage_path(&note.pack);
    let bytes = serde_json::to_vec(note).map_err(|error| bad(path.as_ref(), error.to_string()))?;
    objects.replace(&path, Bytes::from(bytes)).await
}
