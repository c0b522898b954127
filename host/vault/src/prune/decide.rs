//! Decides about one vault. Pure: the look goes in, lists of what to do come out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use longshore_model::{BackupId, Timestamp};
use object_store::path::Path;

use super::look::{Seen, View, Visible};
use super::marks::{ListedMark, Mark, MarkState};
use super::needs::NeedsOfVault;
use super::packs::Placing;
use super::plan::{PlannedObject, PruneAction, PruneOptions, PruneReason};
use crate::index::PackIndex;
use crate::layout;
use crate::{CommittedRoot, Limits, MarkId, Origin, PackId, PartRef};

/// A pack that may be deleted once these other packs were read and found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) pack: PackId,
    pub(super) size_bytes: u64,
    /// They keep everything that is needed of it.
    pub(super) copies: BTreeSet<PackId>,
    pub(super) reason: PruneReason,
}

/// A pack to be rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compaction {
    pub(super) pack: PackId,
    pub(super) size_bytes: u64,
    pub(super) reason: PruneReason,
}

/// What to do in one vault.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// What is done with each object, as far as it is certain before anything is done.
    pub(super) objects: Vec<PlannedObject>,
    pub(super) receipts: Vec<(CommittedRoot, PartRef)>,
    pub(super) deletions: Vec<Deletion>,
    /// Orphan parts whose mark is old enough.
    pub(super) parts: Vec<Path>,
    /// Marks of which nothing is left to wait for.
    pub(super) finished_marks: Vec<MarkId>,
    /// Roots and receipts that do not count any more.
    pub(super) manifests: Vec<Path>,
    /// Parts of withdrawn backups; they go after roots and receipts.
    pub(super) withdrawn_parts: Vec<Path>,
    /// Tombstones of which something goes now: they are written again, so that their age counts from now.
    pub(super) renewed_tombstones: Vec<Path>,
    /// Records that are of no use any more.
    pub(super) obsolete: Vec<Path>,
    pub(super) lapsed_pins: Vec<Path>,
    pub(super) compactions: Vec<Compaction>,
    pub(super) mark_packs: Vec<PackId>,
    pub(super) mark_parts: Vec<String>,
    /// Why nothing is marked or deleted, if so.
    pub(super) blocked: Vec<String>,
}

/// True when what a mark lists may be deleted after another look.
pub(super) fn is_due(listed: &ListedMark, now: Timestamp, options: &PruneOptions, limits: &Limits) -> bool {
    let age_ms = now.millis_since(listed.written);
    match listed.mark.state {
        MarkState::Marked => age_ms >= options.fence_ms,
        // The run that wrote it is over: it does not delete for that long.
        MarkState::Deleting => age_ms >= (limits.pin_lapse_ms + limits.pin_lapse_margin_ms).max(options.fence_ms),
        MarkState::Removed => false,
    }
}

/// Everything that decides.
pub(super) struct Judge<'a> {
    pub(super) view: &'a View,
    pub(super) needs: &'a NeedsOfVault,
    pub(super) options: &'a PruneOptions,
    pub(super) now: Timestamp,
    /// Marks that were due before the look.
    pub(super) due: &'a [Mark],
    pub(super) placing: &'a Placing,
    pub(super) marked: &'a HashSet<PackId>,
}

/// A writer's pin and the packs it does not rely on.
struct Writer {
    pin: String,
    started: Timestamp,
    honoured: HashSet<PackId>,
    honoured_parts: HashSet<String>,
}

