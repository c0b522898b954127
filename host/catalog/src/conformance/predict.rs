//! A catalog in memory that is as simple as the rules can be said: vectors and loops, nothing clever.

use longshore_model::{BackupStatus, CreationMethod, JobStatus, JobType, Timestamp};

use super::sample;
use crate::CatalogError;

/// Number of clusters in the model.
pub(super) const CLUSTERS: u8 = 2;

#[derive(Debug, Clone)]
pub(super) struct ModelBackup {
    pub(super) cluster: u8,
    pub(super) method: CreationMethod,
    pub(super) status: BackupStatus,
    pub(super) name_number: u64,
}

#[derive(Debug, Clone)]
pub(super) struct ModelJob {
    pub(super) kind: JobType,
    pub(super) cluster: u8,
    pub(super) backup: usize,
    pub(super) status: JobStatus,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) token: u64,
    pub(super) lease: Option<(u8, Timestamp)>,
    pub(super) retries: u32,
    pub(super) not_before: Option<Timestamp>,
}

/// How long restores may pass over another job.
const PASSED_OVER_MS: i64 = crate::Limits::DEFAULT.passed_over_ms;

/// What there is, by number: backup and job `n` have the identifiers `sample::backup(n)` and `sample::job(n)`.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) dropped: [bool; CLUSTERS as usize],
    pub(super) counters: [u64; CLUSTERS as usize],
    /// Revision, 0 before the first one, and when it is due.
    pub(super) schedules: [(u64, Option<Timestamp>); CLUSTERS as usize],
    pub(super) backups: Vec<ModelBackup>,
    pub(super) jobs: Vec<ModelJob>,
}

type Predicted<T> = Result<T, CatalogError>;

