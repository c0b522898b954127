//! Staged files of a collection, read back: their digests, and the rows in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::Digest;

use super::kept::KeptPoint;
use super::{CollectionLogs, CountedRows, RowSchema};
use crate::disk::ReadAt;
use crate::staged::StagedFiles;
use crate::{Limits, SourceError, StoredBytes, StoredFile};

/// Rows of a collection by name of partition.
pub(super) type PartitionRows = BTreeMap<String, CountedRows>;

/// What was read back.
pub(super) struct ReadBack {
    /// Of each file, in the plan's order.
    pub(super) digests: Vec<Digest>,
    /// As they are up to the cut.
    pub(super) rows: PartitionRows,
    pub(super) total: CountedRows,
}

/// Reads every file back, and counts rows up to `cut`. Blocks.
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
    let counted = CollectionLogs::of(&stored)?.count(schema, &name_of, cut, limits)?;
    let total = counted.values().copied().fold(CountedRows::default(), CountedRows::plus);
    let rows = counted.into_iter().filter_map(|(id, rows)| Some((name_of(id)?, rows))).collect();
    Ok(ReadBack { digests, rows, total })
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
