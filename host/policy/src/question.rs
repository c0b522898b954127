//! The three kinds of question in one form, so that paging, checking and recording are written once.

use std::sync::Arc;

use longshore_model::{
    CodecChoice, CollectionFacts, FileClass, Placed, PolicyKind, RegionId, RegionOffer, Selected, StreamFacts,
};

use crate::oracle::Answer;
use crate::{Answered, Answers, Call, Oracle, Question};

/// A kind of question: what is asked about, what is answered, and which answers can be used.
pub(crate) trait Asking {
    /// What is asked about.
    type Item: Clone;
    /// What is answered.
    type Answer: Clone;
    /// Which kind it is.
    const KIND: PolicyKind;

    /// Asks about one page.
    fn ask(&self, oracle: &dyn Oracle, call: &Call<'_>, page: &[Self::Item]) -> Answer<Self::Answer>;

    /// Says why an answer cannot be used, if it cannot: only what was offered can be chosen.
    fn refute(&self, item: &Self::Item, answer: &Self::Answer) -> Option<String>;

    /// The question about a page, for the record.
    fn recorded_question(&self, page: &Arc<[Self::Item]>) -> Question;

    /// Answers, for the record.
    fn recorded_answers(answers: Vec<Answered<Self::Answer>>) -> Answers;

    /// Name of an item: what it is ordered by, and what messages call it.
    fn key(item: &Self::Item) -> (&longshore_model::CollectionName, Option<FileClass>);

    /// Name of an item for people.
    fn name(item: &Self::Item) -> String {
        match Self::key(item) {
            (collection, None) => collection.to_string(),
            (collection, Some(class)) => format!("{collection}/{class}"),
        }
    }
}

/// Which collections go in.
pub(crate) struct Selecting;

impl Asking for Selecting {
    type Item = CollectionFacts;
    type Answer = Selected;
    const KIND: PolicyKind = PolicyKind::Selection;

    fn ask(&self, oracle: &dyn Oracle, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Selected> {
        oracle.select(call, page)
    }

    fn refute(&self, _item: &CollectionFacts, _answer: &Selected) -> Option<String> {
        None
    }

    fn recorded_question(&self, page: &Arc<[CollectionFacts]>) -> Question {
        Question::Selection { collections: Arc::clone(page) }
    }

    fn recorded_answers(answers: Vec<Answered<Selected>>) -> Answers {
        Answers::Selection(answers)
    }

    fn key(item: &CollectionFacts) -> (&longshore_model::CollectionName, Option<FileClass>) {
        (&item.name, None)
    }
}

/// How streams are compressed.
pub(crate) struct Compressing;

impl Asking for Compressing {
    type Item = StreamFacts;
    type Answer = CodecChoice;
    const KIND: PolicyKind = PolicyKind::Compression;

    fn ask(&self, oracle: &dyn Oracle, call: &Call<'_>, page: &[StreamFacts]) -> Answer<CodecChoice> {
        oracle.choose(call, page)
    }

    fn refute(&self, item: &StreamFacts, answer: &CodecChoice) -> Option<String> {
        let offered = item.offers.iter().any(|offer| offer.codec == answer.codec);
        (!offered).then(|| format!("it chose codec `{}`, which was not offered", answer.codec))
    }

    fn recorded_question(&self, page: &Arc<[StreamFacts]>) -> Question {
        Question::Compression { streams: Arc::clone(page) }
    }

    fn recorded_answers(answers: Vec<Answered<CodecChoice>>) -> Answers {
        Answers::Compression(answers)
    }

    fn key(item: &StreamFacts) -> (&longshore_model::CollectionName, Option<FileClass>) {
        (&item.collection, Some(item.class))
    }
}

/// Where collections are kept.
pub(crate) struct Placing {
    /// The regions that guardrails leave.
    pub(crate) regions: Arc<[RegionOffer]>,
}

impl Asking for Placing {
    type Item = CollectionFacts;
    type Answer = Placed;
    const KIND: PolicyKind = PolicyKind::Placement;

    fn ask(&self, oracle: &dyn Oracle, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Placed> {
        oracle.place(call, page, &self.regions)
    }

    fn refute(&self, _item: &CollectionFacts, answer: &Placed) -> Option<String> {
        let mut used: Vec<&RegionId> = Vec::new();
        for region in std::iter::once(&answer.region).chain(answer.copies.iter().map(|copy| &copy.region)) {
            if !self.regions.iter().any(|offer| offer.id == *region) {
                return Some(format!("it chose region `{region}`, which was not offered"));
            }
            if used.contains(&region) {
                return Some(format!("it put two backups of one collection into region `{region}`"));
            }
            used.push(region);
        }
        None
    }

    fn recorded_question(&self, page: &Arc<[CollectionFacts]>) -> Question {
        Question::Placement { collections: Arc::clone(page), regions: Arc::clone(&self.regions) }
    }

    fn recorded_answers(answers: Vec<Answered<Placed>>) -> Answers {
        Answers::Placement(answers)
    }

    fn key(item: &CollectionFacts) -> (&longshore_model::CollectionName, Option<FileClass>) {
        (&item.name, None)
    }
}
