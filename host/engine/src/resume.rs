//! What makes a backup go on where an earlier attempt stopped.
//!
//! Every so often a running backup makes what it stored durable and findable, and then writes the finished files into the
//! state of its pins. A later backup of the same cluster takes those files as known: it reads none of them again. Files
//! without an identity (written in place, or too young) are read again and found by content; so are the pieces of a file
//! that was not finished.
//!
//! Order: a file is finished before the session is made durable, and the session is durable before the pin says so. What
//! a pin says is a hint all the same: the index is asked for every blob.
//!
//! Bound: a state takes at most half of what a pin may hold. Files beyond it are left out, newest first, and are found
//! by content. Failure: a checkpoint that fails is a warning; the backup goes on, and a later attempt reads more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_model::{ClusterId, Digest, JobType, RegionId};
use longshore_vault::{BlobId, IdKey, Pin, PinRecord, ReliesOn, Session};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::history::KnownFile;
use crate::{EngineError, Limits};

/// Version of the state; another one is as if there were none.
const FORMAT: u32 = 1;
/// Bytes of a state that one file takes without its blobs, and that each blob takes.
const FILE_BYTES: u64 = 256;
const BLOB_BYTES: u64 = 70;

/// The state of a backup in a pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    format: u32,
    cluster_id: ClusterId,
    files: Vec<Arc<FinishedFile>>,
    /// Live rows of collections that were counted.
    #[serde(default)]
    counts: Vec<Count>,
    /// Finished files that did not fit.
    #[serde(default)]
    left_out: u64,
}

/// Live rows of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    /// Its content, by a digest that only the project's key gives.
    content: Digest,
    live_rows: u64,
}

/// A file whose blobs are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FinishedFile {
    /// Its keyed identity.
    identity: Digest,
    size_bytes: u64,
    blobs: Vec<BlobId>,
    /// Its digest, hidden from those who do not have the project's key: a plain one would tell what the file is.
    masked_digest: Digest,
}

fn to_value(state: &State) -> Result<Value, EngineError> {
    serde_json::to_value(state)
        .map_err(|error| EngineError::Internal { what: format!("writing a resume state: {error}") })
}

/// A digest under a mask that only the project's key gives, or back again.
fn mask(key: &IdKey, identity: &Digest, blobs: &[BlobId], digest: &Digest) -> Digest {
    let mut bytes = b"digest of a finished file".to_vec();
    bytes.extend_from_slice(identity.as_bytes());
    blobs.iter().for_each(|blob| bytes.extend_from_slice(blob.as_bytes()));
    let mut masked = *digest.as_bytes();
    masked.iter_mut().zip(key.identity(&bytes).as_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    Digest::new(masked)
}

/// What a content digest is called in a state.
pub(crate) fn content_id(key: &IdKey, content: &Digest) -> Digest {
    key.identity(&[b"content of a collection".as_slice(), content.as_bytes()].concat())
}

/// What an earlier attempt left.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Files by keyed identity.
    pub(crate) files: Vec<(Digest, KnownFile)>,
    /// Live rows by [`content_id`].
    pub(crate) counts: Vec<(Digest, u64)>,
}

/// Reads the state of a pin; nothing when it is of another cluster or of a job of another kind.
pub(crate) fn unfinished(pin: &PinRecord, cluster: &ClusterId, key: &IdKey) -> Unfinished {
    if pin.job_type != JobType::Backup {
        return Unfinished::default();
    }
    let Ok(state) = State::deserialize(&pin.state) else { return Unfinished::default() };
    if state.format != FORMAT || state.cluster_id != *cluster {
        return Unfinished::default();
    }
    let known = state.files.iter().map(|file| {
        let digest = mask(key, &file.identity, &file.blobs, &file.masked_digest);
        let known = KnownFile { size_bytes: file.size_bytes, blobs: file.blobs.clone(), digest, unfinished: true };
        (file.identity, known)
    });
    let counts = state.counts.iter().map(|count| (count.content, count.live_rows)).collect();
    Unfinished { files: known.collect(), counts }
}

/// The checkpoints of a running backup.
pub(crate) struct Checkpoints {
    cluster_id: ClusterId,
    regions: BTreeMap<RegionId, Region>,
    every: Duration,
    every_bytes: u64,
    /// Bytes since the last checkpoint.
    bytes: AtomicU64,
    enough: Notify,
}

