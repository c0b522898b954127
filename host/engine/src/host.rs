//! The host: what the REST API, the command line and embedders call.
//!
//! Contract: every method checks the caller's role, answers from the catalog and the vaults, and leaves long work to
//! jobs. Requests that change something are in the audit log with their outcome.
//!
//! Failure: [`EngineError`], with nothing half-done: what a request starts is one transaction in the catalog.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use longshore_catalog::{AuditEntry, Catalog, NewCluster, SqliteCatalog, hash_api_key};
use longshore_model::{Clock, Timestamp};
use longshore_sandbox::Sandbox;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::access::{Principal, Role, forbidden};
use crate::blocking::blocking;
use crate::boards::Boards;
use crate::catalog_snapshots::SnapshotLog;
use crate::config::HostConfig;
use crate::data_lock::DataLock;
use crate::notify::{Notifier, WebhookSecret};
use crate::passwords::Passwords;
use crate::policies::{PolicyRuntime, PolicyStatus};
use crate::policy_calls::PolicyCalls;
use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::views::ReloadReport;
use crate::worker::run_workers;
use crate::{ClusterAccess, EngineError, Limits, LocalClusters, Random, RunContext, StopSignal, SystemRandom};

mod audits;
mod backups;
mod clusters;
mod copies;
mod costs;
pub(crate) mod deliveries;
mod erasures;
mod expiry;
mod jobs;
mod metrics;
mod migrations;
mod overdue;
mod permits;
mod pool;
mod restores;
mod retention;
mod schedules;
mod upkeep;

pub use expiry::ExpiryOutcome;
#[cfg(test)]
pub(crate) use expiry::going;
pub use metrics::{ClusterMetrics, JOB_DURATION_BOUNDS_MS, Metrics};
pub use migrations::{AppliedVolume, ApplyVolume, StartMigration};
pub use overdue::OverdueReason;
pub use permits::{Attempt, Target};
pub use upkeep::{BACKUP_NAME_BYTES, ExportBackup, VerifyBackup};

/// Everything a host shares between requests and jobs.
pub(crate) struct Inner {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clusters: Arc<dyn ClusterAccess>,
    pub(crate) vaults: RegionVaults,
    pub(crate) policies: PolicyRuntime,
    /// The configuration that the next run uses.
    pub(crate) config: RwLock<Arc<HostConfig>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) limits: Limits,
    pub(crate) context: RunContext,
    pub(crate) boards: Boards,
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
    pub(crate) policy_calls: PolicyCalls,
    pub(crate) snapshots: SnapshotLog,
    /// Held while a restore is accepted, so that two do not take the same name or server.
    pub(crate) restoring: tokio::sync::Mutex<()>,
    /// Held while the webhook is told, so that two looks at once do not send the same message.
    pub(crate) telling: tokio::sync::Mutex<()>,
    pub(crate) owner: String,
    pub(crate) wake: Notify,
    pub(crate) stop: StopSignal,
    config_path: Option<PathBuf>,
    workers: Mutex<Option<JoinHandle<()>>>,
    _lock: DataLock,
}

impl Inner {
    pub(crate) fn config(&self) -> Arc<HostConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The passwords of users of clusters that restores make.
    pub(crate) async fn passwords(self: &Arc<Self>) -> Result<Passwords, EngineError> {
        let host = Arc::clone(self);
        blocking("reading the secret of passwords", move || {
            Passwords::of_host(&host.config().data_directory, host.random.as_ref())
        })
        .await
    }
}

/// A running host. Cheap to clone; clones are the same host.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

/// What a host is started with beside its configuration.
pub struct HostOptions {
    /// The file that a reload reads again; `None` makes a reload an error.
    pub config_path: Option<PathBuf>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub random: Arc<dyn Random>,
    /// How clusters are opened; Milvus Lite directories when `None`.
    pub clusters: Option<Arc<dyn ClusterAccess>>,
    /// How messages to the webhook of the configuration are sent; without one none is.
    pub notifier: Option<Arc<dyn Notifier>>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            config_path: None,
            clock: Arc::new(longshore_model::SystemClock),
            random: Arc::new(SystemRandom),
            clusters: None,
            notifier: None,
        }
    }
}

