//! Looks, again and again, what is to be started and what is to go, until the host stops.
//!
//! Contract: nothing is kept here. What is due stands in the catalog, so a host that starts after a pause of any length
//! finds what it missed, and two looks at once do nothing twice.

use std::sync::Arc;
use std::time::Duration;

use longshore_model::Timestamp;

use crate::host::{Host, Inner};

pub(crate) async fn run(inner: Arc<Inner>) {
    let host = Host { inner: Arc::clone(&inner) };
    let pause = Duration::from_millis(inner.limits.schedule_look_ms.max(1));
    let mut rules_applied: Option<Timestamp> = None;
    let mut alarms_raised: Option<Timestamp> = None;
    while inner.stop.check().is_ok() {
        host.start_due_backups_quietly().await;
        host.expire_backups_quietly().await;
        if let Err(error) = host.expire_copies().await {
            tracing::warn!(%error, "expired copies were not withdrawn; the next look tries again");
        }
        let now = inner.clock.now();
        let is_due = |last: Option<Timestamp>, every_ms: u64| {
            last.is_none_or(|last| now.millis_since(last) >= i64::try_from(every_ms).unwrap_or(i64::MAX))
        };
        // Also at the start: for what became too old while no host ran.
        if is_due(rules_applied, inner.limits.retention_look_ms) {
            host.meter_quietly().await;
            host.apply_retention_quietly().await;
            rules_applied = Some(now);
        }
        if is_due(alarms_raised, inner.limits.overdue_look_ms) {
            if let Err(error) = host.raise_alarms().await {
                tracing::warn!(%error, "it is not known which clusters are overdue");
            }
            alarms_raised = Some(now);
        }
        tokio::select! {
            () = inner.stop.stopped() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
