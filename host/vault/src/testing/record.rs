//! Stores that record what is asked of them, in order; several can share one record.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::ObjectStore;

use super::intercept::{Hook, Intercept, Operation, Verdict};

/// One moment of one operation. Keys begin with the label of the store, if it has one.
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
    events: Arc<Mutex<Vec<Event>>>,
}

#[derive(Debug)]
struct Recorder {
    label: String,
    events: Arc<Mutex<Vec<Event>>>,
}

impl RecordingStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self::with_record(inner, "", Arc::default())
    }

    /// Wraps another store that writes to the same record, its keys after `label`.
    #[must_use]
    pub fn beside(&self, inner: Arc<dyn ObjectStore>, label: &str) -> Self {
        Self::with_record(inner, label, Arc::clone(&self.events))
    }

    fn with_record(inner: Arc<dyn ObjectStore>, label: &str, events: Arc<Mutex<Vec<Event>>>) -> Self {
        let hook = Arc::new(Recorder { label: label.to_owned(), events: Arc::clone(&events) });
        Self { store: Arc::new(Intercept { inner, hook }), events }
    }

    /// The store to hand out.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Recorder {
    fn add(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

#[async_trait]
impl Hook for Recorder {
    async fn before(&self, operation: Operation, key: &str) -> Verdict {
        self.add(Event::Began(operation, format!("{}{key}", self.label)));
        Verdict::Go
    }

    fn after(&self, operation: Operation, key: &str, ok: bool) {
        self.add(Event::Ended(operation, format!("{}{key}", self.label), ok));
    }
}
