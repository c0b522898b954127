//! Calls about the host itself.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Answer;
use crate::answer::{Refusal, success};
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::{Action, Caller};
use crate::{App, code, metrics, replies};

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

/// Who did what.
pub(super) async fn audit(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let listed = app.host.list_audit(&caller.0, page).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::page("auditLogs", page, listed, replies::audit)))
}

/// Numbers for Prometheus, which sends the key as its bearer token.
pub(super) async fn metrics(State(app): State<App>, caller: Caller) -> Answer {
    let numbers = app.host.metrics(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&numbers)).into_response())
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
