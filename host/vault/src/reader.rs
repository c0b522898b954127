//! Reading blobs back.
//!
//! Every blob is checked against its id after decoding, so what comes out is what went in or an error. A blob that lies
//! in several packs is read from the next one when the first is missing or damaged.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longshore_model::Codec;
use tokio::sync::Semaphore;

use crate::codec::Transcoder;
use crate::crypto::BlobCipher;
use crate::index::{self, Index, Location, Purpose};
use crate::layout;
use crate::pack::{self, PackEncryption, PackHeader};
use crate::prune::marks::Marks;
use crate::verify::ObjectDamage;
use crate::{BlobEntry, BlobExtent, BlobId, FileEntry, PackId, Vault, VaultError};

/// Reads blobs of one vault. Cheap to clone; share it between tasks.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    vault: Vault,
    index: Index,
    /// Packs that no index object names.
    unindexed: HashSet<PackId>,
    /// Packs that are noted as damaged.
    noted: HashSet<PackId>,
    damages: Vec<ObjectDamage>,
    /// What packs that were read from are opened with.
    openers: Mutex<HashMap<PackId, Arc<PackOpener>>>,
    cpu: Arc<Semaphore>,
    transcoders: Mutex<Vec<Transcoder>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("vault", self.inner.vault.id()).finish_non_exhaustive()
    }
}

/// How the blobs of one pack are decrypted, if at all.
#[derive(Debug)]
pub(crate) struct PackOpener(Option<BlobCipher>);

impl PackOpener {
    /// For stored bytes that are not to be decoded.
    pub(crate) const fn none() -> Self {
        Self(None)
    }
}

/// Openers kept for packs that may be read from again; a restore reads pack after pack.
const OPENERS: usize = 4096;

/// A run of bytes of a file that is one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePiece {
    /// The blob.
    pub blob: BlobId,
    /// Where it belongs in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

impl Vault {
    /// Loads the index for reading. A lost or damaged index object is made up for from the packs themselves.
    ///
    /// # Errors
    /// [`VaultError::TooMany`] for a vault beyond the limits, failures of the store.
    pub async fn open_reader(&self) -> Result<Reader, VaultError> {
        let marks = Marks::load(self.objects()).await?;
        let loaded = index::load(self.objects(), Purpose::Reading, &marks).await?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let inner = Inner {
            vault: self.clone(),
            index: loaded.index,
            unindexed: loaded.unindexed.iter().map(|pack| pack.id).collect(),
            noted: loaded.noted,
            damages: loaded.damages,
            openers: Mutex::default(),
            cpu: Arc::new(Semaphore::new(threads)),
            transcoders: Mutex::default(),
        };
        Ok(Reader { inner: Arc::new(inner) })
    }
}

impl Reader {
    /// The vault it reads.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Length of a blob, if it is in a pack that is there.
    #[must_use]
    pub fn blob_bytes(&self, id: &BlobId) -> Option<u64> {
        self.inner.index.first(id).map(|location| u64::from(location.entry.plain_bytes))
    }

    /// How a blob is encoded, if it is in a pack that is there.
    #[must_use]
    pub fn codec(&self, id: &BlobId) -> Option<Codec> {
        self.index().first(id).map(|location| location.entry.codec)
    }

    /// Where in its file a blob lies: to store it elsewhere under the same name.
    #[must_use]
    pub fn extent(&self, id: &BlobId) -> Option<BlobExtent> {
        self.index().first(id).map(|location| location.entry.extent)
    }

    /// Whether a pack is there, with the length it should have and a readable index.
    #[must_use]
    pub fn has_pack(&self, pack: &crate::PackId) -> bool {
        self.inner.index.pack_bytes(pack).is_some()
    }

    /// Number of blobs in the vault.
    #[must_use]
    pub fn blob_count(&self) -> usize {
        self.inner.index.len()
    }

