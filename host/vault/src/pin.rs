//! Pins: what a running job relies on in a vault, so that a prune on another host leaves it alone.
//!
//! A writer needs one. It is refreshed while the job runs; a pin that is gone or too old when the job wants to commit
//! means that a prune may have taken what the job relies on, so the job fails instead of committing a hole. A prune that
//! takes a lapsed pin away first writes `….lapsed` beside it: a refresh that was under way writes the pin again, but
//! never revives it.
//!
//! A pin of a writer also says which marks the writer *honours*: it loaded its index without what they list. A mark that
//! a live writer does not honour waits. A released pin of a writer stays for prunes to see, so that a listing that lags
//! behind cannot show neither the pin nor the root it led to; a prune removes it one fence later.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{BackupId, Clock, JobId, JobType, Timestamp};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::crypto::SessionKey;
use crate::layout::{self, FORMAT_VERSION};
use crate::objects::Objects;
use crate::{MarkId, PackId, Vault, VaultError};

/// How often a pin is read after a commit before the clock decides.
const CHECK_TRIES: u32 = 3;

/// A pin as it stands in the vault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PinRecord {
    /// Format of the record.
    pub format: u32,
    /// `pin`.
    pub kind: String,
    /// The job that holds it.
    pub job_id: JobId,
    /// What the job does.
    pub job_type: JobType,
    /// The job's fencing token.
    pub token: u64,
    /// When the job took it.
    pub started: Timestamp,
    /// When the job last said that it is alive.
    pub refreshed: Timestamp,
    /// What must not be pruned while the pin lives.
    pub relies_on: ReliesOn,
    /// Marks whose packs the job treats as absent.
    #[serde(default)]
    pub honours: BTreeSet<MarkId>,
    /// True once the job has given the pin up: it protects nothing any more.
    #[serde(default)]
    pub released: bool,
    /// Whatever the job needs to be resumed; the vault does not look inside.
    #[serde(default)]
    pub state: Value,
}

/// What a job relies on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReliesOn {
    /// Everything in the vault: a writer may reference any blob.
    #[serde(default)]
    pub everything: bool,
    /// Backups that are read.
    #[serde(default)]
    pub backups: Vec<BackupId>,
    /// Packs that are read or were written.
    #[serde(default)]
    pub packs: Vec<PackId>,
}

/// What a pin is taken with.
#[derive(Debug, Clone, PartialEq)]
pub struct PinRequest {
    /// The job.
    pub job_id: JobId,
    /// What it does.
    pub job_type: JobType,
    /// Its fencing token: higher for every later attempt at the same work.
    pub token: u64,
    /// Random bytes that keep two attempts apart.
    pub random: [u8; 8],
    /// What it relies on.
    pub relies_on: ReliesOn,
    /// Its resume state.
    pub state: Value,
}

