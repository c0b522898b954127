//! Verifications that a host runs, and what it keeps of them.
//!
//! Contract: a verification whose host stops or dies goes on at the next start with the packs that were not read yet: its
//! progress is a file of the data directory, named by its job, that goes when the job has ended. Its record keeps what was
//! checked and what was found, collection by collection, also when damage fails it. A file of progress that cannot be read
//! is worth a warning only: the verification begins anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_catalog::{BackupRecord, Catalog, JobRow};
use longshore_model::{JobId, JobType};
use serde_json::{Value, json};

use super::{backup_record, to_value};
use crate::blocking::blocking;
use crate::host::Inner;
use crate::jobs::BackupDetail;
use crate::verify::{DamagedObject, resume};
use crate::worker::Finished;
use crate::{EngineError, RunContext, VerifyLevel, VerifyOutcome, VerifyRequest, verify_backup};

/// Folder of the data directory.
const FOLDER: &str = "verifications";
/// Findings that the reason of a job names; its result has more.
const NAMED_IN_REASON: usize = 20;

fn folder(data_directory: &Path) -> PathBuf {
    data_directory.join(FOLDER)
}

fn file(inner: &Inner, job: &JobId) -> PathBuf {
    folder(&inner.config().data_directory).join(format!("{job}.json"))
}

/// Makes room for the progress of a job. Answers where it is, read or new.
fn prepare(file: &Path) -> Result<(), EngineError> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::file(folder, error))?;
    }
    if let Err(error) = resume::check(file) {
        tracing::warn!(%error, "the progress of a verification cannot be read; it begins anew");
        std::fs::remove_file(file).map_err(|error| EngineError::file(file, error))?;
    }
    Ok(())
}

/// Verifies a backup. Damage fails the job, because somebody has to look; the reason says what is damaged.
pub(super) async fn verify(
    inner: &Arc<Inner>,
    job: &JobRow,
    level: VerifyLevel,
    sample_percent: Option<u8>,
    context: &RunContext,
) -> Result<Finished, EngineError> {
    let record = backup_record(inner, job).await?;
    let path = file(inner, &job.id);
    let wanted = path.clone();
    blocking("preparing a verification", move || prepare(&wanted)).await?;
    let request = VerifyRequest { sample_percent, resume_file: Some(path), ..VerifyRequest::new(level) };
    let mut outcome = verify_backup(&inner.vaults, &record.backup.id, &request, context).await?;
    outcome.add_objects(lost_copies(inner, &record).await?);
    let damage = (!outcome.is_sound())
        .then(|| EngineError::DamagedBackup { backup: record.backup.id.to_string(), what: in_words(&outcome) });
    Ok(Finished { damage, ..Finished::with(kept(&outcome, inner.limits.listed_damages)?) })
}

/// Copies that the catalog knows and their vaults do not. A copy that was made later is named by its receipt alone; one whose
/// last collection was erased has none any more, and the record of the erasure says so.
async fn lost_copies(inner: &Arc<Inner>, record: &BackupRecord) -> Result<Vec<DamagedObject>, EngineError> {
    let (id, detail) = (&record.backup.id, BackupDetail::from_value(&record.detail));
    let mut lost = Vec::new();
    for (region, _) in detail.copied.into_iter().filter(|(_, there)| *there) {
        let Ok(vault) = inner.vaults.get(&region) else { continue };
        let fail = || EngineError::vault(&region);
        if vault.exists(id).await.map_err(fail())? || vault.is_withdrawn(id, 0).await.map_err(fail())? {
            continue;
        }
        let Ok(erasures) = vault.list_erasures().await else { continue };
        if erasures.iter().all(|erasure| !erasure.backups.contains(id)) {
            let (expected, found) = ("the receipt of a copy that was made".to_owned(), "nothing".to_owned());
            lost.push(DamagedObject { region, object: format!("receipts/{id}"), expected, found });
        }
    }
    Ok(lost)
}