    /// True for a blob that lies in packs which are noted as damaged, and in no other: no backup that is made from now on
    /// relies on it.
    #[must_use]
    pub fn is_only_in_damaged_packs(&self, id: &BlobId) -> bool {
        let places = self.index().all(id);
        !places.is_empty() && places.iter().all(|place| self.is_noted(&place.pack))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// True for a pack that is noted as damaged.
    pub(crate) fn is_noted(&self, pack: &PackId) -> bool {
        self.inner.noted.contains(pack)
    }

    /// True for a pack that is there and that no index object names.
    pub(crate) fn is_unindexed(&self, pack: &PackId) -> bool {
        self.inner.unindexed.contains(pack)
    }

    pub(crate) fn index_damages(&self) -> &[ObjectDamage] {
        &self.inner.damages
    }

    /// Where each blob of a file belongs. They can then be read in any order.
    ///
    /// # Errors
    /// [`VaultError::UnknownBlob`]; [`VaultError::BadManifest`] when the lengths do not add up to the file's.
    pub fn file_pieces(&self, file: &FileEntry) -> Result<Vec<FilePiece>, VaultError> {
        let mut offset = 0_u64;
        let mut pieces = Vec::with_capacity(file.blobs.len());
        for blob in &file.blobs {
            let length = self.blob_bytes(blob).ok_or_else(|| self.unknown(blob))?;
            pieces.push(FilePiece { blob: *blob, offset, length });
            offset = offset.saturating_add(length);
        }
        if offset == file.size_bytes {
            return Ok(pieces);
        }
        let reason = format!("a file of {} bytes has blobs of {offset} bytes", file.size_bytes);
        Err(VaultError::BadManifest { object: "part".to_owned(), reason })
    }

    fn unknown(&self, blob: &BlobId) -> VaultError {
        VaultError::UnknownBlob { blob: *blob, place: self.inner.vault.place() }
    }

    /// Reads a blob and proves that it is the one asked for.
    ///
    /// # Errors
    /// [`VaultError::UnknownBlob`] when no pack holds it; [`VaultError::MissingObject`] or [`VaultError::Damaged`] when
    /// every pack that should is missing or damaged; failures of the store.
    pub async fn read_blob(&self, id: &BlobId) -> Result<Bytes, VaultError> {
        self.read_blob_and_entry(id).await.map(|(_, plain)| plain)
    }

    /// The same, with the entry that it was read by: of several packs one may say something wrong of it.
    pub(crate) async fn read_blob_and_entry(&self, id: &BlobId) -> Result<(BlobEntry, Bytes), VaultError> {
        let mut first_error = None;
        for location in self.inner.index.all(id) {
            match self.read_from(&location).await {
                Ok(plain) => return Ok((location.entry, plain)),
                Err(error) => {
                    tracing::warn!(blob = %id, pack = %location.pack, %error, "could not be read here");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| self.unknown(id)))
    }

    /// Reads a blob from one of its places.
    pub(crate) async fn read_from(&self, location: &Location) -> Result<Bytes, VaultError> {
        let Location { pack, entry } = *location;
        let path = layout::pack_path(&pack);
        let opener = self.opener(&pack).await?;
        let stored = self.inner.vault.objects().get_range(&path, entry.offset..entry.end()).await?;
        let stored = stored.ok_or_else(|| VaultError::MissingObject {
            what: format!("the blob {}", entry.id),
            object: path.to_string(),
        })?;
        let decoded = if stored.len() <= self.inner.vault.limits().inline_bytes {
            self.decode(&opener, &entry, &stored)
        } else {
            let reader = self.clone();
            let decoded = self.on_a_cpu_thread(move || reader.decode(&opener, &entry, &stored)).await;
            decoded.unwrap_or_else(|error| Err(format!("a decoder that stopped: {error}")))
        };
        decoded.map_err(|found| VaultError::Damaged {
            what: format!("the blob {}", entry.id),
            object: path.to_string(),
            expected: format!("{} bytes with this id", entry.plain_bytes),
            found,
        })
    }

    /// Runs CPU work when it is its turn. The error is that of a task that stopped.
    pub(crate) async fn on_a_cpu_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        self.on_a_cpu_thread_and_then(work, |done| done).await
    }

    /// The same, and `then` on the same thread, when it is another's turn already.
    pub(crate) async fn on_a_cpu_thread_and_then<D: 'static, T: Send + 'static>(
        &self,
        work: impl FnOnce() -> D + Send + 'static,
        then: impl FnOnce(D) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.inner.cpu).acquire_owned().await;
        let thread = self.inner.vault.throttle().cpu().await;
        tokio::task::spawn_blocking(move || {
            let done = work();
            // What follows may wait for a disk.
            drop((permit, thread));
            then(done)
        })
        .await
    }

