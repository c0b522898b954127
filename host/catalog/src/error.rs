//! The one error of this crate.

use longshore_model::{BackupId, BackupStatus, ClusterId, JobId, JobStatus, ProjectId, Timestamp};
use thiserror::Error;

/// Why a catalog call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// No such project.
    #[error("there is no project {project}; list the projects to see which there are")]
    ProjectNotFound {
        /// The project asked for.
        project: ProjectId,
    },
    /// No such cluster, or it was dropped.
    #[error("there is no cluster {cluster}; list the clusters to see which are registered")]
    ClusterNotFound {
        /// The cluster asked for.
        cluster: ClusterId,
    },
    /// No such backup.
    #[error("there is no backup {backup}; list the backups to see which there are")]
    BackupNotFound {
        /// The backup asked for.
        backup: BackupId,
    },
    /// No such job.
    #[error("there is no job {job}; list the jobs to see which there are")]
    JobNotFound {
        /// The job asked for.
        job: JobId,
    },
    /// No such API key.
    #[error("there is no API key with the id `{key}`; list the keys to see which there are")]
    KeyNotFound {
        /// The id asked for.
        key: String,
    },
    /// A manual backup was asked for while another one is pending or running.
    #[error(
        "cluster {cluster} already has a manual backup that is pending or running (job {job}); wait until that job \
         ends, or cancel it, and ask again"
    )]
    ManualBackupActive {
        /// The cluster.
        cluster: ClusterId,
        /// The job in the way.
        job: JobId,
    },
    /// A backup was asked for while an automatic one is pending or running.
    #[error(
        "cluster {cluster} has an automatic backup that is pending or running (job {job}); wait until that job ends \
         and ask again"
    )]
    AutomaticBackupActive {
        /// The cluster.
        cluster: ClusterId,
        /// The job in the way.
        job: JobId,
    },
    /// A cluster cannot be dropped while it has jobs.
    #[error(
        "cluster {cluster} cannot be dropped while job {job} is pending or running; wait until it ends or cancel it"
    )]
    ClusterBusy {
        /// The cluster.
        cluster: ClusterId,
        /// A job that has not ended.
        job: JobId,
    },
    /// A backup cannot be deleted while a job makes or uses it.
    #[error("backup {backup} cannot be deleted while job {job} makes or uses it; wait until that job ends")]
    BackupBusy {
        /// The backup.
        backup: BackupId,
        /// A job that has not ended.
        job: JobId,
    },
    /// Nothing can be restored, copied or checked from a backup in this state.
    #[error("backup {backup} is {status}; only an AVAILABLE backup can be used")]
    BackupNotAvailable {
        /// The backup.
        backup: BackupId,
        /// Its state.
        status: BackupStatus,
    },
    /// The backup was deleted before.
    #[error("backup {backup} is already deleted")]
    BackupAlreadyDeleted {
        /// The backup.
        backup: BackupId,
    },
    /// The job ended before; its state never changes again.
    #[error("job {job} has already ended ({status})")]
    JobEnded {
        /// The job.
        job: JobId,
        /// How it ended.
        status: JobStatus,
    },
    /// Another worker holds the job.
    #[error("job {job} is held by `{owner}` until {until}; it can be claimed when that lease has lapsed")]
    JobLeased {
        /// The job.
        job: JobId,
        /// Who holds it.
        owner: String,
        /// Until when, unless renewed.
        until: Timestamp,
    },
    /// The caller no longer holds the job: somebody else claimed it, or it never did.
    #[error(
        "job {job} no longer belongs to this worker (its fencing token is {token}, the job's is {current}); \
         stop working on it and write nothing more"
    )]
    Fenced {
        /// The job.
        job: JobId,
        /// The token the caller came with.
        token: u64,
        /// The token of the job now.
        current: u64,
    },
    /// A row with this identifier exists.
    #[error("{what} `{id}` exists already; use a new identifier")]
    Exists {
        /// What kind of row.
        what: &'static str,
        /// Its identifier.
        id: String,
    },
    /// A call that makes no sense.
    #[error("the catalog refuses the call: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// A value beyond [`crate::Limits`].
    #[error("{what} has {actual} bytes, more than the {limit} the catalog keeps; make it smaller")]
    TooLarge {
        /// Which value.
        what: &'static str,
        /// Its size in bytes.
        actual: usize,
        /// The most that is accepted, in bytes.
        limit: usize,
    },
    /// The file is damaged.
    #[error(
        "the catalog {path} is damaged ({detail}); move it away and start with a copy of it or with a new one: the \
         backups themselves are in the vaults and can be listed from there"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// The file is a database of some other program.
    #[error("{path} is a database, but not a Longshore catalog; name another file, this one was left as it is")]
    NotACatalog {
        /// The file.
        path: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the catalog {path} has version {found}, this program knows versions up to {supported}; use the newer \
         program that wrote it"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Version of the file.
        found: i64,
        /// Newest version this program knows.
        supported: i64,
    },
    /// The disk is full.
    #[error("the disk with the catalog {path} is full; nothing was changed: free some space and try again")]
    DiskFull {
        /// The file.
        path: String,
    },
    /// Another process holds the database.
    #[error(
        "the catalog {path} is locked by another process for longer than this one waits; nothing was changed: try again"
    )]
    Busy {
        /// The file.
        path: String,
    },
    /// Reading or writing failed for another reason (permissions, input/output error, missing folder).
    #[error("the catalog {path} cannot be used: {detail}")]
    Unavailable {
        /// The file.
        path: String,
        /// What the operating system or SQLite said.
        detail: String,
    },
}

impl CatalogError {
    /// True when the same call can succeed later without anything else changing in the request.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::DiskFull { .. } | Self::JobLeased { .. })
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }
}
