//! Heals a vault from others of its project: what is lost or damaged is fetched from wherever it is whole.
//!
//! Order: records beside backups come first, damaged and lost ones, because keys are among them; damaged index objects are
//! rebuilt; then, backup by backup, roots, receipts and parts; then all packs are read, also those that no backup needs,
//! because the next one may; those that are lost or damaged are replaced, by the same pack if another vault has it, else by
//! new packs with the same blobs; then what was hit is read again, and packs whose index object is lost, or that came back,
//! are listed in a new one. Only bytes that were proven by their name or id are ever written, so nothing good is overwritten
//! by something bad. A pack that cannot be replaced stays, with a note that keeps writers from relying on it.
//!
//! Contract: what cannot be healed is a result, told by collection with the reason. A heal that is stopped leaves a
//! vault that is at least as good as before; running it again goes on. A dry run writes records, keys among them, into memory
//! alone, so that what only missed its key is not called damaged; what comes after is looked at and not written at all.

mod manifests;
mod packs;
mod parts;

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{BackupId, CollectionName, JobType, Phase, RegionId, VaultId};
use longshore_vault::{LOST_INDEX, ObjectDamage, Part, PartRef, Pin, RepairOutcome, RepairPlan, Vault};
use serde::Serialize;
use serde_json::Value;

use crate::verify::DamagedObject;
use crate::{EngineError, RunContext, VerifyLevel, pins};

/// What to heal.
#[derive(Debug, Clone)]
pub struct HealRequest {
    /// Which backup; all of the vault when `None`.
    pub backup: Option<BackupId>,
    /// How deep to look for damage: [`VerifyLevel::Stored`] finds all that a disk can do and needs no key,
    /// [`VerifyLevel::Decoded`] more. Other levels are taken for the nearer of the two.
    pub level: VerifyLevel,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealOutcome {
    /// Region of the vault.
    pub region: RegionId,
    /// Nothing was written.
    pub dry_run: bool,
    /// Objects that were lost or damaged, and what became of each.
    pub objects: Vec<HealedObject>,
    /// Collections that were hit, and whether they are whole now.
    pub collections: Vec<HealedCollection>,
    /// Backups that were looked at.
    pub backups: u64,
    /// Bytes of packs that were read here.
    pub read_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// True when everything is whole now.
    pub whole: bool,
}

/// A lost or damaged object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealedObject {
    /// Its key.
    pub object: String,
    /// What was wrong with it.
    pub found: String,
    /// True when it is as it should be, or what it held is here again (in a dry run: would be).
    pub healed: bool,
    /// What was done, or why nothing could be.
    pub how: String,
}

/// A collection that was hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealedCollection {
    /// Of which backup.
    pub backup_id: BackupId,
    /// Which; its number in the part when its name cannot be read.
    pub name: String,
    /// Files that could not be restored before.
    pub damaged_files: u64,
    /// Files that cannot be restored now.
    pub still_damaged_files: u64,
    /// Why not, the first reasons.
    pub reasons: Vec<String>,
}

/// A part of the vault that is being healed.
struct PartHere {
    backup: BackupId,
    reference: PartRef,
    part: Part,
}

impl PartHere {
    /// Names by number, as far as they can be read.
    fn names(&self) -> BTreeMap<u32, CollectionName> {
        let collections = self.part.collections().unwrap_or_default();
        collections.into_iter().map(|(files, sealed)| (files.number, sealed.name.clone())).collect()
    }
}

/// One heal.
struct Heal<'a> {
    vault: Vault,
    sources: Vec<Vault>,
    request: &'a HealRequest,
    context: &'a RunContext,
    pin: Option<Pin>,
    outcome: HealOutcome,
}

