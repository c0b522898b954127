//! The host: what the REST API, the command line and embedders call.
//!
//! SKELETON
use crate::views::*;
use crate::EngineError;
use longshore_model::{BackupId, ClusterId, JobId};
use longshore_policy::DecisionRecord;

/// A running host. Cheap to clone.
#[derive(Clone)]
pub struct Host;

#[allow(missing_docs, clippy::unused_async, unused_variables)]
impl Host {
    pub async fn authenticate(&self, key: &str) -> Result<Principal, EngineError> { loop {} }
    pub async fn create_backup(&self, who: &Principal, cluster: &ClusterId, request: CreateBackup) -> Result<CreatedBackup, EngineError> { loop {} }
    pub async fn list_backups(&self, who: &Principal, filter: BackupFilter, page: PageRequest) -> Result<Page<BackupView>, EngineError> { loop {} }
    pub async fn describe_backup(&self, who: &Principal, cluster: &ClusterId, backup: &BackupId) -> Result<BackupView, EngineError> { loop {} }
    /// deletes; returns what it was
    pub async fn delete_backup(&self, who: &Principal, cluster: &ClusterId, backup: &BackupId) -> Result<BackupView, EngineError> { loop {} }
    /// decision records of a committed backup, and per-collection explanation rows as JSON
    pub async fn decisions(&self, who: &Principal, cluster: &ClusterId, backup: &BackupId) -> Result<serde_json::Value, EngineError> { loop {} }
    pub async fn list_jobs(&self, who: &Principal, filter: JobFilter, page: PageRequest) -> Result<Page<JobView>, EngineError> { loop {} }
    pub async fn describe_job(&self, who: &Principal, job: &JobId) -> Result<JobView, EngineError> { loop {} }
    pub async fn cancel_job(&self, who: &Principal, job: &JobId) -> Result<JobView, EngineError> { loop {} }
    pub async fn restore_cluster(&self, who: &Principal, cluster: &ClusterId, backup: &BackupId, request: RestoreCluster) -> Result<RestoringCluster, EngineError> { loop {} }
    pub async fn restore_collections(&self, who: &Principal, cluster: &ClusterId, backup: &BackupId, request: RestoreCollections) -> Result<JobId, EngineError> { loop {} }
    pub async fn list_clusters(&self, who: &Principal, page: PageRequest) -> Result<Page<ClusterView>, EngineError> { loop {} }
    pub async fn describe_cluster(&self, who: &Principal, cluster: &ClusterId) -> Result<ClusterView, EngineError> { loop {} }
    pub async fn list_projects(&self, who: &Principal) -> Result<Vec<ProjectView>, EngineError> { loop {} }
    pub async fn list_regions(&self, who: &Principal) -> Result<Vec<RegionView>, EngineError> { loop {} }
    pub async fn reload(&self, who: &Principal) -> Result<ReloadReport, EngineError> { loop {} }
    /// true when catalog, vaults and workers are up
    pub async fn ready(&self) -> Result<(), EngineError> { loop {} }
    /// stops taking jobs, waits for running ones to reach a stopping point
    pub async fn shutdown(&self) { loop {} }
}
