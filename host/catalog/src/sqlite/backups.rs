//! Backups: the job rules, states, lists.

use longshore_model::{BackupId, BackupStatus, CreationMethod, JobType, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::convert::{
    Where, bounded, cut, integer, json, json_text, limit_offset, of_project_or_cluster, parsed, plain, time,
    time_option, unsigned,
};
use super::fail::{Fail, is_duplicate};
use super::{clusters, copies, jobs, new_jobs};
use crate::{
    BackupFilter, BackupOutcome, BackupRecord, BackupRow, CatalogError, JobRow, Limits, Listed, NewBackup,
    NewBackupJob, NewJob, Page,
};

const COLUMNS: &str = "id, name, project_id, cluster_id, cluster_name, backup_type, creation_method, status, \
                       size_bytes, region_id, created_ms, ended_ms, expires_ms, deleted_ms, purged_ms, error";

fn backup_row(row: &Row<'_>) -> Result<BackupRow, Fail> {
    Ok(BackupRow {
        id: parsed(row, "id")?,
        name: plain(row, "name")?,
        project: parsed(row, "project_id")?,
        cluster: parsed(row, "cluster_id")?,
        cluster_name: plain(row, "cluster_name")?,
        backup_type: parsed(row, "backup_type")?,
        creation_method: parsed(row, "creation_method")?,
        status: parsed(row, "status")?,
        size_bytes: unsigned(row, "size_bytes")?,
        region: parsed(row, "region_id")?,
        created: time(row, "created_ms")?,
        ended: time_option(row, "ended_ms")?,
        expires: time_option(row, "expires_ms")?,
        deleted: time_option(row, "deleted_ms")?,
        purged: time_option(row, "purged_ms")?,
        error: plain(row, "error")?,
    })
}

pub(super) fn create(
    connection: &Connection,
    limits: &Limits,
    new: &NewBackup,
    job: &NewBackupJob,
    now: Timestamp,
) -> Result<(BackupRow, JobRow), Fail> {
    let cluster = clusters::registered(connection, &new.cluster)?.cluster;
    check_slot(connection, new)?;
    let number = clusters::next_backup_number(connection, &new.cluster)?;
    let backup = BackupRow {
        id: new.id.clone(),
        name: format!("{}_backup{number}", cluster.name),
        project: cluster.project,
        cluster: cluster.id,
        cluster_name: cluster.name,
        backup_type: new.backup_type,
        creation_method: new.creation_method,
        status: BackupStatus::Creating,
        size_bytes: 0,
        region: cluster.region,
        created: now,
        ended: None,
        expires: new.expires,
        deleted: None,
        purged: None,
        error: None,
    };
    let record = BackupRecord { backup, collections: new.collections.clone(), detail: new.detail.clone() };
    insert(connection, limits, &record)?;
    copies::insert(connection, new)?;
    let job = NewJob {
        id: job.id.clone(),
        job_type: JobType::Backup,
        project: record.backup.project.clone(),
        cluster: Some(record.backup.cluster.clone()),
        backup: Some(record.backup.id.clone()),
        request: job.request.clone(),
    };
    let job = new_jobs::insert(connection, limits, &job, Some(new.creation_method), now)?;
    Ok((record.backup, job))
}

/// The job rules: a manual backup waits for every other, an automatic one only for an automatic one.
fn check_slot(connection: &Connection, new: &NewBackup) -> Result<(), Fail> {
    let cluster = &new.cluster;
    if let Some(job) = jobs::active_in_slot(connection, cluster, CreationMethod::Auto)? {
        return Err(CatalogError::AutomaticBackupActive { cluster: cluster.clone(), job }.into());
    }
    if new.creation_method == CreationMethod::Manual
        && let Some(job) = jobs::active_in_slot(connection, cluster, CreationMethod::Manual)?
    {
        return Err(CatalogError::ManualBackupActive { cluster: cluster.clone(), job }.into());
    }
    Ok(())
}

/// Refuses what a backup can never be; the CHECK constraints would only say that something is wrong.
fn check_shape(backup: &BackupRow) -> Result<(), Fail> {
    if backup.creation_method == CreationMethod::Manual && backup.expires.is_some() {
        return Err(CatalogError::invalid("a manual backup never expires; leave the expiry out").into());
    }
    if (backup.status == BackupStatus::Deleted) != backup.deleted.is_some() {
        return Err(CatalogError::invalid("a backup has a time of deletion exactly if it is DELETED").into());
    }
    Ok(())
}

fn insert(connection: &Connection, limits: &Limits, record: &BackupRecord) -> Result<(), Fail> {
    let backup = &record.backup;
    check_shape(backup)?;
    bounded("the name of a backup", &backup.name, limits.text_bytes.saturating_mul(2))?;
    bounded("the cluster name of a backup", &backup.cluster_name, limits.text_bytes)?;
    let inserted = connection
        .prepare_cached(&format!(
            "INSERT INTO backups ({COLUMNS}, collections, detail) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
        ))?
        .execute(params![
            backup.id.as_str(),
            backup.name,
            backup.project.as_str(),
            backup.cluster.as_str(),
            backup.cluster_name,
            backup.backup_type.as_str(),
            backup.creation_method.as_str(),
            backup.status.as_str(),
            integer("the size of a backup", backup.size_bytes)?,
            backup.region.as_str(),
            backup.created.as_millis(),
            backup.ended.map(Timestamp::as_millis),
            backup.expires.map(Timestamp::as_millis),
            backup.deleted.map(Timestamp::as_millis),
            backup.purged.map(Timestamp::as_millis),
            backup.error.as_deref().map(|error| cut(error, limits.reason_bytes)),
            json_text("the collections of a backup", &record.collections, limits)?,
            json_text("the detail of a backup", &record.detail, limits)?,
        ]);
    match inserted {
        Err(error) if is_duplicate(&error) => {
            Err(CatalogError::Exists { what: "backup", id: backup.id.to_string() }.into())
        }
        other => {
            other?;
            Ok(())
        }
    }
}

pub(super) fn record(connection: &Connection, limits: &Limits, record: &BackupRecord) -> Result<bool, Fail> {
    let backup = &record.backup;
    if backup.status == BackupStatus::Creating {
        return Err(CatalogError::invalid("a backup that is still CREATING is made by its job, not recorded").into());
    }
    clusters::existing_project(connection, &backup.project)?;
    if row(connection, &backup.id)?.is_some() {
        return Ok(false);
    }
    insert(connection, limits, record)?;
    // A catalog made anew beside old vaults must not hand out their names again.
    let number = backup.name.rsplit_once("_backup").and_then(|(_, number)| number.parse::<i64>().ok());
    if let Some(number) = number.filter(|number| *number > 0 && *number < i64::MAX) {
        clusters::skip_backup_number(connection, &backup.cluster, number)?;
    }
    Ok(true)
}

fn row(connection: &Connection, id: &BackupId) -> Result<Option<BackupRow>, Fail> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM backups WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(backup_row).transpose()
}

