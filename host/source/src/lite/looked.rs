//! What an inventory saw of a collection, kept for opening it a moment later.
//!
//! Contract: what is remembered is used only while folder, `schema.json` and `manifest.json` are the very same files with
//! the same times, all of them older than the time after which identities are trusted (DESIGN §7): then their bytes are the
//! same, and so are the immutable files that this manifest names. A file as old as that need not be opened with its
//! collection: whoever reads it opens it, and it must then be the very file that the inventory saw, with its times. Of an
//! unchanged cluster none is opened, and of thousands of new collections none is opened twice. Everything else is read anew.
//!
//! Bounded by bytes; a collection that is not remembered is read again when it is opened, which is slower and as good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::CollectionName;

use super::layout;
use super::manifest::Manifest;
use super::schema::Schema;
use super::shared::Shared;
use crate::SourceError;
use crate::disk::{Folder, OpenFile, Stat};

/// A description of a collection: its bytes, and what they say.
#[derive(Debug)]
pub(crate) struct Document<T> {
    /// As its file was when it was read.
    pub(crate) stat: Stat,
    pub(crate) bytes: Bytes,
    pub(crate) content: Arc<T>,
    /// The open file, unless it was read earlier: an inode that is held open is not given to another file.
    pub(crate) held: Option<Arc<OpenFile>>,
}

impl<T> Document<T> {
    pub(crate) fn new(file: OpenFile, bytes: Vec<u8>, content: T) -> Self {
        Self { stat: file.stat, bytes: bytes.into(), content: Arc::new(content), held: Some(Arc::new(file)) }
    }

    /// The same without the open file.
    pub(crate) fn let_go(&self) -> Self {
        Self { stat: self.stat, bytes: self.bytes.clone(), content: Arc::clone(&self.content), held: None }
    }
}

/// A file that the manifest names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookedFile {
    pub(crate) stat: Stat,
    /// Rows, or 0 for a file of deletions.
    pub(crate) rows: u64,
    /// An earlier run stored it.
    pub(crate) is_stored: bool,
    /// When it was seen it was old enough for another file, or another content, to have another time.
    pub(crate) is_settled: bool,
}

/// The files that describe a collection, as they were seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described {
    folder: Stat,
    schema: Stat,
    manifest: Option<Stat>,
}

impl Described {
    /// What was seen, if all of it changed so long ago that another file, or another content, would have another time.
    pub(crate) fn settled(shared: &Shared, folder: Stat, schema: Stat, manifest: Option<Stat>) -> Option<Self> {
        let is_settled = |stat: &Stat| shared.age_ms(stat) >= shared.limits.identity_age_ms;
        let settled = is_settled(&schema) && manifest.as_ref().is_none_or(is_settled);
        settled.then_some(Self { folder, schema, manifest })
    }

    /// Whether the collection in `folder` is still described by the same files with the same times.
    pub(crate) fn is_current(&self, folder: &Folder) -> Result<bool, SourceError> {
        Ok(folder.stat_self()?.same_inode(&self.folder)
            && folder.stat(layout::SCHEMA)? == Some(self.schema)
            && folder.stat(layout::MANIFEST)? == self.manifest)
    }
}

/// A collection as an inventory saw it.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) described: Described,
    pub(crate) schema: Document<Schema>,
    pub(crate) manifest: Document<Manifest>,
    /// In the order of [`Manifest::files`].
    pub(crate) files: Vec<LookedFile>,
}

impl Looked {
    /// What was seen, if it may be used later.
    pub(crate) fn of(
        shared: &Shared,
        folder: Stat,
        schema: &Document<Schema>,
        manifest: Option<&Document<Manifest>>,
        files: Vec<LookedFile>,
    ) -> Option<Self> {
        let manifest = manifest?;
        let described = Described::settled(shared, folder, schema.stat, Some(manifest.stat))?;
        Some(Self { described, schema: schema.let_go(), manifest: manifest.let_go(), files })
    }

    fn size_bytes(&self) -> usize {
        self.schema.bytes.len() + self.manifest.bytes.len() + self.files.len() * size_of::<LookedFile>()
    }
}

/// What the last inventory saw, as much as fits.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<(HashMap<CollectionName, Arc<Looked>>, usize)>);

impl Memory {
    /// Forgets everything: a new inventory begins.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (HashMap::new(), 0);
    }

    /// Remembers a collection, if it fits within `limit_bytes`.
    pub(crate) fn keep(&self, name: &CollectionName, looked: Looked, limit_bytes: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size_bytes = state.1.saturating_add(looked.size_bytes());
        if size_bytes <= limit_bytes {
            state.0.insert(name.clone(), Arc::new(looked));
            state.1 = size_bytes;
        }
    }

    /// Forgets a collection.
    pub(crate) fn forget(&self, name: &CollectionName) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size_bytes = state.0.remove(name).map_or(0, |looked| looked.size_bytes());
        state.1 = state.1.saturating_sub(size_bytes);
    }

    /// What was seen of a collection.
    pub(crate) fn find(&self, name: &CollectionName) -> Option<Arc<Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(name).cloned()
    }
}
