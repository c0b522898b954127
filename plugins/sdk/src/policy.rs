//! The traits a policy implements: [`Plugin`] always, and one for each kind it serves.
//!
//! The functions take no `self`: the host may start a fresh instance for every page, so nothing but
//! [`Answer::carry`] survives from one page to the next.

use crate::answer::{Answer, CodecChoice, Placed, Refusal, Selected};
use crate::facts::{Collection, Region, Run, Stream};

/// What a plugin says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Lower case letters, digits and hyphens, at most 64 bytes.
    pub name: &'static str,
    /// Semantic version; `env!("CARGO_PKG_VERSION")` is the crate's own.
    pub version: &'static str,
    /// Who wrote it.
    pub author: &'static str,
    /// One sentence: what the policy does.
    pub description: &'static str,
    /// JSON Schema of the settings, at most 64 KiB and 32 levels, without remote references. Keep it in a file beside
    /// the source and use `include_str!`; a policy without settings takes [`NO_SETTINGS`].
    pub settings_schema: &'static str,
}

/// The schema of a policy without settings: only `{}` is valid.
pub const NO_SETTINGS: &str = r#"{"type":"object","additionalProperties":false}"#;

/// Implemented by every plugin.
pub trait Plugin {
    /// What the plugin is, and which settings it takes.
    fn about() -> About;
}

/// Decides which collections go into a backup.
pub trait SelectionPolicy {
    /// Decides about a page of at most 1,000 collections in order of (database, name).
    ///
    /// # Errors
    ///
    /// A [`Refusal`] fails the job with its reason; nothing is written.
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal>;
}

/// Decides how bytes are compressed.
pub trait CompressionPolicy {
    /// Chooses one of the offered codecs for each stream.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] fails the job with its reason; nothing is written.
    fn choose(run: &Run, streams: &[Stream]) -> Result<Answer<CodecChoice>, Refusal>;
}

/// Decides in which regions a collection's backup is kept, and for how long.
pub trait PlacementPolicy {
    /// Places each collection in one of the offered regions.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] fails the job with its reason; nothing is written.
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal>;
}
