//! Writing: pieces go in, a part manifest comes out.
//!
//! ```text
//! put / put_file ─► budget ─► CPU thread: hash ─ known? ─ encode ─ check ─► open pack ─► upload (several at once)
//! finish: last pack ─► uploads durable ─► index objects ─► pin still held? ─► part manifest
//! then:   Vault::commit_root in the home vault ─► Vault::put_receipt in every other vault
//! ```
//!
//! # Why a crash can never leave a backup that only looks whole
//!
//! Each step starts after the one before was acknowledged as durable by the store:
//! 1. packs before the index objects that name them: an index object never names a pack that is not there;
//! 2. index objects before the part: whoever can read the part can find every blob of it (even without index objects,
//!    from the ends of the packs). That holds for packs of jobs that were killed, too, as far as the part relies on them;
//! 3. parts of all vaults before the root: the root is the commit, and all it names is there;
//! 4. the root before any receipt: a receipt means a committed backup.
//!
//! Whatever a crash or an error leaves before step 4's root are packs, index objects and parts that nothing names. They
//! are found again and reused by the next session, or removed by a prune. [`Session::finish`] refuses a part that names
//! a blob which is not in a durable, indexed pack, or files whose blobs do not add up.

mod budget;
mod files;
mod from_vault;
mod shared;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{BackupId, Codec, Digest, Timestamp, VaultId};

use self::budget::{Budget, work_bytes};
pub use self::files::{InputError, Look, PieceSource, Reading, SmallFile};
pub use self::from_vault::CopiedBlobs;
pub(crate) use self::from_vault::fetch_pack;
use self::shared::{Piece, Sealing, Shared};
use crate::layout::{ManifestKey, ManifestKind};
use crate::manifest::bad;
use crate::prune::marks::Marks;
use crate::{
    BlobExtent, BlobId, CollectionFiles, PackId, PackRef, Part, PartOpen, PartRef, PartSealed, Pin, Sealed, Sizes,
    Vault, VaultError, digest_of,
    index::{self, Purpose},
};

/// How a session uses the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Bytes it may hold: pieces being read, encoded, packed and uploaded.
    pub memory_budget_bytes: usize,
    /// Threads that hash and encode.
    pub cpu_threads: usize,
}

impl SessionOptions {
    /// May hold this many bytes, and is otherwise as by default.
    #[must_use]
    pub fn holding(memory_budget_bytes: u64) -> Self {
        Self { memory_budget_bytes: usize::try_from(memory_budget_bytes).unwrap_or(usize::MAX), ..Self::default() }
    }
}

impl Default for SessionOptions {
    /// The budget of [`Limits::DEFAULT`](crate::Limits::DEFAULT) and as many threads as the machine has.
    fn default() -> Self {
        Self {
            memory_budget_bytes: crate::Limits::DEFAULT.memory_budget_bytes,
            cpu_threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// What became of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub id: BlobId,
    /// Its length.
    pub plain_bytes: u64,
    /// True when the vault did not have it.
    pub new: bool,
    /// Bytes it adds to the vault; 0 when it is not new.
    pub added_bytes: u64,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its length.
    pub size_bytes: u64,
    /// Its blobs, in order.
    pub blobs: Vec<BlobId>,
    /// BLAKE3 of its bytes, without a key.
    pub digest: Digest,
    /// Bytes of it that the vault did not have.
    pub new_plain_bytes: u64,
    /// Bytes it adds to the vault.
    pub added_bytes: u64,
}

/// A blob an earlier session stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its length.
    pub plain_bytes: u64,
    /// Bytes it takes in its pack.
    pub stored_bytes: u64,
    /// How it is encoded.
    pub codec: Codec,
}

/// The content of a part, without what the session knows itself (packs and sizes).
#[derive(Debug, Clone, PartialEq)]
pub struct PartDraft {
    /// The backup it belongs to.
    pub backup_id: BackupId,
    /// The job's fencing token.
    pub token: u64,
    /// The vault that the backup's root is, or will be, in; a prune asks it whether the part is needed.
    pub home_vault_id: Option<VaultId>,
    /// When the backup was made.
    pub created: Timestamp,
    /// Collections by number.
    pub collections: Vec<CollectionFiles>,
    /// Their names and everything else about them. [`Sealed::Locked`] for a copy made without a reader key: then
    /// backup, token, and all collections with their numbers must be those of the part it comes from.
    pub sealed: Sealed<PartSealed>,
}

/// A part that is durable in its vault. Means nothing until a root names it.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedPart {
    /// What the root names it by.
    pub reference: PartRef,
    /// Its content.
    pub part: Part,
}

