//! The storage core as those who drive it see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blob_runs;
mod catalogs;
mod damage;
mod deleting;
mod encrypted_headers;
mod encryption;
mod encryption_attacks;
mod erasing;
mod faults;
mod golden;
mod healing;
mod missing;
mod opening;
mod order;
mod parsers;
mod pins;
mod plans;
mod plans_pruning;
mod pruning;
mod pruning_beside;
mod pruning_damage;
mod pruning_orders;
mod support;
mod unreadable;
mod writing;
