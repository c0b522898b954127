//! Byte shuffle: all first bytes of the elements, then all second bytes, and so on; what does not fill an element stays
//! at the end as it is. Plain loops over fixed widths that the compiler turns into vector code.

/// Writes the shuffled form of `plain` to `out`, which has the same length. Widths other than 2, 4 and 8 copy.
pub(super) fn shuffle(element_bytes: u8, plain: &[u8], out: &mut [u8]) {
    match element_bytes {
        2 => shuffle_by::<2>(plain, out),
        4 => shuffle_by::<4>(plain, out),
        8 => shuffle_by::<8>(plain, out),
        _ => copy(plain, out),
    }
}

/// The inverse of [`shuffle`].
pub(super) fn unshuffle(element_bytes: u8, shuffled: &[u8], out: &mut [u8]) {
    match element_bytes {
        2 => unshuffle_by::<2>(shuffled, out),
        4 => unshuffle_by::<4>(shuffled, out),
        8 => unshuffle_by::<8>(shuffled, out),
        _ => copy(shuffled, out),
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Elements handled at a time: the planes of one block stay in the first-level cache.
const BLOCK: usize = 1024;

fn shuffle_by<const WIDTH: usize>(plain: &[u8], out: &mut [u8]) {
    let elements = plain.len() / WIDTH;
    if elements == 0 {
        return copy(plain, out);
    }
    let (planes, rest_out) = out.split_at_mut(elements * WIDTH);
    let (whole, rest) = plain.split_at(elements * WIDTH);
    copy(rest, rest_out);
    // One plane after the other within a block: each inner loop reads with a fixed stride and writes in a row.
    for (number, block) in whole.chunks(BLOCK * WIDTH).enumerate() {
        for (position, plane) in planes.chunks_exact_mut(elements).enumerate() {
            let target = plane.get_mut(number * BLOCK..).unwrap_or_default();
            for (target, element) in target.iter_mut().zip(block.as_chunks::<WIDTH>().0) {
                if let Some(byte) = element.get(position) {
                    *target = *byte;
                }
            }
        }
    }
}

fn unshuffle_by<const WIDTH: usize>(shuffled: &[u8], out: &mut [u8]) {
    let elements = shuffled.len() / WIDTH;
    if elements == 0 {
        return copy(shuffled, out);
    }
    let (whole, rest_out) = out.split_at_mut(elements * WIDTH);
    let (planes, rest) = shuffled.split_at(elements * WIDTH);
    copy(rest, rest_out);
    for (number, block) in whole.chunks_mut(BLOCK * WIDTH).enumerate() {
        for (position, plane) in planes.chunks_exact(elements).enumerate() {
            let source = plane.get(number * BLOCK..).unwrap_or_default();
            for (byte, element) in source.iter().zip(block.as_chunks_mut::<WIDTH>().0) {
                if let Some(target) = element.get_mut(position) {
                    *target = *byte;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn four_byte_elements_are_laid_out_plane_by_plane() {
        let plain = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21];
        let mut out = [0; 10];
        shuffle(4, &plain, &mut out);
        assert_eq!(out, [0, 10, 1, 11, 2, 12, 3, 13, 20, 21]);
    }

    proptest! {
        #[test]
        fn unshuffle_gives_back_what_was_shuffled(
            width in prop::sample::select(vec![2_u8, 4, 8]),
            length in prop_oneof![0_usize..40, 4_000_usize..40_000],
            seed in any::<u64>(),
        ) {
            let plain: Vec<u8> = (0..length as u64).map(|i| (i.wrapping_mul(seed | 1) >> 29) as u8).collect();
            let mut shuffled = vec![0; length];
            shuffle(width, &plain, &mut shuffled);
            // The layout itself, element by element.
            let elements = length / usize::from(width);
            for (place, byte) in plain.iter().enumerate().take(elements * usize::from(width)) {
                let (element, position) = (place / usize::from(width), place % usize::from(width));
                prop_assert_eq!(shuffled[position * elements + element], *byte);
            }
            let mut back = vec![0; length];
            unshuffle(width, &shuffled, &mut back);
            prop_assert_eq!(back, plain);
        }
    }
}
