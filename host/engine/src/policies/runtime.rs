//! The policies of a running host: built at its start, swapped between runs, and what came of each run.
//!
//! Contract: a set is swapped whole, after everything that can fail has been done; a run that is under way keeps the set
//! it started with. Changes that people make beside the host (install, roll back, promote, release) are taken up when the
//! next run starts; if they cannot be, the set in force stays and the audit log says why.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use longshore_catalog::{AuditEntry, Catalog};
use longshore_model::{Clock, ClusterId, PolicyKind};
use longshore_policy::{DecisionRecord, PolicySet, RecordedOutcome};
use longshore_sandbox::Sandbox;

use super::desk::{KnownPlugin, PolicyStatus, change_shadows, change_state, known_plugins, read_state, status_of};
use super::effective::short;
use super::shadows::{SHADOWS_SETTING, ShadowRecords};
use super::spec::Seat;
use super::state::Quarantined;
use super::{
    Activation, Configured, Live, LiveHandle, PluginStore, PolicyState, Scope, Trust, Verdict, effective, transitions,
};
use crate::EngineError;
use crate::config::HostConfig;
use crate::plan::BackupPlan;
use crate::worker::sentence;

/// Who the host is in the audit log.
const HOST_ACTOR: &str = "host";
/// A failure of the host itself says nothing about the plugin.
const HOST_FAILURE: &str = "host";

/// A set that was built and not yet put in force.
pub(crate) struct Prepared {
    configured: Configured,
    live: Live,
}

impl Prepared {
    /// One line per member.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.live.describe()
    }
}

/// The chains of one run.
#[derive(Clone)]
pub(crate) struct RunChains {
    live: Arc<Live>,
    scope: Scope,
    pub(crate) set: Arc<PolicySet>,
}

/// The policies of a running host.
pub(crate) struct PolicyRuntime {
    catalog: Arc<dyn Catalog>,
    sandbox: Sandbox,
    store: PluginStore,
    clock: Arc<dyn Clock>,
    handle: LiveHandle,
    configured: RwLock<Arc<Configured>>,
    /// One swap at a time.
    swapping: Mutex<()>,
}

impl PolicyRuntime {
    /// Builds what the configuration says and puts it in force.
    ///
    /// # Errors
    /// Whatever is wrong with it: a host does not start with policies it cannot ask.
    pub(crate) fn start(
        config: &HostConfig,
        catalog: Arc<dyn Catalog>,
        sandbox: Sandbox,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        let store = PluginStore::in_folder(config.plugin_folder());
        let Prepared { configured, live } = prepare(config, catalog.as_ref(), &sandbox, &store)?;
        let runtime = Self {
            catalog,
            sandbox,
            store,
            clock,
            handle: LiveHandle::new(live),
            configured: RwLock::new(Arc::new(configured)),
            swapping: Mutex::new(()),
        };
        runtime.note_activation(config, &runtime.handle.current(), "start")?;
        Ok(runtime)
    }

    /// What the next run uses.
    pub(crate) fn current(&self) -> Arc<Live> {
        self.handle.current()
    }

    /// Where plugins run.
    pub(crate) const fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Builds what another configuration says, without putting it in force.
    ///
    /// # Errors
    /// Whatever is wrong with it; the set in force stays.
    pub(crate) fn prepare(&self, config: &HostConfig) -> Result<Prepared, EngineError> {
        prepare(config, self.catalog.as_ref(), &self.sandbox, &self.store)
    }

    /// Counts a reload that failed.
    pub(crate) fn count_failed_reload(&self) {
        self.count("reloadFailures");
    }

    fn count(&self, what: &str) {
        let counted = change_state(self.catalog.as_ref(), |state| {
            state.count(what);
            Ok(())
        });
        if let Err(error) = counted {
            tracing::error!(%error, what, "what happened could not be counted");
        }
    }

