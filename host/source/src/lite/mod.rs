//! Milvus Lite 3 data directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use longshore_model::CollectionName;

use crate::{
    CollectionPoint, Inventory, PointOptions, RestoreRun, RestoreTarget, Source, SourceError, SourceKind, TargetPlan,
};

/// A Milvus Lite 3 data directory to read from.
#[derive(Debug)]
pub struct MilvusLiteSource {
    path: PathBuf,
}

impl MilvusLiteSource {
    /// Opens a data directory.
    ///
    /// # Errors
    /// [`SourceError::NotFound`], [`SourceError::NotMilvusLite`], [`SourceError::Io`].
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self { path: path.to_owned() })
    }
}

#[async_trait]
impl Source for MilvusLiteSource {
    fn kind(&self) -> SourceKind {
        SourceKind::MilvusLite
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        Err(SourceError::NotFound { path: self.path.display().to_string() })
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        _options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        Err(SourceError::UnknownCollection { collection: name.clone(), path: self.path.display().to_string() })
    }
}

/// A Milvus Lite 3 data directory, new or existing, to restore into.
#[derive(Debug)]
pub struct MilvusLiteTarget {
    path: PathBuf,
}

impl MilvusLiteTarget {
    /// Names the directory; it is looked at when a restore begins.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

#[async_trait]
impl RestoreTarget for MilvusLiteTarget {
    async fn begin(&self, _plan: &TargetPlan) -> Result<Box<dyn RestoreRun>, SourceError> {
        Err(SourceError::NotFound { path: self.path.display().to_string() })
    }
}
