//! Bytes, ratios and money, in whole numbers: the same on every machine, and never a panic. Sums saturate; whatever is
//! paid or stored is rounded up, so that an estimate is never below what it estimates.

use crate::facts::{ClassBytes, CodecOffer, Region};

/// Bytes in a gigabyte, as prices count them.
pub const GB: u64 = 1_000_000_000;
/// Millionths in one unit of the currency.
pub const MICROS: u64 = 1_000_000;

/// `value × numerator ÷ denominator`, rounded up, without overflow on the way. A denominator of 0 counts as 1.
///
/// ```
/// # use longshore_plugin::cost::scaled;
/// assert_eq!(scaled(10, 1, 3), 4);
/// assert_eq!(scaled(u64::MAX, 7, 7), u64::MAX);
/// ```
#[must_use]
pub fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let exact = (u128::from(value) * u128::from(numerator)).div_ceil(u128::from(denominator.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// What bytes cost at a price per gigabyte, in millionths of the currency unit.
///
/// ```
/// # use longshore_plugin::cost::{GB, price_micros};
/// assert_eq!(price_micros(5 * GB, 20_000), 100_000);
/// assert_eq!(price_micros(1, 20_000), 1);
/// ```
#[must_use]
pub fn price_micros(bytes: u64, micros_per_gb: u64) -> u64 {
    scaled(bytes, micros_per_gb, GB)
}

/// An amount of money as a person reads it, with two decimals, rounded to the nearest.
///
/// ```
/// # use longshore_plugin::cost::format_micros;
/// assert_eq!(format_micros(12_345_678), "12.35");
/// ```
#[must_use]
pub fn format_micros(micros: u64) -> String {
    let hundredths = micros.saturating_add(5_000) / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A number of bytes as a person reads it, in decimal units with one decimal, rounded down.
///
/// ```
/// # use longshore_plugin::cost::format_bytes;
/// assert_eq!(format_bytes(999), "999 bytes");
/// assert_eq!(format_bytes(1_250_000_000), "1.2 GB");
/// ```
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let units = [(GB * 1_000_000, "PB"), (GB * 1_000, "TB"), (GB, "GB"), (GB / 1_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

impl ClassBytes {
    /// All classes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.backed_up(true)
    }

    /// What a backup takes, with or without index files.
    #[must_use]
    pub fn backed_up(&self, include_index_files: bool) -> u64 {
        let index = if include_index_files { self.index } else { 0 };
        [self.segment, index, self.delta, self.wal, self.metadata].into_iter().fold(0, u64::saturating_add)
    }

    /// One class by its name in the contract; `None` for a name that it does not have.
    #[must_use]
    pub fn of(&self, class: &str) -> Option<u64> {
        match class {
            "segment" => Some(self.segment),
            "index" => Some(self.index),
            "delta" => Some(self.delta),
            "wal" => Some(self.wal),
            "metadata" => Some(self.metadata),
            _ => None,
        }
    }
}

impl CodecOffer {
    /// Bytes that plain bytes take when they are stored with it. A ratio of 0, which no host measures, counts as 1.
    #[must_use]
    pub fn stored_bytes(&self, plain_bytes: u64) -> u64 {
        match self.ratio_thousandths {
            0 => plain_bytes,
            ratio => scaled(plain_bytes, 1_000, u64::from(ratio)),
        }
    }

    /// What it saves, in thousandths of the plain bytes, rounded down; 0 where it saves nothing.
    #[must_use]
    pub fn saving_thousandths(&self) -> u32 {
        let ratio = u64::from(self.ratio_thousandths.max(1_000));
        u32::try_from((ratio - 1_000) * 1_000 / ratio).unwrap_or(0)
    }
}

impl Region {
    /// Price of keeping bytes there for a month, in millionths of the currency unit.
    #[must_use]
    pub fn storage_micros_per_month(&self, bytes: u64) -> u64 {
        price_micros(bytes, self.storage_price_micros_per_gb_month)
    }

    /// Price of moving bytes there from the home region, in millionths of the currency unit; nothing for the home region.
    #[must_use]
    pub fn transfer_micros(&self, bytes: u64) -> u64 {
        if self.home { 0 } else { price_micros(bytes, self.transfer_price_micros_per_gb) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_numbers_saturate() {
        let all = ClassBytes { segment: u64::MAX, index: 1, delta: 1, wal: 1, metadata: 1 };
        assert_eq!((all.total(), all.backed_up(false)), (u64::MAX, u64::MAX));
        assert_eq!(price_micros(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!((scaled(7, 3, 0), format_micros(u64::MAX).len()), (21, 17));
        assert_eq!(format_bytes(u64::MAX), "18446.7 PB");
    }

    #[test]
    fn index_files_count_only_where_they_are_taken_and_every_class_has_its_name() {
        let bytes = ClassBytes { segment: 1, index: 2, delta: 4, wal: 8, metadata: 16 };
        assert_eq!((bytes.total(), bytes.backed_up(false)), (31, 29));
        let named = ["segment", "index", "delta", "wal", "metadata", "binlog"].map(|class| bytes.of(class));
        assert_eq!(named, [Some(1), Some(2), Some(4), Some(8), Some(16), None]);
    }

    #[test]
    fn ratios_become_stored_bytes_and_savings() {
        let offer = |ratio_thousandths| CodecOffer { ratio_thousandths, ..CodecOffer::default() };
        assert_eq!(
            [2_000, 1_190, 1_000, 900, 0].map(|ratio| offer(ratio).stored_bytes(1_000)),
            [500, 841, 1_000, 1_112, 1_000]
        );
        assert_eq!([2_000, 1_190, 1_000, 900, 0].map(|ratio| offer(ratio).saving_thousandths()), [500, 159, 0, 0, 0]);
        assert_eq!(offer(u32::MAX).saving_thousandths(), 999);
    }

    #[test]
    fn the_home_region_has_no_transfer() {
        let region =
            Region { transfer_price_micros_per_gb: 10, storage_price_micros_per_gb_month: 3, ..Region::default() };
        assert_eq!((region.storage_micros_per_month(2 * GB), region.transfer_micros(2 * GB)), (6, 20));
        assert_eq!(Region { home: true, ..region }.transfer_micros(2 * GB), 0);
    }
}
