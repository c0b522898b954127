#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use longshore_model::{Digest, PolicyKind};
use wasmtime::Engine;

use super::CodeCache;
use crate::Limits;

const KINDS: [PolicyKind; 2] = [PolicyKind::Selection, PolicyKind::Placement];

struct Place {
    folder: tempfile::TempDir,
    engine: Engine,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), engine: Engine::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("code")
    }

    fn cache(&self) -> CodeCache {
        CodeCache::new(&self.path(), &self.engine, &Limits::DEFAULT)
    }

    /// Entries without the key, in order of name.
    fn entries(&self) -> Vec<PathBuf> {
        let found = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = found.filter(|path| !path.ends_with("key")).collect();
        found.sort();
        found
    }
}

fn digest(number: u8) -> Digest {
    Digest::new([number; 32])
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn code_of(cache: &CodeCache, number: u8) -> Option<Vec<u8>> {
    cache.get(digest(number)).map(|cached| cached.code.bytes().to_vec())
}

#[test]
fn what_was_put_is_found_again_by_another_process() {
    let place = Place::new();
    assert!(code_of(&place.cache(), 1).is_none());
    assert!(!place.path().exists(), "looking makes no folder");
    place.cache().put(digest(1), &KINDS, b"machine code");
    let cached = place.cache().get(digest(1)).unwrap();
    assert_eq!(cached.code.bytes(), b"machine code");
    assert_eq!(cached.kinds, KINDS);
    assert!(code_of(&place.cache(), 2).is_none());
    assert_eq!(place.cache().trouble(), None);
}

#[test]
fn folder_key_and_entries_are_private() {
    let place = Place::new();
    place.cache().put(digest(1), &KINDS, b"code");
    assert_eq!(mode(&place.path()), 0o700);
    assert_eq!(mode(&place.path().join("key")), 0o600);
    assert_eq!(mode(&place.entries()[0]), 0o600);
}

#[test]
fn an_entry_with_any_byte_changed_or_missing_is_not_believed_and_is_replaced() {
    let place = Place::new();
    place.cache().put(digest(1), &KINDS, b"machine code");
    let path = place.entries().remove(0);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(code_of(&place.cache(), 1).is_none(), "byte {at} changed");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(code_of(&place.cache(), 1).is_none(), "cut at {at}");
    }
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert!(code_of(&place.cache(), 1).is_none());
    place.cache().put(digest(1), &KINDS, b"machine code");
    assert_eq!(code_of(&place.cache(), 1).unwrap(), b"machine code");
}

#[test]
fn an_entry_is_good_for_its_own_plugin_and_engine_only() {
    let place = Place::new();
    place.cache().put(digest(1), &KINDS, b"one");
    place.cache().put(digest(2), &KINDS, b"two");
    let entries = place.entries();
    std::fs::copy(&entries[0], &entries[1]).unwrap();
    assert!(code_of(&place.cache(), 2).is_none());
    let mut config = wasmtime::Config::new();
    config.consume_fuel(true);
    let other = Engine::new(&config).unwrap();
    let other = CodeCache::new(&place.path(), &other, &Limits::DEFAULT);
    assert!(code_of(&other, 1).is_none());
    assert_eq!(code_of(&place.cache(), 1).unwrap(), b"one");
}

#[test]
fn an_entry_made_under_another_key_is_not_believed() {
    let (place, elsewhere) = (Place::new(), Place::new());
    place.cache().put(digest(1), &KINDS, b"mine");
    elsewhere.cache().put(digest(1), &KINDS, b"theirs");
    std::fs::copy(&elsewhere.entries()[0], &place.entries()[0]).unwrap();
    assert!(code_of(&place.cache(), 1).is_none());
}