/// What is to be remembered in the vault of one region.
struct Region {
    session: Arc<Session>,
    pin: Pin,
    key: Option<IdKey>,
    limit_bytes: u64,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    finished: Vec<Arc<FinishedFile>>,
    counts: Vec<Count>,
    state_bytes: u64,
    left_out: u64,
    /// How many files and counts the pin names already.
    saved: usize,
}

impl Checkpoints {
    pub(crate) fn new(cluster_id: &ClusterId, limits: &Limits) -> Self {
        Self {
            cluster_id: cluster_id.clone(),
            regions: BTreeMap::new(),
            every: Duration::from_millis(limits.checkpoint_ms.max(1)),
            every_bytes: limits.checkpoint_bytes.max(1),
            bytes: AtomicU64::new(0),
            enough: Notify::new(),
        }
    }

    /// Adds the vault of a region.
    pub(crate) fn add(
        &mut self,
        region: &RegionId,
        session: &Arc<Session>,
        pin: &Pin,
        key: Option<IdKey>,
        pin_bytes: u64,
    ) {
        let (session, pin, limit_bytes) = (Arc::clone(session), pin.clone(), pin_bytes / 2);
        self.regions.insert(region.clone(), Region { session, pin, key, limit_bytes, files: Mutex::default() });
    }

    /// Notes a file that was stored, or that an earlier attempt had stored.
    pub(crate) fn finished(
        &self,
        region: &RegionId,
        identity: Digest,
        size_bytes: u64,
        blobs: &[BlobId],
        digest: &Digest,
    ) {
        let Some(region) = self.regions.get(region) else { return };
        let Some(key) = &region.key else { return };
        let state_bytes = FILE_BYTES + BLOB_BYTES * blobs.len() as u64;
        let mut files = region.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.state_bytes + state_bytes > region.limit_bytes {
            files.left_out += 1;
            return;
        }
        files.state_bytes += state_bytes;
        let masked_digest = mask(key, &identity, blobs, digest);
        files.finished.push(Arc::new(FinishedFile { identity, size_bytes, blobs: blobs.to_vec(), masked_digest }));
    }

    /// Notes the live rows of a collection.
    pub(crate) fn counted(&self, region: &RegionId, content: &Digest, live_rows: u64) {
        let Some(region) = self.regions.get(region) else { return };
        let Some(key) = &region.key else { return };
        let mut files = region.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.state_bytes + FILE_BYTES <= region.limit_bytes {
            files.state_bytes += FILE_BYTES;
            files.counts.push(Count { content: content_id(key, content), live_rows });
        }
    }

    /// Notes bytes that were stored.
    pub(crate) fn moved(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= self.every_bytes {
            self.enough.notify_one();
        }
    }

    /// Does `work` with checkpoints beside it. A checkpoint under way when the work ends is carried to its end, so that
    /// nothing is written to a pin later.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let done = Notify::new();
        let work = async {
            let result = work.await;
            done.notify_one();
            result
        };
        let beside = async {
            loop {
                tokio::select! {
                    biased;
                    () = done.notified() => break,
                    () = self.enough.notified() => {}
                    () = tokio::time::sleep(self.every) => {}
                }
                let enough = self.bytes.swap(0, Ordering::Relaxed) >= self.every_bytes;
                for (id, region) in &self.regions {
                    if let Err(error) = region.save(&self.cluster_id, enough).await {
                        tracing::warn!(region = %id, %error, "a checkpoint failed; a later attempt reads more again");
                    }
                }
            }
        };
        let (result, ()) = tokio::join!(work, beside);
        result
    }

    /// Ends a backup that failed. What it stored stays for the next attempt: its pins then keep only the packs of the
    /// files they name, until they lapse. A pin that names none is given up.
    pub(crate) async fn rest(&self) {
        for (id, region) in &self.regions {
            if let Err(error) = region.rest(&self.cluster_id).await {
                tracing::warn!(region = %id, %error, "a pin of a failed backup stays as it is until it lapses");
            }
        }
    }
}

