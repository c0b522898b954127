//! What another policy would have decided, over a corpus of decision records.
//!
//! Contract: both policies are asked every recorded question of the one that is compared; nothing else of the world goes
//! in, so the result is the same on every machine. Each gets its own carry from page to page. Changes are counted by what
//! changes and by the reasons before and after, with a few examples each, and with what they come to in bytes, regions and
//! money ([`Estimates`]).
//!
//! A protected collection loses its backup if the new policy leaves it out, if it refuses or fails where the old one
//! answered (the job fails, and every collection of it), or if nobody in the chain has an opinion about it any more, be it
//! its selection, its place or a codec. Members that were not asked then, because this one had answered, do not count.
//!
//! Failure: [`PolicyError::NotReplayable`], [`PolicyError::BadSettings`]; a policy that fails on a record is a result.

mod asker;
mod result;

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{CollectionName, PolicyKind};
use serde_json::Value;

use self::asker::Asker;
pub use self::result::{ChangeGroup, Compared, PolicyDiff, ProtectedLoss, Step, Unanswered};
use crate::compare::changes;
use crate::oracle::Budget;
use crate::replay::{Ended, ending};
use crate::{
    Answers, Change, ChangeKind, DecisionRecord, Effect, Estimates, Kept, Limits, Oracle, PolicyError, Question,
    RecordedOutcome,
};

/// One side of a comparison.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The policy.
    pub oracle: &'a dyn Oracle,
    /// Settings in place of those of the records.
    pub settings: Option<&'a Value>,
    /// Budget in place of that of the records.
    pub budget: Option<Budget>,
}

impl<'a> Side<'a> {
    /// A policy with the settings and budgets of the records.
    #[must_use]
    pub fn of(oracle: &'a dyn Oracle) -> Self {
        Self { oracle, settings: None, budget: None }
    }
}

/// Compares two policies over the records of runs. Compared are the records of `member`, or else those that the old
/// policy made, by the digest of its file; the other records say what the rest of the chain did.
///
/// # Errors
/// [`PolicyError::NotReplayable`] if no record is of the old policy, a record is of another contract, or a policy does not
/// serve a kind; [`PolicyError::BadSettings`] if settings do not fit a policy's schema.
pub fn diff(
    records: &[DecisionRecord],
    member: Option<&str>,
    old: Side<'_>,
    new: Side<'_>,
    limits: &Limits,
) -> Result<PolicyDiff, PolicyError> {
    let subject = |record: &DecisionRecord| match member {
        Some(member) => record.asked.member == member,
        None => record.asked.digest == old.oracle.digest(),
    };
    if !records.iter().any(subject) {
        return Err(nothing_to_compare(records, member, old.oracle));
    }
    let mut comparison = Comparison::new(old, new, limits)?;
    for run in runs(records) {
        let estimates = Estimates::of(run.iter().copied());
        let mut calls: Vec<&DecisionRecord> = run.iter().copied().filter(|record| subject(record)).collect();
        if calls.is_empty() {
            continue;
        }
        calls.retain(|record| comparison.is_decided_by_both(record));
        if calls.is_empty() {
            continue;
        }
        comparison.diff.runs += 1;
        calls.sort_by_key(|record| (record.question.kind(), record.asked.member.clone(), record.page_number));
        comparison.run(&calls, &run, &estimates)?;
    }
    if comparison.diff.runs == 0 {
        return Err(nothing_in_common(old.oracle, new.oracle));
    }
    Ok(comparison.finish())
}

fn nothing_to_compare(records: &[DecisionRecord], member: Option<&str>, old: &dyn Oracle) -> PolicyError {
    let there: BTreeSet<String> = records.iter().map(|record| record.asked.to_string()).collect();
    let there: Vec<String> = there.into_iter().take(8).collect();
    let there =
        if there.is_empty() { "there are none".to_owned() } else { format!("they are of {}", there.join(", ")) };
    let problem = match member {
        Some(member) => format!("no record is of a member `{member}`; {there}"),
        None => format!(
            "no record was made by this file of `{}` ({}); {there}; name the member to compare by",
            old.about().name,
            old.digest()
        ),
    };
    PolicyError::NotReplayable { problem }
}

fn nothing_in_common(old: &dyn Oracle, new: &dyn Oracle) -> PolicyError {
    let kinds = |oracle: &dyn Oracle| {
        let kinds = PolicyKind::ALL.iter().filter(|kind| oracle.serves(**kind)).map(ToString::to_string);
        kinds.collect::<Vec<_>>().join(", ")
    };
    let (before, after) = (&old.about().name, &new.about().name);
    let problem = format!(
        "`{before}` decides {} and `{after}` decides {}, and no record is of a kind that both decide; compare policies of \
         the same kind",
        kinds(old),
        kinds(new)
    );
    PolicyError::NotReplayable { problem }
}

