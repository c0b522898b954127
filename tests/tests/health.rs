//! `longshore verify`, `heal` and `vault repair` as a user runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_tests::{Ran, copy_tree, longshore_in, python, sample_cluster};

fn back_up(here: &Path) {
    longshore_in(here, ["backup", sample_cluster().to_str().unwrap(), "--to", "vault"]).ok();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

fn ended(ran: &Ran, code: i32, word: &str) {
    assert!(ran.code == code && (ran.stdout.contains(word) || ran.stderr.contains(word)), "{ran:?}");
}

#[test]
fn damage_is_found_dry_run_and_healed_from_a_copy_of_the_vault() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    back_up(here);
    copy_tree(&here.join("vault"), &here.join("copy"));
    let pack = files(&here.join("vault/packs")).remove(0);
    let right = std::fs::read(&pack).unwrap();
    flip(&pack);
    ended(&longshore_in(here, ["verify", "vault", "--level", "stored"]), 3, "DAMAGED");
    let heal = ["heal", "--all", "--vault", "vault", "--from", "copy"];
    let ran = longshore_in(here, heal.iter().chain(&["--dry-run"]));
    ended(&ran, 3, "would be healed");
    assert_ne!(std::fs::read(&pack).unwrap(), right, "a dry run wrote something");
    ended(&longshore_in(here, heal), 0, "everything is whole now");
    assert_eq!(std::fs::read(&pack).unwrap(), right);
    ended(&longshore_in(here, ["verify", "vault", "--all", "--level", "parsed"]), 0, "is whole");
    ended(&longshore_in(here, heal), 0, "nothing was damaged");
    // A lost manifest comes back from a copy of the whole vault, too.
    for kind in ["roots", "parts"] {
        let manifest = files(&here.join("vault").join(kind)).remove(0);
        flip(&manifest);
        ended(&longshore_in(here, heal), 0, "everything is whole now");
        ended(&longshore_in(here, ["verify", "vault"]), 0, "is whole");
    }
}

#[test]
fn samples_resume_files_and_scratch_folders_are_told_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    back_up(here);
    let sample = ["verify", "vault", "--sample", "10%", "--resume-file", "state.json", "--json"];
    let (first, second) = (longshore_in(here, sample).ok().json(), longshore_in(here, sample).ok().json());
    assert_eq!((&first["packsRead"], &first["samplePercent"]), (&1.into(), &10.into()), "{first}");
    assert_eq!(second["seed"].as_u64(), first["seed"].as_u64().map(|seed| seed + 1));
    for (arguments, code) in [
        (vec!["verify", "vault", "--sample", "0%"], 2),
        (vec!["verify", "vault", "--level", "opened"], 2),
        (vec!["verify", "vault", "--level", "opened", "--scratch", "nowhere"], 1),
        (vec!["heal", "--vault", "vault", "--from", "vault"], 2),
    ] {
        let ran = longshore_in(here, &arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    }
    std::fs::create_dir(here.join("scratch")).unwrap();
    let opened = ["verify", "vault", "--level", "opened", "--scratch", "scratch", "--open-with", "/bin/true", "--json"];
    let outcome = longshore_in(here, opened).ok().json();
    assert!(outcome["restored"] == true && outcome["opened"] == true, "{outcome}");
    let refused = ["verify", "vault", "--level", "opened", "--scratch", "scratch", "--open-with", "/bin/false"];
    ended(&longshore_in(here, refused), 3, "could not be opened");
    assert!(files(&here.join("scratch")).is_empty());
}

#[test]
fn a_backup_that_verify_restored_is_opened_by_the_real_milvus_lite() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    back_up(here);
    std::fs::create_dir(here.join("scratch")).unwrap();
    let program = here.join("open.sh");
    let judge_program = longshore_tests::root().join("tests/python/judge.py");
    let script = format!("#!/bin/sh\nexec '{}' '{}' dump \"$1\"\n", python.display(), judge_program.display());
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let opened = ["verify", "vault", "--level", "opened", "--scratch", "scratch", "--open-with", "./open.sh", "--json"];
    let outcome = longshore_in(here, opened).ok().json();
    assert!(outcome["opened"] == true, "{outcome}");
}

#[test]
fn a_lost_or_damaged_index_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    back_up(here);
    let index = files(&here.join("vault/index")).remove(0);
    flip(&index);
    ended(&longshore_in(here, ["vault", "repair", "vault", "--dry-run"]), 3, "would be listed again");
    assert!(index.exists());
    // The only index object: what is written again has its name, and replaces what was damaged.
    ended(&longshore_in(here, ["vault", "repair", "vault"]), 0, "were listed again in 1 index objects");
    assert_eq!(files(&here.join("vault/index")), [index]);
    ended(&longshore_in(here, ["vault", "repair", "vault"]), 0, "nothing to do");
    std::fs::remove_dir_all(here.join("vault/index")).unwrap();
    let ran = longshore_in(here, ["vault", "repair", "vault", "--json"]).ok().json();
    assert_eq!(ran["written"].as_array().map(Vec::len), Some(1), "{ran}");
    ended(&longshore_in(here, ["verify", "vault"]), 0, "is whole");
}
