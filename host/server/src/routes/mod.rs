//! Which path leads to which call. `REST.md` lists the same for readers; a test compares the two.

mod backups;
mod clusters;
mod host;
mod jobs;
mod schedules;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{delete, get, post};

use crate::answer::Refusal;
use crate::guard::guard;
use crate::{App, code};

/// What a handler answers.
type Answer = Result<Response, Refusal>;

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v2/clusters/{cluster_id}/backups/create", post(backups::create))
        .route("/v2/backups", get(backups::list))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}", get(backups::describe).delete(backups::delete))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/restoreCluster", post(backups::restore_cluster))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/restoreCollection", post(backups::restore_collections))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/decisions", get(backups::decisions))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/verify", post(backups::verify))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/export", post(backups::export))
        .route("/v2/clusters/{cluster_id}/backups/{backup_id}/rename", post(backups::rename))
        .route("/v2/clusters/{cluster_id}/backups/policy", post(schedules::set).get(schedules::describe))
        .route("/v2/jobs", get(jobs::list))
        .route("/v2/jobs/{job_id}", get(jobs::describe))
        .route("/v2/jobs/{job_id}/events", get(jobs::events))
        .route("/v2/jobs/{job_id}/cancel", post(jobs::cancel))
        .route("/v2/clusters", get(clusters::list))
        .route("/v2/clusters/{cluster_id}", get(clusters::describe))
        .route("/v2/clusters/{cluster_id}/drop", delete(clusters::drop))
        .route("/v2/auditLogs", get(host::audit))
        .route("/v2/projects", get(clusters::projects))
        .route("/v2/projects/{project_id}", get(clusters::project))
        .route("/v2/regions", get(clusters::regions))
        .route("/v2/clouds", get(clusters::clouds))
        .route("/v2/policies", get(host::policies))
        .route("/v2/reload", post(host::reload))
        .route("/metrics", get(host::metrics))
        .route("/healthz", get(host::healthy))
        .route("/readyz", get(host::ready))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // Last, so that it also goes around what the fallbacks answer.
        .layer(from_fn_with_state(std::sync::Arc::clone(&app.limits), guard))
        .with_state(app)
}

async fn no_such_path() -> Refusal {
    let message = "There is no such path in this API; REST.md of longshore-server lists what there is.";
    Refusal::new(StatusCode::NOT_FOUND, code::NO_SUCH_PATH, message)
}

async fn no_such_method() -> Refusal {
    let message = "This path does not know this method; the `allow` header of this answer lists those it knows.";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::NO_SUCH_METHOD, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    /// What this file routes, as `METHOD path`.
    fn routed() -> Vec<String> {
        let mut routes = Vec::new();
        let source = include_str!("mod.rs").split("mod tests").next().unwrap();
        for call in source.split(".route(").skip(1) {
            let path = call.split('"').nth(1).unwrap();
            for (method, word) in [("GET", "get("), ("POST", "post("), ("DELETE", "delete(")] {
                if call.split(".route(").next().unwrap().contains(word) {
                    routes.push(format!("{method} {path}"));
                }
            }
        }
        routes.sort();
        routes
    }

    #[test]
    fn the_page_for_readers_lists_every_path_and_every_code() {
        let page = include_str!("../../REST.md");
        let mut listed: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
            .filter(|cell| cell.contains(" /"))
            .collect();
        listed.sort();
        assert_eq!(listed, routed());
        assert!(listed.len() >= 18, "{listed:?}");
        let codes = include_str!("../code.rs").lines().filter_map(|line| line.split("u32 = ").nth(1));
        for code in codes.map(|code| code.trim_end_matches(';')) {
            assert_eq!(page.matches(&format!("| {code} | ")).count(), 1, "code {code}");
        }
    }
}
