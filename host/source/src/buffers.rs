//! Buffers that files are read into, used again.
//!
//! A new buffer of some hundred kilobytes costs the system a page fault, and a cleared page, for every four of them: a
//! tenth of the time of a first backup. What was read is handed out as [`Bytes`]; when the last of them is dropped, the
//! buffer comes back. Only what nobody holds is kept here, and only a bounded number of bytes of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Smaller buffers come from the heap without page faults.
pub(crate) const LEAST_BYTES: usize = 128 * 1024;
/// Sizes are rounded up to a multiple of this, so that files of about the same length share buffers.
const STEP_BYTES: usize = 128 * 1024;
/// Most bytes that are kept while nobody uses them.
const KEPT_BYTES: usize = 48 * 1024 * 1024;

/// Buffers that nobody holds, the one that came back last at the end.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// A buffer that is filled.
struct Filled {
    bytes: Vec<u8>,
    length: usize,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Buffers {
    /// Exactly `length` bytes, filled by `fill`, which gets all of them and must write all: what a used buffer held
    /// before is still in it.
    pub(crate) fn filled<E>(
        self: &Arc<Self>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        if length < LEAST_BYTES {
            let mut bytes = vec![0; length];
            fill(&mut bytes)?;
            return Ok(bytes.into());
        }
        let bytes = self.take(length.next_multiple_of(STEP_BYTES));
        let mut filled = Filled { bytes, length, home: Arc::downgrade(self) };
        fill(filled.bytes.get_mut(..length).unwrap_or_default())?;
        Ok(Bytes::from_owner(filled))
    }

    /// A buffer of at least this size and at most a quarter more.
    fn take(&self, size: usize) -> Vec<u8> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (size..=size + size / 4).contains(&buffer.len());
        match kept.iter().rposition(fits) {
            Some(place) => kept.swap_remove(place),
            None => vec![0; size],
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes: usize = kept.iter().map(Vec::len).sum();
        kept.push(buffer);
        bytes += kept.last().map_or(0, Vec::len);
        // The oldest go: their sizes are the ones nobody asked for.
        let surplus = kept.iter().take_while(|buffer| {
            let over = bytes > KEPT_BYTES;
            bytes -= buffer.len();
            over
        });
        let surplus = surplus.count();
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(buffers: &Arc<Buffers>, length: usize, value: u8) -> Bytes {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(value);
            Ok::<_, ()>(())
        };
        buffers.filled(length, fill).unwrap()
    }

    fn kept(buffers: &Buffers) -> Vec<usize> {
        buffers.0.lock().unwrap().iter().map(Vec::len).collect()
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_what_was_read_into_it() {
        let buffers = Arc::<Buffers>::default();
        let first = read(&buffers, 200_000, 1);
        let part = first.slice(10..20);
        drop(first);
        assert!(kept(&buffers).is_empty(), "a part of it is still held");
        let place = part.as_ptr() as usize - 10;
        drop(part);
        assert_eq!(kept(&buffers), [262_144]);
        let second = read(&buffers, 240_000, 2);
        assert_eq!(second.as_ptr() as usize, place);
        assert_eq!(second, vec![2; 240_000]);
        assert!(kept(&buffers).is_empty());
    }

    #[test]
    fn what_is_read_has_exactly_the_length_asked_for_and_much_larger_buffers_are_not_used() {
        let buffers = Arc::<Buffers>::default();
        for length in [0, 1, 131_071, 131_072, 131_073, 4 << 20] {
            assert_eq!(read(&buffers, length, 7), vec![7; length]);
        }
        assert_eq!(kept(&buffers), [131_072, 262_144, 4 << 20]);
        let small = read(&buffers, 1 << 20, 1);
        drop(small);
        assert_eq!(kept(&buffers).len(), 4, "the four megabytes were not taken for one");
    }

    #[test]
    fn the_bytes_that_are_kept_are_bounded_and_a_failed_read_gives_its_buffer_back() {
        let buffers = Arc::<Buffers>::default();
        let held: Vec<Bytes> = (0..20).map(|value| read(&buffers, 4 << 20, value)).collect();
        assert!(held.iter().zip(0..).all(|(bytes, value)| bytes.iter().all(|byte| *byte == value)));
        drop(held);
        assert_eq!(kept(&buffers).iter().sum::<usize>(), KEPT_BYTES);
        let failed: Result<Bytes, &str> = buffers.filled(4 << 20, |_| Err("no"));
        failed.unwrap_err();
        assert_eq!(kept(&buffers).iter().sum::<usize>(), KEPT_BYTES);
    }
}
