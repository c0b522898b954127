//! Staged files of a collection, read back: their digests, and the rows in them.

use longshore_model::Digest;

use super::kept::KeptPoint;
use super::rows::CountedCollection;
use super::{CollectionLogs, CountedRows, RowSchema};
use crate::rows::{PartitionSums, RowDigest};
use crate::staged::{self, StagedFiles};
use crate::{Limits, SourceError, StoredFile};

/// What was read back.
pub(super) struct ReadBack {
    /// Of each file, in the plan's order.
    pub(super) digests: Vec<Digest>,
    /// As they are up to the cut.
    pub(super) live: PartitionSums,
    pub(super) total: CountedRows,
    /// The files, to be read once more.
    pub(super) stored: Vec<StoredFile>,
    /// What they follow from, segment by segment.
    pub(super) counted: CountedCollection,
}

/// Reads every file back, and counts rows up to `cut`; `visit` is told of each live one. Blocks.
///
/// # Errors
/// [`SourceError::Damaged`] and what else [`CollectionLogs::count`] fails with; failures of reading.
pub(super) fn read_back(
    files: &StagedFiles,
    collection: usize,
    schema: &RowSchema,
    point: &KeptPoint,
    cut: Option<u64>,
    limits: &Limits,
    visit: &mut dyn FnMut(&RowDigest),
) -> Result<ReadBack, SourceError> {
    let (digests, stored) = staged::stored_back(files, collection)?;
    let name_of = |id: i64| point.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
    let counted = CollectionLogs::of(&stored)?.count_each(schema, &name_of, cut, limits, visit)?;
    let total = counted.partitions.values().copied().fold(CountedRows::default(), CountedRows::plus);
    let live = counted.partitions.iter().filter_map(|(id, rows)| Some((name_of(*id)?, rows.live))).collect();
    Ok(ReadBack { digests, live, total, stored, counted })
}
