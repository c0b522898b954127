//! Lists what a data directory holds, without reading rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{ClassBytes, CollectionName, DEFAULT_DATABASE, FileClass, LoadState, Timestamp};
use serde_json::Value;

use super::attempt::{Miss, content_of, open_manifest, open_schema};
use super::layout::{self, WalKind};
use super::looked::{Document, Looked, LookedFile};
use super::manifest::Manifest;
use super::schema::Schema;
use super::shared::Shared;
use super::{fingerprint, wal_cut};
use crate::disk::{Folder, OpenFile, Stat};
use crate::{CollectionEntry, DatabaseEntry, Inventory, KnownFiles, SourceError};

/// How often a collection is looked at again when a file vanishes between being named and being looked at.
const LOOKS: u32 = 8;
/// Fewer collections are not worth a thread.
const LOOKS_PER_THREAD: usize = 4;

/// Lists everything. A collection that is dropped meanwhile is not listed.
pub(crate) fn list(shared: &Shared, known: &dyn KnownFiles) -> Result<Inventory, SourceError> {
    shared.memory.clear();
    let names = databases_of(shared)?;
    let (mut databases, mut collections) = (Vec::new(), Vec::new());
    for name in names {
        let path = layout::database_folder(&name);
        let properties = json_file(&shared.root, &format!("{path}{}", layout::PROPERTIES), shared.limits.json_bytes)?;
        let aliases = aliases(&shared.root, &name, shared.limits.json_bytes)?;
        if let Some(folder) = shared.root.folder(&format!("{path}{}", layout::COLLECTIONS))? {
            let found = folder.folders(shared.limits.folder_entries)?;
            let found: Result<Vec<_>, _> =
                found.iter().map(|collection| CollectionName::new(&name, collection)).collect();
            collections.extend(entries(shared, &found?, known)?);
        }
        databases.push(DatabaseEntry { name, properties, aliases });
    }
    Ok(Inventory {
        source_version: "milvus-lite 3".to_owned(),
        databases,
        collections,
        access: None,
        warnings: Vec::new(),
    })
}

/// Names of all collections, in order of database and name, without looking into them.
pub(crate) fn names(shared: &Shared) -> Result<Vec<CollectionName>, SourceError> {
    let mut found = Vec::new();
    for database in databases_of(shared)? {
        let path = format!("{}{}", layout::database_folder(&database), layout::COLLECTIONS);
        let Some(folder) = shared.root.folder(&path)? else { continue };
        for collection in folder.folders(shared.limits.folder_entries)? {
            // What has no schema is no collection, as in `entry_once`.
            if folder.has(&collection, layout::SCHEMA)? {
                found.push(CollectionName::new(&database, &collection)?);
            }
        }
    }
    Ok(found)
}

fn databases_of(shared: &Shared) -> Result<Vec<String>, SourceError> {
    let mut names = vec![DEFAULT_DATABASE.to_owned()];
    if let Some(folder) = shared.root.folder(layout::DATABASES)? {
        // A folder `databases/default` is not reachable: Milvus Lite takes `default` for the root.
        names.extend(folder.folders(shared.limits.folder_entries)?.into_iter().filter(|name| name != DEFAULT_DATABASE));
    }
    names.sort_unstable();
    Ok(names)
}

/// A small JSON object beside the collections; `{}` when there is none.
fn json_file(root: &Folder, path: &str, limit_bytes: u64) -> Result<Value, SourceError> {
    let Some(file) = root.file(path)? else { return Ok(Value::Object(serde_json::Map::new())) };
    let bytes = file.read_all(limit_bytes)?;
    let damaged = |reason: String| SourceError::Damaged { path: file.shown.clone(), reason };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(damaged("it is not a JSON object".to_owned())) }
}

/// Looks at collections side by side; each costs a dozen calls of the system.
fn entries(
    shared: &Shared,
    names: &[CollectionName],
    known: &dyn KnownFiles,
) -> Result<Vec<CollectionEntry>, SourceError> {
    let share = names.len().div_ceil(shared.limits.list_threads.max(1)).max(LOOKS_PER_THREAD);
    // What is known may still be on its way: everything else is looked at before the first question.
    let look = |names: &[CollectionName]| -> Result<Vec<CollectionEntry>, SourceError> {
        let seen: Vec<_> = names.iter().map(|name| see(shared, name, false)).collect();
        let entries = names.iter().zip(seen).map(|(name, seen)| entry(shared, name, known, seen));
        entries.filter_map(Result::transpose).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.chunks(share).map(|names| scope.spawn(move || look(names))).collect();
        let mut found = Vec::with_capacity(names.len());
        for thread in threads {
            // A panic of a decoder goes on to `blocking`, which says whose fault it is.
            found.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(found)
    })
}

