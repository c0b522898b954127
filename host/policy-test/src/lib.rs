//! Tests of policy plugins and the tools around them: what their authors need, as a library.
//!
//! Contract: a [`Subject`] is a plugin that was loaded as a host loads it; every question to it is a fresh instance under
//! a real budget. [`Scenario`]s are what it is told, [`Asked`] is what came of it. On top of that stand sandboxed tests
//! ([`cases`], whose format `CASES.md` describes), [`Subject::bench`], [`Subject::fuzz`] and [`mod@check`]; beside it
//! [`NewPlugin`] and [`wasm_build`] make and build crates. Nothing here prints: reports are values, and [`report`] makes text of
//! them. Nothing here needs a vault, a cluster or a server.
//!
//! Failure: [`PolicyTestError`] says what could not be read, asked or built, with file and line. A policy that decides
//! wrongly is no error of this crate: it is what the reports are about.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use longshore_model::PolicyKind;
//! use longshore_policy_test::{Scenario, Subject};
//!
//! let policy = Subject::load("target/wasm32-wasip2/release/frozen.wasm")?;
//! policy.test("cases")?.expect_pass();
//!
//! let scenario = Scenario::from_toml("[[collection]]\nname = \"docs\"\nlast_write = \"90 days ago\"")?;
//! let asked = policy.ask(PolicyKind::Selection, &scenario);
//! assert!(!asked.selected("docs").is_some_and(|selected| selected.include_collection));
//! # Ok(())
//! # }
//! ```

mod asked;
mod bench;
pub mod cases;
pub mod check;
mod error;
mod fuzz;
mod limits;
mod properties;
mod random;
pub mod report;
mod scaffold;
mod scenario;
mod setup;
mod subject;
pub mod wasm_build;

pub use asked::{Asked, Choice, End, Item};
pub use bench::{BenchOptions, BenchReport, BenchRow};
pub use error::PolicyTestError;
pub use fuzz::{Counterexample, FuzzOptions, FuzzReport};
pub use limits::Limits;
pub use scaffold::{NewCrate, NewPlugin};
pub use scenario::Scenario;
pub use setup::{Setup, setups_of_cases};
pub use subject::{Subject, read_plugin};
