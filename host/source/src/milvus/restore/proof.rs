//! Proof that a collection in the server has the rows of the backup: it is read as a backup would read it, from the files that
//! the server made of what it was given, and its row digest is compared.

use std::collections::HashMap;
use std::sync::Arc;

use super::commit::Commit;
use super::run::Planned;
use super::server::Wait;
use crate::blocking::blocking;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::{CollectionLogs, RowSchema, point};
use crate::rows::{PartitionSums, RowDigest, difference};
use crate::staged::aside;
use crate::{CollectionPoint, Limits, SourceError, StoredBytes};

impl Commit<'_> {
    /// See the module. Right after an import the server may not list everything yet, and a compaction may take files away in
    /// the middle: it is looked at again for a while before it counts as different.
    pub(super) async fn prove(
        &self,
        number: usize,
        planned: &Planned,
        expected: &PartitionSums,
    ) -> Result<(), SourceError> {
        let shared = &self.inner.target.shared;
        let mut wait = Wait::new(&shared.limits, shared.limits.proof_patience_ms);
        loop {
            let found = async {
                let point: Arc<dyn CollectionPoint> = Arc::new(point::open(shared, &planned.temporary_name()).await?);
                count(point, RowTally::none(), &shared.limits).await
            };
            let error = match found.await {
                Ok((found, _)) => match difference(expected, &found) {
                    None => return Ok(()),
                    Some(what) if wait.is_over() => return Err(self.differs(number, planned, what).await),
                    Some(what) => planned.differs(&what),
                },
                Err(error @ (SourceError::FileChanged { .. } | SourceError::KeepsChanging { .. })) => error,
                Err(error) => return Err(error),
            };
            if !wait.more().await {
                return Err(error);
            }
        }
    }

    /// The error for a collection that is not what was backed up, with how many rows are missing and how many are too many
    /// where that can be told: both sides are read once more.
    async fn differs(&self, number: usize, planned: &Planned, what: String) -> SourceError {
        let shared = &self.inner.target.shared;
        if planned.lite.is_some() {
            // What was staged of it is not read as a server's files are.
            return planned.differs(&what);
        }
        let compared = async {
            let inner = Arc::clone(self.inner);
            let staged = self.inner.staged()?;
            let tally = aside::work(&staged, move |_| {
                let mut tally = RowTally::new(&inner.target.shared.limits);
                inner.read_back(number, &mut |row| tally.add(row))?;
                Ok(tally)
            });
            let tally = tally.await?;
            let point: Arc<dyn CollectionPoint> = Arc::new(point::open(shared, &planned.temporary_name()).await?);
            Ok::<_, SourceError>(count(point, tally.other_side(), &shared.limits).await?.1.told())
        };
        match compared.await {
            Ok(Some((missing, extra))) => {
                planned.differs(&format!("{what}; {missing} rows are missing and {extra} are too many"))
            }
            Ok(None) => planned.differs(&what),
            Err(error) => {
                tracing::warn!(%error, collection = %planned.name, "which rows differ cannot be told");
                planned.differs(&what)
            }
        }
    }
}

/// Rows of two sides, matched against each other.
pub(super) struct RowTally {
    /// How often a row is on the first side more than on the second.
    rows: HashMap<[u8; 16], i64>,
    step: i64,
    most: usize,
    /// Whether there were more than can be held.
    is_full: bool,
}

/// Memory of one row in it, its share of empty places and of the copy while the table grows included.
const ROW_BYTES: u64 = 84;

impl RowTally {
    /// Holds as many rows as the memory for counting has room for.
    pub(super) fn new(limits: &Limits) -> Self {
        let most = usize::try_from(limits.count_memory_bytes / ROW_BYTES).unwrap_or(usize::MAX);
        Self { rows: HashMap::new(), step: 1, most, is_full: false }
    }

    /// Holds none.
    fn none() -> Self {
        Self { rows: HashMap::new(), step: 0, most: 0, is_full: true }
    }

    pub(super) fn add(&mut self, row: &RowDigest) {
        if self.is_full {
            return;
        }
        *self.rows.entry(row.short()).or_default() += self.step;
        if self.rows.len() > self.most {
            self.rows = HashMap::new();
            self.is_full = true;
        }
    }

    /// What is added from here on is of the other side.
    fn other_side(self) -> Self {
        Self { step: -1, ..self }
    }

    /// Rows of the first side that the second lacks, and the other way round; `None` when there were too many to tell.
    fn told(&self) -> Option<(u64, u64)> {
        let sum = |sign: i64| self.rows.values().map(|more| u64::try_from(more * sign).unwrap_or(0)).sum();
        (!self.is_full).then(|| (sum(1), sum(-1)))
    }
}

/// Live rows of an opened collection by name of partition, and each of them in the tally.
async fn count(
    point: Arc<dyn CollectionPoint>,
    mut tally: RowTally,
    limits: &Limits,
) -> Result<(PartitionSums, RowTally), SourceError> {
    let (shown, limits) = (point.name().to_string(), *limits);
    let schema = KeptSchema::read(point.schema(), &shown)?;
    let kept = KeptPoint::read(point.description(), &shown)?;
    let rows = RowSchema::of(&schema.decode(&shown)?, &shown)?;
    blocking(&shown.clone(), move || {
        let runtime = tokio::runtime::Handle::current();
        let files = point.files().iter().enumerate().map(|(file, entry)| {
            let bytes = PointBytes { point: Arc::clone(&point), file, runtime: runtime.clone() };
            entry.stored(Arc::new(bytes))
        });
        let name_of = |id: i64| kept.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
        let logs = CollectionLogs::of(&files.collect::<Vec<_>>())?;
        let counted = logs.count_each(&rows, &name_of, None, &limits, &mut |row| tally.add(row))?;
        let sums = counted.partitions.into_iter().filter_map(|(id, rows)| Some((name_of(id)?, rows.live)));
        Ok((sums.collect(), tally))
    })
    .await
}

/// A file of a point, read on a thread that may wait.
struct PointBytes {
    point: Arc<dyn CollectionPoint>,
    file: usize,
    runtime: tokio::runtime::Handle,
}

impl StoredBytes for PointBytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let read = match self.point.reading(self.file, offset, buffer.len()) {
            Some(reading) => reading(),
            None => self.runtime.block_on(self.point.read(self.file, offset, buffer.len())),
        };
        let bytes = read.map_err(std::io::Error::other)?;
        if bytes.len() != buffer.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::FieldName;

    fn row(value: u8) -> RowDigest {
        let mut row = RowDigest::new("p");
        row.add(&FieldName::new("f"), Some(&[value]));
        row
    }

    #[test]
    fn a_row_that_is_there_twice_and_one_that_is_another_are_told() {
        let mut tally = RowTally::new(&Limits::DEFAULT);
        [1, 2, 3, 3, 4].iter().for_each(|value| tally.add(&row(*value)));
        let mut tally = tally.other_side();
        [4, 3, 2, 2, 9].iter().for_each(|value| tally.add(&row(*value)));
        // 1 and one 3 are missing; one 2 and 9 are too many.
        assert_eq!(tally.told(), Some((2, 2)));
        let mut small = RowTally::new(&Limits { count_memory_bytes: ROW_BYTES, ..Limits::DEFAULT });
        [1, 2].iter().for_each(|value| small.add(&row(*value)));
        assert_eq!(small.told(), None);
    }
}