/// Heals a vault from others of its project.
///
/// # Errors
/// [`EngineError::BadRequest`] for vaults of another project, [`EngineError::Vault`] when a vault does not answer,
/// [`EngineError::NotFound`] for a backup that no vault knows, [`EngineError::Stopped`].
pub async fn heal(
    vault: &Vault,
    sources: &[Vault],
    request: &HealRequest,
    context: &RunContext,
) -> Result<HealOutcome, EngineError> {
    for source in sources {
        if source.project_id() != vault.project_id() {
            let (there, here) = (source.project_id(), vault.project_id());
            let what = format!("{} belongs to project {there}, this vault to {here}", source.place());
            return Err(EngineError::BadRequest { what });
        }
    }
    let started = context.clock.now();
    let vault = if request.dry_run { vault.rehearsal() } else { vault.clone() };
    let vault = vault.with_throttle(context.throttle.clone());
    let sources: Vec<Vault> =
        sources.iter().map(|source| source.clone().with_throttle(context.throttle.clone())).collect();
    let pins = if request.dry_run { Vec::new() } else { take_pins(&vault, &sources, context).await? };
    let outcome = HealOutcome {
        region: vault.region_id().clone(),
        dry_run: request.dry_run,
        objects: Vec::new(),
        collections: Vec::new(),
        backups: 0,
        read_bytes: 0,
        duration_ms: 0,
        whole: true,
    };
    let pin = pins.first().map(|(_, pin)| pin.clone());
    let mut heal = Heal { vault, sources, request, context, pin, outcome };
    let result = tokio::select! {
        result = heal.run() => result,
        error = pins::keep_fresh(&pins) => Err(error),
        () = context.stop.stopped() => context.stop.check(),
    };
    let mut outcome = heal.outcome;
    pins::release(pins).await;
    result?;
    context.progress.enter(Phase::Done);
    outcome.whole = outcome.objects.iter().all(|object| object.healed)
        && outcome.collections.iter().all(|collection| collection.still_damaged_files == 0);
    outcome.duration_ms = context.clock.now().millis_since(started);
    Ok(outcome)
}

/// Rebuilds the index objects of a vault from its packs. Answers what was found and what was done about it.
///
/// # Errors
/// [`EngineError::Vault`], [`EngineError::Stopped`].
pub async fn repair_vault(
    vault: &Vault,
    dry_run: bool,
    context: &RunContext,
) -> Result<(RepairPlan, RepairOutcome), EngineError> {
    let region = vault.region_id();
    let vault = vault.clone().with_throttle(context.throttle.clone());
    if dry_run {
        let plan = vault.plan_repair().await.map_err(EngineError::vault(region))?;
        return Ok((plan, RepairOutcome::default()));
    }
    // A prune on another host must not remove packs while they are written into new index objects.
    let pins = take_pins(&vault, &[], context).await?;
    let work = async {
        let plan = vault.plan_repair().await.map_err(EngineError::vault(region))?;
        context.stop.check()?;
        let outcome = vault.run_repair(&plan).await.map_err(EngineError::vault(region))?;
        Ok((plan, outcome))
    };
    let result = tokio::select! {
        result = work => result,
        error = pins::keep_fresh(&pins) => Err(error),
    };
    pins::release(pins).await;
    result
}

/// The vault to heal first. A heal may reference and read anything, here and there.
async fn take_pins(
    vault: &Vault,
    sources: &[Vault],
    context: &RunContext,
) -> Result<Vec<(RegionId, Pin)>, EngineError> {
    pins::take_all(std::iter::once(vault).chain(sources), JobType::Copy, |_| Ok(Value::Null), context).await
}

