//! What the tasks of a session share: which blobs are being stored, the open pack, the uploads, the first failure.
//!
//! Once a piece has been claimed, its work runs to the end on its own thread even when whoever asked for it is gone, so
//! a claim is never left behind by a dropped future. Any failure after the claim fails the whole session: another task
//! may already rely on that blob. Locks are held for a few instructions and never across an `await`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use longshore_model::Codec;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::budget::{Budget, Reservation, work_bytes};
use super::{InputError, Look, PartDraft, Reading, StoredBlob};
use crate::codec::Transcoder;
use crate::crypto::{SessionKey, random_bytes};
use crate::file_digest::PieceDigest;
use crate::index::{self, Index, LoadedIndex, PackIndex};
use crate::layout;
use crate::manifest::bad;
use crate::pack;
use crate::pack::{DISTINCTION_BYTES, PackBuilder, PackEncryption, PackHeader};
use crate::{BlobEntry, BlobExtent, BlobId, IdKey, PackId, Pin, Vault, VaultError, damage_note};

/// What names and encrypts blobs, and what keeps packs apart.
pub(super) struct Sealing {
    pub(super) id_key: IdKey,
    /// The job's data key; `None` in a vault that is not encrypted.
    pub(super) session: Option<SessionKey>,
    /// Goes into every pack, so that no other session writes a pack of the same name.
    pub(super) distinction: [u8; DISTINCTION_BYTES],
}

impl Sealing {
    /// A pack builder, with a salt and so a key of its own where packs are encrypted.
    fn builder(&self) -> Result<PackBuilder, VaultError> {
        let distinction = self.distinction;
        let Some(session) = &self.session else {
            return Ok(PackBuilder::new(&PackHeader { encryption: None, distinction }));
        };
        let salt = random_bytes()?;
        let encryption = Some(PackEncryption { session: session.id(), salt: *salt });
        Ok(PackBuilder::encrypting(&PackHeader { encryption, distinction }, session.pack_cipher(&salt)?))
    }
}

pub(super) struct Shared {
    pub(super) vault: Vault,
    pub(super) sealing: Sealing,
    pub(super) pin: Pin,
    /// What the vault held when the session began, without what was marked.
    pub(super) known: Index,
    /// Packs it held then that no index object names.
    unindexed: Vec<PackIndex>,
    /// Packs that were noted as damaged then; writing one again heals it.
    noted: HashSet<PackId>,
    /// Packs that were marked then.
    pub(super) marked: HashSet<PackId>,
    pub(super) budget: Budget,
    /// One permit per thread that may do CPU work.
    pub(super) cpu: Arc<Semaphore>,
    pub(super) cpu_threads: u32,
    pub(super) pack_target_bytes: u64,
    transcoders: Mutex<Vec<Transcoder>>,
    state: Mutex<State>,
    /// Held while everything is made durable: whoever comes second must see what the first one did.
    flushing: tokio::sync::Mutex<()>,
    runtime: Handle,
}

pub(super) struct State {
    /// Blobs this session stores or has stored, with their plain length.
    claims: HashMap<BlobId, u32>,
    open: OpenPack,
    uploads: JoinSet<()>,
    /// Packs that are durable but in no index object yet.
    durable: Vec<PackIndex>,
    /// Packs that are durable and in an index object.
    pub(super) indexed: Index,
    /// Bytes of the packs this session wrote.
    pub(super) new_bytes: u64,
    failed: Option<Arc<VaultError>>,
    pub(super) ended: bool,
}

/// The pack being filled, and the budget its bytes hold.
struct OpenPack {
    builder: PackBuilder,
    held: Vec<Reservation>,
}

/// One piece to store.
pub(super) struct Piece {
    pub(super) plain: Bytes,
    pub(super) codec: Codec,
    pub(super) extent: BlobExtent,
}

/// A piece of a file that is not read yet.
pub(super) struct Unread {
    pub(super) reading: Reading,
    pub(super) codec: Codec,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) file_bytes: u64,
    pub(super) look: Option<Look>,
}

impl Unread {
    fn read(self) -> Result<(Piece, Option<Look>), VaultError> {
        let Self { reading, codec, offset, length, file_bytes, look } = self;
        Ok((Piece::of_file(reading(), codec, (offset, file_bytes), length)?, look))
    }
}

