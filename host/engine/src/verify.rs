//! Checks that a committed backup is whole, in every vault that holds a part of it.

use longshore_model::{BackupId, CollectionName, Phase, RegionId};
use longshore_vault::{ObjectDamage, VerifyLevel, VerifyOptions};
use serde::Serialize;

use crate::opened::OpenedBackup;
use crate::{EngineError, RunContext};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyOutcome {
    /// Which backup.
    pub backup_id: BackupId,
    /// One entry per collection and vault.
    pub collections: Vec<VerifiedCollection>,
    /// Objects that are damaged or missing.
    pub damaged_objects: Vec<DamagedObject>,
    /// Bytes read.
    pub read_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// True when nothing is damaged.
    pub whole: bool,
}

/// One collection in one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedCollection {
    /// Which collection.
    pub name: CollectionName,
    /// In which region's vault.
    pub region: RegionId,
    /// Its files.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// Files that cannot be restored from this vault.
    pub damaged_files: u64,
    /// What is wrong with them, the first few.
    pub damages: Vec<String>,
}

/// A damaged or missing object of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedObject {
    /// In which region's vault.
    pub region: RegionId,
    /// Its key.
    pub object: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Checks every part and copy of a backup.
///
/// # Errors
/// [`EngineError::Vault`] when a vault cannot be read at all, [`EngineError::Stopped`]. Damage is a result, not an error.
pub async fn verify_backup(
    opened: &OpenedBackup,
    level: VerifyLevel,
    context: &RunContext,
) -> Result<VerifyOutcome, EngineError> {
    let started = context.clock.now();
    context.progress.enter(Phase::Proof);
    let mut outcome = VerifyOutcome {
        backup_id: opened.root.open.backup_id.clone(),
        collections: Vec::new(),
        damaged_objects: Vec::new(),
        read_bytes: 0,
        duration_ms: 0,
        whole: true,
    };
    let names = opened.parts.iter().map(|part| {
        let name = CollectionName { database: "region".to_owned(), collection: part.vault.region_id().to_string() };
        (name, 1)
    });
    context.progress.expect(names);
    for (place, part) in opened.parts.iter().enumerate() {
        context.stop.check()?;
        let region = part.vault.region_id();
        let board = context.progress.clone();
        let seen = std::sync::atomic::AtomicU64::new(0);
        let on_bytes = move |done: u64, total: u64| {
            board.set_total(place, total);
            let before = seen.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
            board.add(place, done.saturating_sub(before));
        };
        let vault = part.vault.clone().with_throttle(context.throttle.clone());
        let verified = vault.verify(&part.part, VerifyOptions::new(level, &on_bytes));
        let report = tokio::select! {
            report = verified => report.map_err(EngineError::vault(region))?,
            () = context.stop.stopped() => {
                context.stop.check()?;
                continue;
            }
        };
        outcome.whole &= report.is_whole();
        outcome.read_bytes += report.read_bytes;
        outcome.damaged_objects.extend(report.objects.iter().map(|damage| damaged(region, damage)));
        let sealed = part.part.collections().map_err(EngineError::vault(region))?;
        for (found, (_, sealed)) in report.collections.iter().zip(sealed) {
            let path = |number: u32| {
                sealed.files.iter().find(|file| file.number == number).map_or("a file", |file| file.path.as_str())
            };
            outcome.collections.push(VerifiedCollection {
                name: sealed.name.clone(),
                region: region.clone(),
                files: found.files,
                size_bytes: found.plain_bytes,
                damaged_files: found.damaged_files,
                damages: found
                    .damages
                    .iter()
                    .map(|damage| format!("{}: {} ({})", path(damage.file_number), damage.found, damage.object))
                    .collect(),
            });
        }
    }
    context.progress.enter(Phase::Done);
    outcome.duration_ms = context.clock.now().millis_since(started);
    Ok(outcome)
}

fn damaged(region: &RegionId, damage: &ObjectDamage) -> DamagedObject {
    DamagedObject {
        region: region.clone(),
        object: damage.object.clone(),
        expected: damage.expected.clone(),
        found: damage.found.clone(),
    }
}
