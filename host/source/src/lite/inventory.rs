//! Lists what a data directory holds, without reading rows.

use std::collections::BTreeMap;

use longshore_model::{ClassBytes, CollectionName, DEFAULT_DATABASE, FileClass, LoadState, Timestamp};
use serde_json::Value;

use super::attempt::{Miss, open_manifest};
use super::disk::Folder;
use super::layout::{self, WalKind};
use super::manifest::Manifest;
use super::schema::Schema;
use super::shared::Shared;
use super::{fingerprint, wal_cut};
use crate::{CollectionEntry, DatabaseEntry, Inventory, KnownRows, SourceError};

/// How often a collection is looked at again when a file vanishes between being named and being looked at.
const LOOKS: u32 = 8;
/// Fewer collections are not worth a thread.
const LOOKS_PER_THREAD: usize = 16;

/// Lists everything. A collection that is dropped meanwhile is not listed.
pub(crate) fn list(shared: &Shared, known: &dyn KnownRows) -> Result<Inventory, SourceError> {
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
    Ok(Inventory { source_version: "milvus-lite 3".to_owned(), databases, collections })
}

/// Names of all collections, in order of database and name, without looking into them.
pub(crate) fn names(shared: &Shared) -> Result<Vec<CollectionName>, SourceError> {
    let mut found = Vec::new();
    for database in databases_of(shared)? {
        let path = format!("{}{}", layout::database_folder(&database), layout::COLLECTIONS);
        let Some(folder) = shared.root.folder(&path)? else { continue };
        for collection in folder.folders(shared.limits.folder_entries)? {
            // What has no schema is no collection, as in `entry_once`.
            if folder.stat(&format!("{collection}/{}", layout::SCHEMA))?.is_some() {
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
    known: &dyn KnownRows,
) -> Result<Vec<CollectionEntry>, SourceError> {
    let share = names.len().div_ceil(shared.limits.list_threads.max(1)).max(LOOKS_PER_THREAD);
    let look = |names: &[CollectionName]| -> Result<Vec<CollectionEntry>, SourceError> {
        names.iter().filter_map(|name| entry(shared, name, known).transpose()).collect()
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

/// One collection; `None` when it is not, or no longer, there.
fn entry(
    shared: &Shared,
    name: &CollectionName,
    known: &dyn KnownRows,
) -> Result<Option<CollectionEntry>, SourceError> {
    let mut look = 0;
    loop {
        look += 1;
        // A file that stays missing is reported when the collection is opened; the others can still be backed up.
        match entry_once(shared, name, known, look == LOOKS) {
            Ok(entry) => return Ok(entry),
            Err(Miss::Fatal(error)) => return Err(error),
            Err(Miss::Missing(_) | Miss::Changed(_)) => std::thread::yield_now(),
        }
    }
}

fn entry_once(
    shared: &Shared,
    name: &CollectionName,
    known: &dyn KnownRows,
    tolerant: bool,
) -> Result<Option<CollectionEntry>, Miss> {
    let Some(folder) = shared.collection(name)? else { return Ok(None) };
    let Some(schema_file) = folder.file(layout::SCHEMA)? else { return Ok(None) };
    let schema_bytes = schema_file.read_all(shared.limits.json_bytes)?;
    let schema = Schema::parse(&schema_bytes, &schema_file.shown)?;
    let (manifest_file, manifest) = match open_manifest(shared, &folder) {
        Err(Miss::Changed(_)) if tolerant => (None, Manifest::absent()),
        other => other?,
    };
    let manifest_stat = manifest_file.as_ref().map(|(file, _)| file.stat);
    let mut size_bytes = ClassBytes::default();
    let mut rows = 0;
    let mut newest_ns = schema_file.stat.modified_ns;
    for stat in [Some(schema_file.stat), manifest_stat].into_iter().flatten() {
        size_bytes.add(FileClass::Metadata, stat.size_bytes);
        newest_ns = newest_ns.max(stat.modified_ns);
    }
    for (_, path, is_data) in manifest.files() {
        let Some((bytes, of_file)) = data_file(shared, &folder, name, &path, is_data, known)? else {
            if tolerant {
                continue;
            }
            return Err(Miss::Missing(path));
        };
        size_bytes.add(if is_data { FileClass::Segment } else { FileClass::Delta }, bytes);
        rows += of_file;
    }
    size_bytes.add(FileClass::Index, index_bytes(shared, &folder, &manifest)?);
    let log = log(shared, &folder, &manifest, &schema)?;
    size_bytes.add(FileClass::Wal, log.size_bytes);
    Ok(Some(CollectionEntry {
        name: name.clone(),
        fingerprint: fingerprint::of(&folder.stat_self()?, &schema_file.stat, &schema_bytes, &schema, &manifest),
        properties: schema.properties(),
        schema: schema.value,
        indexes: manifest.indexes.clone(),
        partitions: manifest.partitions.keys().cloned().collect(),
        size_bytes,
        rows: rows + log.rows,
        last_write: Some(Timestamp::from_millis(newest_ns.max(log.newest_ns).div_euclid(1_000_000))),
        created: folder.created_ms().map(Timestamp::from_millis),
        load_state: LoadState::Unknown,
    }))
}

/// Bytes and rows of a file that the manifest names. It is only looked at where its rows are known.
fn data_file(
    shared: &Shared,
    folder: &Folder,
    name: &CollectionName,
    path: &str,
    is_data: bool,
    known: &dyn KnownRows,
) -> Result<Option<(u64, u64)>, SourceError> {
    let Some(stat) = folder.stat(path)? else { return Ok(None) };
    if !is_data && stat.is_file {
        return Ok(Some((stat.size_bytes, 0)));
    }
    let rows = shared.identity(name, path, &stat).and_then(|identity| known.rows(&identity));
    if let Some(rows) = rows {
        shared.remember_rows(&stat, rows);
        return Ok(Some((stat.size_bytes, rows)));
    }
    let Some(file) = folder.file(path)? else { return Ok(None) };
    Ok(Some((file.stat.size_bytes, shared.rows(&file)?)))
}

fn index_bytes(shared: &Shared, folder: &Folder, manifest: &Manifest) -> Result<u64, SourceError> {
    let mut sum = 0;
    for partition in manifest.partitions.keys() {
        let path = format!("{}/{partition}/indexes", layout::PARTITIONS);
        let Some(indexes) = folder.folder(&path)? else { continue };
        for name in indexes.names(shared.limits.folder_entries)? {
            let stat = indexes.stat(&name)?.filter(|stat| stat.is_file);
            sum += stat.map_or(0, |stat| stat.size_bytes);
        }
    }
    Ok(sum)
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
