//! What the host tells its callers: plain values that the REST API, the command line and embedders render.
//!
//! Nothing here is a database row or a manifest; those may change without a caller noticing.

use longshore_model::{
    BackupId, BackupStatus, BackupType, ClusterId, CollectionMapping, CollectionName, CreationMethod, JobId, JobStatus,
    JobType, Progress, ProjectId, Region, RegionId, RestoredLoadState, Timestamp,
};
use longshore_source::milvus::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of a list. `number` starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries per page, 1 to 100.
    pub size: u32,
    /// Which page, from 1.
    pub number: u32,
}

/// One page and how many entries there are in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Entries on all pages together.
    pub count: u64,
    /// The entries of this page.
    pub items: Vec<T>,
}

/// A request for a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBackup {
    /// Scope.
    pub backup_type: BackupType,
    /// The collections of a COLLECTION backup; empty for CLUSTER.
    pub collections: Vec<CollectionName>,
    /// Further regions that get a copy after the home backup.
    pub copies: Vec<RegionId>,
}

/// A backup that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedBackup {
    /// Its id.
    pub backup_id: BackupId,
    /// Its generated name.
    pub backup_name: String,
    /// The job that makes it.
    pub job_id: JobId,
}

/// Which backups to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupFilter {
    /// Of this project.
    pub project_id: Option<ProjectId>,
    /// Of this cluster.
    pub cluster_id: Option<ClusterId>,
    /// Made this way.
    pub creation_method: Option<CreationMethod>,
    /// Of this scope.
    pub backup_type: Option<BackupType>,
    /// Not older than.
    pub start: Option<Timestamp>,
    /// Not newer than.
    pub end: Option<Timestamp>,
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Of this project.
    pub project_id: Option<ProjectId>,
    /// Of this cluster.
    pub cluster_id: Option<ClusterId>,
    /// Of this type.
    pub job_type: Option<JobType>,
    /// In this state.
    pub status: Option<JobStatus>,
}

/// One collection of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUpCollection {
    /// Which one.
    #[serde(flatten)]
    pub name: CollectionName,
    /// Its description, if the source has one.
    #[serde(default)]
    pub description: String,
    /// Whether it was loaded.
    pub loaded: bool,
    /// Rows, deleted ones included.
    pub physical_rows: u64,
    /// Rows that a query sees, when they could be counted within the memory budget.
    pub live_rows: Option<u64>,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Region of the vault that holds it.
    pub region: RegionId,
    /// True when it was changed by DDL while the backup ran; what is in the backup is one consistent point all the same.
    #[serde(default)]
    pub changed_during_backup: bool,
    /// Why this version keeps it and cannot restore it, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_be_restored: Option<String>,
}

/// A collection that a CLUSTER backup leaves out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedCollection {
    /// Which one.
    #[serde(flatten)]
    pub name: CollectionName,
    /// Who said so: the member of the chain.
    pub decided_by: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// A copy of a backup in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyView {
    /// Where.
    pub region_id: RegionId,
    /// How far it is.
    pub state: CopyState,
    /// When it goes; `None` is never.
    pub expire_time: Option<Timestamp>,
    /// The job that makes or made it.
    pub job_id: JobId,
    /// Why it failed, or waits to be tried again; empty otherwise.
    pub reason: String,
}

