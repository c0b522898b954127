//! The conditions of an expectation, one by one.

use std::collections::BTreeSet;

use longshore_model::{CodecChoice, Placed, Reason, Selected};

use super::Expect;
use super::values::{Days, Names};
use crate::asked::Choice;

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The key of the expectation.
    pub(crate) field: &'static str,
    /// What is expected, in words.
    pub(crate) expected: String,
    /// What was found.
    pub(crate) found: String,
}

impl Wrong {
    pub(crate) fn new(field: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self { field, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Collects conditions that do not hold.
#[derive(Default)]
struct Conditions(Vec<Wrong>);

impl Conditions {
    fn equal<T: PartialEq + ToString>(&mut self, field: &'static str, expected: Option<&T>, found: &T) {
        if let Some(expected) = expected
            && expected != found
        {
            self.0.push(Wrong::new(field, expected.to_string(), found.to_string()));
        }
    }

    fn at_least<T: PartialOrd + ToString>(&mut self, field: &'static str, least: Option<T>, found: &T) {
        if let Some(least) = least
            && *found < least
        {
            self.0.push(Wrong::new(field, format!("at least {}", least.to_string()), found.to_string()));
        }
    }

    fn at_most<T: PartialOrd + ToString>(&mut self, field: &'static str, most: Option<T>, found: &T) {
        if let Some(most) = most
            && *found > most
        {
            self.0.push(Wrong::new(field, format!("at most {}", most.to_string()), found.to_string()));
        }
    }

    fn one_of(&mut self, field: &'static str, names: Option<&Names>, found: &str) {
        if let Some(names) = names
            && !names.has(found)
        {
            self.0.push(Wrong::new(field, names.any(), found));
        }
    }

    fn none_of(&mut self, field: &'static str, names: Option<&Names>, found: &str) {
        if let Some(names) = names
            && names.has(found)
        {
            self.0.push(Wrong::new(field, format!("not {found}"), found));
        }
    }
}

/// Conditions about the choice itself. A choice of another kind cannot come here: kinds are settled before asking.
pub(crate) fn choice_wrong(expect: &Expect, choice: &Choice) -> Vec<Wrong> {
    match choice {
        Choice::Selected(selected) => selection(expect, selected),
        Choice::Codec(choice) => compression(expect, choice),
        Choice::Placed(placed) => placement(expect, placed),
    }
}

/// Conditions about the reason.
pub(crate) fn reason_wrong(expect: &Expect, reason: &Reason) -> Vec<Wrong> {
    let mut conditions = Conditions::default();
    conditions.one_of("reason_code", expect.reason_code.as_ref(), &reason.code);
    conditions.equal("reason", expect.reason.as_ref(), &reason.message);
    if let Some(text) = &expect.reason_contains
        && !reason.message.contains(text)
    {
        conditions.0.push(Wrong::new("reason_contains", format!("\"{text}\""), &reason.message));
    }
    conditions.0
}

fn selection(expect: &Expect, selected: &Selected) -> Vec<Wrong> {
    let mut conditions = Conditions::default();
    conditions.equal("selected", expect.selected.as_ref(), &selected.include_collection);
    conditions.equal("index_files", expect.index_files.as_ref(), &selected.include_index_files);
    conditions.equal("priority", expect.priority.as_ref(), &selected.priority);
    conditions.at_least("priority_min", expect.priority_min, &selected.priority);
    conditions.at_most("priority_max", expect.priority_max, &selected.priority);
    conditions.0
}

fn compression(expect: &Expect, choice: &CodecChoice) -> Vec<Wrong> {
    let mut conditions = Conditions::default();
    let codec = choice.codec.to_string();
    conditions.equal("codec", expect.codec.as_ref(), &codec);
    conditions.one_of("codec_in", expect.codec_in.as_ref(), &codec);
    conditions.none_of("codec_not", expect.codec_not.as_ref(), &codec);
    conditions.0
}

fn placement(expect: &Expect, placed: &Placed) -> Vec<Wrong> {
    let mut conditions = Conditions::default();
    let main = placed.region.as_str();
    conditions.equal("region", expect.region.as_ref(), &main.to_owned());
    conditions.one_of("region_in", expect.region_in.as_ref(), main);
    conditions.none_of("region_not", expect.region_not.as_ref(), main);
    let copies: BTreeSet<&str> = placed.copies.iter().map(|copy| copy.region.as_str()).collect();
    for region in std::iter::once(main).chain(copies.iter().copied()) {
        conditions.one_of("only_in", expect.only_in.as_ref(), region);
        conditions.none_of("never_in", expect.never_in.as_ref(), region);
    }
    if let Some(expected) = &expect.copies {
        let expected: BTreeSet<&str> = expected.0.iter().map(String::as_str).collect();
        if expected != copies {
            conditions.0.push(Wrong::new("copies", list(&expected), list(&copies)));
        }
    }
    conditions.at_least("copies_min", expect.copies_min, &copies.len());
    conditions.at_most("copies_max", expect.copies_max, &copies.len());
    for copy in &placed.copies {
        conditions.equal("copy_retention_days", expect.copy_retention_days.as_ref(), &Days(copy.retention_days));
    }
    conditions.equal("retention_days", expect.retention_days.as_ref(), &Days(placed.retention_days));
    if let Some(least) = expect.retention_days_min {
        // The schedule's own retention is not known here, so it is not known to be long enough.
        if placed.retention_days.is_none_or(|days| days < least) {
            let found = Days(placed.retention_days);
            conditions.0.push(Wrong::new("retention_days_min", format!("at least {least}"), found));
        }
    }
    conditions.0
}

fn list(names: &BTreeSet<&str>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().copied().collect::<Vec<_>>().join(", ")
}
