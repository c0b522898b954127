//! Accepting jobs.

use longshore_model::{CreationMethod, JobType, Progress, Timestamp};
use rusqlite::{Connection, params};

use super::convert::json_text;
use super::fail::{Fail, is_duplicate};
use super::{backups, clusters, jobs};
use crate::{CatalogError, JobRow, Limits, NewJob};

/// Accepts a job that makes no backup.
pub(super) fn create(connection: &Connection, limits: &Limits, job: &NewJob, now: Timestamp) -> Result<JobRow, Fail> {
    if job.job_type == JobType::Backup {
        return Err(CatalogError::invalid("a backup job is made together with its backup").into());
    }
    clusters::existing_project(connection, &job.project)?;
    if let Some(backup) = &job.backup {
        backups::usable(connection, backup)?;
    }
    insert(connection, limits, job, None, now)
}

/// Inserts a job; `slot` for the one that makes a backup.
pub(super) fn insert(
    connection: &Connection,
    limits: &Limits,
    job: &NewJob,
    slot: Option<CreationMethod>,
    now: Timestamp,
) -> Result<JobRow, Fail> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO jobs (id, job_type, status, slot, project_id, cluster_id, backup_id, request, progress, \
             result, created_ms) VALUES (?1, ?2, 'PENDING', ?3, ?4, ?5, ?6, ?7, ?8, 'null', ?9)",
        )?
        .execute(params![
            job.id.as_str(),
            job.job_type.as_str(),
            slot.map(CreationMethod::as_str),
            job.project.as_str(),
            job.cluster.as_ref().map(|id| id.as_str()),
            job.backup.as_ref().map(|id| id.as_str()),
            json_text("the request of a job", &job.request, limits)?,
            json_text("the progress of a job", &Progress::default(), limits)?,
            now.as_millis(),
        ]);
    match inserted {
        // The slots were looked at in this transaction, so only the id can be taken.
        Err(error) if is_duplicate(&error) => Err(CatalogError::Exists { what: "job", id: job.id.to_string() }.into()),
        other => {
            other?;
            jobs::existing(connection, &job.id)
        }
    }
}
