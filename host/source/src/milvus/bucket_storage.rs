//! A Milvus server's files in a bucket that speaks S3 (AWS, MinIO and others), in one of Google Cloud Storage, or in a container of
//! Azure Blob Storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use longshore_model::Digest;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use super::bucket_location::{BucketLocation, BucketProvider};
use super::storage::{FileVersion, ListedFile, LogStorage, vanished};
use crate::{Limits, SourceError};

/// See the module.
pub(super) struct BucketStorage {
    store: Arc<dyn ObjectStore>,
    root: Path,
    shown: String,
    identity: String,
    provider: BucketProvider,
    /// As many as parts of files may be in memory.
    room: Semaphore,
    limits: Limits,
}

/// A file that is put into a bucket.
#[async_trait]
pub(super) trait Pieces: Sync {
    /// Its length.
    async fn size_bytes(&self) -> Result<u64, SourceError>;

    /// Exactly `length` bytes at `offset`.
    async fn piece(&self, offset: u64, length: usize) -> Result<Bytes, SourceError>;

    /// The error for one whose bytes have another digest than they should.
    fn is_another(&self) -> SourceError;
}

impl fmt::Debug for BucketStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl BucketStorage {
    /// Nothing is asked of the store yet.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`] for a location that cannot be one.
    pub(super) fn new(location: &BucketLocation, limits: Limits) -> Result<Self, SourceError> {
        let root = location.root_path.trim_matches('/');
        let shown = format!("{}://{}/{root}", location.provider.scheme(), location.bucket);
        let bad = |reason: String| SourceError::BadStorage { storage: shown.clone(), reason };
        let root = Path::parse(root).map_err(|error| bad(format!("root_path is not a path: {error}")))?;
        let (store, identity) = (location.client(&limits).map_err(bad)?, location.identity(&root));
        let parts = (limits.upload_bytes / limits.upload_part_bytes.max(1)).max(1);
        Ok(Self { store, root, shown, identity, provider: location.provider, room: Semaphore::new(parts), limits })
    }

