//! Takes a database of elsewhere, which lies in a folder of this machine, into a cluster.
//!
//! Contract: everything in the folder is backed up into a vault of the job's own in the data directory, and restored from
//! there like any other backup: read back and compared before it counts, and a failure leaves the cluster as it was or says
//! what is there. No policy is asked what to leave out: whoever moves a database wants all of it. A job whose host stops or
//! dies goes on with the vault it has filled; the vault goes when the job has ended. It is not encrypted, because the folder
//! beside it is not either.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_catalog::{Catalog, JobRow};
use longshore_model::{BackupId, ClusterId, CollectionName, JobId, JobType, RestoredLoadState};
use longshore_vault::{Keys, Vault};

use super::{cluster_row, cluster_target, restores};
use crate::backup::run_backup;
use crate::blocking::blocking;
use crate::clusters::open_folder;
use crate::host::Inner;
use crate::opened::OpenedBackup;
use crate::plan::plan_backup;
use crate::request::{BackupRequest, ClusterTarget};
use crate::restore::{RestoreScope, all_under_their_own_names, plan_restore};
use crate::run_policy::RunPolicy;
use crate::vaults::RegionVaults;
use crate::worker::Finished;
use crate::{EngineError, RunContext};

/// Folder of the data directory.
const FOLDER: &str = "migrations";

fn place(inner: &Inner, job: &JobId) -> PathBuf {
    inner.config().data_directory.join(FOLDER).join(job.as_str())
}

/// Runs a migration to its end.
pub(super) async fn migrate(
    inner: &Arc<Inner>,
    job: &JobRow,
    folder: &Path,
    destination: &ClusterId,
    context: &RunContext,
) -> Result<Finished, EngineError> {
    let place = place(inner, &job.id);
    std::fs::create_dir_all(&place).map_err(|error| EngineError::file(&place, error))?;
    let random = context.random.as_ref();
    let vault = RegionVaults::open_or_make_one(&place.join("vault"), &job.project, &Keys::default(), random).await?;
    let (vaults, region) = (RegionVaults::of([vault.clone()])?, vault.region_id().clone());
    let backup = backup_of(&job.id);
    let opened = match OpenedBackup::find(&vaults, Some(&region), &backup).await {
        Err(EngineError::NotFound { .. }) => {
            back_up(inner, job, folder, destination, &vault, context).await?;
            OpenedBackup::find(&vaults, Some(&region), &backup).await?
        }
        // An earlier attempt made it, and the folder is not needed any more.
        opened => opened?,
    };
    let names: Vec<CollectionName> = opened.collection_views()?.into_iter().map(|one| one.name).collect();
    let scope = RestoreScope::Collections(all_under_their_own_names(&names, RestoredLoadState::NotLoaded));
    let mut plan = plan_restore(&vaults, Some(&region), &backup, scope).await?;
    // Whoever asks for it again gets another vault.
    plan.run_only_once();
    let mut result = restores::into_cluster(inner, plan, destination, job.attempt, context).await?;
    result["sourceKind"] = opened.sealed()?.source_kind.clone().into();
    Ok(Finished::with(result))
}

/// Backs up everything in the folder into the job's own vault.
async fn back_up(
    inner: &Arc<Inner>,
    job: &JobRow,
    folder: &Path,
    destination: &ClusterId,
    vault: &Vault,
    context: &RunContext,
) -> Result<(), EngineError> {
    let (folder, host, seen) = (folder.to_owned(), Arc::clone(inner), vault.clone());
    let (source, policy) = blocking("opening what is migrated", move || {
        Ok((open_folder(&folder)?, RunPolicy::standard_in(host.policies.sandbox(), &seen)?))
    })
    .await?;
    let row = cluster_row(inner, destination).await?;
    let home_region = vault.region_id().clone();
    let cluster = ClusterTarget { home_region, ..cluster_target(&row, &inner.config()) };
    let request = BackupRequest {
        backup_id: backup_of(&job.id),
        job_id: job.id.clone(),
        fencing_token: job.fencing_token,
        ..BackupRequest::manual(cluster, Vec::new(), context)?
    };
    let vaults = RegionVaults::of([vault.clone()])?;
    let plan = plan_backup(request, source.as_ref(), &policy, &vaults, context).await?;
    for warning in run_backup(plan, source.as_ref(), &vaults, context).await?.warnings {
        tracing::warn!(job = %job.id, warning, "the database of a migration was read with a warning");
    }
    Ok(())
}

/// The backup that a migration makes for itself, the same one in every attempt.
fn backup_of(job: &JobId) -> BackupId {
    let mut id = [0_u8; 10];
    id.copy_from_slice(&blake3::hash(job.as_str().as_bytes()).as_bytes()[..10]);
    BackupId::from_random(id)
}

/// Removes what a job that has ended kept for itself.
pub(crate) fn forget(inner: &Inner, job: &JobRow) {
    if job.job_type == JobType::Migration {
        remove(&place(inner, &job.id));
    }
}

/// Removes what is left of jobs that have ended: their host died before it could.
pub(crate) fn sweep(data_directory: &Path, catalog: &dyn Catalog) -> Result<(), EngineError> {
    super::sweep_of_jobs(&data_directory.join(FOLDER), catalog, remove)
}

fn remove(place: &Path) {
    match std::fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %place.display(), %error, "what an ended migration kept could not be removed");
        }
        _ => {}
    }
}
