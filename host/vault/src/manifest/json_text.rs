//! A field of a manifest that is kept as JSON text.
//!
//! What policies decided about thousands of collections is megabytes of JSON that are written once and hardly ever read:
//! as a tree of values it costs more time and memory than everything else in a manifest together.
//!
//! Failure: text that is not JSON never gets in; text that does not fit what it is read as is an error of `serde_json`.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value, kept as its text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// Writes a value down.
    ///
    /// # Errors
    /// When it cannot be JSON: a map whose keys are no text, for example.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        to_raw_value(value).map(Self)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a value of some type; [`serde_json::Value`] for any.
    ///
    /// # Errors
    /// When it is none of that type, or nested too deeply.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl Default for JsonText {
    /// `null`.
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

/// Equal texts; spaces count.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder {
        #[serde(default)]
        text: JsonText,
    }

    #[test]
    fn a_text_comes_back_as_it_was_and_reads_as_any_type() {
        let held = Holder { text: JsonText::of(&json!({ "rows": [1, 2] })).unwrap() };
        let bytes = serde_json::to_vec(&held).unwrap();
        assert_eq!(bytes, br#"{"text":{"rows":[1,2]}}"#);
        let back: Holder = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back.text, held.text);
        assert_eq!(back.text.read::<Value>().unwrap()["rows"][1], 2);
        assert!(back.text.read::<Vec<u8>>().is_err());
    }

    #[test]
    fn what_is_not_there_is_null_and_what_is_no_json_is_refused() {
        assert_eq!(serde_json::from_str::<Holder>("{}").unwrap().text.as_str(), "null");
        assert!(serde_json::from_str::<Holder>(r#"{"text":{"rows":[1,}}"#).is_err());
    }
}
