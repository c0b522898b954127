//! Chains that can be asked, one set per scope, and the handle through which a host swaps them between runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use longshore_model::{ClusterId, Digest, PolicyKind};
use longshore_policy::{DecidedBy, Member, PolicySet, Shadow};
use longshore_sandbox::{Budget, Plugin, Sandbox};

use super::effective::{Effective, short};
use super::signature::digest_of;
use super::spec::{CandidateSpec, MemberSpec, Scope, SetSpec};
use super::state::Quarantined;
use super::store::PluginStore;
use super::{STANDARD_PLUGIN_BYTES, Trust, load_bytes};
use crate::config::PluginsConfig;
use crate::worker::sentence;
use crate::{EngineError, Limits};

impl Trust {
    pub(crate) fn of(config: &PluginsConfig) -> Self {
        Self { keys: config.trusted_keys.clone(), require_signature: config.require_signature }
    }
}

/// Chains that can be asked. Immutable: a run keeps the ones it started with.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// The state it was built with.
    pub(crate) generation: u64,
    /// What it was built from.
    pub(crate) effective: Effective,
    sets: BTreeMap<Scope, Arc<PolicySet>>,
    /// Who signed what.
    pub(crate) signers: BTreeMap<Digest, String>,
    /// What is wrong with folders that members are granted. Only the runs of these chains need them, and each reads for
    /// itself: one cluster's missing folder must not keep others from their backups or a new policy.
    pub(crate) ungranted: Vec<(Scope, String)>,
}

impl Live {
    /// Loads every plugin and checks every setting.
    ///
    /// # Errors
    /// Whatever is wrong with one of them.
    pub(crate) fn build(
        effective: &Effective,
        generation: u64,
        sandbox: &Sandbox,
        store: &PluginStore,
        trust: &Trust,
        limits: &Limits,
    ) -> Result<Self, EngineError> {
        let mut loader = Loader { sandbox, store, trust, limits, loaded: Vec::new(), signers: BTreeMap::new() };
        let mut sets = BTreeMap::new();
        let mut ungranted = Vec::new();
        for scope in effective.asked.scopes.keys() {
            let set = loader.set(&effective.asked, scope)?;
            if let Err(error) = crate::grants::read_for_run(&set) {
                let why = sentence(&error);
                tracing::warn!(%scope, why, "runs of these chains fail until what is granted to a policy can be read");
                ungranted.push((scope.clone(), why));
            }
            sets.insert(scope.clone(), Arc::new(set));
        }
        let signers = loader.signers;
        Ok(Self { generation, effective: effective.clone(), sets, signers, ungranted })
    }

    /// The same chains, as if built with this state: what changed since cannot be taken up.
    pub(crate) fn with_generation(&self, generation: u64) -> Self {
        Self { generation, ..self.clone() }
    }

    /// Whose chains hold for a cluster.
    pub(crate) fn scope_of(&self, cluster: &ClusterId) -> Scope {
        let own = Scope::Cluster(cluster.clone());
        if self.sets.contains_key(&own) { own } else { Scope::Project }
    }

    /// The chains of a scope.
    ///
    /// # Errors
    /// [`EngineError::Quarantined`] while a member of one of them is in quarantine and nothing may stand in for it.
    pub(crate) fn set(&self, scope: &Scope) -> Result<Arc<PolicySet>, EngineError> {
        let blocks = |one: &&Quarantined| self.effective.asked.chain(scope, one.seat.kind).0 == one.seat.scope;
        if let Some(one) = self.effective.blocked.iter().find(blocks) {
            return Err(EngineError::Quarantined {
                member: one.seat.member.clone(),
                kind: one.seat.kind,
                scope: one.seat.scope.to_string(),
                since: one.since,
                why: one.why.clone(),
            });
        }
        let set = self.sets.get(scope).or_else(|| self.sets.get(&Scope::Project));
        set.cloned().ok_or_else(|| EngineError::Internal { what: format!("there is no set of policies for {scope}") })
    }

    /// The member that decided under this name.
    pub(crate) fn member(&self, scope: &Scope, kind: PolicyKind, by: &DecidedBy) -> Option<(Scope, MemberSpec)> {
        let (scope, chain) = self.effective.asked.chain(scope, kind);
        let member = chain.into_iter().find(|member| member.name == by.member && member.asked.digest == by.digest)?;
        Some((scope, member.clone()))
    }

