//! The chains of policies as a configuration names them, and whose plugins are trusted.

use std::path::Path;

use longshore_model::Digest;
use longshore_policy::{Grants, OnFailure};
use longshore_sandbox::Budget;
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::{bad_toml, folder_of, in_file, read_text};
use crate::policies::TrustedKey;
use crate::{EngineError, Limits};

/// Name that means the policy shipped inside the binary.
pub const STANDARD_PLUGIN: &str = "standard";

/// The chains, one list per kind. An empty list means: nothing is said here, so for a cluster the project's chain, and for
/// the project the standard policy alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Which collections.
    pub selection: Vec<MemberConfig>,
    /// How compressed.
    pub compression: Vec<MemberConfig>,
    /// In which regions.
    pub placement: Vec<MemberConfig>,
}

/// One member of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// `standard`, the name of an installed plugin, or the path of a `.wasm` file.
    pub plugin: String,
    /// Name shown in decisions; the plugin's own name when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// BLAKE3 of the file that it must be; no other one is taken.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Settings, checked against the plugin's JSON Schema.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What to do when the plugin fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// A required member may never be skipped.
    #[serde(default)]
    pub required: bool,
    /// Budget of one call.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// What it may see beside the facts: `{ read = [{ guest = "/rules", host = "rules" }] }`.
    #[serde(default)]
    pub grants: Grants,
    /// A candidate that is asked beside it and never acts: `"candidate.wasm"`, or a table.
    #[serde(default)]
    pub shadow: Option<ShadowConfig>,
}

/// A candidate beside a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowConfig {
    /// As [`MemberConfig::plugin`].
    pub plugin: String,
    /// As [`MemberConfig::digest`].
    pub digest: Option<Digest>,
    /// Settings; those of the member when left out.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Budget of one call; that of the member when left out.
    pub budget: Option<Budget>,
}

/// The table form of [`ShadowConfig`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowTable {
    plugin: String,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default)]
    settings: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    budget: Option<Budget>,
}

impl<'de> Deserialize<'de> for ShadowConfig {
    /// A text is the plugin. Not an untagged enum, which would not say what is wrong with a table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ShadowConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the file or name of a plugin, or a table with `plugin`, `digest`, `settings`, `budget`")
            }

            fn visit_str<E: serde::de::Error>(self, plugin: &str) -> Result<ShadowConfig, E> {
                if plugin.is_empty() {
                    return Err(E::custom("a shadow names a plugin"));
                }
                Ok(ShadowConfig { plugin: plugin.to_owned(), digest: None, settings: None, budget: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ShadowConfig, A::Error> {
                let table = ShadowTable::deserialize(MapAccessDeserializer::new(map)).map_err(A::Error::custom)?;
                let ShadowTable { plugin, digest, settings, budget } = table;
                Ok(ShadowConfig { plugin, digest, settings, budget })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What `plugin = "…"` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginRef<'a> {
    /// The policy inside the binary.
    Standard,
    /// One that was installed under this name.
    Installed(&'a str),
    /// A file.
    File(&'a Path),
}

impl<'a> PluginRef<'a> {
    /// A word is a name; whatever has a dot or a slash in it is a path.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        if text == STANDARD_PLUGIN {
            Self::Standard
        } else if is_plugin_name(text) {
            Self::Installed(text)
        } else {
            Self::File(Path::new(text))
        }
    }
}

/// Whether a plugin can be installed under this name.
#[must_use]
pub(crate) fn is_plugin_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

/// Whose plugins are taken, and when one is no longer asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// Keys whose signatures count: `ed25519:…` or `name=ed25519:…`.
    pub trusted_keys: Vec<TrustedKey>,
    /// Only plugins with a signature of a trusted key are taken. The standard policy needs none: it is in the binary.
    pub require_signature: bool,
    /// Failures of one member within [`PluginsConfig::quarantine_window_minutes`] after which it is no longer asked.
    pub quarantine_failures: u32,
    /// Length of that window, in minutes.
    pub quarantine_window_minutes: u32,
    /// Sets of policies that are kept to go back to.
    pub kept_sets: usize,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            trusted_keys: Vec::new(),
            require_signature: false,
            quarantine_failures: 3,
            quarantine_window_minutes: 60,
            kept_sets: 20,
        }
    }
}

impl PluginsConfig {
    /// Refuses what would never work.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.require_signature && self.trusted_keys.is_empty() {
            return Err("`require_signature` needs `trusted_keys`; `longshore plugin keygen` makes a key".to_owned());
        }
        for (name, value, most) in [
            ("quarantine_failures", u64::from(self.quarantine_failures), 100),
            ("quarantine_window_minutes", u64::from(self.quarantine_window_minutes), 60 * 24 * 30),
            ("kept_sets", self.kept_sets as u64, 100),
        ] {
            if value == 0 || value > most {
                return Err(format!("{name} = {value} is outside of 1 to {most}"));
            }
        }
        Ok(())
    }
}