    /// What the blobs of a pack are opened with; reads its header when the vault is encrypted.
    ///
    /// # Errors
    /// [`VaultError::MissingObject`], [`VaultError::Damaged`], [`VaultError::Locked`], [`VaultError::SessionKey`],
    /// failures of the store.
    pub(crate) async fn opener(&self, pack: &PackId) -> Result<Arc<PackOpener>, VaultError> {
        let known = self.inner.openers.lock().unwrap_or_else(PoisonError::into_inner).get(pack).cloned();
        if let Some(opener) = known {
            return Ok(opener);
        }
        let vault = &self.inner.vault;
        let opener = if vault.is_encrypted() {
            let path = layout::pack_path(pack);
            let bytes = vault.objects().get_range(&path, 0..pack::HEADER_BYTES as u64).await?;
            let bytes = bytes.ok_or_else(|| VaultError::MissingObject {
                what: "what lies in this pack".to_owned(),
                object: path.to_string(),
            })?;
            let header = PackHeader::read(&bytes).map_err(|found| VaultError::Damaged {
                what: "the beginning of a pack".to_owned(),
                object: path.to_string(),
                expected: "session and salt".to_owned(),
                found: found.to_string(),
            })?;
            match header.encryption {
                Some(PackEncryption { session, salt }) => {
                    PackOpener(Some(vault.session_key(&session).await?.pack_cipher(&salt)?))
                }
                None => PackOpener(None),
            }
        } else {
            PackOpener(None)
        };
        let opener = Arc::new(opener);
        let mut openers = self.inner.openers.lock().unwrap_or_else(PoisonError::into_inner);
        if openers.len() >= OPENERS {
            openers.clear();
        }
        openers.insert(*pack, Arc::clone(&opener));
        Ok(opener)
    }

    /// Decrypts and decodes a blob and compares its id; the error says what was found instead. CPU work.
    pub(crate) fn decode(&self, opener: &PackOpener, entry: &BlobEntry, stored: &Bytes) -> Result<Bytes, String> {
        if stored.len() as u64 != u64::from(entry.stored_bytes) {
            return Err(format!("{} of {} stored bytes", stored.len(), entry.stored_bytes));
        }
        let opened;
        let stored = match &opener.0 {
            Some(cipher) => {
                opened = cipher.open_blob(entry, stored)?;
                &opened
            }
            None => stored,
        };
        let take = || self.inner.transcoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut transcoder = take().unwrap_or_default();
        let plain = transcoder.decode(entry.codec, stored, entry.plain_bytes as usize);
        self.inner.transcoders.lock().unwrap_or_else(PoisonError::into_inner).push(transcoder);
        let plain = plain.map_err(|error| error.to_string())?;
        let id_key = self.inner.vault.id_key().map_err(|error| error.to_string())?;
        match id_key.piece_id(&plain, entry.extent) {
            Some(id) if id == entry.id => Ok(plain),
            Some(id) => Err(format!("bytes with the id {id}")),
            None => Err(format!("{} bytes where no piece of that length can lie", plain.len())),
        }
    }

    /// The packs that hold these blobs, each with the blobs to be read from it, by the blobs' first places.
    pub(crate) fn by_pack<'a>(&self, blobs: impl Iterator<Item = &'a BlobId>) -> HashMap<PackId, Vec<BlobEntry>> {
        let mut packs: HashMap<_, Vec<_>> = HashMap::new();
        for location in blobs.filter_map(|id| self.inner.index.first(id)) {
            packs.entry(location.pack).or_default().push(location.entry);
        }
        packs
    }
}
