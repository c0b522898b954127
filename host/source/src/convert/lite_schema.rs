//! The fields of a Milvus Lite collection: as its `schema.json` says them (`schema/types.py` and `schema/persistence.py` of
//! Milvus Lite 3.2), and as the columns of its data files (`schema/arrow_builder.py`).

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value, json};

/// The column that numbers rows.
pub(crate) const SEQUENCE: &str = "_seq";
/// The column of what the schema does not name; it is in no list of fields.
pub(crate) const DYNAMIC: &str = "$meta";
/// Format of `schema.json`.
const FORMAT: u64 = 2;

/// A type of values that are one value each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    VarChar,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiteType {
    Scalar(Scalar),
    Json,
    Array(Scalar),
    /// So many 32-bit fractions.
    FloatVector(i32),
}

impl Scalar {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Bool, "bool"),
        (Self::Int8, "int8"),
        (Self::Int16, "int16"),
        (Self::Int32, "int32"),
        (Self::Int64, "int64"),
        (Self::Float, "float"),
        (Self::Double, "double"),
        (Self::VarChar, "varchar"),
    ];

    /// Milvus Lite's name of it.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, one)| *one == name).map(|(one, _)| *one)
    }

    fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::VarChar => DataType::Utf8,
        }
    }
}

impl LiteType {
    /// Milvus Lite's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar(scalar) => scalar.name(),
            Self::Json => "json",
            Self::Array(_) => "array",
            Self::FloatVector(_) => "float_vector",
        }
    }

    /// How data files keep it.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Scalar(scalar) => scalar.arrow(),
            Self::Json => DataType::Utf8,
            Self::Array(element) => DataType::List(Self::item(element.arrow())),
            Self::FloatVector(dim) => DataType::FixedSizeList(Self::item(DataType::Float32), dim),
        }
    }

    /// What a list is made of; the name is the one that Arrow gives it in Python.
    fn item(kind: DataType) -> Arc<Field> {
        Arc::new(Field::new("item", kind, true))
    }
}

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LiteField {
    pub(crate) name: String,
    pub(crate) kind: LiteType,
    pub(crate) is_key: bool,
    pub(crate) is_partition_key: bool,
    pub(crate) auto_id: bool,
    pub(crate) is_nullable: bool,
    pub(crate) max_length: Option<i64>,
    pub(crate) max_capacity: Option<i64>,
    /// What stands for a value that nobody gave; `null` for nothing.
    pub(crate) default_value: Value,
}

/// The fields of a collection, and what else its `schema.json` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LiteSchema {
    pub(crate) fields: Vec<LiteField>,
    pub(crate) has_dynamic: bool,
    pub(crate) properties: Map<String, Value>,
}

impl LiteSchema {
    /// The primary key.
    pub(crate) fn key(&self) -> Option<&LiteField> {
        self.fields.iter().find(|field| field.is_key)
    }

    /// The field that spreads rows over partitions.
    pub(crate) fn partition_key(&self) -> Option<&LiteField> {
        self.fields.iter().find(|field| field.is_partition_key)
    }

    /// `schema.json` of a collection of this name.
    pub(crate) fn to_json(&self, name: &str) -> Value {
        let fields = self.fields.iter().map(|field| {
            let mut value = json!({
                "name": field.name,
                "dtype": field.kind.name(),
                "is_primary": field.is_key,
                "auto_id": field.auto_id,
                "dim": if let LiteType::FloatVector(dim) = field.kind { Value::from(dim) } else { Value::Null },
                "max_length": field.max_length,
                "element_type": if let LiteType::Array(element) = field.kind { element.name().into() } else { Value::Null },
                "max_capacity": field.max_capacity,
                "nullable": field.is_nullable,
                "default_value": field.default_value,
            });
            if field.is_partition_key
                && let Some(value) = value.as_object_mut()
            {
                value.insert("is_partition_key".to_owned(), true.into());
            }
            value
        });
        json!({
            "collection_name": name,
            "schema_format_version": FORMAT,
            "version": 1,
            "enable_dynamic_field": self.has_dynamic,
            "properties": self.properties,
            "fields": fields.collect::<Vec<_>>(),
        })
    }

    /// The columns of its data files.
    pub(crate) fn arrow(&self) -> SchemaRef {
        let mut fields = vec![Field::new(SEQUENCE, DataType::UInt64, false)];
        fields.extend(self.fields.iter().map(|field| Field::new(&field.name, field.kind.arrow(), field.is_nullable)));
        fields.extend(self.has_dynamic.then(|| Field::new(DYNAMIC, DataType::Utf8, true)));
        Arc::new(Schema::new(fields))
    }

    /// Its fields, the dynamic one included, in order of name: the columns of a [`Piece`](super::piece::Piece).
    pub(crate) fn columns(&self) -> Vec<(&str, LiteType)> {
        let mut columns: Vec<(&str, LiteType)> =
            self.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        columns.extend(self.has_dynamic.then_some((DYNAMIC, LiteType::Json)));
        columns.sort_unstable_by_key(|(name, _)| *name);
        columns
    }
}
