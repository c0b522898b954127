//! Plans a backup: inventory, policies, sampled streams. Writes nothing.
//!
//! Contract: the result is a value that says for every collection whether it goes in, with which codec each of its
//! streams is stored, in which region it is kept, who decided and why. Carrying it out is [`run_backup`](crate::run_backup);
//! showing it is a dry run. Points that were opened to sample are kept for the transfer as long as they are few; a
//! collection whose point was let go is opened again, which is as consistent: each point holds all that was acknowledged
//! before it was opened.
//!
//! Failure: [`EngineError`]; nothing was changed anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{
    BackupType, CodecChoice, CollectionFacts, CollectionName, CreationMethod, Phase, Placed, PolicyKind, RegionHealth,
    RegionId, RegionOffer, RunFacts, RunKind, RunTrigger, Selected, StreamFacts, Timestamp,
};
use longshore_policy::{
    CompressionPlan, Decision, DecisionRecord, ExplainRow, Member, PlacementPlan, PolicyError, PolicySet,
    SelectionPlan, ShadowOutcome, Usage, explain,
};
use longshore_source::{CollectionEntry, Inventory, PointOptions, Source, SourceKind};

use crate::blocking::blocking;
use crate::costs::RegionStorage;
use crate::facts::{HostKnowledge, collection_facts, missing_names, totals};
use crate::history::{History, loading};
use crate::keyed_point::KeptPoint;
use crate::policies;
use crate::request::{BackupRequest, ClusterTarget};
use crate::run_policy::RunPolicy;
use crate::streams::{SampledCollection, sample_streams};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// One stream of a planned collection.
#[derive(Debug, Clone)]
pub struct PlannedStream {
    /// What was measured of it.
    pub facts: StreamFacts,
    /// What it decided.
    pub choice: Decision<CodecChoice>,
}

/// One collection that goes into the backup.
#[derive(Clone)]
pub struct PlannedCollection {
    /// What the source says about it.
    pub entry: CollectionEntry,
    /// What the policies were told.
    pub facts: CollectionFacts,
    /// Why it is in.
    pub selected: Decision<Selected>,
    /// Its streams.
    pub streams: Vec<PlannedStream>,
    /// Where it is kept.
    pub placed: Decision<Placed>,
    /// The point opened for sampling, if it was kept.
    pub(crate) point: KeptPoint,
}

/// A backup, planned: everything that [`run_backup`](crate::run_backup) needs.
pub struct BackupPlan {
    /// What was asked.
    pub request: BackupRequest,
    /// When planning began: the duration of a backup counts from here.
    pub started: Timestamp,
    /// Kind of the source.
    pub source_kind: SourceKind,
    /// The whole inventory, also what is left out.
    pub inventory: Inventory,
    /// What the policies were told about the run.
    pub run: RunFacts,
    /// What goes in, in order of (database, name).
    pub collections: Vec<PlannedCollection>,
    /// What is left out, and why.
    pub excluded: Vec<Decision<Selected>>,
    /// Every question and answer.
    pub records: Vec<DecisionRecord>,
    /// Every decision as a row for a person.
    pub rows: Vec<ExplainRow>,
    /// What the calls of the plugins cost.
    pub usage: Vec<Usage>,
    /// What candidates would have decided. They never act.
    pub shadows: Vec<ShadowOutcome>,
    /// The regions that placement policies were offered.
    pub regions: Vec<RegionOffer>,
    /// The chains that were asked.
    pub policies: Arc<PolicySet>,
    pub(crate) history: Arc<History>,
    /// What the vaults hold.
    pub(crate) storage: Vec<RegionStorage>,
}

