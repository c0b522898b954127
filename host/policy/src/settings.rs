//! A plugin's settings: the JSON Schema it exports, and what an operator gave under it.
//!
//! Failure: a schema that is too large, too deep, of the wrong shape or not a schema is [`PolicyError::BadSchema`];
//! settings that are not valid under it are [`PolicyError::BadSettings`] with the place and a sentence. Checking takes
//! time linear in schema and settings: regular expressions run on an engine without backtracking, references are local.

use jsonschema::{PatternOptions, Validator};
use longshore_model::Digest;
use serde_json::Value;

use crate::{Limits, PolicyError, json, schema_shape};

/// The compiled settings schema of a plugin.
#[derive(Debug)]
pub struct SettingsSchema {
    plugin: String,
    validator: Validator,
}

/// Settings that were accepted, as the plugin gets them.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Canonical JSON of an object.
    pub(crate) text: String,
    /// BLAKE3 of the text.
    pub(crate) digest: Digest,
}

impl SettingsSchema {
    /// Reads the schema that a plugin exports. `plugin` is its name, for messages.
    ///
    /// # Errors
    /// [`PolicyError::BadSchema`] with what is wrong and where.
    pub fn parse(plugin: &str, schema: &str, limits: &Limits) -> Result<Self, PolicyError> {
        let bad = |problem: String| PolicyError::BadSchema { plugin: plugin.to_owned(), problem };
        if schema.len() > limits.schema_bytes {
            return Err(bad(format!("it has {} bytes, more than {}", schema.len(), limits.schema_bytes)));
        }
        let schema: Value = serde_json::from_str(schema).map_err(|error| bad(format!("it is not JSON: {error}")))?;
        schema_shape::check(&schema, limits).map_err(bad)?;
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(limits.schema_pattern_bytes))
            .build(&schema)
            .map_err(|error| bad(format!("at `{}`: {}", place(error.instance_path().as_str()), sentence(&error))))?;
        Ok(Self { plugin: plugin.to_owned(), validator })
    }

    /// Checks settings; `member` is the member's name, for messages. `null` counts as `{}`.
    ///
    /// # Errors
    /// [`PolicyError::BadSettings`] with the path of the first wrong place.
    pub fn check(&self, member: &str, settings: &Value, limits: &Limits) -> Result<(), PolicyError> {
        self.accept(member, settings, limits).map(|_| ())
    }

    /// [`SettingsSchema::check`], giving the settings as a plugin gets them: canonical JSON.
    ///
    /// # Errors
    /// As [`SettingsSchema::check`].
    pub fn canonical(&self, member: &str, settings: &Value, limits: &Limits) -> Result<String, PolicyError> {
        self.accept(member, settings, limits).map(|settings| settings.text)
    }

    /// [`SettingsSchema::check`], giving the settings in the form that a plugin gets.
    pub(crate) fn accept(&self, member: &str, settings: &Value, limits: &Limits) -> Result<Settings, PolicyError> {
        let bad = |path: &str, problem: String| {
            let (member, plugin) = (member.to_owned(), self.plugin.clone());
            PolicyError::BadSettings { member, plugin, path: place(path).to_owned(), problem }
        };
        let empty = Value::Object(serde_json::Map::new());
        let settings = if settings.is_null() { &empty } else { settings };
        if !settings.is_object() {
            return Err(bad("", "settings are a table of names and values".to_owned()));
        }
        let depth = json::depth(settings);
        if depth > limits.settings_depth_levels {
            return Err(bad(
                "",
                format!("they are nested {depth} levels deep, more than {}", limits.settings_depth_levels),
            ));
        }
        let text = json::canonical(settings);
        if text.len() > limits.settings_bytes {
            return Err(bad("", format!("they have {} bytes, more than {}", text.len(), limits.settings_bytes)));
        }
        if let Err(error) = self.validator.validate(settings) {
            return Err(bad(error.instance_path().as_str(), sentence(&error)));
        }
        let digest = json::digest(&text);
        Ok(Settings { text, digest })
    }
}

/// A JSON pointer as people read it: the whole document is `/`.
fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

/// The validator's message on one line, cut to what a person reads.
fn sentence(error: &jsonschema::ValidationError<'_>) -> String {
    const SHOWN_CHARACTERS: usize = 300;
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    error.to_string().chars().take(SHOWN_CHARACTERS).map(plain).collect()
}
