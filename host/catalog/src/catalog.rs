//! The trait every catalog implements.

use std::path::Path;

use longshore_model::{
    BackupId, ClusterId, Digest, JobId, JobStatus, JobType, KeyScope, Progress, ProjectId, RegionId, Timestamp,
};
use serde_json::Value;

use crate::{
    ApiKeyRow, AuditEntry, AuditRow, BackupFilter, BackupOutcome, BackupRecord, BackupRow, CatalogError, ClusterFilter,
    ClusterRow, CopyRow, DeliveryCounts, DeliveryOutcome, DeliveryRow, DroppedCluster, JobEnd, JobFilter, JobRow,
    JobStatistics, Listed, NewApiKey, NewBackup, NewBackupJob, NewCluster, NewDelivery, NewJob, NewSchedule, Page,
    ProjectRow, ScheduleRow,
};

/// Durable control state.
///
/// Each call is one transaction that has reached the disk when the call returns `Ok`. Any call can fail with
/// [`CatalogError::Unavailable`], [`CatalogError::Busy`], [`CatalogError::Corrupt`] and, if it writes,
/// [`CatalogError::DiskFull`] and [`CatalogError::TooLarge`]; only further errors are named at each call. A call that
/// fails has changed nothing.
pub trait Catalog: Send + Sync {
    /// Registers a project, or renames it if it exists.
    ///
    /// # Errors
    /// Only those of every call.
    fn put_project(&self, id: &ProjectId, name: &str, now: Timestamp) -> Result<ProjectRow, CatalogError>;

    /// A project.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_project(&self, id: &ProjectId) -> Result<Option<ProjectRow>, CatalogError>;

    /// All projects in order of id.
    ///
    /// # Errors
    /// Only those of every call.
    fn list_projects(&self) -> Result<Vec<ProjectRow>, CatalogError>;

    /// Registers a cluster, or brings what is known about it up to date. Its counter of backups and the time of its
    /// first registration stay; one that was dropped is registered again.
    ///
    /// # Errors
    /// [`CatalogError::ProjectNotFound`].
    fn put_cluster(&self, cluster: &NewCluster, now: Timestamp) -> Result<ClusterRow, CatalogError>;

    /// A cluster, dropped or not.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_cluster(&self, id: &ClusterId) -> Result<Option<ClusterRow>, CatalogError>;

    /// Clusters in order of name, then id.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_clusters(&self, filter: &ClusterFilter, page: Page) -> Result<Listed<ClusterRow>, CatalogError>;

    /// Unregisters a cluster and takes its schedule away. Its manual backups stay; its automatic ones are named in the answer and are for the
    /// caller to delete.
    ///
    /// # Errors
    /// [`CatalogError::ClusterNotFound`] (also if dropped before), [`CatalogError::ClusterBusy`] while it has a job
    /// that has not ended.
    fn drop_cluster(&self, id: &ClusterId, now: Timestamp) -> Result<DroppedCluster, CatalogError>;

    /// Accepts a backup: its row (CREATING, with the next name of its cluster) and its job (PENDING), under the job
    /// rules. One manual backup of a cluster may be pending, running or canceling; a manual one is refused while an
    /// automatic one is; an automatic one is accepted beside a manual one but not beside an automatic one. Only the
    /// job that makes the backup counts, not later copies of it.
    ///
    /// # Errors
    /// [`CatalogError::ClusterNotFound`] (also if dropped), [`CatalogError::ManualBackupActive`],
    /// [`CatalogError::AutomaticBackupActive`], [`CatalogError::Exists`], [`CatalogError::Invalid`] for a manual backup
    /// with an expiry.
    fn create_backup(
        &self,
        backup: &NewBackup,
        job: &NewBackupJob,
        now: Timestamp,
    ) -> Result<(BackupRow, JobRow), CatalogError>;

    /// The schedule of a cluster; `None` if it never had one. That of a dropped cluster is off and says `null`.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_schedule(&self, cluster: &ClusterId) -> Result<Option<ScheduleRow>, CatalogError>;

    /// Schedules in order of cluster, those that are off too, but for those of dropped clusters.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_schedules(&self, page: Page) -> Result<Listed<ScheduleRow>, CatalogError>;

    /// The first `most` schedules that are due at `now` and whose cluster has no automatic backup pending or running,
    /// longest due first; at most [`crate::Limits::page_items`].
    ///
    /// # Errors
    /// Only those of every call.
    fn due_schedules(&self, now: Timestamp, most: u32) -> Result<Vec<ScheduleRow>, CatalogError>;

