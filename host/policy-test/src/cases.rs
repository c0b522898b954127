//! Sandboxed tests: TOML files with an inventory, settings and expected decisions (`CASES.md`).
//!
//! Contract: a file is read whole before any of its cases runs; unknown keys, names without sense and expectations about
//! nothing are errors with file and line, so that a test never passes because of a typing mistake.

mod conditions;
mod expect;
mod format;
mod fuel;
mod fuzz_file;
mod granted;
mod inventory;
mod run;
mod values;
mod write;

use std::path::{Path, PathBuf};

use longshore_model::PolicyKind;
use toml::Spanned;

pub(crate) use expect::{Expect, Judged};
pub use fuel::{FUEL_FILE, FuelBaseline};
pub use fuzz_file::{FUZZ_FILE, FuzzFile, Then, When, Word};
pub(crate) use fuzz_file::{Goes, Monotone, Never};
pub(crate) use inventory::{DEFAULT_ROWS, DEFAULT_SIZE_BYTES, DEFAULT_TIME};
pub use run::{CaseReport, Mismatch, TestOptions, TestReport, fuel_folder};
pub(crate) use write::{Written, quoted, write_case};

use crate::subject::read_bounded;
use crate::{Limits, PolicyTestError, Scenario};
use format::CaseTable;
use inventory::Parts;

/// A case file that was read.
#[derive(Debug, Clone)]
pub struct CaseFile {
    /// Its name as it is shown.
    name: String,
    text: String,
    /// Where it lies; `None` for a text that is in no file.
    folder: Option<PathBuf>,
    table: CaseTable,
}

