//! A folder that milvus-backup wrote, seen as a cluster to back up. It does not change, so a point is what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use longshore_model::{ClassBytes, CollectionName, Digest, IndexFacts, LoadState, Timestamp};
use serde_json::{Value, json};

use super::meta::{Backup, Collection};
use crate::blocking::blocking;
use crate::disk::{Folder, ReadAt, Stat, io_error};
use crate::milvus::counted::count_point;
use crate::milvus::layout::{DELTA_LOG, INSERT_LOG, LogPath};
use crate::{
    CollectionEntry, CollectionPoint, CountedPoint, DatabaseEntry, Inventory, Limits, PointFile, PointOptions,
    PointState, Reading, Source, SourceError, SourceKind, StoredBytes,
};

/// Where the logs are in a backup.
const BINLOGS: &str = "binlogs";

/// A backup that milvus-backup made, in a folder of this machine.
#[derive(Debug, Clone)]
pub struct MilvusBackupSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Folder,
    identity: String,
    backup: Backup,
    limits: Limits,
}

impl MilvusBackupSource {
    /// Whether a folder is such a backup.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        Dir::open_ambient_dir(path, ambient_authority())
            .is_ok_and(|dir| Backup::is_in(&Folder { dir, shown: path.display().to_string() }).unwrap_or(false))
    }

    /// Opens the folder of one backup, the one that has `meta` and `binlogs` in it.
    ///
    /// # Errors
    /// [`SourceError::Io`], [`SourceError::Damaged`] for metadata that cannot be read, [`SourceError::Unsupported`] for a
    /// format that is not known here.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let limits = Limits::DEFAULT;
        let shown = path.display().to_string();
        let fail = |error| io_error("open", &shown, error);
        let absolute = std::fs::canonicalize(path).map_err(fail)?;
        let dir = Dir::open_ambient_dir(&absolute, ambient_authority()).map_err(fail)?;
        let root = Folder { dir, shown: shown.clone() };
        let backup = Backup::read(&root, &limits)?;
        let identity = format!("milvus-backup:{}", absolute.display());
        Ok(Self { inner: Arc::new(Inner { root, identity, backup, limits }) })
    }
}

/// A log and where it is in the backup.
#[derive(Debug, Clone)]
struct Found {
    log: LogPath,
    stored: String,
    stat: Stat,
}

impl Inner {
    fn find(&self, name: &CollectionName) -> Result<&Collection, SourceError> {
        let is_it = |one: &&Collection| one.database() == name.database && one.collection_name == name.collection;
        let unknown = || SourceError::UnknownCollection { collection: name.clone(), path: self.root.shown.clone() };
        self.backup.collection_backups.iter().find(is_it).ok_or_else(unknown)
    }

    /// All logs of a collection, after looking whether every one that the metadata names is there.
    fn logs(&self, name: &CollectionName, collection: &Collection) -> Result<Vec<Found>, SourceError> {
        let mut found = Vec::new();
        for kind in [INSERT_LOG, DELTA_LOG] {
            let folder = format!("{BINLOGS}/{kind}/{}", collection.collection_id);
            self.walk(kind, &folder, &mut Vec::new(), &mut found)?;
        }
        found.sort_unstable_by_key(|one| one.log.to_string());
        let there: BTreeSet<String> = found.iter().map(|one| one.log.to_string()).collect();
        if there.len() != found.len() {
            let reason = format!("two logs of collection {name} in it have one place");
            return Err(SourceError::Damaged { path: self.root.shown.clone(), reason });
        }
        match collection.promised().into_iter().find(|path| !there.contains(path)) {
            Some(path) => Err(SourceError::MissingFile { collection: name.clone(), path }),
            None => Ok(found),
        }
    }

