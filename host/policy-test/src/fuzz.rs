//! Looks for inventories on which a plugin breaks the contract or what its author declared, and shrinks them to a case.
//!
//! Contract: the same plugin, cases, options and seed find the same counterexamples on every machine. What is written is a
//! case file that `test` fails on for the same reason. Checked, in this order: it answers or refuses within its budgets,
//! naming only items it was asked about and each at most once (the sandbox judges that); it does not refuse if it says it
//! never does; what is declared under `[[always]]`; the same question gives the same answer with the same fuel; the order
//! of a page changes nothing unless `order_matters`; what is declared under `[[monotone]]`.

mod generate;
mod shrink;
mod vocabulary;

use std::path::{Path, PathBuf};

use longshore_model::{CollectionName, Digest, PolicyKind};
use serde::Serialize;

use crate::asked::{Asked, End};
use crate::cases::{FuzzFile, Judged, Monotone, Written, write_case};
use crate::properties::{self, Broken, words};
use crate::random::Random;
use crate::{PolicyTestError, Scenario, Subject};
use vocabulary::Vocabulary;

/// How many steps of a monotone rule are tried on one inventory.
const MONOTONE_STEPS: usize = 4;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct FuzzOptions {
    /// What everything random follows from.
    pub seed: u64,
    /// Number of inventories.
    pub rounds: u32,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FuzzReport {
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
    /// The seed.
    pub seed: u64,
    /// Inventories tried.
    pub rounds: u32,
    /// Calls of the plugin, without those of shrinking.
    pub questions: u64,
    /// How many of the first questions were refused.
    pub refused: u64,
    /// Properties that were checked.
    pub checked: Vec<String>,
    /// One per kind and property that does not hold.
    pub counterexamples: Vec<Counterexample>,
}

/// An inventory on which a property does not hold, shrunk.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counterexample {
    /// Kind of the question.
    pub kind: PolicyKind,
    /// The property.
    pub property: String,
    /// In which round it was found, from 0.
    pub round: u32,
    /// The item it shows at.
    pub item: Option<String>,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Collections before and after shrinking.
    pub collections_before: usize,
    /// Collections after it.
    pub collections: usize,
    /// The case file.
    pub case: String,
    /// A name for it.
    pub file_name: String,
    /// Where it was written, once it was.
    pub written: Option<PathBuf>,
}

/// A property and all that is needed to see whether it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Property {
    /// It fails with this code.
    Contract {
        code: String,
    },
    /// It refuses though it says it never does.
    Answers,
    /// A declared expectation, by its place in the file.
    Always(usize),
    Deterministic,
    Order,
    /// A declared monotonicity, about this collection.
    Monotone {
        rule: Monotone,
        place: usize,
        collection: CollectionName,
    },
}

impl Property {
    fn name(&self) -> String {
        match self {
            Self::Contract { code } => format!("contract ({code})"),
            Self::Answers => "never refuses".to_owned(),
            Self::Always(place) => format!("always {}", place + 1),
            Self::Deterministic => "deterministic".to_owned(),
            Self::Order => "order".to_owned(),
            Self::Monotone { place, .. } => format!("monotone {}", place + 1),
        }
    }

    /// How often a plugin is asked again to see it.
    const fn asks_again(&self) -> u64 {
        match self {
            Self::Contract { .. } | Self::Answers | Self::Always(_) => 0,
            Self::Deterministic | Self::Monotone { .. } => 1,
            Self::Order => 2,
        }
    }

    /// Whether it is broken on a scenario.
    pub(crate) fn broken(&self, fuzz: &Fuzz<'_>, kind: PolicyKind, scenario: &Scenario) -> Option<Broken> {
        let asked = fuzz.subject.ask(kind, scenario);
        self.broken_by(fuzz, scenario, &asked)
    }