/// What is damaged, in one sentence.
fn in_words(outcome: &VerifyOutcome) -> String {
    let objects = outcome.damaged_objects.iter().map(|one| format!("{} in {} ({})", one.object, one.region, one.found));
    let lost = outcome.lost_collections.iter().map(|name| format!("collection {name} is lost"));
    let hit = outcome.collections.iter().filter(|one| one.damaged_files > 0).map(|one| {
        let why = one.damages.first().map(|damage| format!(" ({damage})")).unwrap_or_default();
        format!("collection {} in {} has {} damaged files{why}", one.name, one.region, one.damaged_files)
    });
    let problems = lost.chain(hit).chain(outcome.problems.iter().cloned()).chain(objects);
    let problems: Vec<String> = problems.take(NAMED_IN_REASON).collect();
    let what =
        if outcome.whole { "it can be restored, but objects are damaged" } else { "it cannot be restored whole" };
    format!("{what}: {}; `longshore heal` mends what another vault holds", problems.join("; "))
}

/// The outcome as the record of its job keeps it: every collection with its counts, but of what is damaged at most so many,
/// so that a job whose vault is in ruins can end. How many were left out is said.
fn kept(outcome: &VerifyOutcome, most: usize) -> Result<Value, EngineError> {
    let mut outcome = outcome.clone();
    let objects = outcome.damaged_objects.len();
    outcome.damaged_objects.truncate(most);
    let (mut room, mut damages) = (most, 0);
    for collection in &mut outcome.collections {
        let found = collection.damages.len();
        collection.damages.truncate(room);
        room -= collection.damages.len();
        damages += found - collection.damages.len();
    }
    let left_out = objects - outcome.damaged_objects.len();
    let mut value = to_value(&outcome)?;
    if left_out + damages > 0 {
        value["leftOut"] = json!({ "damagedObjects": left_out, "damages": damages });
    }
    Ok(value)
}

/// Removes the progress of a job that has ended.
pub(crate) fn forget(inner: &Inner, job: &JobRow) {
    if job.job_type == JobType::Verify {
        remove(&file(inner, &job.id));
    }
}

/// Removes progress whose job has ended: its host died before it could.
pub(crate) fn sweep(data_directory: &Path, catalog: &dyn Catalog) -> Result<(), EngineError> {
    super::sweep_of_jobs(&folder(data_directory), catalog, remove)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "the progress of an ended verification could not be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::verify::VerifiedCollection;

    #[test]
    fn the_record_of_a_vault_in_ruins_has_every_collection_and_says_what_it_leaves_out() {
        let mut outcome = VerifyOutcome::new(&"backup0_a".parse().unwrap(), VerifyLevel::Stored, None);
        let region: longshore_model::RegionId = "eu".parse().unwrap();
        for number in 0..5 {
            let (object, expected, found) = (format!("packs/{number}"), "a pack".to_owned(), "nothing".to_owned());
            outcome.damaged_objects.push(DamagedObject { region: region.clone(), object, expected, found });
            outcome.collections.push(VerifiedCollection {
                name: format!("c{number}").parse().unwrap(),
                region: region.clone(),
                files: 3,
                size_bytes: 9,
                blobs: 3,
                checked_blobs: 3,
                parsed_files: 0,
                physical_rows: None,
                damaged_files: 2,
                damages: vec!["one".to_owned(), "two".to_owned()],
            });
        }
        let value = kept(&outcome, 3).unwrap();
        let of = |place: usize| value["collections"][place]["damages"].as_array().unwrap().len();
        assert_eq!(
            (value["damagedObjects"].as_array().unwrap().len(), value["collections"].as_array().unwrap().len()),
            (3, 5)
        );
        assert_eq!([of(0), of(1), of(2), of(4)], [2, 1, 0, 0]);
        assert_eq!(value["collections"][4]["damagedFiles"], 2);
        assert_eq!(value["leftOut"], json!({ "damagedObjects": 2, "damages": 7 }));
        assert!(kept(&outcome, 10).unwrap().get("leftOut").is_none());
    }
}
