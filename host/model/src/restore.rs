//! What a restore is asked to do with each collection.

use serde::{Deserialize, Serialize};

use crate::CollectionName;

/// Whether a restored collection is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoredLoadState {
    /// As it was when it was backed up.
    #[default]
    Keep,
    /// Loaded.
    Loaded,
    /// Not loaded.
    NotLoaded,
}

/// One collection of a backup and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionMapping {
    /// Its name in the backup.
    pub from: CollectionName,
    /// Its name in the target.
    pub to: CollectionName,
    /// Whether it is loaded afterwards.
    #[serde(default)]
    pub load_state: RestoredLoadState,
}
