//! What a source of kind `milvus`, its inventory and its points share.

use std::sync::Arc;

use longshore_model::{Clock, CollectionName};
use tokio::sync::OnceCell;

use super::address::ServerAddress;
use super::bucket_storage::BucketStorage;
use super::client::MilvusClient;
use super::folder_storage::FolderStorage;
use super::segments::LogFileEntry;
use super::storage::{LogStorage, StorageLocation};
use crate::{FileIdentity, Limits, SourceError};

/// A Milvus server and where it keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MilvusServer {
    /// How it is reached.
    pub address: ServerAddress,
    /// Where its files are.
    pub storage: StorageLocation,
}

/// See the module. Nothing is connected or opened before it is needed.
pub(super) struct Shared {
    pub(super) server: MilvusServer,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    client: OnceCell<MilvusClient>,
    storage: OnceCell<Arc<dyn LogStorage>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(server: MilvusServer, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { server, limits, clock, client: OnceCell::new(), storage: OnceCell::new() }
    }

    /// The connection. Made once; it finds back to a server that was away.
    ///
    /// # Errors
    /// What connecting fails with; [`SourceError::TooOldServer`].
    pub(super) async fn client(&self) -> Result<&MilvusClient, SourceError> {
        let connect = || async {
            let client = MilvusClient::connect(&self.server.address, self.limits).await?;
            if client.can_be_backed_up() {
                Ok(client)
            } else {
                Err(SourceError::TooOldServer { version: client.version_text().to_owned() })
            }
        };
        self.client.get_or_try_init(connect).await
    }

    /// Where the files are.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`].
    pub(super) async fn storage(&self) -> Result<&Arc<dyn LogStorage>, SourceError> {
        let open = || async {
            let limits = self.limits;
            match self.server.storage.clone() {
                StorageLocation::Folder(path) => {
                    let open = move || FolderStorage::open(&path, limits);
                    let storage = crate::blocking::blocking("the storage folder", open).await?;
                    Ok(Arc::new(storage) as Arc<dyn LogStorage>)
                }
                StorageLocation::Bucket(location) => {
                    Ok(Arc::new(BucketStorage::new(&location, limits)?) as Arc<dyn LogStorage>)
                }
            }
        };
        self.storage.get_or_try_init(open).await
    }

    /// The error for a collection that is not there.
    pub(super) fn unknown(&self, name: &CollectionName) -> SourceError {
        SourceError::UnknownCollection { collection: name.clone(), path: self.server.address.endpoint.clone() }
    }
}

/// What makes a log the same file in a later backup. Milvus writes each once and gives no number twice, so nothing need be
/// said about how long it has been there.
pub(super) fn identity(storage: &dyn LogStorage, file: &LogFileEntry) -> FileIdentity {
    let version = &file.listed.version;
    FileIdentity {
        source: format!("milvus:{}", storage.identity()),
        path: file.stored.clone(),
        device: version.device,
        inode: version.inode,
        size_bytes: file.listed.size_bytes,
        modified_ns: version.modified_ns,
        changed_ns: 0,
        tag: version.tag.clone(),
    }
}
