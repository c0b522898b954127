//! Running cases and reporting what came of them.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{Digest, GuestLogLine, PolicyKind};
use serde::Serialize;

use super::expect::Holds;
use super::{Case, CaseFile, Expect, FuelBaseline, Judged, find};
use crate::asked::{Asked, Choice, End};
use crate::properties::{self, Broken, words};
use crate::{Limits, PolicyTestError, Subject};

/// How cases are run.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// Only cases whose id holds this text.
    pub filter: Option<String>,
    /// Another tolerance than that of `fuel.toml`, in percent.
    pub tolerance_percent: Option<u32>,
    /// Do not compare fuel.
    pub ignore_fuel: bool,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mismatch {
    /// Line of the expectation in the file; `None` where no expectation says it.
    pub line: Option<usize>,
    /// Kind of the question.
    pub kind: Option<PolicyKind>,
    /// The item; `None` for the call as a whole.
    pub item: Option<String>,
    /// The key of the expectation, or `fuel`.
    pub field: String,
    /// What is expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// The whole answer about the item, with the plugin's reason.
    pub answer: Option<String>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its id: file, and name if the file has several.
    pub id: String,
    /// The file.
    pub file: String,
    /// What it shows.
    pub description: Option<String>,
    /// Everything is as expected.
    pub passed: bool,
    /// What is not.
    pub mismatches: Vec<Mismatch>,
    /// Fuel of its calls; `None` where a call ended without telling.
    pub fuel_used: Option<u64>,
    /// Fuel that is recorded for it.
    pub fuel_recorded: Option<u64>,
    /// Number of calls.
    pub calls: u32,
    /// Most memory one of them held, in bytes.
    pub peak_memory_bytes: u64,
    /// Time of its calls on this machine, in microseconds.
    pub elapsed_us: u64,
    /// What the plugin logged.
    pub log: Vec<GuestLogLine>,
}

/// What came of all cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestReport {
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of its file.
    pub digest: Digest,
    /// Number of cases that passed.
    pub passed: usize,
    /// Number of cases that failed.
    pub failed: usize,
    /// How much more fuel a case may take than is recorded, in percent.
    pub tolerance_percent: u32,
    /// Every case, in order of file and place in it.
    pub cases: Vec<CaseReport>,
}

impl TestReport {
    /// What `fuel.toml` would say after this run: the fuel of every case that passed but for its fuel, and the entries
    /// of cases that were not run.
    #[must_use]
    pub fn baseline(&self, before: &FuelBaseline) -> FuelBaseline {
        let mut after = before.clone();
        for case in &self.cases {
            match case.fuel_used.filter(|_| case.mismatches.iter().all(|mismatch| mismatch.field == "fuel")) {
                Some(fuel) => after.fuel.insert(case.id.clone(), fuel),
                None => after.fuel.remove(&case.id),
            };
        }
        after
    }

    /// This, if all passed.
    ///
    /// # Panics
    /// With the report as text if a case failed: for host-side Rust tests.
    pub fn expect_pass(self) -> Self {
        assert!(self.failed == 0, "{}", crate::report::test(&self));
        self
    }
}

impl Subject {
    /// Runs the cases of a folder, or of one file.
    ///
    /// # Errors
    /// When there are none, or a file says something that cannot be asked. A case that fails is in the report.
    pub fn test(&self, cases: impl AsRef<Path>) -> Result<TestReport, PolicyTestError> {
        self.test_with(&[cases.as_ref()], &TestOptions::default())
    }

    /// Runs the cases of folders and files.
    ///
    /// # Errors
    /// As [`Subject::test`].
    pub fn test_with(&self, paths: &[&Path], options: &TestOptions) -> Result<TestReport, PolicyTestError> {
        let mut reports = Vec::new();
        let mut tolerance_percent = FuelBaseline::default().tolerance_percent;
        for path in paths {
            let folder = fuel_folder(path);
            let mut baseline = FuelBaseline::read(folder)?;
            baseline.tolerance_percent = options.tolerance_percent.unwrap_or(baseline.tolerance_percent);
            tolerance_percent = baseline.tolerance_percent;
            let mut cases = Vec::new();
            for file in find(path)? {
                cases.extend(CaseFile::read(&file)?.cases()?);
            }
            let wanted = |case: &&Case| options.filter.as_ref().is_none_or(|text| case.id.contains(text.as_str()));
            let run = |case: &Case| self.run_case(case, (!options.ignore_fuel).then_some(&baseline));
            reports.extend(cases.iter().filter(wanted).map(run));
        }
        let failed = reports.iter().filter(|case| !case.passed).count();
        Ok(TestReport {
            plugin: self.about().name.clone(),
            version: self.about().version.clone(),
            digest: self.digest(),
            passed: reports.len() - failed,
            failed,
            tolerance_percent,
            cases: reports,
        })
    }

