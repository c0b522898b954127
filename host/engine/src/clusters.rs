//! From a registered cluster to something that can be read or restored into.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_source::{MilvusLiteSource, MilvusLiteTarget, RestoreTarget, Source, SourceKind};

use crate::EngineError;

/// Opens clusters. Embedders put their own sources behind it.
pub trait ClusterAccess: Send + Sync {
    /// Opens a cluster for reading.
    ///
    /// # Errors
    /// When the kind is unknown or the cluster is not there.
    fn source(&self, kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError>;

    /// Opens a cluster as the target of a restore.
    ///
    /// # Errors
    /// When the kind is unknown.
    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError>;

    /// Where a new cluster of this kind is made; nothing is created yet.
    ///
    /// # Errors
    /// When clusters of this kind cannot be made here.
    fn provision(&self, kind: &str, cluster_id: &str) -> Result<String, EngineError>;
}

/// Clusters that are Milvus Lite directories on this machine.
#[derive(Debug, Clone)]
pub struct LocalClusters {
    /// Folder in which restores make new clusters.
    pub new_clusters: PathBuf,
}

fn check_kind(kind: &str) -> Result<(), EngineError> {
    if kind == SourceKind::MilvusLite.as_str() {
        return Ok(());
    }
    let what =
        format!("`{kind}` is not a kind of cluster this host can open; it knows {}", SourceKind::MilvusLite.as_str());
    Err(EngineError::BadRequest { what })
}

impl ClusterAccess for LocalClusters {
    fn source(&self, kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError> {
        check_kind(kind)?;
        Ok(Arc::new(MilvusLiteSource::open(Path::new(location))?))
    }

    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError> {
        check_kind(kind)?;
        let location = Path::new(location);
        // A target makes its own folder only: a missing parent is more likely a typing error or a disk that is not
        // mounted. This parent is the host's own.
        if location.parent() == Some(self.new_clusters.as_path()) {
            std::fs::create_dir_all(&self.new_clusters)
                .map_err(|error| EngineError::file(&self.new_clusters, error))?;
        }
        Ok(Arc::new(MilvusLiteTarget::new(location)))
    }

    fn provision(&self, kind: &str, cluster_id: &str) -> Result<String, EngineError> {
        check_kind(kind)?;
        let location = self.new_clusters.join(cluster_id);
        if location.exists() {
            let what = format!("{} exists already, so no new cluster can be made there", location.display());
            return Err(EngineError::Conflict { what });
        }
        Ok(location.display().to_string())
    }
}
