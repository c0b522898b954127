//! The host's configuration: what `longshore.toml` may say.
//!
//! Contract: reading checks everything that can be checked without touching a vault, a cluster or a plugin; unknown
//! keys are errors, so a typing mistake never silently means the default. Relative paths are relative to the folder of
//! the file. Failure: [`EngineError::Config`] with file, line and key.

mod cluster;
mod copies;
mod policy;
mod service;
mod volumes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_model::{ClusterId, CollectionName, ProjectId, Region, RegionId};
use longshore_policy::Guardrails;
use longshore_sandbox::Budget;
use serde::Deserialize;

use crate::facts::RECOVERY_POINT_OBJECTIVE_LABEL;
use crate::{EngineError, KeyFiles, Limits, RetentionRules};

pub use self::cluster::{ClusterConfig, MilvusConfig, MilvusStorageConfig};
pub use self::policy::{MemberConfig, PluginRef, PluginsConfig, PolicyConfig, STANDARD_PLUGIN, ShadowConfig};
pub(crate) use self::policy::{SMALL_FILE_BYTES, is_plugin_name, read_plugin};
pub use self::service::{CatalogSnapshots, LogConfig, LogFormat, PoolServer, RestoreConfig, WebhookConfig};
pub use self::volumes::VolumeConfig;

/// A whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Folder of the catalog and of clusters that restores make.
    pub data_directory: PathBuf,
    /// Whether compiled plugins are kept between starts, in a private folder of the data directory.
    #[serde(default = "yes")]
    pub plugin_cache: bool,
    /// Where the REST API listens.
    #[serde(default)]
    pub server: ServerConfig,
    /// The project all clusters and vaults belong to.
    pub project: ProjectConfig,
    /// The keys of encrypted vaults.
    #[serde(default)]
    pub keys: KeyFiles,
    /// Regions and their vaults.
    #[serde(rename = "region")]
    pub regions: Vec<RegionConfig>,
    /// Clusters to back up.
    #[serde(default, rename = "cluster")]
    pub clusters: Vec<ClusterConfig>,
    /// Folders that exports go to.
    #[serde(default, rename = "integration")]
    pub integrations: Vec<IntegrationConfig>,
    /// Folders that migrations read from.
    #[serde(default, rename = "volume")]
    pub volumes: Vec<VolumeConfig>,
    /// What restores keep to.
    #[serde(default)]
    pub restore: RestoreConfig,
    /// Empty servers that restores of whole clusters may be given.
    #[serde(default, rename = "server_pool")]
    pub server_pool: Vec<PoolServer>,
    /// Whom the host tells what happened.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
    /// How the host writes its log.
    #[serde(default)]
    pub log: LogConfig,
    /// Where the catalog keeps snapshots of itself.
    #[serde(default)]
    pub catalog_snapshots: CatalogSnapshots,
    /// Days for which the automatic backups of a cluster that was dropped are kept.
    #[serde(default)]
    pub dropped_cluster_grace_days: u32,
    /// The chains of policies.
    #[serde(default)]
    pub policy: PolicyConfig,
    /// Whose plugins are taken, and when one is no longer asked.
    #[serde(default)]
    pub plugins: PluginsConfig,
    /// What no policy may override.
    #[serde(default)]
    pub guardrails: Guardrails,
    /// Which automatic backups stay; without rules none is deleted.
    #[serde(default)]
    pub retention: RetentionRules,
    /// Limits of the engine.
    #[serde(default)]
    pub limits: Limits,
    /// Limits of the sandbox that no plugin's budget may exceed. A value that a given table leaves out is that of a
    /// default budget.
    #[serde(default = "default_ceiling")]
    pub plugin_ceiling: Budget,
}

const fn yes() -> bool {
    true
}

const fn default_ceiling() -> Budget {
    Budget::CEILING
}

