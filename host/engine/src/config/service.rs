//! What a host does beside its jobs: restores into servers that wait, a webhook, its log, snapshots of its catalog.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_model::RegionId;
use longshore_source::SourceKind;
use serde::Deserialize;

use super::MilvusConfig;
use crate::passwords::ADMINISTRATOR;

/// Longest time a webhook may take to answer, in milliseconds.
const WEBHOOK_TIMEOUT_MS: u64 = 60_000;
/// Most attempts to tell a webhook something.
const WEBHOOK_ATTEMPTS: u32 = 20;
/// Most shards of a collection that a Milvus server takes unless it is told otherwise (`proxy.maxShardNum`).
const MOST_SHARDS: u32 = 16;

/// What restores keep to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreConfig {
    /// Shards that a collection may have for each CU of the cluster it is restored into.
    pub shards_per_cu: u32,
    /// Shards that a collection may have however large its cluster is.
    pub most_shards: u32,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self { shards_per_cu: 2, most_shards: MOST_SHARDS }
    }
}

impl RestoreConfig {
    /// Shards that a collection has after it was restored into a cluster of this size: never more than it had, and at
    /// least one.
    #[must_use]
    pub fn shards(&self, backed_up: u32, cu_size: u32) -> u32 {
        let allowed = cu_size.saturating_mul(self.shards_per_cu).min(self.most_shards);
        backed_up.min(allowed).max(1)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.shards_per_cu == 0 || self.most_shards == 0 {
            return Err("shards_per_cu and most_shards are at least 1: every collection has a shard".to_owned());
        }
        Ok(())
    }
}

/// An empty server that a restore of a whole cluster may be given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolServer {
    /// What people call it.
    pub name: String,
    /// Its region.
    pub region: RegionId,
    /// Its size.
    #[serde(default = "one")]
    pub cu_size: u32,
    /// How a server of kind `milvus` is reached, also after a restore was given it: the catalog keeps its address only.
    #[serde(default)]
    pub milvus: Option<MilvusConfig>,
    /// Which kind of cluster it is, where an embedder brings one of its own.
    #[serde(default)]
    pub kind: String,
    /// Where it is, as the source of its kind takes it. No credentials.
    #[serde(default)]
    pub location: String,
}

impl PoolServer {
    /// Relative paths are relative to `folder`.
    pub(super) fn resolve(&mut self, folder: &Path) {
        if let Some(milvus) = &mut self.milvus {
            milvus.resolve(folder);
            if self.kind.is_empty() && self.location.is_empty() {
                (self.kind, self.location) = (SourceKind::Milvus.as_str().to_owned(), milvus.endpoint.clone());
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let Self { name, milvus, kind, location, cu_size, .. } = self;
        match milvus {
            Some(milvus) if (kind.as_str(), location) != (SourceKind::Milvus.as_str(), &milvus.endpoint) => {
                return Err(format!("`{name}` has a table `milvus`, which says its kind and location; leave them out"));
            }
            Some(milvus) if milvus.user.as_deref() == Some(ADMINISTRATOR) => {
                return Err(format!(
                    "`{name}` is used as `{ADMINISTRATOR}`, whom a restore makes anew; give another user"
                ));
            }
            Some(milvus) => milvus.check().map_err(|what| format!("`{name}`: {what}"))?,
            None if kind.is_empty() || location.is_empty() => {
                return Err(format!("`{name}` does not say where it is; give it a table `milvus`"));
            }
            None => {}
        }
        if (1..=1024).contains(cu_size) {
            Ok(())
        } else {
            Err(format!("cu_size of `{name}` is 1 to 1024, not {cu_size}"))
        }
    }
}

const fn one() -> u32 {
    1
}

pub(super) fn check_pool(pool: &[PoolServer], regions: &BTreeSet<&str>) -> Result<(), String> {
    let (mut names, mut locations) = (BTreeSet::new(), BTreeSet::new());
    for server in pool {
        if server.name.is_empty() || !names.insert(&server.name) {
            return Err(format!("name `{}` is empty or stands there twice", server.name));
        }
        server.check()?;
        if !locations.insert(&server.location) {
            return Err(format!("the location of `{}` stands there twice", server.name));
        }
        if !regions.contains(server.region.as_str()) {
            return Err(format!("`{}` is in region `{}`, which has no [[region]]", server.name, server.region));
        }
    }
    Ok(())
}

/// Whom the host tells of jobs that ended and of clusters without a good backup.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where the messages go: `https://…`, or `http://…` where nobody listens in. May hold a token, so it is not shown.
    pub url: String,
    /// File with the secret that messages are signed with, readable by its owner alone.
    pub secret_file: PathBuf,
    /// How long one attempt may take, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    /// Attempts to tell one thing before it is given up.
    #[serde(default = "eight")]
    pub attempts: u32,
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("secret_file", &self.secret_file).finish_non_exhaustive()
    }
}

const fn ten_seconds() -> u64 {
    10_000
}

const fn eight() -> u32 {
    8
}

impl WebhookConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err("url begins with https:// or http://".to_owned());
        }
        if !(1..=WEBHOOK_TIMEOUT_MS).contains(&self.timeout_ms) {
            return Err(format!("timeout_ms is 1 to {WEBHOOK_TIMEOUT_MS}, not {}", self.timeout_ms));
        }
        if !(1..=WEBHOOK_ATTEMPTS).contains(&self.attempts) {
            return Err(format!("attempts is 1 to {WEBHOOK_ATTEMPTS}, not {}", self.attempts));
        }
        Ok(())
    }
}

/// How the host writes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// In which form.
    pub format: LogFormat,
}

/// Form of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the catalog keeps snapshots of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogSnapshots {
    /// Regions whose vaults get them; the first region of the configuration when left out, none when empty.
    pub regions: Option<Vec<RegionId>>,
    /// How often the host looks whether there is something new to keep, in minutes.
    pub every_minutes: u32,
}

impl Default for CatalogSnapshots {
    fn default() -> Self {
        Self { regions: None, every_minutes: 15 }
    }
}

impl CatalogSnapshots {
    pub(super) fn check(&self, regions: &BTreeSet<&str>) -> Result<(), String> {
        if let Some(unknown) = self.regions.iter().flatten().find(|region| !regions.contains(region.as_str())) {
            return Err(format!("region `{unknown}` has no [[region]]"));
        }
        if !(1..=24 * 60).contains(&self.every_minutes) {
            return Err(format!("every_minutes is 1 to 1440, not {}", self.every_minutes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_lowered_to_what_the_cluster_takes_and_never_raised() {
        let rule = RestoreConfig { shards_per_cu: 2, most_shards: 16 };
        let cases = [(8, 1, 2), (8, 3, 6), (8, 4, 8), (8, 100, 8), (1, 100, 1), (64, 1024, 16), (0, 1, 1)];
        for (backed_up, cu_size, expected) in cases {
            assert_eq!(rule.shards(backed_up, cu_size), expected, "{backed_up} shards into {cu_size} CU");
        }
    }
}
