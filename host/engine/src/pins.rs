//! Keeps the pins of a running job alive and gives them up at its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{JobId, JobType, RegionId, VaultId};
use longshore_vault::{Part, Pin, PinRequest, Reader, ReliesOn, Throttle, Vault};
use serde_json::Value;

use crate::opened::OpenedBackup;
use crate::random::draw;
use crate::{EngineError, RunContext};

/// Pins on what is read of a backup, one per vault, and readers that were opened after them.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) pins: Vec<(RegionId, Pin)>,
    pub(crate) readers: BTreeMap<VaultId, Reader>,
}

/// Pins the parts of a backup in those vaults that `wanted` names, and then looks whether the backup still exists: one
/// that was deleted while its pins were written may be half gone.
///
/// A vault that cannot be written to, a copy on a read-only disk say, is read without a pin: no prune runs there either,
/// or if one does, the worst that happens is that this job fails.
pub(crate) async fn begin_reading(
    opened: &OpenedBackup,
    wanted: &(dyn Fn(&VaultId) -> bool + Send + Sync),
    job: (JobType, Option<(JobId, u64)>),
    throttle: &Throttle,
    context: &RunContext,
) -> Result<Reading, EngineError> {
    let mut by_vault: BTreeMap<VaultId, (Vault, Vec<&Part>)> = BTreeMap::new();
    for part in opened.parts.iter().filter(|part| wanted(part.vault.id())) {
        let vault = part.vault.clone().with_throttle(throttle.clone());
        by_vault.entry(part.vault.id().clone()).or_insert_with(|| (vault, Vec::new())).1.push(&part.part);
    }
    let mut reading = Reading::default();
    for (id, (vault, parts)) in by_vault {
        let region = vault.region_id().clone();
        let (job_type, named) = job.clone();
        let (job_id, token) = match named {
            Some(named) => named,
            None => (JobId::from_random(draw(context.random.as_ref())?), 0),
        };
        let request = PinRequest {
            job_id,
            job_type,
            token,
            random: draw(context.random.as_ref())?,
            relies_on: ReliesOn::default(),
            state: Value::Null,
        };
        let reader = match vault.begin_reading(&parts, request, Arc::clone(&context.clock)).await {
            Ok((pin, reader)) => {
                reading.pins.push((region, pin));
                reader
            }
            Err(error) => {
                tracing::warn!(%region, %error, "no pin could be written: read without one");
                match vault.open_reader().await {
                    Ok(reader) => reader,
                    Err(error) => {
                        release(reading.pins).await;
                        return Err(EngineError::vault(&region)(error));
                    }
                }
            }
        };
        reading.readers.insert(id, reader);
    }
    match still_exists(opened).await {
        Ok(()) => Ok(reading),
        Err(error) => {
            release(reading.pins).await;
            Err(error)
        }
    }
}

/// Fails when the backup was deleted. A backup whose manifests are only lost or damaged is not.
async fn still_exists(opened: &OpenedBackup) -> Result<(), EngineError> {
    let (id, token) = (&opened.root.open.backup_id, opened.root.open.token);
    let mut withdrawn = false;
    for part in &opened.parts {
        if part.vault.exists(id).await.map_err(EngineError::vault(part.vault.region_id()))? {
            return Ok(());
        }
        withdrawn |= part.vault.is_withdrawn(id, token).await.map_err(EngineError::vault(part.vault.region_id()))?;
    }
    if withdrawn { Err(EngineError::NotFound { what: "backup", id: id.to_string() }) } else { Ok(()) }
}

/// Reads while pins are kept fresh. The pins protect what is read: without them the work can fail, but not go wrong, so
/// that a pin which cannot be refreshed does not end it.
pub(crate) async fn pinned<T>(pins: &[(RegionId, Pin)], work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        error = keep_fresh(pins) => tracing::warn!(%error, "a pin could not be refreshed; reading goes on without it"),
    }
    work.await
}

/// Refreshes pins for as long as the job runs; ends only with an error.
pub(crate) async fn keep_fresh(pins: &[(RegionId, Pin)]) -> EngineError {
    let every = u64::try_from(longshore_vault::Limits::DEFAULT.pin_refresh_ms).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(Duration::from_millis(every)).await;
        for (region, pin) in pins {
            let record = pin.record();
            if let Err(error) = pin.refresh(record.relies_on, record.state).await {
                return EngineError::vault(region)(error);
            }
        }
    }
}

/// Pins vaults, in this order, for a job that writes there and relies on anything. `state` is what the pin in a vault says.
/// When one cannot be pinned, those before it are given up.
pub(crate) async fn take_all<'a>(
    vaults: impl Iterator<Item = &'a Vault>,
    job_type: JobType,
    state: impl Fn(&Vault) -> Result<Value, EngineError>,
    context: &RunContext,
) -> Result<Vec<(RegionId, Pin)>, EngineError> {
    let job_id = JobId::from_random(draw(context.random.as_ref())?);
    let mut pins = Vec::new();
    for vault in vaults {
        let pinned = async {
            let request = PinRequest {
                job_id: job_id.clone(),
                job_type,
                token: 1,
                random: draw(context.random.as_ref())?,
                relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
                state: state(vault)?,
            };
            vault.pin(request, Arc::clone(&context.clock)).await.map_err(EngineError::vault(vault.region_id()))
        };
        match pinned.await {
            Ok(pin) => pins.push((vault.region_id().clone(), pin)),
            Err(error) => {
                release(pins).await;
                return Err(error);
            }
        }
    }
    Ok(pins)
}

/// Gives pins up. One that cannot be removed lapses by itself; until then it only keeps bytes that could have gone.
pub(crate) async fn release(pins: Vec<(RegionId, Pin)>) {
    for (region, pin) in pins {
        if let Err(error) = pin.release().await {
            tracing::warn!(%region, %error, "a pin could not be released");
        }
    }
}
