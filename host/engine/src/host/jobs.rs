//! Jobs: list, describe, cancel.

use longshore_catalog::JobRow;
use longshore_model::JobId;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::views::{JobFilter, JobView, Page, PageRequest};

impl Host {
    /// Jobs that the key is for, newest first.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`] for a filter by what the key is not for, and when the page is out of bounds or the
    /// catalog cannot be read.
    pub async fn list_jobs(
        &self,
        who: &Principal,
        filter: JobFilter,
        page: PageRequest,
    ) -> Result<Page<JobView>, EngineError> {
        self.check_filter(who, filter.project_id.as_ref(), filter.cluster_id.as_ref()).await?;
        let filter = longshore_catalog::JobFilter {
            scope: who.scope.clone(),
            project: filter.project_id,
            cluster: filter.cluster_id,
            job_type: filter.job_type,
            statuses: filter.status.map(|status| vec![status]),
            ..Default::default()
        };
        let page = super::page(page);
        let listed = self.catalog("listing jobs", move |catalog, _| Ok(catalog.list_jobs(&filter, page)?)).await?;
        Ok(Page { count: listed.count, items: listed.items.into_iter().map(|row| self.job_view(row)).collect() })
    }

    /// One job.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::OutOfScope`].
    pub async fn describe_job(&self, who: &Principal, job: &JobId) -> Result<JobView, EngineError> {
        let id = job.clone();
        let row = self.catalog("reading a job", move |catalog, _| Ok(catalog.get_job(&id)?)).await?;
        let row = row.ok_or_else(|| EngineError::NotFound { what: "job", id: job.to_string() })?;
        who.must_reach(&row.project, row.cluster.as_ref())?;
        Ok(self.job_view(row))
    }

    /// Asks a job to stop. It ends as CANCELED at its next stopping point; what it stored so far counts for nothing.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::Catalog`] when it has already ended.
    pub async fn cancel_job(&self, who: &Principal, job: &JobId) -> Result<JobView, EngineError> {
        let outcome = async {
            require_manage(who, "cancel a job")?;
            self.describe_job(who, job).await?;
            let id = job.clone();
            self.catalog("canceling a job", move |catalog, now| Ok(catalog.cancel_job(&id, now)?)).await
        }
        .await;
        self.audit(who, "job.cancel", job.as_str(), &outcome).await;
        Ok(self.job_view(outcome?))
    }

    pub(super) fn job_view(&self, row: JobRow) -> JobView {
        // A job that runs in this process knows better how far it is than its last heartbeat.
        let progress = if row.status.is_terminal() { None } else { self.inner.boards.now(&row.id) };
        JobView {
            job_type: row.job_type,
            status: row.status,
            progress: progress.unwrap_or(row.progress),
            cluster_id: row.cluster,
            backup_id: row.backup,
            create_time: row.created,
            start_time: row.started,
            end_time: row.ended,
            reason: row.reason.unwrap_or_default(),
            retries: row.retries,
            next_retry: row.not_before,
            result: row.result,
            job_id: row.id,
        }
    }
}
