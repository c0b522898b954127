//! Power cuts: real processes are traced, and the disk is put together again as it may look after a cut at any moment,
//! when only what was synced is sure to be there. What was reported before the cut must be there, and whole.
//!
//! Needs `strace`; where there is none, or tracing is not allowed, the tests skip and say so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod disk;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use longshore_model::{BackupId, SystemClock};
use longshore_tests::{binary, copy_tree, not_run, sample_cluster};
use longshore_vault::testing::{long, seeds};
use longshore_vault::{Keys, PruneOptions, Vault, VaultError, VerifyLevel, VerifyOptions, prune};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::disk::{Disk, Image, Luck};
use crate::trace::Call;

/// A folder in which everything a traced process does is kept.
struct Place {
    folder: tempfile::TempDir,
    calls: Vec<Call>,
    /// Lines of all traces so far.
    lines: usize,
    /// Backups by the order in which they were made.
    backups: Vec<BackupId>,
    /// Backups that were deleted: from when on they need not be there, and from when on they must not.
    deleted: Vec<(BackupId, usize, usize)>,
}

impl Place {
    /// `None` where processes cannot be traced.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
        if !works.is_ok_and(|output| output.status.success()) {
            not_run("power cuts: strace is not there or may not trace here");
            return None;
        }
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
        Some(Self { folder, calls: Vec::new(), lines: 0, backups: Vec::new(), deleted: Vec::new() })
    }

    fn disk(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("disk")
    }

    /// Runs `longshore` on the disk and adds what it did to the trace.
    fn run(&mut self, arguments: &[&str]) -> String {
        let trace = self.folder.path().join("trace");
        let output = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "4000000", "-e", &format!("trace={}", trace::CALLS.replace(' ', "")), "-o"])
            .arg(&trace)
            .arg(binary())
            .args(arguments)
            .current_dir(self.disk())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(trace).unwrap();
        let shifted = trace::read(&text, &self.disk()).into_iter().map(|call| Call {
            began: call.began + self.lines,
            ended: call.ended + self.lines,
            ..call
        });
        self.calls.extend(shifted);
        self.lines += text.lines().count() + 1;
        String::from_utf8(output.stdout).unwrap()
    }

    fn back_up(&mut self, collections: &[&str]) {
        let mut arguments = vec!["backup", "../sample.db", "--to", "vault", "--json", "--quiet"];
        for collection in collections {
            arguments.extend(["--collection", collection]);
        }
        let outcome: serde_json::Value = serde_json::from_str(&self.run(&arguments)).unwrap();
        self.backups.push(outcome["backupId"].as_str().unwrap().parse().unwrap());
    }

    fn delete(&mut self, number: usize) {
        let (id, began) = (self.backups[number].clone(), self.lines);
        self.run(&["delete", id.as_str(), "--vault", "vault"]);
        let said = self.replay(&|_| false).said.last().expect("a deletion says what it did").0;
        self.deleted.push((id, began, said));
    }

    fn prune(&mut self) -> String {
        self.run(&[
            "prune",
            "--vault",
            "vault",
            "--fence",
            "0s",
            "--minimum-age",
            "0s",
            "--compact-below",
            "95",
            "--json",
        ])
    }

    /// Which backups must be there after a cut at this moment, and which must not.
    fn expected(&self, said: &str, moment: usize) -> (Vec<&BackupId>, Vec<&BackupId>) {
        let reported = self.backups.iter().filter(|id| said.contains(id.as_str()));
        let deleted = |id: &&BackupId| self.deleted.iter().any(|(one, began, _)| one == *id && *began <= moment);
        let gone = self.deleted.iter().filter(|(_, _, said)| *said <= moment).map(|(id, ..)| id);
        (reported.filter(|id| !deleted(id)).collect(), gone.collect())
    }

    fn replay(&self, drops: &dyn Fn(&Path) -> bool) -> Disk {
        Disk::replay(&self.disk(), &self.calls, drops)
    }
}

