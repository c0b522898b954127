//! Real processes, killed at random moments.
//!
//! After every kill: what was reported as done and not deleted is whole and comes back byte for byte; the same command
//! again succeeds; what a killed restore left beside its target goes away. Prunes without any fence run beside backups,
//! restores and deletions, and are killed like them. Moments are drawn from seeds, and a failure names its seed.
//! Ten seconds in the usual run, at least 200 kills in the long one (`LONGSHORE_LONG`); the counts are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod beside;
mod service;
mod upkeep;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longshore_tests::{Ran, binary, copy_tree, longshore_in, sample_cluster};
use longshore_vault::testing::{SeededRandom, long, seeds};

/// What each killed process was doing, and how often it had ended before.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, (u32, u32)>);

impl Tally {
    fn add(&mut self, what: &'static str, killed: bool) {
        let (kills, too_late) = self.0.entry(what).or_default();
        if killed { *kills += 1 } else { *too_late += 1 }
    }

    fn take(&mut self, other: Self) {
        for (what, (kills, too_late)) in other.0 {
            let mine = self.0.entry(what).or_default();
            *mine = (mine.0 + kills, mine.1 + too_late);
        }
    }

    fn kills(&self) -> u32 {
        self.0.values().map(|(kills, _)| kills).sum()
    }
}

/// A process of ours that is to be killed.
struct Victim {
    child: Child,
    what: &'static str,
}

impl Victim {
    fn start(folder: &Path, what: &'static str, arguments: &[&str]) -> Self {
        let child = Command::new(binary())
            .args(arguments)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("longshore runs");
        Self { child, what }
    }

