//! The tools for authors of policies, tested on oracles that do exactly what a test says.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cases;
mod checks;
mod conditions;
mod fuel;
mod fuzzing;
mod measuring;
mod mistakes;
mod scaffolding;
mod support;
