//! `fuzz.toml`: what the author of a policy declares about it, for `longshore plugin fuzz`.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{FactValue, PolicyKind};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Expect, bad, line_of};
use crate::subject::read_bounded;
use crate::{Limits, PolicyTestError};

/// Name of the file.
pub const FUZZ_FILE: &str = "fuzz.toml";

/// Everything that is declared.
#[derive(Debug, Clone, Default)]
pub struct FuzzFile {
    /// Settings to draw from.
    pub settings: Vec<serde_json::Map<String, serde_json::Value>>,
    /// The order of a page may change answers.
    pub order_matters: bool,
    /// A run may be refused.
    pub may_refuse: bool,
    /// Words to draw from.
    pub words: Word,
    /// Which decisions follow which facts.
    pub(crate) monotone: Vec<Monotone>,
    /// Expectations that always hold.
    pub(crate) always: Vec<Expect>,
    /// The same as they were written, to be written again.
    pub(crate) always_text: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    settings: Vec<serde_json::Map<String, serde_json::Value>>,
    order_matters: bool,
    may_refuse: Option<bool>,
    words: Word,
    monotone: Vec<Monotone>,
    always: Vec<Spanned<Expect>>,
}

/// What generated inventories draw their words from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Word {
    /// Values by key of property.
    pub properties: BTreeMap<String, Vec<String>>,
    /// Values by key of label.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Words for criticality.
    pub criticality: Vec<String>,
    /// Jurisdictions of regions.
    pub jurisdictions: Vec<String>,
    /// Values by name of extra fact.
    pub extra: BTreeMap<String, Vec<FactValue>>,
}

/// One declared monotonicity. In a case `collection` says about which one, and `to` what the fact becomes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Monotone {
    pub(crate) when: When,
    #[serde(default)]
    pub(crate) goes: Goes,
    pub(crate) then: Then,
    pub(crate) never: Never,
    /// By how much the fact changes; only in cases.
    #[serde(default)]
    pub(crate) by: Option<u64>,
}

impl Monotone {
    /// As an inline table.
    pub(crate) fn to_toml(&self) -> String {
        let by = self.by.map_or_else(String::new, |by| format!(", by = {by}"));
        let name = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
        format!(
            "{{ when = {}, goes = {}, then = {}, never = {}{by} }}",
            name(serde_json::to_string(&self.when)),
            name(serde_json::to_string(&self.goes)),
            name(serde_json::to_string(&self.then)),
            name(serde_json::to_string(&self.never)),
        )
    }
}

/// A fact that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the facts")]
pub enum When {
    Rows,
    SizeBytes,
    NewBytes,
    LastWrite,
    Created,
    LastBackup,
    ConsecutiveFailures,
    RecoveryPointObjectiveSeconds,
    Protected,
    Requested,
    MonthSpendMicros,
    MonthBudgetMicros,
    Ratio,
}

/// In which direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goes {
    #[default]
    Up,
    Down,
}

/// A decision as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the decisions")]
pub enum Then {
    Selected,
    IndexFiles,
    Priority,
    Copies,
    RetentionDays,
    Compressed,
    Opinion,
}

impl Then {
    /// The kind that decides it; an opinion is of any kind.
    pub(crate) const fn kind(self) -> Option<PolicyKind> {
        match self {
            Self::Selected | Self::IndexFiles | Self::Priority => Some(PolicyKind::Selection),
            Self::Compressed => Some(PolicyKind::Compression),
            Self::Copies | Self::RetentionDays => Some(PolicyKind::Placement),
            Self::Opinion => None,
        }
    }
}

/// What the decision never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Never {
    Falls,
    Rises,
    Changes,
}

impl FuzzFile {
    /// Reads the file of a folder; nothing declared if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read, or says something without sense.
    pub fn read(folder: &Path) -> Result<Self, PolicyTestError> {
        let path = folder.join(FUZZ_FILE);
        if !path.exists() {
            return Ok(Self { may_refuse: true, ..Self::default() });
        }
        let bytes = read_bounded(&path, Limits::DEFAULT.case_file_bytes)?;
        Self::parse(&path.display().to_string(), &String::from_utf8_lossy(&bytes))
    }

    /// Reads the text of the file; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`FuzzFile::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyTestError> {
        let table: Table = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            bad(name, line, error.message().trim_end())
        })?;
        for always in &table.always {
            let line = line_of(text, always.span().start);
            always.get_ref().check().map_err(|problem| bad(name, line, problem))?;
            if always.get_ref().is_about_ending() {
                return Err(bad(name, line, "[[always]] takes conditions about items; see `may_refuse`"));
            }
        }
        let written: toml::Table = toml::from_str(text).map_err(|error| bad(name, 1, error.message()))?;
        let written = written.get("always").and_then(toml::Value::as_array).into_iter().flatten();
        let keys = |one: &toml::Value| -> String {
            // The kind is written with every case.
            let keys = one.as_table().into_iter().flatten().filter(|(key, _)| *key != "kind");
            keys.map(|(key, value)| format!("{key} = {value}\n")).collect()
        };
        Ok(Self {
            always_text: written.map(keys).collect(),
            settings: table.settings,
            order_matters: table.order_matters,
            may_refuse: table.may_refuse.unwrap_or(true),
            words: table.words,
            monotone: table.monotone,
            always: table.always.into_iter().map(Spanned::into_inner).collect(),
        })
    }
}
