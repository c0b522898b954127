//! Carries out a planned backup: transfer, recheck, commit.
//!
//! Why nothing is ever half a backup: packs and index objects are durable before a part names them
//! ([`Session::finish`](longshore_vault::Session::finish)), all parts are durable before the root names them, and the root
//! in the home region's vault is the commit. Receipts come after it and only repeat it. Whatever fails before the root
//! leaves nothing that a reader can see; whatever fails after it leaves a whole backup.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{BackupType, CollectionName, JobType, Phase, RegionId};
use longshore_source::{PointState, Recheck, Source};
use longshore_vault::{
    CommittedRoot, DdlChange, Excluded, FinishedPart, JsonText, PartRef, Pin, PinRequest, ReliesOn, RootOpen,
    RootSealed, Session, SessionOptions, Sizes,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::outcome::{outcome, requested_copies};
use crate::blocking::{blocking, drop_aside};
use crate::manifests::{Decisions, PartInput, database_entries, part_draft, policies_value};
use crate::pins;
use crate::plan::BackupPlan;
use crate::random::draw;
use crate::resume::Checkpoints;
use crate::space;
use crate::transfer::{TransferredCollection, transfer};
use crate::vaults::RegionVaults;
use crate::worker::CANCELED;
use crate::{EngineError, RunContext};

pub use outcome::{BackupOutcome, RequestedCopy};

/// How often a receipt is tried before it becomes a warning.
const RECEIPT_TRIES: u32 = 3;

/// A region's vault while a backup writes to it.
struct Writing {
    pin: Pin,
    session: Arc<Session>,
}

/// Carries out a plan.
///
/// # Errors
/// [`EngineError::Source`], [`EngineError::Vault`], [`EngineError::Stopped`]. No backup exists then. Only when the vault
/// cannot say whether its last write happened ([`longshore_vault::VaultError::Uncertain`]) one may exist, and then it is
/// whole.
pub async fn run_backup(
    mut plan: BackupPlan,
    source: &dyn Source,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<BackupOutcome, EngineError> {
    let vaults = &vaults.throttled(&context.throttle);
    context
        .progress
        .expect(plan.collections.iter().map(|planned| (planned.facts.name.clone(), planned.facts.size_bytes.total())));
    space::check(&plan, vaults, context)?;
    let writing = begin(&plan, vaults, context).await?;
    let mut checkpoints = Checkpoints::new(&plan.request.cluster.id, &context.limits);
    for (region, writing) in &writing {
        let vault = vaults.get(region)?;
        let pin_bytes = vault.limits().pin_bytes;
        checkpoints.add(region, &writing.session, &writing.pin, plan.history.key(), pin_bytes);
    }
    let pins: Vec<(RegionId, Pin)> =
        writing.iter().map(|(region, writing)| (region.clone(), writing.pin.clone())).collect();
    let decisions = Decisions::taken_from(&mut plan);
    // Megabytes for thousands of collections, written while their bytes are moved.
    let decisions = tokio::spawn(blocking("writing decisions down", move || decisions.text()));
    let result = tokio::select! {
        result = write_and_commit(&plan, source, vaults, &writing, &checkpoints, decisions, context) => result,
        error = pins::keep_fresh(&pins) => Err(error),
    };
    match &result {
        // Whoever cancels does not want it to go on.
        Err(EngineError::Stopped { why }) if why == CANCELED => pins::release(pins).await,
        Err(_) => checkpoints.rest().await,
        Ok(_) => pins::release(pins).await,
    }
    drop_aside(plan);
    result
}

/// Takes a pin and opens a session in each vault that gets a part.
async fn begin(
    plan: &BackupPlan,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<BTreeMap<RegionId, Writing>, EngineError> {
    let mut regions: BTreeSet<&RegionId> =
        plan.collections.iter().map(|planned| &planned.placed.value.region).collect();
    // A backup of nothing still has a part at home, so that every root names at least one.
    regions.insert(&plan.request.cluster.home_region);
    let share = context.limits.content_budget_bytes() / regions.len().max(1) as u64;
    let mut writing = BTreeMap::new();
    for region in regions {
        let vault = vaults.get(region)?;
        let request = PinRequest {
            job_id: plan.request.job_id.clone(),
            job_type: JobType::Backup,
            token: plan.request.fencing_token,
            random: draw(context.random.as_ref())?,
            // The name says to whoever looks between the root and its receipts that these are still to come.
            relies_on: ReliesOn {
                everything: true,
                backups: vec![plan.request.backup_id.clone()],
                ..ReliesOn::default()
            },
            state: Value::Null,
        };
        let pin = vault.pin(request, Arc::clone(&context.clock)).await.map_err(EngineError::vault(region))?;
        let options = SessionOptions::holding(share);
        let session = vault.begin(&pin, options).await.map_err(EngineError::vault(region))?;
        writing.insert(region.clone(), Writing { pin, session: Arc::new(session) });
    }
    Ok(writing)
}

async fn write_and_commit(
    plan: &BackupPlan,
    source: &dyn Source,
    vaults: &RegionVaults,
    writing: &BTreeMap<RegionId, Writing>,
    checkpoints: &Checkpoints,
    decisions: JoinHandle<Result<JsonText, EngineError>>,
    context: &RunContext,
) -> Result<BackupOutcome, EngineError> {
    context.progress.enter(Phase::Transfer);
    let moved = checkpoints.during(move_all(plan, source, writing, checkpoints, context)).await?;
    context.stop.check()?;
    context.progress.enter(Phase::Recheck);
    let (states, ddl_changes) = recheck(plan, source, &moved, context.limits.parallel_collections).await?;
    // The last moment at which a stop leaves nothing: from here on the backup is carried through.
    context.stop.check()?;
    context.progress.enter(Phase::Commit);
    let home = &plan.request.cluster.home_region;
    let pinned = writing.get(home).ok_or_else(|| EngineError::Internal { what: format!("no session for {home}") })?;
    let home_vault = vaults.get(home)?;
    let packed = async {
        let lost = |error| EngineError::Internal { what: format!("the decisions were not written down: {error}") };
        let sealed = root_sealed(plan, ddl_changes.clone(), decisions.await.map_err(lost)??);
        let request = &plan.request;
        let packed = home_vault.pack_root(&request.backup_id, request.fencing_token, sealed, &pinned.pin);
        packed.await.map_err(EngineError::vault(home))
    };
    // What the root says to readers needs no part, so that both are written down at the same time.
    let (parts, packed) = tokio::try_join!(finish_parts(plan, vaults, writing, &moved, &states, context), packed)?;
    let root = root_open(plan, &parts);
    // The commit: after it the backup exists, whatever happens next.
    let committed =
        home_vault.commit_packed_root(&root, &packed, &pinned.pin).await.map_err(EngineError::vault(home))?;
    let warnings = put_receipts(&committed, &parts, home, vaults).await;
    context.progress.enter(Phase::Done);
    let mut outcome = outcome(plan, &moved, &states, &root, ddl_changes, context.clock.now());
    outcome.warnings.extend(warnings);
    drop_aside((moved, parts, packed));
    Ok(outcome)
}

/// Stores all collections, those with the highest priority first.
async fn move_all(
    plan: &BackupPlan,
    source: &dyn Source,
    writing: &BTreeMap<RegionId, Writing>,
    checkpoints: &Checkpoints,
    context: &RunContext,
) -> Result<Vec<TransferredCollection>, EngineError> {
    let priority = |place: &usize| plan.collections.get(*place).map_or(0, |one| one.selected.value.priority);
    let mut order: Vec<usize> = (0..plan.collections.len()).collect();
    order.sort_by_key(|place| (std::cmp::Reverse(priority(place)), *place));
    let mut moved: Vec<(usize, TransferredCollection)> = stream::iter(order)
        .map(|place| async move {
            let lost = || EngineError::Internal { what: "a planned collection got lost".to_owned() };
            let planned = plan.collections.get(place).ok_or_else(lost)?;
            let region = &planned.placed.value.region;
            let session = writing.get(region).map(|writing| Arc::clone(&writing.session)).ok_or_else(lost)?;
            let collection = transfer(planned, place, source, &session, &plan.history, checkpoints, context).await?;
            Ok::<_, EngineError>((place, collection))
        })
        .buffer_unordered(context.limits.parallel_collections.max(1))
        .try_collect()
        .await?;
    moved.sort_by_key(|(place, _)| *place);
    Ok(moved.into_iter().map(|(_, collection)| collection).collect())
}

/// Looks at the cluster again. What was stored is one consistent point per collection whatever happened; what happened
/// is said.
async fn recheck(
    plan: &BackupPlan,
    source: &dyn Source,
    moved: &[TransferredCollection],
    parallel: usize,
) -> Result<(Vec<PointState>, Vec<DdlChange>), EngineError> {
    let share = moved.len().div_ceil(parallel.max(1)).max(1);
    let states: Vec<PointState> = try_join_all(moved.chunks(share).map(look_again)).await?.concat();
    let mut changes = Vec::new();
    for (planned, state) in plan.collections.iter().zip(&states) {
        let change = match state {
            PointState::Unaltered => None,
            PointState::Altered => Some("altered, or dropped and created again"),
            PointState::Dropped => Some("dropped"),
        };
        changes.extend(change.map(|change| DdlChange { name: planned.facts.name.clone(), change: change.to_owned() }));
    }
    if plan.request.backup_type == BackupType::Cluster {
        let before: BTreeSet<&CollectionName> = plan.inventory.collections.iter().map(|entry| &entry.name).collect();
        let after = source.collection_names().await?;
        let created = after.into_iter().filter(|name| !before.contains(name));
        changes.extend(created.map(|name| DdlChange { name, change: "created, and not in this backup".to_owned() }));
    }
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((states, changes))
}

async fn look_again(moved: &[TransferredCollection]) -> Result<Vec<PointState>, EngineError> {
    let rechecks: Vec<Arc<dyn Recheck>> = moved.iter().map(|collection| Arc::clone(&collection.recheck)).collect();
    let here = move || Ok(rechecks.iter().map(|recheck| recheck.recheck_here()).collect::<Vec<_>>());
    let here = blocking("looking at collections again", here).await?;
    let mut states = Vec::with_capacity(moved.len());
    for (collection, here) in moved.iter().zip(here) {
        states.push(match here {
            Some(state) => state?,
            None => collection.recheck.recheck().await?,
        });
    }
    Ok(states)
}

async fn finish_parts(
    plan: &BackupPlan,
    vaults: &RegionVaults,
    writing: &BTreeMap<RegionId, Writing>,
    moved: &[TransferredCollection],
    states: &[PointState],
    context: &RunContext,
) -> Result<Vec<FinishedPart>, EngineError> {
    let home_vault_id = vaults.get(&plan.request.cluster.home_region)?.id().clone();
    let mut parts = Vec::with_capacity(writing.len());
    for (region, writing) in writing {
        let collections = plan.collections.iter().zip(moved).zip(states);
        let here = collections.filter(|((planned, _), _)| planned.placed.value.region == *region);
        let inputs: Vec<PartInput<'_>> =
            here.map(|((planned, moved), state)| PartInput { planned, moved, state: *state }).collect();
        let draft = part_draft(&plan.request, Some(home_vault_id.clone()), &inputs, context.clock.now());
        parts.push(writing.session.finish(draft).await.map_err(EngineError::vault(region))?);
    }
    Ok(parts)
}

/// What the root says to everybody.
fn root_open(plan: &BackupPlan, parts: &[FinishedPart]) -> RootOpen {
    let request = &plan.request;
    let parts: Vec<PartRef> = parts.iter().map(|part| part.reference.clone()).collect();
    let sizes = parts.iter().fold(Sizes::default(), |sum, part| sum.plus(part.sizes));
    RootOpen {
        backup_id: request.backup_id.clone(),
        token: request.fencing_token,
        backup_type: request.backup_type,
        creation_method: request.creation_method,
        cluster_id: request.cluster.id.clone(),
        project_id: request.cluster.project_id.clone(),
        home_region: request.cluster.home_region.clone(),
        created: request.time,
        expires: request.expires,
        sizes,
        parts,
    }
}

/// What it says to readers.
fn root_sealed(plan: &BackupPlan, ddl_changes: Vec<DdlChange>, decisions: JsonText) -> RootSealed {
    let request = &plan.request;
    let excluded = plan.excluded.iter().map(|decision| Excluded {
        name: decision.collection.clone(),
        reason: decision.value.reason.clone(),
        decided_by: decision.decided_by.member.clone(),
    });
    RootSealed {
        backup_name: Some(request.backup_name.clone()),
        cluster_name: request.cluster.name.clone(),
        databases: database_entries(&plan.inventory.databases),
        excluded: excluded.collect(),
        decisions,
        policies: policies_value(&plan.policies),
        ddl_changes,
        source_kind: plan.source_kind.as_str().to_owned(),
        source_version: plan.inventory.source_version.clone(),
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        extra: root_extra(plan),
    }
}

fn root_extra(plan: &BackupPlan) -> Value {
    let mut extra = json!({ "collections": plan.collections.len(), "copies": requested_copies(plan) });
    if let (Some(access), Some(extra)) = (&plan.inventory.access, extra.as_object_mut()) {
        extra.insert("access".to_owned(), access.clone());
    }
    extra
}

/// Repeats the committed root in the other vaults. A receipt that cannot be written is a warning and not a failure: the
/// backup exists and is whole, and calling it failed would hide what can be restored.
async fn put_receipts(
    committed: &CommittedRoot,
    parts: &[FinishedPart],
    home: &RegionId,
    vaults: &RegionVaults,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for part in parts.iter().filter(|part| part.reference.region_id != *home) {
        let region = &part.reference.region_id;
        if let Err(error) = put_receipt(committed, &part.reference, vaults).await {
            tracing::warn!(%region, %error, "a receipt could not be written");
            warnings.push(format!(
                "the vault of region {region} does not know this backup ({error}); it can be restored as long as the \
                 vault of {home} is there"
            ));
        }
    }
    warnings
}

async fn put_receipt(committed: &CommittedRoot, part: &PartRef, vaults: &RegionVaults) -> Result<(), EngineError> {
    let vault = vaults.get(&part.region_id)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match vault.put_receipt(committed, part).await {
            Ok(()) => return Ok(()),
            // Repeating a receipt is harmless: it is named by its content.
            Err(error) if tries < RECEIPT_TRIES => tracing::debug!(%error, tries, "trying the receipt again"),
            Err(error) => return Err(EngineError::vault(&part.region_id)(error)),
        }
    }
}