impl Region {
    /// Makes what was stored durable, then says so. `enough`: also when no file was finished since the last time.
    async fn save(&self, cluster_id: &ClusterId, enough: bool) -> Result<(), EngineError> {
        // Before the session is made durable: what is finished later may not be.
        let (state, count, news) = self.state(cluster_id)?;
        if news || enough {
            self.session.checkpoint().await.map_err(|error| self.failed(error))?;
        }
        if news {
            self.pin.refresh(self.pin.record().relies_on, state).await.map_err(|error| self.failed(error))?;
            self.files.lock().unwrap_or_else(PoisonError::into_inner).saved = count;
        }
        Ok(())
    }

    async fn rest(&self, cluster_id: &ClusterId) -> Result<(), EngineError> {
        // A session that failed or ended makes nothing more durable; what is durable already counts.
        if let Err(error) = self.session.checkpoint().await {
            tracing::debug!(%error, "no last checkpoint");
        }
        let (finished, counts, left_out) = {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            (files.finished.clone(), files.counts.clone(), files.left_out)
        };
        let (mut files, mut packs) = (Vec::new(), BTreeSet::new());
        for file in finished {
            if let Some(of_file) = self.session.packs_of(&file.blobs) {
                packs.extend(of_file);
                files.push(file);
            }
        }
        if files.is_empty() {
            return self.pin.clone().release().await.map_err(|error| self.failed(error));
        }
        let state = to_value(&State { format: FORMAT, cluster_id: cluster_id.clone(), files, counts, left_out })?;
        let relies_on = ReliesOn { packs: packs.into_iter().collect(), ..ReliesOn::default() };
        self.pin.refresh(relies_on, state).await.map_err(|error| self.failed(error))
    }

    /// The state as of now, the number of files and counts in it, and whether there are new ones.
    fn state(&self, cluster_id: &ClusterId) -> Result<(Value, usize, bool), EngineError> {
        let (state, news) = {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if files.left_out > 0 {
                let left_out = files.left_out;
                tracing::warn!(left_out, "finished files do not fit into the pin; a later attempt reads them again");
            }
            let state = State {
                format: FORMAT,
                cluster_id: cluster_id.clone(),
                files: files.finished.clone(),
                counts: files.counts.clone(),
                left_out: files.left_out,
            };
            (state, files.finished.len() + files.counts.len() > files.saved)
        };
        Ok((to_value(&state)?, state.files.len() + state.counts.len(), news))
    }

    fn failed(&self, error: longshore_vault::VaultError) -> EngineError {
        EngineError::Internal { what: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use longshore_model::Timestamp;
    use serde_json::json;

    fn digest(byte: u8) -> Digest {
        Digest::new([byte; 32])
    }

    #[test]
    fn a_state_gives_back_what_went_in_and_hides_digests() {
        let key = IdKey::new([7; 32]);
        let (identity, blobs, plain) = (digest(1), vec![BlobId::new(digest(2))], digest(3));
        let masked_digest = mask(&key, &identity, &blobs, &plain);
        assert_ne!(masked_digest, plain);
        let cluster: ClusterId = "in01-aa".parse().unwrap();
        let file = FinishedFile { identity, size_bytes: 5, blobs: blobs.clone(), masked_digest };
        let state = State {
            format: FORMAT,
            cluster_id: cluster.clone(),
            files: vec![Arc::new(file)],
            counts: Vec::new(),
            left_out: 0,
        };
        let mut pin = PinRecord {
            format: 1,
            kind: "pin".to_owned(),
            job_id: "job-1".parse().unwrap(),
            job_type: JobType::Backup,
            token: 1,
            started: Timestamp::from_millis(0),
            refreshed: Timestamp::from_millis(0),
            relies_on: ReliesOn::default(),
            honours: BTreeSet::new(),
            released: false,
            state: serde_json::to_value(&state).unwrap(),
        };
        let found = unfinished(&pin, &cluster, &key).files;
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].0, found[0].1.size_bytes, &found[0].1.blobs, found[0].1.digest),
            (identity, 5, &blobs, plain)
        );
        assert!(unfinished(&pin, &"in01-bb".parse().unwrap(), &key).files.is_empty(), "another cluster");
        pin.job_type = JobType::Copy;
        assert!(unfinished(&pin, &cluster, &key).files.is_empty(), "another kind of job");
        pin.job_type = JobType::Backup;
        for state in
            [Value::Null, json!({}), json!({"format": 2}), json!({"format": 1, "clusterId": "in01-aa", "files": 3})]
        {
            pin.state = state;
            assert!(unfinished(&pin, &cluster, &key).files.is_empty());
        }
    }
}
