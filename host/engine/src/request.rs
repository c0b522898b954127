//! A backup to make: of which cluster, of what in it, asked for by whom.
//!
//! Contract: values. Time, ids and seed are fixed when a request is made, so that whoever carries it out decides nothing twice.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{
    BackupId, BackupType, ClusterId, CollectionName, CreationMethod, JobId, ProjectId, RegionId, Timestamp,
};

use crate::config::{ClusterConfig, HostConfig};
use crate::random::draw;
use crate::{EngineError, RunContext};

/// Name under which a directory that belongs to no host is backed up.
const LOCAL_PROJECT: &str = "proj-local";

/// The cluster a backup is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTarget {
    /// Its id.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its region: the root manifest goes into this region's vault.
    pub home_region: RegionId,
    /// Labels of collections, for policies.
    pub labels: BTreeMap<CollectionName, Vec<(String, String)>>,
    /// How old the newest good backup of its collections may become, in seconds, where no label of theirs says otherwise.
    pub recovery_point_objective_seconds: Option<u64>,
}

impl ClusterTarget {
    /// A directory that is registered nowhere: its id follows from its absolute path, so that a later backup of the
    /// same directory finds the earlier ones.
    ///
    /// # Errors
    /// [`EngineError::File`] when the path cannot be resolved.
    pub fn for_directory(path: &Path, home_region: RegionId) -> Result<Self, EngineError> {
        let absolute = path.canonicalize().map_err(|error| EngineError::file(path, error))?;
        let hash = blake3::hash(absolute.as_os_str().as_encoded_bytes());
        let mut id = [0_u8; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = name.chars().take(64).map(plain).collect();
        Ok(Self {
            id: ClusterId::from_random(id),
            name: if name.is_empty() { "milvus-lite".to_owned() } else { name },
            project_id: LOCAL_PROJECT.parse()?,
            home_region,
            labels: BTreeMap::new(),
            recovery_point_objective_seconds: None,
        })
    }
}

impl ClusterTarget {
    /// A cluster as a host's configuration has it.
    #[must_use]
    pub fn configured(config: &HostConfig, cluster: &ClusterConfig) -> Self {
        Self {
            id: cluster.id.clone(),
            name: cluster.name.clone(),
            project_id: config.project.id.clone(),
            home_region: cluster.region.clone(),
            labels: cluster.labels_of_collections(),
            recovery_point_objective_seconds: cluster.recovery_point_objective_seconds,
        }
    }
}

/// A backup to plan. Time and seed are fixed here, so that policies see the same run whenever they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// Id of the backup.
    pub backup_id: BackupId,
    /// Its name.
    pub backup_name: String,
    /// The job that makes it.
    pub job_id: JobId,
    /// Grows with every attempt of the job; the highest one wins.
    pub fencing_token: u64,
    /// Scope.
    pub backup_type: BackupType,
    /// Who asked.
    pub creation_method: CreationMethod,
    /// The collections of a COLLECTION backup.
    pub collections: Vec<CollectionName>,
    /// Regions that get a copy of everything, beside what the placement policy asks for.
    pub copies: Vec<RegionId>,
    /// When an automatic backup is to be deleted; `None` for never, and always for one made by hand.
    pub expires: Option<Timestamp>,
    /// The cluster.
    pub cluster: ClusterTarget,
    /// The run's time.
    pub time: Timestamp,
    /// The run's random bits.
    pub seed: u64,
}

impl BackupRequest {
    /// A manual backup of a whole cluster, or of `collections` when there are any, with fresh ids.
    ///
    /// # Errors
    /// [`EngineError::NoRandomness`].
    pub fn manual(
        cluster: ClusterTarget,
        collections: Vec<CollectionName>,
        context: &RunContext,
    ) -> Result<Self, EngineError> {
        let random = context.random.as_ref();
        let time = context.clock.now();
        Ok(Self {
            backup_id: BackupId::from_random(draw(random)?),
            backup_name: format!("{}_{time}", cluster.name),
            job_id: JobId::from_random(draw(random)?),
            fencing_token: 1,
            backup_type: if collections.is_empty() { BackupType::Cluster } else { BackupType::Collection },
            creation_method: CreationMethod::Manual,
            collections,
            copies: Vec::new(),
            expires: None,
            cluster,
            time,
            seed: u64::from_le_bytes(draw(random)?),
        })
    }
}
