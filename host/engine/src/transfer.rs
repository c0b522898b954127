//! Moves the bytes of one planned collection from its point into a vault's session.
//!
//! Contract: a file that an earlier backup holds under the same identity is referenced without being read; everything
//! else is read at the point, split, deduplicated by content and stored with the codec the policy chose for its class.
//! Failure: [`EngineError`]; what was stored so far is named by nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Codec, Digest, FileClass, RegionId};
use longshore_source::{
    CollectionPoint, CountedPoint, PointFile, PointOptions, PointState, Recheck, Source, SourceError,
};
use longshore_vault::{
    FileEntry, FileSealed, InputError, JsonText, PieceSource, Reading, Session, SmallFile, StoredFile, VaultError,
    content_digest,
};
use serde_json::Value;

use crate::history::History;
use crate::keyed_point::KeyedPoint;
use crate::manifests::no_json;
use crate::plan::PlannedCollection;
use crate::resume::Checkpoints;
use crate::streams::open_point;
use crate::{EngineError, Limits, ProgressBoard, RunContext};

/// Times a collection is opened at most when files of it vanish while they are read.
const POINT_ATTEMPTS: u32 = 4;

/// A collection whose bytes are in a session.
///
/// The point itself is let go, and with it every file it holds open: thousands of collections have more files than a
/// process may open.
pub(crate) struct TransferredCollection {
    /// Looks whether the collection was altered since.
    pub(crate) recheck: Arc<dyn Recheck>,
    pub(crate) schema: JsonText,
    /// The point's description.
    pub(crate) description: Value,
    pub(crate) physical_rows: u64,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) names: Vec<FileSealed>,
    /// Codecs that were asked for, for files that were read.
    pub(crate) codecs: BTreeSet<String>,
    pub(crate) live_rows: Option<u64>,
    /// Bytes of files that were not transferred because an earlier backup holds them.
    pub(crate) reused_bytes: u64,
    /// Bytes that were read but that the vault had already.
    pub(crate) deduplicated_bytes: u64,
}

/// A point that can only be looked at again itself.
struct Held(Arc<dyn CollectionPoint>);

#[async_trait]
impl Recheck for Held {
    async fn recheck(&self) -> Result<PointState, SourceError> {
        self.0.recheck().await
    }
}

/// One file of a collection, stored or referenced.
struct Moved {
    entry: FileEntry,
    name: FileSealed,
    reused: bool,
    new_plain_bytes: u64,
}

/// Stores one collection. `place` is its place on the progress board.
pub(crate) async fn transfer(
    planned: &PlannedCollection,
    place: usize,
    source: &dyn Source,
    session: &Session,
    history: &History,
    checkpoints: &Checkpoints,
    context: &RunContext,
) -> Result<TransferredCollection, EngineError> {
    context.stop.check()?;
    let options =
        PointOptions { include_index_files: planned.selected.value.include_index_files, hold_all_files: false };
    let mut point = match &planned.point {
        Some(point) => point.clone(),
        None => KeyedPoint::new(open_point(source, &planned.facts.name, options, context).await?, history),
    };
    for _ in 1..POINT_ATTEMPTS {
        let holds_all_files = point.point().holds_all_files();
        match transfer_point(planned, place, point, session, history, checkpoints, context).await {
            // A file that is not held open is gone: one that an earlier backup holds had to be read all the same (its pack is
            // about to be pruned, say), or a server has removed what a compaction replaced. What was moved is found again.
            Err(EngineError::Source(SourceError::FileChanged { path, .. })) if !holds_all_files => {
                tracing::info!(collection = %planned.facts.name, path, "a file vanished; opening the collection again");
                let options = PointOptions { hold_all_files: true, ..options };
                point = KeyedPoint::new(open_point(source, &planned.facts.name, options, context).await?, history);
                context.progress.restart(place);
            }
            result => return result,
        }
    }
    transfer_point(planned, place, point, session, history, checkpoints, context).await
}

