//! Which parts are needed, and so which blobs.
//!
//! A part is needed when the newest commit of a backup that exists here names it, when the newest root in another given
//! vault names it (its receipt here is then missing, and is written), or when a pin names its backup. A part that nobody
//! names is kept as long as its home vault was not looked at, or while an erasure rewrites its backup. One that cannot be
//! read, and whose place another part of the same commit took, is not needed, whoever names it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use longshore_model::{BackupId, RegionId, Timestamp, VaultId};

use super::look::{Seen, View};
use super::plan::{BackupSpace, PruneOptions, PruneReason};
use crate::layout::{ManifestKey, ManifestKind};
use crate::{BlobId, CommittedRoot, Part, PartRef, VaultError};

/// Which backup needs a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(u32),
    Several,
}

/// Who needs a blob.
#[derive(Debug, Clone, Copy)]
struct Need {
    owner: Owner,
    /// Some part that a commit names needs it.
    committed: bool,
}

/// What the parts of one vault need.
#[derive(Default)]
pub(super) struct Needs {
    blobs: HashMap<BlobId, Need>,
    backups: Vec<BackupId>,
    numbers: HashMap<BackupId, u32>,
    /// Parts that nobody needs, and why.
    pub(super) unneeded: Vec<(Seen<ManifestKey>, PruneReason)>,
    /// Parts that are kept for a reason worth telling.
    pub(super) kept: Vec<(Seen<ManifestKey>, PruneReason)>,
    /// Backups of which something is kept here.
    pub(super) kept_backups: BTreeSet<BackupId>,
    /// Receipts to be written.
    pub(super) receipts: Vec<(CommittedRoot, PartRef)>,
    /// Parts that are needed and cannot be read.
    pub(super) unreadable: Vec<String>,
    /// By number of backup, when the oldest part was written that is kept and that no commit names: of a job that runs, or
    /// that died.
    uncommitted: HashMap<u32, Timestamp>,
    /// Parts that cannot be read and that nobody misses: a part that can be read holds all of each.
    pub(super) replaced: HashSet<String>,
}

impl Needs {
    pub(super) fn needs(&self, blob: &BlobId) -> bool {
        self.blobs.contains_key(blob)
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.blobs.keys()
    }

    /// When the oldest part was written that is kept, that no commit names, and that needs something no commit needs.
    pub(super) fn uncommitted_since(&self) -> Option<Timestamp> {
        // Mostly there is none, and then the blobs, which may be many, need not be looked at.
        let oldest = self.uncommitted.values().min()?;
        let alone = self.blobs.values().filter(|need| !need.committed);
        let since = alone.filter_map(|need| match need.owner {
            Owner::One(number) => self.uncommitted.get(&number),
            Owner::Several => Some(oldest),
        });
        since.min().copied()
    }

    /// `uncommitted`: when the part was written, if no commit names it.
    fn add(&mut self, part: &Part, uncommitted: Option<Timestamp>) {
        let next = u32::try_from(self.backups.len()).unwrap_or(u32::MAX);
        let backup_id = &part.open.backup_id;
        let number = *self.numbers.entry(backup_id.clone()).or_insert_with(|| {
            self.backups.push(backup_id.clone());
            next
        });
        if let Some(written) = uncommitted {
            let since = self.uncommitted.entry(number).or_insert(written);
            *since = written.min(*since);
        }
        let files = part.open.collections.iter().flat_map(|collection| &collection.files);
        for blob in files.flat_map(|file| &file.blobs) {
            let first = Need { owner: Owner::One(number), committed: false };
            let need = self.blobs.entry(*blob).or_insert(first);
            need.committed |= uncommitted.is_none();
            if need.owner != Owner::One(number) {
                need.owner = Owner::Several;
            }
        }
    }

    /// Stored bytes of each backup, given those of each blob. `totals` are the bytes of all blobs a backup names.
    pub(super) fn space(&self, stored: &HashMap<BlobId, u32>, totals: &BTreeMap<BackupId, u64>) -> Vec<BackupSpace> {
        let mut alone = vec![0_u64; self.backups.len()];
        for (blob, need) in &self.blobs {
            if let Owner::One(number) = need.owner
                && let Some(bytes) = alone.get_mut(number as usize)
            {
                *bytes += u64::from(stored.get(blob).copied().unwrap_or_default());
            }
        }
        let mut spaces: Vec<BackupSpace> = self
            .backups
            .iter()
            .zip(alone)
            .map(|(backup_id, alone_bytes)| {
                let total = totals.get(backup_id).copied().unwrap_or_default();
                BackupSpace {
                    backup_id: backup_id.clone(),
                    alone_bytes,
                    shared_bytes: total.saturating_sub(alone_bytes),
                }
            })
            .collect();
        spaces.sort_by(|one, other| one.backup_id.cmp(&other.backup_id));
        spaces
    }
}

