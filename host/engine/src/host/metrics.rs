//! Numbers about a host for whoever watches it: jobs, backups, vaults, and clusters without a recent backup.
//!
//! Contract: read from the catalog and the vaults when asked; nothing is counted beside them, so a restart loses nothing.

use longshore_catalog::{BackupFilter, Catalog, ClusterFilter, ClusterRow, JobFilter, Page as CatalogPage};
use longshore_model::{BackupStatus, BackupType, ClusterId, JobStatus, JobType, RegionId, Timestamp};

use super::Host;
use crate::EngineError;
use crate::access::Principal;
use crate::catalog_calls::every;
use crate::schedule;

const ONE: CatalogPage = CatalogPage { size: 1, current: 1 };
/// Clusters that are read in one go.
const PAGE: u32 = 500;

/// Numbers about a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Jobs by type and state.
    pub jobs: Vec<(JobType, JobStatus, u64)>,
    /// Backups by state.
    pub backups: Vec<(BackupStatus, u64)>,
    /// Bytes of packs in each region's vault; `None` where it did not answer.
    pub vaults: Vec<(RegionId, Option<u64>)>,
    /// Registered clusters.
    pub clusters: Vec<ClusterMetrics>,
}

/// Numbers about a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterMetrics {
    /// Which cluster.
    pub cluster_id: ClusterId,
    /// When its newest backup that is AVAILABLE and of the whole cluster was made.
    pub newest_backup: Option<Timestamp>,
    /// When the next automatic one starts; `None` without a schedule that is on.
    pub next_run: Option<Timestamp>,
    /// True when its schedule is on and the backup that should be there by now is not.
    pub overdue: bool,
}

impl Host {
    /// Numbers about this host as it is now, for a key that is for everything.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`], and when the catalog cannot be read.
    pub async fn metrics(&self, who: &Principal) -> Result<Metrics, EngineError> {
        who.must_reach_everything()?;
        let grace_ms = self.overdue_grace_ms();
        let mut metrics =
            self.catalog("reading numbers", move |catalog, now| from_catalog(catalog, now, grace_ms)).await?;
        for region in &self.inner.config().regions {
            metrics.vaults.push((region.id.clone(), self.inner.vaults.used_bytes(&region.id).await.ok()));
        }
        Ok(metrics)
    }
}

impl Host {
    /// Says in the log which clusters have had no good backup for longer than their schedules allow. Said again and again:
    /// an alert that comes once is missed.
    pub(crate) async fn warn_of_overdue_backups(&self) {
        let grace_ms = self.overdue_grace_ms();
        let read = move |catalog: &dyn Catalog, now| clusters_of(catalog, now, grace_ms);
        match self.catalog("looking for overdue clusters", read).await {
            Ok(clusters) => {
                for cluster in clusters.iter().filter(|cluster| cluster.overdue) {
                    let newest = cluster.newest_backup.map_or_else(|| "none".to_owned(), |time| time.to_string());
                    tracing::error!(cluster = %cluster.cluster_id, newest, "no good backup for longer than the schedule allows");
                }
            }
            Err(error) => tracing::warn!(%error, "it is not known which clusters are overdue"),
        }
    }

    fn overdue_grace_ms(&self) -> i64 {
        i64::try_from(self.inner.limits.overdue_grace_ms).unwrap_or(i64::MAX)
    }
}

fn from_catalog(catalog: &dyn Catalog, now: Timestamp, grace_ms: i64) -> Result<Metrics, EngineError> {
    use JobStatus::{Canceled, Canceling, Failed, InProgress, Pending, Successful};
    let mut jobs = Vec::new();
    for job_type in [JobType::Backup, JobType::Copy, JobType::Restore, JobType::Verify, JobType::Export] {
        for status in [Pending, InProgress, Canceling, Successful, Failed, Canceled] {
            let filter = JobFilter { job_type: Some(job_type), statuses: Some(vec![status]), ..JobFilter::default() };
            jobs.push((job_type, status, catalog.list_jobs(&filter, ONE)?.count));
        }
    }
    let mut backups = Vec::new();
    for status in [BackupStatus::Creating, BackupStatus::Available, BackupStatus::Failed, BackupStatus::Deleted] {
        let filter = BackupFilter { statuses: Some(vec![status]), ..BackupFilter::default() };
        backups.push((status, catalog.list_backups(&filter, ONE)?.count));
    }
    Ok(Metrics { jobs, backups, vaults: Vec::new(), clusters: clusters_of(catalog, now, grace_ms)? })
}

fn clusters_of(catalog: &dyn Catalog, now: Timestamp, grace_ms: i64) -> Result<Vec<ClusterMetrics>, EngineError> {
    let rows = every(PAGE, |page| catalog.list_clusters(&ClusterFilter::default(), page))?;
    rows.iter().map(|row| of_cluster(catalog, row, now, grace_ms)).collect()
}

fn of_cluster(
    catalog: &dyn Catalog,
    row: &ClusterRow,
    now: Timestamp,
    grace_ms: i64,
) -> Result<ClusterMetrics, EngineError> {
    let id = &row.cluster.id;
    let filter = BackupFilter {
        cluster: Some(id.clone()),
        backup_type: Some(BackupType::Cluster),
        statuses: Some(vec![BackupStatus::Available]),
        ..BackupFilter::default()
    };
    let newest = catalog.list_backups(&filter, ONE)?.items.into_iter().next().map(|backup| backup.created);
    let view = schedule::get_schedule(catalog, id)?;
    let expected = match (&view.schedule, newest, view.next_run) {
        (Some(schedule), Some(newest), Some(_)) => schedule.starts.next_after(id, newest),
        // It has no backup at all: the first one was to be made when the schedule was set.
        (Some(_), None, Some(_)) => catalog.get_schedule(id)?.map(|schedule| schedule.changed),
        _ => None,
    };
    Ok(ClusterMetrics {
        cluster_id: id.clone(),
        newest_backup: newest,
        next_run: view.next_run,
        overdue: expected.is_some_and(|expected| now.millis_since(expected) > grace_ms),
    })
}
