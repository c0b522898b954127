//! The contract between the engine and a place to restore into.
//!
//! A target checks everything it can before it writes a byte. Until [`RestoreRun::commit`] nothing in the target is
//! changed that anybody else uses: a run that is suspended or killed leaves at most a staging folder, and in a server
//! collections under names that say what they are. The next run of the same plan goes on with what is in the folder, file by
//! file, where the digest is right; a run of another plan removes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{CollectionMapping, Digest, FileClass};
use serde_json::Value;

use crate::milvus::Secret;
use crate::{DatabaseEntry, SourceError};

/// Everything a restore will write, known before it begins.
#[derive(Debug, Clone)]
pub struct TargetPlan {
    /// The backup's databases; those that a restored collection goes to, or all of them for a whole cluster.
    pub databases: Vec<DatabaseEntry>,
    /// True for a restore of a whole cluster: all databases are made, and aliases follow renamed collections.
    /// False for chosen collections: an alias comes along only with a collection that keeps its name, and only when it
    /// is free in the target.
    pub whole_cluster: bool,
    /// The collections to restore.
    pub collections: Vec<TargetCollection>,
    /// Who is to use the target, where users are to be made. Targets without users say so.
    pub access: Option<TargetAccess>,
}

/// One collection to restore.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetCollection {
    /// From which name to which name.
    pub mapping: CollectionMapping,
    /// Its schema, as [`CollectionPoint::schema`](crate::CollectionPoint::schema) gave it.
    pub schema: Value,
    /// Its files, as [`CollectionPoint::files`](crate::CollectionPoint::files) gave them.
    pub files: Vec<TargetFile>,
    /// Its point, as [`CollectionPoint::description`](crate::CollectionPoint::description) gave it.
    pub description: Value,
}

/// One file to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Path relative to the collection.
    pub path: String,
    /// Its class.
    pub class: FileClass,
    /// Its size.
    pub size_bytes: u64,
}

/// Users that a restore makes, after all collections are in place.
#[derive(Clone, Default)]
pub struct TargetAccess {
    /// Who may do everything in a new cluster. One of that name that is there is made anew: its password is this one.
    pub administrator: Option<Administrator>,
    /// Users, roles and what they may do, as [`Inventory::access`](crate::Inventory::access) gave them; `None` to make none. What
    /// is there already stays as it is.
    pub kept: Option<Value>,
    /// Passwords of users that are made: sources tell nobody the old ones. Without it no kept user is made.
    pub new_password: Option<NewPassword>,
}

impl std::fmt::Debug for TargetAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { administrator, kept, .. } = self;
        f.debug_struct("TargetAccess").field("administrator", administrator).field("kept", kept).finish_non_exhaustive()
    }
}

/// The administrator of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// Its name.
    pub name: String,
    /// Its new password.
    pub password: Secret,
}

/// Makes a password for a user of this name that a restore makes, or says why it cannot.
pub type NewPassword = Arc<dyn Fn(&str) -> Result<Secret, String> + Send + Sync>;

/// A place that collections can be restored into.
#[async_trait]
pub trait RestoreTarget: Send + Sync {
    /// Checks the plan against the target and makes the staging folder. Where something must end first that an earlier restore
    /// began, `watch` is told what is waited for and is asked whether to stop.
    ///
    /// # Errors
    /// [`SourceError::TargetInUse`], [`SourceError::CollectionExists`], [`SourceError::NoSpace`],
    /// [`SourceError::BadPlan`], [`SourceError::Stopped`] and whatever looking at the target can fail with. Nothing has been
    /// written then.
    async fn begin(&self, plan: &TargetPlan, watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError>;
}

/// Bytes of a file of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePiece {
    /// The file's place in the plan.
    pub file: usize,
    /// Where in it they belong.
    pub offset: u64,
    /// They.
    pub bytes: Bytes,
}

/// Writes files of a restore. It holds what it writes into: none of it is removed under a thread that still writes.
pub trait PieceWriter: Send + Sync {
    /// As [`RestoreRun::write_pieces`], on this thread, which may wait for a disk. Bytes that were just decoded there are in
    /// the processor's cache, and to hand thousands of runs of them to another thread costs as much as to write them.
    ///
    /// # Errors
    /// As [`RestoreRun::write`].
    fn write_pieces_here(&self, collection: usize, pieces: &[FilePiece]) -> Result<(), SourceError>;
}

