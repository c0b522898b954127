//! Prunes beside everything else, all of them killed now and then. Seeds and counts as in the other tests of this folder.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_tests::{Ran, longshore_in};
use longshore_vault::testing::{long, seeds};

use crate::{BACK_UP, Place, Tally, Victim};

/// Prunes as much as it may, at once, whatever the age: what protects a job is its pin.
fn prune_of(vault: &str) -> [&str; 9] {
    ["prune", "--vault", vault, "--fence", "0s", "--minimum-age", "0s", "--compact-below", "90"]
}

/// A place in which prunes run beside everything else.
struct Pruned {
    place: Place,
    /// Backups that were reported and not deleted, and those whose deletion was killed.
    alive: Vec<String>,
    maybe: Vec<String>,
    /// Names of collections.
    all: Vec<String>,
}

impl Pruned {
    fn new(seed: u64) -> Self {
        let mut place = Place::new(seed);
        let (began, alive) = (Instant::now(), place.reported.clone());
        longshore_in(place.path(), prune_of("vault")).ok();
        place.usual.insert("prune", began.elapsed());
        let shown = longshore_in(place.path(), ["show", "vault", alive[0].as_str(), "--json"]).ok().json();
        let text = |one: &serde_json::Value, key: &str| {
            one["name"][key].as_str().or_else(|| one[key].as_str()).unwrap_or_default().to_owned()
        };
        let all = shown["collections"].as_array().expect("collections").iter().map(|one| {
            let (database, collection) = (text(one, "database"), text(one, "collection"));
            if database.is_empty() { collection } else { format!("{database}.{collection}") }
        });
        let all: Vec<String> = all.collect();
        assert!(all.len() > 2, "{all:?}");
        Self { place, alive, maybe: Vec::new(), all }
    }

    /// Some of the collections, so that backups share packs without needing all of them.
    fn backup_arguments(&mut self) -> Vec<String> {
        let mut arguments: Vec<String> = BACK_UP.map(str::to_owned).into();
        for name in self.all.clone().into_iter().filter(|_| self.place.random.chance(30)) {
            arguments.extend(["--collection".to_owned(), name]);
        }
        arguments
    }

    /// One thing that a host does, as arguments, with what it is called.
    fn command(&mut self) -> (&'static str, Vec<String>) {
        let owned = |arguments: &[&str]| arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<String>>();
        // Few at a time, so that bytes become free and are wanted again.
        let choice = if self.alive.len() > 3 { 4 } else { self.place.random.below(6) };
        match choice {
            0..3 => ("backup", self.backup_arguments()),
            3 => {
                self.place.others += 1;
                let target = format!("target-{}", self.place.others);
                let id = self.any_alive();
                ("restore", owned(&["restore", "vault", &id, "--to", &target, "--quiet"]))
            }
            4 if self.alive.len() > 1 => {
                let id = self.any_alive();
                self.alive.retain(|one| *one != id);
                self.maybe.push(id.clone());
                ("delete", owned(&["delete", &id, "--vault", "vault"]))
            }
            _ => ("prune", owned(&prune_of("vault"))),
        }
    }

    fn any_alive(&mut self) -> String {
        let place = usize::try_from(self.place.random.below(self.alive.len() as u64)).unwrap();
        self.alive[place].clone()
    }

    /// Something, and beside it one prune after the other; each is killed at some moment, or left alone.
    fn race(&mut self) {
        let (what, arguments) = self.command();
        let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let wait = self.place.moment(if what == "delete" { "prune" } else { what });
        // Most of what a prune may delete it can only delete when something else ends well.
        let spared = self.place.random.chance(60);
        let other = self.beside_prunes("vault", what, &borrowed, (!spared).then_some(wait));
        self.take_over(what, &arguments, other);
    }

    /// Runs a command, killed at a moment if one is given, beside prunes of a vault that are killed now and then.
    fn beside_prunes(
        &mut self,
        vault: &str,
        what: &'static str,
        arguments: &[&str],
        killed: Option<Duration>,
    ) -> Option<Ran> {
        let random = &mut self.place.random;
        let draws: Vec<bool> = (0..200).map(|_| random.chance(30)).collect();
        let prunes: Vec<Option<Duration>> =
            draws.into_iter().map(|kills| kills.then(|| self.place.moment("prune"))).collect();
        // The first one comes when the command has looked around, or before.
        let delay = self.place.moment("backup") / 2;
        let (over, path) = (AtomicBool::new(false), self.place.path());
        let (tally, other) = std::thread::scope(|scope| {
            let pruner = scope.spawn(|| {
                let mut tally = Tally::default();
                std::thread::sleep(delay);
                for wait in prunes {
                    end(Victim::start(path, "prune", &prune_of(vault)), wait, &mut tally);
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                }
                tally
            });
            let mut tally = Tally::default();
            let other = end(Victim::start(path, what, arguments), killed, &mut tally);
            over.store(true, Ordering::SeqCst);
            tally.take(pruner.join().expect("no panic"));
            (tally, other)
        });
        self.place.tally.take(tally);
        other
    }

