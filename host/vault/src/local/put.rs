//! Writes one object into a folder: whole or not at all, and durable when it returns.
//!
//! The order is what makes it durable: the bytes are written beside their place and synchronised before they get their
//! name, so that no power cut leaves a name with half an object; then the folder with the new name is synchronised, and
//! every folder above it whose entry may not be durable. On a journalling file system a folder that was just made goes to
//! disk with the bytes of the object, so making it is not synchronised on its own.
//!
//! Failure: [`std::io::Error`]. What was not finished is removed, or is left under a name with `#` that no list shows.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::PutPayload;

use super::direct;

/// Names that are tried for an unfinished file before it is given up: each is taken by another writer, or was left by one
/// that was killed.
const STAGED_NAMES: u32 = 10_000;

/// Whether an object may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is replaced.
    Overwrite,
    /// It must not be there: [`ErrorKind::AlreadyExists`].
    Create,
}

/// The folders of one store whose entries in the folder above are known to be durable.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Folders {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, durable: Arc::default() }
    }

    /// Synchronises the entries of `folder`, and of every folder between it and the root that may not be durable. Another
    /// writer may have made one of them a moment ago, and nobody may have synchronised it yet.
    pub(super) fn sync(&self, folder: &Path) -> std::io::Result<()> {
        sync_folder(folder)?;
        self.sync_above(folder)
    }

    /// The same for the folders above `folder` alone.
    pub(super) fn sync_above(&self, folder: &Path) -> std::io::Result<()> {
        let (mut entry, mut synced) = (folder, Vec::new());
        while entry != self.root && !self.is_durable(entry) {
            let Some(above) = entry.parent().filter(|above| above.starts_with(&self.root)) else { break };
            // What is in the root is nearly always older than this process: all of it counts after one look.
            if above == self.root {
                synced.extend(folders_in(above)?);
            }
            sync_folder(above)?;
            synced.push(entry.to_owned());
            entry = above;
        }
        // Only now: whoever finds a folder here looks no further up, so all above it must be durable, too.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).extend(synced);
        Ok(())
    }

    fn is_durable(&self, folder: &Path) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }
}

/// Writes an object. See the module.
pub(super) fn put(folders: &Folders, place: &Path, payload: &PutPayload, mode: Mode) -> std::io::Result<()> {
    let folder = place.parent().ok_or(ErrorKind::InvalidInput)?;
    let (mut file, staged) = stage(place, folder)?;
    let written = write(&mut file, &staged, payload).and_then(|()| file.sync_all());
    drop(file);
    let published = written.and_then(|()| publish(&staged, place, mode));
    if published.is_err() {
        // What counts is the first failure; a file that cannot be removed is shown by no list.
        let _ = std::fs::remove_file(&staged);
    }
    published?;
    folders.sync(folder)
}

/// Bytes handed to the system per write. Writes of several megabytes make ext4 look for page-cache blocks as large, and
/// cost two to eight times the system time of these (measured on Linux 6, 700 MB, cold buffers).
pub(super) const WRITE_BYTES: usize = 128 * 1024;

/// Writes all bytes of an object to a new file.
fn write(file: &mut File, staged: &Path, payload: &PutPayload) -> std::io::Result<()> {
    if payload.content_length() >= direct::LEAST_BYTES {
        if direct::write(staged, payload)? {
            return Ok(());
        }
        file.set_len(0)?;
    }
    payload.iter().flat_map(|piece| piece.chunks(WRITE_BYTES)).try_for_each(|piece| file.write_all(piece))
}

/// A new file beside its place; makes the folder if it is missing.
fn stage(place: &Path, folder: &Path) -> std::io::Result<(File, PathBuf)> {
    for number in 1..=STAGED_NAMES {
        let mut staged = place.as_os_str().to_owned();
        staged.push(format!("#{number}"));
        let staged = PathBuf::from(staged);
        let open = || OpenOptions::new().write(true).create_new(true).open(&staged);
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(folder)?;
                open()
            }
            opened => opened,
        };
        match opened {
            Ok(file) => return Ok((file, staged)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(
        "thousands of unfinished files of the same name lie beside it; remove those with # in their name",
    ))
}

/// Gives a finished file its name.
fn publish(staged: &Path, place: &Path, mode: Mode) -> std::io::Result<()> {
    if mode == Mode::Overwrite {
        return std::fs::rename(staged, place);
    }
    match std::fs::hard_link(staged, place) {
        Ok(()) => {
            // Synchronised with the folder or not: if it comes back after a power cut, it is an unfinished file.
            let _ = std::fs::remove_file(staged);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // File systems without hard links (exFAT, some network mounts): nobody holds the name, a rename does as well.
        Err(error) => match std::fs::symlink_metadata(place) {
            Err(absent) if absent.kind() == ErrorKind::NotFound => std::fs::rename(staged, place),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => Err(error),
        },
    }
}

pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folders_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_object_is_created_once_and_replaced_as_often_as_one_likes() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::new(root.path().to_owned());
        let place = root.path().join("parts/one/a.json");
        put(&folders, &place, &"first".into(), Mode::Create).unwrap();
        let again = put(&folders, &place, &"second".into(), Mode::Create).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place).unwrap(), b"first");
        put(&folders, &place, &"third".into(), Mode::Overwrite).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"third");
        assert_eq!(names(place.parent().unwrap()), ["a.json"], "nothing unfinished is left");
    }

    #[test]
    fn large_objects_are_whole_on_any_file_system() {
        // The second folder is in memory on most machines, where writes past the page cache may not be had.
        let folders = [tempfile::tempdir().ok(), tempfile::tempdir_in("/dev/shm").ok()];
        for root in folders.into_iter().flatten() {
            let bytes: Vec<u8> = (0..3 * direct::LEAST_BYTES + 77).map(|place| (place / 5) as u8).collect();
            let place = root.path().join("packs/ab/large");
            let folders = Folders::new(root.path().to_owned());
            put(&folders, &place, &bytes.clone().into(), Mode::Overwrite).unwrap();
            assert!(std::fs::read(&place).unwrap() == bytes);
            assert_eq!(names(place.parent().unwrap()), ["large"]);
        }
    }

    #[test]
    fn a_name_that_a_killed_writer_left_is_not_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::new(root.path().to_owned());
        let place = root.path().join("a.json");
        std::fs::write(root.path().join("a.json#1"), "half").unwrap();
        put(&folders, &place, &"whole".into(), Mode::Create).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"whole");
        assert_eq!(names(root.path()), ["a.json", "a.json#1"]);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::new(root.path().to_owned());
        // A folder holds the name: neither a rename nor a link can take it.
        let place = root.path().join("taken");
        std::fs::create_dir_all(place.join("inside")).unwrap();
        put(&folders, &place, &"x".into(), Mode::Overwrite).unwrap_err();
        put(&folders, &place, &"x".into(), Mode::Create).unwrap_err();
        assert_eq!(names(root.path()), ["taken"]);
        std::fs::write(root.path().join("file"), "x").unwrap();
        put(&folders, &root.path().join("file/below"), &"x".into(), Mode::Create).unwrap_err();
    }

    #[test]
    fn folders_are_known_to_be_durable_once_the_one_above_was_synchronised() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("roots")).unwrap();
        let folders = Folders::new(root.path().to_owned());
        let of = |path: &str| folders.is_durable(&root.path().join(path));
        put(&folders, &root.path().join("parts/one/a"), &"x".into(), Mode::Create).unwrap();
        assert!(of("parts") && of("parts/one") && of("roots"));
        assert!(!of("parts/two") && !of("roots/one"), "they were not there");
    }
}
