//! Whether somebody may do something at all, asked before anything else about a request is looked at.

use longshore_model::{BackupId, ClusterId, JobId};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, Privilege, forbidden};

/// An action as a caller wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// Its name in the audit log, for example `backup.create`; `None` for one that only reads, which is not noted there.
    pub action: Option<&'static str>,
    /// What the caller wants, after "may not".
    pub what: &'static str,
    /// What a role needs for it.
    pub needs: Privilege,
    /// What it is about.
    pub target: Target<'a>,
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The host, or many things.
    Host,
    /// A cluster.
    Cluster(&'a ClusterId),
    /// A backup of a cluster.
    Backup(&'a ClusterId, &'a BackupId),
    /// A job.
    Job(&'a JobId),
}

impl Target<'_> {
    fn subject(self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Cluster(cluster) => cluster.to_string(),
            Self::Backup(_, backup) => backup.to_string(),
            Self::Job(job) => job.to_string(),
        }
    }
}

impl Host {
    /// Refuses what the role or the scope of a key does not allow, and notes that in the audit log. What does not exist is
    /// not refused here: the action itself says so. Each method of a host checks the same again.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::OutOfScope`], [`EngineError::Catalog`].
    pub async fn permit(&self, who: &Principal, attempt: Attempt<'_>) -> Result<(), EngineError> {
        let outcome = self.permit_now(who, attempt).await;
        if let (Some(action), Err(EngineError::Forbidden { .. } | EngineError::OutOfScope { .. })) =
            (attempt.action, &outcome)
        {
            self.audit(who, action, &attempt.target.subject(), &outcome).await;
        }
        outcome
    }

    async fn permit_now(&self, who: &Principal, attempt: Attempt<'_>) -> Result<(), EngineError> {
        if !who.role.allows(attempt.needs) {
            return Err(forbidden(who, attempt.what));
        }
        let reached = match attempt.target {
            Target::Host => Ok(()),
            Target::Cluster(cluster) => self.cluster(who, cluster).await.map(|_| ()),
            Target::Backup(cluster, backup) => self.backup(who, cluster, backup).await.map(|_| ()),
            Target::Job(job) => self.describe_job(who, job).await.map(|_| ()),
        };
        match reached {
            Err(EngineError::NotFound { .. }) => Ok(()),
            reached => reached,
        }
    }
}
