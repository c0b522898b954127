//! The REST API of Longshore: Zilliz Cloud's v2 backup API and a few calls of our own, over an engine [`Host`].
//!
//! Contract: every answer, also to a path that does not exist, is JSON in one envelope, `{"code":0,"data":…}` or
//! `{"code":N,"message":"…"}`, and carries a `requestid` header. `REST.md` beside this crate lists paths, codes and
//! where documents that disagree are both accepted. The server keeps no state but how often each key has called in the
//! last second; what a call does is the engine's.
//!
//! Failure: a wrong request gets a 4xx and a sentence and changes nothing. A call that changes something goes on when
//! its client leaves or its time is up, so what it started is never cut in half. A panic in a handler becomes a 500
//! without details and ends nothing else.

mod answer;
mod code;
mod fields;
mod form;
mod forms;
mod guard;
mod limits;
mod listen;
mod meaning;
mod metrics;
mod openapi;
mod query;
mod rates;
mod replies;
mod request;
mod requests;
mod routes;
mod schedule;
mod tls;
mod webhook;

use std::sync::Arc;

use axum::Router;
use longshore_engine::Host;

pub use limits::Limits;
pub use listen::{serve, serve_with};
pub use openapi::openapi;
pub use tls::{Certificate, Tls, TlsError};
pub use webhook::HttpNotifier;

/// What every handler gets.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) host: Host,
    pub(crate) limits: Arc<Limits>,
    pub(crate) rates: Arc<rates::Rates>,
    pub(crate) tls: Option<Tls>,
}

/// The API as a service, for embedding it into another server or for tests.
pub fn router(host: Host, limits: Limits) -> Router {
    router_with(host, limits, None)
}

/// The same, with the certificate that a reload reads again.
pub(crate) fn router_with(host: Host, limits: Limits, tls: Option<Tls>) -> Router {
    let rates = Arc::new(rates::Rates::new(limits.calls_per_second));
    routes::router(App { host, limits: Arc::new(limits), rates, tls })
}
