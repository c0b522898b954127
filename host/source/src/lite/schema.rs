//! `schema.json` of a collection (Milvus Lite's `schema/persistence.py`, format 2).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::SourceError;

/// Newest schema format that is known here.
const FORMAT: u64 = 2;
/// Properties that are left out of a restored collection (DESIGN §7): rows would vanish again.
pub(crate) const TIME_TO_LIVE: [&str; 1] = ["collection.ttl.seconds"];

/// What this crate needs to know of a schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema {
    /// The whole file.
    pub(crate) value: Arc<Value>,
    /// Name of the primary key.
    pub(crate) key: String,
    /// Rows are spread over partitions by a field.
    pub(crate) has_partition_key: bool,
}

impl Schema {
    /// Reads the bytes of a `schema.json`. `shown` is its path, for messages.
    pub(crate) fn parse(bytes: &[u8], shown: &str) -> Result<Self, SourceError> {
        let damaged = |reason: &str| SourceError::Damaged { path: shown.to_owned(), reason: reason.to_owned() };
        let value: Value = serde_json::from_slice(bytes).map_err(|error| damaged(&error.to_string()))?;
        let format = value.get("schema_format_version").and_then(Value::as_u64).unwrap_or_default();
        if format > FORMAT {
            let reason = format!("its format is {format}, and {FORMAT} is the newest that is known; update Longshore");
            return Err(SourceError::Unsupported { path: shown.to_owned(), reason });
        }
        let fields =
            value.get("fields").and_then(Value::as_array).ok_or_else(|| damaged("it has no list of fields"))?;
        let has = |field: &Value, flag: &str| field.get(flag).and_then(Value::as_bool).unwrap_or_default();
        let key = fields.iter().find(|field| has(field, "is_primary"));
        let key = key.and_then(|field| field.get("name")).and_then(Value::as_str);
        let key = key.ok_or_else(|| damaged("it has no primary key"))?.to_owned();
        let has_partition_key = fields.iter().any(|field| has(field, "is_partition_key"));
        Ok(Self { value: Arc::new(value), key, has_partition_key })
    }

    /// The collection's properties as text, in order of key.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        let properties = self.value.get("properties").and_then(Value::as_object);
        let mut list: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        list.sort_unstable();
        list
    }
}

/// The `schema.json` of a restored collection: under its new name and without time-to-live properties. `None` when
/// nothing has to change, so that a file which can stay as it is stays so, byte for byte.
pub(crate) fn adapt(bytes: &[u8], name: &str, shown: &str) -> Result<Option<Vec<u8>>, SourceError> {
    let damaged = |reason: String| SourceError::Damaged { path: shown.to_owned(), reason };
    let mut schema: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut changed = false;
    if schema.get("collection_name").and_then(Value::as_str) != Some(name) {
        schema.insert("collection_name".to_owned(), Value::String(name.to_owned()));
        changed = true;
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in TIME_TO_LIVE {
            changed |= properties.remove(property).is_some();
        }
    }
    if !changed {
        return Ok(None);
    }
    serde_json::to_vec_pretty(&schema).map(Some).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_restored_schema_has_its_new_name_and_no_time_to_live_and_everything_else() {
        let stored = br#"{"collection_name": "a", "fields": [{"name": "id", "is_primary": true, "x": 1.5}],
            "functions": [{"params": {"k": [1, null]}}], "properties": {"collection.ttl.seconds": 5, "data.region": "eu"}}"#;
        let adapted: Value = serde_json::from_slice(&adapt(stored, "b", "").unwrap().unwrap()).unwrap();
        let mut expected: Value = serde_json::from_slice(stored).unwrap();
        expected["collection_name"] = "b".into();
        expected["properties"].as_object_mut().unwrap().remove("collection.ttl.seconds");
        assert_eq!(adapted, expected);
    }

    #[test]
    fn a_schema_that_needs_no_change_keeps_its_bytes() {
        let stored = br#"{ "collection_name":"a", "fields":[], "properties":{"data.region":"eu"} }"#;
        assert_eq!(adapt(stored, "a", "").unwrap(), None);
    }
}
