//! From a file to a component: what the file is, whether it fits, and its translation into machine code.
//!
//! Contract: the size is checked before a byte is read. What this host compiled before is taken from its cache; the
//! rest runs on a thread of its own and is given up after the budget's compile time. A thread that was given up cannot be stopped: it ends by itself when it is done, its result is
//! dropped, and as long as too many of them run nothing more is loaded. A panic of a parser or compiler ends that
//! thread, not the host.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use longshore_model::{Digest, PolicyKind};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wit_component::ComponentEncoder;

use crate::call::Guest;
use crate::code_cache::{Cached, CodeCache};
use crate::explain::{self, Misfit};
use crate::inspect::{self, ModuleShape, Shape};
use crate::v0_1_0::Speaker;
use crate::validate::validate;
use crate::{Budget, Limits, native};

/// Stack of the thread that compiles: parsers and compiler nest as deep as the file does.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Why nothing was loaded.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file does not fit.
    Misfit(Misfit),
    /// The host could not try.
    Host(String),
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}

/// A plugin that is compiled and linked but was not yet called.
pub(crate) struct Loaded {
    /// How to call it.
    pub(crate) speaker: Speaker,
    /// What it serves, in order.
    pub(crate) kinds: Vec<PolicyKind>,
    /// Where its machine code came from.
    pub(crate) origin: Origin,
}

/// Where the machine code of a plugin came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled now.
    Compiled,
    /// This host compiled it earlier and kept it.
    Cached,
}

/// Counts compilations that were given up and still run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned(Arc<AtomicUsize>);

/// One compilation, held by its thread and by whoever waits for it.
#[derive(Debug, Clone)]
struct Compilation {
    abandoned: Abandoned,
    state: Arc<AtomicU8>,
}

impl Compilation {
    const RUNNING: u8 = 0;
    const GIVEN_UP: u8 = 1;
    const ENDED: u8 = 2;

    fn new(abandoned: &Abandoned) -> Self {
        Self { abandoned: abandoned.clone(), state: Arc::new(AtomicU8::new(Self::RUNNING)) }
    }

