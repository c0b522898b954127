//! What is to be told to whoever watches, and what became of it: plain values.

use longshore_model::Timestamp;
use serde_json::Value;

/// The kind of delivery that each end of a job makes, with the id of the job as its subject.
pub const JOB_ENDED: &str = "job.ended";

/// Something that is to be told to whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Tells it from everything else: the same name is told once.
    pub name: String,
    /// What kind of thing it is, for example [`JOB_ENDED`].
    pub kind: String,
    /// Whom it is about: an id.
    pub subject: String,
    /// What there is to say; `Value::Null` where kind and subject say it.
    pub body: Value,
}

/// Something that still waits to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number.
    pub sequence: u64,
    /// As in [`NewDelivery`].
    pub name: String,
    /// As in [`NewDelivery`].
    pub kind: String,
    /// As in [`NewDelivery`].
    pub subject: String,
    /// As in [`NewDelivery`].
    pub body: Value,
    /// When it happened.
    pub created: Timestamp,
    /// When it is to be tried.
    pub due: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// How the last attempt failed.
    pub error: Option<String>,
}

/// How an attempt to tell something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again.
    Again {
        /// When.
        due: Timestamp,
        /// What went wrong.
        error: String,
    },
    /// It was not, and is not tried again.
    Abandoned {
        /// What went wrong.
        error: String,
    },
}

/// How many deliveries there are; those that ended are kept for [`crate::Limits::ended_deliveries_kept_ms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryCounts {
    /// Still to be told.
    pub waiting: u64,
    /// Told.
    pub delivered: u64,
    /// Given up.
    pub abandoned: u64,
}
