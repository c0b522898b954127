//! `[[cluster]]`: where a cluster is and how it is reached.
//!
//! Secrets never stand in the configuration: it names the file or the environment variable that holds one, which is read
//! when the cluster is opened. Failure: [`EngineError`]; no message repeats a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_model::{ClusterId, CollectionName, RegionId};
use longshore_source::milvus::{
    BucketLocation, BucketProvider, Credentials, Secret, ServerAddress, StorageLocation, Tls,
};
use longshore_source::{MilvusServer, MilvusTarget, MilvusTargetOptions, SourceKind, StagingPlace};
use serde::Deserialize;

use super::{CollectionKey, PolicyConfig};
use crate::keys::read_private;
use crate::{EngineError, RetentionRules};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its id, `in01-…`.
    pub id: ClusterId,
    /// Its name: letters, digits and hyphens.
    pub name: String,
    /// Its home region.
    pub region: RegionId,
    /// Folder of its Milvus Lite data, for a cluster of kind `milvus-lite`.
    #[serde(default)]
    pub milvus_lite: Option<PathBuf>,
    /// How its server is reached, for a cluster of kind `milvus`.
    #[serde(default)]
    pub milvus: Option<MilvusConfig>,
    /// How old its newest good backup may become before the host raises the alarm, in seconds; also without a schedule. A
    /// label `recovery_point_objective_seconds` of a collection says the same.
    #[serde(default)]
    pub recovery_point_objective_seconds: Option<u64>,
    /// Budget that is shown to the policies of this cluster in place of the project's. What it is held against are the costs
    /// of the whole project: a lower one makes way for other clusters.
    #[serde(default)]
    pub month_budget_micros: Option<u64>,
    /// Rules in place of `[retention]`; the whole table, not single values.
    #[serde(default)]
    pub retention: Option<RetentionRules>,
    /// Chains in place of those of the project, kind by kind: a kind that is named here is exactly what it says, one that
    /// is not is the project's.
    #[serde(default)]
    pub policy: PolicyConfig,
    /// Labels by collection (`database.collection`), for policies.
    #[serde(default)]
    pub labels: BTreeMap<CollectionKey, BTreeMap<String, String>>,
}

impl ClusterConfig {
    /// Labels as policies see them.
    #[must_use]
    pub(crate) fn labels_of_collections(&self) -> BTreeMap<CollectionName, Vec<(String, String)>> {
        let pairs = |labels: &BTreeMap<String, String>| labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        self.labels.iter().map(|(key, labels)| (key.0.clone(), pairs(labels))).collect()
    }

    /// What kind of cluster it is.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        if self.milvus.is_some() { SourceKind::Milvus } else { SourceKind::MilvusLite }
    }

    /// Where it is, as the catalog keeps it: a folder or the address of a server.
    #[must_use]
    pub fn location(&self) -> String {
        match (&self.milvus, &self.milvus_lite) {
            (Some(milvus), _) => milvus.endpoint.clone(),
            (None, Some(folder)) => folder.display().to_string(),
            (None, None) => String::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.milvus_lite, &self.milvus) {
            (Some(_), None) => Ok(()),
            (None, Some(milvus)) => milvus.check(),
            (None, None) => Err("says neither `milvus_lite` nor has it a table `milvus`; give one of them".to_owned()),
            (Some(_), Some(_)) => Err("has both `milvus_lite` and a table `milvus`; give one of them".to_owned()),
        }
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        if let Some(path) = &mut self.milvus_lite {
            *path = folder.join(&*path);
        }
        if let Some(milvus) = &mut self.milvus {
            milvus.resolve(folder);
        }
    }
}

/// How a Milvus server is reached and where it keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MilvusConfig {
    /// `http://host:19530`, `https://host:19530` for TLS.
    pub endpoint: String,
    /// Its user, where the server asks for one.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the user's password; only its owner may read it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// File with a token in place of user and password.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Environment variable with a token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// The authority that the server's certificate must come from, PEM; those of the system when left out.
    #[serde(default)]
    pub ca_certificate_file: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the host of the endpoint.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Certificate that this side shows, PEM.
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// Its key, PEM; only its owner may read it.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Where the server keeps its files.
    pub storage: MilvusStorageConfig,
    /// Where restores put files for the server to read; a folder in its storage when left out.
    #[serde(default)]
    pub staging: Option<MilvusStagingConfig>,
}

/// Where restores put files for a Milvus server to read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MilvusStagingConfig {
    /// A folder that this machine and the server see.
    pub folder: PathBuf,
    /// The same folder as the server sees it, where that is another path, as in a container.
    #[serde(default)]
    pub server_folder: Option<PathBuf>,
}

