//! The catalog in one SQLite file (write-ahead log, every commit on disk before the call returns).
//!
//! One connection writes, one reads; each behind a mutex. Several processes may use one file: every writing transaction
//! takes SQLite's write lock at its start, so what it checked still holds when it commits.

mod backups;
mod clusters;
mod convert;
mod copies;
mod deliveries;
mod fail;
mod jobs;
mod keys;
mod leases;
mod new_jobs;
mod open;
mod schedules;
mod statistics;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use longshore_model::{
    BackupId, ClusterId, Digest, JobId, JobStatus, JobType, KeyScope, Progress, ProjectId, RegionId, Timestamp,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::Value;

use self::fail::Fail;
use crate::{
    ApiKeyRow, AuditEntry, AuditRow, BackupFilter, BackupOutcome, BackupRecord, BackupRow, Catalog, CatalogError,
    ClusterFilter, ClusterRow, CopyRow, DeliveryCounts, DeliveryOutcome, DeliveryRow, DroppedCluster, JobEnd,
    JobFilter, JobRow, JobStatistics, Limits, Listed, NewApiKey, NewBackup, NewBackupJob, NewCluster, NewDelivery,
    NewJob, NewSchedule, Page, ProjectRow, ScheduleRow,
};

/// A catalog in one SQLite file.
pub struct SqliteCatalog {
    path: PathBuf,
    name: String,
    limits: Limits,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog").field("path", &self.name).finish_non_exhaustive()
    }
}

impl SqliteCatalog {
    /// Opens the catalog in the file `path`, or makes a new one there (mode 0600; the folder must exist), with the
    /// default limits. Older versions are brought up to date.
    ///
    /// # Errors
    /// [`CatalogError::Corrupt`], [`CatalogError::NotACatalog`], [`CatalogError::TooNew`] (the file is left as it is),
    /// [`CatalogError::DiskFull`], [`CatalogError::Busy`], [`CatalogError::Unavailable`].
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        Self::open_with(path, Limits::DEFAULT)
    }

    /// Like [`SqliteCatalog::open`] with other limits.
    ///
    /// # Errors
    /// As [`SqliteCatalog::open`].
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, CatalogError> {
        let name = path.display().to_string();
        let writer = open::writer(path, &name, &limits)?;
        let reader = open::reader(path, &name, &limits)?;
        Ok(Self { path: path.to_owned(), name, limits, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// Runs `work` in one transaction and commits it; rolls everything back if `work` or the commit fails.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fail>) -> Result<T, CatalogError> {
        // A panic inside `work` rolled its transaction back, so the connection behind a poisoned lock is sound.
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || -> Result<T, Fail> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|fail| fail.at(&self.name))
    }

    /// Runs `work` on one snapshot of the data.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, CatalogError> {
        let mut connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || -> Result<T, Fail> {
            // A transaction although nothing is written: count and rows of a list must be of one moment.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|fail| fail.at(&self.name))
    }
}

impl Catalog for SqliteCatalog {
    fn put_project(&self, id: &ProjectId, name: &str, now: Timestamp) -> Result<ProjectRow, CatalogError> {
        self.write(|tx| clusters::put_project(tx, &self.limits, id, name, now))
    }

    fn get_project(&self, id: &ProjectId) -> Result<Option<ProjectRow>, CatalogError> {
        self.read(|connection| clusters::project(connection, id))
    }

    fn list_projects(&self) -> Result<Vec<ProjectRow>, CatalogError> {
        self.read(clusters::projects)
    }

    fn put_cluster(&self, cluster: &NewCluster, now: Timestamp) -> Result<ClusterRow, CatalogError> {
        self.write(|tx| clusters::put(tx, &self.limits, cluster, now))
    }

    fn get_cluster(&self, id: &ClusterId) -> Result<Option<ClusterRow>, CatalogError> {
        self.read(|connection| clusters::get(connection, id))
    }

    fn list_clusters(&self, filter: &ClusterFilter, page: Page) -> Result<Listed<ClusterRow>, CatalogError> {
        self.read(|connection| clusters::list(connection, &self.limits, filter, page))
    }

    fn drop_cluster(&self, id: &ClusterId, now: Timestamp) -> Result<DroppedCluster, CatalogError> {
        self.write(|tx| clusters::unregister(tx, id, now))
    }

