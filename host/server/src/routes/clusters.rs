//! Calls about clusters, projects, regions and clouds.

use axum::extract::State;
use serde_json::{Value, json};

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::{Caller, ClusterPath, ProjectPath};
use crate::{App, replies};

pub(super) async fn list(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let listed = app.host.list_clusters(&caller.0, page).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::page("clusters", page, listed, replies::cluster)))
}

pub(super) async fn describe(State(app): State<App>, caller: Caller, ClusterPath(cluster): ClusterPath) -> Answer {
    let view = app.host.describe_cluster(&caller.0, &cluster).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::cluster(&view)))
}

/// Clients send a body of `{}` with a drop; it is not read.
pub(super) async fn drop(State(app): State<App>, caller: Caller, ClusterPath(cluster): ClusterPath) -> Answer {
    let dropped = app.host.drop_cluster(&caller.0, &cluster).await.map_err(|error| Asked::Other.failed(&error))?;
    let kept = replies::seconds_or_null(dropped.kept_until);
    let automatic = match kept.as_str() {
        Some(time) => format!("will be deleted at {time}; until then they can be restored"),
        None => "are deleted".to_owned(),
    };
    let prompt = format!(
        "The cluster is no longer backed up and its automatic backups {automatic}. Its data was not touched, and backups \
         made by hand stay until they are deleted by hand."
    );
    let deleted = dropped.deleted_backups;
    Ok(success(json!({ "clusterId": cluster, "prompt": prompt, "deletedBackups": deleted, "backupsKeptUntil": kept })))
}

pub(super) async fn projects(State(app): State<App>, caller: Caller) -> Answer {
    let projects = app.host.list_projects(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(projects.iter().map(replies::project).collect::<Value>()))
}

pub(super) async fn project(State(app): State<App>, caller: Caller, ProjectPath(project): ProjectPath) -> Answer {
    let view = app.host.describe_project(&caller.0, &project).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::project(&view)))
}

pub(super) async fn regions(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let mut regions = app.host.list_regions(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    if let Some(cloud) = parameters.text("cloudId") {
        regions.retain(|view| view.region.provider == cloud);
    }
    Ok(success(regions.iter().map(replies::region).collect::<Value>()))
}

pub(super) async fn clouds(State(app): State<App>, caller: Caller) -> Answer {
    let regions = app.host.list_regions(&caller.0).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::clouds(&regions)))
}
