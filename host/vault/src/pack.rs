//! The pack: blobs one after the other between a header and an index (FORMAT.md, "Packs").
//!
//! Pure: bytes in, values out. Contract: whatever [`PackBuilder`] makes, [`read_index`] reads; whatever [`read_index`]
//! accepts, lies within the pack and does not overlap. Failure: a [`PackDamage`] sentence; no input panics.

use bytes::{BufMut, Bytes, BytesMut};
use longshore_model::Codec;

use crate::codec::{codec_from_bytes, codec_to_bytes};
use crate::crypto::{BlobCipher, SealWork, TAG_BYTES};
use crate::ids::SessionId;
use crate::layout::FORMAT_VERSION;
use crate::{BlobExtent, BlobId, Limits, PackId, VaultError, digest_of};

/// Bytes before the first blob.
pub(crate) const HEADER_BYTES: usize = 96;
/// Last bytes of the header. Their only purpose is that no two writers ever make packs of the same name: a pack that a
/// prune deletes must not be one that somebody else has just written again.
pub(crate) const DISTINCTION_BYTES: usize = 16;
/// Bytes of one entry of the index.
pub(crate) const ENTRY_BYTES: usize = 64;
/// Bytes after the index.
pub(crate) const TRAILER_BYTES: usize = 64;

const HEADER_MAGIC: &[u8; 8] = b"LSHOREPK";
const TRAILER_MAGIC: &[u8; 8] = b"LSHOREPE";

/// Where a blob lies in a pack, and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobEntry {
    /// Which blob.
    pub id: BlobId,
    /// First byte, counted from the start of the pack.
    pub offset: u64,
    /// Bytes it takes in the pack.
    pub stored_bytes: u32,
    /// Bytes it has when decoded.
    pub plain_bytes: u32,
    /// CRC-32 (ISO-HDLC) of the stored bytes: tells which blobs of a damaged pack are hit, without decoding.
    pub checksum: u32,
    /// How it is encoded.
    pub codec: Codec,
    /// What it is encrypted with under the key of its pack: used once in a pack. 0 in a pack that is not encrypted.
    pub nonce: u32,
    /// Where in its file it lies: its id depends on that.
    pub extent: BlobExtent,
}

/// Why bytes are not a pack or an index. A sentence part that fits after "the pack is damaged: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackDamage(pub(crate) String);

impl std::fmt::Display for PackDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn damage<T>(reason: impl Into<String>) -> Result<T, PackDamage> {
    Err(PackDamage(reason.into()))
}

impl BlobEntry {
    /// The entry of a blob in a pack that is not encrypted; its offset is set when it is pushed.
    pub(crate) fn new(id: BlobId, extent: BlobExtent, codec: Codec, plain_bytes: u32, stored: &[u8]) -> Self {
        let stored_bytes = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        let checksum = crc32fast::hash(stored);
        Self { id, offset: 0, stored_bytes, plain_bytes, checksum, codec, nonce: 0, extent }
    }

    /// One past its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.stored_bytes))
    }

    /// Appends the fixed layout.
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        out.put_slice(self.id.as_bytes());
        out.put_u64_le(self.offset);
        out.put_u32_le(self.stored_bytes);
        out.put_u32_le(self.plain_bytes);
        out.put_u32_le(self.checksum);
        out.put_slice(&codec_to_bytes(self.codec));
        out.put_u32_le(self.nonce);
        out.put_slice(&self.extent.to_bytes());
    }

    /// Reads the fixed layout and checks the lengths against the limits.
    pub(crate) fn read(bytes: &[u8; ENTRY_BYTES], limits: &Limits) -> Result<Self, PackDamage> {
        let mut fields = Fields(bytes);
        let id = BlobId::new(fields.take::<32>().into());
        let offset = u64::from_le_bytes(fields.take());
        let stored_bytes = u32::from_le_bytes(fields.take());
        let plain_bytes = u32::from_le_bytes(fields.take());
        let checksum = u32::from_le_bytes(fields.take());
        let codec = codec_from_bytes(fields.take()).map_err(|error| PackDamage(error.to_string()))?;
        let nonce = u32::from_le_bytes(fields.take());
        // An entry does not say whether its pack is encrypted; if it is, a tag is added.
        let most = u64::from(plain_bytes) + TAG_BYTES as u64;
        if u64::from(stored_bytes) > most || plain_bytes as usize > limits.blob_bytes {
            return damage(format!("a blob of {plain_bytes} bytes stored in {stored_bytes} is beyond the limits"));
        }
        let Some(extent) = BlobExtent::from_bytes(fields.take(), u64::from(plain_bytes)) else {
            return damage(format!("a blob of {plain_bytes} bytes lies where no piece of that length can"));
        };
        Ok(Self { id, offset, stored_bytes, plain_bytes, checksum, codec, nonce, extent })
    }
}

