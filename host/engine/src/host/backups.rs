//! Backups: create, list, describe, delete.

use longshore_catalog::{BackupRecord, BackupRow, NewBackup, NewBackupJob};
use longshore_model::{BackupId, BackupStatus, BackupType, ClusterId, CreationMethod, JobId, Timestamp};
use longshore_vault::Withdrawal;
use serde_json::Value;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::facts::missing_names_of;
use crate::jobs::{BackupDetail, JobRequest, collections_from_value};
use crate::random::draw;
use crate::views::{BackupFilter, BackupView, CreateBackup, CreatedBackup, Page, PageRequest};

impl Host {
    /// Accepts a backup: its row and its job in one transaction under the job rules. Names of collections are checked
    /// at once, so that a typing mistake is an answer and not a failed job.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`] for the cluster, [`EngineError::UnknownCollections`],
    /// [`EngineError::BadRequest`], [`EngineError::Source`] when the cluster cannot be read, and
    /// [`EngineError::Catalog`] when another backup is in the way.
    pub async fn create_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        request: CreateBackup,
    ) -> Result<CreatedBackup, EngineError> {
        let outcome = self.create_backup_now(who, cluster, request).await;
        self.audit(who, "backup.create", cluster.as_str(), &outcome).await;
        outcome
    }

    async fn create_backup_now(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        request: CreateBackup,
    ) -> Result<CreatedBackup, EngineError> {
        require_manage(who, "create a backup")?;
        let row = self.cluster(who, cluster).await?;
        self.check_request(&request, &row.cluster.region)?;
        let source = self.inner.clusters.source(&row.cluster.source_kind, &row.cluster.location)?;
        let there = source.collection_names().await?;
        let missing = missing_names_of(&request.collections, &there);
        if !missing.is_empty() {
            let available = there.iter().map(ToString::to_string).take(20).collect();
            return Err(EngineError::UnknownCollections { names: missing, available });
        }
        let random = self.inner.random.as_ref();
        let backup_id = BackupId::from_random(draw(random)?);
        let job_id = JobId::from_random(draw(random)?);
        let seed = u64::from_le_bytes(draw(random)?);
        let backup = NewBackup {
            id: backup_id.clone(),
            cluster: cluster.clone(),
            backup_type: request.backup_type,
            creation_method: CreationMethod::Manual,
            expires: None,
            expiring_copies: Vec::new(),
            collections: Value::Null,
            detail: Value::Null,
        };
        let time = self.inner.clock.now();
        let job = NewBackupJob { id: job_id.clone(), request: JobRequest::Backup { request, time, seed }.to_value()? };
        let (backup, _) = self
            // The run's own time, so that catalog and manifest say the same.
            .catalog("accepting a backup", move |catalog, _| Ok(catalog.create_backup(&backup, &job, time)?))
            .await?;
        self.inner.wake.notify_one();
        Ok(CreatedBackup { backup_id, backup_name: backup.name, job_id })
    }

    fn check_request(&self, request: &CreateBackup, home: &longshore_model::RegionId) -> Result<(), EngineError> {
        let bad = |what: &str| Err(EngineError::BadRequest { what: what.to_owned() });
        match request.backup_type {
            BackupType::Collection if request.collections.is_empty() => {
                return bad(
                    "a COLLECTION backup names its collections in dbCollections; name at least one, or ask for CLUSTER",
                );
            }
            BackupType::Cluster if !request.collections.is_empty() => {
                return bad("a CLUSTER backup takes no dbCollections; leave them out, or ask for COLLECTION");
            }
            BackupType::Cluster | BackupType::Collection => {}
        }
        self.inner.config().check_copies(&request.copies, home)
    }

    /// Backups that are being made or can be restored and that the key is for, newest first.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`] for a filter by what the key is not for, and when the page is out of bounds or the
    /// catalog cannot be read.
    pub async fn list_backups(
        &self,
        who: &Principal,
        filter: BackupFilter,
        page: PageRequest,
    ) -> Result<Page<BackupView>, EngineError> {
        self.check_filter(who, filter.project_id.as_ref(), filter.cluster_id.as_ref()).await?;
        let filter = longshore_catalog::BackupFilter {
            scope: who.scope.clone(),
            project: filter.project_id,
            cluster: filter.cluster_id,
            creation_method: filter.creation_method,
            backup_type: filter.backup_type,
            start: filter.start,
            end: filter.end,
            ..Default::default()
        };
        let page = super::page(page);
        let listed =
            self.catalog("listing backups", move |catalog, _| Ok(catalog.list_backups(&filter, page)?)).await?;
        let items = listed.items.into_iter().map(|row| view(row, &Value::Null, &Value::Null)).collect();
        Ok(Page { count: listed.count, items })
    }

    /// One backup of a cluster.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], also when the backup belongs to another cluster; [`EngineError::OutOfScope`].
    pub async fn describe_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
    ) -> Result<BackupView, EngineError> {
        let mut record = self.backup(who, cluster, backup).await?;
        record.backup.expires = self.expires_with_its_cluster(&record.backup).await?;
        let (id, expires) = (backup.clone(), record.backup.expires);
        let copies = self.catalog("reading copies", move |catalog, _| super::copies::of(catalog, &id, expires)).await?;
        Ok(BackupView { copies, ..view(record.backup, &record.collections, &record.detail) })
    }

    /// When a backup goes: at its own time, or with its cluster that was dropped, whichever comes first.
    async fn expires_with_its_cluster(&self, row: &BackupRow) -> Result<Option<Timestamp>, EngineError> {
        if row.creation_method == CreationMethod::Manual {
            return Ok(None);
        }
        let (id, own) = (row.cluster.clone(), row.expires);
        let cluster = self.catalog("reading a cluster", move |catalog, _| Ok(catalog.get_cluster(&id)?)).await?;
        let grace_ms = super::expiry::grace_ms(self.inner.config().dropped_cluster_grace_days);
        let dropped = cluster.and_then(|cluster| cluster.dropped).map(|time| time.plus_millis(grace_ms));
        Ok(own.into_iter().chain(dropped).min())
    }

    /// The record of a backup of this cluster, if the key is for it.
    pub(crate) async fn backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
    ) -> Result<BackupRecord, EngineError> {
        let id = backup.clone();
        let record = self.catalog("reading a backup", move |catalog, _| Ok(catalog.get_backup(&id)?)).await?;
        let record = record
            .filter(|record| record.backup.cluster == *cluster)
            .ok_or_else(|| EngineError::NotFound { what: "backup", id: backup.to_string() })?;
        who.must_reach(&record.backup.project, Some(cluster))?;
        Ok(record)
    }

    /// Deletes a backup: it is marked first, then its manifests go from the vaults. Bytes that no other backup uses go
    /// with the next prune. Answers what was deleted.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::Catalog`] while a job uses it, and
    /// [`EngineError::Vault`]; in the last case it is gone for every reader and the rest is removed at a later delete.
    pub async fn delete_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
    ) -> Result<BackupView, EngineError> {
        let outcome = self.delete_backup_now(who, cluster, backup).await;
        self.audit(who, "backup.delete", backup.as_str(), &outcome).await;
        outcome
    }

    async fn delete_backup_now(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
    ) -> Result<BackupView, EngineError> {
        require_manage(who, "delete a backup")?;
        let record = self.backup(who, cluster, backup).await?;
        self.delete_record(record, &who.name).await
    }

    /// The one way in which a host deletes a backup, whoever wants it.
    pub(crate) async fn delete_record(&self, record: BackupRecord, by: &str) -> Result<BackupView, EngineError> {
        let backup = &record.backup.id.clone();
        // A delete that stopped between the mark and the vaults is finished by asking again.
        let half_deleted = record.backup.status == BackupStatus::Deleted && record.backup.purged.is_none();
        if !half_deleted {
            let id = backup.clone();
            self.catalog("marking a backup", move |catalog, now| Ok(catalog.mark_backup_deleted(&id, now)?)).await?;
        }
        let withdrawal = Withdrawal { time: self.inner.clock.now(), by: by.to_owned(), job_id: None };
        self.inner.vaults.delete_backup(&record.backup.region, backup, &withdrawal).await?;
        let id = backup.clone();
        self.catalog("noting a deletion", move |catalog, now| Ok(catalog.mark_backup_purged(&id, now)?)).await?;
        let mut view = view(record.backup, &record.collections, &record.detail);
        view.status = BackupStatus::Deleted;
        Ok(view)
    }

    /// What every policy was asked about a backup, what it answered and why: the decision records and one row per
    /// decision, as JSON. Read from the vault, so it also says what a deleted catalog once knew.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Conflict`] while the backup is being made, [`EngineError::Vault`].
    pub async fn decisions(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
    ) -> Result<Value, EngineError> {
        let record = self.backup(who, cluster, backup).await?;
        if record.backup.status != BackupStatus::Available {
            let what =
                format!("backup {backup} is {}; decisions can be read once it is AVAILABLE", record.backup.status);
            return Err(EngineError::Conflict { what });
        }
        let vaults = &self.inner.vaults;
        let opened = crate::opened::OpenedBackup::find(vaults, Some(&record.backup.region), backup).await?;
        Ok(opened.decisions())
    }
}

fn view(row: BackupRow, collections: &Value, detail: &Value) -> BackupView {
    let detail = BackupDetail::from_value(detail);
    BackupView {
        backup_id: row.id,
        backup_name: row.name,
        backup_type: row.backup_type,
        creation_method: row.creation_method,
        status: row.status,
        size_bytes: row.size_bytes,
        stored_bytes: detail.stored_bytes,
        project_id: row.project,
        cluster_id: row.cluster,
        cluster_name: row.cluster_name,
        region_id: row.region,
        create_time: row.created,
        expire_time: row.expires,
        collections: collections_from_value(collections),
        regions: detail.all_regions(),
        excluded: detail.excluded,
        copies: Vec::new(),
    }
}
