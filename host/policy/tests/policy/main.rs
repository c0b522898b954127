//! Chains, guardrails, settings and records, tried with oracles that say what the test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod altered;
mod chains;
mod comparing;
mod failures;
mod grants;
mod guardrails;
mod plugins;
mod properties;
mod records;
mod settings;
mod support;
