//! Calls about backups.

use axum::extract::{Request, State};
use serde_json::json;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::{BackupPath, Caller, ClusterPath, json_body};
use crate::{App, replies, requests};

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    ClusterPath(cluster): ClusterPath,
    request: Request,
) -> Answer {
    let request = requests::create_backup(&json_body(request, &app.limits).await?)?;
    let created =
        app.host.create_backup(&caller.0, &cluster, request).await.map_err(|error| Asked::Create.failed(&error))?;
    Ok(success(json!({
        "backupId": created.backup_id,
        "backupName": created.backup_name,
        "jobId": created.job_id,
    })))
}

pub(super) async fn list(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let filter = parameters.backup_filter()?;
    let listed = app.host.list_backups(&caller.0, filter, page).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::page("backups", page, listed, replies::backup)))
}

pub(super) async fn describe(State(app): State<App>, caller: Caller, path: BackupPath) -> Answer {
    let view = app.host.describe_backup(&caller.0, &path.cluster, &path.backup).await;
    let view = view.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::backup_in_full(&view)))
}

/// Clients send a body of `{}` with a delete; it is not read.
pub(super) async fn delete(State(app): State<App>, caller: Caller, path: BackupPath) -> Answer {
    let deleted = app.host.delete_backup(&caller.0, &path.cluster, &path.backup).await;
    let deleted = deleted.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(json!({ "backupId": deleted.backup_id, "backupName": deleted.backup_name })))
}

pub(super) async fn restore_cluster(
    State(app): State<App>,
    caller: Caller,
    path: BackupPath,
    request: Request,
) -> Answer {
    let request = requests::restore_cluster(&json_body(request, &app.limits).await?)?;
    let restoring = app.host.restore_cluster(&caller.0, &path.cluster, &path.backup, request).await;
    let restoring = restoring.map_err(|error| Asked::RestoreCluster.failed(&error))?;
    Ok(success(replies::restoring(&restoring)))
}

pub(super) async fn restore_collections(
    State(app): State<App>,
    caller: Caller,
    path: BackupPath,
    request: Request,
) -> Answer {
    let request = requests::restore_collections(&json_body(request, &app.limits).await?)?;
    let job = app.host.restore_collections(&caller.0, &path.cluster, &path.backup, request).await;
    let job = job.map_err(|error| Asked::RestoreCollection.failed(&error))?;
    Ok(success(json!({ "jobId": job })))
}

pub(super) async fn decisions(
    State(app): State<App>,
    caller: Caller,
    path: BackupPath,
    parameters: Parameters,
) -> Answer {
    let wanted = parameters.decisions()?;
    let decisions = app.host.decisions(&caller.0, &path.cluster, &path.backup).await;
    let mut decisions = decisions.map_err(|error| Asked::Other.failed(&error))?;
    wanted.keep(&mut decisions);
    Ok(success(decisions))
}

pub(super) async fn verify(State(app): State<App>, caller: Caller, path: BackupPath, request: Request) -> Answer {
    let request = requests::verify_backup(&json_body(request, &app.limits).await?)?;
    let job = app.host.verify_backup(&caller.0, &path.cluster, &path.backup, request).await;
    Ok(success(json!({ "jobId": job.map_err(|error| Asked::Other.failed(&error))? })))
}

pub(super) async fn export(State(app): State<App>, caller: Caller, path: BackupPath, request: Request) -> Answer {
    let request = requests::export_backup(&json_body(request, &app.limits).await?)?;
    let job = app.host.export_backup(&caller.0, &path.cluster, &path.backup, request).await;
    Ok(success(json!({ "jobId": job.map_err(|error| Asked::Other.failed(&error))? })))
}

pub(super) async fn rename(State(app): State<App>, caller: Caller, path: BackupPath, request: Request) -> Answer {
    let name = requests::rename_backup(&json_body(request, &app.limits).await?)?;
    let renamed = app.host.rename_backup(&caller.0, &path.cluster, &path.backup, &name).await;
    let renamed = renamed.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(json!({ "backupId": renamed.backup_id, "backupName": renamed.backup_name })))
}
