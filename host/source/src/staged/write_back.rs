//! Has the disk begin with what a restore writes while it still writes.
//!
//! The system lets written data lie in memory for seconds. A restore that is done with writing before that would find all of it
//! there when it forces it to disk, after the disk has stood idle (0.3 of 1.1 s for 700 MB).
//!
//! Contract: nothing relies on it. The file system is synchronised from a descriptor of its own, so that whoever forces the
//! files to disk at the end is still told of what could not be written; and not by threads that have other work, one at a time.
//! To advise the system that files are not needed, which starts writing, too, drops from memory what the disk has already
//! taken, and it would be read back from the disk (`generic_fadvise` in Linux, mm/fadvise.c).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::WholeFileSystem;
use crate::disk::Folder;

/// Bytes after which the disk is to begin with them.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct WriteBack {
    whole: Arc<WholeFileSystem>,
    written_bytes: AtomicU64,
    under_way: Arc<AtomicBool>,
}

impl WriteBack {
    /// For files below a folder, where the system can be asked for it.
    pub(crate) fn below(folder: &Folder) -> Option<Self> {
        let whole = Arc::new(WholeFileSystem::of(folder)?);
        Some(Self { whole, written_bytes: AtomicU64::new(0), under_way: Arc::default() })
    }

    /// Notes that so many bytes were written.
    pub(crate) fn wrote(&self, bytes: u64) {
        let before = self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_due = before / BATCH_BYTES != before.saturating_add(bytes) / BATCH_BYTES;
        if !is_due || self.under_way.swap(true, Ordering::Acquire) {
            return;
        }
        let (whole, ends) = (Arc::clone(&self.whole), Ends(Arc::clone(&self.under_way)));
        // Where no thread can be had, the closure is dropped, and the next batch is another chance.
        let _ = std::thread::Builder::new().name("write-back".to_owned()).spawn(move || {
            let _ends = ends;
            let _ = whole.force();
        });
    }
}

/// Lets the next one begin when it is dropped.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Waits until none is under way.
    fn settled(write_back: &WriteBack) {
        while write_back.under_way.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_is_begun_with_each_batch_and_no_second_beside_it() {
        let here = tempfile::tempdir().unwrap();
        let whole = Arc::new(WholeFileSystem::unchecked(&Folder::at(here.path())));
        let write_back = WriteBack { whole, written_bytes: AtomicU64::new(0), under_way: Arc::default() };
        write_back.wrote(BATCH_BYTES - 1);
        assert!(!write_back.under_way.load(Ordering::Acquire), "no batch is full");
        write_back.wrote(1);
        settled(&write_back);
        // As if the one before were still at work: the batch begins none, and the next one does again.
        write_back.under_way.store(true, Ordering::Release);
        let held = Arc::strong_count(&write_back.whole);
        write_back.wrote(BATCH_BYTES);
        assert_eq!(Arc::strong_count(&write_back.whole), held);
        write_back.under_way.store(false, Ordering::Release);
        write_back.wrote(3 * BATCH_BYTES);
        settled(&write_back);
        assert_eq!(write_back.written_bytes.load(Ordering::Relaxed), 5 * BATCH_BYTES);
    }

    #[test]
    fn what_fails_is_left_to_whoever_forces_the_files() {
        let here = tempfile::tempdir().unwrap();
        let whole = Arc::new(WholeFileSystem::broken(&Folder::at(here.path())));
        let write_back = WriteBack { whole, written_bytes: AtomicU64::new(0), under_way: Arc::default() };
        write_back.wrote(BATCH_BYTES);
        settled(&write_back);
        write_back.wrote(BATCH_BYTES);
        settled(&write_back);
    }
}
