//! Erases one collection from all backups (a legal deletion), with a record that it was done.
//!
//! Contract: afterwards no manifest of a backup that exists names the collection, the other collections of each backup
//! are untouched, and no reader ever meets a backup that is less than whole. Its bytes go with the next prunes, which
//! rewrite the packs that the record names however much of them is needed. Besides packs that hold the collection by the
//! manifests, these are all that hold bytes of which no manifest speaks: a backup that held it may have been deleted and
//! pruned before, and its bytes lie on in packs that others need. Not promised: what a backup stores that runs meanwhile,
//! and a vault in which no backup names the collection any more and none ever was erased from: that is refused, because a
//! name with a mistake in it would be recorded as erased, and the refusal says how to rewrite such packs.
//!
//! # Why a crash at any point leaves nothing half-done for ever
//!
//! 1. The *record* is written first, into every vault, with all backups and packs. Packs are found by the manifests, so
//!    they must be on record before the first manifest changes. Whoever runs it again finds the open record and goes on.
//!    While it is open, prunes leave all manifests of these backups alone, however long the erasure stands still.
//! 2. Per backup: *new parts* that lack the collection, which mean nothing yet; then the *new root*, one token higher,
//!    in the home vault. That is the commit: until then readers take the old one, from then on the new one, both whole.
//! 3. *Receipts* of the new root in the other vaults, and a reduced part and receipt for every copy. Only then
//! 4. *tombstones* for everything below the new token, in every vault, so that an old receipt cannot come to life where
//!    the new commit has nothing; and only then the old manifests are *removed*: receipts, roots, parts.
//! 5. When all backups are done, the record says so in every vault.
//!
//! Each step asks what is there and does nothing when it was done before. A backup that is left without any collection
//! stays as an empty one: that it was made, and when, is not what has to be erased.
//!
//! Two erasures never rewrite the same backups at the same time (`alone.rs`): the second one gives up before it wrote
//! anything.
//!
//! Failure: [`EngineError`]; run it again.

mod alone;
mod plan;
mod scrub;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use longshore_model::{BackupId, CollectionName, JobType, Phase, RegionId, Timestamp};
use longshore_vault::{
    CommittedRoot, Erasure, Part, PartRef, Pin, Reader, Root, RootOpen, Sealed, Sizes, Vault, Withdrawal,
};
use serde::Serialize;

use self::scrub::{is_named_in, scrubbed};
use crate::opened::OpenedBackup;
use crate::pins;
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

pub use plan::{ErasePlan, EraseRequest, ErasedBackup, plan_erase};

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EraseOutcome {
    /// Name of the record in every vault.
    pub erasure_id: String,
    /// Backups that were rewritten.
    pub backups: Vec<BackupId>,
    /// Manifests that were removed.
    pub removed_manifests: u64,
    /// Packs that hold bytes of it until they are pruned, over all vaults.
    pub packs: u64,
    /// Further packs with bytes that no manifest speaks of, which go with them ([`ErasePlan::unnamed_pack_count`]).
    pub unnamed_packs: u64,
    /// Objects that could not be looked into, and why. The erasure stays open until they can.
    pub unreadable: Vec<(String, String)>,
}

/// A vault while an erasure works on it.
struct Working {
    vault: Vault,
    reader: Reader,
    pin: Pin,
}

/// What is the same for all backups of one erasure.
struct Erasing<'a> {
    plan: &'a ErasePlan,
    vaults: &'a RegionVaults,
    working: Vec<Working>,
    now: Timestamp,
}

