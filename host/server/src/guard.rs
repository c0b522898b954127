//! Around every call: its id, its time limit, its panics, its line in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use crate::answer::Refusal;
use crate::{Limits, code};

/// The header that Zilliz's clients read.
const REQUEST_ID: HeaderName = HeaderName::from_static("requestid");

/// Stops a call that only reads when nobody waits for it any more.
struct StopOnDrop(Option<AbortHandle>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// Runs a call as a task of its own. A call that changes something is not dropped when its client leaves or its time is
/// up: it ends, and what it did is in the audit log.
pub(crate) async fn guard(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let id = request_id();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", id = %id.to_str().unwrap_or_default(), %method, path);
    let mut task = tokio::spawn(next.run(request).instrument(span.clone()));
    let stop = StopOnDrop(method.is_safe().then(|| task.abort_handle()));
    let answer = tokio::time::timeout(Duration::from_millis(limits.call_ms), &mut task).await;
    drop(stop);
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            // The text of a panic is in the program's own error output; the client gets no part of it.
            tracing::error!(parent: &span, panicked = error.is_panic(), "a call ended without an answer");
            Refusal::internal().into_response()
        }
        Err(_) => timed_out(method.is_safe()).into_response(),
    };
    let status = response.status().as_u16();
    let time_ms = started.elapsed().as_millis();
    tracing::info!(parent: &span, status, time_ms, "answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn timed_out(safe: bool) -> Refusal {
    let message = if safe {
        "The call took too long and was given up; try again."
    } else {
        "The call takes longer than a call may; it goes on. Look at the list of jobs before asking again."
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::TIMED_OUT, message)
}

/// Sixteen random bytes, as text. Without random bytes the id is less good, but a call must not fail for that.
fn request_id() -> HeaderValue {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        return HeaderValue::from_static("unknown");
    }
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    fn guarded(router: Router, limits: Limits) -> Router {
        router.layer(from_fn_with_state(Arc::new(limits), guard))
    }

    async fn ask(router: &Router, method: &str, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1_000_000).await.unwrap();
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_without_details_and_ends_nothing_else() {
        async fn panics() -> &'static str {
            panic!("the secret is 42")
        }
        let router = Router::new().route("/panics", get(panics)).route("/works", get(|| async { "works" }));
        let router = guarded(router, Limits::DEFAULT);
        let (status, first, body) = ask(&router, "GET", "/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("\"code\":97010") && !body.contains("42"), "{body}");
        let (status, second, body) = ask(&router, "GET", "/works").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "works"));
        assert!(first.len() == 32 && second.len() == 32 && first != second, "{first} {second}");
    }

    #[tokio::test]
    async fn a_call_that_changes_something_ends_although_its_time_is_up_and_one_that_reads_does_not() {
        /// Tells how a call went away: by its end, or before.
        struct Fate(tokio::sync::mpsc::UnboundedSender<&'static str>, &'static str);
        impl Drop for Fate {
            fn drop(&mut self) {
                let _ = self.0.send(self.1);
            }
        }
        let go = Arc::new(Notify::new());
        let (send, mut fates) = tokio::sync::mpsc::unbounded_channel();
        let handler = {
            let go = Arc::clone(&go);
            move || async move {
                let mut fate = Fate(send, "dropped");
                go.notified().await;
                fate.1 = "ended";
            }
        };
        let router = Router::new().route("/slow", post(handler.clone()).get(handler));
        let router = guarded(router, Limits { call_ms: 10, ..Limits::DEFAULT });
        let (status, _, body) = ask(&router, "POST", "/slow").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("it goes on"), "{body}");
        go.notify_one();
        assert_eq!(fates.recv().await, Some("ended"));

        let (status, _, body) = ask(&router, "GET", "/slow").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("try again"), "{body}");
        assert_eq!(fates.recv().await, Some("dropped"));
    }

    #[tokio::test]
    async fn a_call_that_changes_something_ends_although_its_client_has_left() {
        let (begun, go, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (begun, go, ended) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&ended));
            move || async move {
                begun.notify_one();
                go.notified().await;
                ended.notify_one();
            }
        };
        let router = guarded(Router::new().route("/slow", post(handler)), Limits::DEFAULT);
        let client = tokio::spawn(async move { ask(&router, "POST", "/slow").await });
        begun.notified().await;
        client.abort();
        client.await.unwrap_err();
        go.notify_one();
        ended.notified().await;
    }
}
