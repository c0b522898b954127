//! Decision records: everything that is needed to ask the same question again.
//!
//! A record is plain JSON. A plugin is a pure function of what is in it, so the same record and the same plugin give
//! the same answer and the same fuel on any machine; [`crate::replay()`] checks that. Time spent is not in it.

use std::fmt;
use std::sync::Arc;

use longshore_model::{
    CodecChoice, CollectionFacts, CollectionName, Digest, GuestLogLine, Placed, PolicyKind, Refusal, RegionOffer,
    RunFacts, Selected, StreamFacts,
};
use serde::{Deserialize, Serialize};

use crate::{Budget, DecidedBy, GrantedFiles, PolicyError, SandboxError};

/// The contract that questions and answers are written in.
pub const WORLD_VERSION: &str = "longshore:policy@0.1.0";

/// The form of a [`DecisionRecord`]. A record of another form is not read.
pub const RECORD_FORMAT_VERSION: u32 = 1;

/// The items of one call and what was offered for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Question {
    /// Which of these collections go in?
    Selection {
        /// The page.
        collections: Arc<[CollectionFacts]>,
    },
    /// How are these streams compressed?
    Compression {
        /// The page.
        streams: Arc<[StreamFacts]>,
    },
    /// Where are these collections kept?
    Placement {
        /// The page.
        collections: Arc<[CollectionFacts]>,
        /// The regions that were offered.
        regions: Arc<[RegionOffer]>,
    },
}

impl Question {
    /// Which kind of policy it is for.
    #[must_use]
    pub const fn kind(&self) -> PolicyKind {
        match self {
            Self::Selection { .. } => PolicyKind::Selection,
            Self::Compression { .. } => PolicyKind::Compression,
            Self::Placement { .. } => PolicyKind::Placement,
        }
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Selection { collections } | Self::Placement { collections, .. } => collections.len(),
            Self::Compression { streams } => streams.len(),
        }
    }

    /// Facts about the collection at a place; `None` for a stream and outside the page.
    #[must_use]
    pub fn collection(&self, place: u32) -> Option<&CollectionFacts> {
        let place = usize::try_from(place).ok()?;
        match self {
            Self::Selection { collections } | Self::Placement { collections, .. } => collections.get(place),
            Self::Compression { .. } => None,
        }
    }

    /// Places of the items that are about a collection: one, or one per class of its files.
    #[must_use]
    pub fn places_of(&self, collection: &CollectionName) -> Vec<u32> {
        let place = |found: &dyn Fn(usize) -> bool, items: usize| {
            (0..items).filter(|place| found(*place)).filter_map(|place| u32::try_from(place).ok()).collect()
        };
        match self {
            Self::Selection { collections } | Self::Placement { collections, .. } => {
                place(&|at| collections.get(at).is_some_and(|one| one.name == *collection), collections.len())
            }
            Self::Compression { streams } => {
                place(&|at| streams.get(at).is_some_and(|one| one.collection == *collection), streams.len())
            }
        }
    }

    /// Name of an item: `database.collection`, with `/class` for a stream. `None` outside the page.
    #[must_use]
    pub fn item_name(&self, place: u32) -> Option<String> {
        let place = usize::try_from(place).ok()?;
        match self {
            Self::Selection { collections } | Self::Placement { collections, .. } => {
                collections.get(place).map(|collection| collection.name.to_string())
            }
            Self::Compression { streams } => {
                streams.get(place).map(|stream| format!("{}/{}", stream.collection, stream.class))
            }
        }
    }
}

/// An answer about one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered<T> {
    /// Place of the item in the page.
    pub item: u32,
    /// What was answered.
    #[serde(flatten)]
    pub answer: T,
}

/// The answers of one call, in the order the plugin gave them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "answers", rename_all = "kebab-case")]
pub enum Answers {
    /// Which collections go in.
    Selection(Vec<Answered<Selected>>),
    /// How streams are compressed.
    Compression(Vec<Answered<CodecChoice>>),
    /// Where collections are kept.
    Placement(Vec<Answered<Placed>>),
}

