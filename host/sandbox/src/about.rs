//! What a plugin says about itself, checked before anyone is shown it.

use crate::Limits;
use crate::text::{is_unsafe, quoted};

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Lower case letters, digits and hyphens, at most 64 bytes.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Who wrote it; may be empty.
    pub author: String,
    /// One sentence: what it does.
    pub description: String,
    /// JSON Schema of its settings, as JSON text: a small, not too deep object without remote references.
    pub settings_schema: String,
}

impl About {
    /// Checks the form of every field.
    ///
    /// # Errors
    /// The field and what is wrong with it, as part of a sentence.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > limits.about_name_bytes || !self.name.bytes().all(plain) {
            let (most, name) = (limits.about_name_bytes, quoted(&self.name));
            return Err(format!("its name {name} is not 1 to {most} lower case letters, digits and hyphens"));
        }
        if !is_version(&self.version) || self.version.len() > limits.about_text_bytes {
            return Err(format!("its version {} is not of the form 1.2.3", quoted(&self.version)));
        }
        for (field, text) in [("author", &self.author), ("description", &self.description)] {
            if text.len() > limits.about_text_bytes {
                return Err(format!(
                    "its {field} has {} bytes, and {} are allowed",
                    text.len(),
                    limits.about_text_bytes
                ));
            }
            if text.chars().any(is_unsafe) {
                return Err(format!("its {field} holds control characters: {}", quoted(text)));
            }
        }
        schema(&self.settings_schema, limits)
    }
}

/// Three numbers with dots, and what may follow: `1.2.3-rc.1+build`.
fn is_version(text: &str) -> bool {
    let (core, rest) = match text.find(['-', '+']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let number = |part: &str| !part.is_empty() && part.len() <= 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    core.split('.').count() == 3 && core.split('.').all(number) && rest.bytes().all(plain) && rest.len() != 1
}

/// Checks a settings schema: size, form, depth, references. Whether it is a good schema is judged where it is used.
fn schema(text: &str, limits: &Limits) -> Result<(), String> {
    if text.len() > limits.settings_schema_bytes {
        let most = limits.settings_schema_bytes;
        return Err(format!("its settings schema has {} bytes, and {most} are allowed", text.len()));
    }
    let schema: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("its settings schema is not JSON: {error}"))?;
    if !schema.is_object() {
        return Err("its settings schema is not a JSON object".to_owned());
    }
    // Level by level, not by recursion: the depth is what is in question.
    let mut level = vec![&schema];
    for _ in 0..limits.settings_schema_levels {
        let mut deeper = Vec::new();
        for value in level {
            match value {
                serde_json::Value::Array(values) => deeper.extend(values),
                serde_json::Value::Object(fields) => {
                    remote_reference(fields)?;
                    deeper.extend(fields.values());
                }
                _ => {}
            }
        }
        if deeper.is_empty() {
            return Ok(());
        }
        level = deeper;
    }
    Err(format!("its settings schema nests deeper than {} levels", limits.settings_schema_levels))
}

/// Refuses references that would have to be fetched.
fn remote_reference(fields: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
    for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
        if let Some(target) = fields.get(keyword).and_then(serde_json::Value::as_str)
            && !target.starts_with('#')
        {
            return Err(format!("its settings schema refers to {} elsewhere; only `#…` is allowed", quoted(target)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::About;
    use crate::Limits;

    fn about(change: impl FnOnce(&mut About)) -> Result<(), String> {
        let mut about = About {
            name: "tiered-2".to_owned(),
            version: "1.20.3-rc.1+7".to_owned(),
            author: String::new(),
            description: "Keeps what matters.".to_owned(),
            settings_schema: "{\"type\": \"object\", \"$ref\": \"#/$defs/a\"}".to_owned(),
        };
        change(&mut about);
        about.check(&Limits::DEFAULT)
    }

    #[test]
    fn a_plain_description_is_accepted() {
        about(|_| ()).unwrap();
    }

    #[test]
    fn names_and_versions_of_another_form_are_refused() {
        for name in ["", "Tiered", "a b", "a\u{1b}", "ä", &"a".repeat(65)] {
            assert!(about(|about| about.name = name.to_owned()).unwrap_err().contains("name"), "{name:?}");
        }
        for version in ["", "1", "1.2", "1.2.x", "1.2.3.4", "v1.2.3", "1.2.3-", "1.2.3 beta", "1..3"] {
            assert!(about(|about| about.version = version.to_owned()).unwrap_err().contains("version"), "{version:?}");
        }
    }

    #[test]
    fn texts_that_are_long_or_hold_control_characters_are_refused() {
        assert!(about(|about| about.author = "x".repeat(513)).unwrap_err().contains("513 bytes"));
        assert!(about(|about| about.description = "\u{1b}[31m".to_owned()).unwrap_err().contains("control"));
    }

    #[test]
    fn schemas_that_are_large_deep_remote_or_not_json_are_refused() {
        let wrong = |schema: &str| about(|about| about.settings_schema = schema.to_owned()).unwrap_err();
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(wrong("").contains("not JSON"));
        assert!(wrong("[]").contains("not a JSON object"));
        assert!(wrong(&format!("{{\"a\": \"{}\"}}", "x".repeat(65 * 1024))).contains("bytes"));
        assert!(wrong(&nested(33)).contains("deeper than 32"));
        assert!(wrong(&nested(120)).contains("deeper than 32"));
        assert!(wrong("{\"a\": [{\"$ref\": \"http://example.org/x\"}]}").contains("elsewhere"));
        about(|about| about.settings_schema = nested(31)).unwrap();
    }
}
