//! What lies in the golden vaults of `tests/golden`: the same for their maker and for the tests that read them.
//!
//! Frozen: vaults that were made with it are kept for ever.

/// Files of the first golden vaults, each named after its codec but `empty`.
pub const FIRST_FILES: [&str; 7] =
    ["empty", "lz4", "shuffle2-zstd-1", "shuffle4-zstd-3", "shuffle8-zstd-1", "store", "zstd-1"];

/// Bytes that neither repeat nor compress, different for every seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The content of the file of this name.
#[must_use]
pub fn content(name: &str) -> Vec<u8> {
    match name {
        "empty" => Vec::new(),
        "store" => noise(1, 1_000),
        codec if codec.starts_with("adaptive") => mixed(codec),
        codec => {
            let numbers = (0..700_u32).flat_map(|number| (number / 3).to_le_bytes());
            codec.bytes().chain(numbers).collect()
        }
    }
}

/// Floats, packed indices that count up, and what stays as it is, so that every arrangement occurs.
fn mixed(codec: &str) -> Vec<u8> {
    let random = noise(7, 64_000);
    let floats = random.as_chunks::<8>().0.iter().flat_map(|bytes| {
        let random = u64::from_le_bytes(*bytes);
        let exponent = 122 - ((random >> 32) as u32).leading_zeros().min(20);
        (random as u32 & 0x807f_ffff | exponent << 23).to_le_bytes()
    });
    let pairs = (0..8_000_u64).step_by(2).map(|value| value | (value + 1) << 12);
    let packed = pairs.flat_map(|pair| pair.to_le_bytes().into_iter().take(3));
    let lengths = (0..5_000_u32).flat_map(|number| (number * number).to_string().into_bytes());
    codec.bytes().chain(floats).chain(packed).chain(lengths).collect()
}

/// Number of the backup in the pair of golden vaults that is there; one collection was erased from it.
pub const KEPT: u8 = 1;
/// Number of the backup that was deleted.
pub const DELETED: u8 = 2;
/// The collection that was erased.
pub const ERASED: &str = "images";
/// The record of its erasure.
pub const ERASURE: &str = "erasure-00000000000000ab";
/// What stands for a catalog.
pub const CATALOG: &[u8] = b"the hash of a key and the name of a collection";
