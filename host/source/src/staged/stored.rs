//! Staged files as stored ones: what looks into the files of a backup looks into these, too.
//!
//! Contract: none of them is open but while it is read. A collection can have more files than the process descriptors.

use std::sync::Arc;

use longshore_model::Digest;

use super::StagedFiles;
use crate::disk::{Folder, ReadAt};
use crate::{SourceError, StoredBytes, StoredFile, TargetFile};

/// Reads every file of a collection back: the digest of each, and the files themselves, in the plan's order. Blocks.
///
/// # Errors
/// [`SourceError::Damaged`] for one that is not whole; failures of reading.
pub(crate) fn stored_back(
    files: &StagedFiles,
    collection: usize,
) -> Result<(Vec<Digest>, Vec<StoredFile>), SourceError> {
    let digests = files.read_back(collection, &mut |_, _, _| Ok(()))?;
    let stored = (0..digests.len()).map(|number| {
        let (path, entry) = files.file(collection, number)?;
        Ok(stored_file(&files.root, path, entry))
    });
    Ok((digests, stored.collect::<Result<_, SourceError>>()?))
}

/// A file that lies at a path of a folder.
pub(crate) fn stored_file(folder: &Arc<Folder>, path: String, file: &TargetFile) -> StoredFile {
    let bytes = Arc::new(ClosedFile { folder: Arc::clone(folder), path });
    StoredFile { path: file.path.clone(), class: file.class, size_bytes: file.size_bytes, bytes }
}

/// See the module.
struct ClosedFile {
    folder: Arc<Folder>,
    path: String,
}

impl StoredBytes for ClosedFile {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let file = self.folder.seen_file(&self.path).map_err(std::io::Error::other)?;
        file.file.fill(buffer, offset)
    }
}
