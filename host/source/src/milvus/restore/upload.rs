//! Files of a restore in the bucket of a server that keeps its files in one.
//!
//! Contract: files are staged in a folder of this machine, where they are compared with the backup and parsed; then those of one
//! call of Import are put into the server's own bucket, the only one it reads, and read back, right before the call, and
//! removed when it is over. They lie below `<root path>/longshore-staging/<name of the staging folder>`, so what a killed run
//! left is removed with the staging folder that it left.

use futures::{TryStreamExt, stream};

use super::DEFAULT_STAGING;
use super::begin::STAGED;
use super::made::Made;
use super::run::Inner;
use super::tasks::ImportTask;
use crate::SourceError;
use crate::blocking::blocking;
use crate::milvus::bucket_storage::BucketStorage;

/// Where the files of a staging folder lie, below the server's root path.
pub(super) fn place(staging_folder: &str) -> String {
    format!("{DEFAULT_STAGING}/{staging_folder}")
}

impl Inner {
    /// Puts the files of a call into the bucket; nothing where the server reads the staging folder itself.
    pub(super) async fn upload(&self, made: &Made, task: &ImportTask) -> Result<(), SourceError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let staged = self.staged()?;
        let folder = format!("{}/{STAGED}", place(staged.folder.name()));
        let within = format!("{}/", task.folder);
        let files = made.places.iter().filter(|path| path.starts_with(&within));
        stream::iter(files.map(Ok))
            .try_for_each_concurrent(self.target.shared.limits.list_calls.max(1), |path| {
                let (staged, limits, to) = (staged.clone(), self.target.shared.limits, format!("{folder}/{path}"));
                async move {
                    let from = path.clone();
                    let bytes = blocking(&to, move || {
                        let root = &staged.files.root;
                        let gone = || SourceError::Damaged { path: root.show(&from), reason: "it is gone".to_owned() };
                        root.file(&from)?.ok_or_else(gone)?.read_all(limits.binlog_bytes)
                    });
                    bucket.put(&to, bytes.await?.into()).await
                }
            })
            .await
    }

    /// Removes the files of a call from the bucket.
    pub(super) async fn remove_upload(&self, task: &ImportTask) -> Result<(), SourceError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let folder = place(self.staged()?.folder.name());
        bucket.remove_below(&format!("{folder}/{STAGED}/{}", task.folder)).await
    }
}

/// Removes all that a staging folder's run put into the bucket.
pub(super) async fn remove_all(bucket: Option<&BucketStorage>, staging_folder: &str) -> Result<(), SourceError> {
    match bucket {
        Some(bucket) => bucket.remove_below(&place(staging_folder)).await,
        None => Ok(()),
    }
}