    /// Puts a prepared set in force, for the runs that start from now on.
    ///
    /// # Errors
    /// [`EngineError::Catalog`], [`EngineError::File`]; the set in force stays.
    pub(crate) fn commit(&self, config: &HostConfig, prepared: Prepared, cause: &str) -> Result<(), EngineError> {
        let _one = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let Prepared { configured, live } = prepared;
        self.note_activation(config, &live, cause)?;
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configured);
        self.handle.replace(live);
        self.count("reloads");
        Ok(())
    }

    /// Keeps the files of a set and writes down that it is in force. Files come first: a set that is kept can be built.
    fn note_activation(&self, config: &HostConfig, live: &Live, cause: &str) -> Result<(), EngineError> {
        let effective = &live.effective;
        for digest in effective.spec.digests() {
            self.store.keep(&digest)?;
        }
        let activation = Activation {
            spec: effective.spec.clone(),
            configured: effective.configured,
            rolled_back: effective.rolled_back,
            cause: cause.to_owned(),
        };
        let now = self.clock.now();
        let (changed, number, state) = change_state(self.catalog.as_ref(), |state| {
            transitions::end_promotions(state, &effective.over);
            let changed = transitions::activate(state, &activation, config.plugins.kept_sets, now);
            Ok((changed, state.active, state.clone()))
        })?;
        for promotion in &effective.over {
            self.audit("policy.promotion.end", &promotion.seat.to_string(), "ok");
        }
        if changed {
            let number = number.map_or_else(String::new, |number| number.to_string());
            self.audit("policy.swap", &format!("set {number} ({cause})"), "ok");
        }
        self.tidy(&state, live);
        Ok(())
    }

    /// Removes files that no set needs. A file that cannot be removed is only space.
    fn tidy(&self, state: &PolicyState, live: &Live) {
        let mut needed: BTreeSet<_> = state.digests();
        needed.extend(live.effective.spec.digests().chain(live.effective.asked.digests()));
        let removed = self.store.kept().and_then(|kept| {
            kept.iter().filter(|digest| !needed.contains(digest)).try_for_each(|digest| self.store.forget(digest))
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "plugin files that nothing needs could not be removed");
        }
    }

    fn audit(&self, action: &str, subject: &str, outcome: &str) {
        let entry = AuditEntry {
            time: self.clock.now(),
            actor: HOST_ACTOR.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            outcome: outcome.to_owned(),
        };
        if let Err(error) = self.catalog.append_audit(&entry) {
            tracing::error!(%error, action, subject, "the audit log could not be written");
        }
    }

    /// Everything about the policies in force.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub(crate) fn status(&self) -> Result<PolicyStatus, EngineError> {
        let state = read_state(self.catalog.as_ref())?;
        let shadows = ShadowRecords::from_value(self.catalog.get_setting(SHADOWS_SETTING)?.as_ref())?;
        Ok(status_of(&self.handle.current().effective, &state, &shadows))
    }

    /// Every plugin that this host knows.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub(crate) fn known(&self) -> Result<Vec<KnownPlugin>, EngineError> {
        Ok(known_plugins(&self.handle.current().effective, &read_state(self.catalog.as_ref())?))
    }

    /// The chains of a run that starts now, with everything that people changed until now.
    ///
    /// # Errors
    /// [`EngineError::Quarantined`], [`EngineError::Catalog`].
    pub(crate) fn for_run(&self, config: &HostConfig, cluster: &ClusterId) -> Result<RunChains, EngineError> {
        self.take_up_changes(config)?;
        let live = self.handle.current();
        let scope = live.scope_of(cluster);
        let set = live.set(&scope)?;
        // A kind that the cluster has a chain of its own for is not decided by the project's, whatever stands in there.
        let decides = |seat: &Seat| live.effective.asked.chain(&scope, seat.kind).0 == seat.scope;
        if live.effective.notes.iter().any(|note| note.fallback && decides(&note.seat)) {
            self.count("fallbackRuns");
        }
        Ok(RunChains { live, scope, set })
    }

    fn take_up_changes(&self, config: &HostConfig) -> Result<(), EngineError> {
        let _one = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let state = read_state(self.catalog.as_ref())?;
        let current = self.handle.current();
        if state.generation == current.generation {
            return Ok(());
        }
        let built = self.configured().spec(&state).and_then(|configured| {
            let effective = effective(&configured, &state);
            let (trust, limits) = (Trust::of(&config.plugins), &config.limits);
            Live::build(&effective, state.generation, &self.sandbox, &self.store, &trust, limits)
        });
        match built {
            Ok(live) => {
                self.note_activation(config, &live, &state.last_change)?;
                for line in live.describe() {
                    tracing::info!("policy {line}");
                }
                self.handle.replace(live);
            }
            // The set in force goes on. It is not tried again until something changes.
            Err(error) => {
                let why = sentence(&error);
                tracing::error!(why, "a change of the policies cannot be taken up; the set in force stays");
                self.audit("policy.swap", &state.last_change, &why);
                self.count("swapFailures");
                self.handle.replace(current.with_generation(state.generation));
            }
        }
        Ok(())
    }

    /// Writes down how the members of a run did, and quarantines those that fail too often. Of a run without a plan its
    /// calls are given.
    pub(crate) fn note_run(
        &self,
        config: &HostConfig,
        chains: &RunChains,
        planned: Result<&BackupPlan, &[DecisionRecord]>,
    ) {
        let verdicts = verdicts(chains, planned);
        if verdicts.is_empty() {
            return;
        }
        let (now, rules) = (self.clock.now(), &config.plugins);
        let set = chains.live.effective.spec.fingerprint();
        let noted =
            change_state(self.catalog.as_ref(), |state| Ok(transitions::note_run(state, &set, &verdicts, rules, now)));
        match noted {
            Ok(quarantined) => quarantined.iter().for_each(|one| self.tell(one, rules.quarantine_window_minutes)),
            Err(error) => tracing::error!(%error, "how the policies did could not be written down"),
        }
        if let Ok(plan) = planned {
            self.note_shadows(chains, plan);
        }
    }

    fn tell(&self, one: &Quarantined, window_minutes: u32) {
        let (seat, digest, failures) = (one.seat.to_string(), short(&one.digest), one.failures);
        tracing::error!(seat, digest, failures, why = one.why, "a policy is in quarantine");
        let subject =
            format!("{seat} ({digest}): {failures} failures in {window_minutes} minutes, the last: {}", one.why);
        self.audit("policy.quarantine", &subject, "ok");
    }

    fn note_shadows(&self, chains: &RunChains, plan: &BackupPlan) {
        if plan.shadows.is_empty() {
            return;
        }
        let now = self.clock.now();
        let noted = change_shadows(self.catalog.as_ref(), |records| {
            for outcome in &plan.shadows {
                if let Some((scope, member)) = chains.live.member(&chains.scope, outcome.kind, &outcome.active) {
                    records.note(&scope, &member, outcome, now);
                }
            }
            Ok(())
        });
        if let Err(error) = noted {
            tracing::error!(%error, "the records of candidates could not be written");
        }
        let changed: u64 = plan.shadows.iter().map(|outcome| outcome.changed).sum();
        let failed = plan.shadows.iter().any(|outcome| outcome.failure.is_some());
        let counted = change_state(self.catalog.as_ref(), |state| {
            state.count_by("shadowDecisions", plan.shadows.iter().map(|outcome| outcome.decisions).sum());
            state.count_by("shadowChanges", changed);
            state.count_by("shadowFailures", u64::from(failed));
            Ok(())
        });
        if let Err(error) = counted {
            tracing::error!(%error, "what candidates decided could not be counted");
        }
    }
}

