//! Which path leads to which call: the table of calls as a router. `REST.md` lists the same for readers; tests compare.

mod backups;
mod clusters;
mod costs;
mod host;
mod jobs;
mod migrations;
mod schedules;
mod table;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;

pub(crate) use self::table::{Answered, CALLS, Call, Needs, Verb};
use crate::answer::Refusal;
use crate::guard::guard;
use crate::{App, code};

/// What a handler answers.
type Answer = Result<Response, Refusal>;

pub(crate) fn router(app: App) -> Router {
    let router = CALLS.iter().fold(Router::new(), |router, call| router.route(call.path, call.route()));
    router
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

    use super::*;

    #[test]
    fn the_page_for_readers_lists_every_path_and_every_code() {
        let page = include_str!("../../REST.md");
        let mut listed: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
            .filter(|cell| cell.contains(" /"))
            .collect();
        listed.sort();
        let mut routed: Vec<String> =
            CALLS.iter().map(|call| format!("{} {}", call.verb.as_str(), call.path)).collect();
        routed.sort();
        assert_eq!(listed, routed);
        for code in code::ALL {
            assert_eq!(page.matches(&format!("| {code} | ")).count(), 1, "code {code}");
        }
        assert_eq!(
            include_str!("../code.rs").matches(": u32 = ").count(),
            code::ALL.len(),
            "every code is in the list"
        );
    }

    /// The role that the page names for a call.
    #[test]
    fn the_page_for_readers_says_who_may_make_each_call() {
        let page = include_str!("../../REST.md");
        for call in CALLS {
            let start = format!("| `{} {}` | ", call.verb.as_str(), call.path);
            let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            let word = match call.needs {
                Needs::Nothing => "no key",
                Needs::Key(privilege) | Needs::Action(privilege, ..) => match privilege {
                    longshore_engine::Privilege::View => "view",
                    longshore_engine::Privilege::Manage => "manage",
                    longshore_engine::Privilege::ManageProject => "project",
                    longshore_engine::Privilege::Administer => "owner",
                },
            };
            assert_eq!(line.split(" |").next(), Some(word), "{start}");
        }
    }

    #[test]
    fn names_of_calls_are_used_once() {
        let names: std::collections::BTreeSet<&str> = CALLS.iter().map(|call| call.name).collect();
        assert_eq!(names.len(), CALLS.len());
    }
}
