//! The form of what is sent and answered, as one value that serves the calls and the OpenAPI document alike.
//!
//! Contract: bodies are read through the [`Field`]s listed here ([`crate::fields::Fields`] reads no other), parameters are
//! taken by the names listed here, and tests hold every answer they get against the form of its call.

use serde_json::{Map, Value, json};

/// The form of a JSON value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// A text.
    Text,
    /// A text that matches a regular expression.
    Like(&'static str),
    /// A time in UTC.
    Time,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// True or false.
    Truth,
    /// A list.
    List(&'static Form),
    /// An object without a name of its own.
    Object(&'static [Field]),
    /// An object that the document describes once, under a name.
    Named(&'static str, &'static [Field]),
    /// `null` or a value.
    Or(&'static Form),
    /// Any value; `about` of its field says more.
    Free,
}

/// The largest number of bytes, rows and the like that is told.
const LARGE: i64 = i64::MAX;
/// A count.
pub(crate) const COUNT: Form = Form::Whole(0, LARGE);

/// A field of an object, or a parameter of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// Of a body: it must be there. Of an answer: it always is.
    pub(crate) required: bool,
    pub(crate) about: &'static str,
}

/// A field that is always there.
pub(crate) const fn field(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, required: true, about }
}

/// A field that may be left out.
pub(crate) const fn optional(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, required: false, about }
}

/// The fields of two lists, one after the other.
pub(crate) const fn joined<const A: usize, const B: usize, const BOTH: usize>(
    first: [Field; A],
    second: [Field; B],
) -> [Field; BOTH] {
    assert!(A > 0 && A + B == BOTH, "the length is the sum of both");
    let mut both = [first[0]; BOTH];
    let mut place = 1;
    while place < BOTH {
        both[place] = if place < A { first[place] } else { second[place - A] };
        place += 1;
    }
    both
}

/// Which side writes a value: that decides what the document says of fields that are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Clients: unknown fields are left alone, and `null` is as good as left out.
    Sent,
    /// The server: it writes what is listed and nothing else.
    Answered,
}

impl Form {
    /// The JSON Schema of this form.
    pub(crate) fn schema(&self, side: Side) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Like(pattern) => json!({ "type": "string", "pattern": pattern }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::OneOf(texts) => json!({ "type": "string", "enum": texts }),
            Self::Whole(least, most) => whole(*least, *most),
            Self::Truth => json!({ "type": "boolean" }),
            Self::List(form) => json!({ "type": "array", "items": form.schema(side) }),
            Self::Object(fields) => object(fields, side),
            Self::Named(name, _) => json!({ "$ref": format!("#/components/schemas/{name}") }),
            Self::Or(form) => json!({ "anyOf": [form.schema(side), { "type": "null" }] }),
            Self::Free => json!({}),
        }
    }

    /// Adds every named form within this one.
    pub(crate) fn named(&self, side: Side, into: &mut Map<String, Value>) {
        match self {
            Self::List(form) | Self::Or(form) => form.named(side, into),
            Self::Object(fields) => fields.iter().for_each(|field| field.form.named(side, into)),
            Self::Named(name, fields) => {
                into.insert((*name).to_owned(), object(fields, side));
                fields.iter().for_each(|field| field.form.named(side, into));
            }
            _ => {}
        }
    }
}

fn whole(least: i64, most: i64) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": least });
    if most < LARGE {
        schema["maximum"] = most.into();
    }
    schema
}

fn object(fields: &[Field], side: Side) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = field.form.schema(side);
        if side == Side::Sent && !field.required {
            schema = left_out(field, schema);
        }
        if !field.about.is_empty() {
            schema["description"] = field.about.into();
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if side == Side::Answered {
        schema["additionalProperties"] = false.into();
    }
    schema
}

/// `null`, and for a text the empty one, are as good as leaving a field out.
fn left_out(field: &Field, schema: Value) -> Value {
    match field.form {
        Form::Free => schema,
        Form::Text => json!({ "type": ["string", "null"] }),
        Form::Like(_) | Form::OneOf(_) | Form::Time => json!({ "anyOf": [schema, { "enum": ["", null] }] }),
        _ => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}
