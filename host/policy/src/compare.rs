//! Two answers to one question, compared item by item: what differs, for whom, and what it comes to.
//!
//! Contract: only what is decided counts. A reason that is worded otherwise, or that has another code, is no change.
//! Losing a backup is the one change that is told apart: a protected collection that one policy keeps in and the other
//! leaves out. The host's guardrail would still put it back; that a policy wants it out is worth a stop.

use std::collections::BTreeMap;

use longshore_model::{
    CodecChoice, CollectionFacts, CollectionName, Placed, PolicyKind, Reason, RegionId, Selected, StreamFacts,
};
use serde::{Deserialize, Serialize};

use crate::{Answered, Answers, Choice, Effect, Estimates, Kept, Question};

/// What changes about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It was in, and is out.
    LeftOut,
    /// There was an opinion about it, and there is none: the next member of the chain decides.
    NoOpinion,
    /// It was out, and is in.
    TakenIn,
    /// There was no opinion about it, and there is one.
    NewOpinion,
    /// Its main region.
    Region,
    /// Its copies in further regions.
    Copies,
    /// How long it is kept.
    Retention,
    /// The codec of one of its streams.
    Codec,
    /// Whether its index files are taken.
    IndexFiles,
    /// When its turn comes.
    Priority,
}

impl ChangeKind {
    /// The spelling in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeftOut => "left-out",
            Self::NoOpinion => "no-opinion",
            Self::TakenIn => "taken-in",
            Self::NewOpinion => "new-opinion",
            Self::Region => "region",
            Self::Copies => "copies",
            Self::Retention => "retention",
            Self::Codec => "codec",
            Self::IndexFiles => "index-files",
            Self::Priority => "priority",
        }
    }
}

/// One item that is decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// `database.collection`, with `/class` for a stream.
    pub item: String,
    /// The collection it is about.
    pub collection: CollectionName,
    /// The operator protects that collection.
    pub protected: bool,
    /// What changes.
    pub change: ChangeKind,
    /// The decision before, in a few words.
    pub before: String,
    /// The decision after, in a few words.
    pub after: String,
    /// Why before.
    pub reason_before: Option<Reason>,
    /// Why after.
    pub reason_after: Option<Reason>,
    /// What it comes to.
    pub effect: Effect,
    /// The same in each region where something changes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<RegionId, Effect>,
}

impl Change {
    /// True when a protected collection would no longer be backed up.
    #[must_use]
    pub fn loses_backup(&self) -> bool {
        self.protected && self.change == ChangeKind::LeftOut
    }
}

/// Compares the answers to one question. Items that are decided alike are not in the result.
#[must_use]
pub fn changes(question: &Question, before: &Answers, after: &Answers, estimates: &Estimates<'_>) -> Vec<Change> {
    match (question, before, after) {
        (Question::Selection { collections }, Answers::Selection(before), Answers::Selection(after)) => {
            compare(collections, before, after, estimates)
        }
        (Question::Compression { streams }, Answers::Compression(before), Answers::Compression(after)) => {
            compare(streams, before, after, estimates)
        }
        (Question::Placement { collections, .. }, Answers::Placement(before), Answers::Placement(after)) => {
            compare(collections, before, after, estimates)
        }
        // Somebody edited a record: its question and its answers are of different kinds.
        _ => Vec::new(),
    }
}

/// An item as it is compared.
trait Item {
    fn title(&self) -> String;
    fn collection(&self) -> &CollectionName;
    fn protected(&self, estimates: &Estimates<'_>) -> bool;
}

impl Item for CollectionFacts {
    fn title(&self) -> String {
        self.name.to_string()
    }
    fn collection(&self) -> &CollectionName {
        &self.name
    }
    fn protected(&self, _: &Estimates<'_>) -> bool {
        self.protected
    }
}

impl Item for StreamFacts {
    fn title(&self) -> String {
        format!("{}/{}", self.collection, self.class)
    }
    fn collection(&self) -> &CollectionName {
        &self.collection
    }
    fn protected(&self, estimates: &Estimates<'_>) -> bool {
        estimates.facts(&self.collection).is_some_and(|facts| facts.protected)
    }
}

/// An answer as it is compared.
trait Decided<I>: Choice {
    const KIND: PolicyKind;
    /// What differs from another answer, apart from the reason.
    fn differs(&self, after: &Self) -> Option<ChangeKind>;
    /// What it comes to.
    fn effect(&self, item: &I, estimates: &Estimates<'_>) -> Kept;
}

impl Decided<CollectionFacts> for Selected {
    const KIND: PolicyKind = PolicyKind::Selection;

