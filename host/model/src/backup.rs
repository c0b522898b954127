//! What a backup is called and in which state it can be (Zilliz Cloud v2 spellings).

use serde::{Deserialize, Serialize};

/// Scope of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackupType {
    /// The whole cluster.
    Cluster,
    /// Named collections.
    Collection,
}

/// Who made a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CreationMethod {
    /// A person or program asked for it; it never expires.
    Manual,
    /// The schedule.
    Auto,
}

/// State of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackupStatus {
    /// Its job has not ended; nothing can be restored from it.
    Creating,
    /// Committed: it can be restored.
    Available,
    /// Its job failed; nothing of it counts.
    Failed,
    /// Deleted; kept for the record.
    Deleted,
}

macro_rules! spelled {
    ($type:ident, $what:literal, $expected:literal, $($variant:ident = $text:literal),+) => {
        impl $type {
            /// The spelling used by the API, the catalog and the manifests.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::ModelError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::ModelError::malformed($what, text, $expected)),
                }
            }
        }
    };
}
pub(crate) use spelled;

spelled!(BackupType, "backup type", "CLUSTER or COLLECTION", Cluster = "CLUSTER", Collection = "COLLECTION");
spelled!(CreationMethod, "creation method", "MANUAL or AUTO", Manual = "MANUAL", Auto = "AUTO");
spelled!(
    BackupStatus,
    "backup status",
    "CREATING, AVAILABLE, FAILED or DELETED",
    Creating = "CREATING",
    Available = "AVAILABLE",
    Failed = "FAILED",
    Deleted = "DELETED"
);
