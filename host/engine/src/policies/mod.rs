//! Policies of a host: from a configuration to chains that can be asked, and what is remembered about them.
//!
//! Contract: a chain that a configuration leaves out is the standard policy alone; a chain that it names is exactly what it
//! says. A cluster's chain of a kind stands in place of the project's. Every plugin is known by the digest of its file;
//! a file is read when the configuration is, and what decides later is what was read then.
//!
//! ```text
//! HostConfig --read files--> Configured --promotions, rollback, quarantine--> Effective --load--> Live
//! ```
//!
//! Failure: [`EngineError::Plugin`], [`EngineError::Policy`], [`EngineError::Untrusted`], [`EngineError::Config`], each
//! naming the plugin; nothing is half-built.

mod configured;
mod desk;
mod effective;
mod live;
mod runtime;
mod shadows;
mod signature;
mod spec;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod transitions;

use std::sync::Arc;

use longshore_model::Digest;
use longshore_policy::PolicySet;
use longshore_sandbox::{Budget, Plugin, Sandbox};

pub(crate) use self::configured::Configured;
pub(crate) use self::desk::read_state;
pub use self::desk::{
    InstallReport, KnownPlugin, MemberStatus, PluginRow, PolicyDesk, PolicyStatus, PromoteReport, PromoteRules, SetRow,
    ShadowStatus,
};
pub(crate) use self::effective::{Effective, effective};
pub(crate) use self::live::{Live, LiveHandle};
pub(crate) use self::runtime::{PolicyRuntime, RunChains};
pub use self::shadows::ShadowRecord;
pub(crate) use self::signature::Trust;
pub use self::signature::{PluginSignature, PublicKey, SigningKey, TrustedKey, signature_path};
pub use self::spec::{Scope, Seat};
pub(crate) use self::state::PolicyState;
pub use self::state::{Installed, Promotion, Quarantined, Rollback};
pub(crate) use self::store::PluginStore;
pub(crate) use self::transitions::{Activation, Verdict};
use crate::config::{HostConfig, PolicyConfig};
use crate::run_policy::RunPolicy;
use crate::{EngineError, Limits};

/// The default policy, a component like every other; embedded so that no file is needed.
pub const STANDARD_PLUGIN_BYTES: &[u8] = include_bytes!("../../../../plugins/standard/standard.wasm");

/// The digest by which the default policy is known.
pub(crate) fn standard_digest() -> Digest {
    signature::digest_of(STANDARD_PLUGIN_BYTES)
}

/// Builds all chains of a configuration in a sandbox of their own, to check them before a host starts: one line per
/// member. Nothing is written, so nothing is kept of what is compiled.
///
/// # Errors
/// When a plugin cannot be read or loaded, its settings do not fit its schema, what it is granted cannot be read, or the
/// sandbox cannot be started.
pub fn check_policies(config: &HostConfig) -> Result<Vec<String>, EngineError> {
    let sandbox = crate::host::new_sandbox(config, None)?;
    let store = PluginStore::in_folder(config.plugin_folder());
    let state = desk::read_state_if_there(config)?;
    let configured = Configured::read(config, &sandbox, &store, &config.limits)?;
    let configured = configured.spec(&state)?;
    let effective = effective(&configured, &state);
    let trust = Trust::of(&config.plugins);
    let live = Live::build(&effective, state.generation, &sandbox, &store, &trust, &config.limits)?;
    match live.ungranted.first() {
        Some((scope, why)) => Err(EngineError::Config { place: format!("the policies of {scope}"), what: why.clone() }),
        None => Ok(live.describe()),
    }
}

/// The chains that the next run of a host would use for a cluster, without the host: what is remembered counts, nothing is
/// written.
///
/// # Errors
/// As [`check_policies`], and [`EngineError::Quarantined`].
pub fn policy_of(
    config: &HostConfig,
    cluster: &longshore_model::ClusterId,
    code_cache: Option<std::path::PathBuf>,
) -> Result<RunPolicy, EngineError> {
    let sandbox = crate::host::new_sandbox(config, code_cache)?;
    let store = PluginStore::in_folder(config.plugin_folder());
    let catalog = desk::open_if_there(config)?;
    let state = catalog.as_ref().map_or_else(|| Ok(PolicyState::default()), |catalog| desk::read_state(catalog))?;
    let configured = Configured::read(config, &sandbox, &store, &config.limits)?.spec(&state)?;
    let trust = Trust::of(&config.plugins);
    let now = effective(&configured, &state);
    let live = Live::build(&now, state.generation, &sandbox, &store, &trust, &config.limits)?;
    let catalog = catalog.as_ref().map(|catalog| catalog as &dyn longshore_catalog::Catalog);
    RunPolicy::configured(live.set(&live.scope_of(cluster))?, config, cluster, catalog)
}

/// A plugin by its digest: the standard policy, or one that a host keeps.
///
/// # Errors
/// [`EngineError::File`], [`EngineError::Plugin`].
pub fn kept_plugin(
    sandbox: &Sandbox,
    config: Option<&HostConfig>,
    digest: &longshore_model::Digest,
    budget: &Budget,
) -> Result<Option<Plugin>, EngineError> {
    let store = config.map_or_else(PluginStore::in_memory, |config| PluginStore::in_folder(config.plugin_folder()));
    let limits = config.map_or_else(Limits::default, |config| config.limits);
    let Some(file) = store.get(digest, &limits)? else { return Ok(None) };
    load_bytes(sandbox, &digest.to_string(), &file.bytes, budget).map(Some)
}

/// The standard policy alone, for every kind, with its default settings.
///
/// # Errors
/// When the embedded plugin does not load, which a test excludes.
pub fn standard_policies(sandbox: &Sandbox) -> Result<PolicySet, EngineError> {
    build_chains(sandbox, &PolicyConfig::default(), &Limits::default())
}

/// Builds the chains of a file of their own, for a run without a host: no plugin is installed there, nothing is
/// remembered, and signatures are looked at only where they are.
///
/// # Errors
/// As [`check_policies`].
pub fn build_chains(sandbox: &Sandbox, config: &PolicyConfig, limits: &Limits) -> Result<PolicySet, EngineError> {
    let store = PluginStore::in_memory();
    let state = PolicyState::default();
    let configured = Configured::of_project(config, sandbox, &store, limits)?.spec(&state)?;
    let live = Live::build(&effective(&configured, &state), 0, sandbox, &store, &Trust::default(), limits)?;
    let set = live.set(&Scope::Project)?;
    Ok(Arc::unwrap_or_clone(set))
}

/// Loads `standard` or a file, to look at it.
///
/// # Errors
/// [`EngineError::File`] when it cannot be read, [`EngineError::Plugin`] when it is no good plugin,
/// [`EngineError::Untrusted`] when a signature beside it does not hold.
pub fn load_plugin(sandbox: &Sandbox, name: &str, budget: &Budget, limits: &Limits) -> Result<Plugin, EngineError> {
    let file = configured::read_file(name, limits)?;
    load_bytes(sandbox, name, &file.bytes, budget)
}

pub(crate) fn load_bytes(sandbox: &Sandbox, name: &str, bytes: &[u8], budget: &Budget) -> Result<Plugin, EngineError> {
    let plugin = sandbox.load(bytes, budget).map_err(EngineError::plugin(name))?;
    if let Some(trouble) = sandbox.code_cache_trouble() {
        tracing::info!(plugin = name, "{trouble}");
    }
    Ok(plugin)
}
