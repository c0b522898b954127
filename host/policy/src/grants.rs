//! What an operator lets a member see beside the facts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_sandbox::GrantedFiles;
use serde::{Deserialize, Serialize};

/// What a member may see beside the facts: nothing, by default.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Directories whose files it may read. They are read once per run, and the copies are kept in decision records:
    /// they are no place for secrets.
    pub read: Vec<ReadGrant>,
}

/// A directory that a member may read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadGrant {
    /// Where the plugin finds it, for example `/rules`.
    pub guest: String,
    /// The directory on the host.
    pub host: PathBuf,
}

impl Grants {
    /// True if nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// Checks the guest paths, without reading anything; the error is the rest of a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let directories: BTreeMap<_, _> =
            self.read.iter().map(|grant| (grant.guest.clone(), BTreeMap::new())).collect();
        if directories.len() < self.read.len() {
            return Err("two granted directories have the same guest path".to_owned());
        }
        GrantedFiles::new(directories).map(drop).map_err(|error| error.to_string())
    }

    /// True if these are the directories of the grants.
    pub(crate) fn fit(&self, files: &GrantedFiles) -> bool {
        let mut guests: Vec<&str> = self.read.iter().map(|grant| grant.guest.as_str()).collect();
        guests.sort_unstable();
        files.directories().eq(guests)
    }
}
