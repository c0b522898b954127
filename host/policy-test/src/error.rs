//! The one error of this crate.

use std::path::{Path, PathBuf};

use longshore_policy::PolicyError;
use longshore_sandbox::SandboxError;
use thiserror::Error;

/// A plugin cannot be tested, or a tool could not do its work. A case that fails is no error: it is in the report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyTestError {
    /// A file or folder could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened, and what to do where that is known.
        why: String,
    },
    /// The file is not a plugin that the host would load.
    #[error("{name}: {source}")]
    Plugin {
        /// Which file.
        name: String,
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// The plugin's schema or the settings given for it are unusable.
    #[error(transparent)]
    Settings(#[from] PolicyError),
    /// A case file says something that cannot be asked.
    #[error("{place}: {problem}")]
    BadCase {
        /// File and line.
        place: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// There are no cases.
    #[error(
        "no cases in {path}: write a .toml file there (host/policy-test/CASES.md says how), or name another folder"
    )]
    NoCases {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// A tool is missing, or ended with an error.
    #[error("{0}")]
    Tool(String),
}

impl PolicyTestError {
    /// [`PolicyTestError::File`] for a path.
    pub(crate) fn file(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), why: why.to_string() }
    }
}
