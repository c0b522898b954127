//! What the catalog keeps and what it is asked: plain values.

use std::fmt;

use longshore_model::{
    BackupId, BackupStatus, BackupType, ClusterId, CreationMethod, Digest, JobId, JobStatus, JobType, KeyScope,
    Progress, ProjectId, RegionId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// When it was first configured.
    pub created: Timestamp,
}

/// A cluster as configuration or a restore registers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCluster {
    /// Its id.
    pub id: ClusterId,
    /// Its name; backups are called `<name>_backup<N>`.
    pub name: String,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The region it is in, and so the home region of its backups.
    pub region: RegionId,
    /// What kind of source it is, for example `milvus-lite`.
    pub source_kind: String,
    /// Where the source is: a directory or an address. No credentials.
    pub location: String,
    /// Compute units; recorded only, for sources without any.
    pub cu_size: u32,
    /// Its state in the spelling of the API, for example `RUNNING`.
    pub status: String,
}

/// A registered cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// What it was registered as.
    #[serde(flatten)]
    pub cluster: NewCluster,
    /// When it was first registered.
    pub created: Timestamp,
    /// When it was dropped; a dropped cluster is kept for the record.
    pub dropped: Option<Timestamp>,
    /// The number in the name of its newest backup; 0 if it never had one. Never reused.
    pub backup_counter: u64,
}

/// Which clusters to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterFilter {
    /// Only those within this.
    pub scope: KeyScope,
    /// Only those of this project.
    pub project: Option<ProjectId>,
    /// Also dropped ones.
    pub include_dropped: bool,
}

/// The answer to dropping a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedCluster {
    /// The cluster as it is now.
    pub cluster: ClusterRow,
    /// Its automatic backups, which are to be deleted with it. After a crash the rest of them is found with
    /// [`BackupFilter::dropped_at`].
    pub automatic_backups: Vec<BackupId>,
}

/// A backup that a job is about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackup {
    /// Its id, made by the caller.
    pub id: BackupId,
    /// The cluster it is made from.
    pub cluster: ClusterId,
    /// Its scope.
    pub backup_type: BackupType,
    /// Who asked for it.
    pub creation_method: CreationMethod,
    /// When it is to be deleted; `None` for ever, and always for manual ones.
    pub expires: Option<Timestamp>,
    /// Copies in other regions that go before the backup does, and when. For automatic backups only.
    pub expiring_copies: Vec<(RegionId, Timestamp)>,
    /// What is known about its collections so far; `Value::Null` if nothing.
    pub collections: Value,
    /// What else describe shows; `Value::Null` if nothing yet.
    pub detail: Value,
}

/// The job that makes a new backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackupJob {
    /// Its id, made by the caller.
    pub id: JobId,
    /// What was asked, as the engine needs it to run the job after a restart.
    pub request: Value,
}

/// A copy in another region that goes before its backup does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRow {
    /// Its backup.
    pub backup: BackupId,
    /// Where it is.
    pub region: RegionId,
    /// When it goes.
    pub expires: Timestamp,
    /// When it was withdrawn from the vault of its region.
    pub withdrawn: Option<Timestamp>,
}

/// A schedule as it is to be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    /// The cluster it is for; each has one at most.
    pub cluster: ClusterId,
    /// When its backups start and how long they stay, as the engine needs it.
    pub schedule: Value,
    /// When the next automatic backup is to start; `None` turns the schedule off.
    pub due: Option<Timestamp>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// The cluster it is for.
    pub cluster: ClusterId,
    /// When its backups start and how long they stay; `Value::Null` after its cluster was dropped.
    pub schedule: Value,
    /// When the next automatic backup is to start; `None` while the schedule is off.
    pub due: Option<Timestamp>,
    /// When somebody set it last.
    pub changed: Timestamp,
    /// Grows with every change and every run; never reused.
    pub revision: u64,
}

/// A backup, without the parts that can be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Its id.
    pub id: BackupId,
    /// Its name: `<clusterName>_backup<N>`.
    pub name: String,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The cluster it was made from; that cluster may have been dropped, or never have been registered here.
    pub cluster: ClusterId,
    /// Name of that cluster when the backup was made.
    pub cluster_name: String,
    /// Its scope.
    pub backup_type: BackupType,
    /// Who asked for it.
    pub creation_method: CreationMethod,
    /// Its state.
    pub status: BackupStatus,
    /// Bytes of the backed-up data before compression, as the engine reported at the end; 0 until then.
    pub size_bytes: u64,
    /// The home region.
    pub region: RegionId,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its job ended.
    pub ended: Option<Timestamp>,
    /// When it is to be deleted; `None` for ever.
    pub expires: Option<Timestamp>,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// When its manifests were removed from the vaults, after it was deleted.
    pub purged: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A backup with everything that is kept about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// The backup.
    pub backup: BackupRow,
    /// Its collections.
    pub collections: Value,
    /// What else describe shows.
    pub detail: Value,
}

/// Which backups to list. Everything given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupFilter {
    /// Only those within this.
    pub scope: KeyScope,
    /// Only those of this project.
    pub project: Option<ProjectId>,
    /// Only those of this cluster.
    pub cluster: Option<ClusterId>,
    /// Only those made this way.
    pub creation_method: Option<CreationMethod>,
    /// Only those of this scope.
    pub backup_type: Option<BackupType>,
    /// Created at this time or later.
    pub start: Option<Timestamp>,
    /// Created at this time or earlier.
    pub end: Option<Timestamp>,
    /// In one of these states. `None` means CREATING or AVAILABLE: failed and deleted ones are only listed on request.
    pub statuses: Option<Vec<BackupStatus>>,
    /// Expired at this time.
    pub expired_at: Option<Timestamp>,
    /// Only deleted backups whose manifests may still be in a vault. Combine with `statuses` = DELETED.
    pub not_purged: bool,
    /// Only those whose cluster is registered and was dropped at this time or earlier.
    pub dropped_at: Option<Timestamp>,
}

