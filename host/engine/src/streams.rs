//! Opens the selected collections and measures what codecs would save on the streams that have new bytes.
//!
//! Only files that no earlier backup holds are read, within a budget per stream and per run. A stream beyond the budget
//! gets the average of the sampled streams of its class: the host's guess, and the facts say that nothing was sampled.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Codec, CollectionName, FileClass, StreamFacts};
use longshore_source::{CollectionPoint, PointFile, PointOptions, Source};
use longshore_vault::{Throttle, Transcoder};

use crate::blocking::blocking;
use crate::history::History;
use crate::sample::{Measured, offered_codecs, windows};
use crate::{EngineError, RunContext};

/// A collection's streams, and its point if it may be kept open.
pub(crate) struct SampledCollection {
    pub(crate) streams: Vec<StreamFacts>,
    pub(crate) point: Option<Arc<dyn CollectionPoint>>,
}

/// One stream before its offers are known.
struct RawStream {
    collection: CollectionName,
    class: FileClass,
    files: u64,
    size_bytes: u64,
    new_bytes: u64,
    measured: Measured,
}

/// An opened collection before its offers are known.
struct Opened {
    raw: Vec<RawStream>,
    point: Option<Arc<dyn CollectionPoint>>,
}

/// Opens every collection, in the order given, and samples its streams.
pub(crate) async fn sample_streams(
    source: &dyn Source,
    wanted: &[(CollectionName, PointOptions)],
    history: &History,
    context: &RunContext,
) -> Result<Vec<SampledCollection>, EngineError> {
    let limits = &context.limits;
    // Shared evenly, so that the sample of a collection does not depend on which others were faster.
    let streams = u64::try_from(wanted.len().max(1) * FileClass::ALL.len()).unwrap_or(u64::MAX);
    let budget = limits.sample_bytes_per_stream.min(limits.sample_bytes_per_run / streams);
    let held_each = limits.held_descriptors / wanted.len().max(1);
    let opened: Vec<Opened> = stream::iter(wanted.to_vec())
        .map(|(name, options)| async move {
            context.stop.check()?;
            let point = source.open_point(&name, options).await?;
            let raw = measure(&point, history, budget, &context.throttle).await?;
            let keep = point.files().len() <= held_each;
            Ok::<_, EngineError>(Opened { raw, point: keep.then_some(point) })
        })
        .buffered(limits.parallel_collections.max(1))
        .try_collect()
        .await?;
    let guesses = guesses(opened.iter().flat_map(|one| &one.raw));
    let finished = opened.into_iter().map(|Opened { raw, point }| {
        let streams = raw.into_iter().map(|stream| finish(stream, &guesses)).collect();
        SampledCollection { streams, point }
    });
    Ok(finished.collect())
}

async fn measure(
    point: &Arc<dyn CollectionPoint>,
    history: &History,
    budget_bytes: u64,
    throttle: &Throttle,
) -> Result<Vec<RawStream>, EngineError> {
    let mut streams = Vec::new();
    for class in FileClass::ALL {
        let files: Vec<(usize, &PointFile)> =
            point.files().iter().enumerate().filter(|(_, file)| file.class == class).collect();
        if files.is_empty() {
            continue;
        }
        let new: Vec<(usize, &str, u64)> = files
            .iter()
            .filter(|(_, file)| !history.holds(point.name(), file))
            .map(|(place, file)| (*place, file.path.as_str(), file.size_bytes))
            .collect();
        let codecs = offered_codecs(class);
        let mut measured = Measured::nothing(codecs.len());
        for window in windows(&new, budget_bytes) {
            let length = usize::try_from(window.length).unwrap_or(usize::MAX);
            let bytes = point.read(window.file, window.offset, length).await?;
            measured.add(&encode_all(bytes, codecs.clone(), throttle).await?);
        }
        streams.push(RawStream {
            collection: point.name().clone(),
            class,
            files: files.len() as u64,
            size_bytes: files.iter().map(|(_, file)| file.size_bytes).sum(),
            new_bytes: new.iter().map(|(_, _, size)| size).sum(),
            measured,
        });
    }
    Ok(streams)
}

async fn encode_all(bytes: Bytes, codecs: Vec<Codec>, throttle: &Throttle) -> Result<Measured, EngineError> {
    let thread = throttle.cpu().await;
    blocking("sampling codecs", move || {
        let _thread = thread;
        let mut transcoder = Transcoder::new();
        let mut encoded_bytes = Vec::with_capacity(codecs.len());
        for codec in codecs {
            let (_, encoded) = transcoder.encode(codec, &bytes).map_err(|error| EngineError::Internal {
                what: format!("codec {codec} failed on a sample: {error}"),
            })?;
            encoded_bytes.push(encoded.len() as u64);
        }
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
    let sampled_bytes = stream.measured.plain_bytes;
    let basis =
        if sampled_bytes > 0 { &stream.measured } else { guesses.get(&stream.class).unwrap_or(&stream.measured) };
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
