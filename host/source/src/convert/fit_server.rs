//! Whether a Milvus Lite collection can live in a Milvus server, and as what: a decision that looks at its `schema.json` alone.
//!
//! Measured on Milvus 2.3.5. What newer servers may take as well (missing values, several vectors, functions) is refused all the
//! same: no such server could be run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::CollectionName;
use prost::Message;
use serde_json::Value;

use super::lite_schema::{LiteField, LiteSchema, LiteType, Scalar};
use super::misfit::{DoesNotFit, Misfit};
use crate::SourceError;
use crate::lite::TIME_TO_LIVE;
use crate::milvus::proto::common::{ConsistencyLevel, KeyValuePair};
use crate::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use crate::milvus::{KeptIndex, KeptSchema};

/// How the kind of cluster is called in messages.
pub(crate) const SERVER: &str = "a Milvus server";
/// What to do with a collection that does not fit.
const ADVICE: &str = "restore it into a directory (--to), or name only others, or others' names, with --collection";
/// What names may be there (`internal/proxy/util.go`).
const NAMES: &str = "letters, digits and _, no digit first, at most 255 of them";
const NAME_BYTES: usize = 255;
/// The number of a collection's first field; the others follow in order.
const FIRST_FIELD: i64 = 100;
/// What a server gives at most to a text, and to an array.
const LONGEST_TEXT: i64 = 65_535;
const LARGEST_ARRAY: i64 = 4_096;

/// A collection as a server keeps it.
#[derive(Debug, Clone)]
pub(crate) struct ServerPlan {
    pub(crate) lite: LiteSchema,
    /// With the numbers that a server gives to fields.
    pub(crate) decoded: CollectionSchema,
    /// Without partitions and indexes, which no `schema.json` tells.
    pub(crate) kept: KeptSchema,
    /// What is not as it was, in sentences.
    pub(crate) notes: Vec<String>,
}

/// The error for collections that a server cannot hold.
pub(crate) fn does_not_fit_server(misfits: Vec<(CollectionName, Misfit)>) -> DoesNotFit {
    DoesNotFit { target: SERVER, misfits, advice: ADVICE }
}

/// Whether a name is one that a server takes.
pub(crate) fn check_name(what: &'static str, name: &str) -> Option<Misfit> {
    let first = |first: char| first.is_ascii_alphabetic() || first == '_';
    let is_good = name.len() <= NAME_BYTES
        && name.starts_with(first)
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    (!is_good).then(|| Misfit::BadName { what, name: name.to_owned(), target: SERVER, rule: NAMES })
}

/// Decides for one collection.
///
/// # Errors
/// [`SourceError::Damaged`] for a schema that cannot be read; within, all that is in the way.
pub(crate) fn server_plan(
    from: &CollectionName,
    to: &CollectionName,
    schema: &Value,
) -> Result<Result<ServerPlan, Vec<Misfit>>, SourceError> {
    let damaged = |reason: String| SourceError::Damaged { path: format!("the schema of collection {from}"), reason };
    let listed =
        schema.get("fields").and_then(Value::as_array).ok_or_else(|| damaged("it has no fields".to_owned()))?;
    let (mut fields, mut misfits, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    misfits.extend(check_name("collection", &to.collection));
    misfits.extend(check_name("database", &to.database));
    for field in listed {
        let name = field.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| damaged("a field of it has no name".to_owned()))?;
        misfits.extend(check_name("field", name));
        match lite_field(name, field) {
            Ok(fitting) => fields.push(fitting),
            Err(mut found) => misfits.append(&mut found),
        }
        if field.get("default_value").is_some_and(|value| !value.is_null()) {
            notes.push(format!(
                "collection {from}: the default value of field `{name}` is left out; rows that are there are as they were"
            ));
        }
    }
    for function in schema.get("functions").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| function.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let outputs = function.get("output_field_names").and_then(Value::as_array).into_iter().flatten();
        let outputs: Vec<&str> = outputs.filter_map(Value::as_str).collect();
        misfits.push(Misfit::Function { field: outputs.join("`, `"), function: text("name") });
    }
    let is_vector = |field: &&LiteField| matches!(field.kind, LiteType::FloatVector(_));
    let vectors: Vec<&LiteField> = fields.iter().filter(is_vector).collect();
    if let Some(second) = vectors.get(1) {
        misfits.push(Misfit::SecondVector { field: second.name.clone(), target: "a Milvus server before 2.4" });
    }
    if misfits.is_empty() && vectors.is_empty() {
        misfits.push(Misfit::NoVector { target: SERVER });
    }
    if !misfits.is_empty() {
        return Ok(Err(misfits));
    }
    if !fields.iter().any(|field| field.is_key) {
        return Err(damaged("it has no primary key".to_owned()));
    }
    let has_dynamic = schema.get("enable_dynamic_field").and_then(Value::as_bool).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let lite = LiteSchema { fields, has_dynamic, properties };
    let decoded = decoded(&lite, &to.collection);
    let properties = lite.properties.iter().filter(|(key, _)| !TIME_TO_LIVE.contains(&key.as_str()));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let kept = KeptSchema {
        message: STANDARD.encode(decoded.encode_to_vec()),
        shards: 1,
        consistency_level: ConsistencyLevel::Bounded.into(),
        properties: properties.map(|(key, value)| (key.clone(), text(value))).collect(),
        ..KeptSchema::default()
    };
    Ok(Ok(ServerPlan { lite, decoded, kept, notes }))
}

