//! Builds the chains of policies from a configuration: reads plugin files, loads them into the sandbox, checks settings.
//!
//! Contract: a chain that a configuration leaves out is the standard policy alone; a chain that it names is exactly what it
//! says. Failure: [`EngineError::Plugin`] and [`EngineError::Policy`], each naming the plugin; nothing is half-built.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use longshore_model::PolicyKind;
use longshore_policy::{Grants, Member, OnFailure, PolicySet};
use longshore_sandbox::{Budget, Plugin, Sandbox};

use crate::config::{HostConfig, MemberConfig, PolicyConfig, STANDARD_PLUGIN};
use crate::{EngineError, Limits};

/// The default policy, a component like every other; embedded so that no file is needed.
pub const STANDARD_PLUGIN_BYTES: &[u8] = include_bytes!("../../../plugins/standard/standard.wasm");

/// Builds all chains of a configuration.
///
/// # Errors
/// When a plugin cannot be read or loaded, or its settings do not fit its schema.
pub fn build_policies(sandbox: &Sandbox, config: &HostConfig, limits: &Limits) -> Result<PolicySet, EngineError> {
    build_chains(sandbox, &config.policy, limits)
}

/// Builds all chains of a configuration in a sandbox of their own, to check them before a host starts. Nothing is
/// written, so nothing is kept of what is compiled.
///
/// # Errors
/// As [`build_policies`], and when the sandbox cannot be started.
pub fn load_policies(config: &HostConfig) -> Result<PolicySet, EngineError> {
    build_policies(&crate::host::new_sandbox(config, None)?, config, &config.limits)
}

/// The standard policy alone, for every kind, with its default settings.
///
/// # Errors
/// When the embedded plugin does not load, which a test excludes.
pub fn standard_policies(sandbox: &Sandbox) -> Result<PolicySet, EngineError> {
    build_chains(sandbox, &PolicyConfig::default(), &Limits::default())
}

/// Builds chains; each plugin file is loaded once however often it is named.
///
/// # Errors
/// As [`build_policies`].
pub fn build_chains(sandbox: &Sandbox, config: &PolicyConfig, limits: &Limits) -> Result<PolicySet, EngineError> {
    let mut loader = Loader { sandbox, limits, loaded: BTreeMap::new() };
    let mut builder = PolicySet::builder();
    let chains = [
        (PolicyKind::Selection, &config.selection),
        (PolicyKind::Compression, &config.compression),
        (PolicyKind::Placement, &config.placement),
    ];
    for (kind, members) in chains {
        if members.is_empty() {
            builder = builder.member(kind, loader.member(&standard_member())?)?;
        }
        for member in members {
            builder = builder.member(kind, loader.member(member)?)?;
        }
    }
    let set = builder.build()?;
    // Read now to say what is wrong with a directory before a run needs it; each run reads for itself.
    crate::grants::read_for_run(&set)?;
    Ok(set)
}

fn standard_member() -> MemberConfig {
    MemberConfig {
        plugin: STANDARD_PLUGIN.to_owned(),
        name: None,
        settings: serde_json::Map::new(),
        on_failure: OnFailure::Fail,
        required: true,
        budget: None,
        grants: Grants::default(),
    }
}

struct Loader<'a> {
    sandbox: &'a Sandbox,
    limits: &'a Limits,
    loaded: BTreeMap<String, Plugin>,
}

impl Loader<'_> {
    fn member(&mut self, config: &MemberConfig) -> Result<Member, EngineError> {
        let budget = config.budget.unwrap_or_default();
        let plugin = self.load(&config.plugin, &budget)?;
        let name = config.name.clone().unwrap_or_else(|| plugin.about().name.clone());
        Ok(Member {
            name,
            plugin: Arc::new(plugin),
            settings: serde_json::Value::Object(config.settings.clone()),
            on_failure: config.on_failure,
            required: config.required,
            budget,
            grants: config.grants.clone(),
        })
    }

    fn load(&mut self, name: &str, budget: &Budget) -> Result<Plugin, EngineError> {
        if let Some(plugin) = self.loaded.get(name) {
            return Ok(plugin.clone());
        }
        let plugin = load_plugin(self.sandbox, name, budget, self.limits)?;
        self.loaded.insert(name.to_owned(), plugin.clone());
        Ok(plugin)
    }
}

/// Loads `standard` or a file.
///
/// # Errors
/// [`EngineError::File`] when it cannot be read, [`EngineError::Plugin`] when it is no good plugin.
pub fn load_plugin(sandbox: &Sandbox, name: &str, budget: &Budget, limits: &Limits) -> Result<Plugin, EngineError> {
    let read;
    let bytes = if name == STANDARD_PLUGIN {
        STANDARD_PLUGIN_BYTES
    } else {
        read = read_plugin(Path::new(name), limits)?;
        &read
    };
    let plugin = sandbox.load(bytes, budget).map_err(EngineError::plugin(name))?;
    if let Some(trouble) = sandbox.code_cache_trouble() {
        tracing::info!(plugin = name, "{trouble}");
    }
    Ok(plugin)
}

fn read_plugin(path: &Path, limits: &Limits) -> Result<Vec<u8>, EngineError> {
    let file = std::fs::File::open(path).map_err(|error| {
        let why = format!("{error}; a plugin is `{STANDARD_PLUGIN}` or the path of a .wasm file");
        EngineError::file(path, why)
    })?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file of exactly the limit from one that is larger.
    file.take(limits.plugin_file_bytes + 1).read_to_end(&mut bytes).map_err(|error| EngineError::file(path, error))?;
    if bytes.len() as u64 > limits.plugin_file_bytes {
        let why = format!("is larger than {} bytes, the most a plugin file may have", limits.plugin_file_bytes);
        return Err(EngineError::file(path, why));
    }
    Ok(bytes)
}

/// One line per member: `placement: residency 0.1.0 (3f2a…)`.
#[must_use]
pub fn describe(policies: &PolicySet) -> Vec<String> {
    let kinds = [PolicyKind::Selection, PolicyKind::Compression, PolicyKind::Placement];
    kinds
        .into_iter()
        .flat_map(|kind| policies.identities(kind).into_iter().map(move |by| (kind, by)))
        .map(|(kind, by)| {
            let digest = by.digest.to_string();
            format!("{kind}: {} {} ({}…)", by.member, by.version, &digest[..12])
        })
        .collect()
}