/// What an encrypted pack says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackEncryption {
    /// The session whose data key its key is derived from.
    pub(crate) session: SessionId,
    /// What it is derived with.
    pub(crate) salt: [u8; 32],
}

/// The first [`HEADER_BYTES`] of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PackHeader {
    /// `None` when its blobs are not encrypted.
    pub(crate) encryption: Option<PackEncryption>,
    /// Makes packs of the same content differ.
    pub(crate) distinction: [u8; DISTINCTION_BYTES],
}

/// Bit of the flags that says that the blobs are encrypted.
const FLAG_ENCRYPTED: u32 = 1;

impl PackHeader {
    /// Appends the fixed layout.
    fn write(&self, out: &mut impl BufMut) {
        out.put_slice(HEADER_MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        match &self.encryption {
            Some(PackEncryption { session, salt }) => {
                out.put_u32_le(FLAG_ENCRYPTED);
                out.put_slice(session.as_bytes());
                out.put_slice(salt);
            }
            None => out.put_bytes(0, HEADER_BYTES - 12 - DISTINCTION_BYTES),
        }
        out.put_slice(&self.distinction);
    }

    /// Reads the fixed layout from the start of a pack.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, PackDamage> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return damage("it is too short");
        };
        let mut fields = Fields(bytes);
        if &fields.take::<8>() != HEADER_MAGIC {
            return damage("it does not begin like a pack");
        }
        let version = u32::from_le_bytes(fields.take());
        if version != FORMAT_VERSION {
            return damage(format!("it has format {version}"));
        }
        let flags = u32::from_le_bytes(fields.take());
        if flags & !FLAG_ENCRYPTED != 0 {
            return damage(format!("it has flags {flags:#x}, of which this version knows only the first"));
        }
        let session = SessionId::new(fields.take::<32>().into());
        let encryption = PackEncryption { session, salt: fields.take() };
        let encryption = (flags & FLAG_ENCRYPTED != 0).then_some(encryption);
        Ok(Self { encryption, distinction: fields.take() })
    }
}

/// Takes fixed fields from the front of a slice; zeros once it is used up.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn take<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        match self.0.split_first_chunk::<LENGTH>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; LENGTH],
        }
    }
}

/// The trailer: where the index is and what it hashes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) index_offset: u64,
    pub(crate) entries: u64,
    index_digest: [u8; 32],
}

impl Trailer {
    /// Reads the last [`TRAILER_BYTES`] of a pack of `pack_bytes` bytes.
    pub(crate) fn read(bytes: &[u8], pack_bytes: u64, limits: &Limits) -> Result<Self, PackDamage> {
        let Ok(bytes) = <&[u8; TRAILER_BYTES]>::try_from(bytes) else {
            return damage("it is too short");
        };
        let mut fields = Fields(bytes);
        let trailer = Self {
            index_offset: u64::from_le_bytes(fields.take()),
            entries: u64::from(u32::from_le_bytes(fields.take())),
            index_digest: {
                let version = u32::from_le_bytes(fields.take());
                if version != FORMAT_VERSION {
                    return damage(format!("its trailer has format {version}"));
                }
                fields.take()
            },
        };
        let _reserved: [u8; 8] = fields.take();
        if &fields.take::<8>() != TRAILER_MAGIC {
            return damage("it does not end like a pack");
        }
        let expected = trailer.index_offset.checked_add(trailer.entries * ENTRY_BYTES as u64 + TRAILER_BYTES as u64);
        if expected != Some(pack_bytes)
            || trailer.index_offset < HEADER_BYTES as u64
            || trailer.entries > limits.pack_blobs as u64
        {
            return damage("its index does not fit its length");
        }
        Ok(trailer)
    }