/// Records by the run they belong to, in the order given.
fn runs(records: &[DecisionRecord]) -> Vec<Vec<&DecisionRecord>> {
    let mut order: Vec<Vec<&DecisionRecord>> = Vec::new();
    let mut places = BTreeMap::new();
    for record in records {
        let run = &record.run;
        let key = (run.cluster_id.to_string(), run.time, run.seed);
        let place = *places.entry(key).or_insert_with(|| {
            order.push(Vec::new());
            order.len() - 1
        });
        if let Some(run) = order.get_mut(place) {
            run.push(record);
        }
    }
    order
}

type GroupKey = (PolicyKind, ChangeKind, Option<String>, Option<String>);
/// How often each step, from one value to another, was taken within a group.
type Steps = BTreeMap<(String, String), u64>;

struct Comparison<'a> {
    old: Asker<'a>,
    new: Asker<'a>,
    limits: &'a Limits,
    diff: PolicyDiff,
    groups: BTreeMap<GroupKey, (ChangeGroup, Steps)>,
    kept: Kept,
    losses: BTreeMap<CollectionName, String>,
    /// Collections of the run at hand that the new policy leaves out. Selection comes first.
    left_out: BTreeSet<CollectionName>,
}

impl<'a> Comparison<'a> {
    fn new(old: Side<'a>, new: Side<'a>, limits: &'a Limits) -> Result<Self, PolicyError> {
        let (old, new) = (Asker::new(old, limits)?, Asker::new(new, limits)?);
        let diff = PolicyDiff {
            old: old.compared(),
            new: new.compared(),
            runs: 0,
            records: 0,
            items: 0,
            changed_items: 0,
            groups: Vec::new(),
            effect: Effect::default(),
            regions: BTreeMap::new(),
            unanswered: Vec::new(),
            protected_losses: 0,
            losses: Vec::new(),
            not_repeated: Vec::new(),
            not_compared: BTreeMap::new(),
        };
        let (groups, losses) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { old, new, limits, diff, groups, kept: Kept::default(), losses, left_out: BTreeSet::new() })
    }

    /// Whether a record can be compared; one that cannot is counted.
    fn is_decided_by_both(&mut self, record: &DecisionRecord) -> bool {
        let kind = record.question.kind();
        let both = self.old.decides(kind) && self.new.decides(kind);
        if !both {
            *self.diff.not_compared.entry(kind).or_default() += 1;
        }
        both
    }

    /// Compares the calls of one run, sorted by kind, member and page.
    fn run(
        &mut self,
        calls: &[&DecisionRecord],
        run: &[&DecisionRecord],
        estimates: &Estimates<'_>,
    ) -> Result<(), PolicyError> {
        self.left_out.clear();
        let mut before: Option<&DecisionRecord> = None;
        for record in calls {
            let follows = before.is_some_and(|before| {
                before.question.kind() == record.question.kind()
                    && before.asked.member == record.asked.member
                    && before.page_number + 1 == record.page_number
            });
            let old = self.old.ask(record, follows)?;
            let new = self.new.ask(record, follows)?;
            self.diff.records += 1;
            self.diff.items += record.question.items() as u64;
            if self.old.repeats(record) && !same_end(&record.outcome, &old.outcome) {
                self.diff.not_repeated.push(label(record));
            }
            self.page(record, &old, &new, run, estimates);
            before = Some(record);
        }
        Ok(())
    }

    fn page(
        &mut self,
        record: &DecisionRecord,
        old: &Ended,
        new: &Ended,
        run: &[&DecisionRecord],
        estimates: &Estimates<'_>,
    ) {
        let (RecordedOutcome::Answered { answers: before, .. }, RecordedOutcome::Answered { answers: after, .. }) =
            (&old.outcome, &new.outcome)
        else {
            return self.unanswered(record, old, new, estimates);
        };
        // Without an opinion of anybody about its selection, its place or one of its codecs the job fails.
        let mut spoken = None;
        for change in changes(&record.question, before, after, estimates) {
            if self.left_out.contains(&change.collection) {
                continue;
            }
            if change.loses_backup() {
                let why = change.reason_after.as_ref().map_or_else(String::new, |reason| reason.message.clone());
                self.lose(&change.collection, format!("it is left out: {why}"));
            } else if change.protected
                && change.change == ChangeKind::NoOpinion
                && !spoken.get_or_insert_with(|| spoken_of(record, run)).contains(&change.item)
            {
                let kind = change.kind;
                self.lose(
                    &change.collection,
                    format!("nobody has an opinion about its {kind} any more, so the job fails"),
                );
            }
            // What is left out is neither compressed nor placed; what is protected is put back by the host's guardrail.
            if change.change == ChangeKind::LeftOut && !change.protected {
                self.left_out.insert(change.collection.clone());
            }
            self.count(change);
        }
    }

    fn unanswered(&mut self, record: &DecisionRecord, old: &Ended, new: &Ended, estimates: &Estimates<'_>) {
        let answered = |ended: &Ended| matches!(ended.outcome, RecordedOutcome::Answered { .. });
        if !answered(old) && !answered(new) {
            return;
        }
        if answered(old) {
            let why = format!("the new policy {}, so the job fails", ending(&new.outcome));
            for collection in protected_in(record, &old.outcome, estimates) {
                self.lose(&collection, why.clone());
            }
        }
        self.diff.unanswered.push(Unanswered {
            kind: record.question.kind(),
            cluster: record.run.cluster_id.to_string(),
            time: record.run.time.to_string(),
            items: record.question.items(),
            before: ending(&old.outcome),
            after: ending(&new.outcome),
        });
    }

    fn lose(&mut self, collection: &CollectionName, why: String) {
        self.losses.entry(collection.clone()).or_insert(why);
    }

    fn count(&mut self, change: Change) {
        self.diff.changed_items += 1;
        self.kept.add(&Kept { total: change.effect, regions: change.regions.clone() });
        let code = |reason: &Option<longshore_model::Reason>| reason.as_ref().map(|reason| reason.code.clone());
        let (reason_before, reason_after) = (code(&change.reason_before), code(&change.reason_after));
        let key = (change.kind, change.change, reason_before.clone(), reason_after.clone());
        let (group, steps) = self.groups.entry(key).or_insert_with(|| {
            let group = ChangeGroup {
                kind: change.kind,
                change: change.change,
                reason_before,
                reason_after,
                count: 0,
                steps: Vec::new(),
                effect: Effect::default(),
                examples: Vec::new(),
            };
            (group, BTreeMap::new())
        });
        group.count += 1;
        group.effect = group.effect.plus(change.effect);
        let step = (change.before.clone(), change.after.clone());
        let room = steps.len() < self.limits.diff_steps;
        let step = if room || steps.contains_key(&step) { step } else { ("others".to_owned(), "others".to_owned()) };
        *steps.entry(step).or_default() += 1;
        if group.examples.len() < self.limits.diff_examples {
            group.examples.push(change);
        }
    }

    fn finish(self) -> PolicyDiff {
        let mut groups: Vec<ChangeGroup> = Vec::with_capacity(self.groups.len());
        for (mut group, steps) in self.groups.into_values() {
            group.steps = steps.into_iter().map(|((before, after), count)| Step { before, after, count }).collect();
            group.steps.sort_by_key(|step| std::cmp::Reverse(step.count));
            groups.push(group);
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        let named = self.losses.iter().take(self.limits.losses_named);
        let losses = named.map(|(collection, why)| ProtectedLoss { collection: collection.clone(), why: why.clone() });
        PolicyDiff {
            old: self.old.compared(),
            new: self.new.compared(),
            groups,
            effect: self.kept.total,
            regions: self.kept.regions,
            protected_losses: self.losses.len() as u64,
            losses: losses.collect(),
            ..self.diff
        }
    }
}

