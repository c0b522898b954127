//! The dead man's switch: clusters that have had no good backup for longer than their schedule or recovery point
//! objective allows.
//!
//! Contract: what is overdue follows from the catalog and the configuration alone, so that a host that starts anew says the
//! same. It is said in the log, as a metric, and to the webhook: once when it begins, again every
//! [`Limits::overdue_repeat_ms`](crate::Limits), and once when it is over.

use std::collections::BTreeMap;

use longshore_catalog::{BackupFilter, Catalog, ClusterFilter, ClusterRow, NewDelivery, Page as CatalogPage};
use longshore_model::{BackupStatus, BackupType, ClusterId, Timestamp};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Host;
use super::deliveries::whole_seconds;
use super::metrics::ClusterMetrics;
use crate::catalog_calls::every;
use crate::config::HostConfig;
use crate::{EngineError, schedule};

/// Where the catalog keeps which clusters the webhook was told of, and since when they were overdue then.
const SETTING: &str = "overdue_told";
/// Clusters that are read in one go.
const PAGE: u32 = 500;
const ONE: CatalogPage = CatalogPage { size: 1, current: 1 };

/// The kind of message that a cluster is overdue.
pub(super) const OVERDUE: &str = "backup.overdue";
/// The kind of message that it no longer is.
pub(super) const RECOVERED: &str = "backup.recovered";

/// Why a cluster should have a newer backup than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverdueReason {
    /// Its schedule should have made one.
    Schedule,
    /// Its recovery point objective asks for one.
    RecoveryPointObjective,
}

impl OverdueReason {
    /// The spelling in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::RecoveryPointObjective => "recovery-point-objective",
        }
    }
}

/// What is known about every registered cluster.
pub(super) fn clusters(
    catalog: &dyn Catalog,
    config: &HostConfig,
    now: Timestamp,
    grace_ms: i64,
) -> Result<Vec<ClusterMetrics>, EngineError> {
    let rows = every(PAGE, |page| catalog.list_clusters(&ClusterFilter::default(), page))?;
    rows.iter().map(|row| of_cluster(catalog, config, row, now, grace_ms)).collect()
}

fn of_cluster(
    catalog: &dyn Catalog,
    config: &HostConfig,
    row: &ClusterRow,
    now: Timestamp,
    grace_ms: i64,
) -> Result<ClusterMetrics, EngineError> {
    let id = &row.cluster.id;
    let filter = BackupFilter {
        cluster: Some(id.clone()),
        backup_type: Some(BackupType::Cluster),
        statuses: Some(vec![BackupStatus::Available]),
        ..BackupFilter::default()
    };
    let newest = catalog.list_backups(&filter, ONE)?.items.into_iter().next().map(|backup| backup.created);
    let view = schedule::get_schedule(catalog, id)?;
    let expected = match (&view.schedule, newest, view.next_run) {
        (Some(schedule), Some(newest), Some(_)) => schedule.starts.next_after(id, newest),
        // It has no backup at all: the first one was to be made when the schedule was set.
        (Some(_), None, Some(_)) => catalog.get_schedule(id)?.map(|schedule| schedule.changed),
        _ => None,
    };
    let by_schedule = expected.map(|expected| (expected.plus_millis(grace_ms), OverdueReason::Schedule));
    // The point to go back to may be no older than that, whoever is to make it.
    let by_objective = config.recovery_point_objective_ms(id).map(|allowed_ms| {
        (newest.unwrap_or(row.created).plus_millis(allowed_ms), OverdueReason::RecoveryPointObjective)
    });
    let due = by_schedule.into_iter().chain(by_objective).min_by_key(|(time, _)| *time);
    Ok(ClusterMetrics {
        cluster_id: id.clone(),
        newest_backup: newest,
        next_run: view.next_run,
        overdue: due.filter(|(time, _)| now > *time),
    })
}

/// Clusters the webhook was told of, and since when they were overdue then.
type Told = BTreeMap<ClusterId, Timestamp>;

