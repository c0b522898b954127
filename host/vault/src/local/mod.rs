//! A folder as an object store, with the durability an object store promises.
//!
//! `object_store`'s own local store reads, lists and deletes; runs of bytes are read by [`get`], with less to hand over.
//! Objects are written by [`put`], because its own write, with fsync on, synchronises a new folder twice over and does not
//! know folders that another writer has just made. A deletion is synced before it counts, because what is deleted next may
//! rely on it.

mod direct;
mod get;
mod put;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use self::put::{Folders, Mode, WRITE_BYTES, sync_folder};
use crate::VaultError;

/// A folder as an object store.
#[derive(Debug, Clone)]
struct LocalStore {
    inner: LocalFileSystem,
    root: PathBuf,
    folders: Folders,
}

/// Opens an existing folder as a store.
///
/// # Errors
/// [`VaultError::Folder`] when it is not there, is not a folder, or may not be entered.
pub fn local_store(folder: &FilePath) -> std::result::Result<Arc<dyn ObjectStore>, VaultError> {
    let fail = |action| move |source| VaultError::Folder { action, path: folder.to_owned(), source };
    let root = std::fs::canonicalize(folder).map_err(fail("open the folder"))?;
    if !root.is_dir() {
        return Err(fail("open the folder")(std::io::ErrorKind::NotADirectory.into()));
    }
    let inner = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| fail("open the folder")(std::io::Error::other(error)))?
        .with_fsync(true);
    let folders = Folders::new(root.clone());
    Ok(Arc::new(LocalStore { inner, root, folders }))
}

/// Opens a folder as a store; makes the folder if only it is missing, not its parents: those are more likely a typing
/// error or a disk that is not mounted.
///
/// # Errors
/// [`VaultError::Folder`] when it cannot be made or opened.
pub fn create_local_store(folder: &FilePath) -> std::result::Result<Arc<dyn ObjectStore>, VaultError> {
    let fail = |source| VaultError::Folder { action: "create the folder", path: folder.to_owned(), source };
    match std::fs::create_dir(folder) {
        Ok(()) => {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(FilePath::new("."))).map_err(fail)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fail(error)),
    }
    local_store(folder)
}

impl std::fmt::Display for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

impl LocalStore {
    /// Syncs the folders between an object just written and the root. The object's own folder is synced by the store.
    async fn sync_parents(&self, location: &Path) -> Result<()> {
        let file = self.inner.path_to_filesystem(location)?;
        let folders = self.folders.clone();
        blocking(move || file.parent().map_or(Ok(()), |folder| folders.sync_above(folder))).await
    }
}

/// The same bytes in pieces of at most [`WRITE_BYTES`]; nothing is copied.
fn in_small_pieces(payload: &PutPayload) -> PutPayload {
    let pieces = payload.iter().flat_map(|piece| {
        (0..piece.len()).step_by(WRITE_BYTES).map(|start| piece.slice(start..piece.len().min(start + WRITE_BYTES)))
    });
    pieces.collect()
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "local", source }
}

/// Runs file work off the async threads.
async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| generic(Box::new(error)))?;
    done.map_err(|error| generic(Box::new(error)))
}

/// An object written in parts: a file beside its place, synced and renamed into it when it is complete.
#[derive(Debug)]
struct LocalParts {
    upload: Box<dyn MultipartUpload>,
    store: LocalStore,
    location: Path,
}

#[async_trait]
impl MultipartUpload for LocalParts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(in_small_pieces(&data))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        self.store.sync_parents(&self.location).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let mode = match options.mode {
            PutMode::Overwrite => Mode::Overwrite,
            PutMode::Create => Mode::Create,
            // Not to be had of a folder, and used by nobody here: the answer is the library's.
            PutMode::Update(_) => return self.inner.put_opts(location, payload, options).await,
        };
        let (folders, file) = (self.folders.clone(), self.inner.path_to_filesystem(location)?);
        let written = tokio::task::spawn_blocking(move || {
            put::put(&folders, &file, &payload, mode).map_err(|error| (file, error))
        });
        match written.await.map_err(|error| generic(Box::new(error)))? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None, extensions: Default::default() }),
            Err((file, error)) if mode == Mode::Create && error.kind() == std::io::ErrorKind::AlreadyExists => {
                let path = file.display().to_string();
                Err(object_store::Error::AlreadyExists { path, source: Box::new(error) })
            }
            Err((_, error)) => Err(generic(Box::new(error))),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(LocalParts { upload, store: self.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(run) = get::plain_run(&options) else { return self.inner.get_opts(location, options).await };
        let (file, name) = (self.inner.path_to_filesystem(location)?, location.clone());
        let read = tokio::task::spawn_blocking(move || get::read(&file, &name, run)).await;
        match read.map_err(|error| generic(Box::new(error)))?.map_err(|error| generic(Box::new(error)))? {
            Some(read) => Ok(read),
            None => self.inner.get_opts(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let inner = self.inner.clone();
        self.inner
            .delete_stream(locations)
            .and_then(move |location| {
                let file = inner.path_to_filesystem(&location);
                async move {
                    let file = file?;
                    blocking(move || file.parent().map_or(Ok(()), sync_folder)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn objects_are_written_read_listed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = create_local_store(&folder.path().join("vault")).unwrap();
        let key = Path::from("packs/ab/abcd");
        store.put(&key, "one".into()).await.unwrap();
        let again = store.put_opts(&key, "two".into(), PutOptions::from(PutMode::Create)).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })));
        assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "one");
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        store.delete(&key).await.unwrap();
        assert!(matches!(store.get(&key).await, Err(object_store::Error::NotFound { .. })));
        assert_eq!(store.to_string(), folder.path().join("vault").canonicalize().unwrap().display().to_string());
    }

    #[test]
    fn pieces_are_small_and_lose_nothing() {
        let bytes: Vec<u8> = (0..WRITE_BYTES * 2 + 5).map(|place| (place / 7) as u8).collect();
        let payload: PutPayload =
            [Bytes::from(bytes.clone()), Bytes::new(), Bytes::from_static(b"end")].into_iter().collect();
        let small = in_small_pieces(&payload);
        assert_eq!(small.iter().map(Bytes::len).collect::<Vec<_>>(), [WRITE_BYTES, WRITE_BYTES, 5, 3]);
        assert_eq!(small.iter().flatten().copied().collect::<Vec<u8>>(), [bytes.as_slice(), b"end"].concat());
    }

    #[test]
    fn only_the_last_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("not-mounted/vault");
        assert!(matches!(create_local_store(&missing), Err(VaultError::Folder { .. })));
        assert!(!folder.path().join("not-mounted").exists());
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(create_local_store(&file).is_err() && local_store(&file).is_err());
        assert!(local_store(&folder.path().join("nowhere")).is_err());
    }
}
