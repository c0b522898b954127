//! Copying blobs from another vault of the project: whole packs where that pays, single blobs else.
//!
//! A pack of which at least half is wanted is copied byte for byte, checked against its name: no decoding, no encoding,
//! and no key; so is every pack that cannot be read for want of a key. Of other packs only the wanted blobs are read,
//! each checked against its id, and packed again with the codec they had. What this vault has already is not read at all.
//!
//! A pack that holds bytes of an erased collection is never copied whole: the other vault has not rid itself of them yet,
//! and this one may have said that it has. Nor is any pack of a vault whose records of erasures cannot be read. Who has no
//! key to take such a pack apart does not get its blobs ([`VaultError::HoldsErased`]) until the other vault was pruned,
//! which ends the erasure there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::Session;
use crate::manifest::bad;
use crate::{BlobEntry, BlobId, PackId, Reader, VaultError, layout, pack};

/// Whole packs that are copied at the same time: one is read while another is written.
const PACKS_IN_FLIGHT: usize = 2;

/// What [`Session::copy_from`] did.
#[derive(Debug, Default)]
pub struct CopiedBlobs {
    /// Blobs that were here already.
    pub present: u64,
    /// Packs that were copied byte for byte.
    pub packs: u64,
    /// Blobs that were read and packed again.
    pub blobs: u64,
    /// Blobs that the other vault cannot give, and why.
    pub unreadable: Vec<(BlobId, VaultError)>,
}

/// Packs that are not copied whole, whatever is wanted of them.
#[derive(Debug, PartialEq, Eq)]
enum KeptApart {
    These(BTreeSet<PackId>),
    /// Which ones is not known.
    All,
}

impl KeptApart {
    fn has(&self, pack: &PackId) -> bool {
        match self {
            Self::These(packs) => packs.contains(pack),
            Self::All => true,
        }
    }
}

/// How the blobs that are wanted will come.
#[derive(Debug, Default, PartialEq, Eq)]
struct CopyPlan {
    /// Packs to copy whole, with the wanted blobs in each.
    whole: Vec<(PackId, Vec<BlobId>)>,
    /// Blobs to read one by one.
    single: Vec<BlobId>,
    /// Blobs that can be had neither way for now, with the pack that each lies in.
    refused: Vec<(BlobId, PackId)>,
}

impl Session {
    /// Bytes of packs that [`Session::copy_from`] would write: whole packs count whole. Reads nothing.
    #[must_use]
    pub fn copy_bytes(&self, reader: &Reader, blobs: &[BlobId]) -> u64 {
        let missing = blobs.iter().filter(|blob| !self.shared.has(blob)).copied().collect();
        let CopyPlan { whole, single, .. } = plan(reader, missing, &KeptApart::These(BTreeSet::new()));
        let whole = whole.iter().filter_map(|(pack, _)| reader.index().pack_bytes(pack));
        let single: BTreeSet<BlobId> = single.into_iter().collect();
        let single = single.iter().filter_map(|blob| Some(u64::from(reader.index().first(blob)?.entry.stored_bytes)));
        whole.chain(single).fold(0, u64::saturating_add)
    }