impl Host {
    /// Opens the catalog, the vaults and the policies, takes up what an earlier host left, and starts the workers.
    ///
    /// # Errors
    /// When another host uses the data directory, or when the catalog, a vault or a plugin cannot be opened. Nothing is
    /// left running then.
    pub async fn start(config: HostConfig, options: HostOptions) -> Result<Self, EngineError> {
        let limits = config.limits;
        // Read when it is used; here only so that a bad one is known at once.
        check_secret(&config)?;
        let folder = config.data_directory.clone();
        let owner = draw::<6>(options.random.as_ref())?;
        let (lock, catalog) = blocking("opening the catalog", move || {
            let lock = DataLock::take(&folder)?;
            Ok((lock, SqliteCatalog::open(&folder.join("catalog.sqlite"))?))
        })
        .await?;
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        let keys = config.keys.read()?;
        let vaults = RegionVaults::open(&config.project.id, &config.regions, &keys, options.random.as_ref()).await?;
        let cache = config.plugin_cache.then(|| config.data_directory.join("compiled-plugins"));
        let sandbox = new_sandbox(&config, cache)?;
        let (set_up, kept, clock) = (config.clone(), Arc::clone(&catalog), Arc::clone(&options.clock));
        let policies =
            blocking("loading the policies", move || PolicyRuntime::start(&set_up, kept, sandbox, clock)).await?;
        let clusters =
            options.clusters.unwrap_or_else(|| Arc::new(LocalClusters::new(config.data_directory.join("clusters"))));
        let mut context = RunContext::new(limits);
        context.clock = Arc::clone(&options.clock);
        context.random = Arc::clone(&options.random);
        let inner = Arc::new(Inner {
            catalog,
            clusters,
            vaults,
            policies,
            config: RwLock::new(Arc::new(config)),
            clock: options.clock,
            random: options.random,
            limits,
            context,
            boards: Boards::default(),
            notifier: options.notifier,
            policy_calls: PolicyCalls::default(),
            snapshots: SnapshotLog::default(),
            restoring: tokio::sync::Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            owner: format!("host-{}", owner.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            wake: Notify::new(),
            stop: StopSignal::default(),
            config_path: options.config_path,
            workers: Mutex::new(None),
            _lock: lock,
        });
        let host = Self { inner };
        host.register_configured().await?;
        host.take_up_what_was_left().await?;
        let workers = tokio::spawn(run_workers(Arc::clone(&host.inner)));
        *host.inner.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(workers);
        Ok(host)
    }

    /// Stops taking jobs and waits until the running ones have reached a stopping point. They go on at the next start.
    pub async fn shutdown(&self) {
        self.inner.stop.stop(crate::worker::SHUTTING_DOWN);
        let workers = self.inner.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(workers) = workers
            && let Err(error) = workers.await
        {
            tracing::error!(%error, "the workers did not stop well");
        }
    }

    /// Answers when the catalog and every vault can be read.
    ///
    /// # Errors
    /// What did not answer.
    pub async fn ready(&self) -> Result<(), EngineError> {
        self.catalog("asking the catalog", |catalog, _| Ok(catalog.list_projects()?)).await?;
        self.inner.vaults.check().await
    }

    /// Who a key belongs to.
    ///
    /// # Errors
    /// [`EngineError::Unauthenticated`] for a key that is unknown, revoked or expired.
    pub async fn authenticate(&self, key: &str) -> Result<Principal, EngineError> {
        let hash = hash_api_key(key);
        let row = self.catalog("looking up a key", move |catalog, now| Ok(catalog.find_key(&hash, now)?)).await?;
        Principal::of(row.ok_or(EngineError::Unauthenticated)?)
    }

    /// Reads the configuration again and uses its policies, guardrails, labels, clusters and new regions from the next
    /// run on. A run that is under way keeps what it started with, but for bandwidth and CPU threads, which change for it
    /// too. Nothing changes when anything in it is wrong.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], and whatever is wrong with the configuration, a plugin or a vault.
    pub async fn reload(&self, who: &Principal) -> Result<ReloadReport, EngineError> {
        let outcome = if who.role.may_administer() {
            self.reload_now().await
        } else {
            Err(forbidden(who, "reload the configuration"))
        };
        if outcome.is_err() && who.role.may_administer() {
            let host = Arc::clone(&self.inner);
            let counted = blocking("counting", move || {
                host.policies.count_failed_reload();
                Ok(())
            });
            counted.await?;
        }
        self.audit(who, "host.reload", "configuration", &outcome).await;
        outcome
    }

    /// The same for the signal SIGHUP, which needs no key.
    ///
    /// # Errors
    /// As [`Host::reload`].
    pub async fn reload_by_signal(&self) -> Result<ReloadReport, EngineError> {
        self.reload(&Principal::host("signal", Role::OrganizationOwner)).await
    }

    async fn reload_now(&self) -> Result<ReloadReport, EngineError> {
        let Some(path) = self.inner.config_path.clone() else {
            let what = "this host was started without a configuration file, so there is nothing to read again";
            return Err(EngineError::BadRequest { what: what.to_owned() });
        };
        let host = Arc::clone(&self.inner);
        let (config, keys, policies) = blocking("reading the configuration", move || {
            let config = HostConfig::read(&path)?;
            let keys = config.keys.read()?;
            check_secret(&config)?;
            let policies = host.policies.prepare(&config)?;
            Ok((config, keys, policies))
        })
        .await?;
        let needs_restart = needs_restart(&self.inner.config(), &config);
        self.inner.vaults.add(&config.project.id, &config.regions, &keys, self.inner.random.as_ref()).await?;
        let lines = policies.describe();
        // Order: guardrails and regions before policies. A run that starts in between sees new guardrails with old
        // policies, which is safe; the reverse could let a new policy act under old guardrails.
        self.inner.context.throttle.set(config.limits.throttle());
        let config = Arc::new(config);
        let before = std::mem::replace(
            &mut *self.inner.config.write().unwrap_or_else(std::sync::PoisonError::into_inner),
            Arc::clone(&config),
        );
        let host = Arc::clone(&self.inner);
        let swapped =
            blocking("swapping the policies", move || host.policies.commit(&config, policies, "reload")).await;
        if let Err(error) = swapped {
            *self.inner.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = before;
            return Err(error);
        }
        self.register_configured().await?;
        self.follow_erasures_quietly().await;
        Ok(ReloadReport { policies: lines, needs_restart })
    }

    /// What decides in this host: members, candidates, quarantine, and how often something happened to them. Chains of
    /// clusters that the key is not for are left out.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn policies(&self, who: &Principal) -> Result<PolicyStatus, EngineError> {
        let host = Arc::clone(&self.inner);
        let status = blocking("reading what is known about policies", move || host.policies.status()).await?;
        let project = self.inner.config().project.id.clone();
        Ok(status.seen_by(|seat| seat.is_seen_by(who, &project)))
    }