/// How a call failed, as it is shown and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `out-of-fuel`, `timed-out`, `out-of-memory`, `over-budget`, `trapped`, `bad-answer`, `bad-plugin`,
    /// `unrepeatable`, `host` or `other`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<&SandboxError> for Failure {
    /// The sandbox's error in the form that is kept.
    fn from(error: &SandboxError) -> Self {
        let code = match error {
            SandboxError::OutOfFuel { .. } => "out-of-fuel",
            SandboxError::TimedOut { .. } => "timed-out",
            SandboxError::OutOfMemory { .. } => "out-of-memory",
            SandboxError::OverBudget { .. } => "over-budget",
            SandboxError::Trapped { .. } => "trapped",
            SandboxError::BadAnswer { .. } => "bad-answer",
            SandboxError::BadPlugin { .. } => "bad-plugin",
            SandboxError::Host { .. } => "host",
            _ => "other",
        };
        Self { code: code.to_owned(), message: error.to_string() }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedOutcome {
    /// The plugin answered.
    Answered {
        /// What it answered.
        answers: Answers,
        /// What it handed to the next page, in hexadecimal.
        #[serde(with = "crate::json::hex")]
        carry: Vec<u8>,
        /// Fuel of the call.
        fuel_used: u64,
        /// Most memory it held, in bytes.
        peak_memory_bytes: u64,
    },
    /// The plugin refused the run.
    Refused(Refusal),
    /// The plugin failed, or its answer cannot be used.
    Failed(Failure),
}

/// One call of one plugin.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The form of the record, [`RECORD_FORMAT_VERSION`].
    pub format_version: u32,
    /// The contract, [`WORLD_VERSION`].
    pub world: String,
    /// Who was asked.
    pub asked: DecidedBy,
    /// Its settings, canonical JSON.
    pub settings: String,
    /// BLAKE3 of the settings.
    pub settings_digest: Digest,
    /// What the call was allowed to use.
    pub budget: Budget,
    /// Facts about the run.
    pub run: RunFacts,
    /// Copies of the files that the plugin was granted, by directory and path.
    #[serde(default, skip_serializing_if = "GrantedFiles::is_empty")]
    pub files: GrantedFiles,
    /// What the previous page handed over, in hexadecimal.
    #[serde(with = "crate::json::hex")]
    pub carry: Vec<u8>,
    /// Zero-based number of the page.
    pub page_number: u32,
    /// Whether it was the last page.
    pub last_page: bool,
    /// The items and the offers.
    pub question: Question,
    /// How the call ended.
    pub outcome: RecordedOutcome,
    /// What the plugin logged.
    pub log: Vec<GuestLogLine>,
}

impl DecisionRecord {
    /// The record as one line of JSON, the same bytes for the same record everywhere.
    ///
    /// # Errors
    /// [`PolicyError::BadRecord`] only if the JSON library fails, which plain data gives no cause for.
    pub fn to_json(&self) -> Result<String, PolicyError> {
        serde_json::to_string(self).map_err(|error| PolicyError::BadRecord { problem: error.to_string() })
    }

    /// Reads what [`DecisionRecord::to_json`] wrote.
    ///
    /// # Errors
    /// [`PolicyError::BadRecord`] if the text is not such a record, or one of another form.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        let bad = |problem: String| PolicyError::BadRecord { problem };
        // The version is read first: a record of another form may lack or add anything else.
        let form: Form = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if form.format_version != RECORD_FORMAT_VERSION {
            return Err(bad(format!(
                "it has format version {}, this program reads {RECORD_FORMAT_VERSION}",
                form.format_version
            )));
        }
        serde_json::from_str(text).map_err(|error| bad(error.to_string()))
    }
}

/// The one field that every form of record has.
#[derive(Deserialize)]
struct Form {
    format_version: u32,
}

/// Short: a record of a thousand collections has no place in a log line.
impl fmt::Debug for DecisionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionRecord")
            .field("kind", &self.question.kind())
            .field("asked", &self.asked)
            .field("page_number", &self.page_number)
            .field("items", &self.question.items())
            .finish_non_exhaustive()
    }
}
