//! Candidates that are asked beside the policy that decides, and never act.
//!
//! Contract: a shadow is asked, after the decisions of a kind are made, exactly the questions that its member was asked
//! and answered, with its own settings, budget and carry. Nothing it answers goes anywhere but into the
//! [`ShadowOutcome`]; nothing it does fails a run. After its first failure or refusal, and after
//! [`Limits::shadow_time_ms`], it is not asked again in that run.

use std::fmt;
use std::sync::Arc;

use longshore_model::PolicyKind;
use serde::{Deserialize, Serialize};

use crate::compare::changes;
use crate::decision::DecidedBy;
use crate::member::{AcceptedMember, AcceptedShadow};
use crate::replay::ask_again;
use crate::{
    Answers, Budget, Call, Change, ChangeKind, DecisionRecord, Estimates, Failure, Limits, Oracle, Question,
    RecordedOutcome,
};

/// A candidate beside a member of a chain.
#[derive(Clone)]
pub struct Shadow {
    /// The candidate.
    pub plugin: Arc<dyn Oracle>,
    /// Its settings, valid under its own schema.
    pub settings: serde_json::Value,
    /// What one call of it may use.
    pub budget: Budget,
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = self.plugin.about();
        f.debug_tuple("Shadow").field(&format_args!("{} {}", about.name, about.version)).finish()
    }
}

/// What a candidate would have decided in one run, beside the member that did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowOutcome {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// The member that decided.
    pub active: DecidedBy,
    /// The candidate.
    pub candidate: DecidedBy,
    /// Items it was asked about and answered the page of.
    pub decisions: u64,
    /// Items it would have decided otherwise.
    pub changed: u64,
    /// Of these, protected collections that would have lost their backup, or about which it has no opinion any more.
    pub protected_changes: u64,
    /// Items it was not asked about, because it had failed or its time was up.
    pub not_asked: u64,
    /// How it failed or refused, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Fuel of its calls.
    pub fuel_used: u64,
    /// Some of the changes.
    pub examples: Vec<Change>,
}

/// Asks the shadow of a member what the member was asked in this run; `None` if it has no shadow or was not asked.
pub(crate) fn ask(
    kind: PolicyKind,
    member: &AcceptedMember,
    records: &[DecisionRecord],
    limits: &Limits,
) -> Option<ShadowOutcome> {
    let shadow = member.shadow.as_ref()?;
    let asked = records.iter().filter(|record| {
        record.question.kind() == kind && record.asked.member == member.member.name && answers(record).is_some()
    });
    let asked: Vec<&DecisionRecord> = asked.collect();
    if asked.is_empty() {
        return None;
    }
    let mut outcome = ShadowOutcome {
        kind,
        active: member.identity(),
        candidate: shadow.identity(&member.member.name),
        decisions: 0,
        changed: 0,
        protected_changes: 0,
        not_asked: 0,
        failure: None,
        fuel_used: 0,
        examples: Vec::new(),
    };
    let estimates = Estimates::of(records);
    let (mut carry, mut spent_us) = (Vec::new(), 0_u64);
    for record in asked {
        if outcome.failure.is_some() || spent_us > limits.shadow_time_ms.saturating_mul(1_000) {
            outcome.not_asked += record.question.items() as u64;
            continue;
        }
        let (next, elapsed_us) = ask_page(record, shadow, &carry, &estimates, limits, &mut outcome);
        carry = next;
        spent_us = spent_us.saturating_add(elapsed_us);
    }
    Some(outcome)
}

/// Asks about one page: what the next page is handed, and how long it took.
fn ask_page(
    record: &DecisionRecord,
    shadow: &AcceptedShadow,
    carry: &[u8],
    estimates: &Estimates<'_>,
    limits: &Limits,
    outcome: &mut ShadowOutcome,
) -> (Vec<u8>, u64) {
    let call = Call {
        run: &record.run,
        settings: &shadow.settings.text,
        carry,
        page_number: record.page_number,
        last_page: record.last_page,
        budget: &shadow.shadow.budget,
        files: &record.files,
    };
    let ended = ask_again(&record.question, shadow.shadow.plugin.as_ref(), &call);
    let items = record.question.items() as u64;
    match ended.outcome {
        RecordedOutcome::Answered { answers: after, carry, fuel_used, .. } => {
            outcome.decisions += items;
            outcome.fuel_used = outcome.fuel_used.saturating_add(fuel_used);
            if let Some(before) = answers(record) {
                note(changes(&record.question, before, &after, estimates), limits, outcome);
            }
            (carry, ended.elapsed_us)
        }
        RecordedOutcome::Refused(refusal) => {
            let message = format!("it refuses: {} ({})", refusal.reason.message, refusal.reason.code);
            fail(record, Failure { code: "refused".to_owned(), message }, outcome);
            (Vec::new(), 0)
        }
        RecordedOutcome::Failed(failure) => {
            fail(record, failure, outcome);
            (Vec::new(), 0)
        }
    }
}

fn note(changes: Vec<Change>, limits: &Limits, outcome: &mut ShadowOutcome) {
    for change in changes {
        outcome.changed += 1;
        let loses = change.loses_backup() || (change.protected && change.change == ChangeKind::NoOpinion);
        if loses {
            outcome.protected_changes += 1;
        }
        // What would be lost is worth more than what comes first.
        if outcome.examples.len() < limits.shadow_examples {
            outcome.examples.push(change);
        } else if loses && let Some(place) = outcome.examples.iter().rposition(|one| !one.loses_backup()) {
            outcome.examples.remove(place);
            outcome.examples.push(change);
        }
    }
}

/// Had it decided, the job would have failed, and with it the backup of every protected collection of the page.
fn fail(record: &DecisionRecord, failure: Failure, outcome: &mut ShadowOutcome) {
    if let Question::Selection { collections } | Question::Placement { collections, .. } = &record.question {
        outcome.protected_changes += collections.iter().filter(|facts| facts.protected).count() as u64;
    }
    outcome.not_asked += record.question.items() as u64;
    outcome.failure = Some(failure);
}

fn answers(record: &DecisionRecord) -> Option<&Answers> {
    match &record.outcome {
        RecordedOutcome::Answered { answers, .. } => Some(answers),
        RecordedOutcome::Refused(_) | RecordedOutcome::Failed(_) => None,
    }
}
