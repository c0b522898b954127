//! Damage: verify names what is hit, what is not hit is restored, heal repairs it from another vault.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod corruption;
mod deletion;
mod healing;
mod locked;
mod records;
mod support;
mod unreadable;
mod verifying;
