//! Reports as text for a person. Whoever prints them decides where; nothing here depends on a terminal.

use std::fmt::Write as _;

use crate::bench::BenchReport;
use crate::cases::{CaseReport, Mismatch, TestReport};
use crate::check::{CheckReport, Severity};
use crate::fuzz::FuzzReport;

/// What came of cases: a line each, then what is wrong with those that failed, then the sum.
#[must_use]
pub fn test(report: &TestReport) -> String {
    let mut text = String::new();
    let width = report.cases.iter().map(|case| case.id.chars().count()).max().unwrap_or(0);
    for case in &report.cases {
        let state = if case.passed { "ok    " } else { "FAILED" };
        let padding = " ".repeat(width - case.id.chars().count());
        // Writing into a String cannot fail; the same below.
        let _ = writeln!(text, "{state}  {}{padding}  {}", case.id, fuel(case));
    }
    for case in report.cases.iter().filter(|case| !case.passed) {
        failed(&mut text, case);
    }
    let _ = write!(text, "\n{} passed, {} failed", report.passed, report.failed);
    text
}

fn fuel(case: &CaseReport) -> String {
    let Some(used) = case.fuel_used else { return "no fuel to compare".to_owned() };
    let used_text = format!("{} fuel", number(used));
    match case.fuel_recorded {
        None => used_text,
        Some(recorded) if recorded == used => format!("{used_text}, as recorded"),
        Some(recorded) => {
            let (more, word) = if used > recorded { (used - recorded, "more") } else { (recorded - used, "less") };
            let tenths = u128::from(more) * 1_000 / u128::from(recorded.max(1));
            format!("{used_text}, {}.{} % {word} than recorded", tenths / 10, tenths % 10)
        }
    }
}

fn failed(text: &mut String, case: &CaseReport) {
    let about = case.description.as_ref().map_or_else(String::new, |about| format!(": {about}"));
    let _ = writeln!(text, "\n{}{about}", case.id);
    let mut last: Option<(Option<usize>, Option<&String>)> = None;
    for mismatch in &case.mismatches {
        let place = (mismatch.line, mismatch.item.as_ref());
        if last != Some(place) {
            let _ = writeln!(text, "  {}", heading(case, mismatch));
        }
        last = Some(place);
        let _ = writeln!(text, "      {}", mismatch.field);
        let _ = writeln!(text, "    -   expected {}", mismatch.expected);
        let _ = writeln!(text, "    +   found    {}", mismatch.found);
        if let Some(answer) = mismatch.answer.as_ref().filter(|answer| **answer != mismatch.found) {
            let _ = writeln!(text, "        answer   {answer}");
        }
    }
    for line in &case.log {
        let level = format!("{:?}", line.level).to_lowercase();
        let _ = writeln!(text, "  log {level}: {}", line.message);
    }
}

/// `placement of default.docs, expected at cases/tiers.toml:12`.
fn heading(case: &CaseReport, mismatch: &Mismatch) -> String {
    let kind = mismatch.kind.map_or_else(|| "the case".to_owned(), |kind| kind.to_string());
    let item = mismatch.item.as_ref().map_or_else(String::new, |item| format!(" of {item}"));
    let line = mismatch.line.map_or_else(|| format!(", {}", case.file), |line| format!(", {}:{line}", case.file));
    format!("{kind}{item}{line}")
}

