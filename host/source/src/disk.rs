//! Folders and files below one root, opened so that no symlink, device or pipe in them can do harm.
//!
//! Every path goes through cap-std: a link that leads out of the folder it is opened from is
//! [`SourceError::LeadsOutside`]. "Not there" is `None`, not an error, because what is missing means different things in
//! different places.

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _, ReadDir};

use crate::{FileIdentity, SourceError};

/// What the system says about a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) modified_ns: i64,
    pub(crate) changed_ns: i64,
    pub(crate) is_file: bool,
    pub(crate) is_dir: bool,
}

/// Seconds and nanoseconds as nanoseconds since 1970, at the ends of the range when they do not fit.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            is_file: metadata.is_file(),
            is_dir: metadata.is_dir(),
        }
    }

    fn of_file(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            is_file: metadata.is_file(),
            is_dir: metadata.is_dir(),
        }
    }

    fn of_name(stat: &rustix::fs::Stat) -> Self {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed_ns: nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            is_file: kind.is_file(),
            is_dir: kind.is_dir(),
        }
    }

    /// What makes a file at `path` of `source` the same file in a later backup.
    pub(crate) fn identity(&self, source: &str, path: String) -> FileIdentity {
        FileIdentity {
            source: source.to_owned(),
            path,
            device: self.device,
            inode: self.inode,
            size_bytes: self.size_bytes,
            modified_ns: self.modified_ns,
            changed_ns: self.changed_ns,
            tag: None,
        }
    }

    /// Whether both are the same file or folder, whatever is in it.
    pub(crate) fn same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Bytes that can be read at a position, without a position of their own.
pub(crate) trait ReadAt {
    /// Fills `buffer` from `offset`; fails when fewer bytes are there.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for std::fs::File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A regular file, held open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: std::fs::File,
    /// As it was when it was opened.
    pub(crate) stat: Stat,
    /// Its path, for messages.
    pub(crate) shown: String,
}

impl OpenFile {
    /// Looks at the file again, through the descriptor.
    pub(crate) fn stat_now(&self) -> Result<Stat, SourceError> {
        let metadata = self.file.metadata().map_err(|error| io_error("look at", &self.shown, error))?;
        Ok(Stat::of_file(&metadata))
    }

    /// Reads so many bytes into memory of their own, which is not cleared before.
    pub(crate) fn read_new(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset.saturating_add(bytes.len() as u64);
            // What the heap gave beyond the length that was asked for would be filled, too.
            let read = match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Err(rustix::io::Errno::INTR) => continue,
                read => read?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads the whole file, which must not be longer than `limit_bytes`.
    pub(crate) fn read_all(&self, limit_bytes: u64) -> Result<Vec<u8>, SourceError> {
        let size_bytes = self.stat_now()?.size_bytes;
        if size_bytes > limit_bytes {
            let (path, what) = (self.shown.clone(), "its size in bytes");
            return Err(SourceError::LimitExceeded { path, what, used: size_bytes, limit: limit_bytes });
        }
        let length = usize::try_from(size_bytes).unwrap_or(usize::MAX);
        self.read_new(0, length).map_err(|error| io_error("read", &self.shown, error))
    }
}

/// A folder, held open.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: Dir,
    /// Its path, for messages.
    pub(crate) shown: String,
}

