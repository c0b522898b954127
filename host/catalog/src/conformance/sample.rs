//! Values the checks are made of. Numbers in, identifiers out; the same number is always the same identifier.

use longshore_model::{
    BackupId, BackupStatus, BackupType, ClusterId, CreationMethod, JobId, JobStatus, JobType, ProjectId, RegionId,
    Timestamp,
};
use serde_json::{Value, json};

use super::Broken;
use crate::{
    BackupOutcome, BackupRecord, BackupRow, Catalog, JobEnd, JobRow, NewBackup, NewBackupJob, NewCluster, NewJob,
};

/// A lease that no check lets lapse by accident, in milliseconds.
pub(super) const LEASE_MS: i64 = 60_000;

fn malformed(error: &longshore_model::ModelError) -> Broken {
    Broken(format!("the suite itself is wrong: {error}"))
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

pub(super) fn project(number: u8) -> Result<ProjectId, Broken> {
    format!("proj-{number}").parse().map_err(|error| malformed(&error))
}

pub(super) fn region() -> Result<RegionId, Broken> {
    "local".parse().map_err(|error| malformed(&error))
}

pub(super) fn cluster(number: u8) -> ClusterId {
    ClusterId::from_random([number; 8])
}

pub(super) fn backup(number: u16) -> BackupId {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    BackupId::from_random(bytes)
}

pub(super) fn job(number: u16) -> JobId {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    JobId::from_random(bytes)
}

pub(super) fn new_cluster(number: u8) -> Result<NewCluster, Broken> {
    Ok(NewCluster {
        id: cluster(number),
        name: format!("Dedicated-0{number}"),
        project: project(1)?,
        region: region()?,
        source_kind: "milvus-lite".to_owned(),
        location: format!("/data/{number}"),
        cu_size: 1,
        status: "RUNNING".to_owned(),
    })
}

/// Two projects, clusters 1 and 2 in the first, 3 in the second.
pub(super) fn settle(catalog: &dyn Catalog) -> Result<(), Broken> {
    catalog.put_project(&project(1)?, "one", at(0))?;
    catalog.put_project(&project(2)?, "two", at(0))?;
    for number in [1, 2, 3] {
        let mut new = new_cluster(number)?;
        if number == 3 {
            new.project = project(2)?;
        }
        catalog.put_cluster(&new, at(0))?;
    }
    Ok(())
}

pub(super) fn new_backup(number: u16, of: u8, method: CreationMethod) -> (NewBackup, NewBackupJob) {
    let backup = NewBackup {
        id: backup(number),
        cluster: cluster(of),
        backup_type: BackupType::Cluster,
        creation_method: method,
        expires: (method == CreationMethod::Auto).then(|| at(1_000_000)),
        expiring_copies: Vec::new(),
        collections: Value::Null,
        detail: Value::Null,
    };
    (backup, NewBackupJob { id: job(number), request: json!({ "number": number }) })
}

pub(super) fn create(
    catalog: &dyn Catalog,
    number: u16,
    of: u8,
    method: CreationMethod,
    ms: i64,
) -> Result<(BackupRow, JobRow), crate::CatalogError> {
    let (backup, job) = new_backup(number, of, method);
    catalog.create_backup(&backup, &job, at(ms))
}

pub(super) fn outcome() -> BackupOutcome {
    BackupOutcome { size_bytes: 4096, collections: json!([{ "name": "docs" }]), detail: json!({ "root": "abc" }) }
}

pub(super) fn successful(backup: Option<BackupOutcome>) -> JobEnd {
    let result = json!({ "rows": 7 });
    JobEnd { status: JobStatus::Successful, reason: None, result, backup, follow_ups: Vec::new() }
}

pub(super) fn unsuccessful(status: JobStatus) -> JobEnd {
    JobEnd {
        status,
        reason: Some("the disk is full".to_owned()),
        result: Value::Null,
        backup: None,
        follow_ups: Vec::new(),
    }
}

pub(super) fn new_job(number: u16, job_type: JobType, of: u8, uses: u16) -> Result<NewJob, Broken> {
    Ok(NewJob {
        id: job(number),
        job_type,
        project: project(1)?,
        cluster: Some(cluster(of)),
        backup: Some(backup(uses)),
        request: json!({ "number": number }),
    })
}

/// Makes a manual backup that has ended well.
pub(super) fn available(catalog: &dyn Catalog, number: u16, of: u8, ms: i64) -> Result<BackupRow, Broken> {
    made(catalog, number, of, CreationMethod::Manual, ms)
}

/// Makes a backup that has ended well.
pub(super) fn made(
    catalog: &dyn Catalog,
    number: u16,
    of: u8,
    method: CreationMethod,
    ms: i64,
) -> Result<BackupRow, Broken> {
    create(catalog, number, of, method, ms)?;
    let held = catalog.claim(&job(number), "maker", at(ms), LEASE_MS)?;
    catalog.finish_job(&job(number), held.fencing_token, &successful(Some(outcome())), at(ms + 1))?;
    status_of(catalog, number, BackupStatus::Available)
}

/// Makes a backup that has failed.
pub(super) fn failed(catalog: &dyn Catalog, number: u16, of: u8, ms: i64) -> Result<BackupRow, Broken> {
    create(catalog, number, of, CreationMethod::Manual, ms)?;
    let held = catalog.claim(&job(number), "maker", at(ms), LEASE_MS)?;
    catalog.finish_job(&job(number), held.fencing_token, &unsuccessful(JobStatus::Failed), at(ms + 1))?;
    status_of(catalog, number, BackupStatus::Failed)
}

/// The backup, which must be in this state.
pub(super) fn status_of(catalog: &dyn Catalog, number: u16, status: BackupStatus) -> Result<BackupRow, Broken> {
    let backup = super::some("a backup that was made", catalog.get_backup(&backup(number))?)?.backup;
    super::same("state of a backup", backup.status, status)?;
    Ok(backup)
}

/// A record as it is found in a vault.
pub(super) fn found(number: u16, of: u8, name: &str) -> Result<BackupRecord, Broken> {
    let backup = BackupRow {
        id: backup(number),
        name: name.to_owned(),
        project: project(1)?,
        cluster: cluster(of),
        cluster_name: "Elsewhere".to_owned(),
        backup_type: BackupType::Collection,
        creation_method: CreationMethod::Manual,
        status: BackupStatus::Available,
        size_bytes: 99,
        region: region()?,
        created: at(5),
        ended: Some(at(6)),
        expires: None,
        deleted: None,
        purged: None,
        error: None,
    };
    Ok(BackupRecord { backup, collections: json!([]), detail: json!({ "root": "found" }) })
}
