//! Why a collection of one kind of cluster cannot live in another, in words that name what is in the way.

use std::fmt;

use longshore_model::CollectionName;
use thiserror::Error;

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misfit {
    /// The target has no such type.
    #[error("field `{field}` is of type {data_type}, which {target} does not have")]
    NoSuchType {
        /// Which field.
        field: String,
        /// Its type, as its own kind of cluster calls it.
        data_type: String,
        /// The kind of cluster.
        target: &'static str,
    },
    /// Both kinds may have the type, and nobody has shown that values come over unchanged.
    #[error(
        "field `{field}` is of type {data_type}, which Longshore does not carry from one kind of cluster to another"
    )]
    TypeNotCarried {
        /// Which field.
        field: String,
        /// Its type.
        data_type: String,
    },
    /// Values may be missing.
    #[error("values of field `{field}` may be missing (nullable), which Longshore does not carry into {target}")]
    Nullable {
        /// Which field.
        field: String,
        /// The kind of cluster.
        target: &'static str,
    },
    /// The target keeps this name for itself.
    #[error("{target} keeps the name `{field}` for itself, so no field can have it")]
    ReservedName {
        /// Which field.
        field: String,
        /// The kind of cluster.
        target: &'static str,
    },
    /// A name that the target does not take.
    #[error("`{name}` cannot be the name of a {what} in {target}: {rule}")]
    BadName {
        /// What has the name, for example `field`.
        what: &'static str,
        /// The name.
        name: String,
        /// The kind of cluster.
        target: &'static str,
        /// What names may be.
        rule: &'static str,
    },
    /// A field that the server fills by a function.
    #[error("field `{field}` is filled by the function `{function}`, and functions are not carried over")]
    Function {
        /// Which field.
        field: String,
        /// Which function.
        function: String,
    },
    /// A field whose text is searched by words.
    #[error("the text of field `{field}` is analysed for searches by words, and analysers are not carried over")]
    Analyzer {
        /// Which field.
        field: String,
    },
    /// Text keys that are made by the server.
    #[error("keys in field `{field}` are text that the server makes itself (auto id); Milvus Lite makes numbers only")]
    AutoIdText {
        /// The primary key.
        field: String,
    },
    /// More vectors than the target takes.
    #[error("field `{field}` is a second vector, and {target} takes one in each collection")]
    SecondVector {
        /// Which field.
        field: String,
        /// The kind of cluster.
        target: &'static str,
    },
    /// No vector at all.
    #[error("none of its fields is a vector that {target} can hold, and a collection needs one")]
    NoVector {
        /// The kind of cluster.
        target: &'static str,
    },
    /// Files that cannot be looked into.
    #[error("its segments are of a storage version whose rows this Longshore cannot read")]
    StorageVersion,
    /// Rows that the target would hide.
    #[error("{rows} of its rows share their key `{field}` with another row, and {target} shows one row of each key")]
    SharedKeys {
        /// The primary key.
        field: String,
        /// Rows that would be hidden.
        rows: u64,
        /// The kind of cluster.
        target: &'static str,
    },
    /// A value that the target's type cannot hold.
    #[error("a value of field `{field}` {what}")]
    Value {
        /// Which field.
        field: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Sentences that a message has at most.
const MOST: usize = 12;

/// Collections that cannot live in the target, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct DoesNotFit {
    /// The kind of cluster they were to be restored into.
    pub target: &'static str,
    /// What is in the way, by the collection's name in the backup. Never empty.
    pub misfits: Vec<(CollectionName, Misfit)>,
    /// What to do.
    pub advice: &'static str,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for (number, (collection, misfit)) in self.misfits.iter().take(MOST).enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            if last == Some(collection) {
                write!(f, "{misfit}")?;
            } else {
                write!(f, "collection {collection} cannot be restored into {}: {misfit}", self.target)?;
            }
            last = Some(collection);
        }
        if let Some(more) = self.misfits.len().checked_sub(MOST).filter(|more| *more > 0) {
            write!(f, "; and {more} more")?;
        }
        write!(f, "; {}", self.advice)
    }
}
