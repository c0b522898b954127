//! `longshore verify`, `heal` and `vault repair` as a user runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_tests::{Client, Encrypted, HostPlace, Ran, copy_tree, longshore_in, python, residency, sample_cluster};

fn back_up(here: &Path) {
    longshore_in(here, ["backup", sample_cluster().to_str().unwrap(), "--to", "vault"]).ok();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
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

/// A backup in three regions: a part at home, another elsewhere, and a copy of the home part.
async fn back_up_in_three_regions(client: &Client) -> String {
    let create = "/v2/clusters/in01-test/backups/create";
    let made = client.data("POST", create, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    assert_eq!(client.ended(made["jobId"].as_str().unwrap()).await["status"], "SUCCESSFUL");
    for job in client.data("GET", "/v2/jobs?pageSize=100", None).await["jobs"].as_array().unwrap() {
        assert_eq!(client.ended(job["jobId"].as_str().unwrap()).await["status"], "SUCCESSFUL");
    }
    made["backupId"].as_str().unwrap().to_owned()
}

/// Loses the part of a copy, which only a receipt names, then damages the part at home, which the root names. After each
/// heal nothing is damaged for anybody, a second heal has nothing to do, and prunes remove what is dead.
async fn lost_parts_are_replaced_for_good(host: &HostPlace, keys: &[&str]) {
    let (server, client) = host.start();
    let id = back_up_in_three_regions(&client).await;
    server.stop();
    let here = host.path();
    let run = |arguments: &[&str]| longshore_in(here, arguments.iter().chain(keys));
    let vaults = ["vault", "vault-us", "vault-eu-2"];
    let others = ["--vault", "vault-us", "--vault", "vault-eu-2"];
    let verify = [&["verify", "vault", "--level", "decoded"][..], &others].concat();
    let prune = [&["prune", "--fence", "0s", "--minimum-age", "0s", "--vault", "vault"][..], &others].concat();
    run(&verify).ok();
    for (hurt, from) in [("vault-eu-2", "vault"), ("vault", "vault-eu-2")] {
        let parts = || files(&here.join(hurt).join("parts"));
        let lost = parts().remove(0);
        if hurt == "vault" {
            flip(&lost)
        } else {
            std::fs::remove_file(&lost).unwrap()
        }
        ended(&run(&verify), 3, "DAMAGED");
        ended(&run(&prune), 3, "says what a backup needs and cannot be read");
        let heal = ["heal", "--all", "--vault", hurt, "--from", from, "--from", "vault-us"];
        ended(&run(&heal), 0, "everything is whole now");
        let after = parts();
        ended(&run(&verify), 0, "is whole");
        ended(&run(&heal), 0, "nothing was damaged");
        assert_eq!(parts(), after, "a second heal made another part");
        for _ in 0..3 {
            run(&prune).ok();
        }
        assert!(!lost.exists(), "what is left of the lost part stays");
        assert_eq!(parts().len(), 1, "the part that replaced it went");
        // In a copy's vault the receipt of the lost part is dead, too; at home the new part has the only one.
        assert_eq!(files(&here.join(hurt).join("receipts")).len(), 1);
        ended(&run(&verify), 0, "is whole");
    }
    let restored = format!("restore vault {} --to restored.db", others.join(" "));
    run(&restored.split(' ').collect::<Vec<_>>()).ok();
    run(&[&["delete", &id, "--vault", "vault"][..], &others].concat()).ok();
    for _ in 0..4 {
        run(&prune).ok();
    }
    for folder in vaults.iter().flat_map(|vault| ["packs", "parts", "receipts", "roots"].map(|kind| (vault, kind))) {
        let left = files(&here.join(folder.0).join(folder.1));
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_part_that_heal_replaced_is_no_damage_any_more_and_is_pruned() {
    lost_parts_are_replaced_for_good(&HostPlace::new(&residency("{ second_region = true }")), &[]).await;
}

#[tokio::test]
async fn a_part_that_heal_replaced_in_an_encrypted_vault_is_no_damage_any_more_and_is_pruned() {
    let folder = Encrypted::new(&["--region", "local-eu", "--project", "proj-test"]).folder;
    copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
    let more = format!("{}\n[keys]\nwriter_key_file = \"writer.key\"", residency("{ second_region = true }"));
    let host = HostPlace::inside(folder, ", encryption = \"age-1\"", &more);
    lost_parts_are_replaced_for_good(&host, &["--reader-key", "recovery.key"]).await;
}

#[test]
fn a_lost_or_damaged_header_is_made_again_from_another_vault_of_the_project_and_from_no_other() {
    let made = Encrypted::default();
    let here = made.path();
    std::fs::create_dir(here.join("plain")).unwrap();
    back_up(&here.join("plain"));
    made.back_up();
    made.writing(&["init", "--vault", "away", "--like", "vault", "--region", "away"]).ok();
    let header = here.join("vault/longshore-vault.json");
    let right = std::fs::read(&header).unwrap();
    let repair = ["vault", "repair", "vault", "--header-from", "away"];
    ended(&made.writing(&repair), 1, "already");
    for lost in [true, false] {
        if lost {
            std::fs::remove_file(&header).unwrap()
        } else {
            flip(&header)
        }
        let hurt = std::fs::read(&header).ok();
        ended(&made.writing(&["verify", "vault"]), 1, "--header-from");
        ended(&made.writing(&["vault", "repair", "vault"]), 1, "--header-from");
        // Without the key of the project, and from a vault of another one.
        ended(&made.run(&repair), 1, "key");
        let strange = ["vault", "repair", "vault", "--header-from", "plain/vault"];
        assert_eq!(made.run(&strange).code, 1);
        ended(&made.writing(&[&repair[..], &["--dry-run"]].concat()), 3, "can be made again");
        assert_eq!(std::fs::read(&header).ok(), hurt, "something was written");
        let told = made.writing(&[&repair[..], &["--json"]].concat()).ok().json();
        assert_eq!((&told["header"]["regionId"], &told["header"]["manifests"]), (&"local".into(), &2.into()), "{told}");
        assert_eq!(std::fs::read(&header).unwrap(), right);
        assert_eq!(files(&here.join("vault/set-aside")).len(), usize::from(!lost), "what was damaged is kept");
        made.reading(&["verify", "vault"]).ok();
    }
}

#[test]
fn one_thread_is_enough_for_every_command_and_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let sample = sample_cluster();
    let sample = sample.to_str().unwrap();
    let commands: [&[&str]; 7] = [
        &["backup", sample, "--to", "vault", "--json"],
        &["verify", "vault", "--level", "parsed", "--json"],
        &["restore", "vault", "--to", "restored.db", "--json"],
        &["export", "latest", "--vault", "vault", "--to", "out", "--json"],
        &["heal", "--all", "--vault", "vault", "--from", "copy", "--json"],
        &["erase", "medium_articles", "--reason", "a request", "--vault", "vault", "--json"],
        &["prune", "--vault", "vault", "--fence", "0s", "--minimum-age", "0s", "--json"],
    ];
    for command in commands {
        for refused in ["0", "many", "70000"] {
            let ran = longshore_in(here, command.iter().chain(&["--cpu-threads", refused]));
            assert!(ran.code == 2 && ran.stderr.contains("--cpu-threads"), "{command:?} {refused}: {ran:?}");
        }
    }
    assert!(!here.join("vault").exists(), "what was refused wrote something");
    // Whoever held one thread while it waits for another would never end.
    for command in commands {
        if command[0] == "heal" {
            copy_tree(&here.join("vault"), &here.join("copy"));
            flip(&files(&here.join("vault/packs")).remove(0));
        }
        longshore_in(here, command.iter().chain(&["--cpu-threads", "1"])).ok();
    }
    longshore_in(here, ["verify", "vault", "--level", "decoded"]).ok();
    let before = files(&sample_cluster().join("collections/medium_articles"));
    let restored = |file: &Path| here.join("restored.db").join(file.strip_prefix(sample_cluster()).unwrap());
    let parquet = before.iter().filter(|file| file.extension().is_some_and(|extension| extension == "parquet"));
    for file in parquet {
        assert_eq!(std::fs::read(restored(file)).unwrap(), std::fs::read(file).unwrap(), "{}", file.display());
    }
}

#[test]
fn a_record_of_an_erasure_that_is_gone_is_missed_and_comes_back_from_a_vault_that_was_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    back_up(here);
    longshore_in(here, ["erase", "medium_articles", "--reason", "a request", "--vault", "vault"]).ok();
    longshore_in(here, ["init", "--vault", "away", "--like", "vault", "--region", "away"]).ok();
    let verify = ["verify", "vault", "--vault", "away"];
    ended(&longshore_in(here, verify), 0, "is whole");
    let record = files(&here.join("vault/erasures")).remove(0);
    let named = format!("erasures/{}", record.file_name().unwrap().to_str().unwrap());
    std::fs::remove_file(&record).unwrap();
    // The root names it, so nobody else is needed to miss it.
    ended(&longshore_in(here, ["verify", "vault"]), 3, &named);
    let heal = ["heal", "--all", "--vault", "vault", "--from", "away"];
    ended(&longshore_in(here, heal), 0, "written again from");
    assert!(record.exists());
    ended(&longshore_in(here, verify), 0, "is whole");
    for vault in ["vault", "away"] {
        std::fs::remove_dir_all(here.join(vault).join("erasures")).unwrap();
    }
    ended(&longshore_in(here, verify), 3, &named);
    ended(&longshore_in(here, heal), 3, "no vault that was named records this erasure");
}

/// Manifests that are gone from one of several vaults: the others miss them, and heal writes them again.
#[tokio::test]
async fn a_lost_root_or_receipt_is_missed_by_the_other_vaults_and_written_again() {
    let host = HostPlace::new(&residency("{ second_region = true }"));
    let (server, client) = host.start();
    let id = back_up_in_three_regions(&client).await;
    server.stop();
    let here = host.path();
    let verify = ["verify", "vault", id.as_str(), "--vault", "vault-us", "--vault", "vault-eu-2"];
    longshore_in(here, verify).ok();
    for (vault, kind) in [("vault", "roots"), ("vault-us", "receipts")] {
        let lost = files(&here.join(vault).join(kind)).remove(0);
        std::fs::remove_file(&lost).unwrap();
        ended(&longshore_in(here, verify), 3, kind);
        let from: Vec<&str> = ["vault", "vault-us", "vault-eu-2"].into_iter().filter(|other| *other != vault).collect();
        let heal = ["heal", "--all", "--vault", vault, "--from", from[0], "--from", from[1]];
        ended(&longshore_in(here, heal), 0, "everything is whole now");
        assert!(lost.exists(), "{}", lost.display());
        ended(&longshore_in(here, verify), 0, "is whole");
    }
}
