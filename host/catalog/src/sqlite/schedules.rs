//! Schedules: when clusters are backed up automatically.
//!
//! What must stay true: a scheduled backup is accepted in the transaction that moves its schedule on, and only under the
//! revision its caller decided by. So a run is neither lost nor made twice, wherever a host dies.

use longshore_model::{ClusterId, CreationMethod, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::convert::{json, json_text, limit_offset, parsed, time, time_option, unsigned};
use super::fail::Fail;
use super::jobs::ACTIVE;
use super::{backups, clusters};
use crate::{BackupRow, CatalogError, JobRow, Limits, Listed, NewBackup, NewBackupJob, NewSchedule, Page, ScheduleRow};

const COLUMNS: &str = "cluster_id, schedule, due_ms, changed_ms, revision";

fn schedule_row(row: &Row<'_>) -> Result<ScheduleRow, Fail> {
    Ok(ScheduleRow {
        cluster: parsed(row, "cluster_id")?,
        schedule: json(row, "schedule")?,
        due: time_option(row, "due_ms")?,
        changed: time(row, "changed_ms")?,
        revision: unsigned(row, "revision")?,
    })
}

pub(super) fn get(connection: &Connection, cluster: &ClusterId) -> Result<Option<ScheduleRow>, Fail> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM schedules WHERE cluster_id = ?1"))?;
    let mut rows = statement.query([cluster.as_str()])?;
    rows.next()?.map(schedule_row).transpose()
}

pub(super) fn list(connection: &Connection, limits: &Limits, page: Page) -> Result<Listed<ScheduleRow>, Fail> {
    let (limit, offset) = limit_offset(page, limits)?;
    // A schedule that was reset when its cluster was dropped is none.
    let condition = "schedule <> 'null'";
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM schedules WHERE {condition}"))?
        .query_row([], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM schedules WHERE {condition} ORDER BY cluster_id LIMIT ?1 OFFSET ?2"
    ))?;
    let mut rows = statement.query([limit, offset])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(schedule_row(row)?);
    }
    Ok(Listed { count: count.unsigned_abs(), items })
}

pub(super) fn due(
    connection: &Connection,
    limits: &Limits,
    now: Timestamp,
    most: u32,
) -> Result<Vec<ScheduleRow>, Fail> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM schedules WHERE due_ms IS NOT NULL AND due_ms <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs \
         WHERE jobs.cluster_id = schedules.cluster_id AND slot = 'AUTO' AND {ACTIVE}) \
         ORDER BY due_ms, schedules.cluster_id LIMIT ?2"
    ))?;
    let mut rows = statement.query([now.as_millis(), i64::from(most.min(limits.page_items))])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push(schedule_row(row)?);
    }
    Ok(due)
}

pub(super) fn swap(
    connection: &Connection,
    limits: &Limits,
    new: &NewSchedule,
    expected: Option<u64>,
    now: Timestamp,
) -> Result<Option<ScheduleRow>, Fail> {
    clusters::registered(connection, &new.cluster)?;
    if get(connection, &new.cluster)?.map(|row| row.revision) != expected {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO schedules (cluster_id, schedule, due_ms, changed_ms, revision) VALUES (?1, ?2, ?3, ?4, 1) \
             ON CONFLICT (cluster_id) DO UPDATE SET schedule = excluded.schedule, due_ms = excluded.due_ms, \
             changed_ms = excluded.changed_ms, revision = revision + 1",
        )?
        .execute(params![
            new.cluster.as_str(),
            json_text("a schedule", &new.schedule, limits)?,
            new.due.map(Timestamp::as_millis),
            now.as_millis(),
        ])?;
    get(connection, &new.cluster)
}

pub(super) fn start(
    connection: &Connection,
    limits: &Limits,
    revision: u64,
    next: Timestamp,
    backup: &NewBackup,
    job: &NewBackupJob,
    now: Timestamp,
) -> Result<Option<(BackupRow, JobRow)>, Fail> {
    if backup.creation_method != CreationMethod::Auto {
        return Err(CatalogError::invalid("a schedule makes automatic backups only").into());
    }
    if next <= now {
        return Err(CatalogError::invalid(format!("the run after {now} cannot be at {next}")).into());
    }
    clusters::registered(connection, &backup.cluster)?;
    let row = get(connection, &backup.cluster)?;
    if row.is_none_or(|row| row.revision != revision || row.due.is_none_or(|due| due > now)) {
        return Ok(None);
    }
    let made = backups::create(connection, limits, backup, job, now)?;
    connection
        .prepare_cached("UPDATE schedules SET due_ms = ?2, revision = revision + 1 WHERE cluster_id = ?1")?
        .execute(params![backup.cluster.as_str(), next.as_millis()])?;
    Ok(Some(made))
}

/// Takes the schedule of a cluster that is dropped away. The row stays for its revision: one that is made when the
/// cluster is registered again must not be taken for the old one.
pub(super) fn reset(connection: &Connection, cluster: &ClusterId, now: Timestamp) -> Result<(), Fail> {
    connection
        .prepare_cached(
            "UPDATE schedules SET schedule = ?2, due_ms = NULL, changed_ms = ?3, revision = revision + 1 \
             WHERE cluster_id = ?1",
        )?
        .execute(params![cluster.as_str(), Value::Null.to_string(), now.as_millis()])?;
    Ok(())
}