    /// A path below the root; the numbers and fixed names that Milvus makes them of need no escaping.
    fn path(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Writes a file below the root, part by part, and reads it back: a server that is told to read it must find the very bytes
    /// that have this digest. One that has another is not there in the end.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`]; what reading the file fails with; [`SourceError::Damaged`] for another digest, here or there.
    pub(super) async fn put(&self, path: &str, file: &dyn Pieces, expected: Digest) -> Result<(), SourceError> {
        let (key, part) = (self.path(path), self.limits.upload_part_bytes.max(1));
        let _room = self.room.acquire().await;
        let size_bytes = file.size_bytes().await?;
        if size_bytes <= part as u64 {
            let bytes = file.piece(0, usize::try_from(size_bytes).unwrap_or(part)).await?;
            if digest(&bytes) != expected {
                return Err(file.is_another());
            }
            self.store.put(&key, bytes.into()).await.map_err(|error| self.not_written(error))?;
        } else {
            let mut upload = self.store.put_multipart(&key).await.map_err(|error| self.not_written(error))?;
            if let Err(error) = self.send(upload.as_mut(), file, size_bytes, expected).await {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, path = %key, "parts of an upload that was given up stay in the bucket");
                }
                return Err(error);
            }
        }
        let mut back = self.store.get(&key).await.map_err(|error| self.failed(error))?.into_stream();
        let mut hasher = blake3::Hasher::new();
        while let Some(bytes) = back.next().await {
            hasher.update(&bytes.map_err(|error| self.failed(error))?);
        }
        if Digest::new(*hasher.finalize().as_bytes()) == expected {
            return Ok(());
        }
        let reason = "what was just written there comes back as other bytes".to_owned();
        Err(SourceError::Damaged { path: format!("{}/{path}", self.shown), reason })
    }

    /// Sends the parts of a file, one after the other, and makes an object of them if they are what they should be.
    async fn send(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &dyn Pieces,
        size_bytes: u64,
        expected: Digest,
    ) -> Result<(), SourceError> {
        let (mut hasher, part) = (blake3::Hasher::new(), self.limits.upload_part_bytes.max(1));
        let mut at = 0_u64;
        while at < size_bytes {
            let length = usize::try_from(size_bytes - at).unwrap_or(part).min(part);
            let bytes = file.piece(at, length).await?;
            hasher.update(&bytes);
            at += length as u64;
            upload.put_part(bytes.into()).await.map_err(|error| self.not_written(error))?;
        }
        if Digest::new(*hasher.finalize().as_bytes()) != expected {
            return Err(file.is_another());
        }
        upload.complete().await.map(drop).map_err(|error| self.not_written(error))
    }

    /// Writes an object below a folder of the root, reads it back and removes it again; nothing of it stays.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`], with the right that the key lacks.
    pub(super) async fn probe(&self, folder: &str, name: &str) -> Result<(), SourceError> {
        let key = self.path(&format!("{folder}/{name}"));
        let bytes = Bytes::from_static(b"longshore looks whether it may write here");
        let lacks = |what: &str, error| self.lacks(what, folder, error);
        self.store.put(&key, bytes.clone().into()).await.map_err(|error| lacks("write", error))?;
        let read = match self.store.get(&key).await {
            Ok(there) => there.bytes().await,
            Err(error) => Err(error),
        };
        let removed = self.store.delete(&key).await;
        let read = read.map_err(|error| lacks("read", error))?;
        removed.map_err(|error| lacks("delete", error))?;
        if read == bytes {
            return Ok(());
        }
        let reason = "what was just written there comes back as other bytes".to_owned();
        Err(SourceError::Damaged { path: format!("{}/{folder}/{name}", self.shown), reason })
    }

    /// The error for a right that a key lacks below a folder; anything else is as it is.
    fn lacks(&self, what: &str, folder: &str, error: object_store::Error) -> SourceError {
        if !is_refusal(&error) {
            return self.failed(error);
        }
        let right = match (self.provider, what) {
            (BucketProvider::S3, "write") => " (s3:PutObject)",
            (BucketProvider::S3, "read") => " (s3:GetObject)",
            (BucketProvider::S3, "delete") => " (s3:DeleteObject)",
            (BucketProvider::Gcs, "write") => " (storage.objects.create)",
            (BucketProvider::Gcs, "read") => " (storage.objects.get)",
            (BucketProvider::Gcs, "delete") => " (storage.objects.delete)",
            _ => "",
        };
        let below = self.in_bucket(folder);
        let reason = format!("the key may not {what} objects below {below}/: give it that right{right}; {error}");
        SourceError::BadStorage { storage: self.shown.clone(), reason }
    }

    /// Removes every file below a folder of the root; none there is fine.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`].
    pub(super) async fn remove_below(&self, folder: &str) -> Result<(), SourceError> {
        let folder = self.path(folder);
        let found: Vec<Path> = self
            .store
            .list(Some(&folder))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|error| self.failed(error))?;
        for key in found {
            match self.store.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.not_written(error)),
            }
        }
        Ok(())
    }

    /// A path below the root as the server is told it: relative to the bucket, without a slash at its beginning.
    pub(super) fn in_bucket(&self, path: &str) -> String {
        self.path(path).as_ref().to_owned()
    }

    fn not_written(&self, error: object_store::Error) -> SourceError {
        if !is_refusal(&error) {
            return self.failed(error);
        }
        let reason = format!(
            "{error}; a restore puts files into the server's bucket for it to read: give a key that may write and delete below {}",
            self.in_bucket("longshore-staging")
        );
        SourceError::BadStorage { storage: self.shown.clone(), reason }
    }

    fn failed(&self, error: object_store::Error) -> SourceError {
        let reason = match error {
            object_store::Error::NotFound { .. } => {
                "there is no such bucket; give the server's minio.bucketName, and its address as `endpoint`".to_owned()
            }
            // A listing that is refused has no kind of its own.
            error if is_refusal(&error) => format!("{error}; give a key that may list and read this bucket"),
            error => format!(
                "{error}; check `endpoint`, `region`, `bucket`, the key and, where the store has an authority of its own, \
                 `ca_certificate_file`"
            ),
        };
        SourceError::BadStorage { storage: self.shown.clone(), reason }
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

/// Whether the answer to a request was that the key is not good for it.
fn is_refusal(error: &object_store::Error) -> bool {
    if matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) {
        return true;
    }
    let text = error.to_string();
    ["401 Unauthorized", "403 Forbidden"].iter().any(|status| text.contains(status))
}

