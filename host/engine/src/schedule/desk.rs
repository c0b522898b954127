//! Sets, reads and follows schedules in a catalog: what the host and the command line share. Calls block.
//!
//! What must stay true: whoever changes a schedule does so by the revision that was read, and a run is accepted in the
//! transaction that moves its schedule on. So these calls may run in several processes at once, and stop anywhere.

use longshore_catalog::{
    BackupRow, Catalog, CatalogError, ClusterRow, JobRow, NewBackup, NewBackupJob, NewSchedule, ScheduleRow,
};
use longshore_model::{BackupId, BackupType, ClusterId, CreationMethod, JobId, Timestamp};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::{DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS, Schedule, ScheduleChange, SetSchedule, Starts};
use crate::catalog_calls::every;
use crate::config::HostConfig;
use crate::jobs::JobRequest;
use crate::random::draw;
use crate::views::CreateBackup;
use crate::{EngineError, Random};

/// Who automatic backups are asked for by, in the audit log.
pub(crate) const SCHEDULER: &str = "scheduler";
/// Times a change is tried again when somebody else was faster.
const TRIES: u32 = 16;
/// Schedules that are looked at in one go.
const PAGE: u32 = 100;

/// The schedule of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// What was set last; `None` if nothing ever was. It counts only while `next_run` says when.
    pub schedule: Option<Schedule>,
    /// When the next automatic backup starts; in the past while one waits for its turn. `None`: the schedule is off.
    pub next_run: Option<Timestamp>,
}

fn registered(catalog: &dyn Catalog, cluster: &ClusterId) -> Result<ClusterRow, EngineError> {
    let row = catalog.get_cluster(cluster)?.filter(|row| row.dropped.is_none());
    row.ok_or_else(|| EngineError::NotFound { what: "cluster", id: cluster.to_string() })
}

/// What a row says; `None` after its cluster was dropped.
fn read(row: &ScheduleRow) -> Result<Option<Schedule>, EngineError> {
    let schedule = Option::<Schedule>::deserialize(&row.schedule);
    schedule
        .map_err(|error| EngineError::Internal { what: format!("reading the schedule of {}: {error}", row.cluster) })
}

fn view(cluster: &ClusterId, row: Option<&ScheduleRow>) -> Result<ScheduleView, EngineError> {
    Ok(ScheduleView {
        cluster_id: cluster.clone(),
        schedule: row.map(read).transpose()?.flatten(),
        next_run: row.and_then(|row| row.due),
    })
}

/// The schedule of a cluster.
///
/// # Errors
/// [`EngineError::NotFound`] for the cluster, [`EngineError::Catalog`].
pub fn get_schedule(catalog: &dyn Catalog, cluster: &ClusterId) -> Result<ScheduleView, EngineError> {
    registered(catalog, cluster)?;
    view(cluster, catalog.get_schedule(cluster)?.as_ref())
}

/// All schedules in order of cluster, those that are off too.
///
/// # Errors
/// [`EngineError::Catalog`].
pub fn list_schedules(catalog: &dyn Catalog) -> Result<Vec<ScheduleView>, EngineError> {
    let rows = every(PAGE, |page| catalog.list_schedules(page))?;
    rows.iter().map(|row| view(&row.cluster, Some(row))).collect()
}

/// Changes the schedule of a cluster. One that is turned on is due at once; one that is changed keeps a run that it owes.
///
/// # Errors
/// [`EngineError::NotFound`] for the cluster or a region of a copy, [`EngineError::BadRequest`],
/// [`EngineError::Catalog`].
pub fn set_schedule(
    catalog: &dyn Catalog,
    config: &HostConfig,
    cluster: &ClusterId,
    set: &SetSchedule,
    now: Timestamp,
) -> Result<ScheduleView, EngineError> {
    for _ in 0..TRIES {
        let home = registered(catalog, cluster)?.cluster.region;
        let before = catalog.get_schedule(cluster)?;
        let known = before.as_ref().map(read).transpose()?.flatten();
        let (schedule, due) = match set {
            SetSchedule::Off => match known {
                // Nothing was ever set, so there is nothing to turn off.
                None => return view(cluster, before.as_ref()),
                known => (known, None),
            },
            SetSchedule::On(change) => {
                let schedule = changed(known, change)?;
                check(&schedule, config, &home)?;
                let due = due_after_change(before.as_ref(), &schedule, cluster, now)?;
                (Some(schedule), Some(due))
            }
        };
        let schedule = serde_json::to_value(schedule)
            .map_err(|error| EngineError::Internal { what: format!("writing a schedule: {error}") })?;
        let new = NewSchedule { cluster: cluster.clone(), schedule, due };
        let expected = before.map(|row| row.revision);
        if let Some(row) = catalog.swap_schedule(&new, expected, now)? {
            return view(cluster, Some(&row));
        }
    }
    let what = format!("the schedule of {cluster} is being changed by somebody else; look at it and try again");
    Err(EngineError::Conflict { what })
}

