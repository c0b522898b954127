//! Adapter for version 0.1.0 of the contract (`wit/v0.1.0`): turns the model's values into the version's own and back.
//!
//! Contract: thin. It changes shapes, never meanings; whether an answer is allowed is judged in `answer`, the same for
//! every version. A new version of the contract gets a folder like this one beside it.

mod bindings;
mod from_guest;
mod to_guest;

use bumpalo::Bump;
use longshore_model::{CollectionFacts, LogLevel, PolicyKind, RegionOffer, Selected, StreamFacts};
use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use self::bindings::exports::longshore::policy::{about, compression, placement, selection};
use self::bindings::longshore::policy::host;
use crate::About;
use crate::answer::{GivenCodec, GivenPlaced, Reply};
use crate::call::Guest;
use crate::plugin::Question;

/// The version, as it stands after `@`.
pub(crate) const VERSION: &str = "0.1.0";

/// The interface every plugin exports.
pub(crate) const ABOUT: &str = "longshore:policy/about@0.1.0";

/// The interfaces a plugin may import from the contract itself.
pub(crate) const IMPORTS: [&str; 2] = ["longshore:policy/host@0.1.0", "longshore:policy/types@0.1.0"];

/// The interface of a kind.
pub(crate) const fn interface(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Selection => "longshore:policy/selection@0.1.0",
        PolicyKind::Compression => "longshore:policy/compression@0.1.0",
        PolicyKind::Placement => "longshore:policy/placement@0.1.0",
    }
}

impl host::Host for Guest {
    fn log(&mut self, level: host::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            host::Level::Debug => LogLevel::Debug,
            host::Level::Info => LogLevel::Info,
            host::Level::Warn => LogLevel::Warn,
            host::Level::Error => LogLevel::Error,
        };
        self.log.line(level, &message);
        Ok(())
    }
}

/// Links what the contract offers a plugin.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    host::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// A plugin of this version: compiled, linked, and its exports found by name.
pub(crate) struct Speaker {
    pre: InstancePre<Guest>,
    about: about::GuestIndices,
    selection: Option<selection::GuestIndices>,
    compression: Option<compression::GuestIndices>,
    placement: Option<placement::GuestIndices>,
}

impl Speaker {
    /// Finds the functions of the contract, of `about` and of these kinds.
    ///
    /// # Errors
    /// What is missing, as wasmtime says it.
    pub(crate) fn new(pre: InstancePre<Guest>, kinds: &[PolicyKind]) -> wasmtime::Result<Self> {
        let about = about::GuestIndices::new(&pre)?;
        let mut speaker = Self { pre, about, selection: None, compression: None, placement: None };
        for kind in kinds {
            match kind {
                PolicyKind::Selection => speaker.selection = Some(selection::GuestIndices::new(&speaker.pre)?),
                PolicyKind::Compression => speaker.compression = Some(compression::GuestIndices::new(&speaker.pre)?),
                PolicyKind::Placement => speaker.placement = Some(placement::GuestIndices::new(&speaker.pre)?),
            }
        }
        Ok(speaker)
    }

    /// Checks that the plugin's functions have the types of the contract, which can be told only of an instance: the
    /// inner error says what differs, the outer one that it could not be instantiated.
    pub(crate) fn check(&self, store: &mut Store<Guest>) -> wasmtime::Result<wasmtime::Result<()>> {
        let instance = self.pre.instantiate(&mut *store)?;
        Ok(self.check_instance(store, &instance))
    }

    fn check_instance(&self, store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<()> {
        self.about.load(&mut *store, instance)?;
        if let Some(selection) = &self.selection {
            selection.load(&mut *store, instance)?;
        }
        if let Some(compression) = &self.compression {
            compression.load(&mut *store, instance)?;
        }
        if let Some(placement) = &self.placement {
            placement.load(&mut *store, instance)?;
        }
        Ok(())
    }

    /// What the plugin says about itself.
    pub(crate) fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<About> {
        let instance = self.pre.instantiate(&mut *store)?;
        let plugin = self.about.load(&mut *store, &instance)?;
        let info = plugin.call_describe(&mut *store)?;
        Ok(About {
            name: info.name,
            version: info.version,
            author: info.author,
            description: info.description,
            settings_schema: info.settings_schema,
        })
    }

    /// Asks which collections; `None` if the plugin does not serve the kind.
    pub(crate) fn select(
        &self,
        store: &mut Store<Guest>,
        question: &Question<'_>,
        page: &[CollectionFacts],
    ) -> Option<wasmtime::Result<Reply<Selected>>> {
        let selection = self.selection.as_ref()?;
        let mut ask = || {
            let instance = self.pre.instantiate(&mut *store)?;
            let plugin = selection.load(&mut *store, &instance)?;
            let arena = Bump::new();
            let (run, page) = (to_guest::run(&arena, question), to_guest::collections(&arena, page));
            let answer = plugin.call_select(&mut *store, run, &page)?;
            Ok(from_guest::selection(answer))
        };
        Some(ask())
    }

    /// Asks which codecs; `None` if the plugin does not serve the kind.
    pub(crate) fn choose(
        &self,
        store: &mut Store<Guest>,
        question: &Question<'_>,
        streams: &[StreamFacts],
    ) -> Option<wasmtime::Result<Reply<GivenCodec>>> {
        let compression = self.compression.as_ref()?;
        let mut ask = || {
            let instance = self.pre.instantiate(&mut *store)?;
            let plugin = compression.load(&mut *store, &instance)?;
            let arena = Bump::new();
            let (run, streams) = (to_guest::run(&arena, question), to_guest::streams(&arena, streams));
            let answer = plugin.call_choose(&mut *store, run, &streams.codecs, &streams.collections)?;
            Ok(from_guest::compression(answer))
        };
        Some(ask())
    }

    /// Asks which regions; `None` if the plugin does not serve the kind.
    pub(crate) fn place(
        &self,
        store: &mut Store<Guest>,
        question: &Question<'_>,
        collections: &[CollectionFacts],
        regions: &[RegionOffer],
    ) -> Option<wasmtime::Result<Reply<GivenPlaced>>> {
        let placement = self.placement.as_ref()?;
        let mut ask = || {
            let instance = self.pre.instantiate(&mut *store)?;
            let plugin = placement.load(&mut *store, &instance)?;
            let arena = Bump::new();
            let run = to_guest::run(&arena, question);
            let collections = to_guest::collections(&arena, collections);
            let regions = to_guest::regions(&arena, regions);
            let answer = plugin.call_place(&mut *store, run, &collections, &regions)?;
            Ok(from_guest::placement(answer))
        };
        Some(ask())
    }
}
