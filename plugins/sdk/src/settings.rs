//! Reading the plugin's settings.

use serde::de::DeserializeOwned;

use crate::answer::Refusal;
use crate::facts::Run;

/// Code of the refusal that [`Run::settings`] returns.
pub const INVALID_SETTINGS: &str = "invalid-settings";

impl Run {
    /// The settings as a type of the plugin's own. The host has validated them against the plugin's schema, so this
    /// fails only where schema and type disagree.
    ///
    /// ```
    /// # use longshore_plugin::Run;
    /// #[derive(serde::Deserialize)]
    /// struct Settings { keep_days: u32 }
    ///
    /// let run = Run::default().with_settings(r#"{"keep_days": 30}"#);
    /// assert_eq!(run.settings::<Settings>().unwrap().keep_days, 30);
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with code [`INVALID_SETTINGS`] that says what is wrong and where.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_str(&self.settings_json).map_err(|error| {
            let message = format!(
                "The settings of this policy are not usable: {error}. Correct them in the host's configuration; \
                 the settings schema of the plugin says what it takes."
            );
            Refusal::new(INVALID_SETTINGS, message)
        })
    }

    /// The same run with other settings, as JSON text. For tests.
    #[must_use]
    pub fn with_settings(mut self, json: impl Into<String>) -> Self {
        self.settings_json = json.into();
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Settings {
        days: u32,
    }

    #[test]
    fn settings_of_the_wrong_shape_become_a_refusal_that_names_the_place() {
        for (json, expected) in [
            (r#"{"days": "x"}"#, "expected u32 at line 1 column 12"),
            (r#"{"day": 1}"#, "unknown field `day`"),
            ("", "EOF while parsing"),
        ] {
            let refusal = Run::default().with_settings(json).settings::<Settings>().unwrap_err();
            assert_eq!(refusal.reason.code, INVALID_SETTINGS);
            assert!(refusal.reason.message.contains(expected), "{}", refusal.reason.message);
        }
    }
}
