//! The beginning of a restore: everything is checked that can be, what a killed run left is taken back, files get a place.

use std::collections::BTreeSet;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use longshore_model::{CollectionMapping, CollectionName, Digest};

use super::earlier::check_until;
use super::made::FETCHED;
use super::marker::Marker;
use super::run::{MilvusRun, Planned};
use super::tasks::{CollectionTasks, tasks};
use super::unfinished::{AtStop, Dropping};
use super::{DEFAULT_STAGING, MilvusTarget, StagingPlace, server, upload};
use crate::blocking::blocking;
use crate::convert::{Misfit, does_not_fit_server, server_plan};
use crate::disk::{Folder, io_error};
use crate::lite::is_collection_file;
use crate::milvus::bucket_storage::BucketStorage;
use crate::milvus::kept::{KeptPoint, KeptSchema};
use crate::milvus::{MilvusClient, RowSchema, StorageLocation, features};
use crate::plan::{self, check_names};
use crate::staged::{LeftFolder, PlaceOf, StagedFiles, StagingFolder, available_bytes, left_bytes};
use crate::{Limits, RestoreWatch, SourceError, TargetCollection, TargetFile, TargetPlan};

/// What the names of all staging folders begin with.
const PREFIX: &str = "longshore-restore";
/// Folder of the staged files within one.
pub(super) const STAGED: &str = "files";
/// What the names of collections begin with until they are proven.
const TEMPORARY: &str = "longshore_restore";

/// See [`RestoreTarget::begin`](crate::RestoreTarget::begin).
pub(super) async fn begin(
    target: &MilvusTarget,
    plan: Arc<TargetPlan>,
    watch: &dyn RestoreWatch,
) -> Result<MilvusRun, SourceError> {
    let limits = target.shared.limits;
    check_names(&plan, &limits)?;
    if let Some(until_ms) = target.options.until_ms {
        check_until(&plan, until_ms)?;
    }
    let planned = Arc::new(planned(target, &plan, &limits)?);
    check_readable(&plan, &planned)?;
    let client = target.shared.client().await?.clone();
    let points: Vec<&KeptPoint> = planned.iter().filter(|one| one.lite.is_none()).map(|one| &one.point).collect();
    features::check_target(&client, &points, target.options.any_version)?;
    let place = target.staging()?;
    let bucket = target.bucket()?;
    // As the server is told it: in a bucket relative to it, else the whole path.
    let root = bucket.as_ref().map_or_else(|| server_root(&place), |bucket| bucket.in_bucket(DEFAULT_STAGING));
    let shown = place.folder.display().to_string();
    let base = Arc::new(blocking(&shown, move || open_base(&place)).await?);
    let dropping = Dropping::new(&client, &target.shared, watch, AtStop::Stop);
    take_back_others(&base, plan::digest(&plan), &dropping, &client, bucket.as_deref(), limits).await?;
    let storage = target.shared.server.storage.clone();
    let staged = {
        let planned = Arc::clone(&planned);
        blocking(&shown, move || stage(&base, &storage, &plan, &planned, &limits)).await?
    };
    let run = MilvusRun::new(target.clone(), client, planned, staged, root, bucket);
    match run.take_over(watch).await {
        Ok(()) => Ok(run),
        Err(error) => {
            run.keep_or_remove().await;
            Err(error)
        }
    }
}

/// Refuses collections whose files are kept but cannot be read: they could not be proven.
fn check_readable(plan: &TargetPlan, planned: &[Planned]) -> Result<(), SourceError> {
    let unreadable: Vec<(String, &str)> = (plan.collections.iter().zip(planned))
        .filter_map(|(of, planned)| Some((of.mapping.from.to_string(), planned.point.unreadable()?)))
        .collect();
    let Some((_, reason)) = unreadable.first() else { return Ok(()) };
    let collections: Vec<&str> = unreadable.iter().map(|(name, _)| name.as_str()).collect();
    Err(SourceError::CannotBeRestored { collections: collections.join(", "), reason: (*reason).to_owned() })
}

/// What is staged where, and what an earlier run of this plan made.
pub(super) struct Staged {
    pub(super) folder: StagingFolder,
    pub(super) files: StagedFiles,
    pub(super) marker: Marker,
}

impl AsRef<StagedFiles> for Staged {
    fn as_ref(&self) -> &StagedFiles {
        &self.files
    }
}

/// The staging folder as the server sees it.
fn server_root(place: &StagingPlace) -> String {
    let seen = place.server_folder.as_ref().unwrap_or(&place.folder);
    seen.display().to_string().trim_end_matches('/').to_owned()
}

impl Staged {
    /// The folder of the files as the server sees it, without a slash at its end.
    pub(super) fn as_seen(&self, root: &str) -> String {
        format!("{root}/{}/{STAGED}", self.folder.name())
    }
}