    /// Nobody waits for it any more.
    fn give_up(&self) {
        // Counted first, so that the thread never uncounts what is not counted yet.
        self.abandoned.0.fetch_add(1, Ordering::AcqRel);
        let (from, to) = (Self::RUNNING, Self::GIVEN_UP);
        if self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.abandoned.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Says at the end of the thread, panic or not, that the compilation has ended.
struct UntilEnd(Compilation);

impl Drop for UntilEnd {
    fn drop(&mut self) {
        if self.0.state.swap(Compilation::ENDED, Ordering::AcqRel) == Compilation::GIVEN_UP {
            self.0.abandoned.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What every load of a sandbox needs.
pub(crate) struct Loader<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) linker: &'a Linker<Guest>,
    pub(crate) abandoned: &'a Abandoned,
    pub(crate) cache: Option<&'a CodeCache>,
    pub(crate) limits: &'a Limits,
}

impl Loader<'_> {
    /// Loads a file with this digest within its budget: from the cache, or by compiling it, which is then kept.
    pub(crate) fn load(&self, digest: Digest, bytes: &[u8], budget: &Budget) -> Result<Loaded, Failure> {
        if u64::try_from(bytes.len()).map_or(true, |size| size > budget.file_size_bytes) {
            return Err(explain::too_large(bytes.len(), budget.file_size_bytes).into());
        }
        if let Some(loaded) = self.cache.and_then(|cache| cached(self.engine, self.linker, cache.get(digest)?)) {
            return Ok(loaded);
        }
        let Compiled { loaded, component } =
            compile(self.engine, self.linker, self.abandoned, bytes, budget, self.limits)?;
        if let Some(cache) = self.cache
            && let Ok(code) = component.serialize()
        {
            cache.put(digest, &loaded.kinds, &code);
        }
        Ok(loaded)
    }
}

/// Links what the cache holds. `None` if it does not fit this engine or this linker, as after an update of the host.
fn cached(engine: &Engine, linker: &Linker<Guest>, cached: Cached) -> Option<Loaded> {
    let component = native::component(engine, &cached.code).ok()?;
    let pre = linker.instantiate_pre(&component).ok()?;
    let speaker = Speaker::new(pre, &cached.kinds).ok()?;
    Some(Loaded { speaker, kinds: cached.kinds, origin: Origin::Cached })
}

/// A plugin that was compiled now.
struct Compiled {
    loaded: Loaded,
    component: Component,
}

/// Compiles and links a file within its budget.
fn compile(
    engine: &Engine,
    linker: &Linker<Guest>,
    abandoned: &Abandoned,
    bytes: &[u8],
    budget: &Budget,
    limits: &Limits,
) -> Result<Compiled, Failure> {
    if abandoned.0.load(Ordering::Acquire) >= limits.abandoned_compilations {
        let what = "earlier plugins that took too long are still being compiled; wait, or restart the host";
        return Err(Failure::Host(what.to_owned()));
    }
    let (engine, linker, bytes, limits) = (engine.clone(), linker.clone(), bytes.to_vec(), *limits);
    bounded(abandoned, Duration::from_millis(budget.compile_time_ms), move || {
        prepare(&engine, &linker, &bytes, &limits)
    })
}

/// Runs the work on a thread of its own and waits for it for so long.
fn bounded<T: Send + 'static>(
    abandoned: &Abandoned,
    time: Duration,
    work: impl FnOnce() -> Result<T, Misfit> + Send + 'static,
) -> Result<T, Failure> {
    let (send, receive) = mpsc::sync_channel(1);
    let compilation = Compilation::new(abandoned);
    let until_end = UntilEnd(compilation.clone());
    let run = move || {
        let _until_end = until_end;
        // Fails only if nobody waits any more.
        let _ = send.send(work());
    };
    std::thread::Builder::new()
        .name("longshore-compile".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map_err(|error| Failure::Host(format!("no thread could be started to compile a plugin: {error}")))?;
    match receive.recv_timeout(time) {
        Ok(done) => Ok(done?),
        Err(RecvTimeoutError::Timeout) => {
            compilation.give_up();
            Err(explain::too_slow(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).into())
        }
        Err(RecvTimeoutError::Disconnected) => Err(explain::compiler_failed().into()),
    }
}

/// Checks, adapts, compiles and links a file.
fn prepare(engine: &Engine, linker: &Linker<Guest>, bytes: &[u8], limits: &Limits) -> Result<Compiled, Misfit> {
    let (surface, component) = match inspect::shape(bytes)? {
        Shape::Component(surface) => (surface, Cow::Borrowed(bytes)),
        Shape::Module(shape) => {
            let component = encode(bytes, &shape, limits)?;
            (inspect::surface(&component).map_err(|error| explain::broken(&error))?, Cow::Owned(component))
        }
    };
    let kinds = explain::kinds(&surface)?;
    // The compiler checks again, but says where the damage is less well, and its effort has no limits.
    validate(&component, limits)?;
    let component = Component::new(engine, &component).map_err(|error| explain::not_compilable(&error))?;
    let pre = linker.instantiate_pre(&component).map_err(|error| explain::wrong_types(&error))?;
    let speaker = Speaker::new(pre, &kinds).map_err(|error| explain::wrong_types(&error))?;
    Ok(Compiled { loaded: Loaded { speaker, kinds, origin: Origin::Compiled }, component })
}

/// Makes a component of a core module that carries bindings. WASI preview 1 is adapted to WASI 0.2.
fn encode(bytes: &[u8], shape: &ModuleShape, limits: &Limits) -> Result<Vec<u8>, Misfit> {
    if !shape.has_bindings {
        return Err(explain::no_bindings(shape));
    }
    // Before the encoder, which trusts its input to be valid.
    validate(bytes, limits)?;
    let encode = || {
        let encoder = ComponentEncoder::default().module(bytes)?;
        let (name, adapter) = (WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER);
        let needs_adapter = shape.import_modules.iter().any(|module| module == name);
        let mut encoder = if needs_adapter { encoder.adapter(name, adapter)? } else { encoder };
        encoder.encode()
    };
    encode().map_err(|error| explain::not_encodable(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{Abandoned, Failure, bounded};

    #[test]
    fn work_that_takes_too_long_is_given_up_and_counted_until_it_ends() {
        let abandoned = Abandoned::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let failure = bounded(&abandoned, Duration::from_millis(1), move || {
            let _ = wait.recv();
            Ok(())
        });
        assert!(matches!(failure, Err(Failure::Misfit(misfit)) if misfit.what.contains("longer than 1 ms")));
        assert_eq!(abandoned.0.load(Ordering::Acquire), 1);
        drop(go_on);
        while abandoned.0.load(Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn work_in_time_is_not_counted_and_a_panic_is_a_misfit() {
        let abandoned = Abandoned::default();
        assert_eq!(bounded(&abandoned, Duration::from_secs(60), || Ok(7)).unwrap(), 7);
        let failure = bounded::<()>(&abandoned, Duration::from_secs(60), || panic!("a panic that belongs to a test"));
        assert!(matches!(failure, Err(Failure::Misfit(misfit)) if misfit.what.contains("stumbled")));
        assert_eq!(abandoned.0.load(Ordering::Acquire), 0);
    }
}
