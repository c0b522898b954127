//! Asking one member about all its pages, and writing down every call.

use std::sync::Arc;

use longshore_model::{GuestLogLine, LogLevel, RunFacts};

use crate::member::AcceptedMember;
use crate::question::Asking;
use crate::{
    Answered, Call, DecisionRecord, Difference, Failure, Limits, OnFailure, Oracle, PolicyError, Question,
    RECORD_FORMAT_VERSION, RecordedOutcome, SandboxError, Skipped, Usage, WORLD_VERSION, replay,
};

/// What a member said about each item of its pages; `None` where it had no opinion.
pub(crate) type Opinions<T> = Vec<Option<T>>;

/// How one call ended: for the record, and as opinions if it was answered.
pub(crate) struct Asked<T> {
    pub(crate) outcome: RecordedOutcome,
    pub(crate) opinions: Option<Opinions<T>>,
    pub(crate) log: Vec<GuestLogLine>,
    pub(crate) elapsed_us: u64,
}

/// Everything that was asked in one run of one kind.
pub(crate) struct Ledger<'a> {
    run: &'a RunFacts,
    limits: &'a Limits,
    /// Of the caller, who has them also when the run ends without decisions.
    records: &'a mut Vec<DecisionRecord>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) usage: Vec<Usage>,
}

impl<'a> Ledger<'a> {
    pub(crate) const fn new(run: &'a RunFacts, limits: &'a Limits, records: &'a mut Vec<DecisionRecord>) -> Self {
        Self { run, limits, records, skipped: Vec::new(), usage: Vec::new() }
    }

    /// The records, for a run that came to its decisions.
    pub(crate) fn taken_records(&mut self) -> Vec<DecisionRecord> {
        std::mem::take(self.records)
    }

    /// Asks a member about its pages in order, handing on what it carries. `None`: it failed and is left out of the
    /// run as a whole, because answers to some pages only could be half of a thought (a budget over the cluster).
    pub(crate) fn ask_member<Q: Asking>(
        &mut self,
        asking: &Q,
        member: &AcceptedMember,
        pages: &[Arc<[Q::Item]>],
    ) -> Result<Option<Opinions<Q::Answer>>, PolicyError> {
        let by = member.identity();
        let files = member.files()?;
        let mut usage =
            Usage { member: by.member.clone(), calls: 0, fuel_used: 0, peak_memory_bytes: 0, elapsed_us: 0 };
        let mut all = Vec::with_capacity(pages.iter().map(|page| page.len()).sum());
        let mut carry = Vec::new();
        for (number, page) in (0_u32..).zip(pages) {
            let last_page = usize::try_from(number).is_ok_and(|number| number + 1 == pages.len());
            let settings = member.settings.text.as_str();
            let budget = &member.member.budget;
            let call = Call { run: self.run, settings, carry: &carry, page_number: number, last_page, budget, files };
            let oracle = member.member.plugin.as_ref();
            let mut asked = ask_page(asking, oracle, &call, page);
            if self.asks_again(number, pages.len()) {
                asked = compared(asked, ask_page(asking, oracle, &call, page), &asking.recorded_question(page));
            }
            let record = self.record(asking, member, &call, page, (asked.outcome, asked.log));
            record.log.iter().for_each(|line| log_line(&by.member, &by.plugin, line));
            match &record.outcome {
                RecordedOutcome::Answered { carry: next, fuel_used, peak_memory_bytes, .. } => {
                    usage.calls += 1;
                    usage.fuel_used = usage.fuel_used.saturating_add(*fuel_used);
                    usage.peak_memory_bytes = usage.peak_memory_bytes.max(*peak_memory_bytes);
                    usage.elapsed_us = usage.elapsed_us.saturating_add(asked.elapsed_us);
                    all.extend(asked.opinions.unwrap_or_default());
                    carry = next.clone();
                    self.records.push(record);
                }
                RecordedOutcome::Refused(_) => {
                    self.records.push(record.clone());
                    return Err(refused(record));
                }
                RecordedOutcome::Failed(failure) => {
                    // A required member cannot be configured to be skipped, so `Skip` alone decides.
                    if member.member.on_failure == OnFailure::Fail {
                        self.records.push(record.clone());
                        return Err(failed(record));
                    }
                    tracing::warn!(member = by.member, plugin = by.plugin, %failure, "a policy failed and is skipped");
                    self.skipped.push(Skipped { by, failure: failure.clone() });
                    self.records.push(record);
                    self.usage.push(usage);
                    return Ok(None);
                }
            }
        }
        self.usage.push(usage);
        Ok(Some(all))
    }

    /// Whether this page is asked about a second time: in one run of many, one page of each member.
    fn asks_again(&self, number: u32, pages: usize) -> bool {
        let every = self.limits.runs_per_recheck.max(1);
        let pages = u64::try_from(pages).unwrap_or(1).max(1);
        self.run.seed.is_multiple_of(every) && self.run.seed / every % pages == u64::from(number)
    }

    fn record<Q: Asking>(
        &self,
        asking: &Q,
        member: &AcceptedMember,
        call: &Call<'_>,
        page: &Arc<[Q::Item]>,
        (outcome, log): (RecordedOutcome, Vec<GuestLogLine>),
    ) -> DecisionRecord {
        DecisionRecord {
            format_version: RECORD_FORMAT_VERSION,
            world: WORLD_VERSION.to_owned(),
            asked: member.identity(),
            settings: member.settings.text.clone(),
            settings_digest: member.settings_digest(),
            budget: member.member.budget,
            run: self.run.clone(),
            files: call.files.clone(),
            carry: call.carry.to_vec(),
            page_number: call.page_number,
            last_page: call.last_page,
            question: asking.recorded_question(page),
            outcome,
            log,
        }
    }
}