    /// Plugins that this host knows, in order of name. Where chains of clusters use them is told as far as the key is for
    /// those.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn plugins(&self, who: &Principal) -> Result<Vec<crate::KnownPlugin>, EngineError> {
        let host = Arc::clone(&self.inner);
        let mut plugins = blocking("reading what is known about plugins", move || host.policies.known()).await?;
        let project = self.inner.config().project.id.clone();
        for plugin in &mut plugins {
            plugin.used_by.retain(|seat| seat.is_seen_by(who, &project));
        }
        Ok(plugins)
    }

    /// The chains that the next run uses, one line per member.
    #[must_use]
    pub fn describe_policies(&self) -> Vec<String> {
        self.inner.policies.current().describe()
    }

    async fn register_configured(&self) -> Result<(), EngineError> {
        let config = self.inner.config();
        self.inner.clusters.configure(&config);
        self.catalog("registering clusters", move |catalog, now| {
            catalog.put_project(&config.project.id, &config.project.name, now)?;
            for cluster in &config.clusters {
                // What was dropped stays so: its automatic backups are gone, and whoever dropped it does not expect it back.
                if catalog.get_cluster(&cluster.id)?.is_some_and(|row| row.dropped.is_some()) {
                    tracing::warn!(cluster = %cluster.id, "the configuration names a cluster that was dropped; give it a new id to back it up again, or remove it");
                    continue;
                }
                let cluster = NewCluster {
                    id: cluster.id.clone(),
                    name: cluster.name.clone(),
                    project: config.project.id.clone(),
                    region: cluster.region.clone(),
                    source_kind: cluster.kind().as_str().to_owned(),
                    location: cluster.location(),
                    cu_size: 1,
                    status: "RUNNING".to_owned(),
                };
                catalog.put_cluster(&cluster, now)?;
            }
            Ok(())
        })
        .await
    }

    /// The data directory's lock is ours, so whoever held a lease in this catalog is dead.
    async fn take_up_what_was_left(&self) -> Result<(), EngineError> {
        let folder = self.inner.config().data_directory.clone();
        let left = self
            .catalog("taking up jobs", move |catalog, _| {
                let filter = longshore_catalog::JobFilter {
                    statuses: Some(vec![longshore_model::JobStatus::InProgress, longshore_model::JobStatus::Canceling]),
                    ..Default::default()
                };
                let page = longshore_catalog::Page { size: 100, current: 1 };
                let mut left = 0;
                for job in catalog.list_jobs(&filter, page)?.items {
                    if let Some(owner) = &job.lease_owner {
                        left += catalog.release_leases_of(owner)?;
                    }
                }
                crate::run::sweep(&folder, catalog)?;
                Ok(left)
            })
            .await?;
        if left > 0 {
            tracing::warn!(jobs = left, "an earlier host stopped while jobs were running; they are taken up again");
        }
        Ok(())
    }

    /// Runs one catalog call on a blocking thread.
    pub(crate) async fn catalog<T, F>(&self, what: &str, call: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Catalog, Timestamp) -> Result<T, EngineError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        blocking(what, move || call(inner.catalog.as_ref(), inner.clock.now())).await
    }

    /// Writes who did what with which outcome. A request does not fail because the log could not be written; that is
    /// said in the program's own log.
    pub(crate) async fn audit<T>(
        &self,
        who: &Principal,
        action: &str,
        subject: &str,
        outcome: &Result<T, EngineError>,
    ) {
        let entry = AuditEntry {
            time: self.inner.clock.now(),
            actor: who.name.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            outcome: outcome.as_ref().err().map_or_else(|| "ok".to_owned(), |error| crate::worker::sentence(error)),
        };
        if let Err(error) =
            self.catalog("writing the audit log", move |catalog, _| Ok(catalog.append_audit(&entry)?)).await
        {
            tracing::error!(%error, action, subject, "the audit log could not be written");
        }
    }
}