    /// A slow backup wants what was deleted just before it began, and prunes run all the while: what it saw when it began
    /// must stay, because of its pin alone.
    fn want_again(&mut self) {
        self.place.others += 1;
        let vault = format!("fresh-{}", self.place.others);
        let some = usize::try_from(self.place.random.below(self.all.len() as u64)).unwrap();
        let some = self.all[some].clone();
        let first = ["backup", "sample.db", "--to", &vault, "--json", "--quiet", "--collection", &some];
        let made = longshore_in(self.place.path(), first).ok().json();
        let id = made["backupId"].as_str().expect("a backup id").to_owned();
        longshore_in(self.place.path(), ["delete", &id, "--vault", &vault]).ok();
        let slow = ["backup", "sample.db", "--to", &vault, "--json", "--quiet", "--bandwidth", "8MiB"];
        let killed = self.place.random.chance(30).then(|| self.place.moment("backup"));
        let ended = self.beside_prunes(&vault, "backup", &slow, killed);
        if ended.is_none() {
            longshore_in(self.place.path(), slow).ok();
        }
        let listed = longshore_in(self.place.path(), ["list", &vault, "--json"]).ok().json();
        for backup in listed["backups"].as_array().unwrap() {
            let id = backup["backupId"].as_str().unwrap();
            longshore_in(self.place.path(), ["verify", &vault, id, "--level", "decoded"]).ok();
        }
        let target = format!("from-{vault}");
        longshore_in(self.place.path(), ["restore", &vault, "--to", &target, "--quiet"]).ok();
        self.place.compare(&target);
        for folder in [target, vault] {
            std::fs::remove_dir_all(self.place.path().join(folder)).unwrap();
        }
    }

    fn take_over(&mut self, what: &str, arguments: &[String], ended: Option<Ran>) {
        match (what, ended) {
            ("backup", Some(made)) => {
                self.alive.push(made.json()["backupId"].as_str().expect("a backup id").to_owned())
            }
            ("restore", ended) => {
                let target = self.place.path().join(&arguments[4]);
                assert!(ended.is_none() || target.exists());
                if target.exists() {
                    self.place.same_files(&target);
                    std::fs::remove_dir_all(&target).unwrap();
                }
                // What a killed restore left beside its target is another test's subject.
                for entry in std::fs::read_dir(self.place.path()).unwrap().map(Result::unwrap) {
                    if entry.file_name().to_string_lossy().contains("longshore-restore") {
                        std::fs::remove_dir_all(entry.path()).ok();
                    }
                }
            }
            _ => {}
        }
    }

    /// What was reported and not deleted is there, all that is there is whole, and the newest comes back.
    fn check(&mut self) {
        let listed = longshore_in(self.place.path(), ["list", "vault", "--json"]).ok().json();
        let listed: Vec<String> = listed["backups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|backup| backup["backupId"].as_str().unwrap().to_owned())
            .collect();
        for id in &self.alive {
            assert!(listed.contains(id), "{id} was reported, not deleted, and is gone");
        }
        for id in &listed {
            self.place.verify(id);
        }
        let id = self.any_alive();
        self.restore(&id);
    }

    fn restore(&self, id: &str) {
        let target = self.place.path().join("restored");
        longshore_in(self.place.path(), ["restore", "vault", id, "--to", "restored", "--quiet"]).ok();
        self.place.same_files(&target);
        std::fs::remove_dir_all(target).unwrap();
    }
}

/// Kills a process after a while, or lets it end well.
fn end(victim: Victim, wait: Option<Duration>, tally: &mut Tally) -> Option<Ran> {
    match wait {
        Some(wait) => victim.end_after(wait, tally),
        None => victim.end_by_itself(Duration::from_secs(120), tally),
    }
}

#[test]
fn prunes_that_are_killed_beside_backups_restores_and_deletions_lose_nothing() {
    for seed in seeds([3], if long() { 1 } else { 0 }) {
        let mut pruned = Pruned::new(seed);
        let (wanted, began) = (if long() { 60 } else { 4 }, Instant::now());
        let mut races = 0;
        while pruned.place.tally.kills() < wanted || (!long() && began.elapsed() < Duration::from_secs(6)) {
            if races % 6 == 3 {
                pruned.want_again()
            } else {
                pruned.race()
            }
            races += 1;
            if races % 5 == 0 {
                pruned.check();
            }
        }
        eprintln!("seed {seed}: {races} races, (killed, ended before) {:?}", pruned.place.tally.0);
        // Each on its own at the end: a restore proves more than a verification.
        pruned.check();
        for id in pruned.alive.clone() {
            pruned.restore(&id);
        }
        assert!(pruned.place.tally.0.get("prune").is_some_and(|(kills, _)| *kills > 0), "no prune was killed");
    }
}