/// The number as the samples take it.
pub(super) fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl Model {
    fn active(&self) -> impl Iterator<Item = (usize, &ModelJob)> {
        self.jobs.iter().enumerate().filter(|(_, job)| !job.status.is_terminal())
    }

    fn slot(&self, cluster: u8, method: CreationMethod) -> Option<usize> {
        let mut jobs = self.active().filter(|(_, job)| job.kind == JobType::Backup && job.cluster == cluster);
        jobs.find(|(_, job)| self.backups.get(job.backup).is_some_and(|backup| backup.method == method))
            .map(|(number, _)| number)
    }

    /// Accepts a backup; `number` is the one its backup and job get.
    pub(super) fn create_backup(&mut self, cluster: u8, method: CreationMethod, now: Timestamp) -> Predicted<()> {
        let id = sample::cluster(cluster);
        let place = usize::from(cluster);
        if self.dropped.get(place).copied().unwrap_or(true) {
            return Err(CatalogError::ClusterNotFound { cluster: id });
        }
        if let Some(job) = self.slot(cluster, CreationMethod::Auto) {
            return Err(CatalogError::AutomaticBackupActive { cluster: id, job: sample::job(short(job)) });
        }
        if method == CreationMethod::Manual
            && let Some(job) = self.slot(cluster, CreationMethod::Manual)
        {
            return Err(CatalogError::ManualBackupActive { cluster: id, job: sample::job(short(job)) });
        }
        let mut name_number = 0;
        if let Some(counter) = self.counters.get_mut(place) {
            *counter += 1;
            name_number = *counter;
        }
        let backup = self.backups.len();
        self.backups.push(ModelBackup { cluster, method, status: BackupStatus::Creating, name_number });
        self.push_job(JobType::Backup, cluster, backup, now);
        Ok(())
    }

    /// The revision of a cluster's schedule; 0 for none.
    pub(super) fn revision(&self, cluster: u8) -> u64 {
        self.schedules.get(usize::from(cluster)).map_or(0, |(revision, _)| *revision)
    }

    /// Sets a schedule by its current revision.
    pub(super) fn set_schedule(&mut self, cluster: u8, due: Option<Timestamp>) -> Predicted<bool> {
        let id = sample::cluster(cluster);
        if self.dropped.get(usize::from(cluster)).copied().unwrap_or(true) {
            return Err(CatalogError::ClusterNotFound { cluster: id });
        }
        if let Some(schedule) = self.schedules.get_mut(usize::from(cluster)) {
            *schedule = (schedule.0 + 1, due);
        }
        Ok(true)
    }

    /// Starts what is due; `false` when nothing is, or when the revision is an old one.
    pub(super) fn start_scheduled(
        &mut self,
        cluster: u8,
        revision: u64,
        next: Timestamp,
        now: Timestamp,
    ) -> Predicted<bool> {
        if self.dropped.get(usize::from(cluster)).copied().unwrap_or(true) {
            return Err(CatalogError::ClusterNotFound { cluster: sample::cluster(cluster) });
        }
        let (current, due) = self.schedules.get(usize::from(cluster)).copied().unwrap_or_default();
        if current != revision || due.is_none_or(|due| due > now) {
            return Ok(false);
        }
        self.create_backup(cluster, CreationMethod::Auto, now)?;
        if let Some(schedule) = self.schedules.get_mut(usize::from(cluster)) {
            *schedule = (current + 1, Some(next));
        }
        Ok(true)
    }

    fn push_job(&mut self, kind: JobType, cluster: u8, backup: usize, created: Timestamp) {
        let status = JobStatus::Pending;
        let (started, ended, lease, not_before) = (None, None, None, None);
        let (token, retries) = (0, 0);
        let job =
            ModelJob { kind, cluster, backup, status, created, started, ended, token, lease, retries, not_before };
        self.jobs.push(job);
    }

    pub(super) fn create_restore(&mut self, backup: usize, now: Timestamp) -> Predicted<()> {
        let id = sample::backup(short(backup));
        match self.backups.get(backup).map(|backup| (backup.status, backup.cluster)) {
            None => Err(CatalogError::BackupNotFound { backup: id }),
            Some((BackupStatus::Available, cluster)) => {
                self.push_job(JobType::Restore, cluster, backup, now);
                Ok(())
            }
            Some((status, _)) => Err(CatalogError::BackupNotAvailable { backup: id, status }),
        }
    }

    fn free(job: &ModelJob, now: Timestamp) -> bool {
        !job.status.is_terminal() && job.lease.is_none_or(|(_, until)| until <= now)
    }

    fn take(&mut self, job: usize, owner: u8, now: Timestamp, lease_ms: i64) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.token += 1;
            job.lease = Some((owner, now.plus_millis(lease_ms)));
            job.started = job.started.or(Some(now));
            job.not_before = None;
            if job.status == JobStatus::Pending {
                job.status = JobStatus::InProgress;
            }
        }
    }

    pub(super) fn claim_next(&mut self, owner: u8, now: Timestamp, lease_ms: i64) -> Option<usize> {
        let rested = |job: &ModelJob| job.not_before.is_none_or(|time| time <= now);
        let free = self.jobs.iter().enumerate().filter(|(_, job)| Self::free(job, now) && rested(job));
        let waits = |job: &ModelJob| job.kind != JobType::Restore && now.millis_since(job.created) < PASSED_OVER_MS;
        let oldest = free.min_by_key(|(number, job)| (waits(job), job.created, *number)).map(|(number, _)| number)?;
        self.take(oldest, owner, now, lease_ms);
        Some(oldest)
    }

    fn job(&self, number: usize) -> Predicted<&ModelJob> {
        self.jobs.get(number).ok_or_else(|| CatalogError::JobNotFound { job: sample::job(short(number)) })
    }

    fn running(&self, number: usize) -> Predicted<&ModelJob> {
        let job = self.job(number)?;
        if job.status.is_terminal() {
            return Err(CatalogError::JobEnded { job: sample::job(short(number)), status: job.status });
        }
        Ok(job)
    }

    pub(super) fn claim(&mut self, number: usize, owner: u8, now: Timestamp, lease_ms: i64) -> Predicted<()> {
        let job = self.running(number)?;
        if let Some((owner, until)) = job.lease
            && until > now
        {
            let owner = owner_name(owner);
            return Err(CatalogError::JobLeased { job: sample::job(short(number)), owner, until });
        }
        self.take(number, owner, now, lease_ms);
        Ok(())
    }

    fn held(&mut self, number: usize, token: u64) -> Predicted<&mut ModelJob> {
        let job = self.job(number)?;
        if job.token != token || job.status == JobStatus::Pending {
            return Err(CatalogError::Fenced { job: sample::job(short(number)), token, current: job.token });
        }
        self.running(number)?;
        self.jobs.get_mut(number).ok_or_else(|| CatalogError::JobNotFound { job: sample::job(short(number)) })
    }

    pub(super) fn renew(&mut self, number: usize, token: u64, until: Timestamp) -> Predicted<JobStatus> {
        let job = self.held(number, token)?;
        job.lease = job.lease.map(|(owner, _)| (owner, until));
        Ok(job.status)
    }

    pub(super) fn progress(&mut self, number: usize, token: u64) -> Predicted<JobStatus> {
        self.held(number, token).map(|job| job.status)
    }

    /// Ends a job; `copied` when a copy of its backup follows.
    pub(super) fn finish(
        &mut self,
        number: usize,
        token: u64,
        status: JobStatus,
        copied: bool,
        now: Timestamp,
    ) -> Predicted<()> {
        let job = self.held(number, token)?;
        job.status = status;
        let (cluster, backup) = (job.cluster, job.backup);
        self.ended(number, now, status == JobStatus::Successful);
        if copied {
            self.push_job(JobType::Copy, cluster, backup, now);
        }
        Ok(())
    }

    fn ended(&mut self, number: usize, now: Timestamp, well: bool) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        job.ended = Some(now);
        job.lease = None;
        job.not_before = None;
        if job.kind == JobType::Backup
            && let Some(backup) = self.backups.get_mut(job.backup)
        {
            backup.status = if well { BackupStatus::Available } else { BackupStatus::Failed };
        }
    }

    pub(super) fn retry(
        &mut self,
        number: usize,
        token: u64,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Predicted<JobStatus> {
        let job = self.held(number, token)?;
        if job.kind == JobType::Backup {
            let reason = "the job that makes a backup is not put back; the next backup is another";
            return Err(CatalogError::Invalid { reason: reason.to_owned() });
        }
        if job.status == JobStatus::Canceling {
            job.status = JobStatus::Canceled;
            self.ended(number, now, false);
            return Ok(JobStatus::Canceled);
        }
        job.status = JobStatus::Pending;
        job.lease = None;
        job.retries += 1;
        job.not_before = Some(not_before);
        Ok(JobStatus::Pending)
    }

    pub(super) fn cancel(&mut self, number: usize, now: Timestamp) -> Predicted<()> {
        let waiting = self.running(number)?.status == JobStatus::Pending;
        if let Some(job) = self.jobs.get_mut(number) {
            job.status = if waiting { JobStatus::Canceled } else { JobStatus::Canceling };
        }
        if waiting {
            self.ended(number, now, false);
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, number: usize) -> Predicted<()> {
        let id = sample::backup(short(number));
        let Some(status) = self.backups.get(number).map(|backup| backup.status) else {
            return Err(CatalogError::BackupNotFound { backup: id });
        };
        if status == BackupStatus::Deleted {
            return Err(CatalogError::BackupAlreadyDeleted { backup: id });
        }
        let user = self.active().filter(|(_, job)| job.backup == number);
        if let Some((job, _)) = user.min_by_key(|(job, row)| (row.created, *job)) {
            return Err(CatalogError::BackupBusy { backup: id, job: sample::job(short(job)) });
        }
        if let Some(backup) = self.backups.get_mut(number) {
            backup.status = BackupStatus::Deleted;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, owner: u8) -> u64 {
        let mut released = 0;
        for job in self.jobs.iter_mut().filter(|job| job.lease.is_some_and(|(holder, _)| holder == owner)) {
            job.lease = Some((owner, Timestamp::from_millis(0)));
            released += 1;
        }
        released
    }

    pub(super) fn drop_cluster(&mut self, cluster: u8) -> Predicted<()> {
        let id = sample::cluster(cluster);
        if self.dropped.get(usize::from(cluster)).copied().unwrap_or(true) {
            return Err(CatalogError::ClusterNotFound { cluster: id });
        }
        let busy = self.active().filter(|(_, job)| job.cluster == cluster);
        if let Some((job, _)) = busy.min_by_key(|(job, row)| (row.created, *job)) {
            return Err(CatalogError::ClusterBusy { cluster: id, job: sample::job(short(job)) });
        }
        self.set_dropped(cluster, true);
        if let Some(schedule) = self.schedules.get_mut(usize::from(cluster))
            && schedule.0 > 0
        {
            *schedule = (schedule.0 + 1, None);
        }
        Ok(())
    }

    pub(super) fn set_dropped(&mut self, cluster: u8, dropped: bool) {
        if let Some(slot) = self.dropped.get_mut(usize::from(cluster)) {
            *slot = dropped;
        }
    }
}

/// Name of a worker.
pub(super) fn owner_name(owner: u8) -> String {
    format!("host-{owner}")
}
