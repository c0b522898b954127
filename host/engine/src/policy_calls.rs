//! How often the policies of a host were asked, and how that went: counted since the process began, as Prometheus expects
//! of counters.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use longshore_model::PolicyKind;
use longshore_policy::{DecisionRecord, RecordedOutcome};

use crate::plan::BackupPlan;

/// Calls of one member of one kind of chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberCalls {
    /// Calls, however they ended.
    pub calls: u64,
    /// Fuel of those that were answered.
    pub fuel: u64,
    /// Those that refused the run.
    pub refusals: u64,
    /// Those that failed, by the code of the failure.
    pub failures: BTreeMap<String, u64>,
}

/// Calls by kind and member.
pub type CallsByMember = BTreeMap<(PolicyKind, String), MemberCalls>;

/// The counters of a host.
#[derive(Debug, Default)]
pub(crate) struct PolicyCalls {
    counts: Mutex<(CallsByMember, BTreeMap<String, u64>)>,
}

impl PolicyCalls {
    /// Counts the calls of one run: of its plan, or those that are given because there is none. How long the latter took
    /// is not known.
    pub(crate) fn note(&self, planned: Result<&BackupPlan, &[DecisionRecord]>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, usage) = match planned {
            Ok(plan) => (plan.records.as_slice(), plan.usage.as_slice()),
            Err(asked) => (asked, &[][..]),
        };
        records.iter().for_each(|record| add(&mut counts.0, record));
        for usage in usage {
            let elapsed_us = counts.1.entry(usage.member.clone()).or_default();
            *elapsed_us = elapsed_us.saturating_add(usage.elapsed_us);
        }
    }

    /// The counts, and the time of all calls by member in microseconds.
    pub(crate) fn now(&self) -> (CallsByMember, BTreeMap<String, u64>) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn add(counts: &mut CallsByMember, record: &DecisionRecord) {
    let of = counts.entry((record.question.kind(), record.asked.member.clone())).or_default();
    of.calls += 1;
    match &record.outcome {
        RecordedOutcome::Answered { fuel_used, .. } => of.fuel = of.fuel.saturating_add(*fuel_used),
        RecordedOutcome::Refused(_) => of.refusals += 1,
        RecordedOutcome::Failed(failure) => *of.failures.entry(failure.code.clone()).or_default() += 1,
    }
}