async fn transfer_point(
    planned: &PlannedCollection,
    place: usize,
    keyed: KeyedPoint,
    session: &Session,
    history: &History,
    checkpoints: &Checkpoints,
    context: &RunContext,
) -> Result<TransferredCollection, EngineError> {
    let point = keyed.point();
    context.progress.set_total(place, point.files().iter().map(|file| file.size_bytes).sum());
    let codecs: BTreeMap<FileClass, Codec> =
        planned.streams.iter().map(|stream| (stream.facts.class, stream.choice.value.codec)).collect();
    let region = &planned.placed.value.region;
    let mover = &Mover { point: &keyed, session, history, checkpoints, region, progress: &context.progress, place };
    let codecs = &codecs;
    // First what costs no waiting: of an unchanged cluster that is everything.
    let reused: Vec<Option<Moved>> =
        point.files().iter().enumerate().map(|(number, file)| mover.reuse(number, file)).collect();
    context.progress.add(place, reused.iter().flatten().map(|moved| moved.entry.size_bytes).sum());
    let mut moved: Vec<Moved> = Vec::with_capacity(reused.len());
    let mut left = Vec::new();
    for (number, reused) in reused.into_iter().enumerate() {
        match reused {
            Some(reused) => moved.push(reused),
            None => left.push(number),
        }
    }
    let storing = stream::iter(mover.batches(&left, &context.limits))
        .map(|numbers| async move {
            context.stop.check()?;
            match numbers[..] {
                [number] => Ok(vec![mover.file(number, codecs).await?]),
                _ => mover.small_files(&numbers, codecs).await,
            }
        })
        .buffer_unordered(context.limits.parallel_chunks.max(1))
        .try_collect::<Vec<Vec<Moved>>>();
    // Of a collection that no earlier backup holds anything of, nobody has counted the rows: that is done while its files
    // are stored. Of others the content may be known; only once its digest is can that be told.
    let is_new = moved.is_empty() && !point.digests_rows();
    let counting = async { if is_new { count(point, context).await.map(Some) } else { Ok(None) } };
    let (stored, counted) = tokio::try_join!(storing, counting)?;
    moved.extend(stored.into_iter().flatten());
    moved.sort_by_key(|moved| moved.entry.number);
    let files = moved.iter().map(|file| (file.name.path.as_str(), file.entry.size_bytes, file.name.digest));
    let content = content_digest(files);
    let digests: Vec<Digest> = moved.iter().map(|file| file.name.digest).collect();
    let digested = digest_rows(point, &digests, mover, context).await?;
    let live_rows = match &digested {
        Some(rows) => Some(rows.live_rows),
        None => live_rows(point, &content, counted, mover, context).await?,
    };
    let sum = |keep: &dyn Fn(&Moved) -> u64| moved.iter().map(keep).sum();
    let used = moved.iter().filter(|file| !file.reused).filter_map(|file| codecs.get(&file.entry.class));
    Ok(TransferredCollection {
        codecs: used.map(ToString::to_string).collect(),
        live_rows,
        reused_bytes: sum(&|file| if file.reused { file.entry.size_bytes } else { 0 }),
        deduplicated_bytes: sum(&|file| if file.reused { 0 } else { file.entry.size_bytes - file.new_plain_bytes }),
        files: moved.iter().map(|file| file.entry.clone()).collect(),
        names: moved.into_iter().map(|file| file.name).collect(),
        recheck: point.recheck_later().unwrap_or_else(|| Arc::new(Held(Arc::clone(point)))),
        schema: JsonText::of(point.schema()).map_err(no_json)?,
        description: digested.map_or_else(|| point.description().clone(), |rows| rows.description),
        physical_rows: point.physical_rows(),
    })
}

/// Counts and digests the rows of a point whose source does that; what the newest backup knows is not read again.
async fn digest_rows(
    point: &Arc<dyn CollectionPoint>,
    digests: &[Digest],
    mover: &Mover<'_>,
    context: &RunContext,
) -> Result<Option<CountedPoint>, EngineError> {
    if !point.digests_rows() {
        return Ok(None);
    }
    let _thread = context.throttle.cpu().await;
    Ok(point.count_rows(digests, mover.history.point(point.name())).await?)
}