/// One collection, as it was `seen`, or as it is seen now where something moved; `None` when it is not, or no longer, there.
fn entry(
    shared: &Shared,
    name: &CollectionName,
    known: &dyn KnownFiles,
    mut seen: Result<Option<Seen>, Miss>,
) -> Result<Option<CollectionEntry>, SourceError> {
    let mut look = 1;
    loop {
        let entry = match seen {
            Ok(None) => return Ok(None),
            Ok(Some(seen)) => describe(shared, name, known, seen, look >= LOOKS),
            Err(miss) => Err(miss),
        };
        match entry {
            Ok(entry) => return Ok(Some(entry)),
            Err(Miss::Fatal(error)) => return Err(error),
            Err(Miss::Missing(_) | Miss::Changed(_)) => std::thread::yield_now(),
        }
        look += 1;
        // A file that stays missing is reported when the collection is opened; the others can still be backed up.
        seen = see(shared, name, look >= LOOKS);
    }
}

/// What is seen of a collection without knowing anything of earlier runs.
struct Seen {
    folder: Stat,
    created_ms: Option<i64>,
    schema: Document<Schema>,
    manifest_file: Option<Document<Manifest>>,
    manifest: Arc<Manifest>,
    /// Of the files that the manifest names, in its order; `None` where one is missing and that is tolerated.
    stats: Vec<Option<Stat>>,
    indexes: Vec<(String, Stat)>,
    log: Log,
}

fn see(shared: &Shared, name: &CollectionName, tolerant: bool) -> Result<Option<Seen>, Miss> {
    let Some(folder) = shared.collection(name)? else { return Ok(None) };
    let Some(schema) = open_schema(shared, &folder)? else { return Ok(None) };
    let manifest_file = match open_manifest(shared, &folder) {
        Err(Miss::Changed(_)) if tolerant => None,
        other => other?,
    };
    let manifest = content_of(manifest_file.as_ref());
    let stats = stats(&folder, &manifest, tolerant)?;
    let indexes = index_files(shared, &folder, &manifest)?;
    let log = log(shared, &folder, &manifest, &schema.content)?;
    // Thousands of collections are seen before the first is described: nothing of one is held open meanwhile.
    let (schema, manifest_file) = (schema.let_go(), manifest_file.map(|file| file.let_go()));
    let (created_ms, folder) = (folder.created_ms(), folder.stat_self()?);
    Ok(Some(Seen { folder, created_ms, schema, manifest_file, manifest, stats, indexes, log }))
}

fn describe(
    shared: &Shared,
    name: &CollectionName,
    known: &dyn KnownFiles,
    seen: Seen,
    tolerant: bool,
) -> Result<CollectionEntry, Miss> {
    let Seen { folder, created_ms, schema, manifest_file, manifest, stats, indexes, log } = seen;
    let mut opened = Opened { shared, name, seen: folder, folder: None };
    let (mut size_bytes, mut stored_bytes) = (ClassBytes::default(), ClassBytes::default());
    let mut newest_ns = schema.stat.modified_ns;
    for stat in [Some(schema.stat), manifest_file.as_ref().map(|one| one.stat)].into_iter().flatten() {
        size_bytes.add(FileClass::Metadata, stat.size_bytes);
        newest_ns = newest_ns.max(stat.modified_ns);
    }
    let (mut rows, mut files) = (0, Vec::with_capacity(stats.len()));
    for ((_, path, is_data), stat) in manifest.files().zip(stats) {
        let file = match stat {
            Some(stat) => data_file(&mut opened, &path, is_data, stat, known)?,
            None => None,
        };
        let Some(file) = file else {
            if tolerant {
                continue;
            }
            return Err(Miss::Missing(path));
        };
        let class = if is_data { FileClass::Segment } else { FileClass::Delta };
        size_bytes.add(class, file.stat.size_bytes);
        stored_bytes.add(class, if file.is_stored { file.stat.size_bytes } else { 0 });
        rows += file.rows;
        files.push(file);
    }
    // The descriptions change with the files they name; to look each one up would cost more than it tells.
    if !files.is_empty() && files.iter().all(|file| file.is_stored) {
        stored_bytes.metadata = size_bytes.metadata;
    }
    for (path, stat) in indexes {
        size_bytes.add(FileClass::Index, stat.size_bytes);
        let identity = shared.identity(name, &path, &stat);
        let is_stored = identity.is_some_and(|identity| known.look_up(name, &identity).is_stored);
        stored_bytes.add(FileClass::Index, if is_stored { stat.size_bytes } else { 0 });
    }
    size_bytes.add(FileClass::Wal, log.size_bytes);
    if files.len() == manifest.files().count() {
        let looked = Looked::of(shared, folder, &schema, manifest_file.as_ref(), files);
        looked.into_iter().for_each(|looked| shared.memory.keep(name, looked, shared.limits.looked_bytes));
    }
    Ok(CollectionEntry {
        name: name.clone(),
        fingerprint: fingerprint::of(&folder, &schema, &manifest),
        properties: schema.content.properties(),
        schema: Arc::clone(&schema.content.value),
        indexes: manifest.indexes.clone(),
        partitions: manifest.partitions.keys().cloned().collect(),
        size_bytes,
        stored_bytes,
        rows: rows + log.rows,
        last_write: Some(Timestamp::from_millis(newest_ns.max(log.newest_ns).div_euclid(1_000_000))),
        created: created_ms.map(Timestamp::from_millis),
        load_state: LoadState::Unknown,
    })
}

