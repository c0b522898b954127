//! Which packs a sampled verification reads. Pure.
//!
//! Packs are put in an order that depends on their names alone, and every seed takes the next stretch of that circle.
//! So a sample can be looked at again by its seed, and as many runs as it takes to add up to 100 % with seeds one after
//! the other read every pack, as long as packs neither come nor go.

use crate::PackId;

/// A share of the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How much, in percent; 100 and more is everything.
    pub percent: u8,
    /// Which stretch. Counting up by one from run to run covers everything.
    pub seed: u64,
}

impl Sample {
    /// The chosen packs, at least one where there is any.
    #[must_use]
    pub fn choose(&self, mut packs: Vec<PackId>) -> Vec<PackId> {
        // Pack names are digests, so their order says nothing about age, size or collection.
        packs.sort_unstable();
        packs.dedup();
        let all = packs.len();
        let count = (all * usize::from(self.percent.min(100))).div_ceil(100).max(1).min(all);
        if all == 0 || count == all {
            return packs;
        }
        let start = u128::from(self.seed) * (count as u128) % (all as u128);
        packs.rotate_left(usize::try_from(start).unwrap_or(0));
        packs.truncate(count);
        packs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::digest_of;
    use proptest::prelude::*;

    fn packs(count: usize) -> Vec<PackId> {
        (0..count).map(|number| PackId::new(digest_of(&number.to_le_bytes()))).collect()
    }

    proptest! {
        #[test]
        fn runs_with_seeds_one_after_the_other_read_everything(count in 1_usize..60, percent in 1_u8..120, seed: u64) {
            let first = Sample { percent, seed }.choose(packs(count));
            prop_assert_eq!(&first, &Sample { percent, seed }.choose(packs(count).into_iter().rev().collect()));
            prop_assert!(!first.is_empty());
            prop_assert!(first.len() * 100 < count * usize::from(percent.min(100)) + 100);
            let runs = count.div_ceil(first.len());
            let seed = seed.min(u64::MAX - 100);
            let seen: BTreeSet<PackId> =
                (0..runs as u64).flat_map(|run| Sample { percent, seed: seed + run }.choose(packs(count))).collect();
            prop_assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn nothing_has_no_sample() {
        assert!(Sample { percent: 10, seed: 3 }.choose(Vec::new()).is_empty());
    }
}
