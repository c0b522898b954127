//! Restores: accept them as jobs.
//!
//! What can be known before is an answer and not a failed job: names that are taken, collections that are there already, no
//! server that is free.

use std::collections::BTreeSet;

use longshore_catalog::{BackupRecord, ClusterFilter, JobFilter, NewJob};
use longshore_model::{BackupId, BackupType, ClusterId, JobId, JobStatus, JobType, RestoredLoadState};
use longshore_source::milvus::Secret;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::blocking::blocking;
use crate::catalog_calls::every;
use crate::config::check_cluster_name;
use crate::facts::missing_names_of;
use crate::jobs::{JobRequest, collections_from_value};
use crate::passwords::{ADMINISTRATOR, password_of};
use crate::random::draw;
use crate::views::{RestoreCluster, RestoreCollections, RestoringCluster};

/// Rows that are read in one go.
const PAGE: u32 = 500;

impl Host {
    /// Accepts the restore of a whole cluster into a new one. A source without users answers an empty user and
    /// password.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for a COLLECTION backup or a
    /// wrong name or CU size, [`EngineError::Conflict`] for a name that is taken, [`EngineError::NoFreeServer`].
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
        let kind = self.kind_of(&record).await?;
        let cluster_id = ClusterId::from_random(draw(self.inner.random.as_ref())?);
        // Until the job is accepted, which is what takes the name and the place.
        let _one = self.inner.restoring.lock().await;
        let taken = self.taken(&request).await?;
        let location = match self.inner.clusters.provision(&kind, cluster_id.as_str())? {
            Some(location) => location,
            None => self.free_server(&taken, (&kind, &record.backup.region, request.cu_size)).await?,
        };
        let (username, password) = self.administrator_of(&kind, &cluster_id).await?;
        let request =
            JobRequest::RestoreCluster { request, cluster_id: cluster_id.clone(), location, cluster_kind: kind };
        let job_id = self.accept(JobType::Restore, cluster, backup, &record.backup.project, request).await?;
        Ok(RestoringCluster { cluster_id, username, password, job_id })
    }

    /// What kind of cluster a backup was made from: what the catalog knows of the cluster, or what the manifest says.
    async fn kind_of(&self, record: &BackupRecord) -> Result<String, EngineError> {
        let id = record.backup.cluster.clone();
        let row = self.catalog("reading a cluster", move |catalog, _| Ok(catalog.get_cluster(&id)?)).await?;
        if let Some(kind) = row.map(|row| row.cluster.source_kind).filter(|kind| !kind.is_empty()) {
            return Ok(kind);
        }
        let home = Some(&record.backup.region);
        let opened = crate::opened::OpenedBackup::find(&self.inner.vaults, home, &record.backup.id).await?;
        Ok(opened.sealed()?.source_kind.clone())
    }

    /// Name and password of the administrator of a new cluster; both empty for a kind without users.
    async fn administrator_of(&self, kind: &str, cluster: &ClusterId) -> Result<(String, Secret), EngineError> {
        if !self.inner.clusters.has_users(kind) {
            return Ok((String::new(), Secret::new("")));
        }
        let (host, cluster) = (std::sync::Arc::clone(&self.inner), cluster.clone());
        let password = blocking("making a password", move || {
            password_of(&host.config().data_directory, &cluster, host.random.as_ref())
        });
        Ok((ADMINISTRATOR.to_owned(), password.await?))
    }

    /// The locations that registered clusters and restores under way have. Refuses a name that one of them has.
    async fn taken(&self, request: &RestoreCluster) -> Result<BTreeSet<String>, EngineError> {
        let (name, project) = (request.cluster_name.clone(), request.project_id.clone());
        self.catalog("looking for names and places", move |catalog, _| {
            let mut taken = BTreeSet::new();
            let mut take = |other: &str, location: String| {
                if other == name {
                    let what = format!("the project already has a cluster `{name}`; choose another name");
                    return Err(EngineError::Conflict { what });
                }
                taken.insert(location);
                Ok(())
            };
            for row in every(PAGE, |page| catalog.list_clusters(&ClusterFilter::default(), page))? {
                let other = if row.cluster.project == project { row.cluster.name.as_str() } else { "" };
                take(other, row.cluster.location)?;
            }
            let statuses = Some(vec![JobStatus::Pending, JobStatus::InProgress, JobStatus::Canceling]);
            let filter = JobFilter { job_type: Some(JobType::Restore), statuses, ..JobFilter::default() };
            for job in every(PAGE, |page| catalog.list_jobs(&filter, page))? {
                if let JobRequest::RestoreCluster { request, location, .. } = JobRequest::from_value(&job.request)? {
                    let other = if request.project_id == project { request.cluster_name.as_str() } else { "" };
                    take(other, location)?;
                }
            }
            Ok(taken)
        })
        .await
    }

    /// Accepts the restore of collections into an existing cluster. An empty list restores everything under its own
    /// names, not loaded.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::UnknownCollections`] for names the backup
    /// does not have, [`EngineError::BadRequest`] for two collections with one destination, [`EngineError::Conflict`] for
    /// destinations that are there already.
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
        let destination = self.cluster(who, &request.destination).await?.cluster;
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
        // Where it cannot be read, or is an empty folder, the job says what is wrong.
        let in_the_way = match self.inner.clusters.source(&destination.source_kind, &destination.location) {
            Ok(source) => source.collection_names().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let in_the_way: BTreeSet<_> = in_the_way.into_iter().collect();
        let in_the_way: Vec<String> = request
            .collections
            .iter()
            .map(|mapping| &mapping.to)
            .filter(|name| in_the_way.contains(name))
            .map(ToString::to_string)
            .take(20)
            .collect();
        if !in_the_way.is_empty() {
            let what = format!(
                "cluster {} already has {}; a restore replaces nothing: give another destCollectionName or destDbName",
                destination.id,
                in_the_way.join(", ")
            );
            return Err(EngineError::Conflict { what });
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
