//! A Milvus Lite 3 data directory to read from. It is never written to and its LOCK is never taken.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use longshore_model::{Clock, CollectionName, SystemClock};

use super::shared::Shared;
use super::{inventory, layout, point};
use crate::blocking::blocking;
use crate::disk::{Folder, io_error};
use crate::{CollectionPoint, Inventory, KnownFiles, Limits, Opener, PointOptions, Source, SourceError, SourceKind};

/// A Milvus Lite 3 data directory to read from, whether a program has it open or not.
#[derive(Debug, Clone)]
pub struct MilvusLiteSource {
    shared: Arc<Shared>,
}

impl MilvusLiteSource {
    /// Opens a data directory with [`Limits::DEFAULT`] and the machine's clock.
    ///
    /// # Errors
    /// [`SourceError::NotFound`]; [`SourceError::NotMilvusLite`] for a file, a Milvus Lite 2.x database, a vault, or
    /// a folder without Milvus Lite's folders; [`SourceError::Io`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, Limits::DEFAULT, Arc::new(SystemClock))
    }

    /// Opens a data directory with chosen limits and clock. The clock is compared with the times of files.
    ///
    /// # Errors
    /// As [`MilvusLiteSource::open`].
    pub fn open_with(path: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let root = open_root(path)?;
        let absolute = std::fs::canonicalize(path).map_err(|error| io_error("look at", &root.shown, error))?;
        let identity = format!("{}:{}", SourceKind::MilvusLite.as_str(), absolute.display());
        Ok(Self { shared: Arc::new(Shared::new(root, identity, limits, clock)) })
    }
}

/// Opens a folder that must be a Milvus Lite 3 data directory, and says in words what it is otherwise.
pub(crate) fn open_root(path: &Path) -> Result<Folder, SourceError> {
    let shown = path.display().to_string();
    let not_lite = |reason: &str| Err(SourceError::NotMilvusLite { path: shown.clone(), reason: reason.to_owned() });
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SourceError::NotFound { path: shown });
        }
        Err(error) => return Err(io_error("look at", &shown, error)),
    };
    if metadata.is_file() {
        return if is_sqlite(path) {
            not_lite(
                "it is a single file, as Milvus Lite 2.x makes them; copy its collections into a Milvus Lite 3 \
                 database with `milvus-lite dump` and bulk insert, then back that up",
            )
        } else {
            not_lite("it is a file; give the directory that holds the folder `collections`")
        };
    }
    if !metadata.is_dir() {
        return not_lite("it is neither a file nor a directory");
    }
    let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| io_error("open", &shown, error))?;
    let root = Folder { dir, shown: shown.clone() };
    if root.stat(layout::VAULT_MARKER)?.is_some() {
        return not_lite("it is a Longshore vault, which holds backups; give the directory of the database itself");
    }
    if root.stat(layout::COLLECTIONS)?.is_some_and(|stat| stat.is_dir) {
        return Ok(root);
    }
    if root.stat(layout::SCHEMA)?.is_some() {
        return not_lite("it is a single collection; give the directory two levels up, which holds `collections`");
    }
    not_lite("it has no folder `collections`, which Milvus Lite makes when it first opens a directory")
}

/// Milvus Lite 2.x kept its metadata in SQLite, in one file.
fn is_sqlite(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 15];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"SQLite format 3"
}

#[async_trait]
impl Source for MilvusLiteSource {
    fn kind(&self) -> SourceKind {
        SourceKind::MilvusLite
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        self.inventory_knowing(Arc::new(())).await
    }

    async fn inventory_knowing(&self, known: Arc<dyn KnownFiles>) -> Result<Inventory, SourceError> {
        let shared = Arc::clone(&self.shared);
        blocking(&self.shared.root.shown, move || inventory::list(&shared, known.as_ref())).await
    }

    async fn collection_names(&self) -> Result<Vec<CollectionName>, SourceError> {
        let shared = Arc::clone(&self.shared);
        blocking(&self.shared.root.shown, move || inventory::names(&shared)).await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        // A name can have come from anywhere; here it becomes part of a path.
        let name = CollectionName::new(&name.database, &name.collection)?;
        Ok(Arc::new(point::open(&self.shared, &name, options).await?))
    }

    fn opener(&self) -> Option<Arc<dyn Opener>> {
        Some(Arc::new(self.clone()))
    }
}

impl Opener for MilvusLiteSource {
    fn open_here(
        &self,
        name: &CollectionName,
        options: PointOptions,
    ) -> Option<Result<Arc<dyn CollectionPoint>, SourceError>> {
        // As above.
        let name = match CollectionName::new(&name.database, &name.collection) {
            Ok(name) => name,
            Err(error) => return Some(Err(error.into())),
        };
        let opened = point::open_here(&self.shared, &name, options)?;
        Some(opened.map(|point| Arc::new(point) as Arc<dyn CollectionPoint>))
    }
}
