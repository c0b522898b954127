//! API keys, audit log, settings.

use longshore_model::{Digest, KeyScope, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::convert::{Where, bounded, cut, json, json_text, limit_offset, plain, time, time_option, unsigned};
use super::fail::{Fail, is_duplicate};
use crate::{ApiKeyRow, AuditEntry, AuditRow, CatalogError, Limits, Listed, NewApiKey, Page};

const KEY_COLUMNS: &str = "id, name, role, scope, created_ms, expires_ms, revoked_ms";

fn key_row(row: &Row<'_>) -> Result<ApiKeyRow, Fail> {
    Ok(ApiKeyRow {
        id: plain(row, "id")?,
        name: plain(row, "name")?,
        role: plain(row, "role")?,
        scope: json(row, "scope")?,
        created: time(row, "created_ms")?,
        expires: time_option(row, "expires_ms")?,
        revoked: time_option(row, "revoked_ms")?,
    })
}

pub(super) fn add(
    connection: &Connection,
    limits: &Limits,
    key: &NewApiKey,
    now: Timestamp,
) -> Result<ApiKeyRow, Fail> {
    for (what, text) in
        [("the id of a key", &key.id), ("the name of a key", &key.name), ("the role of a key", &key.role)]
    {
        bounded(what, text, limits.text_bytes)?;
    }
    let inserted = connection
        .prepare_cached(
            "INSERT INTO api_keys (id, name, hash, role, scope, created_ms, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            key.id,
            key.name,
            key.hash.to_string(),
            key.role,
            json_text("the scope of a key", &key.scope, limits)?,
            now.as_millis(),
            key.expires.map(Timestamp::as_millis),
        ]);
    match inserted {
        Err(error) if is_duplicate(&error) => Err(CatalogError::Exists { what: "API key", id: key.id.clone() }.into()),
        other => {
            other?;
            existing(connection, &key.id)
        }
    }
}

fn existing(connection: &Connection, id: &str) -> Result<ApiKeyRow, Fail> {
    let mut statement = connection.prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_keys WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    match rows.next()? {
        Some(row) => key_row(row),
        None => Err(CatalogError::KeyNotFound { key: cut(id, 80).to_owned() }.into()),
    }
}

pub(super) fn find(connection: &Connection, hash: &Digest, now: Timestamp) -> Result<Option<ApiKeyRow>, Fail> {
    let sql = format!(
        "SELECT {KEY_COLUMNS} FROM api_keys WHERE hash = ?1 AND revoked_ms IS NULL \
         AND (expires_ms IS NULL OR expires_ms > ?2)"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![hash.to_string(), now.as_millis()])?;
    rows.next()?.map(key_row).transpose()
}

pub(super) fn list(connection: &Connection) -> Result<Vec<ApiKeyRow>, Fail> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_keys ORDER BY created_ms, id"))?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(key_row(row)?);
    }
    Ok(keys)
}

pub(super) fn revoke(connection: &Connection, id: &str, now: Timestamp) -> Result<ApiKeyRow, Fail> {
    connection
        .prepare_cached("UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1")?
        .execute(params![id, now.as_millis()])?;
    existing(connection, id)
}

pub(super) fn append_audit(connection: &Connection, limits: &Limits, entry: &AuditEntry) -> Result<u64, Fail> {
    // Cut, not refused: an action must never go unrecorded because somebody used a long name.
    let text = |text: &str| cut(text, limits.text_bytes).to_owned();
    let sequence: i64 = connection
        .prepare_cached(
            "INSERT INTO audit (time_ms, actor, action, subject, outcome) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING seq",
        )?
        .query_row(
            params![
                entry.time.as_millis(),
                text(&entry.actor),
                text(&entry.action),
                text(&entry.subject),
                text(&entry.outcome)
            ],
            |row| row.get(0),
        )?;
    Ok(sequence.unsigned_abs())
}

pub(super) fn list_audit(
    connection: &Connection,
    limits: &Limits,
    scope: &KeyScope,
    page: Page,
) -> Result<Listed<AuditRow>, Fail> {
    let (limit, offset) = limit_offset(page, limits)?;
    let mut conditions = Where::default();
    conditions.within(scope, |projects, clusters| {
        let within = format!("project_id IN ({projects}) OR cluster_id IN ({clusters})");
        format!(
            "subject IN ({projects}) \
             OR subject IN (SELECT id FROM clusters WHERE project_id IN ({projects}) OR id IN ({clusters})) \
             OR subject IN (SELECT id FROM backups WHERE {within}) OR subject IN (SELECT id FROM jobs WHERE {within})"
        )
    });
    let clause = conditions.clause();
    let parameters = || rusqlite::params_from_iter(conditions.parameters());
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM audit{clause}"))?
        .query_row(parameters(), |row| row.get(0))?;
    let sql = format!(
        "SELECT seq, time_ms, actor, action, subject, outcome FROM audit{clause} ORDER BY seq DESC \
         LIMIT {limit} OFFSET {offset}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters())?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = AuditEntry {
            time: time(row, "time_ms")?,
            actor: plain(row, "actor")?,
            action: plain(row, "action")?,
            subject: plain(row, "subject")?,
            outcome: plain(row, "outcome")?,
        };
        items.push(AuditRow { sequence: unsigned(row, "seq")?, entry });
    }
    Ok(Listed { count: count.unsigned_abs(), items })
}

pub(super) fn setting(connection: &Connection, key: &str) -> Result<Option<Value>, Fail> {
    let mut statement = connection.prepare_cached("SELECT value FROM settings WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(|row| json(row, "value")).transpose()
}

pub(super) fn put_setting(connection: &Connection, limits: &Limits, key: &str, value: &Value) -> Result<(), Fail> {
    bounded("the key of a setting", key, limits.text_bytes)?;
    connection
        .prepare_cached(
            "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, json_text("a setting", value, limits)?])?;
    Ok(())
}

/// Both steps are in one writing transaction, so nobody comes between them.
pub(super) fn swap_setting(
    connection: &Connection,
    limits: &Limits,
    key: &str,
    expected: Option<&Value>,
    value: &Value,
) -> Result<bool, Fail> {
    if setting(connection, key)?.as_ref() != expected {
        return Ok(false);
    }
    put_setting(connection, limits, key, value)?;
    Ok(true)
}
