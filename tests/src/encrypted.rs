//! An encrypted vault with its keys in files, as `longshore init` makes it.

use std::path::Path;

use serde_json::Value;

use crate::{Ran, longshore_in, sample_cluster};

/// An encrypted vault `vault` with `writer.key`, and the recovery key in `recovery.key`.
pub struct Encrypted {
    /// Everything lies here.
    pub folder: tempfile::TempDir,
    /// What `init` printed.
    pub recovery: String,
}

impl Default for Encrypted {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Encrypted {
    /// Makes it; `more` goes to `init`.
    #[must_use]
    pub fn new(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["init", "--vault", "vault", "--encrypt", "--writer-key", "writer.key", "--json"];
        let made = longshore_in(folder.path(), arguments.iter().chain(more)).ok().json();
        let recovery = made["recoveryKey"].as_str().unwrap().to_owned();
        assert!(recovery.starts_with("AGE-SECRET-KEY-1"), "{recovery}");
        private_file(&folder.path().join("recovery.key"), &recovery);
        Self { folder, recovery }
    }

    /// Where everything lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `longshore` there.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        longshore_in(self.path(), arguments)
    }

    /// The same with the writer key.
    pub fn writing(&self, arguments: &[&str]) -> Ran {
        longshore_in(self.path(), arguments.iter().chain(&["--writer-key", "writer.key"]))
    }

    /// The same with the recovery key.
    pub fn reading(&self, arguments: &[&str]) -> Ran {
        longshore_in(self.path(), arguments.iter().chain(&["--reader-key", "recovery.key"]))
    }

    /// Backs the sample cluster up with the writer key alone.
    pub fn back_up(&self) -> Value {
        let sample = sample_cluster();
        self.writing(&["backup", sample.to_str().unwrap(), "--to", "vault", "--json"]).ok().json()
    }
}

/// A file that only its owner can read.
pub fn private_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    set_mode(path, 0o600);
}

/// Changes who can read a file.
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
