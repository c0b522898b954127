//! Pins: what a running job relies on in a vault, so that a prune on another host leaves it alone.
//!
//! A writer needs one. It is refreshed while the job runs; a pin that is gone or too old when the job wants to commit
//! means that a prune may have taken what the job relies on, so the job fails instead of committing a hole.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::{BackupId, Clock, JobId, JobType, Timestamp};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::layout::{self, FORMAT_VERSION};
use crate::objects::Objects;
use crate::{PackId, Vault, VaultError};

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
            state,
        };
        let objects = self.objects().clone();
        let inner = Inner { objects, path, clock, record: Mutex::new(record.clone()) };
        let pin = Pin { inner: Arc::new(inner) };
        pin.write(&record).await?;
        Ok(pin)
    }

    /// All pins in this vault, in order of key; objects that are not pins of this format are left out.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing or reading fails.
    pub async fn list_pins(&self) -> Result<Vec<PinRecord>, VaultError> {
        let mut pins = Vec::new();
        let mut listed = self.objects().list(Some(layout::PINS)).await?;
        listed.sort_by(|one, other| one.location.cmp(&other.location));
        for meta in listed {
            let Some(bytes) = self.objects().get(&meta.location, self.limits().pin_bytes).await? else { continue };
            match serde_json::from_slice::<PinRecord>(&bytes) {
                Ok(pin) if pin.kind == "pin" => pins.push(pin),
                _ => tracing::warn!(object = %meta.location, "left out: it is not a pin this version can read"),
            }
        }
        Ok(pins)
    }
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
        let mut record = self.record();
        record.refreshed = self.inner.clock.now();
        record.relies_on = relies_on;
        record.state = state;
        self.write(&record).await?;
        *self.inner.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        Ok(())
    }

    /// Gives the pin up.
    ///
    /// # Errors
    /// [`VaultError::Store`]; the pin then lapses by itself.
    pub async fn release(self) -> Result<(), VaultError> {
        self.inner.objects.delete(&self.inner.path).await
    }

    /// The time, by the clock the pin was taken with.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Fails when the pin is gone or was not refreshed in time.
    pub(crate) async fn check(&self) -> Result<(), VaultError> {
        let record = self.record();
        let lapsed = |reason: String| VaultError::PinLapsed { job_id: record.job_id.clone(), reason };
        let limits = self.inner.objects.limits();
        let age_ms = self.inner.clock.now().millis_since(record.refreshed);
        if age_ms > limits.pin_lapse_ms {
            return Err(lapsed(format!("it was last refreshed {} minutes ago", age_ms / 60_000)));
        }
        match self.inner.objects.get(&self.inner.path, limits.pin_bytes).await? {
            Some(_) => Ok(()),
            None => Err(lapsed("it was removed".to_owned())),
        }
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
