//! Durable control state: projects, clusters, schedules, backups, jobs, API keys, audit log, settings.
//!
//! Contract: [`Catalog`] is the only way to this state; [`SqliteCatalog`] keeps it in one SQLite file. Every call is one
//! transaction: it happened, durably, when the call returned `Ok`, and nothing of it happened when it returned an error.
//! The rules about which backups and jobs may exist beside each other are checked inside that transaction, so two hosts
//! cannot break them by asking at the same moment. Time and identifiers are passed in; calls block (async callers run
//! them on blocking threads).
//!
//! Failure: [`CatalogError`]. A worker that lost its job to another one (lapsed lease) gets [`CatalogError::Fenced`] at
//! its next write and has to stop; nothing it writes afterwards counts. A file that is damaged, made by something else
//! or written by a newer version is refused when it is opened and left as it is.
//!
//! A second implementation is right when [`conformance::run`] finds nothing to object to.

mod catalog;
pub mod conformance;
mod delivery_rows;
mod error;
mod limits;
mod rows;
mod sqlite;

pub use catalog::Catalog;
pub use delivery_rows::{DeliveryCounts, DeliveryOutcome, DeliveryRow, JOB_ENDED, NewDelivery};
pub use error::CatalogError;
pub use limits::Limits;
pub use rows::{
    ApiKeyRow, AuditEntry, AuditRow, BackupFilter, BackupOutcome, BackupRecord, BackupRow, ClusterFilter, ClusterRow,
    CopyRow, DroppedCluster, JobEnd, JobFilter, JobRow, JobStatistics, Listed, NewApiKey, NewBackup, NewBackupJob,
    NewCluster, NewJob, NewSchedule, Page, ProjectRow, ScheduleRow, hash_api_key,
};
pub use sqlite::SqliteCatalog;