    /// Reads the bytes between [`Trailer::index_offset`] and the trailer.
    pub(crate) fn read_entries(&self, index: &[u8], limits: &Limits) -> Result<Vec<BlobEntry>, PackDamage> {
        if digest_of(index).as_bytes() != &self.index_digest {
            return damage("its index does not match its digest");
        }
        read_entries(index, self.entries, self.index_offset, limits)
    }
}

/// Reads entries and checks that they lie one after the other between the header and `end`.
pub(crate) fn read_entries(
    bytes: &[u8],
    entries: u64,
    end: u64,
    limits: &Limits,
) -> Result<Vec<BlobEntry>, PackDamage> {
    let (chunks, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || chunks.len() as u64 != entries {
        return damage("its index has another length than it says");
    }
    let mut list = Vec::with_capacity(chunks.len());
    let mut next = HEADER_BYTES as u64;
    for chunk in chunks {
        let entry = BlobEntry::read(chunk, limits)?;
        if entry.offset < next || entry.end() > end {
            return damage(format!("the blob {} does not lie within it", entry.id));
        }
        next = entry.end();
        list.push(entry);
    }
    Ok(list)
}

/// Reads the index of a whole pack in memory.
pub(crate) fn read_index(pack: &[u8], limits: &Limits) -> Result<Vec<BlobEntry>, PackDamage> {
    let Some((rest, trailer)) = pack.split_last_chunk::<TRAILER_BYTES>() else {
        return damage("it is too short");
    };
    PackHeader::read(pack)?;
    let trailer = Trailer::read(trailer, pack.len() as u64, limits)?;
    let index = usize::try_from(trailer.index_offset).ok().and_then(|offset| rest.get(offset..));
    trailer.read_entries(index.unwrap_or_default(), limits)
}

/// The same pack with another distinction, and so another name. Needs no key: nothing else in it depends on those bytes.
pub(crate) fn renamed(pack: &[u8], distinction: [u8; DISTINCTION_BYTES]) -> (PackId, Bytes) {
    let mut renamed = BytesMut::from(pack);
    if let Some(place) = renamed.get_mut(HEADER_BYTES - DISTINCTION_BYTES..HEADER_BYTES) {
        place.copy_from_slice(&distinction);
    }
    (PackId::new(digest_of(&renamed)), renamed.freeze())
}

/// A pack that is ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct SealedPack {
    pub(crate) id: PackId,
    pub(crate) size_bytes: u64,
    pub(crate) entries: Vec<BlobEntry>,
    /// The bytes, in pieces: large blobs are never copied together.
    pub(crate) pieces: Vec<Bytes>,
}

/// Collects blobs. Large ones are kept as they came, small ones are copied together.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    /// Encrypts when the pack is sealed; until then the encoded bytes wait in `waiting`, one per entry.
    cipher: Option<BlobCipher>,
    waiting: Vec<Bytes>,
    pieces: Vec<Bytes>,
    tail: BytesMut,
    entries: Vec<BlobEntry>,
    size_bytes: u64,
}

/// Blobs below this many bytes are copied together: what comes with a piece of its own would cost more than the copy.
const COPIED_BYTES: usize = 16 * 1024;
/// As many bytes are copied together before the next piece begins. One piece for a whole pack would be copied again each
/// time it grows, into memory that was never touched before.
const TAIL_BYTES: usize = 1024 * 1024;

