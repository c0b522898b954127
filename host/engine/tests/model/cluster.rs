//! A made-up cluster in memory, and a place to restore it into: everything a source and a target must do, and no rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{ClassBytes, CollectionName, Digest, FileClass, LoadState};
use longshore_source::{
    CollectionEntry, CollectionPoint, Committed, DatabaseEntry, FileIdentity, Inventory, PointFile, PointOptions,
    PointState, RestoreRun, RestoreTarget, RestoreWatch, RestoredCollection, Source, SourceError, SourceKind,
    TargetPlan,
};
use longshore_vault::digest_of;
use serde_json::{Value, json};

/// Collection to path to bytes.
pub(crate) type Content = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// A file and the number that tells it from any other file that ever had its name.
#[derive(Debug, Clone)]
struct MadeFile {
    bytes: Bytes,
    /// `None` for a file that is written in place.
    inode: Option<u64>,
}

type Files = BTreeMap<String, MadeFile>;

/// Everything that was written so far, and what is there: each collection with a number that tells it from others that
/// ever had its name.
#[derive(Debug, Default)]
struct Made {
    written: u64,
    collections: BTreeMap<String, (u64, Files)>,
}

/// A cluster whose files are made by a test. Files named `data/…` are immutable; all others are written in place.
#[derive(Debug, Default)]
pub(crate) struct MadeCluster {
    name: String,
    state: Mutex<Made>,
}

impl MadeCluster {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a file; the collection is made if it is not there. The same name again is another file.
    pub(crate) fn write(&self, collection: &str, path: &str, bytes: Vec<u8>) {
        let mut state = self.lock();
        state.written += 2;
        let (born, inode) = (state.written, state.written + 1);
        let inode = path.starts_with("data/").then_some(inode);
        let (_, files) = state.collections.entry(collection.to_owned()).or_insert_with(|| (born, Files::new()));
        files.insert(path.to_owned(), MadeFile { bytes: bytes.into(), inode });
    }

    pub(crate) fn drop_collection(&self, collection: &str) {
        self.lock().collections.remove(collection);
    }

    pub(crate) fn content(&self) -> Content {
        let state = self.lock();
        let files = |files: &Files| files.iter().map(|(path, file)| (path.clone(), file.bytes.to_vec())).collect();
        state.collections.iter().map(|(name, (_, made))| (name.clone(), files(made))).collect()
    }

    fn born(&self, collection: &str) -> Option<u64> {
        self.lock().collections.get(collection).map(|(born, _)| *born)
    }
}

fn class(path: &str) -> FileClass {
    if path.starts_with("data/") { FileClass::Segment } else { FileClass::Wal }
}

fn name_of(collection: &str) -> CollectionName {
    CollectionName::new("", collection).unwrap()
}

/// What stands for rows here: something that follows from the files.
fn rows(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.map(|size| size + 1).sum()
}

#[async_trait]
impl Source for MadeCluster {
    fn kind(&self) -> SourceKind {
        SourceKind::MilvusLite
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        let state = self.lock();
        let collections = state.collections.iter().map(|(name, (born, files))| {
            let mut size_bytes = ClassBytes::default();
            files.iter().for_each(|(path, file)| size_bytes.add(class(path), file.bytes.len() as u64));
            CollectionEntry {
                name: name_of(name),
                schema: Arc::new(json!({"name": name})),
                properties: Vec::new(),
                indexes: Vec::new(),
                partitions: Vec::new(),
                size_bytes,
                stored_bytes: ClassBytes::default(),
                rows: rows(files.values().map(|file| file.bytes.len() as u64)),
                last_write: None,
                created: None,
                load_state: LoadState::Unknown,
                fingerprint: digest_of(&born.to_le_bytes()),
            }
        });
        let mut collections: Vec<CollectionEntry> = collections.collect();
        collections.sort_by(|one, other| one.name.cmp(&other.name));
        let default = DatabaseEntry { name: "default".to_owned(), properties: json!({}), aliases: BTreeMap::new() };
        Ok(Inventory {
            source_version: "made up".to_owned(),
            databases: vec![default],
            collections,
            access: None,
            warnings: Vec::new(),
        })
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        _options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        let state = self.lock();
        let Some((born, files)) = state.collections.get(&name.collection) else {
            return Err(SourceError::UnknownCollection { collection: name.clone(), path: self.name.clone() });
        };
        let identity = |path: &str, file: &MadeFile| {
            file.inode.map(|inode| FileIdentity {
                source: format!("made:{}", self.name),
                path: format!("{}/{path}", name.collection),
                device: 1,
                inode,
                size_bytes: file.bytes.len() as u64,
                modified_ns: 1,
                changed_ns: 1,
                tag: None,
            })
        };
        let listed = files.iter().map(|(path, file)| PointFile {
            path: path.clone(),
            class: class(path),
            partition: None,
            size_bytes: file.bytes.len() as u64,
            identity: identity(path, file),
            rows: None,
        });
        let point = MadePoint {
            name: name.clone(),
            born: *born,
            still: None,
            listed: listed.collect(),
            bytes: files.values().map(|file| file.bytes.clone()).collect(),
            schema: json!({"name": name.collection}),
        };
        drop(state);
        Ok(Arc::new(MadePoint { still: self.born(&name.collection), ..point }))
    }
}