/// All kinds of luck; more draws in the long form.
fn lucks() -> Vec<Luck> {
    let mut lucks = vec![Luck::Nothing, Luck::Everything, Luck::NamesOnly];
    lucks.extend(seeds(1..=3, if long() { 20 } else { 0 }).into_iter().map(Luck::Drawn));
    lucks
}

/// What had been said at a moment.
fn said_by(disk: &Disk, moment: usize) -> String {
    disk.said.iter().filter(|(at, _)| *at <= moment).map(|(_, text)| text.as_str()).collect()
}

/// Everything below a folder of an image.
fn below<'a>(image: &'a Image, folder: &str) -> impl Iterator<Item = (String, &'a Vec<u8>)> {
    let prefix = format!("{folder}/");
    image.iter().filter_map(move |(path, bytes)| Some((path.strip_prefix(&prefix)?.to_owned(), bytes)))
}

/// The vault of an image; files that a local vault does not list are left out here too.
async fn vault_of(image: &Image) -> Result<Vault, VaultError> {
    let store = InMemory::new();
    for (path, bytes) in below(image, "vault") {
        let unfinished = path.rsplit_once('#').is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()));
        if !unfinished {
            store.put(&object_store::path::Path::from(path), bytes.clone().into()).await.unwrap();
        }
    }
    Vault::open(Arc::new(store) as Arc<dyn ObjectStore>, &Keys::none()).await
}

/// Says what is wrong with a vault after a cut.
async fn vault_fault(image: &Image, reported: &[&BackupId], gone: &[&BackupId], prunes: bool) -> Option<String> {
    let vault = match vault_of(image).await {
        Ok(vault) => vault,
        Err(VaultError::Empty { .. }) if reported.is_empty() => return None,
        Err(error) => return Some(error.to_string()),
    };
    let fault = fault_now(&vault, reported, gone).await;
    if fault.is_some() || !prunes {
        return fault;
    }
    // Whoever prunes next must be able to go on with what is left, and must not lose anything either.
    let options = PruneOptions { fence_ms: 0, minimum_age_ms: 0, ..PruneOptions::default() };
    for run in 0..2 {
        if let Err(error) = prune(std::slice::from_ref(&vault), &options, &SystemClock, [run; 16]).await {
            return Some(format!("the next prune: {error}"));
        }
    }
    fault_now(&vault, reported, gone).await.map(|fault| format!("after the next prunes: {fault}"))
}

async fn fault_now(vault: &Vault, reported: &[&BackupId], gone: &[&BackupId]) -> Option<String> {
    let listing = match vault.list_backups().await {
        Ok(listing) => listing,
        Err(error) => return Some(error.to_string()),
    };
    if let Some((id, error)) = listing.damaged.first() {
        return Some(format!("{id} shows as damaged: {error}"));
    }
    let there: BTreeSet<&BackupId> = listing.backups.iter().map(|backup| &backup.root.backup_id).collect();
    if let Some(missing) = reported.iter().find(|id| !there.contains(**id)) {
        return Some(format!("{missing} was reported and is not there"));
    }
    if let Some(back) = gone.iter().find(|id| there.contains(**id)) {
        return Some(format!("{back} was reported as deleted and is there"));
    }
    for id in there {
        let whole = async {
            let part = vault.load_part_of(&vault.load_backup(id).await?).await?;
            vault.verify(&part, VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {})).await
        };
        match whole.await {
            Ok(report) if report.is_whole() => {}
            Ok(report) => return Some(format!("{id} is not whole: {:?}", report.objects)),
            Err(error) => return Some(format!("{id}: {error}")),
        }
    }
    None
}

/// Cuts the power at every moment and looks at the vault. Answers how many different disks were looked at.
async fn cut_vault(place: &Place, disk: &Disk) -> Result<usize, String> {
    let mut seen = HashSet::new();
    for luck in lucks() {
        for moment in &disk.moments {
            let said = said_by(disk, *moment);
            let (reported, gone) = place.expected(&said, *moment);
            let image = disk.after_cut(*moment, luck);
            if !seen.insert((image_digest(&image), reported.len(), gone.len())) {
                continue;
            }
            if let Some(fault) = vault_fault(&image, &reported, &gone, !place.deleted.is_empty()).await {
                return Err(format!("cut at {moment}, {luck:?}: {fault}"));
            }
        }
    }
    Ok(seen.len())
}

