//! Decides whether an index file ("sidecar") of a segment is whole.
//!
//! Milvus Lite writes these files in the background, outside of its manifest and not atomically. A truncated one makes
//! the collection fail to load and is not made again while it is there; a missing one is simply rebuilt. So one is
//! only taken when its structure leads exactly to its end and agrees with the segment's row count. "Parses" means:
//!
//! * HNSW (`.hnsw.idx`, and `.autoindex.idx` of that form): FAISS's `IHNf`, the header, the five arrays of the graph,
//!   four numbers and a flat storage (`IxF…`) with one vector per row (FAISS `impl/index_write.cpp`);
//! * FLAT (`.flat.idx`, `.brute_force.idx`): a NumPy array (`.npy` version 1 to 3) of float32 with one line per row.
//!
//! All other kinds are left out and rebuilt.

use crate::disk::{OpenFile, ReadAt};

/// Bytes of the header that every FAISS index starts with, after its four letters.
const FAISS_HEADER_BYTES: u64 = 4 + 8 + 8 + 8 + 1 + 4;
/// Longest header of a NumPy file that is accepted, in bytes.
const NUMPY_HEADER_BYTES: u64 = 4_096;

/// Checks a file that indexes a segment of `rows` rows; says why it is not taken.
pub(crate) fn check(file: &OpenFile, rows: u64) -> Result<(), &'static str> {
    check_bytes(&file.file, file.stat.size_bytes, rows)
}

/// The same for bytes that lie anywhere.
pub(crate) fn check_bytes<F: ReadAt + ?Sized>(file: &F, size_bytes: u64, rows: u64) -> Result<(), &'static str> {
    let mut walk = Walk { file, at: 0, size_bytes };
    let whole = match &walk.take::<4>().ok_or("it is cut short")? {
        b"IHNf" => walk.hnsw(rows),
        b"\x93NUM" => walk.numpy(rows),
        _ => return Err("its kind cannot be checked"),
    };
    if whole == Some(()) && walk.at == size_bytes { Ok(()) } else { Err("it is not whole, or not of this segment") }
}

/// A place in a file that moves forward.
struct Walk<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    at: u64,
    size_bytes: u64,
}

impl<F: ReadAt + ?Sized> Walk<'_, F> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N as u64).filter(|end| *end <= self.size_bytes)?;
        let mut bytes = [0; N];
        self.file.fill(&mut bytes, self.at).ok()?;
        self.at = end;
        Some(bytes)
    }

    fn skip(&mut self, count: u64, bytes_each: u64) -> Option<()> {
        let end = self.at.checked_add(count.checked_mul(bytes_each)?)?;
        self.at = Some(end).filter(|end| *end <= self.size_bytes)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// An array: its number of elements, then the elements. Gives the number.
    fn array(&mut self, element_bytes: u64) -> Option<u64> {
        let count = self.number()?;
        self.skip(count, element_bytes)?;
        Some(count)
    }

    /// Dimension of an index of `rows` vectors.
    fn faiss_header(&mut self, rows: u64) -> Option<u64> {
        let start = self.at;
        let dimension = u32::from_le_bytes(self.take()?);
        let count = self.number()?;
        self.at = start;
        self.skip(1, FAISS_HEADER_BYTES)?;
        (count == rows).then_some(u64::from(dimension))
    }

    fn hnsw(&mut self, rows: u64) -> Option<()> {
        let dimension = self.faiss_header(rows)?;
        self.array(8)?; // probabilities of the levels
        self.array(4)?; // neighbours per level
        let levels = self.array(4)?;
        let offsets = self.array(8)?;
        self.array(4)?; // neighbours
        self.skip(5, 4)?; // entry point, highest level, two search widths, one number that is no longer used
        if levels != rows || offsets != rows.checked_add(1)? || self.take::<3>()? != *b"IxF" {
            return None;
        }
        self.skip(1, 1)?;
        let same = self.faiss_header(rows)? == dimension;
        let values = self.array(4)?;
        (same && values == rows.checked_mul(dimension)?).then_some(())
    }

    fn numpy(&mut self, rows: u64) -> Option<()> {
        if self.take::<2>()? != *b"PY" {
            return None;
        }
        let [major, _] = self.take::<2>()?;
        let length = match major {
            1 => u64::from(u16::from_le_bytes(self.take()?)),
            2 | 3 => u64::from(u32::from_le_bytes(self.take()?)),
            _ => return None,
        };
        let mut header = vec![0; usize::try_from(Some(length).filter(|length| *length <= NUMPY_HEADER_BYTES)?).ok()?];
        self.file.fill(&mut header, self.at).ok()?;
        self.skip(length, 1)?;
        let header = String::from_utf8(header).ok()?;
        let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
        let (lines, width) = shape.split_once(',')?;
        let width: u64 = width.trim().trim_end_matches(',').parse().ok()?;
        let lines: u64 = lines.trim().parse().ok()?;
        let plain = header.contains("'descr': '<f4'") && header.contains("'fortran_order': False");
        (plain && lines == rows).then_some(())?;
        self.skip(lines.checked_mul(width)?, 4)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numpy(rows: u64, width: u64) -> Vec<u8> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + usize::try_from(rows * width * 4).unwrap(), 7);
        bytes
    }

    fn hnsw() -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/sample-cluster/collections/medium_articles");
        std::fs::read(format!("{folder}/partitions/_default/indexes/data_000001_000187.vector.hnsw.idx")).unwrap()
    }

    #[test]
    fn whole_index_files_are_taken_and_cut_ones_are_not() {
        for (bytes, rows) in [(numpy(5, 3), 5), (hnsw(), 187)] {
            let size_bytes = bytes.len() as u64;
            assert_eq!(check_bytes(bytes.as_slice(), size_bytes, rows), Ok(()));
            assert!(check_bytes(bytes.as_slice(), size_bytes, rows + 1).is_err(), "of another segment");
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
                assert!(check_bytes(&bytes[..cut], cut as u64, rows).is_err(), "cut at {cut}");
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            assert!(check_bytes(longer.as_slice(), size_bytes + 1, rows).is_err(), "one byte too many");
        }
        assert!(check_bytes(b"PK\x03\x04".as_slice(), 4, 1).is_err());
    }
}
