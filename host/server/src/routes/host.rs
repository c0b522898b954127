//! Calls about the host itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Answer;
use crate::answer::{Refusal, success};
use crate::meaning::Asked;
use crate::request::{Action, Caller};
use crate::{App, code};

const RELOAD: Action = Action { name: "host.reload", what: "reload the configuration" };

pub(super) async fn reload(State(app): State<App>, caller: Caller) -> Answer {
    let who = caller.may_administer(&app, RELOAD, "configuration").await?;
    let report = app.host.reload(who).await.map_err(|error| Asked::Reload.failed(&error))?;
    Ok(success(report))
}

/// What decides here, and how it did.
pub(super) async fn policies(State(app): State<App>, caller: Caller) -> Answer {
    let status = app.host.policies(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(status))
}

/// The process answers.
pub(super) async fn healthy() -> Response {
    success(json!({ "status": "ok" }))
}

/// The process can work. It is asked without a key, so what is wrong is only said in the log.
pub(super) async fn ready(State(app): State<App>) -> Answer {
    match app.host.ready().await {
        Ok(()) => Ok(success(json!({ "status": "ready" }))),
        Err(error) => {
            tracing::error!(%error, "not ready");
            let message = "The host is not ready; its log says why.";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, message))
        }
    }
}
