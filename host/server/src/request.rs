//! What handlers take from a request: who calls, which ids the path names, the JSON body.
//!
//! Order matters: a handler lists [`Caller`] first and reads the body last, so nothing of a body is read for somebody
//! without a key or without the role.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, MatchedPath, Path, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use longshore_engine::{Attempt, Principal, Target};
use longshore_model::{BackupId, ClusterId, JobId, ProjectId};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::meaning::{Asked, sentence};
use crate::routes::{Call, Needs};
use crate::{App, Limits, code};

/// Who calls, as their key says. Having one means that the role and the scope of the key allow the call.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let key = bearer(parts).filter(|key| !key.is_empty() && key.len() <= app.limits.key_bytes);
        let key = &key.ok_or_else(Refusal::illegal_key)?.to_owned();
        match app.host.authenticate(key).await {
            // After the key: one that is not known has no bucket to fill the memory with.
            Ok(principal) => {
                let path = parts.extensions.get::<MatchedPath>().cloned();
                let path = path.as_ref().map_or("", MatchedPath::as_str);
                if !app.rates.take(key, parts.method.as_str(), path, Instant::now()) {
                    return Err(Refusal::too_many_calls(app.limits.calls_per_second));
                }
                permit(parts, app, &principal, path).await?;
                Ok(Self(principal))
            }
            Err(error) => Err(Asked::Other.failed(&error)),
        }
    }
}

/// The key of a call that goes on for long, to look again and again whether it still opens the door. Not for `Debug`.
pub(crate) struct LastingKey(String);

impl FromRequestParts<App> for LastingKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Refusal> {
        Ok(Self(bearer(parts).ok_or_else(Refusal::illegal_key)?.to_owned()))
    }
}

impl LastingKey {
    /// Whose key it is; `None` once it was revoked or has expired.
    pub(crate) async fn caller(&self, app: &App) -> Option<Principal> {
        app.host.authenticate(&self.0).await.ok()
    }
}

/// The key of the one `Authorization` header; more than one could mean different keys to different readers.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Refuses what the table of calls says that a role or a scope does not allow. Ids that have no form are left to the
/// handler, which says what is wrong with them.
async fn permit(parts: &mut Parts, app: &App, who: &Principal, path: &str) -> Result<(), Refusal> {
    let Some(call) = Call::find(parts.method.as_str(), path) else { return Ok(()) };
    let (needs, action, what) = match call.needs {
        Needs::Nothing => return Ok(()),
        Needs::Key(privilege) => (privilege, None, "see this"),
        Needs::Action(privilege, action, what) => (privilege, Some(action), what),
    };
    let named = Named::of(RawPathParams::from_request_parts(parts, app).await.ok());
    let target = match &named {
        Named { cluster: Some(cluster), backup: Some(backup), .. } => Target::Backup(cluster, backup),
        Named { cluster: Some(cluster), .. } => Target::Cluster(cluster),
        Named { job: Some(job), .. } => Target::Job(job),
        _ => Target::Host,
    };
    let permitted = app.host.permit(who, Attempt { action, what, needs, target }).await;
    permitted.map_err(|error| Asked::Other.failed(&error))
}

/// The ids in a path that have their form.
#[derive(Default)]
struct Named {
    cluster: Option<ClusterId>,
    backup: Option<BackupId>,
    job: Option<JobId>,
}

impl Named {
    fn of(parameters: Option<RawPathParams>) -> Self {
        let mut named = Self::default();
        for (name, text) in parameters.iter().flatten() {
            match name {
                "cluster_id" => named.cluster = text.parse().ok(),
                "backup_id" => named.backup = text.parse().ok(),
                "job_id" => named.job = text.parse().ok(),
                _ => {}
            }
        }
        named
    }
}

/// A cluster and a backup named by the path.
#[derive(Debug)]
pub(crate) struct BackupPath {
    pub(crate) cluster: ClusterId,
    pub(crate) backup: BackupId,
}

impl FromRequestParts<App> for BackupPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let path = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((cluster, backup)) = path.map_err(|error| undecodable(&error))?;
        let backup_id = backup
            .parse()
            .map_err(|error| Refusal::new(StatusCode::NOT_FOUND, code::BACKUP_NOT_FOUND, sentence(&error)));
        Ok(Self { cluster: cluster_id(&cluster)?, backup: backup_id? })
    }
}

/// A cluster named by the path.
#[derive(Debug)]
pub(crate) struct ClusterPath(pub(crate) ClusterId);

impl FromRequestParts<App> for ClusterPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let cluster = only_segment(parts, app).await?;
        Ok(Self(cluster_id(&cluster)?))
    }
}

/// A project named by the path.
#[derive(Debug)]
pub(crate) struct ProjectPath(pub(crate) ProjectId);

impl FromRequestParts<App> for ProjectPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let project = only_segment(parts, app).await?;
        project.parse().map(Self).map_err(|error| Refusal::bad(code::PROJECT, sentence(&error)))
    }
}

/// A job named by the path.
#[derive(Debug)]
pub(crate) struct JobPath(pub(crate) JobId);

impl FromRequestParts<App> for JobPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let job = only_segment(parts, app).await?;
        match job.parse() {
            Ok(job) => Ok(Self(job)),
            Err(error) => Err(Refusal::new(StatusCode::NOT_FOUND, code::JOB_NOT_FOUND, sentence(&error))),
        }
    }
}

/// The text of a path's only variable part.
async fn only_segment(parts: &mut Parts, app: &App) -> Result<String, Refusal> {
    let path = Path::<String>::from_request_parts(parts, app).await;
    path.map(|Path(text)| text).map_err(|error| undecodable(&error))
}

/// A cluster id that was sent.
fn cluster_id(text: &str) -> Result<ClusterId, Refusal> {
    text.parse().map_err(|error| Refusal::bad(code::CLUSTER_ID, sentence(&error)))
}

fn undecodable(error: &PathRejection) -> Refusal {
    tracing::debug!(%error, "a path could not be decoded");
    Refusal::bad(code::INVALID_FIELD, "The path is not percent-encoded UTF-8.")
}

/// Reads the body as JSON, whatever its content type says: clients forget that header. Called after the role is checked.
pub(crate) async fn json_body(request: Request, limits: &Limits) -> Result<Value, Refusal> {
    let limit = limits.body_bytes;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    let bytes = read(request.into_body(), limit, limits.body_ms).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::bad(code::NOT_JSON, "The body is empty; send a JSON object."));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        // The place is said, the content is not repeated.
        let message = format!("The body is not JSON: line {}, column {}.", error.line(), error.column());
        Refusal::bad(code::NOT_JSON, message)
    })
}

fn too_large(limit: usize) -> Refusal {
    let message = format!("The body is larger than the {limit} bytes that are accepted.");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, message)
}

async fn read(body: Body, limit: usize, time_ms: u64) -> Result<axum::body::Bytes, Refusal> {
    match tokio::time::timeout(Duration::from_millis(time_ms), to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large(limit)),
        Ok(Err(_)) => Err(Refusal::bad(code::NOT_JSON, "The body ended before it was complete.")),
        Err(_) => {
            let message = format!("The body did not arrive within {time_ms} ms; nothing was changed.");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, code::TOO_SLOW, message))
        }
    }
}

/// `to_bytes` tells a body over the limit only by the error inside its error.
fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("length limit"))
}
