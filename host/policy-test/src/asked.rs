//! What came of asking a plugin about a scenario.

use longshore_model::{
    CodecChoice, CollectionName, FileClass, GuestLogLine, Placed, PolicyKind, Reason, Refusal, Selected,
};
use longshore_policy::{Choice as _, Failure};

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The collection.
    pub collection: CollectionName,
    /// The class of its files; only for compression.
    pub class: Option<FileClass>,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.class {
            None => self.collection.fmt(f),
            Some(class) => write!(f, "{}/{class}", self.collection),
        }
    }
}

/// One answer, of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Whether a collection goes in.
    Selected(Selected),
    /// How a stream is compressed.
    Codec(CodecChoice),
    /// Where a collection is kept.
    Placed(Placed),
}

impl Choice {
    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Selected(selected) => selected.reason(),
            Self::Codec(choice) => choice.reason(),
            Self::Placed(placed) => placed.reason(),
        }
    }

    /// The answer in a few words, as decision tables word it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Selected(selected) => selected.describe(),
            Self::Codec(choice) => choice.describe(),
            Self::Placed(placed) => placed.describe(),
        }
    }
}

/// How asking ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an answer: one place per item, `None` where the plugin has no opinion.
    Answered(Vec<Option<Choice>>),
    /// With a refusal, and the items it is about.
    Refused(Refusal, Vec<Item>),
    /// Without an answer.
    Failed(Failure),
}

/// What came of asking about all pages of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which kind.
    pub kind: PolicyKind,
    /// What was asked about, in order.
    pub items: Vec<Item>,
    /// How it ended.
    pub end: End,
    /// Number of calls.
    pub calls: u32,
    /// Fuel of all calls; `None` if the last one ended without telling.
    pub fuel_used: Option<u64>,
    /// Most memory a call held, in bytes.
    pub peak_memory_bytes: u64,
    /// Time of all calls on this machine, in microseconds.
    pub elapsed_us: u64,
    /// What was carried from page to page, the last page's included.
    pub carries: Vec<Vec<u8>>,
    /// What the plugin logged.
    pub log: Vec<GuestLogLine>,
}

impl Asked {
    /// Items with what was answered about them; nothing if there is no answer.
    pub fn answers(&self) -> impl Iterator<Item = (&Item, Option<&Choice>)> {
        let answers: &[Option<Choice>] = match &self.end {
            End::Answered(answers) => answers,
            End::Refused(..) | End::Failed(_) => &[],
        };
        self.items.iter().zip(answers).map(|(item, answer)| (item, answer.as_ref()))
    }

    /// The answer about an item by its name, `docs`, `default.docs` or `default.docs/segment`; `None` if there is none.
    #[must_use]
    pub fn of(&self, item: &str) -> Option<&Choice> {
        let named = |one: &Item| one.to_string() == item || one.to_string() == format!("default.{item}");
        self.answers().find(|(one, _)| named(one)).and_then(|(_, answer)| answer)
    }

    /// Whether a collection goes in; `None` without an opinion, or for another kind of question.
    #[must_use]
    pub fn selected(&self, item: &str) -> Option<&Selected> {
        match self.of(item)? {
            Choice::Selected(selected) => Some(selected),
            _ => None,
        }
    }

    /// How a stream, `docs/segment`, is compressed; `None` without an opinion, or for another kind of question.
    #[must_use]
    pub fn codec(&self, item: &str) -> Option<&CodecChoice> {
        match self.of(item)? {
            Choice::Codec(choice) => Some(choice),
            _ => None,
        }
    }

    /// Where a collection is kept; `None` without an opinion, or for another kind of question.
    #[must_use]
    pub fn placed(&self, item: &str) -> Option<&Placed> {
        match self.of(item)? {
            Choice::Placed(placed) => Some(placed),
            _ => None,
        }
    }

    /// How it ended, in a few words.
    #[must_use]
    pub fn ending(&self) -> String {
        match &self.end {
            End::Answered(_) => "an answer".to_owned(),
            End::Refused(refusal, _) => format!("refused: {}: {}", refusal.reason.code, refusal.reason.message),
            End::Failed(failure) => format!("error: {}: {}", failure.code, failure.message),
        }
    }
}
