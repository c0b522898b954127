//! `manifest.json` of a collection: the commit point of Milvus Lite (`storage/manifest.py`, format 2).

use std::collections::BTreeMap;

use longshore_model::IndexFacts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::layout;
use crate::SourceError;

/// Newest manifest format that is known here.
const FORMAT: u64 = 2;
/// The partition that every collection has.
pub(crate) const DEFAULT_PARTITION: &str = "_default";

/// What a manifest says. The default is what its absence means: a collection that was never flushed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Manifest {
    /// Grows with each save; 0 when there is no manifest yet.
    pub(crate) version: u64,
    /// Last sequence number that is in the files.
    pub(crate) current_sequence: u64,
    /// Log files with a smaller number are in the files already.
    pub(crate) active_wal_number: Option<u64>,
    /// Files by partition; [`DEFAULT_PARTITION`] is always there.
    pub(crate) partitions: BTreeMap<String, PartitionFiles>,
    /// Indexes, in order of field, with their descriptions.
    pub(crate) indexes: Vec<IndexFacts>,
    /// The indexes as they stand in the file.
    pub(crate) index_specs: Value,
}

/// Files of one partition, relative to the partition's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct PartitionFiles {
    /// Rows.
    #[serde(default)]
    pub(crate) data_files: Vec<String>,
    /// Deletions.
    #[serde(default)]
    pub(crate) delta_files: Vec<String>,
}

/// A `manifest.json` for files that were just written: the first version of one, without a log.
pub(crate) fn new_manifest(
    current_sequence: u64,
    partitions: &BTreeMap<String, PartitionFiles>,
    index_specs: &Map<String, Value>,
) -> Value {
    let files = partitions
        .iter()
        .map(|(name, files)| (name.clone(), json!({"data_files": files.data_files, "delta_files": files.delta_files})));
    json!({
        "manifest_format_version": FORMAT,
        "version": 1,
        "current_seq": current_sequence,
        "schema_version": 1,
        "active_wal_number": null,
        "partitions": files.collect::<Map<_, _>>(),
        "index_specs": index_specs,
    })
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    manifest_format_version: u64,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    current_seq: u64,
    active_wal_number: Option<u64>,
    #[serde(default)]
    partitions: BTreeMap<String, PartitionFiles>,
    #[serde(default)]
    index_specs: Option<BTreeMap<String, StoredIndex>>,
}

#[derive(Deserialize, serde::Serialize)]
struct StoredIndex {
    field_name: String,
    index_type: String,
    metric_type: String,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Manifest {
    /// A collection without manifest.
    pub(crate) fn absent() -> Self {
        let partitions = [(DEFAULT_PARTITION.to_owned(), PartitionFiles::default())].into();
        // The same as in a manifest without indexes: the first flush must not look like a change of the indexes.
        Self { partitions, index_specs: Value::Object(serde_json::Map::new()), ..Self::default() }
    }

    /// Reads the bytes of a `manifest.json`. `shown` is its path, for messages.
    ///
    /// Milvus Lite would fall back to the manifest before this one if it does not parse. That one names files which may
    /// be gone, and older rows in any case, so here it is an error.
    pub(crate) fn parse(bytes: &[u8], shown: &str) -> Result<Self, SourceError> {
        let damaged = |reason: String| SourceError::Damaged { path: shown.to_owned(), reason };
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if stored.manifest_format_version > FORMAT {
            let format = stored.manifest_format_version;
            let reason = format!("its format is {format}, and {FORMAT} is the newest that is known; update Longshore");
            return Err(SourceError::Unsupported { path: shown.to_owned(), reason });
        }
        let mut partitions = stored.partitions;
        for (name, files) in &mut partitions {
            layout::check_component(name).map_err(&damaged)?;
            for (folder, list) in [("data", &mut files.data_files), ("delta", &mut files.delta_files)] {
                for path in list {
                    // Written with backslashes by Milvus Lite on Windows; it reads them back as slashes, too.
                    *path = path.replace('\\', "/");
                    let name = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
                    let name = name.ok_or_else(|| damaged(format!("it names `{path}` outside of `{folder}/`")))?;
                    layout::check_component(name).map_err(&damaged)?;
                }
            }
        }
        partitions.entry(DEFAULT_PARTITION.to_owned()).or_default();
        let specs = stored.index_specs.unwrap_or_default();
        let indexes = specs.values().map(|index| IndexFacts {
            field_name: index.field_name.clone(),
            index_type: index.index_type.clone(),
            // Milvus Lite writes NONE for scalar indexes.
            metric_type: if index.metric_type == "NONE" { String::new() } else { index.metric_type.clone() },
        });
        Ok(Self {
            version: stored.version,
            current_sequence: stored.current_seq,
            active_wal_number: stored.active_wal_number,
            partitions,
            indexes: indexes.collect(),
            index_specs: serde_json::to_value(&specs).map_err(|error| damaged(error.to_string()))?,
        })
    }

    /// All data and delta files as (partition, path relative to the collection, is data).
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, String, bool)> {
        self.partitions.iter().flat_map(|(partition, files)| {
            let data = files.data_files.iter().map(|path| (path, true));
            let delta = files.delta_files.iter().map(|path| (path, false));
            data.chain(delta).map(move |(path, is_data)| {
                (partition.as_str(), format!("{}/{partition}/{path}", layout::PARTITIONS), is_data)
            })
        })
    }
}
