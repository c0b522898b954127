//! The storage core: blobs in packs, an index, manifests, pins, verification.
//!
//! Contract: whatever a committed backup names is durable before the backup exists, and whatever is read back is
//! byte for byte what was stored, or an error. The format is documented in `FORMAT.md` beside this crate. This crate
//! never learns what a plugin is: decisions pass through as JSON values.
//!
//! Failure: every failure is a [`VaultError`], a sentence that says what to do next. Damaged or hostile vaults give
//! errors, never a panic, an endless loop or a large allocation.
//!
//! # Writing
//! ```
//! # use std::sync::Arc;
//! # use longshore_model::{Codec, FixedClock, JobType, RegionId, ProjectId, Timestamp, BackupId};
//! # use longshore_vault::*;
//! # async fn write(store: Arc<dyn object_store::ObjectStore>, project: ProjectId, region: RegionId, backup: BackupId,
//! #     collections: Vec<CollectionFiles>, sealed: Sealed<PartSealed>, root: impl Fn(&PartRef) -> Root)
//! # -> Result<(), VaultError> {
//! let vault = Vault::init(store, VaultOptions::random(project, region, None)?).await?;
//! let clock = Arc::new(longshore_model::SystemClock);
//! let request = PinRequest {
//!     job_id: "job-1".parse().expect("a job id"),
//!     job_type: JobType::Backup,
//!     token: 1,
//!     random: [7; 8],
//!     relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
//!     state: serde_json::Value::Null,
//! };
//! let pin = vault.pin(request, clock).await?;
//! let session = Arc::new(vault.begin(&pin, SessionOptions::default()).await?);
//! let blob = session.put(bytes::Bytes::from_static(b"rows"), Codec::Zstd { level: 1 }).await?;
//! assert!(blob.new);
//! let created = Timestamp::from_millis(0);
//! let part = session.finish(PartDraft {
//!     backup_id: backup, token: 1, home_vault_id: Some(vault.id().clone()), created, collections, sealed,
//! }).await?;
//! let root = vault.commit_root(&root(&part.reference), &pin).await?; // in the home vault: now the backup exists
//! // other_vault.put_receipt(&root, &part_there.reference).await?;
//! pin.release().await?;
//! # drop(root);
//! # Ok(())
//! # }
//! ```
//!
//! # Reading
//! [`Vault::list_backups`], [`Vault::load_backup`], [`Vault::load_part_of`], then [`Vault::open_reader`],
//! [`Reader::file_pieces`] and [`Reader::read_blob`]. [`Vault::verify`] looks whether all is there.

mod backups;
mod blob_runs;
mod catalog;
mod codec;
mod commit;
mod crypto;
mod damage_note;
mod erasure;
mod error;
mod file_digest;
mod header;
mod header_rebuild;
mod heal;
mod ids;
mod index;
mod inspect;
mod layout;
mod limits;
mod local;
mod losses;
mod manifest;
mod objects;
mod pack;
mod pin;
mod prune;
mod reader;
mod reading;
mod records;
mod rehearsal;
mod repair;
mod session;
mod stored;
mod survey;
pub mod testing;
mod throttle;
mod vault;
mod verify;
mod withdrawal;

pub use backups::{BackupListing, BackupSummary, KnownCommit, LoadedBackup, NamedBackup, Origin};
pub use blob_runs::BlobRun;
pub use catalog::CatalogSnapshot;
pub use codec::{CodecError, Transcoder};
pub use commit::{CommittedRoot, PackedRoot};
pub use crypto::{
    Encryption, Keys, LockedBody, NamedRecipient, ReaderKey, Recipient, RecipientChange, RecipientList, WriterKey,
};
pub use erasure::Erasure;
pub use error::VaultError;
pub use file_digest::BlobExtent;
pub use header_rebuild::RebuiltHeader;
pub use heal::ManifestDamage;
pub use ids::{BlobId, IdKey, PackId, SessionId, digest_of};
pub use inspect::{Inspection, inspect_object, inspect_vault};
pub use layout::{FORMAT_VERSION, HEADER_KEY, ManifestKind};
pub use limits::Limits;
pub use local::{create_local_store, local_store};
pub use manifest::{
    CollectionFiles, CollectionFinding, CollectionSealed, DatabaseSealed, DdlChange, Excluded, FileEntry, FileSealed,
    JsonText, PackRef, Part, PartOpen, PartRef, PartSealed, Receipt, ReceiptOpen, Root, RootOpen, RootSealed, Sealed,
    Sizes, content_digest,
};
pub use pack::BlobEntry;
pub use pin::{Pin, PinRecord, PinRequest, ReliesOn};
pub use prune::{
    BackupSpace, Mark, MarkId, MarkState, PlannedObject, PruneAction, PruneOptions, PrunePlan, PruneReason,
    PruneReport, PruneWatch, SpaceReport, VaultPlan, plan_prune, prune, prune_watched,
};
pub use reader::{FilePiece, Reader};
pub use repair::{RepairOutcome, RepairPlan};
pub use session::{
    BlobInfo, CopiedBlobs, FinishedPart, InputError, Look, PartDraft, PieceSource, Reading, Session, SessionOptions,
    SmallFile, StoredBlob, StoredFile,
};
pub use stored::StoredByDay;
pub use throttle::{CpuPermit, Priority, Throttle, ThrottleLimits};
pub use vault::{Vault, VaultOptions};
pub use verify::{
    BlobDamage, CollectionReport, LOST_INDEX, LOST_LIST, ObjectDamage, Sample, UnneededPacks, VerifyLevel,
    VerifyOptions, VerifyReport,
};
pub use withdrawal::{Tombstone, Withdrawal};
