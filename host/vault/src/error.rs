//! The one error of this crate. Messages are sentences that say what is wrong, where, and what to do next.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_model::{BackupId, JobId, VaultId};
use thiserror::Error;
use tokio::task::JoinError;

use crate::{BlobId, SessionId};

/// Why an operation on a vault failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no vault, and nothing else either.
    #[error("there is no vault at {place}: it is empty. Create one there, or check the address")]
    Empty {
        /// Where.
        place: String,
    },
    /// There is no vault, but something else.
    #[error("{place} is not a vault: it holds {found}. Choose an empty folder, or check the address")]
    Foreign {
        /// Where.
        place: String,
        /// The first few names found there.
        found: String,
    },
    /// A vault was to be created where one is.
    #[error("{place} already holds the vault {vault_id}. Open it, or choose another place")]
    AlreadyAVault {
        /// Where.
        place: String,
        /// Its id.
        vault_id: VaultId,
    },
    /// Written by a newer Longshore.
    #[error("`{object}` has format {found}, this Longshore reads up to {supported}. Install a newer Longshore")]
    NewerFormat {
        /// Which object.
        object: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// Uses something this version cannot do.
    #[error("`{object}` uses {what}, which this Longshore cannot read. Install a newer Longshore")]
    Unsupported {
        /// Which object.
        object: String,
        /// What it uses.
        what: String,
    },
    /// What lies there is a vault's, but its header is gone.
    #[error(
        "the header `longshore-vault.json` of {place} is lost; its backups are not touched by this. Restore this one file \
         from a copy, or make it again from another vault of the project: `longshore vault repair {place} --header-from \
         <VAULT>`"
    )]
    LostHeader {
        /// Where.
        place: String,
    },
    /// The header is there, but cannot be read.
    #[error(
        "the header `longshore-vault.json` of {place} is damaged: {reason}. Its backups are not touched by this. Restore \
         this one file from a copy, or make it again from another vault of the project: `longshore vault repair {place} \
         --header-from <VAULT>`"
    )]
    DamagedHeader {
        /// Where.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refused or failed.
    #[error("could not {action} `{key}`: {source}")]
    Store {
        /// What was tried, for example `write`.
        action: &'static str,
        /// The object.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The store is full.
    #[error(
        "no space is left in the vault: could not write `{key}`. Free some space or use another place, then run it \
         again; nothing of this backup counts, and what was already stored is reused"
    )]
    StorageFull {
        /// The object that did not fit.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A local folder could not be used.
    #[error("could not {action} `{}`: {source}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The writing of a manifest ended in an error, and so did looking whether it was written.
    #[error(
        "it is not known whether `{key}` was written: {source}. List the backups once the vault answers again; if this \
         one is listed it is whole"
    )]
    Uncertain {
        /// The manifest.
        key: String,
        /// What the store said first.
        source: object_store::Error,
    },
    /// No such backup here.
    #[error("there is no backup {backup_id} in {place}. List the backups to see which there are")]
    NoSuchBackup {
        /// Which.
        backup_id: BackupId,
        /// Where.
        place: String,
    },
    /// The backup exists, but none of it is in this vault.
    #[error("the backup {backup_id} has no part in {place}: its collections are in {elsewhere}")]
    NoPartHere {
        /// Which.
        backup_id: BackupId,
        /// Where it was looked for.
        place: String,
        /// Vaults that hold parts.
        elsewhere: String,
    },
    /// An object that must be there is not.
    #[error("`{object}` is missing: {what} cannot be read without it. Run verify to see what else is hit")]
    MissingObject {
        /// What needs it.
        what: String,
        /// Its key.
        object: String,
    },
    /// Bytes are not what they were when they were stored.
    #[error("{what} is damaged in `{object}`: expected {expected}, found {found}. Run verify to see what else is hit")]
    Damaged {
        /// What cannot be trusted.
        what: String,
        /// Where it lies.
        object: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A blob that a manifest names is in no pack.
    #[error("the blob {blob} is in no pack of {place}. Run verify to see which collections are hit")]
    UnknownBlob {
        /// Which.
        blob: BlobId,
        /// Where.
        place: String,
    },
    /// A manifest contradicts itself.
    #[error("the manifest `{object}` is not valid: {reason}")]
    BadManifest {
        /// Which, or what it would have become.
        object: String,
        /// What contradicts what.
        reason: String,
    },
    /// Something is larger than the limit says.
    #[error("{what} has {size_bytes} bytes; the limit is {limit_bytes}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size.
        size_bytes: u64,
        /// The most there may be.
        limit_bytes: u64,
    },
    /// More of something than the limit says.
    #[error("{what}: {count} is more than the limit of {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: u64,
        /// The most there may be.
        limit: u64,
    },
    /// An encoder failed, or what it made does not decode to what went in.
    #[error("the codec {codec} failed on a piece of {plain_bytes} bytes: {reason}. Nothing of it was stored")]
    Codec {
        /// Which.
        codec: String,
        /// Length of what went in.
        plain_bytes: usize,
        /// What happened.
        reason: String,
    },
    /// Reading what was to be stored failed.
    #[error("{source}")]
    Input {
        /// What the source said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier step of the session failed; nothing more is stored in it.
    #[error("{cause}")]
    SessionFailed {
        /// What failed first.
        cause: Arc<VaultError>,
    },
    /// The session ended; nothing more can be put into it.
    #[error("this backup session has ended: begin a new one")]
    SessionEnded,
    /// A task of the session ended without a result.
    #[error("a task that {task} stopped before it was done: {reason}. Nothing of this run counts; run it again")]
    TaskStopped {
        /// What it did.
        task: &'static str,
        /// Why, as far as known.
        reason: String,
    },
    /// The job's pin is gone or was not refreshed in time, so a prune may have removed what the job relies on.
    #[error("the pin of {job_id} has lapsed ({reason}): nothing was committed. Run the job again")]
    PinLapsed {
        /// Which job.
        job_id: JobId,
        /// Gone, or how old.
        reason: String,
    },
    /// The backup was deleted while a job was still writing it.
    #[error(
        "the backup {backup_id} was deleted from {place} while it was being written: nothing of it counts. Run the job \
         again if the backup is wanted"
    )]
    Withdrawn {
        /// Which backup.
        backup_id: BackupId,
        /// Where.
        place: String,
    },
    /// The content is encrypted, and no reader key was given.
    #[error(
        "this is encrypted and can be read only with a reader key of the vault: give one (an age identity, \
         `AGE-SECRET-KEY-1…`; the recovery key is one)"
    )]
    Locked,
    /// A pack could only be copied with bytes in it that were erased.
    #[error(
        "`{object}` of {place} may still hold bytes of a collection that was erased, and without a reader key the rest of \
         it cannot be had: prune that vault, which ends the erasure, and copy again; or copy with a reader key. Where the \
         record of the erasure cannot be read, verify that vault first"
    )]
    HoldsErased {
        /// The pack.
        object: String,
        /// Where it lies.
        place: String,
    },
    /// An encrypted vault was opened without the key that this needs.
    #[error(
        "the vault {place} is encrypted: give its writer key (`LONGSHORE-WRITER-KEY-1-…`) to back up into it, or a \
         reader key (`AGE-SECRET-KEY-1…`) to read it, too"
    )]
    KeyNeeded {
        /// Where.
        place: String,
    },
    /// A key is not one of this vault.
    #[error("the {kind} that was given is not one of the vault {place}: {needed}")]
    WrongKey {
        /// `writer key` or `reader key`.
        kind: &'static str,
        /// Where.
        place: String,
        /// Which key is needed.
        needed: String,
    },
    /// The text of a key cannot be read. Never repeats any of it.
    #[error("this is not a {kind}: {reason}")]
    BadKey {
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Keys were given for a vault that is not encrypted.
    #[error(
        "keys were given, but the vault {place} is not encrypted: anybody who can read its store can read it. Open it \
         without keys if that is what you want; if it was encrypted before, somebody replaced its header"
    )]
    NotEncrypted {
        /// Where.
        place: String,
    },
    /// An encrypted vault without a list of recipients that can be trusted.
    #[error(
        "the vault {place} has no list of recipients that was made with its writer key: nothing is written that nobody \
         could read, and whose a reader key is cannot be told. Heal it with the writer key alone from another vault of the \
         project, or copy `keys/recipients` from a copy of this one"
    )]
    NoRecipients {
        /// Where.
        place: String,
    },
    /// An object was made or changed by somebody without the writer key.
    #[error(
        "`{object}` was not made with the keys of this vault, or was changed afterwards: its authentication code does not \
         match. Run verify, and find out who can write to the store"
    )]
    Unauthentic {
        /// Its key.
        object: String,
    },
    /// The wrapped data key of a session is not there, or cannot be opened.
    #[error(
        "the key of session {session} {reason}: what was encrypted in that session cannot be read from {place}. Copy \
         `keys/sessions/{session}` from another vault of the project"
    )]
    SessionKey {
        /// Which session.
        session: SessionId,
        /// What is wrong with it.
        reason: String,
        /// No good wrapped key of it is there at all; otherwise it is not for the key that was given.
        lost: bool,
        /// Where.
        place: String,
    },
    /// The cipher failed, or what it made cannot be decrypted: a fault of the machine.
    #[error("the machine could not {what}: nothing of it was stored. Check its memory and run it again")]
    Cipher {
        /// What was tried.
        what: &'static str,
    },
    /// This host's clock and the store's differ too much for a prune to judge ages.
    #[error(
        "the store of {place} says it is {store}, this host says it is {host}: more than {} minutes apart, so nothing is \
         pruned. Set the clock right (NTP), then run it again", limit_ms / 60_000
    )]
    ClockSkew {
        /// Where.
        place: String,
        /// The store's time.
        store: longshore_model::Timestamp,
        /// This host's.
        host: longshore_model::Timestamp,
        /// How far apart they may be, in milliseconds.
        limit_ms: i64,
    },
    /// The store does not let these credentials delete.
    #[error(
        "the store refuses to delete `{key}`: {source}. Backups, restores and copies need no permission to delete, a \
         prune does: run it with credentials that may delete"
    )]
    MayNotDelete {
        /// The first object it was refused for.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A prune took too long between looking and deleting.
    #[error("this prune of {place} was held up for too long after it had looked what is needed: run it again")]
    PruneHeldUp {
        /// Where.
        place: String,
    },
    /// A mark is there and cannot be read.
    #[error(
        "the mark `{object}` in {place} cannot be read ({reason}): it may say what a prune is deleting just now, so nothing is \
         written or pruned here. `longshore heal` moves it out of the way, or delete it yourself while no prune runs: nothing \
         is lost with it. Then run this again"
    )]
    UnreadableMark {
        /// Its key.
        object: String,
        /// Where.
        place: String,
        /// What came of reading it.
        reason: String,
    },
    /// Marks of prunes come and go faster than they can be read.
    #[error(
        "the marks of running prunes changed in each of {tries} attempts to read them: run it again when a prune has ended"
    )]
    MarksKeepChanging {
        /// How often they were listed.
        tries: u32,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {reason}")]
    NoRandomness {
        /// What it said.
        reason: String,
    },
}

