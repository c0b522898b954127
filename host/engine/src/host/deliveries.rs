//! Tells the webhook of the configuration what happened: jobs that ended, clusters without a good backup.
//!
//! What is to be told stands in the catalog, written in the transaction in which it happened, and is taken out when the
//! webhook has answered: at least once, also when the host dies in between. What is not taken is sent again with growing
//! pauses, a bounded number of times. Without a webhook nothing waits.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use longshore_catalog::{DeliveryOutcome, DeliveryRow, JOB_ENDED};
use longshore_model::{JobId, Timestamp};
use serde_json::{Value, json};

use super::{Host, Inner};
use crate::config::WebhookConfig;
use crate::limits::growing_pause_ms;
use crate::notify::{WebhookSecret, message};
use crate::{EngineError, Limits};

/// Messages that are read in one go.
const PAGE: u32 = 100;
/// Messages that are under way at a time.
const SIDE_BY_SIDE: usize = 4;

/// Sends what is due, until the host stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let (host, pause) =
        (Host { inner: Arc::clone(&inner) }, Duration::from_millis(inner.limits.delivery_look_ms.max(1)));
    while inner.stop.check().is_ok() {
        if let Err(error) = host.tell_webhook().await {
            tracing::warn!(%error, "the webhook was not told what happened; the next look tries again");
        }
        tokio::select! {
            () = inner.stop.stopped() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How long a message waits that was sent `attempts` times in vain.
fn pause_ms(limits: &Limits, attempts: u32) -> i64 {
    growing_pause_ms(limits.delivery_retry_ms, 4, attempts.saturating_sub(1), limits.delivery_retry_longest_ms)
}

impl Host {
    /// Sends every message that is due now; how many were taken. The host does so by itself.
    ///
    /// # Errors
    /// [`EngineError::Catalog`], [`EngineError::File`] for the secret. A message that is not taken is no error here.
    pub async fn tell_webhook(&self) -> Result<usize, EngineError> {
        let _one = self.inner.telling.lock().await;
        let config = self.inner.config();
        let due = self.catalog("reading messages", |catalog, now| Ok(catalog.due_deliveries(now, PAGE)?)).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let (Some(webhook), true) = (&config.webhook, self.inner.notifier.is_some()) else {
            self.catalog("forgetting messages", |catalog, _| Ok(catalog.discard_deliveries()?)).await?;
            return Ok(0);
        };
        // Read each time, so that a new secret counts at once.
        let secret = WebhookSecret::read(&webhook.secret_file)?;
        let mut taken = 0;
        let mut sending = stream::iter(due).map(|row| self.tell(webhook, &secret, row)).buffer_unordered(SIDE_BY_SIDE);
        while let Some(told) = sending.next().await {
            taken += usize::from(told?);
        }
        Ok(taken)
    }

    async fn tell(
        &self,
        webhook: &WebhookConfig,
        secret: &WebhookSecret,
        row: DeliveryRow,
    ) -> Result<bool, EngineError> {
        let data = self.data_of(&row).await?;
        let now = self.inner.clock.now();
        let to = (webhook.url.as_str(), webhook.timeout_ms, secret);
        let message = message(to, &row.name, (&row.kind, row.created, &data), now);
        let Some(notifier) = &self.inner.notifier else { return Ok(false) };
        let sent = tokio::select! {
            sent = notifier.send(&message) => sent,
            // The next host sends it again: a receiver that hangs must not hold this one up.
            () = self.inner.stop.stopped() => return Ok(false),
        };
        let outcome = self.outcome(webhook, &row, sent);
        let taken = outcome == DeliveryOutcome::Delivered;
        self.catalog("noting a message", move |catalog, now| Ok(catalog.note_delivery(row.sequence, &outcome, now)?))
            .await?;
        Ok(taken)
    }

    fn outcome(&self, webhook: &WebhookConfig, row: &DeliveryRow, sent: Result<(), String>) -> DeliveryOutcome {
        let Err(error) = sent else { return DeliveryOutcome::Delivered };
        let (message, attempts) = (&row.name, row.attempts.saturating_add(1));
        if attempts >= webhook.attempts {
            tracing::error!(message, attempts, error, "the webhook did not take a message; it is given up");
            return DeliveryOutcome::Abandoned { error };
        }
        tracing::warn!(message, attempts, error, "the webhook did not take a message; it is sent again");
        let due = self.inner.clock.now().plus_millis(pause_ms(&self.inner.limits, attempts));
        DeliveryOutcome::Again { due, error }
    }

    async fn data_of(&self, row: &DeliveryRow) -> Result<Value, EngineError> {
        if row.kind != JOB_ENDED {
            return Ok(row.body.clone());
        }
        let id: JobId = row.subject.parse()?;
        let job = self.catalog("reading a job", move |catalog, _| Ok(catalog.get_job(&id)?)).await?;
        let Some(job) = job else { return Ok(json!({ "jobId": row.subject })) };
        let seconds = |time: Option<Timestamp>| time.map(whole_seconds);
        Ok(json!({
            "jobId": job.id,
            "type": job.job_type,
            "status": job.status,
            "reason": job.reason.unwrap_or_default(),
            "projectId": job.project,
            "clusterId": job.cluster,
            "backupId": job.backup,
            "createTime": whole_seconds(job.created),
            "startTime": seconds(job.started),
            "endTime": seconds(job.ended),
            "retries": job.retries,
        }))
    }
}

/// A time as the API shows it.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() - time.as_millis().rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let limits = Limits { delivery_retry_ms: 1_000, delivery_retry_longest_ms: 50_000, ..Limits::default() };
        let pauses: Vec<i64> = [1, 2, 3, 4, 5, 40].into_iter().map(|attempts| pause_ms(&limits, attempts)).collect();
        assert_eq!(pauses, [1_000, 4_000, 16_000, 50_000, 50_000, 50_000]);
    }
}
