//! The one error of this crate.

use longshore_model::{CollectionName, PolicyKind, Reason, RegionId};
use thiserror::Error;

use crate::{DecisionRecord, Failure};

/// A policy set cannot be built, or a run cannot be decided. Nothing was decided when this is returned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The name of a member is unusable or taken.
    #[error("the {kind} chain cannot have a member named `{member}`: {problem}; rename it in the configuration")]
    BadMemberName {
        /// Which chain.
        kind: PolicyKind,
        /// The name, control characters escaped.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A chain has more members than [`crate::Limits::chain_members`].
    #[error("the {kind} chain has more than {limit} members; remove some")]
    TooManyMembers {
        /// Which chain.
        kind: PolicyKind,
        /// How many are allowed.
        limit: usize,
    },
    /// A chain has no member.
    #[error("the {kind} chain is empty; add a plugin that always has an opinion, for example `standard`")]
    EmptyChain {
        /// Which chain.
        kind: PolicyKind,
    },
    /// A plugin was put into a chain of a kind that it does not export.
    #[error("plugin `{plugin}` (member `{member}`) does not serve {kind}; take it out of the {kind} chain")]
    NotServed {
        /// Which chain.
        kind: PolicyKind,
        /// Which member.
        member: String,
        /// What the plugin calls itself.
        plugin: String,
    },
    /// `on_failure = skip` where a plugin may not be skipped.
    #[error("member `{member}` of the {kind} chain cannot have `on_failure = \"skip\"`: {why}; use \"fail\"")]
    SkipNotAllowed {
        /// Which chain.
        kind: PolicyKind,
        /// Which member.
        member: String,
        /// Why not.
        why: &'static str,
    },
    /// The settings schema that a plugin exports cannot be used.
    #[error("plugin `{plugin}` has an unusable settings schema: {problem}; its author has to correct it")]
    BadSchema {
        /// What the plugin calls itself.
        plugin: String,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// Settings are not valid under the plugin's schema.
    #[error("settings of member `{member}` (plugin `{plugin}`) at `{path}`: {problem}")]
    BadSettings {
        /// Which member.
        member: String,
        /// What the plugin calls itself.
        plugin: String,
        /// JSON pointer to the wrong place; `/` is the settings as a whole.
        path: String,
        /// What is wrong there.
        problem: String,
    },
    /// What was granted to a member cannot be given to it.
    #[error("member `{member}` cannot have its `grants`: {problem}")]
    BadGrant {
        /// Which member.
        member: String,
        /// What is wrong.
        problem: String,
    },
    /// A pattern of protected collections cannot be read.
    #[error("`{pattern}` is not a pattern of collections: {problem}; write for example `prod.*` or `default.orders`")]
    BadPattern {
        /// The pattern, control characters escaped.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A plugin refuses the run.
    #[error("plugin `{plugin}` {} (member `{member}`, {kind}) refuses: {} ({}){}", .record.asked.version, .reason.message, .reason.code, about_items(.items))]
    Refused {
        /// Which chain.
        kind: PolicyKind,
        /// Which member.
        member: Box<str>,
        /// What the plugin calls itself.
        plugin: Box<str>,
        /// Why.
        reason: Reason,
        /// The items it is about, by name; empty for the run as a whole.
        items: Box<[String]>,
        /// The call, to be asked again; also says version and digest of the plugin.
        record: Box<DecisionRecord>,
    },
    /// A plugin failed and may not be skipped.
    #[error("plugin `{plugin}` {} (member `{member}`, {kind}) failed: {failure}", .record.asked.version)]
    PluginFailed {
        /// Which chain.
        kind: PolicyKind,
        /// Which member.
        member: Box<str>,
        /// What the plugin calls itself.
        plugin: Box<str>,
        /// How.
        failure: Box<Failure>,
        /// The call, to be asked again; also says version and digest of the plugin.
        record: Box<DecisionRecord>,
    },
    /// No member of the chain had an opinion about an item.
    #[error(
        "no {kind} policy has an opinion about {item} (asked: {}); put a plugin that always has one at the end of the \
         chain, for example `standard`", .asked.join(", ")
    )]
    NoOpinion {
        /// Which chain.
        kind: PolicyKind,
        /// Which item.
        item: String,
        /// Members that were asked, in order.
        asked: Vec<String>,
    },
    /// The host listed an item twice.
    #[error("{item} is listed twice in one {kind} question; this is a mistake of the program, please report it")]
    DuplicateItem {
        /// Which chain.
        kind: PolicyKind,
        /// Which item.
        item: String,
    },
    /// The run has more items than [`crate::Limits::run_items`].
    #[error("the run has {found} items for the {kind} policy, more than {limit}; back up the cluster in parts")]
    TooManyItems {
        /// Which chain.
        kind: PolicyKind,
        /// How many there are.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A run over named collections was given one that nobody named.
    #[error(
        "{collection} is not among the collections that were asked for; this is a mistake of the program, please report it"
    )]
    NotRequested {
        /// Which collection.
        collection: CollectionName,
    },
    /// A stream came without a codec to choose from.
    #[error("no codec is offered for {item}; this is a mistake of the program, please report it")]
    NoOffers {
        /// Which stream.
        item: String,
    },
    /// Guardrails leave no region to offer.
    #[error(
        "none of the regions of this run ({}) may be used by the project; allow one of them or configure a vault in an \
         allowed region", list(.offered)
    )]
    NoAllowedRegion {
        /// Regions before guardrails.
        offered: Vec<RegionId>,
    },
    /// Text is not a decision record that this program can read.
    #[error("this is not a decision record: {problem}; give one that this version of Longshore wrote")]
    BadRecord {
        /// What is wrong with it.
        problem: String,
    },
    /// A record cannot be asked again of this plugin.
    #[error("the record cannot be replayed: {problem}")]
    NotReplayable {
        /// Why.
        problem: String,
    },
}

/// ` about a, b and 3 more`, or nothing.
fn about_items(items: &[String]) -> String {
    const SHOWN: usize = 5;
    if items.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let more = items.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(", about {}{tail}", shown.join(", "))
}

/// `a, b`, or `none`.
fn list(regions: &[RegionId]) -> String {
    if regions.is_empty() {
        return "none".to_owned();
    }
    regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ")
}