fn listed(folder: &Path, object: ObjectMeta) -> Option<ListedFile> {
    let path = object.location.as_ref().strip_prefix(folder.as_ref())?.strip_prefix('/')?.to_owned();
    let modified_ms = object.last_modified.timestamp_millis();
    let version = FileVersion {
        modified_ns: modified_ms.saturating_mul(1_000_000),
        tag: object.version.or(object.e_tag),
        ..FileVersion::default()
    };
    Some(ListedFile { path, size_bytes: object.size, modified_ms, version })
}

#[async_trait]
impl LogStorage for BucketStorage {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    async fn list(&self, folder: &str) -> Result<Vec<ListedFile>, SourceError> {
        let folder = self.path(folder);
        let (mut files, limit) = (Vec::new(), self.limits.folder_entries);
        let mut objects = self.store.list(Some(&folder));
        while let Some(object) = objects.try_next().await.map_err(|error| self.failed(error))? {
            if files.len() as u64 >= limit {
                let (path, what) = (format!("{}/{folder}", self.shown), "the number of files below it");
                return Err(SourceError::LimitExceeded { path, what, used: limit + 1, limit });
            }
            files.extend(listed(&folder, object));
        }
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>, SourceError> {
        let folder = self.path(folder);
        let found = self.store.list_with_delimiter(Some(&folder)).await.map_err(|error| self.failed(error))?;
        let names = found.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn read(&self, path: &str, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let range = offset..offset.saturating_add(length as u64);
        let shown = || format!("{}/{path}", self.shown);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match self.store.get_range(&self.path(path), range).await {
            Ok(bytes) if bytes.len() == length => Ok(bytes),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(vanished(shown())),
            Err(error) => Err(self.failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::milvus::address::Secret;

    fn location(root_path: &str) -> BucketLocation {
        BucketLocation {
            provider: BucketProvider::S3,
            bucket: "a-bucket".to_owned(),
            root_path: root_path.to_owned(),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: "us-east-1".to_owned(),
            key: Some(("id".to_owned(), Secret::new("hunter2"))),
            virtual_hosted: false,
            ca_certificate: None,
        }
    }

    #[test]
    fn paths_are_below_the_root_however_it_is_written() {
        for root in ["files", "/files/", "files/"] {
            let storage = BucketStorage::new(&location(root), Limits::DEFAULT).unwrap();
            assert_eq!(storage.path("insert_log/1").as_ref(), "files/insert_log/1");
            assert_eq!(storage.shown(), "s3://a-bucket/files");
        }
        let storage = BucketStorage::new(&location(""), Limits::DEFAULT).unwrap();
        assert_eq!(storage.path("insert_log/1").as_ref(), "insert_log/1");
        assert!(
            BucketStorage::new(&location("a/../b"), Limits::DEFAULT).unwrap_err().to_string().contains("root_path")
        );
        assert_eq!(storage.in_bucket("/longshore-staging//x"), "longshore-staging/x");
        assert!(!format!("{:?}", location("files")).contains("hunter2"));
    }

    #[test]
    fn a_container_of_azure_is_known_by_its_account_or_its_address() {
        // Any bytes in base64 are a key.
        let key = Some(("account".to_owned(), Secret::new("aHVudGVyMg==")));
        let azure = BucketLocation { provider: BucketProvider::Azure, endpoint: None, key, ..location("files") };
        let storage = BucketStorage::new(&azure, Limits::DEFAULT).unwrap();
        assert_eq!(
            (storage.shown(), storage.identity().as_str()),
            ("az://a-bucket/files", "azure:account:a-bucket:files")
        );
        let elsewhere = BucketLocation { endpoint: Some("http://127.0.0.1:1/account".to_owned()), ..azure.clone() };
        let storage = BucketStorage::new(&elsewhere, Limits::DEFAULT).unwrap();
        assert_eq!(storage.identity(), "azure:http://127.0.0.1:1/account:a-bucket:files");
        let wrong = BucketLocation { key: Some(("account".to_owned(), Secret::new("hunter2!"))), ..azure };
        let error = BucketStorage::new(&wrong, Limits::DEFAULT).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
