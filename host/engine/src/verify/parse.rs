//! Parses the files of a backup where they lie: the bytes come from the vault, blob by blob, checked against their ids.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::FileClass;
use longshore_source::{CheckedFiles, StoredBytes, StoredFile, check_files};
use longshore_vault::{BlobId, CollectionFiles, CollectionSealed, CpuPermit, FilePiece, Reader, Throttle};
use tokio::runtime::Handle;

use crate::EngineError;

/// Blobs of one file that are kept between two reads: enough for one column after the other.
const BLOBS_KEPT: usize = 2;

/// Parses the files of one collection. Of a sample only the files whose blobs all lie in `sampled` packs' blobs are
/// read, and rows are not counted.
pub(super) async fn parse(
    source_kind: &str,
    reader: &Reader,
    files: &CollectionFiles,
    sealed: &CollectionSealed,
    sampled: Option<&HashSet<BlobId>>,
) -> Result<CheckedFiles, EngineError> {
    let runtime = Handle::current();
    let turn = Arc::new(Turn { throttle: reader.vault().throttle().clone(), permit: Mutex::default() });
    let mut stored = Vec::new();
    for (file, name) in files.files.iter().zip(&sealed.files) {
        let is_small = file.class == FileClass::Metadata;
        if sampled.is_some_and(|blobs| !is_small && !file.blobs.iter().all(|blob| blobs.contains(blob))) {
            continue;
        }
        let pieces = reader.file_pieces(file).map_err(EngineError::vault(reader.vault().region_id()))?;
        let (runtime, turn) = (runtime.clone(), Arc::clone(&turn));
        let bytes = VaultFile { reader: reader.clone(), runtime, turn, pieces, kept: Mutex::default() };
        let (path, class, size_bytes) = (name.path.clone(), file.class, file.size_bytes);
        stored.push(StoredFile { path, class, size_bytes, bytes: Arc::new(bytes) });
    }
    let kind = source_kind.to_owned();
    let complete = sampled.is_none();
    turn.put(reader.vault().throttle().cpu().await);
    let check = move || {
        let checked = check_files(&kind, &stored, complete, &longshore_source::Limits::DEFAULT);
        turn.end();
        checked
    };
    match tokio::task::spawn_blocking(check).await {
        Ok(result) => Ok(result?),
        // The decoders of other crates see bytes of unknown origin; should one of them panic, the file is to blame.
        Err(error) => {
            tracing::warn!(%error, collection = %sealed.name, "a decoder stopped");
            let what = "decoding one of its files failed in a way that is not understood".to_owned();
            Ok(CheckedFiles { problems: vec![(String::new(), what)], ..CheckedFiles::default() })
        }
    }
}

/// The thread that a check has. It is given back while a blob is read, because decoding takes one, too: where there is only
/// one, who held it while waiting for another would wait for ever.
struct Turn {
    throttle: Throttle,
    permit: Mutex<Option<CpuPermit>>,
}

impl Turn {
    fn put(&self, permit: CpuPermit) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    fn end(&self) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A file of a backup, read from its blobs.
struct VaultFile {
    reader: Reader,
    runtime: Handle,
    turn: Arc<Turn>,
    pieces: Vec<FilePiece>,
    kept: Mutex<VecDeque<(BlobId, Bytes)>>,
}

impl VaultFile {
    fn blob(&self, id: &BlobId) -> io::Result<Bytes> {
        let find = |kept: &VecDeque<(BlobId, Bytes)>| kept.iter().find(|(kept, _)| kept == id).map(|(_, b)| b.clone());
        if let Some(bytes) = find(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        self.turn.end();
        let (bytes, thread) =
            self.runtime.block_on(async { (self.reader.read_blob(id).await, self.turn.throttle.cpu().await) });
        self.turn.put(thread);
        let bytes = bytes.map_err(io::Error::other)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((*id, bytes.clone()));
        if kept.len() > BLOBS_KEPT {
            kept.pop_front();
        }
        Ok(bytes)
    }
}

impl StoredBytes for VaultFile {
    fn fill(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            // Pieces are in order of offset and leave no gap.
            let after = self.pieces.partition_point(|piece| piece.offset <= offset);
            let piece = after.checked_sub(1).and_then(|at| self.pieces.get(at));
            let piece = piece.filter(|piece| offset < piece.offset + piece.length);
            let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes = self.blob(&piece.blob)?;
            let start = usize::try_from(offset - piece.offset).map_err(io::Error::other)?;
            let rest = bytes.get(start..).filter(|rest| !rest.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = rest.len().min(buffer.len());
            let (now, later) = buffer.split_at_mut(length);
            now.copy_from_slice(rest.get(..length).unwrap_or_default());
            offset += length as u64;
            buffer = later;
        }
        Ok(())
    }
}