/// Decides for one field.
fn lite_field(name: &str, field: &Value) -> Result<LiteField, Vec<Misfit>> {
    let text = |key: &str| field.get(key).and_then(Value::as_str);
    let flag = |key: &str| field.get(key).and_then(Value::as_bool).unwrap_or_default();
    let number = |key: &str| field.get(key).and_then(Value::as_i64);
    let mut misfits = Vec::new();
    let data_type = text("dtype").unwrap_or_default();
    let no_such = |data_type: String| Misfit::NoSuchType { field: name.to_owned(), data_type, target: SERVER };
    let kind = match data_type {
        "json" => Ok(LiteType::Json),
        "array" => {
            let element = text("element_type").unwrap_or_default();
            Scalar::of_name(element).map(LiteType::Array).ok_or_else(|| no_such(format!("array of {element}")))
        }
        "float_vector" => {
            let dim = number("dim").and_then(|dim| i32::try_from(dim).ok()).filter(|dim| *dim > 0);
            let wrong = || Misfit::Value { field: name.to_owned(), what: "has no number of dimensions".to_owned() };
            dim.map(LiteType::FloatVector).ok_or_else(wrong)
        }
        "sparse_float_vector" | "geometry" | "timestamptz" => {
            Err(Misfit::TypeNotCarried { field: name.to_owned(), data_type: data_type.to_owned() })
        }
        other => Scalar::of_name(other).map(LiteType::Scalar).ok_or_else(|| no_such(other.to_owned())),
    };
    if flag("nullable") {
        misfits.push(Misfit::Nullable { field: name.to_owned(), target: SERVER });
    }
    if flag("enable_analyzer") || flag("enable_match") {
        misfits.push(Misfit::Analyzer { field: name.to_owned() });
    }
    match kind {
        Ok(kind) if misfits.is_empty() => Ok(LiteField {
            name: name.to_owned(),
            kind,
            is_key: flag("is_primary"),
            is_partition_key: flag("is_partition_key"),
            auto_id: flag("auto_id"),
            is_nullable: false,
            max_length: number("max_length"),
            max_capacity: number("max_capacity"),
            default_value: Value::Null,
        }),
        Ok(_) => Err(misfits),
        Err(misfit) => {
            misfits.insert(0, misfit);
            Err(misfits)
        }
    }
}

/// How long a server lets a text be, in bytes.
pub(crate) fn longest_text(field: &LiteField) -> i64 {
    field.max_length.unwrap_or(LONGEST_TEXT).clamp(1, LONGEST_TEXT)
}

