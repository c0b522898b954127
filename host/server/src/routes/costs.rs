//! The call about costs.

use axum::extract::State;

use super::Answer;
use crate::answer::success;
use crate::meaning::Asked;
use crate::query::Parameters;
use crate::request::Caller;
use crate::{App, replies};

pub(super) async fn list(State(app): State<App>, caller: Caller, parameters: Parameters) -> Answer {
    let page = parameters.page(app.limits.page_items)?;
    let query = parameters.cost_query()?;
    let report = app.host.costs(&caller.0, query).await.map_err(|error| Asked::Other.failed(&error))?;
    Ok(success(replies::costs(&report, page)))
}
