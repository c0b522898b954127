//! BLAKE3 of a whole file from its pieces, which are hashed in any order and on any thread, and once: what a piece adds
//! to the digest of its file is also what the piece is named by.
//!
//! BLAKE3 is a tree over 1 KiB leaves. A piece whose length is a power of two and whose offset is a multiple of it is
//! one whole subtree, so its chaining value can be computed alone; joining the values left to right gives the same
//! digest as hashing the file from beginning to end. Leaves are numbered, so the value depends on the offset.
//!
//! Contract: [`BlobExtent::digest`] answers `None` where BLAKE3 has no such subtree; no input panics.

use std::fmt;

use blake3::CHUNK_LEN;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, max_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use longshore_model::Digest;

/// Where in its file a blob lies, as far as its name depends on it (FORMAT.md, "Blobs"). Kept as it stands in a pack: a
/// vault holds one for every blob in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlobExtent([u8; BlobExtent::BYTES]);

/// Of the numbers in packs, the first one that says where a piece lies.
const FIRST_PIECE: u64 = 2;

impl BlobExtent {
    /// Bytes it takes in a pack.
    pub(crate) const BYTES: usize = 5;
    /// Not said: the blob is named by its bytes themselves. Nothing is written so any more; packs that were are read.
    pub const UNSAID: Self = Self([0; Self::BYTES]);
    /// A file of one piece, or bytes that are no piece of a file.
    pub const WHOLE: Self = Self([1, 0, 0, 0, 0]);
    /// Length of the longest file that can be split, in bytes.
    pub const MAX_FILE_BYTES: u64 = ((1 << 40) - FIRST_PIECE) * CHUNK_LEN as u64;

    /// The piece of `length` bytes at `offset` of a file of `file_bytes` bytes; `None` where no piece can lie there: it must
    /// be within the file, not empty unless the file is, and `offset` a multiple of the next power of two from `length` on,
    /// 1,024 at least.
    #[must_use]
    pub fn of_piece(offset: u64, length: u64, file_bytes: u64) -> Option<Self> {
        if offset == 0 && length == file_bytes {
            return Some(Self::WHOLE);
        }
        let end = offset.checked_add(length)?;
        if end > file_bytes || file_bytes > Self::MAX_FILE_BYTES || !offset.is_multiple_of(CHUNK_LEN as u64) {
            return None;
        }
        let [bytes @ .., _, _, _] = (offset / CHUNK_LEN as u64 + FIRST_PIECE).to_le_bytes();
        Some(Self(bytes)).filter(|extent| extent.fits(length))
    }

    /// Where the piece begins in its file, in bytes; `None` where it is no piece of one, or nothing is said.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        let [a, b, c, d, e] = self.0;
        let number = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]).checked_sub(FIRST_PIECE)?;
        Some(number * CHUNK_LEN as u64)
    }

    /// What stands in a pack for a blob of `length` bytes; `None` where no piece of that length can lie there.
    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES], length: u64) -> Option<Self> {
        Some(Self(bytes)).filter(|extent| extent.fits(length))
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// Whether a piece of that length is a subtree there.
    fn fits(&self, length: u64) -> bool {
        let Some(offset) = self.offset() else { return true };
        length > 0 && max_subtree_len(offset).is_none_or(|most| length <= most)
    }

    /// Hashes the bytes that lie there.
    pub(crate) fn digest(self, piece: &[u8]) -> Option<PieceDigest> {
        let Some(offset) = self.offset() else {
            return Some(PieceDigest::Whole(Digest::new(*blake3::hash(piece).as_bytes())));
        };
        if !self.fits(piece.len() as u64) {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        Some(PieceDigest::Piece(hasher.update(piece).finalize_non_root()))
    }
}

impl fmt::Debug for BlobExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset() {
            None if *self == Self::UNSAID => f.write_str("Unsaid"),
            None => f.write_str("Whole"),
            Some(offset) => write!(f, "At({offset})"),
        }
    }
}

/// What one piece adds to the digest of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceDigest {
    /// The file is this one piece.
    Whole(Digest),
    /// One of several.
    Piece(ChainingValue),
}

impl PieceDigest {
    /// What the piece is named by.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        match self {
            Self::Whole(digest) => digest.as_bytes(),
            Self::Piece(value) => value,
        }
    }
}

/// Joins the pieces of a file, in order. `None` when one is missing or [`PieceDigest::Whole`] stands among others.
pub(crate) fn join_pieces(pieces: &[PieceDigest]) -> Option<Digest> {
    if let [PieceDigest::Whole(digest)] = pieces {
        return Some(*digest);
    }
    let values: Option<Vec<ChainingValue>> = pieces
        .iter()
        .map(|piece| match piece {
            PieceDigest::Piece(value) => Some(*value),
            PieceDigest::Whole(_) => None,
        })
        .collect();
    let values = values?;
    let (left, right) = halves(&values)?;
    let root = merge_subtrees_root(&join(left)?, &join(right)?, Mode::Hash);
    Some(Digest::new(*root.as_bytes()))
}