impl Judge<'_> {
    pub(super) fn decide(&self) -> Decision {
        let mut decision = Decision { receipts: self.needs.needs.receipts.clone(), ..Decision::default() };
        for (_, part) in &decision.receipts {
            let object = format!("{} of {}", layout::ManifestKind::Receipt.word(), part.key);
            decision.objects.push(planned(PruneAction::Write, object, 0, PruneReason::MissingReceipt));
        }
        for object in &self.needs.needs.unreadable {
            decision.blocked.push(format!(
                "`{object}` says what a backup needs and cannot be read: heal it from another vault, or delete that \
                 backup"
            ));
        }
        let writers = self.writers();
        self.due_marks(&writers, &mut decision);
        self.withdrawn(&writers, &mut decision);
        self.superseded(&mut decision);
        self.records(&mut decision);
        if decision.blocked.is_empty() {
            self.new_marks(&mut decision);
        }
        for (seen, reason) in &self.needs.needs.kept {
            decision.objects.push(planned(PruneAction::Keep, seen.path.to_string(), seen.size_bytes, reason.clone()));
        }
        decision
    }

    fn age_ms(&self, written: Timestamp) -> i64 {
        self.now.millis_since(written)
    }

    /// Pins that hold back what they do not honour. A released one does so for another fence: a listing that lags may
    /// not show yet what it led to. One that cannot be read honours nothing.
    fn writers(&self) -> Vec<Writer> {
        let known: HashMap<MarkId, &Mark> = self
            .view
            .marks
            .list
            .iter()
            .map(|listed| &listed.mark)
            .chain(self.due)
            .map(|mark| (mark.id, mark))
            .collect();
        let counts = |pin: &&crate::pin::ListedPin| match &pin.record {
            None => true,
            Some(record) if record.released => {
                record.relies_on.everything && self.age_ms(pin.written) < self.options.fence_ms
            }
            Some(record) => record.relies_on.everything,
        };
        let pins = self.view.pins.iter().filter(counts);
        pins.map(|pin| {
            let honours = pin.record.as_ref().map(|record| &record.honours);
            let honoured: Vec<&&Mark> = honours.into_iter().flatten().filter_map(|id| known.get(id)).collect();
            Writer {
                pin: pin.path.to_string(),
                started: pin.record.as_ref().map_or(Timestamp::from_millis(0), |record| record.started),
                honoured: honoured.iter().flat_map(|mark| &mark.packs).copied().collect(),
                honoured_parts: honoured.iter().flat_map(|mark| &mark.parts).cloned().collect(),
            }
        })
        .collect()
    }

    /// Looks again at what is marked.
    fn due_marks(&self, writers: &[Writer], decision: &mut Decision) {
        let waiting = self.due_packs(writers, decision);
        let waiting_parts = self.due_parts(writers, decision);
        let waits = |mark: &&Mark| {
            mark.packs.iter().any(|pack| waiting.contains(pack))
                || mark.parts.iter().any(|part| waiting_parts.contains(part.as_str()))
        };
        decision.finished_marks = self.due.iter().filter(|mark| !waits(mark)).map(|mark| mark.id).collect();
        let sizes: HashMap<PackId, u64> =
            self.view.survey.packs.iter().map(|pack| (pack.pack.id, pack.pack.size_bytes)).collect();
        for listed in &self.view.marks.list {
            let due = self.due.iter().any(|mark| mark.id == listed.mark.id);
            if listed.mark.state == MarkState::Marked && !due {
                for pack in &listed.mark.packs {
                    let size_bytes = sizes.get(pack).copied().unwrap_or_default();
                    let object = layout::pack_path(pack).to_string();
                    decision.objects.push(planned(PruneAction::Wait, object, size_bytes, PruneReason::InFence));
                }
            }
        }
    }

    /// Looks again at marked packs. Answers those that have to wait.
    fn due_packs(&self, writers: &[Writer], decision: &mut Decision) -> HashSet<PackId> {
        let packs: HashMap<PackId, &PackIndex> =
            self.view.survey.packs.iter().map(|pack| (pack.pack.id, &pack.pack)).collect();
        let unreadable: HashMap<PackId, u64> =
            self.view.survey.unreadable.iter().map(|pack| (pack.id, pack.size_bytes)).collect();
        let pinned = self.view.pinned_packs();
        let mut done = HashSet::new();
        let mut waiting: HashSet<PackId> = HashSet::new();
        for pack in self.due.iter().flat_map(|mark| &mark.packs).copied().filter(|pack| done.insert(*pack)) {
            let size_bytes = packs.get(&pack).map(|pack| pack.size_bytes).or_else(|| unreadable.get(&pack).copied());
            // Gone already: an earlier run got that far.
            let Some(size_bytes) = size_bytes else { continue };
            let object = layout::pack_path(&pack).to_string();
            let hold = if let Some(object) = self.needs.needs.unreadable.first() {
                Some(PruneReason::UnreadableManifest { object: object.clone() })
            } else if let Some(pin) = pinned.get(&pack) {
                Some(PruneReason::Pinned { pin: pin.clone() })
            } else {
                let writer = writers.iter().find(|writer| !writer.honoured.contains(&pack));
                writer.map(|writer| PruneReason::Pinned { pin: writer.pin.clone() })
            };
            if let Some(reason) = hold {
                waiting.insert(pack);
                decision.objects.push(planned(PruneAction::Wait, object, size_bytes, reason));
                continue;
            }
            match packs.get(&pack).map(|pack| self.placing.copies(pack, &self.needs.needs)) {
                Some(Some(copies)) => {
                    let reason = if copies.is_empty() { PruneReason::Unneeded } else { PruneReason::Redundant };
                    decision.deletions.push(Deletion { pack, size_bytes, copies, reason });
                }
                None if !self.placing.something_missing => {
                    let reason = PruneReason::UnreadableUnneeded;
                    decision.deletions.push(Deletion { pack, size_bytes, copies: BTreeSet::new(), reason });
                }
                _ => decision.objects.push(planned(PruneAction::Unmark, object, size_bytes, PruneReason::Needed)),
            }
        }
        waiting
    }

    /// Looks again at marked parts. Answers those that have to wait.
    fn due_parts(&self, writers: &[Writer], decision: &mut Decision) -> HashSet<&str> {
        let unneeded: HashMap<String, u64> =
            self.needs.needs.unneeded.iter().map(|(seen, _)| (seen.path.to_string(), seen.size_bytes)).collect();
        let there: HashSet<&str> = self.view.parts.iter().map(|seen| seen.path.as_ref()).collect();
        let mut done_parts = HashSet::new();
        let mut waiting_parts: HashSet<&str> = HashSet::new();
        for part in self.due.iter().flat_map(|mark| &mark.parts).filter(|part| done_parts.insert(part.as_str())) {
            let writer = writers.iter().find(|writer| !writer.honoured_parts.contains(part));
            match (there.contains(part.as_str()), unneeded.get(part), writer) {
                (false, ..) => {}
                (true, Some(bytes), Some(writer)) => {
                    waiting_parts.insert(part);
                    let reason = PruneReason::Pinned { pin: writer.pin.clone() };
                    decision.objects.push(planned(PruneAction::Wait, part.clone(), *bytes, reason));
                }
                (true, Some(bytes), None) => {
                    decision.parts.push(Path::from(part.as_str()));
                    decision.objects.push(planned(PruneAction::Delete, part.clone(), *bytes, PruneReason::Orphan));
                }
                (true, None, _) => {
                    decision.objects.push(planned(PruneAction::Unmark, part.clone(), 0, PruneReason::Needed));
                }
            }
        }
        waiting_parts
    }

    /// Roots, receipts, parts and tombstones of withdrawn backups.
    fn withdrawn(&self, writers: &[Writer], decision: &mut Decision) {
        let view = self.view;
        let unneeded: HashSet<&Path> = self.needs.needs.unneeded.iter().map(|(seen, _)| &seen.path).collect();
        // A backup of which a part has to stay: its receipt says where its home is.
        let held: BTreeSet<&BackupId> = view
            .parts
            .iter()
            .filter(|seen| view.tombstones.cover(&seen.key) && !unneeded.contains(&seen.path))
            .map(|seen| &seen.key.backup_id)
            .collect();
        for tombstone in &view.tombstone_objects {
            let (backup_id, below) = &tombstone.key;
            let covers = |token: u64| below.is_none_or(|below| token < below);
            let manifests = view.covered.iter().map(|(_, seen)| seen);
            let manifests: Vec<_> =
                manifests.filter(|seen| seen.key.backup_id == *backup_id && covers(seen.key.token)).collect();
            let parts: Vec<_> = self
                .needs
                .needs
                .unneeded
                .iter()
                .map(|(seen, _)| seen)
                .filter(|seen| seen.key.backup_id == *backup_id && covers(seen.key.token))
                .collect();
            let old = self.age_ms(tombstone.written) >= self.options.fence_ms;
            if manifests.is_empty() && parts.is_empty() {
                // A job that was writing this backup when it was deleted must not bring it back.
                let skew_ms = view.vault.limits().clock_skew_ms;
                let latest = tombstone.written.plus_millis(skew_ms);
                let awaited = writers.iter().any(|writer| writer.started.millis_since(latest) <= 0);
                if old && !held.contains(backup_id) && !awaited {
                    push_obsolete(decision, &tombstone.path);
                }
                continue;
            }
            for seen in manifests.iter().chain(&parts) {
                let (action, reason) = match (old, held.contains(backup_id)) {
                    (false, _) => (PruneAction::Wait, PruneReason::InFence),
                    (true, true) => (PruneAction::Keep, PruneReason::HomeVaultUnknown { home_vault_id: None }),
                    (true, false) => (PruneAction::Delete, PruneReason::Withdrawn),
                };
                decision.objects.push(planned(action, seen.path.to_string(), seen.size_bytes, reason));
            }
            if old && !held.contains(backup_id) {
                decision.manifests.extend(manifests.iter().map(|seen| seen.path.clone()));
                decision.withdrawn_parts.extend(parts.iter().map(|seen| seen.path.clone()));
                decision.renewed_tombstones.push(tombstone.path.clone());
            }
        }
    }

    /// Roots and receipts that a newer commit took the place of, and receipts of lost parts that another one replaces.
    /// Their parts are marked like orphans. While an erasure rewrites the backup it still goes by them, and removes them
    /// itself.
    fn superseded(&self, decision: &mut Decision) {
        for (backup_id, all) in &self.view.visible {
            let settled = self
                .view
                .newest(backup_id)
                .all(|one| one.loaded.is_some() && self.age_ms(one.seen.written) >= self.options.fence_ms);
            let newest = self.view.newest_token(backup_id);
            // The receipt that names the part which replaced it is one of the newest, so it is read and has settled too.
            let names_replaced = |one: &Visible| {
                let receipt = one.loaded.as_ref().filter(|loaded| loaded.origin == Origin::Receipt);
                let part = receipt.and_then(|loaded| loaded.part.as_ref());
                part.is_some_and(|part| self.needs.needs.replaced.contains(&part.key))
            };
            let goes = |one: &&Visible| Some(one.seen.key.token) < newest || names_replaced(one);
            for one in all.iter().filter(|one| settled && goes(one)) {
                let (action, reason) = match self.view.rewritten_by(&one.seen.key) {
                    Some(record) => (PruneAction::Keep, PruneReason::ErasureUnfinished { record: record.to_string() }),
                    None => (PruneAction::Delete, PruneReason::Superseded),
                };
                if action == PruneAction::Delete {
                    decision.manifests.push(one.seen.path.clone());
                }
                decision.objects.push(planned(action, one.seen.path.to_string(), one.seen.size_bytes, reason));
            }
        }
    }

    /// Pins, probes and records that are of no use any more.
    fn records(&self, decision: &mut Decision) {
        let limits = self.view.vault.limits();
        for pin in &self.view.pins {
            let age_ms = self.age_ms(pin.written);
            if pin.record.as_ref().is_some_and(|record| record.released) {
                if age_ms >= self.options.fence_ms {
                    push_obsolete(decision, &pin.path);
                }
            } else if age_ms > limits.pin_lapse_ms.saturating_add(limits.pin_lapse_margin_ms) {
                decision.lapsed_pins.push(pin.path.clone());
                decision.objects.push(planned(PruneAction::Delete, pin.path.to_string(), 0, PruneReason::Obsolete));
            }
        }
        for seen in self.view.lapsed.iter().filter(|seen| self.age_ms(seen.written) > limits.lapsed_kept_ms) {
            push_obsolete(decision, &seen.path);
        }
        for seen in self.view.probes.iter().filter(|seen| self.age_ms(seen.written) > limits.unfinished_kept_ms) {
            push_obsolete(decision, &seen.path);
        }
        let times: Vec<Timestamp> = self.view.catalogs.iter().map(|seen| seen.key.created).collect();
        let kept = crate::catalog::kept(&times, self.now);
        for seen in self.view.catalogs.iter().filter(|seen| !kept.contains(&seen.key.created)) {
            push_obsolete(decision, &seen.path);
        }
        let survey = &self.view.survey;
        let there: HashSet<PackId> =
            survey.packs.iter().map(|pack| pack.pack.id).chain(survey.unreadable.iter().map(|pack| pack.id)).collect();
        // Not a young one: a listing that lags may not show the pack that it is about.
        let gone =
            |note: &&Seen<PackId>| !there.contains(&note.key) && self.age_ms(note.written) >= self.options.fence_ms;
        for note in self.view.notes.iter().filter(gone) {
            push_obsolete(decision, &note.path);
        }
        for listed in &self.view.marks.list {
            if listed.mark.state == MarkState::Removed && self.age_ms(listed.written) >= self.options.fence_ms {
                push_obsolete(decision, &layout::mark_path(&listed.mark.id));
            }
        }
    }

    /// Packs and parts that nothing needs from now on, and packs to be rewritten.
    fn new_marks(&self, decision: &mut Decision) {
        let pinned = self.view.pinned_packs();
        for pack in self.view.survey.packs.iter().filter(|pack| !self.marked.contains(&pack.pack.id)) {
            let (id, size_bytes) = (pack.pack.id, pack.pack.size_bytes);
            let share = self.placing.share(&id);
            let erased = self.view.erasure_reaches(&id, pack.written);
            let copies = self.placing.copies(&pack.pack, &self.needs.needs);
            let unneeded = share.needed_bytes == 0 && copies.as_ref().is_some_and(BTreeSet::is_empty);
            let wasteful = share.kept_bytes < share.total_bytes
                && share.kept_percent() < self.options.compact_below_percent
                && !self.view.noted.contains(&id);
            let (action, reason) = match copies {
                Some(_) if unneeded => (PruneAction::Mark, PruneReason::Unneeded),
                Some(_) => (PruneAction::Mark, PruneReason::Redundant),
                None if erased && share.kept_bytes < share.total_bytes => (PruneAction::Compact, PruneReason::Erasure),
                None if wasteful => {
                    (PruneAction::Compact, PruneReason::MostlyUnneeded { needed_percent: share.kept_percent() })
                }
                None => continue,
            };
            let object = layout::pack_path(&id).to_string();
            if let Some(pin) = pinned.get(&id) {
                let reason = PruneReason::Pinned { pin: pin.clone() };
                decision.objects.push(planned(PruneAction::Wait, object, size_bytes, reason));
            } else if self.age_ms(pack.written) < self.options.minimum_age_ms && !erased {
                decision.objects.push(planned(PruneAction::Keep, object, size_bytes, PruneReason::Young));
            } else if action == PruneAction::Mark {
                decision.mark_packs.push(id);
                decision.objects.push(planned(action, object, size_bytes, reason));
            } else {
                decision.compactions.push(Compaction { pack: id, size_bytes, reason });
            }
        }
        for pack in &self.view.survey.unreadable {
            let old = self.age_ms(pack.written) >= self.options.minimum_age_ms
                || self.view.erasure_reaches(&pack.id, pack.written);
            if old && !self.placing.something_missing && !self.marked.contains(&pack.id) {
                decision.mark_packs.push(pack.id);
                let object = layout::pack_path(&pack.id).to_string();
                let reason = PruneReason::UnreadableUnneeded;
                decision.objects.push(planned(PruneAction::Mark, object, pack.size_bytes, reason));
            }
        }
        self.new_part_marks(decision);
    }

    fn new_part_marks(&self, decision: &mut Decision) {
        let marks = self.view.marks.list.iter().map(|listed| &listed.mark).chain(self.due);
        let marked: HashSet<&String> = marks.flat_map(|mark| &mark.parts).collect();
        let mut parts: BTreeMap<&Path, (u64, &PruneReason, Timestamp)> = BTreeMap::new();
        for (seen, reason) in &self.needs.needs.unneeded {
            if *reason != PruneReason::Withdrawn && !marked.contains(&seen.path.to_string()) {
                parts.insert(&seen.path, (seen.size_bytes, reason, seen.written));
            }
        }
        for (path, (size_bytes, reason, written)) in parts {
            if self.age_ms(written) < self.options.minimum_age_ms {
                decision.objects.push(planned(PruneAction::Keep, path.to_string(), size_bytes, PruneReason::Young));
                continue;
            }
            decision.mark_parts.push(path.to_string());
            decision.objects.push(planned(PruneAction::Mark, path.to_string(), size_bytes, reason.clone()));
        }
    }
}

fn push_obsolete(decision: &mut Decision, path: &Path) {
    decision.obsolete.push(path.clone());
    decision.objects.push(planned(PruneAction::Delete, path.to_string(), 0, PruneReason::Obsolete));
}

pub(super) fn planned(action: PruneAction, object: String, size_bytes: u64, reason: PruneReason) -> PlannedObject {
    PlannedObject { action, object, size_bytes, reason }
}