/// A restore under way.
#[async_trait]
pub trait RestoreRun: Send + Sync {
    /// The digest of a file as an earlier run of the same plan left it, read back from disk; `None` when there is none of
    /// the right length. Asked before anything of the file is written. What is there and not taken is
    /// [cleared](RestoreRun::clear) first.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn left_over(&self, _collection: usize, _file: usize) -> Result<Option<Digest>, SourceError> {
        Ok(None)
    }

    /// Removes what an earlier run left of a file, if anything.
    ///
    /// # Errors
    /// When it cannot be removed.
    async fn clear(&self, _collection: usize, _file: usize) -> Result<(), SourceError> {
        Ok(())
    }

    /// Writes bytes at `offset` of a file, both given by their place in the plan. Pieces may come in any order and from
    /// several tasks at once.
    ///
    /// # Errors
    /// [`SourceError::OutOfRange`] for bytes outside the file; failures of writing.
    async fn write(&self, collection: usize, file: usize, offset: u64, bytes: Bytes) -> Result<(), SourceError>;

    /// Writes pieces of several files of a collection: small ones come many at a time. What was written when it fails is not
    /// known.
    ///
    /// # Errors
    /// As [`RestoreRun::write`].
    async fn write_pieces(&self, collection: usize, pieces: Vec<FilePiece>) -> Result<(), SourceError> {
        for FilePiece { file, offset, bytes } in pieces {
            self.write(collection, file, offset, bytes).await?;
        }
        Ok(())
    }

    /// What writes pieces on the thread it is called on, if anything does.
    fn piece_writer(&self) -> Option<Arc<dyn PieceWriter>> {
        None
    }

    /// Makes one collection durable in the staging folder, reads it back and counts it.
    ///
    /// # Errors
    /// When a file cannot be read back, is incomplete, or does not parse.
    async fn finish_collection(&self, collection: usize) -> Result<RestoredCollection, SourceError>;

    /// Moves everything into place. All collections must be finished. For a server this is most of the work, so `watch` is
    /// told how far it is and is asked whether to stop.
    ///
    /// # Errors
    /// When something cannot be moved, or [`SourceError::Stopped`]; what was already moved is taken back.
    async fn commit(self: Box<Self>, watch: &dyn RestoreWatch) -> Result<Committed, SourceError>;

    /// Stops and leaves the staging folder for the next run of the same plan. A target that cannot go on with one gives up
    /// instead.
    ///
    /// # Errors
    /// When the run has ended already.
    async fn suspend(self: Box<Self>) -> Result<(), SourceError> {
        self.abort().await
    }

    /// Gives up and removes the staging folder.
    ///
    /// # Errors
    /// When the staging folder cannot be removed.
    async fn abort(self: Box<Self>) -> Result<(), SourceError>;
}

/// What was read back from a restored collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredCollection {
    /// Rows in its files, deleted ones included.
    pub physical_rows: u64,
    /// Rows a client will see; `None` when there are too many to count within the limits.
    pub live_rows: Option<u64>,
    /// BLAKE3 of each file, read back from disk, in the order of the plan. For `schema.json` it is taken before name
    /// and TTL are adapted to the target.
    pub file_digests: Vec<Digest>,
}

/// Who is told how far a restore is.
pub trait RestoreWatch: Send + Sync {
    /// Some more bytes of a collection, by its place in the plan, are in place.
    fn moved(&self, _collection: usize, _bytes: u64) {}

    /// Nothing moves because of this, in words; `None` when it goes on.
    fn waits_for(&self, _what: Option<String>) {}

    /// Whether to stop; what was moved is taken back then.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl RestoreWatch for () {}

/// What there is to say about a commit that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// What somebody has to know or do, in sentences, for example that a collection could not be loaded.
    pub notes: Vec<String>,
    /// Kept users that were made, and their new passwords; to be shown once and kept nowhere.
    pub passwords: Vec<(String, Secret)>,
}
