//! Writes a backup out as plain files that need no Longshore to be read.
//!
//! An export is a restore into a fresh directory, with the same proof but not its priority, and a file beside it that says
//! what it is (`EXPORT.md` beside this crate). Contract: the folder appears by one rename after everything in it was written, read
//! back, compared and forced to disk; before that there is only a staging folder beside it, which the next export to the
//! same place takes over or removes.
//!
//! Failure: [`EngineError`]; the target folder is not there then.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use longshore_model::{BackupId, CollectionName, Digest, RestoredLoadState};
use longshore_source::milvus::MilvusBackupTarget;
use longshore_source::{MilvusLiteTarget, RestoreTarget, SourceKind};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde_json::{Value, json};

use crate::blocking::blocking;
use crate::opened::OpenedBackup;
use crate::restore::{RestoreScope, all_under_their_own_names, plan_restore, write_out};
use crate::vaults::RegionVaults;
use crate::{EngineError, ProvenCollection, RunContext};

/// The Milvus Lite directory in an export. Clients want a name that ends in `.db`.
pub const EXPORT_DATA: &str = "milvus-lite.db";
/// The folder in an export of a Milvus server, in the layout of the tool milvus-backup. Its names have no dashes.
pub const EXPORT_SERVER_DATA: &str = "milvus_backup";
/// The file that says what an export is.
pub const EXPORT_NOTE: &str = "longshore-export.json";

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportOutcome {
    /// Which backup.
    pub backup_id: BackupId,
    /// Where.
    pub folder: PathBuf,
    /// Its collections and how they were proven.
    pub collections: Vec<ProvenCollection>,
    /// Files, each named with its digest in the note.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// What is in it: [`EXPORT_DATA`] or [`EXPORT_SERVER_DATA`].
    pub data: &'static str,
    /// What somebody has to know before using it, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// A file of an export, as the note names it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportedFile {
    path: String,
    size_bytes: u64,
    blake3: Digest,
}

/// Exports collections, all when `names` is empty, into a folder that does not exist yet (its parent must) or is empty.
///
/// # Errors
/// [`EngineError::Conflict`] when something is in the folder, or another export to it runs;
/// [`EngineError::BadRequest`] for a backup of a source whose files no layout is known for; otherwise as
/// [`plan_restore`] and [`run_restore`](crate::run_restore).
pub async fn export_backup(
    vaults: &RegionVaults,
    backup: &BackupId,
    names: &[CollectionName],
    folder: &Path,
    context: &RunContext,
) -> Result<ExportOutcome, EngineError> {
    let started = context.clock.now();
    let scope = if names.is_empty() {
        RestoreScope::WholeCluster(RestoredLoadState::Keep)
    } else {
        RestoreScope::Collections(all_under_their_own_names(names, RestoredLoadState::Keep))
    };
    let plan = plan_restore(vaults, None, backup, scope).await?;
    let (data, mut about) = about(&plan.opened, context)?;
    let wanted = folder.to_owned();
    let staging = blocking("making a folder", move || Staging::make(&wanted)).await?;
    let path = staging.path.join(data);
    let target: Box<dyn RestoreTarget> = match data {
        EXPORT_SERVER_DATA => Box::new(MilvusBackupTarget::new(&path)),
        _ => Box::new(MilvusLiteTarget::new(&path)),
    };
    let restored = match write_out(plan, target.as_ref(), context).await {
        Ok(restored) => restored,
        Err(error) => {
            // Only when it is empty: what a restore left to go on from is worth keeping.
            let _ = std::fs::remove_dir(&staging.path);
            return Err(error);
        }
    };
    let collections = restored.collections.clone();
    let notes = restored.notes;
    if let Some(about) = about.as_object_mut().filter(|_| !notes.is_empty()) {
        about.insert("notes".to_owned(), json!(notes));
    }
    let thread = context.throttle.cpu().await;
    let finish = move || {
        let _thread = thread;
        staging.finish(data, about, &collections)
    };
    let (files, size_bytes) = blocking("finishing an export", finish).await?;
    Ok(ExportOutcome {
        backup_id: backup.clone(),
        folder: folder.to_owned(),
        collections: restored.collections,
        files,
        size_bytes,
        data,
        notes,
        duration_ms: context.clock.now().millis_since(started),
    })
}

/// Removes what an export that failed left to go on with, where nobody will.
pub(crate) fn discard_export(folder: &Path) -> Result<(), EngineError> {
    match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => remove(&Staging::beside(parent, name)),
        _ => Ok(()),
    }
}