impl PackBuilder {
    /// An empty pack under this header. What is pushed into an encrypted one must be encrypted under its key: either by
    /// whoever made salt and key, or copied with its nonce from a pack with the same session and salt.
    pub(crate) fn new(header: &PackHeader) -> Self {
        let mut tail = BytesMut::with_capacity(HEADER_BYTES);
        header.write(&mut tail);
        Self {
            cipher: None,
            waiting: Vec::new(),
            pieces: Vec::new(),
            tail,
            entries: Vec::new(),
            size_bytes: HEADER_BYTES as u64,
        }
    }

    /// An empty pack whose blobs are encrypted with `cipher`, which must be made from session and salt of the header
    /// and for this pack alone: nonces are counted from 0.
    pub(crate) fn encrypting(header: &PackHeader, cipher: BlobCipher) -> Self {
        Self { cipher: Some(cipher), ..Self::new(header) }
    }

    /// Appends one blob as `entry` describes it; its offset is set here. `stored` has been checked against the limits,
    /// which are far below 4 GiB. In a pack that encrypts, `stored` is what is to be encrypted, and nonce, stored length
    /// and checksum are set here, too.
    pub(crate) fn push(&mut self, mut entry: BlobEntry, stored: Bytes) {
        entry.offset = self.size_bytes;
        if self.cipher.is_some() {
            // At most `Limits::pack_blobs` entries: the counter never comes back to a number it had.
            entry.nonce = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            entry.stored_bytes = entry.stored_bytes.saturating_add(TAG_BYTES as u32);
            self.waiting.push(stored);
        } else {
            self.lay_down(stored);
        }
        self.size_bytes += u64::from(entry.stored_bytes);
        self.entries.push(entry);
    }

    /// Adds the bytes of the next blob.
    fn lay_down(&mut self, stored: Bytes) {
        if stored.len() < COPIED_BYTES {
            if self.tail.len() >= TAIL_BYTES {
                self.cut_tail();
                self.tail.reserve(TAIL_BYTES + COPIED_BYTES);
            }
            self.tail.extend_from_slice(&stored);
        } else {
            self.cut_tail();
            self.pieces.push(stored);
        }
    }