    /// Keeps a schedule in place of the one with the revision `expected`; `None` stands for none yet. The answer is the
    /// new row, or `None`, and nothing changed, if somebody else was faster: the caller looks again.
    ///
    /// # Errors
    /// [`CatalogError::ClusterNotFound`] (also if dropped).
    fn swap_schedule(
        &self,
        schedule: &NewSchedule,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<ScheduleRow>, CatalogError>;

    /// Accepts the backup that a schedule is due for, as [`Catalog::create_backup`] does, and moves the schedule on to
    /// `next`, both or neither. `None`, and nothing changed, if the schedule has another revision by now, is off, or is
    /// not due: somebody else made the backup, or changed the schedule.
    ///
    /// # Errors
    /// [`CatalogError::ClusterNotFound`] (also if dropped), [`CatalogError::AutomaticBackupActive`] (the schedule stays
    /// due), [`CatalogError::Exists`], [`CatalogError::Invalid`] for a manual backup or a `next` that is not after `now`.
    fn start_scheduled_backup(
        &self,
        revision: u64,
        next: Timestamp,
        backup: &NewBackup,
        job: &NewBackupJob,
        now: Timestamp,
    ) -> Result<Option<(BackupRow, JobRow)>, CatalogError>;

    /// The copies of a backup that go before it does, also those that went, in order of region.
    ///
    /// # Errors
    /// Only those of every call.
    fn copies_of(&self, backup: &BackupId) -> Result<Vec<CopyRow>, CatalogError>;

    /// The first `most` copies of AVAILABLE backups that have expired at `now`, were not withdrawn, and whose backup no
    /// job uses; longest expired first, at most [`crate::Limits::page_items`].
    ///
    /// # Errors
    /// Only those of every call.
    fn expired_copies(&self, now: Timestamp, most: u32) -> Result<Vec<CopyRow>, CatalogError>;

    /// Notes that a copy was withdrawn from its region's vault, and merges `detail` into the backup's (RFC 7396). One
    /// that was noted before, or that is not known, changes nothing.
    ///
    /// # Errors
    /// [`CatalogError::BackupNotFound`].
    fn mark_copy_withdrawn(
        &self,
        backup: &BackupId,
        region: &RegionId,
        detail: &Value,
        now: Timestamp,
    ) -> Result<(), CatalogError>;

    /// Inserts a backup that was made elsewhere (found in a vault, made by the command line). `true` if it was new; one
    /// that is known already, even as deleted, stays as it is. Numbers in its cluster's names are not used again.
    ///
    /// # Errors
    /// [`CatalogError::ProjectNotFound`], [`CatalogError::Invalid`] for one that is still CREATING.
    fn record_backup(&self, record: &BackupRecord) -> Result<bool, CatalogError>;

    /// A backup with everything known about it, whatever its state.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_backup(&self, id: &BackupId) -> Result<Option<BackupRecord>, CatalogError>;

    /// Backups, newest first.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_backups(&self, filter: &BackupFilter, page: Page) -> Result<Listed<BackupRow>, CatalogError>;

    /// The same with what else is kept about each ([`BackupRecord::detail`]), but for its collections.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_backup_details(
        &self,
        filter: &BackupFilter,
        page: Page,
    ) -> Result<Listed<(BackupRow, Value)>, CatalogError>;

    /// Gives a backup that is being made or AVAILABLE another name.
    ///
    /// # Errors
    /// [`CatalogError::BackupNotFound`], [`CatalogError::BackupAlreadyDeleted`], [`CatalogError::TooLarge`].
    fn rename_backup(&self, id: &BackupId, name: &str) -> Result<BackupRow, CatalogError>;

    /// Marks an AVAILABLE or FAILED backup as deleted: from here on no job can start that uses it. The caller then
    /// removes its manifests from the vaults and calls [`Catalog::mark_backup_purged`]; in this order a crash leaves a
    /// deleted backup to be purged later, never an available one without data.
    ///
    /// # Errors
    /// [`CatalogError::BackupNotFound`], [`CatalogError::BackupAlreadyDeleted`], [`CatalogError::BackupBusy`] while a
    /// job makes or uses it.
    fn mark_backup_deleted(&self, id: &BackupId, now: Timestamp) -> Result<BackupRow, CatalogError>;

    /// Notes that nothing of a deleted backup is left in the vaults. Calling it again changes nothing.
    ///
    /// # Errors
    /// [`CatalogError::BackupNotFound`], [`CatalogError::Invalid`] for one that is not deleted.
    fn mark_backup_purged(&self, id: &BackupId, now: Timestamp) -> Result<(), CatalogError>;

