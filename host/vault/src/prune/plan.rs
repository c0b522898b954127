//! What a prune would do and why, as values.

use longshore_model::{BackupId, RegionId, Timestamp, VaultId};
use serde::Serialize;

use std::collections::BTreeSet;

/// How a prune decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneOptions {
    /// How old a mark must be, by the store's clock, before what it lists may be deleted; in milliseconds. Must be more
    /// than twice as long as listings of the store lag behind.
    pub fence_ms: i64,
    /// Packs and orphan parts younger than this are not marked; in milliseconds.
    pub minimum_age_ms: i64,
    /// A pack of which less than this share of its bytes is needed is rewritten; in percent. 0 never does.
    pub compact_below_percent: u8,
    /// Vaults of the project that are gone for good: what only they could need is not kept for their sake.
    pub lost_vaults: BTreeSet<VaultId>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            fence_ms: 60 * 60 * 1000,
            minimum_age_ms: 24 * 60 * 60 * 1000,
            compact_below_percent: 50,
            lost_vaults: BTreeSet::new(),
        }
    }
}

/// What is done, or would be done, with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PruneAction {
    /// Removed for good.
    Delete,
    /// Listed in a mark: a run at least one fence later may delete it.
    Mark,
    /// What is needed of it is written into a new pack, then it is marked.
    Compact,
    /// Written, because a crash left it out.
    Write,
    /// Was marked, and is needed again.
    Unmark,
    /// Would go, but not now.
    Wait,
    /// Stays although no backup in this vault needs it.
    Keep,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum PruneReason {
    /// No backup that exists needs anything of it.
    Unneeded,
    /// Everything that is needed of it lies in other packs too.
    Redundant,
    /// Only a share of it is needed.
    MostlyUnneeded {
        /// The share, in percent of its blobs' bytes.
        needed_percent: u8,
    },
    /// It may hold bytes of what an erasure took out of the backups.
    Erasure,
    /// Its index cannot be read, and nothing that is needed is missing.
    UnreadableUnneeded,
    /// It belongs to a backup that was withdrawn.
    Withdrawn,
    /// A newer commit of the same backup took its place.
    Superseded,
    /// An erasure that has not ended may be about to read or to name it.
    ErasureUnfinished {
        /// The record of the erasure.
        record: String,
    },
    /// No root and no receipt names it.
    Orphan,
    /// Nobody needs the record any more.
    Obsolete,
    /// It repeats, in fewer objects, what others say.
    Consolidated,
    /// The home vault's root names a part here, and the receipt is missing.
    MissingReceipt,
    /// It was never finished.
    Unfinished,
    /// It is younger than the minimum age.
    Young,
    /// Its mark is younger than the fence.
    InFence,
    /// A job that may still rely on it is alive.
    Pinned {
        /// The job's pin.
        pin: String,
    },
    /// A backup needs it.
    Needed,
    /// The backup was withdrawn here, but not yet in its home vault: repeat the deletion.
    DeletionUnfinished,
    /// Its home vault was not given, and may need it.
    HomeVaultUnknown {
        /// Which, as far as it is known.
        home_vault_id: Option<VaultId>,
    },
    /// What is needed of it was not found whole anywhere else.
    OnlyGoodCopy,
    /// A manifest that must say what is needed cannot be read.
    UnreadableManifest {
        /// Which.
        object: String,
    },
}

/// One object and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedObject {
    /// What becomes of it.
    pub action: PruneAction,
    /// Its key.
    pub object: String,
    /// Its length; 0 where that does not matter.
    pub size_bytes: u64,
    /// Why.
    pub reason: PruneReason,
}

/// What one backup takes in a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpace {
    /// Which.
    pub backup_id: BackupId,
    /// Stored bytes that it alone needs: what deleting it would free.
    pub alone_bytes: u64,
    /// Stored bytes that it shares with others.
    pub shared_bytes: u64,
}

