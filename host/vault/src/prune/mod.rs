//! Prune: removes what no backup needs, beside running backups, copies and restores on other hosts.

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
    run::run(vaults, options, clock, random).await
}