fn changed(known: Option<Schedule>, change: &ScheduleChange) -> Result<Schedule, EngineError> {
    let bad = |what: &str| Err(EngineError::BadRequest { what: what.to_owned() });
    let before = known.as_ref().map(|schedule| schedule.starts.clone());
    let starts = match (&change.cron, change.days, change.window) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return bad("a schedule starts by a cron expression or on days in a window, not both; leave one out");
        }
        (Some(cron), None, None) => Starts::Cron(cron.clone()),
        (None, None, None) => before.unwrap_or_default(),
        (None, days, window) => {
            let (known_days, known_window) = match before {
                Some(Starts::Weekly { days, window }) => (days, window),
                _ => Default::default(),
            };
            Starts::Weekly { days: days.unwrap_or(known_days), window: window.unwrap_or(known_window) }
        }
    };
    let retention_days = change.retention_days.or(known.as_ref().map(|schedule| schedule.retention_days));
    let copies = change.copies.clone().or(known.map(|schedule| schedule.copies));
    Ok(Schedule {
        starts,
        retention_days: retention_days.unwrap_or(DEFAULT_RETENTION_DAYS),
        copies: copies.unwrap_or_default(),
    })
}

fn check(schedule: &Schedule, config: &HostConfig, home: &longshore_model::RegionId) -> Result<(), EngineError> {
    let bad = |what: String| Err(EngineError::BadRequest { what });
    let days = std::iter::once(schedule.retention_days).chain(schedule.copies.iter().map(|copy| copy.retention_days));
    for days in days {
        if !(1..=MAX_RETENTION_DAYS).contains(&days) {
            return bad(format!("retention is 1 to {MAX_RETENTION_DAYS} days, not {days}"));
        }
        if let Some(least) = config.guardrails.minimum_retention_days.filter(|least| days < *least) {
            return bad(format!(
                "the operator's guardrails keep automatic backups for {least} days at least, not {days}"
            ));
        }
    }
    for (place, copy) in schedule.copies.iter().enumerate() {
        if schedule.copies.iter().take(place).any(|other| other.region_id == copy.region_id) {
            return bad(format!("region {} stands among the copies twice", copy.region_id));
        }
    }
    config.check_copies(schedule.copies.iter().map(|copy| &copy.region_id), home)
}

/// When a changed schedule starts next.
fn due_after_change(
    before: Option<&ScheduleRow>,
    schedule: &Schedule,
    cluster: &ClusterId,
    now: Timestamp,
) -> Result<Timestamp, EngineError> {
    match before.and_then(|row| row.due) {
        // It was off: the first backup is made at once.
        None => Ok(now),
        // A run that is owed stays owed; otherwise changing a schedule now and again would mean no backup at all.
        Some(due) if due <= now => Ok(due),
        Some(_) => next(schedule, cluster, now),
    }
}

fn next(schedule: &Schedule, cluster: &ClusterId, now: Timestamp) -> Result<Timestamp, EngineError> {
    schedule.starts.next_after(cluster, now).ok_or_else(|| EngineError::BadRequest {
        what: format!("the schedule of {cluster} has no further start within four years; set another one"),
    })
}

/// Accepts the automatic backups that are due, at most a page of them; answers those, and true when there may be more.
/// What was missed counts once: the schedule goes on from `now`. One that cannot be followed does not keep the others.
///
/// # Errors
/// [`EngineError::Catalog`], [`EngineError::NoRandomness`]. What was accepted until then stays so, and what was not
/// stays due.
pub fn start_due(
    catalog: &dyn Catalog,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(Vec<(BackupRow, JobRow)>, bool), EngineError> {
    let due = catalog.due_schedules(now, PAGE)?;
    let mut started = Vec::new();
    for row in &due {
        match start(catalog, random, row, now) {
            Ok(made) => started.extend(made),
            // Since it was looked for: another backup was started, the cluster was dropped. The next look sees that.
            Err(EngineError::Catalog(
                CatalogError::AutomaticBackupActive { .. } | CatalogError::ClusterNotFound { .. },
            )) => {}
            Err(error @ (EngineError::Internal { .. } | EngineError::BadRequest { .. })) => {
                tracing::error!(cluster = %row.cluster, %error, "a schedule cannot be followed");
            }
            Err(error) => return Err(error),
        }
    }
    // Nothing started means that only such are left that cannot be.
    let more = due.len() == PAGE as usize && !started.is_empty();
    Ok((started, more))
}

fn start(
    catalog: &dyn Catalog,
    random: &dyn Random,
    row: &ScheduleRow,
    now: Timestamp,
) -> Result<Option<(BackupRow, JobRow)>, EngineError> {
    let Some(schedule) = read(row)? else { return Ok(None) };
    let next = next(&schedule, &row.cluster, now)?;
    let backup = NewBackup {
        id: BackupId::from_random(draw(random)?),
        cluster: row.cluster.clone(),
        backup_type: BackupType::Cluster,
        creation_method: CreationMethod::Auto,
        expires: Some(schedule.expires(now)),
        expiring_copies: schedule.expiring_copies(now),
        collections: Value::Null,
        detail: Value::Null,
    };
    let copies = schedule.copies.iter().map(|copy| copy.region_id.clone()).collect();
    let request = CreateBackup { backup_type: BackupType::Cluster, collections: Vec::new(), copies };
    let seed = u64::from_le_bytes(draw(random)?);
    let request = JobRequest::Backup { request, time: now, seed }.to_value()?;
    let job = NewBackupJob { id: JobId::from_random(draw(random)?), request };
    Ok(catalog.start_scheduled_backup(row.revision, next, &backup, &job, now)?)
}