/// One case, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// `file` or `file/name of the case`: its key in `fuel.toml`.
    pub id: String,
    /// The file.
    pub file: String,
    /// What it shows, in a sentence.
    pub description: Option<String>,
    /// What is asked about.
    pub scenario: Scenario,
    /// Kind of expectations that do not tell theirs.
    pub(crate) kind: Option<PolicyKind>,
    /// What is expected, with the line it stands on.
    pub(crate) expects: Vec<(usize, Expect)>,
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says something that cannot be asked; the message has the line.
    pub fn read(path: &Path) -> Result<Self, PolicyTestError> {
        let bytes = read_bounded(path, Limits::DEFAULT.case_file_bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| PolicyTestError::file(path, "it is not UTF-8 text"))?;
        let folder = path.parent().map(Path::to_owned);
        Ok(Self { folder, ..Self::parse(&path.display().to_string(), &text)? })
    }

    /// Reads the text of a file; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`CaseFile::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyTestError> {
        let table: CaseTable = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            bad(name, line, error.message().trim_end())
        })?;
        table.check().map_err(|(at, problem)| bad(name, line_of(text, at), problem))?;
        if table.case.len() > Limits::DEFAULT.cases_per_file {
            return Err(bad(name, 1, format!("it has more than {} cases", Limits::DEFAULT.cases_per_file)));
        }
        Ok(Self { name: name.to_owned(), text: text.to_owned(), folder: None, table })
    }

    /// The scenario of the file, without its cases.
    pub(crate) fn scenario(&self) -> Result<Scenario, PolicyTestError> {
        self.parts(None).scenario().map_err(|problem| bad(&self.name, 1, problem))
    }

    /// The cases of the file.
    ///
    /// # Errors
    /// [`PolicyTestError::BadCase`] for a case that expects nothing, has the name of another, or cannot be asked.
    pub fn cases(&self) -> Result<Vec<Case>, PolicyTestError> {
        if self.table.case.is_empty() {
            return Ok(vec![self.case(None)?]);
        }
        let mut cases: Vec<Case> = Vec::with_capacity(self.table.case.len());
        for table in &self.table.case {
            let case = self.case(Some(table))?;
            if cases.iter().any(|other| other.id == case.id) {
                let line = line_of(&self.text, table.span().start);
                let name = table.get_ref().name.as_deref().unwrap_or_default();
                return Err(bad(&self.name, line, format!("another case is named `{name}` too")));
            }
            cases.push(case);
        }
        Ok(cases)
    }

    fn case(&self, own: Option<&Spanned<CaseTable>>) -> Result<Case, PolicyTestError> {
        let line = own.map_or(1, |own| line_of(&self.text, own.span().start));
        let scenario = self.parts(own).scenario().map_err(|problem| bad(&self.name, line, problem))?;
        let own = own.map(Spanned::get_ref);
        let expects = self.table.expect.iter().chain(own.iter().flat_map(|own| &own.expect));
        let expects: Vec<(usize, Expect)> =
            expects.map(|expect| (line_of(&self.text, expect.span().start), expect.get_ref().clone())).collect();
        if expects.is_empty() {
            return Err(bad(&self.name, line, "it expects nothing; add an [[expect]]"));
        }
        for (line, expect) in &expects {
            expect.check().map_err(|problem| bad(&self.name, *line, problem))?;
        }
        let stem =
            Path::new(&self.name).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Case {
            id: match own.and_then(|own| own.name.as_deref()) {
                Some(name) => format!("{stem}/{name}"),
                None => stem,
            },
            file: self.name.clone(),
            description: own.and_then(|own| own.description.clone()).or_else(|| self.table.description.clone()),
            scenario,
            kind: own.and_then(|own| own.kind).or(self.table.kind),
            expects,
        })
    }

    /// The file's tables with those of a case over them.
    fn parts(&self, own: Option<&Spanned<CaseTable>>) -> Parts {
        let table = self.table.clone();
        let mut parts = Parts {
            settings: table.settings,
            budget: table.budget,
            files: table.files,
            grants: table.grants,
            folder: self.folder.clone(),
            page_items: table.page_items,
            offers: table.offers,
            run: table.run,
            regions: table.region,
            collections: table.collection,
        };
        let Some(own) = own.map(|own| own.get_ref().clone()) else { return parts };
        parts.settings = own.settings.or(parts.settings);
        parts.budget = own.budget.or(parts.budget);
        parts.files = own.files.or(parts.files);
        parts.grants = own.grants.or(parts.grants);
        parts.page_items = own.page_items.or(parts.page_items);
        parts.offers = own.offers.or(parts.offers);
        parts.run = parts.run.under(own.run);
        replace(&mut parts.regions, own.region, |one, two| one.id == two.id);
        replace(&mut parts.collections, own.collection, |one, two| one.name == two.name);
        parts
    }
}

/// Puts each item in the place of the one that is the same, or at the end.
fn replace<T>(all: &mut Vec<T>, own: Vec<T>, same: impl Fn(&T, &T) -> bool) {
    for item in own {
        match all.iter_mut().find(|other| same(other, &item)) {
            Some(place) => *place = item,
            None => all.push(item),
        }
    }
}

/// The case files of a folder in order of name, or the one file that is named.
///
/// # Errors
/// When the folder cannot be read, or holds none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, PolicyTestError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => PolicyTestError::NoCases { path: path.to_owned() },
        _ => PolicyTestError::file(path, error),
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| PolicyTestError::file(path, error))?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_case = Path::new(name).extension().is_some_and(|extension| extension == "toml");
        if is_case && name != FUEL_FILE && name != FUZZ_FILE {
            files.push(file);
        }
        if files.len() > Limits::DEFAULT.case_files {
            return Err(PolicyTestError::file(path, format!("it has more than {} files", Limits::DEFAULT.case_files)));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(PolicyTestError::NoCases { path: path.to_owned() });
    }
    Ok(files)
}

/// Number of the line that a byte is on, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn bad(name: &str, line: usize, problem: impl Into<String>) -> PolicyTestError {
    PolicyTestError::BadCase { place: format!("{name}:{line}"), problem: problem.into() }
}
