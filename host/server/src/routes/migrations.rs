//! Calls about databases of elsewhere.

use axum::extract::{Request, State};
use serde_json::json;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::request::{Caller, json_body};
use crate::{App, replies, requests};

pub(super) async fn apply_volume(State(app): State<App>, caller: Caller, request: Request) -> Answer {
    let request = requests::apply_volume(&json_body(request, &app.limits).await?)?;
    let applied = app.host.apply_volume(&caller.0, request).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::applied_volume(&applied)))
}

pub(super) async fn start(State(app): State<App>, caller: Caller, request: Request) -> Answer {
    let request = requests::start_migration(&json_body(request, &app.limits).await?)?;
    let job = app.host.start_migration(&caller.0, request).await.map_err(|error| Asked::Migrate.failed(&error))?;
    Ok(success(json!({ "jobId": job })))
}