    /// Below a collection: partition, a made-up group that newer versions put segments in, segment, for inserts the field,
    /// log.
    fn walk(
        &self,
        kind: &str,
        folder: &str,
        parts: &mut Vec<String>,
        found: &mut Vec<Found>,
    ) -> Result<(), SourceError> {
        let deepest = if kind == INSERT_LOG { 5 } else { 4 };
        let Some(names) = self.root.names_in(folder, self.limits.folder_entries)? else { return Ok(()) };
        for name in names {
            let path = format!("{folder}/{name}");
            let Some(stat) = self.root.stat(&path)? else { continue };
            parts.push(name);
            if stat.is_dir && parts.len() < deepest {
                self.walk(kind, &path, parts, found)?;
            } else if let (true, Some(log)) = (stat.is_file, log_of(kind, parts)) {
                found.push(Found { log, stored: path, stat });
            } else {
                let reason = "it lies among the logs of a backup and is none that is known here".to_owned();
                return Err(SourceError::Unsupported { path: self.root.show(&path), reason });
            }
            parts.pop();
        }
        Ok(())
    }

    fn entry(&self, collection: &Collection) -> Result<CollectionEntry, SourceError> {
        let name = CollectionName::new(collection.database(), &collection.collection_name)?;
        let schema = collection.schema(&self.root.shown)?;
        let point = collection.point(&self.backup.milvus_version);
        let logs = self.logs(&name, collection)?;
        let mut size_bytes = ClassBytes::default();
        logs.iter().for_each(|one| size_bytes.add(one.log.class(), one.stat.size_bytes));
        let value = serde_json::to_value(&schema).unwrap_or_default();
        let param = |params: &[(String, String)], key: &str| {
            params.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        Ok(CollectionEntry {
            fingerprint: self.fingerprint(collection, &value),
            schema: Arc::new(value),
            properties: schema.properties.clone(),
            indexes: schema
                .indexes
                .iter()
                .map(|index| IndexFacts {
                    field_name: index.field_name.clone(),
                    index_type: param(&index.params, "index_type"),
                    metric_type: param(&index.params, "metric_type"),
                })
                .collect(),
            partitions: schema.partitions.clone(),
            size_bytes,
            stored_bytes: ClassBytes::default(),
            rows: collection.rows(),
            last_write: (self.backup.end_time > 0)
                .then(|| Timestamp::from_millis(self.backup.end_time.saturating_mul(1000))),
            created: None,
            load_state: if point.loaded { LoadState::Loaded } else { LoadState::NotLoaded },
            name,
        })
    }

    fn fingerprint(&self, collection: &Collection, schema: &Value) -> Digest {
        let text = json!([self.identity, collection.collection_id, schema]).to_string();
        Digest::new(*blake3::hash(text.as_bytes()).as_bytes())
    }

    fn list(&self) -> Result<Inventory, SourceError> {
        let mut databases: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        databases.entry(longshore_model::DEFAULT_DATABASE.to_owned()).or_default();
        let named = self.backup.database_backups.iter().map(|one| one.db_name.as_str()).filter(|name| !name.is_empty());
        for name in named {
            databases.entry(name.to_owned()).or_default();
        }
        let mut collections = Vec::new();
        for collection in &self.backup.collection_backups {
            let aliases = databases.entry(collection.database().to_owned()).or_default();
            aliases.extend(collection.aliases.iter().map(|alias| (alias.clone(), collection.collection_name.clone())));
            collections.push(self.entry(collection)?);
        }
        collections.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let databases =
            databases.into_iter().map(|(name, aliases)| DatabaseEntry { name, properties: json!({}), aliases });
        Ok(Inventory {
            source_version: format!("{} (milvus-backup: {})", self.backup.milvus_version, self.backup.name),
            databases: databases.collect(),
            collections,
            access: None,
            warnings: self.backup.warnings(),
        })
    }

    fn read(&self, stored: &str, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let changed = || SourceError::FileChanged {
            path: self.root.show(stored),
            reason: "it was there when it was listed".to_owned(),
        };
        let file = self.root.file(stored)?.ok_or_else(changed)?;
        let mut buffer = vec![0; length];
        file.file.fill(&mut buffer, offset).map_err(|error| io_error("read", &file.shown, error))?;
        Ok(buffer.into())
    }
}

/// The log that a path below a collection is; the made-up group, where there is one, is left out.
fn log_of(kind: &str, parts: &[String]) -> Option<LogPath> {
    let tail = if kind == INSERT_LOG { 3 } else { 2 };
    let inner = parts.get(parts.len().checked_sub(tail)?..)?.join("/");
    let is_known = parts.len() == tail + 1 || parts.len() == tail + 2;
    LogPath::parse(&format!("{kind}/{}/{inner}", parts.first()?)).filter(|_| is_known)
}

#[async_trait]
impl Source for MilvusBackupSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Milvus
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        let inner = Arc::clone(&self.inner);
        blocking(&self.inner.root.shown, move || inner.list()).await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        _options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        blocking(&self.inner.root.shown, move || Ok(Arc::new(Point::open(inner, name)?) as Arc<dyn CollectionPoint>))
            .await
    }
}

