//! What the desk answers: plain values that tables and JSON are made of.

use std::collections::BTreeMap;

use longshore_model::{Digest, PolicyKind, Timestamp};
use serde::Serialize;

use crate::policies::shadows::ShadowRecord;
use crate::policies::spec::Seat;
use crate::policies::state::{Installed, Promotion, Quarantined, Rollback};

/// What installing did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallReport {
    /// Under which name.
    pub name: String,
    /// What was installed.
    #[serde(flatten)]
    pub installed: Installed,
    /// What had the name before.
    pub before: Option<Installed>,
}

/// An installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRow {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub installed: Installed,
    /// Where the set in force uses it.
    pub used_by: Vec<Seat>,
}

/// A plugin that a host knows: installed, built in, or named by a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownPlugin {
    /// What chains call it.
    pub name: String,
    /// `installed`, `built-in` or `file`.
    pub source: &'static str,
    /// What it calls itself, where that is known.
    pub plugin: Option<String>,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
    /// Decisions it makes; those it is asked for where that is all that is known.
    pub kinds: Vec<PolicyKind>,
    /// The trusted key that signed it.
    pub signer: Option<String>,
    /// When it was installed.
    pub time: Option<Timestamp>,
    /// Where the chains in force use it.
    pub used_by: Vec<Seat>,
}

/// A set that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRow {
    /// Its number.
    pub number: u64,
    /// When it came into force.
    pub time: Timestamp,
    /// What brought it.
    pub cause: String,
    /// It is in force.
    pub active: bool,
    /// Somebody went back from it.
    pub rejected: bool,
    /// Runs it decided.
    pub good_runs: u64,
    /// Runs that failed because of one of its members.
    pub failed_runs: u64,
    /// Its members, one line each.
    pub members: Vec<String>,
}

/// A member as it would be asked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its place.
    pub seat: Seat,
    /// Its version.
    pub version: String,
    /// Its file.
    pub digest: Digest,
    /// What is not as configured.
    pub notes: Vec<String>,
    /// Runs in which it answered.
    pub good_runs: u64,
    /// Runs in which it failed.
    pub failed_runs: u64,
    /// The candidate beside it, and how it did so far.
    pub shadow: Option<ShadowStatus>,
}

/// A candidate and its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowStatus {
    /// What the configuration calls it.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub digest: Digest,
    /// What it would have decided otherwise; `None` until it was asked.
    pub record: Option<ShadowRecord>,
}

/// Everything about the policies of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The set in force.
    pub set: Option<u64>,
    /// Set while an earlier set holds in place of what the configuration says.
    pub rollback: Option<Rollback>,
    /// Every member.
    pub members: Vec<MemberStatus>,
    /// Who is in quarantine.
    pub quarantine: Vec<Quarantined>,
    /// Candidates that took a member's place.
    pub promotions: Vec<Promotion>,
    /// How often something happened since the catalog was made, for metrics.
    pub counters: BTreeMap<String, u64>,
}

impl PolicyStatus {
    /// The same without the seats that somebody may not see.
    pub(crate) fn seen_by(mut self, sees: impl Fn(&Seat) -> bool) -> Self {
        self.members.retain(|member| sees(&member.seat));
        self.quarantine.retain(|one| sees(&one.seat));
        self.promotions.retain(|one| sees(&one.seat));
        self
    }
}

/// What a candidate must have shown before it is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PromoteRules {
    /// Items it decided.
    pub min_decisions: u64,
    /// Days between the first and the last run it was asked in.
    pub min_days: u32,
    /// Protected collections that would have lost their backup, at most.
    pub max_protected_changes: u64,
    /// Runs in which it failed or refused, at most.
    pub max_failures: u64,
    /// Items that it may not have been asked about because its time was up.
    pub max_not_asked: u64,
}

impl Default for PromoteRules {
    fn default() -> Self {
        Self { min_decisions: 100, min_days: 7, max_protected_changes: 0, max_failures: 0, max_not_asked: 0 }
    }
}

/// What promoting did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PromoteReport {
    /// Whose place it took.
    pub seat: Seat,
    /// Its file.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// The file it stands in place of.
    pub in_place_of: Digest,
    /// The record that spoke for it.
    pub record: ShadowRecord,
}