/// Looks at the files that the manifest names.
fn stats(folder: &Folder, manifest: &Manifest, tolerant: bool) -> Result<Vec<Option<Stat>>, Miss> {
    let mut stats = Vec::new();
    // Names of one folder follow each other: it is opened once, and each name in it costs one call.
    let mut opened: Option<(String, Option<Folder>)> = None;
    for (_, path, _) in manifest.files() {
        let (parent, file_name) = path.rsplit_once('/').unwrap_or((".", &path));
        if opened.as_ref().is_none_or(|(there, _)| there != parent) {
            opened = Some((parent.to_owned(), folder.folder(parent)?));
        }
        let stat = match opened.as_ref().and_then(|(_, inside)| inside.as_ref()) {
            Some(inside) => inside.stat(file_name)?,
            None => None,
        };
        if stat.is_none() && !tolerant {
            return Err(Miss::Missing(path));
        }
        stats.push(stat);
    }
    Ok(stats)
}

/// The folder of a collection, opened again only where a file in it must be.
struct Opened<'a> {
    shared: &'a Shared,
    name: &'a CollectionName,
    seen: Stat,
    folder: Option<Folder>,
}

impl Opened<'_> {
    fn file(&mut self, path: &str) -> Result<Option<OpenFile>, Miss> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => self.open()?,
        };
        Ok(self.folder.insert(folder).file(path)?)
    }

    fn open(&self) -> Result<Folder, Miss> {
        let changed = |what: &str| Miss::Changed(what.to_owned());
        let folder = self.shared.collection(self.name)?.ok_or_else(|| changed("it was dropped"))?;
        if folder.stat_self()?.same_inode(&self.seen) {
            return Ok(folder);
        }
        Err(changed("it was dropped and created again"))
    }
}

/// A file that the manifest names. It is opened only where its rows are not known.
fn data_file(
    opened: &mut Opened<'_>,
    path: &str,
    is_data: bool,
    stat: Stat,
    known: &dyn KnownFiles,
) -> Result<Option<LookedFile>, Miss> {
    let (shared, name) = (opened.shared, opened.name);
    let identity = shared.identity(name, path, &stat).filter(|_| stat.is_file);
    let is_settled = identity.is_some();
    let known = identity.map(|identity| known.look_up(name, &identity)).unwrap_or_default();
    let is_stored = known.is_stored;
    if !is_data && stat.is_file {
        return Ok(Some(LookedFile { stat, rows: 0, is_stored, is_settled }));
    }
    if let Some(rows) = known.rows {
        shared.remember_rows(&stat, rows);
        return Ok(Some(LookedFile { stat, rows, is_stored, is_settled }));
    }
    let Some(file) = opened.file(path)? else { return Ok(None) };
    let rows = shared.rows(&file)?;
    let is_same = file.stat == stat;
    let (is_stored, is_settled) = (is_stored && is_same, is_settled && is_same);
    Ok(Some(LookedFile { stat: file.stat, rows, is_stored, is_settled }))
}

/// Paths of the index files, and what was seen of them.
fn index_files(shared: &Shared, folder: &Folder, manifest: &Manifest) -> Result<Vec<(String, Stat)>, SourceError> {
    let mut files = Vec::new();
    for partition in manifest.partitions.keys() {
        let path = format!("{}/{partition}/indexes", layout::PARTITIONS);
        let Some(indexes) = folder.folder(&path)? else { continue };
        for file in indexes.names(shared.limits.folder_entries)? {
            if let Some(stat) = indexes.stat(&file)?.filter(|stat| stat.is_file) {
                files.push((format!("{path}/{file}"), stat));
            }
        }
    }
    Ok(files)
}

struct Log {
    rows: u64,
    size_bytes: u64,
    newest_ns: i64,
}

fn log(shared: &Shared, folder: &Folder, manifest: &Manifest, schema: &Schema) -> Result<Log, SourceError> {
    let mut log = Log { rows: 0, size_bytes: 0, newest_ns: 0 };
    let from = manifest.active_wal_number.unwrap_or(0);
    for (kind, number) in wal_cut::list_all(folder, from, &shared.limits)? {
        let Some(file) = folder.file(&wal_cut::path(kind, number))? else { continue };
        log.size_bytes += file.stat.size_bytes;
        log.newest_ns = log.newest_ns.max(file.stat.modified_ns);
        if kind == WalKind::Data {
            let scan = wal_cut::scan(&file, &schema.key, &shared.limits)?;
            log.rows += scan.batches.iter().map(|batch| batch.rows).sum::<u64>();
        }
    }
    Ok(log)
}

/// The aliases of a database as they stand in its file.
pub(crate) fn aliases(
    root: &Folder,
    database: &str,
    limit_bytes: u64,
) -> Result<BTreeMap<String, String>, SourceError> {
    let value = json_file(root, &format!("{}{}", layout::database_folder(database), layout::ALIASES), limit_bytes)?;
    let pairs = value.as_object().into_iter().flatten();
    Ok(pairs.filter_map(|(alias, to)| Some((alias.clone(), to.as_str()?.to_owned()))).collect())
}
