//! Calls about jobs.

use axum::extract::State;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::{Action, Caller, JobPath};
use crate::{App, replies};

const CANCEL: Action = Action { name: "job.cancel", what: "cancel a job" };

pub(super) async fn list(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let filter = parameters.job_filter()?;
    let listed = app.host.list_jobs(&caller.0, filter, page).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::page("jobs", page, listed, replies::job)))
}

pub(super) async fn describe(State(app): State<App>, caller: Caller, JobPath(job): JobPath) -> Answer {
    let view = app.host.describe_job(&caller.0, &job).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::job(&view)))
}

pub(super) async fn cancel(State(app): State<App>, caller: Caller, JobPath(job): JobPath) -> Answer {
    let who = caller.may_manage(&app, CANCEL, job.as_str()).await?;
    let view = app.host.cancel_job(who, &job).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::job(&view)))
}