/// What one vault's parts need, and what each backup takes.
pub(super) struct NeedsOfVault {
    pub(super) needs: Needs,
    pub(super) stored: HashMap<BlobId, u32>,
    pub(super) totals: BTreeMap<BackupId, u64>,
}

/// Judges every part of the vault number `here`. Reads the parts one after the other: together they may be large.
pub(super) async fn needs_of(views: &[View], here: &View, options: &PruneOptions) -> Result<NeedsOfVault, VaultError> {
    let mut needs = Needs::default();
    let mut stored: HashMap<BlobId, u32> = HashMap::new();
    for pack in &here.survey.packs {
        for entry in &pack.pack.entries {
            stored.entry(entry.id).or_insert(entry.stored_bytes);
        }
    }
    let (named, pinned, unreadable_pin) = (here.named_here(), here.pinned_backups(), here.unreadable_pin());
    let (elsewhere, named_before) = (named_elsewhere(views, here), here.named_before());
    let mut totals = BTreeMap::new();
    let (mut there, mut readable): (HashSet<String>, HashSet<String>) = (HashSet::new(), HashSet::new());
    for seen in &here.parts {
        let key = seen.path.to_string();
        there.insert(key.clone());
        let named_here = named.contains(&key);
        let whole_backup = views.iter().any(|view| view.has_unreadable(&seen.key.backup_id));
        let (root, was_named) = (elsewhere.get(&key), named_before.contains(&key));
        let part = match here.vault.load_part_by(&seen.key).await {
            Ok(part) => Some(part),
            Err(error @ (VaultError::Store { .. } | VaultError::StorageFull { .. })) => return Err(error),
            Err(VaultError::MissingObject { .. }) => continue,
            Err(error) => {
                tracing::warn!(object = %seen.path, %error, "a part cannot be read");
                None
            }
        };
        let verdict = if named_here || whole_backup || root.is_some() || pinned.contains(&seen.key.backup_id) {
            Verdict::Needed
        } else {
            let erasing = || part.as_ref().and_then(|_| waits_for_erasure(views, here, seen, was_named));
            match (judge_unnamed(views, here, seen, part.as_ref(), options), unreadable_pin) {
                (Verdict::Gone(_), Some(pin)) => Verdict::Kept(PruneReason::Pinned { pin: pin.to_string() }),
                (Verdict::Gone(reason), None) => erasing().map_or(Verdict::Gone(reason), Verdict::Kept),
                (verdict, _) => verdict,
            }
        };
        match (verdict, part) {
            (Verdict::Gone(reason), _) => needs.unneeded.push((seen.clone(), reason)),
            (Verdict::Needed | Verdict::Kept(_), None) => needs.unreadable.push(key),
            (verdict, Some(part)) => {
                // What an older commit named holds nothing that an erasure has taken out of all commits.
                let uncommitted = !named_here && !was_named && root.is_none();
                needs.kept_backups.insert(seen.key.backup_id.clone());
                needs.add(&part, uncommitted.then_some(seen.written));
                readable.insert(key);
                *totals.entry(seen.key.backup_id.clone()).or_default() += stored_bytes(&part, &stored);
                match verdict {
                    Verdict::Kept(reason) => needs.kept.push((seen.clone(), reason)),
                    _ if named_here || whole_backup => {}
                    _ => note_receipt(&mut needs, here, seen, root),
                }
            }
        }
    }
    // What the newest commits name must be there, whether it was listed or not: otherwise nobody knows what it needed.
    let missing: BTreeSet<String> = named.into_iter().chain(elsewhere.into_keys()).collect();
    for key in missing.into_iter().filter(|key| !there.contains(key)) {
        let part = match ManifestKey::parse(ManifestKind::Part, &key) {
            Some(part) => here.vault.load_part_by(&part).await,
            None => Err(crate::manifest::bad(&key, "it is not the name of a part")),
        };
        match part {
            Ok(part) => {
                readable.insert(key);
                needs.kept_backups.insert(part.open.backup_id.clone());
                needs.add(&part, None);
                *totals.entry(part.open.backup_id.clone()).or_default() += stored_bytes(&part, &stored);
            }
            Err(error @ (VaultError::Store { .. } | VaultError::StorageFull { .. })) => return Err(error),
            Err(_) => needs.unreadable.push(key),
        }
    }
    forget_replaced(&mut needs, here, &readable);
    needs.unreadable.sort();
    needs.unreadable.dedup();
    Ok(NeedsOfVault { needs, stored, totals })
}

/// Takes away what cannot be read and was replaced. What is left of it goes as if a newer commit had replaced it.
fn forget_replaced(needs: &mut Needs, here: &View, readable: &HashSet<String>) {
    let replaced = here.replaced();
    let is_replaced = |key: &String| replaced.get(key).is_some_and(|by| by.iter().any(|part| readable.contains(part)));
    let (gone, unreadable): (Vec<_>, Vec<_>) = std::mem::take(&mut needs.unreadable).into_iter().partition(is_replaced);
    (needs.replaced, needs.unreadable) = (gone.into_iter().collect(), unreadable);
    let left = here.parts.iter().filter(|seen| needs.replaced.contains(seen.path.as_ref()));
    needs.unneeded.extend(left.map(|seen| (seen.clone(), PruneReason::Superseded)));
}

