//! Reading the body of a request field by field, so that a wrong one is named with its place.
//!
//! Unknown fields are left alone and `null` is as good as left out: both are what clients of Zilliz Cloud send.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::code;
use crate::form::{Field, Form};

/// A JSON object of the body and where in the body it stands.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    place: String,
    /// What may be read: what the document lists.
    known: &'static [Field],
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The body itself, of which these fields may be read.
    pub(crate) fn body(value: &'a Value, known: &'static [Field]) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self { place: String::new(), known, map }),
            other => {
                let message = format!("The body must be a JSON object, not {}.", kind(other));
                Err(Refusal::bad(code::INVALID_FIELD, message))
            }
        }
    }

    /// Where a field stands, for messages.
    pub(crate) fn place(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        debug_assert!(self.known.iter().any(|field| field.name == name), "`{name}` is not in the form of this body");
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> Refusal {
        let message = format!("`{}` must be {expected}, not {}.", self.place(name), kind(found));
        Refusal::bad(code::INVALID_FIELD, message)
    }

    /// A text; `None` when it is left out, `null` or empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "a whole number", value)),
        }
    }

    /// True or false.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| self.wrong(name, "true or false", value)),
        }
    }

    /// Whether a field is there at all, `null` included.
    pub(crate) fn is_there(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A list; empty when it is left out or `null`.
    fn list(&self, name: &str) -> Result<&'a [Value], Refusal> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.wrong(name, "a list", other)),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        let field = self.known.iter().find(|field| field.name == name);
        let known = match field.map(|field| field.form) {
            Some(Form::List(Form::Object(fields))) => *fields,
            _ => &[],
        };
        let objects = self.list(name)?.iter().enumerate().map(|(index, value)| {
            let entry = format!("{name}[{index}]");
            match value {
                Value::Object(map) => Ok(Self { place: self.place(&entry), known, map }),
                other => Err(self.wrong(&entry, "an object", other)),
            }
        });
        objects.collect()
    }

    /// An object; an empty one when it is left out or `null`.
    pub(crate) fn object(&self, name: &str) -> Result<Self, Refusal> {
        let field = self.known.iter().find(|field| field.name == name);
        let known = match field.map(|field| field.form) {
            Some(Form::Object(fields)) => fields,
            _ => &[],
        };
        static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        match self.get(name) {
            None => Ok(Self { place: self.place(name), known, map: &NOTHING }),
            Some(Value::Object(map)) => Ok(Self { place: self.place(name), known, map }),
            Some(other) => Err(self.wrong(name, "an object", other)),
        }
    }

    /// A list of texts that are not empty.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>, Refusal> {
        let texts = self.list(name)?.iter().enumerate().map(|(index, value)| match value {
            Value::String(text) if !text.is_empty() => Ok(text.as_str()),
            other => Err(self.wrong(&format!("{name}[{index}]"), "a string that is not empty", other)),
        });
        texts.collect()
    }
}

/// What kind of value something is, for messages. The value itself is not repeated: it may be large.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
