//! Moves the files of one point into a session: refers to those that an earlier backup holds, stores the others.
//!
//! Contract: what comes back says of every file which blobs it is made of and what they hash to. Failure: [`EngineError`];
//! what was stored so far is named by nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use longshore_model::{Codec, FileClass, RegionId};
use longshore_source::{CollectionPoint, PointFile, RowCounting, SourceError};
use longshore_vault::{
    FileEntry, FileSealed, InputError, Look, PieceSource, Reading, Session, SmallFile, StoredFile, VaultError,
};

use crate::history::History;
use crate::keyed_point::KeyedPoint;
use crate::resume::Checkpoints;
use crate::{EngineError, Limits, ProgressBoard};

/// One file of a collection, stored or referenced.
pub(crate) struct Moved {
    pub(crate) entry: FileEntry,
    pub(crate) name: FileSealed,
    pub(crate) reused: bool,
    pub(crate) new_plain_bytes: u64,
}

/// What the files of one point are moved with.
pub(crate) struct Mover<'a> {
    pub(crate) point: &'a KeyedPoint,
    pub(crate) session: &'a Session,
    pub(crate) history: &'a History,
    pub(crate) checkpoints: &'a Checkpoints,
    pub(crate) region: &'a RegionId,
    pub(crate) progress: &'a ProgressBoard,
    /// The collection's place on the progress board.
    pub(crate) place: usize,
    /// The codec of each class.
    pub(crate) codecs: &'a BTreeMap<FileClass, Codec>,
    /// Is shown small files on the way.
    pub(crate) counting: Option<&'a Arc<dyn RowCounting>>,
}

