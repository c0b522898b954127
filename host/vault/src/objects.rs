//! The few operations on the store that everything else uses, with the vault's own errors.
//!
//! All objects but the header and pins are named by their content. Writing one twice is therefore harmless, and after
//! an error that leaves open whether it was written, reading it back settles the matter.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::{Limits, VaultError};

/// A store, where it is, and the limits it is used with.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    limits: Limits,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, limits: Limits) -> Self {
        Self { store, limits }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The store as people know it.
    pub(crate) fn place(&self) -> String {
        self.store.to_string()
    }

    /// Reads a whole object; `None` when there is none.
    pub(crate) async fn get(&self, key: &Path, limit_bytes: u64) -> Result<Option<Bytes>, VaultError> {
        let result = match self.store.get(key).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(VaultError::store("read", key, error)),
        };
        let size_bytes = result.meta.size;
        if size_bytes > limit_bytes {
            return Err(VaultError::TooLarge { what: format!("`{key}`"), size_bytes, limit_bytes });
        }
        result.bytes().await.map(Some).map_err(|error| VaultError::store("read", key, error))
    }

    /// Reads a range; `None` when there is no such object, fewer bytes when it ends early.
    pub(crate) async fn get_range(&self, key: &Path, range: Range<u64>) -> Result<Option<Bytes>, VaultError> {
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let options = GetOptions::new().with_range(Some(range));
        let result = match self.store.get_opts(key, options).await {
            Ok(result) => result,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(VaultError::store("read", key, error)),
        };
        result.bytes().await.map(Some).map_err(|error| VaultError::store("read", key, error))
    }

    /// Lists everything under a folder.
    pub(crate) async fn list(&self, folder: Option<&str>) -> Result<Vec<ObjectMeta>, VaultError> {
        let prefix = folder.map(Path::from);
        let result: Result<Vec<_>, _> = self.store.list(prefix.as_ref()).try_collect().await;
        match result {
            Ok(list) => Ok(list),
            // A folder that was never written to.
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(VaultError::store("list", folder.unwrap_or("/"), error)),
        }
    }

    /// Writes an object whose name is a digest of its bytes, in pieces. Overwrites: the only right content of that name
    /// is this one, so a retry is harmless and a damaged object is healed.
    pub(crate) async fn put_content(&self, key: &Path, pieces: Vec<Bytes>) -> Result<(), VaultError> {
        let result = self.store.put(key, PutPayload::from_iter(pieces)).await;
        result.map(|_| ()).map_err(|error| VaultError::store("write", key, error))
    }

    /// Replaces an object that is not named by its content.
    pub(crate) async fn replace(&self, key: &Path, bytes: Bytes) -> Result<(), VaultError> {
        let result = self.store.put(key, PutPayload::from_bytes(bytes)).await;
        result.map(|_| ()).map_err(|error| VaultError::store("write", key, error))
    }

    /// Creates an object that must not be there yet.
    pub(crate) async fn create(&self, key: &Path, bytes: Bytes) -> object_store::Result<()> {
        let payload = PutPayload::from_bytes(bytes);
        match self.store.put_opts(key, payload.clone(), PutOptions::from(PutMode::Create)).await {
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.store.put(key, payload).await.map(|_| ())
            }
            result => result.map(|_| ()),
        }
    }

    /// Writes a manifest under a key that holds the digest of its bytes, and knows afterwards whether it is there.
    ///
    /// A put can fail after it succeeded (a timeout, a lost answer), and a retry below us then says "already exists".
    /// So every error is settled by reading back: the same bytes mean success. Other bytes under this name can only be
    /// damage and are overwritten. Only when reading back fails too is the outcome unknown, and the error says so.
    pub(crate) async fn put_manifest(&self, key: &Path, bytes: Bytes) -> Result<(), VaultError> {
        let Err(first) = self.create(key, bytes.clone()).await else { return Ok(()) };
        let exists = matches!(first, object_store::Error::AlreadyExists { .. });
        match self.get(key, self.limits.manifest_bytes).await {
            Ok(Some(found)) if found == bytes => Ok(()),
            Ok(Some(_)) if exists => self.put_content(key, vec![bytes]).await,
            Ok(_) => Err(VaultError::store("write", key, first)),
            Err(_) => Err(VaultError::Uncertain { key: key.to_string(), source: first }),
        }
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(crate) async fn delete(&self, key: &Path) -> Result<(), VaultError> {
        match self.store.delete(key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(VaultError::store("delete", key, error)),
        }
    }
}
