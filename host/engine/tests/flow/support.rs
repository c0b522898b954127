//! What these tests share.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A copy of the sample cluster, which the tests may change.
pub(crate) fn sample(folder: &Path) -> PathBuf {
    let to = folder.join("sample.db");
    let copied = Command::new("cp").arg("-r").arg(root().join("examples/sample-cluster")).arg(&to).status().unwrap();
    assert!(copied.success());
    to
}