/// Carries out a plan. Needs credentials that may delete, and a reader key where vaults are encrypted.
///
/// # Errors
/// [`EngineError::Conflict`] while another erasure rewrites backups of the same cluster: nothing was written.
/// [`EngineError::Vault`], [`EngineError::Stopped`]: run it again, it goes on where it stopped.
pub async fn run_erase(
    plan: &ErasePlan,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<EraseOutcome, EngineError> {
    let vaults = &vaults.throttled(&context.throttle);
    // It writes manifests as a backup does, so it pins as a backup does.
    let all = vaults.all();
    let pins = pins::take_all(all.iter(), JobType::Backup, |vault| alone::pin_state(plan, vault), context).await?;
    let work = async {
        let working = begin(plan, vaults, &pins, context).await?;
        Erasing { plan, vaults, working, now: context.clock.now() }.run(context).await
    };
    let result = tokio::select! {
        result = work => result,
        error = pins::keep_fresh(&pins) => Err(error),
    };
    pins::release(pins).await;
    let outcome = result?;
    context.progress.enter(Phase::Done);
    Ok(outcome)
}

/// Looks that no other erasure is at work, and opens readers. Only once all pins are durable: of two that begin at once one
/// must see the other.
async fn begin(
    plan: &ErasePlan,
    vaults: &RegionVaults,
    pins: &[(RegionId, Pin)],
    context: &RunContext,
) -> Result<Vec<Working>, EngineError> {
    let mut working = Vec::new();
    for (vault, (region, pin)) in vaults.all().into_iter().zip(pins) {
        alone::check(plan, &vault, context.clock.now()).await?;
        let reader = vault.open_reader().await.map_err(EngineError::vault(region))?;
        working.push(Working { vault, reader, pin: pin.clone() });
    }
    Ok(working)
}

impl Erasing<'_> {
    async fn run(&self, context: &RunContext) -> Result<EraseOutcome, EngineError> {
        for (vault, record) in &self.plan.records {
            self.put(vault, record).await?;
        }
        let (mut backups, mut removed_manifests) = (Vec::new(), 0);
        // One row for all: there may be thousands of backups.
        let size = |id: &BackupId| {
            let found = self.plan.backups.iter().find(|backup| backup.backup_id == *id);
            found.map_or(0, |backup| backup.size_bytes)
        };
        let name = CollectionName { database: "backups".to_owned(), collection: "rewritten".to_owned() };
        context.progress.expect([(name, self.plan.all_backups.iter().map(size).sum())]);
        context.progress.enter(Phase::Commit);
        for backup in &self.plan.all_backups {
            context.stop.check()?;
            if let Some(removed) = self.rewrite(backup).await? {
                backups.push(backup.clone());
                removed_manifests += removed;
            }
            context.progress.add(0, size(backup));
        }
        if self.plan.unreadable.is_empty() {
            for (vault, record) in &self.plan.records {
                self.put(vault, &Erasure { rewritten: Some(self.now), ..record.clone() }).await?;
            }
        }
        Ok(EraseOutcome {
            erasure_id: self.plan.erasure_id.clone(),
            backups,
            removed_manifests,
            packs: self.plan.pack_count() as u64,
            unnamed_packs: self.plan.unnamed_pack_count() as u64,
            unreadable: self.plan.unreadable.clone(),
        })
    }

    async fn put(&self, vault: &Vault, record: &Erasure) -> Result<(), EngineError> {
        vault.put_erasure(record).await.map_err(EngineError::vault(vault.region_id()))
    }

    fn keeps(&self, name: &CollectionName) -> bool {
        *name != self.plan.request.collection
    }

    /// Rewrites one backup; how many old manifests went. `None` for one that was deleted meanwhile.
    async fn rewrite(&self, backup: &BackupId) -> Result<Option<u64>, EngineError> {
        let opened = match OpenedBackup::find(self.vaults, None, backup).await {
            Ok(opened) => opened,
            Err(EngineError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let committed = if is_named_in(&opened, &self.plan.request.collection)? {
            self.commit(&opened).await?
        } else {
            // Committed by a run that stopped after it.
            opened.committed.clone()
        };
        let home = &opened.root.open.home_region;
        let left = opened.collections()?.into_iter().map(|one| one.sealed.name.clone());
        let left: BTreeSet<CollectionName> = left.filter(|name| self.keeps(name)).collect();
        for working in &self.working {
            let followed = self.follow(working, &committed, home, &left).await;
            followed.map_err(EngineError::vault(working.vault.region_id()))?;
        }
        // The home vault last, as in every deletion: what is found by its root is whole until then.
        let (homes, others): (Vec<&Working>, Vec<&Working>) =
            self.working.iter().partition(|working| working.vault.region_id() == home);
        let withdrawal = Withdrawal { time: self.now, by: self.plan.erasure_id.clone(), job_id: None };
        for Working { vault, .. } in others.iter().chain(&homes) {
            let withdrawn = vault.withdraw_before(backup, committed.token, &withdrawal).await;
            withdrawn.map_err(EngineError::vault(vault.region_id()))?;
        }
        let mut removed = 0;
        for Working { vault, .. } in others.into_iter().chain(homes) {
            let gone = vault.remove_superseded(backup, committed.token).await;
            removed += gone.map_err(EngineError::vault(vault.region_id()))?;
        }
        Ok(Some(removed))
    }

    /// Writes the new parts, then the new root.
    async fn commit(&self, opened: &OpenedBackup) -> Result<CommittedRoot, EngineError> {
        let old = &opened.root.open;
        if let Some(damage) = opened.damages.first() {
            let what = format!("{} cannot be read: {}; heal it first", damage.object, damage.found);
            return Err(EngineError::DamagedBackup { backup: old.backup_id.to_string(), what });
        }
        plan::require_open(old, self.vaults)?;
        let token = old.token.saturating_add(1);
        let mut parts = Vec::new();
        for reference in &old.parts {
            let same =
                |part: &&crate::OpenedPart| part.vault.id() == &reference.vault_id && part.reference == *reference;
            // One that a heal replaced is read from what replaced it, which is treated as a copy.
            let Some(part) = opened.parts.iter().find(same) else { continue };
            let (reference, reduced) = self.reduce(&part.vault, &part.part, token).await?;
            // Home keeps its part, also an empty one: a root names at least one.
            if !reduced.open.collections.is_empty() || reference.region_id == old.home_region {
                parts.push(reference);
            }
        }
        let sizes = parts.iter().fold(Sizes::default(), |sum, part| sum.plus(part.sizes));
        let collections = opened.collections()?.iter().filter(|one| self.keeps(&one.sealed.name)).count();
        let sealed = scrubbed(opened.sealed()?, &self.plan.request.collection, &self.plan.erasure_id, collections);
        let open = RootOpen { token, parts, sizes, ..old.clone() };
        let root = Root { open, sealed: Sealed::Readable(sealed) };
        let Working { vault, pin, .. } = self.at(&self.vaults.get(&old.home_region)?)?;
        vault.commit_root(&root, pin).await.map_err(EngineError::vault(vault.region_id()))
    }

    async fn reduce(&self, vault: &Vault, part: &Part, token: u64) -> Result<(PartRef, Part), EngineError> {
        let Working { vault, reader, pin } = self.at(vault)?;
        let reduced = vault.put_reduced_part(part, token, &|name| self.keeps(name), reader, pin).await;
        reduced.map_err(EngineError::vault(vault.region_id()))
    }

    fn at(&self, vault: &Vault) -> Result<&Working, EngineError> {
        let found = self.working.iter().find(|working| working.vault.id() == vault.id());
        found.ok_or_else(|| EngineError::Internal { what: "a vault got lost".to_owned() })
    }

    /// Brings one vault up to the new commit: the receipt of its part, and of every copy that it holds a reduced copy.
    /// `left` are the collections that the backup has now.
    ///
    /// Copies of *all* earlier commits count. An erasure that died may have brought some of what is here up to its commit and
    /// not the rest, and where another one took its place the newest commit before is not the only one with copies.
    async fn follow(
        &self,
        working: &Working,
        committed: &CommittedRoot,
        home: &RegionId,
        left: &BTreeSet<CollectionName>,
    ) -> Result<(), longshore_vault::VaultError> {
        let Working { vault, reader, pin } = working;
        let (backup, token) = (&committed.backup_id, committed.token);
        let root = committed.parse(vault.limits())?;
        if let Some(part) = root.open.parts.iter().find(|part| part.vault_id == *vault.id())
            && vault.region_id() != home
        {
            vault.put_receipt(committed, part).await?;
        }
        let commits = vault.commits(backup).await?;
        let before: Vec<u64> = commits.into_iter().filter(|known| *known < token).rev().collect();
        if before.is_empty() {
            return Ok(());
        }
        let mut there: BTreeSet<CollectionName> = BTreeSet::new();
        for reference in vault.parts_here(backup, token).await? {
            there.extend(names_in(&vault.load_part(&reference).await?)?);
        }
        let keep = |name: &CollectionName| left.contains(name);
        for earlier in before {
            for reference in vault.parts_here(backup, earlier).await? {
                let part = vault.load_part(&reference).await?;
                let names = names_in(&part)?;
                if names.iter().filter(|name| keep(name)).all(|name| there.contains(name)) {
                    continue;
                }
                let (reference, _) = vault.put_reduced_part(&part, token, &keep, reader, pin).await?;
                vault.put_receipt(committed, &reference).await?;
                there.extend(names);
            }
        }
        Ok(())
    }
}

fn names_in(part: &Part) -> Result<Vec<CollectionName>, longshore_vault::VaultError> {
    Ok(part.collections()?.into_iter().map(|(_, sealed)| sealed.name.clone()).collect())
}