/// One collection of the backup.
#[derive(Debug)]
struct Point {
    inner: Arc<Inner>,
    name: CollectionName,
    schema: Value,
    description: Value,
    files: Vec<PointFile>,
    stored: Vec<String>,
    rows: u64,
}

impl Point {
    fn open(inner: Arc<Inner>, name: CollectionName) -> Result<Self, SourceError> {
        let collection = inner.find(&name)?;
        let schema = serde_json::to_value(collection.schema(&inner.root.shown)?).unwrap_or_default();
        let point = collection.point(&inner.backup.milvus_version);
        let logs = inner.logs(&name, collection)?;
        let files = logs.iter().map(|one| PointFile {
            path: one.log.to_string(),
            class: one.log.class(),
            partition: point
                .partitions
                .iter()
                .find(|partition| partition.partition_id == one.log.partition_id)
                .map(|partition| partition.name.clone()),
            size_bytes: one.stat.size_bytes,
            identity: Some(one.stat.identity(&inner.identity, one.stored.clone())),
            rows: None,
        });
        let (files, rows) = (files.collect(), collection.rows());
        let stored = logs.into_iter().map(|one| one.stored).collect();
        let description = serde_json::to_value(point).unwrap_or_default();
        Ok(Self { inner, name, schema, description, files, stored, rows })
    }

    fn piece(&self, file: usize, offset: u64, length: usize) -> Result<&str, SourceError> {
        let size_bytes = self.files.get(file).map_or(0, |entry| entry.size_bytes);
        let end = offset.saturating_add(length as u64);
        let stored = self.stored.get(file).filter(|_| end <= size_bytes).map(String::as_str);
        stored.ok_or_else(|| SourceError::OutOfRange {
            path: format!("file {file} of {}", self.name),
            offset,
            end,
            size_bytes,
        })
    }
}

/// A log of the backup, read by threads that may wait.
struct StoredLog {
    inner: Arc<Inner>,
    stored: String,
}

impl StoredBytes for StoredLog {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let bytes = self.inner.read(&self.stored, offset, buffer.len()).map_err(std::io::Error::other)?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

#[async_trait]
impl CollectionPoint for Point {
    fn name(&self) -> &CollectionName {
        &self.name
    }

    fn files(&self) -> &[PointFile] {
        &self.files
    }

    fn schema(&self) -> &Value {
        &self.schema
    }

    fn description(&self) -> &Value {
        &self.description
    }

    fn physical_rows(&self) -> u64 {
        self.rows
    }

    async fn live_rows(&self, _memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }

    fn digests_rows(&self) -> bool {
        true
    }

    async fn count_rows(
        &self,
        digests: &[Digest],
        earlier: Option<&Value>,
    ) -> Result<Option<CountedPoint>, SourceError> {
        let files = self.files.iter().zip(&self.stored).map(|(file, stored)| {
            file.stored(Arc::new(StoredLog { inner: Arc::clone(&self.inner), stored: stored.clone() }))
        });
        count_point(self, files.collect(), digests, earlier, self.inner.limits).await
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let (inner, stored) = (Arc::clone(&self.inner), self.piece(file, offset, length)?.to_owned());
        blocking(&self.inner.root.shown, move || inner.read(&stored, offset, length)).await
    }

    fn reading(&self, file: usize, offset: u64, length: usize) -> Option<Reading> {
        let (inner, stored) = (Arc::clone(&self.inner), self.piece(file, offset, length).ok()?.to_owned());
        Some(Box::new(move || inner.read(&stored, offset, length)))
    }

    fn holds_all_files(&self) -> bool {
        false
    }

    fn descriptors(&self) -> usize {
        0
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        Ok(PointState::Unaltered)
    }
}