fn image_digest(image: &Image) -> longshore_model::Digest {
    let mut all = Vec::new();
    for (path, bytes) in image {
        all.extend_from_slice(path.as_bytes());
        all.extend_from_slice(longshore_vault::digest_of(bytes).as_bytes());
    }
    longshore_vault::digest_of(&all)
}

#[tokio::test]
async fn what_was_reported_as_backed_up_survives_a_power_cut_at_any_moment() {
    let Some(mut place) = Place::new() else { return };
    place.back_up(&["recent_searches"]);
    place.back_up(&["handbook.postgres_commands", "recent_searches"]);
    let disk = place.replay(&|_| false);
    assert!(disk.said.len() >= 2, "{:?}", disk.said);
    let disks = cut_vault(&place, &disk).await.unwrap();
    assert!(disks > 40, "{disks}");

    // And the model finds it when one kind of sync is missing, for every kind that matters.
    let vault = place.disk().join("vault");
    let folder_of = |path: &Path, name: &str| path.strip_prefix(&vault).is_ok_and(|path| path.starts_with(name));
    for name in ["packs", "parts", "roots"] {
        let is_file = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains('#'));
        for drops_files in [true, false] {
            let drops = |path: &Path| folder_of(path, name) && is_file(path) == drops_files;
            let without = place.replay(&drops);
            assert!(without.synced.len() < disk.synced.len(), "{name} {drops_files}: nothing was left out");
            let found = cut_vault(&place, &without).await;
            assert!(found.is_err(), "{name}, files {drops_files}: a missing sync was not found");
        }
    }
    let header = place.replay(&|path| path.to_string_lossy().contains("longshore-vault.json#"));
    assert!(cut_vault(&place, &header).await.is_err());
    let roots = place.replay(&|path| path == vault);
    assert!(cut_vault(&place, &roots).await.is_err(), "the vault's own folder");
}

#[tokio::test]
async fn what_a_prune_leaves_survives_a_power_cut_at_any_moment() {
    let Some(mut place) = Place::new() else { return };
    place.back_up(&["recent_searches", "handbook.postgres_commands"]);
    place.back_up(&["recent_searches"]);
    place.delete(0);
    let first = place.prune();
    assert!(first.contains("\"action\": \"compact\""), "the pack that both share is rewritten: {first}");
    let second = place.prune();
    assert!(second.contains("\"action\": \"delete\""), "{second}");
    let disk = place.replay(&|_| false);
    let disks = cut_vault(&place, &disk).await.unwrap();
    // The moments are those of real processes and differ from run to run: 80 on one machine, some more on another.
    assert!(disks > 40, "{disks}");

    // The pack that was written anew must be durable, bytes and name, before the old one goes; and a tombstone before the
    // deletion is reported. Backups sync packs too, so only syncs of what the prune wrote are left out.
    let vault = place.disk().join("vault");
    let packs = below(&disk.after_cut(usize::MAX, Luck::Everything), "vault/packs").map(|(path, _)| path).collect();
    let packs: Vec<String> = packs;
    assert!(!packs.is_empty());
    let rewritten = |path: &Path| {
        let inside = path.strip_prefix(vault.join("packs")).ok().map(|path| path.to_string_lossy().into_owned());
        inside.is_some_and(|inside| packs.iter().any(|pack| inside.starts_with(pack)))
    };
    let its_folder = |path: &Path| packs.iter().any(|pack| vault.join("packs").join(pack).parent() == Some(path));
    let tombstones = |path: &Path| path == vault.join("withdrawn");
    let without = [
        ("bytes", place.replay(&rewritten)),
        ("names", place.replay(&its_folder)),
        ("tombstones", place.replay(&tombstones)),
    ];
    for (what, without) in without {
        assert!(without.synced.len() < disk.synced.len(), "{what}: nothing was left out");
        assert!(cut_vault(&place, &without).await.is_err(), "{what}: a missing sync was not found");
    }
}

