//! Writes the bytes of a large object past the page cache.
//!
//! What a backup writes is not read again soon. Through the page cache it costs a page to find, to clear and to write back
//! for every four kilobytes, half of the time of a first backup, and it drives out what the database beside it has there.
//!
//! Contract: the file holds the bytes afterwards, not yet durable. `false` means that this file system cannot do it, and
//! the file holds anything: write it again in the ordinary way.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use object_store::{PutPayload, PutPayloadIter};

/// Shorter objects are written in the ordinary way.
pub(super) const LEAST_BYTES: usize = 1024 * 1024;
/// Bytes written at once.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What memory, offset and length are multiples of: enough for every disk in use, and a page.
const ALIGNMENT: usize = 4096;

/// Memory that begins at a multiple of [`ALIGNMENT`].
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; BUFFER_BYTES + ALIGNMENT];
        // The heap does not move what it gave out.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start }
    }

    fn get(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + BUFFER_BYTES).unwrap_or_default()
    }
}

/// Writes `payload` to the file at `staged`, which is empty. See the module.
pub(super) fn write(staged: &Path, payload: &PutPayload) -> std::io::Result<bool> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
    let file = match OpenOptions::new().write(true).custom_flags(flags).open(staged) {
        Ok(file) => file,
        Err(error) if is_refused(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut buffer = Aligned::new();
    let mut source = Pieces::of(payload);
    let mut offset = 0;
    loop {
        let filled = source.fill(buffer.get());
        if filled == 0 {
            break;
        }
        // The last block is filled up with what the buffer held; the file is cut to its length below.
        let padded = filled.next_multiple_of(ALIGNMENT);
        match file.write_all_at(buffer.get().get(..padded).unwrap_or_default(), offset) {
            Ok(()) => offset += filled as u64,
            Err(error) if is_refused(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    file.set_len(offset)?;
    Ok(true)
}

/// Whether a file system without such writes says so.
fn is_refused(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// The bytes of a payload, one after the other.
struct Pieces<'a> {
    pieces: PutPayloadIter<'a>,
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn of(payload: &'a PutPayload) -> Self {
        Self { pieces: payload.iter(), rest: &[] }
    }

    /// Fills as much of `buffer` as there are bytes for; says how much.
    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.rest.is_empty() {
                match self.pieces.next() {
                    Some(piece) => self.rest = piece,
                    None => break,
                }
                continue;
            }
            let room = buffer.get_mut(filled..).unwrap_or_default();
            let (taken, rest) = self.rest.split_at(self.rest.len().min(room.len()));
            if let Some(place) = room.get_mut(..taken.len()) {
                place.copy_from_slice(taken);
            }
            self.rest = rest;
            filled += taken.len();
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_length_comes_out_as_it_went_in() {
        // On a file system without such writes this shows nothing; the caller's test covers both ways.
        let folder = tempfile::tempdir().unwrap();
        for (number, length) in
            [0, 1, 4095, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, 2 * BUFFER_BYTES + 4097].into_iter().enumerate()
        {
            let bytes: Vec<u8> = (0..length).map(|place| (place / 3 + place / 4096) as u8).collect();
            let cuts = [0, length / 3, length / 3 + 1.min(length - length / 3), length];
            let payload: PutPayload =
                cuts.windows(2).map(|cut| Bytes::copy_from_slice(&bytes[cut[0]..cut[1]])).collect();
            let staged = folder.path().join(format!("{number}"));
            std::fs::write(&staged, "").unwrap();
            if write(&staged, &payload).unwrap() {
                assert!(std::fs::read(&staged).unwrap() == bytes, "{length} bytes");
            }
        }
    }

    #[test]
    fn memory_begins_where_a_disk_wants_it() {
        for _ in 0..8 {
            let mut aligned = Aligned::new();
            let bytes = aligned.get();
            assert_eq!((bytes.as_ptr() as usize % ALIGNMENT, bytes.len()), (0, BUFFER_BYTES));
        }
    }
}
