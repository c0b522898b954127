//! Numbers about a host for whoever watches it: jobs, backups, vaults, policies, and clusters without a recent backup.
//!
//! Contract: read from the catalog and the vaults when asked, so that a restart loses nothing; only what the policies did
//! is counted in the process, since it began.

use std::collections::BTreeMap;

use longshore_catalog::{BackupFilter, Catalog, DeliveryCounts, JobStatistics, Page as CatalogPage};
use longshore_model::{BackupStatus, ClusterId, RegionId, Timestamp};

use super::Host;
use super::overdue::{self, OverdueReason};
use crate::EngineError;
use crate::access::Principal;
use crate::config::HostConfig;
use crate::policy_calls::CallsByMember;

const ONE: CatalogPage = CatalogPage { size: 1, current: 1 };

/// Bounds by which durations of jobs are counted, in milliseconds.
pub const JOB_DURATION_BOUNDS_MS: [i64; 12] =
    [100, 500, 1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 10_800_000, 43_200_000, 86_400_000];

/// Numbers about a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Jobs by type and state; durations are counted by [`JOB_DURATION_BOUNDS_MS`].
    pub jobs: Vec<JobStatistics>,
    /// Backups by state.
    pub backups: Vec<(BackupStatus, u64)>,
    /// Bytes of packs in each region's vault; `None` where it did not answer.
    pub vaults: Vec<(RegionId, Option<u64>)>,
    /// Registered clusters.
    pub clusters: Vec<ClusterMetrics>,
    /// Calls of policies since the process began.
    pub policy_calls: CallsByMember,
    /// Time of these calls by member, in microseconds.
    pub policy_time_us: BTreeMap<String, u64>,
    /// How often what happened to policies since the catalog was made: `swaps`, `swapFailures`, `rollbacks`, `failures`,
    /// `quarantines`, `fallbackRuns`, `shadowDecisions` and others, as `longshore policy status` shows them.
    pub policy_events: BTreeMap<String, u64>,
    /// Members of chains that are in quarantine now: they are not asked.
    pub quarantined_members: u64,
    /// Number of the set of policies in force; `None` before the first run.
    pub policy_set: Option<u64>,
    /// Messages to the webhook.
    pub deliveries: DeliveryCounts,
    /// When the newest snapshot of the catalog was written in this process, by region.
    pub catalog_snapshots: BTreeMap<RegionId, Timestamp>,
    /// When these numbers were read.
    pub now: Timestamp,
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
    /// Since when a backup that should be there by now is not, and what asks for it; `None` while all is well.
    pub overdue: Option<(Timestamp, OverdueReason)>,
}

impl Host {
    /// Numbers about this host as it is now, for a key that is for everything.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`], and when the catalog cannot be read.
    pub async fn metrics(&self, who: &Principal) -> Result<Metrics, EngineError> {
        who.must_reach_everything()?;
        let (grace_ms, config) = (self.overdue_grace_ms(), self.inner.config());
        let regions: Vec<RegionId> = config.regions.iter().map(|region| region.id.clone()).collect();
        let mut metrics =
            self.catalog("reading numbers", move |catalog, now| from_catalog(catalog, &config, now, grace_ms)).await?;
        (metrics.policy_calls, metrics.policy_time_us) = self.inner.policy_calls.now();
        metrics.catalog_snapshots = self.inner.snapshots.written();
        for region in regions {
            let bytes = self.inner.vaults.used_bytes(&region).await.ok();
            metrics.vaults.push((region, bytes));
        }
        Ok(metrics)
    }
}

fn from_catalog(
    catalog: &dyn Catalog,
    config: &HostConfig,
    now: Timestamp,
    grace_ms: i64,
) -> Result<Metrics, EngineError> {
    let mut backups = Vec::new();
    for status in [BackupStatus::Creating, BackupStatus::Available, BackupStatus::Failed, BackupStatus::Deleted] {
        let filter = BackupFilter { statuses: Some(vec![status]), ..BackupFilter::default() };
        backups.push((status, catalog.list_backups(&filter, ONE)?.count));
    }
    let policies = crate::policies::read_state(catalog)?;
    Ok(Metrics {
        jobs: catalog.job_statistics(&JOB_DURATION_BOUNDS_MS)?,
        backups,
        vaults: Vec::new(),
        clusters: overdue::clusters(catalog, config, now, grace_ms)?,
        policy_calls: CallsByMember::new(),
        policy_time_us: BTreeMap::new(),
        quarantined_members: u64::try_from(policies.quarantine.len()).unwrap_or(u64::MAX),
        policy_set: policies.active,
        policy_events: policies.counters,
        deliveries: catalog.count_deliveries()?,
        catalog_snapshots: BTreeMap::new(),
        now,
    })
}