/// Stores pieces and files in one vault. Share it in an `Arc`: any number of tasks may put at the same time.
///
/// Dropping it without [`Session::finish`] leaves no backup; packs that were uploaded are reused by the next session.
pub struct Session {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("vault", self.shared.vault.id()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Begins to write. Loads the index; everything the vault holds and no mark lists is deduplicated against. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`VaultError::PinLapsed`], [`VaultError::UnreadableMark`], [`VaultError::TooMany`] for a vault beyond the limits,
    /// failures of the store.
    pub async fn begin(&self, pin: &Pin, options: SessionOptions) -> Result<Session, VaultError> {
        pin.check().await?;
        // In an encrypted vault: the job's data key is durable, wrapped, before the first pack is encrypted with it.
        let key = self.job_session(pin).await?.cloned();
        // The handshake with a prune. The pin is durable; then marks are read, then the index without what they list.
        // A mark that was written too late to be seen here finds the pin, which does not honour it, and waits.
        let marks = Marks::load_all(self.objects()).await?;
        let known = index::load(self.objects(), Purpose::Writing, &marks).await?;
        pin.honour(&marks.ids()).await?;
        let limits = self.limits();
        // Whoever encrypts holds two copies of a piece beside it, on each thread, to prove that it can be decrypted.
        let proof_bytes = if key.is_some() { 2 * limits.split_bytes * options.cpu_threads.max(1) } else { 0 };
        let budget_bytes = options.memory_budget_bytes.saturating_sub(proof_bytes).max(limits.memory_budget_min_bytes);
        // A quarter at most for the open pack: the rest is for pieces at work and packs on their way.
        let pack_bytes = limits.pack_target_bytes.min(budget_bytes / 4);
        // A pack may go over its target by one blob.
        let budget = Budget::new(budget_bytes, pack_bytes);
        let threads = u32::try_from(options.cpu_threads.max(1)).unwrap_or(u32::MAX);
        let sealing = Sealing { id_key: self.id_key()?.clone(), session: key, distinction: pin.distinguish_session() };
        let mut shared = Shared::new(self.clone(), pin.clone(), known, budget, threads, pack_bytes as u64, sealing)?;
        shared.marked = marks.packs();
        Ok(Session { shared: Arc::new(shared) })
    }
}

impl Session {
    /// What an earlier session stored under this name.
    #[must_use]
    pub fn lookup(&self, id: &BlobId) -> Option<BlobInfo> {
        self.shared.known.first(id).map(|location| BlobInfo {
            plain_bytes: u64::from(location.entry.plain_bytes),
            stored_bytes: u64::from(location.entry.stored_bytes),
            codec: location.entry.codec,
        })
    }

    /// True for a pack that may be deleted under this session: it counts as absent, and a pack of this name must not be
    /// written either (its bytes under another name may).
    #[must_use]
    pub fn is_marked(&self, pack: &PackId) -> bool {
        self.shared.marked.contains(pack)
    }

