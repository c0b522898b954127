//! Restores: accept them as jobs.

use longshore_catalog::{ClusterFilter, NewJob, Page as CatalogPage};
use longshore_model::{BackupId, BackupType, ClusterId, JobId, JobType, RestoredLoadState};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::config::check_cluster_name;
use crate::facts::missing_names_of;
use crate::jobs::{JobRequest, collections_from_value};
use crate::random::draw;
use crate::views::{RestoreCluster, RestoreCollections, RestoringCluster};

impl Host {
    /// Accepts the restore of a whole cluster into a new one. A source without users answers an empty user and
    /// password.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for a COLLECTION backup or a
    /// wrong name or CU size, [`EngineError::Conflict`] for a name that is taken.
    pub async fn restore_cluster(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        request: RestoreCluster,
    ) -> Result<RestoringCluster, EngineError> {
        let outcome = self.restore_cluster_now(who, cluster, backup, request).await;
        self.audit(who, "backup.restore-cluster", backup.as_str(), &outcome).await;
        outcome
    }

    async fn restore_cluster_now(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        request: RestoreCluster,
    ) -> Result<RestoringCluster, EngineError> {
        require_manage(who, "restore a backup")?;
        let record = self.backup(who, cluster, backup).await?;
        if record.backup.backup_type != BackupType::Cluster {
            let what = format!("backup {backup} is a COLLECTION backup; restore it with restoreCollection");
            return Err(EngineError::BadRequest { what });
        }
        check_cluster_name(&request.cluster_name).map_err(|what| EngineError::BadRequest { what })?;
        if !(1..=1024).contains(&request.cu_size) {
            return Err(EngineError::BadRequest { what: format!("cuSize is 1 to 1024, not {}", request.cu_size) });
        }
        // The new cluster is in none of the clusters that a key may be for.
        who.must_reach(&request.project_id, None)?;
        if request.project_id != record.backup.project {
            return Err(EngineError::NotFound { what: "project", id: request.project_id.to_string() });
        }
        self.refuse_taken_name(&request).await?;
        let cluster_id = ClusterId::from_random(draw(self.inner.random.as_ref())?);
        let kind = longshore_source::SourceKind::MilvusLite.as_str();
        let location = self.inner.clusters.provision(kind, cluster_id.as_str())?;
        let request = JobRequest::RestoreCluster { request, cluster_id: cluster_id.clone(), location };
        let job_id = self.accept(JobType::Restore, cluster, backup, &record.backup.project, request).await?;
        Ok(RestoringCluster { cluster_id, username: String::new(), password: String::new(), job_id })
    }

    async fn refuse_taken_name(&self, request: &RestoreCluster) -> Result<(), EngineError> {
        let filter = ClusterFilter { project: Some(request.project_id.clone()), ..Default::default() };
        let name = request.cluster_name.clone();
        self.catalog("looking for the name", move |catalog, _| {
            let mut page = CatalogPage { size: 100, current: 1 };
            loop {
                let listed = catalog.list_clusters(&filter, page)?;
                if listed.items.iter().any(|row| row.cluster.name == name) {
                    let what = format!("the project already has a cluster `{name}`; choose another name");
                    return Err(EngineError::Conflict { what });
                }
                if u64::from(page.size) * u64::from(page.current) >= listed.count {
                    return Ok(());
                }
                page.current += 1;
            }
        })
        .await
    }

    /// Accepts the restore of collections into an existing cluster. An empty list restores everything under its own
    /// names, not loaded.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::UnknownCollections`] for names the backup
    /// does not have, [`EngineError::BadRequest`] for two collections with one destination.
    pub async fn restore_collections(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        request: RestoreCollections,
    ) -> Result<JobId, EngineError> {
        let outcome = self.restore_collections_now(who, cluster, backup, request).await;
        self.audit(who, "backup.restore-collection", backup.as_str(), &outcome).await;
        outcome
    }

    async fn restore_collections_now(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        mut request: RestoreCollections,
    ) -> Result<JobId, EngineError> {
        require_manage(who, "restore a backup")?;
        let record = self.backup(who, cluster, backup).await?;
        self.cluster(who, &request.destination).await?;
        let there: Vec<_> = collections_from_value(&record.collections).into_iter().map(|entry| entry.name).collect();
        let wanted: Vec<_> = request.collections.iter().map(|mapping| mapping.from.clone()).collect();
        let names = missing_names_of(&wanted, &there);
        if !names.is_empty() {
            let available = there.iter().map(ToString::to_string).take(20).collect();
            return Err(EngineError::UnknownCollections { names, available });
        }
        crate::restore::check_destinations(&request.collections)?;
        if request.collections.is_empty() {
            request.collections = crate::restore::all_under_their_own_names(&there, RestoredLoadState::NotLoaded);
        }
        let request = JobRequest::RestoreCollections { request };
        self.accept(JobType::Restore, cluster, backup, &record.backup.project, request).await
    }

    pub(super) async fn accept(
        &self,
        job_type: JobType,
        cluster: &ClusterId,
        backup: &BackupId,
        project: &longshore_model::ProjectId,
        request: JobRequest,
    ) -> Result<JobId, EngineError> {
        let id = JobId::from_random(draw(self.inner.random.as_ref())?);
        let job = NewJob {
            id: id.clone(),
            job_type,
            project: project.clone(),
            cluster: Some(cluster.clone()),
            backup: Some(backup.clone()),
            request: request.to_value()?,
        };
        self.catalog("accepting a job", move |catalog, now| Ok(catalog.create_job(&job, now)?)).await?;
        self.inner.wake.notify_one();
        Ok(id)
    }
}
