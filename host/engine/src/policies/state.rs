//! What a host remembers about its policies, beside the configuration: installed plugins, sets to go back to, promotions,
//! how often each member failed, and who is in quarantine.
//!
//! Contract: one JSON value in the catalog, changed by [`transitions`](super::transitions) alone, each of which is a pure
//! function over it; writers compare and swap, so the host and commands beside it never undo each other's change. It is
//! bounded: sets by `kept_sets`, members by [`HEALTH_MEMBERS`], failures by the window they count in.

use std::collections::BTreeMap;

use longshore_model::{Digest, PolicyKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use longshore_sandbox::Budget;

use super::spec::{Seat, SetSpec};
use crate::EngineError;

/// Under which key the catalog keeps it.
pub(crate) const STATE_SETTING: &str = "policies";
/// The form of the value; another one is not read.
const FORMAT_VERSION: u32 = 1;
/// Members whose health is kept; the one that was asked longest ago goes first.
pub(crate) const HEALTH_MEMBERS: usize = 256;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyState {
    format_version: u32,
    /// Grows with every change of what the next run is decided by.
    pub(crate) generation: u64,
    /// What that change was.
    pub(crate) last_change: String,
    /// Installed plugins by name.
    pub(crate) installed: BTreeMap<String, Installed>,
    /// Candidates that took a member's place.
    pub(crate) promotions: Vec<Promotion>,
    /// Set while an earlier set is in force in place of what the configuration says.
    pub(crate) rollback: Option<Rollback>,
    /// Sets that were in force, oldest first.
    pub(crate) sets: Vec<SetEntry>,
    /// The set in force.
    pub(crate) active: Option<u64>,
    /// How members did, by fingerprint.
    pub(crate) health: BTreeMap<Digest, Health>,
    /// Members that are no longer asked.
    pub(crate) quarantine: Vec<Quarantined>,
    /// How often something happened, since the catalog was made.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Default for PolicyState {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            generation: 0,
            last_change: String::new(),
            installed: BTreeMap::new(),
            promotions: Vec::new(),
            rollback: None,
            sets: Vec::new(),
            active: None,
            health: BTreeMap::new(),
            quarantine: Vec::new(),
            counters: BTreeMap::new(),
        }
    }
}

/// A plugin under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// What the plugin calls itself.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
    /// The kinds of decisions it makes.
    pub kinds: Vec<PolicyKind>,
    /// The trusted key that signed it.
    pub signer: Option<String>,
    /// When it was installed.
    pub time: Timestamp,
}

/// A candidate that took a member's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// Whose place.
    pub seat: Seat,
    /// The file that the configuration names there. Once it names another one, the promotion is over.
    pub in_place_of: Digest,
    /// The candidate as the configuration named it.
    pub plugin: String,
    /// Its file.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// Its settings; `None`: those of the member.
    pub settings: Option<Value>,
    /// Budget of one of its calls, as it was earned with; `None`: that of the member.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// When it was promoted.
    pub time: Timestamp,
}

/// An earlier set is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Its number.
    pub set: u64,
    /// Fingerprint of what the configuration said. As long as it says that, the earlier set holds.
    pub rejected: Digest,
    /// Since when.
    pub time: Timestamp,
}

/// A set that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetEntry {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// When it came into force.
    pub(crate) time: Timestamp,
    /// What brought it: `start`, `reload`, `install`, `promote`, ….
    pub(crate) cause: String,
    /// What it is.
    pub(crate) spec: SetSpec,
    /// Fingerprint of what the configuration alone says.
    pub(crate) configured: Digest,
    /// The promotions that were in force with it.
    pub(crate) promotions: Vec<Promotion>,
    /// Runs it decided.
    pub(crate) good_runs: u64,
    /// Runs that failed because of one of its members.
    pub(crate) failed_runs: u64,
    /// Somebody went back from it.
    pub(crate) rejected: bool,
}

/// How a member did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// Runs in which it answered.
    pub(crate) good_runs: u64,
    /// Runs in which it failed.
    pub(crate) failed_runs: u64,
    /// When it last answered or failed.
    pub(crate) last: Timestamp,
    /// When it failed, as far back as the window goes.
    pub(crate) failures: Vec<Timestamp>,
}

/// A member that is no longer asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// Its place.
    pub seat: Seat,
    /// What exactly: file, settings and budget.
    pub fingerprint: Digest,
    /// Its file.
    pub digest: Digest,
    /// Since when.
    pub since: Timestamp,
    /// Failures within the window.
    pub failures: u32,
    /// How it failed last.
    pub why: String,
}

impl PolicyState {
    /// Reads what the catalog kept.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when it is of another form.
    pub(crate) fn from_value(value: Option<&Value>) -> Result<Self, EngineError> {
        let Some(value) = value else { return Ok(Self::default()) };
        let bad = |why: String| EngineError::Internal { what: format!("reading what is known about policies: {why}") };
        let state = Self::deserialize(value).map_err(|error| bad(error.to_string()))?;
        if state.format_version != FORMAT_VERSION {
            return Err(bad(format!("it has form {}, this program reads {FORMAT_VERSION}", state.format_version)));
        }
        Ok(state)
    }

    /// The value as the catalog keeps it.
    pub(crate) fn to_value(&self) -> Result<Value, EngineError> {
        serde_json::to_value(self)
            .map_err(|error| EngineError::Internal { what: format!("writing what is known about policies: {error}") })
    }

    /// A set by its number.
    #[must_use]
    pub(crate) fn set(&self, number: u64) -> Option<&SetEntry> {
        self.sets.iter().find(|set| set.number == number)
    }

    /// The set in force.
    #[must_use]
    pub(crate) fn active_set(&self) -> Option<&SetEntry> {
        self.set(self.active?)
    }

    /// Notes that the next run may be decided by something else, and counts why.
    pub(crate) fn changed(&mut self, what: &str, counter: &str) {
        self.generation += 1;
        what.clone_into(&mut self.last_change);
        self.count(counter);
    }

    /// Counts something that happened.
    pub(crate) fn count(&mut self, what: &str) {
        self.count_by(what, 1);
    }

    /// The same, several times.
    pub(crate) fn count_by(&mut self, what: &str, times: u64) {
        if times > 0 {
            let counter = self.counters.entry(what.to_owned()).or_default();
            *counter = counter.saturating_add(times);
        }
    }

    /// Every file that something here may need.
    pub(crate) fn digests(&self) -> std::collections::BTreeSet<Digest> {
        let sets = self.sets.iter().flat_map(|set| set.spec.digests());
        let promoted = self.promotions.iter().map(|promotion| promotion.digest);
        let installed = self.installed.values().map(|installed| installed.digest);
        sets.chain(promoted).chain(installed).collect()
    }
}
