//! What has to be told to whoever watches: queued by name, due again after each failure, kept for a while once it ended.

use longshore_model::{JobId, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::convert::{bounded, cut, json, json_text, plain, time, unsigned};
use super::fail::Fail;
use crate::{CatalogError, DeliveryCounts, DeliveryOutcome, DeliveryRow, JOB_ENDED, Limits, NewDelivery};

/// What still waits; the partial index is written with the same words.
const WAITING: &str = "delivered_ms IS NULL AND abandoned_ms IS NULL";

fn delivery_row(row: &Row<'_>) -> Result<DeliveryRow, Fail> {
    Ok(DeliveryRow {
        sequence: unsigned(row, "seq")?,
        name: plain(row, "name")?,
        kind: plain(row, "kind")?,
        subject: plain(row, "subject")?,
        body: json(row, "body")?,
        created: time(row, "created_ms")?,
        due: time(row, "due_ms")?,
        attempts: unsigned(row, "attempts")?,
        error: plain(row, "error")?,
    })
}

pub(super) fn queue(
    connection: &Connection,
    limits: &Limits,
    delivery: &NewDelivery,
    now: Timestamp,
) -> Result<bool, Fail> {
    let NewDelivery { name, kind, subject, body } = delivery;
    for (what, text) in
        [("the name of a delivery", name), ("the kind of a delivery", kind), ("the subject of a delivery", subject)]
    {
        bounded(what, text, limits.text_bytes)?;
    }
    let added = connection
        .prepare_cached(
            "INSERT INTO deliveries (name, kind, subject, body, created_ms, due_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?5) \
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![name, kind, subject, json_text("the body of a delivery", body, limits)?, now.as_millis()])?;
    Ok(added == 1)
}

/// Queues that a job has ended, in the transaction that ends it: nobody can see the end and not be told of it.
pub(super) fn queue_end(connection: &Connection, limits: &Limits, job: &JobId, now: Timestamp) -> Result<(), Fail> {
    let delivery = NewDelivery {
        name: format!("{JOB_ENDED}:{job}"),
        kind: JOB_ENDED.to_owned(),
        subject: job.to_string(),
        body: Value::Null,
    };
    queue(connection, limits, &delivery, now).map(|_| ())
}

pub(super) fn due(
    connection: &Connection,
    limits: &Limits,
    now: Timestamp,
    most: u32,
) -> Result<Vec<DeliveryRow>, Fail> {
    let sql = format!(
        "SELECT seq, name, kind, subject, body, created_ms, due_ms, attempts, error FROM deliveries \
         WHERE {WAITING} AND due_ms <= ?1 ORDER BY due_ms, seq LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([now.as_millis(), i64::from(most.min(limits.page_items))])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        deliveries.push(delivery_row(row)?);
    }
    Ok(deliveries)
}

pub(super) fn note(
    connection: &Connection,
    limits: &Limits,
    sequence: u64,
    outcome: &DeliveryOutcome,
    now: Timestamp,
) -> Result<(), Fail> {
    let (delivered, abandoned, due, error) = match outcome {
        DeliveryOutcome::Delivered => (Some(now), None, None, None),
        DeliveryOutcome::Again { due, error } => (None, None, Some(*due), Some(error)),
        DeliveryOutcome::Abandoned { error } => (None, Some(now), None, Some(error)),
    };
    let sql = format!(
        "UPDATE deliveries SET attempts = attempts + 1, delivered_ms = ?2, abandoned_ms = ?3, \
         due_ms = coalesce(?4, due_ms), error = ?5 WHERE seq = ?1 AND {WAITING}"
    );
    let changed = connection.prepare_cached(&sql)?.execute(params![
        sequence.cast_signed(),
        delivered.map(Timestamp::as_millis),
        abandoned.map(Timestamp::as_millis),
        due.map(Timestamp::as_millis),
        error.map(|error| cut(error, limits.reason_bytes)),
    ])?;
    if changed == 0 {
        return Err(CatalogError::invalid(format!("delivery {sequence} does not wait")).into());
    }
    let kept_from = now.plus_millis(-limits.ended_deliveries_kept_ms).as_millis();
    connection
        .prepare_cached("DELETE FROM deliveries WHERE coalesce(delivered_ms, abandoned_ms) < ?1")?
        .execute([kept_from])?;
    Ok(())
}

pub(super) fn discard(connection: &Connection) -> Result<u64, Fail> {
    let sql = format!("DELETE FROM deliveries WHERE {WAITING}");
    let discarded = connection.prepare_cached(&sql)?.execute([])?;
    Ok(u64::try_from(discarded).unwrap_or(u64::MAX))
}

pub(super) fn count(connection: &Connection) -> Result<DeliveryCounts, Fail> {
    let counts = connection
        .prepare_cached(
            "SELECT count(*) - count(delivered_ms) - count(abandoned_ms) AS waiting, count(delivered_ms) AS delivered, \
             count(abandoned_ms) AS abandoned FROM deliveries",
        )?
        .query_row([], |row| {
            Ok((row.get::<_, i64>("waiting")?, row.get::<_, i64>("delivered")?, row.get::<_, i64>("abandoned")?))
        })?;
    let (waiting, delivered, abandoned) = counts;
    Ok(DeliveryCounts {
        waiting: waiting.unsigned_abs(),
        delivered: delivered.unsigned_abs(),
        abandoned: abandoned.unsigned_abs(),
    })
}