/// Which folder the files go to, and what the note says about the backup.
fn about(opened: &OpenedBackup, context: &RunContext) -> Result<(&'static str, Value), EngineError> {
    let (root, sealed) = (&opened.root.open, opened.sealed()?);
    let data = match sealed.source_kind.as_str() {
        kind if kind == SourceKind::MilvusLite.as_str() => EXPORT_DATA,
        kind if kind == SourceKind::Milvus.as_str() => EXPORT_SERVER_DATA,
        kind => {
            let what = format!(
                "backup {} is of a source of kind `{kind}`, which this version cannot write as plain files; restore it instead",
                root.backup_id
            );
            return Err(EngineError::BadRequest { what });
        }
    };
    let note = json!({
        "format": 1, "kind": "longshore-export", "data": data,
        "backupId": root.backup_id, "backupName": sealed.backup_name, "backupType": root.backup_type,
        "created": root.created, "clusterId": root.cluster_id, "clusterName": sealed.cluster_name,
        "sourceKind": sealed.source_kind, "sourceVersion": sealed.source_version,
        "excluded": opened.excluded_views()?, "exported": context.clock.now(),
        "hostVersion": env!("CARGO_PKG_VERSION"),
    });
    Ok((data, note))
}

/// The folder that becomes the export. Locked while it lives, so that two exports to one place do not mix.
struct Staging {
    path: PathBuf,
    target: PathBuf,
    parent: PathBuf,
    _lock: File,
}

impl Staging {
    /// Where it is, beside the export.
    fn beside(parent: &Path, name: &std::ffi::OsStr) -> PathBuf {
        parent.join(format!(".{}.longshore-export", name.to_string_lossy()))
    }

    fn make(target: &Path) -> Result<Self, EngineError> {
        let target = std::path::absolute(target).map_err(|error| EngineError::file(target, error))?;
        let in_the_way = match std::fs::read_dir(&target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        if in_the_way {
            let what = format!("{} is there already; an export makes a folder of its own", target.display());
            return Err(EngineError::Conflict { what });
        }
        let (Some(parent), Some(name)) = (target.parent().map(Path::to_owned), target.file_name()) else {
            let what = format!("{} is no name for a new folder", target.display());
            return Err(EngineError::BadRequest { what });
        };
        let path = Self::beside(&parent, name);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(EngineError::file(&path, error)),
            _ => {}
        }
        let lock = File::open(&path).map_err(|error| EngineError::file(&path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| EngineError::Conflict {
            what: format!("another export to {} is running", target.display()),
        })?;
        // What an earlier export finished but could not move into place.
        remove(&path.join(EXPORT_DATA))?;
        remove(&path.join(EXPORT_SERVER_DATA))?;
        remove(&path.join(EXPORT_NOTE))?;
        Ok(Self { path, target, parent, _lock: lock })
    }

    /// Writes the note and moves everything into place: files, their folders, and only then the one name.
    fn finish(self, data: &str, mut about: Value, collections: &[ProvenCollection]) -> Result<(u64, u64), EngineError> {
        let keep = BTreeSet::from([data, EXPORT_NOTE]);
        for entry in std::fs::read_dir(&self.path).map_err(|error| EngineError::file(&self.path, error))? {
            let entry = entry.map_err(|error| EngineError::file(&self.path, error))?;
            if !entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                remove(&entry.path())?;
            }
        }
        let mut files = Vec::new();
        digest_files(&self.path, &self.path.join(data), &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let (count, size_bytes) = (files.len() as u64, files.iter().map(|file| file.size_bytes).sum());
        if let Some(about) = about.as_object_mut() {
            about.insert("collections".to_owned(), json!(collections));
            about.insert("files".to_owned(), json!(files));
        }
        let note = self.path.join(EXPORT_NOTE);
        let written = File::create(&note).and_then(|mut file| {
            file.write_all(format!("{about:#}\n").as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| EngineError::file(&note, error))?;
        sync(&self.path)?;
        // Replaces nothing but an empty folder.
        std::fs::rename(&self.path, &self.target).map_err(|error| EngineError::file(&self.target, error))?;
        sync(&self.parent)?;
        Ok((count, size_bytes))
    }
}

fn sync(folder: &Path) -> Result<(), EngineError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| EngineError::file(folder, error))
}

fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EngineError::file(path, error)),
        _ => Ok(()),
    }
}

/// Digests of what lies on the disk, so that the note is about these files and not about what they were made from.
fn digest_files(base: &Path, folder: &Path, files: &mut Vec<ExportedFile>) -> Result<(), EngineError> {
    for entry in std::fs::read_dir(folder).map_err(|error| EngineError::file(folder, error))? {
        let path = entry.map_err(|error| EngineError::file(folder, error))?.path();
        if path.is_dir() {
            digest_files(base, &path, files)?;
            continue;
        }
        let (size_bytes, blake3) = digest_file(&path).map_err(|error| EngineError::file(&path, error))?;
        let relative = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().into_owned();
        files.push(ExportedFile { path: relative, size_bytes, blake3 });
    }
    Ok(())
}

fn digest_file(path: &Path) -> std::io::Result<(u64, Digest)> {
    let (mut file, mut hasher, mut size_bytes) = (File::open(path)?, blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size_bytes, Digest::new(*hasher.finalize().as_bytes()))),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                size_bytes += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
