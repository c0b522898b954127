//! Clusters of many collections.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use longshore_tests::{binary, copy_tree, longshore_in, sample_cluster};
use serde_json::Value;

/// A database of so many small collections.
fn database(folder: &Path, collections: usize) {
    let database = folder.join("many.db");
    copy_tree(&sample_cluster(), &database);
    let model = database.join("collections/recent_searches");
    let schema = std::fs::read_to_string(model.join("schema.json")).unwrap();
    for number in 0..collections {
        let name = format!("small_{number:04}");
        let copy = database.join("collections").join(&name);
        copy_tree(&model, &copy);
        std::fs::write(copy.join("schema.json"), schema.replace("recent_searches", &name)).unwrap();
    }
}

#[test]
fn a_backup_needs_no_more_open_files_than_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), 200);
    // Soft and hard limit: the files of 200 points would not fit.
    let limited = format!("ulimit -n 128 && exec {} backup many.db --to vault --json", binary().display());
    for run in ["first", "unchanged"] {
        let ran = Command::new("sh").args(["-c", &limited]).current_dir(folder.path()).output().unwrap();
        assert!(ran.status.success(), "{run}: {}", String::from_utf8_lossy(&ran.stderr));
        let outcome: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert!(outcome["collections"].as_array().unwrap().len() > 200, "{run}");
    }
    longshore_in(folder.path(), ["verify", "vault", "--level", "parsed"]).ok();
    let restore = format!("ulimit -n 128 && exec {} restore vault --to back.db", binary().display());
    let ran = Command::new("sh").args(["-c", &restore]).current_dir(folder.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
