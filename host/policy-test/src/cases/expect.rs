//! What a case expects, and whether an answer is that.

use std::collections::BTreeMap;

use longshore_model::{CollectionFacts, FileClass, PolicyKind};
use longshore_policy::CollectionPattern;
use serde::Deserialize;

use super::conditions::{Wrong, choice_wrong, reason_wrong};
use super::format::pattern;
use super::fuzz_file::Monotone;
use super::values::{Days, Names};
use crate::Scenario;
use crate::asked::{Asked, Choice, End, Item};

/// One `[[expect]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) kind: Option<PolicyKind>,
    #[serde(deserialize_with = "pattern")]
    pub(crate) collection: Option<CollectionPattern>,
    pub(crate) class: Option<FileClass>,
    #[serde(rename = "where")]
    pub(crate) filter: Where,

    pub(crate) opinion: Option<bool>,
    pub(crate) decision: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) reason_code: Option<Names>,
    pub(crate) reason_contains: Option<String>,

    pub(crate) selected: Option<bool>,
    pub(crate) index_files: Option<bool>,
    pub(crate) priority: Option<i32>,
    pub(crate) priority_min: Option<i32>,
    pub(crate) priority_max: Option<i32>,

    pub(crate) codec: Option<String>,
    pub(crate) codec_in: Option<Names>,
    pub(crate) codec_not: Option<Names>,

    pub(crate) region: Option<String>,
    pub(crate) region_in: Option<Names>,
    pub(crate) region_not: Option<Names>,
    pub(crate) only_in: Option<Names>,
    pub(crate) never_in: Option<Names>,
    pub(crate) copies: Option<Names>,
    pub(crate) copies_min: Option<usize>,
    pub(crate) copies_max: Option<usize>,
    pub(crate) copy_retention_days: Option<Days>,
    pub(crate) retention_days: Option<Days>,
    pub(crate) retention_days_min: Option<u32>,

    pub(crate) refused: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) holds: Option<Holds>,
    pub(crate) monotone: Option<Monotone>,
}

/// Narrows an expectation by facts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Where {
    pub(crate) protected: Option<bool>,
    pub(crate) requested: Option<bool>,
    pub(crate) criticality: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// A property of the plugin that is checked by asking more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Holds {
    /// It answers or refuses.
    Contract,
    /// It answers.
    Answers,
    /// Asked twice it does the same with the same fuel.
    Deterministic,
    /// The order of a page changes nothing.
    Order,
}

/// What an expectation made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is about nothing in the inventory.
    AboutNothing,
    /// What is wrong, by item; nothing if all is as expected.
    Items(Vec<(Item, Wrong, Option<Choice>)>),
    /// The call as a whole ended another way.
    Ending { expected: String },
}

impl Expect {
    /// Whether it makes sense: one kind, and something to expect.
    pub(crate) fn check(&self) -> Result<(), String> {
        let kinds = self.inferred();
        if kinds.len() > 1 {
            return Err(format!("it has keys of {} and of {}; write two expectations", kinds[0], kinds[1]));
        }
        if let (Some(kind), Some(inferred)) = (self.kind, kinds.first())
            && kind != *inferred
        {
            return Err(format!("its kind is {kind}, but it has keys of {inferred}"));
        }
        if self.class.is_some() && (self.kind.is_some_and(|kind| kind != PolicyKind::Compression)) {
            return Err("`class` is for compression: streams have classes, collections have not".to_owned());
        }
        let endings = [
            self.refused.is_some(),
            self.error.is_some(),
            self.holds.is_some(),
            self.monotone.is_some(),
            self.has_conditions(),
        ];
        match endings.iter().filter(|given| **given).count() {
            0 => Err("it expects nothing; add for example `selected = true` or `reason_code = \"…\"`".to_owned()),
            1 => Ok(()),
            _ if self.refused.is_some() && self.only_reason_contains() => Ok(()),
            _ => {
                Err("conditions about items, `refused`, `error`, `holds` and `monotone` exclude one another".to_owned())
            }
        }
    }

    fn only_reason_contains(&self) -> bool {
        let without = Self { reason_contains: None, ..self.clone() };
        !without.has_conditions() && self.error.is_none() && self.holds.is_none() && self.monotone.is_none()
    }

    fn has_conditions(&self) -> bool {
        self.opinion.is_some()
            || self.decision.is_some()
            || self.reason.is_some()
            || self.reason_code.is_some()
            || self.reason_contains.is_some()
            || !self.own_keys().is_empty()
    }

    /// Kinds of the keys that belong to one kind only.
    fn own_keys(&self) -> Vec<PolicyKind> {
        let selection = self.selected.is_some()
            || self.index_files.is_some()
            || self.priority.is_some()
            || self.priority_min.is_some()
            || self.priority_max.is_some();
        let compression = self.codec.is_some() || self.codec_in.is_some() || self.codec_not.is_some();
        let placement = self.region.is_some()
            || self.region_in.is_some()
            || self.region_not.is_some()
            || self.only_in.is_some()
            || self.never_in.is_some()
            || self.copies.is_some()
            || self.copies_min.is_some()
            || self.copies_max.is_some()
            || self.copy_retention_days.is_some()
            || self.retention_days.is_some()
            || self.retention_days_min.is_some();
        let kinds = [
            (PolicyKind::Selection, selection),
            (PolicyKind::Compression, compression),
            (PolicyKind::Placement, placement),
        ];
        kinds.into_iter().filter(|(_, has)| *has).map(|(kind, _)| kind).collect()
    }

