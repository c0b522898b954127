//! What a configuration says about policies, with every file that it names read once.
//!
//! Contract: reading a configuration reads its plugin files, checks the digests that it pins, and remembers the bytes in
//! the [`PluginStore`]; later sets are built from those bytes, so a file that is replaced on disk counts from the next
//! reload on. Installed plugins are looked up by name when a set is made ([`Configured::spec`]), so that installing another
//! version of one counts from the next run on.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::Digest;
use longshore_policy::OnFailure;
use longshore_sandbox::{Budget, Sandbox};
use serde_json::Value;

use super::load_bytes;
use super::spec::{CandidateSpec, MemberSpec, Scope, SetSpec};
use super::state::PolicyState;
use super::store::{PluginFile, PluginStore};
use crate::config::{HostConfig, MemberConfig, PluginRef, PolicyConfig, STANDARD_PLUGIN, ShadowConfig};
use crate::{EngineError, Limits};

/// A configuration's chains, and the files that they name.
#[derive(Debug, Clone)]
pub(crate) struct Configured {
    chains: BTreeMap<Scope, PolicyConfig>,
    files: BTreeMap<String, FileFacts>,
}

/// What is known of a file that a configuration names.
#[derive(Debug, Clone)]
struct FileFacts {
    digest: Digest,
    name: String,
    version: String,
}

/// Reads `standard` or a file, with its signature. What is not to be used for decisions need not be signed, but a signature
/// that is there has to hold.
pub(super) fn read_file(name: &str, limits: &Limits) -> Result<PluginFile, EngineError> {
    if name == STANDARD_PLUGIN {
        return Ok(super::store::standard_file().1);
    }
    let file = PluginFile::read(Path::new(name), limits)?;
    super::Trust::default().signer(name, &file.bytes, file.signature.as_deref())?;
    Ok(file)
}

impl Configured {
    /// Reads the files that a host's configuration names.
    ///
    /// # Errors
    /// [`EngineError::File`], [`EngineError::Plugin`], [`EngineError::Untrusted`].
    pub(crate) fn read(
        config: &HostConfig,
        sandbox: &Sandbox,
        store: &PluginStore,
        limits: &Limits,
    ) -> Result<Self, EngineError> {
        let mut chains = BTreeMap::from([(Scope::Project, config.policy.clone())]);
        for cluster in &config.clusters {
            if cluster.policy != PolicyConfig::default() {
                chains.insert(Scope::Cluster(cluster.id.clone()), cluster.policy.clone());
            }
        }
        Self::of(chains, sandbox, store, limits)
    }

    /// Chains without a host.
    pub(super) fn of_project(
        config: &PolicyConfig,
        sandbox: &Sandbox,
        store: &PluginStore,
        limits: &Limits,
    ) -> Result<Self, EngineError> {
        Self::of(BTreeMap::from([(Scope::Project, config.clone())]), sandbox, store, limits)
    }

    fn of(
        mut chains: BTreeMap<Scope, PolicyConfig>,
        sandbox: &Sandbox,
        store: &PluginStore,
        limits: &Limits,
    ) -> Result<Self, EngineError> {
        if let Some(project) = chains.get_mut(&Scope::Project) {
            for chain in [&mut project.selection, &mut project.compression, &mut project.placement] {
                if chain.is_empty() {
                    chain.push(standard_member());
                }
            }
        }
        let mut configured = Self { chains, files: BTreeMap::new() };
        let named: Vec<(String, Budget)> = configured.named();
        for (plugin, budget) in named {
            if configured.files.contains_key(&plugin) || matches!(PluginRef::of(&plugin), PluginRef::Installed(_)) {
                continue;
            }
            let file = read_file(&plugin, limits)?;
            let about = load_bytes(sandbox, &plugin, &file.bytes, &budget)?.about().clone();
            let facts = FileFacts { digest: store.remember(file), name: about.name, version: about.version };
            configured.files.insert(plugin, facts);
        }
        Ok(configured)
    }

    /// Every plugin that is named, with the budget it is loaded under.
    fn named(&self) -> Vec<(String, Budget)> {
        let members = self.chains.values().flat_map(PolicyConfig::chains).flat_map(|(_, chain)| chain);
        let named = members.flat_map(|member| {
            let budget = member.budget.unwrap_or_default();
            let shadow = member.shadow.as_ref();
            let shadow = shadow.map(|shadow| (shadow.plugin.clone(), shadow.budget.unwrap_or(budget)));
            std::iter::once((member.plugin.clone(), budget)).chain(shadow)
        });
        named.collect()
    }

