//! A store that records what is asked of it, in order.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::ObjectStore;

use super::intercept::{Hook, Intercept, Operation, Verdict};

/// One moment of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was asked for.
    Began(Operation, String),
    /// It was done and acknowledged (or, with `false`, failed).
    Ended(Operation, String, bool),
}

/// Records every operation on the store it wraps.
#[derive(Debug, Clone)]
pub struct RecordingStore {
    store: Arc<dyn ObjectStore>,
    events: Arc<Recorder>,
}

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Event>>);

impl RecordingStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        let events = Arc::new(Recorder::default());
        let store = Arc::new(Intercept { inner, hook: Arc::clone(&events) });
        Self { store, events }
    }

    /// The store to hand out.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.events.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[async_trait]
impl Hook for Recorder {
    async fn before(&self, operation: Operation, key: &str) -> Verdict {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Event::Began(operation, key.to_owned()));
        Verdict::Go
    }

    fn after(&self, operation: Operation, key: &str, ok: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Event::Ended(operation, key.to_owned(), ok));
    }
}
