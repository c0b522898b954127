//! Where people change what a host's policies are, beside its configuration: install, roll back, promote, release.
//!
//! Contract: every change is one compare-and-swap of the [`PolicyState`] in the catalog and one line in the audit log, with
//! who, what and how it ended. It works while the host runs; the host uses it from its next run on. Nothing here touches
//! the configuration file.

mod promote;
mod report;

use std::path::Path;
use std::sync::Arc;

use longshore_catalog::{AuditEntry, Catalog, SqliteCatalog};
use longshore_model::{Clock, PolicyKind};
use longshore_sandbox::{Budget, Sandbox};

pub use self::report::{
    InstallReport, KnownPlugin, MemberStatus, PluginRow, PolicyStatus, PromoteReport, PromoteRules, SetRow,
    ShadowStatus,
};
use super::configured::Configured;
use super::shadows::{SHADOWS_SETTING, ShadowRecords};
use super::spec::{Scope, Seat};
use super::state::{Installed, PolicyState, Quarantined, STATE_SETTING};
use super::store::{PluginFile, PluginStore};
use super::{Effective, Trust, effective, load_bytes, transitions};
use crate::EngineError;
use crate::catalog_calls::Setting;
use crate::config::{HostConfig, STANDARD_PLUGIN, is_plugin_name};

/// How often a change is tried again when somebody else was faster.
const TRIES: u32 = 32;

/// Reads what is remembered.
pub(crate) fn read_state(catalog: &dyn Catalog) -> Result<PolicyState, EngineError> {
    PolicyState::from_value(catalog.get_setting(STATE_SETTING)?.as_ref())
}

/// The same from a catalog that may not be there yet; nothing is made.
pub(crate) fn read_state_if_there(config: &HostConfig) -> Result<PolicyState, EngineError> {
    open_if_there(config)?.map_or_else(|| Ok(PolicyState::default()), |catalog| read_state(&catalog))
}

/// The catalog of a host, if it was made.
pub(crate) fn open_if_there(config: &HostConfig) -> Result<Option<SqliteCatalog>, EngineError> {
    let path = config.catalog_file();
    if path.exists() { Ok(Some(SqliteCatalog::open(&path)?)) } else { Ok(None) }
}

/// A value that several people and jobs may change.
const fn setting(key: &'static str) -> Setting {
    Setting { key, tries: TRIES, conflict: "others keep changing the policies of this host; try again" }
}

/// Changes what is remembered about policies.
pub(crate) fn change_state<T>(
    catalog: &dyn Catalog,
    change: impl FnMut(&mut PolicyState) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    setting(STATE_SETTING).change(catalog, PolicyState::from_value, PolicyState::to_value, change)
}

/// Changes the records of candidates.
pub(crate) fn change_shadows<T>(
    catalog: &dyn Catalog,
    change: impl FnMut(&mut ShadowRecords) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let write = |records: &ShadowRecords| {
        serde_json::to_value(records)
            .map_err(|error| EngineError::Internal { what: format!("writing the records of candidates: {error}") })
    };
    setting(SHADOWS_SETTING).change(catalog, ShadowRecords::from_value, write, change)
}

/// The policies of a host, for people to look after.
pub struct PolicyDesk {
    catalog: Arc<dyn Catalog>,
    store: PluginStore,
    config: HostConfig,
    clock: Arc<dyn Clock>,
    actor: String,
}

impl PolicyDesk {
    /// Opens the catalog of a configuration, making it where there is none.
    ///
    /// # Errors
    /// [`EngineError::File`], [`EngineError::Catalog`].
    pub fn open(config: HostConfig, actor: &str, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        let folder = &config.data_directory;
        std::fs::create_dir_all(folder).map_err(|error| EngineError::file(folder, error))?;
        let catalog = Arc::new(SqliteCatalog::open(&config.catalog_file())?);
        let store = PluginStore::in_folder(config.plugin_folder());
        Ok(Self { catalog, store, config, clock, actor: actor.to_owned() })
    }

    /// Changes the state and writes who did what with which outcome.
    fn change<T>(
        &self,
        action: &str,
        subject: &str,
        change: impl FnMut(&mut PolicyState) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let outcome = change_state(self.catalog.as_ref(), change);
        self.audit(action, subject, &outcome)?;
        outcome
    }