fn decoded(lite: &LiteSchema, name: &str) -> CollectionSchema {
    let fields = (FIRST_FIELD..).zip(&lite.fields).map(|(number, field)| {
        let pair = |key: &str, value: i64| KeyValuePair { key: key.to_owned(), value: value.to_string() };
        let length = || pair("max_length", longest_text(field));
        let capacity = || pair("max_capacity", field.max_capacity.unwrap_or(LARGEST_ARRAY).clamp(1, LARGEST_ARRAY));
        let (data_type, element_type, type_params) = match field.kind {
            LiteType::Scalar(Scalar::VarChar) => (DataType::VarChar, DataType::None, vec![length()]),
            LiteType::Scalar(scalar) => (data_type(scalar), DataType::None, Vec::new()),
            LiteType::Json => (DataType::Json, DataType::None, Vec::new()),
            LiteType::Array(Scalar::VarChar) => (DataType::Array, DataType::VarChar, vec![length(), capacity()]),
            LiteType::Array(element) => (DataType::Array, data_type(element), vec![capacity()]),
            LiteType::FloatVector(dim) => (DataType::FloatVector, DataType::None, vec![pair("dim", dim.into())]),
        };
        FieldSchema {
            field_id: number,
            name: field.name.clone(),
            is_primary_key: field.is_key,
            data_type: data_type.into(),
            element_type: element_type.into(),
            type_params,
            auto_id: field.auto_id,
            is_partition_key: field.is_partition_key,
            ..FieldSchema::default()
        }
    });
    CollectionSchema {
        name: name.to_owned(),
        auto_id: lite.key().is_some_and(|key| key.auto_id),
        fields: fields.collect(),
        enable_dynamic_field: lite.has_dynamic,
        ..CollectionSchema::default()
    }
}

fn data_type(scalar: Scalar) -> DataType {
    match scalar {
        Scalar::Bool => DataType::Bool,
        Scalar::Int8 => DataType::Int8,
        Scalar::Int16 => DataType::Int16,
        Scalar::Int32 => DataType::Int32,
        Scalar::Int64 => DataType::Int64,
        Scalar::Float => DataType::Float,
        Scalar::Double => DataType::Double,
        Scalar::VarChar => DataType::VarChar,
    }
}

/// The indexes that `manifest.json` names, as a server is told to make them; and what is different about them.
pub(crate) fn server_indexes(
    from: &CollectionName,
    specs: &Value,
    schema: &LiteSchema,
) -> (Vec<KeptIndex>, Vec<String>) {
    let (mut indexes, mut notes) = (Vec::new(), Vec::new());
    for (field, spec) in specs.as_object().into_iter().flatten() {
        let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_uppercase();
        let index_name = format!("{field}_idx");
        let kind = schema.fields.iter().find(|one| one.name == *field).map(|one| one.kind);
        let Some(LiteType::FloatVector(_)) = kind else {
            // A server of 2.3 has one kind for other fields, and no name for it.
            if matches!(kind, Some(LiteType::Scalar(scalar)) if scalar != Scalar::Bool) {
                indexes.push(KeptIndex { field_name: field.clone(), index_name, params: Vec::new() });
            } else {
                notes.push(format!(
                    "collection {from}: the index on field `{field}` is left out: a server makes none for its type"
                ));
            }
            continue;
        };
        let (wanted, metric) = (text("index_type"), text("metric_type"));
        let given = spec.get("build_params").cloned().unwrap_or_default();
        let number = |key: &str, otherwise: i64| given.get(key).and_then(Value::as_i64).unwrap_or(otherwise);
        let hnsw = || serde_json::json!({"M": number("M", 16), "efConstruction": number("efConstruction", 200)});
        let lists = || serde_json::json!({"nlist": number("nlist", 128)});
        let (kind, params) = match wanted.as_str() {
            "FLAT" | "BRUTE_FORCE" => ("FLAT", serde_json::json!({})),
            "IVF_FLAT" => ("IVF_FLAT", lists()),
            "IVF_SQ8" => ("IVF_SQ8", lists()),
            _ => ("HNSW", hnsw()),
        };
        if !matches!(wanted.as_str(), "FLAT" | "BRUTE_FORCE" | "IVF_FLAT" | "IVF_SQ8" | "HNSW" | "AUTOINDEX") {
            notes
                .push(format!("collection {from}: the index on field `{field}` is of type {kind} instead of {wanted}"));
        }
        let pairs = [("index_type", kind.to_owned()), ("metric_type", metric), ("params", params.to_string())];
        let params = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        indexes.push(KeptIndex { field_name: field.clone(), index_name, params });
    }
    (indexes, notes)
}
