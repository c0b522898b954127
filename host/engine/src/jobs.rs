//! What a job was asked to do, as the catalog keeps it, so that any host can run it after a restart.

use longshore_model::{ClusterId, RegionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::costs::StoredPart;
use crate::views::{BackedUpCollection, CreateBackup, ExcludedCollection, RestoreCluster, RestoreCollections};
use crate::{EngineError, VerifyLevel};

/// The request of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobRequest {
    /// Make a backup.
    Backup {
        /// What was asked.
        request: CreateBackup,
        /// The run's time, fixed when it was accepted.
        time: Timestamp,
        /// The run's random bits, fixed when it was accepted.
        seed: u64,
    },
    /// Copy a backup's collections into another region's vault.
    Copy {
        /// Target region.
        to: RegionId,
        /// The collections, as (place in the backup's list); empty means all.
        collections: Vec<longshore_model::CollectionName>,
    },
    /// Restore a whole cluster into a new one.
    RestoreCluster {
        /// What was asked.
        request: RestoreCluster,
        /// Id of the new cluster.
        cluster_id: ClusterId,
        /// Where the new cluster is made.
        location: String,
        /// Its kind.
        #[serde(default = "milvus_lite")]
        cluster_kind: String,
    },
    /// Restore collections into an existing cluster.
    RestoreCollections {
        /// What was asked.
        request: RestoreCollections,
    },
    /// Check a backup.
    Verify {
        /// How deep.
        level: VerifyLevel,
        /// Read only this share of the packs, in percent.
        sample_percent: Option<u8>,
    },
    /// Write a backup out as plain files.
    Export {
        /// The folder to make.
        folder: String,
    },
    /// Take a database of elsewhere into a cluster.
    Migrate {
        /// The folder it lies in.
        folder: String,
        /// The cluster.
        destination: ClusterId,
    },
}

fn milvus_lite() -> String {
    longshore_source::SourceKind::MilvusLite.as_str().to_owned()
}

impl JobRequest {
    /// The request as the catalog keeps it.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when it cannot be written as JSON.
    pub fn to_value(&self) -> Result<Value, EngineError> {
        serde_json::to_value(self)
            .map_err(|error| EngineError::Internal { what: format!("writing a job request: {error}") })
    }

    /// Reads what the catalog kept.
    ///
    /// # Errors
    /// [`EngineError::Internal`] when it is no request this version knows.
    pub fn from_value(value: &Value) -> Result<Self, EngineError> {
        Self::deserialize(value)
            .map_err(|error| EngineError::Internal { what: format!("reading a job request: {error}") })
    }
}

/// What the catalog keeps about a backup beside its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackupDetail {
    /// Bytes this backup added to the vaults.
    pub stored_bytes: u64,
    /// Regions that hold a part of it.
    pub regions: Vec<RegionId>,
    /// Regions that hold a copy. By region, because several copies end side by side and each adds its own only.
    pub copied: std::collections::BTreeMap<RegionId, bool>,
    /// Collections that were left out.
    pub excluded: Vec<ExcludedCollection>,
    /// What it has in each region's vault, for costs. By region for the same reason.
    pub stored: std::collections::BTreeMap<RegionId, StoredPart>,
}

impl BackupDetail {
    /// Every region that holds a part or a copy, in order.
    #[must_use]
    pub fn all_regions(&self) -> Vec<RegionId> {
        let copied = self.copied.iter().filter(|(_, there)| **there).map(|(region, _)| region);
        let all: std::collections::BTreeSet<&RegionId> = self.regions.iter().chain(copied).collect();
        all.into_iter().cloned().collect()
    }

    /// Reads what the catalog kept; anything unreadable is as if nothing was known.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }
}

/// Reads the collections the catalog kept; anything unreadable is as if nothing was known.
#[must_use]
pub(crate) fn collections_from_value(value: &Value) -> Vec<BackedUpCollection> {
    Vec::deserialize(value).unwrap_or_default()
}