/// The REST API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Calls a second that a key may make of one method and path.
    pub calls_per_second: u32,
    /// PEM file of the certificate, with those of its issuers behind it. With it the API is served over TLS only.
    pub tls_certificate_file: Option<PathBuf>,
    /// PEM file of its private key, which only its owner may read.
    pub tls_key_file: Option<PathBuf>,
}

impl ServerConfig {
    /// Certificate and key, if the API is served over TLS.
    #[must_use]
    pub fn tls_files(&self) -> Option<(&Path, &Path)> {
        self.tls_certificate_file.as_deref().zip(self.tls_key_file.as_deref())
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8642".to_owned(),
            calls_per_second: 20,
            tls_certificate_file: None,
            tls_key_file: None,
        }
    }
}

/// The project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectConfig {
    /// Its id, `proj-…`.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// What its backups may cost in a month, in millionths of the currency unit. Policies see it.
    #[serde(default)]
    pub month_budget_micros: Option<u64>,
}

/// A region and the folder of its vault.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its name, for example `aws-us-west-2`.
    pub id: RegionId,
    /// Who runs it.
    #[serde(default = "local_provider")]
    pub provider: String,
    /// Legal area, for example `eu`.
    #[serde(default)]
    pub jurisdiction: String,
    /// Price of keeping a gigabyte for a month, in millionths of the currency unit.
    #[serde(default)]
    pub storage_price_micros_per_gb_month: u64,
    /// Price of moving a gigabyte there, in millionths of the currency unit.
    #[serde(default)]
    pub transfer_price_micros_per_gb: u64,
    /// Folder of the vault; made when it does not exist. The first encrypted one of a project is made by
    /// `longshore init`.
    pub vault: PathBuf,
    /// Whether the vault is encrypted. All vaults of a project are, or none is: they share a key, which stands in the
    /// open in a vault that is not.
    #[serde(default)]
    pub encryption: RegionEncryption,
}

/// Whether the vault of a region is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum RegionEncryption {
    /// Whoever can read its folder can read what was backed up.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Only who has a reader key can.
    #[serde(rename = "age-1")]
    Age1,
}

fn local_provider() -> String {
    "local".to_owned()
}

impl RegionConfig {
    /// The region without its vault.
    #[must_use]
    pub fn region(&self) -> Region {
        Region {
            id: self.id.clone(),
            provider: self.provider.clone(),
            jurisdiction: self.jurisdiction.clone(),
            storage_price_micros_per_gb_month: self.storage_price_micros_per_gb_month,
            transfer_price_micros_per_gb: self.transfer_price_micros_per_gb,
        }
    }
}

/// A place that exports go to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntegrationConfig {
    /// Its id, as callers name it: `integ-…`.
    pub id: String,
    /// The folder in which each export makes one of its own.
    pub folder: PathBuf,
}

/// A collection's name as a key of a table: `collection` or `database.collection`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CollectionKey(pub CollectionName);

impl<'de> Deserialize<'de> for CollectionKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The folder of a file as an absolute path: locations go into the catalog, and the next start may be in another folder.
pub(crate) fn folder_of(path: &Path) -> Result<PathBuf, EngineError> {
    let absolute = std::path::absolute(path).map_err(|error| EngineError::file(path, error))?;
    Ok(absolute.parent().map(Path::to_owned).unwrap_or_default())
}

pub(crate) fn bad_toml(error: &toml::de::Error) -> EngineError {
    EngineError::Config { place: String::new(), what: error.to_string().trim_end().to_owned() }
}

/// Says in which file a mistake is.
pub(crate) fn in_file(path: &Path, error: EngineError) -> EngineError {
    match error {
        EngineError::Config { place, what } if place.is_empty() => {
            EngineError::Config { place: path.display().to_string(), what }
        }
        EngineError::Config { place, what } => {
            EngineError::Config { place: format!("{}, {place}", path.display()), what }
        }
        other => other,
    }
}

