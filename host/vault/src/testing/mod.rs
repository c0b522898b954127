//! Stores for tests: one that fails by plan, one that records what is asked of it, one whose clock the test sets;
//! randomness that can be repeated; every parser behind one face, for fuzzing; and what the golden vaults hold. For this crate's tests and for those
//! of whoever drives a vault.

mod fault;
mod gate;
pub mod golden;
mod intercept;
mod parsers;
mod random;
mod record;
mod timed;

pub use fault::{Effect, Fault, FaultPlan, FaultStore};
pub use gate::Gates;
pub use intercept::Operation;
pub use parsers::Parser;
pub use random::{SeededRandom, long, seeds};
pub use record::{Event, RecordingStore};
pub use timed::{TestClock, TimedStore};
