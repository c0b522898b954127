//! Restores: accept them as jobs.
//!
//! What can be known before is an answer and not a failed job: names that are taken, collections that are there already, no
//! server that is free.

use std::collections::BTreeSet;

use longshore_catalog::{BackupRecord, Catalog, ClusterFilter, JobFilter, JobRow, NewCluster, NewJob};
use longshore_model::{BackupId, BackupType, ClusterId, CollectionName, JobId, JobStatus, JobType, RestoredLoadState};
use longshore_source::milvus::KeptAccess;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::catalog_calls::every;
use crate::config::check_cluster_name;
use crate::facts::missing_names_of;
use crate::jobs::{JobRequest, collections_from_value};
use crate::passwords::ADMINISTRATOR;
use crate::random::draw;
use crate::views::{ClusterView, Login, RestoreCluster, RestoreCollections, RestoringCluster};

/// Rows that are read in one go.
const PAGE: u32 = 500;
/// Zilliz Cloud's word for the state of a cluster that is being restored.
const RESTORING: &str = "RESTORE_BACKUP";

/// The restore of a whole cluster that has not ended.
struct UnderWay {
    job: JobRow,
    request: RestoreCluster,
    cluster_id: ClusterId,
    location: String,
}

fn under_way(catalog: &dyn Catalog) -> Result<Vec<UnderWay>, EngineError> {
    let statuses = Some(vec![JobStatus::Pending, JobStatus::InProgress, JobStatus::Canceling]);
    let filter = JobFilter { job_type: Some(JobType::Restore), statuses, ..JobFilter::default() };
    let mut found = Vec::new();
    for job in every(PAGE, |page| catalog.list_jobs(&filter, page))? {
        if let JobRequest::RestoreCluster { request, cluster_id, location, .. } = JobRequest::from_value(&job.request)?
        {
            found.push(UnderWay { job, request, cluster_id, location });
        }
    }
    Ok(found)
}

impl Host {
    /// A cluster that a restore is making, as clients know it from when the restore was accepted on; `None` when none is.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`], [`EngineError::Catalog`].
    pub(super) async fn cluster_under_way(
        &self,
        who: &Principal,
        cluster: &ClusterId,
    ) -> Result<Option<ClusterView>, EngineError> {
        let id = cluster.clone();
        let found = self.catalog("looking for a restore", move |catalog, _| {
            let restore = under_way(catalog)?.into_iter().find(|restore| restore.cluster_id == id);
            let backup = restore.as_ref().and_then(|restore| restore.job.backup.clone());
            let backup = backup.map(|backup| catalog.get_backup(&backup)).transpose()?.flatten();
            Ok(restore.zip(backup))
        });
        let Some((restore, record)) = found.await? else { return Ok(None) };
        who.must_reach(&restore.request.project_id, Some(cluster))?;
        let create_time = restore.job.created;
        Ok(Some(ClusterView {
            cluster_id: restore.cluster_id,
            cluster_name: restore.request.cluster_name,
            project_id: restore.request.project_id,
            region_id: record.backup.region,
            cu_size: restore.request.cu_size,
            status: RESTORING.to_owned(),
            create_percent: self.job_view(restore.job).progress.percent(),
            // Nobody is to use it before it is proven.
            connect_address: String::new(),
            backup_count: 0,
            create_time,
        }))
    }

    /// Accepts the restore of a whole cluster into a new one. A source without users answers none.
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
        let logins = self.logins_of(&record, &request, &kind, &cluster_id).await?;
        let request =
            JobRequest::RestoreCluster { request, cluster_id: cluster_id.clone(), location, cluster_kind: kind };
        let job_id = self.accept(JobType::Restore, cluster, Some(backup), &record.backup.project, request).await?;
        Ok(RestoringCluster { cluster_id, logins, job_id })
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

    /// Names and passwords of the users of a new cluster, its administrator first, then those that were asked for; none for a
    /// kind without users.
    async fn logins_of(
        &self,
        record: &BackupRecord,
        request: &RestoreCluster,
        kind: &str,
        cluster: &ClusterId,
    ) -> Result<Vec<Login>, EngineError> {
        if !self.inner.clusters.has_users(kind) {
            return Ok(Vec::new());
        }
        let mut names = vec![ADMINISTRATOR.to_owned()];
        if request.restore_users {
            let home = Some(&record.backup.region);
            let opened = crate::opened::OpenedBackup::find(&self.inner.vaults, home, &record.backup.id).await?;
            let kept: Option<KeptAccess> = opened.users().and_then(|users| serde_json::from_value(users).ok());
            let users = kept.into_iter().flat_map(|access| access.users).map(|user| user.name);
            // The administrator is made anew, whoever had that name.
            names.extend(users.filter(|name| name != ADMINISTRATOR));
        }
        let passwords = self.inner.passwords().await?;
        let login = |name: String| Login { password: passwords.of_user(cluster, &name), name };
        Ok(names.into_iter().map(login).collect())
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
            // Jobs before clusters: one that ends in between has registered its cluster by then.
            for restore in under_way(catalog)? {
                let other =
                    if restore.request.project_id == project { restore.request.cluster_name.as_str() } else { "" };
                take(other, restore.location)?;
            }
            for row in every(PAGE, |page| catalog.list_clusters(&ClusterFilter::default(), page))? {
                let other = if row.cluster.project == project { row.cluster.name.as_str() } else { "" };
                take(other, row.cluster.location)?;
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
        let hint = "give another destCollectionName or destDbName";
        self.refuse_taken(&destination, request.collections.iter().map(|mapping| &mapping.to), hint).await?;
        let request = JobRequest::RestoreCollections { request };
        self.accept(JobType::Restore, cluster, Some(backup), &record.backup.project, request).await
    }

    /// Refuses names that a cluster has already. Where it cannot be read, or is an empty folder, the job says what is wrong.
    pub(super) async fn refuse_taken(
        &self,
        cluster: &NewCluster,
        names: impl Iterator<Item = &CollectionName>,
        hint: &str,
    ) -> Result<(), EngineError> {
        let there = match self.inner.clusters.source(&cluster.source_kind, &cluster.location) {
            Ok(source) => source.collection_names().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let there: BTreeSet<_> = there.into_iter().collect();
        let taken: Vec<String> = names.filter(|name| there.contains(name)).map(ToString::to_string).take(20).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let what =
            format!("cluster {} already has {}; a restore replaces nothing: {hint}", cluster.id, taken.join(", "));
        Err(EngineError::Conflict { what })
    }

    pub(super) async fn accept(
        &self,
        job_type: JobType,
        cluster: &ClusterId,
        backup: Option<&BackupId>,
        project: &longshore_model::ProjectId,
        request: JobRequest,
    ) -> Result<JobId, EngineError> {
        let id = JobId::from_random(draw(self.inner.random.as_ref())?);
        let job = NewJob {
            id: id.clone(),
            job_type,
            project: project.clone(),
            cluster: Some(cluster.clone()),
            backup: backup.cloned(),
            request: request.to_value()?,
        };
        self.catalog("accepting a job", move |catalog, now| Ok(catalog.create_job(&job, now)?)).await?;
        self.inner.wake.notify_one();
        Ok(id)
    }
}
