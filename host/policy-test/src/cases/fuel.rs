//! The recorded fuel of cases: `fuel.toml` beside them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::subject::read_bounded;
use crate::{Limits, PolicyTestError};

/// Name of the file.
pub const FUEL_FILE: &str = "fuel.toml";

/// What cases took when they were recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FuelBaseline {
    /// A case may take so much more, in percent.
    #[serde(default = "default_tolerance")]
    pub tolerance_percent: u32,
    /// Fuel by id of the case.
    #[serde(default)]
    pub fuel: BTreeMap<String, u64>,
}

const fn default_tolerance() -> u32 {
    10
}

impl Default for FuelBaseline {
    fn default() -> Self {
        Self { tolerance_percent: default_tolerance(), fuel: BTreeMap::new() }
    }
}

impl FuelBaseline {
    /// Reads the file of a folder; an empty baseline if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Self, PolicyTestError> {
        let path = folder.join(FUEL_FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = read_bounded(&path, Limits::DEFAULT.case_file_bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        toml::from_str(&text).map_err(|error| PolicyTestError::file(&path, error.message()))
    }

    /// Writes the file of a folder, by a rename, so that nobody ever reads half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), PolicyTestError> {
        let path = folder.join(FUEL_FILE);
        let table = toml::to_string(self).map_err(|error| PolicyTestError::file(&path, error))?;
        let text = format!(
            "# Fuel of each case, written by `longshore plugin test --update-fuel`. A case that takes more than\n\
             # tolerance_percent above its entry fails.\n{table}"
        );
        let new = path.with_extension("toml.new");
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| PolicyTestError::file(&path, error))
    }

    /// The most fuel a case may take; `None` if it is not recorded.
    #[must_use]
    pub fn allowed(&self, id: &str) -> Option<u64> {
        let recorded = u128::from(*self.fuel.get(id)?);
        let allowed = recorded * (100 + u128::from(self.tolerance_percent)) / 100;
        Some(u64::try_from(allowed).unwrap_or(u64::MAX))
    }
}
