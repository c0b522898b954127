//! The metadata of milvus-backup: Go's JSON of protocol buffers, in which what is zero is left out and enums are numbers.
//!
//! What a schema says and this version could not give back to a server is refused with the name of the field, never left out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::disk::Folder;
use crate::milvus::kept::{KeptField, KeptIndex, KeptPartition, KeptPoint, KeptSchema, KeptSegment};
use crate::milvus::proto::common::KeyValuePair;
use crate::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use crate::{Limits, SourceError};

/// All in one file; newer versions write it beside the four others.
const FULL: &str = "meta/full_meta.json";
const BACKUP: &str = "meta/backup_meta.json";
const COLLECTIONS: &str = "meta/collection_meta.json";
const PARTITIONS: &str = "meta/partition_meta.json";
const SEGMENTS: &str = "meta/segment_meta.json";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Backup {
    pub(super) name: String,
    pub(super) milvus_version: String,
    pub(super) format: String,
    /// Seconds since 1970, where it is told.
    pub(super) end_time: i64,
    pub(super) collection_backups: Vec<Collection>,
    pub(super) database_backups: Vec<Database>,
    rbac_meta: Option<Access>,
}

/// Users, roles and grants. How many there are, and nothing of them: they come with hashes of passwords.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Access {
    users: Option<Vec<IgnoredAny>>,
    roles: Option<Vec<IgnoredAny>>,
    grants: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    pub(super) db_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Collection {
    pub(super) collection_id: i64,
    pub(super) db_name: String,
    pub(super) collection_name: String,
    schema: Schema,
    shards_num: i32,
    consistency_level: i32,
    partition_backups: Vec<Partition>,
    l0_segments: Vec<Segment>,
    index_infos: Vec<Index>,
    load_state: String,
    properties: Vec<Pair>,
    pub(super) aliases: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Schema {
    description: String,
    fields: Vec<Field>,
    enable_dynamic_field: bool,
    properties: Vec<Pair>,
    functions: Vec<Value>,
    struct_array_fields: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Field {
    #[serde(rename = "fieldID")]
    field_id: i64,
    name: String,
    is_primary_key: bool,
    description: String,
    data_type: i32,
    type_params: Vec<Pair>,
    #[serde(rename = "autoID")]
    auto_id: bool,
    element_type: i32,
    default_value: Value,
    default_value_base64: String,
    is_dynamic: bool,
    is_partition_key: bool,
    is_clustering_key: bool,
    nullable: bool,
    is_function_output: bool,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Pair {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Index {
    field_name: String,
    index_name: String,
    params: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Partition {
    partition_id: i64,
    partition_name: String,
    collection_id: i64,
    segment_backups: Vec<Segment>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Segment {
    segment_id: i64,
    collection_id: i64,
    partition_id: i64,
    num_of_rows: i64,
    is_l0: bool,
    storage_version: i64,
    binlogs: Vec<FieldLogs>,
    deltalogs: Vec<FieldLogs>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct FieldLogs {
    #[serde(rename = "fieldID")]
    field_id: i64,
    binlogs: Vec<Log>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Log {
    log_path: String,
    log_id: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Level<T: Default> {
    infos: Vec<T>,
}

fn read<T: for<'a> Deserialize<'a>>(folder: &Folder, path: &str, limits: &Limits) -> Result<Option<T>, SourceError> {
    let Some(file) = folder.file(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&file.read_all(limits.json_bytes)?);
    value.map(Some).map_err(|error| SourceError::Damaged { path: file.shown, reason: error.to_string() })
}

impl Backup {
    /// Whether a folder looks like a backup of milvus-backup.
    pub(super) fn is_in(folder: &Folder) -> Result<bool, SourceError> {
        Ok(folder.stat(FULL)?.is_some() || folder.stat(BACKUP)?.is_some())
    }

    /// # Errors
    /// [`SourceError::Damaged`], [`SourceError::Unsupported`].
    pub(super) fn read(folder: &Folder, limits: &Limits) -> Result<Self, SourceError> {
        let backup = match read::<Self>(folder, FULL, limits)? {
            Some(full) => full,
            None => Self::in_levels(folder, limits)?,
        };
        if !backup.format.is_empty() && backup.format != "binlog" {
            let reason = format!("it is of format `{}`; only backups that hold binlogs can be read", backup.format);
            return Err(SourceError::Unsupported { path: folder.shown.clone(), reason });
        }
        Ok(backup)
    }

    /// What is in it and not taken, in sentences.
    pub(super) fn warnings(&self) -> Vec<String> {
        let count = |list: &Option<Vec<IgnoredAny>>| list.as_ref().map_or(0, Vec::len);
        let counted = self.rbac_meta.as_ref().map(|access| [&access.users, &access.roles, &access.grants].map(count));
        let Some([users, roles, grants]) = counted.filter(|counted| counted.iter().any(|count| *count > 0)) else {
            return Vec::new();
        };
        vec![format!(
            "its users, roles and grants ({users}, {roles} and {grants} of them) were not taken: make them anew after a restore, or \
             back the server itself up with a user that may read them"
        )]
    }

    fn in_levels(folder: &Folder, limits: &Limits) -> Result<Self, SourceError> {
        let missing = |path: &str| SourceError::Damaged { path: folder.show(path), reason: "it is missing".to_owned() };
        let mut backup: Self = read(folder, BACKUP, limits)?.ok_or_else(|| missing(BACKUP))?;
        let collections: Level<Collection> = read(folder, COLLECTIONS, limits)?.ok_or_else(|| missing(COLLECTIONS))?;
        let mut partitions: Level<Partition> = read(folder, PARTITIONS, limits)?.ok_or_else(|| missing(PARTITIONS))?;
        let segments: Level<Segment> = read(folder, SEGMENTS, limits)?.ok_or_else(|| missing(SEGMENTS))?;
        for partition in &mut partitions.infos {
            let of_it = |one: &&Segment| {
                (one.collection_id, one.partition_id) == (partition.collection_id, partition.partition_id)
            };
            partition.segment_backups = segments.infos.iter().filter(of_it).cloned().collect();
        }
        backup.collection_backups = collections.infos;
        for collection in &mut backup.collection_backups {
            let (own, others) =
                partitions.infos.into_iter().partition(|one| one.collection_id == collection.collection_id);
            (collection.partition_backups, partitions.infos) = (own, others);
        }
        Ok(backup)
    }
}

fn pairs(pairs: &[Pair]) -> Vec<KeyValuePair> {
    pairs.iter().map(|pair| KeyValuePair { key: pair.key.clone(), value: pair.value.clone() }).collect()
}

impl Collection {
    /// The name of its database; milvus-backup leaves the default one empty.
    pub(super) fn database(&self) -> &str {
        if self.db_name.is_empty() { longshore_model::DEFAULT_DATABASE } else { &self.db_name }
    }

    /// What would have been kept of the collection, had it been backed up here.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] with the name of what cannot be given back to a server.
    pub(super) fn schema(&self, shown: &str) -> Result<KeptSchema, SourceError> {
        let unsupported = |what: String| SourceError::Unsupported {
            path: format!("collection {} in {shown}", self.collection_name),
            reason: format!("{what}, which cannot be read from a backup of milvus-backup; back it up from its server"),
        };
        if !self.schema.functions.is_empty() {
            return Err(unsupported("its schema has functions".to_owned()));
        }
        if !self.schema.struct_array_fields.is_empty() {
            return Err(unsupported("its schema has fields of structs".to_owned()));
        }
        // The dynamic field is a flag of the schema, and the server adds it by itself.
        let fields = self.schema.fields.iter().filter(|field| !field.is_dynamic);
        let fields: Vec<FieldSchema> = fields
            .map(|field| {
                let has_default = !field.default_value.is_null() || !field.default_value_base64.is_empty();
                let default_value = STANDARD.decode(&field.default_value_base64).unwrap_or_default();
                if has_default && default_value.is_empty() {
                    return Err(unsupported(format!("field `{}` has a default value", field.name)));
                }
                Ok(field.message(default_value))
            })
            .collect::<Result<_, _>>()?;
        let message = CollectionSchema {
            name: self.collection_name.clone(),
            description: self.schema.description.clone(),
            fields,
            enable_dynamic_field: self.schema.enable_dynamic_field,
            properties: pairs(&self.schema.properties),
            ..CollectionSchema::default()
        };
        let mut properties: Vec<(String, String)> =
            self.properties.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        properties.sort_unstable();
        let indexes = self.index_infos.iter().map(|index| KeptIndex {
            field_name: index.field_name.clone(),
            index_name: index.index_name.clone(),
            params: index.params.clone().into_iter().collect(),
        });
        Ok(KeptSchema {
            description: self.schema.description.clone(),
            fields: message.fields.iter().map(kept_field).collect(),
            message: STANDARD.encode(message.encode_to_vec()),
            shards: self.shards_num,
            consistency_level: self.consistency_level,
            properties,
            partitions: self.partition_backups.iter().map(|one| one.partition_name.clone()).collect(),
            indexes: indexes.collect(),
        })
    }

    /// The point: no cut, because the times that milvus-backup notes are of different clocks in different versions.
    pub(super) fn point(&self, milvus_version: &str) -> KeptPoint {
        let partitions = self.partition_backups.iter();
        KeptPoint {
            server_version: milvus_version.to_owned(),
            collection_id: self.collection_id,
            flush_timestamp: 0,
            loaded: self.load_state == "Loaded",
            partitions: partitions
                .map(|one| KeptPartition { partition_id: one.partition_id, name: one.partition_name.clone() })
                .collect(),
            segments: self.segments().map(Segment::kept).collect(),
            ..KeptPoint::default()
        }
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.partition_backups.iter().flat_map(|partition| &partition.segment_backups).chain(&self.l0_segments)
    }

    /// Rows that are promised, deleted ones included.
    pub(super) fn rows(&self) -> u64 {
        self.segments().map(|segment| u64::try_from(segment.num_of_rows).unwrap_or(0)).sum()
    }

    /// Logs that the metadata names, as paths relative to the collection.
    pub(super) fn promised(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for segment in self.segments() {
            let inside = format!("{}/{}", segment.partition_id, segment.segment_id);
            for field in &segment.binlogs {
                let logs = field.binlogs.iter().filter_map(Log::number);
                paths.extend(logs.map(|log| format!("insert_log/{inside}/{}/{log}", field.field_id)));
            }
            for log in segment.deltalogs.iter().flat_map(|field| &field.binlogs).filter_map(Log::number) {
                paths.push(format!("delta_log/{inside}/{log}"));
            }
        }
        paths
    }
}

impl Segment {
    fn kept(&self) -> KeptSegment {
        KeptSegment {
            partition_id: self.partition_id,
            segment_id: self.segment_id,
            rows: u64::try_from(self.num_of_rows).unwrap_or(0),
            is_level_zero: self.is_l0,
            storage_version: self.storage_version,
            live: None,
        }
    }
}

impl Log {
    /// Its number, which is also the last part of its path.
    fn number(&self) -> Option<i64> {
        let last = || self.log_path.rsplit('/').next().and_then(|last| last.parse().ok());
        if self.log_id > 0 { Some(self.log_id) } else { last() }
    }
}

impl Field {
    fn message(&self, default_value: Vec<u8>) -> FieldSchema {
        FieldSchema {
            field_id: self.field_id,
            name: self.name.clone(),
            is_primary_key: self.is_primary_key,
            description: self.description.clone(),
            data_type: self.data_type,
            type_params: pairs(&self.type_params),
            auto_id: self.auto_id,
            element_type: self.element_type,
            default_value,
            is_partition_key: self.is_partition_key,
            is_clustering_key: self.is_clustering_key,
            nullable: self.nullable,
            is_function_output: self.is_function_output,
            ..FieldSchema::default()
        }
    }
}

fn kept_field(field: &FieldSchema) -> KeptField {
    KeptField {
        name: field.name.clone(),
        field_id: field.field_id,
        data_type: DataType::try_from(field.data_type)
            .map_or_else(|_| field.data_type.to_string(), |known| known.as_str_name().to_owned()),
        type_params: field.type_params.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
        is_primary_key: field.is_primary_key,
        is_partition_key: field.is_partition_key,
    }
}
