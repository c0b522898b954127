//! What callers of a catalog share: reading a list to its end, and changing a setting that others change, too.
//!
//! Failure: that of the catalog; a setting that others keep changing is [`EngineError::Conflict`].

use longshore_catalog::{Catalog, CatalogError, Listed, Page};
use serde_json::Value;

use crate::EngineError;

/// Reads all pages of a list, `size` items at a time. What comes in meanwhile may be read or not.
pub(crate) fn every<T>(
    size: u32,
    mut list: impl FnMut(Page) -> Result<Listed<T>, CatalogError>,
) -> Result<Vec<T>, CatalogError> {
    let mut items = Vec::new();
    for current in 1.. {
        let listed = list(Page { size, current })?;
        items.extend(listed.items);
        if u64::from(current) * u64::from(size) >= listed.count {
            break;
        }
    }
    Ok(items)
}

/// A value of the catalog that several processes change.
pub(crate) struct Setting {
    /// Under which key the catalog keeps it.
    pub(crate) key: &'static str,
    /// How often a change is tried again when somebody else was faster.
    pub(crate) tries: u32,
    /// What is said when all of them were in vain.
    pub(crate) conflict: &'static str,
}

impl Setting {
    /// Changes the value, whoever else does so at the same time.
    pub(crate) fn change<S, T>(
        &self,
        catalog: &dyn Catalog,
        read: impl Fn(Option<&Value>) -> Result<S, EngineError>,
        write: impl Fn(&S) -> Result<Value, EngineError>,
        mut change: impl FnMut(&mut S) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        for _ in 0..self.tries {
            let before = catalog.get_setting(self.key)?;
            let mut state = read(before.as_ref())?;
            let answer = change(&mut state)?;
            let after = write(&state)?;
            if before.as_ref() == Some(&after) || catalog.swap_setting(self.key, before.as_ref(), &after)? {
                return Ok(answer);
            }
        }
        Err(EngineError::Conflict { what: self.conflict.to_owned() })
    }
}
