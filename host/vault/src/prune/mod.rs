//! Prune: removes what no backup needs, beside running backups, copies and restores on other hosts.
//!
//! # What may be relied on, and by whom
//!
//! * A **backup** that exists needs every blob of its newest commit's parts, in every vault.
//! * A **writer** (a pin with `everything`) relies on every blob that its index showed when its session began.
//! * A **reader** (restore, verification, copy source) relies on the packs its pin names and on its backup's parts.
//!
//! # One run
//!
//! 1. A probe object gives the store's time; too much skew to this host's clock refuses. Only ages by the store count.
//! 2. Marks older than the fence are due. What they list is written into a new mark of state `deleting`.
//! 3. The look ([`look`]): marks, pins, open erasures, roots and tombstones, parts, packs, pins again; of all vaults
//!    together.
//! 4. A due pack is deleted if every live writer honours a mark that lists it, no pin names it, and everything needed
//!    of it was *just read whole* in a pack that no mark lists. Else it waits, or goes back into service.
//! 5. Index objects without it are written → old index objects go → packs → orphan parts → a `removed` mark is written →
//!    due marks and the `deleting` mark go. Then manifests of withdrawn backups: roots and receipts → parts → tombstones.
//! 6. Compaction: what is needed of mostly unneeded packs is written into new ones, which are read back. A pack that an
//!    open erasure reaches is rewritten for the least unneeded blob.
//! 7. New marks. Marking is never wrong: it only makes writers store again what they could have referred to.
//!
//! # Why nothing needed is deleted
//!
//! **Names are never reused.** Every session and every compaction puts bytes of its own into the packs it writes, so a
//! pack that is to be deleted is never one that somebody has just written. (A pack copied from another vault while it is
//! marked here gets another name too.) Marks are written once: whoever honours an id knows what it lists.
//!
//! **Writer.** Its pin is durable, then it lists marks, then it loads the index without what they list, then its pin
//! honours them. Take a pack of a due mark. If the writer saw a mark that lists it, it does not rely on it. If not, its pin
//! was durable before the `deleting` mark of this run was written, so the look finds the pin, which honours neither, and
//! the pack waits; or finds it released, and then its root was durable before, and roots are listed after pins. It cannot
//! matter that another run put the pack back into service meanwhile (by removing the due mark): the `deleting` mark is
//! this run's own, nobody else removes it while this run lives, and it was written before the look.
//!
//! **Reader.** Its pin is durable, then it reads marks and the index, choosing packs that are not going, and then looks
//! whether its backup exists. If the look's last listing of pins missed the pin, the reader read marks after this run's
//! `deleting` mark, and avoids what it lists unless there is no other place; and then the backup existed at the look, which
//! kept that last place.
//!
//! **Two pruners.** Each publishes what it may delete before it looks, and takes nothing for a copy that any mark lists. Of
//! two that hold the last two copies of a blob, at least the one that looks later sees the other's mark; both may then
//! keep, never both delete. A run that dies leaves its `deleting` mark; it becomes due only after a pin's lapse, and a
//! run that was suspended deletes nothing more after `prune_deletion_ms`.
//!
//! **Suspended writer.** A pin that was not refreshed for 24 hours and a margin, by the store's clock, is taken away; what
//! only it protected is protected for the rest of that run. Before the pin goes, a `….lapsed` is written beside it, so a
//! refresh that was under way cannot revive it. The writer looks at both before and *after* it writes its root: if they
//! are still right afterwards, the root was there before the pin went, and every later look sees it. If not, it withdraws
//! the root. (A writer that is suspended for over 24 hours exactly between looking and writing, and dies before it looks
//! again, leaves a root that nobody was told of and that verify calls damaged.)
//!
//! **Listings that lag** by less than half a fence: due marks, pins and roots older than that are listed; a writer whose
//! pin is not listed yet is younger than the due mark and lists it; a released pin of a writer stays for another fence,
//! because its root may not be listed yet; `removed` marks stay for another fence, because a deleted pack may be listed
//! still. On such a store run one prune at a time.
//!
//! **Crash after any step.** Whatever was deleted was listed by marks that are still there, so it counts as absent, and the
//! next run goes on. Old index objects go only after new ones are durable, and the packs repeat them anyway.
//!
//! **Damage.** A part that is needed and cannot be read stops all marking and deleting in its vault, unless a receipt says
//! that another part, which can be read, holds everything of it. A damaged pack is
//! never compacted, and no pack is deleted on the strength of a copy that was not read in this run. Packs whose index
//! cannot be read go only when nothing that is needed is missing.
//!
//! **Other vaults.** A part that no root or receipt here names may be named by a root elsewhere. If that root's vault was
//! given, its missing receipt is written first; if not, the part is kept, unless the vault is said to be lost.

