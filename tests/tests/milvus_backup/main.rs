//! Backups of a real Milvus server: what is in them, what a later one reads, and what happens when something is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::await_holding_lock)]

mod azure;
mod bucket;
mod many;
mod points;
mod support;
mod tls;
mod trouble;
mod whole;
mod writers;
