//! FORMAT.md says enough: a reader in another language, written by it alone, opens vaults and checks everything in them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{Ran, copy_tree, longshore_in, python, root, sample_cluster};
use longshore_vault::digest_of;
use longshore_vault::testing::golden::{FIRST_FILES, content};

fn golden(name: &str) -> PathBuf {
    root().join("host/vault/tests/golden").join(name)
}

/// What the encrypted golden vaults are encrypted to. It protects nothing but a test.
const GOLDEN_READER: &str = "AGE-SECRET-KEY-13F67MENKXPLEYEHPWNAFYCPY7WUU7P74E8KCM5NJAUADFSYX407QSQMSGG";

/// Reads a vault; `None` where there is no Python.
fn read(vault: &Path) -> Option<Ran> {
    read_with(vault, None)
}

fn read_with(vault: &Path, key: Option<&str>) -> Option<Ran> {
    let script = root().join("tests/python/read_vault.py");
    Some(Command::new(python()?).arg(script).arg(vault).args(key).output().expect("python runs").into())
}

#[test]
fn the_golden_vaults_are_read_by_a_program_that_follows_the_document() {
    let pair = &["empty", "lz4", "zstd-1"][..];
    let pieces = &["adaptive-zstd-1", "store", "zstd-1"][..];
    for (vault, files) in [
        ("format-1", &FIRST_FILES[..]),
        ("format-1-adaptive", &["adaptive-zstd-1", "adaptive-zstd-3"]),
        ("format-1-encrypted", &FIRST_FILES),
        ("format-1-pieces", pieces),
        ("format-1-pieces-encrypted", pieces),
        ("format-1-pair/local", pair),
        ("format-1-pair/other", pair),
        ("format-1-pair-encrypted/local", pair),
        ("format-1-pair-encrypted/other", pair),
    ] {
        let Some(ran) = read_with(&golden(vault), vault.contains("encrypted").then_some(GOLDEN_READER)) else { return };
        let read = ran.ok().json();
        let backups = read["backups"].as_object().unwrap();
        assert_eq!(backups.len(), 1);
        let found = backups.values().next().unwrap()["default.articles"].as_object().unwrap();
        assert_eq!(found.len(), files.len());
        for file in files {
            assert_eq!(found[*file], digest_of(&content(file)).to_string(), "{file}");
        }
    }
}

#[test]
fn a_vault_of_today_is_read_by_it_and_every_kind_of_damage_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    // A little of the sample, because this BLAKE3 in Python is slow.
    let sample = sample_cluster();
    let backup = ["backup", sample.to_str().unwrap(), "--to", "vault", "--collection", "recent_searches", "--json"];
    let made = longshore_in(folder.path(), backup).ok().json();
    let vault = folder.path().join("vault");
    let Some(ran) = read(&vault) else { return };
    let read_back = ran.ok().json();
    let files =
        read_back["backups"][made["backupId"].as_str().unwrap()]["default.recent_searches"].as_object().unwrap();
    for (path, digest) in files {
        let original = sample.join("collections/recent_searches").join(path);
        // The write-ahead log is cut at the consistent point; everything else is as it was.
        if !path.starts_with("wal/") {
            assert_eq!(*digest, digest_of(&std::fs::read(original).unwrap()).to_string(), "{path}");
        }
    }
    assert!(files.contains_key("schema.json") && files.len() > 1, "{files:?}");

    let plain = [("packs", 200), ("packs", 100_000), ("index", 40), ("parts", 60), ("roots", 60)];
    let encrypted = [("packs", 150), ("parts", 900), ("roots", 400), ("keys/recipients", 300), ("keys/sessions", 200)];
    let plain = plain.map(|(object, at)| ("format-1", object, at, None));
    let encrypted = encrypted.map(|(object, at)| ("format-1-encrypted", object, at, Some(GOLDEN_READER)));
    for (vault, object, at, key) in plain.into_iter().chain(encrypted) {
        let copy = folder.path().join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        copy_tree(&golden(vault), &copy);
        let mut path = copy.join(object);
        while path.is_dir() {
            path = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let place = at.min(bytes.len() - 70);
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let ran = read_with(&copy, key).unwrap();
        assert!(ran.code == 3 && ran.stderr.contains("not as FORMAT.md says"), "{vault} {object}: {ran:?}");
    }
    let locked = read(&golden("format-1-encrypted")).unwrap();
    assert!(locked.code == 3 && locked.stderr.contains("no reader key"), "{locked:?}");
}
