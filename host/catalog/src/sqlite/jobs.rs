//! Jobs: states, progress, end.

use longshore_model::{BackupId, ClusterId, CreationMethod, JobId, JobStatus, JobType, Phase, Progress, Timestamp};
use rusqlite::{Connection, Params, Row, params};
use serde_json::Value;

use super::convert::{
    Where, cut, integer, json, json_text, limit_offset, of_project_or_cluster, parsed, parsed_option, plain, time,
    time_option, unsigned,
};
use super::fail::Fail;
use super::{backups, deliveries, new_jobs};
use crate::{CatalogError, JobEnd, JobFilter, JobRow, Limits, Listed, Page};

const COLUMNS: &str = "id, job_type, status, project_id, cluster_id, backup_id, request, progress, result, reason, \
                       created_ms, started_ms, ended_ms, fencing_token, lease_owner, lease_until_ms, attempt, \
                       retries, not_before_ms";

/// What `JobStatus::is_terminal` denies, for SQL; the partial indexes are written with the same words.
pub(super) const ACTIVE: &str = "status IN ('PENDING', 'IN_PROGRESS', 'CANCELING')";

fn job_row(row: &Row<'_>) -> Result<JobRow, Fail> {
    Ok(JobRow {
        id: parsed(row, "id")?,
        job_type: parsed(row, "job_type")?,
        status: parsed(row, "status")?,
        project: parsed(row, "project_id")?,
        cluster: parsed_option(row, "cluster_id")?,
        backup: parsed_option(row, "backup_id")?,
        request: json(row, "request")?,
        progress: json(row, "progress")?,
        result: json(row, "result")?,
        reason: plain(row, "reason")?,
        created: time(row, "created_ms")?,
        started: time_option(row, "started_ms")?,
        ended: time_option(row, "ended_ms")?,
        fencing_token: unsigned(row, "fencing_token")?,
        lease_owner: plain(row, "lease_owner")?,
        lease_until: time_option(row, "lease_until_ms")?,
        attempt: unsigned(row, "attempt")?,
        retries: unsigned(row, "retries")?,
        not_before: time_option(row, "not_before_ms")?,
    })
}

pub(super) fn get(connection: &Connection, id: &JobId) -> Result<Option<JobRow>, Fail> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(job_row).transpose()
}

/// The job, or the error that there is none.
pub(super) fn existing(connection: &Connection, id: &JobId) -> Result<JobRow, Fail> {
    Ok(get(connection, id)?.ok_or_else(|| CatalogError::JobNotFound { job: id.clone() })?)
}

/// The job if it has not ended.
pub(super) fn active(connection: &Connection, id: &JobId) -> Result<JobRow, Fail> {
    let job = existing(connection, id)?;
    if job.status.is_terminal() {
        return Err(CatalogError::JobEnded { job: id.clone(), status: job.status }.into());
    }
    Ok(job)
}

/// The job if the caller holds it. A PENDING job has no holder: its token, if any, is one that was given back.
pub(super) fn held(connection: &Connection, id: &JobId, token: u64) -> Result<JobRow, Fail> {
    let job = existing(connection, id)?;
    // Fenced before ended: a worker that lost its job has to hear that, whoever ended it.
    if job.fencing_token != token || job.status == JobStatus::Pending {
        return Err(CatalogError::Fenced { job: id.clone(), token, current: job.fencing_token }.into());
    }
    if job.status.is_terminal() {
        return Err(CatalogError::JobEnded { job: id.clone(), status: job.status }.into());
    }
    Ok(job)
}