fn prepare(
    config: &HostConfig,
    catalog: &dyn Catalog,
    sandbox: &Sandbox,
    store: &PluginStore,
) -> Result<Prepared, EngineError> {
    let state = read_state(catalog)?;
    let configured = Configured::read(config, sandbox, store, &config.limits)?;
    let effective = effective(&configured.spec(&state)?, &state);
    let trust = Trust::of(&config.plugins);
    let live = Live::build(&effective, state.generation, sandbox, store, &trust, &config.limits)?;
    Ok(Prepared { configured, live })
}

/// How each member of a run did that was asked. A run that came to no plan says nothing good of anybody, and of those who
/// failed in it what it says of them in any run, also where somebody else ended it.
fn verdicts(chains: &RunChains, planned: Result<&BackupPlan, &[DecisionRecord]>) -> Vec<Verdict> {
    let (records, good) = match planned {
        Ok(plan) => (plan.records.as_slice(), plan.records.as_slice()),
        Err(asked) => (asked, &[][..]),
    };
    let mut seen: BTreeSet<(PolicyKind, &str)> = BTreeSet::new();
    let mut verdicts = Vec::new();
    // A member that failed on a later page failed in the run, so failures come first.
    let failures = records.iter().filter(|record| failure(record).is_some());
    for record in failures.chain(good) {
        let kind = record.question.kind();
        if !seen.insert((kind, &record.asked.member)) {
            continue;
        }
        if let Some((scope, member)) = chains.live.member(&chains.scope, kind, &record.asked) {
            verdicts.push(Verdict { scope, member, failure: failure(record) });
        }
    }
    verdicts
}

fn failure(record: &DecisionRecord) -> Option<String> {
    match &record.outcome {
        RecordedOutcome::Failed(failure) if failure.code != HOST_FAILURE => {
            Some(format!("{}: {}", failure.code, failure.message))
        }
        _ => None,
    }
}