impl Folder {
    /// A folder for a test.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(crate) fn at(path: &std::path::Path) -> Self {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap();
        Self { dir, shown: path.display().to_string() }
    }

    /// The path of something in it, for messages.
    pub(crate) fn show(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }

    /// Looks at the folder itself.
    pub(crate) fn stat_self(&self) -> Result<Stat, SourceError> {
        self.dir.dir_metadata().map(|m| Stat::of(&m)).map_err(|error| io_error("look at", &self.shown, error))
    }

    /// Looks at what a path leads to.
    pub(crate) fn stat(&self, path: &str) -> Result<Option<Stat>, SourceError> {
        // A name without folders cannot lead out of this one unless it is a link: one call instead of cap-std's three, for
        // tens of thousands of files.
        if !path.contains('/') && path != ".." {
            let found =
                rustix::fs::statat(&self.dir, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
            match there(found) {
                Ok(Some(found)) if !rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink() => {
                    return Ok(Some(Stat::of_name(&found)));
                }
                Ok(None) => return Ok(None),
                // Links, and whatever is wrong, are for cap-std.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        there(self.dir.metadata(path))
            .map(|m| m.map(|m| Stat::of(&m)))
            .map_err(|e| io_error("look at", &self.show(path), e))
    }

    /// Whether there is something of this name in a folder that was just listed in this one.
    pub(crate) fn has(&self, folder: &str, name: &str) -> Result<bool, SourceError> {
        let path = format!("{folder}/{name}");
        // One call for each of thousands of collections. Where the folder is a link this tells at most that something is
        // there; what opens it later goes through cap-std.
        match there(
            rustix::fs::statat(&self.dir, &path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from),
        ) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => Err(io_error("look at", &self.show(&path), error)),
        }
    }

    /// When something was created, where the file system knows, in milliseconds since 1970.
    pub(crate) fn created_ms(&self) -> Option<i64> {
        let created = self.dir.dir_metadata().ok()?.created().ok()?.into_std();
        let since = created.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Opens a folder below this one.
    pub(crate) fn folder(&self, path: &str) -> Result<Option<Self>, SourceError> {
        let shown = self.show(path);
        match there(self.dir.open_dir(path)) {
            Ok(dir) => Ok(dir.map(|dir| Self { dir, shown })),
            Err(error) => Err(io_error("open", &shown, error)),
        }
    }

    /// Opens a regular file for reading. Never waits: what is no regular file (a pipe, say) is an error.
    pub(crate) fn file(&self, path: &str) -> Result<Option<OpenFile>, SourceError> {
        let shown = self.show(path);
        let mut options = OpenOptions::new();
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        options.read(true).custom_flags(i32::try_from(flags).unwrap_or(0));
        let file = match there(self.dir.open_with(path, &options)) {
            Ok(Some(file)) => file.into_std(),
            Ok(None) => return Ok(None),
            Err(error) => return Err(io_error("open", &shown, error)),
        };
        let stat = Stat::of_file(&file.metadata().map_err(|error| io_error("look at", &shown, error))?);
        if !stat.is_file {
            return Err(SourceError::Damaged { path: shown, reason: "it is not a regular file".to_owned() });
        }
        Ok(Some(OpenFile { file, stat, shown }))
    }

    /// Opens a regular file that was seen there.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for one that is gone; as [`Folder::file`].
    pub(crate) fn seen_file(&self, path: &str) -> Result<OpenFile, SourceError> {
        let gone = || SourceError::Damaged { path: self.show(path), reason: "it is gone".to_owned() };
        self.file(path)?.ok_or_else(gone)
    }

    /// Names of the entries, sorted.
    pub(crate) fn names(&self, limit: u64) -> Result<Vec<String>, SourceError> {
        self.entries(limit, |_, _| Ok(true))
    }

    /// Names of the entries of a folder below this one, sorted.
    pub(crate) fn names_in(&self, path: &str, limit: u64) -> Result<Option<Vec<String>>, SourceError> {
        let shown = self.show(path);
        match there(self.dir.read_dir(path)) {
            Ok(Some(entries)) => listed(entries, &shown, limit, |_, _| Ok(true)).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(io_error("list", &shown, error)),
        }
    }

    /// Names of the folders in it, sorted. A link counts as what it leads to.
    pub(crate) fn folders(&self, limit: u64) -> Result<Vec<String>, SourceError> {
        self.entries(limit, |name, entry| match entry.file_type() {
            // Mostly the listing itself says what an entry is, which saves looking at each of thousands.
            Ok(kind) if !kind.is_symlink() => Ok(kind.is_dir()),
            _ => Ok(self.stat(name)?.is_some_and(|stat| stat.is_dir)),
        })
    }

    fn entries(
        &self,
        limit: u64,
        keep: impl Fn(&str, &DirEntry) -> Result<bool, SourceError>,
    ) -> Result<Vec<String>, SourceError> {
        let entries = self.dir.entries().map_err(|error| io_error("list", &self.shown, error))?;
        listed(entries, &self.shown, limit, keep)
    }

    /// Forces the folder's list of entries to disk.
    pub(crate) fn sync(&self) -> Result<(), SourceError> {
        // The folder's own descriptor may be one that only names it, which cannot be synchronised.
        let opened = self.dir.open(".").and_then(|file| file.sync_all());
        opened.map_err(|error| io_error("synchronise", &self.shown, error))
    }
}

/// Names of the entries that are to be kept, sorted.
fn listed(
    entries: ReadDir,
    shown: &str,
    limit: u64,
    keep: impl Fn(&str, &DirEntry) -> Result<bool, SourceError>,
) -> Result<Vec<String>, SourceError> {
    let (mut names, mut used) = (Vec::new(), 0);
    for entry in entries {
        let entry = entry.map_err(|error| io_error("list", shown, error))?;
        used += 1;
        if used > limit {
            let path = shown.to_owned();
            return Err(SourceError::LimitExceeded { path, what: "the number of its entries", used, limit });
        }
        let name = entry.file_name().into_string().map_err(|name| SourceError::Damaged {
            path: shown.to_owned(),
            reason: format!("it holds the name {name:?}, which is not UTF-8"),
        })?;
        if keep(&name, &entry)? {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `None` for what is not there, be it the last component or one on the way.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sorts an error of the system into the errors of this crate.
pub(crate) fn io_error(action: &'static str, path: &str, error: io::Error) -> SourceError {
    let path = path.to_owned();
    match error.raw_os_error() {
        // cap-std reports an attempt to leave the folder as an error of its own, without a number.
        None if error.kind() == io::ErrorKind::PermissionDenied => SourceError::LeadsOutside { path },
        Some(code) if code == rustix::io::Errno::XDEV.raw_os_error() && action != "move" => {
            SourceError::LeadsOutside { path }
        }
        Some(code)
            if code == rustix::io::Errno::MFILE.raw_os_error() || code == rustix::io::Errno::NFILE.raw_os_error() =>
        {
            SourceError::TooManyOpenFiles { path }
        }
        _ => SourceError::Io { action, path, error },
    }
}