pub(crate) fn read_text(path: &Path) -> Result<String, EngineError> {
    let limit = Limits::default().config_file_bytes;
    let size = std::fs::metadata(path).map_err(|error| EngineError::file(path, error))?.len();
    if size > limit {
        let what = format!("is {size} bytes; a configuration has at most {limit}");
        return Err(EngineError::Config { place: path.display().to_string(), what });
    }
    std::fs::read_to_string(path).map_err(|error| EngineError::file(path, error))
}

impl HostConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`EngineError::Config`] for anything that is not a good configuration, [`EngineError::File`] when it cannot be
    /// read.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = read_text(path)?;
        Self::parse(&text, &folder_of(path)?).map_err(|error| in_file(path, error))
    }

    /// Parses a configuration; `folder` is what relative paths are relative to.
    ///
    /// # Errors
    /// [`EngineError::Config`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, EngineError> {
        let mut config: Self = toml::from_str(text).map_err(|error| bad_toml(&error))?;
        config.data_directory = folder.join(&config.data_directory);
        for region in &mut config.regions {
            region.vault = folder.join(&region.vault);
        }
        for path in [&mut config.keys.writer_key_file, &mut config.keys.reader_key_file].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let server = &mut config.server;
        for path in [&mut server.tls_certificate_file, &mut server.tls_key_file].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        for cluster in &mut config.clusters {
            cluster.resolve(folder);
            cluster.policy.resolve(folder);
        }
        config.server_pool.iter_mut().for_each(|server| server.resolve(folder));
        if let Some(webhook) = &mut config.webhook {
            webhook.secret_file = folder.join(&webhook.secret_file);
        }
        for integration in &mut config.integrations {
            integration.folder = folder.join(&integration.folder);
        }
        for volume in &mut config.volumes {
            volume.folder = folder.join(&volume.folder);
        }
        config.policy.resolve(folder);
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), EngineError> {
        let wrong = |place: &str, what: String| Err(EngineError::Config { place: place.to_owned(), what });
        if self.regions.is_empty() {
            return wrong("[[region]]", "there must be at least one region with a vault".to_owned());
        }
        if let Err(what) = self.limits.check() {
            return wrong("[limits]", what);
        }
        if self.server.tls_certificate_file.is_some() != self.server.tls_key_file.is_some() {
            let what = "tls_certificate_file and tls_key_file belong together; give both or none";
            return wrong("[server]", what.to_owned());
        }
        if let Err(what) = self.plugins.check() {
            return wrong("[plugins]", what);
        }
        let mut seen = BTreeSet::new();
        let mut vaults = BTreeSet::new();
        for region in &self.regions {
            if !seen.insert(region.id.as_str()) {
                return wrong("[[region]]", format!("region `{}` stands there twice", region.id));
            }
            if !vaults.insert(&region.vault) {
                let what = format!("vault {} belongs to two regions; each needs its own", region.vault.display());
                return wrong("[[region]]", what);
            }
        }
        self.check_encryption()?;
        self.check_service(&seen)?;
        let mut clusters = BTreeSet::new();
        for cluster in &self.clusters {
            if !clusters.insert(cluster.id.as_str()) {
                return wrong("[[cluster]]", format!("cluster `{}` stands there twice", cluster.id));
            }
            check_cluster_name(&cluster.name)
                .and_then(|()| cluster.check())
                .map_err(|what| EngineError::Config { place: format!("[[cluster]] {}", cluster.id), what })?;
            if !seen.contains(cluster.region.as_str()) {
                let what =
                    format!("cluster `{}` is in region `{}`, which has no [[region]]", cluster.id, cluster.region);
                return wrong("[[cluster]]", what);
            }
        }
        for (place, integration) in self.integrations.iter().enumerate() {
            if integration.id.is_empty() || self.integrations.iter().take(place).any(|other| other.id == integration.id)
            {
                return wrong("[[integration]]", format!("id `{}` is empty or stands there twice", integration.id));
            }
        }
        for region in self.guardrails.allowed_regions.iter().flatten() {
            if !seen.contains(region.as_str()) {
                return wrong("[guardrails]", format!("allowed region `{region}` has no [[region]]"));
            }
        }
        Ok(())
    }

    fn check_service(&self, regions: &BTreeSet<&str>) -> Result<(), EngineError> {
        let places = [
            ("[restore]", self.restore.check()),
            ("[[server_pool]]", service::check_pool(&self.server_pool, regions)),
            ("[[volume]]", volumes::check(&self.volumes)),
            ("[webhook]", self.webhook.as_ref().map_or(Ok(()), WebhookConfig::check)),
            ("[catalog_snapshots]", self.catalog_snapshots.check(regions)),
        ];
        for (place, checked) in places {
            checked.map_err(|what| EngineError::Config { place: place.to_owned(), what })?;
        }
        Ok(())
    }

    /// How old the newest good backup of a cluster may become, in milliseconds: what the cluster says, or the shortest that
    /// a label of its collections says.
    #[must_use]
    pub(crate) fn recovery_point_objective_ms(&self, cluster: &ClusterId) -> Option<i64> {
        let cluster = self.clusters.iter().find(|one| one.id == *cluster)?;
        let labels = cluster.labels.values().filter_map(|labels| labels.get(RECOVERY_POINT_OBJECTIVE_LABEL));
        let seconds = labels.filter_map(|text| text.parse().ok()).chain(cluster.recovery_point_objective_seconds);
        seconds.min().map(|seconds: u64| i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
    }

    /// Regions whose vaults keep snapshots of the catalog.
    #[must_use]
    pub fn snapshot_regions(&self) -> Vec<RegionId> {
        let first = || self.regions.iter().take(1).map(|region| region.id.clone()).collect();
        self.catalog_snapshots.regions.clone().unwrap_or_else(first)
    }

    /// Where the catalog is.
    pub(crate) fn catalog_file(&self) -> PathBuf {
        self.data_directory.join("catalog.sqlite")
    }

    /// Where plugin files are kept.
    pub(crate) fn plugin_folder(&self) -> PathBuf {
        self.data_directory.join("plugins")
    }

    /// The retention rules of a cluster: its own, or those of the host.
    #[must_use]
    pub fn retention_of(&self, cluster: &ClusterId) -> RetentionRules {
        let own = self.clusters.iter().find(|one| one.id == *cluster).and_then(|one| one.retention);
        own.unwrap_or(self.retention)
    }

    fn check_encryption(&self) -> Result<(), EngineError> {
        let wrong =
            |place: &str, what: &str| Err(EngineError::Config { place: place.to_owned(), what: what.to_owned() });
        let encrypted = self.regions.iter().filter(|region| region.encryption == RegionEncryption::Age1).count();
        if encrypted > 0 && encrypted < self.regions.len() {
            let what = "some regions have `encryption = \"age-1\"` and some have not; the vaults of a project share a \
                        key, so all are encrypted or none is";
            return wrong("[[region]]", what);
        }
        match (encrypted > 0, &self.keys) {
            (true, KeyFiles { writer_key_file: None, reader_key_file: None }) => wrong(
                "[keys]",
                "the vaults are encrypted: give `writer_key_file`, and `reader_key_file` to restore, too",
            ),
            (false, keys) if *keys != KeyFiles::default() => wrong(
                "[keys]",
                "keys are given and no region is encrypted: say `encryption = \"age-1\"` in every [[region]]",
            ),
            _ => Ok(()),
        }
    }

    /// The configured region of this name.
    #[must_use]
    pub fn region(&self, id: &RegionId) -> Option<&RegionConfig> {
        self.regions.iter().find(|region| region.id == *id)
    }
}

/// Accepts a cluster name: 1 to 64 letters, digits and hyphens (Zilliz error 96010).
///
/// # Errors
/// A sentence that says what a name may be.
pub fn check_cluster_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        return Ok(());
    }
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    Err(format!("`{shown}` is not a cluster name: use 1 to 64 letters, digits and hyphens"))
}

#[cfg(test)]
mod tests;