/// Plans a backup.
///
/// # Errors
/// [`EngineError::UnknownCollections`], [`EngineError::Policy`] when a policy fails or refuses,
/// [`EngineError::NothingToBackUp`] when every collection was left out of a cluster that has some, and whatever reading
/// the source or the vaults can fail with.
pub async fn plan_backup(
    request: BackupRequest,
    source: &dyn Source,
    policy: &RunPolicy,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<BackupPlan, EngineError> {
    plan_backup_noting(request, source, policy, vaults, context, &mut Vec::new()).await
}

/// The same, and leaves in `asked` every call of policies that a plan which comes to nothing has cost.
///
/// # Errors
/// As [`plan_backup`].
pub(crate) async fn plan_backup_noting(
    request: BackupRequest,
    source: &dyn Source,
    policy: &RunPolicy,
    vaults: &RegionVaults,
    context: &RunContext,
    asked: &mut Vec<DecisionRecord>,
) -> Result<BackupPlan, EngineError> {
    let started = context.clock.now();
    let vaults = &vaults.throttled(&context.throttle);
    let policy = &policy.for_run().await?;
    context.progress.enter(Phase::Inventory);
    let names = source.collection_names().await?;
    let (history, inventory) = load_and_list(&request.cluster, &names, source, vaults, context).await?;
    let facts = facts_of_request(&request, &inventory, policy, &history)?;
    let storage = look_at_storage(policy, vaults).await;
    let mut run = run_facts(&request, &inventory, &facts, &history);
    run.next_run = policy.known.next_run;
    policy.costs.tell(&mut run, &storage);
    context.stop.check()?;

    context.progress.enter(Phase::Policy);
    let (selection, facts) = ask_selection(policy, &run, facts, asked).await?;
    let mut rows = explain(&selection);
    asked.extend(selection.records);
    let mut usage = selection.usage;
    let mut excluded = Vec::new();
    let mut selected = Vec::new();
    for (facts, decision) in facts.into_iter().zip(selection.decisions) {
        if decision.value.include_collection { selected.push((facts, decision)) } else { excluded.push(decision) }
    }
    refuse_nothing(&inventory, &selected, &excluded)?;

    let options = |decision: &Decision<Selected>| PointOptions {
        include_index_files: decision.value.include_index_files,
        hold_all_files: false,
    };
    let wanted: Vec<_> = selected.iter().map(|(facts, decision)| (facts.name.clone(), options(decision))).collect();
    let sampled = sample_streams(source, wanted, &history, context).await?;
    let (mut facts, selected): (Vec<_>, Vec<_>) = selected.into_iter().unzip();
    for (facts, sampled) in facts.iter_mut().zip(&sampled) {
        facts.new_bytes = sampled.streams.iter().map(|stream| stream.new_bytes).sum();
    }
    context.stop.check()?;

    let offers = region_offers(&request.cluster.home_region, &storage, vaults).await;
    let regions = policy.guardrails.offer(&offers).unwrap_or_default();
    let decided = ask_streams_and_places(policy, &run, &facts, &sampled, (offers, &history), asked).await?;
    rows.extend(decided.rows);
    usage.extend(decided.usage);
    let collections = assemble(&inventory, facts, selected, sampled, decided.choices, decided.places)?;
    let (records, shadows) = ask_shadows(policy, std::mem::take(asked)).await?;
    Ok(BackupPlan {
        request,
        started,
        source_kind: source.kind(),
        inventory,
        run,
        collections,
        excluded,
        records,
        rows,
        usage,
        shadows,
        regions,
        policies: Arc::clone(&policy.set),
        history,
        storage,
    })
}

/// Reads what earlier backups hold while the source lists what there is: both are work of one thread for much of the time.
async fn load_and_list(
    cluster: &ClusterTarget,
    names: &[CollectionName],
    source: &dyn Source,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<(Arc<History>, Inventory), EngineError> {
    let (loading, awaited) = loading();
    let load = async {
        let history = Arc::new(History::load(vaults, cluster, names, context).await?);
        loading.finish(Arc::clone(&history));
        Ok(history)
    };
    let list = async { Ok(source.inventory_knowing(Arc::new(awaited)).await?) };
    tokio::try_join!(load, list)
}

fn facts_of_request(
    request: &BackupRequest,
    inventory: &Inventory,
    policy: &RunPolicy,
    history: &History,
) -> Result<Vec<CollectionFacts>, EngineError> {
    let missing = missing_names(&request.collections, &inventory.collections);
    if !missing.is_empty() {
        let available = inventory.collections.iter().map(|entry| entry.name.to_string()).take(20).collect();
        return Err(EngineError::UnknownCollections { names: missing, available });
    }
    let wanted = |entry: &&CollectionEntry| {
        request.backup_type == BackupType::Cluster || request.collections.contains(&entry.name)
    };
    let facts = inventory.collections.iter().filter(wanted).map(|entry| {
        let last_backup = history.last_backup(&entry.name);
        let last_good = last_backup.as_ref().map(|last| last.time);
        let known = HostKnowledge {
            labels: request.cluster.labels.get(&entry.name).cloned().unwrap_or_default(),
            protected: false,
            requested: request.collections.contains(&entry.name),
            last_backup,
            recovery_point_objective_seconds: request.cluster.recovery_point_objective_seconds,
            consecutive_failures: policy.known.consecutive_failures(&entry.name, last_good),
            last_proven_restore: policy.known.proven.get(&entry.name).copied(),
            previous_reason_code: history.reason_code(PolicyKind::Selection, &entry.name),
        };
        let mut facts = collection_facts(entry, known);
        facts.protected = policy.guardrails.protects(&facts);
        facts
    });
    Ok(facts.collect())
}

fn run_facts(request: &BackupRequest, inventory: &Inventory, asked: &[CollectionFacts], history: &History) -> RunFacts {
    // Totals describe the whole cluster, also when only some of its collections were asked for.
    let totals = if asked.len() == inventory.collections.len() {
        totals(asked)
    } else {
        let known = |entry: &CollectionEntry| HostKnowledge {
            last_backup: history.last_backup(&entry.name),
            ..HostKnowledge::default()
        };
        let all = inventory.collections.iter().map(|entry| collection_facts(entry, known(entry)));
        totals(&all.collect::<Vec<_>>())
    };
    RunFacts {
        kind: match request.backup_type {
            BackupType::Cluster => RunKind::Cluster,
            BackupType::Collection => RunKind::Collection,
        },
        trigger: match request.creation_method {
            CreationMethod::Manual => RunTrigger::Manual,
            CreationMethod::Auto => RunTrigger::Automatic,
        },
        cluster_id: request.cluster.id.clone(),
        cluster_name: request.cluster.name.clone(),
        project_id: request.cluster.project_id.clone(),
        home_region: request.cluster.home_region.clone(),
        time: request.time,
        seed: request.seed,
        next_run: None,
        month_spend_micros: 0,
        month_budget_micros: None,
        totals,
        extra: Vec::new(),
    }
}

async fn ask_selection(
    policy: &RunPolicy,
    run: &RunFacts,
    facts: Vec<CollectionFacts>,
    asked: &mut Vec<DecisionRecord>,
) -> Result<(SelectionPlan, Vec<CollectionFacts>), EngineError> {
    let (policy, run) = (policy.clone(), run.clone());
    let (plan, facts, calls) = blocking("asking the selection policies", move || {
        let mut calls = Vec::new();
        let plan = policy.set.select_noting(&run, &facts, &policy.guardrails, &mut calls);
        Ok((plan, facts, calls))
    })
    .await?;
    asked.extend(calls);
    Ok((plan?, facts))
}

fn refuse_nothing(
    inventory: &Inventory,
    selected: &[(CollectionFacts, Decision<Selected>)],
    excluded: &[Decision<Selected>],
) -> Result<(), EngineError> {
    if !selected.is_empty() || inventory.collections.is_empty() {
        return Ok(());
    }
    let why = excluded.first().map_or_else(
        || "no collection was asked for".to_owned(),
        |first| {
            let (by, reason) = (&first.decided_by.member, &first.value.reason.message);
            format!("the selection policies left all {} collections out, {by} said: {reason}", excluded.len())
        },
    );
    Err(EngineError::NothingToBackUp { why })
}

/// What the vault of each region holds.
async fn look_at_storage(policy: &RunPolicy, vaults: &RegionVaults) -> Vec<RegionStorage> {
    let mut storage = Vec::with_capacity(policy.regions.len());
    for region in &policy.regions {
        let stored = vaults.stored_by_day(&region.id).await;
        storage.push(RegionStorage { region: region.clone(), stored: stored.ok() });
    }
    storage
}

async fn region_offers(home: &RegionId, storage: &[RegionStorage], vaults: &RegionVaults) -> Vec<RegionOffer> {
    let mut offers = Vec::with_capacity(storage.len());
    for one in storage {
        let region = &one.region;
        let answers = one.stored.is_some() && vaults.check_one(&region.id).await.is_ok();
        let health = if answers { RegionHealth::Healthy } else { RegionHealth::Unreachable };
        offers.push(RegionOffer {
            id: region.id.clone(),
            provider: region.provider.clone(),
            jurisdiction: region.jurisdiction.clone(),
            home: region.id == *home,
            storage_price_micros_per_gb_month: region.storage_price_micros_per_gb_month,
            transfer_price_micros_per_gb: region.transfer_price_micros_per_gb,
            health,
            used_bytes: one.used_bytes(),
            extra: Vec::new(),
        });
    }
    offers
}

struct Decided {
    choices: Vec<Decision<CodecChoice>>,
    places: Vec<Decision<Placed>>,
    rows: Vec<ExplainRow>,
    usage: Vec<Usage>,
}

/// The streams as a compression policy is asked about them. The default policy does not look at what a stream tells about
/// its collection, and thousands of them are not told for nothing.
fn streams_to_ask(policy: &RunPolicy, facts: &[CollectionFacts], sampled: &[SampledCollection]) -> Vec<StreamFacts> {
    let standard = policies::standard_digest();
    let is_told = |member: &Member| member.plugin.digest() != standard || member.shadow.is_some();
    let told = policy.set.members(PolicyKind::Compression).any(is_told);
    let of = |(facts, sampled): (&CollectionFacts, &SampledCollection)| -> Vec<StreamFacts> {
        let streams = sampled.streams.iter().cloned();
        if told { streams.map(|stream| stream.telling_about(facts)).collect() } else { streams.collect() }
    };
    facts.iter().zip(sampled).flat_map(of).collect()
}

async fn ask_streams_and_places(
    policy: &RunPolicy,
    run: &RunFacts,
    facts: &[CollectionFacts],
    sampled: &[SampledCollection],
    (offers, history): (Vec<RegionOffer>, &History),
    asked: &mut Vec<DecisionRecord>,
) -> Result<Decided, EngineError> {
    let (policy, run) = (policy.clone(), run.clone());
    let streams = streams_to_ask(&policy, facts, sampled);
    let of_placement = |facts: &CollectionFacts| CollectionFacts {
        previous_reason_code: history.reason_code(PolicyKind::Placement, &facts.name),
        ..facts.clone()
    };
    let facts: Vec<CollectionFacts> = facts.iter().map(of_placement).collect();
    let (decided, calls) = blocking("asking the compression and placement policies", move || {
        let (mut calls, mut of_placement) = (Vec::new(), Vec::new());
        // Neither kind is told what the other one answers.
        let (compression, placement) = std::thread::scope(|scope| {
            let place = || policy.set.place_noting(&run, &facts, &offers, &policy.guardrails, &mut of_placement);
            let placing = scope.spawn(place);
            (policy.set.choose_noting(&run, &streams, &mut calls), placing.join())
        });
        calls.append(&mut of_placement);
        let stopped = |_| EngineError::Internal { what: "asking the placement policies did not end well".to_owned() };
        let decided = both_decided(compression, placement.map_err(stopped)?, &mut calls);
        Ok((decided, calls))
    })
    .await?;
    asked.extend(calls);
    Ok(decided?)
}

/// The answers of both kinds, if both have some; their calls go to `calls`.
fn both_decided(
    compression: Result<CompressionPlan, PolicyError>,
    placement: Result<PlacementPlan, PolicyError>,
    calls: &mut Vec<DecisionRecord>,
) -> Result<Decided, PolicyError> {
    let mut rows = Vec::new();
    let compression = compression.map(|plan| {
        rows.extend(explain(&plan));
        calls.extend(plan.records);
        (plan.decisions, plan.usage)
    });
    let placement = placement.map(|plan| {
        rows.extend(explain(&plan));
        calls.extend(plan.records);
        (plan.decisions, plan.usage)
    });
    let ((choices, mut usage), (places, more)) = (compression?, placement?);
    usage.extend(more);
    Ok(Decided { choices, places, rows, usage })
}

/// Asks the candidates beside the members that decided, last of all: nothing waits for them.
async fn ask_shadows(
    policy: &RunPolicy,
    records: Vec<DecisionRecord>,
) -> Result<(Vec<DecisionRecord>, Vec<ShadowOutcome>), EngineError> {
    if !policy.set.has_shadows() {
        return Ok((records, Vec::new()));
    }
    let set = Arc::clone(&policy.set);
    blocking("asking candidates", move || {
        let shadows = set.ask_shadows(&records);
        Ok((records, shadows))
    })
    .await
}

fn assemble(
    inventory: &Inventory,
    facts: Vec<CollectionFacts>,
    selected: Vec<Decision<Selected>>,
    sampled: Vec<SampledCollection>,
    choices: Vec<Decision<CodecChoice>>,
    places: Vec<Decision<Placed>>,
) -> Result<Vec<PlannedCollection>, EngineError> {
    let entries: BTreeMap<_, _> = inventory.collections.iter().map(|entry| (&entry.name, entry)).collect();
    let mut choices = choices.into_iter();
    let mut planned = Vec::with_capacity(facts.len());
    for (((facts, selected), sampled), placed) in facts.into_iter().zip(selected).zip(sampled).zip(places) {
        let streams: Vec<PlannedStream> = sampled
            .streams
            .into_iter()
            .zip(choices.by_ref())
            .map(|(facts, choice)| PlannedStream { facts, choice })
            .collect();
        let entry = entries.get(&facts.name).ok_or_else(|| EngineError::Internal {
            what: format!("collection {} got lost while it was planned", facts.name),
        })?;
        let entry = (*entry).clone();
        let point = KeptPoint::new(sampled.point);
        planned.push(PlannedCollection { entry, facts, selected, streams, placed, point });
    }
    Ok(planned)
}
