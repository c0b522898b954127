//! A private folder: files in it belong to this user alone and are replaced as wholes.
//!
//! All access goes through the folder's descriptor, which was checked, so that the path cannot be swapped meanwhile.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

const PRIVATE_FOLDER: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An opened folder that nobody else can write to or look into.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder; `None` if it is not there and is not to be made.
    ///
    /// # Errors
    /// When it is another user's, no folder, or cannot be opened.
    pub(super) fn open(path: &Path, make: bool) -> Result<Option<Self>> {
        if make {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(PRIVATE_FOLDER.as_raw_mode()).create(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) if !make => return Ok(None),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&opened)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Error::new(ErrorKind::PermissionDenied, "the folder belongs to another user"));
        }
        let folder = Self(opened);
        if !is_private(&stat) {
            // Others may have read the key or put entries here: with the key every entry loses its worth.
            rustix::fs::fchmod(&folder.0, PRIVATE_FOLDER)?;
            folder.remove_all()?;
        }
        Ok(Some(folder))
    }

    /// The bytes of a file. `None` if it is missing, longer than this, or not private to this user.
    pub(super) fn read(&self, name: &str, most_bytes: u64) -> Result<Option<Vec<u8>>> {
        // Not blocking: what lies there might be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&opened)?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let own = stat.st_uid == rustix::process::geteuid().as_raw() && is_private(&stat);
        // The head of an entry comes on top of the limit for its code.
        if !is_file || !own || size > most_bytes.saturating_add(64) {
            return Ok(None);
        }
        // The time of the last use decides what has to go when there are too many. Nothing depends on it being noted.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = rustix::fs::futimens(&opened, &Timestamps { last_access: now, last_modification: now });
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        std::fs::File::from(opened).take(size).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts a file in the place of what has that name. Not synced: a torn file has a wrong MAC and is replaced.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Error::other(error.to_string()))?;
        let partial = format!("partial-{:016x}", u64::from_le_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.0, &partial, flags, PRIVATE_FILE)?;
        let written = std::fs::File::from(opened).write_all(bytes).and_then(|()| {
            rustix::fs::renameat(&self.0, &partial, &self.0, name)?;
            Ok(())
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.0, &partial, AtFlags::empty());
        }
        written
    }

    /// Removes what was not used for longest until there are at most so many files and bytes; the key does not count.
    pub(super) fn bound(&self, most_files: usize, most_bytes: u64) -> Result<()> {
        let mut files = self.files()?;
        files.retain(|file| file.name != super::KEY_FILE);
        files.sort_by_key(|file| file.used);
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let mut count = files.len();
        for file in files {
            if count <= most_files && bytes <= most_bytes {
                break;
            }
            self.remove(&file.name)?;
            count -= 1;
            bytes -= file.bytes;
        }
        Ok(())
    }

    fn remove_all(&self) -> Result<()> {
        self.files()?.iter().try_for_each(|file| self.remove(&file.name))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            // Another process was faster.
            Err(Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn files(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for item in Dir::read_from(&self.0)? {
            let name = item?.file_name().to_string_lossy().into_owned();
            let Ok(stat) = rustix::fs::statat(&self.0, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory && is_ours(&name) {
                let used = (stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0));
                found.push(Found { name, used, bytes: u64::try_from(stat.st_size).unwrap_or(0) });
            }
        }
        Ok(found)
    }
}

/// True for the names this cache gives: whatever else lies in the folder is left alone.
fn is_ours(name: &str) -> bool {
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.split_once('-') {
        Some(("partial", random)) => hex(random, 16),
        Some((digest, engine)) => hex(digest, 64) && hex(engine, 16),
        None => name == super::KEY_FILE,
    }
}

/// A file of the folder.
struct Found {
    name: String,
    /// Seconds and nanoseconds of its last use.
    used: (i64, i64),
    bytes: u64,
}

/// Nobody but the owner may do anything with it.
fn is_private(stat: &Stat) -> bool {
    !Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO)
}
