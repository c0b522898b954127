//! An encrypted vault as its users have it: made, backed up into by a host that cannot read it, restored with the
//! recovery key; and no key ever shows where it should not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_tests::{Encrypted, Ran, sample_cluster, set_mode};

fn refused(ran: &Ran, expected: &str) {
    ran.refused(1, expected);
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn a_host_with_the_writer_key_alone_backs_up_twice_and_the_recovery_key_restores() {
    let made = Encrypted::default();
    let first = made.back_up();
    assert!(first["storedBytes"].as_u64().unwrap() > 0);
    let second = made.back_up();
    assert_eq!(second["storedBytes"], 0, "{second}");
    // What changes in place is read again, as in a vault that is not encrypted, and nothing else.
    let sample = sample_cluster();
    let plain = ["backup", sample.to_str().unwrap(), "--to", "plain", "--json"];
    let plain = [made.run(&plain).ok(), made.run(&plain).ok()];
    assert!(second["reusedBytes"].as_u64().unwrap() > 0);
    assert_eq!(second["reusedBytes"], plain[1].json()["reusedBytes"]);

    let listed = made.run(&["list", "vault", "--writer-key", "writer.key", "--json"]).ok().json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    let stored = ["verify", "vault", "--level", "stored", "--writer-key", "writer.key", "--json"];
    assert_eq!(made.run(&stored).ok().json()["whole"], true);
    for command in [&["show", "vault"][..], &["verify", "vault"], &["restore", "vault", "--to", "restored"]] {
        let mut locked = command.to_vec();
        locked.extend(["--writer-key", "writer.key"]);
        refused(&made.run(&locked), "reader key");
    }
    assert!(!made.folder.path().join("restored").exists());

    let restore = ["restore", "vault", "--to", "restored", "--reader-key", "recovery.key", "--json"];
    made.run(&restore).ok();
    let restored = made.folder.path().join("restored");
    let mut compared = 0;
    for file in files(&restored).iter().filter(|file| file.extension().is_some_and(|end| end == "parquet")) {
        let original = sample_cluster().join(file.strip_prefix(&restored).unwrap());
        assert_eq!(std::fs::read(file).unwrap(), std::fs::read(&original).unwrap(), "{}", original.display());
        compared += 1;
    }
    assert!(compared >= 4, "{compared} files were compared");
    let shown = made.run(&["show", "vault", "--reader-key", "recovery.key", "--json"]).ok().json();
    assert_eq!(shown["collections"].as_array().unwrap().len(), first["collections"].as_array().unwrap().len());
    assert_eq!(made.run(&["verify", "vault", "--reader-key", "recovery.key", "--json"]).ok().json()["whole"], true);
}

#[test]
fn keys_and_names_stand_in_no_output_and_in_no_file_of_the_vault() {
    let made = Encrypted::default();
    let folder = made.folder.path();
    let writer = std::fs::read_to_string(folder.join("writer.key")).unwrap();
    let writer = writer.lines().find(|line| line.starts_with("LONGSHORE")).unwrap();
    let digits = &writer["LONGSHORE-WRITER-KEY-1-".len()..][..64];
    let raw: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut outputs = vec![format!("{}", made.back_up())];
    for arguments in [
        &["list", "vault", "--writer-key", "writer.key"][..],
        &["verify", "vault", "--reader-key", "recovery.key"],
        &["restore", "vault", "--to", "restored", "--reader-key", "recovery.key"],
        &["restore", "vault", "--to", "other", "--writer-key", "writer.key"],
        &["key", "recipient", "list", "--vault", "vault", "--writer-key", "writer.key"],
        &["list", "vault", "--writer-key", "recovery.key"],
        &["list", "vault", "--reader-key", "writer.key"],
        &["list", "vault", "--writer-key", "vault/longshore-vault.json"],
    ] {
        let ran = made.run(arguments);
        outputs.push(format!("{}{}", ran.stdout, ran.stderr));
    }
    let secrets =
        [made.recovery.as_bytes(), digits.as_bytes(), digits.to_lowercase().as_bytes(), &raw].map(<[u8]>::to_vec);
    for output in &outputs {
        for secret in &secrets {
            assert!(!contains(output.as_bytes(), secret), "a key is shown in: {output}");
        }
    }
    let names = ["articles", "schema", ".parquet"];
    let in_vault = files(&folder.join("vault"));
    assert!(in_vault.len() > 5);
    for file in in_vault {
        let bytes = std::fs::read(&file).unwrap();
        for secret in secrets.iter().map(Vec::as_slice).chain(names.iter().map(|name| name.as_bytes())) {
            assert!(!contains(&bytes, secret), "{} shows {}", file.display(), String::from_utf8_lossy(secret));
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn wrong_keys_and_key_files_that_others_can_read_are_told() {
    let made = Encrypted::default();
    let folder = made.folder.path();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    refused(&made.run(&["backup", sample, "--to", "vault"]), "LONGSHORE-WRITER-KEY-1");
    refused(&made.run(&["list", "vault", "--writer-key", "recovery.key"]), "it is a reader key");
    set_mode(&folder.join("writer.key"), 0o644);
    refused(&made.run(&["list", "vault", "--writer-key", "writer.key"]), "chmod 600");
    set_mode(&folder.join("writer.key"), 0o600);
    // Another vault's keys.
    let other = Encrypted::default();
    let theirs = |file: &str| other.folder.path().join(file).to_str().unwrap().to_owned();
    refused(
        &made.run(&["list", "vault", "--writer-key", &theirs("writer.key")]),
        "the writer key that was given is not",
    );
    refused(&made.run(&["list", "vault", "--reader-key", &theirs("recovery.key")]), "recovery key (age1");
    // A key never turns into a vault that is not encrypted.
    refused(&made.run(&["backup", sample, "--to", "new", "--writer-key", "writer.key"]), "longshore init");
    assert!(!folder.join("new").exists());
    made.run(&["init", "--vault", "plain"]).ok();
    refused(&made.run(&["backup", sample, "--to", "plain", "--writer-key", "writer.key"]), "not encrypted");
    // An existing key file is somebody's key.
    refused(&made.run(&["init", "--vault", "third", "--encrypt", "--writer-key", "writer.key"]), "writer.key");
    assert!(!folder.join("third").exists());
    refused(
        &made.run(&["init", "--vault", "vault", "--encrypt", "--writer-key", "new.key"]),
        "already holds the vault",
    );
    assert!(!folder.join("new.key").exists(), "the key of a vault that was not made");
}

#[test]
fn recipients_are_added_and_removed_and_further_vaults_share_them() {
    let made = Encrypted::default();
    made.back_up();
    let other = Encrypted::default();
    let listed = other.run(&["key", "recipient", "list", "--vault", "vault", "--writer-key", "writer.key", "--json"]);
    let listed = listed.ok().json();
    let recipient = listed["vaults"][0]["recipients"][0]["recipient"].as_str().unwrap().to_owned();
    let theirs = other.folder.path().join("recovery.key").to_str().unwrap().to_owned();
    let named = format!("second={recipient}");

    refused(&made.run(&["show", "vault", "--reader-key", &theirs]), "is not one of the vault");
    let add = ["key", "recipient", "add", &named, "--vault", "vault", "--writer-key", "writer.key"];
    refused(&made.run(&add), "reader key");
    let add = ["key", "recipient", "add", &named, "--vault", "vault", "--reader-key", "recovery.key", "--json"];
    assert_eq!(made.run(&add).ok().json()["vaults"][0]["rewrappedSessions"], 1);
    made.run(&["show", "vault", "--reader-key", &theirs]).ok();

    let like =
        ["init", "--vault", "away", "--like", "vault", "--region", "away", "--writer-key", "writer.key", "--json"];
    assert_eq!(made.run(&like).ok().json()["encrypted"], true);
    made.run(&["list", "away", "--reader-key", &theirs]).ok();

    let remove =
        ["key", "recipient", "remove", "second", "--vault", "vault", "--vault", "away", "--writer-key", "writer.key"];
    let removed = made.run(&remove).ok();
    assert!(removed.stdout.contains("every backup made until now stays readable"), "{removed:?}");
    made.back_up();
    refused(&made.run(&["show", "vault", "--reader-key", &theirs]), "is not encrypted to the reader key");
    made.run(&["show", "vault", "--reader-key", "recovery.key"]).ok();

    let writer = ["key", "writer", "--vault", "vault", "--reader-key", "recovery.key", "--to", "again.key"];
    made.run(&writer).ok();
    let key = |file: &str| {
        let text = std::fs::read_to_string(made.folder.path().join(file)).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(key("again.key"), key("writer.key"));
}
