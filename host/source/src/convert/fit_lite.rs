//! Whether a collection of a Milvus server can live in Milvus Lite, and as what: a decision that looks at nothing but what a
//! backup keeps of its schema.
//!
//! Measured on Milvus Lite 3.2.2: its types are those of `schema/types.py`, and what its `schema/validation.py` refuses would
//! not open.

use longshore_model::CollectionName;
use prost::Message;
use serde_json::{Map, Value, json};

use super::lite_schema::{LiteField, LiteSchema, LiteType, Scalar};
use super::misfit::{DoesNotFit, Misfit};
use crate::lite::{TIME_TO_LIVE, check_component};
use crate::milvus::proto::common::KeyValuePair;
use crate::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema, ValueField, value_field};
use crate::milvus::{KeptIndex, KeptPoint, KeptSchema};

/// How the kind of cluster is called in messages.
pub(crate) const LITE: &str = "Milvus Lite";
/// What to do with a collection that does not fit.
const ADVICE: &str = "restore it into a Milvus server (--config and --cluster), or name only others with --collection";
/// Names that Milvus Lite does not let fields have (`schema/validation.py`), and those in any case of letters.
const RESERVED: [&str; 3] = ["_seq", "_partition", "$meta"];
const RESERVED_IN_ANY_CASE: [&str; 2] = ["iso", "interval"];
/// What stands for all partitions in its log of deletes.
const ALL_PARTITIONS: &str = "_all";
/// Types of indexes that Milvus Lite makes (`index/factory.py`).
const INDEXES: [&str; 6] = ["FLAT", "BRUTE_FORCE", "HNSW", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"];
/// What takes the place of an index that it does not make.
const ANY_INDEX: &str = "AUTOINDEX";
/// What those are built with.
const BUILD_PARAMS: [&str; 3] = ["M", "efConstruction", "nlist"];
const METRICS: [&str; 3] = ["COSINE", "L2", "IP"];

/// A collection as Milvus Lite keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LitePlan {
    pub(crate) schema: LiteSchema,
    /// The indexes as `manifest.json` has them, by field.
    pub(crate) indexes: Map<String, Value>,
    /// Partitions that people made.
    pub(crate) partitions: Vec<String>,
    /// What is not as it was, in sentences.
    pub(crate) notes: Vec<String>,
}

/// The error for collections that Milvus Lite cannot hold.
pub(crate) fn does_not_fit(misfits: Vec<(CollectionName, Misfit)>) -> DoesNotFit {
    DoesNotFit { target: LITE, misfits, advice: ADVICE }
}