impl Heal<'_> {
    async fn run(&mut self) -> Result<(), EngineError> {
        self.context.progress.enter(Phase::Proof);
        self.lost_records().await?;
        // Before packs and manifests, which are worth nothing without. Nothing is done in a vault that is not encrypted.
        for source in &self.sources {
            let copied = self.vault.copy_session_objects(source).await;
            copied.map_err(EngineError::vault(self.vault.region_id()))?;
        }
        self.records().await?;
        self.index().await?;
        let backups = match &self.request.backup {
            Some(backup) => vec![backup.clone()],
            None => self.all_backups().await?,
        };
        let mut parts = Vec::new();
        for backup in &backups {
            self.context.stop.check()?;
            parts.extend(self.manifests(backup).await?);
        }
        self.outcome.backups = backups.len() as u64;
        self.packs(parts).await
    }

    /// Brings records back that should be here and are not: wrapped keys first.
    async fn lost_records(&mut self) -> Result<(), EngineError> {
        let fail = || EngineError::vault(self.vault.region_id());
        let mut losses = self.vault.lost_keys().await.map_err(fail())?;
        losses.extend(self.vault.record_losses(&self.sources).await.map_err(fail())?);
        self.mend(losses).await
    }

    /// Mends damaged records beside backups: tombstones, marks, erasures, snapshots of catalogs, wrapped keys.
    async fn records(&mut self) -> Result<(), EngineError> {
        let damages = self.vault.record_damages().await.map_err(EngineError::vault(self.vault.region_id()))?;
        self.mend(damages).await
    }

    async fn mend(&mut self, damages: Vec<ObjectDamage>) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        let now = self.context.clock.now();
        for damage in damages {
            self.context.stop.check()?;
            // Snapshots of catalogs can be large, and nothing that is looked at later depends on them.
            let write = !self.request.dry_run || !damage.is_catalog();
            let healed = self.vault.heal_record(&damage, &self.sources, now, write).await;
            let healed = healed.map_err(EngineError::vault(&region))?;
            let found = DamagedObject::of(&region, &damage);
            match healed {
                Ok(how) => self.note(&found, true, how),
                Err(why) => self.note(&found, false, why),
            }
        }
        Ok(())
    }

    /// Backups that this vault or a source knows, if any of it is or should be here.
    async fn all_backups(&self) -> Result<Vec<BackupId>, EngineError> {
        let mut all = BTreeSet::new();
        for vault in std::iter::once(&self.vault).chain(&self.sources) {
            let listing = vault.list_backups().await.map_err(EngineError::vault(vault.region_id()))?;
            let here = vault.id() == self.vault.id();
            for backup in listing.backups {
                let names_us = |part: &PartRef| part.vault_id == *self.vault.id();
                let is_home = backup.root.home_region == *self.vault.region_id();
                if here || is_home || backup.root.parts.iter().any(names_us) {
                    all.insert(backup.root.backup_id);
                }
            }
            all.extend(listing.damaged.into_iter().filter(|_| here).map(|(id, _)| id));
        }
        Ok(all.into_iter().collect())
    }

    /// Rebuilds index objects. What is wrong with packs is found later, by reading them.
    async fn index(&mut self) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        let plan = self.vault.plan_repair().await.map_err(EngineError::vault(&region))?;
        for damage in &plan.damaged {
            let how = "its packs were listed again in a new index object".to_owned();
            let (object, found) = (damage.object.clone(), damage.found.clone());
            self.outcome.objects.push(HealedObject { object, found, healed: true, how });
        }
        if !self.request.dry_run && !plan.damaged.is_empty() {
            self.vault.run_repair(&plan).await.map_err(EngineError::vault(&region))?;
        }
        Ok(())
    }

    /// Lists packs again that backups need and that no index object names: `lost` says that there are some, and a pack that
    /// was fetched may be one. Until then they are found by their ends.
    async fn index_again(&mut self, lost: Option<String>) -> Result<(), EngineError> {
        let region = self.vault.region_id().clone();
        if !self.request.dry_run {
            let plan = self.vault.plan_repair().await.map_err(EngineError::vault(&region))?;
            if !plan.unindexed_packs.is_empty() {
                self.vault.run_repair(&plan).await.map_err(EngineError::vault(&region))?;
            }
        }
        if let Some(found) = lost {
            let how = "its packs were listed again in a new index object".to_owned();
            self.outcome.objects.push(HealedObject { object: LOST_INDEX.to_owned(), found, healed: true, how });
        }
        Ok(())
    }

    /// The vault of this id among those that are open, for people.
    fn place_of(&self, id: &VaultId) -> String {
        let found = self.sources.iter().find(|source| source.id() == id);
        found.map_or_else(|| id.to_string(), |source| format!("region {} ({})", source.region_id(), source.place()))
    }

    fn note(&mut self, damage: &DamagedObject, healed: bool, how: impl Into<String>) {
        let (object, found) = (damage.object.clone(), damage.found.clone());
        self.outcome.objects.push(HealedObject { object, found, healed, how: how.into() });
    }
}