fn planned(target: &MilvusTarget, plan: &TargetPlan, limits: &Limits) -> Result<Vec<Planned>, SourceError> {
    let digest = plan::digest(plan).to_string();
    let mut all = Vec::with_capacity(plan.collections.len());
    let mut misfits: Vec<(CollectionName, Misfit)> = Vec::new();
    for (number, collection) in plan.collections.iter().enumerate() {
        let temporary = format!("{TEMPORARY}_{}_{number}", digest.get(..16).unwrap_or_default());
        let until_ms = target.options.until_ms;
        if plan::is_of_server(collection) {
            all.push(of_server(number, collection, temporary, until_ms, limits)?);
            continue;
        }
        match of_lite(number, collection, temporary, until_ms)? {
            Ok(planned) => all.push(planned),
            Err(found) => misfits.extend(found.into_iter().map(|misfit| (collection.mapping.from.clone(), misfit))),
        }
    }
    if misfits.is_empty() { Ok(all) } else { Err(does_not_fit_server(misfits).into()) }
}

fn of_server(
    number: usize,
    collection: &TargetCollection,
    temporary: String,
    until_ms: Option<u64>,
    limits: &Limits,
) -> Result<Planned, SourceError> {
    let shown = format!("collection {}", collection.mapping.from);
    let schema = KeptSchema::read(&collection.schema, &shown)?;
    let point = KeptPoint::read(&collection.description, &shown)?;
    let decoded = schema.decode(&shown)?;
    let CollectionTasks { places, tasks } = tasks(number, collection, &point, limits)?;
    let end_ms = end_ms(&point, until_ms);
    Ok(Planned {
        name: collection.mapping.to.clone(),
        temporary,
        places,
        tasks,
        rows: RowSchema::of(&decoded, &shown)?,
        has_partition_key: decoded.fields.iter().any(|field| field.is_partition_key),
        load_state: collection.mapping.load_state,
        // The point itself is not earlier, and what was counted for it holds.
        until_ms: until_ms.filter(|until_ms| point.end_ms().is_none_or(|end_ms| *until_ms < end_ms)),
        schema,
        decoded,
        point,
        end_ms,
        lite: None,
    })
}

/// A collection of Milvus Lite: its files are fetched into a folder of their own, and what the server is to import is made of
/// them there.
fn of_lite(
    number: usize,
    collection: &TargetCollection,
    temporary: String,
    until_ms: Option<u64>,
) -> Result<Result<Planned, Vec<Misfit>>, SourceError> {
    let CollectionMapping { from, to, load_state } = &collection.mapping;
    let bad = |reason: String| SourceError::BadPlan { reason: format!("collection {from} {reason}") };
    if until_ms.is_some() {
        return Err(bad("was backed up from Milvus Lite, which does not tell when its rows were written".to_owned()));
    }
    let mut paths = BTreeSet::new();
    let is_bad = |file: &&TargetFile| !is_collection_file(&file.path, file.class);
    if let Some(file) = collection.files.iter().find(|file| is_bad(file) || !paths.insert(file.path.clone())) {
        let path: String = file.path.chars().take(200).flat_map(char::escape_debug).collect();
        return Err(bad(format!("has a file `{path}` that Milvus Lite has no place for, or has it twice")));
    }
    let lite = match server_plan(from, to, &collection.schema)? {
        Ok(lite) => lite,
        Err(misfits) => return Ok(Err(misfits)),
    };
    Ok(Ok(Planned {
        name: to.clone(),
        temporary,
        places: collection.files.iter().map(|file| format!("{number}/{FETCHED}/{}", file.path)).collect(),
        tasks: Vec::new(),
        rows: RowSchema::of(&lite.decoded, &format!("collection {from}"))?,
        has_partition_key: lite.lite.partition_key().is_some(),
        load_state: *load_state,
        until_ms: None,
        schema: lite.kept.clone(),
        decoded: lite.decoded.clone(),
        point: KeptPoint::default(),
        end_ms: None,
        lite: Some((from.clone(), lite)),
    }))
}

/// Where a restore cuts, in milliseconds: at the point, or earlier where somebody asked for it.
fn end_ms(point: &KeptPoint, until_ms: Option<u64>) -> Option<u64> {
    match (point.end_ms(), until_ms) {
        (Some(point), Some(until)) => Some(point.min(until)),
        (one, other) => one.or(other),
    }
}

fn open_folder(path: &std::path::Path) -> Result<Folder, SourceError> {
    let shown = path.display().to_string();
    std::fs::create_dir_all(path).map_err(|error| io_error("make the folder", &shown, error))?;
    let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| io_error("open", &shown, error))?;
    Ok(Folder { dir, shown })
}

/// The folder that staging folders are in.
pub(super) fn open_base(place: &StagingPlace) -> Result<Folder, SourceError> {
    if !place.folder.is_absolute() {
        let reason = format!(
            "the staging folder `{}` is not absolute: Milvus would read nothing and say that all is well; give its full path",
            place.folder.display()
        );
        return Err(SourceError::BadPlan { reason });
    }
    open_folder(&place.folder)
}

