//! The format of a rule file. Unknown keys are mistakes, wherever they stand.

use longshore_plugin::{Reason, RegionCopy};
use serde::Deserialize;

use crate::condition::Condition;

/// A whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    /// The rules, in order.
    #[serde(default, rename = "rule")]
    pub(crate) rules: Vec<Rule>,
}

/// One rule: what it means, and what it says about one or more questions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// Its name, which is also the code of its reasons.
    pub(crate) name: String,
    /// Why it is there, for a person.
    #[serde(default)]
    because: Option<String>,
    /// What it means; without conditions everything.
    #[serde(default)]
    pub(crate) when: Condition,
    pub(crate) select: Option<Select>,
    pub(crate) compress: Option<Compress>,
    pub(crate) place: Option<Place>,
}

/// What a rule says about selection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Select {
    pub(crate) include: bool,
    #[serde(default)]
    pub(crate) index_files: bool,
    #[serde(default)]
    pub(crate) priority: i32,
}

/// What a rule says about compression.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compress {
    /// The first one that is offered is taken; where none is, the next rule is asked.
    pub(crate) codecs: Vec<String>,
}

/// What a rule says about placement: either regions in order of preference, or a jurisdiction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    #[serde(default)]
    pub(crate) regions: Vec<String>,
    pub(crate) jurisdiction: Option<String>,
    #[serde(default)]
    pub(crate) copies: Vec<CopyTo>,
    pub(crate) retention_days: Option<u32>,
}

/// A copy beside the main backup.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CopyTo {
    pub(crate) region: String,
    pub(crate) retention_days: Option<u32>,
}

impl From<&CopyTo> for RegionCopy {
    fn from(copy: &CopyTo) -> Self {
        Self { region: copy.region.clone(), retention_days: copy.retention_days }
    }
}

impl Rule {
    /// The reason of a decision that follows from it.
    pub(crate) fn reason(&self, what: &str) -> Reason {
        let message = match &self.because {
            Some(because) => format!("Rule `{}` {what}: {because}", self.name),
            None => format!("Rule `{}` {what}.", self.name),
        };
        Reason::new(&self.name, message)
    }

    /// What is wrong with it beyond its form, as part of a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.reason("").refused_by_host().is_some() {
            return Some("its name is not 1 to 64 of a-z, 0-9 and -".to_owned());
        }
        if self.select.is_none() && self.compress.is_none() && self.place.is_none() {
            return Some("it says nothing: give it select, compress or place".to_owned());
        }
        if self.compress.as_ref().is_some_and(|compress| compress.codecs.is_empty()) {
            return Some("its compress.codecs is empty".to_owned());
        }
        let place = self.place.as_ref()?;
        if place.regions.is_empty() == place.jurisdiction.is_none() {
            return Some("its place needs either regions or a jurisdiction".to_owned());
        }
        None
    }
}
