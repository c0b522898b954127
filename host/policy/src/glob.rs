//! Patterns over collections, as an operator writes them: `prod.*`, `default.orders`, `*_ledger`.

use std::fmt;
use std::str::FromStr;

use longshore_model::CollectionName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Limits, PolicyError};

/// A pattern over `database.collection`. `*` stands for any characters, dots included, `?` for one character, all else
/// for itself. A pattern without a dot is about collections of any database: `orders` means `*.orders`, so that a
/// pattern protects too much rather than too little.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionPattern {
    /// As it was written.
    written: String,
    /// With the database part.
    full: Vec<char>,
}

impl CollectionPattern {
    /// Whether a collection is meant. Takes time in the product of both lengths at most.
    #[must_use]
    pub fn matches(&self, collection: &CollectionName) -> bool {
        let text: Vec<char> = collection.to_string().chars().collect();
        glob(&self.full, &text)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

/// Matches from the left and, after a mismatch, lets the last `*` take one character more. Only the last one has to be
/// tried again: an earlier one could not reach further than it already has.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = text.get(read) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, star_read)) => {
                    star = Some((star_at, star_read + 1));
                    at = star_at + 1;
                    read = star_read + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

impl FromStr for CollectionPattern {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let bad = |problem: String| {
            let pattern = text.chars().take(80).flat_map(char::escape_debug).collect();
            Err(PolicyError::BadPattern { pattern, problem })
        };
        if text.is_empty() {
            return bad("it is empty".to_owned());
        }
        if text.len() > Limits::DEFAULT.pattern_bytes {
            return bad(format!("it is longer than {} bytes", Limits::DEFAULT.pattern_bytes));
        }
        if text.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
            return bad("it holds a slash, a backslash or a control character, which no name can".to_owned());
        }
        let full = if text.contains('.') { text.to_owned() } else { format!("*.{text}") };
        Ok(Self { written: text.to_owned(), full: full.chars().collect() })
    }
}

impl fmt::Display for CollectionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for CollectionPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for CollectionPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, database: &str, collection: &str) -> bool {
        let name = CollectionName::new(database, collection).unwrap();
        pattern.parse::<CollectionPattern>().unwrap().matches(&name)
    }

    #[test]
    fn patterns_mean_what_an_operator_expects() {
        assert!(matches("prod.*", "prod", "orders"));
        assert!(!matches("prod.*", "production", "orders"));
        assert!(matches("orders", "prod", "orders"));
        assert!(!matches("orders", "prod", "old_orders"));
        assert!(matches("*", "any", "thing"));
        assert!(matches("*_ledger", "books", "general_ledger"));
        assert!(matches("p?od.o*s", "prod", "orders"));
        assert!(!matches("p?od.o*s", "prd", "orders"));
        assert!(matches("größe.*", "größe", "ü"));
        assert!(matches("a*b*c", "x", "a1b2b3c"), "the last star gets another try");
        assert!(!matches("a*b*c", "x", "a1b2b3d"));
    }

    #[test]
    fn what_no_name_can_match_is_refused() {
        for text in ["", "a/b", "a\\b", "a\nb", &"x".repeat(1025)] {
            assert!(text.parse::<CollectionPattern>().is_err(), "{text:?}");
        }
    }

    /// The definition, slow and plain.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            Some((wanted, rest)) => {
                text.split_first().is_some_and(|(c, tail)| (*wanted == '?' || wanted == c) && by_definition(rest, tail))
            }
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(glob(&pattern, &text), by_definition(&pattern, &text));
        }
    }
}