fn first_id(connection: &Connection, condition: &str, parameters: impl Params) -> Result<Option<JobId>, Fail> {
    let sql = format!("SELECT id FROM jobs WHERE {ACTIVE} AND {condition} ORDER BY created_ms, seq LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(|row| parsed(row, "id")).transpose()
}

/// The active job that makes a backup of a cluster, by who asked for it.
pub(super) fn active_in_slot(
    connection: &Connection,
    cluster: &ClusterId,
    slot: CreationMethod,
) -> Result<Option<JobId>, Fail> {
    first_id(connection, "cluster_id = ?1 AND slot = ?2", [cluster.as_str(), slot.as_str()])
}

/// The oldest active job about a cluster.
pub(super) fn active_of_cluster(connection: &Connection, cluster: &ClusterId) -> Result<Option<JobId>, Fail> {
    first_id(connection, "cluster_id = ?1", [cluster.as_str()])
}

/// The oldest active job that makes or uses a backup.
pub(super) fn active_on_backup(connection: &Connection, backup: &BackupId) -> Result<Option<JobId>, Fail> {
    first_id(connection, "backup_id = ?1", [backup.as_str()])
}

pub(super) fn list(
    connection: &Connection,
    limits: &Limits,
    filter: &JobFilter,
    page: Page,
) -> Result<Listed<JobRow>, Fail> {
    let (limit, offset) = limit_offset(page, limits)?;
    let mut conditions = Where::default();
    conditions.within(&filter.scope, of_project_or_cluster);
    conditions.compare("project_id =", filter.project.as_ref().map(|id| id.as_str().to_owned()));
    conditions.compare("cluster_id =", filter.cluster.as_ref().map(|id| id.as_str().to_owned()));
    conditions.compare("backup_id =", filter.backup.as_ref().map(|id| id.as_str().to_owned()));
    conditions.compare("job_type =", filter.job_type.map(|kind| kind.as_str().to_owned()));
    if let Some(statuses) = &filter.statuses {
        conditions.one_of("status", statuses.iter().map(|status| status.as_str()));
    }
    let clause = conditions.clause();
    let parameters = || rusqlite::params_from_iter(conditions.parameters());
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM jobs{clause}"))?
        .query_row(parameters(), |row| row.get(0))?;
    let sql =
        format!("SELECT {COLUMNS} FROM jobs{clause} ORDER BY created_ms DESC, seq DESC LIMIT {limit} OFFSET {offset}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters())?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(job_row(row)?);
    }
    Ok(Listed { count: count.unsigned_abs(), items })
}

pub(super) fn set_progress(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    token: u64,
    progress: &Progress,
) -> Result<JobStatus, Fail> {
    let job = held(connection, id, token)?;
    connection
        .prepare_cached("UPDATE jobs SET progress = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), json_text("the progress of a job", progress, limits)?])?;
    Ok(job.status)
}

pub(super) fn finish(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    token: u64,
    end: &JobEnd,
    now: Timestamp,
) -> Result<JobRow, Fail> {
    let job = held(connection, id, token)?;
    check_end(&job, end, limits)?;
    let mut progress = job.progress.clone();
    if end.status == JobStatus::Successful {
        progress.phase = Phase::Done;
    }
    write_end(connection, limits, id, end, &progress, now)?;
    if let Some(backup) = &job.backup {
        finish_backup(connection, limits, &job, backup, end, now)?;
    }
    // After the backup, which has to be AVAILABLE for them.
    for follow_up in &end.follow_ups {
        new_jobs::create(connection, limits, follow_up, now)?;
    }
    existing(connection, id)
}

fn check_end(job: &JobRow, end: &JobEnd, limits: &Limits) -> Result<(), Fail> {
    let successful = end.status == JobStatus::Successful;
    let reason = if !end.status.is_terminal() {
        format!("{} is no end of a job; use SUCCESSFUL, FAILED or CANCELED", end.status)
    } else if !successful && end.reason.as_deref().is_none_or(str::is_empty) {
        format!("a job that ends {} needs a reason", end.status)
    } else if successful && job.job_type == JobType::Backup && end.backup.is_none() {
        "a successful backup job has to say what its backup holds".to_owned()
    } else if !successful && !end.follow_ups.is_empty() {
        "only a successful job has follow-ups".to_owned()
    } else if end.follow_ups.len() > limits.follow_up_jobs {
        format!("{} follow-ups; at most {} are accepted", end.follow_ups.len(), limits.follow_up_jobs)
    } else {
        return Ok(());
    };
    Err(CatalogError::invalid(reason).into())
}

fn write_end(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    end: &JobEnd,
    progress: &Progress,
    now: Timestamp,
) -> Result<(), Fail> {
    connection
        .prepare_cached(
            "UPDATE jobs SET status = ?2, reason = ?3, result = ?4, progress = ?5, ended_ms = ?6, moved_bytes = ?7, \
             lease_owner = NULL, lease_until_ms = NULL, not_before_ms = NULL WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            end.status.as_str(),
            end.reason.as_deref().map(|reason| cut(reason, limits.reason_bytes)),
            json_text("the result of a job", &end.result, limits)?,
            json_text("the progress of a job", progress, limits)?,
            now.as_millis(),
            integer("the bytes of a job", progress.bytes().0)?,
        ])?;
    deliveries::queue_end(connection, limits, id, now)
}

/// Puts a job back.
pub(super) fn retry(
    connection: &Connection,
    limits: &Limits,
    id: &JobId,
    token: u64,
    reason: &str,
    not_before: Timestamp,
    now: Timestamp,
) -> Result<JobRow, Fail> {
    let job = held(connection, id, token)?;
    if job.job_type == JobType::Backup {
        return Err(
            CatalogError::invalid("the job that makes a backup is not put back; the next backup is another").into()
        );
    }
    if reason.is_empty() {
        return Err(CatalogError::invalid("a job that is put back needs a reason").into());
    }
    if job.status == JobStatus::Canceling {
        let end = JobEnd {
            status: JobStatus::Canceled,
            reason: Some(reason.to_owned()),
            result: Value::Null,
            backup: None,
            follow_ups: Vec::new(),
        };
        write_end(connection, limits, id, &end, &job.progress, now)?;
        return existing(connection, id);
    }
    connection
        .prepare_cached(
            "UPDATE jobs SET status = 'PENDING', reason = ?2, retries = retries + 1, not_before_ms = ?3, \
             lease_owner = NULL, lease_until_ms = NULL WHERE id = ?1",
        )?
        .execute(params![id.as_str(), cut(reason, limits.reason_bytes), not_before.as_millis()])?;
    existing(connection, id)
}

fn finish_backup(
    connection: &Connection,
    limits: &Limits,
    job: &JobRow,
    backup: &BackupId,
    end: &JobEnd,
    now: Timestamp,
) -> Result<(), Fail> {
    match (job.job_type, &end.backup) {
        (JobType::Backup, Some(outcome)) if end.status == JobStatus::Successful => {
            backups::complete(connection, limits, backup, outcome, now)
        }
        (JobType::Backup, _) => {
            backups::fail(connection, limits, backup, end.reason.as_deref().unwrap_or_default(), now)
        }
        (_, Some(outcome)) => backups::merge_detail(connection, limits, backup, &outcome.detail),
        (_, None) => Ok(()),
    }
}

pub(super) fn cancel(connection: &Connection, limits: &Limits, id: &JobId, now: Timestamp) -> Result<JobRow, Fail> {
    let job = active(connection, id)?;
    if job.status == JobStatus::Pending {
        let reason =
            if job.retries == 0 { "it was canceled before it started" } else { "it was canceled while it waited" };
        connection
            .prepare_cached(
                "UPDATE jobs SET status = 'CANCELED', reason = ?2, ended_ms = ?3, not_before_ms = NULL WHERE id = ?1",
            )?
            .execute(params![id.as_str(), reason, now.as_millis()])?;
        deliveries::queue_end(connection, limits, id, now)?;
        if let (JobType::Backup, Some(backup)) = (job.job_type, &job.backup) {
            backups::fail(connection, limits, backup, reason, now)?;
        }
    } else {
        connection.prepare_cached("UPDATE jobs SET status = 'CANCELING' WHERE id = ?1")?.execute([id.as_str()])?;
    }
    existing(connection, id)
}
