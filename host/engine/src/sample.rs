//! Measures what codecs would save on a stream, on a sample of its new files.
//!
//! Contract: which bytes are sampled follows from the files alone (their paths and sizes), so that the same files give
//! the same facts on every machine. Speeds come from a fixed calibration, never from the clock of this run: choices
//! must not flap. Only files that no earlier backup holds are sampled.

use longshore_model::{Codec, CodecOffer, FileClass};

/// Bytes read at once when sampling. Large enough for a codec to show what it can do.
const WINDOW_BYTES: u64 = 32 * 1024;

/// A piece of a file to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Place of the file in the point.
    pub(crate) file: usize,
    /// First byte.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) length: u64,
}

/// Codecs offered for a class of files.
#[must_use]
pub(crate) fn offered_codecs(class: FileClass) -> Vec<Codec> {
    let floats = Codec::ShuffleZstd { element_bytes: 4, level: 1 };
    match class {
        FileClass::Metadata => vec![Codec::Store, Codec::Zstd { level: 3 }],
        FileClass::Segment | FileClass::Index | FileClass::Delta | FileClass::Wal => {
            let adaptive = Codec::AdaptiveZstd { level: 1 };
            vec![Codec::Store, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::Zstd { level: 3 }, floats, adaptive]
        }
    }
}

/// Where to sample: at most `budget_bytes` in windows spread over the files, at offsets derived from path and size.
///
/// `files` are (place in the point, path, size) of the new files of one stream.
#[must_use]
pub(crate) fn windows(files: &[(usize, &str, u64)], budget_bytes: u64) -> Vec<Window> {
    let total: u64 = files.iter().map(|(_, _, size)| size).sum();
    let wanted = total.min(budget_bytes);
    let mut windows = Vec::new();
    let mut taken = 0;
    // A stride over the files keeps a sample of thousands of small files from being a sample of the first few.
    let most = usize::try_from(wanted.div_ceil(WINDOW_BYTES)).unwrap_or(usize::MAX).max(1);
    let stride = files.len().div_ceil(most).max(1);
    // Of few files each shows several of its places: a file of rows has its columns one after the other.
    let places = most.div_ceil(files.len().max(1)) as u64;
    for (file, path, size) in files.iter().step_by(stride) {
        // An empty file has no place.
        let places = places.min(size.div_ceil(WINDOW_BYTES));
        for place in 0..places {
            let part = part_of(*size, places, place);
            let length = WINDOW_BYTES.min(part.end - part.start).min(wanted - taken);
            if length == 0 {
                return windows;
            }
            let offset = part.start + offset_in(path, part.end - part.start, length);
            windows.push(Window { file: *file, offset, length });
            taken += length;
        }
    }
    windows
}

/// One of `parts` parts of a file, all of about the same length.
fn part_of(size: u64, parts: u64, number: u64) -> std::ops::Range<u64> {
    let length = size / parts;
    let start = number * length;
    start..if number + 1 == parts { size } else { start + length }
}

/// An offset that depends on nothing but the file's path and size.
fn offset_in(path: &str, size: u64, length: u64) -> u64 {
    let mut first = [0_u8; 8];
    first.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..8]);
    let room = size - length;
    if room == 0 { 0 } else { u64::from_le_bytes(first) % (room + 1) }
}

/// Plain and encoded bytes of the windows of one stream, by offered codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Bytes sampled.
    pub(crate) plain_bytes: u64,
    /// Bytes each codec made of them, in the order of the offers.
    pub(crate) encoded_bytes: Vec<u64>,
}

impl Measured {
    /// Nothing sampled yet, for `codecs` offered codecs.
    #[must_use]
    pub(crate) fn nothing(codecs: usize) -> Self {
        Self { plain_bytes: 0, encoded_bytes: vec![0; codecs] }
    }

    /// Adds another measurement of the same codecs.
    pub(crate) fn add(&mut self, other: &Self) {
        self.plain_bytes += other.plain_bytes;
        for (sum, bytes) in self.encoded_bytes.iter_mut().zip(&other.encoded_bytes) {
            *sum += bytes;
        }
    }

    /// The offers that follow from the measurement; a ratio of 1 where nothing was sampled.
    #[must_use]
    pub(crate) fn offers(&self, codecs: &[Codec]) -> Vec<CodecOffer> {
        let ratio = |encoded: u64| {
            let thousandths = self.plain_bytes.saturating_mul(1_000).checked_div(encoded).unwrap_or(1_000);
            u32::try_from(thousandths).unwrap_or(u32::MAX)
        };
        codecs
            .iter()
            .zip(&self.encoded_bytes)
            .map(|(codec, encoded)| CodecOffer::calibrated(*codec, ratio(*encoded)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_stays_within_its_budget_and_within_the_files() {
        let names: Vec<String> = (0..500).map(|number| format!("data_{number}.parquet")).collect();
        let files: Vec<(usize, &str, u64)> = names
            .iter()
            .enumerate()
            .map(|(place, name)| (place, name.as_str(), 1_000 * (place as u64 % 900)))
            .collect();
        let windows = windows(&files, 1024 * 1024);
        let sum: u64 = windows.iter().map(|window| window.length).sum();
        assert!(sum > 512 * 1024 && sum <= 1024 * 1024, "{sum}");
        for window in &windows {
            assert!(window.offset + window.length <= files[window.file].2);
        }
        // Spread: not only the first files, of which a few would fill the budget.
        assert!(windows.iter().any(|window| window.file > 300));
    }

    #[test]
    fn the_same_files_give_the_same_windows() {
        let files = [(0, "a", 10_000_000), (1, "b", 5)];
        assert_eq!(windows(&files, 300_000), windows(&files, 300_000));
        assert_ne!(windows(&[(0, "a", 10_000_000)], 9)[0].offset, windows(&[(0, "c", 10_000_000)], 9)[0].offset);
        assert!(windows(&[], 100).is_empty());
        assert!(windows(&[(0, "a", 0)], 100).is_empty());
    }

    #[test]
    fn of_few_files_each_is_sampled_in_several_places_that_do_not_overlap() {
        for (sizes, budget) in
            [(vec![10_000_000], 131_072), (vec![9_000_000, 70_000, 3], 300_000), (vec![40_000], 131_072)]
        {
            let files: Vec<(usize, &str, u64)> =
                sizes.iter().enumerate().map(|(place, size)| (place, "a", *size)).collect();
            let mut windows = windows(&files, budget);
            let wanted = sizes.iter().sum::<u64>().min(budget);
            let sum: u64 = windows.iter().map(|window| window.length).sum();
            assert!(sum > wanted / 2 && sum <= wanted, "{sum} of {wanted}");
            assert!(windows.len() > sizes.len(), "{windows:?}");
            windows.sort_by_key(|window| (window.file, window.offset));
            let apart =
                |pair: &[Window]| pair[0].file != pair[1].file || pair[0].offset + pair[0].length <= pair[1].offset;
            assert!(windows.windows(2).all(apart), "{windows:?}");
            assert!(windows.iter().all(|window| window.offset + window.length <= sizes[window.file]), "{windows:?}");
        }
    }

    #[test]
    fn ratios_are_plain_over_encoded() {
        let codecs = [Codec::Store, Codec::Lz4];
        let measured = Measured { plain_bytes: 1_190, encoded_bytes: vec![1_190, 1_000] };
        let ratios: Vec<u32> = measured.offers(&codecs).iter().map(|offer| offer.ratio_thousandths).collect();
        assert_eq!(ratios, [1_000, 1_190]);
        assert_eq!(Measured::nothing(2).offers(&codecs)[1].ratio_thousandths, 1_000);
    }
}
