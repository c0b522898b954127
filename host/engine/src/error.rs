//! Everything that can go wrong in the engine, as sentences that say what to do next.

use longshore_model::{ModelError, Reason, RegionId};
use thiserror::Error;

/// Why a plan, a job or a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A value has the wrong form.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The cluster could not be read or written.
    #[error(transparent)]
    Source(#[from] longshore_source::SourceError),
    /// A vault could not be read or written.
    #[error("vault of region {region}: {source}")]
    Vault {
        /// Which region's vault.
        region: RegionId,
        /// What the vault said.
        source: Box<longshore_vault::VaultError>,
    },
    /// A policy failed or refused.
    #[error(transparent)]
    Policy(#[from] longshore_policy::PolicyError),
    /// A plugin could not be loaded.
    #[error("plugin {plugin}: {source}")]
    Plugin {
        /// File or built-in name.
        plugin: String,
        /// What the sandbox said.
        source: Box<longshore_sandbox::SandboxError>,
    },
    /// A plugin has no signature that counts here.
    #[error("plugin {plugin} {why}")]
    Untrusted {
        /// File or built-in name.
        plugin: String,
        /// What does not fit, and what to do.
        why: String,
    },
    /// A policy is no longer asked because it failed repeatedly, and nothing may stand in for it.
    #[error(
        "member `{member}` of the {kind} chain of {scope} is in quarantine since {since}: {why}; no earlier version of it \
         has worked, and nothing else may decide in its place. Correct the plugin, its settings or its budget, or let \
         it out with `longshore policy release {member}`"
    )]
    Quarantined {
        /// Which member.
        member: String,
        /// Of which chain.
        kind: longshore_model::PolicyKind,
        /// Whose chain.
        scope: String,
        /// Since when.
        since: longshore_model::Timestamp,
        /// How it failed.
        why: String,
    },
    /// The catalog could not be read or written, or a job rule was broken.
    #[error(transparent)]
    Catalog(#[from] longshore_catalog::CatalogError),
    /// The configuration is wrong.
    #[error("configuration {place}: {what}")]
    Config {
        /// File, and key or line where known.
        place: String,
        /// What is wrong and what to write instead.
        what: String,
    },
    /// The request names collections that the cluster or the backup does not have.
    #[error("no such collection: {}; there {}", names.join(", "), available_sentence(available))]
    UnknownCollections {
        /// The names that were not found.
        names: Vec<String>,
        /// What there is, at most a few.
        available: Vec<String>,
    },
    /// Something named in a request does not exist.
    #[error("no {what} `{id}`")]
    NotFound {
        /// `cluster`, `backup`, `job`, `region`, `project`.
        what: &'static str,
        /// The name that was given.
        id: String,
    },
    /// The request cannot be carried out as it is.
    #[error("{what}")]
    BadRequest {
        /// What is wrong and what to do instead.
        what: String,
    },
    /// The request collides with something that is there or running.
    #[error("{what}")]
    Conflict {
        /// What is in the way and what to do about it.
        what: String,
    },
    /// No empty server is left for a new cluster.
    #[error("{what}")]
    NoFreeServer {
        /// What was looked for, and why none of those that wait will do.
        what: String,
    },
    /// A restore failed.
    #[error("{why}; {left}")]
    RestoreFailed {
        /// Why.
        why: String,
        /// What is in the target now.
        left: String,
    },
    /// The caller's key does not allow this.
    #[error("API key `{key}` has role {role}, which may not {action}")]
    Forbidden {
        /// Name of the key.
        key: String,
        /// Its role.
        role: &'static str,
        /// What was tried.
        action: &'static str,
    },
    /// The caller's key is not for this project or cluster.
    #[error("{}", out_of_scope(key, what, id))]
    OutOfScope {
        /// Name of the key.
        key: String,
        /// `cluster` or `project`; `host` for what concerns all of them.
        what: &'static str,
        /// Which one.
        id: String,
    },
    /// The caller gave no key, or one that is unknown, revoked or expired.
    #[error("the API key is illegal: unknown, revoked or expired")]
    Unauthenticated,
    /// A policy left every collection out.
    #[error("nothing to back up: {why}")]
    NothingToBackUp {
        /// Why, naming the member of the chain where one decided.
        why: String,
    },
    /// What was restored is not what was backed up.
    #[error("restored collection {collection} is not what was backed up: {what}; the target was left as it was")]
    ProofFailed {
        /// Which collection.
        collection: String,
        /// The difference, with numbers.
        what: String,
    },
    /// A manifest says something that does not hold together.
    #[error("backup {backup} is damaged: {what}")]
    DamagedBackup {
        /// Which backup.
        backup: String,
        /// What does not hold.
        what: String,
    },
    /// Another worker took the job over, or the host is stopping.
    #[error("the job was stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
    /// A vault has no room for a backup. Nothing was written.
    #[error(
        "the vault of region {region} needs about {needed_bytes} bytes for this backup, but {place} has \
         {available_bytes} free; free some space, use another place, or leave the check out if most of it is there already"
    )]
    NoSpace {
        /// Which region's vault.
        region: RegionId,
        /// Where it is.
        place: String,
        /// What the backup is estimated to need there, with other vaults on the same file system.
        needed_bytes: u64,
        /// What the file system has.
        available_bytes: u64,
    },
    /// The disk of a restore's target is full.
    #[error(
        "{source}; what was restored so far is kept beside the target, and the same restore, run again, goes on with it"
    )]
    TargetFull {
        /// What did not fit.
        source: longshore_source::SourceError,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {why}")]
    NoRandomness {
        /// What it said.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// What the operating system said and what to do.
        why: String,
    },
    /// A thread that did blocking work ended without an answer.
    #[error("internal error: {what}; please report this")]
    Internal {
        /// What was being done.
        what: String,
    },
}

