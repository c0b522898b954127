//! BLAKE3 of a whole file from its pieces, which are hashed in any order and on any thread.
//!
//! BLAKE3 is a tree over 1 KiB leaves. A piece whose length is a power of two and whose offset is a multiple of it is
//! one whole subtree, so its chaining value can be computed alone; joining the values left to right gives the same
//! digest as hashing the file from beginning to end.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use longshore_model::Digest;

/// What one piece adds to the digest of its file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PieceDigest {
    /// The file is this one piece.
    Whole(Digest),
    /// One of several.
    Piece(ChainingValue),
}

/// Hashes the piece at `offset` of a file of `file_bytes` bytes.
pub(crate) fn hash_piece(piece: &[u8], offset: u64, file_bytes: u64) -> PieceDigest {
    if offset == 0 && piece.len() as u64 == file_bytes {
        return PieceDigest::Whole(Digest::new(*blake3::hash(piece).as_bytes()));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    PieceDigest::Piece(hasher.update(piece).finalize_non_root())
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

    proptest! {
        #[test]
        fn pieces_give_the_digest_of_the_whole(length in 0_usize..60_000, power in 0_u32..5, seed in any::<u8>()) {
            let piece_bytes = 1024_usize << power;
            let file: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(seed | 1) ^ (i >> 8) as u8).collect();
            let mut pieces: Vec<PieceDigest> = file
                .chunks(piece_bytes)
                .enumerate()
                .map(|(number, piece)| hash_piece(piece, (number * piece_bytes) as u64, length as u64))
                .collect();
            if file.is_empty() {
                pieces.push(hash_piece(&[], 0, 0));
            }
            prop_assert_eq!(join_pieces(&pieces), Some(digest_of(&file)));
        }
    }

    #[test]
    fn nothing_has_no_digest() {
        assert_eq!(join_pieces(&[]), None);
    }
}
