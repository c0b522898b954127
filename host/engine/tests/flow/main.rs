//! How bytes flow through jobs: limits that change while they run, resuming, reading only what is new.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copies;
mod history;
mod incremental;
mod limits;
mod not_held;
mod restore;
mod resume;
mod space;
mod support;
