//! Which pack keeps which blob. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::look::View;
use super::needs::Needs;
use crate::index::PackIndex;
use crate::{BlobId, PackId};

/// What is needed of one pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Stored bytes of all its blobs.
    pub(super) total_bytes: u64,
    /// Stored bytes of blobs that are needed, wherever else they lie.
    pub(super) needed_bytes: u64,
    /// Stored bytes of blobs that it is the one to keep.
    pub(super) kept_bytes: u64,
}

impl Share {
    pub(super) fn kept_percent(self) -> u8 {
        let percent = self.kept_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(100);
        u8::try_from(percent).unwrap_or(100)
    }
}

/// For each needed blob the one pack that keeps it: a pack that is not marked, one noted as damaged only where no other
/// has the blob, and of several the one of which most is needed, so that the others can go.
pub(super) struct Placing {
    pub(super) shares: HashMap<PackId, Share>,
    keepers: HashMap<BlobId, PackId>,
    /// True when a needed blob is in no pack whose index can be read.
    pub(super) something_missing: bool,
}

impl Placing {
    pub(super) fn new(view: &View, needs: &Needs, marked: &HashSet<PackId>) -> Self {
        let mut shares: HashMap<PackId, Share> = HashMap::new();
        let mut present: HashSet<BlobId> = HashSet::new();
        for pack in &view.survey.packs {
            let share = shares.entry(pack.pack.id).or_default();
            for entry in &pack.pack.entries {
                share.total_bytes += u64::from(entry.stored_bytes);
                if needs.needs(&entry.id) {
                    share.needed_bytes += u64::from(entry.stored_bytes);
                    present.insert(entry.id);
                }
            }
        }
        let stays = |pack: &&PackIndex| !marked.contains(&pack.id);
        let mut order: Vec<&PackIndex> = view.survey.packs.iter().map(|pack| &pack.pack).filter(stays).collect();
        let needed_bytes = |pack: &PackIndex| shares.get(&pack.id).map_or(0, |share| share.needed_bytes);
        // A note may be wrong or left behind, and whatever is done on the strength of a keeper reads it through first. A
        // blob without any keeper would leave the pack that has it neither rewritten nor removed, for ever.
        let last = |pack: &PackIndex| view.noted.contains(&pack.id);
        order.sort_by_key(|pack| (last(pack), std::cmp::Reverse(needed_bytes(pack)), pack.id));
        let mut keepers: HashMap<BlobId, PackId> = HashMap::new();
        for pack in order {
            for entry in pack.entries.iter().filter(|entry| needs.needs(&entry.id)) {
                if let std::collections::hash_map::Entry::Vacant(place) = keepers.entry(entry.id) {
                    place.insert(pack.id);
                    if let Some(share) = shares.get_mut(&pack.id) {
                        share.kept_bytes += u64::from(entry.stored_bytes);
                    }
                }
            }
        }
        let something_missing = needs.blobs().any(|blob| !present.contains(blob));
        Self { shares, keepers, something_missing }
    }

    pub(super) fn share(&self, pack: &PackId) -> Share {
        self.shares.get(pack).copied().unwrap_or_default()
    }

    /// The packs that keep what is needed of this one; `None` when it is the only one that can keep some of it.
    pub(super) fn copies(&self, pack: &PackIndex, needs: &Needs) -> Option<BTreeSet<PackId>> {
        let needed = pack.entries.iter().filter(|entry| needs.needs(&entry.id));
        let keepers: Option<BTreeSet<PackId>> = needed.map(|entry| self.keepers.get(&entry.id).copied()).collect();
        keepers.filter(|keepers| !keepers.contains(&pack.id))
    }

    /// True when this pack is the one to keep this blob.
    pub(super) fn keeps(&self, pack: &PackId, blob: &BlobId) -> bool {
        self.keepers.get(blob) == Some(pack)
    }
}
