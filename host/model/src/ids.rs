//! Identifiers in the forms Zilliz Cloud uses: `in01-…`, `proj-…`, `backup0_…`, `job-…`, region names.
//!
//! An identifier is checked once, where it enters, and is safe as a path component and in a log line from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Limits, ModelError};

/// Lower-case hexadecimal text of `bytes`, used to make new identifiers from random bytes.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// True for a string of 1..=max bytes of ASCII letters, digits, `-` and `_`, starting with a letter or digit.
fn is_plain(text: &str, max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() <= max && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && text.bytes().all(plain)
}

macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ModelError;

            fn from_str(text: &str) -> Result<Self, ModelError> {
                let valid: fn(&str) -> bool = $valid;
                if is_plain(text, Limits::DEFAULT.id_bytes) && valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ModelError::malformed($what, text, $expected))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// A cluster: `in01-` and letters or digits.
    ClusterId, "cluster id", "`in01-` followed by letters, digits or hyphens, at most 64 bytes",
    |text| text.strip_prefix("in").and_then(|rest| rest.split_once('-')).is_some_and(
        |(digits, rest)| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty())
);
identifier!(
    /// A project: `proj-` and letters or digits.
    ProjectId, "project id", "`proj-` followed by letters, digits or hyphens, at most 64 bytes",
    |text| text.strip_prefix("proj-").is_some_and(|rest| !rest.is_empty())
);
identifier!(
    /// A backup: `backup`, digits, `_` and hexadecimal text.
    BackupId, "backup id", "`backup0_` followed by hexadecimal characters, at most 64 bytes",
    |text| text.strip_prefix("backup").and_then(|rest| rest.split_once('_')).is_some_and(
        |(digits, rest)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
);
identifier!(
    /// A job: `job-` and letters or digits.
    JobId, "job id", "`job-` followed by letters or digits, at most 64 bytes",
    |text| text.strip_prefix("job-").is_some_and(|rest| !rest.is_empty())
);
identifier!(
    /// A region, for example `aws-us-west-2` or `local`.
    RegionId, "region id", "letters, digits, hyphens and underscores, at most 64 bytes",
    |_| true
);
identifier!(
    /// A vault: `vault-` and hexadecimal text, made when the vault is.
    VaultId, "vault id", "`vault-` followed by hexadecimal characters, at most 64 bytes",
    |text| text.strip_prefix("vault-").is_some_and(
        |rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
);

impl ClusterId {
    /// A new dedicated-cluster id from random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 8]) -> Self {
        Self(format!("in01-{}", hex(&random)))
    }
}

impl BackupId {
    /// A new backup id from random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 10]) -> Self {
        Self(format!("backup0_{}", hex(&random)))
    }
}

impl JobId {
    /// A new job id from random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 12]) -> Self {
        Self(format!("job-{}", hex(&random)))
    }
}

impl VaultId {
    /// A new vault id from random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 10]) -> Self {
        Self(format!("vault-{}", hex(&random)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_forms_of_the_documentation_are_accepted() {
        "in01-xxxxxxxxxxxxxx".parse::<ClusterId>().unwrap();
        "backup0_c7b18539b97".parse::<BackupId>().unwrap();
        "backup12_989756e4bf7a2027".parse::<BackupId>().unwrap();
        "job-031a8e3587ba7zqkad".parse::<JobId>().unwrap();
        "aws-us-west-2".parse::<RegionId>().unwrap();
        BackupId::from_random([7; 10]).as_str().parse::<BackupId>().unwrap();
        JobId::from_random([7; 12]).as_str().parse::<JobId>().unwrap();
        ClusterId::from_random([7; 8]).as_str().parse::<ClusterId>().unwrap();
        VaultId::from_random([7; 10]).as_str().parse::<VaultId>().unwrap();
    }

    #[test]
    fn nothing_that_could_leave_a_folder_or_a_log_line_is_accepted() {
        for text in ["", "..", "in01-", "in01-a/b", "in1-abc", "in01-a\nb", "in01-ä", "IN01-a"] {
            assert!(text.parse::<ClusterId>().is_err(), "{text}");
        }
        for text in ["backup_ab", "backup0_", "backup0_xyz", "backup0_AB", "backup0_../a"] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
        assert!("job-".parse::<JobId>().is_err());
        assert!("-west".parse::<RegionId>().is_err());
        assert!("a".repeat(65).parse::<RegionId>().is_err());
    }
}
