//! Patterns that name collections.

use std::fmt;
use std::str::Chars;

use serde::Deserialize;

/// A pattern for one name: `*` stands for any characters, `?` for one. Letters of different case are different.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Pattern(Vec<char>);

impl From<&str> for Pattern {
    fn from(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }
}

impl From<String> for Pattern {
    fn from(pattern: String) -> Self {
        pattern.as_str().into()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.iter().collect::<String>())
    }
}

impl Pattern {
    /// Whether the pattern means this name. The work is bounded by pattern length × name length.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        glob(&self.0, name)
    }
}

/// A pattern such as `tmp_*` or `scratch.*`, made of [`Pattern`]s. With a dot it means `database.collection`, without one
/// the collection's name in every database. Neither databases nor collections can have a dot in their names, so the first
/// dot divides.
///
/// ```
/// # use longshore_plugin::CollectionPattern;
/// let scratch = CollectionPattern::from("scratch.*");
/// assert!(scratch.matches("scratch", "docs") && !scratch.matches("default", "scratch"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct CollectionPattern {
    database: Option<Pattern>,
    name: Pattern,
}

impl From<&str> for CollectionPattern {
    fn from(pattern: &str) -> Self {
        match pattern.split_once('.') {
            Some((database, name)) => Self { database: Some(database.into()), name: name.into() },
            None => Self { database: None, name: pattern.into() },
        }
    }
}

impl From<String> for CollectionPattern {
    fn from(pattern: String) -> Self {
        pattern.as_str().into()
    }
}

impl fmt::Display for CollectionPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(formatter, "{database}.")?;
        }
        write!(formatter, "{}", self.name)
    }
}

impl CollectionPattern {
    /// Whether the pattern means this collection.
    #[must_use]
    pub fn matches(&self, database: &str, name: &str) -> bool {
        self.database.as_ref().is_none_or(|pattern| pattern.matches(database)) && self.name.matches(name)
    }
}

/// Matches from left to right. After a mismatch only the last `*` has to be tried again, one character further on, so
/// the work is bounded by pattern length × text length whatever the pattern.
fn glob(pattern: &[char], text: &str) -> bool {
    let (mut at_pattern, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        let Some(character) = rest.next() else { break };
        match pattern.get(at_pattern) {
            Some('*') => {
                at_pattern += 1;
                rest = before.clone();
                retry = Some((at_pattern, before));
            }
            Some(expected) if *expected == '?' || *expected == character => at_pattern += 1,
            _ => {
                let Some((after_star, from)) = &mut retry else { return false };
                from.next();
                at_pattern = *after_star;
                rest = from.clone();
            }
        }
    }
    pattern.iter().skip(at_pattern).all(|rest| *rest == '*')
}
