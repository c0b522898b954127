//! Reads the directories that members of chains were granted, once per run.
//!
//! Contract: all reading goes through cap-std below the granted directory, so a link can lead nowhere else. Regular files
//! are read whole, also through a link; a link to a directory inside is passed over, because what it leads to is read
//! under its own name. What a run read holds for all of it, whatever happens to the files meanwhile.
//!
//! Failure: [`EngineError::File`] naming the file, for what is neither file nor directory, for a link that leads outside
//! or nowhere, for a name that is not UTF-8, and for more than the `granted_…` limits of the sandbox. Nothing is left
//! out silently: a policy without one of its rules would decide otherwise.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use longshore_policy::{GrantedFiles, Grants, PolicySet};
use longshore_sandbox::Limits;

use crate::EngineError;

/// The policies of one run: members that were granted directories see copies of the files as they are now.
///
/// # Errors
/// As [`read_grants`].
pub(crate) fn read_for_run(set: &PolicySet) -> Result<PolicySet, EngineError> {
    let mut read: BTreeMap<Grants, GrantedFiles> = BTreeMap::new();
    set.with_files(|grants| {
        // Members with the same grants see the same copy.
        if let Some(files) = read.get(grants) {
            return Ok(files.clone());
        }
        let files = read_grants(grants)?;
        read.insert(grants.clone(), files.clone());
        Ok(files)
    })
}

/// Reads the files of granted directories.
///
/// # Errors
/// [`EngineError::File`] with the file and what is wrong with it.
pub fn read_grants(grants: &Grants) -> Result<GrantedFiles, EngineError> {
    let mut left = Left { entries: Limits::DEFAULT.granted_files, bytes: Limits::DEFAULT.granted_bytes };
    let mut directories = BTreeMap::new();
    let mut place = PathBuf::new();
    for grant in &grants.read {
        let dir = Dir::open_ambient_dir(&grant.host, ambient_authority())
            .map_err(|error| wrong(&grant.host, format!("cannot be read for a policy: {error}")))?;
        let mut files = BTreeMap::new();
        Walk { host: &grant.host, left: &mut left, files: &mut files }.directory(&dir, "", 0)?;
        directories.insert(grant.guest.clone(), files);
        place.clone_from(&grant.host);
    }
    GrantedFiles::new(directories).map_err(|error| wrong(&place, error))
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> EngineError {
    EngineError::file(path, format!("{why}; it is granted to a policy by `grants.read`"))
}

/// What may still be read.
struct Left {
    /// Files, directories and links: a tree of empty directories ends, too.
    entries: usize,
    bytes: usize,
}

/// The walk through one granted directory.
struct Walk<'a> {
    host: &'a Path,
    left: &'a mut Left,
    files: &'a mut BTreeMap<String, Vec<u8>>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Dir, path: &str, level: usize) -> Result<(), EngineError> {
        if level >= Limits::DEFAULT.granted_levels {
            let most = Limits::DEFAULT.granted_levels;
            return Err(self.wrong(path, format!("lies deeper than {most} levels")));
        }
        let failed = |error| self.wrong(path, format!("cannot be listed: {error}"));
        for entry in dir.entries().map_err(failed)? {
            let entry = entry.map_err(|error| self.wrong(path, format!("cannot be listed: {error}")))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(
                    self.wrong(&below(path, &name.to_string_lossy()), "has a name that is not UTF-8".to_owned())
                );
            };
            let at = below(path, name);
            self.count(&at)?;
            let linked = entry.file_type().map_err(|error| self.unreadable(&at, &error))?.is_symlink();
            let metadata = dir.metadata(name).map_err(|error| self.unreadable(&at, &error))?;
            if metadata.is_dir() && linked {
                continue;
            } else if metadata.is_dir() {
                let inner = dir.open_dir(name).map_err(|error| self.unreadable(&at, &error))?;
                self.directory(&inner, &at, level + 1)?;
            } else if metadata.is_file() {
                let bytes = self.file(dir, name, &at)?;
                self.files.insert(at, bytes);
            } else {
                return Err(self.wrong(&at, "is neither a file nor a directory".to_owned()));
            }
        }
        Ok(())
    }

    fn count(&mut self, at: &str) -> Result<(), EngineError> {
        let Some(entries) = self.left.entries.checked_sub(1) else {
            let most = Limits::DEFAULT.granted_files;
            return Err(
                self.wrong(at, format!("is one more than the {most} files and directories that may be granted"))
            );
        };
        self.left.entries = entries;
        Ok(())
    }

    fn file(&mut self, dir: &Dir, name: &str, at: &str) -> Result<Vec<u8>, EngineError> {
        // Not blocking: a pipe that took the file's name since it was looked at must not hold up a backup.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = dir.open_with(name, &options).map_err(|error| self.unreadable(at, &error))?;
        let mut bytes = Vec::new();
        // One byte more than what is left tells exactly as much from more.
        let most_bytes = u64::try_from(self.left.bytes).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most_bytes).read_to_end(&mut bytes).map_err(|error| self.unreadable(at, &error))?;
        let Some(left) = self.left.bytes.checked_sub(bytes.len()) else {
            let more = format!("goes over the {} bytes that may be granted in all", Limits::DEFAULT.granted_bytes);
            return Err(self.wrong(at, more));
        };
        self.left.bytes = left;
        Ok(bytes)
    }

    fn unreadable(&self, at: &str, error: &std::io::Error) -> EngineError {
        let why = match error.kind() {
            ErrorKind::NotFound => "leads nowhere, or was removed just now".to_owned(),
            ErrorKind::PermissionDenied => format!("leads out of the granted directory, or may not be read: {error}"),
            _ => format!("cannot be read: {error}"),
        };
        self.wrong(at, why)
    }

    fn wrong(&self, at: &str, why: String) -> EngineError {
        let path = if at.is_empty() { self.host.to_owned() } else { self.host.join(at) };
        wrong(&path, why)
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
mod tests;
