//! A Milvus server's files in a folder of this machine.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::storage::{FileVersion, ListedFile, LogStorage, vanished};
use crate::blocking::blocking;
use crate::buffers::Buffers;
use crate::disk::{Folder, ReadAt, io_error};
use crate::{Limits, Reading, SourceError};

/// Deepest folder below the root that files are looked for in: `insert_log/<collection>/<partition>/<segment>/<field>`.
const DEEPEST: usize = 8;

/// See the module.
pub(super) struct FolderStorage {
    root: Arc<Folder>,
    absolute: String,
    buffers: Arc<Buffers>,
    limits: Limits,
}

impl FolderStorage {
    /// # Errors
    /// [`SourceError::BadStorage`] when it is no folder that can be read.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Self, SourceError> {
        let shown = path.display().to_string();
        let bad = |error: std::io::Error| SourceError::BadStorage {
            storage: shown.clone(),
            reason: format!(
                "{error}; give the folder that the server calls localStorage.path, and let this user read it"
            ),
        };
        let absolute = std::fs::canonicalize(path).map_err(bad)?;
        let dir = Dir::open_ambient_dir(&absolute, ambient_authority()).map_err(bad)?;
        let absolute = absolute.display().to_string();
        Ok(Self { root: Arc::new(Folder { dir, shown }), absolute, buffers: Arc::default(), limits })
    }
}

#[async_trait]
impl LogStorage for FolderStorage {
    fn shown(&self) -> &str {
        &self.root.shown
    }

    fn identity(&self) -> String {
        format!("folder:{}", self.absolute)
    }

    async fn list(&self, folder: &str) -> Result<Vec<ListedFile>, SourceError> {
        let (root, folder, limit) = (Arc::clone(&self.root), folder.to_owned(), self.limits.folder_entries);
        blocking(&self.root.shown, move || {
            let mut files = Vec::new();
            if let Some(folder) = root.folder(&folder)? {
                list_below(&folder, "", DEEPEST, limit, &mut files)?;
            }
            files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
            Ok(files)
        })
        .await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>, SourceError> {
        let (root, folder, limit) = (Arc::clone(&self.root), folder.to_owned(), self.limits.folder_entries);
        blocking(&self.root.shown, move || {
            if folder.is_empty() {
                return root.folders(limit);
            }
            root.folder(&folder)?.map_or_else(|| Ok(Vec::new()), |folder| folder.folders(limit))
        })
        .await
    }

    async fn read(&self, path: &str, offset: u64, length: usize) -> Result<Bytes, SourceError> {
        let (root, buffers, path) = (Arc::clone(&self.root), Arc::clone(&self.buffers), path.to_owned());
        blocking(&self.root.shown, move || read_at(&root, &buffers, &path, offset, length)).await
    }

    fn reading(&self, path: &str, offset: u64, length: usize) -> Option<Reading> {
        let (root, buffers, path) = (Arc::clone(&self.root), Arc::clone(&self.buffers), path.to_owned());
        Some(Box::new(move || read_at(&root, &buffers, &path, offset, length)))
    }
}

fn list_below(
    folder: &Folder,
    prefix: &str,
    depth: usize,
    limit: u64,
    files: &mut Vec<ListedFile>,
) -> Result<(), SourceError> {
    for name in folder.names(limit)? {
        // Removed between the listing and this: it is not there, then.
        let Some(stat) = folder.stat(&name)? else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if stat.is_file {
            let version =
                FileVersion { device: stat.device, inode: stat.inode, modified_ns: stat.modified_ns, tag: None };
            let modified_ms = stat.modified_ns.div_euclid(1_000_000);
            files.push(ListedFile { path, size_bytes: stat.size_bytes, modified_ms, version });
        } else if stat.is_dir {
            if depth == 0 {
                let reason = "folders lie deeper in it than Milvus makes them".to_owned();
                return Err(SourceError::Unsupported { path: folder.show(&name), reason });
            }
            if let Some(inner) = folder.folder(&name)? {
                list_below(&inner, &path, depth - 1, limit, files)?;
            }
        }
        if files.len() as u64 > limit {
            let (path, what) = (folder.shown.clone(), "the number of files below it");
            return Err(SourceError::LimitExceeded { path, what, used: files.len() as u64, limit });
        }
    }
    Ok(())
}

/// Opened for each piece: thousands of files cannot be held open, and pieces are large.
fn read_at(
    root: &Folder,
    buffers: &Arc<Buffers>,
    path: &str,
    offset: u64,
    length: usize,
) -> Result<Bytes, SourceError> {
    let file = root.file(path)?.ok_or_else(|| vanished(root.show(path)))?;
    buffers.filled(length, |buffer| match file.file.fill(buffer, offset) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(vanished(file.shown.clone())),
        other => other.map_err(|error| io_error("read", &file.shown, error)),
    })
}
