//! The standing record of candidates: what each would have decided otherwise, over all runs it was asked in.
//!
//! Contract: one JSON value in the catalog, bounded: [`CANDIDATES`] candidates, [`EXAMPLES`] examples each. A record is of
//! one candidate (file, settings and budget) beside one version of its member; another file on either side begins anew.

use longshore_model::{Digest, Timestamp};
use longshore_policy::{Change, ShadowOutcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spec::{MemberSpec, Scope, Seat};
use super::state::Promotion;
use crate::EngineError;

/// Under which key the catalog keeps it.
pub(crate) const SHADOWS_SETTING: &str = "policy-shadows";
/// Candidates whose record is kept; the one that was asked longest ago goes first.
const CANDIDATES: usize = 64;
/// Examples that a record keeps, newest last.
const EXAMPLES: usize = 50;

/// The record of one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowRecord {
    /// Whose candidate.
    pub seat: Seat,
    /// The candidate's file.
    pub candidate: Digest,
    /// Its version.
    pub version: String,
    /// The file of the member that decided.
    pub active: Digest,
    /// Tells candidate and member from other versions of them.
    pub(crate) key: Digest,
    /// When it was first asked.
    pub first: Timestamp,
    /// When it was last asked.
    pub last: Timestamp,
    /// Runs it was asked in.
    pub runs: u64,
    /// Items it decided.
    pub decisions: u64,
    /// Items it decided otherwise.
    pub changed: u64,
    /// Of these, protected collections that would have lost their backup.
    pub protected_changes: u64,
    /// Runs in which it failed or refused.
    pub failures: u64,
    /// Items that the member decided and it was not asked about, because its time was up; what it had not been asked about
    /// when it failed is not among them.
    #[serde(default)]
    pub not_asked: u64,
    /// How it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Some of the changes.
    pub examples: Vec<Change>,
}

/// The records of all candidates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ShadowRecords {
    /// One per candidate and version of its member.
    pub(crate) records: Vec<ShadowRecord>,
}

/// Tells a candidate beside a member from every other.
pub(crate) fn key(scope: &Scope, member: &MemberSpec) -> Option<Digest> {
    let shadow = member.shadow.clone()?;
    let candidate = MemberSpec { asked: shadow, shadow: None, ..member.clone() };
    let (one, two) = (member.fingerprint(scope), candidate.fingerprint(scope));
    Some(Digest::new(*blake3::hash(&[one.as_bytes().as_slice(), two.as_bytes()].concat()).as_bytes()))
}

impl ShadowRecords {
    pub(crate) fn from_value(value: Option<&Value>) -> Result<Self, EngineError> {
        let Some(value) = value else { return Ok(Self::default()) };
        Self::deserialize(value)
            .map_err(|error| EngineError::Internal { what: format!("reading the records of candidates: {error}") })
    }

    /// The record of the candidate that a member has now.
    #[must_use]
    pub(crate) fn of(&self, scope: &Scope, member: &MemberSpec) -> Option<&ShadowRecord> {
        let key = key(scope, member)?;
        self.records.iter().find(|record| record.key == key)
    }

    /// Begins the records of candidates anew that were promoted and are taken back: they were clean, and people went back
    /// all the same.
    pub(crate) fn forget(&mut self, taken_back: &[Promotion]) {
        let of = |record: &ShadowRecord, one: &Promotion| one.seat == record.seat && one.digest == record.candidate;
        self.records.retain(|record| !taken_back.iter().any(|one| of(record, one)));
    }

    /// Adds what came of one run.
    pub(crate) fn note(&mut self, scope: &Scope, member: &MemberSpec, outcome: &ShadowOutcome, now: Timestamp) {
        let Some(key) = key(scope, member) else { return };
        let place = self.records.iter().position(|record| record.key == key).unwrap_or_else(|| {
            self.records.push(ShadowRecord {
                seat: member.seat(scope),
                candidate: outcome.candidate.digest,
                version: outcome.candidate.version.clone(),
                active: outcome.active.digest,
                key,
                first: now,
                last: now,
                runs: 0,
                decisions: 0,
                changed: 0,
                protected_changes: 0,
                failures: 0,
                not_asked: 0,
                last_failure: None,
                examples: Vec::new(),
            });
            self.records.len() - 1
        });
        if let Some(record) = self.records.get_mut(place) {
            record.last = now;
            record.runs += 1;
            record.decisions += outcome.decisions;
            record.changed += outcome.changed;
            record.protected_changes += outcome.protected_changes;
            if let Some(failure) = &outcome.failure {
                record.failures += 1;
                record.last_failure = Some(format!("{}: {}", failure.code, failure.message));
            } else {
                record.not_asked += outcome.not_asked;
            }
            record.examples.extend(outcome.examples.iter().cloned());
            let surplus = record.examples.len().saturating_sub(EXAMPLES);
            record.examples.drain(..surplus);
        }
        while self.records.len() > CANDIDATES {
            let oldest = self.records.iter().enumerate().min_by_key(|(_, record)| record.last).map(|(place, _)| place);
            let Some(oldest) = oldest else { return };
            self.records.remove(oldest);
        }
    }
}
