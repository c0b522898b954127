//! Plans and runs jobs: backup, copy, restore, verify; and the [`Host`] that everything above calls.
//!
//! Contract: planning reads and decides, running acts; both are plain async functions over values, so that embedders,
//! the command line and the workers of a host use the same ones. What a run needs from outside (time, randomness,
//! limits, where to report, when to stop) comes in a [`RunContext`].
//!
//! Failure: [`EngineError`], a sentence that says what to do. A run that fails leaves no half backup and no half-restored
//! target.
//!
//! A backup of a Milvus Lite directory into a local vault, without a server:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use longshore_engine as engine;
//! let context = engine::RunContext::new(engine::Limits::default());
//! let directory = std::path::Path::new("my-database.db");
//! let project = "proj-local".parse()?;
//! let keys = longshore_vault::Keys::none();
//! let vault =
//!     engine::RegionVaults::open_or_make_one("vault".as_ref(), &project, &keys, context.random.as_ref()).await?;
//! let cluster = engine::ClusterTarget::for_directory(directory, vault.region_id().clone())?;
//! let policy = engine::RunPolicy::standard(&vault)?;
//! let vaults = engine::RegionVaults::of([vault])?;
//! let source = longshore_source::MilvusLiteSource::open(directory)?;
//! let request = engine::BackupRequest::manual(cluster, Vec::new(), &context)?;
//! let plan = engine::plan_backup(request, &source, &policy, &vaults, &context).await?;
//! let outcome = engine::run_backup(plan, &source, &vaults, &context).await?;
//! assert!(outcome.size_bytes > 0);
//! # Ok(())
//! # }
//! ```

mod access;
mod backup;
mod blocking;
mod boards;
mod catalog_calls;
mod catalog_snapshots;
mod clusters;
mod config;
mod context;
mod copy;
mod copy_locked;
mod costs;
mod data_lock;
mod decisions;
mod erase;
mod error;
mod export;
mod facts;
mod grants;
mod heal;
mod history;
mod host;
mod jobs;
mod keyed_point;
mod keys;
mod known;
mod limits;
mod manifests;
mod mover;
mod notify;
mod opened;
mod passwords;
mod pins;
mod plan;
mod plan_view;
mod policies;
mod policy_calls;
mod progress;
mod prune;
mod random;
mod rate;
mod rebuild;
mod request;
mod restore;
mod resume;
mod retention;
mod run;
mod run_policy;
mod sample;
mod schedule;
mod scheduler;
mod space;
mod streams;
mod transfer;
mod vaults;
mod verify;
mod views;
mod worker;

pub use longshore_source::milvus::choose_tls;

pub use access::{KEY_NAME_BYTES, KeyRequest, Principal, Privilege, Role, create_key, revoke_key};
pub use backup::{BackupOutcome, RequestedCopy, run_backup};
pub use clusters::{ClusterAccess, LocalClusters, open_folder};
pub use config::{
    CatalogSnapshots, ClusterConfig, CollectionKey, HostConfig, IntegrationConfig, LogConfig, LogFormat, MemberConfig,
    MilvusConfig, MilvusStorageConfig, PluginRef, PluginsConfig, PolicyConfig, PoolServer, ProjectConfig, RegionConfig,
    RegionEncryption, RestoreConfig, STANDARD_PLUGIN, ServerConfig, ShadowConfig, VolumeConfig, WebhookConfig,
    check_cluster_name,
};
pub use context::RunContext;
pub use copy::{CopyOutcome, CopyRequest, copy_backup};
pub use costs::{CostGroup, CostLine, CostQuery, CostReport, RunCosts, SeenBytes, StoredPart, cost_report};
pub use decisions::{PluginLookup, WhyDecision, WhyView, decision_records, why};
pub use erase::{EraseOutcome, ErasePlan, EraseRequest, ErasedBackup, plan_erase, run_erase};
pub use error::EngineError;
pub use export::{EXPORT_DATA, EXPORT_NOTE, EXPORT_SERVER_DATA, ExportOutcome, export_backup};
pub use grants::read_grants;
pub use heal::{HealOutcome, HealRequest, HealedCollection, HealedObject, heal, repair_vault};
pub use host::{
    AppliedVolume, ApplyVolume, Attempt, BACKUP_NAME_BYTES, ClusterMetrics, ExpiryOutcome, ExportBackup, Host,
    HostOptions, JOB_DURATION_BOUNDS_MS, Metrics, OverdueReason, StartMigration, Target, VerifyBackup,
};
pub use jobs::{BackupDetail, JobRequest};
pub use keys::{KeyFiles, read_private, write_key_file};
pub use known::{FailedBackup, HostFacts};
pub use limits::{BANDWIDTH_MIN_BYTES_PER_SECOND, Limits};
pub use notify::{Message, Notifier, WebhookSecret};
pub use opened::{OpenedBackup, OpenedCollection, OpenedPart};
pub use plan::{BackupPlan, PlannedCollection, PlannedStream, plan_backup};
pub use plan_view::{PlanMonth, PlanReason, PlanRegion, PlanRow, PlanTotals, PlanView};
pub use policies::{
    InstallReport, Installed, KnownPlugin, MemberStatus, PluginRow, PluginSignature, PolicyDesk, PolicyStatus,
    PromoteReport, PromoteRules, Promotion, PublicKey, Quarantined, Rollback, STANDARD_PLUGIN_BYTES, Scope, Seat,
    SetRow, ShadowRecord, ShadowStatus, SigningKey, TrustedKey, build_chains, check_policies, kept_plugin, load_plugin,
    policy_of, signature_path, standard_policies,
};
pub use policy_calls::{CallsByMember, MemberCalls};
pub use progress::{ProgressBoard, StopSignal};
pub use prune::{delete_backup, plan_prune, run_prune};
pub use random::{Random, SystemRandom};
pub use rebuild::{RebuildOptions, RebuildReport, RebuiltBackup, RebuiltCluster, UsedSnapshot, rebuild_catalog};
pub use request::{BackupRequest, ClusterTarget};
pub use restore::{
    LoweredShards, ProvenCollection, RestoreOutcome, RestorePlan, RestoreScope, all_under_their_own_names,
    check_destinations, plan_restore, run_restore,
};
pub use retention::{
    RetainedBackup, RetentionDecision, RetentionOutcome, RetentionPlan, RetentionRules, apply_retention,
    decide_retention, plan_retention,
};
pub use run_policy::RunPolicy;
pub use schedule::{
    CRON_INTERVAL_MINUTES, Cron, DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS, Schedule, ScheduleChange, ScheduleView,
    ScheduledCopy, SetSchedule, StartWindow, Starts, WINDOW_MINUTES, Weekdays, get_schedule, list_schedules,
    set_schedule, start_due,
};
pub use vaults::{PreparedVault, RegionVaults};
pub use verify::{
    DamagedObject, OpenWith, VerifiedCollection, VerifyLevel, VerifyOutcome, VerifyRequest, verify_all, verify_backup,
};
pub use views::{
    BackedUpCollection, BackupFilter, BackupView, ClusterView, CopyState, CopyView, CreateBackup, CreatedBackup,
    Dropped, ExcludedCollection, JobFilter, JobView, Login, Page, PageRequest, ProjectView, RegionView, ReloadReport,
    RestoreCluster, RestoreCollections, RestoringCluster,
};
