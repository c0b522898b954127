//! From a registered cluster to something that can be read or restored into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use longshore_source::milvus::MilvusBackupSource;
use longshore_source::{
    MilvusLiteSource, MilvusLiteTarget, MilvusSource, MilvusTargetOptions, RestoreTarget, Source, SourceKind,
};

use crate::EngineError;
use crate::config::{ClusterConfig, HostConfig, MilvusConfig};

/// Opens clusters. Embedders put their own sources behind it.
pub trait ClusterAccess: Send + Sync {
    /// Tells of the clusters and waiting servers that are configured now: what a server needs beside its address
    /// (credentials, storage) stands in the configuration and not in the catalog.
    fn configure(&self, config: &HostConfig) {
        let _ = config;
    }

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

    /// Whether clusters of this kind have users, of whom a new one gets an administrator.
    fn has_users(&self, _kind: &str) -> bool {
        false
    }

    /// Where a new cluster of this kind is made; nothing is created yet. `None` when one is taken from the servers that wait
    /// in the configuration.
    ///
    /// # Errors
    /// When clusters of this kind cannot be made here.
    fn provision(&self, kind: &str, cluster_id: &str) -> Result<Option<String>, EngineError>;
}

/// Milvus Lite directories on this machine, and Milvus servers.
#[derive(Debug)]
pub struct LocalClusters {
    /// Folder in which restores make new clusters.
    new_clusters: PathBuf,
    /// Servers by their address.
    servers: RwLock<BTreeMap<String, MilvusConfig>>,
}

impl LocalClusters {
    /// No server is known yet; restores make new clusters in this folder.
    #[must_use]
    pub fn new(new_clusters: PathBuf) -> Self {
        Self { new_clusters, servers: RwLock::default() }
    }

    fn server(&self, location: &str) -> Result<MilvusConfig, EngineError> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(location).cloned().ok_or_else(|| EngineError::BadRequest {
            what: format!(
                "the Milvus server {location} is not in the configuration, so its storage and credentials are not known; \
                 add a [[cluster]] with a table `milvus` for it, or leave its [[server_pool]] there"
            ),
        })
    }
}

/// Opens a folder of this machine for reading: what milvus-backup wrote, or a Milvus Lite directory.
///
/// # Errors
/// When it is neither, or cannot be read.
pub fn open_folder(path: &Path) -> Result<Arc<dyn Source>, EngineError> {
    if MilvusBackupSource::is_one(path) {
        return Ok(Arc::new(MilvusBackupSource::open(path)?));
    }
    Ok(Arc::new(MilvusLiteSource::open(path)?))
}

fn unknown_kind(kind: &str) -> EngineError {
    let known = [SourceKind::MilvusLite, SourceKind::Milvus].map(SourceKind::as_str).join(" and ");
    EngineError::BadRequest { what: format!("`{kind}` is not a kind of cluster this host can open; it knows {known}") }
}

/// Refuses what only a directory can be.
fn check_lite(kind: &str) -> Result<(), EngineError> {
    if kind == SourceKind::MilvusLite.as_str() { Ok(()) } else { Err(unknown_kind(kind)) }
}

impl ClusterConfig {
    /// Opens it for reading; a server is connected with the first call.
    ///
    /// # Errors
    /// When its directory is not there, or one of its secrets cannot be read.
    pub fn source(&self) -> Result<Arc<dyn Source>, EngineError> {
        match &self.milvus {
            Some(milvus) => Ok(Arc::new(MilvusSource::new(milvus.server()?))),
            None => Ok(Arc::new(MilvusLiteSource::open(Path::new(&self.location()))?)),
        }
    }
}

impl ClusterAccess for LocalClusters {
    fn configure(&self, config: &HostConfig) {
        let waiting = config.server_pool.iter().filter_map(|server| server.milvus.as_ref());
        let servers = waiting.chain(config.clusters.iter().filter_map(|cluster| cluster.milvus.as_ref()));
        let servers = servers.map(|server| (server.endpoint.clone(), server.clone()));
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = servers.collect();
    }

    fn source(&self, kind: &str, location: &str) -> Result<Arc<dyn Source>, EngineError> {
        if kind == SourceKind::Milvus.as_str() {
            return Ok(Arc::new(MilvusSource::new(self.server(location)?.server()?)));
        }
        check_lite(kind)?;
        Ok(Arc::new(MilvusLiteSource::open(Path::new(location))?))
    }

    fn target(&self, kind: &str, location: &str) -> Result<Arc<dyn RestoreTarget>, EngineError> {
        if kind == SourceKind::Milvus.as_str() {
            return Ok(Arc::new(self.server(location)?.restore_target(MilvusTargetOptions::default())?));
        }
        check_lite(kind)?;
        let location = Path::new(location);
        // A target makes its own folder only: a missing parent is more likely a typing error or a disk that is not
        // mounted. This parent is the host's own.
        if location.parent() == Some(self.new_clusters.as_path()) {
            std::fs::create_dir_all(&self.new_clusters)
                .map_err(|error| EngineError::file(&self.new_clusters, error))?;
        }
        Ok(Arc::new(MilvusLiteTarget::new(location)))
    }

    fn has_users(&self, kind: &str) -> bool {
        kind == SourceKind::Milvus.as_str()
    }

    fn provision(&self, kind: &str, cluster_id: &str) -> Result<Option<String>, EngineError> {
        if kind == SourceKind::Milvus.as_str() {
            return Ok(None);
        }
        check_lite(kind)?;
        let location = self.new_clusters.join(cluster_id);
        if location.exists() {
            let what = format!("{} exists already, so no new cluster can be made there", location.display());
            return Err(EngineError::Conflict { what });
        }
        Ok(Some(location.display().to_string()))
    }
}
