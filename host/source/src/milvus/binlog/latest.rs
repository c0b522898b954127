//! The latest time of each key, in as little memory as sorting allows.
//!
//! Contract: [`Latest::get`] answers for what was noted before the last [`Latest::settle`]. A hash table takes three times
//! the memory and more while it grows, and a partition can have tens of millions of deletes.

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Latest<K> {
    /// Sorted by key up to `settled`, each key once there.
    times: Vec<(K, u64)>,
    settled: usize,
}

impl<K> Default for Latest<K> {
    fn default() -> Self {
        Self { times: Vec::new(), settled: 0 }
    }
}

impl<K: Ord + Copy> Latest<K> {
    /// Something happened to a key.
    pub(super) fn note(&mut self, key: K, time: u64) {
        self.times.push((key, time));
    }

    /// Bytes that it takes, those included that it has in reserve.
    pub(super) fn bytes(&self) -> u64 {
        (self.times.capacity() * size_of::<(K, u64)>()) as u64
    }

    /// Sorts what was noted and keeps the latest time of each key.
    pub(super) fn settle(&mut self) {
        if self.settled == self.times.len() {
            return;
        }
        self.times.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
        self.times.dedup_by_key(|(key, _)| *key);
        self.times.shrink_to(self.times.len() + self.times.len() / 8);
        self.settled = self.times.len();
    }

    /// The latest time of a key.
    pub(super) fn get(&self, key: &K) -> Option<u64> {
        let times = self.times.get(..self.settled)?;
        let place = times.binary_search_by(|(one, _)| one.cmp(key)).ok()?;
        times.get(place).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_a_map_says(events in proptest::collection::vec((0_i64..40, 0_u64..90, 0_u8..8), 0..300)) {
            let (mut latest, mut map) = (Latest::default(), BTreeMap::<i64, u64>::new());
            for (key, time, settles) in events {
                latest.note(key, time);
                let known = map.entry(key).or_default();
                *known = time.max(*known);
                if settles == 0 {
                    latest.settle();
                    prop_assert_eq!(latest.times.len(), map.len());
                }
            }
            latest.settle();
            for key in 0..40 {
                prop_assert_eq!(latest.get(&key), map.get(&key).copied());
            }
        }
    }

    #[test]
    fn millions_of_deletes_take_sixteen_bytes_each() {
        let mut latest = Latest::<i64>::default();
        for key in 0..1_i64 << 21 {
            latest.note(key ^ 0x5555, 1);
            latest.note(key, 2);
        }
        latest.settle();
        assert!(latest.bytes() <= 18 << 21, "{}", latest.bytes());
        assert_eq!((latest.get(&0), latest.get(&0x1f_ffff)), (Some(2), Some(2)));
    }
}