/// `selection of in01-… at 2026-…, member residency, page 0`.
fn label(record: &DecisionRecord) -> String {
    format!(
        "{} of {} at {}, member {}, page {}",
        record.question.kind(),
        record.run.cluster_id,
        record.run.time,
        record.asked.member,
        record.page_number
    )
}

fn same_end(then: &RecordedOutcome, now: &RecordedOutcome) -> bool {
    match (then, now) {
        (RecordedOutcome::Failed(then), RecordedOutcome::Failed(now)) => then.code == now.code,
        (then, now) => then == now,
    }
}

/// Protected collections that a call kept in, as far as it could. Whether those of streams are protected stands in the
/// other questions of the run.
fn protected_in(record: &DecisionRecord, outcome: &RecordedOutcome, estimates: &Estimates<'_>) -> Vec<CollectionName> {
    let out: BTreeSet<u32> = match outcome {
        RecordedOutcome::Answered { answers: Answers::Selection(answers), .. } => {
            answers.iter().filter(|one| !one.answer.include_collection).map(|one| one.item).collect()
        }
        _ => BTreeSet::new(),
    };
    match &record.question {
        Question::Selection { collections } | Question::Placement { collections, .. } => (0_u32..)
            .zip(collections.iter())
            .filter(|(place, facts)| facts.protected && !out.contains(place))
            .map(|(_, facts)| facts.name.clone())
            .collect(),
        Question::Compression { streams } => {
            let names: BTreeSet<&CollectionName> = streams.iter().map(|stream| &stream.collection).collect();
            let protected = |name: &&CollectionName| estimates.facts(name).is_some_and(|facts| facts.protected);
            names.into_iter().filter(protected).cloned().collect()
        }
    }
}

/// The items that other members of the same chain had an opinion about in this run.
fn spoken_of(record: &DecisionRecord, run: &[&DecisionRecord]) -> BTreeSet<String> {
    let others = run
        .iter()
        .filter(|other| other.question.kind() == record.question.kind() && other.asked.member != record.asked.member);
    let mut spoken = BTreeSet::new();
    for other in others {
        let RecordedOutcome::Answered { answers, .. } = &other.outcome else { continue };
        let places: Vec<u32> = match answers {
            Answers::Selection(answers) => answers.iter().map(|one| one.item).collect(),
            Answers::Compression(answers) => answers.iter().map(|one| one.item).collect(),
            Answers::Placement(answers) => answers.iter().map(|one| one.item).collect(),
        };
        spoken.extend(places.into_iter().filter_map(|place| other.question.item_name(place)));
    }
    spoken
}
