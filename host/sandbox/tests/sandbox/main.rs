//! The sandbox from outside: real plugins, hostile ones, and files that are none. One binary, a module per subject.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod answers;
mod budgets;
mod determinism;
mod files;
mod fixtures;
mod forms;
mod handmade;
mod kept;
mod speed;
mod surroundings;
mod threads;
