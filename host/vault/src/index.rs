//! Which blob lies in which pack: the objects in `index/`, and all of them together in memory.
//!
//! An index object only repeats what stands at the end of each pack. A lost or damaged one therefore costs reading
//! those ends, never a backup. A pack counts only while it is really there with the size the index gives: a blob whose
//! pack somebody removed is stored again by the next backup instead of being referenced into nothing.

use std::collections::{HashMap, HashSet};

use bytes::{BufMut, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Digest;
use object_store::path::Path;

use crate::layout::{self, FORMAT_VERSION};
use crate::objects::Objects;
use crate::pack::{self, BlobEntry, ENTRY_BYTES, Fields, PackDamage, TRAILER_BYTES, Trailer};
use crate::prune::marks::Marks;
use crate::survey::{Survey, survey};
use crate::verify::ObjectDamage;
use crate::{BlobExtent, BlobId, Limits, PackId, VaultError, damage_note, digest_of};

const MAGIC: &[u8; 8] = b"LSHOREIX";
/// Bytes before the first pack of an index object.
const PREAMBLE_BYTES: usize = 16;
/// Bytes before the entries of a pack.
const PACK_BYTES: usize = 48;
/// What is found where an object is listed, or named, and not there.
pub(crate) const NOTHING: &str = "nothing";

/// The entries of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackIndex {
    pub(crate) id: PackId,
    pub(crate) size_bytes: u64,
    pub(crate) entries: Vec<BlobEntry>,
}

/// The bytes of an index object.
pub(crate) fn encode(packs: &[PackIndex]) -> BytesMut {
    let entries: usize = packs.iter().map(|pack| pack.entries.len()).sum();
    let mut out = BytesMut::with_capacity(PREAMBLE_BYTES + packs.len() * PACK_BYTES + entries * ENTRY_BYTES);
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(u32::try_from(packs.len()).unwrap_or(u32::MAX));
    for pack in packs {
        out.put_slice(pack.id.as_bytes());
        out.put_u64_le(pack.size_bytes);
        out.put_u32_le(u32::try_from(pack.entries.len()).unwrap_or(u32::MAX));
        out.put_u32_le(0);
        pack.entries.iter().for_each(|entry| entry.write(&mut out));
    }
    out
}

/// Writes index objects for packs that are durable, and answers their keys.
pub(crate) async fn write(objects: &Objects, packs: &[PackIndex]) -> Result<Vec<String>, VaultError> {
    let (mut rest, mut written) = (packs, Vec::new());
    while !rest.is_empty() {
        let mut blobs = 0;
        let fits = rest.iter().take_while(|pack| {
            blobs += pack.entries.len();
            blobs <= objects.limits().index_object_blobs
        });
        let (now, later) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = later;
        let bytes = encode(now).freeze();
        let path = layout::index_path(&digest_of(&bytes));
        objects.put_content(&path, vec![bytes]).await?;
        written.push(path.to_string());
    }
    Ok(written)
}

/// Reads the bytes of an index object.
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<Vec<PackIndex>, PackDamage> {
    let mut fields = Fields(bytes);
    if bytes.len() < PREAMBLE_BYTES || &fields.take::<8>() != MAGIC {
        return Err(PackDamage("it does not begin like an index".to_owned()));
    }
    let version = u32::from_le_bytes(fields.take());
    if version != FORMAT_VERSION {
        return Err(PackDamage(format!("it has format {version}")));
    }
    let count = u32::from_le_bytes(fields.take());
    let mut packs = Vec::new();
    for _ in 0..count {
        if fields.0.len() < PACK_BYTES {
            return Err(PackDamage("it ends too early".to_owned()));
        }
        let id = PackId::new(fields.take::<32>().into());
        let size_bytes = u64::from_le_bytes(fields.take());
        let entries = u64::from(u32::from_le_bytes(fields.take()));
        let _reserved: [u8; 4] = fields.take();
        let length = usize::try_from(entries).ok().and_then(|entries| entries.checked_mul(ENTRY_BYTES));
        let Some((list, rest)) = length.and_then(|length| fields.0.split_at_checked(length)) else {
            return Err(PackDamage("it ends too early".to_owned()));
        };
        fields.0 = rest;
        let tail = entries * ENTRY_BYTES as u64 + TRAILER_BYTES as u64;
        let end = size_bytes.checked_sub(tail).ok_or_else(|| PackDamage(format!("the pack {id} is too short")))?;
        packs.push(PackIndex { id, size_bytes, entries: pack::read_entries(list, entries, end, limits)? });
    }
    if fields.0.is_empty() { Ok(packs) } else { Err(PackDamage("it goes on after its last pack".to_owned())) }
}

