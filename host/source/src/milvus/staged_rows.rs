//! Staged files of a collection, read back: their digests, and the rows in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::Digest;

use super::kept::KeptPoint;
use super::{CollectionLogs, CountedRows, RowSchema};
use crate::disk::ReadAt;
use crate::rows::RowDigest;
use crate::staged::StagedFiles;
use crate::{Limits, RowSum, SourceError, StoredBytes, StoredFile};

/// Live rows of a collection by name of partition.
pub(super) type PartitionSums = BTreeMap<String, RowSum>;

/// What was read back.
pub(super) struct ReadBack {
    /// Of each file, in the plan's order.
    pub(super) digests: Vec<Digest>,
    /// As they are up to the cut.
    pub(super) live: PartitionSums,
    pub(super) total: CountedRows,
}

/// Reads every file back, and counts rows up to `cut`; `visit` is told of each live one. Blocks.
///
/// # Errors
/// [`SourceError::Damaged`] and what else [`CollectionLogs::count`] fails with; failures of reading.
pub(super) fn read_back(
    files: &Arc<StagedFiles>,
    collection: usize,
    schema: &RowSchema,
    point: &KeptPoint,
    cut: Option<u64>,
    limits: &Limits,
    visit: &mut dyn FnMut(&RowDigest),
) -> Result<ReadBack, SourceError> {
    let mut stored = Vec::new();
    let digests = files.read_back(collection, &mut |entry, file| {
        // Closed again: there can be more files than descriptors.
        let size_bytes = file.stat.size_bytes;
        drop(file);
        let bytes = Arc::new(StagedBytes { files: Arc::clone(files), collection, file: stored.len() });
        stored.push(StoredFile { path: entry.path.clone(), class: entry.class, size_bytes, bytes });
        Ok(())
    })?;
    let name_of = |id: i64| point.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
    let counted = CollectionLogs::of(&stored)?.count_each(schema, &name_of, cut, limits, visit)?;
    let total = counted.values().copied().fold(CountedRows::default(), CountedRows::plus);
    let live = counted.into_iter().filter_map(|(id, rows)| Some((name_of(id)?, rows.live))).collect();
    Ok(ReadBack { digests, live, total })
}

/// What is different, and by how much. Only live rows are compared: a server drops deleted ones when it imports.
pub(super) fn difference(expected: &PartitionSums, found: &PartitionSums) -> Option<String> {
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

/// A staged file, opened when it is read.
struct StagedBytes {
    files: Arc<StagedFiles>,
    collection: usize,
    file: usize,
}

impl StoredBytes for StagedBytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let file = self.files.open(self.collection, self.file).map_err(std::io::Error::other)?;
        file.file.fill(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rows::FieldName;

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
