//! A whole file system, to be forced to disk at once where thousands of single files would each wait for the disk.
//!
//! Contract: when [`WholeFileSystem::force`] has answered, everything that was written to the file system before, files and the
//! folders that name them, survives a power cut, or an error was answered. That holds where syncfs(2) waits for the data and
//! for the commit of the journal (ext4, XFS and Btrfs do), and where the kernel reports data that it failed to write since the
//! descriptor was opened ("ERRORS" and "VERSIONS" of syncfs(2) in Linux man-pages: since Linux 5.8). So the descriptor is opened
//! before the first file is written, and not at all where an earlier run has written some: what went wrong with those before
//! may have been reported to somebody else. Anywhere else there is no such thing, and files are forced to disk one by one.

use std::fs::File;

use crate::SourceError;
use crate::disk::{Folder, io_error};

/// Magic numbers of file systems that can be relied on here (statfs(2) in Linux man-pages): ext2 to ext4, XFS, Btrfs.
const RELIABLE: [u64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];
/// The first kernel whose syncfs(2) reports data that could not be written.
const REPORTING_KERNEL: (u32, u32) = (5, 8);

/// See the module.
#[derive(Debug)]
pub(crate) struct WholeFileSystem {
    opened: File,
    shown: String,
}

impl WholeFileSystem {
    /// The file system of a folder, if it can be relied on.
    pub(crate) fn of(folder: &Folder) -> Option<Self> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if kernel(&release)? < REPORTING_KERNEL {
            return None;
        }
        // The folder's own descriptor may be one that only names it, which cannot be synchronised.
        let opened = folder.dir.open(".").ok()?.into_std();
        let kind = u64::try_from(rustix::fs::fstatfs(&opened).ok()?.f_type).ok()?;
        RELIABLE.contains(&kind).then(|| Self { opened, shown: folder.shown.clone() })
    }

    /// That of any folder, reliable or not.
    #[cfg(test)]
    pub(crate) fn unchecked(folder: &Folder) -> Self {
        let opened = File::open(&folder.shown).unwrap_or_else(|error| panic!("{error}"));
        Self { opened, shown: folder.shown.clone() }
    }

    /// One that cannot be forced: its descriptor only names a folder.
    #[cfg(test)]
    pub(crate) fn broken(folder: &Folder) -> Self {
        use rustix::fs::{Mode, OFlags};
        let opened = rustix::fs::open(folder.shown.as_str(), OFlags::PATH, Mode::empty());
        Self { opened: opened.unwrap_or_else(|error| panic!("{error}")).into(), shown: folder.shown.clone() }
    }

    /// Forces it to disk.
    ///
    /// # Errors
    /// When something that was written since it was opened is not on disk.
    pub(crate) fn force(&self) -> Result<(), SourceError> {
        rustix::fs::syncfs(&self.opened).map_err(|error| io_error("synchronise", &self.shown, error.into()))
    }
}

/// The first two numbers of a kernel's release, as in `6.1.0-13-amd64`.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    #[test]
    fn kernels_are_told_by_their_first_two_numbers() {
        for (release, expected) in [
            ("6.1.0-13-amd64\n", Some((6, 1))),
            ("5.8", Some((5, 8))),
            ("5.15.153.1-microsoft-standard-WSL2", Some((5, 15))),
            ("5.4.0", Some((5, 4))),
            ("", None),
            ("five", None),
        ] {
            assert_eq!(kernel(release), expected, "{release}");
        }
        assert!((5, 4) < REPORTING_KERNEL && (5, 15) > REPORTING_KERNEL && (6, 0) > REPORTING_KERNEL);
    }

    #[test]
    fn memory_is_no_disk_to_rely_on() {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            assert!(WholeFileSystem::of(&Folder::at(shared)).is_none());
        }
    }

    #[test]
    fn what_can_be_relied_on_is_forced() {
        let here = tempfile::tempdir().unwrap();
        if let Some(whole) = WholeFileSystem::of(&Folder::at(here.path())) {
            std::fs::write(here.path().join("file"), "bytes").unwrap();
            whole.force().unwrap();
        }
    }
}
