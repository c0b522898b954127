//! Asking a recorded question again.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::GuestLogLine;
use serde::Serialize;

use crate::ledger::{Asked, ask_page};
use crate::question::{Compressing, Placing, Selecting};
use crate::{
    Answered, Answers, Call, Choice, DecisionRecord, Oracle, PolicyError, Question, RecordedOutcome, WORLD_VERSION,
};

/// One thing that came out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The item it is about; `None` for the call as a whole.
    pub item: Option<String>,
    /// What differs: `answer`, `outcome`, `carry`, `fuel`, `memory` or `log`.
    pub what: String,
    /// What the record says.
    pub recorded: String,
    /// What came out now.
    pub replayed: String,
}

/// What came of asking again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOutcome {
    /// Nothing differs.
    pub same: bool,
    /// The file asked is the one that was asked then. Only then are fuel, memory and log compared.
    pub same_plugin: bool,
    /// What differs, items in the order of the page.
    pub differences: Vec<Difference>,
    /// How the call ended now.
    pub outcome: RecordedOutcome,
}

/// Asks a plugin the question of a record, with the settings, carry, budget and files of the record, and compares.
///
/// With the plugin of the record everything must be the same, fuel included. With another one the differences are
/// what a change of policy would change.
///
/// # Errors
/// [`PolicyError::NotReplayable`] if the record is of another contract or the plugin does not serve its kind.
pub fn replay(record: &DecisionRecord, oracle: &dyn Oracle) -> Result<ReplayOutcome, PolicyError> {
    let kind = record.question.kind();
    if record.world != WORLD_VERSION {
        let problem = format!("it was made with `{}`, this program speaks `{WORLD_VERSION}`", record.world);
        return Err(PolicyError::NotReplayable { problem });
    }
    if !oracle.serves(kind) {
        let problem = format!("plugin `{}` does not serve {kind}", oracle.about().name);
        return Err(PolicyError::NotReplayable { problem });
    }
    let call = Call {
        run: &record.run,
        settings: &record.settings,
        carry: &record.carry,
        page_number: record.page_number,
        last_page: record.last_page,
        budget: &record.budget,
        files: &record.files,
    };
    let now = ask_again(&record.question, oracle, &call);
    let same_plugin = oracle.digest() == record.asked.digest;
    let mut differences = compare(&record.question, &record.outcome, &now.outcome, same_plugin);
    if same_plugin {
        differences.extend(whole("log", lines(&record.log), lines(&now.log)));
    }
    Ok(ReplayOutcome { same: differences.is_empty(), same_plugin, differences, outcome: now.outcome })
}

/// The first thing that differs between two ends of the same call of the same plugin, each with its log.
pub(crate) fn first_difference(
    question: &Question,
    then: (&RecordedOutcome, &[GuestLogLine]),
    now: (&RecordedOutcome, &[GuestLogLine]),
) -> Option<Difference> {
    let difference = compare(question, then.0, now.0, true).into_iter().next();
    difference.or_else(|| whole("log", lines(then.1), lines(now.1)))
}

/// How a call ended, whatever kind it was.
pub(crate) struct Ended {
    pub(crate) outcome: RecordedOutcome,
    pub(crate) log: Vec<GuestLogLine>,
    /// Time it took; 0 unless it answered.
    pub(crate) elapsed_us: u64,
}

/// Asks a question, whatever its kind.
pub(crate) fn ask_again(question: &Question, oracle: &dyn Oracle, call: &Call<'_>) -> Ended {
    match question {
        Question::Selection { collections } => ended(ask_page(&Selecting, oracle, call, collections)),
        Question::Compression { streams } => ended(ask_page(&Compressing, oracle, call, streams)),
        Question::Placement { collections, regions } => {
            ended(ask_page(&Placing { regions: Arc::clone(regions) }, oracle, call, collections))
        }
    }
}

