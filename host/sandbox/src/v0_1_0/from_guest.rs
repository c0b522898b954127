//! From version 0.1.0 to the model: answers, not yet judged.

use longshore_model::{Reason, Refusal, Selected};

use super::bindings::exports::longshore::policy::{compression, placement, selection};
use super::bindings::longshore::policy::types;
use crate::answer::{GivenCodec, GivenPlaced, Page, Reply};

fn reason(reason: types::Reason) -> Reason {
    Reason { code: reason.code, message: reason.message }
}

fn refusal(refusal: types::Refusal) -> Refusal {
    Refusal { reason: reason(refusal.reason), items: refusal.items }
}

/// Answer of `select`.
pub(super) fn selection(answer: Result<selection::PageAnswer, types::Refusal>) -> Reply<Selected> {
    let selected = |given: selection::Selected| Selected {
        include_collection: given.include_collection,
        include_index_files: given.include_index_files,
        priority: given.priority,
        reason: reason(given.reason),
    };
    let page = answer.map_err(refusal)?;
    Ok(Page {
        decisions: page.decisions.into_iter().map(|(id, given)| (id, selected(given))).collect(),
        carry: page.carry,
    })
}

/// Answer of `choose`.
pub(super) fn compression(answer: Result<compression::PageAnswer, types::Refusal>) -> Reply<GivenCodec> {
    let chosen = |given: compression::CodecChoice| GivenCodec { codec: given.codec, reason: reason(given.reason) };
    let page = answer.map_err(refusal)?;
    Ok(Page {
        decisions: page.decisions.into_iter().map(|(id, given)| (id, chosen(given))).collect(),
        carry: page.carry,
    })
}

/// Answer of `place`.
pub(super) fn placement(answer: Result<placement::PageAnswer, types::Refusal>) -> Reply<GivenPlaced> {
    let placed = |given: placement::Placed| GivenPlaced {
        region: given.region,
        copies: given.copies.into_iter().map(|copy| (copy.region, copy.retention_days)).collect(),
        retention_days: given.retention_days,
        reason: reason(given.reason),
    };
    let page = answer.map_err(refusal)?;
    Ok(Page {
        decisions: page.decisions.into_iter().map(|(id, given)| (id, placed(given))).collect(),
        carry: page.carry,
    })
}