#[test]
fn a_key_or_an_entry_that_others_can_read_or_that_is_no_file_is_not_used() {
    for (name, wrong) in [("key", 0o640), ("key", 0o604), ("entry", 0o644), ("entry", 0o620)] {
        let place = Place::new();
        place.cache().put(digest(1), &KINDS, b"code");
        let key = std::fs::read(place.path().join("key")).unwrap();
        let path = if name == "key" { place.path().join("key") } else { place.entries().remove(0) };
        set_mode(&path, wrong);
        assert!(code_of(&place.cache(), 1).is_none(), "{name} {wrong:o}");
        place.cache().put(digest(1), &KINDS, b"code");
        assert_eq!(code_of(&place.cache(), 1).unwrap(), b"code", "{name} {wrong:o}");
        assert_eq!(mode(&path), 0o600);
        let same = std::fs::read(place.path().join("key")).unwrap() == key;
        assert_eq!(same, name == "entry", "a key others could read is not used again");
    }
    let place = Place::new();
    place.cache().put(digest(1), &KINDS, b"code");
    let path = place.entries().remove(0);
    std::fs::rename(&path, place.folder.path().join("moved")).unwrap();
    symlink(place.folder.path().join("moved"), &path).unwrap();
    assert!(code_of(&place.cache(), 1).is_none(), "a link is not followed");
}

#[test]
fn a_folder_that_others_could_look_into_is_closed_and_its_entries_are_dropped() {
    let place = Place::new();
    place.cache().put(digest(1), &KINDS, b"code");
    std::fs::write(place.path().join("notes.txt"), "not ours").unwrap();
    set_mode(&place.path(), 0o755);
    assert!(code_of(&place.cache(), 1).is_none());
    assert_eq!(mode(&place.path()), 0o700);
    assert_eq!(place.entries(), [place.path().join("notes.txt")], "what others put there is left alone");
}

#[test]
fn a_cache_that_cannot_be_used_says_why_and_nothing_fails() {
    let place = Place::new();
    std::fs::write(place.path(), "a file where the folder should be").unwrap();
    let cache = place.cache();
    cache.put(digest(1), &KINDS, b"code");
    assert!(cache.trouble().unwrap().contains("not kept in"), "{:?}", cache.trouble());
    assert!(code_of(&cache, 1).is_none());
}

#[test]
fn the_entries_that_were_not_used_for_longest_go_first() {
    let place = Place::new();
    let limits = Limits { code_cache_entries: 3, ..Limits::DEFAULT };
    let cache = CodeCache::new(&place.path(), &place.engine, &limits);
    for number in 1..=3 {
        cache.put(digest(number), &KINDS, b"code");
        // Older than anything that happens now, in the order they were put.
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
        let path =
            place.entries().into_iter().find(|path| path.to_string_lossy().contains(&digest(number).to_string()));
        std::fs::File::options().write(true).open(path.unwrap()).unwrap().set_modified(long_ago).unwrap();
    }
    assert!(code_of(&cache, 1).is_some(), "used now, so the second is the one that was not used for longest");
    cache.put(digest(4), &KINDS, b"code");
    let there: Vec<bool> = (1..=4).map(|number| code_of(&cache, number).is_some()).collect();
    assert_eq!(there, [true, false, true, true]);
}

#[test]
fn too_many_bytes_are_bounded_and_a_very_large_plugin_is_not_kept() {
    let place = Place::new();
    let limits = Limits { code_cache_bytes: 2_000, code_cache_entry_bytes: 1_000, ..Limits::DEFAULT };
    let cache = CodeCache::new(&place.path(), &place.engine, &limits);
    for number in 1..=5 {
        cache.put(digest(number), &KINDS, &[number; 900]);
    }
    assert_eq!(place.entries().len(), 2);
    cache.put(digest(9), &KINDS, &[9; 1_001]);
    assert!(code_of(&cache, 9).is_none());
}

#[test]
fn many_at_once_find_whole_entries_or_none() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..50_u8 {
                    let cache = place.cache();
                    let number = round % 5;
                    cache.put(digest(number), &KINDS, &vec![number; 10_000]);
                    if let Some(code) = code_of(&cache, number) {
                        assert_eq!(code, vec![number; 10_000]);
                    }
                    assert_eq!(cache.trouble(), None);
                }
            });
        }
    });
    for number in 0..5 {
        place.cache().put(digest(number), &KINDS, b"code");
        assert!(code_of(&place.cache(), number).is_some());
    }
    assert!(place.entries().iter().all(|path| !path.to_string_lossy().contains("partial")));
}
