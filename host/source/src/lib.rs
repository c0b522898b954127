//! Clusters to read from and to restore into.
//!
//! Contract: a [`Source`] lists what a cluster holds and opens each collection at one consistent point; a
//! [`RestoreTarget`] writes collections into a staging place and moves them in at the end. Sources are never written
//! to and never locked.
//!
//! Failure: every failure is a [`SourceError`], a sentence that names the file. Damaged or hostile files give an error,
//! never a panic and never a silently shorter copy.

mod blocking;
mod buffers;
mod check;
mod convert;
mod disk;
mod error;
mod limits;
mod lite;
pub mod milvus;
mod plan;
mod rows;
mod source;
mod staged;
mod target;

pub use check::{CheckedFiles, StoredBytes, StoredFile, check_files};
pub use convert::{DoesNotFit, Misfit};
pub use error::SourceError;
pub use limits::Limits;
pub use lite::{MilvusLiteSource, MilvusLiteTarget};
pub use milvus::{MilvusServer, MilvusSource, MilvusTarget, MilvusTargetOptions, StagingPlace, cannot_be_restored};
pub use rows::RowSum;
pub use source::{
    CollectionEntry, CollectionPoint, CountedPoint, DatabaseEntry, FileIdentity, FindingState, Inventory, KnownFile,
    KnownFiles, Opener, PointFile, PointOptions, PointState, Reading, Recheck, RowCounting, Source, SourceFinding,
    SourceKind,
};
pub use target::{
    Administrator, Committed, FilePiece, NewPassword, PieceWriter, RestoreRun, RestoreTarget, RestoreWatch,
    RestoredCollection, TargetAccess, TargetCollection, TargetFile, TargetPlan,
};

/// Raises the soft limit of open descriptors to the hard one, because a point holds all files of a collection open.
/// Call it once when the program starts. Returns the limit that holds now.
///
/// # Errors
/// When the system refuses; the old limit then still holds.
pub fn raise_descriptor_limit() -> Result<u64, SourceError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    if now.current == now.maximum {
        return Ok(now.current.unwrap_or(u64::MAX));
    }
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).map_err(|error| {
        SourceError::Io { action: "raise the limit of open files of", path: "this process".into(), error: error.into() }
    })?;
    Ok(now.maximum.unwrap_or(u64::MAX))
}
