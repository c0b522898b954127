//! Jobs: what runs, and in which state (Zilliz Cloud v2 spellings, and our own kinds beside them).

use serde::{Deserialize, Serialize};

use crate::backup::spelled;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobType {
    /// Makes a backup.
    Backup,
    /// Copies a backup into another region's vault.
    Copy,
    /// Restores a backup.
    Restore,
    /// Checks a backup.
    Verify,
    /// Writes a backup out as plain files.
    Export,
    /// Takes a database of elsewhere in.
    Migration,
}

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Accepted, not started.
    Pending,
    /// Running.
    InProgress,
    /// Ended well.
    Successful,
    /// Ended badly; `reason` says why.
    Failed,
    /// Asked to stop.
    Canceling,
    /// Stopped on request.
    Canceled,
}

impl JobStatus {
    /// True for a state that never changes again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Canceled)
    }
}

spelled!(
    JobType,
    "job type",
    "BACKUP, COPY, RESTORE, VERIFY, EXPORT or MIGRATION",
    Backup = "BACKUP",
    Copy = "COPY",
    Restore = "RESTORE",
    Verify = "VERIFY",
    Export = "EXPORT",
    Migration = "MIGRATION"
);
spelled!(
    JobStatus,
    "job status",
    "PENDING, IN_PROGRESS, SUCCESSFUL, FAILED, CANCELING or CANCELED",
    Pending = "PENDING",
    InProgress = "IN_PROGRESS",
    Successful = "SUCCESSFUL",
    Failed = "FAILED",
    Canceling = "CANCELING",
    Canceled = "CANCELED"
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn serde_and_text_spell_alike() {
        for status in [
            JobStatus::Pending,
            JobStatus::InProgress,
            JobStatus::Successful,
            JobStatus::Failed,
            JobStatus::Canceling,
            JobStatus::Canceled,
        ] {
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
            assert_eq!(status.as_str().parse::<JobStatus>().unwrap(), status);
        }
    }
}
