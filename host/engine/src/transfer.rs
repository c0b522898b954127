//! Moves the bytes of one planned collection from its point into a vault's session.
//!
//! Contract: a file that an earlier backup holds under the same identity is referenced without being read; everything
//! else is read at the point, split, deduplicated by content and stored with the codec the policy chose for its class.
//! Failure: [`EngineError`]; what was stored so far is named by nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Codec, Digest, FileClass};
use longshore_source::{
    CollectionPoint, CountedPoint, PointOptions, PointState, Recheck, RowCounting, Source, SourceError,
};
use longshore_vault::{FileEntry, FileSealed, JsonText, Session, content_digest};
use serde_json::Value;

use crate::blocking::blocking;
use crate::history::History;
use crate::keyed_point::KeyedPoint;
use crate::manifests::no_json;
use crate::mover::{Moved, Mover};
use crate::plan::PlannedCollection;
use crate::resume::Checkpoints;
use crate::streams::open_point;
use crate::{EngineError, RunContext};

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
    let mut point = match planned.point.take() {
        Some(point) => point,
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
    let mover = Mover {
        point: &keyed,
        session,
        history,
        checkpoints,
        region,
        progress: &context.progress,
        place,
        codecs: &codecs,
        counting: None,
    };
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
    // Of a collection that no earlier backup holds anything of, nobody has counted the rows: that is done while its files
    // are stored. Of others the content may be known; only once its digest is can that be told.
    let is_new = moved.is_empty() && !point.digests_rows();
    let (stored, counted) = store(mover, &left, is_new, context).await?;
    moved.extend(stored);
    moved.sort_by_key(|moved| moved.entry.number);
    let files = moved.iter().map(|file| (file.name.path.as_str(), file.entry.size_bytes, file.name.digest));
    let content = content_digest(files);
    let digests: Vec<Digest> = moved.iter().map(|file| file.name.digest).collect();
    let digested = digest_rows(point, &digests, history, context).await?;
    let live_rows = match &digested {
        Some(rows) => Some(rows.live_rows),
        None => live_rows(point, &content, counted, history, context).await?,
    };
    if let (None, Some(live_rows)) = (&digested, live_rows) {
        checkpoints.counted(region, &content, live_rows);
    }
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

/// Files as they were stored, and the live rows if they were counted on the way.
type Stored = (Vec<Moved>, Option<Option<u64>>);

/// Stores the files with these numbers, and counts the rows meanwhile if they are to be counted.
async fn store(
    mut mover: Mover<'_>,
    left: &[usize],
    count_rows: bool,
    context: &RunContext,
) -> Result<Stored, EngineError> {
    let point = mover.point.point();
    let batches = mover.batches(left, &context.limits);
    // All of a small collection passes through the memory of one thread: its rows are counted there, out of the same bytes.
    let counting = match &batches[..] {
        [files] if count_rows && files.len() > 1 => point.counting(context.limits.live_rows_memory_bytes),
        _ => None,
    };
    mover.counting = counting.as_ref();
    let mover = &mover;
    let storing = stream::iter(batches)
        .map(|numbers| async move {
            context.stop.check()?;
            mover.store(&numbers).await
        })
        .buffer_unordered(context.limits.parallel_chunks.max(1))
        .try_collect::<Vec<Vec<Moved>>>();
    let (stored, counted) = match &counting {
        Some(counting) => {
            let stored = storing.await?;
            (stored, Some(finish(counting, point, context).await?))
        }
        None => {
            let count = async { if count_rows { count(point, context).await.map(Some) } else { Ok(None) } };
            tokio::try_join!(storing, count)?
        }
    };
    Ok((stored.into_iter().flatten().collect(), counted))
}

/// Ends a count. What was not stored with the others, such as the log, is read for it.
async fn finish(
    counting: &Arc<dyn RowCounting>,
    point: &Arc<dyn CollectionPoint>,
    context: &RunContext,
) -> Result<Option<u64>, EngineError> {
    if counting.needs_no_reading() {
        return Ok(counting.finish()?);
    }
    let _thread = context.throttle.cpu().await;
    let counting = Arc::clone(counting);
    blocking(&format!("counting the rows of {}", point.name()), move || Ok(counting.finish()?)).await
}

/// Counts and digests the rows of a point whose source does that; what the newest backup knows is not read again.
async fn digest_rows(
    point: &Arc<dyn CollectionPoint>,
    digests: &[Digest],
    history: &History,
    context: &RunContext,
) -> Result<Option<CountedPoint>, EngineError> {
    if !point.digests_rows() {
        return Ok(None);
    }
    let _thread = context.throttle.cpu().await;
    Ok(point.count_rows(digests, history.point(point.name())).await?)
}

/// Live rows of a point, `counted` if they were just counted. Where the same content was counted before, nothing is read.
async fn live_rows(
    point: &Arc<dyn CollectionPoint>,
    content: &Digest,
    counted: Option<Option<u64>>,
    history: &History,
    context: &RunContext,
) -> Result<Option<u64>, EngineError> {
    match (counted, history.live_rows(content)) {
        (Some(counted), _) => Ok(counted),
        (None, Some(known)) => Ok(Some(known)),
        (None, None) => count(point, context).await,
    }
}

/// Counts live rows, which reads every file; `None` where there are too many.
async fn count(point: &Arc<dyn CollectionPoint>, context: &RunContext) -> Result<Option<u64>, EngineError> {
    let _thread = context.throttle.cpu().await;
    Ok(point.live_rows(context.limits.live_rows_memory_bytes).await?)
}
