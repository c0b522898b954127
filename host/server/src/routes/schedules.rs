//! Calls about schedules, which Zilliz Cloud calls backup policies.

use axum::extract::{Request, State};
use serde_json::json;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::request::{Caller, ClusterPath, json_body};
use crate::{App, schedule};

pub(super) async fn set(
    State(app): State<App>,
    caller: Caller,
    ClusterPath(cluster): ClusterPath,
    request: Request,
) -> Answer {
    let set = schedule::set_schedule(&json_body(request, &app.limits).await?)?;
    let view = app.host.set_schedule(&caller.0, &cluster, set).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(json!({ "clusterId": view.cluster_id, "status": schedule::status(&view) })))
}

pub(super) async fn describe(State(app): State<App>, caller: Caller, ClusterPath(cluster): ClusterPath) -> Answer {
    let view = app.host.get_schedule(&caller.0, &cluster).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(schedule::reply(&view)))
}