/// State of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CopyState {
    /// Its job waits or runs.
    Creating,
    /// It can be restored from.
    Available,
    /// Its job failed or was canceled.
    Failed,
    /// Its time was over and it was withdrawn.
    Expired,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupView {
    /// Its id.
    pub backup_id: BackupId,
    /// Its name.
    pub backup_name: String,
    /// Scope.
    pub backup_type: BackupType,
    /// Who made it.
    pub creation_method: CreationMethod,
    /// State.
    pub status: BackupStatus,
    /// Bytes of the backed-up files, before compression; 0 while it is being made.
    pub size_bytes: u64,
    /// Bytes this backup added to the vaults.
    pub stored_bytes: u64,
    /// Its project.
    pub project_id: ProjectId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Name of the cluster when the backup was made.
    pub cluster_name: String,
    /// Home region.
    pub region_id: RegionId,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it expires; `None` is never.
    pub expire_time: Option<Timestamp>,
    /// Its collections, in order of name; empty while it is being made.
    pub collections: Vec<BackedUpCollection>,
    /// Collections it leaves out.
    pub excluded: Vec<ExcludedCollection>,
    /// Every region that holds a part or a copy.
    pub regions: Vec<RegionId>,
    /// Copies in other regions, in order of region; only where one backup is described.
    pub copies: Vec<CopyView>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its id.
    pub job_id: JobId,
    /// What it does.
    pub job_type: JobType,
    /// State.
    pub status: JobStatus,
    /// How far it is.
    pub progress: Progress,
    /// Cluster it is about; `None` for a job about none.
    pub cluster_id: Option<ClusterId>,
    /// Backup it makes or reads.
    pub backup_id: Option<BackupId>,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Why it failed or was cancelled, or why it waits to be tried again, in one sentence; empty otherwise.
    pub reason: String,
    /// How often it was tried again after a failure that may pass.
    pub retries: u32,
    /// When it is tried again; `None` unless it waits for that.
    pub next_retry: Option<Timestamp>,
    /// What it did, when it ended: counts, bytes, proofs. `null` before.
    pub result: Value,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Its id.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its region.
    pub region_id: RegionId,
    /// CU size; recorded only for sources that have none.
    pub cu_size: u32,
    /// `RUNNING`; `RESTORE_BACKUP` while a restore makes it; `UNKNOWN` after its catalog was lost, until it is configured.
    pub status: String,
    /// How far it is made, in percent.
    pub create_percent: u8,
    /// Where it is: a directory for Milvus Lite.
    pub connect_address: String,
    /// Number of backups of it.
    pub backup_count: u64,
    /// When it was registered.
    pub create_time: Timestamp,
}

/// A cluster that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Automatic backups of it that were deleted.
    pub deleted_backups: usize,
    /// Until when its automatic backups are kept; `None` when there are none to keep.
    pub kept_until: Option<Timestamp>,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectView {
    /// Its id.
    pub project_id: ProjectId,
    /// Its name.
    pub project_name: String,
    /// Number of clusters.
    pub cluster_count: u64,
    /// When it was registered.
    pub create_time: Timestamp,
}

/// A request to restore a whole cluster into a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreCluster {
    /// Project of the new cluster.
    pub project_id: ProjectId,
    /// Name of the new cluster: letters, digits and hyphens.
    pub cluster_name: String,
    /// CU size of the new cluster.
    pub cu_size: u32,
    /// Whether its collections are loaded.
    pub load_state: RestoredLoadState,
    /// Whether the users and roles of the backup are made, too.
    #[serde(default)]
    pub restore_users: bool,
}

/// A cluster restore that was accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct RestoringCluster {
    /// Id of the new cluster.
    pub cluster_id: ClusterId,
    /// Its users with their new passwords, which are kept nowhere, the administrator first; empty when the source has none.
    pub logins: Vec<Login>,
    /// The job that restores.
    pub job_id: JobId,
}

/// A user of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// A request to restore collections into an existing cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreCollections {
    /// Target cluster.
    pub destination: ClusterId,
    /// What goes where; empty restores everything under its own names, not loaded.
    pub collections: Vec<CollectionMapping>,
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReport {
    /// One line per member of a chain: `placement: residency 0.1.0 (digest…)`.
    pub policies: Vec<String>,
    /// Settings that take effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// A region and what its vault holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionView {
    /// The region as configured.
    pub region: Region,
    /// Bytes of packs in its vault; `None` when the vault did not answer.
    pub used_bytes: Option<u64>,
}