/// Where a blob can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) entry: BlobEntry,
}

/// A blob as kept in memory: the pack as a number, the rest as it stands in the pack.
#[derive(Debug, Clone, Copy)]
struct Slot {
    pack: u32,
    entry: Compact,
}

/// A [`BlobEntry`] without its id, which is the key of the map.
#[derive(Debug, Clone, Copy)]
struct Compact {
    offset: u64,
    stored_bytes: u32,
    plain_bytes: u32,
    checksum: u32,
    nonce: u32,
    codec: longshore_model::Codec,
    extent: BlobExtent,
}

/// All blobs that can be read from a vault.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<(PackId, u64)>,
    numbers: HashMap<PackId, u32>,
    blobs: HashMap<BlobId, Slot>,
    /// Further places of blobs that lie in more than one pack; rare.
    more: HashMap<BlobId, Vec<Slot>>,
}

impl Index {
    /// Adds a pack; one that is known already is left as it is.
    pub(crate) fn add(&mut self, pack: &PackIndex, limits: &Limits) -> Result<(), VaultError> {
        let too_many =
            |what, count: usize, limit: usize| VaultError::TooMany { what, count: count as u64, limit: limit as u64 };
        if self.numbers.contains_key(&pack.id) {
            return Ok(());
        }
        let number = u32::try_from(self.packs.len())
            .map_err(|_| too_many("packs in this vault", self.packs.len(), u32::MAX as usize))?;
        if self.blobs.len() + pack.entries.len() > limits.index_blobs {
            let count = self.blobs.len() + pack.entries.len();
            return Err(too_many("blobs in this vault", count, limits.index_blobs));
        }
        self.numbers.insert(pack.id, number);
        self.packs.push((pack.id, pack.size_bytes));
        for entry in &pack.entries {
            let BlobEntry { id, offset, stored_bytes, plain_bytes, checksum, codec, nonce, extent } = *entry;
            let entry = Compact { offset, stored_bytes, plain_bytes, checksum, codec, nonce, extent };
            let slot = Slot { pack: number, entry };
            match self.blobs.entry(id) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(slot);
                }
                std::collections::hash_map::Entry::Occupied(_) => self.more.entry(id).or_default().push(slot),
            }
        }
        Ok(())
    }

    fn location(&self, id: &BlobId, slot: &Slot) -> Option<Location> {
        let (pack, _) = self.packs.get(slot.pack as usize)?;
        let Compact { offset, stored_bytes, plain_bytes, checksum, codec, nonce, extent } = slot.entry;
        let entry = BlobEntry { id: *id, offset, stored_bytes, plain_bytes, checksum, codec, nonce, extent };
        Some(Location { pack: *pack, entry })
    }

    /// The first place of a blob.
    pub(crate) fn first(&self, id: &BlobId) -> Option<Location> {
        self.location(id, self.blobs.get(id)?)
    }

    /// All places of a blob.
    pub(crate) fn all(&self, id: &BlobId) -> Vec<Location> {
        let first = self.blobs.get(id).into_iter();
        first.chain(self.more.get(id).into_iter().flatten()).filter_map(|slot| self.location(id, slot)).collect()
    }

    /// Packs that hold a blob which is not one of these.
    pub(crate) fn packs_beside(&self, blobs: &HashSet<BlobId>) -> HashSet<PackId> {
        let first = self.blobs.iter().map(|(id, slot)| (id, slot.pack));
        let more = self.more.iter().flat_map(|(id, slots)| slots.iter().map(move |slot| (id, slot.pack)));
        let others: HashSet<u32> =
            first.chain(more).filter(|(id, _)| !blobs.contains(id)).map(|(_, pack)| pack).collect();
        others.into_iter().filter_map(|pack| self.packs.get(pack as usize)).map(|(id, _)| *id).collect()
    }

    /// All packs with their sizes.
    pub(crate) fn packs(&self) -> impl Iterator<Item = (PackId, u64)> {
        self.packs.iter().copied()
    }

    /// Size of a pack.
    pub(crate) fn pack_bytes(&self, pack: &PackId) -> Option<u64> {
        let number = self.numbers.get(pack)?;
        self.packs.get(*number as usize).map(|(_, size)| *size)
    }

    /// Number of blobs.
    pub(crate) fn len(&self) -> usize {
        self.blobs.len()
    }
}