    /// Kinds that the keys tell.
    fn inferred(&self) -> Vec<PolicyKind> {
        let mut kinds = self.own_keys();
        if let Some(monotone) = &self.monotone
            && let Some(kind) = monotone.then.kind()
        {
            kinds.push(kind);
        }
        if self.class.is_some() && !kinds.contains(&PolicyKind::Compression) {
            kinds.push(PolicyKind::Compression);
        }
        kinds
    }

    /// The kind it is about: its own, or what its keys tell.
    pub(crate) fn kind(&self) -> Option<PolicyKind> {
        self.kind.or_else(|| self.inferred().first().copied())
    }

    /// Whether it is about the settings alone, before any question.
    pub(crate) fn is_about_settings(&self) -> bool {
        self.error.as_deref() == Some("bad-settings")
    }

    /// Whether it is about how the call ends, not about items.
    pub(crate) fn is_about_ending(&self) -> bool {
        self.refused.is_some() || self.error.is_some() || self.holds.is_some()
    }

    /// Whether an item is meant.
    pub(crate) fn is_about(&self, item: &Item, scenario: &Scenario) -> bool {
        let facts = scenario.collections.binary_search_by(|facts| facts.name.cmp(&item.collection)).ok();
        let facts = facts.and_then(|place| scenario.collections.get(place));
        self.collection.as_ref().is_none_or(|pattern| pattern.matches(&item.collection))
            && self.class.is_none_or(|class| item.class == Some(class))
            && facts.is_none_or(|facts| self.filter.matches(facts))
    }

    /// Judges what came of asking.
    pub(crate) fn judge(&self, asked: &Asked, scenario: &Scenario) -> Judged {
        if let Some(code) = &self.refused {
            return self.judge_refusal(code, asked);
        }
        if let Some(code) = &self.error {
            let as_expected = matches!(&asked.end, End::Failed(failure) if failure.code == *code);
            return ending(as_expected, format!("error: {code}"));
        }
        if self.holds == Some(Holds::Contract) {
            let fails = matches!(asked.end, End::Failed(_));
            return ending(!fails, "an answer or a refusal".to_owned());
        }
        let answered = matches!(asked.end, End::Answered(_));
        if !answered || self.holds.is_some() {
            return ending(answered, "an answer".to_owned());
        }
        let meant: Vec<(&Item, Option<&Choice>)> =
            asked.answers().filter(|(item, _)| self.is_about(item, scenario)).collect();
        if meant.is_empty() {
            return Judged::AboutNothing;
        }
        let wrong = meant.into_iter().flat_map(|(item, choice)| {
            let wrong = self.wrong(choice).into_iter();
            wrong.map(move |wrong| (item.clone(), wrong, choice.cloned()))
        });
        Judged::Items(wrong.collect())
    }

    fn judge_refusal(&self, code: &str, asked: &Asked) -> Judged {
        let End::Refused(refusal, about) = &asked.end else { return ending(false, format!("refused: {code}")) };
        let named =
            self.collection.as_ref().is_none_or(|pattern| about.iter().any(|item| pattern.matches(&item.collection)));
        let says = self.reason_contains.as_ref().is_none_or(|text| refusal.reason.message.contains(text));
        let about = self.collection.as_ref().map_or_else(String::new, |name| format!(", about {}", name.as_str()));
        let text = self.reason_contains.as_ref().map_or_else(String::new, |text| format!(", saying \"{text}\""));
        ending(refusal.reason.code == code && named && says, format!("refused: {code}{about}{text}"))
    }

    /// What is wrong with an answer about one item.
    fn wrong(&self, choice: Option<&Choice>) -> Vec<Wrong> {
        let Some(choice) = choice else {
            return match self.opinion {
                Some(false) => Vec::new(),
                _ => vec![Wrong::new("opinion", "an answer", "none")],
            };
        };
        if self.opinion == Some(false) {
            return vec![Wrong::new("opinion", "none", choice.describe())];
        }
        let mut wrong = choice_wrong(self, choice);
        wrong.extend(reason_wrong(self, choice.reason()));
        if let Some(words) = &self.decision
            && *words != choice.describe()
        {
            wrong.push(Wrong::new("decision", words, choice.describe()));
        }
        wrong
    }
}

fn ending(as_expected: bool, expected: String) -> Judged {
    if as_expected { Judged::Items(Vec::new()) } else { Judged::Ending { expected } }
}

impl Where {
    fn matches(&self, facts: &CollectionFacts) -> bool {
        let has = |list: &[(String, String)], wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| list.iter().any(|(k, v)| (k, v) == (key, value)))
        };
        self.protected.is_none_or(|protected| facts.protected == protected)
            && self.requested.is_none_or(|requested| facts.requested == requested)
            && self.criticality.as_ref().is_none_or(|word| facts.criticality.as_ref() == Some(word))
            && has(&facts.properties, &self.properties)
            && has(&facts.labels, &self.labels)
    }
}