/// What `check` found, errors first, as a compiler says it. `file` is what the file is called.
#[must_use]
pub fn check(file: &str, report: &CheckReport) -> String {
    let mut text = String::new();
    let built = report.built_as.as_deref().unwrap_or("no WebAssembly");
    let by = if report.built_by.is_empty() { String::new() } else { format!(", by {}", report.built_by.join(", ")) };
    let _ = writeln!(text, "{file}: {built}, {} bytes{by}", number(report.size_bytes));
    if let Some(plugin) = &report.plugin {
        let kinds: Vec<&str> = report.kinds.iter().map(|kind| kind.as_str()).collect();
        let _ = writeln!(text, "{plugin} decides {}; asked: {}", kinds.join(", "), report.asked);
    }
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(text, "\n{severity}[{}]: {}\n  = help: {}", finding.code, finding.message, finding.help);
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let _ = match (errors, warnings) {
        (0, 0) => write!(text, "\nNothing to say against it."),
        (0, _) => write!(text, "\nIt can be used; {}.", plural(warnings, "warning")),
        _ => write!(text, "\nIt cannot be used: {}, {}.", plural(errors, "error"), plural(warnings, "warning")),
    };
    text
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What a policy costs, a row by size and kind.
#[must_use]
pub fn bench(report: &BenchReport) -> String {
    let header = ["COLLECTIONS", "KIND", "CALLS", "FUEL", "FUEL EACH", "TIME", "TIME EACH", "MEMORY"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for row in &report.rows {
        let kind = row.kind.map_or_else(|| "all".to_owned(), |kind| kind.to_string());
        rows.push(vec![
            number(u64::try_from(row.collections).unwrap_or(u64::MAX)),
            kind,
            number(row.calls.into()),
            number(row.fuel_used),
            format!("{:.1}", row.fuel_per_collection),
            format!("{} µs", number(row.elapsed_us)),
            format!("{:.3} µs", row.us_per_collection),
            format!("{} KiB", number(row.peak_memory_bytes / 1024)),
        ]);
    }
    let mut text = format!("{} {}\n\n{}", report.plugin, report.version, columns(&rows));
    for row in report.rows.iter().filter(|row| row.kind.is_some()) {
        if let (Some(failed), Some(kind)) = (&row.failed, row.kind) {
            let _ = writeln!(text, "\n{kind} of {} collections has no answer: {failed}", row.collections);
        }
    }
    if let Some(growth) = report.growth {
        let judgement = if growth <= 1.1 { "grows linearly" } else { "grows faster than the number of collections" };
        let _ = write!(
            text,
            "\nFuel {judgement}: a collection of the largest inventory takes {growth:.2} × as much as one of 1,000."
        );
    }
    text.trim_end().to_owned()
}

/// Right-aligned columns, but for the one with the kind.
fn columns(rows: &[Vec<String>]) -> String {
    const LEFT: usize = 1;
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(width(column).unwrap_or(0).saturating_sub(cell.chars().count()));
            let gap = if column == 0 { "" } else { "  " };
            let (before, after) = if column == LEFT { ("", padding.as_str()) } else { (padding.as_str(), "") };
            let _ = write!(text, "{gap}{before}{cell}{after}");
        }
        text.push('\n');
    }
    text
}

/// What fuzzing found.
#[must_use]
pub fn fuzz(report: &FuzzReport) -> String {
    let mut text = format!(
        "{} {}: {} inventories, {} questions, {} refused, seed {}\nchecked: {}\n",
        report.plugin,
        report.version,
        number(report.rounds.into()),
        number(report.questions),
        number(report.refused),
        report.seed,
        report.checked.join(", ")
    );
    for one in &report.counterexamples {
        let item = one.item.as_ref().map_or_else(String::new, |item| format!(" at {item}"));
        let _ = writeln!(text, "\nFAILED  {} of {}{item}, round {}", one.property, one.kind, one.round);
        let _ = writeln!(text, "    -   expected {}\n    +   found    {}", one.expected, one.found);
        let shrunk = format!("{} of {}", plural(one.collections, "collection"), one.collections_before);
        match &one.written {
            Some(path) => {
                let _ = writeln!(text, "  shrunk to {shrunk}: {}", path.display());
            }
            None => {
                let _ = writeln!(text, "  shrunk to {shrunk}:\n");
                for line in one.case.lines() {
                    let _ = writeln!(text, "{}", format!("    {line}").trim_end());
                }
            }
        }
    }
    let _ = match report.counterexamples.len() {
        0 => write!(text, "\nNothing was found."),
        found => write!(
            text,
            "\n{} found. `longshore plugin test` fails on {} until the plugin is corrected.",
            plural(found, "counterexample"),
            if found == 1 { "it" } else { "them" }
        ),
    };
    text
}

/// A number with thousands separated.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