/// What an index is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Packs that are noted as damaged come last: a blob that lies elsewhere too is read there first.
    Reading,
    /// Packs that are noted as damaged are absent: what they held is stored again.
    Writing,
}

/// What loading found.
#[derive(Debug, Default)]
pub(crate) struct LoadedIndex {
    pub(crate) index: Index,
    /// Packs that are noted as damaged.
    pub(crate) noted: HashSet<PackId>,
    /// Packs that no good index object names.
    pub(crate) unindexed: Vec<PackIndex>,
    /// Index objects and packs that could not be used.
    pub(crate) damages: Vec<ObjectDamage>,
}

/// Loads the index. `marks` must have been read before, and for a writer after its pin was durable.
pub(crate) async fn load(objects: &Objects, purpose: Purpose, marks: &Marks) -> Result<LoadedIndex, VaultError> {
    let limits = objects.limits();
    let mut loaded = LoadedIndex { noted: damage_note::load(objects).await?, ..LoadedIndex::default() };
    let unwanted = if purpose == Purpose::Writing { marks.packs() } else { marks.going() };
    let Survey { packs, damages, .. } = survey(objects).await?;
    let (last, mut first): (Vec<_>, Vec<_>) =
        packs.iter().partition(|pack| unwanted.contains(&pack.pack.id) || loaded.noted.contains(&pack.pack.id));
    // A blob that lies in two packs is relied on in the one that an index object names.
    first.sort_by_key(|pack| !pack.indexed);
    first.iter().try_for_each(|pack| loaded.index.add(&pack.pack, limits))?;
    if purpose == Purpose::Reading {
        last.iter().try_for_each(|pack| loaded.index.add(&pack.pack, limits))?;
    }
    loaded.unindexed = first.iter().filter(|pack| !pack.indexed).map(|pack| pack.pack.clone()).collect();
    loaded.damages = without(damages, &unwanted);
    for damage in &loaded.damages {
        tracing::warn!(object = %damage.object, expected = %damage.expected, found = %damage.found, "left out of the index");
    }
    Ok(loaded)
}

/// Damages of packs that nobody is to miss any more are none.
fn without(damages: Vec<ObjectDamage>, packs: &HashSet<PackId>) -> Vec<ObjectDamage> {
    let expected =
        |damage: &ObjectDamage| layout::parse_pack_path(&damage.object).is_some_and(|pack| packs.contains(&pack));
    damages.into_iter().filter(|damage| !expected(damage)).collect()
}

/// What an object holds, or what is wrong with it.
pub(crate) type Outcome<T> = Result<T, ObjectDamage>;

/// Reads all index objects. One that vanished since it was listed is called a damage that found [`NOTHING`].
pub(crate) async fn read_index_objects(objects: &Objects) -> Result<Vec<(Path, Outcome<Vec<PackIndex>>)>, VaultError> {
    let limits = objects.limits();
    let keys = objects
        .list(Some(layout::INDEX))
        .await?
        .into_iter()
        .filter_map(|meta| layout::parse_index_path(meta.location.as_ref()).map(|digest| (digest, meta.location)));
    stream::iter(keys)
        .map(|(digest, location)| async move {
            let read = read_index_object(objects, digest, &location, limits).await?;
            Ok((location, read))
        })
        .buffer_unordered(limits.requests_in_flight)
        .try_collect()
        .await
}

async fn read_index_object(
    objects: &Objects,
    digest: Digest,
    location: &Path,
    limits: &Limits,
) -> Result<Outcome<Vec<PackIndex>>, VaultError> {
    let damage = |expected: &str, found: String| ObjectDamage {
        object: location.to_string(),
        expected: expected.to_owned(),
        found,
    };
    let bytes = match objects.get(location, limits.index_object_bytes).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err(damage("an index", NOTHING.to_owned()))),
        Err(error) if error.is_unreadable_object() => return Ok(Err(damage("an index", error.to_string()))),
        Err(error) => return Err(error),
    };
    if digest_of(&bytes) != digest {
        return Ok(Err(damage("the digest in its name", digest_of(&bytes).to_string())));
    }
    Ok(decode(&bytes, limits).map_err(|reason| damage("an index", reason.to_string())))
}