/// Where the bytes of a vault's packs go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpaceReport {
    /// All packs.
    pub pack_bytes: u64,
    /// Their number.
    pub packs: u64,
    /// Stored bytes of blobs that backups or kept parts need, each once.
    pub needed_bytes: u64,
    /// Bytes of packs that marks list.
    pub marked_bytes: u64,
    /// Bytes in unmarked packs that nothing needs.
    pub unneeded_bytes: u64,
    /// Bytes of packs whose index cannot be read.
    pub unreadable_bytes: u64,
    /// Each backup, in order of id.
    pub backups: Vec<BackupSpace>,
}

/// What a prune would do in one vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultPlan {
    /// Which vault.
    pub vault_id: VaultId,
    /// Its region.
    pub region_id: RegionId,
    /// Where it is.
    pub place: String,
    /// The time it was planned for, by the store's clock where that was asked.
    pub now: Timestamp,
    /// Objects that something is done with, or that stay for a reason worth telling; needed ones are only counted.
    pub objects: Vec<PlannedObject>,
    /// Where the bytes go.
    pub space: SpaceReport,
    /// When what is marked now may be deleted; `None` when nothing is.
    pub next_deletion: Option<Timestamp>,
    /// Why nothing is marked or deleted here, if so: one sentence each.
    pub blocked: Vec<String>,
}

impl VaultPlan {
    /// Objects with this action, and their bytes.
    #[must_use]
    pub fn count(&self, action: PruneAction) -> (u64, u64) {
        let of = self.objects.iter().filter(|object| object.action == action);
        of.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.size_bytes))
    }
}

/// What a prune would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunePlan {
    /// One per vault, in the order given.
    pub vaults: Vec<VaultPlan>,
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// One per vault: here `Delete`, `Mark`, `Compact`, `Write` and `Unmark` mean that it was done.
    pub vaults: Vec<VaultPlan>,
}

impl std::fmt::Display for PruneReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unneeded => f.write_str("no backup needs anything of it"),
            Self::Redundant => f.write_str("what is needed of it lies in other packs too"),
            Self::MostlyUnneeded { needed_percent } => write!(f, "only {needed_percent} % of it is needed"),
            Self::Erasure => f.write_str("it may hold bytes of what was erased"),
            Self::UnreadableUnneeded => f.write_str("its index cannot be read, and nothing that is needed is missing"),
            Self::Withdrawn => f.write_str("its backup was deleted"),
            Self::Superseded => f.write_str("a newer commit of its backup took its place"),
            Self::ErasureUnfinished { record } => {
                write!(
                    f,
                    "the erasure of `{record}` has not ended and may need it: if it does not run any more, repeat it"
                )
            }
            Self::Orphan => f.write_str("no root and no receipt names it"),
            Self::Obsolete => f.write_str("the record is of no use any more"),
            Self::Consolidated => f.write_str("other index objects say what it says"),
            Self::MissingReceipt => f.write_str("the root in the home vault names a part here"),
            Self::Unfinished => f.write_str("it was never finished"),
            Self::Young => f.write_str("it is younger than the minimum age"),
            Self::InFence => f.write_str("its mark is younger than the fence"),
            Self::Pinned { pin } => write!(f, "the job of `{pin}` may rely on it"),
            Self::Needed => f.write_str("a backup needs it"),
            Self::DeletionUnfinished => {
                f.write_str("its backup was deleted here, but not in its home vault: repeat the deletion")
            }
            Self::HomeVaultUnknown { home_vault_id: Some(id) } => {
                write!(f, "its home vault {id} may need it: name that vault too, or say that it is lost")
            }
            Self::HomeVaultUnknown { home_vault_id: None } => {
                f.write_str("its home vault may need it: name the other vaults of the project too")
            }
            Self::OnlyGoodCopy => f.write_str("what is needed of it was not found whole anywhere else"),
            Self::UnreadableManifest { object } => write!(f, "`{object}`, which says what is needed, cannot be read"),
        }
    }
}
