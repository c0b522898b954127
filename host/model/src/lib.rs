//! The words of Longshore as Rust types: identifiers, collections, files, codecs, regions, decisions, jobs, backups.
//!
//! Contract: pure values. Nothing here reads a file, a clock or a random source, and nothing is async; time and
//! randomness come in as arguments. Every type that leaves the process (REST, manifests, catalog) serialises with
//! serde in the one spelling used everywhere.
//!
//! Failure: constructors and parsers return [`ModelError`], whose message says what was expected.

mod backup;
mod codec;
mod digest;
mod error;
mod facts;
mod ids;
mod job;
mod limits;
mod names;
mod policy;
mod progress;
mod region;
mod restore;
mod scope;
mod time;

pub use backup::{BackupStatus, BackupType, CreationMethod};
pub use codec::Codec;
pub use digest::Digest;
pub use error::ModelError;
pub use facts::{ClassBytes, CollectionFacts, ExtraFact, FactValue, FileClass, IndexFacts, LastBackup, LoadState};
pub use ids::{BackupId, ClusterId, JobId, ProjectId, RegionId, VaultId};
pub use job::{JobStatus, JobType};
pub use limits::Limits;
pub use names::{CollectionName, DEFAULT_DATABASE};
pub use policy::{
    CodecChoice, CodecOffer, Copy, GuestLogLine, LogLevel, Placed, PolicyKind, Reason, Refusal, RegionOffer, RunFacts,
    RunKind, RunTrigger, Selected, StreamFacts, Totals,
};
pub use progress::{CollectionProgress, Phase, Progress};
pub use region::{Region, RegionHealth};
pub use restore::{CollectionMapping, RestoredLoadState};
pub use scope::KeyScope;
pub use time::{Clock, FixedClock, SystemClock, Timestamp};
