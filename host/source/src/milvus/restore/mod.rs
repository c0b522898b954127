//! A Milvus server to restore into.
//!
//! Contract: files are staged where the server reads them, read back, compared and parsed before the server hears of them: one
//! wrong byte given to `Import` ends the whole server (2.3.5), and a missing folder is no error to it but an empty
//! collection. Then every collection is made under a temporary name, imported, counted and compared row by row, and
//! indexed; only when all are proven do they get their names, one call each. So a restore that fails leaves the server
//! as it was, and one that is killed leaves collections called `longshore_restore_…`, which the next start of any restore into
//! the same staging folder drops: they stand in a marker there.
//!
//! Failure: [`SourceError`]; [`SourceError::LeftBehind`] names what could not be taken back.

mod access;
mod begin;
mod check;
mod commit;
mod earlier;
mod grants;
mod import;
mod made;
mod marker;
mod proof;
mod run;
mod schema;
mod server;
mod tasks;
mod unfinished;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use longshore_model::SystemClock;

pub use earlier::{check_until, check_until_ms};

use super::bucket_storage::BucketStorage;
use super::shared::Shared;
use super::{MilvusServer, StorageLocation};
use crate::{Limits, RestoreRun, RestoreTarget, RestoreWatch, SourceError, TargetPlan};

/// Name of the staging folder in a server's own storage, where nobody names another one. No dot may be in it: what follows a
/// dot is the kind of a file to `Import`.
const DEFAULT_STAGING: &str = "longshore-staging";

/// Where files are put for the server to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingPlace {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// The same folder as the server sees it, where that is another path, as in a container.
    pub server_folder: Option<PathBuf>,
}

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct MilvusTargetOptions {
    /// Where files are put; a folder in the server's own storage when it is not named. Must be named for a server that keeps
    /// its files in a bucket: there they are put only when they were checked in a folder of this machine.
    pub staging: Option<StagingPlace>,
    /// Restore each collection as it was when this millisecond since 1970 began: a time up to the point of every collection
    /// ([`check_until`]).
    pub until_ms: Option<u64>,
    /// Restore into a server whose version is older than the backup's, or cannot be compared.
    pub any_version: bool,
}

/// A Milvus server, 2.3 or newer, to restore into. It is asked when a restore begins.
#[derive(Debug, Clone)]
pub struct MilvusTarget {
    shared: Arc<Shared>,
    options: MilvusTargetOptions,
}

impl MilvusTarget {
    /// A server; nothing is connected yet.
    #[must_use]
    pub fn new(server: MilvusServer, options: MilvusTargetOptions) -> Self {
        Self::with_limits(server, options, Limits::DEFAULT)
    }

    /// The same with chosen limits.
    #[must_use]
    pub fn with_limits(server: MilvusServer, options: MilvusTargetOptions, limits: Limits) -> Self {
        Self { shared: Arc::new(Shared::new(server, limits, Arc::new(SystemClock))), options }
    }

    fn staging(&self) -> Result<StagingPlace, SourceError> {
        match (&self.shared.server.storage, &self.options.staging) {
            (_, Some(staging)) => Ok(staging.clone()),
            (StorageLocation::Folder(root), None) => {
                Ok(StagingPlace { folder: root.join(DEFAULT_STAGING), server_folder: None })
            }
            (StorageLocation::Bucket(_), None) => Err(SourceError::BadPlan {
                reason:
                    "the server keeps its files in a bucket, and no folder of this machine is named in which they are \
                         collected and checked before they are put there; name one with room for the whole restore \
                         ([cluster.milvus.staging] folder)"
                        .to_owned(),
            }),
        }
    }

    /// The server's bucket, where it keeps its files in one.
    fn bucket(&self) -> Result<Option<Arc<BucketStorage>>, SourceError> {
        match &self.shared.server.storage {
            StorageLocation::Folder(_) => Ok(None),
            StorageLocation::Bucket(location) => Ok(Some(Arc::new(BucketStorage::new(location, self.shared.limits)?))),
        }
    }
}

#[async_trait]
impl RestoreTarget for MilvusTarget {
    async fn begin(&self, plan: &TargetPlan, watch: &dyn RestoreWatch) -> Result<Box<dyn RestoreRun>, SourceError> {
        Ok(Box::new(begin::begin(self, Arc::new(plan.clone()), watch).await?))
    }
}