/// Asks about one page and checks the answer. The sandbox checks places too; it is done again here because an oracle
/// need not be a sandbox, and a misplaced answer would be about the wrong collection.
pub(crate) fn ask_page<Q: Asking>(
    asking: &Q,
    oracle: &dyn Oracle,
    call: &Call<'_>,
    page: &Arc<[Q::Item]>,
) -> Asked<Q::Answer> {
    let ended = |outcome, log: &[GuestLogLine]| Asked { outcome, opinions: None, log: log.to_vec(), elapsed_us: 0 };
    let answered = match asking.ask(oracle, call, page) {
        Ok(answered) => answered,
        Err(SandboxError::Refused { refusal, log, .. }) => return ended(RecordedOutcome::Refused(refusal), &log),
        Err(error) => return ended(RecordedOutcome::Failed(Failure::from(&error)), error.log()),
    };
    match opinions(asking, page, &answered.answer) {
        Err(message) => {
            let failure = Failure { code: "bad-answer".to_owned(), message };
            ended(RecordedOutcome::Failed(failure), &answered.log)
        }
        Ok(opinions) => {
            let answers = answered.answer.into_iter().map(|(item, answer)| Answered { item, answer });
            let outcome = RecordedOutcome::Answered {
                answers: Q::recorded_answers(answers.collect()),
                carry: answered.carry,
                fuel_used: answered.fuel_used,
                peak_memory_bytes: answered.peak_memory_bytes,
            };
            Asked { outcome, opinions: Some(opinions), log: answered.log, elapsed_us: answered.elapsed_us }
        }
    }
}

/// The first of two answers to the same question, or the failure that they differ: then neither can be relied on, and the
/// record of it could not be asked again. No plugin has been able to do it; if one is, the sandbox has a hole.
fn compared<T>(first: Asked<T>, second: Asked<T>, question: &Question) -> Asked<T> {
    let by_machine = |asked: &Asked<T>| match &asked.outcome {
        RecordedOutcome::Failed(failure) => matches!(failure.code.as_str(), "timed-out" | "host"),
        _ => false,
    };
    // What the machine cut short says nothing about the plugin.
    if by_machine(&first) || by_machine(&second) {
        return first;
    }
    let ends = [(&first.outcome, first.log.as_slice()), (&second.outcome, second.log.as_slice())];
    let Some(difference) = replay::first_difference(question, ends[0], ends[1]) else {
        let elapsed_us = first.elapsed_us.saturating_add(second.elapsed_us);
        return Asked { elapsed_us, ..first };
    };
    let Difference { item, what, recorded, replayed } = difference;
    let about = item.map(|item| format!(" about {item}")).unwrap_or_default();
    let message = format!(
        "asked the same question twice it did not give the same {what}{about}: first {recorded}, then {replayed}; \
         report this to the authors of Longshore, with the plugin"
    );
    let failure = Failure { code: "unrepeatable".to_owned(), message };
    Asked { outcome: RecordedOutcome::Failed(failure), opinions: None, log: first.log, elapsed_us: 0 }
}

/// Puts answers to their items; an error is the sentence that says which answer cannot be used.
fn opinions<Q: Asking>(
    asking: &Q,
    page: &[Q::Item],
    answers: &[(u32, Q::Answer)],
) -> Result<Opinions<Q::Answer>, String> {
    let mut opinions: Opinions<Q::Answer> = vec![None; page.len()];
    for (place, answer) in answers {
        let at = usize::try_from(*place).unwrap_or(usize::MAX);
        let (Some(slot), Some(item)) = (opinions.get_mut(at), page.get(at)) else {
            return Err(format!("it answered for item {place}, but the page has {} items", page.len()));
        };
        if slot.is_some() {
            return Err(format!("it answered twice for {}", Q::name(item)));
        }
        if let Some(problem) = asking.refute(item, answer) {
            return Err(format!("for {} {problem}", Q::name(item)));
        }
        *slot = Some(answer.clone());
    }
    Ok(opinions)
}

fn refused(record: DecisionRecord) -> PolicyError {
    let kind = record.question.kind();
    let (reason, places) = match &record.outcome {
        RecordedOutcome::Refused(refusal) => (refusal.reason.clone(), refusal.items.clone()),
        _ => return failed(record),
    };
    let items = places.iter().filter_map(|place| record.question.item_name(*place)).collect();
    let (member, plugin) = (record.asked.member.as_str().into(), record.asked.plugin.as_str().into());
    PolicyError::Refused { kind, member, plugin, reason, items, record: Box::new(record) }
}

fn failed(record: DecisionRecord) -> PolicyError {
    let kind = record.question.kind();
    let failure = Box::new(match &record.outcome {
        RecordedOutcome::Failed(failure) => failure.clone(),
        _ => Failure { code: "other".to_owned(), message: "it ended in an unexpected way".to_owned() },
    });
    let (member, plugin) = (record.asked.member.as_str().into(), record.asked.plugin.as_str().into());
    PolicyError::PluginFailed { kind, member, plugin, failure, record: Box::new(record) }
}

/// Hands a guest's line to the host's log.
fn log_line(member: &str, plugin: &str, line: &GuestLogLine) {
    let text = &line.message;
    match line.level {
        LogLevel::Debug => tracing::debug!(member, plugin, "{text}"),
        LogLevel::Info => tracing::info!(member, plugin, "{text}"),
        LogLevel::Warn => tracing::warn!(member, plugin, "{text}"),
        LogLevel::Error => tracing::error!(member, plugin, "{text}"),
    }
}
