//! Names of databases and collections.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Limits, ModelError};

/// The database that a cluster always has and that requests mean when they name none.
pub const DEFAULT_DATABASE: &str = "default";

/// A collection within a cluster. Ordered by (database, name), the order of every list that a person sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionName {
    /// Name of the database; [`DEFAULT_DATABASE`] is written out.
    pub database: String,
    /// Name of the collection.
    pub collection: String,
}

impl CollectionName {
    /// Checks both names and joins them. An empty database means the default one.
    ///
    /// # Errors
    /// [`ModelError::Malformed`] for a name that is empty, longer than 255 bytes, `.` or `..`, or that holds a slash,
    /// a backslash, or a control character: such a name could not be a path component in a Milvus Lite directory.
    pub fn new(database: &str, collection: &str) -> Result<Self, ModelError> {
        let database = if database.is_empty() { DEFAULT_DATABASE } else { database };
        check_name("database name", database)?;
        check_name("collection name", collection)?;
        Ok(Self { database: database.to_owned(), collection: collection.to_owned() })
    }
}

/// Accepts what can be one path component and one line of a log.
fn check_name(what: &'static str, name: &str) -> Result<(), ModelError> {
    let bad = name.is_empty()
        || name.len() > Limits::DEFAULT.name_bytes
        || name == "."
        || name == ".."
        || name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    if bad {
        let expected = "1 to 255 bytes without slashes and control characters";
        return Err(ModelError::malformed(what, name, expected));
    }
    Ok(())
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

impl FromStr for CollectionName {
    type Err = ModelError;

    /// Reads `collection` or `database.collection`.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        match text.split_once('.') {
            Some((database, collection)) => Self::new(database, collection),
            None => Self::new(DEFAULT_DATABASE, text),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_without_database_is_in_the_default_one() {
        let name: CollectionName = "medium_articles".parse().unwrap();
        assert_eq!(name.to_string(), "default.medium_articles");
        assert_eq!(name.to_string().parse::<CollectionName>().unwrap(), name);
    }

    #[test]
    fn names_that_are_not_one_path_component_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", &"x".repeat(256)] {
            assert!(CollectionName::new("db", name).is_err(), "{name:?}");
            assert!(name.is_empty() || CollectionName::new(name, "c").is_err(), "{name:?}");
        }
    }
}