/// What the webhook is to be told now, and what it then was told of. The names make each thing told once, however often
/// this is asked.
fn alarms(clusters: &[ClusterMetrics], told: &Told, repeat_ms: i64, now: Timestamp) -> (Vec<NewDelivery>, Told) {
    let (mut alarms, mut telling) = (Vec::new(), Told::new());
    for cluster in clusters {
        let id = &cluster.cluster_id;
        let newest = cluster.newest_backup.map(whole_seconds);
        if let Some((since, reason)) = cluster.overdue {
            let times = now.millis_since(since) / repeat_ms.max(1);
            let body = json!({
                "clusterId": id, "newestBackupTime": newest, "overdueSince": whole_seconds(since),
                "reason": reason.as_str(), "nextRunTime": cluster.next_run.map(whole_seconds),
            });
            alarms.push(delivery(OVERDUE, id, format!("{}:{times}", since.as_millis()), body));
            telling.insert(id.clone(), since);
        } else if let Some(since) = told.get(id) {
            let body = json!({
                "clusterId": id, "newestBackupTime": newest, "overdueSince": whole_seconds(*since),
            });
            alarms.push(delivery(RECOVERED, id, since.as_millis().to_string(), body));
        }
    }
    (alarms, telling)
}

fn delivery(kind: &str, cluster: &ClusterId, which: String, body: Value) -> NewDelivery {
    let name = format!("{kind}:{cluster}:{which}");
    NewDelivery { name, kind: kind.to_owned(), subject: cluster.to_string(), body }
}

impl Host {
    /// Says in the log and to the webhook which clusters have had no good backup for longer than they are allowed. The
    /// host does so by itself.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub async fn raise_alarms(&self) -> Result<(), EngineError> {
        let (grace_ms, config) = (self.overdue_grace_ms(), self.inner.config());
        let repeat_ms = i64::try_from(self.inner.limits.overdue_repeat_ms).unwrap_or(i64::MAX);
        let tells = config.webhook.is_some() && self.inner.notifier.is_some();
        self.catalog("looking for overdue clusters", move |catalog, now| {
            let clusters = clusters(catalog, &config, now, grace_ms)?;
            for cluster in &clusters {
                let Some((since, reason)) = cluster.overdue else { continue };
                let newest = cluster.newest_backup.map_or_else(|| "none".to_owned(), |time| time.to_string());
                tracing::error!(
                    cluster = %cluster.cluster_id, newest, %since, reason = reason.as_str(),
                    "no good backup for longer than is allowed"
                );
            }
            if !tells {
                return Ok(());
            }
            let before = catalog.get_setting(SETTING)?.unwrap_or(Value::Null);
            let told = Told::deserialize(&before).unwrap_or_default();
            let (alarms, telling) = alarms(&clusters, &told, repeat_ms, now);
            // First what is to be told: a host that dies in between asks for the same again, by the same names.
            for alarm in &alarms {
                catalog.queue_delivery(alarm, now)?;
            }
            if telling != told {
                let value = serde_json::to_value(&telling)
                    .map_err(|error| EngineError::Internal { what: format!("writing a setting: {error}") })?;
                catalog.put_setting(SETTING, &value)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn overdue_grace_ms(&self) -> i64 {
        i64::try_from(self.inner.limits.overdue_grace_ms).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn cluster(overdue: Option<i64>) -> ClusterMetrics {
        ClusterMetrics {
            cluster_id: "in01-aa".parse().unwrap(),
            newest_backup: None,
            next_run: None,
            overdue: overdue.map(|hour| (Timestamp::from_millis(hour * HOUR_MS), OverdueReason::Schedule)),
        }
    }

    #[test]
    fn an_alarm_is_raised_repeated_and_called_off() {
        let (mut told, mut names) = (Told::new(), Vec::new());
        // Overdue from hour 2 on, looked at every hour; good again at hour 30.
        for hour in 1..33 {
            let overdue = (3..30).contains(&hour).then_some(2);
            let now = Timestamp::from_millis(hour * HOUR_MS);
            let (alarms, telling) = alarms(&[cluster(overdue)], &told, 24 * HOUR_MS, now);
            told = telling;
            names.extend(alarms.into_iter().map(|alarm| alarm.name));
        }
        names.dedup();
        let since = 2 * HOUR_MS;
        let expected = [
            format!("backup.overdue:in01-aa:{since}:0"),
            format!("backup.overdue:in01-aa:{since}:1"),
            format!("backup.recovered:in01-aa:{since}"),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_was_never_told_is_not_called_off() {
        let (alarms, told) = alarms(&[cluster(None)], &Told::new(), HOUR_MS, Timestamp::from_millis(0));
        assert!(alarms.is_empty() && told.is_empty());
    }
}