    fn differs(&self, after: &Self) -> Option<ChangeKind> {
        match (self.include_collection, after.include_collection) {
            (true, false) => Some(ChangeKind::LeftOut),
            (false, true) => Some(ChangeKind::TakenIn),
            // What is out has neither index files nor a turn.
            (false, false) => None,
            (true, true) if self.include_index_files != after.include_index_files => Some(ChangeKind::IndexFiles),
            (true, true) => (self.priority != after.priority).then_some(ChangeKind::Priority),
        }
    }

    fn effect(&self, item: &CollectionFacts, estimates: &Estimates<'_>) -> Kept {
        estimates.selected(item, self)
    }
}

impl Decided<StreamFacts> for CodecChoice {
    const KIND: PolicyKind = PolicyKind::Compression;

    fn differs(&self, after: &Self) -> Option<ChangeKind> {
        (self.codec != after.codec).then_some(ChangeKind::Codec)
    }

    fn effect(&self, item: &StreamFacts, estimates: &Estimates<'_>) -> Kept {
        estimates.chosen(item, self)
    }
}

impl Decided<CollectionFacts> for Placed {
    const KIND: PolicyKind = PolicyKind::Placement;

    fn differs(&self, after: &Self) -> Option<ChangeKind> {
        let regions = |placed: &Self| placed.copies.iter().map(|copy| copy.region.clone()).collect::<Vec<_>>();
        if self.region != after.region {
            Some(ChangeKind::Region)
        } else if regions(self) != regions(after) {
            Some(ChangeKind::Copies)
        } else {
            let kept = self.retention_days != after.retention_days || self.copies != after.copies;
            kept.then_some(ChangeKind::Retention)
        }
    }

    fn effect(&self, item: &CollectionFacts, estimates: &Estimates<'_>) -> Kept {
        estimates.placed(item, self)
    }
}

fn compare<I: Item, T: Decided<I>>(
    items: &[I],
    before: &[Answered<T>],
    after: &[Answered<T>],
    estimates: &Estimates<'_>,
) -> Vec<Change> {
    let by_place = |answers: &'_ [Answered<T>]| -> BTreeMap<u32, usize> {
        answers.iter().enumerate().map(|(index, answered)| (answered.item, index)).collect()
    };
    let (places_before, places_after) = (by_place(before), by_place(after));
    let mut changes = Vec::new();
    for (place, item) in (0_u32..).zip(items) {
        let old = places_before.get(&place).and_then(|index| before.get(*index)).map(|one| &one.answer);
        let new = places_after.get(&place).and_then(|index| after.get(*index)).map(|one| &one.answer);
        changes.extend(change(item, old, new, estimates));
    }
    changes
}

fn change<I: Item, T: Decided<I>>(
    item: &I,
    before: Option<&T>,
    after: Option<&T>,
    estimates: &Estimates<'_>,
) -> Option<Change> {
    let change = match (before, after) {
        (None, None) => return None,
        (Some(_), None) => ChangeKind::NoOpinion,
        (None, Some(_)) => ChangeKind::NewOpinion,
        (Some(before), Some(after)) => before.differs(after)?,
    };
    let text = |answer: Option<&T>| answer.map_or_else(|| "no opinion".to_owned(), Choice::describe);
    let reason = |answer: Option<&T>| answer.map(|answer| answer.reason().clone());
    let effect = match (before, after) {
        (Some(before), Some(after)) => Kept::between(&before.effect(item, estimates), &after.effect(item, estimates)),
        // What the rest of the chain makes of it is not known here.
        _ => Kept::default(),
    };
    Some(Change {
        kind: T::KIND,
        item: item.title(),
        collection: item.collection().clone(),
        protected: item.protected(estimates),
        change,
        before: text(before),
        after: text(after),
        reason_before: reason(before),
        reason_after: reason(after),
        effect: effect.total,
        regions: effect.regions,
    })
}
