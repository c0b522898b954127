//! Retention rules of the configuration, applied to the backups the catalog knows.

use longshore_catalog::{BackupFilter, CatalogError, Page as CatalogPage};
use longshore_model::{BackupId, BackupStatus, CreationMethod};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, Role};
use crate::retention::{RetentionOutcome, plan_retention};

impl Host {
    /// Deletes the automatic backups that no rule of the configuration keeps. Each deletion is in the audit log with
    /// its reason. Backups that the catalog does not know, or that a job uses now, stay; the next time decides anew.
    ///
    /// # Errors
    /// [`EngineError::Vault`] and [`EngineError::Catalog`] when what there is cannot be found out: nothing is deleted
    /// then.
    pub async fn apply_retention(&self) -> Result<RetentionOutcome, EngineError> {
        let mut outcome = RetentionOutcome { deleted: Vec::new(), failed: Vec::new() };
        let config = self.inner.config();
        let ruled = !config.retention.is_empty()
            || config.clusters.iter().any(|cluster| cluster.retention.is_some_and(|rules| !rules.is_empty()));
        if !ruled || !self.has_automatic_backups().await? {
            return Ok(outcome);
        }
        let rules = |cluster: &longshore_model::ClusterId| config.retention_of(cluster);
        let plan = plan_retention(&self.inner.vaults, None, &rules, self.inner.clock.now()).await?;
        for (backup, why) in &plan.unreadable {
            tracing::warn!(%backup, why, "retention leaves a backup alone that cannot be read");
        }
        for decision in plan.decisions.iter().filter(|decision| decision.goes) {
            self.inner.stop.check()?;
            let Some(deleted) = self.delete_by_rules(&decision.backup_id).await else { continue };
            let who = Principal::host(format!("retention, {}", decision.reason), Role::ProjectAdmin);
            self.audit(&who, "backup.delete", decision.backup_id.as_str(), &deleted).await;
            match deleted {
                Ok(()) => outcome.deleted.push(decision.backup_id.clone()),
                Err(error) => {
                    outcome.failed.push((decision.backup_id.clone(), crate::worker::sentence(&error)));
                }
            }
        }
        Ok(outcome)
    }

    async fn has_automatic_backups(&self) -> Result<bool, EngineError> {
        let filter = BackupFilter { creation_method: Some(CreationMethod::Auto), ..BackupFilter::default() };
        let one = CatalogPage { size: 1, current: 1 };
        self.catalog("listing backups", move |catalog, _| Ok(catalog.list_backups(&filter, one)?.count > 0)).await
    }

    /// `None` when the backup is not this catalog's to delete now.
    async fn delete_by_rules(&self, backup: &BackupId) -> Option<Result<(), EngineError>> {
        let id = backup.clone();
        let record = self.catalog("reading a backup", move |catalog, _| Ok(catalog.get_backup(&id)?)).await;
        let record = match record {
            Ok(Some(record)) if record.backup.status == BackupStatus::Available => record,
            Ok(_) => return None,
            Err(error) => return Some(Err(error)),
        };
        match self.delete_record(record, "retention").await {
            Ok(_) => Some(Ok(())),
            Err(EngineError::Catalog(CatalogError::BackupBusy { .. })) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// [`Host::apply_retention`] beside everything else: a failure is logged, and the next time tries again.
    pub(crate) async fn apply_retention_quietly(&self) {
        match self.apply_retention().await {
            Ok(outcome) if outcome.deleted.is_empty() && outcome.failed.is_empty() => {}
            Ok(outcome) => {
                tracing::info!(deleted = outcome.deleted.len(), failed = outcome.failed.len(), "retention applied");
            }
            Err(error) => tracing::warn!(%error, "retention was not applied; the next time tries again"),
        }
    }
}
