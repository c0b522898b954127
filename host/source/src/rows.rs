//! The digest of a collection's rows: the one definition for all kinds of clusters.
//!
//! Contract: two collections have the same digest exactly if the same rows are in the same partitions (but for collisions of
//! BLAKE3), whatever the order of rows and of fields, however they are split into files, and whatever numbers and
//! timestamps the server gave them. A row counts as often as it is there: a set of rows and the same set with one row twice
//! differ.
//!
//! A row's own digest begins as the BLAKE3 of `longshore row 1` and its partition's name; then, for each field in order of
//! name, it becomes the BLAKE3 of itself, the length of the field's name (32 bits), the name, and one byte 0 for a
//! missing value, or one byte 1 and the value. Integers are 64-bit little-endian, truth is one byte, fractions are
//! little-endian in their own width, text, JSON and vectors are their bytes, and an array is its elements, each behind its
//! length (32 bits). The digest of a collection is the sum of its rows' digests as 256-bit little-endian numbers, the carry beyond left out.

use std::collections::BTreeMap;

use longshore_model::Digest;
use serde::{Deserialize, Serialize};

const ROW: &[u8] = b"longshore row 1";

/// The sum over rows: how many there are, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RowSum {
    /// Rows in it.
    pub rows: u64,
    /// The sum of their digests.
    digest: SumDigest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct SumDigest(Digest);

impl Default for SumDigest {
    fn default() -> Self {
        Self(Digest::new([0; 32]))
    }
}

impl RowSum {
    /// The digest alone.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest.0
    }

    /// Adds one row.
    pub(crate) fn add(&mut self, row: &RowDigest) {
        self.rows = self.rows.saturating_add(1);
        self.digest.0 = Digest::new(sum(self.digest.0.as_bytes(), &row.0));
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let digest = SumDigest(Digest::new(sum(self.digest.0.as_bytes(), other.digest.0.as_bytes())));
        Self { rows: self.rows.saturating_add(other.rows), digest }
    }
}

/// Rows by name of partition.
pub(crate) type PartitionSums = BTreeMap<String, RowSum>;

/// What is different, and by how much.
pub(crate) fn difference(expected: &PartitionSums, found: &PartitionSums) -> Option<String> {
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for partition in names {
        let of = |rows: &PartitionSums| rows.get(partition).copied().unwrap_or_default();
        let (wanted, there) = (of(expected), of(found));
        if there.rows != wanted.rows {
            let (more, which) =
                (there.rows.abs_diff(wanted.rows), if there.rows < wanted.rows { "fewer" } else { "more" });
            return Some(format!(
                "partition {partition} has {} live rows, {more} {which} than the {} of the backup",
                there.rows, wanted.rows
            ));
        }
        if there.digest() != wanted.digest() {
            return Some(format!(
                "the {} live rows of partition {partition} are not those of the backup: their digest is {}, and was {}",
                there.rows,
                there.digest(),
                wanted.digest()
            ));
        }
    }
    None
}

fn sum(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut total = [0; 32];
    let mut carry = 0_u16;
    for ((to, left), right) in total.iter_mut().zip(left).zip(right) {
        let digit = u16::from(*left) + u16::from(*right) + carry;
        let [low, high] = digit.to_le_bytes();
        *to = low;
        carry = high.into();
    }
    total
}

/// The digest of one row, while its fields are added in order of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowDigest([u8; 32]);

impl RowDigest {
    /// A row of a partition, without fields.
    pub(crate) fn new(partition: &str) -> Self {
        Self(*blake3::Hasher::new().update(ROW).update(partition.as_bytes()).finalize().as_bytes())
    }

    /// A part of it that tells rows apart: two of a billion are the same with a probability of 10^-21.
    pub(crate) fn short(&self) -> [u8; 16] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    /// Adds the next field.
    pub(crate) fn add(&mut self, field: &FieldName, value: Option<&[u8]>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&field.0);
        match value {
            None => hasher.update(&[0]),
            Some(value) => hasher.update(&[1]).update(value),
        };
        self.0 = *hasher.finalize().as_bytes();
    }
}

/// A field's name as it goes into rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldName(Vec<u8>);

impl FieldName {
    pub(crate) fn new(name: &str) -> Self {
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes();
        Self([&length, name.as_bytes()].concat())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(partition: &str, fields: &[(&str, Option<&[u8]>)]) -> RowDigest {
        let mut row = RowDigest::new(partition);
        fields.iter().for_each(|(name, value)| row.add(&FieldName::new(name), *value));
        row
    }

    #[test]
    fn order_and_grouping_do_not_matter_and_everything_else_does() {
        let rows = [row("a", &[("x", Some(b"1"))]), row("a", &[("x", Some(b"2"))]), row("a", &[("x", None)])];
        let sum_of = |places: &[usize]| {
            let mut sum = RowSum::default();
            places.iter().for_each(|place| sum.add(&rows[*place]));
            sum
        };
        assert_eq!(sum_of(&[0, 1, 2]), sum_of(&[2, 0, 1]));
        assert_eq!(sum_of(&[0, 1]).plus(sum_of(&[2])), sum_of(&[0, 1, 2]));
        assert_ne!(sum_of(&[0, 0]).digest(), sum_of(&[1, 1]).digest());
        assert_ne!(sum_of(&[0]).digest(), sum_of(&[0, 0, 0]).digest(), "a row three times");
        let different = [
            row("a", &[("x", Some(b"1"))]),
            row("b", &[("x", Some(b"1"))]),
            row("a", &[("y", Some(b"1"))]),
            row("a", &[("x", Some(b""))]),
            row("a", &[("x", None)]),
            row("a", &[("x", Some(b"1")), ("y", None)]),
        ];
        for (place, one) in different.iter().enumerate() {
            assert!(different.iter().skip(place + 1).all(|other| other != one), "{place}");
        }
    }

    #[test]
    fn the_sum_carries_from_byte_to_byte() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut carried = [0; 32];
        carried[1] = 1;
        let mut full = [0; 32];
        full[0] = 255;
        assert_eq!(sum(&full, &one), carried);
        assert_eq!(sum(&[255; 32], &one), [0; 32]);
    }

    #[test]
    fn a_difference_names_the_partition_and_by_how_much() {
        let sum = |values: &[u8]| {
            let mut sum = RowSum::default();
            values.iter().for_each(|value| {
                let mut row = RowDigest::new("p");
                row.add(&FieldName::new("f"), Some(&[*value]));
                sum.add(&row);
            });
            PartitionSums::from([("p".to_owned(), sum)])
        };
        assert_eq!(difference(&sum(&[1, 2]), &sum(&[2, 1])), None);
        let fewer = difference(&sum(&[1, 2, 3]), &sum(&[1])).unwrap();
        assert_eq!(fewer, "partition p has 1 live rows, 2 fewer than the 3 of the backup");
        assert!(difference(&sum(&[]), &sum(&[1])).unwrap().contains("1 more than the 0"));
        assert!(difference(&sum(&[1]), &sum(&[2])).unwrap().contains("the 1 live rows of partition p are not those"));
        assert!(difference(&sum(&[1]), &PartitionSums::new()).unwrap().contains("1 fewer"));
    }
}