/// Decides for one collection.
///
/// # Errors
/// All that is in the way.
pub(crate) fn lite_plan(
    name: &CollectionName,
    kept: &KeptSchema,
    decoded: &CollectionSchema,
    point: &KeptPoint,
) -> Result<LitePlan, Vec<Misfit>> {
    let (mut fields, mut misfits, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for field in &decoded.fields {
        match lite_field(field, decoded.auto_id) {
            Ok(fitting) => fields.push(fitting),
            Err(mut misfit) => misfits.append(&mut misfit),
        }
        notes.extend(lost_of_field(name, field));
    }
    misfits.extend(decoded.struct_array_fields.iter().map(|field| Misfit::NoSuchType {
        field: field.name.clone(),
        data_type: "ArrayOfStruct".to_owned(),
        target: LITE,
    }));
    misfits.extend(decoded.functions.iter().map(|function| Misfit::Function {
        field: function.output_field_names.join("`, `"),
        function: function.name.clone(),
    }));
    if misfits.is_empty() && !fields.iter().any(|field| matches!(field.kind, LiteType::FloatVector(_))) {
        misfits.push(Misfit::NoVector { target: LITE });
    }
    let has_partition_key = fields.iter().any(|field| field.is_partition_key);
    for partition in kept.partitions.iter().chain(point.partitions.iter().map(|partition| &partition.name)) {
        let misfit = Misfit::BadName {
            what: "partition",
            name: partition.clone(),
            target: LITE,
            rule: "it must be usable as a file name, and not `_all`",
        };
        if (partition == ALL_PARTITIONS || check_component(partition).is_err()) && !misfits.contains(&misfit) {
            misfits.push(misfit);
        }
    }
    if point.unreadable().is_some() {
        misfits.push(Misfit::StorageVersion);
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let properties = kept.properties.iter().filter(|(key, _)| !TIME_TO_LIVE.contains(&key.as_str()));
    let properties = properties.map(|(key, value)| (key.clone(), Value::String(value.clone())));
    let schema =
        LiteSchema { fields, has_dynamic: decoded.enable_dynamic_field, properties: properties.collect::<Map<_, _>>() };
    let mut indexes = Map::new();
    for index in &kept.indexes {
        match lite_index(index, &schema) {
            Ok((spec, note)) => {
                indexes.insert(index.field_name.clone(), spec);
                notes.extend(note.map(|note| format!("collection {name}: {note}")));
            }
            Err(note) => notes.push(format!("collection {name}: {note}")),
        }
    }
    // Those of a partition key are others in Milvus Lite.
    let partitions = if has_partition_key { Vec::new() } else { kept.partitions.clone() };
    Ok(LitePlan { schema, indexes, partitions, notes })
}

/// Decides for one field.
fn lite_field(field: &FieldSchema, auto_id: bool) -> Result<LiteField, Vec<Misfit>> {
    let name = field.name.clone();
    let mut misfits = Vec::new();
    let in_any_case = RESERVED_IN_ANY_CASE.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
    if in_any_case || RESERVED.contains(&name.as_str()) {
        misfits.push(Misfit::ReservedName { field: name.clone(), target: LITE });
    }
    let param = |key: &str| param(&field.type_params, key);
    if param("enable_analyzer").is_some_and(is_true) || param("enable_match").is_some_and(is_true) {
        misfits.push(Misfit::Analyzer { field: name.clone() });
    }
    let kind = match lite_type(field) {
        Ok(kind) => Some(kind),
        Err(misfit) => {
            misfits.push(misfit);
            None
        }
    };
    let auto_id = field.is_primary_key && (auto_id || field.auto_id);
    if auto_id && kind == Some(LiteType::Scalar(Scalar::VarChar)) {
        misfits.push(Misfit::AutoIdText { field: name.clone() });
    }
    if field.nullable && matches!(kind, Some(LiteType::FloatVector(_))) {
        // It would write zeros, and say that they are the vector.
        misfits.push(Misfit::Nullable { field: name.clone(), target: LITE });
    }
    let Some(kind) = kind.filter(|_| misfits.is_empty()) else { return Err(misfits) };
    let has_length = matches!(kind, LiteType::Scalar(Scalar::VarChar) | LiteType::Array(Scalar::VarChar));
    Ok(LiteField {
        name,
        kind,
        is_key: field.is_primary_key,
        is_partition_key: field.is_partition_key,
        auto_id,
        is_nullable: field.nullable,
        max_length: param("max_length").filter(|_| has_length).and_then(|text| text.parse().ok()),
        max_capacity: param("max_capacity")
            .filter(|_| matches!(kind, LiteType::Array(_)))
            .and_then(|text| text.parse().ok()),
        default_value: default_value(field).unwrap_or_default(),
    })
}

fn lite_type(field: &FieldSchema) -> Result<LiteType, Misfit> {
    let no_such = |data_type: String| Misfit::NoSuchType { field: field.name.clone(), data_type, target: LITE };
    let Ok(data_type) = DataType::try_from(field.data_type) else {
        return Err(no_such(format!("number {}", field.data_type)));
    };
    match data_type {
        DataType::Json => Ok(LiteType::Json),
        DataType::Array => {
            let element = DataType::try_from(field.element_type).ok();
            let fitting = element.and_then(scalar).map(LiteType::Array);
            let called = element.map_or_else(|| field.element_type.to_string(), |known| known.as_str_name().to_owned());
            fitting.ok_or_else(|| no_such(format!("Array of {called}")))
        }
        DataType::FloatVector => {
            let dim = param(&field.type_params, "dim").and_then(|dim| dim.parse().ok()).filter(|dim| *dim > 0);
            let wrong = || Misfit::Value { field: field.name.clone(), what: "has no number of dimensions".to_owned() };
            dim.map(LiteType::FloatVector).ok_or_else(wrong)
        }
        // Milvus Lite has these, and no server that has them could be run beside it.
        DataType::SparseFloatVector | DataType::Geometry | DataType::Timestamptz => {
            Err(Misfit::TypeNotCarried { field: field.name.clone(), data_type: data_type.as_str_name().to_owned() })
        }
        other => scalar(other).map(LiteType::Scalar).ok_or_else(|| no_such(other.as_str_name().to_owned())),
    }
}

/// Types that are called the same in both.
fn scalar(data_type: DataType) -> Option<Scalar> {
    Some(match data_type {
        DataType::Bool => Scalar::Bool,
        DataType::Int8 => Scalar::Int8,
        DataType::Int16 => Scalar::Int16,
        DataType::Int32 => Scalar::Int32,
        DataType::Int64 => Scalar::Int64,
        DataType::Float => Scalar::Float,
        DataType::Double => Scalar::Double,
        DataType::VarChar => Scalar::VarChar,
        _ => return None,
    })
}

/// What of a field has no place in Milvus Lite and matters to whoever writes to it.
fn lost_of_field(name: &CollectionName, field: &FieldSchema) -> Option<String> {
    let is_lost = !field.default_value.is_empty() && default_value(field).is_none();
    is_lost.then(|| {
        format!(
            "collection {name}: the default value of field `{}` is left out; rows that are there are as they were",
            field.name
        )
    })
}

fn default_value(field: &FieldSchema) -> Option<Value> {
    let decoded = ValueField::decode(field.default_value.as_slice()).ok()?;
    Some(match decoded.data? {
        value_field::Data::BoolData(value) => value.into(),
        value_field::Data::IntData(value) => value.into(),
        value_field::Data::LongData(value) => value.into(),
        value_field::Data::FloatData(value) => value.into(),
        value_field::Data::DoubleData(value) => value.into(),
        value_field::Data::StringData(value) => value.into(),
        value_field::Data::BytesData(_) => return None,
    })
}

/// An index as Milvus Lite writes it down (`index/spec.py`), and what is different about it; or why there is none.
fn lite_index(index: &KeptIndex, schema: &LiteSchema) -> Result<(Value, Option<String>), String> {
    let param =
        |key: &str| index.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).unwrap_or("");
    let (field, wanted) = (&index.field_name, param("index_type").to_uppercase());
    let spec = |kind: &str, metric: &str, params: Value| {
        json!({
            "field_name": field, "index_type": kind, "metric_type": metric, "build_params": params, "search_params": {},
        })
    };
    let kind = schema.fields.iter().find(|one| one.name == *field).map(|one| one.kind);
    match kind {
        Some(LiteType::FloatVector(_)) => {
            let metric = param("metric_type").to_uppercase();
            if !METRICS.contains(&metric.as_str()) {
                return Err(format!(
                    "the index `{}` on field `{field}` is left out: Milvus Lite has no metric {metric}",
                    index.index_name
                ));
            }
            if INDEXES.contains(&wanted.as_str()) {
                let params = serde_json::from_str::<Value>(param("params")).ok().filter(Value::is_object);
                // Newer servers name each by itself.
                let alone = BUILD_PARAMS
                    .iter()
                    .filter_map(|key| Some(((*key).to_owned(), param(key).parse::<i64>().ok()?.into())));
                return Ok((spec(&wanted, &metric, params.unwrap_or_else(|| Value::Object(alone.collect()))), None));
            }
            let note = format!(
                "the index `{}` on field `{field}` is of type {ANY_INDEX} instead of {wanted}, which Milvus Lite does not make",
                index.index_name
            );
            Ok((spec(ANY_INDEX, &metric, json!({})), Some(note)))
        }
        Some(LiteType::Scalar(_)) => {
            // Whatever a server makes of a scalar index, answers are the same with this one and without any.
            Ok((spec("INVERTED", "NONE", json!({})), None))
        }
        _ => Err(format!(
            "the index `{}` on field `{field}` is left out: Milvus Lite makes none for its type",
            index.index_name
        )),
    }
}

fn param<'a>(pairs: &'a [KeyValuePair], key: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}
