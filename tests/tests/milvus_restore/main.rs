//! Restores into a real Milvus server, with a client of its own line as the judge; each trap that was measured on 2.3.5 is
//! a test here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::await_holding_lock)]

mod imports;
mod lite;
mod loaded;
mod pool;
mod short;
mod support;
mod traps;
mod trouble;
mod users;
mod whole;
