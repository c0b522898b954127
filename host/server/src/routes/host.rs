//! Calls about the host itself.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use longshore_engine::Page;
use serde_json::json;

use super::Answer;
use crate::answer::{Refusal, success};
use crate::meaning::{Asked, sentence};
use crate::query::Parameters;
use crate::request::Caller;
use crate::{App, Tls, code, metrics, replies};

pub(super) async fn reload(State(app): State<App>, caller: Caller) -> Answer {
    let certificate = app
        .tls
        .as_ref()
        .map(Tls::read)
        .transpose()
        .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code::RELOAD_REFUSED, sentence(&error)))?;
    let report = app.host.reload(&caller.0).await.map_err(|error| Asked::Reload.failed(&error))?;
    if let (Some(tls), Some(certificate)) = (&app.tls, certificate) {
        tls.use_from_now_on(certificate);
    }
    Ok(success(report))
}

/// The document of this API.
pub(super) async fn openapi() -> Response {
    Json(crate::openapi::openapi()).into_response()
}

/// Which plugins there are, and where they are used.
pub(super) async fn plugins(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let plugins = app.host.plugins(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    let first = page.size as usize * (page.number as usize - 1);
    let count = plugins.len() as u64;
    let items = plugins.into_iter().skip(first).take(page.size as usize).collect();
    Ok(success(replies::page("plugins", page, Page { count, items }, replies::plugin)))
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
