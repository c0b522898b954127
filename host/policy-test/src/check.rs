//! Whether a file is a plugin that hosts load, and what its author could do better, as a compiler would say it.
//!
//! Errors are what a host refuses or an operator could not live with; warnings are advice. A plugin without settings of
//! which it could run gets no question: `test` and `fuzz` ask more.

use longshore_model::{Digest, PolicyKind, Reason};
use longshore_policy::PolicyError;
use longshore_sandbox::{Budget, FileFacts, SandboxError};
use serde::Serialize;
use serde_json::Value;

use crate::asked::End;
use crate::properties;
use crate::{PolicyTestError, Setup, Subject};

/// A file of a policy in Rust or C is far below this.
const LARGE_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// A stripped component still has some names of its parts, about 5 kB.
const DEBUG_BYTES: u64 = 16 * 1024;
/// Collections of the first question.
const FIRST_QUESTION: usize = 20;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// It cannot be used so.
    Error,
    /// It can be used, and could be better.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Short and stable: lower case letters and hyphens.
    pub code: &'static str,
    /// What it is.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Everything that was found about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// BLAKE3 of the file.
    pub digest: Option<Digest>,
    /// What it was built as; `None` if it is not WebAssembly.
    pub built_as: Option<String>,
    /// By what, by its own word.
    pub built_by: Vec<String>,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Name and version; `None` if it could not be loaded.
    pub plugin: Option<String>,
    /// Kinds it serves.
    pub kinds: Vec<PolicyKind>,
    /// Errors before warnings.
    pub findings: Vec<Finding>,
    /// Questions that were asked, and whether they could be.
    pub asked: String,
}