    fn audit<T>(&self, action: &str, subject: &str, outcome: &Result<T, EngineError>) -> Result<(), EngineError> {
        let entry = AuditEntry {
            time: self.clock.now(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            outcome: outcome.as_ref().err().map_or_else(|| "ok".to_owned(), |error| crate::worker::sentence(error)),
        };
        self.catalog.append_audit(&entry)?;
        Ok(())
    }

    /// Takes a plugin file into the store of the host, under a name that a chain can give.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] for a name, [`EngineError::Untrusted`] for a file whose signature does not count here,
    /// [`EngineError::Plugin`] for one that is no plugin.
    pub fn install(&self, file: &Path, name: Option<&str>, sandbox: &Sandbox) -> Result<InstallReport, EngineError> {
        let outcome = self.install_now(file, name, sandbox);
        let subject = outcome.as_ref().map_or_else(
            |_| name.map_or_else(|| file.display().to_string(), str::to_owned),
            |report| format!("{} {} ({})", report.name, report.installed.version, report.installed.digest),
        );
        self.audit("plugin.install", &subject, &outcome)?;
        outcome
    }

    fn install_now(&self, path: &Path, name: Option<&str>, sandbox: &Sandbox) -> Result<InstallReport, EngineError> {
        let limits = &self.config.limits;
        let file = PluginFile::read(path, limits)?;
        let shown = path.display().to_string();
        let signer = Trust::of(&self.config.plugins).signer(&shown, &file.bytes, file.signature.as_deref())?;
        let plugin = load_bytes(sandbox, &shown, &file.bytes, &load_budget(&self.config))?;
        let name = name.unwrap_or(&plugin.about().name);
        check_install_name(name)?;
        let installed = Installed {
            plugin: plugin.about().name.clone(),
            version: plugin.about().version.clone(),
            digest: plugin.digest(),
            kinds: plugin.kinds().to_vec(),
            signer,
            time: self.clock.now(),
        };
        let digest = self.store.remember(file);
        // The file before its name; and once more after it, because a host that tidies up in between does not know it yet.
        self.store.keep(&digest)?;
        let before =
            change_state(self.catalog.as_ref(), |state| Ok(transitions::install(state, name, installed.clone())))?;
        self.store.keep(&digest)?;
        Ok(InstallReport { name: name.to_owned(), installed, before })
    }

    /// Installed plugins, in order of name.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub fn plugins(&self) -> Result<Vec<PluginRow>, EngineError> {
        let state = read_state(self.catalog.as_ref())?;
        let members = || state.active_set().into_iter().flat_map(|set| set.spec.members());
        let rows = state.installed.iter().map(|(name, installed)| {
            let uses = members().filter(|(_, member)| member.asked.plugin == *name);
            let used_by = uses.map(|(scope, member)| member.seat(scope)).collect();
            PluginRow { name: name.clone(), installed: installed.clone(), used_by }
        });
        Ok(rows.collect())
    }

    /// Takes a name away. The file stays as long as a set that is kept needs it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Conflict`] while the set in force uses it.
    pub fn remove(&self, name: &str) -> Result<Installed, EngineError> {
        self.change("plugin.remove", name, |state| transitions::remove(state, name))
    }

    /// Sets that were in force, oldest first.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub fn history(&self) -> Result<Vec<SetRow>, EngineError> {
        let state = read_state(self.catalog.as_ref())?;
        let rows = state.sets.iter().map(|set| SetRow {
            number: set.number,
            time: set.time,
            cause: set.cause.clone(),
            active: state.active == Some(set.number),
            rejected: set.rejected,
            good_runs: set.good_runs,
            failed_runs: set.failed_runs,
            members: set
                .spec
                .members()
                .map(|(scope, member)| {
                    let digest = effective::short(&member.asked.digest);
                    format!("{} {} ({digest}…)", member.seat(scope), member.asked.version)
                })
                .collect(),
        });
        Ok(rows.collect())
    }

    /// Puts an earlier set in force, from the next run on; answers the number of the one before and of the one after. The
    /// record of a candidate whose promotion is taken back begins anew.
    ///
    /// # Errors
    /// [`EngineError::Conflict`], [`EngineError::NotFound`].
    pub fn roll_back(&self, to: Option<u64>) -> Result<(u64, u64), EngineError> {
        let now = self.clock.now();
        let outcome = change_state(self.catalog.as_ref(), |state| {
            let before = state.promotions.clone();
            let sets = transitions::roll_back(state, to, now)?;
            let taken_back = before.into_iter().filter(|one| !state.promotions.contains(one));
            Ok((sets, taken_back.collect::<Vec<_>>()))
        });
        let outcome = outcome.and_then(|(sets, taken_back)| {
            if !taken_back.is_empty() {
                change_shadows(self.catalog.as_ref(), |records| {
                    records.forget(&taken_back);
                    Ok(())
                })?;
            }
            Ok(sets)
        });
        let subject = match &outcome {
            Ok((before, after)) => format!("set {after} in place of set {before}"),
            Err(_) => to.map_or_else(|| "previous set".to_owned(), |number| format!("set {number}")),
        };
        self.audit("policy.rollback", &subject, &outcome)?;
        outcome
    }

    /// Puts what the configuration says in force again.
    ///
    /// # Errors
    /// [`EngineError::Conflict`].
    pub fn follow(&self) -> Result<(), EngineError> {
        self.change("policy.follow", "configuration", transitions::follow)
    }

    /// Lets a member out of quarantine, in every chain it stands in or only those of a kind or scope.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn release(
        &self,
        member: &str,
        kind: Option<PolicyKind>,
        scope: Option<&Scope>,
    ) -> Result<Vec<Quarantined>, EngineError> {
        let matches = |seat: &Seat| {
            seat.member == member
                && kind.is_none_or(|kind| seat.kind == kind)
                && scope.is_none_or(|scope| seat.scope == *scope)
        };
        self.change("policy.release", member, |state| transitions::release(state, matches, member))
    }

    /// Everything about the policies, as the next run would use them. Reads the plugin files of the configuration.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration.
    pub fn status(&self, sandbox: &Sandbox) -> Result<PolicyStatus, EngineError> {
        let state = read_state(self.catalog.as_ref())?;
        let shadows = self.shadows()?;
        let configured = self.configured(sandbox)?.spec(&state)?;
        Ok(status_of(&super::effective(&configured, &state), &state, &shadows))
    }

    fn configured(&self, sandbox: &Sandbox) -> Result<Configured, EngineError> {
        Configured::read(&self.config, sandbox, &self.store, &self.config.limits)
    }

    fn shadows(&self) -> Result<ShadowRecords, EngineError> {
        ShadowRecords::from_value(self.catalog.get_setting(SHADOWS_SETTING)?.as_ref())
    }
}

