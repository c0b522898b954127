//! Prunes the vaults of a project, deletes single backups, and says where the space goes.
//!
//! Contract: what may be deleted is decided in the vault crate alone; here vaults are opened, and a stop is heard. A
//! prune that is stopped anywhere is right as far as it got, and the next one goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use longshore_model::{BackupId, CollectionName, Phase, RegionId};
use longshore_vault::{PruneOptions, PrunePlan, PruneReport, Vault, VaultError, Withdrawal};

use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// Says what a prune would do now. Writes nothing.
///
/// # Errors
/// [`EngineError::Vault`], [`EngineError::Stopped`].
pub async fn plan_prune(
    vaults: &RegionVaults,
    options: &PruneOptions,
    context: &RunContext,
) -> Result<PrunePlan, EngineError> {
    let vaults = all(vaults, context);
    let now = context.clock.now();
    context.progress.enter(Phase::Inventory);
    let plan = tokio::select! {
        plan = longshore_vault::plan_prune(&vaults, options, now) => plan.map_err(|error| explain(&vaults, error)),
        () = context.stop.stopped() => Err(stopped(context)),
    }?;
    context.progress.enter(Phase::Done);
    Ok(plan)
}

/// Prunes.
///
/// # Errors
/// [`EngineError::Vault`], [`EngineError::Stopped`].
pub async fn run_prune(
    vaults: &RegionVaults,
    options: &PruneOptions,
    context: &RunContext,
) -> Result<PruneReport, EngineError> {
    let vaults = all(vaults, context);
    let random = draw(context.random.as_ref())?;
    let board = &context.progress;
    board.enter(Phase::Inventory);
    board.expect(vaults.iter().map(|vault| {
        let region = vault.region_id().to_string();
        (CollectionName { database: "region".to_owned(), collection: region }, 0)
    }));
    let seen: Vec<AtomicU64> = vaults.iter().map(|_| AtomicU64::new(0)).collect();
    let watch = |place: usize, done: u64, total: u64| {
        board.enter(Phase::Transfer);
        board.set_total(place, total);
        let before = seen.get(place).map_or(done, |seen| seen.fetch_max(done, Ordering::Relaxed));
        board.add(place, done.saturating_sub(before));
    };
    let clock = context.clock.as_ref();
    let report = tokio::select! {
        report = longshore_vault::prune_watched(&vaults, options, clock, random, &watch) => {
            report.map_err(|error| explain(&vaults, error))
        }
        () = context.stop.stopped() => Err(stopped(context)),
    }?;
    board.enter(Phase::Done);
    Ok(report)
}

/// Deletes a backup from these vaults, which must be all that hold something of it. Answers its home region.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::Vault`].
pub async fn delete_backup(
    vaults: &RegionVaults,
    backup: &BackupId,
    by: &str,
    context: &RunContext,
) -> Result<RegionId, EngineError> {
    let mut home = None;
    for vault in vaults.all() {
        match vault.load_backup(backup).await {
            Ok(loaded) => home = Some(loaded.root.open.home_region),
            // It is there, but cannot be read. It can still be deleted; where its home is, another vault may say.
            Err(VaultError::Damaged { .. } | VaultError::BadManifest { .. }) => {
                home.get_or_insert_with(|| vault.region_id().clone());
            }
            Err(VaultError::NoSuchBackup { .. }) => {}
            Err(error) => return Err(EngineError::vault(vault.region_id())(error)),
        }
    }
    let home = home.ok_or_else(|| EngineError::NotFound { what: "backup", id: backup.to_string() })?;
    let withdrawal = Withdrawal { time: context.clock.now(), by: by.to_owned(), job_id: None };
    vaults.delete_backup(&home, backup, &withdrawal).await?;
    Ok(home)
}

fn all(vaults: &RegionVaults, context: &RunContext) -> Vec<Vault> {
    vaults.throttled(&context.throttle).all()
}

fn stopped(context: &RunContext) -> EngineError {
    match context.stop.check() {
        Err(error) => error,
        Ok(()) => EngineError::Internal { what: "a prune was stopped by nobody".to_owned() },
    }
}

/// The vault's sentence names the place; the region is that of the vault whose place it names, or of the first.
fn explain(vaults: &[Vault], error: VaultError) -> EngineError {
    let text = error.to_string();
    let hit = vaults.iter().find(|vault| text.contains(&vault.place())).or_else(|| vaults.first());
    match hit {
        Some(vault) => EngineError::vault(vault.region_id())(error),
        None => EngineError::Internal { what: text },
    }
}
