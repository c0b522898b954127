//! JSON in one canonical form, so that equal values have equal bytes and equal digests.

use longshore_model::Digest;
use serde_json::Value;

/// Writes a value without white space and with the keys of every object in order of their bytes, whatever order
/// the value came in.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// Levels of nesting: 1 for a scalar.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

/// BLAKE3 of text.
pub(crate) fn digest(text: &str) -> Digest {
    Digest::new(*blake3::hash(text.as_bytes()).as_bytes())
}

/// Bytes as lower-case hexadecimal text in JSON.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("expected pairs of lower-case hexadecimal characters");
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let pairs = text.as_bytes().chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(wrong());
        }
        pairs
            .map(|pair| match pair {
                [high, low] => Ok(nibble(*high)? << 4 | nibble(*low)?),
                _ => Err(wrong()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn equal_values_have_equal_text_whatever_their_order() {
        let one: Value = serde_json::from_str(r#"{ "b": [1, {"d": null, "c": "é\n"}], "a": true }"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"a":true,"b":[1,{"c":"é\n","d":null}]}"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":true,"b":[1,{"c":"é\n","d":null}]}"#);
        assert_eq!(canonical(&one), canonical(&two));
        assert_eq!(serde_json::from_str::<Value>(&canonical(&one)).unwrap(), one);
    }

    #[test]
    fn depth_counts_levels() {
        assert_eq!(depth(&Value::Null), 1);
        assert_eq!(depth(&serde_json::json!({})), 1);
        assert_eq!(depth(&serde_json::json!({"a": [1]})), 3);
    }
}
