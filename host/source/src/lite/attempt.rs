//! One attempt to open a collection at one consistent point, beside a program that writes to it.
//!
//! Order matters. The manifest is opened first and kept open, then every file it names, then the log is cut; at the end
//! folder, schema and manifest must still be the ones that were opened. An inode that is held open is not given to
//! another file, so "same device, same inode, same time of change" means the same file, even though Milvus Lite may
//! write a manifest with the same bytes again (after drop and create).
//!
//! What an inventory saw a moment ago is not read again, under the conditions that [`super::looked`] states: they make up for
//! the descriptors that are not held.
//!
//! Log files with a number below the manifest's `active_wal_number` are left out: their rows are in the named files,
//! and such a pair may be half deleted already.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use longshore_model::CollectionName;

use super::layout;
use super::looked::{Document, Looked, LookedFile};
use super::manifest::Manifest;
use super::schema::Schema;
use super::shared::Shared;
use super::wal_cut::{self, Cut, CutError};
use super::{fingerprint, index_file};
use crate::disk::{Folder, OpenFile, Stat};
use crate::{PointOptions, SourceError};

/// What "a moment ago" is for [`Limits::last_look_ms`](crate::Limits), in milliseconds.
const LAST_LOOK_AGE_MS: i64 = 100;

/// A file the manifest names, or an index file of one.
#[derive(Debug)]
pub(crate) struct NamedFile {
    pub(crate) path: String,
    pub(crate) partition: String,
    pub(crate) kind: NamedKind,
    /// As it was when it was opened, or when the inventory saw it.
    pub(crate) stat: Stat,
    /// Empty as long as a file that the inventory saw has not been needed.
    file: OnceLock<Arc<OpenFile>>,
}

impl NamedFile {
    fn held(path: String, partition: &str, kind: NamedKind, file: OpenFile) -> Self {
        let stat = file.stat;
        Self { path, partition: partition.to_owned(), kind, stat, file: OnceLock::from(Arc::new(file)) }
    }

    /// Whether it is held open.
    pub(crate) fn is_held(&self) -> bool {
        self.file.get().is_some()
    }

    /// The open file. One that was not opened with the point must still be what it was.
    pub(crate) fn open(&self, folder: &Folder) -> Result<Arc<OpenFile>, SourceError> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        let changed =
            |reason: &str| SourceError::FileChanged { path: folder.show(&self.path), reason: reason.to_owned() };
        let file = folder.file(&self.path)?.ok_or_else(|| changed("it is gone"))?;
        if file.stat != self.stat {
            return Err(changed("it is another file than at the point of the backup"));
        }
        Ok(Arc::clone(self.file.get_or_init(|| Arc::new(file))))
    }
}

/// What a [`NamedFile`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedKind {
    /// So many rows.
    Data(u64),
    /// Deleted keys.
    Delta,
    /// An index of a data file.
    Index,
}

/// A collection at one point.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) folder: Folder,
    pub(crate) folder_stat: Stat,
    pub(crate) schema: Document<Schema>,
    /// `None` before the first flush.
    pub(crate) manifest_file: Option<Document<Manifest>>,
    /// What it says, or what its absence means.
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) named: Vec<NamedFile>,
    pub(crate) cut: Cut,
    /// Files that were left out, and why.
    pub(crate) left_out: Vec<(String, String)>,
    pub(crate) fingerprint: longshore_model::Digest,
}

/// Why an attempt failed.
pub(crate) enum Miss {
    /// Something changed: try again.
    Changed(String),
    /// A file that the manifest names is not there: compaction removed it a moment ago, or it is lost.
    Missing(String),
    /// Trying again does not help.
    Fatal(SourceError),
}

impl From<SourceError> for Miss {
    fn from(error: SourceError) -> Self {
        Self::Fatal(error)
    }
}

impl From<CutError> for Miss {
    fn from(error: CutError) -> Self {
        match error {
            CutError::Vanished => Self::Changed("a file of its log vanished".to_owned()),
            CutError::Fatal(error) => Self::Fatal(error),
        }
    }
}

