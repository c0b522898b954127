//! Makes a server write down what it has of a collection, and waits until it is on storage.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_model::CollectionName;
use tokio::time::Instant;

use super::client::MilvusClient;
use super::describe::found;
use super::proto::milvus::{AllocTimestampRequest, FlushRequest, GetFlushStateRequest};
use crate::{Limits, SourceError};

/// Bits of a hybrid timestamp below its milliseconds.
const LOGICAL_BITS: u32 = 18;
/// Pause before a server is asked for its time again, in milliseconds; its clock moves in steps of up to 50.
const CLOCK_PAUSE_MS: u64 = 5;

/// A flush that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flushed {
    /// The hybrid timestamp of the point: up to it rows and deletes are on storage, and what was acknowledged before the
    /// flush was asked for is not later. It begins a millisecond, because `Import` cuts no finer.
    pub(super) timestamp: u64,
    /// The segments that were flushed, as of the flush: compaction may have replaced some since.
    pub(super) segments: BTreeSet<i64>,
    /// Whether no row up to the timestamp can lie elsewhere. After one flush those of calls that were under way may.
    pub(super) is_complete: bool,
}

impl Flushed {
    /// Adds what another flush did that was begun when this one was done: all rows up to the timestamp of this one were
    /// on storage, so the second one sealed every segment that has some.
    pub(super) fn complete_with(&mut self, second: Self) {
        self.segments.extend(second.segments);
        self.is_complete = true;
    }
}

/// Flushes a collection. `None` when there is none of that name.
///
/// Waiting is for the flush's timestamp as well as for segments: only so deletes that no segment was sealed for are on
/// storage too (measured on 2.3.5: they come half a second after the call).
///
/// # Errors
/// What calls fail with; [`SourceError::FlushTakesTooLong`].
pub(super) async fn flush(
    client: &MilvusClient,
    name: &CollectionName,
    limits: &Limits,
) -> Result<Option<Flushed>, SourceError> {
    let begins_a_millisecond = next_millisecond(client, limits).await?;
    let request = FlushRequest { db_name: name.database.clone(), collection_names: vec![name.collection.clone()] };
    let Some(answer) = found(client.call(request).await)? else { return Ok(None) };
    let Some(timestamp) = answer.coll_flush_ts.get(&name.collection).copied().filter(|timestamp| *timestamp > 0) else {
        let (call, version) = ("Flush with a timestamp", client.version_text().to_owned());
        return Err(SourceError::CallNotOffered { call, version });
    };
    let of = |lists: &std::collections::HashMap<String, super::proto::schema::LongArray>| {
        lists.get(&name.collection).map(|list| list.data.clone()).unwrap_or_default()
    };
    let sealed = of(&answer.coll_seg_i_ds);
    let segments: BTreeSet<i64> = sealed.iter().copied().chain(of(&answer.flush_coll_seg_i_ds)).collect();
    let started = Instant::now();
    let mut pause = Duration::from_millis(limits.flush_pause_ms);
    loop {
        let request = GetFlushStateRequest {
            segment_i_ds: sealed.clone(),
            flush_ts: timestamp,
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
        };
        let Some(state) = found(client.call(request).await)? else { return Ok(None) };
        if state.flushed {
            let point = if begins_a_millisecond { timestamp >> LOGICAL_BITS << LOGICAL_BITS } else { timestamp };
            return Ok(Some(Flushed { timestamp: point, segments, is_complete: false }));
        }
        let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if waited_ms > limits.flush_patience_ms {
            return Err(SourceError::FlushTakesTooLong { collection: name.clone(), waited_ms });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(limits.flush_longest_pause_ms));
    }
}

/// Waits until the server's clock shows a millisecond that nothing was acknowledged in yet, so that the beginning of the
/// flush's own millisecond can be the point. False when the server does not tell its time.
async fn next_millisecond(client: &MilvusClient, limits: &Limits) -> Result<bool, SourceError> {
    let mut first = None;
    let started = Instant::now();
    loop {
        let now = match client.call(AllocTimestampRequest {}).await {
            Ok(answer) => answer.timestamp >> LOGICAL_BITS,
            Err(SourceError::CallNotOffered { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if now > *first.get_or_insert(now) {
            return Ok(true);
        }
        if started.elapsed() > Duration::from_millis(limits.call_timeout_ms) {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(CLOCK_PAUSE_MS)).await;
    }
}
