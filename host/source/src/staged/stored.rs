//! Staged files as stored ones: what looks into the files of a backup looks into these, too.

use std::sync::Arc;

use longshore_model::Digest;

use super::StagedFiles;
use crate::disk::ReadAt;
use crate::{SourceError, StoredBytes, StoredFile};

/// Reads every file of a collection back: the digest of each, and the files themselves, in the plan's order. Blocks.
///
/// # Errors
/// [`SourceError::Damaged`] for one that is not whole; failures of reading.
pub(crate) fn stored_back(
    files: &Arc<StagedFiles>,
    collection: usize,
) -> Result<(Vec<Digest>, Vec<StoredFile>), SourceError> {
    let mut stored = Vec::new();
    let digests = files.read_back(collection, &mut |entry, file| {
        // Closed again: there can be more files than descriptors.
        let size_bytes = file.stat.size_bytes;
        drop(file);
        let bytes = Arc::new(StagedBytes { files: Arc::clone(files), collection, file: stored.len() });
        stored.push(StoredFile { path: entry.path.clone(), class: entry.class, size_bytes, bytes });
        Ok(())
    })?;
    Ok((digests, stored))
}

/// A staged file, opened when it is read.
struct StagedBytes {
    files: Arc<StagedFiles>,
    collection: usize,
    file: usize,
}

impl StoredBytes for StagedBytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let file = self.files.open(self.collection, self.file).map_err(std::io::Error::other)?;
        file.file.fill(buffer, offset)
    }
}
