//! Alterations of facts without a field of their own: those of a collection, of a stream and of the run.
//!
//! A flag is turned over, a moment is moved, a number is nothing or far more, a text becomes what others of the page have
//! under that name; each may be absent. Names that only others have are tried with their values.

use std::collections::BTreeSet;

use longshore_model::{ExtraFact, FactValue, Timestamp};

use super::facts::{DAY_MS, LONG_AGO_DAYS, TIMES};

/// One fact altered.
pub(super) struct ExtraEdit {
    /// Its name.
    pub(super) name: String,
    /// What it was and is, in words.
    pub(super) from: String,
    pub(super) to: String,
    value: Option<FactValue>,
}

impl ExtraEdit {
    /// Puts it where the facts of an item are, in the place where it was.
    pub(super) fn apply(&self, extras: &mut Vec<ExtraFact>) {
        let place = extras.iter().position(|fact| fact.name == self.name);
        match (place, &self.value) {
            (Some(place), Some(value)) => {
                if let Some(fact) = extras.get_mut(place) {
                    fact.value = value.clone();
                }
            }
            (Some(place), None) => drop(extras.remove(place)),
            (None, Some(value)) => extras.push(ExtraFact { name: self.name.clone(), value: value.clone() }),
            (None, None) => {}
        }
    }
}

/// What is tried for an item: `own` are its facts, `page` those of all items, `most` the values tried per text and the names
/// of others.
pub(super) fn edits<'a>(
    own: &'a [ExtraFact],
    page: impl Iterator<Item = &'a [ExtraFact]>,
    run_time: Timestamp,
    most: usize,
) -> Vec<ExtraEdit> {
    let others: BTreeSet<(&str, Told<'_>)> =
        page.flatten().map(|fact| (fact.name.as_str(), Told::of(&fact.value))).collect();
    let mut edits = Vec::new();
    for fact in own {
        let from = Told::of(&fact.value).to_string();
        let mut to = |to: String, value: Option<FactValue>| {
            edits.push(ExtraEdit { name: fact.name.clone(), from: from.clone(), to, value });
        };
        match &fact.value {
            FactValue::Flag(flag) => to((!flag).to_string(), Some(FactValue::Flag(!flag))),
            // By its name a moment: `collection-last-write-time-ms` (`wit/v0.1.0/policy.wit`).
            FactValue::Integer(_) if fact.name.ends_with("-time-ms") => {
                for (words, days) in [("just before the run", 0), ("a year before the run", LONG_AGO_DAYS)] {
                    let moment = run_time.plus_millis(-days * DAY_MS).as_millis();
                    to(words.to_owned(), Some(FactValue::Integer(moment)));
                }
            }
            FactValue::Integer(number) => {
                for other in [0, number.saturating_mul(TIMES.try_into().unwrap_or(i64::MAX))] {
                    to(other.to_string(), Some(FactValue::Integer(other)));
                }
            }
            FactValue::Text(own) => {
                let values = others.iter().filter_map(|(name, value)| match value {
                    Told::Text(text) if *name == fact.name && text != own => Some(*text),
                    _ => None,
                });
                for value in values.take(most) {
                    to(value.to_owned(), Some(FactValue::Text(value.to_owned())));
                }
            }
        }
        to("absent".to_owned(), None);
    }
    let foreign = others.iter().filter(|(name, _)| own.iter().all(|fact| fact.name != *name));
    edits.extend(foreign.take(most).map(|(name, value)| ExtraEdit {
        name: (*name).to_owned(),
        from: "absent".to_owned(),
        to: value.to_string(),
        value: Some(value.value()),
    }));
    edits
}

/// A value that can be put in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told<'a> {
    Flag(bool),
    Integer(i64),
    Text(&'a str),
}

impl<'a> Told<'a> {
    fn of(value: &'a FactValue) -> Self {
        match value {
            FactValue::Flag(flag) => Self::Flag(*flag),
            FactValue::Integer(number) => Self::Integer(*number),
            FactValue::Text(text) => Self::Text(text),
        }
    }

    fn value(self) -> FactValue {
        match self {
            Self::Flag(flag) => FactValue::Flag(flag),
            Self::Integer(number) => FactValue::Integer(number),
            Self::Text(text) => FactValue::Text(text.to_owned()),
        }
    }
}

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}