    /// Lets it end well, within `limit`.
    fn end_by_itself(mut self, limit: Duration, tally: &mut Tally) -> Option<Ran> {
        let began = Instant::now();
        while self.child.try_wait().expect("it can be asked").is_none() {
            if began.elapsed() > limit {
                self.child.kill().expect("it runs");
                panic!("{} did not end within {limit:?}", self.what);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let ran = Ran::from(self.child.wait_with_output().expect("it ended")).ok();
        tally.add(self.what, false);
        Some(ran)
    }

    /// Kills it after a while. Answers what it said if it had ended well before, and `None` if it was killed.
    fn end_after(mut self, wait: Duration, tally: &mut Tally) -> Option<Ran> {
        // Which step this moment hits differs from machine to machine, and that is fine.
        std::thread::sleep(wait);
        let ended = self.child.try_wait().expect("it can be asked").is_some();
        if !ended {
            self.child.kill().expect("it runs");
        }
        let output = self.child.wait_with_output().expect("it ended");
        tally.add(self.what, !output.status.success());
        let ran = Ran::from(output);
        assert!(ran.code == 0 || ran.code == -1, "it failed by itself: {ran:?}");
        (ran.code == 0).then_some(ran)
    }
}

/// A cluster, its vault and what was reported about it.
struct Place {
    folder: tempfile::TempDir,
    random: SeededRandom,
    tally: Tally,
    reported: Vec<String>,
    /// How long a command takes undisturbed.
    usual: BTreeMap<&'static str, Duration>,
    others: u32,
}

const BACK_UP: [&str; 6] = ["backup", "sample.db", "--to", "vault", "--json", "--quiet"];

impl Place {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
        let random = SeededRandom::new(seed);
        let mut place =
            Self { folder, random, tally: Tally::default(), reported: Vec::new(), usual: BTreeMap::new(), others: 0 };
        let began = Instant::now();
        let made = longshore_in(place.path(), BACK_UP).ok();
        place.usual.insert("backup", began.elapsed());
        place.report(&made);
        let began = Instant::now();
        place.restore_again("first");
        place.usual.insert("restore", began.elapsed());
        let began = Instant::now();
        let id = place.reported[0].clone();
        place.verify(&id);
        place.usual.insert("verify", began.elapsed());
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn report(&mut self, made: &Ran) {
        self.reported.push(made.json()["backupId"].as_str().expect("a backup id").to_owned());
    }

    /// A moment somewhere in the usual time of a command, or a little later.
    fn moment(&mut self, what: &str) -> Duration {
        let usual = u64::try_from(self.usual[what].as_micros()).unwrap();
        Duration::from_micros(self.random.below(usual + usual / 8))
    }

    fn verify(&self, id: &str) {
        let verified = longshore_in(self.path(), ["verify", "vault", id, "--level", "decoded", "--json"]).ok();
        assert_eq!(verified.json()["whole"], true, "{verified:?}");
    }

    /// Restores the newest backup and compares it with the cluster, then removes it.
    fn restore_again(&mut self, name: &str) {
        let target = format!("restored-{name}");
        longshore_in(self.path(), ["restore", "vault", "--to", &target, "--quiet"]).ok();
        self.compare(&target);
        self.no_leftovers();
        std::fs::remove_dir_all(self.path().join(target)).unwrap();
    }

    /// The restored files are those of the cluster, byte for byte; a restore leaves out what is not data.
    fn compare(&self, target: &str) {
        let compared = self.same_files(&self.path().join(target));
        assert!(compared > 20, "only {compared} files were restored");
    }

    /// The same of some collections; how many files there were.
    fn same_files(&self, target: &Path) -> usize {
        same_files(target, &self.path().join("sample.db"))
    }

    /// No staging folder is left.
    fn no_leftovers(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("longshore-restore"))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Everything that is listed, and everything that was reported, is whole.
    fn check(&self) {
        let listed = longshore_in(self.path(), ["list", "vault", "--json"]).ok().json();
        let listed: Vec<&str> =
            listed["backups"].as_array().unwrap().iter().map(|backup| backup["backupId"].as_str().unwrap()).collect();
        for id in &self.reported {
            assert!(listed.contains(&id.as_str()), "{id} was reported and is gone");
        }
        // Older ones were looked at when they were new, and share their bytes with these.
        for id in listed.iter().rev().take(2).chain(listed.first()) {
            self.verify(id);
        }
    }

    /// A first backup: everything is written, the vault itself too.
    fn kill_a_first_backup(&mut self) {
        self.others += 1;
        let vault = format!("fresh-{}", self.others);
        let arguments = ["backup", "sample.db", "--to", &vault, "--json", "--quiet"];
        let wait = self.moment("backup");
        if Victim::start(self.path(), "first backup", &arguments).end_after(wait, &mut self.tally).is_none() {
            longshore_in(self.path(), arguments).ok();
        }
        let listed = longshore_in(self.path(), ["list", &vault, "--json"]).ok().json();
        for backup in listed["backups"].as_array().unwrap() {
            let id = backup["backupId"].as_str().unwrap();
            longshore_in(self.path(), ["verify", &vault, id, "--level", "decoded"]).ok();
        }
        let target = format!("from-{vault}");
        longshore_in(self.path(), ["restore", &vault, "--to", &target, "--quiet"]).ok();
        self.compare(&target);
        std::fs::remove_dir_all(self.path().join(target)).unwrap();
        std::fs::remove_dir_all(self.path().join(vault)).unwrap();
    }

    /// A later backup: most of its bytes are there already.
    fn kill_a_backup(&mut self) {
        let wait = self.moment("backup");
        match Victim::start(self.path(), "backup", &BACK_UP).end_after(wait, &mut self.tally) {
            Some(made) => self.report(&made),
            None => {
                let again = longshore_in(self.path(), BACK_UP).ok();
                self.report(&again);
            }
        }
        self.check();
    }

    /// The same command again after a kill, until it was not killed.
    fn kill_a_restore(&mut self) {
        self.others += 1;
        let target = format!("target-{}", self.others);
        let arguments = ["restore", "vault", "--to", &target, "--quiet"];
        let wait = self.moment("restore");
        let ended = Victim::start(self.path(), "restore", &arguments).end_after(wait, &mut self.tally);
        let there = self.path().join(&target);
        if ended.is_none() && there.exists() {
            // Killed after the last rename: what is visible must be whole.
            self.compare(&target);
            std::fs::remove_dir_all(&there).unwrap();
        }
        if ended.is_none() {
            longshore_in(self.path(), arguments).ok();
        }
        self.compare(&target);
        self.no_leftovers();
        std::fs::remove_dir_all(there).unwrap();
    }

    fn kill_a_verify(&mut self) {
        let wait = self.moment("verify");
        let id = self.reported.last().unwrap().clone();
        let arguments = ["verify", "vault", id.as_str(), "--level", "decoded", "--json"];
        Victim::start(self.path(), "verify", &arguments).end_after(wait, &mut self.tally);
        self.verify(&id);
    }
}

/// Restored data files are those of the cluster, byte for byte. Answers how many there are.
fn same_files(target: &Path, sample: &Path) -> usize {
    let mut compared = 0;
    for file in files(target) {
        let name = file.strip_prefix(target).unwrap();
        if name.extension().is_some_and(|end| end == "parquet" || end == "arrow") {
            let same = std::fs::read(&file).unwrap() == std::fs::read(sample.join(name)).unwrap();
            assert!(same, "{} is not what was backed up", name.display());
            compared += 1;
        }
    }
    compared
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

#[test]
fn commands_that_are_killed_at_any_moment_lose_nothing_and_succeed_when_they_are_repeated() {
    for seed in seeds([1], if long() { 1 } else { 0 }) {
        let mut place = Place::new(seed);
        let (wanted, began) = (if long() { 80 } else { 3 }, Instant::now());
        while place.tally.kills() < wanted || (!long() && began.elapsed() < Duration::from_secs(5)) {
            match place.random.below(6) {
                0 | 1 => place.kill_a_first_backup(),
                2 => place.kill_a_backup(),
                3 | 4 => place.kill_a_restore(),
                _ => place.kill_a_verify(),
            }
        }
        place.check();
        eprintln!("seed {seed}: (killed, ended before) {:?}", place.tally.0);
        assert!(place.tally.kills() > 0, "nothing was killed: {:?}", place.tally);
    }
}