fn ended<T>(asked: Asked<T>) -> Ended {
    Ended { outcome: asked.outcome, log: asked.log, elapsed_us: asked.elapsed_us }
}

/// Everything that differs between two ends of a call.
fn compare(question: &Question, then: &RecordedOutcome, now: &RecordedOutcome, same_plugin: bool) -> Vec<Difference> {
    let (
        RecordedOutcome::Answered { answers: a, carry: carry_a, fuel_used: fuel_a, peak_memory_bytes: memory_a },
        RecordedOutcome::Answered { answers: b, carry: carry_b, fuel_used: fuel_b, peak_memory_bytes: memory_b },
    ) = (then, now)
    else {
        return other_ends(then, now).into_iter().collect();
    };
    let mut differences = match (a, b) {
        (Answers::Selection(a), Answers::Selection(b)) => answers(question, a, b),
        (Answers::Compression(a), Answers::Compression(b)) => answers(question, a, b),
        (Answers::Placement(a), Answers::Placement(b)) => answers(question, a, b),
        // The record was edited: its question and its answers are of different kinds.
        _ => whole("outcome", "answers of another kind".to_owned(), ending(now)).into_iter().collect(),
    };
    differences.extend(whole("carry", bytes(carry_a), bytes(carry_b)));
    if same_plugin {
        differences.extend(whole("fuel", fuel_a.to_string(), fuel_b.to_string()));
        differences.extend(whole("memory", memory_a.to_string(), memory_b.to_string()));
    }
    differences
}

/// Compares ends of which one at least is no answer. Failures are alike if their codes are: a message may name the
/// milliseconds that were used.
fn other_ends(then: &RecordedOutcome, now: &RecordedOutcome) -> Option<Difference> {
    match (then, now) {
        (RecordedOutcome::Failed(then), RecordedOutcome::Failed(now)) if then.code == now.code => None,
        (then, now) => whole("outcome", ending(then), ending(now)),
    }
}

/// A log as text.
fn lines(log: &[GuestLogLine]) -> String {
    log.iter().map(|line| format!("{:?}: {}", line.level, line.message)).collect::<Vec<_>>().join("\n")
}

/// A difference about the call as a whole, if there is one.
fn whole(what: &str, recorded: String, replayed: String) -> Option<Difference> {
    (recorded != replayed).then(|| Difference { item: None, what: what.to_owned(), recorded, replayed })
}

/// Carried bytes as a person can compare them.
fn bytes(carry: &[u8]) -> String {
    format!("{} bytes, {}", carry.len(), blake3::hash(carry).to_hex())
}

/// How a call ended, in a few words.
pub(crate) fn ending(outcome: &RecordedOutcome) -> String {
    match outcome {
        RecordedOutcome::Answered { .. } => "answered".to_owned(),
        RecordedOutcome::Refused(refusal) => format!("refused: {} ({})", refusal.reason.message, refusal.reason.code),
        RecordedOutcome::Failed(failure) => format!("failed ({}): {}", failure.code, failure.message),
    }
}

/// Compares by item, so that the order of answers does not matter.
fn answers<T: Choice + PartialEq>(question: &Question, then: &[Answered<T>], now: &[Answered<T>]) -> Vec<Difference> {
    let mut pairs: BTreeMap<u32, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for answered in then {
        pairs.entry(answered.item).or_default().0 = Some(&answered.answer);
    }
    for answered in now {
        pairs.entry(answered.item).or_default().1 = Some(&answered.answer);
    }
    let text = |answer: Option<&T>| match answer {
        None => "no opinion".to_owned(),
        Some(answer) => format!("{} ({}: {})", answer.describe(), answer.reason().code, answer.reason().message),
    };
    let different = pairs.into_iter().filter(|(_, (then, now))| then != now);
    let differences = different.map(|(place, (then, now))| Difference {
        item: question.item_name(place),
        what: "answer".to_owned(),
        recorded: text(then),
        replayed: text(now),
    });
    differences.collect()
}