/// The backup, or the error that there is none.
pub(super) fn existing(connection: &Connection, id: &BackupId) -> Result<BackupRow, Fail> {
    Ok(row(connection, id)?.ok_or_else(|| CatalogError::BackupNotFound { backup: id.clone() })?)
}

pub(super) fn get(connection: &Connection, id: &BackupId) -> Result<Option<BackupRecord>, Fail> {
    let sql = format!("SELECT {COLUMNS}, collections, detail FROM backups WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let backup = backup_row(row)?;
    Ok(Some(BackupRecord { backup, collections: json(row, "collections")?, detail: json(row, "detail")? }))
}

fn conditions(filter: &BackupFilter) -> Where {
    let mut conditions = Where::default();
    conditions.within(&filter.scope, of_project_or_cluster);
    conditions.compare("project_id =", filter.project.as_ref().map(|id| id.as_str().to_owned()));
    conditions.compare("cluster_id =", filter.cluster.as_ref().map(|id| id.as_str().to_owned()));
    conditions.compare("creation_method =", filter.creation_method.map(|method| method.as_str().to_owned()));
    conditions.compare("backup_type =", filter.backup_type.map(|kind| kind.as_str().to_owned()));
    conditions.compare("created_ms >=", filter.start.map(Timestamp::as_millis));
    conditions.compare("created_ms <=", filter.end.map(Timestamp::as_millis));
    conditions.compare("expires_ms <=", filter.expired_at.map(Timestamp::as_millis));
    let listed = [BackupStatus::Creating, BackupStatus::Available];
    let statuses = filter.statuses.as_deref().unwrap_or(&listed);
    conditions.one_of("status", statuses.iter().map(|status| status.as_str()));
    if filter.not_purged {
        conditions.always("purged_ms IS NULL");
    }
    if let Some(time) = filter.dropped_at {
        conditions.dropped_at(time.as_millis());
    }
    conditions
}

pub(super) fn list(
    connection: &Connection,
    limits: &Limits,
    filter: &BackupFilter,
    page: Page,
) -> Result<Listed<BackupRow>, Fail> {
    list_with(connection, limits, filter, page, COLUMNS, backup_row)
}

pub(super) fn list_details(
    connection: &Connection,
    limits: &Limits,
    filter: &BackupFilter,
    page: Page,
) -> Result<Listed<(BackupRow, Value)>, Fail> {
    let columns = format!("{COLUMNS}, detail");
    list_with(connection, limits, filter, page, &columns, |row| Ok((backup_row(row)?, json(row, "detail")?)))
}

fn list_with<T>(
    connection: &Connection,
    limits: &Limits,
    filter: &BackupFilter,
    page: Page,
    columns: &str,
    read: impl Fn(&Row<'_>) -> Result<T, Fail>,
) -> Result<Listed<T>, Fail> {
    let (limit, offset) = limit_offset(page, limits)?;
    let conditions = conditions(filter);
    let clause = conditions.clause();
    let parameters = || rusqlite::params_from_iter(conditions.parameters());
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM backups{clause}"))?
        .query_row(parameters(), |row| row.get(0))?;
    let sql = format!(
        "SELECT {columns} FROM backups{clause} ORDER BY created_ms DESC, id DESC LIMIT {limit} OFFSET {offset}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters())?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read(row)?);
    }
    Ok(Listed { count: count.unsigned_abs(), items })
}

pub(super) fn rename(connection: &Connection, limits: &Limits, id: &BackupId, name: &str) -> Result<BackupRow, Fail> {
    if existing(connection, id)?.status == BackupStatus::Deleted {
        return Err(CatalogError::BackupAlreadyDeleted { backup: id.clone() }.into());
    }
    bounded("the name of a backup", name, limits.text_bytes)?;
    connection.prepare_cached("UPDATE backups SET name = ?2 WHERE id = ?1")?.execute(params![id.as_str(), name])?;
    existing(connection, id)
}

pub(super) fn mark_deleted(connection: &Connection, id: &BackupId, now: Timestamp) -> Result<BackupRow, Fail> {
    let backup = existing(connection, id)?;
    if backup.status == BackupStatus::Deleted {
        return Err(CatalogError::BackupAlreadyDeleted { backup: id.clone() }.into());
    }
    // Also covers CREATING: its own job is active.
    if let Some(job) = jobs::active_on_backup(connection, id)? {
        return Err(CatalogError::BackupBusy { backup: id.clone(), job }.into());
    }
    if backup.status == BackupStatus::Creating {
        return Err(Fail::Row(format!("backup {id} is CREATING but no job makes it")));
    }
    connection
        .prepare_cached("UPDATE backups SET status = 'DELETED', deleted_ms = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), now.as_millis()])?;
    existing(connection, id)
}

pub(super) fn mark_purged(connection: &Connection, id: &BackupId, now: Timestamp) -> Result<(), Fail> {
    let backup = existing(connection, id)?;
    if backup.status != BackupStatus::Deleted {
        return Err(CatalogError::invalid(format!("backup {id} is {}, not DELETED", backup.status)).into());
    }
    connection
        .prepare_cached("UPDATE backups SET purged_ms = coalesce(purged_ms, ?2) WHERE id = ?1")?
        .execute(params![id.as_str(), now.as_millis()])?;
    Ok(())
}

/// Makes the backup of a job that ended well AVAILABLE.
pub(super) fn complete(
    connection: &Connection,
    limits: &Limits,
    id: &BackupId,
    outcome: &BackupOutcome,
    now: Timestamp,
) -> Result<(), Fail> {
    let changed = connection
        .prepare_cached(
            "UPDATE backups SET status = 'AVAILABLE', size_bytes = ?2, collections = ?3, detail = ?4, ended_ms = ?5 \
             WHERE id = ?1 AND status = 'CREATING'",
        )?
        .execute(params![
            id.as_str(),
            integer("the size of a backup", outcome.size_bytes)?,
            json_text("the collections of a backup", &outcome.collections, limits)?,
            json_text("the detail of a backup", &outcome.detail, limits)?,
            now.as_millis(),
        ])?;
    expect_creating(id, changed)
}

/// Replaces what a backup holds, after an erasure.
pub(super) fn replace_content(
    connection: &Connection,
    limits: &Limits,
    id: &BackupId,
    content: &BackupOutcome,
) -> Result<(), Fail> {
    usable(connection, id)?;
    connection
        .prepare_cached("UPDATE backups SET size_bytes = ?2, collections = ?3, detail = ?4 WHERE id = ?1")?
        .execute(params![
            id.as_str(),
            integer("the size of a backup", content.size_bytes)?,
            json_text("the collections of a backup", &content.collections, limits)?,
            json_text("the detail of a backup", &content.detail, limits)?,
        ])?;
    Ok(())
}

/// Makes the backup of a job that did not end well FAILED.
pub(super) fn fail(
    connection: &Connection,
    limits: &Limits,
    id: &BackupId,
    error: &str,
    now: Timestamp,
) -> Result<(), Fail> {
    let changed = connection
        .prepare_cached(
            "UPDATE backups SET status = 'FAILED', error = ?2, ended_ms = ?3 WHERE id = ?1 AND status = 'CREATING'",
        )?
        .execute(params![id.as_str(), cut(error, limits.reason_bytes), now.as_millis()])?;
    expect_creating(id, changed)
}

fn expect_creating(id: &BackupId, changed: usize) -> Result<(), Fail> {
    if changed == 1 {
        Ok(())
    } else {
        Err(Fail::Row(format!("backup {id} is not CREATING although its job is active")))
    }
}

/// Merges what a copy or check found out into the detail of a backup. Inside the transaction that ends the job, so two
/// jobs that end at the same time both leave their mark.
pub(super) fn merge_detail(connection: &Connection, limits: &Limits, id: &BackupId, patch: &Value) -> Result<(), Fail> {
    let mut record = get(connection, id)?.ok_or_else(|| CatalogError::BackupNotFound { backup: id.clone() })?;
    merge(&mut record.detail, patch);
    connection
        .prepare_cached("UPDATE backups SET detail = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), json_text("the detail of a backup", &record.detail, limits)?])?;
    Ok(())
}

/// RFC 7396. Depth is bounded by the JSON parser that made both values.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// The backup if jobs can use it.
pub(super) fn usable(connection: &Connection, id: &BackupId) -> Result<(), Fail> {
    let backup = existing(connection, id)?;
    if backup.status == BackupStatus::Available {
        return Ok(());
    }
    Err(CatalogError::BackupNotAvailable { backup: id.clone(), status: backup.status }.into())
}