    fn broken_by(&self, fuzz: &Fuzz<'_>, scenario: &Scenario, asked: &Asked) -> Option<Broken> {
        let whole = |expected: &str| Broken { item: None, expected: expected.to_owned(), found: asked.ending() };
        match self {
            Self::Contract { code } => {
                let fails = matches!(&asked.end, End::Failed(failure) if failure.code == *code);
                fails.then(|| whole("an answer or a refusal"))
            }
            Self::Answers => {
                matches!(asked.end, End::Refused(..)).then(|| whole("an answer: it says it never refuses"))
            }
            Self::Always(place) => match fuzz.file.always.get(*place)?.judge(asked, scenario) {
                Judged::Items(wrong) => wrong.into_iter().next().map(|(item, wrong, choice)| Broken {
                    item: Some(item),
                    expected: format!("{}: {}", wrong.field, wrong.expected),
                    found: words(choice.as_ref()),
                }),
                Judged::AboutNothing | Judged::Ending { .. } => None,
            },
            Self::Deterministic => properties::deterministic(fuzz.subject, scenario, asked),
            Self::Order => properties::order(fuzz.subject, scenario, asked),
            Self::Monotone { rule, collection, .. } => {
                properties::monotone(fuzz.subject, scenario, asked, collection, rule)
            }
        }
    }

    /// The keys of the expectation that fails for the same reason.
    fn expectation(&self, file: &FuzzFile) -> String {
        match self {
            Self::Contract { .. } => "holds = \"contract\"".to_owned(),
            Self::Answers => "holds = \"answers\"".to_owned(),
            Self::Always(place) => file.always_text.get(*place).cloned().unwrap_or_default(),
            Self::Deterministic => "holds = \"deterministic\"".to_owned(),
            Self::Order => "holds = \"order\"".to_owned(),
            Self::Monotone { rule, collection, .. } => {
                format!("collection = {}\nmonotone = {}", crate::cases::quoted(&collection.to_string()), rule.to_toml())
            }
        }
    }
}

/// A property that was seen to be broken.
struct Found<'a> {
    kind: PolicyKind,
    property: Property,
    scenario: &'a Scenario,
    round: u32,
    seed: u64,
    broken: Broken,
}

/// A search under way.
pub(crate) struct Fuzz<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) file: FuzzFile,
    vocabulary: Vocabulary,
}

impl Subject {
    /// Fuzzes the plugin with what `fuzz.toml` and the cases of a folder tell about it; nothing is known without one.
    ///
    /// # Errors
    /// When a file of the folder cannot be read, or the plugin needs settings and none are known.
    pub fn fuzz(&self, folder: Option<&Path>, options: FuzzOptions) -> Result<FuzzReport, PolicyTestError> {
        let file = match folder {
            Some(folder) => FuzzFile::read(folder)?,
            None => FuzzFile { may_refuse: true, ..FuzzFile::default() },
        };
        let vocabulary = Vocabulary::of(self, folder, &file)?;
        Fuzz { subject: self, file, vocabulary }.run(options)
    }
}

