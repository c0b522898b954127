//! Plans and runs jobs: backup, copy, restore, verify.
mod config;
mod error;
mod host;
mod limits;
mod random;
mod views;
pub use error::EngineError;
pub use limits::Limits;