/// Folders that hold a collection: those with a schema in them.
fn collections(image: &Image) -> BTreeSet<String> {
    image.keys().filter_map(|path| Some(path.strip_suffix("/schema.json")?.to_owned())).collect()
}

/// Says what is wrong with restored directories after a cut. `finished`: what must be there by collection folder.
fn target_fault(image: &Image, complete: &BTreeMap<String, Image>, finished: &[String]) -> Option<String> {
    for (folder, whole) in complete {
        let there: Image = below(image, folder).map(|(path, bytes)| (path, bytes.clone())).collect();
        if there.is_empty() && !finished.contains(folder) {
            continue;
        }
        for (path, bytes) in whole {
            match there.get(path) {
                None => return Some(format!("{folder} lacks {path}")),
                Some(found) if found != bytes => return Some(format!("{folder}/{path} has other bytes")),
                Some(_) => {}
            }
        }
    }
    None
}

fn cut_target(
    disk: &Disk,
    start: usize,
    complete: &BTreeMap<String, Image>,
    by_command: &[(usize, Vec<String>)],
) -> Result<usize, String> {
    let mut seen = HashSet::new();
    for luck in lucks() {
        for moment in disk.moments.iter().filter(|moment| **moment >= start) {
            let done = by_command.iter().filter(|(at, _)| at <= moment);
            let finished: Vec<String> = done.flat_map(|(_, folders)| folders.clone()).collect();
            let mut image = disk.after_cut(*moment, luck);
            image.retain(|path, _| !path.starts_with("vault/"));
            if !seen.insert((image_digest(&image), finished.len())) {
                continue;
            }
            if let Some(fault) = target_fault(&image, complete, &finished) {
                return Err(format!("cut at {moment}, {luck:?}: {fault}"));
            }
        }
    }
    Ok(seen.len())
}

#[tokio::test]
async fn what_was_reported_as_restored_survives_a_power_cut_at_any_moment_and_what_is_visible_is_whole() {
    let Some(mut place) = Place::new() else { return };
    place.back_up(&["recent_searches", "handbook.postgres_commands"]);
    let start = place.lines;
    let mut by_command = Vec::new();
    let mut before = BTreeSet::new();
    let everything = |place: &Place| place.replay(&|_| false).after_cut(usize::MAX, Luck::Everything);
    // Into a new directory, then beside what is there, then with a database that is new there.
    for arguments in [
        vec!["--to", "target", "--collection", "recent_searches"],
        vec!["--to", "target", "--collection", "recent_searches=again"],
        vec!["--to", "target", "--collection", "handbook.postgres_commands"],
    ] {
        let mut all = vec!["restore", "vault", "--quiet"];
        all.extend(arguments);
        place.run(&all);
        let now = collections(&everything(&place));
        let said = place.replay(&|_| false).said.last().expect("a restore says what it did").0;
        by_command.push((said, now.difference(&before).cloned().collect::<Vec<_>>()));
        before = now;
    }
    assert_eq!(by_command.iter().map(|(_, folders)| folders.len()).collect::<Vec<_>>(), [1, 1, 1], "{by_command:?}");
    let last = everything(&place);
    let complete: BTreeMap<String, Image> = before
        .into_iter()
        .map(|folder| {
            let files = below(&last, &folder).map(|(path, bytes)| (path, bytes.clone())).collect();
            (folder, files)
        })
        .collect();
    let disk = place.replay(&|_| false);
    let disks = cut_target(&disk, start, &complete, &by_command).unwrap();
    assert!(disks > 40, "{disks}");

    // Leaving out the sync of the files, or of the folder they are moved into, must be found.
    let is_file = |path: &Path| path.extension().is_some_and(|end| end == "parquet");
    assert!(cut_target(&place.replay(&is_file), start, &complete, &by_command).is_err(), "files");
    let parent = place.disk();
    assert!(cut_target(&place.replay(&|path| path == parent), start, &complete, &by_command).is_err(), "the parent");
    let inside = |path: &Path| path.file_name().is_some_and(|name| name == "collections");
    assert!(cut_target(&place.replay(&inside), start, &complete, &by_command).is_err(), "the folder of collections");
}
