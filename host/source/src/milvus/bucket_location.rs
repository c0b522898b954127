//! Where a bucket is, the keys to it, and the client for it: S3, Azure Blob Storage or Google Cloud Storage.
//!
//! Failure: a sentence part about what is wrong with the location; nothing is asked of the store here.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use serde::Deserialize;

use super::address::Secret;
use crate::Limits;

/// How a bucket is spoken to; what the server calls `minio.cloudProvider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketProvider {
    /// S3, which most stores speak.
    #[default]
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage, with a service account.
    Gcs,
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
    /// Key id (the storage account, for Azure; nothing for GCS) and key (the JSON of a service account, for GCS); `None` for what
    /// the environment or the machine has (`AWS_…`, `AZURE_…` or `GOOGLE_…`, instance metadata).
    pub key: Option<(String, Secret)>,
    /// Authorities that the store's certificate may come from beside those of the system, PEM.
    pub ca_certificate: Option<Vec<u8>>,
    /// Whether the bucket is part of the host's name (`bucket.host`) and not of the path; never for Azure and GCS.
    pub virtual_hosted: bool,
}

impl BucketProvider {
    /// What addresses of its buckets begin with.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Gcs => "gs",
        }
    }
}

impl BucketLocation {
    /// A client for it.
    pub(super) fn client(&self, limits: &Limits) -> Result<Arc<dyn ObjectStore>, String> {
        choose_tls();
        let asking = asking(self, limits, authorities(self.ca_certificate.as_deref())?);
        let store = match self.provider {
            BucketProvider::S3 => s3(self, asking),
            BucketProvider::Azure => azure(self, asking),
            BucketProvider::Gcs => gcs(self, asking),
        };
        store.map_err(|error| error.to_string())
    }

    /// What makes it the same place later, whoever holds keys to it.
    pub(super) fn identity(&self, root: &Path) -> String {
        let bucket = &self.bucket;
        match (self.provider, &self.endpoint, &self.key) {
            (BucketProvider::S3, endpoint, _) => {
                format!("bucket:{}:{bucket}:{root}", endpoint.as_deref().unwrap_or("aws"))
            }
            (BucketProvider::Gcs, endpoint, _) => {
                format!("gcs:{}:{bucket}:{root}", endpoint.as_deref().unwrap_or("google"))
            }
            (BucketProvider::Azure, Some(place), _) | (BucketProvider::Azure, None, Some((place, _))) => {
                format!("azure:{place}:{bucket}:{root}")
            }
            (BucketProvider::Azure, None, None) => {
                let account = std::env::var("AZURE_STORAGE_ACCOUNT_NAME").unwrap_or_default();
                format!("azure:{account}:{bucket}:{root}")
            }
        }
    }
}

/// How stores are asked.
type Asking = (ClientOptions, RetryConfig);

/// The certificates in a file of PEM; what is wrong with it is a sentence.
fn authorities(pem: Option<&[u8]>) -> Result<Vec<Certificate>, String> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    let found = Certificate::from_pem_bundle(pem).map_err(|error| error.to_string());
    let found =
        found.and_then(|found| if found.is_empty() { Err("there is none in it".to_owned()) } else { Ok(found) });
    found.map_err(|why| format!("ca_certificate_file holds no certificates in PEM: {why}"))
}

fn asking(location: &BucketLocation, limits: &Limits, authorities: Vec<Certificate>) -> Asking {
    let timeout = Duration::from_millis(limits.call_timeout_ms);
    let endpoint = location.endpoint.as_deref();
    let mut options = ClientOptions::new()
        .with_connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
        .with_timeout(timeout)
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
    for authority in authorities {
        options = options.with_root_certificate(authority);
    }
    (options, RetryConfig { max_retries: 5, retry_timeout: timeout, ..RetryConfig::default() })
}

fn s3(location: &BucketLocation, (options, retry): Asking) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match &location.key {
        Some((id, key)) => AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(key.expose()),
        None => AmazonS3Builder::from_env(),
    };
    builder = builder
        .with_bucket_name(&location.bucket)
        .with_region(&location.region)
        .with_virtual_hosted_style_request(location.virtual_hosted)
        // Not every store that speaks S3 takes `DeleteObjects`, and there are few files to remove.
        .with_disable_bulk_delete(true)
        .with_client_options(options)
        .with_retry(retry);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(location: &BucketLocation, (options, retry): Asking) -> object_store::Result<Arc<dyn ObjectStore>> {
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

fn gcs(location: &BucketLocation, (options, retry): Asking) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match &location.key {
        Some((_, key)) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder.with_bucket_name(&location.bucket).with_client_options(options).with_retry(retry);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

/// Says which cryptography TLS uses, for clients that are built without one. Whoever else in this program uses TLS may have
/// chosen already, and that is as good.
pub fn choose_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}
