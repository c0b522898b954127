//! Random numbers that follow from a seed, so that whatever a test drew can be drawn again.

/// A generator (splitmix64). The same seed gives the same numbers on every machine and in every version.
#[derive(Debug, Clone)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// A generator that follows from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several; `None` when there are none.
    pub fn pick<'a, T>(&mut self, several: &'a [T]) -> Option<&'a T> {
        several.get(usize::try_from(self.below(several.len() as u64)).ok()?)
    }

    /// Bytes that do not repeat and do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// The seeds of a test: `fixed` in the usual run; when `LONGSHORE_LONG` is set, `fresh` more that were never used.
/// `LONGSHORE_SEED` asks for one again. A test prints the seed it fails with.
#[must_use]
pub fn seeds(fixed: impl IntoIterator<Item = u64>, fresh: usize) -> Vec<u64> {
    if let Some(seed) = std::env::var("LONGSHORE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return vec![seed];
    }
    let mut seeds: Vec<u64> = fixed.into_iter().collect();
    if long() {
        let mut start = [0; 8];
        // Without randomness the long run repeats the seeds after 0: fewer new ones, nothing wrong.
        let _ = getrandom::fill(&mut start);
        let mut random = SeededRandom::new(u64::from_le_bytes(start));
        seeds.extend((0..fresh).map(|_| random.next_u64()));
    }
    seeds
}

/// True when the long forms of the long tests were asked for (`make test-full`).
#[must_use]
pub fn long() -> bool {
    std::env::var_os("LONGSHORE_LONG").is_some()
}
