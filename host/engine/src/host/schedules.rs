//! Schedules: set and read them, and start what is due.

use longshore_model::ClusterId;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, Role, require_manage};
use crate::blocking::blocking;
use crate::schedule::{self, SCHEDULER, ScheduleView, SetSchedule};
use crate::views::CreatedBackup;

impl Host {
    /// Changes the schedule of a cluster. When it is turned on, the first backup is accepted before this answers.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`] for the cluster or a region of a copy,
    /// [`EngineError::BadRequest`], [`EngineError::Catalog`].
    pub async fn set_schedule(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        set: SetSchedule,
    ) -> Result<ScheduleView, EngineError> {
        let outcome = async {
            require_manage(who, "change a backup policy")?;
            self.cluster(who, cluster).await?;
            let (config, id) = (self.inner.config(), cluster.clone());
            self.catalog("changing a schedule", move |catalog, now| {
                schedule::set_schedule(catalog, &config, &id, &set, now)
            })
            .await
        }
        .await;
        self.audit(who, "schedule.set", cluster.as_str(), &outcome).await;
        let view = outcome?;
        if view.next_run.is_some_and(|next| next <= self.inner.clock.now()) {
            // If this fails, the schedule is due all the same, and the scheduler looks again soon.
            self.start_due_backups_quietly().await;
        }
        self.get_schedule(who, cluster).await
    }

    /// The schedule of a cluster.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for the cluster, [`EngineError::OutOfScope`], [`EngineError::Catalog`].
    pub async fn get_schedule(&self, who: &Principal, cluster: &ClusterId) -> Result<ScheduleView, EngineError> {
        self.cluster(who, cluster).await?;
        let id = cluster.clone();
        self.catalog("reading a schedule", move |catalog, _| schedule::get_schedule(catalog, &id)).await
    }

    /// Accepts every automatic backup that is due now. The host does so by itself; embedders with a clock of their own
    /// call it when that has moved.
    ///
    /// # Errors
    /// [`EngineError::Catalog`], [`EngineError::NoRandomness`]. What was not accepted stays due.
    pub async fn start_due_backups(&self) -> Result<Vec<CreatedBackup>, EngineError> {
        let mut started = Vec::new();
        loop {
            let host = std::sync::Arc::clone(&self.inner);
            let (made, more) = blocking("starting automatic backups", move || {
                schedule::start_due(host.catalog.as_ref(), host.random.as_ref(), host.clock.now())
            })
            .await?;
            for (backup, job) in made {
                let who = Principal::host(SCHEDULER.to_owned(), Role::ProjectAdmin);
                self.audit(&who, "backup.create", backup.cluster.as_str(), &Ok(())).await;
                tracing::info!(cluster = %backup.cluster, backup = %backup.id, job = %job.id, "automatic backup accepted");
                started.push(CreatedBackup { backup_id: backup.id, backup_name: backup.name, job_id: job.id });
            }
            if !more {
                break;
            }
        }
        if !started.is_empty() {
            self.inner.wake.notify_one();
        }
        Ok(started)
    }

    /// [`Host::start_due_backups`] beside everything else: a failure is logged, and the next time tries again.
    pub(crate) async fn start_due_backups_quietly(&self) {
        if let Err(error) = self.start_due_backups().await {
            tracing::error!(%error, "automatic backups were not started; the next look tries again");
        }
    }
}
