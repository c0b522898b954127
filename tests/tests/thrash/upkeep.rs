//! Heals, erasures and exports that are killed: what is whole stays so, and the same command again ends the work.

use std::path::{Path, PathBuf};

use longshore_tests::{copy_tree, longshore_in};
use longshore_vault::testing::{long, seeds};

use crate::{BACK_UP, Place, Victim, files};

const ERASED: &str = "medium_articles";

fn erase(vault: &str) -> [&str; 8] {
    ["erase", ERASED, "--vault", vault, "--reason", "a request", "--by", "a test"]
}

fn heal(vault: &str) -> [&str; 7] {
    ["heal", "--all", "--vault", vault, "--from", "vault", "--quiet"]
}

impl Place {
    /// A copy of the vault under a name of its own.
    fn copied(&mut self) -> (String, PathBuf) {
        self.others += 1;
        let name = format!("copy-{}", self.others);
        let folder = self.path().join(&name);
        copy_tree(&self.path().join("vault"), &folder);
        (name, folder)
    }

    /// Hurts some objects of a vault, and at least one pack: half a byte, or everything.
    fn hurt(&mut self, vault: &Path) {
        let mut objects: Vec<PathBuf> = files(&vault.join("packs"));
        let first = objects.remove(0);
        objects.extend(["index", "parts", "roots"].iter().flat_map(|folder| files(&vault.join(folder))));
        let chosen: Vec<PathBuf> = objects.into_iter().filter(|_| self.random.chance(40)).collect();
        for object in std::iter::once(first).chain(chosen) {
            let mut bytes = std::fs::read(&object).unwrap();
            std::fs::remove_file(&object).unwrap();
            if self.random.chance(50) {
                let place = bytes.len() / 2;
                bytes[place] ^= 0x40;
                std::fs::write(&object, bytes).unwrap();
            }
        }
    }

    fn ids(&self, vault: &str) -> Vec<String> {
        let listed = longshore_in(self.path(), ["list", vault, "--json"]).ok().json();
        let backups = listed["backups"].as_array().unwrap();
        backups.iter().map(|backup| backup["backupId"].as_str().unwrap().to_owned()).collect()
    }

    /// Runs a command to be killed, and again when it was. It takes about as long as another one.
    fn killed_and_repeated(&mut self, what: &'static str, like: &str, arguments: &[&str], between: impl FnOnce(&Self)) {
        let wait = self.moment(like);
        if Victim::start(self.path(), what, arguments).end_after(wait, &mut self.tally).is_none() {
            between(self);
            longshore_in(self.path(), arguments).ok();
        }
    }

    /// Every backup of a vault is whole.
    fn all_whole(&self, vault: &str) {
        longshore_in(self.path(), ["verify", vault, "--all", "--level", "stored"]).ok();
    }

    fn kill_a_heal(&mut self) {
        let (name, folder) = self.copied();
        self.hurt(&folder);
        let wanted = self.ids("vault");
        self.killed_and_repeated("heal", "verify", &heal(&name), |_| {});
        assert_eq!(self.ids(&name), wanted);
        self.all_whole(&name);
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn kill_an_erasure(&mut self) {
        let (name, folder) = self.copied();
        let wanted = self.ids("vault");
        let whole = |place: &Self| {
            assert_eq!(place.ids(&name), wanted, "a backup is gone, or another came");
            place.all_whole(&name);
        };
        self.killed_and_repeated("erase", "backup", &erase(&name), whole);
        assert_eq!(self.ids(&name), wanted);
        let shown = longshore_in(self.path(), ["show", &name, wanted[0].as_str(), "--json"]).ok().json();
        let collections = shown["collections"].to_string();
        assert!(!collections.contains(ERASED) && collections.contains("recent_searches"), "{shown}");
        for file in ["parts", "roots", "receipts"].iter().flat_map(|kind| files_of(&folder, kind)) {
            assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(ERASED), "{}", file.display());
        }
        let target = format!("from-{name}");
        longshore_in(self.path(), ["restore", &name, "--to", &target, "--quiet"]).ok();
        assert!(self.same_files(&self.path().join(&target)) > 10);
        for folder in [self.path().join(target), folder] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    fn kill_an_export(&mut self) {
        self.others += 1;
        let target = format!("export-{}", self.others);
        let there = self.path().join(&target);
        let exported = ["export", "latest", "--vault", "vault", "--to", &target, "--quiet"];
        self.killed_and_repeated("export", "restore", &exported, |place| {
            if there.exists() {
                // Killed after the last rename: what is visible is whole. Another export would be refused.
                place.compare(&format!("{target}/milvus-lite.db"));
                assert!(there.join("longshore-export.json").is_file());
                std::fs::remove_dir_all(&there).unwrap();
            }
        });
        self.compare(&format!("{target}/milvus-lite.db"));
        let left = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("longshore-export")).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        std::fs::remove_dir_all(there).unwrap();
    }
}

/// The objects of a kind, where there are some.
fn files_of(vault: &Path, kind: &str) -> Vec<PathBuf> {
    let folder = vault.join(kind);
    if folder.exists() { files(&folder) } else { Vec::new() }
}

#[test]
fn heals_erasures_and_exports_that_are_killed_lose_nothing_and_are_ended_by_the_next() {
    for seed in seeds([5], if long() { 1 } else { 0 }) {
        let mut place = Place::new(seed);
        // A second backup, so that an erasure can be killed between two.
        let made = longshore_in(place.path(), BACK_UP).ok();
        place.report(&made);
        // Each kind once, and until something was killed; on a busy machine a moment is often too late.
        let wanted = if long() { 60 } else { 1 };
        let mut round = 0_u64;
        while round < 3 || place.tally.kills() < wanted {
            match round % 3 {
                0 => place.kill_a_heal(),
                1 => place.kill_an_erasure(),
                _ => place.kill_an_export(),
            }
            round += 1;
        }
        place.check();
        eprintln!("seed {seed}: (killed, ended before) {:?}", place.tally.0);
        for what in ["heal", "erase", "export"] {
            let kills = place.tally.0.get(what).map_or(0, |(kills, _)| *kills);
            assert!(!long() || kills > 0, "no {what} was killed: {:?}", place.tally);
        }
    }
}
