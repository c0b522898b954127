//! Counts of jobs, for whoever watches.

use std::fmt::Write as _;

use rusqlite::Connection;

use super::convert::{parsed, unsigned};
use super::fail::Fail;
use crate::{CatalogError, JobStatistics, Limits};

/// How long a job took: from its first claim, or from when it was accepted if it never was claimed.
const DURATION: &str = "max(0, ended_ms - coalesce(started_ms, created_ms))";

pub(super) fn jobs(connection: &Connection, limits: &Limits, bounds_ms: &[i64]) -> Result<Vec<JobStatistics>, Fail> {
    if bounds_ms.len() > limits.duration_bounds || !bounds_ms.is_sorted_by(|one, next| one < next) {
        let reason = format!("bounds of durations grow, and there are at most {}", limits.duration_bounds);
        return Err(CatalogError::invalid(reason).into());
    }
    let mut sql = format!(
        "SELECT job_type, status, count(*) AS jobs, coalesce(sum({DURATION}), 0) AS duration_ms, \
         coalesce(sum(moved_bytes), 0) AS moved_bytes"
    );
    for place in 0..bounds_ms.len() {
        // Writing into a String cannot fail. Numbers only; the bounds themselves are parameters.
        let _ = write!(sql, ", coalesce(sum({DURATION} <= ?{}), 0) AS within_{place}", place + 1);
    }
    sql.push_str(" FROM jobs GROUP BY job_type, status ORDER BY job_type, status");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(bounds_ms))?;
    let mut statistics = Vec::new();
    while let Some(row) = rows.next()? {
        let within = (0..bounds_ms.len()).map(|place| unsigned(row, &format!("within_{place}")));
        statistics.push(JobStatistics {
            job_type: parsed(row, "job_type")?,
            status: parsed(row, "status")?,
            count: unsigned(row, "jobs")?,
            duration_ms: unsigned(row, "duration_ms")?,
            moved_bytes: unsigned(row, "moved_bytes")?,
            within: within.collect::<Result<_, Fail>>()?,
        });
    }
    Ok(statistics)
}
