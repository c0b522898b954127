//! A Milvus server's files in a bucket that speaks S3 (AWS, MinIO, GCS and others through their S3 interface) or in a container of
//! Azure Blob Storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use serde::Deserialize;

use super::address::Secret;
use super::storage::{FileVersion, ListedFile, LogStorage, vanished};
use crate::{Limits, SourceError};

/// How a bucket is spoken to; what the server calls `minio.cloudProvider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketProvider {
    /// S3, which most stores speak.
    #[default]
    S3,
    /// Azure Blob Storage.
    Azure,
}

/// A bucket and the keys to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLocation {
    /// How it is spoken to.
    pub provider: BucketProvider,
    /// What the server calls `minio.bucketName`: a container of Azure.
    pub bucket: String,
    /// What the server calls `minio.rootPath`: the folder in the bucket that has `insert_log` in it.
    pub root_path: String,
    /// `https://host:port` of the store; `None` for AWS itself, and for Azure's own address of the account.
    pub endpoint: Option<String>,
    /// Region; AWS wants the right one, others take any, Azure has none.
    pub region: String,
    /// Key id (the storage account, for Azure) and key; `None` for what the environment or the machine has (`AWS_…` or
    /// `AZURE_…`, instance metadata).
    pub key: Option<(String, Secret)>,
    /// Whether the bucket is part of the host's name (`bucket.host`) and not of the path; never for Azure.
    pub virtual_hosted: bool,
}

/// What both kinds of store are asked with.
fn client(limits: &Limits, endpoint: Option<&str>) -> (ClientOptions, RetryConfig) {
    let timeout = Duration::from_millis(limits.call_timeout_ms);
    let options = ClientOptions::new()
        .with_connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
        .with_timeout(timeout)
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
    (options, RetryConfig { max_retries: 5, retry_timeout: timeout, ..RetryConfig::default() })
}

fn s3(location: &BucketLocation, limits: &Limits) -> object_store::Result<Arc<dyn ObjectStore>> {
    let (options, retry) = client(limits, location.endpoint.as_deref());
    let mut builder = match &location.key {
        Some((id, key)) => AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(key.expose()),
        None => AmazonS3Builder::from_env(),
    };
    builder = builder
        .with_bucket_name(&location.bucket)
        .with_region(&location.region)
        .with_virtual_hosted_style_request(location.virtual_hosted)
        .with_client_options(options)
        .with_retry(retry);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(location: &BucketLocation, limits: &Limits) -> object_store::Result<Arc<dyn ObjectStore>> {
    let (options, retry) = client(limits, location.endpoint.as_deref());
    let mut builder = match &location.key {
        Some((account, key)) => MicrosoftAzureBuilder::new().with_account(account).with_access_key(key.expose()),
        None => MicrosoftAzureBuilder::from_env(),
    };
    builder = builder.with_container_name(&location.bucket).with_client_options(options).with_retry(retry);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    Ok(Arc::new(builder.build()?))
}

/// Says which cryptography TLS uses, for clients that are built without one. Whoever else in this program uses TLS may have
/// chosen already, and that is as good.
pub fn choose_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// See the module.
pub(super) struct BucketStorage {
    store: Arc<dyn ObjectStore>,
    root: Path,
    shown: String,
    identity: String,
    limits: Limits,
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
        let scheme = match location.provider {
            BucketProvider::S3 => "s3",
            BucketProvider::Azure => "az",
        };
        let shown = format!("{scheme}://{}/{root}", location.bucket);
        let bad = |reason: String| SourceError::BadStorage { storage: shown.clone(), reason };
        let root = Path::parse(root).map_err(|error| bad(format!("root_path is not a path: {error}")))?;
        choose_tls();
        let store = match location.provider {
            BucketProvider::S3 => s3(location, &limits),
            BucketProvider::Azure => azure(location, &limits),
        };
        let store = store.map_err(|error| bad(error.to_string()))?;
        let identity = match (location.provider, &location.endpoint, &location.key) {
            (BucketProvider::S3, endpoint, _) => {
                format!("bucket:{}:{}:{root}", endpoint.as_deref().unwrap_or("aws"), location.bucket)
            }
            (BucketProvider::Azure, Some(place), _) | (BucketProvider::Azure, None, Some((place, _))) => {
                format!("azure:{place}:{}:{root}", location.bucket)
            }
            (BucketProvider::Azure, None, None) => {
                let account = std::env::var("AZURE_STORAGE_ACCOUNT_NAME").unwrap_or_default();
                format!("azure:{account}:{}:{root}", location.bucket)
            }
        };
        Ok(Self { store, root, shown, identity, limits })
    }

    /// A path below the root; the numbers and fixed names that Milvus makes them of need no escaping.
    fn path(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Writes a file below the root and reads it back: a server that is told to read it must find these very bytes.
    ///
    /// # Errors
    /// [`SourceError::BadStorage`]; [`SourceError::Damaged`] when other bytes come back.
    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), SourceError> {
        let key = self.path(path);
        self.store.put(&key, bytes.clone().into()).await.map_err(|error| self.not_written(error))?;
        let back = self.store.get(&key).await.map_err(|error| self.failed(error))?;
        if back.bytes().await.map_err(|error| self.failed(error))? == bytes {
            return Ok(());
        }
        let reason = "what was just written there comes back as other bytes".to_owned();
        Err(SourceError::Damaged { path: format!("{}/{path}", self.shown), reason })
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
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                let reason = format!(
                    "{error}; a restore puts files into the server's bucket for it to read: give a key that may write and \
                     delete below {}",
                    self.in_bucket("longshore-staging")
                );
                SourceError::BadStorage { storage: self.shown.clone(), reason }
            }
            error => self.failed(error),
        }
    }

    fn failed(&self, error: object_store::Error) -> SourceError {
        let reason = match error {
            object_store::Error::NotFound { .. } => {
                "there is no such bucket; give the server's minio.bucketName, and its address as `endpoint`".to_owned()
            }
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                format!("{error}; give a key that may list and read this bucket")
            }
            // A listing that is refused has no kind of its own.
            error if is_refusal(&error) => format!("{error}; give a key that may list and read this bucket"),
            error => format!("{error}; check `endpoint`, `region`, `bucket` and the key"),
        };
        SourceError::BadStorage { storage: self.shown.clone(), reason }
    }
}

/// Whether the answer to a request was that the key is not good for it.
fn is_refusal(error: &object_store::Error) -> bool {
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

    fn location(root_path: &str) -> BucketLocation {
        BucketLocation {
            provider: BucketProvider::S3,
            bucket: "a-bucket".to_owned(),
            root_path: root_path.to_owned(),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: "us-east-1".to_owned(),
            key: Some(("id".to_owned(), Secret::new("hunter2"))),
            virtual_hosted: false,
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
