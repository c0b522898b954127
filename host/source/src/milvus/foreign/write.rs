//! The metadata of milvus-backup, written: `core/proto/backup.proto` of that tool as Go's JSON of it, in which enums are numbers.
//!
//! Older versions read four files, one for each level, newer ones one with everything; all five are written.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{CollectionName, DEFAULT_DATABASE};
use serde_json::{Value, json};

use crate::milvus::kept::{KeptPoint, KeptSchema, KeptSegment};
use crate::milvus::layout::LogPath;
use crate::milvus::proto::common::KeyValuePair;
use crate::milvus::proto::schema::{CollectionSchema, FieldSchema};
use crate::{SourceError, TargetFile};

/// `BACKUP_SUCCESS`.
const DONE: i32 = 2;

/// A collection to write about.
pub(super) struct About<'a> {
    pub(super) name: &'a CollectionName,
    pub(super) schema: &'a KeptSchema,
    pub(super) message: &'a CollectionSchema,
    pub(super) point: &'a KeptPoint,
    pub(super) aliases: Vec<String>,
    pub(super) files: &'a [TargetFile],
}

/// Refuses what the metadata has no place for.
///
/// # Errors
/// [`SourceError::Unsupported`] with the name of what is in the way.
pub(super) fn check(name: &CollectionName, message: &CollectionSchema) -> Result<(), SourceError> {
    let unsupported = |what: String| SourceError::Unsupported {
        path: format!("collection {name}"),
        reason: format!(
            "{what}, which is not written in the layout of milvus-backup; restore it into a server instead"
        ),
    };
    if let Some(function) = message.functions.first() {
        return Err(unsupported(format!("its schema has the function `{}`", function.name)));
    }
    if let Some(field) = message.struct_array_fields.first() {
        return Err(unsupported(format!("field `{}` is one of structs", field.name)));
    }
    match message.fields.iter().find(|field| !field.default_value.is_empty()) {
        Some(field) => Err(unsupported(format!("field `{}` has a default value", field.name))),
        None => Ok(()),
    }
}