/// A pin that is held. Cheap to clone; dropping it leaves the object, which lapses by itself.
#[derive(Clone)]
pub struct Pin {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Objects,
    path: Path,
    clock: Arc<dyn Clock>,
    record: Mutex<PinRecord>,
    /// Held while the object is written: two changes at once must not undo each other.
    writing: tokio::sync::Mutex<()>,
    /// Sessions that said what they honour.
    sessions: AtomicU64,
    /// Sessions that were given a distinction.
    distinctions: AtomicU64,
    /// The job's data key in an encrypted vault.
    data_key: OnceCell<SessionKey>,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("key", &self.inner.path.as_ref()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Takes a pin.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::StorageFull`], [`VaultError::TooLarge`] for a resume state beyond the limit.
    pub async fn pin(&self, request: PinRequest, clock: Arc<dyn Clock>) -> Result<Pin, VaultError> {
        let PinRequest { job_id, job_type, token, random, relies_on, state } = request;
        let path = layout::pin_path(&job_id, token, random);
        let now = clock.now();
        let record = PinRecord {
            format: FORMAT_VERSION,
            kind: "pin".to_owned(),
            job_id,
            job_type,
            token,
            started: now,
            refreshed: now,
            relies_on,
            honours: BTreeSet::new(),
            released: false,
            state,
        };
        let objects = self.objects().clone();
        let inner = Inner {
            objects,
            path,
            clock,
            record: Mutex::new(record.clone()),
            writing: tokio::sync::Mutex::default(),
            sessions: AtomicU64::new(0),
            distinctions: AtomicU64::new(0),
            data_key: OnceCell::new(),
        };
        let pin = Pin { inner: Arc::new(inner) };
        pin.write(&record).await?;
        Ok(pin)
    }

    /// All pins in this vault that are not released, in order of key; objects that are not pins of this format are left
    /// out.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing or reading fails.
    pub async fn list_pins(&self) -> Result<Vec<PinRecord>, VaultError> {
        let pins = list(self.objects()).await?.into_iter().filter_map(|pin| pin.record);
        Ok(pins.filter(|pin| !pin.released).collect())
    }
}

/// A pin as a prune finds it.
#[derive(Debug, Clone)]
pub(crate) struct ListedPin {
    pub(crate) path: Path,
    /// `None` when it cannot be read: it may rely on anything.
    pub(crate) record: Option<PinRecord>,
    /// When the store says it was last written.
    pub(crate) written: Timestamp,
}

/// Lists and reads all pins, in order of key.
pub(crate) async fn list(objects: &Objects) -> Result<Vec<ListedPin>, VaultError> {
    let mut listed = objects.list(Some(layout::PINS)).await?;
    listed.retain(|meta| meta.location.as_ref().ends_with(".json"));
    listed.sort_by(|one, other| one.location.cmp(&other.location));
    let read: Vec<Option<ListedPin>> = stream::iter(listed)
        .map(|meta| async move {
            let record = match objects.get(&meta.location, objects.limits().pin_bytes).await {
                Ok(Some(bytes)) => parse(&meta.location, &bytes),
                // Gone since it was listed: released, or taken away by another prune.
                Ok(None) => return Ok(None),
                Err(error) if error.is_unreadable_object() => {
                    tracing::warn!(object = %meta.location, %error, "a pin that cannot be read relies on everything");
                    None
                }
                Err(error) => return Err(error),
            };
            let written = Timestamp::from_millis(meta.last_modified.timestamp_millis());
            Ok::<_, VaultError>(Some(ListedPin { path: meta.location, record, written }))
        })
        .buffered(objects.limits().requests_in_flight.max(1))
        .try_collect()
        .await?;
    Ok(read.into_iter().flatten().collect())
}

fn parse(path: &Path, bytes: &[u8]) -> Option<PinRecord> {
    let record = serde_json::from_slice::<PinRecord>(bytes).ok();
    let record = record.filter(|pin| pin.kind == "pin" && pin.format == FORMAT_VERSION);
    if record.is_none() {
        tracing::warn!(object = %path, "it is not a pin this version can read");
    }
    record
}

impl Pin {
    /// The record as last written.
    #[must_use]
    pub fn record(&self) -> PinRecord {
        self.inner.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the job is alive, and what it relies on and needs to be resumed from now on. Due every
    /// [`Limits::pin_refresh_ms`](crate::Limits::pin_refresh_ms).
    ///
    /// # Errors
    /// [`VaultError::PinLapsed`] when the pin had lapsed already: it is not revived. Failures of the store.
    pub async fn refresh(&self, relies_on: ReliesOn, state: Value) -> Result<(), VaultError> {
        self.check().await?;
        self.update(|record| {
            record.relies_on = relies_on;
            record.state = state;
        })
        .await
    }

    /// Says which marks the job honours: in `marks` are all whose packs it treats as absent from now on. With several
    /// sessions under one pin only what all of them honour counts.
    pub(crate) async fn honour(&self, marks: &BTreeSet<MarkId>) -> Result<(), VaultError> {
        let first = self.inner.sessions.fetch_add(1, Ordering::SeqCst) == 0;
        let honoured = self.record().honours;
        let honours =
            if first { marks.clone() } else { honoured.intersection(marks).copied().collect::<BTreeSet<_>>() };
        if honours == honoured {
            return Ok(());
        }
        self.check().await?;
        self.update(|record| record.honours = honours).await
    }

    /// Bytes that no other session, under this pin or any other, has.
    pub(crate) fn distinguish_session(&self) -> [u8; 16] {
        let number = self.inner.distinctions.fetch_add(1, Ordering::SeqCst);
        let mut hasher = blake3::Hasher::new_derive_key("longshore vault 1 distinction of packs");
        hasher.update(&number.to_le_bytes()).update(self.inner.path.as_ref().as_bytes());
        let mut distinction = [0; 16];
        hasher.finalize_xof().fill(&mut distinction);
        distinction
    }

    /// Changes the record and writes it, refreshed now.
    async fn update(&self, change: impl FnOnce(&mut PinRecord)) -> Result<(), VaultError> {
        let _alone = self.inner.writing.lock().await;
        let mut record = self.record();
        let before = record.refreshed;
        record.refreshed = self.inner.clock.now();
        // It lapsed while this was under way: leave `refreshed` as it was, so that every later check says so too.
        self.check_age(before)?;
        change(&mut record);
        self.write(&record).await?;
        self.check_age(before)?;
        *self.inner.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        Ok(())
    }

    /// The job's data key in an encrypted vault, once one was made.
    pub(crate) fn data_key(&self) -> &OnceCell<SessionKey> {
        &self.inner.data_key
    }

    /// Gives the pin up: says so in the vault, and removes the object unless it is a writer's. A store that refuses to
    /// delete is no error: a released pin protects nothing.
    ///
    /// # Errors
    /// [`VaultError::Store`]; the pin then lapses by itself.
    pub async fn release(self) -> Result<(), VaultError> {
        let _alone = self.inner.writing.lock().await;
        let mut record = self.record();
        // Its resume state is of no use any more, and may be large.
        record.released = true;
        record.state = Value::Null;
        self.write(&record).await?;
        if !record.relies_on.everything
            && let Err(error) = self.inner.objects.delete(&self.inner.path).await
        {
            tracing::debug!(pin = %self.inner.path, %error, "a released pin was left to the next prune");
        }
        Ok(())
    }

    /// The time, by the clock the pin was taken with.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Fails when the pin is gone or was not refreshed in time.
    pub(crate) async fn check(&self) -> Result<(), VaultError> {
        self.check_age(self.record().refreshed)?;
        let path = &self.inner.path;
        if self.is_there(&layout::lapsed_path(path)).await? {
            return Err(self.lapsed("a prune took it away"));
        }
        if self.is_there(path).await? { Ok(()) } else { Err(self.lapsed("it was removed")) }
    }

    /// What cannot be read is there: a prune sees it, too, and the next refresh writes it again.
    async fn is_there(&self, path: &Path) -> Result<bool, VaultError> {
        let objects = &self.inner.objects;
        match objects.get(path, objects.limits().pin_bytes).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.is_unreadable_object() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// As [`Pin::check`], after something was written that relies on the pin. A store that does not answer leaves the
    /// clock to decide: no prune takes a pin away before it has lapsed.
    pub(crate) async fn check_still_held(&self) -> Result<(), VaultError> {
        for _ in 0..CHECK_TRIES {
            match self.check().await {
                Err(error @ VaultError::PinLapsed { .. }) => return Err(error),
                Err(error) => tracing::debug!(%error, "the pin could not be read; trying again"),
                Ok(()) => return Ok(()),
            }
        }
        self.check_age(self.record().refreshed)
    }

    fn check_age(&self, refreshed: Timestamp) -> Result<(), VaultError> {
        let age_ms = self.inner.clock.now().millis_since(refreshed);
        if age_ms > self.inner.objects.limits().pin_lapse_ms {
            return Err(self.lapsed(format!("it was last refreshed {} minutes ago", age_ms / 60_000)));
        }
        Ok(())
    }

    fn lapsed(&self, reason: impl Into<String>) -> VaultError {
        VaultError::PinLapsed { job_id: self.record().job_id, reason: reason.into() }
    }

    async fn write(&self, record: &PinRecord) -> Result<(), VaultError> {
        let object = self.inner.path.to_string();
        let bytes = serde_json::to_vec(record)
            .map_err(|error| VaultError::BadManifest { object: object.clone(), reason: error.to_string() })?;
        let (size_bytes, limit_bytes) = (bytes.len() as u64, self.inner.objects.limits().pin_bytes);
        if size_bytes > limit_bytes {
            return Err(VaultError::TooLarge { what: format!("the pin `{object}`"), size_bytes, limit_bytes });
        }
        self.inner.objects.replace(&self.inner.path, Bytes::from(bytes)).await
    }
}
