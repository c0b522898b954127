//! Carries out a prune. The only place that deletes what a vault holds.
//!
//! Order in each vault, every step after the one before is durable: missing receipts are written; index objects that
//! name packs which go are written again without them; the old ones go; packs go; orphan parts go; a `removed` mark says
//! which packs went; the marks that named them go. Then roots and receipts of withdrawn backups and superseded ones, then
//! the parts of withdrawn backups, then records of no use, then lapsed pins. Then compaction and new marks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Clock, Timestamp};
use object_store::path::Path;
use serde_json::Value;

use super::compact::compact;
use super::decide::{Decision, Deletion, Judge, is_due, planned};
use super::look::{View, look};
use super::marks::{self, Mark, MarkId, MarkState, Marks};
use super::needs::{NeedsOfVault, needs_of};
use super::packs::Placing;
use super::plan::{PruneAction, PruneOptions, PruneReason, PruneReport, SpaceReport, VaultPlan};
use super::{PruneWatch, clock, leftovers};
use crate::index::{self, PackIndex};
use crate::session::fetch_pack;
use crate::{PackId, Vault, VaultError, layout};

/// Names for marks and packs of one run, from its random bytes.
struct Names {
    random: [u8; 16],
    next: u64,
}

impl Names {
    fn next(&mut self) -> MarkId {
        self.next += 1;
        MarkId::derive(&self.random, self.next)
    }
}

/// What is decided about one vault, and what it was decided by.
pub(super) struct Judged {
    pub(super) decision: Decision,
    pub(super) placing: Placing,
    pub(super) space: SpaceReport,
    pub(super) uncommitted_since: Option<Timestamp>,
}

/// Judges one vault after the look. `due` are the marks that were due before it.
pub(super) fn judge(view: &View, needs: &NeedsOfVault, due: &[Mark], options: &PruneOptions, now: Timestamp) -> Judged {
    let mut marked = view.marks.packs();
    marked.extend(due.iter().flat_map(|mark| &mark.packs));
    let placing = Placing::new(view, &needs.needs, &marked);
    let decision = Judge { view, needs, options, now, due, placing: &placing, marked: &marked }.decide();
    let space = space(view, needs, &marked);
    Judged { decision, placing, space, uncommitted_since: needs.needs.uncommitted_since() }
}

fn space(view: &View, needs: &NeedsOfVault, marked: &HashSet<PackId>) -> SpaceReport {
    let mut space = SpaceReport::default();
    let mut seen: HashSet<crate::BlobId> = HashSet::new();
    for pack in view.survey.packs.iter().map(|pack| &pack.pack) {
        space.packs += 1;
        space.pack_bytes += pack.size_bytes;
        if marked.contains(&pack.id) {
            space.marked_bytes += pack.size_bytes;
        }
        for entry in &pack.entries {
            let stored = u64::from(entry.stored_bytes);
            match (needs.needs.needs(&entry.id), marked.contains(&pack.id)) {
                (true, _) if seen.insert(entry.id) => space.needed_bytes += stored,
                (_, false) => space.unneeded_bytes += stored,
                _ => {}
            }
        }
    }
    for pack in &view.survey.unreadable {
        space.packs += 1;
        space.pack_bytes += pack.size_bytes;
        space.unreadable_bytes += pack.size_bytes;
    }
    space.backups = needs.needs.space(&needs.stored, &needs.totals);
    space
}

pub(super) fn vault_plan(view: &View, now: Timestamp, decision: &Decision, space: SpaceReport) -> VaultPlan {
    let mut objects = decision.objects.clone();
    objects.sort();
    objects.dedup();
    VaultPlan {
        vault_id: view.vault.id().clone(),
        region_id: view.vault.region_id().clone(),
        place: view.vault.place(),
        now,
        objects,
        space,
        next_deletion: None,
        blocked: decision.blocked.clone(),
    }
}

/// One vault during a run.
struct Work {
    vault: Vault,
    now: Timestamp,
    /// Marks that were due before the look.
    due: Vec<Mark>,
    /// What this run said it may delete, before the look.
    own: Vec<Mark>,
}

