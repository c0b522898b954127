//! Real processes that are killed in the middle of a backup or a restore, and run again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore_tests::{binary, longshore_in, sample_cluster};
use serde_json::Value;

/// Starts `longshore` and leaves it running.
fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The states of all pins of a vault. A pin that has not got its name yet is none.
fn states(vault: &Path) -> Vec<Value> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let jobs = entries(&vault.join("pins")).map(|entry| entry.path());
    let pins = jobs.flat_map(|job| entries(&job).map(|entry| entry.path()).collect::<Vec<_>>());
    let pins = pins.filter(|pin| pin.extension().is_some_and(|extension| extension == "json"));
    let read = pins.filter_map(|pin| serde_json::from_slice::<Value>(&std::fs::read(pin).ok()?).ok());
    read.map(|pin| pin["state"].clone()).collect()
}

fn named_files(vault: &Path) -> Vec<Value> {
    states(vault).iter().flat_map(|state| state["files"].as_array().cloned().unwrap_or_default()).collect()
}

/// Waits for `condition` while the process runs; false when it ended first.
fn wait_for(child: &mut Child, condition: impl Fn() -> bool) -> bool {
    while child.try_wait().unwrap().is_none() {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_goes_on_where_its_last_checkpoint_was() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    let vault = folder.path().join("vault");
    // Slow enough to be caught in the middle, with a checkpoint whenever something is finished.
    let arguments = ["backup", sample, "--to", "vault", "--bandwidth", "256KiB", "--checkpoint-seconds", "0.01"];
    let mut child = start(folder.path(), &arguments);
    assert!(wait_for(&mut child, || !named_files(&vault).is_empty()), "it ended before it could be killed");
    kill(child);
    assert!(longshore_in(folder.path(), ["list", "vault", "--json"]).ok().stdout.contains("[]"));
    let named = named_files(&vault);
    let bytes: u64 = named.iter().map(|file| file["sizeBytes"].as_u64().unwrap()).sum();
    assert!(bytes > 0, "{} files of {bytes} bytes", named.len());
    let again = longshore_in(folder.path(), ["backup", sample, "--to", "vault", "--json"]).ok().json();
    assert!(again["reusedBytes"].as_u64().unwrap() >= bytes, "{bytes} bytes were stored: {again}");
    longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db"]).ok();
}

#[test]
fn a_restore_that_is_killed_again_and_again_ends_with_what_was_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    longshore_in(folder.path(), ["backup", sample.to_str().unwrap(), "--to", "vault"]).ok();
    let left = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut staged = entries.filter(|path| path.to_str().unwrap().contains(".longshore-restore"));
        staged.next()
    };
    let size = |path: &Path| {
        let listed = Command::new("du").args(["-sk", path.to_str().unwrap()]).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut kills = 0;
    for step in 1..6_u64 {
        let arguments = ["restore", "vault", "--to", "restored.db", "--bandwidth", "2MiB"];
        let mut child = start(folder.path(), &arguments);
        if wait_for(&mut child, || left().is_some_and(|path| size(&path) > step * 1_000)) {
            kills += 1;
        }
        kill(child);
        if folder.path().join("restored.db").exists() {
            break;
        }
    }
    assert!(kills > 1, "it could not be killed in the middle");
    if !folder.path().join("restored.db").exists() {
        longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db"]).ok();
    }
    assert!(left().is_none());
    // The restored directory is whole: a backup of it has the same content, so nothing but what a restore adapts is new.
    let again = longshore_in(folder.path(), ["backup", "restored.db", "--to", "vault", "--json"]).ok().json();
    assert!(again["storedBytes"].as_u64().unwrap() < 20_000, "{again}");
}

#[test]
fn a_backup_that_does_not_fit_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    // A file system of its own, as small as it can be, needs rights that not every machine gives.
    let vault = folder.path().join("vault");
    std::fs::create_dir(&vault).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(&vault).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        longshore_tests::not_run("a vault on a full disk: a small file system cannot be mounted here");
        return;
    }
    let refused = longshore_in(folder.path(), ["backup", sample, "--to", "vault", "--json"]);
    let files = std::fs::read_dir(vault.join("packs")).map_or(0, Iterator::count);
    let forced = longshore_in(folder.path(), ["backup", sample, "--to", "vault", "--json", "--no-space-check"]);
    assert!(Command::new("umount").arg(&vault).status().unwrap().success());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("needs about") && refused.stdout.contains("free"), "{refused:?}");
    assert_eq!(files, 0);
    assert!(!forced.stdout.contains("needs about"), "{forced:?}");
}