impl PolicyConfig {
    /// Reads chains from a file of their own: what stands under `[policy]` in a whole configuration.
    ///
    /// # Errors
    /// As [`crate::HostConfig::read`].
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = read_text(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| in_file(path, bad_toml(&error)))?;
        config.resolve(&folder_of(path)?);
        Ok(config)
    }

    /// The chains with their kinds, in the order in which they are asked.
    pub fn chains(&self) -> [(longshore_model::PolicyKind, &Vec<MemberConfig>); 3] {
        use longshore_model::PolicyKind::{Compression, Placement, Selection};
        [(Selection, &self.selection), (Compression, &self.compression), (Placement, &self.placement)]
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        let resolve = |plugin: &mut String| {
            if let PluginRef::File(path) = PluginRef::of(plugin) {
                *plugin = folder.join(path).display().to_string();
            }
        };
        for member in [&mut self.selection, &mut self.compression, &mut self.placement].into_iter().flatten() {
            resolve(&mut member.plugin);
            for grant in &mut member.grants.read {
                grant.host = folder.join(&grant.host);
            }
            if let Some(shadow) = &mut member.shadow {
                resolve(&mut shadow.plugin);
            }
        }
    }
}

/// The most a signature or key file may hold, in bytes.
pub(crate) const SMALL_FILE_BYTES: u64 = 16 * 1024;

/// Reads at most `limit` bytes of a plugin file.
pub(crate) fn read_plugin(path: &Path, limits: &Limits) -> Result<Vec<u8>, EngineError> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| {
        let why = format!(
            "{error}; a plugin is `{STANDARD_PLUGIN}`, the name of an installed one, or the path of a .wasm file"
        );
        EngineError::file(path, why)
    })?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file of exactly the limit from one that is larger.
    file.take(limits.plugin_file_bytes + 1).read_to_end(&mut bytes).map_err(|error| EngineError::file(path, error))?;
    if bytes.len() as u64 > limits.plugin_file_bytes {
        let why = format!("is larger than {} bytes, the most a plugin file may have", limits.plugin_file_bytes);
        return Err(EngineError::file(path, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn parse(text: &str) -> Result<PolicyConfig, String> {
        let mut config: PolicyConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.resolve(Path::new("/etc/longshore"));
        Ok(config)
    }

    #[test]
    fn a_word_is_an_installed_plugin_and_everything_else_a_path() {
        assert_eq!(PluginRef::of("standard"), PluginRef::Standard);
        assert_eq!(PluginRef::of("tiered-2"), PluginRef::Installed("tiered-2"));
        for path in ["tiered.wasm", "./tiered", "/opt/tiered", "ä", "", &"x".repeat(65)] {
            assert_eq!(PluginRef::of(path), PluginRef::File(Path::new(path)), "{path}");
        }
        let config =
            parse("selection = [{ plugin = \"tiered\", shadow = \"next.wasm\" }, { plugin = \"./tiered\" }]").unwrap();
        assert_eq!(config.selection[0].plugin, "tiered");
        assert_eq!(config.selection[0].shadow.as_ref().unwrap().plugin, "/etc/longshore/next.wasm");
        assert_eq!(config.selection[1].plugin, "/etc/longshore/./tiered");
    }

    #[test]
    fn a_shadow_is_a_text_or_a_table_and_a_wrong_one_says_what_is_wrong() {
        let config =
            parse("selection = [{ plugin = \"a\", shadow = { plugin = \"b\", settings = { n = 1 } } }]").unwrap();
        let shadow = config.selection[0].shadow.clone().unwrap();
        assert_eq!((shadow.plugin.as_str(), shadow.settings.unwrap()["n"].as_i64()), ("b", Some(1)));
        for (shadow, expected) in [
            ("3", "or a table with `plugin`"),
            ("{ settings = {} }", "missing field `plugin`"),
            ("{ plugin = \"b\", setings = {} }", "unknown field `setings`"),
            ("\"\"", "a shadow names a plugin"),
        ] {
            let error = parse(&format!("selection = [{{ plugin = \"a\", shadow = {shadow} }}]")).unwrap_err();
            assert!(error.contains(expected), "{shadow}: {error}");
        }
        assert!(parse("selection = [{ plugin = \"a\", digest = \"12\" }]").unwrap_err().contains("64 lower-case"));
    }

    #[test]
    fn rules_about_plugins_that_would_never_work_are_refused() {
        let check = |text: &str| toml::from_str::<PluginsConfig>(text).map_err(|error| error.to_string())?.check();
        check("").unwrap();
        for (text, expected) in [
            ("require_signature = true", "needs `trusted_keys`"),
            ("quarantine_failures = 0", "quarantine_failures = 0 is outside"),
            ("quarantine_window_minutes = 100000", "quarantine_window_minutes"),
            ("kept_sets = 0", "kept_sets"),
            ("trusted_keys = [\"ed25519:abc\"]", "is not a public key"),
            ("trusted_key = []", "unknown field"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
