//! Migrations: databases of elsewhere, put into a volume of this host and taken into one of its clusters from there.

use longshore_model::{ClusterId, JobId, JobType, RegionId};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, require_manage};
use crate::blocking::blocking;
use crate::clusters::open_folder;
use crate::config::{HostConfig, VolumeConfig};
use crate::jobs::JobRequest;
use crate::space::available_bytes;

/// Where a database that is to be taken in can be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyVolume {
    /// A configured volume; the first one when it is left out.
    pub volume: Option<String>,
    /// The cluster that it is for.
    pub cluster: Option<ClusterId>,
    /// A folder below the volume.
    pub path: String,
}

/// A place in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedVolume {
    /// The volume.
    pub volume: String,
    /// The folder on this machine, which is there now.
    pub folder: String,
    /// Where the host is: the region of the cluster, or the first one.
    pub region: RegionId,
    /// Whose region it is.
    pub provider: String,
    /// Room there, in bytes.
    pub available_bytes: u64,
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartMigration {
    /// The volume.
    pub volume: String,
    /// The folder below it, which milvus-backup wrote or which is a Milvus Lite directory.
    pub path: String,
    /// The cluster that gets what is in it.
    pub destination: ClusterId,
}

fn volume<'a>(config: &'a HostConfig, name: Option<&str>) -> Result<&'a VolumeConfig, EngineError> {
    let found = match name {
        Some(name) => config.volumes.iter().find(|volume| volume.name == name),
        None => config.volumes.first(),
    };
    found.ok_or_else(|| match name {
        Some(name) => EngineError::NotFound { what: "volume", id: name.to_owned() },
        None => EngineError::BadRequest {
            what: "this host has no volume; its configuration names one as [[volume]]".to_owned(),
        },
    })
}

impl Host {
    /// Makes a folder in a volume and says where it is. Whoever asked puts a database there by means of their own.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for a path that leads elsewhere,
    /// [`EngineError::File`] when the folder cannot be made.
    pub async fn apply_volume(&self, who: &Principal, request: ApplyVolume) -> Result<AppliedVolume, EngineError> {
        let subject = request.path.clone();
        let outcome = self.apply_volume_now(who, request).await;
        self.audit(who, "volume.apply", &subject, &outcome).await;
        outcome
    }

    async fn apply_volume_now(&self, who: &Principal, request: ApplyVolume) -> Result<AppliedVolume, EngineError> {
        require_manage(who, "use a volume")?;
        let config = self.inner.config();
        let region = match &request.cluster {
            Some(cluster) => self.cluster(who, cluster).await?.cluster.region,
            None => {
                // A key for some clusters says for which of them it is.
                who.must_reach(&config.project.id, None)?;
                config.regions.first().map(|region| region.id.clone()).unwrap_or_else(crate::vaults::local_region)
            }
        };
        let volume = volume(&config, request.volume.as_deref())?.clone();
        let provider = config.region(&region).map(|region| region.region().provider).unwrap_or_default();
        let (path, name) = (request.path, volume.name.clone());
        let (folder, available_bytes) = blocking("making a folder in a volume", move || {
            volume.make(&path)?;
            let folder = volume.existing(&path)?;
            let room = available_bytes(&folder).map_err(|error| EngineError::file(&folder, error))?;
            Ok((folder, room))
        })
        .await?;
        Ok(AppliedVolume { volume: name, folder: folder.display().to_string(), region, provider, available_bytes })
    }

    /// Accepts the migration of what lies in a volume into an existing cluster, under its own names and not loaded.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for a path that leads elsewhere,
    /// [`EngineError::Source`] for a folder that holds no database, [`EngineError::Conflict`] for collections that are
    /// there already.
    pub async fn start_migration(&self, who: &Principal, request: StartMigration) -> Result<JobId, EngineError> {
        let subject = request.destination.to_string();
        let outcome = self.start_migration_now(who, request).await;
        self.audit(who, "migration.start", &subject, &outcome).await;
        outcome
    }

    async fn start_migration_now(&self, who: &Principal, request: StartMigration) -> Result<JobId, EngineError> {
        require_manage(who, "start a migration")?;
        let cluster = self.cluster(who, &request.destination).await?.cluster;
        let volume = volume(&self.inner.config(), Some(&request.volume))?.clone();
        let (folder, source) = blocking("opening a folder of a volume", move || {
            let folder = volume.existing(&request.path)?;
            let source = open_folder(&folder)?;
            Ok((folder, source))
        })
        .await?;
        let names = source.collection_names().await?;
        self.refuse_taken(&cluster, names.iter(), "take the collections out of the cluster, or use another one")
            .await?;
        let (folder, destination) = (folder.display().to_string(), cluster.id.clone());
        let request = JobRequest::Migrate { folder, destination };
        self.accept(JobType::Migration, &cluster.id, None, &cluster.project, request).await
    }
}
