//! Proof that a collection in the server has the rows of the backup: it is read as a backup would read it, from the files that
//! the server made of what it was given, and its row digest is compared.

use std::sync::Arc;

use super::commit::Commit;
use super::run::Planned;
use super::server::Wait;
use crate::blocking::blocking;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::staged_rows::PartitionRows;
use crate::milvus::{CollectionLogs, CountedRows, RowSchema, point};
use crate::{CollectionPoint, Limits, SourceError, StoredBytes, StoredFile};

impl Commit<'_> {
    /// See the module. Right after an import the server may not list everything yet, and a compaction may take files away in
    /// the middle: it is looked at again for a while before it counts as different.
    pub(super) async fn prove(&self, planned: &Planned, expected: &PartitionRows) -> Result<(), SourceError> {
        let shared = &self.inner.target.shared;
        let mut wait = Wait::new(&shared.limits, shared.limits.proof_patience_ms);
        loop {
            let found = async {
                let point: Arc<dyn CollectionPoint> = Arc::new(point::open(shared, &planned.temporary_name()).await?);
                count(point, &shared.limits).await
            };
            let error = match found.await {
                Ok(found) => match difference(expected, &found) {
                    None => return Ok(()),
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
}

/// Rows of an opened collection by name of partition.
pub(super) async fn count(point: Arc<dyn CollectionPoint>, limits: &Limits) -> Result<PartitionRows, SourceError> {
    let (shown, limits) = (point.name().to_string(), *limits);
    let schema = KeptSchema::read(point.schema(), &shown)?;
    let kept = KeptPoint::read(point.description(), &shown)?;
    let rows = RowSchema::of(&schema.decode(&shown)?, &shown)?;
    blocking(&shown.clone(), move || {
        let runtime = tokio::runtime::Handle::current();
        let files: Vec<StoredFile> = point
            .files()
            .iter()
            .enumerate()
            .map(|(file, entry)| StoredFile {
                path: entry.path.clone(),
                class: entry.class,
                size_bytes: entry.size_bytes,
                bytes: Arc::new(PointBytes { point: Arc::clone(&point), file, runtime: runtime.clone() }),
            })
            .collect();
        let name_of = |id: i64| kept.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
        let counted = CollectionLogs::of(&files)?.count(&rows, &name_of, None, &limits)?;
        Ok(counted.into_iter().filter_map(|(id, rows)| Some((name_of(id)?, rows))).collect())
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

/// What is different, and by how much. Only live rows are compared: a server drops deleted ones when it imports.
fn difference(expected: &PartitionRows, found: &PartitionRows) -> Option<String> {
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for partition in names {
        let of = |rows: &PartitionRows| rows.get(partition).copied().unwrap_or_else(CountedRows::default).live;
        let (wanted, there) = (of(expected), of(found));
        if there.rows != wanted.rows {
            let (more, which) =
                (there.rows.abs_diff(wanted.rows), if there.rows < wanted.rows { "fewer" } else { "more" });
            return Some(format!(
                "partition {partition} has {} live rows in the server, {more} {which} than the {} of the backup",
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
