//! One collection of a Milvus server at one consistent point: the state at the timestamp of a flush.
//!
//! Contract: a point holds every row and every delete up to its timestamp and nothing later once a restore cut it there;
//! what was acknowledged before the point was asked for is not later. The segments that the server lists after one flush hold
//! all of that but for rows whose call was under way ([`cut`]): where such rows are found, a second flush makes the server
//! list them, and the point stays at the timestamp of the first. Rows and deletes that came later may be in the same segments;
//! the timestamp, which the description keeps, is where a restore cuts. What holds nothing up to it is left out.
//!
//! Files are not held open: thousands of them cannot be, and in a bucket there is nothing to hold. What vanishes is
//! [`SourceError::FileChanged`], and whoever reads opens the collection again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{CollectionName, Digest, LoadState};
use serde_json::Value;

use super::counted::{count_point, within_limits};
use super::cut;
use super::describe::{Described, describe};
use super::flush::{Flushed, flush};
use super::held::{HeldInMemory, held_in_memory};
use super::kept::{KeptPoint, KeptSchema, KeptSegment};
use super::live::{Counting, PointLog};
use super::rest::{self, SegmentLogIds};
use super::segments::{LogFileEntry, SegmentFiles, flushed_segments, kept, list_files};
use super::shared::{Shared, identity};
use super::storage::LogStorage;
use crate::blocking::blocking;
use crate::{CollectionPoint, CountedPoint, PointFile, PointState, Reading, Recheck, SourceError};

/// See the module.
#[derive(Debug)]
pub(super) struct MilvusPoint {
    shared: Arc<Shared>,
    storage: Stored,
    name: CollectionName,
    schema: Value,
    description: Value,
    files: Vec<PointFile>,
    stored: Vec<String>,
    physical_rows: u64,
    fingerprint: Digest,
}

/// A storage that can be shown.
#[derive(Clone)]
struct Stored(Arc<dyn LogStorage>);

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.shown())
    }
}

/// Why an attempt to open a point is made again.
enum Again {
    /// The collection was altered, or its segments replaced, in the middle.
    Changed(String),
    /// Rows of the point lie in segments that the server does not list before another flush.
    Unlisted,
    Failed(SourceError),
}

