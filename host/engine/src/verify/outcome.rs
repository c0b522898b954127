//! What a verification found, as it is shown and kept.

use longshore_model::{BackupId, CollectionName, RegionId};
use longshore_source::CheckedFiles;
use longshore_vault::{CollectionSealed, ObjectDamage, Sample, VaultError, VerifyReport};
use serde::Serialize;

use super::VerifyLevel;
use crate::opened::OpenedPart;

/// What a check of one backup found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyOutcome {
    /// Which backup.
    pub backup_id: BackupId,
    /// How deep it was looked.
    pub level: VerifyLevel,
    /// Share of the packs that was read, in percent; `None` when all were.
    pub sample_percent: Option<u8>,
    /// Which sample it was.
    pub seed: Option<u64>,
    /// One entry per collection and vault.
    pub collections: Vec<VerifiedCollection>,
    /// Collections that the backup had and that no readable part holds.
    pub lost_collections: Vec<String>,
    /// What is wrong with the backup as a whole.
    pub problems: Vec<String>,
    /// Objects that are damaged or missing, whether or not this backup suffers from it.
    pub damaged_objects: Vec<DamagedObject>,
    /// Packs that hold the backup.
    pub packs: u64,
    /// Packs that were read in this run.
    pub packs_read: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// It was restored into a scratch folder and proven.
    pub restored: bool,
    /// A program opened what was restored.
    pub opened: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// True when every collection of it can be restored, as far as was looked. Objects that only repeat others may be
    /// damaged all the same ([`VerifyOutcome::is_sound`]).
    pub whole: bool,
}

/// One collection in one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedCollection {
    /// Which collection.
    pub name: CollectionName,
    /// In which region's vault.
    pub region: RegionId,
    /// Its files.
    pub files: u64,
    /// Bytes of them.
    pub size_bytes: u64,
    /// Blobs of these files.
    pub blobs: u64,
    /// Blobs whose packs were looked at; fewer than `blobs` only in a sample.
    pub checked_blobs: u64,
    /// Files that were parsed.
    pub parsed_files: u64,
    /// Rows that were counted while parsing, deleted ones included; `None` when not all files were parsed.
    pub physical_rows: Option<u64>,
    /// Files that cannot be restored from this vault.
    pub damaged_files: u64,
    /// What is wrong with them, the first few.
    pub damages: Vec<String>,
}

/// A damaged or missing object of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedObject {
    /// In which region's vault.
    pub region: RegionId,
    /// Its key.
    pub object: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl DamagedObject {
    /// What a vault found.
    pub(crate) fn of(region: &RegionId, damage: &ObjectDamage) -> Self {
        let ObjectDamage { object, expected, found } = damage.clone();
        Self { region: region.clone(), object, expected, found }
    }

    /// The key that a manifest could not be opened without, where it is lost.
    pub(crate) fn lost_key(region: &RegionId, error: &VaultError) -> Option<Self> {
        let VaultError::SessionKey { session, lost: true, .. } = error else { return None };
        let (object, expected) = (format!("keys/sessions/{session}"), "the wrapped key of a session".to_owned());
        Some(Self { region: region.clone(), object, expected, found: "nothing".to_owned() })
    }

    /// A manifest that could not be loaded.
    pub(crate) fn manifest(region: &RegionId, object: String, error: &VaultError) -> Self {
        let (expected, found) = match error {
            VaultError::Damaged { expected, found, .. } => (expected.clone(), found.clone()),
            VaultError::MissingObject { .. } => ("a manifest".to_owned(), "nothing".to_owned()),
            VaultError::BadManifest { reason, .. } => ("a manifest".to_owned(), reason.clone()),
            error => ("a manifest".to_owned(), error.to_string()),
        };
        Self { region: region.clone(), object, expected, found }
    }
}

impl VerifyOutcome {
    pub(crate) fn new(backup: &BackupId, level: VerifyLevel, sample: Option<Sample>) -> Self {
        Self {
            backup_id: backup.clone(),
            level,
            sample_percent: sample.map(|sample| sample.percent),
            seed: sample.map(|sample| sample.seed),
            collections: Vec::new(),
            lost_collections: Vec::new(),
            problems: Vec::new(),
            damaged_objects: Vec::new(),
            packs: 0,
            packs_read: 0,
            read_bytes: 0,
            restored: false,
            opened: false,
            duration_ms: 0,
            whole: true,
        }
    }

    /// True when nothing at all was found damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.whole && self.damaged_objects.is_empty()
    }

    pub(super) fn problem(&mut self, what: String) {
        self.whole = false;
        self.problems.push(what);
    }

    /// Adds objects, each once.
    pub(crate) fn add_objects(&mut self, objects: impl IntoIterator<Item = DamagedObject>) {
        for object in objects {
            if !self.damaged_objects.contains(&object) {
                self.damaged_objects.push(object);
            }
        }
    }

    /// Adds what was found about one part.
    pub(super) fn add_part(&mut self, part: &OpenedPart, report: &VerifyReport) {
        let region = part.vault.region_id();
        self.whole &= report.is_whole();
        self.packs += report.packs;
        self.packs_read += report.packs_read;
        self.read_bytes += report.read_bytes;
        self.add_objects(report.objects.iter().map(|damage| DamagedObject::of(region, damage)));
        // Without a reader key names are sealed; collections and files then have numbers.
        let sealed = part.part.sealed.open().ok();
        for (place, found) in report.collections.iter().enumerate() {
            let sealed = sealed.and_then(|sealed| sealed.collections.get(place));
            let path = |number: u32| {
                let file = sealed.and_then(|sealed| sealed.files.iter().find(|file| file.number == number));
                file.map_or_else(|| format!("file {number}"), |file| file.path.clone())
            };
            let numbered = || CollectionName {
                database: "name-is-encrypted".to_owned(),
                collection: format!("collection-{}", found.number),
            };
            self.collections.push(VerifiedCollection {
                name: sealed.map_or_else(numbered, |sealed| sealed.name.clone()),
                region: region.clone(),
                files: found.files,
                size_bytes: found.plain_bytes,
                blobs: found.blobs,
                checked_blobs: found.checked_blobs,
                parsed_files: 0,
                physical_rows: None,
                damaged_files: found.damaged_files,
                damages: found
                    .damages
                    .iter()
                    .map(|damage| match damage.object.as_str() {
                        "" => format!("{}: {}", path(damage.file_number), damage.found),
                        object => format!("{}: {} ({object})", path(damage.file_number), damage.found),
                    })
                    .collect(),
            });
        }
    }
}

impl VerifiedCollection {
    /// Adds what parsing found, and compares the rows with those the backup promises.
    pub(super) fn add_parsed(&mut self, checked: &CheckedFiles, promised: &CollectionSealed) {
        self.parsed_files = checked.parsed;
        self.physical_rows = checked.physical_rows;
        self.damaged_files += checked.problems.len() as u64;
        self.damages.extend(checked.problems.iter().map(|(path, what)| match path.as_str() {
            "" => what.clone(),
            path => format!("{path}: {what}"),
        }));
        if let Some(rows) = checked.physical_rows.filter(|rows| *rows != promised.physical_rows) {
            self.damages.push(format!("its files hold {rows} rows, the backup says {}", promised.physical_rows));
        }
        if let (Some(rows), Some(live)) = (checked.live_rows, promised.live_rows)
            && rows != live
        {
            self.damages.push(format!("its files hold {rows} live rows, the backup says {live}"));
        }
    }
}
