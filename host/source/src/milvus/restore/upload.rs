//! The files of a call of Import, right before it: compared with the backup once more, and put where the server reads them.
//!
//! Contract: one wrong byte given to `Import` ends the whole server (2.3.5), and hours may lie between the end of a file's staging
//! and its call. So no call is made before the bytes of all its files have the digests that they had when they were
//! compared with the backup. A server that keeps its files in a folder reads those that are staged. For one that keeps them in a
//! bucket they are put into it, the only one it reads, piece by piece within a budget of memory, read back, and removed when
//! the call is over. They lie below `<root path>/longshore-staging/<name of the staging folder>`, so what a killed run left is
//! removed with the staging folder that it left.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use longshore_model::Digest;

use super::DEFAULT_STAGING;
use super::begin::{STAGED, Staged};
use super::made::Made;
use super::run::Inner;
use super::tasks::ImportTask;
use crate::SourceError;
use crate::disk::{OpenFile, ReadAt, io_error};
use crate::milvus::bucket_storage::{BucketStorage, Pieces};
use crate::staged::{aside, digest};

/// Where the files of a staging folder lie, below the server's root path.
pub(super) fn place(staging_folder: &str) -> String {
    format!("{DEFAULT_STAGING}/{staging_folder}")
}

/// A staged file.
struct StagedFile {
    staged: Arc<Staged>,
    path: String,
}

impl StagedFile {
    fn shown(&self) -> String {
        self.staged.files.root.show(&self.path)
    }

    fn open(&self) -> Result<OpenFile, SourceError> {
        let gone = || SourceError::Damaged { path: self.shown(), reason: "it is gone".to_owned() };
        self.staged.files.root.file(&self.path)?.ok_or_else(gone)
    }

    /// Work on the file for a thread that may wait.
    async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(OpenFile) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let file = Self { staged: Arc::clone(&self.staged), path: self.path.clone() };
        aside::work(&self.staged, move |_| work(file.open()?)).await
    }
}

#[async_trait]
impl Pieces for StagedFile {
    async fn size_bytes(&self) -> Result<u64, SourceError> {
        self.wait(|file| Ok(file.stat.size_bytes)).await
    }

    async fn piece(&self, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        self.wait(move |file| {
            let mut bytes = vec![0; length];
            file.file.fill(&mut bytes, offset).map_err(|error| io_error("read", &file.shown, error))?;
            Ok(bytes.into())
        })
        .await
    }

    fn is_another(&self) -> SourceError {
        let reason = "it is no longer what was compared with the backup, so the server is not given it: look at the disk of the \
                      staging folder and who writes into it, then restore again"
            .to_owned();
        SourceError::Damaged { path: self.shown(), reason }
    }
}

impl Inner {
    /// See the module.
    pub(super) async fn upload(&self, made: &Made, task: &ImportTask) -> Result<(), SourceError> {
        let staged = self.staged()?;
        let folder = format!("{}/{STAGED}", place(staged.folder.name()));
        let within = format!("{}/", task.folder);
        let files = made.places.iter().zip(&made.digests).filter(|(path, _)| path.starts_with(&within));
        let side_by_side = self.target.shared.limits.list_calls.max(1);
        stream::iter(files.map(Ok))
            .try_for_each_concurrent(side_by_side, |(path, expected)| {
                let file = StagedFile { staged: Arc::clone(&staged), path: path.clone() };
                let (expected, to) = (*expected, format!("{folder}/{path}"));
                async move {
                    match &self.bucket {
                        Some(bucket) => bucket.put(&to, &file, expected).await,
                        None => check(&file, expected).await,
                    }
                }
            })
            .await
    }

    /// Removes the files of a call from the bucket. What stays is removed when the restore ends, and a note then says what
    /// could not be.
    pub(super) async fn remove_upload(&self, task: &ImportTask) {
        let (Some(bucket), Ok(staged)) = (&self.bucket, self.staged()) else { return };
        let folder = place(staged.folder.name());
        if let Err(error) = bucket.remove_below(&format!("{folder}/{STAGED}/{}", task.folder)).await {
            tracing::warn!(%error, "files that a server was given stay in its bucket for now");
        }
    }
}

async fn check(file: &StagedFile, expected: Digest) -> Result<(), SourceError> {
    if file.wait(|file| digest(&file)).await? == expected { Ok(()) } else { Err(file.is_another()) }
}

/// Removes all that a staging folder's run put into the bucket.
pub(super) async fn remove_all(bucket: Option<&BucketStorage>, staging_folder: &str) -> Result<(), SourceError> {
    match bucket {
        Some(bucket) => bucket.remove_below(&place(staging_folder)).await,
        None => Ok(()),
    }
}
