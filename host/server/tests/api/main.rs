//! The API over a real host: in temporary folders, on a copy of the sample cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod connections;
mod contract;
mod costs;
mod document;
mod migrations;
mod nonsense;
mod place;
mod priorities;
mod refusals;
mod refused;
mod restores;
mod restores_ended;
mod rules;
mod schedules;
mod scopes;
mod servers;
mod tls;
mod upkeep;
mod webhook;
