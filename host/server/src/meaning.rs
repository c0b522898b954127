//! What an error of the engine means to a client: HTTP status, code, sentence.

use axum::http::StatusCode;
use longshore_catalog::CatalogError;
use longshore_engine::EngineError;

use crate::answer::Refusal;
use crate::code;

/// What was asked, for errors that have a code per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A backup.
    Create,
    /// The restore of a cluster.
    RestoreCluster,
    /// The restore of collections.
    RestoreCollection,
    /// A database of elsewhere.
    Migrate,
    /// A new configuration.
    Reload,
    /// Anything else.
    Other,
}

impl Asked {
    /// The code of an error that has none of its own.
    const fn code_or(self, other: u32) -> u32 {
        match self {
            Self::Create => code::CREATE_FAILED,
            Self::RestoreCluster => code::RESTORE_CLUSTER_FAILED,
            Self::RestoreCollection => code::RESTORE_COLLECTION_FAILED,
            Self::Reload => code::RELOAD_REFUSED,
            Self::Migrate | Self::Other => other,
        }
    }

    /// The answer to an error of the engine.
    pub(crate) fn failed(self, error: &EngineError) -> Refusal {
        let message = sentence(error);
        let refuse = |status, code| Refusal::new(status, code, message.clone());
        match error {
            EngineError::Unauthenticated => Refusal::illegal_key(),
            EngineError::Forbidden { .. } => refuse(StatusCode::FORBIDDEN, code::NO_PERMISSION),
            EngineError::OutOfScope { what: "cluster", .. } => {
                refuse(StatusCode::FORBIDDEN, code::CLUSTER_OUT_OF_SCOPE)
            }
            EngineError::OutOfScope { .. } => refuse(StatusCode::FORBIDDEN, code::NO_PERMISSION),
            EngineError::NotFound { what, id } => {
                not_found(what, &format!("There is no {what} `{id}`; list the {what}s to see which there are."))
            }
            EngineError::Catalog(error) => self.catalog(error, &message),
            EngineError::UnknownCollections { .. }
            | EngineError::BadRequest { .. }
            | EngineError::NothingToBackUp { .. }
            | EngineError::Model(_) => refuse(StatusCode::BAD_REQUEST, self.code_or(code::INVALID_FIELD)),
            // The one thing that can be in the way of a new cluster is another one of its name.
            EngineError::Conflict { .. } if self == Self::RestoreCluster => {
                refuse(StatusCode::CONFLICT, code::CLUSTER_NAME_TAKEN)
            }
            EngineError::NoFreeServer { .. } => refuse(StatusCode::CONFLICT, self.code_or(code::CONFLICT)),
            EngineError::Conflict { .. } => refuse(StatusCode::CONFLICT, self.code_or(code::CONFLICT)),
            // The operator asked for the reload and has to read what is wrong with the new configuration.
            EngineError::Config { .. }
            | EngineError::Plugin { .. }
            | EngineError::Untrusted { .. }
            | EngineError::Policy(_)
            | EngineError::File { .. }
                if self == Self::Reload =>
            {
                refuse(StatusCode::UNPROCESSABLE_ENTITY, code::RELOAD_REFUSED)
            }
            // What lies in a volume is the caller's.
            EngineError::Source(_) if self == Self::Migrate => refuse(StatusCode::BAD_REQUEST, code::INVALID_FIELD),
            // The cluster or the vault does not answer as it should: the sentence helps whoever asked.
            EngineError::Source(_) | EngineError::Vault { .. } | EngineError::DamagedBackup { .. } => {
                tracing::error!(error = %message, "a cluster or vault could not be used");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, self.code_or(code::INTERNAL))
            }
            EngineError::Stopped { .. } => refuse(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE),
            _ => {
                tracing::error!(error = %message, "the host failed");
                Refusal::internal()
            }
        }
    }

    fn catalog(self, error: &CatalogError, message: &str) -> Refusal {
        let refuse = |status, code| Refusal::new(status, code, message);
        match error {
            CatalogError::ProjectNotFound { .. } => not_found("project", message),
            CatalogError::ClusterNotFound { .. } => not_found("cluster", message),
            CatalogError::BackupNotFound { .. } | CatalogError::BackupAlreadyDeleted { .. } => {
                not_found("backup", message)
            }
            CatalogError::JobNotFound { .. } => not_found("job", message),
            CatalogError::ManualBackupActive { .. }
            | CatalogError::AutomaticBackupActive { .. }
            | CatalogError::ClusterBusy { .. }
            | CatalogError::BackupBusy { .. }
            | CatalogError::BackupNotAvailable { .. }
            | CatalogError::JobEnded { .. }
            | CatalogError::JobLeased { .. } => refuse(StatusCode::CONFLICT, self.code_or(code::CONFLICT)),
            CatalogError::Invalid { .. } => refuse(StatusCode::BAD_REQUEST, self.code_or(code::INVALID_FIELD)),
            CatalogError::TooLarge { .. } => refuse(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE),
            CatalogError::Busy { .. } | CatalogError::DiskFull { .. } => {
                tracing::error!(error = message, "the catalog cannot be written now");
                let message = "The host's catalog cannot be written now; nothing was changed. Try again later.";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, message)
            }
            _ => {
                tracing::error!(error = message, "the catalog failed");
                Refusal::internal()
            }
        }
    }
}

fn not_found(what: &str, message: &str) -> Refusal {
    match what {
        "cluster" => Refusal::new(StatusCode::NOT_FOUND, code::CLUSTER_NOT_FOUND, message),
        "job" => Refusal::new(StatusCode::NOT_FOUND, code::JOB_NOT_FOUND, message),
        "project" => Refusal::new(StatusCode::NOT_FOUND, code::PROJECT, message),
        "integration" | "volume" => Refusal::bad(code::INVALID_FIELD, message),
        // Regions come in bodies only: the path exists, its content is wrong.
        "region" => Refusal::bad(code::REGION, message),
        _ => Refusal::new(StatusCode::NOT_FOUND, code::BACKUP_NOT_FOUND, message),
    }
}

/// The message as a sentence: a capital letter, a full stop.
pub(crate) fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    // Names in backticks and paths keep their spelling.
    let mut sentence: String = match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => return String::new(),
    };
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}
