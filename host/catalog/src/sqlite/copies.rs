//! Copies in other regions that go before their backup does.

use longshore_model::{BackupId, CreationMethod, RegionId, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::backups;
use super::convert::{parsed, time, time_option};
use super::fail::Fail;
use super::jobs::ACTIVE;
use crate::{CatalogError, CopyRow, Limits, NewBackup};

const COLUMNS: &str = "expiring_copies.backup_id, expiring_copies.region_id, expiring_copies.expires_ms, withdrawn_ms";

fn copy_row(row: &Row<'_>) -> Result<CopyRow, Fail> {
    Ok(CopyRow {
        backup: parsed(row, "backup_id")?,
        region: parsed(row, "region_id")?,
        expires: time(row, "expires_ms")?,
        withdrawn: time_option(row, "withdrawn_ms")?,
    })
}

/// Notes the copies of a new backup.
pub(super) fn insert(connection: &Connection, backup: &NewBackup) -> Result<(), Fail> {
    for (region, expires) in &backup.expiring_copies {
        let earlier = backup.expires.is_some_and(|end| *expires < end);
        if backup.creation_method != CreationMethod::Auto || !earlier {
            let reason = "only a copy of an automatic backup goes by itself, and before its backup";
            return Err(CatalogError::invalid(reason).into());
        }
        connection
            .prepare_cached("INSERT INTO expiring_copies (backup_id, region_id, expires_ms) VALUES (?1, ?2, ?3)")?
            .execute(params![backup.id.as_str(), region.as_str(), expires.as_millis()])?;
    }
    Ok(())
}

pub(super) fn of_backup(connection: &Connection, backup: &BackupId) -> Result<Vec<CopyRow>, Fail> {
    let sql = format!("SELECT {COLUMNS} FROM expiring_copies WHERE backup_id = ?1 ORDER BY region_id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([backup.as_str()])?;
    let mut copies = Vec::new();
    while let Some(row) = rows.next()? {
        copies.push(copy_row(row)?);
    }
    Ok(copies)
}

pub(super) fn expired(
    connection: &Connection,
    limits: &Limits,
    now: Timestamp,
    most: u32,
) -> Result<Vec<CopyRow>, Fail> {
    let sql = format!(
        "SELECT {COLUMNS} FROM expiring_copies JOIN backups ON backups.id = expiring_copies.backup_id \
         WHERE withdrawn_ms IS NULL AND expiring_copies.expires_ms <= ?1 AND backups.status = 'AVAILABLE' \
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.backup_id = expiring_copies.backup_id AND jobs.{ACTIVE}) \
         ORDER BY expiring_copies.expires_ms, expiring_copies.backup_id, expiring_copies.region_id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([now.as_millis(), i64::from(most.min(limits.page_items))])?;
    let mut copies = Vec::new();
    while let Some(row) = rows.next()? {
        copies.push(copy_row(row)?);
    }
    Ok(copies)
}

pub(super) fn mark_withdrawn(
    connection: &Connection,
    limits: &Limits,
    backup: &BackupId,
    region: &RegionId,
    detail: &Value,
    now: Timestamp,
) -> Result<(), Fail> {
    backups::existing(connection, backup)?;
    let changed = connection
        .prepare_cached(
            "UPDATE expiring_copies SET withdrawn_ms = ?3 WHERE backup_id = ?1 AND region_id = ?2 AND withdrawn_ms IS NULL",
        )?
        .execute(params![backup.as_str(), region.as_str(), now.as_millis()])?;
    if changed > 0 {
        backups::merge_detail(connection, limits, backup, detail)?;
    }
    Ok(())
}