fn stored_bytes(part: &Part, stored: &HashMap<BlobId, u32>) -> u64 {
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    let blobs: HashSet<&BlobId> = files.flat_map(|file| &file.blobs).collect();
    blobs.into_iter().filter_map(|blob| stored.get(blob)).map(|bytes| u64::from(*bytes)).sum()
}

/// What becomes of a part.
enum Verdict {
    Needed,
    Kept(PruneReason),
    Gone(PruneReason),
}

/// Parts of the vault `here` that the newest roots in other vaults name, by key.
fn named_elsewhere(views: &[View], here: &View) -> HashMap<String, (CommittedRoot, PartRef)> {
    let others = views.iter().filter(|view| view.vault.id() != here.vault.id());
    let mut named = HashMap::new();
    for loaded in others.flat_map(View::newest_roots) {
        for part in loaded.root.open.parts.iter().filter(|part| part.vault_id == *here.vault.id()) {
            named.insert(part.key.clone(), (loaded.committed(), part.clone()));
        }
    }
    named
}

/// Why a part that nobody names stays while an erasure rewrites its backup. `was_named`: by an older commit.
///
/// An erasure reads the parts of the commit that it replaces, and writes parts before the root or the receipt that names
/// them; between the two it may stand still for longer than its pin lasts. A part that is older than the commit of its own
/// token is none of these: a job that died left it, and another one committed.
fn waits_for_erasure(views: &[View], here: &View, seen: &Seen<ManifestKey>, was_named: bool) -> Option<PruneReason> {
    let record = here.rewritten_by(&seen.key)?;
    let newest = views.iter().filter_map(|view| view.newest_token(&seen.key.backup_id)).max();
    let is_next = newest.is_none_or(|newest| newest < seen.key.token);
    let of_newest = views.iter().flat_map(|view| view.newest(&seen.key.backup_id));
    let mut of_newest = of_newest.filter(|one| one.seen.key.token == seen.key.token);
    let latest = seen.written.plus_millis(here.vault.limits().clock_skew_ms);
    let may_be_named = is_next || of_newest.any(|one| one.seen.written <= latest);
    (was_named || may_be_named).then(|| PruneReason::ErasureUnfinished { record: record.to_string() })
}

/// Judges a part that no newest commit in any given vault names.
fn judge_unnamed(
    views: &[View],
    here: &View,
    seen: &Seen<ManifestKey>,
    part: Option<&Part>,
    options: &PruneOptions,
) -> Verdict {
    let backup_id = &seen.key.backup_id;
    let gone = || {
        let newest = here.newest_token(backup_id);
        Verdict::Gone(if here.tombstones.cover(&seen.key) {
            PruneReason::Withdrawn
        } else if newest.is_some_and(|newest| seen.key.token < newest) {
            PruneReason::Superseded
        } else {
            PruneReason::Orphan
        })
    };
    // Nobody can read it, and nobody whom it could be read for names it.
    let Some(part) = part else { return gone() };
    let looked_at = |id: &VaultId| views.iter().any(|view| view.vault.id() == id) || options.lost_vaults.contains(id);
    match &part.open.home_vault_id {
        Some(home) if looked_at(home) => gone(),
        Some(home) => Verdict::Kept(PruneReason::HomeVaultUnknown { home_vault_id: Some(home.clone()) }),
        None if home_is_known(views, here, backup_id) => gone(),
        None => Verdict::Kept(PruneReason::HomeVaultUnknown { home_vault_id: None }),
    }
}

/// For parts that do not say where their home is: roots lie at home, and receipts name the region of the home.
fn home_is_known(views: &[View], here: &View, backup_id: &BackupId) -> bool {
    let visible = here.visible.get(backup_id).into_iter().flatten();
    let regions: Vec<&RegionId> = views.iter().map(|view| view.vault.region_id()).collect();
    let covered_root =
        here.covered.iter().any(|(kind, seen)| *kind == ManifestKind::Root && seen.key.backup_id == *backup_id);
    covered_root
        || visible.filter_map(|one| one.loaded.as_ref()).any(|loaded| regions.contains(&&loaded.root.open.home_region))
}

/// A part that is needed for a root elsewhere has no receipt here: it is written, unless the backup was withdrawn here.
fn note_receipt(needs: &mut Needs, here: &View, seen: &Seen<ManifestKey>, root: Option<&(CommittedRoot, PartRef)>) {
    let Some((root, part)) = root else { return };
    if here.tombstones.covers(&root.backup_id, root.token) {
        needs.kept.push((seen.clone(), PruneReason::DeletionUnfinished));
    } else {
        needs.receipts.push((root.clone(), part.clone()));
    }
}