    /// Runs one case and compares its fuel with what is recorded.
    #[must_use]
    pub fn run_case(&self, case: &Case, baseline: Option<&FuelBaseline>) -> CaseReport {
        let mut running = Running { subject: self, case, mismatches: Vec::new(), asked: BTreeMap::new() };
        running.expectations();
        let Running { mut mismatches, asked, .. } = running;
        let asked: Vec<Asked> = asked.into_values().collect();
        let fuel_used = asked.iter().try_fold(0_u64, |sum, asked| Some(sum.saturating_add(asked.fuel_used?)));
        // A call that ran dry used what it had: that says nothing about the policy.
        let dry = asked.iter().any(|asked| matches!(asked.end, End::Failed(_)));
        let fuel_used = fuel_used.filter(|fuel| !dry && *fuel > 0);
        let recorded = baseline.and_then(|baseline| baseline.fuel.get(&case.id).copied());
        let allowed = baseline.and_then(|baseline| baseline.allowed(&case.id));
        if let (Some(used), Some(recorded), Some(allowed)) = (fuel_used, recorded, allowed)
            && used > allowed
        {
            mismatches.push(Mismatch {
                line: None,
                kind: None,
                item: None,
                field: "fuel".to_owned(),
                expected: format!("at most {allowed}: {recorded} are recorded"),
                found: format!("{used}, {} % more", percent_more(used, recorded)),
                answer: None,
            });
        }
        CaseReport {
            id: case.id.clone(),
            file: case.file.clone(),
            description: case.description.clone(),
            passed: mismatches.is_empty(),
            mismatches,
            fuel_used,
            fuel_recorded: recorded,
            calls: asked.iter().map(|asked| asked.calls).sum(),
            peak_memory_bytes: asked.iter().map(|asked| asked.peak_memory_bytes).max().unwrap_or(0),
            elapsed_us: asked.iter().map(|asked| asked.elapsed_us).sum(),
            log: asked.into_iter().flat_map(|asked| asked.log).collect(),
        }
    }
}

