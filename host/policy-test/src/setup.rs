//! What a plugin can be asked under where no case says it: settings, and files that are granted. For `check` and `bench`.

use std::path::Path;

use longshore_policy::GrantedFiles;
use serde_json::Value;

use crate::asked::End;
use crate::{PolicyTestError, Scenario, Subject};

/// Collections of the question that tells whether a setup will do.
const COLLECTIONS: usize = 3;
/// Setups that are tried at most.
const TRIED: usize = 64;

/// Settings and granted files.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The plugin's settings: a JSON object.
    pub settings: Value,
    /// The files it may read.
    pub files: GrantedFiles,
    /// The case they are from, if they are from one.
    pub case: Option<String>,
}

impl Setup {
    /// These settings, and no files.
    #[must_use]
    pub fn of(settings: Value) -> Self {
        Self { settings, files: GrantedFiles::default(), case: None }
    }

    /// An ordinary scenario under this setup.
    ///
    /// # Errors
    /// As [`Scenario::ordinary`].
    pub fn scenario(&self, collections: usize) -> Result<Scenario, PolicyTestError> {
        let ordinary = Scenario::ordinary(collections)?;
        Ok(Scenario { settings: self.settings.clone(), files: self.files.clone(), ..ordinary })
    }
}

/// The setups of the cases in a folder, each once, in order.
///
/// # Errors
/// When a case file cannot be read.
pub fn setups_of_cases(folder: &Path) -> Result<Vec<Setup>, PolicyTestError> {
    let mut setups: Vec<Setup> = Vec::new();
    for path in crate::cases::find(folder)? {
        for case in crate::cases::CaseFile::read(&path)?.cases()? {
            let Scenario { settings, files, .. } = case.scenario;
            if !setups.iter().any(|one| one.settings == settings && one.files == files) {
                setups.push(Setup { settings, files, case: Some(case.id) });
            }
        }
    }
    Ok(setups)
}

impl Subject {
    /// The first setup under which it answers all kinds of questions about a few ordinary collections, else the first whose
    /// settings it takes. A plugin may well refuse to decide without a file, or be shown by a case to refuse a wrong one.
    #[must_use]
    pub fn usable<'a>(&self, setups: &'a [Setup]) -> Option<&'a Setup> {
        let mut taken = setups.iter().filter(|setup| self.settings(&setup.settings).is_ok()).take(TRIED);
        let first = taken.next()?;
        let answers = |setup: &&Setup| {
            let scenario = setup.scenario(COLLECTIONS).ok();
            let answers = |scenario| {
                let mut kinds = self.kinds().into_iter();
                kinds.all(|kind| matches!(self.ask(kind, &scenario).end, End::Answered(_)))
            };
            scenario.is_some_and(answers)
        };
        std::iter::once(first).chain(taken).find(answers).or(Some(first))
    }
}