/// A job to run that makes no backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its id, made by the caller.
    pub id: JobId,
    /// What it does; never [`JobType::Backup`].
    pub job_type: JobType,
    /// The project it counts for.
    pub project: ProjectId,
    /// The cluster it is about, if any.
    pub cluster: Option<ClusterId>,
    /// The backup it uses, which must be AVAILABLE.
    pub backup: Option<BackupId>,
    /// What was asked, as the engine needs it to run the job after a restart.
    pub request: Value,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub job_type: JobType,
    /// Its state.
    pub status: JobStatus,
    /// The project it counts for.
    pub project: ProjectId,
    /// The cluster it is about.
    pub cluster: Option<ClusterId>,
    /// The backup it makes or uses.
    pub backup: Option<BackupId>,
    /// What was asked.
    pub request: Value,
    /// How far it is, as last reported.
    pub progress: Progress,
    /// What came out of it; `Value::Null` until it ends.
    pub result: Value,
    /// Why it ended the way it did.
    pub reason: Option<String>,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it was claimed first.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Grows with every claim; each write of a worker must carry the current one. 0 before the first claim.
    pub fencing_token: u64,
    /// Who works on it.
    pub lease_owner: Option<String>,
    /// Until when that holds unless renewed.
    pub lease_until: Option<Timestamp>,
    /// How often it was claimed.
    pub attempt: u32,
    /// How often its worker put it back after a failure that may pass.
    pub retries: u32,
    /// When a job that was put back is to be claimed again.
    pub not_before: Option<Timestamp>,
}

/// Numbers about the jobs of one type that are in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatistics {
    /// What they do.
    pub job_type: JobType,
    /// Their state.
    pub status: JobStatus,
    /// How many there are.
    pub count: u64,
    /// How long those that have ended took together, from the first claim to the end, in milliseconds.
    pub duration_ms: u64,
    /// Bytes of files that those that have ended had moved.
    pub moved_bytes: u64,
    /// How many of those that have ended took no longer than each of the bounds that were asked for.
    pub within: Vec<u64>,
}

/// Which jobs to list. Everything given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Only those within this.
    pub scope: KeyScope,
    /// Only those of this project.
    pub project: Option<ProjectId>,
    /// Only those about this cluster.
    pub cluster: Option<ClusterId>,
    /// Only those that make or use this backup.
    pub backup: Option<BackupId>,
    /// Only those that do this.
    pub job_type: Option<JobType>,
    /// In one of these states; `None` means any.
    pub statuses: Option<Vec<JobStatus>>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// SUCCESSFUL, FAILED or CANCELED.
    pub status: JobStatus,
    /// Why, for a person. Required unless it was successful.
    pub reason: Option<String>,
    /// What came out of it.
    pub result: Value,
    /// What is now known about the job's backup. Required for a successful backup job, which makes the backup
    /// AVAILABLE and replaces what was known; a backup job that ends otherwise makes it FAILED. For other jobs, `detail`
    /// is merged into the backup's detail (RFC 7396: objects key by key, `null` removes) and the rest is ignored.
    pub backup: Option<BackupOutcome>,
    /// Jobs that start because this one ended (copies into other regions), created in the same transaction.
    pub follow_ups: Vec<NewJob>,
}

/// What a job found out about its backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOutcome {
    /// Bytes of the backed-up data before compression.
    pub size_bytes: u64,
    /// Its collections.
    pub collections: Value,
    /// What else describe shows.
    pub detail: Value,
}

/// A new API key: its hash, never the key.
#[derive(Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// Its public id, made by the caller.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// [`hash_api_key`] of the key.
    pub hash: Digest,
    /// The role it acts in, for example `owner`.
    pub role: String,
    /// What it is for.
    pub scope: KeyScope,
    /// When it stops working; `None` for never.
    pub expires: Option<Timestamp>,
}

impl fmt::Debug for NewApiKey {
    /// Leaves the hash out: it is as good as the key for looking one up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .field("scope", &self.scope)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// An API key as it is kept. The hash stays inside the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    /// Its public id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The role it acts in.
    pub role: String,
    /// What it is for.
    pub scope: KeyScope,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops working.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// The BLAKE3 hash under which an API key is kept. Keys are long random strings, so a fast hash without salt is enough;
/// the context keeps the hash from being equal to one of the same bytes made for another purpose.
#[must_use]
pub fn hash_api_key(key: &str) -> Digest {
    Digest::new(blake3::derive_key("longshore 2026 api key", key.as_bytes()))
}

/// Something that somebody did or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub time: Timestamp,
    /// Who: name and id of an API key, or `scheduler`, `command line`, ….
    pub actor: String,
    /// What, for example `backup.create`.
    pub action: String,
    /// On what: an id.
    pub subject: String,
    /// `ok`, or the sentence of the refusal.
    pub outcome: String,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Grows with every entry; never reused.
    pub sequence: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Rows per page, 1 to [`crate::Limits::page_items`].
    pub size: u32,
    /// Which page, from 1.
    pub current: u32,
}

impl Default for Page {
    /// The first ten, as Zilliz Cloud's API.
    fn default() -> Self {
        Self { size: 10, current: 1 }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// How many there are on all pages.
    pub count: u64,
    /// Those of this page.
    pub items: Vec<T>,
}