    /// Replaces what an AVAILABLE backup holds by what it holds now that a collection was erased from it. Calling it
    /// again changes nothing.
    ///
    /// # Errors
    /// [`CatalogError::BackupNotFound`], [`CatalogError::BackupNotAvailable`], [`CatalogError::TooLarge`].
    fn replace_backup_content(&self, id: &BackupId, content: &BackupOutcome) -> Result<(), CatalogError>;

    /// Accepts a restore, copy or check.
    ///
    /// # Errors
    /// [`CatalogError::ProjectNotFound`], [`CatalogError::BackupNotFound`], [`CatalogError::BackupNotAvailable`],
    /// [`CatalogError::Exists`], [`CatalogError::Invalid`] for a backup job, which is made by
    /// [`Catalog::create_backup`].
    fn create_job(&self, job: &NewJob, now: Timestamp) -> Result<JobRow, CatalogError>;

    /// Puts a running job back after a failure that may pass: it is PENDING again, with `reason`, and is not claimed by
    /// [`Catalog::claim_job`] before `not_before`. What it was to stop for, it stops for: a CANCELING one ends as
    /// CANCELED. The job that makes a backup is never put back.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`], [`CatalogError::Fenced`], [`CatalogError::Invalid`]
    /// for a backup job or without a reason.
    fn retry_job(
        &self,
        id: &JobId,
        token: u64,
        reason: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobRow, CatalogError>;

    /// Takes the oldest job that is PENDING, or that is running with a lapsed lease, for `owner` until `now` +
    /// `lease_ms`; restores before others that have waited less than [`crate::Limits::passed_over_ms`]. Its fencing token and attempt grow by one; a PENDING one becomes IN_PROGRESS, a CANCELING one stays
    /// so and is for its new owner to end. With `only`, jobs of that type alone. `None` if there is nothing to do.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a lease that is not 1 ms to [`crate::Limits::lease_ms`] long.
    fn claim_job(
        &self,
        owner: &str,
        only: Option<JobType>,
        now: Timestamp,
        lease_ms: i64,
    ) -> Result<Option<JobRow>, CatalogError>;

    /// Like [`Catalog::claim_job`] for one job.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`], [`CatalogError::JobLeased`],
    /// [`CatalogError::Invalid`] for a lease out of bounds.
    fn claim(&self, id: &JobId, owner: &str, now: Timestamp, lease_ms: i64) -> Result<JobRow, CatalogError>;

    /// Prolongs the lease to `now` + `lease_ms`. The answer tells whether the job is to stop: IN_PROGRESS or CANCELING.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`], [`CatalogError::Fenced`],
    /// [`CatalogError::Invalid`] for a lease out of bounds.
    fn renew_lease(&self, id: &JobId, token: u64, now: Timestamp, lease_ms: i64) -> Result<JobStatus, CatalogError>;

    /// Keeps how far a job is. The answer tells whether it is to stop: IN_PROGRESS or CANCELING.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`], [`CatalogError::Fenced`].
    fn set_progress(&self, id: &JobId, token: u64, progress: &Progress) -> Result<JobStatus, CatalogError>;

    /// Ends a job together with its backup, starts what follows from it, and queues a delivery of kind
    /// [`JOB_ENDED`](crate::JOB_ENDED). A successful job's phase becomes Done.
    /// Of two workers that both think they hold the job only the one with the current token can end it.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`], [`CatalogError::Fenced`],
    /// [`CatalogError::Invalid`] for a state that is no end, an end without the reason or outcome it needs, too many
    /// follow-ups; and those of [`Catalog::create_job`] for follow-ups.
    fn finish_job(&self, id: &JobId, token: u64, end: &JobEnd, now: Timestamp) -> Result<JobRow, CatalogError>;

    /// Asks a job to stop. A PENDING one is CANCELED at once, as [`Catalog::finish_job`] ends one, and its backup FAILED; a running one becomes CANCELING
    /// and is ended by its worker; asking again changes nothing.
    ///
    /// # Errors
    /// [`CatalogError::JobNotFound`], [`CatalogError::JobEnded`].
    fn cancel_job(&self, id: &JobId, now: Timestamp) -> Result<JobRow, CatalogError>;

    /// A job.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_job(&self, id: &JobId) -> Result<Option<JobRow>, CatalogError>;

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Listed<JobRow>, CatalogError>;

    /// Numbers about all jobs by type and state, in that order; `bounds_ms` are the durations that [`JobStatistics::within`]
    /// counts by, growing.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for bounds that do not grow or are too many.
    fn job_statistics(&self, bounds_ms: &[i64]) -> Result<Vec<JobStatistics>, CatalogError>;

    /// Lets all leases of an owner lapse, so that its jobs can be claimed at once: a host calls it at its start for
    /// what it left behind. Tokens stay until the claim, so a worker of it that still lives is fenced then. How many
    /// jobs there were.
    ///
    /// # Errors
    /// Only those of every call.
    fn release_leases_of(&self, owner: &str) -> Result<u64, CatalogError>;

    /// Queues something to be told. `false`, and nothing changed, if something of this name is there already.
    ///
    /// # Errors
    /// Only those of every call.
    fn queue_delivery(&self, delivery: &NewDelivery, now: Timestamp) -> Result<bool, CatalogError>;

    /// The first `most` deliveries that are due at `now`, longest due first; at most [`crate::Limits::page_items`].
    ///
    /// # Errors
    /// Only those of every call.
    fn due_deliveries(&self, now: Timestamp, most: u32) -> Result<Vec<DeliveryRow>, CatalogError>;

    /// Notes how an attempt ended. Whoever stops between the attempt and this note makes the same attempt again.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for one that does not wait.
    fn note_delivery(&self, sequence: u64, outcome: &DeliveryOutcome, now: Timestamp) -> Result<(), CatalogError>;

    /// Removes everything that waits to be told, because nobody listens. How much there was.
    ///
    /// # Errors
    /// Only those of every call.
    fn discard_deliveries(&self) -> Result<u64, CatalogError>;

    /// How many deliveries there are.
    ///
    /// # Errors
    /// Only those of every call.
    fn count_deliveries(&self) -> Result<DeliveryCounts, CatalogError>;

    /// Writes everything there is at one moment into a new file (mode 0600) that [`crate::SqliteCatalog`] opens, whatever
    /// this catalog keeps its own state in. Others go on reading and writing meanwhile.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when the file cannot be made, [`CatalogError::DiskFull`]; what was written of it may
    /// be left.
    fn snapshot(&self, file: &Path) -> Result<(), CatalogError>;

    /// Keeps a new API key.
    ///
    /// # Errors
    /// [`CatalogError::Exists`] if the id or the key is known.
    fn add_key(&self, key: &NewApiKey, now: Timestamp) -> Result<ApiKeyRow, CatalogError>;

    /// The key with this hash, if it works at `now`: neither revoked nor expired.
    ///
    /// # Errors
    /// Only those of every call.
    fn find_key(&self, hash: &Digest, now: Timestamp) -> Result<Option<ApiKeyRow>, CatalogError>;

    /// All keys, oldest first, with those that no longer work.
    ///
    /// # Errors
    /// Only those of every call.
    fn list_keys(&self) -> Result<Vec<ApiKeyRow>, CatalogError>;

    /// Makes a key stop working. One that was revoked before keeps its time.
    ///
    /// # Errors
    /// [`CatalogError::KeyNotFound`].
    fn revoke_key(&self, id: &str, now: Timestamp) -> Result<ApiKeyRow, CatalogError>;

    /// Appends to the audit log; its number.
    ///
    /// # Errors
    /// Only those of every call.
    fn append_audit(&self, entry: &AuditEntry) -> Result<u64, CatalogError>;

    /// The audit log, newest first: what is about something within `scope`, as it belongs to projects and clusters now.
    /// Entries about anything else (the configuration, an id that nothing has) are within [`KeyScope::All`] alone.
    ///
    /// # Errors
    /// [`CatalogError::Invalid`] for a page outside the limits.
    fn list_audit(&self, scope: &KeyScope, page: Page) -> Result<Listed<AuditRow>, CatalogError>;

    /// A setting.
    ///
    /// # Errors
    /// Only those of every call.
    fn get_setting(&self, key: &str) -> Result<Option<Value>, CatalogError>;

    /// Keeps a setting in place of what was there.
    ///
    /// # Errors
    /// Only those of every call.
    fn put_setting(&self, key: &str, value: &Value) -> Result<(), CatalogError>;

    /// Keeps a setting in place of `expected`, if that is what is there; `None` stands for a setting that was never put.
    /// `false`, and nothing changed, if it is not: somebody else was faster, and the caller looks again.
    ///
    /// # Errors
    /// Only those of every call.
    fn swap_setting(&self, key: &str, expected: Option<&Value>, value: &Value) -> Result<bool, CatalogError>;
}
