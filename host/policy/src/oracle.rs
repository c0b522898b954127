//! A plugin as this crate sees it: something that answers questions.

use longshore_model::{CodecChoice, CollectionFacts, Digest, Placed, PolicyKind, RegionOffer, Selected, StreamFacts};
use longshore_sandbox::Plugin;
pub use longshore_sandbox::{About, Budget, Call, GrantedFiles, Outcome, SandboxError};

/// Answers of one call: the place of an item in the page, and what was decided about it.
pub(crate) type Answer<T> = Result<Outcome<Vec<(u32, T)>>, SandboxError>;

/// Something that answers policy questions: a loaded plugin, or a stand-in.
///
/// The same call must give the same answer every time. Answers are checked by the caller: a place outside the page,
/// two answers for one place and choices outside the offers count as a failure of the plugin.
pub trait Oracle: Send + Sync {
    /// BLAKE3 of the file it was loaded from.
    fn digest(&self) -> Digest;

    /// What it says about itself.
    fn about(&self) -> &About;

    /// Whether it answers questions of a kind.
    fn serves(&self, kind: PolicyKind) -> bool;

    /// Asks which collections of a page go into the backup.
    ///
    /// # Errors
    /// Any way for a plugin to fail, its budget or its refusal.
    fn select(&self, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Selected>;

    /// Asks how the streams of a page are compressed.
    ///
    /// # Errors
    /// As [`Oracle::select`].
    fn choose(&self, call: &Call<'_>, page: &[StreamFacts]) -> Answer<CodecChoice>;

    /// Asks where the collections of a page are kept.
    ///
    /// # Errors
    /// As [`Oracle::select`].
    fn place(&self, call: &Call<'_>, page: &[CollectionFacts], regions: &[RegionOffer]) -> Answer<Placed>;
}

impl Oracle for Plugin {
    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn about(&self) -> &About {
        Self::about(self)
    }

    fn serves(&self, kind: PolicyKind) -> bool {
        Self::serves(self, kind)
    }

    fn select(&self, call: &Call<'_>, page: &[CollectionFacts]) -> Answer<Selected> {
        Self::select(self, call, page)
    }

    fn choose(&self, call: &Call<'_>, page: &[StreamFacts]) -> Answer<CodecChoice> {
        Self::choose(self, call, page)
    }

    fn place(&self, call: &Call<'_>, page: &[CollectionFacts], regions: &[RegionOffer]) -> Answer<Placed> {
        Self::place(self, call, page, regions)
    }
}
