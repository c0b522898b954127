//! Workers: take jobs from the catalog and run them to an end.
//!
//! Contract: a job is held by a lease with a fencing token. While it runs, a heartbeat renews the lease and writes its
//! progress; when the catalog says that the lease was lost, the run is stopped and ends nothing. A run that ends writes
//! its outcome and everything that follows from it in one transaction.
//!
//! Restores go before everything else: they are claimed first, and have room of their own
//! ([`Limits::parallel_restores`](crate::Limits)) that no other job takes.
//!
//! A host that dies leaves jobs IN_PROGRESS. The next start lets their leases lapse, and they are taken again under a
//! higher token: a backup goes on under the same id (files that the dead attempt noted are not read again, what
//! else it stored is found by content), a restore goes on in its staging folder. After [`Limits::job_attempts`](crate::Limits) attempts a job is
//! marked failed, so that a job that kills its host does not do so for ever.

use std::sync::Arc;
use std::time::Duration;

use longshore_catalog::{BackupOutcome, CatalogError, JobEnd, JobRow, NewJob};
use longshore_model::{CreationMethod, JobStatus, JobType, Phase};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::blocking::blocking;
use crate::host::{Host, Inner};
use crate::limits::growing_pause_ms;
use crate::{EngineError, RunContext};

/// What a job that came to its end leaves in the catalog.
pub(crate) struct Finished {
    pub(crate) result: Value,
    pub(crate) backup: Option<BackupOutcome>,
    pub(crate) follow_ups: Vec<NewJob>,
    /// What it found that fails the job. The result stays in its record.
    pub(crate) damage: Option<EngineError>,
}

impl Finished {
    /// A job that leaves nothing but its result.
    pub(crate) fn with(result: Value) -> Self {
        Self { result, backup: None, follow_ups: Vec::new(), damage: None }
    }
}

