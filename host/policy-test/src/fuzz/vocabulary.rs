//! What generated inventories are made of: words and settings from `fuzz.toml` and from the cases, and some that nobody
//! would think of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use longshore_model::{CollectionName, FactValue};
use longshore_policy::GrantedFiles;
use serde_json::{Map, Value};

use crate::cases::{CaseFile, FuzzFile, find};
use crate::{PolicyTestError, Scenario, Subject};

/// Words to draw from.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) settings: Vec<Value>,
    /// A scenario about nothing, with all its defaults.
    pub(crate) plain: Scenario,
    /// What may be granted: the files of the cases, else nothing.
    pub(crate) files: Vec<GrantedFiles>,
    pub(crate) names: Vec<CollectionName>,
    pub(crate) properties: Vec<(String, Vec<String>)>,
    pub(crate) labels: Vec<(String, Vec<String>)>,
    pub(crate) criticality: Vec<String>,
    pub(crate) jurisdictions: Vec<String>,
    pub(crate) extra: Vec<(String, Vec<FactValue>)>,
    /// Texts for any place that takes text.
    pub(crate) odd: Vec<String>,
}

impl Vocabulary {
    /// What is known about a plugin.
    pub(crate) fn of(subject: &Subject, folder: Option<&Path>, file: &FuzzFile) -> Result<Self, PolicyTestError> {
        let mut scenarios: Vec<Scenario> = Vec::new();
        if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
            for path in find(folder).unwrap_or_default() {
                scenarios.extend(CaseFile::read(&path)?.cases()?.into_iter().map(|case| case.scenario));
            }
        }
        let empty = Value::Object(Map::new());
        let mut settings = vec![empty];
        settings.extend(file.settings.iter().cloned().map(Value::Object));
        settings.extend(scenarios.iter().map(|scenario| scenario.settings.clone()));
        let mut seen = BTreeSet::new();
        settings.retain(|one| subject.settings(one).is_ok_and(|text| seen.insert(text)));
        if settings.is_empty() {
            let name = &subject.about().name;
            return Err(PolicyTestError::Tool(format!(
                "plugin {name} cannot run without settings, and none are known: put `settings = [{{ … }}]` into \
                 cases/fuzz.toml, or write a case with settings"
            )));
        }
        let mut files: Vec<GrantedFiles> = Vec::new();
        for scenario in &scenarios {
            if !files.contains(&scenario.files) {
                files.push(scenario.files.clone());
            }
        }
        let mut words = Words::default();
        words.declared(file);
        scenarios.iter().for_each(|scenario| words.seen(scenario));
        Ok(Self {
            settings,
            plain: Scenario::from_toml("")?,
            files,
            names: words.names.into_iter().collect(),
            properties: lists(words.properties),
            labels: lists(words.labels),
            criticality: words.criticality.into_iter().collect(),
            jurisdictions: words.jurisdictions.into_iter().collect(),
            extra: words.extra.into_iter().collect(),
            odd: odd(),
        })
    }
}

/// Texts that a policy may not have thought of.
pub(super) fn odd() -> Vec<String> {
    let plain = [
        "",
        " ",
        "0",
        "-1",
        "true",
        "null",
        "a.b",
        "*",
        "EU",
        "ä",
        "\u{65e5}\u{672c}",
        "\u{1f980}",
        "a b",
        "%s",
        "../a",
    ];
    plain.into_iter().map(str::to_owned).chain(["x".repeat(255), "é".repeat(600)]).collect()
}

fn lists(words: BTreeMap<String, BTreeSet<String>>) -> Vec<(String, Vec<String>)> {
    words.into_iter().map(|(key, values)| (key, values.into_iter().collect())).collect()
}

/// Words in order, each once.
#[derive(Default)]
struct Words {
    names: BTreeSet<CollectionName>,
    properties: BTreeMap<String, BTreeSet<String>>,
    labels: BTreeMap<String, BTreeSet<String>>,
    criticality: BTreeSet<String>,
    jurisdictions: BTreeSet<String>,
    extra: BTreeMap<String, Vec<FactValue>>,
}

impl Words {
    fn declared(&mut self, file: &FuzzFile) {
        let words = file.words.clone();
        for (key, values) in words.properties {
            self.properties.entry(key).or_default().extend(values);
        }
        for (key, values) in words.labels {
            self.labels.entry(key).or_default().extend(values);
        }
        self.criticality.extend(words.criticality);
        self.jurisdictions.extend(words.jurisdictions);
        self.extra.extend(words.extra);
    }

    fn seen(&mut self, scenario: &Scenario) {
        for facts in scenario.collections.iter().take(100) {
            self.names.insert(facts.name.clone());
            for (key, value) in &facts.properties {
                self.properties.entry(key.clone()).or_default().insert(value.clone());
            }
            for (key, value) in &facts.labels {
                self.labels.entry(key.clone()).or_default().insert(value.clone());
            }
            self.criticality.extend(facts.criticality.clone());
            for fact in &facts.extra {
                let values = self.extra.entry(fact.name.clone()).or_default();
                if !values.contains(&fact.value) {
                    values.push(fact.value.clone());
                }
            }
        }
        self.jurisdictions.extend(scenario.regions.iter().map(|region| region.jurisdiction.clone()));
    }
}
