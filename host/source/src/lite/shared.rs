//! What a source, its points and its inventory share: the root folder, limits, the clock, and row counts of files that
//! were looked at before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use longshore_model::{Clock, CollectionName};

use super::layout;
use super::looked::Memory;
use super::parquet_file::RowsByFooter;
use crate::buffers::Buffers;
use crate::disk::{Folder, OpenFile, Stat};
use crate::{FileIdentity, Limits, SourceError};

/// Row counts that are remembered at most.
const REMEMBERED_FILES: usize = 1_000_000;

/// See the module.
pub(crate) struct Shared {
    pub(crate) root: Folder,
    /// Kind of source and absolute path: the first part of every [`FileIdentity`].
    pub(crate) identity: String,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    /// Counts rows of files that nobody has counted yet.
    pub(crate) footers: RowsByFooter,
    /// Rows of immutable files by what the system says about them.
    row_counts: Mutex<HashMap<Stat, u64>>,
    /// Folders that were changed in the future, and since when they have been seen like that.
    watched: Mutex<HashMap<String, (Vec<Stat>, Instant)>>,
    /// What the last inventory saw.
    pub(crate) memory: Memory,
    /// What files are read into.
    pub(crate) buffers: Arc<Buffers>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(root: Folder, identity: String, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let (row_counts, watched, buffers) = (Mutex::default(), Mutex::default(), Arc::default());
        let (footers, memory) = (RowsByFooter::default(), Memory::default());
        Self { root, identity, limits, clock, footers, row_counts, watched, memory, buffers }
    }

    /// Opens the folder of a collection.
    pub(crate) fn collection(&self, name: &CollectionName) -> Result<Option<Folder>, SourceError> {
        self.root.folder(&layout::collection_folder(name))
    }

    /// The error for a collection that is not there.
    pub(crate) fn unknown(&self, name: &CollectionName) -> SourceError {
        SourceError::UnknownCollection { collection: name.clone(), path: self.root.shown.clone() }
    }

    /// Rows of a data file; its footer is read once.
    pub(crate) fn rows(&self, file: &OpenFile) -> Result<u64, SourceError> {
        if let Some(rows) = self.known_rows(&file.stat) {
            return Ok(rows);
        }
        let rows = self.footers.rows(file, &self.limits)?;
        self.remember_rows(&file.stat, rows);
        Ok(rows)
    }

    /// Notes the rows of a data file.
    pub(crate) fn remember_rows(&self, stat: &Stat, rows: u64) {
        let mut known = self.row_counts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_FILES {
            known.clear();
        }
        known.insert(*stat, rows);
    }

    /// Rows of a data file that was looked at before and has not changed since.
    pub(crate) fn known_rows(&self, stat: &Stat) -> Option<u64> {
        self.row_counts.lock().unwrap_or_else(PoisonError::into_inner).get(stat).copied()
    }

    /// Whether folders have been seen unchanged for as long as they must have settled, by a clock that nobody sets.
    pub(crate) fn held_still(&self, shown: &str, stats: &[Stat]) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get(shown) {
            Some((seen, since)) if seen == stats => {
                i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX) >= self.limits.settle_ms
            }
            _ => {
                if watched.len() >= REMEMBERED_FILES {
                    watched.clear();
                }
                watched.insert(shown.to_owned(), (stats.to_vec(), Instant::now()));
                false
            }
        }
    }

    /// Milliseconds since something last changed; negative when the clocks disagree.
    pub(crate) fn age_ms(&self, stat: &Stat) -> i64 {
        self.clock.now().as_millis() - stat.changed_ns.div_euclid(1_000_000)
    }

    /// What makes a file the same file in a later backup. A file that changed a moment ago has none: it could change
    /// again within the same tick of the file system's clock.
    pub(crate) fn identity(&self, name: &CollectionName, path: &str, stat: &Stat) -> Option<FileIdentity> {
        let path = || format!("{}/{path}", layout::collection_folder(name));
        (self.age_ms(stat) >= self.limits.identity_age_ms).then(|| stat.identity(&self.identity, path()))
    }
}
