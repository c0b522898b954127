//! The sandbox: one engine, one linker, and the way from a file to a [`Plugin`].

use std::path::PathBuf;
use std::sync::Arc;

use longshore_model::Digest;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::call::{self, Guest, Terms};
use crate::code_cache::CodeCache;
use crate::load::{Abandoned, Failure, Loaded, Loader};
use crate::plugin::{Inner, Plugin};
use crate::text::escaped;
use crate::{About, Budget, GrantedFiles, Limits, SandboxError, engine, v0_1_0, wasi};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// What is the same for every plugin.
    pub limits: Limits,
    /// The operator's ceiling: no plugin's budget may be above it.
    pub ceiling: Budget,
    /// Folder in which compiled plugins are kept between runs, private to this user; made when it is needed. Without one
    /// every load compiles.
    pub code_cache: Option<PathBuf>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { limits: Limits::DEFAULT, ceiling: Budget::CEILING, code_cache: None }
    }
}

/// Loads policy plugins. Cheap to clone; clones share the engine. One per process is enough.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    linker: Arc<Linker<Guest>>,
    config: SandboxConfig,
    abandoned: Abandoned,
    cache: Option<Arc<CodeCache>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Sets up the engine and its clock.
    ///
    /// # Errors
    /// [`SandboxError::BadBudget`] for a ceiling with a zero in it, [`SandboxError::Host`] if this machine cannot run
    /// compiled WebAssembly.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.ceiling.within(&config.ceiling)?;
        let engine = engine::engine(&config.limits)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)
            .and_then(|()| v0_1_0::add_to_linker(&mut linker))
            .map_err(|error| SandboxError::host(format!("the host's own functions cannot be linked: {error:#}")))?;
        let cache = config.code_cache.as_deref();
        let cache = cache.map(|path| Arc::new(CodeCache::new(path, &engine, &config.limits)));
        Ok(Self { engine, linker: Arc::new(linker), config, abandoned: Abandoned::default(), cache })
    }

    /// Why compiled plugins could not be kept or found the last time, as a sentence for the operator; `None` if all is
    /// well or there is no cache. Plugins are compiled then, so nothing but time is lost.
    #[must_use]
    pub fn code_cache_trouble(&self) -> Option<String> {
        self.cache.as_ref().and_then(|cache| cache.trouble())
    }

    /// Checks, compiles and links a plugin and asks it who it is, all within its budget. Blocks while it compiles.
    ///
    /// A component, a core module of wasm32-wasip1 with bindings, and a plain core module with bindings are accepted.
    ///
    /// # Errors
    /// [`SandboxError::BadPlugin`] for a file that does not fit, with what is wrong and the command that builds it
    /// right; [`SandboxError::BadBudget`] for a budget above the ceiling; and whatever a call can end with, because
    /// the plugin is called once to describe itself.
    pub fn load(&self, bytes: &[u8], budget: &Budget) -> Result<Plugin, SandboxError> {
        budget.within(&self.config.ceiling)?;
        let digest = Digest::new(*blake3::hash(bytes).as_bytes());
        let file = format!("file {}", digest.to_string().chars().take(12).collect::<String>());
        let limits = self.config.limits;
        let loader = Loader {
            engine: &self.engine,
            linker: &self.linker,
            abandoned: &self.abandoned,
            cache: self.cache.as_deref(),
            limits: &limits,
        };
        let Loaded { speaker, kinds, origin } =
            loader.load(digest, bytes, budget).map_err(|failure| match failure {
                Failure::Misfit(misfit) => {
                    SandboxError::BadPlugin { plugin: file.clone(), what: misfit.what, help: misfit.help }
                }
                Failure::Host(what) => SandboxError::Host { what },
            })?;
        let about = self.describe(&speaker, &file, budget)?;
        let title = format!("{} {}", about.name, about.version);
        let (engine, ceiling) = (self.engine.clone(), self.config.ceiling);
        Ok(Plugin::new(Inner { engine, speaker, limits, ceiling, digest, about, kinds, title, origin }))
    }

    /// Asks a plugin who it is: at time 0, with seed 0, as there is no run yet, and without files.
    fn describe(&self, speaker: &v0_1_0::Speaker, file: &str, budget: &Budget) -> Result<About, SandboxError> {
        let limits = &self.config.limits;
        let files = GrantedFiles::none();
        let terms = Terms { plugin: file, time_ms: 0, seed: 0, budget, limits, files };
        // Checked in a store of its own, so that it takes nothing from the budget of the description.
        let (fits, _) = call::in_fresh_store(&self.engine, terms, |store| speaker.check(store))?;
        if let Err(error) = fits {
            let misfit = crate::explain::wrong_types(&error);
            return Err(SandboxError::BadPlugin { plugin: file.to_owned(), what: misfit.what, help: misfit.help });
        }
        let (about, used) = call::in_fresh_store(&self.engine, terms, |store| speaker.describe(store))?;
        about.check(limits).map_err(|wrong| SandboxError::BadAnswer {
            plugin: file.to_owned(),
            what: format!("about itself, {}", escaped(&wrong, 512)),
            log: used.log.into_boxed_slice(),
        })?;
        Ok(about)
    }
}
