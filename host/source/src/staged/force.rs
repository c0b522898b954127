//! Staged files, forced to disk before anything of them is moved into place.
//!
//! Contract: when [`force`] has answered, every file that it was told of survives a power cut as it was written, and so do the
//! folders that name it, up to the root; or an error was answered. Whoever renames what was staged does so afterwards: a name
//! must not be on disk before what it stands for.
//!
//! The whole file system is synchronised at once only where that is known to say the same as one fsync(2) for each file and
//! folder: where there is a [`WholeFileSystem`]. Elsewhere syncfs(2) may answer before the data is on disk, or be silent about
//! data that could not be written.

use std::collections::BTreeSet;

use super::WholeFileSystem;
use crate::SourceError;
use crate::disk::{Folder, io_error};

/// From more than this number of files on, the whole file system is synchronised at once, or several threads synchronise them.
const MANY_FILES: usize = 500;
/// Threads that do.
const FORCING_THREADS: usize = 4;

/// What is to be forced to disk, by paths below the root.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) files: Vec<String>,
    /// Those above them need no mention.
    pub(crate) folders: BTreeSet<String>,
}

/// Forces so many files, and the folders that name them, to disk: at once where there are many and that can be relied on,
/// because each single call waits for the disk (18,000 of them took one of three seconds); else one by one. Only then are
/// they listed. Blocks.
///
/// # Errors
/// When one of them is gone or not on disk.
pub(crate) fn force(
    root: &Folder,
    whole: Option<&WholeFileSystem>,
    count: usize,
    written: impl FnOnce() -> Written,
) -> Result<(), SourceError> {
    match whole {
        Some(whole) if count > MANY_FILES => whole.force(),
        _ => one_by_one(root, &written()),
    }
}

fn one_by_one(root: &Folder, Written { files, folders }: &Written) -> Result<(), SourceError> {
    let force = |paths: &[String]| {
        paths.iter().try_for_each(|path| {
            let synced = root.dir.open(path).and_then(|file| file.sync_all());
            synced.map_err(|error| io_error("synchronise", &root.show(path), error))
        })
    };
    let share = files.len().div_ceil(if files.len() > MANY_FILES { FORCING_THREADS } else { 1 }).max(1);
    let stopped = |_| Err(SourceError::Cancelled);
    std::thread::scope(|scope| {
        let (first, others) = files.split_at(share.min(files.len()));
        let others: Vec<_> = others.chunks(share).map(|share| scope.spawn(move || force(share))).collect();
        let first = force(first);
        others.into_iter().fold(first, |all, one| all.and(one.join().unwrap_or_else(stopped)))
    })?;
    force_folders(root, folders.iter().map(String::as_str))
}

/// Forces folders, those above them and the root to disk. Blocks.
///
/// # Errors
/// When one of them is gone or not on disk.
pub(crate) fn force_folders<'a>(root: &Folder, folders: impl Iterator<Item = &'a str>) -> Result<(), SourceError> {
    for folder in with_parents(folders) {
        let gone = || io_error("synchronise", &root.show(folder), std::io::ErrorKind::NotFound.into());
        root.folder(folder)?.ok_or_else(gone)?.sync()?;
    }
    root.sync()
}

/// The same folders and all above them but for the root.
fn with_parents<'a>(folders: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    for folder in folders {
        let mut path = Some(folder);
        while let Some(folder) = path {
            all.insert(folder);
            path = folder.rsplit_once('/').map(|(parent, _)| parent);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    /// So many files in two folders, made in a folder.
    fn many(root: &Path, count: usize) -> Written {
        let files: Vec<String> = (0..count).map(|number| format!("a/b{}/{number}", number % 2)).collect();
        for folder in ["a/b0", "a/b1"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in &files {
            std::fs::write(root.join(file), "bytes").unwrap();
        }
        Written { files, folders: ["a/b0", "a/b1"].map(str::to_owned).into() }
    }

    #[test]
    fn a_whole_file_system_is_forced_for_many_files_and_then_no_file_is_listed() {
        let here = tempfile::tempdir().unwrap();
        let root = Folder::at(here.path());
        let (well, broken) = (WholeFileSystem::unchecked(&root), WholeFileSystem::broken(&root));
        force(&root, Some(&well), MANY_FILES + 1, || panic!("they are not needed")).unwrap();
        let error = force(&root, Some(&broken), MANY_FILES + 1, || panic!("they are not needed")).unwrap_err();
        assert!(matches!(error, SourceError::Io { action: "synchronise", .. }), "{error}");
        // Few files: the whole is not asked, and what is missing is noticed.
        force(&root, Some(&broken), MANY_FILES, || many(here.path(), MANY_FILES)).unwrap();
    }

    #[test]
    fn each_file_and_each_folder_is_opened_where_the_whole_cannot_be_relied_on() {
        for count in [1, 7, MANY_FILES, MANY_FILES + 3] {
            let here = tempfile::tempdir().unwrap();
            let root = Folder::at(here.path());
            let written = || many(here.path(), count);
            force(&root, None, count, written).unwrap();
            for gone in [0, count / 2, count - 1] {
                let missing = || {
                    let written = written();
                    std::fs::remove_file(here.path().join(&written.files[gone])).unwrap();
                    written
                };
                let error = force(&root, None, count, missing).unwrap_err();
                assert!(matches!(error, SourceError::Io { action: "synchronise", .. }), "{gone} of {count}: {error}");
                assert!(error.to_string().contains(&written().files[gone]), "{gone} of {count}: {error}");
            }
            let missing = || {
                let mut written = written();
                written.folders.insert("a/c".to_owned());
                written
            };
            let error = force(&root, None, count, missing).unwrap_err();
            assert!(error.to_string().contains("a/c"), "{error}");
        }
    }

    #[test]
    fn folders_come_with_those_above_them() {
        let all = with_parents(["a/b/c", "a/d", "e"].into_iter());
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "a/b", "a/b/c", "a/d", "e"]);
    }
}
