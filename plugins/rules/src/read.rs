//! Reading the rule files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_plugin::{Refusal, Run};

use crate::Settings;
use crate::rule::{Rule, RuleFile};

/// Most rules in all files together: each is tried on each item, and a call has a budget.
const RULES_MAX: usize = 1_000;

/// The rules of all files, in order of file name and place in the file.
#[derive(Debug, Clone)]
pub struct Rules(pub(crate) Vec<Rule>);

impl Rules {
    /// The rules of a run: of the directory that its settings name.
    ///
    /// # Errors
    /// A refusal that says which file, where in it, and what to do.
    pub fn of(run: &Run) -> Result<Self, Refusal> {
        Self::read(&run.settings::<Settings>()?.directory)
    }

    /// Reads every file of a directory whose name ends in `.toml`, in the order of their names.
    ///
    /// # Errors
    /// As [`Rules::of`].
    pub fn read(directory: &Path) -> Result<Self, Refusal> {
        let files = rule_files(directory).map_err(|error| not_granted(directory, &error))?;
        if files.is_empty() {
            return Err(unreadable(directory, "it has no file whose name ends in .toml"));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error.to_string()))?;
            let read: RuleFile = toml::from_str(&text).map_err(|error| unreadable(&file, &mistake(&text, &error)))?;
            for rule in read.rules {
                if let Some(problem) = rule.problem() {
                    return Err(unreadable(&file, &format!("in rule `{}`, {problem}", rule.name)));
                }
                if rules.iter().any(|other| other.name == rule.name) {
                    return Err(unreadable(
                        &file,
                        &format!("there is another rule `{}`; give each a name of its own", rule.name),
                    ));
                }
                rules.push(rule);
            }
            if rules.len() > RULES_MAX {
                return Err(unreadable(&file, &format!("with it there are more than {RULES_MAX} rules")));
            }
        }
        Ok(Self(rules))
    }
}

/// The rule files of a directory, in order of name: the order of a directory is nobody's.
fn rule_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A mistake of form with its place, on one line: a reason is a sentence.
fn mistake(text: &str, error: &toml::de::Error) -> String {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

fn not_granted(directory: &Path, error: &io::Error) -> Refusal {
    let message = format!(
        "The directory {} with the rule files cannot be read: {error}. Grant it to this plugin in the host's \
         configuration, or correct the setting `directory`.",
        directory.display()
    );
    Refusal::new("rules-not-granted", message)
}

fn unreadable(path: &Path, why: &str) -> Refusal {
    Refusal::new("rules-not-readable", format!("{}: {why}", path.display()))
}
