//! What the records of a host tell policies about a cluster: when its schedule runs next, which of its backups failed and
//! which of its collections were proven to restore.
//!
//! Contract: read from the catalog alone, newest jobs first and a bounded number of them ([`JOBS`]); a host without records
//! knows nothing of this, and policies are told so. A canceled backup did not fail. A restore is a proof of the collections
//! it compared with the backup and found equal, whatever cluster they went into.
//!
//! Failure: [`EngineError::Catalog`].

use std::collections::{BTreeMap, HashMap};

use longshore_catalog::{Catalog, JobFilter, JobRow, Page};
use longshore_model::{BackupId, BackupType, ClusterId, CollectionName, JobStatus, JobType, Timestamp};
use serde::Deserialize;

use crate::EngineError;
use crate::jobs::JobRequest;

/// Jobs of a kind that are looked at.
const JOBS: u32 = 100;

/// What a host knows about a cluster beyond its source and its vaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// When its schedule runs next.
    pub next_run: Option<Timestamp>,
    /// Its backups that failed.
    pub failed: Vec<FailedBackup>,
    /// When a restore of a collection was last proven.
    pub proven: BTreeMap<CollectionName, Timestamp>,
}

/// A backup that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedBackup {
    /// When it was asked for.
    pub created: Timestamp,
    /// The collections it was to hold; `None` for the whole cluster.
    pub collections: Option<Vec<CollectionName>>,
}

/// What the result of a job that restored says of its collections. Of those that an earlier attempt of it had restored
/// nothing is said there, so they are not counted as proven.
#[derive(Deserialize)]
struct Restored {
    restore: RestoredCollections,
}

#[derive(Deserialize)]
struct RestoredCollections {
    collections: Vec<RestoredCollection>,
}

#[derive(Deserialize)]
struct RestoredCollection {
    from: CollectionName,
}

impl HostFacts {
    /// Reads what a catalog keeps about a cluster.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub(crate) fn of(catalog: &dyn Catalog, cluster: &ClusterId) -> Result<Self, EngineError> {
        let failed = JobFilter { cluster: Some(cluster.clone()), ..ended(JobType::Backup, JobStatus::Failed) };
        let failed = catalog.list_jobs(&failed, Page { size: JOBS, current: 1 })?.items;
        Ok(Self {
            next_run: catalog.get_schedule(cluster)?.and_then(|row| row.due),
            failed: failed.iter().filter_map(failed_backup).collect(),
            proven: proven(catalog, cluster)?,
        })
    }

    /// Backups of a collection that failed since its last good one.
    #[must_use]
    pub(crate) fn consecutive_failures(&self, name: &CollectionName, last_good: Option<Timestamp>) -> u32 {
        let of_it = |one: &&FailedBackup| {
            one.collections.as_ref().is_none_or(|names| names.contains(name))
                && last_good.is_none_or(|good| one.created > good)
        };
        u32::try_from(self.failed.iter().filter(of_it).count()).unwrap_or(u32::MAX)
    }
}

fn ended(job_type: JobType, status: JobStatus) -> JobFilter {
    JobFilter { job_type: Some(job_type), statuses: Some(vec![status]), ..JobFilter::default() }
}

/// A job whose request cannot be read was made by another version; that it failed says nothing that can be told.
fn failed_backup(job: &JobRow) -> Option<FailedBackup> {
    let JobRequest::Backup { request, .. } = JobRequest::from_value(&job.request).ok()? else { return None };
    let whole = request.backup_type == BackupType::Cluster;
    Some(FailedBackup { created: job.created, collections: (!whole).then_some(request.collections) })
}

fn proven(catalog: &dyn Catalog, cluster: &ClusterId) -> Result<BTreeMap<CollectionName, Timestamp>, EngineError> {
    let restores = ended(JobType::Restore, JobStatus::Successful);
    let mut clusters: HashMap<BackupId, Option<ClusterId>> = HashMap::new();
    let mut proven = BTreeMap::new();
    for job in catalog.list_jobs(&restores, Page { size: JOBS, current: 1 })?.items {
        let (Some(backup), Some(ended)) = (job.backup, job.ended) else { continue };
        let of = match clusters.get(&backup) {
            Some(of) => of.clone(),
            None => {
                let of = catalog.get_backup(&backup)?.map(|record| record.backup.cluster);
                clusters.insert(backup, of.clone());
                of
            }
        };
        if of.as_ref() != Some(cluster) {
            continue;
        }
        let Ok(restored) = Restored::deserialize(&job.result) else { continue };
        for collection in restored.restore.collections {
            let newest = proven.entry(collection.from).or_insert(ended);
            *newest = (*newest).max(ended);
        }
    }
    Ok(proven)
}
