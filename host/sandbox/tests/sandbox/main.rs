//! The sandbox from outside: real plugins, hostile ones, and files that are none. One binary, a module per subject.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod abuse;
mod answers;
mod bombs;
mod budgets;
mod determinism;
mod files;
mod fixtures;
mod forms;
mod granted;
mod handmade;
mod kept;
mod loader;
mod speed;
mod surroundings;
mod table;
mod threads;
