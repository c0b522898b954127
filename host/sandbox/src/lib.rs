//! Loads policy plugins and asks them for decisions, in a sandbox they cannot leave.
//!
//! Contract: a plugin is a WebAssembly component (or a core module from which one can be made) that exports interfaces
//! of `longshore:policy`. The same file, question and settings give the same answer with the same fuel on every
//! machine: time and randomness are the run's, there are no files but copies of the granted ones, no network, no
//! environment, and every call has a fresh instance. Nothing of the WebAssembly engine shows in the public interface, and no other crate names it.
//!
//! Failure: whatever a plugin does, the host goes on. Fuel, wall time, memory, tables, instances, data, log, file size
//! and compile time each have a [`Budget`] that cannot be switched off, and each way to fail has its own
//! [`SandboxError`], which names limit and use and says what to do. An answer that breaks the contract fails the call
//! as a whole; nothing is repaired or guessed.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use longshore_sandbox::{Budget, Sandbox, SandboxConfig};
//!
//! let sandbox = Sandbox::new(SandboxConfig::default())?;
//! let plugin = sandbox.load(&std::fs::read("policy.wasm")?, &Budget::default())?;
//! assert!(!plugin.kinds().is_empty());
//! # Ok(())
//! # }
//! ```

mod about;
mod anatomy;
mod answer;
mod budget;
mod call;
mod code_cache;
mod engine;
mod error;
mod explain;
mod granted;
mod inspect;
mod limiter;
mod limits;
mod load;
mod log;
mod native;
mod nearest;
mod plugin;
mod sandbox;
mod text;
mod v0_1_0;
mod validate;
mod wasi;

pub use self::about::About;
pub use self::anatomy::{FileFacts, FileForm};
pub use self::budget::Budget;
pub use self::error::SandboxError;
pub use self::granted::GrantedFiles;
pub use self::limits::Limits;
pub use self::load::Origin;
pub use self::plugin::{Call, Outcome, Plugin};
pub use self::sandbox::{Sandbox, SandboxConfig};