    /// The set that the configuration says, with installed plugins as they are now.
    ///
    /// # Errors
    /// [`EngineError::Config`] for a plugin that is not installed or not the one that is pinned.
    pub(crate) fn spec(&self, state: &PolicyState) -> Result<SetSpec, EngineError> {
        let mut spec = SetSpec::default();
        for (scope, config) in &self.chains {
            let mut members = Vec::new();
            for (kind, chain) in config.chains() {
                for member in chain {
                    let place = match scope {
                        Scope::Project => format!("[[policy.{kind}]]"),
                        Scope::Cluster(id) => format!("[[cluster.policy.{kind}]] of {id}"),
                    };
                    members.push(self.member(kind, member, state, &place)?);
                }
            }
            spec.scopes.insert(scope.clone(), members);
        }
        Ok(spec)
    }

    fn member(
        &self,
        kind: longshore_model::PolicyKind,
        member: &MemberConfig,
        state: &PolicyState,
        place: &str,
    ) -> Result<MemberSpec, EngineError> {
        let facts = self.facts(&member.plugin, member.digest, state, place)?;
        let budget = member.budget.unwrap_or_default();
        let settings = Value::Object(member.settings.clone());
        let shadow = member.shadow.as_ref().map(|shadow| self.shadow(shadow, &settings, budget, state, place));
        Ok(MemberSpec {
            kind,
            name: member.name.clone().unwrap_or(facts.name),
            asked: CandidateSpec {
                plugin: member.plugin.clone(),
                digest: facts.digest,
                version: facts.version,
                settings,
                budget,
            },
            on_failure: member.on_failure,
            required: member.required,
            grants: member.grants.clone(),
            pinned: member.digest.is_some(),
            shadow: shadow.transpose()?,
        })
    }

    fn shadow(
        &self,
        shadow: &ShadowConfig,
        settings: &Value,
        budget: Budget,
        state: &PolicyState,
        place: &str,
    ) -> Result<CandidateSpec, EngineError> {
        let facts = self.facts(&shadow.plugin, shadow.digest, state, &format!("{place}, shadow"))?;
        Ok(CandidateSpec {
            plugin: shadow.plugin.clone(),
            digest: facts.digest,
            version: facts.version,
            settings: shadow.settings.clone().map_or_else(|| settings.clone(), Value::Object),
            budget: shadow.budget.unwrap_or(budget),
        })
    }

    fn facts(
        &self,
        plugin: &str,
        pinned: Option<Digest>,
        state: &PolicyState,
        place: &str,
    ) -> Result<FileFacts, EngineError> {
        let wrong = |what: String| Err(EngineError::Config { place: place.to_owned(), what });
        let facts = match (self.files.get(plugin), state.installed.get(plugin)) {
            (Some(facts), _) => facts.clone(),
            (None, Some(installed)) => FileFacts {
                digest: installed.digest,
                name: installed.plugin.clone(),
                version: installed.version.clone(),
            },
            (None, None) => {
                let there: Vec<&str> = state.installed.keys().map(String::as_str).collect();
                let there = if there.is_empty() { "none is".to_owned() } else { there.join(", ") };
                return wrong(format!(
                    "no plugin `{plugin}` is installed (installed: {there}); say `longshore plugin install FILE --name \
                     {plugin}`, or give the path of a file"
                ));
            }
        };
        match pinned {
            Some(pinned) if pinned != facts.digest => wrong(format!(
                "plugin {plugin} is pinned to digest {pinned}, but the file is {}; get the file that was pinned, or \
                 change `digest` once you have looked at this one",
                facts.digest
            )),
            _ => Ok(facts),
        }
    }
}

fn standard_member() -> MemberConfig {
    MemberConfig {
        plugin: STANDARD_PLUGIN.to_owned(),
        name: None,
        digest: None,
        settings: serde_json::Map::new(),
        on_failure: OnFailure::Fail,
        required: true,
        budget: None,
        grants: longshore_policy::Grants::default(),
        shadow: None,
    }
}