impl CheckReport {
    /// Number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// What came of loading: whoever loads decides with which sandbox.
pub type Loaded = Result<Subject, PolicyTestError>;

/// Checks a file: its bytes, and what came of loading it. It is asked under the first of the setups that will do, without
/// settings and files if there are none.
#[must_use]
pub fn check(bytes: &[u8], loaded: &Loaded, setups: &[Setup]) -> CheckReport {
    let facts = FileFacts::read(bytes).ok();
    let mut report = CheckReport {
        digest: loaded.as_ref().ok().map(Subject::digest),
        built_as: facts.as_ref().map(|facts| facts.form.as_str().to_owned()),
        built_by: facts
            .iter()
            .flat_map(|facts| &facts.producers)
            .map(|(_, name, version)| joined(name, version))
            .collect(),
        size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        plugin: None,
        kinds: Vec::new(),
        findings: Vec::new(),
        asked: "no question was asked".to_owned(),
    };
    match loaded {
        Err(error) => report.findings.push(misfit(error)),
        Ok(subject) => {
            let about = subject.about();
            report.plugin = Some(joined(&about.name, &about.version));
            report.kinds = subject.kinds();
            about_findings(&mut report, subject);
            questions(&mut report, subject, setups);
        }
    }
    if let Some(facts) = &facts {
        file_findings(&mut report, facts);
    }
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

fn joined(name: &str, version: &str) -> String {
    format!("{name} {version}").trim_end().to_owned()
}

fn finding(severity: Severity, code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { severity, code, message: message.into(), help: help.into() }
}

/// Why no host would take it.
fn misfit(error: &PolicyTestError) -> Finding {
    let error = match error {
        PolicyTestError::Plugin { source, .. } => source.as_ref(),
        PolicyTestError::Settings(PolicyError::BadSchema { problem, .. }) => {
            let message = format!("its settings schema cannot be used: {problem}");
            let help = "Correct the schema that `about` returns; hosts check every setting against it";
            return finding(Severity::Error, "bad-schema", message, help);
        }
        other => return finding(Severity::Error, "unusable", other.to_string(), "Correct that and check it again"),
    };
    match error {
        SandboxError::BadPlugin { what, help, .. } => finding(Severity::Error, "unusable", what, help),
        error => {
            let help =
                "It is asked for its description when it is loaded; let `about` return constants and nothing else";
            finding(Severity::Error, "describe", error.to_string(), help)
        }
    }
}

fn file_findings(report: &mut CheckReport, facts: &FileFacts) {
    let budget = Budget::default();
    if facts.debug_bytes > DEBUG_BYTES {
        let message = format!("{} bytes of the file are debug information and names of functions", facts.debug_bytes);
        let help = "Build with --release and `strip = true` under [profile.release]: the file is pinned, copied and compiled whole";
        report.findings.push(finding(Severity::Warning, "debug-sections", message, help));
    }
    if facts.size_bytes > LARGE_FILE_BYTES {
        let message = format!(
            "the file has {} bytes; hosts allow {} unless the operator raises `file_size_bytes`",
            facts.size_bytes, budget.file_size_bytes
        );
        let help = "In Rust, `opt-level = \"s\"`, `lto = true` and `panic = \"abort\"` make it small; an interpreter inside takes its room, \
                    so say in the README which budgets the policy needs";
        report.findings.push(finding(Severity::Warning, "large-file", message, help));
    }
    for (prefix, what) in [("wasi:sockets", "the network"), ("wasi:http", "the network")] {
        if facts.imports.iter().any(|import| import.starts_with(prefix)) {
            let message = format!("it imports {prefix}, and {what} is denied to policies");
            let help = "Nothing is wrong if only the toolchain drags it in; take out a dependency that really connects";
            report.findings.push(finding(Severity::Warning, "denied-import", message, help));
        }
    }
}

fn about_findings(report: &mut CheckReport, subject: &Subject) {
    let about = subject.about();
    let mut warn = |code, message: String, help: &str| {
        report.findings.push(finding(Severity::Warning, code, message, help));
    };
    if about.description.trim().is_empty() {
        warn("no-description", "it does not say what it does".to_owned(), "Give `About::description` a sentence");
    }
    if about.author.trim().is_empty() {
        warn("no-author", "it does not say who wrote it".to_owned(), "Give `About::author` a name");
    }
    let schema: Value = serde_json::from_str(&about.settings_schema).unwrap_or_default();
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        if !property["description"].is_string() && !property["title"].is_string() && !property["$ref"].is_string() {
            let message = format!("the setting `{name}` has no description in the settings schema");
            warn(
                "undescribed-setting",
                message,
                "Give it a `description`: `inspect` and the console show it to operators",
            );
        }
    }
    if schema["type"] != "object" {
        let help = "Say `\"type\": \"object\"`: settings are a table of names and values";
        warn("schema-type", "the settings schema does not say that settings are an object".to_owned(), help);
    }
    if schema["additionalProperties"] != false && schema["unevaluatedProperties"] != false {
        let help = "Say `\"additionalProperties\": false`, so that a misspelt setting is an error and not ignored";
        warn("open-schema", "the settings schema allows settings that it does not name".to_owned(), help);
    }
}

/// Asks a first question of every kind, twice.
fn questions(report: &mut CheckReport, subject: &Subject, setups: &[Setup]) {
    let empty = [Setup::of(Value::Object(serde_json::Map::new()))];
    let Some(setup) = subject.usable(if setups.is_empty() { &empty } else { setups }) else {
        report.asked =
            "it needs settings, so it was asked nothing; write a case and run `longshore plugin test`".to_owned();
        return;
    };
    let Ok(scenario) = setup.scenario(FIRST_QUESTION) else { return };
    let mut asked = Vec::new();
    for kind in subject.kinds() {
        let first = subject.ask(kind, &scenario);
        if let End::Failed(failure) = &first.end {
            let message =
                format!("asked for {kind} of {FIRST_QUESTION} ordinary collections, it fails: {}", failure.message);
            let help = "Reproduce it with a case: `longshore plugin fuzz` writes the smallest one it finds";
            report.findings.push(finding(Severity::Error, "fails", message, help));
            continue;
        }
        if let End::Refused(refusal, _) = &first.end {
            let Reason { code, message } = &refusal.reason;
            asked.push(format!("{kind} of {FIRST_QUESTION} collections, refused with {code}: {message}"));
            continue;
        }
        if let Some(broken) = properties::deterministic(subject, &scenario, &first) {
            let message =
                format!("asked for {kind} twice, it did two things: first {}, then {}", broken.expected, broken.found);
            let help = "Decide by the facts, `run.time_ms` and `run.seed` only; iterate over ordered maps";
            report.findings.push(finding(Severity::Error, "not-deterministic", message, help));
        }
        asked.push(format!("{kind} of {FIRST_QUESTION} collections twice, {} fuel", first.fuel_used.unwrap_or(0)));
    }
    if !asked.is_empty() {
        let under = setup.case.as_ref().map_or_else(String::new, |case| format!(" (as case {case} sets it up)"));
        report.asked = format!("{}{under}", asked.join("; "));
    }
}