impl VaultError {
    /// Wraps what a store said while `key` was written, read, listed or deleted; a full disk gets its own sentence.
    pub(crate) fn store(action: &'static str, key: impl std::fmt::Display, source: object_store::Error) -> Self {
        let key = key.to_string();
        if is_storage_full(&source) { Self::StorageFull { key, source } } else { Self::Store { action, key, source } }
    }

    /// For a task that ended without a result.
    pub(crate) fn stopped(task: &'static str) -> impl Fn(JoinError) -> Self + Copy {
        move |error| Self::TaskStopped { task, reason: error.to_string() }
    }

    /// True when the disk below a local vault cannot read what is there (`EIO`): damage, which asking again does not cure.
    pub(crate) fn is_unreadable_medium(&self) -> bool {
        const EIO: i32 = 5;
        matches!(self, Self::Store { source, .. } if has_below(source, |io| io.raw_os_error() == Some(EIO)))
    }

    /// True when an object is there and reading it again will give nothing else: the disk fails, or it is larger than any of
    /// its kind.
    pub(crate) fn is_unreadable_object(&self) -> bool {
        matches!(self, Self::TooLarge { .. }) || self.is_unreadable_medium()
    }

    /// True when a manifest is there and not what its name says, or the disk cannot read it.
    pub(crate) fn is_bad_manifest(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::BadManifest { .. } | Self::Unauthentic { .. })
            || self.is_unreadable_medium()
    }

    /// True when a manifest or a blob is lost or damaged, or the last key to it is: a finding about the vault, where others
    /// say that nobody knows.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.is_bad_manifest() || matches!(self, Self::MissingObject { .. } | Self::SessionKey { lost: true, .. })
    }

    /// True when the store did not answer: what is in the vault is not known, and nothing is said about damage.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::Store { .. } | Self::StorageFull { .. } | Self::TaskStopped { .. } => !self.is_unreadable_medium(),
            Self::SessionFailed { cause } => cause.is_unanswered(),
            _ => false,
        }
    }

    /// True when the vault has no space left.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::StorageFull { .. } => true,
            Self::SessionFailed { cause } => cause.is_storage_full(),
            _ => false,
        }
    }
}

/// Looks for "no space left" anywhere below a store's error.
fn is_storage_full(error: &object_store::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    has_below(error, |io| matches!(io.kind(), StorageFull | QuotaExceeded))
}

/// Looks for an error of the system anywhere below a store's error.
fn has_below(error: &object_store::Error, wanted: impl Fn(&std::io::Error) -> bool) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(&wanted) {
            return true;
        }
        next = error.source();
    }
    false
}
