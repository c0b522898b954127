//! Opens the selected collections and measures what codecs would save on the streams that have new bytes.
//!
//! Only files that no earlier backup holds are read, within a budget per stream and per run, and of small streams only so
//! many: the others of their class count as measured with them. A stream beyond the budget gets the average of the sampled
//! streams of its class: the host's guess, and the facts say that nothing was sampled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Codec, CollectionName, FileClass, StreamFacts};
use longshore_source::{CollectionPoint, Opener, PointFile, PointOptions, Source, SourceError};
use longshore_vault::{Throttle, Transcoder};

use crate::blocking::blocking;
use crate::history::History;
use crate::keyed_point::KeyedPoint;
use crate::sample::{Measured, Window, offered_codecs, windows};
use crate::{EngineError, RunContext};

/// Streams with fewer new bytes are small.
const SMALL_STREAM_BYTES: u64 = 1024 * 1024;
/// Small streams of one class that are sampled in one run.
const SMALL_STREAMS_SAMPLED: usize = 64;

/// Collections that one thread opens one after the other; each holds its folder open at least.
const OPENED_TOGETHER: usize = 8;

/// A collection's streams, and its point if it may be kept open.
pub(crate) struct SampledCollection {
    pub(crate) streams: Vec<StreamFacts>,
    pub(crate) point: Option<KeyedPoint>,
}

/// One stream before its offers are known.
struct RawStream {
    collection: CollectionName,
    class: FileClass,
    files: u64,
    size_bytes: u64,
    new_bytes: u64,
    /// What to sample.
    windows: Vec<Window>,
    /// One of many small ones: measured on others of its class.
    like_others: bool,
    measured: Measured,
}

/// An opened collection before its offers are known.
struct Opened {
    raw: Vec<RawStream>,
    point: KeyedPoint,
}

impl Opened {
    fn of(point: Arc<dyn CollectionPoint>, history: &History, budget_bytes: u64) -> Self {
        let point = KeyedPoint::new(point, history);
        Self { raw: look(&point, history, budget_bytes), point }
    }
}

/// A sampled collection before its offers are known, with its point if it may be kept.
struct Sampled {
    raw: Vec<RawStream>,
    point: Option<KeyedPoint>,
}

/// What to open.
pub(crate) type Wanted = (CollectionName, PointOptions);

