//! Some rows of a collection between two kinds of clusters, column by column.
//!
//! Values are in the one form that the digest of rows defines (`src/rows.rs`), whatever the files they come from or go to: so
//! what is written and what is compared cannot be two things.

use std::collections::BTreeMap;

use crate::RowSum;
use crate::rows::{FieldName, PartitionSums, RowDigest};

/// Rows that are read, converted and written at once.
pub(crate) const PIECE_ROWS: usize = 1_024;

/// The values of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Column {
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`, and whether it is there at all.
    values: Vec<(usize, bool)>,
}

impl Column {
    /// Adds the next row's value; `None` for a missing one.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.values.push((self.bytes.len(), value.is_some()));
    }

    /// The value of a row: `None` when it is missing.
    pub(crate) fn value(&self, row: usize) -> Option<&[u8]> {
        let (end, is_there) = self.values.get(row)?;
        let start = row.checked_sub(1).and_then(|before| self.values.get(before)).map_or(0, |(end, _)| *end);
        self.bytes.get(start..*end).filter(|_| *is_there)
    }

    /// All values in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.values.len()).map(|row| self.value(row))
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// Rows of one partition: a column for each field, in order of the fields' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Column>,
}

impl Piece {
    /// The memory of its values.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.bytes.len() + column.values.len() * size_of::<(usize, bool)>()).sum()
    }

    /// The digest of each row, as one of this partition. `names` are those of the columns.
    pub(crate) fn digests(&self, names: &[FieldName], partition: &str) -> Vec<RowDigest> {
        let mut rows = vec![RowDigest::new(partition); self.rows];
        for (name, column) in names.iter().zip(&self.columns) {
            rows.iter_mut().zip(column.iter()).for_each(|(row, value)| row.add(name, value));
        }
        rows
    }

    /// Adds its rows to those of a partition.
    pub(crate) fn add_to(&self, sums: &mut PartitionSums, names: &[FieldName], partition: &str) {
        let sum = sums.entry(partition.to_owned()).or_default();
        self.digests(names, partition).iter().for_each(|row| sum.add(row));
    }

    /// The same rows by where `place_of` puts each.
    pub(crate) fn spread(&self, place_of: &dyn Fn(usize) -> usize) -> BTreeMap<usize, Self> {
        let mut parts: BTreeMap<usize, Self> = BTreeMap::new();
        for row in 0..self.rows {
            let empty = || Self { rows: 0, columns: vec![Column::default(); self.columns.len()] };
            let part = parts.entry(place_of(row)).or_insert_with(empty);
            part.rows += 1;
            part.columns.iter_mut().zip(&self.columns).for_each(|(to, from)| to.push(from.value(row)));
        }
        parts
    }
}

/// All sums together.
pub(crate) fn total(sums: &PartitionSums) -> RowSum {
    sums.values().copied().fold(RowSum::default(), RowSum::plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[Option<&[u8]>]) -> Column {
        let mut column = Column::default();
        values.iter().for_each(|value| column.push(*value));
        column
    }

    #[test]
    fn values_come_back_as_they_were_and_missing_ones_are_no_empty_ones() {
        let values: [Option<&[u8]>; 5] = [Some(b"a"), None, Some(b""), Some(b"bcd"), None];
        let column = column(&values);
        assert_eq!(column.iter().collect::<Vec<_>>(), values);
        assert_eq!((column.len(), column.value(5)), (5, None));
    }

    #[test]
    fn rows_that_are_spread_are_the_same_rows() {
        let piece = Piece {
            rows: 3,
            columns: vec![column(&[Some(b"1"), Some(b"2"), Some(b"3")]), column(&[None, Some(b"x"), Some(b"")])],
        };
        let names = [FieldName::new("a"), FieldName::new("b")];
        let parts = piece.spread(&|row| row % 2);
        assert_eq!(parts.values().map(|part| part.rows).collect::<Vec<_>>(), [2, 1]);
        let (mut whole, mut spread) = (PartitionSums::new(), PartitionSums::new());
        piece.add_to(&mut whole, &names, "p");
        parts.values().for_each(|part| part.add_to(&mut spread, &names, "p"));
        assert_eq!(whole, spread);
        let mut other = PartitionSums::new();
        piece.add_to(&mut other, &names, "q");
        assert_ne!(total(&whole), total(&other), "another partition");
    }
}