/// Live rows of a point, `counted` if they were just counted. Where the same content was counted before, nothing is read.
async fn live_rows(
    point: &Arc<dyn CollectionPoint>,
    content: &Digest,
    counted: Option<Option<u64>>,
    mover: &Mover<'_>,
    context: &RunContext,
) -> Result<Option<u64>, EngineError> {
    let live_rows = match (counted, mover.history.live_rows(content)) {
        (Some(counted), _) => counted,
        (None, Some(known)) => Some(known),
        (None, None) => count(point, context).await?,
    };
    if let Some(live_rows) = live_rows {
        mover.checkpoints.counted(mover.region, content, live_rows);
    }
    Ok(live_rows)
}

/// Counts live rows, which reads every file; `None` where there are too many.
async fn count(point: &Arc<dyn CollectionPoint>, context: &RunContext) -> Result<Option<u64>, EngineError> {
    let _thread = context.throttle.cpu().await;
    Ok(point.live_rows(context.limits.live_rows_memory_bytes).await?)
}

struct Mover<'a> {
    point: &'a KeyedPoint,
    session: &'a Session,
    history: &'a History,
    checkpoints: &'a Checkpoints,
    region: &'a RegionId,
    progress: &'a ProgressBoard,
    place: usize,
}

impl Mover<'_> {
    /// Files by number: small ones several together, so that one thread does them all, the others by themselves.
    fn batches(&self, numbers: &[usize], limits: &Limits) -> Vec<Vec<usize>> {
        let most = limits.small_files_batch_bytes.min(self.session.piece_bytes() as u64);
        let (mut batches, mut open, mut open_bytes) = (Vec::new(), Vec::new(), 0);
        for number in numbers {
            let size_bytes = self.point.point().files().get(*number).map_or(u64::MAX, |file| file.size_bytes);
            if size_bytes > limits.small_file_bytes.min(most) {
                batches.push(vec![*number]);
                continue;
            }
            if open_bytes + size_bytes > most {
                batches.push(std::mem::take(&mut open));
                open_bytes = 0;
            }
            open.push(*number);
            open_bytes += size_bytes;
        }
        batches.push(open);
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    async fn file(&self, number: usize, codecs: &BTreeMap<FileClass, Codec>) -> Result<Moved, EngineError> {
        let (file, codec) = self.look_up(number, codecs)?;
        let pieces = FilePieces { point: Arc::clone(self.point.point()), number };
        let on_bytes = |bytes| {
            self.progress.add(self.place, bytes);
            self.checkpoints.moved(bytes);
        };
        let stored = self.session.put_file(&pieces, file.size_bytes, codec, &on_bytes).await;
        self.moved(number, file, stored.map_err(|error| self.explain(error))?)
    }

    /// Small files, on one thread.
    async fn small_files(
        &self,
        numbers: &[usize],
        codecs: &BTreeMap<FileClass, Codec>,
    ) -> Result<Vec<Moved>, EngineError> {
        let small = numbers.iter().map(|number| self.small_file(*number, codecs));
        let small: Vec<SmallFile> = try_join_all(small).await?;
        let mut moved = Vec::with_capacity(numbers.len());
        let stored = self.session.put_small_files(small).await.map_err(|error| self.explain(error))?;
        for (number, stored) in numbers.iter().zip(stored) {
            self.progress.add(self.place, stored.size_bytes);
            self.checkpoints.moved(stored.size_bytes);
            let (file, _) = self.look_up(*number, codecs)?;
            moved.push(self.moved(*number, file, stored)?);
        }
        Ok(moved)
    }

    /// Its bytes come where the others of its batch are read, or at once where they are in memory or come over a network.
    async fn small_file(&self, number: usize, codecs: &BTreeMap<FileClass, Codec>) -> Result<SmallFile, EngineError> {
        let (file, codec) = self.look_up(number, codecs)?;
        let size_bytes = usize::try_from(file.size_bytes).unwrap_or(usize::MAX);
        let pieces = FilePieces { point: Arc::clone(self.point.point()), number };
        let reading = match pieces.reading(0, size_bytes) {
            Some(reading) => reading,
            None => {
                let bytes = self.point.point().read(number, 0, size_bytes).await?;
                Box::new(move || Ok(bytes))
            }
        };
        Ok(SmallFile { reading, size_bytes, codec })
    }

    fn look_up(&self, number: usize, codecs: &BTreeMap<FileClass, Codec>) -> Result<(&PointFile, Codec), EngineError> {
        let lost = || EngineError::Internal { what: "a file of a point got lost".to_owned() };
        let file = self.point.point().files().get(number).ok_or_else(lost)?;
        // A class without a stream appeared after planning (a first flush, say): it is small, and raw is always right.
        Ok((file, codecs.get(&file.class).copied().unwrap_or(Codec::Store)))
    }

    fn moved(&self, number: usize, file: &PointFile, stored: StoredFile) -> Result<Moved, EngineError> {
        let identity = self.point.key(number);
        if let Some(identity) = identity {
            self.checkpoints.finished(self.region, identity, file.size_bytes, &stored.blobs, &stored.digest);
        }
        let lost = |_| EngineError::Internal { what: "a point has too many files".to_owned() };
        let number = u32::try_from(number).map_err(lost)?;
        Ok(Moved {
            entry: FileEntry {
                number,
                class: file.class,
                size_bytes: file.size_bytes,
                blobs: stored.blobs,
                identity,
                masked_digest: None,
            },
            name: FileSealed {
                number,
                path: file.path.clone(),
                partition: file.partition.clone(),
                digest: stored.digest,
                rows: file.rows,
            },
            reused: false,
            new_plain_bytes: stored.new_plain_bytes,
        })
    }

    /// The file as an earlier backup stored it here. Every blob is looked up again: an identity in a manifest is a hint,
    /// the index is what counts.
    fn reuse(&self, number: usize, file: &PointFile) -> Option<Moved> {
        let identity = self.point.key(number)?;
        let known = self.history.find_keyed(self.region, &identity, file.size_bytes)?;
        let plain = known.blobs.iter().map(|blob| self.session.lookup(blob).map(|info| info.plain_bytes));
        let plain: u64 = plain.sum::<Option<u64>>()?;
        let number = u32::try_from(number).ok()?;
        if known.unfinished && plain == file.size_bytes {
            // The pin of the attempt that stored it may lapse before this one ends.
            self.checkpoints.finished(self.region, identity, file.size_bytes, &known.blobs, &known.digest);
        }
        (plain == file.size_bytes).then(|| Moved {
            entry: FileEntry {
                number,
                class: file.class,
                size_bytes: file.size_bytes,
                blobs: known.blobs.clone(),
                identity: Some(identity),
                masked_digest: None,
            },
            name: FileSealed {
                number,
                path: file.path.clone(),
                partition: file.partition.clone(),
                digest: known.digest,
                rows: file.rows,
            },
            reused: true,
            new_plain_bytes: 0,
        })
    }

    /// A failure to read comes through the vault; it is the source's all the same.
    fn explain(&self, error: VaultError) -> EngineError {
        match error {
            VaultError::Input { source } => match source.downcast::<SourceError>() {
                Ok(source) => EngineError::Source(*source),
                Err(source) => EngineError::vault(self.region)(VaultError::Input { source }),
            },
            error => EngineError::vault(self.region)(error),
        }
    }
}

/// One file of a point, as a session reads it.
struct FilePieces {
    point: Arc<dyn CollectionPoint>,
    number: usize,
}

#[async_trait]
impl PieceSource for FilePieces {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, InputError> {
        Ok(self.point.read(self.number, offset, length).await?)
    }

    fn reading(&self, offset: u64, length: usize) -> Option<Reading> {
        let reading = self.point.reading(self.number, offset, length)?;
        Some(Box::new(move || Ok(reading()?)))
    }
}