impl From<SourceError> for Again {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// Flushes a collection and lists its files.
///
/// # Errors
/// [`SourceError::UnknownCollection`], [`SourceError::KeepsChanging`], [`SourceError::SegmentWithoutFiles`], and what calls
/// and listings fail with.
pub(super) async fn open(shared: &Arc<Shared>, name: &CollectionName) -> Result<MilvusPoint, SourceError> {
    let mut pause = Duration::from_millis(shared.limits.flush_pause_ms);
    let client = shared.client().await?;
    let mut flushed = flush(client, name, &shared.limits).await?.ok_or_else(|| shared.unknown(name))?;
    let mut last = String::new();
    for _ in 0..shared.limits.open_attempts.max(1) {
        match attempt(shared, name, &flushed).await {
            Ok(point) => return Ok(point),
            Err(Again::Failed(error)) => return Err(error),
            Err(Again::Changed(reason)) => last = reason,
            Err(Again::Unlisted) => {
                let second = flush(client, name, &shared.limits).await?.ok_or_else(|| shared.unknown(name))?;
                flushed.complete_with(second);
                continue;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(shared.limits.flush_longest_pause_ms));
    }
    Err(SourceError::KeepsChanging { collection: name.clone(), attempts: shared.limits.open_attempts, reason: last })
}

async fn attempt(shared: &Arc<Shared>, name: &CollectionName, flushed: &Flushed) -> Result<MilvusPoint, Again> {
    let client = shared.client().await?;
    let storage = Arc::clone(shared.storage().await?);
    let gone = || Again::Failed(shared.unknown(name));
    let described = describe(client, name).await?.ok_or_else(gone)?;
    let before = flushed_segments(client, name, described.collection_id).await?.ok_or_else(gone)?;
    let mut listed = list_files(storage.as_ref(), described.collection_id, kept(&before)).await?;
    let named = named_logs(shared, name, described.collection_id, &listed.segments).await?;
    let after = flushed_segments(client, name, described.collection_id).await?.ok_or_else(gone)?;
    let still_there = |segment: &KeptSegment| after.iter().any(|other| other.segment_id == segment.segment_id);
    if let Some(segment) = listed.segments.iter().find(|segment| !still_there(segment)) {
        return Err(Again::Changed(format!("segment {} was replaced by a compaction", segment.segment_id)));
    }
    let again = describe(client, name).await?.ok_or_else(gone)?;
    if again.fingerprint() != described.fingerprint() {
        return Err(Again::Changed("it was altered".to_owned()));
    }
    if let Some(named) = named {
        listed = named.keep_of(listed, name)?;
    }
    if !flushed.is_complete && cut::has_unlisted_rows(flushed, &listed, &storage, shared).await? {
        return Err(Again::Unlisted);
    }
    listed.check_complete(name, &described, storage.as_ref())?;
    let listed = cut::up_to(flushed, listed, &storage, shared).await?;
    let held = held_in_memory(client, name, &described).await?;
    Ok(point(shared, storage, name, (&described, held), flushed, client.version_text(), listed))
}

/// The logs that segments have, where the server tells.
async fn named_logs(
    shared: &Shared,
    name: &CollectionName,
    collection_id: i64,
    segments: &[KeptSegment],
) -> Result<Option<SegmentLogIds>, SourceError> {
    if !shared.client().await?.describes_segments() {
        return Ok(None);
    }
    let ids: Vec<i64> = segments.iter().map(|segment| segment.segment_id).collect();
    rest::segment_logs(&shared.server.address, name, collection_id, &ids, &shared.limits).await
}

fn point(
    shared: &Arc<Shared>,
    storage: Arc<dyn LogStorage>,
    name: &CollectionName,
    (described, held): (&Described, HeldInMemory),
    flushed: &Flushed,
    version: &str,
    listed: SegmentFiles,
) -> MilvusPoint {
    let physical_rows = listed.rows();
    let files = listed.files.iter().map(|file| point_file(storage.as_ref(), described, file)).collect();
    let description = KeptPoint {
        server_version: version.to_owned(),
        collection_id: described.collection_id,
        flush_timestamp: flushed.timestamp,
        loaded: described.load_state == LoadState::Loaded,
        replicas: held.replicas,
        loaded_partitions: held.partitions,
        partitions: described.partitions.clone(),
        segments: listed.segments,
    };
    MilvusPoint {
        shared: Arc::clone(shared),
        storage: Stored(storage),
        name: name.clone(),
        schema: serde_json::to_value(&described.schema).unwrap_or_default(),
        description: serde_json::to_value(description).unwrap_or_default(),
        files,
        stored: listed.files.into_iter().map(|file| file.stored).collect(),
        physical_rows,
        fingerprint: described.fingerprint(),
    }
}

fn point_file(storage: &dyn LogStorage, described: &Described, file: &LogFileEntry) -> PointFile {
    let partition = described.partitions.iter().find(|partition| partition.partition_id == file.log.partition_id);
    PointFile {
        path: file.log.to_string(),
        class: file.log.class(),
        partition: partition.map(|partition| partition.name.clone()),
        size_bytes: file.listed.size_bytes,
        identity: Some(identity(storage, file)),
        rows: None,
    }
}

impl MilvusPoint {
    /// The stored path of a piece of a file.
    fn piece(&self, file: usize, offset: u64, length: usize) -> Result<&str, SourceError> {
        let (Some(entry), Some(stored)) = (self.files.get(file), self.stored.get(file)) else {
            let path = format!("file {file} of {}", self.name);
            return Err(SourceError::OutOfRange { path, offset, end: offset, size_bytes: 0 });
        };
        let end = offset.saturating_add(length as u64);
        if end > entry.size_bytes {
            let path = entry.path.clone();
            return Err(SourceError::OutOfRange { path, offset, end, size_bytes: entry.size_bytes });
        }
        if length as u64 > self.shared.limits.read_bytes {
            let (path, what, limit) =
                (entry.path.clone(), "the length of one read in bytes", self.shared.limits.read_bytes);
            return Err(SourceError::LimitExceeded { path, what, used: length as u64, limit });
        }
        Ok(stored)
    }

    fn later(&self) -> Later {
        Later { shared: Arc::clone(&self.shared), name: self.name.clone(), fingerprint: self.fingerprint }
    }
}

#[async_trait]
impl CollectionPoint for MilvusPoint {
    fn name(&self) -> &CollectionName {
        &self.name
    }

    fn files(&self) -> &[PointFile] {
        &self.files
    }

    fn schema(&self) -> &Value {
        &self.schema
    }

    fn description(&self) -> &Value {
        &self.description
    }

    fn physical_rows(&self) -> u64 {
        self.physical_rows
    }

    async fn live_rows(&self, _memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        let shown = self.name.to_string();
        let counting = Counting {
            storage: Arc::clone(&self.storage.0),
            schema: KeptSchema::read(&self.schema, &shown)?,
            point: KeptPoint::read(&self.description, &shown)?,
            files: self.files.clone(),
            stored: self.stored.clone(),
            runtime: tokio::runtime::Handle::current(),
            limits: self.shared.limits,
        };
        within_limits(&shown, blocking(&shown, move || counting.run()).await)
    }

    fn digests_rows(&self) -> bool {
        true
    }

    async fn count_rows(
        &self,
        digests: &[Digest],
        earlier: Option<&Value>,
    ) -> Result<Option<CountedPoint>, SourceError> {
        let runtime = tokio::runtime::Handle::current();
        let files = self.files.iter().zip(&self.stored).map(|(file, stored)| {
            let storage = Arc::clone(&self.storage.0);
            file.stored(Arc::new(PointLog { storage, stored: stored.clone(), runtime: runtime.clone() }))
        });
        count_point(self, files.collect(), digests, earlier, self.shared.limits).await
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let stored = self.piece(file, offset, length)?;
        self.storage.0.read(stored, offset, length).await
    }

    fn reading(&self, file: usize, offset: u64, length: usize) -> Option<Reading> {
        // What cannot be read says so when it is read.
        self.storage.0.reading(self.piece(file, offset, length).ok()?, offset, length)
    }

    fn holds_all_files(&self) -> bool {
        false
    }

    fn descriptors(&self) -> usize {
        0
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        self.later().recheck().await
    }

    fn recheck_later(&self) -> Option<Arc<dyn Recheck>> {
        Some(Arc::new(self.later()))
    }
}

/// Looks again at a collection.
struct Later {
    shared: Arc<Shared>,
    name: CollectionName,
    fingerprint: Digest,
}

#[async_trait]
impl Recheck for Later {
    async fn recheck(&self) -> Result<PointState, SourceError> {
        let described = describe(self.shared.client().await?, &self.name).await?;
        Ok(match described {
            None => PointState::Dropped,
            Some(described) if described.fingerprint() == self.fingerprint => PointState::Unaltered,
            Some(_) => PointState::Altered,
        })
    }
}
