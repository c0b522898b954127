//! What would have changed a decision: the same question asked again with one fact altered.
//!
//! Contract: one fact at a time, from a list that follows from the facts themselves ([`alterations`]); all other facts,
//! the settings, carry and budget stay as recorded. All members that were asked about the item are asked again, where
//! their plugins are at hand; the others keep what they said. Guardrails that go by facts (protected, requested) apply
//! again. At most [`Limits::counterfactual_calls`] calls are made; alterations beyond that are counted, not tried.
//!
//! Failure: [`PolicyError::NotReplayable`] if a record is of another contract or not about the item.

mod extras;
mod facts;

use longshore_model::{CodecChoice, Placed, PolicyKind, Reason, Selected};
use serde::Serialize;

pub use self::facts::{Alteration, alterations};
use crate::replay::{ask_again, ending};
use crate::{
    Answered, Answers, Call, Choice, DecisionRecord, Guardrails, Limits, Oracle, PolicyError, RecordedOutcome,
    WORLD_VERSION,
};

/// A member that was asked about an item.
#[derive(Clone, Copy)]
pub struct Voice<'a> {
    /// The call.
    pub record: &'a DecisionRecord,
    /// Place of the item in it.
    pub place: u32,
    /// The plugin, if it is at hand.
    pub plugin: Option<&'a dyn Oracle>,
}

/// One fact that would have changed the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counterfactual {
    /// Which fact.
    pub fact: String,
    /// What it was.
    pub was: String,
    /// What it would have to be.
    pub if_it_were: String,
    /// What would have been decided.
    pub decision: String,
    /// Why.
    pub reason: Option<Reason>,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Counterfactuals {
    /// Facts that would have changed the decision.
    pub changes: Vec<Counterfactual>,
    /// Facts that were altered and changed nothing.
    pub without_effect: Vec<String>,
    /// Alterations that were not tried, because the calls were used up.
    pub not_tried: usize,
    /// Calls that were made.
    pub calls: usize,
}

/// Asks what would have changed the decision about one item. `voices` are the members that were asked about it, in the
/// order of the chain.
///
/// # Errors
/// [`PolicyError::NotReplayable`].
pub fn what_would_change(voices: &[Voice<'_>], limits: &Limits) -> Result<Counterfactuals, PolicyError> {
    let Some(first) = voices.first() else { return Ok(Counterfactuals::default()) };
    if let Some(other) = voices.iter().find(|voice| voice.record.world != WORLD_VERSION) {
        let problem = format!("it was made with `{}`, this program speaks `{WORLD_VERSION}`", other.record.world);
        return Err(PolicyError::NotReplayable { problem });
    }
    let kind = first.record.question.kind();
    let mut found = Counterfactuals::default();
    let callable = voices.iter().filter(|voice| voice.plugin.is_some()).count();
    let recorded = decide(kind, voices, None, &mut found.calls);
    found.calls = 0;
    for alteration in alterations(first.record, first.place, limits) {
        if found.calls + callable > limits.counterfactual_calls {
            found.not_tried += 1;
            continue;
        }
        let now = decide(kind, voices, Some(&alteration), &mut found.calls);
        if now.what == recorded.what {
            found.without_effect.push(format!("{} {}", alteration.fact, alteration.to));
        } else {
            found.changes.push(Counterfactual {
                fact: alteration.fact,
                was: alteration.from,
                if_it_were: alteration.to,
                decision: now.what,
                reason: now.reason,
            });
        }
    }
    Ok(found)
}

/// A decision in words.
struct Said {
    what: String,
    reason: Option<Reason>,
}

impl Said {
    fn of(answer: &impl Choice) -> Self {
        Self { what: answer.describe(), reason: Some(answer.reason().clone()) }
    }

    fn words(what: impl Into<String>) -> Self {
        Self { what: what.into(), reason: None }
    }
}

/// How a chain decides about one item: by what is recorded, or, with a fact altered, by asking again.
fn decide(kind: PolicyKind, voices: &[Voice<'_>], altered: Option<&Alteration>, calls: &mut usize) -> Said {
    let mut outs: Vec<Selected> = Vec::new();
    let mut ins: Vec<Selected> = Vec::new();
    for voice in voices {
        let asked = match (altered, voice.plugin) {
            (Some(alteration), Some(plugin)) => {
                *calls += 1;
                ask(voice, plugin, alteration)
            }
            _ => voice.record.outcome.clone(),
        };
        let answers = match &asked {
            RecordedOutcome::Answered { answers, .. } => answers,
            // Skipped then: it had no part in the decision.
            RecordedOutcome::Failed(_) if altered.is_none() || voice.plugin.is_none() => continue,
            ended => return Said::words(format!("the job fails: {} {}", voice.record.asked.member, ending(ended))),
        };
        match answers {
            Answers::Selection(all) => match find(all, voice.place) {
                Some(answer) if answer.include_collection => ins.push(answer.clone()),
                Some(answer) => outs.push(answer.clone()),
                None => {}
            },
            Answers::Compression(all) => {
                if let Some(answer) = find::<CodecChoice>(all, voice.place) {
                    return Said::of(answer);
                }
            }
            Answers::Placement(all) => {
                if let Some(answer) = find::<Placed>(all, voice.place) {
                    return Said::of(answer);
                }
            }
        }
    }
    match kind {
        PolicyKind::Selection => selected(voices, altered, &ins, &outs),
        // Who comes next in the chain was not asked then, because it had been decided.
        PolicyKind::Compression | PolicyKind::Placement => Said::words("left to the next policy of the chain"),
    }
}

/// Out if anybody says so, unless a guardrail that goes by facts keeps it in.
fn selected(voices: &[Voice<'_>], altered: Option<&Alteration>, ins: &[Selected], outs: &[Selected]) -> Said {
    let Some(no) = outs.first() else {
        return ins.first().map_or_else(|| Said::words("the job fails: nobody has an opinion"), Said::of);
    };
    let Some(first) = voices.first() else { return Said::of(no) };
    let (question, run) = match altered {
        Some(alteration) => alteration.in_record(first.record, first.place),
        None => (first.record.question.clone(), first.record.run.clone()),
    };
    let facts = question.collection(first.place);
    match facts.and_then(|facts| Guardrails::default().keep_in(&run, facts)) {
        Some(rule) => Said::of(&Guardrails::put_back(rule, no.clone(), ins.first().unwrap_or(no)).0),
        None => Said::of(no),
    }
}

fn find<T>(answers: &[Answered<T>], place: u32) -> Option<&T> {
    answers.iter().find(|answered| answered.item == place).map(|answered| &answered.answer)
}

fn ask(voice: &Voice<'_>, plugin: &dyn Oracle, alteration: &Alteration) -> RecordedOutcome {
    let (question, run) = alteration.in_record(voice.record, voice.place);
    let call = Call {
        run: &run,
        settings: &voice.record.settings,
        carry: &voice.record.carry,
        page_number: voice.record.page_number,
        last_page: voice.record.last_page,
        budget: &voice.record.budget,
        files: &voice.record.files,
    };
    ask_again(&question, plugin, &call).outcome
}