struct MadePoint {
    name: CollectionName,
    born: u64,
    still: Option<u64>,
    listed: Vec<PointFile>,
    bytes: Vec<Bytes>,
    schema: Value,
}

#[async_trait]
impl CollectionPoint for MadePoint {
    fn name(&self) -> &CollectionName {
        &self.name
    }

    fn files(&self) -> &[PointFile] {
        &self.listed
    }

    fn schema(&self) -> &Value {
        &self.schema
    }

    fn description(&self) -> &Value {
        &Value::Null
    }

    fn physical_rows(&self) -> u64 {
        rows(self.listed.iter().map(|file| file.size_bytes))
    }

    async fn live_rows(&self, _memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        Ok(Some(self.physical_rows()))
    }

    async fn read(&self, file: usize, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let start = usize::try_from(offset).unwrap();
        Ok(self.bytes[file].slice(start..start + length))
    }

    async fn recheck(&self) -> Result<PointState, SourceError> {
        Ok(if self.still == Some(self.born) { PointState::Unaltered } else { PointState::Altered })
    }
}

/// A place in memory to restore into.
#[derive(Debug, Clone, Default)]
pub(crate) struct MadeTarget {
    /// What was committed.
    restored: Arc<Mutex<Option<Content>>>,
}

impl MadeTarget {
    pub(crate) fn restored(&self) -> Option<Content> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct MadeRun {
    target: MadeTarget,
    plan: TargetPlan,
    files: Mutex<Vec<Vec<Vec<u8>>>>,
}

#[async_trait]
impl RestoreTarget for MadeTarget {
    async fn begin(&self, plan: &TargetPlan, _watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        let empty = |size: u64| vec![0; usize::try_from(size).unwrap()];
        let files = plan.collections.iter().map(|one| one.files.iter().map(|file| empty(file.size_bytes)).collect());
        let files = Mutex::new(files.collect());
        Ok(Box::new(MadeRun { target: self.clone(), plan: plan.clone(), files }))
    }
}

#[async_trait]
impl RestoreRun for MadeRun {
    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError> {
        let start = usize::try_from(offset).unwrap();
        let mut files = self.files.lock().unwrap();
        files[collection][file][start..start + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError> {
        let files = self.files.lock().unwrap();
        let rows = rows(files[collection].iter().map(|file| file.len() as u64));
        let file_digests: Vec<Digest> = files[collection].iter().map(|file| digest_of(file)).collect();
        Ok(RestoredCollection { physical_rows: rows, live_rows: Some(rows), file_digests })
    }

    async fn commit(self: Box<Self>, _watch: &dyn RestoreWatch) -> Result<Committed, SourceError> {
        let files = self.files.lock().unwrap();
        let collections = self.plan.collections.iter().zip(files.iter()).map(|(planned, bytes)| {
            let files = planned.files.iter().zip(bytes).map(|(file, bytes)| (file.path.clone(), bytes.clone()));
            (planned.mapping.to.collection.clone(), files.collect())
        });
        *self.target.restored.lock().unwrap() = Some(collections.collect());
        Ok(Committed::default())
    }

    async fn abort(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}