impl Fuzz<'_> {
    fn run(&self, options: FuzzOptions) -> Result<FuzzReport, PolicyTestError> {
        let about = self.subject.about();
        let mut report = FuzzReport {
            plugin: about.name.clone(),
            version: about.version.clone(),
            digest: self.subject.digest(),
            seed: options.seed,
            rounds: options.rounds,
            questions: 0,
            refused: 0,
            checked: self.checked(),
            counterexamples: Vec::new(),
        };
        let kinds = self.subject.kinds();
        for round in 0..options.rounds {
            // Each round has numbers of its own, so that it can be played alone and later rounds do not move.
            let mut random = Random::new(options.seed ^ u64::from(round).wrapping_mul(0x5851_f42d_4c95_7f2d));
            // Said in the scenario, so that what is found is a case that can be tested without saying it again.
            let budget = Some(*self.subject.budget());
            let scenario = Scenario { budget, ..generate::scenario(&mut random, &self.vocabulary) };
            for kind in &kinds {
                self.round(*kind, &scenario, &mut random, round, &mut report);
            }
        }
        Ok(report)
    }

    /// What is looked for, in words.
    fn checked(&self) -> Vec<String> {
        let mut checked = vec!["contract".to_owned(), "deterministic".to_owned()];
        if !self.file.order_matters {
            checked.push("order".to_owned());
        }
        if !self.file.may_refuse {
            checked.push("never refuses".to_owned());
        }
        checked.extend((1..=self.file.always.len()).map(|place| format!("always {place}")));
        checked.extend((1..=self.file.monotone.len()).map(|place| format!("monotone {place}")));
        checked
    }

    fn round(&self, kind: PolicyKind, scenario: &Scenario, random: &mut Random, round: u32, report: &mut FuzzReport) {
        // Who fails the contract fails the rest for the same reason, and perhaps slowly.
        let fails = |known: &Counterexample| known.kind == kind && known.property.starts_with("contract");
        if report.counterexamples.iter().any(fails) {
            return;
        }
        let asked = self.subject.ask(kind, scenario);
        report.questions += u64::from(asked.calls);
        report.refused += u64::from(matches!(asked.end, End::Refused(..)));
        for property in self.properties(kind, scenario, &asked, random) {
            let known = |known: &Counterexample| known.kind == kind && known.property == property.name();
            if report.counterexamples.iter().any(known) {
                continue;
            }
            report.questions += u64::from(asked.calls) * property.asks_again();
            if let Some(broken) = property.broken_by(self, scenario, &asked) {
                let found = Found { kind, property, scenario, round, seed: report.seed, broken };
                report.counterexamples.push(self.counterexample(&found));
            }
        }
    }

    /// What is to be checked after this answer.
    fn properties(&self, kind: PolicyKind, scenario: &Scenario, asked: &Asked, random: &mut Random) -> Vec<Property> {
        let mut properties = Vec::new();
        if let End::Failed(failure) = &asked.end {
            return vec![Property::Contract { code: failure.code.clone() }];
        }
        if !self.file.may_refuse {
            properties.push(Property::Answers);
        }
        let about = |expect: &crate::cases::Expect| expect.kind().is_none_or(|own| own == kind);
        let always = self.file.always.iter().enumerate().filter(|(_, expect)| about(expect));
        properties.extend(always.map(|(place, _)| Property::Always(place)));
        properties.push(Property::Deterministic);
        if !self.file.order_matters {
            properties.push(Property::Order);
        }
        for (place, rule) in self.file.monotone.iter().enumerate() {
            if properties::kinds_of(rule.then, &[kind]).is_empty() {
                continue;
            }
            // Most steps cross no border of the policy, so several are tried.
            for _ in 0..MONOTONE_STEPS {
                let Some(facts) = random.pick(&scenario.collections) else { break };
                let rule = Monotone { by: Some(generate::step(random, rule.when)), ..rule.clone() };
                properties.push(Property::Monotone { rule, place, collection: facts.name.clone() });
            }
        }
        properties
    }

    /// Shrinks a scenario on which a property is broken, and writes it as a case.
    fn counterexample(&self, found: &Found<'_>) -> Counterexample {
        let Found { kind, scenario, round, seed, .. } = *found;
        let (small, property) = shrink::shrink(self, kind, found.property.clone(), scenario.clone());
        // A plugin with moods may do well this time; it was seen to fail all the same.
        let broken = property.broken(self, kind, &small).unwrap_or_else(|| found.broken.clone());
        let about = self.subject.about();
        let comment = format!(
            "Found by `longshore plugin fuzz --seed {seed}` in round {round} on {} {}, and shrunk.\n\
             Expected: {}\nFound: {}\nIt fails until the plugin is corrected; then it is a test like any other.",
            about.name,
            about.version,
            one_line(&broken.expected),
            one_line(&broken.found),
        );
        let description = format!("fuzzing: {} of {kind}", property.name());
        let expect = property.expectation(&self.file);
        let written = Written { comment: &comment, description: &description, kind, scenario: &small, expect: &expect };
        let word: String = property.name().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Counterexample {
            kind,
            property: property.name(),
            round,
            item: broken.item.map(|item| item.to_string()),
            expected: broken.expected,
            found: broken.found,
            collections_before: scenario.collections.len(),
            collections: small.collections.len(),
            case: write_case(&written),
            file_name: format!("fuzz-{kind}-{}-{seed}.toml", word.trim_matches('-').replace("--", "-")),
            written: None,
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl FuzzReport {
    /// Writes the counterexamples as case files into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&mut self, folder: &Path) -> Result<(), PolicyTestError> {
        if self.counterexamples.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(folder).map_err(|error| PolicyTestError::file(folder, error))?;
        for one in &mut self.counterexamples {
            let path = folder.join(&one.file_name);
            std::fs::write(&path, &one.case).map_err(|error| PolicyTestError::file(&path, error))?;
            one.written = Some(path);
        }
        Ok(())
    }
}
