//! Who works on a job: claims, leases, fencing tokens.
//!
//! What must stay true: a token is given out once, and only a claim changes it; so of all workers that ever held a job,
//! exactly the one of the newest claim can write to it, however late the others wake up.

use longshore_model::{JobId, JobStatus, JobType, Timestamp};
use rusqlite::{Connection, params};

use super::convert::{bounded, parsed};
use super::fail::Fail;
use super::jobs::{self, ACTIVE};
use crate::{CatalogError, JobRow, Limits};

fn lease_end(limits: &Limits, now: Timestamp, lease_ms: i64) -> Result<i64, Fail> {
    if lease_ms < 1 || lease_ms > limits.lease_ms {
        let reason = format!("a lease of {lease_ms} ms; leases last 1 to {} ms", limits.lease_ms);
        return Err(CatalogError::invalid(reason).into());
    }
    Ok(now.plus_millis(lease_ms).as_millis())
}

pub(super) fn claim_next(
    connection: &Connection,
    limits: &Limits,
    owner: &str,
    only: Option<JobType>,
    now: Timestamp,
    lease_ms: i64,
) -> Result<Option<JobRow>, Fail> {
    let until = lease_end(limits, now, lease_ms)?;
    // A PENDING job has no lease, and one that was put back waits; the ACTIVE condition lets SQLite use the index that holds no ended job.
    // Restores go first: somebody waits for them. A job that has been passed over for long enough is as urgent.
    let sql = format!(
        "SELECT id FROM jobs WHERE {ACTIVE} AND (status = 'PENDING' OR lease_until_ms <= ?1) \
         AND (not_before_ms IS NULL OR not_before_ms <= ?1) AND (?3 IS NULL OR job_type = ?3) \
         ORDER BY job_type <> 'RESTORE' AND created_ms > ?2, created_ms, seq LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let urgent_from = now.plus_millis(-limits.passed_over_ms).as_millis();
    let mut rows = statement.query(params![now.as_millis(), urgent_from, only.map(JobType::as_str)])?;
    let Some(id) = rows.next()?.map(|row| parsed::<JobId>(row, "id")).transpose()? else { return Ok(None) };
    take(connection, limits, &id, owner, now, until).map(Some)
}

pub(super) fn claim(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    owner: &str,
    now: Timestamp,
    lease_ms: i64,
) -> Result<JobRow, Fail> {
    let until = lease_end(limits, now, lease_ms)?;
    let job = jobs::active(connection, id)?;
    if let (Some(owner), Some(until)) = (job.lease_owner, job.lease_until)
        && until > now
    {
        return Err(CatalogError::JobLeased { job: id.clone(), owner, until }.into());
    }
    take(connection, limits, id, owner, now, until)
}

fn take(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    owner: &str,
    now: Timestamp,
    until_ms: i64,
) -> Result<JobRow, Fail> {
    bounded("the owner of a lease", owner, limits.text_bytes)?;
    connection
        .prepare_cached(
            "UPDATE jobs SET status = CASE status WHEN 'PENDING' THEN 'IN_PROGRESS' ELSE status END, \
             fencing_token = fencing_token + 1, attempt = attempt + 1, lease_owner = ?2, lease_until_ms = ?3, \
             not_before_ms = NULL, started_ms = coalesce(started_ms, ?4) WHERE id = ?1",
        )?
        .execute(params![id.as_str(), owner, until_ms, now.as_millis()])?;
    jobs::existing(connection, id)
}

pub(super) fn renew(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    token: u64,
    now: Timestamp,
    lease_ms: i64,
) -> Result<JobStatus, Fail> {
    let until = lease_end(limits, now, lease_ms)?;
    let job = jobs::held(connection, id, token)?;
    connection
        .prepare_cached("UPDATE jobs SET lease_until_ms = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), until])?;
    Ok(job.status)
}

pub(super) fn release(connection: &Connection, owner: &str) -> Result<u64, Fail> {
    let sql = format!("UPDATE jobs SET lease_until_ms = 0 WHERE {ACTIVE} AND lease_owner = ?1");
    let released = connection.prepare_cached(&sql)?.execute([owner])?;
    Ok(u64::try_from(released).unwrap_or(u64::MAX))
}