    /// Encrypts all that waits, one blob after the other, so that each is still in the cache when it is hashed.
    fn encrypt(&mut self) -> Result<(), VaultError> {
        let Some(cipher) = self.cipher.take() else { return Ok(()) };
        let mut work = SealWork::default();
        for (place, encoded) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let Some(entry) = self.entries.get_mut(place) else { continue };
            let (sealed, tag) = cipher.seal_blob(entry, encoded, &mut work)?;
            let mut checksum = crc32fast::Hasher::new();
            checksum.update(&sealed);
            checksum.update(&tag);
            entry.checksum = checksum.finalize();
            self.lay_down(sealed);
            self.tail.extend_from_slice(&tag);
        }
        Ok(())
    }

    fn cut_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// Bytes so far, header included.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Blobs so far.
    pub(crate) fn blobs(&self) -> usize {
        self.entries.len()
    }

    /// Encrypts where that is asked for, appends index and trailer, and hashes everything. CPU work.
    ///
    /// # Errors
    /// [`VaultError::Cipher`]; never for a pack that is not encrypted.
    pub(crate) fn seal(mut self) -> Result<SealedPack, VaultError> {
        self.encrypt()?;
        let mut index = BytesMut::with_capacity(self.entries.len() * ENTRY_BYTES + TRAILER_BYTES);
        for entry in &self.entries {
            entry.write(&mut index);
        }
        let digest = digest_of(&index);
        index.put_u64_le(self.size_bytes);
        index.put_u32_le(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        index.put_u32_le(FORMAT_VERSION);
        index.put_slice(digest.as_bytes());
        index.put_bytes(0, 8);
        index.put_slice(TRAILER_MAGIC);
        self.size_bytes += index.len() as u64;
        self.tail.unsplit(index);
        self.cut_tail();
        let mut hasher = blake3::Hasher::new();
        for piece in &self.pieces {
            hasher.update(piece);
        }
        let id = PackId::new((*hasher.finalize().as_bytes()).into());
        Ok(SealedPack { id, size_bytes: self.size_bytes, entries: self.entries, pieces: self.pieces })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::IdKey;
    use proptest::prelude::*;

    fn pack_of(blobs: &[Vec<u8>]) -> (SealedPack, Vec<u8>) {
        let key = IdKey::new([3; 32]);
        let mut builder = PackBuilder::new(&PackHeader { encryption: None, distinction: [7; DISTINCTION_BYTES] });
        for blob in blobs {
            let extent = BlobExtent::WHOLE;
            let entry = BlobEntry::new(key.blob_id(blob), extent, Codec::Store, blob.len() as u32, blob);
            builder.push(entry, Bytes::from(blob.clone()));
        }
        let sealed = builder.seal().unwrap();
        let bytes = sealed.pieces.concat();
        (sealed, bytes)
    }

    proptest! {
        #[test]
        fn a_pack_is_read_as_it_was_built(lengths in prop::collection::vec(prop_oneof![0_usize..50, 65_000_usize..66_000], 0..12)) {
            let blobs: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, length)| vec![i as u8; *length]).collect();
            let (sealed, bytes) = pack_of(&blobs);
            prop_assert_eq!(bytes.len() as u64, sealed.size_bytes);
            prop_assert_eq!(PackId::new(digest_of(&bytes)), sealed.id);
            let entries = read_index(&bytes, &Limits::DEFAULT).unwrap();
            prop_assert_eq!(&entries, &sealed.entries);
            for (entry, blob) in entries.iter().zip(&blobs) {
                prop_assert_eq!(&bytes[entry.offset as usize..entry.end() as usize], blob.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(read_index(&bytes, &Limits::DEFAULT).is_err());
        }

        #[test]
        fn a_changed_index_or_trailer_is_noticed(place in 0_usize..(2 * ENTRY_BYTES + TRAILER_BYTES), bit in 0_u8..8) {
            let (_, mut bytes) = pack_of(&[vec![1; 100], vec![2; 100]]);
            let start = bytes.len() - 2 * ENTRY_BYTES - TRAILER_BYTES;
            bytes[start + place] ^= 1 << bit;
            let reserved = start + 2 * ENTRY_BYTES + 48..start + 2 * ENTRY_BYTES + 56;
            prop_assert_eq!(read_index(&bytes, &Limits::DEFAULT).is_err(), !reserved.contains(&(start + place)));
        }
    }

    #[test]
    fn entries_that_overlap_or_reach_outside_are_refused() {
        let (sealed, _) = pack_of(&[vec![1; 100], vec![2; 100]]);
        let limits = Limits::DEFAULT;
        let bytes_of = |entries: &[BlobEntry]| {
            let mut bytes = BytesMut::new();
            entries.iter().for_each(|entry| entry.write(&mut bytes));
            bytes
        };
        let good = sealed.entries.clone();
        assert!(read_entries(&bytes_of(&good), 2, 296, &limits).is_ok());
        assert!(read_entries(&bytes_of(&good), 2, 295, &limits).is_err());
        assert!(read_entries(&bytes_of(&good), 3, 296, &limits).is_err());
        let mut overlap = good.clone();
        overlap[1].offset -= 1;
        assert!(read_entries(&bytes_of(&overlap), 2, 296, &limits).is_err());
        let mut misplaced = good.clone();
        misplaced[1].extent = BlobExtent::of_piece(1024, 100, 5_000).unwrap();
        assert!(read_entries(&bytes_of(&misplaced), 2, 296, &limits).is_ok());
        misplaced[1].plain_bytes = 1_025;
        assert!(read_entries(&bytes_of(&misplaced), 2, 296, &limits).is_err(), "it reaches beyond its subtree");
        let mut bomb = good;
        bomb[1].plain_bytes = u32::MAX;
        assert!(read_entries(&bytes_of(&bomb), 2, 296, &limits).is_err());
    }
}
