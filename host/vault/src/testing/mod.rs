//! Stores for tests: one that fails by plan, one that records what is asked of it. For this crate's tests and for those
//! of whoever drives a vault.

mod fault;
mod intercept;
mod record;

pub use fault::{Effect, Fault, FaultStore};
pub use intercept::Operation;
pub use record::{Event, RecordingStore};
