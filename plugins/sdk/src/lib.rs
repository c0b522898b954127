//! Write backup policies for Longshore in Rust.
//!
//! A policy decides which collections go into a backup ([`SelectionPolicy`]), how their bytes are compressed
//! ([`CompressionPolicy`]) and in which regions they are kept ([`PlacementPolicy`]). Implement [`Plugin`] and one or more
//! of these, name the kinds in [`export!`], and build the crate for `wasm32-wasip2`. In a native build everything is
//! plain Rust, so a policy is tested with `cargo test`.
//!
//! What a policy needs again and again is here: properties and labels ([`Collection::property_or_label`],
//! [`Collection::flag`]), ages and dates ([`time`]), bytes, ratios and prices ([`cost`]), regions by health, jurisdiction
//! and price ([`region`]), names by pattern ([`CollectionPattern`]), typed settings ([`Run::settings`]) and what goes
//! from page to page ([`carry`]).
//!
//! The crate brings the heap of the guest. A policy that has a `#[global_allocator]` of its own, or C code with a `malloc`
//! of its own, depends on this crate with `default-features = false`.
//!
//! A policy is a pure function of what it is given: the same run, page and settings give the same answer on every
//! machine. It has no clock but [`Run::time_ms`], no randomness but [`Run::seed`], no network and no environment. If it
//! panics, loops or asks for too much memory the host stops it and fails the job with the plugin's name.

pub mod answer;
#[doc(hidden)]
pub mod bindings;
pub mod carry;
pub mod contract;
pub mod cost;
mod export;
pub mod facts;
#[doc(hidden)]
pub mod glue;
#[cfg(any(test, all(feature = "heap", target_family = "wasm")))]
mod heap;
#[cfg(all(feature = "heap", target_family = "wasm"))]
mod heap_of_guest;
#[cfg(test)]
mod heap_tests;
pub mod log;
mod lookup;
mod pattern;
pub mod policy;
pub mod region;
pub mod settings;
pub mod time;

pub use answer::{Answer, CodecChoice, Placed, Reason, Refusal, RegionCopy, Selected};
pub use facts::{
    ClassBytes, CodecOffer, Collection, ExtraFacts, FactValue, IndexFacts, ItemId, LastBackup, LoadState, Region,
    RegionHealth, Run, RunKind, RunTrigger, Stream, Text, Totals,
};
pub use lookup::{is_on, run_facts, stream_facts};
pub use pattern::{CollectionPattern, Pattern};
pub use policy::{About, CompressionPolicy, NO_SETTINGS, PlacementPolicy, Plugin, SelectionPolicy};
pub use time::Date;