    /// One line per member: `placement: residency 0.1.0 (3f2a…)`, those of a cluster with its id.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (scope, member) in self.effective.asked.members() {
            let of = if *scope == Scope::Project { String::new() } else { format!(" of {scope}") };
            let asked = &member.asked;
            let mut line = format!("{}: {} {} ({}…)", member.kind, member.name, asked.version, short(&asked.digest));
            line.push_str(&of);
            if let Some(signer) = self.signers.get(&asked.digest) {
                line.push_str(&format!(", signed by {signer}"));
            }
            let seat = member.seat(scope);
            for note in self.effective.notes.iter().filter(|note| note.seat == seat) {
                line.push_str(&format!(", {}", note.what));
            }
            if let Some(shadow) = &member.shadow {
                line.push_str(&format!(", shadow {} ({}…)", shadow.version, short(&shadow.digest)));
            }
            lines.push(line);
        }
        let there: BTreeSet<_> = self.effective.asked.members().map(|(scope, member)| member.seat(scope)).collect();
        for note in self.effective.notes.iter().filter(|note| !there.contains(&note.seat)) {
            lines.push(format!("{}: {}: {}", note.seat.kind, note.seat.member, note.what));
        }
        let ungranted = self.ungranted.iter();
        lines
            .extend(ungranted.map(|(scope, why)| format!("{scope}: runs fail, what is granted cannot be read: {why}")));
        lines
    }
}

/// Loads each file once under each budget, however often it is named.
struct Loader<'a> {
    sandbox: &'a Sandbox,
    store: &'a PluginStore,
    trust: &'a Trust,
    limits: &'a Limits,
    loaded: Vec<(Digest, Budget, Plugin)>,
    signers: BTreeMap<Digest, String>,
}

impl Loader<'_> {
    fn set(&mut self, spec: &SetSpec, scope: &Scope) -> Result<PolicySet, EngineError> {
        let mut builder = PolicySet::builder();
        for kind in PolicyKind::ALL {
            for member in spec.chain(scope, kind).1 {
                builder = builder.member(kind, self.member(member)?)?;
            }
        }
        Ok(builder.build()?)
    }

    fn member(&mut self, spec: &MemberSpec) -> Result<Member, EngineError> {
        let shadow = spec.shadow.as_ref().map(|shadow| self.shadow(shadow));
        Ok(Member {
            name: spec.name.clone(),
            plugin: Arc::new(self.load(&spec.asked)?),
            settings: spec.asked.settings.clone(),
            on_failure: spec.on_failure,
            required: spec.required,
            budget: spec.asked.budget,
            grants: spec.grants.clone(),
            shadow: shadow.transpose()?,
        })
    }

    fn shadow(&mut self, spec: &CandidateSpec) -> Result<Shadow, EngineError> {
        Ok(Shadow { plugin: Arc::new(self.load(spec)?), settings: spec.settings.clone(), budget: spec.budget })
    }

    fn load(&mut self, spec: &CandidateSpec) -> Result<Plugin, EngineError> {
        let same = |(digest, budget, _): &&(Digest, Budget, Plugin)| *digest == spec.digest && *budget == spec.budget;
        if let Some((_, _, plugin)) = self.loaded.iter().find(same) {
            return Ok(plugin.clone());
        }
        let file = self.store.get(&spec.digest, self.limits)?.ok_or_else(|| EngineError::NotFound {
            what: "plugin file with digest",
            id: format!("{} ({})", spec.digest, spec.plugin),
        })?;
        // The one that is in the binary needs nobody to vouch for it.
        if spec.digest != digest_of(STANDARD_PLUGIN_BYTES) {
            let signer = self.trust.signer(&spec.plugin, &file.bytes, file.signature.as_deref())?;
            self.signers.extend(signer.map(|signer| (spec.digest, signer)));
        }
        let plugin = load_bytes(self.sandbox, &spec.plugin, &file.bytes, &spec.budget)?;
        self.loaded.push((spec.digest, spec.budget, plugin.clone()));
        Ok(plugin)
    }
}

/// Where runs get their policies from, and where new ones are put.
#[derive(Debug)]
pub(crate) struct LiveHandle {
    current: RwLock<Arc<Live>>,
}

impl LiveHandle {
    pub(crate) fn new(live: Live) -> Self {
        Self { current: RwLock::new(Arc::new(live)) }
    }

    /// What a run that starts now uses until it ends.
    pub(crate) fn current(&self) -> Arc<Live> {
        // Nothing panics while the lock is held, and a whole Arc is all that could be there.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs under way keep theirs.
    pub(crate) fn replace(&self, live: Live) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}
