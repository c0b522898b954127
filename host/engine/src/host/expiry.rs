//! What goes by itself: automatic backups whose time is over or whose cluster was dropped, and deletions that a host
//! did not finish.
//!
//! A backup goes at its `expires` and not before. It stays longer where retention rules of the configuration
//! keep it (`retention.rs` decides about those clusters), while a job uses it, and while it is the newest automatic
//! backup of a cluster whose schedule is on: then the backups after it have failed, and it is what is left.
//!
//! Those of a cluster that was dropped go with it, or the days of grace of the configuration later; their own time may be
//! over before that.
//!
//! Order: the catalog's mark, then the vaults, then the catalog's note that nothing is left. A host that dies in between
//! leaves a deleted backup that [`Host::expire_backups`] finishes.

use longshore_catalog::{BackupFilter, BackupRow, Catalog, CatalogError, Page as CatalogPage};
use longshore_model::{BackupId, BackupStatus, CreationMethod, Timestamp};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, Role};
use crate::catalog_calls::every;
use crate::config::HostConfig;

/// Rows that are read in one go.
const PAGE: u32 = 500;

/// How long automatic backups outlive their cluster, in milliseconds.
pub(super) fn grace_ms(days: u32) -> i64 {
    i64::from(days).saturating_mul(24 * 60 * 60 * 1_000)
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpiryOutcome {
    /// Automatic backups that were deleted: their time was over, or their cluster was dropped.
    pub deleted: Vec<BackupId>,
    /// Deletions of an earlier time that were finished.
    pub finished: Vec<BackupId>,
    /// What was to go and did not, and why; tried again the next time.
    pub failed: Vec<(BackupId, String)>,
}

/// Which backups are to go now, and why: a plan, which deletes nothing.
///
/// # Errors
/// [`EngineError::Catalog`].
pub(crate) fn going(
    catalog: &dyn Catalog,
    config: &HostConfig,
    now: Timestamp,
) -> Result<Vec<(BackupRow, String)>, EngineError> {
    // Nothing is changed meanwhile that would move rows between pages; what comes in is new.
    let all = |filter: BackupFilter| every(PAGE, |page| catalog.list_backups(&filter, page));
    let automatic = Some(CreationMethod::Auto);
    let dropped = BackupFilter {
        creation_method: automatic,
        statuses: Some(vec![BackupStatus::Available, BackupStatus::Failed]),
        dropped_at: Some(now.plus_millis(-grace_ms(config.dropped_cluster_grace_days))),
        ..BackupFilter::default()
    };
    let with_reason = |row: BackupRow| {
        let reason = format!("expiry, cluster {} was dropped", row.cluster);
        (row, reason)
    };
    let mut going: Vec<(BackupRow, String)> = all(dropped)?.into_iter().map(with_reason).collect();
    let expired = BackupFilter {
        creation_method: automatic,
        statuses: Some(vec![BackupStatus::Available]),
        expired_at: Some(now),
        ..BackupFilter::default()
    };
    for row in all(expired)? {
        if going.iter().any(|(other, _)| other.id == row.id) || !config.retention_of(&row.cluster).is_empty() {
            continue;
        }
        if is_last_of_a_schedule(catalog, &row)? {
            tracing::warn!(backup = %row.id, cluster = %row.cluster, "an expired backup stays, because no later one is AVAILABLE");
            continue;
        }
        let expires = row.expires.unwrap_or(now);
        going.push((row, format!("expiry, it expired at {expires}")));
    }
    Ok(going)
}

/// True for the newest automatic backup of a cluster that is still to be backed up automatically.
fn is_last_of_a_schedule(catalog: &dyn Catalog, row: &BackupRow) -> Result<bool, EngineError> {
    if catalog.get_schedule(&row.cluster)?.is_none_or(|schedule| schedule.due.is_none()) {
        return Ok(false);
    }
    let filter = BackupFilter {
        cluster: Some(row.cluster.clone()),
        creation_method: Some(CreationMethod::Auto),
        statuses: Some(vec![BackupStatus::Available]),
        ..BackupFilter::default()
    };
    let newest = catalog.list_backups(&filter, CatalogPage { size: 1, current: 1 })?.items.into_iter().next();
    Ok(newest.is_some_and(|newest| newest.id == row.id))
}

impl Host {
    /// Deletes automatic backups whose time is over or whose cluster was dropped, and finishes deletions that stopped
    /// half-way. The host does so by itself. One that cannot be deleted does not keep the others.
    ///
    /// # Errors
    /// [`EngineError::Catalog`] when what there is cannot be found out.
    pub async fn expire_backups(&self) -> Result<ExpiryOutcome, EngineError> {
        let mut outcome = ExpiryOutcome::default();
        let half_deleted =
            BackupFilter { statuses: Some(vec![BackupStatus::Deleted]), not_purged: true, ..BackupFilter::default() };
        for row in self.every_backup(half_deleted).await? {
            match self.delete_automatically(&row).await {
                Ok(_) => outcome.finished.push(row.id),
                Err(error) => outcome.failed.push((row.id, crate::worker::sentence(&error))),
            }
        }
        for (row, reason) in self.expired().await? {
            self.inner.stop.check()?;
            let deleted = self.delete_automatically(&row).await;
            if let Ok(false) = deleted {
                continue;
            }
            let who = Principal::host(reason, Role::ProjectAdmin);
            self.audit(&who, "backup.delete", row.id.as_str(), &deleted).await;
            match deleted {
                Ok(_) => outcome.deleted.push(row.id),
                Err(error) => outcome.failed.push((row.id, crate::worker::sentence(&error))),
            }
        }
        Ok(outcome)
    }

    /// Which backups are to go now, and why.
    async fn expired(&self) -> Result<Vec<(BackupRow, String)>, EngineError> {
        let config = self.inner.config();
        self.catalog("looking for expired backups", move |catalog, now| going(catalog, &config, now)).await
    }

    async fn every_backup(&self, filter: BackupFilter) -> Result<Vec<BackupRow>, EngineError> {
        self.catalog("listing backups", move |catalog, _| {
            // Nothing is changed meanwhile that would move rows between pages; what comes in is new.
            Ok(every(PAGE, |page| catalog.list_backups(&filter, page))?)
        })
        .await
    }

    /// Deletes a backup; false when a job uses it or somebody else has deleted it.
    async fn delete_automatically(&self, row: &BackupRow) -> Result<bool, EngineError> {
        let id = row.id.clone();
        let record = self.catalog("reading a backup", move |catalog, _| Ok(catalog.get_backup(&id)?)).await?;
        let Some(record) = record else { return Ok(false) };
        match self.delete_record(record, "expiry").await {
            Ok(_) => Ok(true),
            Err(EngineError::Catalog(CatalogError::BackupBusy { .. } | CatalogError::BackupAlreadyDeleted { .. })) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// [`Host::expire_backups`] beside everything else: a failure is logged, and the next time tries again.
    pub(crate) async fn expire_backups_quietly(&self) {
        match self.expire_backups().await {
            Ok(outcome) => {
                for (backup, why) in &outcome.failed {
                    tracing::warn!(%backup, why, "a backup was not deleted; the next look tries again");
                }
                if !outcome.deleted.is_empty() || !outcome.finished.is_empty() {
                    let (deleted, finished) = (outcome.deleted.len(), outcome.finished.len());
                    tracing::info!(deleted, finished, "expired backups deleted");
                }
            }
            Err(error) => tracing::warn!(%error, "expired backups were not deleted; the next look tries again"),
        }
    }
}
