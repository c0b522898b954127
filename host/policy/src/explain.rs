//! A plan as rows for a person; how they are drawn is up to whoever shows them.

use longshore_model::{CodecChoice, Placed, PolicyKind, Reason, Selected};
use serde::{Deserialize, Serialize};

use crate::Plan;

/// An answer that can be put in a few words.
pub trait Choice {
    /// The answer in a few words.
    fn describe(&self) -> String;
    /// Why.
    fn reason(&self) -> &Reason;
}

impl Choice for Selected {
    fn describe(&self) -> String {
        let mut text = if self.include_collection { "in".to_owned() } else { return "left out".to_owned() };
        if self.include_index_files {
            text.push_str(", with index files");
        }
        if self.priority != 0 {
            text.push_str(&format!(", priority {}", self.priority));
        }
        text
    }

    fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Choice for CodecChoice {
    fn describe(&self) -> String {
        self.codec.to_string()
    }

    fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Choice for Placed {
    fn describe(&self) -> String {
        let place = |region: &dyn std::fmt::Display, days: Option<u32>| match days {
            Some(1) => format!("{region} (1 day)"),
            Some(days) => format!("{region} ({days} days)"),
            None => region.to_string(),
        };
        let copies: Vec<String> = self.copies.iter().map(|copy| place(&copy.region, copy.retention_days)).collect();
        let main = place(&self.region, self.retention_days);
        if copies.is_empty() { main } else { format!("{main}, copy in {}", copies.join(" and ")) }
    }

    fn reason(&self) -> &Reason {
        &self.reason
    }
}

/// One line of a decision table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainRow {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// `database.collection`, with `/class` for a stream.
    pub item: String,
    /// What holds, in a few words.
    pub decision: String,
    /// Code of the reason.
    pub reason_code: String,
    /// The reason as a sentence.
    pub message: String,
    /// Plugin and version whose answer it is, or whose answer was overridden.
    pub decided_by: String,
    /// The guardrail that changed the answer, what it says, and what the plugin had answered.
    pub overridden: Option<String>,
    /// What other members said: `member agrees: …`, `member disagrees: …`.
    pub others: Vec<String>,
}

/// The rows of a plan, in the order of its decisions.
#[must_use]
pub fn explain<T: Choice>(plan: &Plan<T>) -> Vec<ExplainRow> {
    let rows = plan.decisions.iter().map(|decision| {
        let item = match decision.class {
            None => decision.collection.to_string(),
            Some(class) => format!("{}/{class}", decision.collection),
        };
        let overridden = decision.overridden.as_ref().map(|changed| {
            let (answer, reason) = (changed.original.describe(), changed.original.reason());
            format!("{}: {} The policy had said: {answer} ({})", changed.rule, changed.message, reason.message)
        });
        let others = decision.others.iter().map(|other| {
            let verb = if other.agrees { "agrees" } else { "disagrees" };
            format!("{} {verb}: {}", other.member, other.reason.message)
        });
        ExplainRow {
            kind: plan.kind,
            item,
            decision: decision.value.describe(),
            reason_code: decision.value.reason().code.clone(),
            message: decision.value.reason().message.clone(),
            decided_by: format!("{} {}", decision.decided_by.plugin, decision.decided_by.version),
            overridden,
            others: others.collect(),
        }
    });
    rows.collect()
}