/// Looks for erasures now and again, because they are run beside the host, until the host stops.
async fn follow_erasures(inner: Arc<Inner>) {
    let (host, pause) =
        (Host { inner: Arc::clone(&inner) }, Duration::from_millis(inner.limits.erasure_look_ms.max(1)));
    while inner.stop.check().is_ok() {
        host.follow_erasures_quietly().await;
        tokio::select! {
            () = inner.stop.stopped() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Room for jobs. Restores have some of their own, so that none waits for backups to end.
struct Slots {
    any: Arc<Semaphore>,
    restores: Arc<Semaphore>,
}

impl Slots {
    fn of(limits: &crate::Limits) -> Self {
        let any = Arc::new(Semaphore::new(limits.parallel_jobs.max(1)));
        Self { any, restores: Arc::new(Semaphore::new(limits.parallel_restores)) }
    }

    /// A job and the room it takes; `None` when there is nothing to do, or no room. A restore takes the room of restores
    /// first, which leaves that of all to the others.
    async fn next(&self, inner: &Arc<Inner>) -> Result<Option<(JobRow, OwnedSemaphorePermit)>, EngineError> {
        for (slots, only) in [(&self.restores, Some(JobType::Restore)), (&self.any, None)] {
            let Ok(slot) = Arc::clone(slots).try_acquire_owned() else { continue };
            if let Some(job) = claim(inner, only).await? {
                return Ok(Some((job, slot)));
            }
        }
        Ok(None)
    }
}

/// Takes and runs jobs until the host stops, then waits for the running ones to reach a stopping point.
pub(crate) async fn run_workers(inner: Arc<Inner>) {
    let slots = Slots::of(&inner.limits);
    let mut running = JoinSet::new();
    running.spawn(crate::scheduler::run(Arc::clone(&inner)));
    running.spawn(follow_erasures(Arc::clone(&inner)));
    running.spawn(crate::host::deliveries::run(Arc::clone(&inner)));
    running.spawn(crate::catalog_snapshots::run(Arc::clone(&inner)));
    while inner.stop.check().is_ok() {
        while running.try_join_next().is_some() {}
        match slots.next(&inner).await {
            Ok(Some((job, slot))) => {
                let inner = Arc::clone(&inner);
                running.spawn(async move {
                    let automatic_backup = run_job(&inner, job).await;
                    drop(slot);
                    // Its slot is free again, and it may have follow-ups.
                    inner.wake.notify_one();
                    if automatic_backup {
                        Host { inner: Arc::clone(&inner) }.apply_retention_quietly().await;
                    }
                });
            }
            Ok(None) => wait_for_work(&inner).await,
            Err(error) => {
                tracing::error!(%error, "the catalog gave no job; trying again");
                wait_for_work(&inner).await;
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// New work wakes a worker at once; the pause is for jobs whose lease lapses on another host.
async fn wait_for_work(inner: &Inner) {
    let pause = Duration::from_millis(inner.limits.heartbeat_ms.max(1));
    tokio::select! {
        () = inner.wake.notified() => {}
        () = tokio::time::sleep(pause) => {}
        () = inner.stop.stopped() => {}
    }
}

fn lease_ms(inner: &Inner) -> i64 {
    i64::try_from(inner.limits.lease_ms).unwrap_or(i64::MAX)
}

async fn claim(inner: &Arc<Inner>, only: Option<JobType>) -> Result<Option<JobRow>, EngineError> {
    let host = Arc::clone(inner);
    let claim = move || Ok(host.catalog.claim_job(&host.owner, only, host.clock.now(), lease_ms(&host))?);
    blocking("taking a job", claim).await
}

/// Runs a job and ends it; true when it made an automatic backup, after which retention rules are due.
async fn run_job(inner: &Arc<Inner>, job: JobRow) -> bool {
    let context = inner.context.for_another_job();
    inner.boards.insert(&job.id, context.progress.clone());
    // A set ends its tasks when it is dropped: if this one panics, the lease lapses instead of being renewed for ever.
    let mut beating = JoinSet::new();
    beating.spawn(heartbeat(Arc::clone(inner), job.clone(), context.clone()));
    let outcome = if job.status == JobStatus::Canceling {
        Err(EngineError::Stopped { why: CANCELED.to_owned() })
    } else if job.attempt.saturating_sub(job.retries) > inner.limits.job_attempts {
        let tries = inner.limits.job_attempts;
        Err(EngineError::Stopped {
            why: format!("the host stopped {tries} times while this job was running; it is not tried again"),
        })
    } else {
        tracing::info!(job = %job.id, job_type = %job.job_type, attempt = job.attempt, "job started");
        crate::run::run(inner, &job, &context).await
    };
    drop(beating);
    let made = outcome.is_ok() && job.job_type == JobType::Backup;
    end_job(inner, &job, &context, outcome).await;
    inner.boards.remove(&job.id);
    made && is_automatic(inner, &job).await
}

async fn is_automatic(inner: &Arc<Inner>, job: &JobRow) -> bool {
    let Some(id) = job.backup.clone() else { return false };
    let host = Arc::clone(inner);
    let record = blocking("reading a backup", move || Ok(host.catalog.get_backup(&id)?)).await;
    record.ok().flatten().is_some_and(|record| record.backup.creation_method == CreationMethod::Auto)
}

/// The reason of a job that was canceled on request.
pub(crate) const CANCELED: &str = "canceled on request";
/// Why a run stops when its lease is gone.
const FENCED: &str = "another worker took the job over";

async fn heartbeat(inner: Arc<Inner>, job: JobRow, context: RunContext) {
    let every = Duration::from_millis(inner.limits.heartbeat_ms.max(1));
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            // The host stops: so does the job, without an end in the catalog, and the next start takes it again.
            () = inner.stop.stopped() => {
                context.stop.stop(SHUTTING_DOWN);
                return;
            }
        }
        let (host, row, progress) = (Arc::clone(&inner), job.clone(), context.progress.now());
        let beat = blocking("renewing a lease", move || {
            let status = host.catalog.renew_lease(&row.id, row.fencing_token, host.clock.now(), lease_ms(&host))?;
            host.catalog.set_progress(&row.id, row.fencing_token, &progress)?;
            Ok(status)
        })
        .await;
        match beat {
            Ok(JobStatus::Canceling) => context.stop.stop(CANCELED),
            Ok(_) => {}
            Err(EngineError::Catalog(CatalogError::Fenced { .. } | CatalogError::JobEnded { .. })) => {
                context.stop.stop(FENCED);
                return;
            }
            Err(error) => tracing::warn!(job = %job.id, %error, "the lease could not be renewed; trying again"),
        }
    }
}

/// Why a run stops when its host does.
pub(crate) const SHUTTING_DOWN: &str = "the host is shutting down; the job goes on at its next start";

async fn end_job(inner: &Arc<Inner>, job: &JobRow, context: &RunContext, outcome: Result<Finished, EngineError>) {
    let end = match outcome {
        Ok(Finished { result, damage: Some(damage), .. }) => {
            let reason = sentence(&damage);
            tracing::warn!(job = %job.id, reason, "job found damage");
            JobEnd { status: JobStatus::Failed, reason: Some(reason), result, backup: None, follow_ups: Vec::new() }
        }
        Ok(finished) => {
            context.progress.enter(Phase::Done);
            JobEnd {
                status: JobStatus::Successful,
                reason: None,
                result: finished.result,
                backup: finished.backup,
                follow_ups: finished.follow_ups,
            }
        }
        Err(EngineError::Stopped { why }) if why == SHUTTING_DOWN || why == FENCED => {
            tracing::info!(job = %job.id, why, "job left for its next attempt");
            return;
        }
        Err(error) if retries_left(inner, job, &error) => {
            put_back(inner, job, context, &error).await;
            return;
        }
        Err(error) => {
            let canceled = matches!(&error, EngineError::Stopped { why } if why == CANCELED);
            let status = if canceled { JobStatus::Canceled } else { JobStatus::Failed };
            let reason = sentence(&error);
            tracing::warn!(job = %job.id, %status, reason, "job ended");
            JobEnd { status, reason: Some(reason), result: Value::Null, backup: None, follow_ups: Vec::new() }
        }
    };
    let (host, row, progress) = (Arc::clone(inner), job.clone(), context.progress.now());
    let written = blocking("ending a job", move || {
        host.catalog.set_progress(&row.id, row.fencing_token, &progress)?;
        Ok(host.catalog.finish_job(&row.id, row.fencing_token, &end, host.clock.now())?)
    })
    .await;
    match written {
        Ok(row) => {
            tracing::info!(job = %row.id, status = %row.status, "job ended");
            crate::run::forget(inner, job);
        }
        // The lease lapses and the job is taken again; its manifests are already there and will be found by content.
        Err(error) => tracing::error!(job = %job.id, %error, "the end of the job could not be written"),
    }
}

/// Whether a job that failed is tried again: a copy may wait for a vault that is away, everything else is asked for anew.
fn retries_left(inner: &Inner, job: &JobRow, error: &EngineError) -> bool {
    job.job_type == JobType::Copy && job.retries < inner.limits.copy_retries && error.may_pass()
}

/// How long a job waits that was put back `retries` times before.
fn pause_ms(limits: &crate::Limits, retries: u32) -> i64 {
    growing_pause_ms(limits.copy_retry_ms, 2, retries, limits.copy_retry_longest_ms)
}

async fn put_back(inner: &Arc<Inner>, job: &JobRow, context: &RunContext, error: &EngineError) {
    let (host, row, progress) = (Arc::clone(inner), job.clone(), context.progress.now());
    let (reason, pause_ms) = (sentence(error), pause_ms(&inner.limits, job.retries));
    tracing::warn!(job = %job.id, reason, pause_ms, retries = job.retries, "job failed; it is tried again");
    let written = blocking("putting a job back", move || {
        host.catalog.set_progress(&row.id, row.fencing_token, &progress)?;
        let now = host.clock.now();
        Ok(host.catalog.retry_job(&row.id, row.fencing_token, &reason, now.plus_millis(pause_ms), now)?)
    })
    .await;
    // The lease lapses and the job is taken again all the same.
    if let Err(error) = written {
        tracing::error!(job = %job.id, %error, "the job could not be put back");
    }
}

/// The error and what caused it, without repeating what a transparent error already says.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = cause.source();
    }
    text
}
