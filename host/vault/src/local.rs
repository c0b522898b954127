//! A folder as an object store, with the durability an object store promises.
//!
//! `object_store`'s own local store, with fsync on, syncs a written file and its folder. Three things are missing for a
//! vault, and are added here: folders that another writer has just made are synced up to the root before a write
//! counts; a deletion is synced before it counts, because what is deleted next may rely on it; and file systems without
//! hard links (exFAT, some network mounts) can still create objects.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::VaultError;

/// A folder as an object store.
#[derive(Debug, Clone)]
struct LocalStore {
    inner: LocalFileSystem,
    root: PathBuf,
    /// Folders below the root that are known to be durable.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
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
    Ok(Arc::new(LocalStore { inner, root, durable: Arc::default() }))
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

fn sync_folder(folder: &FilePath) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

impl std::fmt::Display for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

impl LocalStore {
    /// Syncs the folders between an object just written and the root. The object's own folder is synced by the store,
    /// but if another writer made that folder a moment ago, nobody may have synced the entry in *its* parent yet.
    async fn sync_parents(&self, location: &Path) -> Result<()> {
        let file = self.inner.path_to_filesystem(location)?;
        let root = self.root.clone();
        let durable = Arc::clone(&self.durable);
        let Some(folder) = file.parent().map(FilePath::to_owned) else { return Ok(()) };
        if folder == root || durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&folder) {
            return Ok(());
        }
        blocking(move || {
            let mut parent = folder.parent();
            while let Some(next) = parent.filter(|next| next.starts_with(&root)) {
                sync_folder(next)?;
                parent = next.parent();
            }
            durable.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
            Ok(())
        })
        .await
    }
}

/// Bytes handed to the system per write. Writes of several megabytes make ext4 look for page-cache blocks as large, and
/// cost two to eight times the system time of these (measured on Linux 6, 700 MB, cold buffers).
const WRITE_BYTES: usize = 128 * 1024;

/// The same bytes in pieces of at most [`WRITE_BYTES`]; nothing is copied.
fn in_small_pieces(payload: &PutPayload) -> PutPayload {
    let pieces = payload.iter().flat_map(|piece| {
        (0..piece.len()).step_by(WRITE_BYTES).map(|start| piece.slice(start..piece.len().min(start + WRITE_BYTES)))
    });
    pieces.collect()
}

/// Runs file work off the async threads.
async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<()> {
    let generic =
        |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "local", source };
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
        let creates = options.mode == PutMode::Create;
        let payload = in_small_pieces(&payload);
        let mut result = self.inner.put_opts(location, payload.clone(), options).await;
        // Creating needs a hard link. Where there are none, nobody holds the name yet and a rename does as well.
        if creates && matches!(result, Err(object_store::Error::Generic { .. })) {
            let absent = matches!(self.inner.head(location).await, Err(object_store::Error::NotFound { .. }));
            if absent {
                result = self.inner.put_opts(location, payload, PutOptions::default()).await;
            }
        }
        let result = result?;
        self.sync_parents(location).await?;
        Ok(result)
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
        self.inner.get_opts(location, options).await
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