    /// The packs that hold these blobs; `None` unless all of them are durable and findable.
    #[must_use]
    pub fn packs_of<'a>(&self, blobs: impl IntoIterator<Item = &'a BlobId>) -> Option<BTreeSet<PackId>> {
        let state = self.shared.lock();
        let find = |id| state.indexed.first(id).or_else(|| self.shared.known.first(id));
        blobs.into_iter().map(|id| find(id).map(|location| location.pack)).collect()
    }

    /// Bytes of the memory budget that nobody holds at this moment.
    #[must_use]
    pub fn idle_budget_bytes(&self) -> usize {
        self.shared.budget.idle_bytes()
    }

    /// Stores one piece, or finds that the vault has it. Waits while the memory budget is used up. The bytes are not
    /// copied when they are stored as they are, so they should not be a small part of a large buffer.
    ///
    /// The piece is durable only after [`Session::checkpoint`] or [`Session::finish`].
    ///
    /// # Errors
    /// [`VaultError::TooLarge`]; [`VaultError::SessionFailed`] with what failed first in this session: after it nothing
    /// can be stored, and nothing counts.
    pub async fn put(&self, plain: Bytes, codec: Codec) -> Result<StoredBlob, VaultError> {
        self.put_piece(plain, codec, BlobExtent::WHOLE).await
    }

    /// The same for what is, or was elsewhere, a piece of a file.
    ///
    /// # Errors
    /// As [`Session::put`]; [`VaultError::BadManifest`] where no piece of that length can lie there.
    pub async fn put_piece(&self, plain: Bytes, codec: Codec, extent: BlobExtent) -> Result<StoredBlob, VaultError> {
        self.shared.check()?;
        self.check_length(plain.len())?;
        let reservation = self.shared.budget.reserve(work_bytes(codec, plain.len())).await?;
        let (blob, _) = self.shared.store(Piece { plain, codec, extent }, reservation).await?;
        Ok(blob)
    }

    /// Makes everything put so far durable and findable, so that a later attempt need not store it again. Costs a pack
    /// that may be small; meant for every half minute, not for every file. Others may go on putting meanwhile.
    ///
    /// # Errors
    /// As [`Session::put`].
    pub async fn checkpoint(&self) -> Result<(), VaultError> {
        self.shared.check()?;
        self.shared.flush().await
    }

    /// Ends the session: makes all packs durable, then the index, then writes the part.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when the draft names a blob that is not in the vault or contradicts itself;
    /// [`VaultError::PinLapsed`]; otherwise as [`Session::put`]. No backup exists then.
    pub async fn finish(&self, draft: PartDraft) -> Result<FinishedPart, VaultError> {
        self.shared.check()?;
        self.shared.lock().ended = true;
        self.shared.flush().await?;
        self.shared.index_what_is_relied_on(&draft).await?;
        let vault = &self.shared.vault;
        if let Sealed::Locked(locked) = &draft.sealed {
            vault.require_session(&locked.session).await?;
        }
        let recipients = if vault.is_encrypted() { Some(vault.recipients().await?.generation) } else { None };
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let part = shared.assemble(draft, recipients)?;
            let seal = shared.vault.manifest_seal(shared.sealing.session.as_ref())?;
            let bytes = part.to_bytes(&seal, shared.vault.limits())?;
            Ok((part, bytes))
        });
        let (part, bytes) = written.await.map_err(VaultError::stopped("writes a part down"))??;
        // Last, and before anything names these blobs: if the pin lapsed, a prune may have taken some of them.
        self.shared.pin.check().await?;
        let (backup_id, token) = (part.open.backup_id.clone(), part.open.token);
        let key = ManifestKey { backup_id, token, digest: digest_of(&bytes) };
        let path = key.path(ManifestKind::Part);
        vault.objects().put_manifest(&path, bytes).await?;
        let reference = PartRef {
            vault_id: vault.id().clone(),
            region_id: vault.region_id().clone(),
            key: path.to_string(),
            digest: key.digest,
            sizes: part.open.sizes,
        };
        Ok(FinishedPart { reference, part })
    }
}

impl Shared {
    /// Completes the draft, proving that every blob it names is durable and indexed.
    fn assemble(&self, draft: PartDraft, recipients: Option<u64>) -> Result<Part, VaultError> {
        let state = self.lock();
        let (mut packs, mut seen) = (BTreeSet::new(), HashSet::new());
        let (mut plain_bytes, mut stored_bytes) = (0_u64, 0_u64);
        for file in draft.collections.iter().flat_map(|collection| &collection.files) {
            let mut length = 0_u64;
            for id in &file.blobs {
                let location = state.indexed.first(id).or_else(|| self.known.first(id));
                let location = location.ok_or_else(|| bad("part", format!("the blob {id} was not stored")))?;
                length = length.saturating_add(u64::from(location.entry.plain_bytes));
                if seen.insert(*id) {
                    stored_bytes = stored_bytes.saturating_add(u64::from(location.entry.stored_bytes));
                    packs.insert(location.pack);
                }
            }
            if length != file.size_bytes {
                let reason = format!("a file of {} bytes has blobs of {length} bytes", file.size_bytes);
                return Err(bad("part", reason));
            }
            plain_bytes = plain_bytes.saturating_add(length);
        }
        let size_of = |id: &PackId| state.indexed.pack_bytes(id).or_else(|| self.known.pack_bytes(id));
        let packs = packs
            .into_iter()
            .map(|id| size_of(&id).map(|size_bytes| PackRef { id, size_bytes }))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| bad("part", "a pack has no size"))?;
        let open = PartOpen {
            backup_id: draft.backup_id,
            token: draft.token,
            vault_id: self.vault.id().clone(),
            home_vault_id: draft.home_vault_id,
            created: draft.created,
            recipients,
            sizes: Sizes { plain_bytes, stored_bytes, new_bytes: state.new_bytes },
            collections: draft.collections,
            packs,
        };
        let mut part = Part { open, sealed: draft.sealed };
        if self.vault.is_encrypted() {
            part.mark_for_writers(&self.sealing.id_key);
        }
        Ok(part)
    }
}
