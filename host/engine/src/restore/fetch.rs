//! Fetches the files of one collection out of a vault and writes them into a restore run.
//!
//! Contract: afterwards every file of the collection has been written, or was left by an earlier run and is right. Blobs that
//! lie beside each other are read together, and written on the thread that decoded them where the run can do that. Failure:
//! [`EngineError`]; what was written stays, for a rerun.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_source::{FilePiece, PieceWriter, RestoreRun};
use longshore_vault::{BlobId, BlobRun, Reader};

use super::CollectionToWrite;
use crate::{EngineError, RunContext};

/// Fetches the collection at `place` of the plan.
pub(super) async fn fetch(
    place: usize,
    write: &CollectionToWrite,
    reader: &Reader,
    run: &dyn RestoreRun,
    context: &RunContext,
) -> Result<(), EngineError> {
    let missing: Vec<bool> = stream::iter(0..write.files.len())
        .map(|file| is_missing(place, file, write, run, context))
        .buffered(context.limits.parallel_chunks.max(1))
        .try_collect()
        .await?;
    let (mut belongs, mut blobs) = (Vec::new(), Vec::new());
    for ((file, to_write), _) in write.files.iter().enumerate().zip(missing).filter(|(_, missing)| *missing) {
        let region = reader.vault().region_id();
        for piece in reader.file_pieces(&to_write.entry).map_err(EngineError::vault(region))? {
            belongs.push((file, piece.offset));
            blobs.push(piece.blob);
        }
    }
    let fetching = Fetching { place, belongs: belongs.into(), reader, run, writer: run.piece_writer() };
    fetching.all(&blobs, context).await
}

/// Whether a file has to be fetched; one that an earlier run left and that is right has not. One that is wrong is removed
/// first: it may be longer than what is written over it.
async fn is_missing(
    place: usize,
    file: usize,
    write: &CollectionToWrite,
    run: &dyn RestoreRun,
    context: &RunContext,
) -> Result<bool, EngineError> {
    let Some(wanted) = write.files.get(file) else { return Ok(false) };
    context.stop.check()?;
    if run.left_over(place, file).await? == Some(wanted.digest) {
        context.progress.add(place, wanted.entry.size_bytes);
        return Ok(false);
    }
    run.clear(place, file).await?;
    Ok(true)
}

/// What the blobs of a collection are fetched with.
struct Fetching<'a> {
    /// The collection's place in the plan.
    place: usize,
    /// Of each blob its file and its offset there.
    belongs: Arc<[(usize, u64)]>,
    reader: &'a Reader,
    run: &'a dyn RestoreRun,
    writer: Option<Arc<dyn PieceWriter>>,
}

impl Fetching<'_> {
    async fn all(&self, blobs: &[BlobId], context: &RunContext) -> Result<(), EngineError> {
        let runs = self.reader.runs(blobs, context.limits.small_files_batch_bytes);
        stream::iter(runs)
            .map(Ok)
            .try_for_each_concurrent(context.limits.parallel_chunks.max(1), |blobs| async move {
                context.stop.check()?;
                context.progress.add(self.place, self.some(&blobs).await?);
                Ok(())
            })
            .await
    }

    /// Reads blobs that lie beside each other, and writes them. How many bytes they are.
    async fn some(&self, blobs: &BlobRun) -> Result<u64, EngineError> {
        let region = self.reader.vault().region_id();
        let (place, belongs) = (self.place, Arc::clone(&self.belongs));
        let Some(writer) = self.writer.clone() else {
            let read = self.reader.read_run(blobs).await.map_err(EngineError::vault(region))?;
            let pieces = pieces(&belongs, read);
            let length = length_of(&pieces);
            self.run.write_pieces(place, pieces).await?;
            return Ok(length);
        };
        let written = self.reader.read_run_for(blobs, move |read| {
            let pieces = pieces(&belongs, read);
            writer.write_pieces_here(place, &pieces).map(|()| length_of(&pieces))
        });
        Ok(written.await.map_err(EngineError::vault(region))??)
    }
}

/// Blobs as pieces of their files.
fn pieces(belongs: &[(usize, u64)], read: Vec<(usize, Bytes)>) -> Vec<FilePiece> {
    let piece = |(place, bytes)| {
        let (file, offset) = belongs.get(place).copied()?;
        Some(FilePiece { file, offset, bytes })
    };
    read.into_iter().filter_map(piece).collect()
}

/// Bytes in all of them.
fn length_of(pieces: &[FilePiece]) -> u64 {
    pieces.iter().map(|piece| piece.bytes.len() as u64).sum()
}