/// Where a Milvus server keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MilvusStorageConfig {
    /// The server's `localStorage.path`, a folder that this machine sees too.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Or the server's `minio.bucketName`; a container of Azure.
    #[serde(default)]
    pub bucket: Option<String>,
    /// What the bucket speaks: `s3`, or for the server's `minio.cloudProvider` of that name `azure`, and for `gcp` and
    /// `gcpnative` `gcs`.
    #[serde(default)]
    pub provider: BucketProvider,
    /// The server's `minio.rootPath`, the folder in the bucket that has `insert_log` in it.
    #[serde(default)]
    pub root_path: String,
    /// `https://host:port` of a store that speaks S3; AWS itself when left out. Of Azure `https://account.blob.…`, which is left
    /// out for its public cloud.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region of the bucket; stores other than AWS take any.
    #[serde(default = "default_region")]
    pub region: String,
    /// Id of the key, of Azure the storage account; with neither id nor key, what the environment (`AWS_…`, `AZURE_…`) or the
    /// machine has.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// File with the key; only its owner may read it.
    #[serde(default)]
    pub secret_access_key_file: Option<PathBuf>,
    /// Environment variable with the key.
    #[serde(default)]
    pub secret_access_key_env: Option<String>,
    /// The key file of a service account of Google Cloud; only its owner may read it. When left out, what the environment
    /// (`GOOGLE_…`) or the machine has.
    #[serde(default)]
    pub service_account_file: Option<PathBuf>,
    /// Authorities that the store's certificate may come from beside those of the system, PEM.
    #[serde(default)]
    pub ca_certificate_file: Option<PathBuf>,
    /// Whether the bucket is part of the host's name.
    #[serde(default)]
    pub virtual_hosted: bool,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

impl MilvusConfig {
    /// The server with its secrets read.
    ///
    /// # Errors
    /// [`EngineError::File`] for a file that cannot be read or that others can read, [`EngineError::BadRequest`] for what does
    /// not go together. No message repeats a secret.
    pub fn server(&self) -> Result<MilvusServer, EngineError> {
        let address =
            ServerAddress { endpoint: self.endpoint.clone(), credentials: self.credentials()?, tls: self.tls()? };
        Ok(MilvusServer { address, storage: self.storage.location()? })
    }

    /// The server as the target of a restore, with its secrets read. `options` say how; where files are staged stands here.
    ///
    /// # Errors
    /// As [`MilvusConfig::server`].
    pub fn restore_target(&self, options: MilvusTargetOptions) -> Result<MilvusTarget, EngineError> {
        let staging = self.staging.as_ref().map(|staging| StagingPlace {
            folder: staging.folder.clone(),
            server_folder: staging.server_folder.clone(),
        });
        Ok(MilvusTarget::new(self.server()?, MilvusTargetOptions { staging, ..options }))
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        let paths = [
            &mut self.password_file,
            &mut self.token_file,
            &mut self.ca_certificate_file,
            &mut self.client_certificate_file,
            &mut self.client_key_file,
            &mut self.storage.folder,
            &mut self.storage.secret_access_key_file,
            &mut self.storage.service_account_file,
            &mut self.storage.ca_certificate_file,
        ];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        if let Some(staging) = &mut self.staging {
            staging.folder = folder.join(&staging.folder);
        }
    }

    /// What goes together, without reading a secret.
    pub(super) fn check(&self) -> Result<(), String> {
        let has_password = one_of("password", self.password_file.as_deref(), self.password_env.as_deref())?;
        let has_token = one_of("token", self.token_file.as_deref(), self.token_env.as_deref())?;
        match (&self.user, has_password, has_token) {
            (None, false, _) | (Some(_), true, false) => {}
            (Some(user), false, _) => {
                return Err(format!("user `{user}` has no password; give `password_file` or `password_env`"));
            }
            (None, true, _) => return Err("has a password and no `user`".to_owned()),
            (Some(_), true, true) => return Err("has a token and a user; give one of them".to_owned()),
        }
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            return Err("`client_certificate_file` and `client_key_file` belong together".to_owned());
        }
        self.storage.check()
    }

    fn credentials(&self) -> Result<Option<Credentials>, EngineError> {
        let password = secret("password", self.password_file.as_deref(), self.password_env.as_deref())?;
        let token = secret("token", self.token_file.as_deref(), self.token_env.as_deref())?;
        Ok(match (&self.user, password, token) {
            (Some(user), Some(password), _) => Some(Credentials::Password { user: user.clone(), password }),
            (_, _, token) => token.map(Credentials::Token),
        })
    }

    fn tls(&self) -> Result<Option<Tls>, EngineError> {
        let identity = match (&self.client_certificate_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, Secret::new(read_private(key)?.as_str()))),
            _ => None,
        };
        let tls = Tls {
            ca_certificate: self.ca_certificate_file.as_deref().map(read).transpose()?,
            server_name: self.server_name.clone(),
            identity,
        };
        Ok((tls != Tls::default()).then_some(tls))
    }
}

