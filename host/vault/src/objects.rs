//! The few operations on the store that everything else uses, with the vault's own errors.
//!
//! All objects but the header and pins are named by their content. Writing one twice is therefore harmless, and after
//! an error that leaves open whether it was written, reading it back settles the matter.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::GetResult;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::{Limits, Throttle, VaultError};

/// Bytes of one part of an object that is written in parts: the least that S3 takes for a part that is not the last.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// A payload in parts of [`PART_BYTES`], the last one shorter; nothing is copied.
fn parts(payload: &PutPayload) -> Vec<PutPayload> {
    let (mut parts, mut part, mut length) = (Vec::new(), Vec::new(), 0);
    for piece in payload {
        let mut piece = piece.clone();
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(PART_BYTES - length));
            length += taken.len();
            part.push(taken);
            if length == PART_BYTES {
                parts.push(PutPayload::from_iter(std::mem::take(&mut part)));
                length = 0;
            }
        }
    }
    if !part.is_empty() {
        parts.push(PutPayload::from_iter(part));
    }
    parts
}

/// A store, where it is, and the limits it is used with.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    limits: Limits,
    throttle: Throttle,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, limits: Limits) -> Self {
        Self { store, limits, throttle: Throttle::default() }
    }

    /// The same store with its traffic counted against another throttle.
    pub(crate) fn with_throttle(&self, throttle: Throttle) -> Self {
        Self { throttle, ..self.clone() }
    }

    /// The same store under other limits.
    pub(crate) fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The same limits and throttle with another store.
    pub(crate) fn with_store(&self, store: Arc<dyn ObjectStore>) -> Self {
        Self { store, ..self.clone() }
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.throttle
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
        self.bytes_of(result).await.map(Some).map_err(|error| VaultError::store("read", key, error))
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
        self.bytes_of(result).await.map(Some).map_err(|error| VaultError::store("read", key, error))
    }

    /// What a read gives; under a limit piece by piece, so that a large object is a steady flow.
    async fn bytes_of(&self, result: GetResult) -> object_store::Result<Bytes> {
        if !self.throttle.limits_traffic() {
            return result.bytes().await;
        }
        let length = result.range.end.saturating_sub(result.range.start);
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut pieces = result.into_stream();
        while let Some(piece) = pieces.try_next().await? {
            self.throttle.traffic(piece.len() as u64).await;
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// Writes an object, replacing one that is there. Under a limit a large one goes in parts, so that it is a steady
    /// flow; it appears whole, or not at all, either way.
    async fn write(&self, key: &Path, payload: PutPayload) -> object_store::Result<()> {
        let length = payload.content_length();
        if !self.throttle.limits_traffic() || length <= PART_BYTES {
            self.throttle.traffic(length as u64).await;
            return self.store.put(key, payload).await.map(|_| ());
        }
        let mut upload = self.store.put_multipart(key).await?;
        let written = async {
            for part in parts(&payload) {
                self.throttle.traffic(part.content_length() as u64).await;
                upload.put_part(part).await?;
            }
            upload.complete().await.map(|_| ())
        }
        .await;
        if written.is_err() {
            // What is left of it then is the store's to clean up; the error that counts is the first one.
            let _ = upload.abort().await;
        }
        written
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
        let result = self.write(key, PutPayload::from_iter(pieces)).await;
        result.map_err(|error| VaultError::store("write", key, error))
    }

    /// Replaces an object that is not named by its content.
    pub(crate) async fn replace(&self, key: &Path, bytes: Bytes) -> Result<(), VaultError> {
        let result = self.write(key, PutPayload::from_bytes(bytes)).await;
        result.map_err(|error| VaultError::store("write", key, error))
    }

    /// Creates an object that must not be there yet.
    pub(crate) async fn create(&self, key: &Path, bytes: Bytes) -> object_store::Result<()> {
        self.throttle.traffic(bytes.len() as u64).await;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::ThrottleLimits;

    fn pieces() -> Vec<Bytes> {
        let lengths = [1, PART_BYTES - 1, 3, 2 * PART_BYTES + 7, 0, 12];
        lengths.iter().enumerate().map(|(seed, length)| Bytes::from(vec![seed as u8; *length])).collect()
    }

    #[test]
    fn parts_are_as_long_as_a_store_wants_them_and_lose_nothing() {
        let payload = PutPayload::from_iter(pieces());
        let parts = parts(&payload);
        let lengths: Vec<usize> = parts.iter().map(PutPayload::content_length).collect();
        assert_eq!(lengths, [PART_BYTES, PART_BYTES, PART_BYTES, 22]);
        let joined: Vec<u8> = parts.iter().flatten().flatten().copied().collect();
        assert_eq!(joined, pieces().concat());
    }

    #[tokio::test]
    async fn an_object_is_the_same_with_and_without_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let limited = ThrottleLimits { bandwidth_bytes_per_second: Some(1 << 40), ..ThrottleLimits::default() };
        for (name, throttle) in [("free", Throttle::default()), ("limited", Throttle::new(limited))] {
            let store = crate::create_local_store(&folder.path().join(name)).unwrap();
            let objects = Objects::new(store, Limits::DEFAULT).with_throttle(throttle);
            let key = Path::from("packs/ab/large");
            objects.put_content(&key, pieces()).await.unwrap();
            assert_eq!(objects.get(&key, 1 << 30).await.unwrap().unwrap(), pieces().concat(), "{name}");
            let range = objects.get_range(&key, 0..PART_BYTES as u64 + 5).await.unwrap().unwrap();
            assert_eq!(range, pieces().concat()[..PART_BYTES + 5], "{name}");
            let listed = objects.list(None).await.unwrap();
            assert_eq!(listed.len(), 1, "{name}: nothing else is left");
        }
    }
}