    /// Stores these blobs of another vault of the same project here, as far as they are not here yet. `on_blob` is told
    /// each blob that is done and its plain length, blobs that were here included. As with [`Session::put`], what was
    /// stored is durable only after [`Session::checkpoint`] or [`Session::finish`].
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] for a vault of another project; failures of the stores. A blob that the other vault
    /// does not have, or has damaged, is none: it is named in the result.
    pub async fn copy_from(
        &self,
        reader: &Reader,
        blobs: &[BlobId],
        on_blob: &(dyn Fn(&BlobId, u64) + Send + Sync),
    ) -> Result<CopiedBlobs, VaultError> {
        let (here, there) = (self.shared.vault.project_id(), reader.vault().project_id());
        if here != there {
            return Err(bad("pack", format!("it belongs to {there}, this vault to {here}: projects share no packs")));
        }
        let mut copied = CopiedBlobs::default();
        let length = |blob: &BlobId| reader.blob_bytes(blob).unwrap_or_default();
        let mut missing = Vec::with_capacity(blobs.len());
        for blob in blobs {
            if self.shared.has(blob) {
                copied.present += 1;
                on_blob(blob, length(blob));
            } else {
                missing.push(*blob);
            }
        }
        let mut plan = plan(reader, missing, &self.kept_apart(reader).await?);
        let refused = |(blob, pack)| {
            let (object, place) = (layout::pack_path(&pack).to_string(), reader.vault().place());
            (blob, VaultError::HoldsErased { object, place })
        };
        copied.unreadable.extend(std::mem::take(&mut plan.refused).into_iter().map(refused));
        let done: Vec<(bool, Vec<BlobId>)> = stream::iter(std::mem::take(&mut plan.whole))
            .map(|(pack, wanted)| async move { Ok::<_, VaultError>((self.adopt(reader, pack).await?, wanted)) })
            .buffer_unordered(PACKS_IN_FLIGHT)
            .try_collect()
            .await?;
        for (adopted, wanted) in done {
            if adopted {
                copied.packs += 1;
                wanted.iter().for_each(|blob| on_blob(blob, length(blob)));
            } else {
                // Damaged as a whole; most of its blobs may still be good, or lie elsewhere too.
                plan.single.extend(wanted);
            }
        }
        self.copy_singly(reader, plan.single, &mut copied, on_blob).await?;
        Ok(copied)
    }

    /// Packs with bytes of erased collections: those that the other vault has still to rid itself of, and those that this
    /// one ever had to. Where the other one is rid of the same collection, too, a pack that it still has holds nothing of it.
    async fn kept_apart(&self, reader: &Reader) -> Result<KeptApart, VaultError> {
        let mut records = Vec::new();
        for vault in [reader.vault(), &self.shared.vault] {
            match vault.list_erasures().await {
                Ok(listed) => records.push(listed),
                Err(VaultError::BadManifest { .. }) => return Ok(KeptApart::All),
                Err(error) if error.is_unreadable_object() => return Ok(KeptApart::All),
                Err(error) => return Err(error),
            }
        }
        let there = records.first().into_iter().flatten();
        let rid: BTreeSet<String> =
            there.filter(|record| record.completed.is_some()).map(|record| record.erasure_id.clone()).collect();
        let open = records.into_iter().flatten().filter(|record| !rid.contains(&record.erasure_id));
        Ok(KeptApart::These(open.flat_map(|record| record.packs).collect()))
    }

    async fn copy_singly(
        &self,
        reader: &Reader,
        blobs: Vec<BlobId>,
        copied: &mut CopiedBlobs,
        on_blob: &(dyn Fn(&BlobId, u64) + Send + Sync),
    ) -> Result<(), VaultError> {
        let mut results = stream::iter(blobs)
            .map(|blob| async move {
                if self.shared.has(&blob) {
                    return Ok((blob, Ok(0)));
                }
                match reader.read_blob_and_entry(&blob).await {
                    Ok((entry, bytes)) => {
                        let length = bytes.len() as u64;
                        // The codec that was chosen for it once; it is kept, whatever would be chosen today.
                        self.put_piece(bytes, entry.codec, entry.extent).await?;
                        Ok((blob, Ok(length)))
                    }
                    Err(
                        error @ (VaultError::Damaged { .. }
                        | VaultError::MissingObject { .. }
                        | VaultError::SessionKey { .. }
                        | VaultError::Locked
                        | VaultError::UnknownBlob { .. }),
                    ) => Ok((blob, Err(error))),
                    Err(error) if error.is_unreadable_medium() => Ok((blob, Err(error))),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(self.shared.vault.limits().pieces_in_flight.max(1));
        while let Some((blob, result)) = results.try_next().await? {
            match result {
                Ok(length) => {
                    copied.blobs += 1;
                    on_blob(&blob, length);
                }
                Err(error) => copied.unreadable.push((blob, error)),
            }
        }
        Ok(())
    }

    /// Copies one pack; false when it is not there or not what its name says.
    async fn adopt(&self, reader: &Reader, pack: PackId) -> Result<bool, VaultError> {
        let size_bytes = reader.index().pack_bytes(&pack).unwrap_or_default();
        let reservation = self.shared.budget.reserve(usize::try_from(size_bytes).unwrap_or(usize::MAX)).await?;
        let Some((bytes, entries)) = fetch_pack(reader.vault(), pack).await? else { return Ok(false) };
        if !self.shared.vault.take_session_of(&bytes, reader.vault()).await? {
            return Ok(false);
        }
        // A prune may delete a marked pack at any moment: the same bytes go under a name that nobody deletes.
        let (pack, bytes) = if self.is_marked(&pack) { self.shared.renamed(bytes).await? } else { (pack, bytes) };
        self.shared.adopt(pack, bytes, entries).await?;
        drop(reservation);
        Ok(true)
    }
}

/// Reads a whole pack and proves it by its name; `None` when it is not there, or not what its name says.
pub(crate) async fn fetch_pack(
    vault: &crate::Vault,
    pack: PackId,
) -> Result<Option<(Bytes, Vec<BlobEntry>)>, VaultError> {
    let path = layout::pack_path(&pack);
    let limits = Arc::new(*vault.limits());
    let bytes = match vault.objects().get(&path, limits.pack_bytes).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) if error.is_unreadable_object() => return Ok(None),
        Err(error) => return Err(error),
    };
    let thread = vault.throttle().cpu().await;
    let proven = tokio::task::spawn_blocking(move || {
        let _thread = thread;
        if *blake3::hash(&bytes).as_bytes() != *pack.as_bytes() {
            return None;
        }
        let entries = pack::read_index(&bytes, &limits).ok()?;
        Some((bytes, entries))
    });
    proven.await.map_err(VaultError::stopped("checks a pack"))
}

/// Sorts wanted blobs into packs that are copied whole and blobs that are not.
fn plan(reader: &Reader, missing: Vec<BlobId>, kept_apart: &KeptApart) -> CopyPlan {
    let mut plan = CopyPlan::default();
    let mut packs: BTreeMap<PackId, (u64, Vec<BlobId>)> = BTreeMap::new();
    for blob in missing {
        match reader.index().first(&blob) {
            Some(place) => {
                let (bytes, blobs) = packs.entry(place.pack).or_default();
                if !blobs.contains(&blob) {
                    *bytes += u64::from(place.entry.stored_bytes);
                    blobs.push(blob);
                }
            }
            // Reading it tells that it is in no pack.
            None => plan.single.push(blob),
        }
    }
    for (pack, (wanted_bytes, blobs)) in packs {
        let pack_bytes = reader.index().pack_bytes(&pack).unwrap_or(u64::MAX);
        let pays = wanted_bytes.saturating_mul(2) >= pack_bytes;
        // What cannot be decrypted here can only be copied as it is.
        match (kept_apart.has(&pack), reader.vault().is_readable()) {
            (true, false) => plan.refused.extend(blobs.into_iter().map(|blob| (blob, pack))),
            (false, readable) if pays || !readable => plan.whole.push((pack, blobs)),
            _ => plan.single.extend(blobs),
        }
    }
    plan
}
