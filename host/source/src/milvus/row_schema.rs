//! What rows need to know of a collection's schema: its fields in order of name, the key, which fields may be missing.
//!
//! It fails with [`SourceError::Damaged`] where a schema and the logs of a segment do not go together.

use std::collections::BTreeMap;

use prost::Message;

use super::binlog::damaged;
use super::layout::{ROW_ID_FIELD, TIMESTAMP_FIELD};
use super::proto::schema::scalar_field::Data;
use super::proto::schema::{CollectionSchema, DataType, FieldSchema, ScalarField};
use crate::SourceError;
use crate::rows::FieldName;

/// Name of the field that holds what the schema does not name, where that is allowed.
const DYNAMIC_FIELD: &str = "$meta";

/// A field as rows need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowField {
    pub(super) name: String,
    pub(super) is_array: bool,
    /// Rows from before it was added have no logs of it (2.6).
    may_be_missing: bool,
}

/// What is known of a collection's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSchema {
    fields: BTreeMap<i64, RowField>,
    has_dynamic: bool,
    pub(super) key: i64,
    pub(super) key_is_text: bool,
}

impl RowSchema {
    /// Takes it from a schema whose fields are numbered.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for a schema without a primary key; `shown` names the collection.
    pub fn of(schema: &CollectionSchema, shown: &str) -> Result<Self, SourceError> {
        let within = schema.struct_array_fields.iter().flat_map(|field| &field.fields);
        let fields: Vec<&FieldSchema> = schema.fields.iter().chain(within).collect();
        let key = fields.iter().find(|field| field.is_primary_key);
        let key = key.ok_or_else(|| damaged(shown, "its schema has no primary key"))?;
        Ok(Self {
            fields: fields.iter().map(|field| (field.field_id, RowField::of(field))).collect(),
            has_dynamic: schema.enable_dynamic_field,
            key: key.field_id,
            key_is_text: matches!(key.data_type(), DataType::VarChar | DataType::String),
        })
    }

    /// All that rows' digests depend on, as bytes.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, field) in &self.fields {
            bytes.extend(number.to_le_bytes());
            bytes.extend([u8::from(field.is_array), u8::from(field.may_be_missing)]);
            bytes.extend(FieldName::new(&field.name).bytes());
        }
        bytes.extend(self.key.to_le_bytes());
        bytes.extend([u8::from(self.key_is_text), u8::from(self.has_dynamic)]);
        bytes
    }

    /// Whether rows may be without this field, because they are older. A field that no schema names is the dynamic one, which is
    /// never missing.
    pub(super) fn may_be_missing(&self, field: i64) -> bool {
        self.fields.get(&field).is_some_and(|known| known.may_be_missing)
    }

    /// The fields of a segment that has logs of these, in order of name. A field that no schema names is the dynamic one,
    /// whose number the server does not tell.
    pub(super) fn of_segment(&self, with_logs: &[i64], shown: &str) -> Result<Vec<(RowField, i64)>, SourceError> {
        let mut found = Vec::new();
        for field in with_logs.iter().filter(|field| !matches!(**field, ROW_ID_FIELD | TIMESTAMP_FIELD)) {
            match self.fields.get(field) {
                Some(known) => found.push((known.clone(), *field)),
                None if self.has_dynamic => found.push((RowField::dynamic(), *field)),
                None => return Err(damaged(shown, format!("its schema has no field number {field}"))),
            }
        }
        for (field, known) in self.fields.iter().filter(|(field, _)| !with_logs.contains(field)) {
            if !known.may_be_missing {
                return Err(damaged(shown, format!("field `{}` of its schema has no logs in it", known.name)));
            }
            found.push((known.clone(), *field));
        }
        let dynamic = found.iter().filter(|(field, _)| field.name == DYNAMIC_FIELD).count();
        if dynamic != usize::from(self.has_dynamic) {
            return Err(damaged(shown, format!("{dynamic} of its fields hold what the schema does not name")));
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        Ok(found)
    }
}

impl RowField {
    fn of(field: &FieldSchema) -> Self {
        let is_array = field.data_type() == DataType::Array;
        Self { name: field.name.clone(), is_array, may_be_missing: field.nullable }
    }

    fn dynamic() -> Self {
        Self { name: DYNAMIC_FIELD.to_owned(), is_array: false, may_be_missing: false }
    }
}

/// The elements of an array, each behind its length (32 bits): servers write an empty array in two ways.
pub(super) fn elements(message: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(message.len());
    let mut add = |element: &[u8]| {
        bytes.extend(u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(element);
    };
    match ScalarField::decode(message).ok()?.data {
        None => {}
        Some(Data::BoolData(array)) => array.data.iter().for_each(|one| add(&[u8::from(*one)])),
        Some(Data::IntData(array)) => array.data.iter().for_each(|one| add(&i64::from(*one).to_le_bytes())),
        Some(Data::LongData(array)) => array.data.iter().for_each(|one| add(&one.to_le_bytes())),
        Some(Data::FloatData(array)) => array.data.iter().for_each(|one| add(&one.to_le_bytes())),
        Some(Data::DoubleData(array)) => array.data.iter().for_each(|one| add(&one.to_le_bytes())),
        Some(Data::StringData(array)) => array.data.iter().for_each(|one| add(one.as_bytes())),
        Some(Data::BytesData(array)) => array.data.iter().for_each(|one| add(one)),
        Some(Data::JsonData(array)) => array.data.iter().for_each(|one| add(one)),
        Some(Data::ArrayData(_)) => return None,
    }
    Some(bytes)
}