fn out_of_scope(key: &str, what: &str, id: &str) -> String {
    match what {
        "host" => {
            format!("API key `{key}` is for some projects or clusters only; this call takes a key for everything")
        }
        _ => format!("API key `{key}` is not for {what} `{id}`; use a key whose scope has that {what}"),
    }
}

fn available_sentence(available: &[String]) -> String {
    if available.is_empty() { "are none".to_owned() } else { format!("are {}", available.join(", ")) }
}

impl EngineError {
    /// Names the region whose vault failed; meant for `map_err`.
    pub fn vault(region: &RegionId) -> impl FnOnce(longshore_vault::VaultError) -> Self + use<> {
        let region = region.clone();
        move |source| Self::Vault { region, source: Box::new(source) }
    }

    /// Names the plugin that could not be loaded; meant for `map_err`.
    pub fn plugin(name: &str) -> impl FnOnce(longshore_sandbox::SandboxError) -> Self + use<> {
        let plugin = name.to_owned();
        move |source| Self::Plugin { plugin, source: Box::new(source) }
    }

    /// The reason of a policy that refused, if that is what this is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Reason> {
        match self {
            Self::Policy(longshore_policy::PolicyError::Refused { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    /// True when the same work may succeed later without anybody doing anything: a vault did not answer, was full, or took
    /// a pin away from a job that was held up for too long.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        use longshore_vault::VaultError::{AlreadyAVault, Empty, Folder, PinLapsed, Uncertain};
        match self {
            Self::Vault { source, .. } => {
                source.is_unanswered()
                    // A disk that is not mounted looks like an empty folder, a missing one, or another vault.
                    || matches!(**source, Empty { .. } | Folder { .. } | AlreadyAVault { .. } | PinLapsed { .. } | Uncertain { .. })
            }
            Self::Catalog(error) => error.is_transient(),
            // Somebody may make room.
            Self::NoSpace { .. } => true,
            _ => false,
        }
    }

    /// Builds [`EngineError::File`].
    #[must_use]
    pub fn file(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::File { path: path.display().to_string(), why: why.to_string() }
    }
}