impl Piece {
    /// A piece of a file, if it was read and has the length that was asked for. `place` is its offset and the file's length.
    pub(super) fn of_file(
        plain: Result<Bytes, InputError>,
        codec: Codec,
        place: (u64, u64),
        length: usize,
    ) -> Result<Self, VaultError> {
        let plain = plain.map_err(|source| VaultError::Input { source })?;
        if plain.len() != length {
            let (offset, found) = (place.0, plain.len());
            let source = format!("{length} bytes at {offset} were asked for, {found} came: the file changed").into();
            return Err(VaultError::Input { source });
        }
        let (offset, file_bytes) = place;
        let extent = BlobExtent::of_piece(offset, length as u64, file_bytes);
        let limit_bytes = BlobExtent::MAX_FILE_BYTES;
        let too_long = || VaultError::TooLarge { what: "a file".to_owned(), size_bytes: file_bytes, limit_bytes };
        Ok(Self { plain, codec, extent: extent.ok_or_else(too_long)? })
    }
}

impl Shared {
    pub(super) fn new(
        vault: Vault,
        pin: Pin,
        known: LoadedIndex,
        budget: Budget,
        cpu_threads: u32,
        pack_target_bytes: u64,
        sealing: Sealing,
    ) -> Result<Self, VaultError> {
        let state = State {
            claims: HashMap::new(),
            open: OpenPack { builder: sealing.builder()?, held: Vec::new() },
            uploads: JoinSet::new(),
            durable: Vec::new(),
            indexed: Index::default(),
            new_bytes: 0,
            failed: None,
            ended: false,
        };
        Ok(Self {
            vault,
            sealing,
            pin,
            known: known.index,
            unindexed: known.unindexed,
            noted: known.noted,
            marked: HashSet::new(),
            budget,
            cpu: Arc::new(Semaphore::new(cpu_threads as usize)),
            cpu_threads,
            pack_target_bytes,
            transcoders: Mutex::default(),
            state: Mutex::new(state),
            flushing: tokio::sync::Mutex::default(),
            runtime: Handle::current(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when the session has ended or failed.
    pub(super) fn check(&self) -> Result<(), VaultError> {
        self.lock().check()
    }

    /// Remembers the first failure and gives it back for this caller.
    pub(super) fn fail(&self, error: VaultError) -> VaultError {
        let mut state = self.lock();
        let cause = match error {
            // Already remembered: do not wrap a cause in itself.
            VaultError::SessionFailed { cause } => cause,
            error => Arc::new(error),
        };
        VaultError::SessionFailed { cause: Arc::clone(state.failed.get_or_insert(cause)) }
    }

    /// Stores one piece: on this thread when it is small and cheap, otherwise on a CPU thread.
    pub(super) async fn store(
        self: &Arc<Self>,
        piece: Piece,
        reservation: Reservation,
    ) -> Result<(StoredBlob, PieceDigest), VaultError> {
        let cheap = !matches!(
            piece.codec,
            Codec::Zstd { level: 4.. } | Codec::ShuffleZstd { level: 4.., .. } | Codec::AdaptiveZstd { level: 4.. }
        );
        if cheap && piece.plain.len() <= self.vault.limits().inline_bytes {
            let _thread = self.vault.throttle().cpu().await;
            return self.store_now(piece, reservation);
        }
        let permit = Arc::clone(&self.cpu).acquire_owned().await;
        let thread = self.vault.throttle().cpu().await;
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let result = shared.store_now(piece, reservation);
            drop((thread, permit));
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(self.fail(VaultError::stopped("encodes a piece")(error))),
        }
    }

    /// Reads pieces and stores them, on one thread. It counts as working only once they have been read, so that slow disks
    /// keep many threads reading and not only as many as there are processors. `reservation` is for all of them.
    ///
    /// When one cannot be read or looked at, none of them is stored.
    pub(super) async fn read_and_store(
        self: &Arc<Self>,
        pieces: Vec<Unread>,
        mut reservation: Reservation,
    ) -> Result<Vec<(StoredBlob, PieceDigest)>, VaultError> {
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let pieces: Vec<(Piece, Option<Look>)> = pieces.into_iter().map(Unread::read).collect::<Result<_, _>>()?;
            let working = shared.runtime.block_on(async {
                let permit = Arc::clone(&shared.cpu).acquire_owned().await;
                (shared.vault.throttle().cpu().await, permit)
            });
            let looked = pieces.into_iter().map(|(piece, look)| match look.map_or(Ok(()), |look| look(&piece.plain)) {
                Ok(()) => Ok(piece),
                Err(source) => Err(VaultError::Input { source }),
            });
            // All of them before the first is stored.
            let pieces: Vec<Piece> = looked.collect::<Result<_, _>>()?;
            let stored = pieces.into_iter().map(|piece| {
                let share = reservation.share(work_bytes(piece.codec, piece.plain.len()));
                shared.store_now(piece, share)
            });
            let stored = stored.collect();
            drop(working);
            stored
        });
        task.await.unwrap_or_else(|error| Err(self.fail(VaultError::stopped("reads and encodes pieces")(error))))
    }

    /// The CPU work of one piece.
    fn store_now(
        self: &Arc<Self>,
        piece: Piece,
        mut reservation: Reservation,
    ) -> Result<(StoredBlob, PieceDigest), VaultError> {
        let Piece { plain, codec, extent } = piece;
        let misplaced = || bad("pack", format!("no piece of {} bytes can lie at {extent:?}", plain.len()));
        let (id, digest) = self.sealing.id_key.hash(&plain, extent).ok_or_else(misplaced)?;
        let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        if !self.claim(id, plain_bytes)? {
            return Ok((StoredBlob { id, plain_bytes: u64::from(plain_bytes), new: false, added_bytes: 0 }, digest));
        }
        let mut transcoder = self.transcoders.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let encoded = transcoder.encode(codec, &plain);
        self.transcoders.lock().unwrap_or_else(PoisonError::into_inner).push(transcoder);
        let (used, stored) = encoded.map_err(|error| {
            self.fail(VaultError::Codec {
                codec: codec.to_string(),
                plain_bytes: plain.len(),
                reason: error.to_string(),
            })
        })?;
        drop(plain);
        reservation.shrink_to(stored.len());
        let added_bytes = stored.len() as u64;
        let entry = BlobEntry::new(id, extent, used, plain_bytes, &stored);
        self.append(reservation, |builder| builder.push(entry, stored));
        Ok((StoredBlob { id, plain_bytes: u64::from(plain_bytes), new: true, added_bytes }, digest))
    }

    /// True when the caller must store this blob; false when it is stored or another task is at it.
    fn claim(&self, id: BlobId, plain_bytes: u32) -> Result<bool, VaultError> {
        let mut state = self.lock();
        state.check()?;
        if self.known.first(&id).is_some() || state.claims.contains_key(&id) {
            return Ok(false);
        }
        state.claims.insert(id, plain_bytes);
        Ok(true)
    }

    /// Adds a blob to the open pack and sends the pack off when it is full.
    fn append(self: &Arc<Self>, held: Reservation, push: impl FnOnce(&mut PackBuilder)) {
        let mut state = self.lock();
        push(&mut state.open.builder);
        state.open.held.push(held);
        let open = &state.open.builder;
        if open.size_bytes() >= self.pack_target_bytes || open.blobs() >= self.vault.limits().pack_blobs {
            self.send_off(&mut state);
        }
    }

    /// Closes the open pack and uploads it in a task of its own.
    fn send_off(self: &Arc<Self>, state: &mut State) {
        if state.open.builder.blobs() == 0 {
            return;
        }
        let next = match self.sealing.builder() {
            Ok(builder) => OpenPack { builder, held: Vec::new() },
            Err(error) => {
                // The session fails with the pack still open: nothing of it counts.
                state.failed.get_or_insert(Arc::new(error));
                return;
            }
        };
        let pack = std::mem::replace(&mut state.open, next);
        let shared = Arc::clone(self);
        while state.uploads.try_join_next().is_some() {}
        state.uploads.spawn_on(
            async move {
                match shared.upload(pack.builder).await {
                    Ok(uploaded) => {
                        let mut state = shared.lock();
                        state.new_bytes = state.new_bytes.saturating_add(uploaded.size_bytes);
                        state.durable.push(uploaded);
                    }
                    Err(error) => {
                        shared.fail(error);
                    }
                }
                drop(pack.held);
            },
            &self.runtime,
        );
    }

    /// The same pack under another name, which is that of nobody else's pack.
    pub(super) async fn renamed(&self, bytes: Bytes) -> Result<(PackId, Bytes), VaultError> {
        let distinction = self.sealing.distinction;
        let renamed = tokio::task::spawn_blocking(move || pack::renamed(&bytes, distinction));
        renamed.await.map_err(VaultError::stopped("renames a pack"))
    }

    async fn upload(self: &Arc<Self>, builder: PackBuilder) -> Result<PackIndex, VaultError> {
        let permit = Arc::clone(&self.cpu).acquire_owned().await;
        let thread = self.vault.throttle().cpu().await;
        let sealed = tokio::task::spawn_blocking(move || {
            let sealed = builder.seal();
            drop((thread, permit));
            sealed
        });
        let sealed = sealed.await.map_err(VaultError::stopped("closes a pack"))??;
        self.write_pack(&sealed.id, sealed.pieces).await?;
        Ok(PackIndex { id: sealed.id, size_bytes: sealed.size_bytes, entries: sealed.entries })
    }

    /// Writes a pack. One of this name that was damaged is whole again then, and its note goes.
    async fn write_pack(&self, id: &PackId, pieces: Vec<Bytes>) -> Result<(), VaultError> {
        self.vault.objects().put_content(&layout::pack_path(id), pieces).await?;
        if self.noted.contains(id) {
            let now = self.pin.now();
            damage_note::clear(self.vault.objects(), id, now).await?;
        }
        Ok(())
    }

    /// Writes a pack of another vault as it is. Its bytes were compared with its name, `entries` were read from them.
    pub(super) async fn adopt(&self, id: PackId, bytes: Bytes, entries: Vec<BlobEntry>) -> Result<(), VaultError> {
        self.check()?;
        let size_bytes = bytes.len() as u64;
        self.write_pack(&id, vec![bytes]).await.map_err(|error| self.fail(error))?;
        let mut state = self.lock();
        // Only now that it is durable may others find its blobs; what they stored meanwhile is stored twice.
        state.claims.extend(entries.iter().map(|entry| (entry.id, entry.plain_bytes)));
        state.new_bytes = state.new_bytes.saturating_add(size_bytes);
        state.durable.push(PackIndex { id, size_bytes, entries });
        Ok(())
    }

    /// True when this blob is in the vault, or this session has stored it or is at it.
    pub(super) fn has(&self, id: &BlobId) -> bool {
        self.known.first(id).is_some() || self.lock().claims.contains_key(id)
    }

    /// Makes everything that was put so far durable and findable, in a task of its own: whoever waits may be dropped
    /// half-way, and uploads under way, or packs that are in no index object yet, must not be lost with it.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), VaultError> {
        let shared = Arc::clone(self);
        let task = self.runtime.spawn(async move { shared.flush_now().await });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(self.fail(VaultError::stopped("makes packs durable")(error))),
        }
    }

    /// Packs first, then index objects.
    async fn flush_now(self: &Arc<Self>) -> Result<(), VaultError> {
        let _alone = self.flushing.lock().await;
        // All CPU permits at once: no piece is being worked on, so every blob that was put is in a pack. They are given
        // back before the uploads are awaited, which need one each.
        let quiet = self.cpu.acquire_many(self.cpu_threads).await;
        self.send_off(&mut self.lock());
        drop(quiet);
        let mut uploads = std::mem::take(&mut self.lock().uploads);
        while let Some(result) = uploads.join_next().await {
            if let Err(error) = result {
                return Err(self.fail(VaultError::stopped("uploads a pack")(error)));
            }
        }
        let durable = {
            let mut state = self.lock();
            state.check_failed()?;
            std::mem::take(&mut state.durable)
        };
        self.write_index(durable).await.map_err(|error| self.fail(error))
    }

    /// Writes index objects for packs that a job left which was killed before it could, and that this part relies on: so
    /// every pack that a part names stands in an index object, and where it does not, that object was lost.
    pub(super) async fn index_what_is_relied_on(&self, draft: &PartDraft) -> Result<(), VaultError> {
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let files = draft.collections.iter().flat_map(|collection| &collection.files);
        let relied_on: HashSet<PackId> = {
            let state = self.lock();
            let find = |blob| state.indexed.first(blob).or_else(|| self.known.first(blob));
            files.flat_map(|file| &file.blobs).filter_map(find).map(|location| location.pack).collect()
        };
        let packs: Vec<PackIndex> =
            self.unindexed.iter().filter(|pack| relied_on.contains(&pack.id)).cloned().collect();
        index::write(self.vault.objects(), &packs).await.map(drop).map_err(|error| self.fail(error))
    }

    /// Writes index objects for packs that are durable.
    async fn write_index(&self, packs: Vec<PackIndex>) -> Result<(), VaultError> {
        index::write(self.vault.objects(), &packs).await?;
        let limits = self.vault.limits();
        let mut state = self.lock();
        packs.iter().try_for_each(|pack| state.indexed.add(pack, limits))
    }
}

impl State {
    fn check(&self) -> Result<(), VaultError> {
        self.check_failed()?;
        if self.ended { Err(VaultError::SessionEnded) } else { Ok(()) }
    }

    /// Fails when the session has failed.
    pub(super) fn check_failed(&self) -> Result<(), VaultError> {
        match &self.failed {
            Some(cause) => Err(VaultError::SessionFailed { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }
}