impl Mover<'_> {
    /// Files by number: small ones several together, so that one thread does them all, the others by themselves.
    pub(crate) fn batches(&self, numbers: &[usize], limits: &Limits) -> Vec<Vec<usize>> {
        let most = limits.small_files_batch_bytes.min(self.session.piece_bytes() as u64);
        let (mut batches, mut open, mut open_bytes) = (Vec::new(), Vec::new(), 0);
        for number in numbers {
            let size_bytes = self.point.point().files().get(*number).map_or(u64::MAX, |file| file.size_bytes);
            if size_bytes > limits.small_file_bytes.min(most) {
                batches.push(vec![*number]);
                continue;
            }
            if open_bytes + size_bytes > most {
                batches.push(std::mem::take(&mut open));
                open_bytes = 0;
            }
            open.push(*number);
            open_bytes += size_bytes;
        }
        batches.push(open);
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// Stores files that [`Mover::batches`] put together.
    pub(crate) async fn store(&self, numbers: &[usize]) -> Result<Vec<Moved>, EngineError> {
        match numbers {
            [number] => Ok(vec![self.file(*number).await?]),
            _ => self.small_files(numbers).await,
        }
    }

    async fn file(&self, number: usize) -> Result<Moved, EngineError> {
        let (file, codec) = self.look_up(number)?;
        let pieces = FilePieces { point: Arc::clone(self.point.point()), number };
        let on_bytes = |bytes| {
            self.progress.add(self.place, bytes);
            self.checkpoints.moved(bytes);
        };
        let stored = self.session.put_file(&pieces, file.size_bytes, codec, &on_bytes).await;
        self.moved(number, file, stored.map_err(|error| self.explain(error))?)
    }

    /// Small files, on one thread.
    async fn small_files(&self, numbers: &[usize]) -> Result<Vec<Moved>, EngineError> {
        let small = numbers.iter().map(|number| self.small_file(*number));
        let small: Vec<SmallFile> = try_join_all(small).await?;
        let mut moved = Vec::with_capacity(numbers.len());
        let stored = self.session.put_small_files(small).await.map_err(|error| self.explain(error))?;
        for (number, stored) in numbers.iter().zip(stored) {
            self.progress.add(self.place, stored.size_bytes);
            self.checkpoints.moved(stored.size_bytes);
            let (file, _) = self.look_up(*number)?;
            moved.push(self.moved(*number, file, stored)?);
        }
        Ok(moved)
    }

    /// Its bytes come where the others of its batch are read, or at once where they are in memory or come over a network.
    async fn small_file(&self, number: usize) -> Result<SmallFile, EngineError> {
        let (file, codec) = self.look_up(number)?;
        let size_bytes = usize::try_from(file.size_bytes).unwrap_or(usize::MAX);
        let pieces = FilePieces { point: Arc::clone(self.point.point()), number };
        let reading = match pieces.reading(0, size_bytes) {
            Some(reading) => reading,
            None => {
                let bytes = self.point.point().read(number, 0, size_bytes).await?;
                Box::new(move || Ok(bytes))
            }
        };
        let look = self
            .counting
            .cloned()
            .map(|counting| -> Look { Box::new(move |bytes: &Bytes| Ok(counting.add(number, bytes)?)) });
        Ok(SmallFile { reading, size_bytes, codec, look })
    }

    fn look_up(&self, number: usize) -> Result<(&PointFile, Codec), EngineError> {
        let lost = || EngineError::Internal { what: "a file of a point got lost".to_owned() };
        let file = self.point.point().files().get(number).ok_or_else(lost)?;
        // A class without a stream appeared after planning (a first flush, say): it is small, and raw is always right.
        Ok((file, self.codecs.get(&file.class).copied().unwrap_or(Codec::Store)))
    }

    fn moved(&self, number: usize, file: &PointFile, stored: StoredFile) -> Result<Moved, EngineError> {
        let identity = self.point.key(number);
        if let Some(identity) = identity {
            self.checkpoints.finished(self.region, identity, file.size_bytes, &stored.blobs, &stored.digest);
        }
        let lost = |_| EngineError::Internal { what: "a point has too many files".to_owned() };
        let number = u32::try_from(number).map_err(lost)?;
        Ok(Moved {
            entry: FileEntry {
                number,
                class: file.class,
                size_bytes: file.size_bytes,
                blobs: stored.blobs,
                identity,
                masked_digest: None,
            },
            name: FileSealed {
                number,
                path: file.path.clone(),
                partition: file.partition.clone(),
                digest: stored.digest,
                rows: file.rows,
            },
            reused: false,
            new_plain_bytes: stored.new_plain_bytes,
        })
    }

    /// The file as an earlier backup stored it here. Every blob is looked up again: an identity in a manifest is a hint,
    /// the index is what counts.
    pub(crate) fn reuse(&self, number: usize, file: &PointFile) -> Option<Moved> {
        let identity = self.point.key(number)?;
        let known = self.history.find_keyed(self.region, &identity, file.size_bytes)?;
        let plain = known.blobs.iter().map(|blob| self.session.lookup(blob).map(|info| info.plain_bytes));
        let plain: u64 = plain.sum::<Option<u64>>()?;
        let number = u32::try_from(number).ok()?;
        if known.unfinished && plain == file.size_bytes {
            // The pin of the attempt that stored it may lapse before this one ends.
            self.checkpoints.finished(self.region, identity, file.size_bytes, &known.blobs, &known.digest);
        }
        (plain == file.size_bytes).then(|| Moved {
            entry: FileEntry {
                number,
                class: file.class,
                size_bytes: file.size_bytes,
                blobs: known.blobs.clone(),
                identity: Some(identity),
                masked_digest: None,
            },
            name: FileSealed {
                number,
                path: file.path.clone(),
                partition: file.partition.clone(),
                digest: known.digest,
                rows: file.rows,
            },
            reused: true,
            new_plain_bytes: 0,
        })
    }

    /// A failure to read comes through the vault; it is the source's all the same.
    fn explain(&self, error: VaultError) -> EngineError {
        match error {
            VaultError::Input { source } => match source.downcast::<SourceError>() {
                Ok(source) => EngineError::Source(*source),
                Err(source) => EngineError::vault(self.region)(VaultError::Input { source }),
            },
            error => EngineError::vault(self.region)(error),
        }
    }
}

/// One file of a point, as a session reads it.
struct FilePieces {
    point: Arc<dyn CollectionPoint>,
    number: usize,
}

#[async_trait]
impl PieceSource for FilePieces {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, InputError> {
        Ok(self.point.read(self.number, offset, length).await?)
    }

    fn reading(&self, offset: u64, length: usize) -> Option<Reading> {
        let reading = self.point.reading(self.number, offset, length)?;
        Some(Box::new(move || Ok(reading()?)))
    }
}
