//! Numbers that look random and are the same for the same seed on every machine. Not for secrets.

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }

    /// True once in so many times.
    pub(crate) const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number of any magnitude: as often small as large.
    pub(crate) const fn magnitude(&mut self, bits: u32) -> u64 {
        let shift = self.below(bits as u64 + 1);
        if shift == 0 { 0 } else { self.next() >> (64 - shift) }
    }

    /// One of a list, if there is one.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let place = self.below(u64::try_from(list.len()).unwrap_or(u64::MAX));
        list.get(usize::try_from(place).unwrap_or(0))
    }

    /// Arranges a list anew.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let with = self.below(u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1));
            list.swap(end, usize::try_from(with).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_a_shuffle_loses_nothing() {
        let numbers = |seed| (0..5).scan(Random::new(seed), |random, _| Some(random.next())).collect::<Vec<_>>();
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        let mut list: Vec<u32> = (0..100).collect();
        Random::new(3).shuffle(&mut list);
        assert_ne!(list, (0..100).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..100).collect::<Vec<_>>());
        let mut random = Random::new(4);
        assert!((0..1_000).all(|_| random.magnitude(40) < 1 << 40));
        assert!((0..1_000).any(|_| random.magnitude(40) == 0) && (0..1_000).any(|_| random.magnitude(40) > 1 << 38));
    }
}