/// A sandbox with the ceiling of a configuration, that keeps compiled plugins in a folder if it is given one.
///
/// # Errors
/// When the runtime cannot be started.
pub(crate) fn new_sandbox(config: &HostConfig, code_cache: Option<PathBuf>) -> Result<Sandbox, EngineError> {
    let ceiling = config.plugin_ceiling;
    let sandbox = longshore_sandbox::SandboxConfig { ceiling, code_cache, ..Default::default() };
    Sandbox::new(sandbox).map_err(EngineError::plugin("the sandbox"))
}

fn check_secret(config: &HostConfig) -> Result<(), EngineError> {
    config.webhook.as_ref().map_or(Ok(()), |webhook| WebhookSecret::read(&webhook.secret_file).map(|_| ()))
}

fn needs_restart(old: &HostConfig, new: &HostConfig) -> Vec<String> {
    let mut changed = Vec::new();
    let mut note = |differs: bool, what: &str| {
        if differs {
            changed.push(what.to_owned());
        }
    };
    note(old.data_directory != new.data_directory, "data_directory");
    note(old.plugin_cache != new.plugin_cache, "plugin_cache");
    note(old.server != new.server, "[server]");
    note(old.project.id != new.project.id, "[project] id");
    note(old.limits.without_throttle() != new.limits.without_throttle(), "[limits]");
    note(old.keys != new.keys, "[keys]");
    note(old.log != new.log, "[log]");
    note(old.plugin_ceiling != new.plugin_ceiling, "[plugin_ceiling]");
    let moved =
        |region: &crate::config::RegionConfig| new.region(&region.id).is_none_or(|now| now.vault != region.vault);
    note(old.regions.iter().any(moved), "[[region]] removed or with another vault");
    changed
}

/// The catalog checks the bounds.
pub(crate) const fn page(page: crate::views::PageRequest) -> longshore_catalog::Page {
    longshore_catalog::Page { size: page.size, current: page.number }
}