/// Opens every collection, in the order given, and samples its streams.
pub(crate) async fn sample_streams(
    source: &dyn Source,
    wanted: Vec<Wanted>,
    history: &Arc<History>,
    context: &RunContext,
) -> Result<Vec<SampledCollection>, EngineError> {
    let limits = &context.limits;
    let parallel = limits.parallel_collections.max(1);
    context.progress.expect_points(wanted.len());
    // Shared evenly, so that the sample of a collection does not depend on which others were faster.
    let streams = u64::try_from(wanted.len().max(1) * FileClass::ALL.len()).unwrap_or(u64::MAX);
    let budget = limits.sample_bytes_per_stream.min(limits.sample_bytes_per_run / streams);
    let opener = source.opener();
    // Each of few collections may be large: they are opened side by side.
    let together = if opener.is_some() { (wanted.len() / parallel).clamp(1, OPENED_TOGETHER) } else { 1 };
    let groups: Vec<Vec<Wanted>> = wanted.chunks(together).map(<[Wanted]>::to_vec).collect();
    let mut held = 0;
    let (mut small, transcoders) = (BTreeMap::new(), Transcoders::default());
    let opened: Vec<Sampled> = stream::iter(groups)
        .map(|group| open_group(opener.clone(), group, history, budget, context))
        .buffered(parallel)
        .flat_map(|group| match group {
            Ok(group) => stream::iter(group.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .map(|one: Result<(Wanted, Option<Opened>), EngineError>| async move {
            let ((name, options), opened) = one?;
            context.stop.check()?;
            match opened {
                Some(opened) => Ok(opened),
                None => Ok(Opened::of(open_point(source, &name, options, context).await?, history, budget)),
            }
        })
        .buffered(parallel)
        // In the order given, whoever was opened first: the same collections are sampled on every machine.
        .map(|mut opened: Result<Opened, EngineError>| {
            if let Ok(opened) = &mut opened {
                opened.raw.iter_mut().for_each(|stream| leave_out_many_small(stream, &mut small));
                held += opened.point.point().descriptors();
            }
            let keep = held <= limits.held_descriptors;
            sampled(opened, keep, transcoders.clone(), context.throttle.clone())
        })
        .buffered(parallel)
        .try_collect()
        .await?;
    let guesses = guesses(opened.iter().flat_map(|one| &one.raw));
    let finished = opened.into_iter().map(|Sampled { raw, point }| {
        let streams = raw.into_iter().map(|stream| finish(stream, &guesses)).collect();
        SampledCollection { streams, point }
    });
    Ok(finished.collect())
}

/// Opens a collection: of a server, when it has written down what it has of it, which can take long. That is shown, and
/// somebody who wants to stop does not wait for it.
pub(crate) async fn open_point(
    source: &dyn Source,
    name: &CollectionName,
    options: PointOptions,
    context: &RunContext,
) -> Result<Arc<dyn CollectionPoint>, EngineError> {
    let _waiting = context.progress.opening(name);
    tokio::select! {
        opened = source.open_point(name, options) => Ok(opened?),
        () = context.stop.stopped() => {
            context.stop.check()?;
            Err(EngineError::Internal { what: "a stop got lost".to_owned() })
        }
    }
}

/// Opens collections on one thread, one after the other, until they hold as many descriptors as unchanged ones would. The
/// others are opened when their turn comes, or a group would hold as many as a whole run may.
async fn open_group(
    opener: Option<Arc<dyn Opener>>,
    group: Vec<Wanted>,
    history: &Arc<History>,
    budget_bytes: u64,
    context: &RunContext,
) -> Result<Vec<(Wanted, Option<Opened>)>, EngineError> {
    context.stop.check()?;
    let Some(opener) = opener else { return Ok(group.into_iter().map(|wanted| (wanted, None)).collect()) };
    let history = Arc::clone(history);
    blocking("opening collections", move || {
        let (mut opened, mut descriptors) = (Vec::with_capacity(group.len()), 0);
        for (name, options) in group {
            let may = descriptors < OPENED_TOGETHER;
            let point = if may { opener.open_here(&name, options).transpose()? } else { None };
            descriptors += point.as_ref().map_or(0, |point| point.descriptors());
            let point = point.map(|point| Opened::of(point, &history, budget_bytes));
            opened.push(((name, options), point));
        }
        Ok(opened)
    })
    .await
}

/// The streams of a collection, and what to sample of each.
fn look(keyed: &KeyedPoint, history: &History, budget_bytes: u64) -> Vec<RawStream> {
    let (point, mut streams) = (keyed.point(), Vec::new());
    let is_held = history.holder(point.name());
    for class in FileClass::ALL {
        let files: Vec<(usize, &PointFile)> =
            point.files().iter().enumerate().filter(|(_, file)| file.class == class).collect();
        if files.is_empty() {
            continue;
        }
        let new: Vec<(usize, &str, u64)> = files
            .iter()
            .filter(|(place, file)| !keyed.key(*place).is_some_and(|key| is_held(&key, file.size_bytes)))
            .map(|(place, file)| (*place, file.path.as_str(), file.size_bytes))
            .collect();
        streams.push(RawStream {
            collection: point.name().clone(),
            class,
            files: files.len() as u64,
            size_bytes: files.iter().map(|(_, file)| file.size_bytes).sum(),
            new_bytes: new.iter().map(|(_, _, size)| size).sum(),
            windows: windows(&new, budget_bytes),
            like_others: false,
            measured: Measured::nothing(offered_codecs(class).len()),
        });
    }
    streams
}

/// Of the small streams of a class only the first are sampled, the others are like them: to sample thousands of them costs
/// more than a better choice for one of them could save.
fn leave_out_many_small(stream: &mut RawStream, sampled: &mut BTreeMap<FileClass, usize>) {
    if stream.windows.is_empty() || stream.new_bytes >= SMALL_STREAM_BYTES {
        return;
    }
    let sampled = sampled.entry(stream.class).or_default();
    *sampled += 1;
    if *sampled > SMALL_STREAMS_SAMPLED {
        stream.windows.clear();
        stream.like_others = true;
    }
}

/// Samples the streams of a collection, and lets go of its point unless it may be kept.
async fn sampled(
    opened: Result<Opened, EngineError>,
    keep: bool,
    transcoders: Transcoders,
    throttle: Throttle,
) -> Result<Sampled, EngineError> {
    let mut opened = opened?;
    for stream in &mut opened.raw {
        sample(stream, opened.point.point(), &transcoders, &throttle).await?;
    }
    Ok(Sampled { raw: opened.raw, point: keep.then_some(opened.point) })
}

async fn sample(
    stream: &mut RawStream,
    point: &Arc<dyn CollectionPoint>,
    transcoders: &Transcoders,
    throttle: &Throttle,
) -> Result<(), EngineError> {
    for window in &stream.windows {
        let length = usize::try_from(window.length).unwrap_or(usize::MAX);
        let bytes = match point.read(window.file, window.offset, length).await {
            // The transfer opens the collection again; a sample is not worth that.
            Err(SourceError::FileChanged { .. }) if !point.holds_all_files() => continue,
            bytes => bytes?,
        };
        stream.measured.add(&encode_all(bytes, offered_codecs(stream.class), transcoders, throttle).await?);
    }
    Ok(())
}

/// Codecs at work; making one costs more than encoding a small sample.
#[derive(Clone, Default)]
struct Transcoders(Arc<Mutex<Vec<Transcoder>>>);

impl Transcoders {
    fn lock(&self) -> MutexGuard<'_, Vec<Transcoder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn encode_all(
    bytes: Bytes,
    codecs: Vec<Codec>,
    transcoders: &Transcoders,
    throttle: &Throttle,
) -> Result<Measured, EngineError> {
    let (thread, transcoders) = (throttle.cpu().await, transcoders.clone());
    blocking("sampling codecs", move || {
        let _thread = thread;
        let mut transcoder = transcoders.lock().pop().unwrap_or_default();
        let mut encoded_bytes = Vec::with_capacity(codecs.len());
        for codec in codecs {
            let (_, encoded) = transcoder.encode(codec, &bytes).map_err(|error| EngineError::Internal {
                what: format!("codec {codec} failed on a sample: {error}"),
            })?;
            encoded_bytes.push(encoded.len() as u64);
        }
        transcoders.lock().push(transcoder);
        Ok(Measured { plain_bytes: bytes.len() as u64, encoded_bytes })
    })
    .await
}

/// What all sampled streams of a class give together.
fn guesses<'a>(streams: impl Iterator<Item = &'a RawStream>) -> BTreeMap<FileClass, Measured> {
    let mut sums: BTreeMap<FileClass, Measured> = BTreeMap::new();
    for stream in streams {
        sums.entry(stream.class)
            .or_insert_with(|| Measured::nothing(stream.measured.encoded_bytes.len()))
            .add(&stream.measured);
    }
    sums
}

fn finish(stream: RawStream, guesses: &BTreeMap<FileClass, Measured>) -> StreamFacts {
    let codecs = offered_codecs(stream.class);
    let own_bytes = stream.measured.plain_bytes;
    let basis = if own_bytes > 0 { &stream.measured } else { guesses.get(&stream.class).unwrap_or(&stream.measured) };
    // Small streams of one class and one run are measured together. Everything else that was not sampled is a guess.
    let sampled_bytes = if stream.like_others { basis.plain_bytes } else { own_bytes };
    StreamFacts {
        offers: basis.offers(&codecs),
        collection: stream.collection,
        class: stream.class,
        files: stream.files,
        size_bytes: stream.size_bytes,
        new_bytes: stream.new_bytes,
        sampled_bytes,
        extra: Vec::new(),
    }
}
