//! Measures what codecs would save on a stream, on a sample of its new files.
//!
//! Contract: which bytes are sampled follows from the files alone (their paths and sizes), so that the same files give
//! the same facts on every machine. Speeds come from a fixed calibration, never from the clock of this run: choices
//! must not flap. Only files that no earlier backup holds are sampled.

use longshore_model::{Codec, CodecOffer, FileClass};

/// Bytes read at once when sampling. Large enough for a codec to show what it can do.
const WINDOW_BYTES: u64 = 64 * 1024;

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
    for (file, path, size) in files.iter().step_by(stride) {
        if taken >= wanted {
            break;
        }
        let length = WINDOW_BYTES.min(*size).min(wanted - taken);
        if length == 0 {
            continue;
        }
        windows.push(Window { file: *file, offset: offset_in(path, *size, length), length });
        taken += length;
    }
    windows
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
    fn ratios_are_plain_over_encoded() {
        let codecs = [Codec::Store, Codec::Lz4];
        let measured = Measured { plain_bytes: 1_190, encoded_bytes: vec![1_190, 1_000] };
        let ratios: Vec<u32> = measured.offers(&codecs).iter().map(|offer| offer.ratio_thousandths).collect();
        assert_eq!(ratios, [1_000, 1_190]);
        assert_eq!(Measured::nothing(2).offers(&codecs)[1].ratio_thousandths, 1_000);
    }
}
