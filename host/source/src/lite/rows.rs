//! Counts rows: live ones from keys and sequence numbers.
//!
//! What is live is Milvus Lite's rule (`search/bitmap.py`, `storage/delta_index.py`): of all rows with one primary key
//! in all partitions the one with the largest `_seq` counts, unless a deletion of that key has a larger one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::wal::{self, Key};
use crate::disk::OpenFile;
use crate::{Limits, SourceError};

/// Memory of one integer key in the table, its share of empty places and of the copy while the table grows included.
const INTEGER_KEY_BYTES: u64 = 56;
/// The same for a text key, of which 16 bytes of its hash are kept.
const TEXT_KEY_BYTES: u64 = 84;

/// Calls `visit` for every row of a log file, whose batches must be whole.
pub(crate) fn log_keys(
    file: &OpenFile,
    key: &str,
    limits: &Limits,
    visit: &mut dyn FnMut(Key<'_>, u64),
) -> Result<(), SourceError> {
    let reader = wal::Reader { file: &file.file, shown: &file.shown, limits };
    let scan = reader.scan(file.stat.size_bytes, key)?;
    let no_schema =
        || SourceError::Damaged { path: file.shown.clone(), reason: "not even its schema is whole".to_owned() };
    let columns = scan.columns.ok_or_else(no_schema)?;
    for batch in &scan.batches {
        reader.keys(batch, columns, &mut |key, sequence| {
            visit(key, sequence);
            Ok(())
        })?;
    }
    Ok(())
}

/// What happened last to each key, within a bounded memory.
pub(crate) struct LiveKeys {
    integers: HashMap<i64, u64>,
    /// Sixteen bytes of BLAKE3: two of a billion keys are the same with a probability of 10^-21.
    texts: HashMap<[u8; 16], u64>,
    memory_bytes: u64,
    full: bool,
}

impl LiveKeys {
    /// A table that may take about `memory_bytes`.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        Self { integers: HashMap::new(), texts: HashMap::new(), memory_bytes, full: false }
    }

    /// A row with this key was inserted.
    pub(crate) fn insert(&mut self, key: Key<'_>, sequence: u64) {
        self.note(key, inserted(sequence));
    }

    /// This key was deleted.
    pub(crate) fn delete(&mut self, key: Key<'_>, sequence: u64) {
        self.note(key, sequence.saturating_mul(2));
    }

    /// Whether a row is the one that its key has now. It is so once: a row may lie in two files.
    pub(crate) fn take(&mut self, key: Key<'_>, sequence: u64) -> bool {
        let last = match key {
            Key::Integer(key) => self.integers.get_mut(&key),
            Key::Text(key) => self.texts.get_mut(&short(key)),
        };
        match last {
            Some(event) if *event == inserted(sequence) => {
                *event = u64::MAX;
                true
            }
            _ => false,
        }
    }

    /// Whether the memory did not suffice; the count is `None` then.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Keys whose last event is an insert, or `None` when there were too many keys.
    pub(crate) fn count(&self) -> Option<u64> {
        let events = self.integers.values().chain(self.texts.values());
        (!self.full).then(|| events.filter(|event| *event % 2 == 1).count() as u64)
    }

    /// Events are ordered by sequence number; of an insert and a deletion with one number the insert counts, because a
    /// deletion hides only what is older than itself.
    fn note(&mut self, key: Key<'_>, event: u64) {
        if self.full {
            return;
        }
        match key {
            Key::Integer(key) => put(&mut self.integers, key, event),
            Key::Text(key) => put(&mut self.texts, short(key), event),
        }
        let used = self.integers.len() as u64 * INTEGER_KEY_BYTES + self.texts.len() as u64 * TEXT_KEY_BYTES;
        if used > self.memory_bytes {
            *self = Self { full: true, ..Self::new(self.memory_bytes) };
        }
    }
}

/// The event of an insert.
fn inserted(sequence: u64) -> u64 {
    sequence.saturating_mul(2).saturating_add(1)
}

fn short(key: &[u8]) -> [u8; 16] {
    blake3::hash(key).as_bytes().first_chunk().copied().unwrap_or_default()
}

fn put<K: Hash + Eq>(table: &mut HashMap<K, u64>, key: K, event: u64) {
    match table.entry(key) {
        Entry::Occupied(mut entry) => *entry.get_mut() = event.max(*entry.get()),
        Entry::Vacant(entry) => {
            entry.insert(event);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_in_which_events_are_read_does_not_matter(
            events in proptest::collection::vec((0_i64..8, any::<bool>()), 0..60), text: bool, shuffle in any::<u64>()
        ) {
            // The model: events happen one after the other.
            let mut state = BTreeMap::new();
            for (key, is_insert) in &events {
                state.insert(*key, *is_insert);
            }
            let expected = state.values().filter(|alive| **alive).count() as u64;
            let mut numbered: Vec<_> = events.iter().zip(1_u64..).collect();
            numbered.sort_by_key(|(_, number)| blake3::hash(&(shuffle ^ number).to_le_bytes()).as_bytes().to_vec());
            let mut keys = LiveKeys::new(1 << 20);
            for ((key, is_insert), number) in numbered {
                let name = key.to_string();
                let key = if text { Key::Text(name.as_bytes()) } else { Key::Integer(*key) };
                if *is_insert { keys.insert(key, number) } else { keys.delete(key, number) }
            }
            prop_assert_eq!(keys.count(), Some(expected));
        }
    }

    #[test]
    fn a_row_is_taken_once_and_only_while_it_is_the_last_of_its_key() {
        let mut keys = LiveKeys::new(1 << 20);
        let (one, two) = (Key::Integer(1), Key::Text(b"two"));
        // The second time out of the log, which was not removed yet.
        [(one, 5), (one, 5), (one, 3), (two, 6)].into_iter().for_each(|(key, sequence)| keys.insert(key, sequence));
        assert!(!keys.take(one, 3), "there is a later one");
        assert!(keys.take(one, 5) && !keys.take(one, 5), "once");
        keys.delete(two, 7);
        assert!(!keys.take(two, 6) && !keys.take(Key::Integer(9), 1));
    }

    #[test]
    fn too_many_keys_give_no_count_instead_of_a_wrong_one() {
        let mut keys = LiveKeys::new(100 * INTEGER_KEY_BYTES);
        for key in 0..100 {
            keys.insert(Key::Integer(key), 1);
        }
        assert_eq!(keys.count(), Some(100));
        keys.insert(Key::Integer(100), 1);
        assert!(keys.is_full());
        assert_eq!(keys.count(), None);
    }
}
