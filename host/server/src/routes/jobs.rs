//! Calls about jobs.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream;
use serde_json::Value;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::{Caller, JobPath, LastingKey};
use crate::{App, replies};

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

/// Tells of a job as it goes on: server-sent events of the name `job`, each with what describe answers, until one whose
/// job has ended, or until the key of the call is not good any more. The first comes at once, another whenever something
/// changed, with pauses in between.
pub(super) async fn events(State(app): State<App>, caller: Caller, key: LastingKey, JobPath(job): JobPath) -> Answer {
    let first = app.host.describe_job(&caller.0, &job).await.map_err(|error| Asked::Other.failed(&error))?;
    let pause = Duration::from_millis(app.limits.event_pause_ms);
    let state = (app, key, Some(first), Value::Null);
    let events = stream::unfold(state, move |(app, key, next, told)| {
        let job = job.clone();
        async move {
            let mut view = next?;
            let mut reply = replies::job(&view);
            while reply == told {
                tokio::time::sleep(pause).await;
                // A key that was revoked, a host that stops or a job that is gone ends the stream; the client asks again.
                let who = key.caller(&app).await?;
                view = app.host.describe_job(&who, &job).await.ok()?;
                reply = replies::job(&view);
            }
            let event = Event::default().event("job").data(reply.to_string());
            // The view is looked at again before the next event; an ended job has no next one.
            let next = (!view.status.is_terminal()).then_some(view);
            Some((Ok::<_, Infallible>(event), (app, key, next, reply)))
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

pub(super) async fn cancel(State(app): State<App>, caller: Caller, JobPath(job): JobPath) -> Answer {
    let view = app.host.cancel_job(&caller.0, &job).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::job(&view)))
}
