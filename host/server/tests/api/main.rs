//! The API over a real host: in temporary folders, on a copy of the sample cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod connections;
mod nonsense;
mod place;
mod refusals;
mod schedules;
mod upkeep;