mod clock;
mod compact;
mod decide;
mod leftovers;
mod look;
pub(crate) mod marks;
mod needs;
mod packs;
mod plan;
mod run;

use longshore_model::{Clock, Timestamp};

use self::decide::{is_due, planned};
use self::look::look;
use self::needs::needs_of;
use crate::{Vault, VaultError, layout};

pub use marks::{Mark, MarkId, MarkState};
pub use plan::{
    BackupSpace, PlannedObject, PruneAction, PruneOptions, PrunePlan, PruneReason, PruneReport, SpaceReport, VaultPlan,
};

/// Says what [`prune`] would do at `now`, and why. Writes nothing, so it judges ages by the clock of this host. Give all
/// vaults of the project that can be had.
///
/// # Errors
/// Failures of a store; [`VaultError::TooMany`].
pub async fn plan_prune(vaults: &[Vault], options: &PruneOptions, now: Timestamp) -> Result<PrunePlan, VaultError> {
    let views = look(vaults).await?;
    let mut plans = Vec::new();
    for view in &views {
        let needs = needs_of(&views, view, options).await?;
        let marks = view.marks.list.iter().filter(|listed| is_due(listed, now, options, view.vault.limits()));
        let due: Vec<Mark> = marks.map(|listed| listed.mark.clone()).collect();
        let mut judged = run::judge(view, &needs, &due, options, now);
        let decision = &mut judged.decision;
        for one in std::mem::take(&mut decision.deletions) {
            let object = layout::pack_path(&one.pack).to_string();
            decision.objects.push(planned(PruneAction::Delete, object, one.size_bytes, one.reason));
        }
        for one in std::mem::take(&mut decision.compactions) {
            let object = layout::pack_path(&one.pack).to_string();
            decision.objects.push(planned(PruneAction::Compact, object, one.size_bytes, one.reason));
        }
        for (path, size_bytes) in leftovers::find(&view.vault, std::time::SystemTime::now()).await? {
            let object = path.display().to_string();
            decision.objects.push(planned(PruneAction::Delete, object, size_bytes, PruneReason::Unfinished));
        }
        let mut plan = run::vault_plan(view, now, &judged.decision, judged.space);
        let earliest = view.marks.list.iter().filter(|listed| listed.mark.state == MarkState::Marked);
        let earliest = earliest.map(|listed| listed.written.plus_millis(options.fence_ms)).min();
        plan.next_deletion = earliest.map(|time| if time < now { now } else { time });
        plans.push(plan);
    }
    Ok(PrunePlan { vaults: plans })
}

/// Prunes vaults of one project: looks again at what earlier runs marked and deletes what is still not needed, then marks
/// what is not needed now. Give all vaults of the project that can be had. Two random runs never draw the same `random`.
/// It may be stopped at any moment and run again, also by two hosts at once.
///
/// # Errors
/// [`VaultError::ClockSkew`] before anything was done; [`VaultError::MayNotDelete`]; [`VaultError::PruneHeldUp`];
/// failures of a store. Whatever was done until then is right, and the next run goes on.
pub async fn prune(
    vaults: &[Vault],
    options: &PruneOptions,
    clock: &dyn Clock,
    random: [u8; 16],
) -> Result<PruneReport, VaultError> {
    prune_watched(vaults, options, clock, random, &|_, _, _| {}).await
}

/// Told of the place of a vault among those given, of bytes of packs that were read there, and of all that are to be.
pub type PruneWatch<'a> = &'a (dyn Fn(usize, u64, u64) + Send + Sync);

/// As [`prune`], and says how far it is. What takes long is reading packs: copies that deletions rely on, and packs that
/// are rewritten.
///
/// # Errors
/// As [`prune`].
pub async fn prune_watched(
    vaults: &[Vault],
    options: &PruneOptions,
    clock: &dyn Clock,
    random: [u8; 16],
    watch: PruneWatch<'_>,
) -> Result<PruneReport, VaultError> {
    run::run(vaults, options, clock, random, watch).await
}