/// Drops what killed runs of other plans made and nobody has seen, then removes their staging folders. A folder goes last:
/// its marker is all that leads to the rest.
async fn take_back_others(
    base: &Arc<Folder>,
    plan: Digest,
    dropping: &Dropping<'_>,
    client: &MilvusClient,
    bucket: Option<&BucketStorage>,
    limits: Limits,
) -> Result<(), SourceError> {
    let listing = Arc::clone(base);
    let left = blocking(&base.shown, move || {
        let left = LeftFolder::all(&listing, PREFIX, &plan, &limits)?;
        left.into_iter().map(|left| Ok((Marker::read(&left.folder, &limits)?, left))).collect::<Result<Vec<_>, _>>()
    });
    for (marker, left) in left.await? {
        for made in &marker.collections {
            dropping.drop_when_ended(&made.database, &made.temporary).await?;
        }
        for database in &marker.databases {
            server::drop_empty_database(client, database).await?;
        }
        upload::remove_all(bucket, &left.name).await?;
        let base = Arc::clone(base);
        blocking(&base.shown.clone(), move || left.remove(&base)).await?;
    }
    Ok(())
}

fn stage(
    base: &Folder,
    storage: &StorageLocation,
    plan: &Arc<TargetPlan>,
    planned: &Arc<Vec<Planned>>,
    limits: &Limits,
) -> Result<Staged, SourceError> {
    let folder = StagingFolder::open(base, PREFIX, &plan::digest(plan))?;
    let root = folder.inner(STAGED)?;
    let marker = Marker::read(&folder.folder, limits)?;
    if marker != Marker::default() {
        folder.keep_when_dropped();
    }
    let place_of: Box<PlaceOf> = {
        let planned = Arc::clone(planned);
        Box::new(move |collection, file| planned.get(collection)?.places.get(file).cloned())
    };
    let there = left_bytes(&root, plan, &place_of)?;
    // What a server is to import is made beside what was fetched of Milvus Lite.
    let copies = if planned.iter().any(|one| one.lite.is_some()) { 2 } else { 1 };
    if let Err(error) = check_space(base, storage, plan, copies, there, limits) {
        // What an earlier run left is no use without space for the rest, but what it made in the server is still noted.
        if marker == Marker::default() {
            folder.remove()?;
        }
        return Err(error);
    }
    let mut folders = BTreeSet::new();
    for path in planned.iter().flat_map(|one| &one.places) {
        folders.extend(path.rsplit_once('/').map(|(parent, _)| parent));
    }
    for inner in folders {
        root.dir.create_dir_all(inner).map_err(|error| io_error("make the folder", &root.show(inner), error))?;
    }
    let resumed = folder.resumed;
    let files = StagedFiles::new(root, resumed, Arc::clone(plan), place_of);
    Ok(Staged { folder, files, marker })
}

/// Staged files take their own size; a server whose storage is on the same file system needs as much again for what it makes
/// of them.
fn check_space(
    base: &Folder,
    storage: &StorageLocation,
    plan: &TargetPlan,
    copies: u64,
    left_bytes: u64,
    limits: &Limits,
) -> Result<(), SourceError> {
    let imported = plan::needed_bytes(plan, limits);
    let staged = imported.saturating_mul(copies);
    let refuse = |path: &str, needed_bytes: u64, available_bytes: u64| {
        let path = path.to_owned();
        if needed_bytes > available_bytes {
            Err(SourceError::NoSpace { path, needed_bytes, available_bytes })
        } else {
            Ok(())
        }
    };
    let available = available_bytes(base)?.saturating_add(left_bytes);
    match storage {
        StorageLocation::Folder(root) => {
            let shown = root.display().to_string();
            let dir = Dir::open_ambient_dir(root, ambient_authority());
            let dir = dir.map_err(|error| SourceError::BadStorage {
                storage: shown.clone(),
                reason: format!("{error}; give the folder that the server calls localStorage.path"),
            })?;
            let storage = Folder { dir, shown };
            if storage.stat_self()?.device == base.stat_self()?.device {
                return refuse(&base.shown, staged.saturating_add(imported), available);
            }
            refuse(&storage.shown, imported, available_bytes(&storage)?)?;
            refuse(&base.shown, staged, available)
        }
        // A bucket has no end.
        StorageLocation::Bucket(_) => refuse(&base.shown, staged, available),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_cut_in_milliseconds_and_never_before_its_last_one() {
        let at = |flush_timestamp| KeptPoint { flush_timestamp, ..KeptPoint::default() };
        let flush = at((1_700_000_000_123 << 18) | 77);
        assert_eq!(end_ms(&flush, None), Some(1_700_000_000_124));
        assert_eq!(end_ms(&at(1_700_000_000_123 << 18), None), Some(1_700_000_000_123));
        assert_eq!(end_ms(&flush, Some(5)), Some(5));
        assert_eq!(end_ms(&flush, Some(u64::MAX)), Some(1_700_000_000_124));
        assert_eq!((end_ms(&at(0), None), end_ms(&at(0), Some(7))), (None, Some(7)));
    }
}