/// Tries once. See the module.
pub(crate) fn open(shared: &Shared, name: &CollectionName, options: PointOptions) -> Result<Opened, Miss> {
    let limits = &shared.limits;
    let folder = shared.collection(name)?.ok_or_else(|| shared.unknown(name))?;
    let wal_before = folder.stat(layout::WAL)?;
    let looked = match shared.memory.find(name) {
        Some(looked) if looked.described.is_current(&folder)? => Some(looked),
        _ => None,
    };
    let (schema, manifest_file) = match &looked {
        Some(looked) => (looked.schema.let_go(), Some(looked.manifest.let_go())),
        // A folder without schema.json is no collection for Milvus Lite either.
        None => {
            let schema = open_schema(shared, &folder)?.ok_or_else(|| shared.unknown(name))?;
            (schema, open_manifest(shared, &folder)?)
        }
    };
    let manifest = content_of(manifest_file.as_ref());
    if manifest_file.is_none() || wal_before.is_none() {
        must_be_settled(shared, &folder)?;
    }
    let looked = looked.filter(|_| !options.hold_all_files);
    let mut named = open_named(shared, &folder, &manifest, looked.as_deref())?;
    let from = manifest.active_wal_number.unwrap_or(0);
    let cut = wal_cut::cut(&folder, from, &schema.content.key, limits)?;
    let mut left_out = Vec::new();
    if options.include_index_files {
        add_indexes(shared, &folder, &manifest, &mut named, &mut left_out)?;
    }
    if folder.stat(layout::SNAPSHOTS)?.is_some() {
        let why = "Milvus Lite's own snapshots are not part of a backup";
        left_out.push((layout::SNAPSHOTS.to_owned(), why.to_owned()));
    }
    let folder_stat = folder.stat_self()?;
    let fingerprint = fingerprint::of(&folder_stat, &schema, &manifest);
    let opened = Opened { folder, folder_stat, schema, manifest_file, manifest, named, cut, left_out, fingerprint };
    still_the_same(shared, name, &opened, wal_before)?;
    Ok(opened)
}

/// Opens, reads and parses the schema, if there is one.
pub(crate) fn open_schema(shared: &Shared, folder: &Folder) -> Result<Option<Document<Schema>>, SourceError> {
    let Some(file) = folder.file(layout::SCHEMA)? else { return Ok(None) };
    let bytes = file.read_all(shared.limits.json_bytes)?;
    let schema = Schema::parse(&bytes, &file.shown)?;
    Ok(Some(Document::new(file, bytes, schema)))
}

/// Opens, reads and parses the manifest, if there is one.
pub(crate) fn open_manifest(shared: &Shared, folder: &Folder) -> Result<Option<Document<Manifest>>, Miss> {
    if let Some(file) = folder.file(layout::MANIFEST)? {
        let bytes = file.read_all(shared.limits.json_bytes)?;
        let manifest = Manifest::parse(&bytes, &file.shown)?;
        return Ok(Some(Document::new(file, bytes, manifest)));
    }
    if folder.stat(layout::PREVIOUS_MANIFEST)?.is_some() {
        return Err(Miss::Changed("its manifest.json is missing although there is a manifest.json.prev".to_owned()));
    }
    Ok(None)
}

/// What a manifest says, or what its absence means.
pub(crate) fn content_of(manifest: Option<&Document<Manifest>>) -> Arc<Manifest> {
    manifest.map_or_else(|| Arc::new(Manifest::absent()), |manifest| Arc::clone(&manifest.content))
}

/// A collection without manifest or log may be one that is just being deleted. Its folders would be changing.
fn must_be_settled(shared: &Shared, folder: &Folder) -> Result<(), Miss> {
    // Nobody else is at work in a staging folder.
    if shared.limits.settle_ms == i64::MIN {
        return Ok(());
    }
    let mut stats = vec![folder.stat_self()?];
    stats.extend(folder.stat(layout::WAL)?);
    if let Some(partitions) = folder.folder(layout::PARTITIONS)? {
        stats.push(partitions.stat_self()?);
        for partition in partitions.names(shared.limits.folder_entries)? {
            for path in [partition.clone(), format!("{partition}/data"), format!("{partition}/delta")] {
                stats.extend(partitions.stat(&path)?);
            }
        }
    }
    let youngest_ms = stats.iter().map(|stat| shared.age_ms(stat)).min().unwrap_or(0);
    // Times ahead of the clock say nothing: it was set back. Then it counts how long they have been seen unchanged.
    if youngest_ms < 0 && shared.held_still(&folder.shown, &stats) {
        return Ok(());
    }
    if youngest_ms < shared.limits.settle_ms {
        return Err(Miss::Changed("it was created, or is being deleted, at this moment".to_owned()));
    }
    Ok(())
}