/// The chaining value over a run of pieces. Depth is the logarithm of the number of pieces.
fn join(values: &[ChainingValue]) -> Option<ChainingValue> {
    if let [value] = values {
        return Some(*value);
    }
    let (left, right) = halves(values)?;
    Some(merge_subtrees_non_root(&join(left)?, &join(right)?, Mode::Hash))
}

/// Splits two or more pieces as BLAKE3 does: the left side is the largest power of two that leaves something.
fn halves(values: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    if values.len() < 2 {
        return None;
    }
    values.split_at_checked(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest_of;
    use proptest::prelude::*;

    fn file(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|i| (i as u8).wrapping_mul(seed | 1) ^ (i >> 8) as u8).collect()
    }

    proptest! {
        #[test]
        fn pieces_give_the_digest_of_the_whole(length in 0_usize..60_000, power in 0_u32..5, seed in any::<u8>()) {
            let piece_bytes = 1024_usize << power;
            let file = file(length, seed);
            let piece = |number: usize, piece: &[u8]| {
                let extent = BlobExtent::of_piece((number * piece_bytes) as u64, piece.len() as u64, length as u64);
                extent.unwrap().digest(piece).unwrap()
            };
            let mut pieces: Vec<PieceDigest> =
                file.chunks(piece_bytes).enumerate().map(|(number, bytes)| piece(number, bytes)).collect();
            if file.is_empty() {
                pieces.push(piece(0, &[]));
            }
            prop_assert_eq!(join_pieces(&pieces), Some(digest_of(&file)));
        }

        #[test]
        fn an_extent_is_read_as_it_was_written_and_any_other_is_refused_or_hashed(
            bytes in any::<[u8; BlobExtent::BYTES]>(), small in 0_u64..70_000, length in 0_usize..9_000
        ) {
            let near = small.to_le_bytes();
            for bytes in [bytes, [near[0], near[1], near[2], 0, 0]] {
                let extent = BlobExtent::from_bytes(bytes, length as u64);
                // Neither panics, and what was accepted can be hashed.
                let digest = BlobExtent(bytes).digest(&file(length, 1));
                prop_assert_eq!(extent.is_some(), digest.is_some());
                let Some(extent) = extent else { continue };
                prop_assert_eq!(extent.to_bytes(), bytes);
                let Some(offset) = extent.offset() else { continue };
                let file_bytes = offset + length as u64 + 1;
                let again = BlobExtent::of_piece(offset, length as u64, file_bytes);
                prop_assert_eq!(again, (file_bytes <= BlobExtent::MAX_FILE_BYTES).then_some(extent));
            }
        }
    }

    #[test]
    fn a_piece_lies_where_it_is_a_subtree() {
        assert_eq!(BlobExtent::of_piece(0, 5, 5), Some(BlobExtent::WHOLE));
        assert_eq!(BlobExtent::of_piece(0, 0, 0), Some(BlobExtent::WHOLE));
        assert_eq!(BlobExtent::of_piece(0, 4096, 5000).unwrap().offset(), Some(0));
        assert_eq!(BlobExtent::of_piece(4096, 904, 5000).unwrap().offset(), Some(4096));
        let longest = BlobExtent::MAX_FILE_BYTES;
        assert_eq!(BlobExtent::of_piece(longest - 1024, 1024, longest).unwrap().offset(), Some(longest - 1024));
        for (offset, length, file_bytes) in [
            (4096, 905, 5000),
            (4097, 1, 5000),
            (1024, 1025, 5000),
            (1024, 0, 5000),
            (longest, 1, longest + 1),
            (u64::MAX - 1023, 1024, u64::MAX),
        ] {
            assert_eq!(BlobExtent::of_piece(offset, length, file_bytes), None, "{length} bytes at {offset}");
        }
    }

    #[test]
    fn the_same_bytes_elsewhere_hash_to_something_else() {
        let piece = file(2048, 1);
        let at = |offset| *BlobExtent::of_piece(offset, 2048, 10_000).unwrap().digest(&piece).unwrap().as_bytes();
        assert_ne!(at(0), at(2048));
        assert_ne!(at(0), *BlobExtent::WHOLE.digest(&piece).unwrap().as_bytes());
    }

    #[test]
    fn nothing_has_no_digest() {
        assert_eq!(join_pieces(&[]), None);
    }
}
