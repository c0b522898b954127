//! The one error of this crate: a value that does not have the form its type asks for.

use thiserror::Error;

/// A value is not of the form its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An identifier, name or number has the wrong form.
    #[error("`{value}` is not a {what}: expected {expected}")]
    Malformed {
        /// Which kind of value was wanted, for example `cluster id`.
        what: &'static str,
        /// What was given, cut to 80 characters, control characters escaped.
        value: String,
        /// The form that is accepted.
        expected: &'static str,
    },
}

impl ModelError {
    /// Builds [`ModelError::Malformed`], cutting and escaping the offending value so that it can be printed anywhere.
    #[must_use]
    pub fn malformed(what: &'static str, value: &str, expected: &'static str) -> Self {
        let cut: String = value.chars().take(80).flat_map(char::escape_debug).collect();
        Self::Malformed { what, value: cut, expected }
    }
}