/// Prunes vaults of one project.
///
/// # Errors
/// See [`prune`](super::prune).
pub(super) async fn run(
    vaults: &[Vault],
    options: &PruneOptions,
    host_clock: &dyn Clock,
    random: [u8; 16],
    watch: PruneWatch<'_>,
) -> Result<PruneReport, VaultError> {
    let mut names = Names { random, next: 0 };
    let mut works = Vec::new();
    for vault in vaults {
        let now = clock::store_time(vault, names.next(), host_clock).await?;
        works.push(Work { vault: vault.clone(), now, due: Vec::new(), own: Vec::new() });
    }
    for work in &mut works {
        let marks = Marks::load_all(work.vault.objects()).await?;
        let due = marks.list.into_iter().filter(|listed| is_due(listed, work.now, options, work.vault.limits()));
        work.due = due.map(|listed| listed.mark).collect();
        let packs: BTreeSet<PackId> = work.due.iter().flat_map(|mark| &mark.packs).copied().collect();
        let parts: BTreeSet<String> = work.due.iter().flat_map(|mark| &mark.parts).cloned().collect();
        let (packs, parts): (Vec<_>, Vec<_>) = (packs.into_iter().collect(), parts.into_iter().collect());
        // Before the look, so that another run that looks later sees what this one may delete.
        let written =
            marks::write(work.vault.objects(), MarkState::Deleting, work.now, &packs, &parts, || names.next());
        work.own = written.await?;
    }
    let looked = host_clock.now();
    let views = look(vaults).await?;
    let mut reports = Vec::new();
    let mut all_needs = Vec::new();
    for view in &views {
        all_needs.push(needs_of(&views, view, options).await?);
    }
    for (place, ((work, view), needs)) in works.iter().zip(&views).zip(&all_needs).enumerate() {
        let judged = judge(view, needs, &work.due, options, work.now);
        let deleter = Deleter { vault: &work.vault, clock: host_clock, until: deletion_limit(looked, options, view) };
        let reading = Reading::new(view, &judged.decision, place, watch);
        let mut run = VaultRun { work, view, options, deleter, judged, names: &mut names, reading };
        reports.push(run.carry_out().await?);
    }
    Ok(PruneReport { vaults: reports })
}

fn deletion_limit(looked: Timestamp, options: &PruneOptions, view: &View) -> Timestamp {
    looked.plus_millis(view.vault.limits().prune_deletion_ms.max(options.fence_ms))
}

/// Deletes, and knows when it must not any more.
struct Deleter<'a> {
    vault: &'a Vault,
    clock: &'a dyn Clock,
    until: Timestamp,
}

impl Deleter<'_> {
    /// Deletes objects, several at the same time.
    async fn delete(&self, paths: &[Path]) -> Result<(), VaultError> {
        let deletes = stream::iter(paths.iter().cloned()).map(|path| async move { self.delete_one(path).await });
        deletes.buffer_unordered(self.vault.limits().requests_in_flight.max(1)).try_collect().await
    }

    /// What was looked at a long time ago says nothing about now: a run that was suspended gives up.
    async fn delete_one(&self, path: Path) -> Result<(), VaultError> {
        if self.clock.now().millis_since(self.until) > 0 {
            return Err(VaultError::PruneHeldUp { place: self.vault.place() });
        }
        match self.vault.objects().delete(&path).await {
            Err(VaultError::Store { key, source, .. }) if is_refusal(&source) => {
                Err(VaultError::MayNotDelete { key, source })
            }
            result => result,
        }
    }
}

fn is_refusal(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
}

/// The run in one vault.
struct VaultRun<'a> {
    work: &'a Work,
    view: &'a View,
    options: &'a PruneOptions,
    deleter: Deleter<'a>,
    judged: Judged,
    names: &'a mut Names,
    reading: Reading<'a>,
}

/// How much of the packs that are to be read was read.
struct Reading<'a> {
    place: usize,
    watch: PruneWatch<'a>,
    sizes: HashMap<PackId, u64>,
    done: u64,
    total: u64,
}

impl<'a> Reading<'a> {
    fn new(view: &View, decision: &Decision, place: usize, watch: PruneWatch<'a>) -> Self {
        let sizes = view.survey.packs.iter().map(|pack| (pack.pack.id, pack.pack.size_bytes)).collect();
        let mut reading = Self { place, watch, sizes, done: 0, total: 0 };
        let copies: BTreeSet<PackId> = decision.deletions.iter().flat_map(|one| &one.copies).copied().collect();
        let packs = copies.into_iter().chain(decision.compactions.iter().map(|one| one.pack));
        reading.total = packs.map(|pack| reading.size(&pack)).sum();
        watch(place, 0, reading.total);
        reading
    }

    fn size(&self, pack: &PackId) -> u64 {
        self.sizes.get(pack).copied().unwrap_or_default()
    }

    fn add(&mut self, pack: &PackId) {
        self.done += self.size(pack);
        (self.watch)(self.place, self.done, self.total);
    }
}

