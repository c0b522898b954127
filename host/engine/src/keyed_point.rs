//! A point of a collection with the identities of its files as manifests keep them.
//!
//! Contract: each key is made once. Making one hashes a few lines of JSON, and planning, looking up and storing all need
//! it, for every file of thousands of collections.

use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::Digest;
use longshore_source::{CollectionPoint, PointFile};

use crate::history::History;

/// See the module.
#[derive(Clone)]
pub(crate) struct KeyedPoint {
    point: Arc<dyn CollectionPoint>,
    /// One for each file; `None` for a file without identity, or where no vault has a key.
    keys: Arc<[Option<Digest>]>,
}

impl KeyedPoint {
    pub(crate) fn new(point: Arc<dyn CollectionPoint>, history: &History) -> Self {
        let key = |file: &PointFile| history.keyed(file.identity.as_ref()?);
        let keys = point.files().iter().map(key).collect();
        Self { point, keys }
    }

    pub(crate) fn point(&self) -> &Arc<dyn CollectionPoint> {
        &self.point
    }

    /// The identity of the file at this place of [`CollectionPoint::files`].
    pub(crate) fn key(&self, file: usize) -> Option<Digest> {
        self.keys.get(file).copied().flatten()
    }
}

/// A point that a plan keeps for its transfer. Whoever takes it lets go of it, and of the files that it came to hold open,
/// when the collection is stored: thousands of collections have more files than a process may open.
#[derive(Clone, Default)]
pub(crate) struct KeptPoint(Arc<Mutex<Option<KeyedPoint>>>);

impl KeptPoint {
    pub(crate) fn new(point: Option<KeyedPoint>) -> Self {
        Self(Arc::new(Mutex::new(point)))
    }

    /// The point, once.
    pub(crate) fn take(&self) -> Option<KeyedPoint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