impl MilvusStorageConfig {
    fn check(&self) -> Result<(), String> {
        let has_key =
            one_of("secret_access_key", self.secret_access_key_file.as_deref(), self.secret_access_key_env.as_deref())?;
        match (&self.folder, &self.bucket) {
            (Some(_), Some(_)) => return Err("its storage has both a `folder` and a `bucket`; give one".to_owned()),
            (None, None) => {
                return Err("its storage has neither a `folder` (the server's localStorage.path) nor a `bucket` \
                            (minio.bucketName); give one"
                    .to_owned());
            }
            (Some(_), None)
                if has_key
                    || self.endpoint.is_some()
                    || self.service_account_file.is_some()
                    || self.ca_certificate_file.is_some()
                    || !self.root_path.is_empty() =>
            {
                return Err(
                    "its storage is a `folder`, which has no key, certificate, endpoint or root_path".to_owned()
                );
            }
            (None, Some(_)) if self.provider == BucketProvider::Gcs && (has_key || self.access_key_id.is_some()) => {
                return Err(
                    "a bucket of `gcs` has no `access_key_id`; give a `service_account_file`, or say `s3` for HMAC \
                            keys, with endpoint = \"https://storage.googleapis.com\""
                        .to_owned(),
                );
            }
            (None, Some(_)) if self.provider != BucketProvider::Gcs && self.service_account_file.is_some() => {
                return Err("`service_account_file` is of provider = \"gcs\"".to_owned());
            }
            (None, Some(_)) if has_key != self.access_key_id.is_some() => {
                return Err("`access_key_id` and the secret access key belong together".to_owned());
            }
            (Some(_), None) if self.provider != BucketProvider::S3 => {
                return Err("its storage is a `folder`, which has no provider".to_owned());
            }
            (None, Some(_)) if self.provider != BucketProvider::S3 && self.virtual_hosted => {
                return Err("`virtual_hosted` is of S3; elsewhere the bucket is always a part of the path".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn location(&self) -> Result<StorageLocation, EngineError> {
        let Some(bucket) = &self.bucket else {
            return Ok(StorageLocation::Folder(self.folder.clone().unwrap_or_default()));
        };
        let (file, variable) = (self.secret_access_key_file.as_deref(), self.secret_access_key_env.as_deref());
        let key = match &self.service_account_file {
            Some(file) => secret("service account", Some(file), None)?.map(|key| (String::new(), key)),
            None => self.access_key_id.clone().zip(secret("secret_access_key", file, variable)?),
        };
        Ok(StorageLocation::Bucket(BucketLocation {
            provider: self.provider,
            bucket: bucket.clone(),
            root_path: self.root_path.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            key,
            ca_certificate: self.ca_certificate_file.as_deref().map(read).transpose()?,
            virtual_hosted: self.virtual_hosted,
        }))
    }
}

/// Whether one of both is given.
fn one_of(what: &str, file: Option<&Path>, variable: Option<&str>) -> Result<bool, String> {
    match (file, variable) {
        (Some(_), Some(_)) => Err(format!("has both `{what}_file` and `{what}_env`; give one of them")),
        (file, variable) => Ok(file.is_some() || variable.is_some()),
    }
}

fn bad(what: String) -> EngineError {
    EngineError::BadRequest { what }
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    std::fs::read(path).map_err(|error| EngineError::file(path, error))
}

/// A secret out of a file or an environment variable. White space around it is no part of it.
fn secret(what: &str, file: Option<&Path>, variable: Option<&str>) -> Result<Option<Secret>, EngineError> {
    let text = match (file, variable) {
        (None, None) => return Ok(None),
        (Some(file), _) => read_private(file)?,
        (None, Some(variable)) => match std::env::var(variable) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(_) => return Err(bad(format!("the environment variable {variable} (`{what}_env`) is not set"))),
        },
    };
    if text.trim().is_empty() {
        return Err(bad(format!("the {what} is empty")));
    }
    Ok(Some(Secret::new(text.trim())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::HostConfig;

    const BEFORE: &str = "data_directory = \"data\"\n[project]\nid = \"proj-a\"\nname = \"A\"\n[[region]]\nid = \"local-eu\"\n\
                          vault = \"eu\"\n[[cluster]]\nid = \"in01-aa\"\nname = \"A\"\nregion = \"local-eu\"\n";

    fn parse(cluster: &str, folder: &Path) -> Result<MilvusConfig, String> {
        let config = HostConfig::parse(&format!("{BEFORE}{cluster}"), folder).map_err(|error| error.to_string())?;
        Ok(config.clusters[0].milvus.clone().unwrap())
    }

    #[test]
    fn a_server_gets_its_secrets_from_files_that_only_their_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(folder.path().join(name), text).unwrap();
            std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        let text = "[cluster.milvus]\nendpoint = \"http://h:19530\"\nuser = \"root\"\npassword_file = \"password\"\n\
                    [cluster.milvus.storage]\nbucket = \"b\"\nroot_path = \"files\"\naccess_key_id = \"id\"\n\
                    secret_access_key_file = \"key\"\n";
        let config = parse(text, folder.path()).unwrap();
        assert!(config.server().unwrap_err().to_string().contains("password"), "it is not there yet");
        write("password", "hunter2\n", 0o600);
        write("key", "hunter3\n", 0o644);
        assert!(config.server().unwrap_err().to_string().contains("chmod 600"));
        write("key", "hunter3\n", 0o600);
        let server = config.server().unwrap();
        let password = Credentials::Password { user: "root".to_owned(), password: Secret::new("hunter2") };
        assert_eq!(server.address.credentials, Some(password));
        let StorageLocation::Bucket(bucket) = &server.storage else { panic!("{server:?}") };
        assert_eq!(bucket.key, Some(("id".to_owned(), Secret::new("hunter3"))));
        assert!(!format!("{server:?}{config:?}").contains("hunter"));
        let text = "[cluster.milvus]\nendpoint = \"http://h:19530\"\n[cluster.milvus.storage]\nbucket = \"b\"\n\
                    provider = \"gcs\"\nservice_account_file = \"key\"\nca_certificate_file = \"authority.pem\"\n";
        let config = parse(text, folder.path()).unwrap();
        assert!(config.server().unwrap_err().to_string().contains("authority.pem"), "it is not there yet");
        write("authority.pem", "-----BEGIN", 0o644);
        let server = config.server().unwrap();
        let StorageLocation::Bucket(bucket) = &server.storage else { panic!("{server:?}") };
        assert_eq!(bucket.key, Some((String::new(), Secret::new("hunter3"))));
        assert_eq!(bucket.ca_certificate.as_deref(), Some("-----BEGIN".as_bytes()));
        assert!(!format!("{server:?}").contains("hunter"));
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_place() {
        let storage = "[cluster.milvus.storage]\nfolder = \"data\"\n";
        let server = |more: &str| format!("[cluster.milvus]\nendpoint = \"http://h:1\"\n{more}\n{storage}");
        for (cluster, expected) in [
            (String::new(), "neither `milvus_lite` nor"),
            (format!("milvus_lite = \"x\"\n{}", server("")), "has both `milvus_lite`"),
            (server("user = \"root\""), "`root` has no password"),
            (server("password_env = \"P\""), "has a password and no `user`"),
            (server("user = \"a\"\npassword_env = \"P\"\npassword_file = \"p\""), "give one of them"),
            (server("user = \"a\"\npassword_env = \"P\"\ntoken_env = \"T\""), "a token and a user"),
            (server("client_key_file = \"k\""), "belong together"),
            (server("").replace("folder = \"data\"", ""), "neither a `folder`"),
            (format!("{}bucket = \"b\"\n", server("")), "both a `folder` and a `bucket`"),
            (format!("{}root_path = \"b\"\n", server("")), "has no key, certificate, endpoint or root_path"),
            (server("").replace("folder = \"data\"", "bucket = \"b\"\naccess_key_id = \"i\""), "belong together"),
            (
                server("").replace("folder = \"data\"", "bucket = \"b\"\nprovider = \"gcs\"\naccess_key_id = \"i\""),
                "service_account_file",
            ),
            (
                server("").replace("folder = \"data\"", "bucket = \"b\"\nservice_account_file = \"s\""),
                "is of provider = \"gcs\"",
            ),
            (format!("{}ca_certificate_file = \"c\"\n", server("")), "has no key, certificate"),
            (server("pasword_file = \"p\""), "pasword_file"),
        ] {
            let error = parse(&cluster, Path::new("/etc")).unwrap_err();
            assert!(
                error.contains(expected) && (error.contains("in01-aa") || error.contains("pasword")),
                "{cluster}: {error}"
            );
        }
        let config = parse(&server(""), Path::new("/etc")).unwrap();
        assert_eq!(config.storage.folder.as_deref(), Some(Path::new("/etc/data")));
    }
}