/// The files below the backup's folder, by path.
pub(super) fn metadata(name: &str, collections: &[About<'_>]) -> BTreeMap<&'static str, Value> {
    let version = collections.first().map(|one| one.point.server_version.as_str()).unwrap_or_default();
    let bytes = collections.iter().flat_map(|one| one.files).map(|file| file.size_bytes).sum::<u64>();
    let last = collections.iter().map(|one| one.point.flush_timestamp).max().unwrap_or(0);
    let backup = json!({
        "id": name, "state_code": DONE, "progress": 100, "name": name, "end_time": seconds(last),
        "backup_timestamp": last, "size": bytes, "milvus_version": version,
    });
    let (mut all, mut partitions, mut segments) = (Vec::new(), Vec::new(), Vec::new());
    let mut flat = Vec::new();
    for one in collections {
        let own = one.segments();
        let of_partition =
            |id: i64| own.iter().filter(|segment| segment["partition_id"] == id).cloned().collect::<Vec<_>>();
        let own_partitions: Vec<Value> =
            one.point.partitions.iter().map(|partition| one.partition(partition)).collect();
        let collection = one.collection(of_partition(-1));
        let whole: Vec<Value> = own_partitions
            .iter()
            .map(|partition| {
                let inside = of_partition(partition["partition_id"].as_i64().unwrap_or_default());
                with(partition, "segment_backups", inside.into())
            })
            .collect();
        all.push(with(&collection, "partition_backups", whole.into()));
        flat.push(collection);
        partitions.extend(own_partitions);
        segments.extend(own.into_iter().filter(|segment| segment["partition_id"] != -1));
    }
    BTreeMap::from([
        ("meta/full_meta.json", with(&backup, "collection_backups", all.into())),
        ("meta/backup_meta.json", backup),
        ("meta/collection_meta.json", json!({ "infos": flat })),
        ("meta/partition_meta.json", json!({ "infos": partitions })),
        ("meta/segment_meta.json", json!({ "infos": segments })),
    ])
}

/// Seconds since 1970 of a hybrid timestamp.
fn seconds(timestamp: u64) -> u64 {
    (timestamp >> 18) / 1_000
}

fn with(object: &Value, key: &str, value: Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    object
}

fn pairs(pairs: &[KeyValuePair]) -> Value {
    pairs.iter().map(|pair| json!({ "key": pair.key, "value": pair.value })).collect()
}

fn field(field: &FieldSchema) -> Value {
    json!({
        "fieldID": field.field_id, "name": field.name, "is_primary_key": field.is_primary_key,
        "description": field.description, "data_type": field.data_type, "type_params": pairs(&field.type_params),
        "autoID": field.auto_id, "element_type": field.element_type, "is_partition_key": field.is_partition_key,
        "is_clustering_key": field.is_clustering_key, "nullable": field.nullable,
        "is_function_output": field.is_function_output,
    })
}

impl About<'_> {
    fn bytes(&self, inside: &dyn Fn(&LogPath) -> bool) -> u64 {
        let logs = self.files.iter().filter_map(|file| Some((LogPath::parse(&file.path)?, file.size_bytes)));
        logs.filter(|(log, _)| inside(log)).map(|(_, size_bytes)| size_bytes).sum()
    }

    fn collection(&self, level_zero: Vec<Value>) -> Value {
        let (schema, message, point) = (self.schema, self.message, self.point);
        // The default database has no name there.
        let database = Some(self.name.database.as_str()).filter(|name| *name != DEFAULT_DATABASE).unwrap_or_default();
        let indexes = schema.indexes.iter().map(|index| {
            let params: BTreeMap<&str, &str> = index.params.iter().map(|(key, value)| (&**key, &**value)).collect();
            json!({
                "field_name": index.field_name, "index_name": index.index_name,
                "index_type": params.get("index_type").copied().unwrap_or_default(), "params": params,
            })
        });
        let properties = schema.properties.iter().map(|(key, value)| json!({ "key": key, "value": value }));
        json!({
            "id": point.collection_id.to_string(), "state_code": DONE, "progress": 100,
            "collection_id": point.collection_id, "db_name": database, "collection_name": self.name.collection,
            "schema": {
                "name": self.name.collection, "description": message.description,
                "fields": message.fields.iter().map(field).collect::<Vec<_>>(),
                "enable_dynamic_field": message.enable_dynamic_field, "properties": pairs(&message.properties),
            },
            "shards_num": schema.shards, "consistency_level": schema.consistency_level,
            "backup_timestamp": point.flush_timestamp,
            "backup_physical_timestamp": seconds(point.flush_timestamp),
            "size": self.bytes(&|_| true), "has_index": !schema.indexes.is_empty(),
            "index_infos": indexes.collect::<Vec<_>>(),
            "load_state": if point.loaded { "Loaded" } else { "NotLoad" },
            "properties": properties.collect::<Vec<_>>(), "aliases": self.aliases, "l0_segments": level_zero,
        })
    }

    fn partition(&self, partition: &crate::milvus::KeptPartition) -> Value {
        json!({
            "partition_id": partition.partition_id, "partition_name": partition.name,
            "collection_id": self.point.collection_id,
            "size": self.bytes(&|log| log.partition_id == partition.partition_id),
        })
    }

    fn segments(&self) -> Vec<Value> {
        let mut files: BTreeMap<(i64, i64), Vec<(LogPath, &TargetFile)>> = BTreeMap::new();
        for file in self.files {
            if let Some(log) = LogPath::parse(&file.path) {
                files.entry((log.partition_id, log.segment_id)).or_default().push((log, file));
            }
        }
        let of = |segment: &KeptSegment| files.get(&(segment.partition_id, segment.segment_id));
        let groups: BTreeSet<i64> = grouped(self.point).collect();
        let one = |segment: &KeptSegment| {
            let group = if groups.contains(&segment.segment_id) { segment.segment_id } else { 0 };
            self.segment(segment, group, of(segment).map(Vec::as_slice).unwrap_or_default())
        };
        self.point.segments.iter().map(one).collect()
    }

    fn segment(&self, segment: &KeptSegment, group: i64, files: &[(LogPath, &TargetFile)]) -> Value {
        let mut fields: BTreeMap<Option<i64>, Vec<Value>> = BTreeMap::new();
        for (log, file) in files {
            fields.entry(log.field_id).or_default().push(json!({
                "log_path": file.path.replacen('/', &format!("/{}/", self.point.collection_id), 1),
                "log_size": file.size_bytes, "log_id": log.log_id,
            }));
        }
        let deletes: Vec<Value> = fields.remove(&None).into_iter().map(|logs| json!({ "binlogs": logs })).collect();
        let rows: Vec<Value> =
            fields.into_iter().map(|(field, logs)| json!({ "fieldID": field, "binlogs": logs })).collect();
        json!({
            "segment_id": segment.segment_id, "collection_id": self.point.collection_id,
            "partition_id": segment.partition_id, "num_of_rows": segment.rows, "binlogs": rows, "deltalogs": deletes,
            "size": files.iter().map(|(_, file)| file.size_bytes).sum::<u64>(), "is_l0": segment.is_level_zero,
            "storage_version": segment.storage_version, "backuped": true,
            "group_id": group,
        })
    }
}

/// Segments that are a group of their own.
pub(super) fn grouped(point: &KeptPoint) -> impl Iterator<Item = i64> + '_ {
    let has_groups = point.is_packed();
    point.segments.iter().filter(move |one| has_groups && !one.is_level_zero).map(|one| one.segment_id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_there_is_no_place_for_is_refused_by_name() {
        let field = FieldSchema { name: "price".to_owned(), default_value: vec![1], ..FieldSchema::default() };
        let message = CollectionSchema { fields: vec![FieldSchema::default(), field], ..CollectionSchema::default() };
        let error = check(&"shop.items".parse().unwrap(), &message).unwrap_err().to_string();
        assert!(
            error.contains("collection shop.items") && error.contains("field `price` has a default value"),
            "{error}"
        );
        check(&"shop.items".parse().unwrap(), &CollectionSchema::default()).unwrap();
    }
}