/// Opens the files that the manifest names, except those that `looked` saw and that can be told from any other later.
fn open_named(
    shared: &Shared,
    folder: &Folder,
    manifest: &Manifest,
    looked: Option<&Looked>,
) -> Result<Vec<NamedFile>, Miss> {
    let mut named = Vec::new();
    for (place, (partition, path, is_data)) in manifest.files().enumerate() {
        let seen = looked.and_then(|looked| looked.files.get(place)).filter(|file| file.is_settled);
        if let Some(LookedFile { stat, rows, .. }) = seen {
            let kind = if is_data { NamedKind::Data(*rows) } else { NamedKind::Delta };
            let (partition, file) = (partition.to_owned(), OnceLock::new());
            named.push(NamedFile { path, partition, kind, stat: *stat, file });
            continue;
        }
        let Some(file) = folder.file(&path)? else { return Err(missing(shared, folder, path)?) };
        let kind = if is_data { NamedKind::Data(shared.rows(&file)?) } else { NamedKind::Delta };
        named.push(NamedFile::held(path, partition, kind, file));
    }
    Ok(named)
}

/// A file that is missing is lost, unless its folder is changing: whoever drops a collection takes its files away one by
/// one, for seconds on a machine that has much to do, and its manifest last.
fn missing(shared: &Shared, folder: &Folder, path: String) -> Result<Miss, SourceError> {
    let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
    let changed = folder.stat(parent)?.map_or(0, |stat| shared.age_ms(&stat));
    if (0..shared.limits.vanishing_ms).contains(&changed) {
        return Ok(Miss::Changed(format!("`{path}` vanished a moment ago")));
    }
    Ok(Miss::Missing(path))
}

/// Adds the index files of the data files, where they can be trusted.
fn add_indexes(
    shared: &Shared,
    folder: &Folder,
    manifest: &Manifest,
    named: &mut Vec<NamedFile>,
    left_out: &mut Vec<(String, String)>,
) -> Result<(), Miss> {
    let mut found = Vec::new();
    for data in named.iter() {
        let NamedKind::Data(rows) = data.kind else { continue };
        let name = data.path.rsplit('/').next().unwrap_or_default();
        let stem = name.strip_suffix(".parquet").unwrap_or(name);
        for index in &manifest.indexes {
            let kind = index.index_type.to_lowercase();
            let name = format!("{stem}.{}.{kind}.idx", index.field_name);
            if layout::check_component(&name).is_err() {
                continue;
            }
            let path = format!("{}/{}/indexes/{name}", layout::PARTITIONS, data.partition);
            let Some(file) = folder.file(&path)? else { continue };
            let unstable = shared.age_ms(&file.stat) < shared.limits.identity_age_ms || file.stat_now()? != file.stat;
            let verdict = if unstable { Err("it was written a moment ago") } else { index_file::check(&file, rows) };
            match verdict {
                Ok(()) => found.push(NamedFile::held(path, &data.partition, NamedKind::Index, file)),
                Err(why) => left_out.push((path, format!("{why}; it will be built again"))),
            }
        }
    }
    named.append(&mut found);
    Ok(())
}

/// The last look: what was opened must be what is there.
fn still_the_same(
    shared: &Shared,
    name: &CollectionName,
    opened: &Opened,
    wal_before: Option<Stat>,
) -> Result<(), Miss> {
    let pause_ms = shared.limits.last_look_ms;
    if pause_ms > 0 && wal_before.is_some_and(|wal| shared.age_ms(&wal) < LAST_LOOK_AGE_MS) {
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    let changed = |what: &str| Err(Miss::Changed(what.to_owned()));
    let held = opened.folder_stat;
    let there = shared.root.stat(&layout::collection_folder(name))?;
    if !there.is_some_and(|there| there.same_inode(&held)) {
        return changed("it was dropped or replaced");
    }
    let unchanged = |path: &str, held: Option<&Stat>| -> Result<bool, SourceError> {
        let there = opened.folder.stat(path)?;
        Ok(match (there, held) {
            (Some(there), Some(held)) => there == *held,
            (None, None) => true,
            _ => false,
        })
    };
    if !unchanged(layout::SCHEMA, Some(&opened.schema.stat))? {
        return changed("its schema was altered");
    }
    if !unchanged(layout::MANIFEST, opened.manifest_file.as_ref().map(|file| &file.stat))? {
        return changed("it was flushed or compacted");
    }
    let wal = opened.folder.stat(layout::WAL)?;
    let same_wal = match (wal, wal_before) {
        (Some(now), Some(before)) => now.same_inode(&before),
        (None, None) => true,
        _ => false,
    };
    if same_wal { Ok(()) } else { changed("its log was deleted or made") }
}
