//! What restore runs do with staged files, aside: on threads that may wait for the disk.
//!
//! Contract: whatever holds the files is held until the thread is done with them, also when nobody waits for it any more. So
//! a run that is dropped does not remove its staging folder, or give its lock back, under a thread that still writes there.

use std::sync::Arc;

use bytes::Bytes;
use longshore_model::Digest;

use super::StagedFiles;
use crate::blocking::blocking;
use crate::{FilePiece, SourceError};

/// What holds staged files.
pub(crate) trait HoldsFiles: AsRef<StagedFiles> + Send + Sync + 'static {}

impl<T: AsRef<StagedFiles> + Send + Sync + 'static> HoldsFiles for T {}

/// See [`RestoreRun::left_over`](crate::RestoreRun::left_over).
pub(crate) async fn left_over(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    file: usize,
) -> Result<Option<Digest>, SourceError> {
    // Asked for every file: in a folder that was just made it needs no thread.
    if !files_of(holder).resumed {
        return Ok(None);
    }
    with_files(holder, move |files| files.left_over(collection, file)).await
}

/// See [`RestoreRun::clear`](crate::RestoreRun::clear).
pub(crate) async fn clear(holder: &Arc<impl HoldsFiles>, collection: usize, file: usize) -> Result<(), SourceError> {
    if !files_of(holder).resumed {
        return Ok(());
    }
    with_files(holder, move |files| files.clear(collection, file)).await
}

/// See [`RestoreRun::write`](crate::RestoreRun::write).
pub(crate) async fn write(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    file: usize,
    offset: u64,
    bytes: Bytes,
) -> Result<(), SourceError> {
    with_files(holder, move |files| files.write(collection, file, offset, &bytes)).await
}

/// See [`RestoreRun::write_pieces`](crate::RestoreRun::write_pieces).
pub(crate) async fn write_pieces(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    pieces: Vec<FilePiece>,
) -> Result<(), SourceError> {
    with_files(holder, move |files| files.write_pieces(collection, &pieces)).await
}

fn files_of(holder: &Arc<impl HoldsFiles>) -> &StagedFiles {
    (**holder).as_ref()
}

async fn with_files<T: Send + 'static>(
    holder: &Arc<impl HoldsFiles>,
    on_files: impl FnOnce(&StagedFiles) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    work(holder, move |holder| on_files(holder.as_ref())).await
}

/// Any other work of a run.
pub(crate) async fn work<H: HoldsFiles, T: Send + 'static>(
    holder: &Arc<H>,
    on_holder: impl FnOnce(&H) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let held = Arc::clone(holder);
    blocking(&files_of(holder).root.shown, move || on_holder(&held)).await
}