/// Reads trailer and index of a pack with two ranged reads.
pub(crate) async fn read_pack_end(
    objects: &Objects,
    id: PackId,
    location: &Path,
    size: u64,
) -> Result<Outcome<PackIndex>, VaultError> {
    match read_end(objects, id, location, size).await {
        Err(error) if error.is_unreadable_medium() => Ok(Err(bad_end(location, error.to_string()))),
        end => end,
    }
}

fn bad_end(location: &Path, found: String) -> ObjectDamage {
    let expected = "a pack with its index at the end".to_owned();
    ObjectDamage { object: location.to_string(), expected, found }
}

async fn read_end(objects: &Objects, id: PackId, location: &Path, size: u64) -> Result<Outcome<PackIndex>, VaultError> {
    let limits = objects.limits();
    let damage = |found: String| Ok(Err(bad_end(location, found)));
    let start = size.saturating_sub(TRAILER_BYTES as u64);
    if size < (pack::HEADER_BYTES + TRAILER_BYTES) as u64 || size > limits.pack_bytes {
        return damage(format!("{size} bytes"));
    }
    let Some(bytes) = objects.get_range(location, start..size).await? else {
        return damage(NOTHING.to_owned());
    };
    let trailer = match Trailer::read(&bytes, size, limits) {
        Ok(trailer) => trailer,
        Err(reason) => return damage(reason.to_string()),
    };
    let Some(bytes) = objects.get_range(location, trailer.index_offset..start).await? else {
        return damage(NOTHING.to_owned());
    };
    match trailer.read_entries(&bytes, limits) {
        Ok(entries) => Ok(Ok(PackIndex { id, size_bytes: size, entries })),
        Err(reason) => damage(reason.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::IdKey;
    use crate::pack::{PackBuilder, PackHeader};
    use bytes::Bytes;
    use longshore_model::Codec;
    use proptest::prelude::*;

    fn packs(count: u8, blobs: u8) -> Vec<PackIndex> {
        let key = IdKey::new([1; 32]);
        (0..count)
            .map(|pack| {
                let mut builder = PackBuilder::new(&PackHeader::default());
                for blob in 0..blobs {
                    let bytes = Bytes::from(vec![pack, blob, 1]);
                    builder
                        .push(BlobEntry::new(key.blob_id(&bytes), BlobExtent::WHOLE, Codec::Store, 3, &bytes), bytes);
                }
                let sealed = builder.seal().unwrap();
                PackIndex { id: sealed.id, size_bytes: sealed.size_bytes, entries: sealed.entries }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn an_index_object_is_read_as_it_was_written(count in 0_u8..5, blobs in 0_u8..5) {
            let packs = packs(count, blobs);
            prop_assert_eq!(decode(&encode(&packs), &Limits::DEFAULT).unwrap(), packs);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let framed = [MAGIC.as_slice(), &1_u32.to_le_bytes(), &bytes].concat();
            let _ = decode(&framed, &Limits::DEFAULT);
            prop_assert!(decode(&bytes, &Limits::DEFAULT).is_err());
        }
    }

    #[test]
    fn a_cut_or_lengthened_index_object_is_refused() {
        let bytes = encode(&packs(2, 2));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], &Limits::DEFAULT).is_err(), "cut to {length}");
        }
        assert!(decode(&[bytes.as_ref(), &[0]].concat(), &Limits::DEFAULT).is_err());
    }

    #[test]
    fn a_blob_in_two_packs_has_two_places() {
        let mut index = Index::default();
        let (one, mut other) = (packs(1, 2).remove(0), packs(1, 2).remove(0));
        other.id = PackId::new(digest_of(b"another pack"));
        index.add(&one, &Limits::DEFAULT).unwrap();
        index.add(&other, &Limits::DEFAULT).unwrap();
        index.add(&other, &Limits::DEFAULT).unwrap();
        let id = one.entries[0].id;
        assert_eq!(index.all(&id).iter().map(|place| place.pack).collect::<Vec<_>>(), [one.id, other.id]);
        assert_eq!(index.first(&id).unwrap().entry, one.entries[0]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn more_blobs_than_fit_in_memory_are_an_error_not_a_crash() {
        let limits = Limits { index_blobs: 3, ..Limits::DEFAULT };
        let mut index = Index::default();
        let packs = packs(2, 2);
        index.add(&packs[0], &limits).unwrap();
        assert!(matches!(index.add(&packs[1], &limits), Err(VaultError::TooMany { .. })));
    }
}