/// The folder whose `fuel.toml` belongs to a folder or file of cases.
#[must_use]
pub fn fuel_folder(path: &Path) -> &Path {
    if path.is_dir() {
        return path;
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How much more one number is than another, in percent.
fn percent_more(used: u64, recorded: u64) -> u128 {
    u128::from(used.saturating_sub(recorded)) * 100 / u128::from(recorded.max(1))
}

/// A case under way.
struct Running<'a> {
    subject: &'a Subject,
    case: &'a Case,
    mismatches: Vec<Mismatch>,
    asked: BTreeMap<PolicyKind, Asked>,
}

impl Running<'_> {
    fn expectations(&mut self) {
        let case = self.case;
        if let Err(error) = self.subject.settings(&case.scenario.settings) {
            let line = case.expects.iter().find(|(_, expect)| expect.is_about_settings()).map(|(line, _)| *line);
            if line.is_none() {
                self.whole(None, None, "settings", "settings that the plugin's schema allows", error.to_string());
            }
            return;
        }
        let mut said: Vec<PolicyKind> = Vec::new();
        for (line, expect) in &case.expects {
            if expect.is_about_settings() {
                self.whole(Some(*line), None, "error", "bad-settings", "settings that the schema allows".to_owned());
                continue;
            }
            let Some(kind) = self.kind_of(*line, expect) else { continue };
            if expect.is_about_ending() {
                said.push(kind);
            }
            let (subject, scenario) = (self.subject, &case.scenario);
            let asked = self.asked.entry(kind).or_insert_with(|| subject.ask(kind, scenario)).clone();
            self.judge(*line, expect, &asked);
        }
        // An end that nobody expects is said once, not by every expectation about items.
        let unexpected: Vec<Asked> = self
            .asked
            .values()
            .filter(|asked| !matches!(asked.end, End::Answered(_)) && !said.contains(&asked.kind))
            .cloned()
            .collect();
        for asked in unexpected {
            self.mismatches.retain(|mismatch| mismatch.kind != Some(asked.kind));
            self.whole(None, Some(asked.kind), "answer", "an answer", asked.ending());
        }
    }

    /// The kind of an expectation; says why there is none.
    fn kind_of(&mut self, line: usize, expect: &Expect) -> Option<PolicyKind> {
        let served = self.subject.kinds();
        let only = match served.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        let names: Vec<&str> = served.iter().map(|kind| kind.as_str()).collect();
        let Some(kind) = expect.kind().or(self.case.kind).or(only) else {
            let expected = "a `kind`, here or at the top of the file";
            self.whole(Some(line), None, "kind", expected, format!("the plugin serves {}", names.join(", ")));
            return None;
        };
        if !served.contains(&kind) {
            let found = format!("it serves {}", names.join(", "));
            self.whole(Some(line), Some(kind), "kind", &format!("a plugin that serves {kind}"), found);
            return None;
        }
        Some(kind)
    }

    fn judge(&mut self, line: usize, expect: &Expect, asked: &Asked) {
        let scenario = &self.case.scenario;
        let broken = match (expect.holds, &expect.monotone) {
            (Some(Holds::Deterministic), _) => properties::deterministic(self.subject, scenario, asked),
            (Some(Holds::Order), _) => properties::order(self.subject, scenario, asked),
            (_, Some(rule)) => {
                let meant = scenario.collections.iter().map(|facts| &facts.name);
                let mut meant = meant.filter(|name| expect.collection.as_ref().is_none_or(|one| one.matches(name)));
                meant.find_map(|name| properties::monotone(self.subject, scenario, asked, name, rule))
            }
            _ => return self.judged(line, expect, asked),
        };
        if let Some(Broken { item, expected, found }) = broken {
            let field = match (expect.holds, &expect.monotone) {
                (Some(Holds::Order), _) => "holds = \"order\"",
                (_, Some(_)) => "monotone",
                _ => "holds = \"deterministic\"",
            };
            self.mismatches.push(Mismatch {
                line: Some(line),
                kind: Some(asked.kind),
                item: item.map(|item| item.to_string()),
                field: field.to_owned(),
                expected,
                found,
                answer: None,
            });
        }
    }

    fn judged(&mut self, line: usize, expect: &Expect, asked: &Asked) {
        match expect.judge(asked, &self.case.scenario) {
            Judged::Ending { expected } => {
                let found = asked.ending();
                self.whole(Some(line), Some(asked.kind), "answer", &expected, found);
            }
            Judged::AboutNothing => {
                let listed = Limits::DEFAULT.listed_items;
                let mut there: Vec<String> = asked.items.iter().take(listed).map(ToString::to_string).collect();
                if asked.items.len() > listed {
                    there.push(format!("and {} more", asked.items.len() - listed));
                }
                let found = if there.is_empty() { "there are none".to_owned() } else { there.join(", ") };
                self.whole(Some(line), Some(asked.kind), "collection", "an item that is meant", found);
            }
            Judged::Items(wrong) => {
                let more = wrong.len().saturating_sub(Limits::DEFAULT.shown_mismatches);
                for (item, wrong, choice) in wrong.into_iter().take(Limits::DEFAULT.shown_mismatches) {
                    self.mismatches.push(Mismatch {
                        line: Some(line),
                        kind: Some(asked.kind),
                        item: Some(item.to_string()),
                        field: wrong.field.to_owned(),
                        expected: wrong.expected,
                        found: wrong.found,
                        answer: choice.as_ref().map(|choice: &Choice| words(Some(choice))),
                    });
                }
                if more > 0 {
                    let found = format!("{more} more like these");
                    self.whole(Some(line), Some(asked.kind), "more", "none", found);
                }
            }
        }
    }

    fn whole(&mut self, line: Option<usize>, kind: Option<PolicyKind>, field: &str, expected: &str, found: String) {
        self.mismatches.push(Mismatch {
            line,
            kind,
            item: None,
            field: field.to_owned(),
            expected: expected.to_owned(),
            found,
            answer: None,
        });
    }
}