impl VaultRun<'_> {
    async fn carry_out(&mut self) -> Result<VaultPlan, VaultError> {
        for (root, part) in &self.judged.decision.receipts {
            self.work.vault.put_receipt(root, part).await?;
        }
        let deletions = self.check_copies().await?;
        self.consolidate(&deletions).await?;
        self.delete_marked(&deletions).await?;
        self.delete_withdrawn().await?;
        self.take_lapsed_pins().await?;
        self.complete_erasures(&deletions).await?;
        self.delete_unfinished().await?;
        let marked = self.mark().await?;
        let space = std::mem::take(&mut self.judged.space);
        let mut report = vault_plan(self.view, self.work.now, &self.judged.decision, space);
        let waiting = report.objects.iter().any(|object| object.reason == PruneReason::InFence);
        report.next_deletion = (marked || waiting).then(|| self.work.now.plus_millis(self.options.fence_ms));
        Ok(report)
    }

    /// Keeps a pack unless what is needed of it was just read whole somewhere else.
    async fn check_copies(&mut self) -> Result<Vec<Deletion>, VaultError> {
        let planned_deletions = std::mem::take(&mut self.judged.decision.deletions);
        let copies: BTreeSet<PackId> = planned_deletions.iter().flat_map(|one| &one.copies).copied().collect();
        let mut whole: HashSet<PackId> = HashSet::new();
        for copy in copies {
            if fetch_pack(&self.work.vault, copy).await?.is_some() {
                whole.insert(copy);
            } else {
                self.work.vault.note_damage(&[copy], self.work.now).await?;
            }
            self.reading.add(&copy);
        }
        let mut deletions = Vec::new();
        for deletion in planned_deletions {
            let object = layout::pack_path(&deletion.pack).to_string();
            if deletion.copies.iter().all(|copy| whole.contains(copy)) {
                let reason = deletion.reason.clone();
                self.note(PruneAction::Delete, object, deletion.size_bytes, reason);
                deletions.push(deletion);
            } else {
                self.note(PruneAction::Unmark, object, deletion.size_bytes, PruneReason::OnlyGoodCopy);
            }
        }
        Ok(deletions)
    }

    fn note(&mut self, action: PruneAction, object: String, size_bytes: u64, reason: PruneReason) {
        self.judged.decision.objects.push(planned(action, object, size_bytes, reason));
    }

    /// Writes index objects without packs that go or are gone, and then removes those that named them. Many small ones
    /// are put together on the way.
    async fn consolidate(&mut self, deletions: &[Deletion]) -> Result<(), VaultError> {
        let going: HashSet<PackId> = deletions.iter().map(|deletion| deletion.pack).collect();
        let there: HashMap<PackId, &PackIndex> =
            self.view.survey.packs.iter().map(|pack| (pack.pack.id, &pack.pack)).collect();
        let stays = |pack: &PackId| there.contains_key(pack) && !going.contains(pack);
        let objects = &self.view.survey.index_objects;
        let too_many = objects.len() > self.work.vault.limits().index_objects;
        let replaced: Vec<&(Path, Vec<PackId>)> =
            objects.iter().filter(|(_, packs)| too_many || !packs.iter().all(stays)).collect();
        if replaced.is_empty() {
            return Ok(());
        }
        let kept: BTreeMap<PackId, PackIndex> = replaced
            .iter()
            .flat_map(|(_, packs)| packs)
            .filter(|pack| stays(pack))
            .filter_map(|pack| there.get(pack).map(|index| (*pack, (*index).clone())))
            .collect();
        let kept: Vec<PackIndex> = kept.into_values().collect();
        let written = index::write(self.work.vault.objects(), &kept).await?;
        let old = replaced.into_iter().map(|(path, _)| path.clone());
        // A new one has the name of an old one exactly if it says the same.
        let old: Vec<Path> = old.filter(|path| !written.iter().any(|new| new == path.as_ref())).collect();
        self.deleter.delete(&old).await?;
        for path in old {
            self.note(PruneAction::Delete, path.to_string(), 0, PruneReason::Consolidated);
        }
        Ok(())
    }

    async fn delete_marked(&mut self, deletions: &[Deletion]) -> Result<(), VaultError> {
        let packs: Vec<PackId> = deletions.iter().map(|deletion| deletion.pack).collect();
        let paths: Vec<Path> = packs.iter().map(layout::pack_path).collect();
        self.deleter.delete(&paths).await?;
        let noted = packs.iter().filter(|pack| self.view.noted.contains(pack));
        let notes: Vec<Path> = noted.map(layout::damage_path).collect();
        self.deleter.delete(&notes).await?;
        self.deleter.delete(&self.judged.decision.parts).await?;
        let names = &mut *self.names;
        let objects = self.work.vault.objects();
        marks::write(objects, MarkState::Removed, self.work.now, &packs, &[], || names.next()).await?;
        let finished = self.judged.decision.finished_marks.iter();
        // Its own last: until then others see what this run may have deleted.
        let own = self.work.own.iter().map(|mark| &mark.id);
        let marks: Vec<Path> = finished.map(layout::mark_path).collect();
        self.deleter.delete(&marks).await?;
        let own: Vec<Path> = own.map(layout::mark_path).collect();
        self.deleter.delete(&own).await
    }

    async fn delete_withdrawn(&mut self) -> Result<(), VaultError> {
        let decision = &self.judged.decision;
        let objects = self.work.vault.objects();
        self.deleter.delete(&decision.manifests).await?;
        self.deleter.delete(&decision.withdrawn_parts).await?;
        for path in &decision.renewed_tombstones {
            if let Some(bytes) = objects.get(path, self.work.vault.limits().header_bytes).await? {
                objects.replace(path, bytes).await?;
            }
        }
        self.deleter.delete(&decision.obsolete).await
    }

    /// Takes lapsed pins away. What only they protected was protected in this run; the next one may mark it.
    async fn take_lapsed_pins(&mut self) -> Result<(), VaultError> {
        let pins = &self.judged.decision.lapsed_pins;
        for pin in pins {
            // First: a refresh that is under way may write the pin again, but finds this and gives up.
            let left = Bytes::from_static(b"{\"format\":1,\"kind\":\"lapsed\"}");
            self.work.vault.objects().replace(&layout::lapsed_path(pin), left).await?;
        }
        self.deleter.delete(pins).await
    }

    /// Says in the record of an erasure that its bytes are gone.
    async fn complete_erasures(&mut self, deletions: &[Deletion]) -> Result<(), VaultError> {
        let going: HashSet<PackId> = deletions.iter().map(|deletion| deletion.pack).collect();
        let survey = &self.view.survey;
        // A pack of which everything is needed holds nothing that was erased; of one that cannot be read nobody knows.
        let kept = |pack: &PackId| {
            let share = self.judged.placing.share(pack);
            share.needed_bytes >= share.total_bytes
        };
        let known = survey.packs.iter().map(|pack| (pack.pack.id, pack.written)).filter(|(pack, _)| !kept(pack));
        let unreadable = survey.unreadable.iter().map(|pack| (pack.id, pack.written));
        let left: Vec<_> = known.chain(unreadable).filter(|(pack, _)| !going.contains(pack)).collect();
        for erasure in &self.view.erasures {
            // Until every backup was rewritten, what is to be erased is still needed and looks like any other blob. So it
            // does while a part of a job is kept that ran or had died by then: it may never be committed, and nothing would
            // be left to say that its bytes must go.
            let Some(rewritten) = erasure.rewritten() else { continue };
            let waits = self.judged.uncommitted_since.is_some_and(|since| since <= rewritten);
            if waits || left.iter().any(|(pack, written)| erasure.reaches(pack, *written)) {
                continue;
            }
            let mut record = erasure.record.clone();
            if let Value::Object(fields) = &mut record {
                fields.insert("completed".to_owned(), Value::String(self.work.now.to_string()));
            }
            let bytes = serde_json::to_vec(&record)
                .map_err(|error| crate::manifest::bad(erasure.path.as_ref(), error.to_string()))?;
            self.work.vault.objects().replace(&erasure.path, Bytes::from(bytes)).await?;
        }
        Ok(())
    }

    async fn delete_unfinished(&mut self) -> Result<(), VaultError> {
        for (path, size_bytes) in leftovers::find(&self.work.vault, SystemTime::now()).await? {
            match tokio::fs::remove_file(&path).await {
                Ok(()) => {
                    let object = path.display().to_string();
                    self.note(PruneAction::Delete, object, size_bytes, PruneReason::Unfinished);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "an unfinished file was left"),
            }
        }
        Ok(())
    }

    /// Compacts, then marks. True when anything was marked.
    async fn mark(&mut self) -> Result<bool, VaultError> {
        let compactions = std::mem::take(&mut self.judged.decision.compactions);
        let wanted: Vec<PackId> = compactions.iter().map(|one| one.pack).collect();
        let names = &mut *self.names;
        let reading = &mut self.reading;
        let on_pack = |pack: &PackId| reading.add(pack);
        let compacted = compact(&self.work.vault, &wanted, &self.judged.placing, || names.next(), on_pack).await?;
        self.work.vault.note_damage(&compacted.damaged, self.work.now).await?;
        for one in compactions {
            let object = layout::pack_path(&one.pack).to_string();
            if compacted.done.contains(&one.pack) {
                self.note(PruneAction::Compact, object, one.size_bytes, one.reason);
            } else {
                self.note(PruneAction::Keep, object, one.size_bytes, PruneReason::OnlyGoodCopy);
            }
        }
        let packs: BTreeSet<PackId> = self.judged.decision.mark_packs.iter().copied().chain(compacted.done).collect();
        let packs: Vec<PackId> = packs.into_iter().collect();
        let parts = &self.judged.decision.mark_parts;
        let names = &mut *self.names;
        let objects = self.work.vault.objects();
        let written = marks::write(objects, MarkState::Marked, self.work.now, &packs, parts, || names.next()).await?;
        Ok(!written.is_empty())
    }
}