    fn create_backup(
        &self,
        backup: &NewBackup,
        job: &NewBackupJob,
        now: Timestamp,
    ) -> Result<(BackupRow, JobRow), CatalogError> {
        self.write(|tx| backups::create(tx, &self.limits, backup, job, now))
    }

    fn get_schedule(&self, cluster: &ClusterId) -> Result<Option<ScheduleRow>, CatalogError> {
        self.read(|connection| schedules::get(connection, cluster))
    }

    fn list_schedules(&self, page: Page) -> Result<Listed<ScheduleRow>, CatalogError> {
        self.read(|connection| schedules::list(connection, &self.limits, page))
    }

    fn due_schedules(&self, now: Timestamp, most: u32) -> Result<Vec<ScheduleRow>, CatalogError> {
        self.read(|connection| schedules::due(connection, &self.limits, now, most))
    }

    fn swap_schedule(
        &self,
        schedule: &NewSchedule,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<ScheduleRow>, CatalogError> {
        self.write(|tx| schedules::swap(tx, &self.limits, schedule, expected, now))
    }

    fn start_scheduled_backup(
        &self,
        revision: u64,
        next: Timestamp,
        backup: &NewBackup,
        job: &NewBackupJob,
        now: Timestamp,
    ) -> Result<Option<(BackupRow, JobRow)>, CatalogError> {
        self.write(|tx| schedules::start(tx, &self.limits, revision, next, backup, job, now))
    }

    fn copies_of(&self, backup: &BackupId) -> Result<Vec<CopyRow>, CatalogError> {
        self.read(|connection| copies::of_backup(connection, backup))
    }

    fn expired_copies(&self, now: Timestamp, most: u32) -> Result<Vec<CopyRow>, CatalogError> {
        self.read(|connection| copies::expired(connection, &self.limits, now, most))
    }

    fn mark_copy_withdrawn(
        &self,
        backup: &BackupId,
        region: &RegionId,
        detail: &Value,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(|tx| copies::mark_withdrawn(tx, &self.limits, backup, region, detail, now))
    }

    fn record_backup(&self, record: &BackupRecord) -> Result<bool, CatalogError> {
        self.write(|tx| backups::record(tx, &self.limits, record))
    }

    fn get_backup(&self, id: &BackupId) -> Result<Option<BackupRecord>, CatalogError> {
        self.read(|connection| backups::get(connection, id))
    }

    fn list_backups(&self, filter: &BackupFilter, page: Page) -> Result<Listed<BackupRow>, CatalogError> {
        self.read(|connection| backups::list(connection, &self.limits, filter, page))
    }

    fn list_backup_details(
        &self,
        filter: &BackupFilter,
        page: Page,
    ) -> Result<Listed<(BackupRow, Value)>, CatalogError> {
        self.read(|connection| backups::list_details(connection, &self.limits, filter, page))
    }

    fn rename_backup(&self, id: &BackupId, name: &str) -> Result<BackupRow, CatalogError> {
        self.write(|tx| backups::rename(tx, &self.limits, id, name))
    }

    fn mark_backup_deleted(&self, id: &BackupId, now: Timestamp) -> Result<BackupRow, CatalogError> {
        self.write(|tx| backups::mark_deleted(tx, id, now))
    }

    fn replace_backup_content(&self, id: &BackupId, content: &BackupOutcome) -> Result<(), CatalogError> {
        self.write(|tx| backups::replace_content(tx, &self.limits, id, content))
    }

    fn mark_backup_purged(&self, id: &BackupId, now: Timestamp) -> Result<(), CatalogError> {
        self.write(|tx| backups::mark_purged(tx, id, now))
    }

    fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<JobRow, CatalogError> {
        self.write(|tx| new_jobs::create(tx, &self.limits, job, now))
    }

    fn claim_job(
        &self,
        owner: &str,
        only: Option<JobType>,
        now: Timestamp,
        lease_ms: i64,
    ) -> Result<Option<JobRow>, CatalogError> {
        self.write(|tx| leases::claim_next(tx, &self.limits, owner, only, now, lease_ms))
    }

    fn claim(&self, id: &JobId, owner: &str, now: Timestamp, lease_ms: i64) -> Result<JobRow, CatalogError> {
        self.write(|tx| leases::claim(tx, &self.limits, id, owner, now, lease_ms))
    }

    fn renew_lease(&self, id: &JobId, token: u64, now: Timestamp, lease_ms: i64) -> Result<JobStatus, CatalogError> {
        self.write(|tx| leases::renew(tx, &self.limits, id, token, now, lease_ms))
    }

    fn set_progress(&self, id: &JobId, token: u64, progress: &Progress) -> Result<JobStatus, CatalogError> {
        self.write(|tx| jobs::set_progress(tx, &self.limits, id, token, progress))
    }

    fn finish_job(&self, id: &JobId, token: u64, end: &JobEnd, now: Timestamp) -> Result<JobRow, CatalogError> {
        self.write(|tx| jobs::finish(tx, &self.limits, id, token, end, now))
    }

    fn retry_job(
        &self,
        id: &JobId,
        token: u64,
        reason: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobRow, CatalogError> {
        self.write(|tx| jobs::retry(tx, &self.limits, id, token, reason, not_before, now))
    }

    fn cancel_job(&self, id: &JobId, now: Timestamp) -> Result<JobRow, CatalogError> {
        self.write(|tx| jobs::cancel(tx, &self.limits, id, now))
    }

    fn get_job(&self, id: &JobId) -> Result<Option<JobRow>, CatalogError> {
        self.read(|connection| jobs::get(connection, id))
    }

    fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Listed<JobRow>, CatalogError> {
        self.read(|connection| jobs::list(connection, &self.limits, filter, page))
    }

    fn job_statistics(&self, bounds_ms: &[i64]) -> Result<Vec<JobStatistics>, CatalogError> {
        self.read(|connection| statistics::jobs(connection, &self.limits, bounds_ms))
    }

    fn release_leases_of(&self, owner: &str) -> Result<u64, CatalogError> {
        self.write(|tx| leases::release(tx, owner))
    }

    fn queue_delivery(&self, delivery: &NewDelivery, now: Timestamp) -> Result<bool, CatalogError> {
        self.write(|tx| deliveries::queue(tx, &self.limits, delivery, now))
    }

    fn due_deliveries(&self, now: Timestamp, most: u32) -> Result<Vec<DeliveryRow>, CatalogError> {
        self.read(|connection| deliveries::due(connection, &self.limits, now, most))
    }

    fn note_delivery(&self, sequence: u64, outcome: &DeliveryOutcome, now: Timestamp) -> Result<(), CatalogError> {
        self.write(|tx| deliveries::note(tx, &self.limits, sequence, outcome, now))
    }

    fn discard_deliveries(&self) -> Result<u64, CatalogError> {
        self.write(|tx| deliveries::discard(tx))
    }

    fn count_deliveries(&self) -> Result<DeliveryCounts, CatalogError> {
        self.read(deliveries::count)
    }

    fn snapshot(&self, file: &Path) -> Result<(), CatalogError> {
        open::copy(&self.path, &self.name, file, &self.limits)
    }

    fn add_key(&self, key: &NewApiKey, now: Timestamp) -> Result<ApiKeyRow, CatalogError> {
        self.write(|tx| keys::add(tx, &self.limits, key, now))
    }

    fn find_key(&self, hash: &Digest, now: Timestamp) -> Result<Option<ApiKeyRow>, CatalogError> {
        self.read(|connection| keys::find(connection, hash, now))
    }

    fn list_keys(&self) -> Result<Vec<ApiKeyRow>, CatalogError> {
        self.read(keys::list)
    }

    fn revoke_key(&self, id: &str, now: Timestamp) -> Result<ApiKeyRow, CatalogError> {
        self.write(|tx| keys::revoke(tx, id, now))
    }

    fn append_audit(&self, entry: &AuditEntry) -> Result<u64, CatalogError> {
        self.write(|tx| keys::append_audit(tx, &self.limits, entry))
    }

    fn list_audit(&self, scope: &KeyScope, page: Page) -> Result<Listed<AuditRow>, CatalogError> {
        self.read(|connection| keys::list_audit(connection, &self.limits, scope, page))
    }

    fn get_setting(&self, key: &str) -> Result<Option<Value>, CatalogError> {
        self.read(|connection| keys::setting(connection, key))
    }

    fn put_setting(&self, key: &str, value: &Value) -> Result<(), CatalogError> {
        self.write(|tx| keys::put_setting(tx, &self.limits, key, value))
    }

    fn swap_setting(&self, key: &str, expected: Option<&Value>, value: &Value) -> Result<bool, CatalogError> {
        self.write(|tx| keys::swap_setting(tx, &self.limits, key, expected, value))
    }
}
