//! Storing files: large ones piece by piece, small ones many at a time.
//!
//! Contract: a file is stored when all its pieces are, and its digest is that of the bytes that were stored. What cannot be
//! read, or has another length than was said, is [`VaultError::Input`]: the session goes on, and nothing names the file.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Codec;

use super::budget::work_bytes;
use super::shared::{Piece, Unread};
use super::{Session, StoredBlob, StoredFile};
use crate::file_digest::{PieceDigest, join_pieces};
use crate::manifest::bad;
use crate::{VaultError, digest_of};

/// A file as [`Session::put_file`] reads it.
#[async_trait]
pub trait PieceSource: Send + Sync {
    /// Reads exactly `length` bytes at `offset`. Several calls run at the same time.
    ///
    /// # Errors
    /// Whatever reading can fail with; comes back as [`VaultError::Input`].
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, InputError>;

    /// The same as work for a thread that may wait; `None` where reading is more than that. The session then reads,
    /// hashes and encodes on one thread: handing each of thousands of small files from one to the next costs more than
    /// reading them.
    fn reading(&self, offset: u64, length: usize) -> Option<Reading> {
        let _ = (offset, length);
        None
    }
}

/// Why a file could not be read.
pub type InputError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a piece; made by [`PieceSource::reading`].
pub type Reading = Box<dyn FnOnce() -> Result<Bytes, InputError> + Send>;

/// A file of one piece, one of many.
pub struct SmallFile {
    /// Reads all of it.
    pub reading: Reading,
    /// Its length.
    pub size_bytes: usize,
    /// How it is stored.
    pub codec: Codec,
    /// Is shown the bytes once they are read.
    pub look: Option<Look>,
}

/// Looks at the bytes of a small file before they are stored, on the thread that works on them.
pub type Look = Box<dyn FnOnce(&Bytes) -> Result<(), InputError> + Send>;

impl Session {
    /// Stores a file of known length, several pieces at the same time. `on_bytes` is told the length of each piece that
    /// is done. Memory for a piece is reserved before it is read.
    ///
    /// # Errors
    /// [`VaultError::Input`] when reading fails or gives another length: the session goes on, only this file is not
    /// stored. Otherwise as [`Session::put`].
    pub async fn put_file(
        &self,
        source: &dyn PieceSource,
        size_bytes: u64,
        codec: Codec,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<StoredFile, VaultError> {
        self.shared.check()?;
        let split_bytes = self.piece_bytes() as u64;
        let pieces = (0..size_bytes.div_ceil(split_bytes)).map(|number| number * split_bytes);
        let done: Vec<(StoredBlob, PieceDigest)> = stream::iter(pieces)
            .map(|offset| async move {
                let length = split_bytes.min(size_bytes - offset);
                let done = self.read_piece(source, offset, length, size_bytes, codec).await?;
                on_bytes(length);
                Ok::<_, VaultError>(done)
            })
            .buffered(self.shared.vault.limits().pieces_in_flight.max(1))
            .try_collect()
            .await?;
        stored_file(size_bytes, &done)
    }

    /// Stores small files one after the other on one thread: handing each of thousands to a thread of its own costs more
    /// than hashing and encoding it. Together they may be as long as one piece ([`Session::piece_bytes`]).
    ///
    /// # Errors
    /// [`VaultError::TooLarge`] when they are longer. [`VaultError::Input`] when one of them cannot be read, has another
    /// length, or fails its [`SmallFile::look`]: the session goes on, and none of them is stored. Otherwise as
    /// [`Session::put`].
    pub async fn put_small_files(&self, files: Vec<SmallFile>) -> Result<Vec<StoredFile>, VaultError> {
        self.shared.check()?;
        let lengths: Vec<usize> = files.iter().map(|file| file.size_bytes).collect();
        let total = lengths.iter().fold(0_usize, |sum, length| sum.saturating_add(*length));
        self.check_length(total)?;
        let work = files.iter().map(|file| work_bytes(file.codec, file.size_bytes));
        let reservation = self.shared.budget.reserve(work.fold(0, usize::saturating_add)).await?;
        // An empty file has no pieces.
        let unread = files.into_iter().filter(|file| file.size_bytes > 0).map(|file| Unread {
            reading: file.reading,
            codec: file.codec,
            offset: 0,
            length: file.size_bytes,
            file_bytes: file.size_bytes as u64,
            look: file.look,
        });
        let mut stored = self.shared.read_and_store(unread.collect(), reservation).await?.into_iter();
        let lost = || bad("part", "a file got lost while it was stored");
        let each = lengths.into_iter().map(|length| {
            if length == 0 {
                return stored_file(0, &[]);
            }
            stored_file(length as u64, &[stored.next().ok_or_else(lost)?])
        });
        each.collect()
    }

    /// Length of the pieces that files are split into, in bytes. A power of two, so that the digest of a file can be put
    /// together from its pieces.
    #[must_use]
    pub fn piece_bytes(&self) -> usize {
        let limits = self.shared.vault.limits();
        1 << limits.split_bytes.min(limits.blob_bytes).max(1024).ilog2()
    }

    async fn read_piece(
        &self,
        source: &dyn PieceSource,
        offset: u64,
        length: u64,
        file_bytes: u64,
        codec: Codec,
    ) -> Result<(StoredBlob, PieceDigest), VaultError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.check_length(length)?;
        let reservation = self.shared.budget.reserve(work_bytes(codec, length)).await?;
        let stored = match source.reading(offset, length) {
            Some(reading) => {
                let unread = vec![Unread { reading, codec, offset, length, file_bytes, look: None }];
                self.shared.read_and_store(unread, reservation).await?.pop()
            }
            None => {
                let read = source.read(offset, length).await;
                let piece = Piece::of_file(read, codec, (offset, file_bytes), length)?;
                Some(self.shared.store(piece, reservation).await?)
            }
        };
        stored.ok_or_else(|| bad("part", "a piece got lost while it was stored"))
    }

    pub(super) fn check_length(&self, length: usize) -> Result<(), VaultError> {
        let limit = self.shared.vault.limits().blob_bytes;
        if length <= limit {
            return Ok(());
        }
        Err(VaultError::TooLarge { what: "a piece".to_owned(), size_bytes: length as u64, limit_bytes: limit as u64 })
    }
}

/// What became of a file whose pieces are stored.
fn stored_file(size_bytes: u64, pieces: &[(StoredBlob, PieceDigest)]) -> Result<StoredFile, VaultError> {
    let digests: Vec<PieceDigest> = pieces.iter().map(|(_, digest)| *digest).collect();
    let digest = if size_bytes == 0 { Some(digest_of(&[])) } else { join_pieces(&digests) };
    let digest = digest.ok_or_else(|| bad("part", "the pieces of a file do not fit together"))?;
    let new = pieces.iter().map(|(blob, _)| blob).filter(|blob| blob.new);
    let (new_plain_bytes, added_bytes) =
        new.fold((0, 0), |(plain, added), blob| (plain + blob.plain_bytes, added + blob.added_bytes));
    let blobs = pieces.iter().map(|(blob, _)| blob.id).collect();
    Ok(StoredFile { size_bytes, blobs, digest, new_plain_bytes, added_bytes })
}
