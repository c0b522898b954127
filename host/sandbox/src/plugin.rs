//! A loaded plugin and the questions it can be asked.

use std::sync::Arc;

use longshore_model::{
    CodecChoice, CollectionFacts, Digest, GuestLogLine, Placed, PolicyKind, RegionOffer, RunFacts, Selected,
    StreamFacts,
};
use wasmtime::{Engine, Store};

use crate::answer::{self, Page, Reply};
use crate::call::{self, Guest, Terms};
use crate::load::Origin;
use crate::v0_1_0::Speaker;
use crate::{About, Budget, GrantedFiles, Limits, SandboxError};

/// What goes with one question.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Facts about the run.
    pub run: &'a RunFacts,
    /// The plugin's settings: a JSON object that is valid under its schema.
    pub settings: &'a str,
    /// What the previous page returned as carry; empty on the first page.
    pub carry: &'a [u8],
    /// Zero-based number of the page.
    pub page_number: u32,
    /// This is the last page of its kind.
    pub last_page: bool,
    /// What the plugin may use for this question.
    pub budget: &'a Budget,
    /// The files it may read, usually [`GrantedFiles::none`].
    pub files: &'a GrantedFiles,
}

/// A question as adapters see it.
pub(crate) struct Question<'a> {
    /// What goes with it.
    pub(crate) call: &'a Call<'a>,
}

/// An answer and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<T> {
    /// The answer, checked: only items, codecs and regions of the question, each item at most once, in order of item.
    pub answer: T,
    /// To be handed to the next page.
    pub carry: Vec<u8>,
    /// Fuel it used: the same for the same question, on every machine.
    pub fuel_used: u64,
    /// Most memory it held at a time, in bytes: the same for the same question.
    pub peak_memory_bytes: u64,
    /// Time it took on this machine, in microseconds.
    pub elapsed_us: u64,
    /// What it logged.
    pub log: Vec<GuestLogLine>,
}

/// A policy plugin, compiled, linked and described. Cheap to clone; may be called from several threads at once.
///
/// Every call runs in a fresh instance, so nothing a plugin does in one call can be seen in another. Calls block the
/// thread until the answer is there or a budget is used up; they need no async runtime and may be made inside one,
/// preferably on a thread for blocking work.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) speaker: Speaker,
    pub(crate) limits: Limits,
    pub(crate) ceiling: Budget,
    pub(crate) digest: Digest,
    pub(crate) about: About,
    pub(crate) kinds: Vec<PolicyKind>,
    /// Name and version, for errors.
    pub(crate) title: String,
    pub(crate) origin: Origin,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("about", &self.0.about)
            .field("kinds", &self.0.kinds)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// BLAKE3 of the file as it was given.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// What it says about itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// The kinds of decisions it makes: selection before compression before placement.
    #[must_use]
    pub fn kinds(&self) -> &[PolicyKind] {
        &self.0.kinds
    }

    /// Where its machine code came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// True if it makes decisions of this kind.
    #[must_use]
    pub fn serves(&self, kind: PolicyKind) -> bool {
        self.0.kinds.contains(&kind)
    }

    /// Asks which collections of a page go into the backup. Decisions are named by place in `page`; a place without
    /// one has no opinion.
    ///
    /// # Errors
    /// The [`SandboxError`] that says why there is no answer; `Refused` if the plugin refuses the run.
    pub fn select(
        &self,
        call: &Call<'_>,
        page: &[CollectionFacts],
    ) -> Result<Outcome<Vec<(u32, Selected)>>, SandboxError> {
        let inner = &*self.0;
        at_most("collections", page.len(), inner.limits.page_collections)?;
        inner.ask(
            call,
            PolicyKind::Selection,
            page.len(),
            |store, question| inner.speaker.select(store, question, page),
            |given| answer::selection(given, page, &inner.limits),
        )
    }

    /// Asks how streams are compressed. Decisions are named by place in `streams`.
    ///
    /// # Errors
    /// As for [`Plugin::select`].
    pub fn choose(
        &self,
        call: &Call<'_>,
        streams: &[StreamFacts],
    ) -> Result<Outcome<Vec<(u32, CodecChoice)>>, SandboxError> {
        let inner = &*self.0;
        at_most("streams", streams.len(), inner.limits.page_streams)?;
        inner.ask(
            call,
            PolicyKind::Compression,
            streams.len(),
            |store, question| inner.speaker.choose(store, question, streams),
            |given| answer::compression(given, streams, &inner.limits),
        )
    }

    /// Asks in which of these regions collections are kept. Decisions are named by place in `collections`.
    ///
    /// # Errors
    /// As for [`Plugin::select`].
    pub fn place(
        &self,
        call: &Call<'_>,
        collections: &[CollectionFacts],
        regions: &[RegionOffer],
    ) -> Result<Outcome<Vec<(u32, Placed)>>, SandboxError> {
        let inner = &*self.0;
        at_most("collections", collections.len(), inner.limits.page_collections)?;
        at_most("regions", regions.len(), inner.limits.page_regions)?;
        inner.ask(
            call,
            PolicyKind::Placement,
            collections.len(),
            |store, question| inner.speaker.place(store, question, collections, regions),
            |given| answer::placement(given, collections, regions, &inner.limits),
        )
    }
}

fn at_most(what: &'static str, value: usize, limit: usize) -> Result<(), SandboxError> {
    if value <= limit {
        return Ok(());
    }
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Err(SandboxError::BadCall { what, value: wide(value), limit: wide(limit) })
}

impl Inner {
    /// Asks one question of one kind in a fresh instance and checks the answer.
    fn ask<A, T>(
        &self,
        call: &Call<'_>,
        kind: PolicyKind,
        asked: usize,
        ask: impl FnOnce(&mut Store<Guest>, &Question<'_>) -> Option<wasmtime::Result<Reply<A>>>,
        check: impl FnOnce(Page<A>) -> Result<(T, Vec<u8>), String>,
    ) -> Result<Outcome<T>, SandboxError> {
        call.budget.within(&self.ceiling)?;
        at_most("bytes of settings", call.settings.len(), self.limits.settings_bytes)?;
        at_most("bytes of carry", call.carry.len(), self.limits.carry_bytes)?;
        let terms = Terms {
            plugin: &self.title,
            time_ms: u64::try_from(call.run.time.as_millis()).unwrap_or(0),
            seed: call.run.seed,
            budget: call.budget,
            limits: &self.limits,
            files: call.files,
        };
        let question = Question { call };
        let (reply, used) = call::in_fresh_store(&self.engine, terms, |store| ask(store, &question).transpose())?;
        let plugin = self.title.clone();
        let Some(reply) = reply else {
            return Err(SandboxError::NotServed { plugin, kind });
        };
        let checked = match reply {
            Ok(page) => check(page),
            Err(refusal) => match answer::refusal(refusal, asked, &self.limits) {
                Ok(refusal) => {
                    return Err(SandboxError::Refused { plugin, refusal, log: used.log.into_boxed_slice() });
                }
                Err(wrong) => Err(wrong),
            },
        };
        match checked {
            Ok((answer, carry)) => Ok(Outcome {
                answer,
                carry,
                fuel_used: used.fuel,
                peak_memory_bytes: used.peak_memory_bytes,
                elapsed_us: used.elapsed_us,
                log: used.log,
            }),
            Err(what) => Err(SandboxError::BadAnswer { plugin, what, log: used.log.into_boxed_slice() }),
        }
    }
}
