//! What a restore leaves behind to find back what it made in a server, should it be killed.
//!
//! Contract: the marker stands in the staging folder, is written before anything is made that it names, and is replaced in
//! one step. Whoever holds the lock of the folder may take back what it names and nothing else.

use serde::{Deserialize, Serialize};

use crate::disk::{Folder, io_error};
use crate::{Limits, SourceError};

const MARKER: &str = "made.json";
const MARKER_NEW: &str = "made.json.new";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Marker {
    /// Databases that were not there before.
    pub(super) databases: Vec<String>,
    /// Collections that were made.
    pub(super) collections: Vec<MadeCollection>,
}

/// A collection that was made, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MadeCollection {
    pub(super) database: String,
    /// The name it has until everything is proven.
    pub(super) temporary: String,
    /// The name it gets then.
    pub(super) name: String,
    /// Its number, once it is known; 0 before.
    pub(super) collection_id: i64,
}

impl Marker {
    /// Reads the marker in a staging folder; an empty one when there is none.
    ///
    /// # Errors
    /// When it cannot be read. It is never half-written, so a damaged one is damage.
    pub(super) fn read(folder: &Folder, limits: &Limits) -> Result<Self, SourceError> {
        let Some(file) = folder.file(MARKER)? else { return Ok(Self::default()) };
        let marker = serde_json::from_slice(&file.read_all(limits.json_bytes)?);
        marker.map_err(|error| SourceError::Damaged { path: file.shown, reason: error.to_string() })
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Folder) -> Result<(), SourceError> {
        let fail = |error| io_error("write", &folder.show(MARKER), error);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| fail(error.into()))?;
        let mut file = folder.dir.create(MARKER_NEW).map_err(fail)?;
        std::io::Write::write_all(&mut file, &bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        folder.dir.rename(MARKER_NEW, &folder.dir, MARKER).map_err(fail)?;
        folder.sync()
    }
}
