//! The one error of this crate. Messages are sentences that say what is wrong, where, and what to do.

use longshore_model::{CollectionName, ModelError};
use thiserror::Error;

use crate::convert::DoesNotFit;
use crate::milvus::Refusal;

/// Reading a source or restoring into a target failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The path does not exist.
    #[error("`{path}` does not exist: give the path of a Milvus Lite 3 data directory")]
    NotFound {
        /// What was given.
        path: String,
    },
    /// The path is there but is no Milvus Lite 3 data directory.
    #[error("`{path}` is not a Milvus Lite 3 data directory: {reason}")]
    NotMilvusLite {
        /// What was given.
        path: String,
        /// What was looked for and what was found, and what to do.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot {action} `{path}`: {error}")]
    Io {
        /// What was tried, as a verb, for example `read`.
        action: &'static str,
        /// On which file.
        path: String,
        /// The system's own word.
        error: std::io::Error,
    },
    /// A symbolic link leads out of the database's folder.
    #[error("`{path}` leads out of the database's folder: replace the link by what it points to")]
    LeadsOutside {
        /// The link, or a path through it.
        path: String,
    },
    /// The limit of open files was hit.
    #[error(
        "`{path}` cannot be opened because too many files are open: raise the limit (`ulimit -n`), or let fewer collections run at once"
    )]
    TooManyOpenFiles {
        /// Which file.
        path: String,
    },
    /// A file was written by a version of Milvus Lite that is not known here.
    #[error("`{path}` cannot be read: {reason}")]
    Unsupported {
        /// Which file.
        path: String,
        /// What is new in it.
        reason: String,
    },
    /// A file is not what its place says, or was damaged.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that the collection's manifest names is not there.
    #[error(
        "collection {collection} is damaged: its manifest names `{path}`, which is missing; a backup would silently lack those rows, so none is made; repair the collection or leave it out"
    )]
    MissingFile {
        /// Which collection.
        collection: CollectionName,
        /// The missing file, relative to the collection.
        path: String,
    },
    /// No such collection.
    #[error("there is no collection {collection} in `{path}`: list the collections to see their names")]
    UnknownCollection {
        /// The wanted name.
        collection: CollectionName,
        /// The source.
        path: String,
    },
    /// The collection changed during every attempt to open it at one point.
    #[error(
        "collection {collection} kept changing: {attempts} attempts to open it at one point failed, the last because {reason}; try again when fewer collections are dropped, flushed or compacted"
    )]
    KeepsChanging {
        /// Which collection.
        collection: CollectionName,
        /// How often it was tried.
        attempts: u32,
        /// What changed during the last attempt.
        reason: String,
    },
    /// An immutable file became shorter while it was read.
    #[error("`{path}` was changed while it was read: {reason}; run the backup again")]
    FileChanged {
        /// Which file.
        path: String,
        /// What was seen.
        reason: String,
    },
    /// A range outside the file was asked for.
    #[error("bytes {offset} to {end} are outside of `{path}`, which has {size_bytes} bytes")]
    OutOfRange {
        /// Which file.
        path: String,
        /// First byte.
        offset: u64,
        /// One past the last byte.
        end: u64,
        /// Its size.
        size_bytes: u64,
    },
    /// A limit of this crate was hit.
    #[error("`{path}` exceeds a limit: {what} is {used}, the limit is {limit}")]
    LimitExceeded {
        /// Which file or folder.
        path: String,
        /// What was counted, with its unit.
        what: &'static str,
        /// How much it is.
        used: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// A program has the target database open.
    #[error("`{path}` is in use: a program holds its LOCK; close the database there, then restore again")]
    TargetInUse {
        /// The target.
        path: String,
    },
    /// Another restore into the same target is under way.
    #[error("another restore is writing into `{path}`: wait for it to end, then restore again")]
    RestoreRunning {
        /// Its staging folder.
        path: String,
    },
    /// The target already has a collection of that name.
    #[error(
        "`{path}` already has a collection {collection}: restore under another name, or drop that collection first"
    )]
    CollectionExists {
        /// The target.
        path: String,
        /// The name that is taken.
        collection: CollectionName,
    },
    /// The target's disk is too full.
    #[error(
        "not enough space for `{path}`: {needed_bytes} bytes are needed, {available_bytes} are free; free some space or restore elsewhere"
    )]
    NoSpace {
        /// The target.
        path: String,
        /// What the restore needs.
        needed_bytes: u64,
        /// What the file system has.
        available_bytes: u64,
    },
    /// A plan cannot be carried out.
    #[error("this cannot be restored: {reason}")]
    BadPlan {
        /// What is wrong with it.
        reason: String,
    },
    /// Collections of one kind of cluster cannot live in the other.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    /// The address of a server cannot be one.
    #[error("`{endpoint}` is not the address of a Milvus server: {reason}")]
    BadServerAddress {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server answers there, or the connection broke.
    #[error(
        "the Milvus server at `{endpoint}` cannot be reached: {reason}; see that it runs and that address, port and TLS are right"
    )]
    ServerUnreachable {
        /// Its address.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The server took too long.
    #[error(
        "the Milvus server at `{endpoint}` did not answer {call} within {waited_ms} ms: see whether it is overloaded, then try again"
    )]
    NoAnswer {
        /// Its address.
        endpoint: String,
        /// The call.
        call: &'static str,
        /// How long was waited.
        waited_ms: u64,
    },
    /// User, password or token are wrong or missing.
    #[error("the Milvus server at `{endpoint}` does not let us in: {reason}; check user and password, or the token")]
    NotLetIn {
        /// Its address.
        endpoint: String,
        /// What it said.
        reason: String,
    },
    /// The user lacks a right.
    #[error("the Milvus user may not call {call}: {reason}; give it a role with that privilege, or use another user")]
    NotPermitted {
        /// The call.
        call: &'static str,
        /// What the server said.
        reason: String,
    },
    /// The server does not know a call.
    #[error("Milvus {version} does not offer {call}, which is needed here: use a server that does")]
    CallNotOffered {
        /// The call.
        call: &'static str,
        /// The server's version.
        version: String,
    },
    /// The server understood and said no.
    #[error("Milvus refused {call}: {reason} (code {code})")]
    CallRefused {
        /// The call.
        call: &'static str,
        /// The server's number for it.
        code: i32,
        /// What that means here.
        refusal: Refusal,
        /// What the server said.
        reason: String,
    },
    /// The server is older than what can be read.
    #[error(
        "Milvus {version} is too old to be backed up: its deletes would be lost; 2.3 and newer can be, so upgrade it first"
    )]
    TooOldServer {
        /// Its version.
        version: String,
    },
    /// The server's files cannot be reached.
    #[error("the files of the Milvus server cannot be read at `{storage}`: {reason}")]
    BadStorage {
        /// Folder or bucket.
        storage: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A segment with rows has no files: mostly the root path or the bucket is not the server's.
    #[error(
        "collection {collection} has a segment of {rows} rows, but `{folder}` holds no file of it: the storage that is configured here is not the one this server writes to; give its root path (minio.rootPath or localStorage.path) and bucket (minio.bucketName); `longshore source check` helps to find them"
    )]
    SegmentWithoutFiles {
        /// Which collection.
        collection: CollectionName,
        /// Rows the server says it has.
        rows: u64,
        /// Where its files were looked for.
        folder: String,
    },
    /// A flush did not end.
    #[error(
        "Milvus did not finish flushing collection {collection} within {waited_ms} ms: see whether it is overloaded or its storage is full, then try again"
    )]
    FlushTakesTooLong {
        /// Which collection.
        collection: CollectionName,
        /// How long was waited.
        waited_ms: u64,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] ModelError),
    /// A backup does not fit the server it is to be restored into.
    #[error(
        "a backup of Milvus {backup_version} is not restored into Milvus {version} at `{endpoint}`: {reason}; use another server, or say that any version will do"
    )]
    WrongVersion {
        /// The server's address.
        endpoint: String,
        /// Its version.
        version: String,
        /// The version of the server that was backed up.
        backup_version: String,
        /// What does not fit.
        reason: String,
    },
    /// What is in a backup cannot be restored by this version.
    #[error(
        "collections that cannot be restored: {collections}: {reason}; nothing was made; leave them out, or write them out for milvus-backup with `longshore export`"
    )]
    CannotBeRestored {
        /// Which ones, by their names in the backup.
        collections: String,
        /// Why.
        reason: String,
    },
    /// The server could not import files that are known to be right.
    #[error("Milvus could not import partition `{partition}` of collection {collection}: {reason}")]
    ImportFailed {
        /// Which collection.
        collection: CollectionName,
        /// Which partition.
        partition: String,
        /// What the server said.
        reason: String,
    },
    /// It is not known what became of an import.
    #[error(
        "what became of an import into collection {collection} is not known: {reason}; see whether the server is well, then restore again"
    )]
    ImportLost {
        /// Which collection.
        collection: CollectionName,
        /// What was seen.
        reason: String,
    },
    /// A collection that was made by a restore is to be dropped, and an import may still be going into it.
    #[error(
        "collection {collection} was not dropped, because an import may still be going into it ({reason}) and would block the \
         server; the next restore into the same staging folder drops it once the import has ended, or drop it by hand then"
    )]
    ImportUnderWay {
        /// Which collection.
        collection: CollectionName,
        /// What the server says of the import.
        reason: String,
    },
    /// A restored collection is not what was backed up.
    #[error("collection {collection} was not restored as it was backed up: {what}")]
    RowsDiffer {
        /// Which collection.
        collection: CollectionName,
        /// What is different, and by how much.
        what: String,
    },
    /// An index could not be made.
    #[error("index `{index}` of collection {collection} could not be made: {reason}")]
    IndexFailed {
        /// Which collection.
        collection: CollectionName,
        /// Which index.
        index: String,
        /// What the server said.
        reason: String,
    },
    /// A restore failed, and not all that it had made could be taken back, in the server or below the staging folder.
    #[error("{error}; and this is left: {left}; the next restore into the same staging folder removes it")]
    LeftBehind {
        /// Why the restore failed.
        error: Box<SourceError>,
        /// What is left.
        left: String,
    },
    /// Somebody asked for it.
    #[error("it was stopped; what had been restored so far was taken back")]
    Stopped,
    /// A task of this process was cancelled.
    #[error("work was cut off because the program is shutting down")]
    Cancelled,
}