/// Everything about policies, as the next run would use them.
pub(crate) fn status_of(now: &Effective, state: &PolicyState, shadows: &ShadowRecords) -> PolicyStatus {
    let members = now.asked.members().map(|(scope, member)| {
        let seat = member.seat(scope);
        let health = state.health.get(&member.fingerprint(scope));
        let notes = now.notes.iter().filter(|note| note.seat == seat).map(|note| note.what.clone());
        MemberStatus {
            version: member.asked.version.clone(),
            digest: member.asked.digest,
            notes: notes.collect(),
            good_runs: health.map_or(0, |health| health.good_runs),
            failed_runs: health.map_or(0, |health| health.failed_runs),
            shadow: member.shadow.as_ref().map(|shadow| ShadowStatus {
                plugin: shadow.plugin.clone(),
                version: shadow.version.clone(),
                digest: shadow.digest,
                record: shadows.of(scope, member).cloned(),
            }),
            seat,
        }
    });
    PolicyStatus {
        set: state.active,
        rollback: if now.rolled_back { state.rollback.clone() } else { None },
        members: members.collect(),
        quarantine: state.quarantine.clone(),
        promotions: state.promotions.iter().filter(|one| !now.over.contains(one)).cloned().collect(),
        counters: state.counters.clone(),
    }
}

/// Every plugin that a host knows, in order of name. A plugin that chains name with several files stands there once for each.
pub(crate) fn known_plugins(now: &Effective, state: &PolicyState) -> Vec<KnownPlugin> {
    let mut known: Vec<KnownPlugin> = state
        .installed
        .iter()
        .map(|(name, installed)| KnownPlugin {
            name: name.clone(),
            source: "installed",
            plugin: Some(installed.plugin.clone()),
            version: installed.version.clone(),
            digest: installed.digest,
            kinds: installed.kinds.clone(),
            signer: installed.signer.clone(),
            time: Some(installed.time),
            used_by: Vec::new(),
        })
        .collect();
    for (scope, member) in now.asked.members() {
        let (asked, seat) = (&member.asked, member.seat(scope));
        if let Some(one) = known.iter_mut().find(|one| one.name == asked.plugin && one.digest == asked.digest) {
            if one.source != "installed" && !one.kinds.contains(&seat.kind) {
                one.kinds.push(seat.kind);
            }
            one.used_by.push(seat);
            continue;
        }
        known.push(KnownPlugin {
            name: asked.plugin.clone(),
            source: if asked.plugin == STANDARD_PLUGIN { "built-in" } else { "file" },
            plugin: None,
            version: asked.version.clone(),
            digest: asked.digest,
            kinds: vec![seat.kind],
            signer: None,
            time: None,
            used_by: vec![seat],
        });
    }
    known.sort_by(|one, other| (&one.name, &one.digest).cmp(&(&other.name, &other.digest)));
    known
}

/// What an operator allows, so that a large plugin can be installed before a chain gives it a budget.
fn load_budget(config: &HostConfig) -> Budget {
    let ceiling = config.plugin_ceiling;
    Budget {
        compile_time_ms: ceiling.compile_time_ms,
        file_size_bytes: ceiling.file_size_bytes,
        memory_bytes: ceiling.memory_bytes.min(Budget::CEILING.memory_bytes),
        instances: ceiling.instances,
        table_elements: ceiling.table_elements,
        fuel: ceiling.fuel.min(Budget::CEILING.fuel),
        ..Budget::default()
    }
}

fn check_install_name(name: &str) -> Result<(), EngineError> {
    if is_plugin_name(name) && name != STANDARD_PLUGIN {
        return Ok(());
    }
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    let what = format!(
        "a plugin cannot be installed as `{shown}`: give --name with 1 to 64 ASCII letters, digits, hyphens and \
         underscores, other than `{STANDARD_PLUGIN}`"
    );
    Err(EngineError::BadRequest { what })
}
