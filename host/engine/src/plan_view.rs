//! A plan as a table: what goes in, where, in how many bytes and for how much a month.
//!
//! Pure. Sizes are measured, stored bytes are estimates by the ratios of the host's sample
//! ([`longshore_policy::Estimates`]) before deduplication; added bytes are those of them that are new where the last backup of
//! the collection lies, and all of them elsewhere. What is equal to the bytes of another collection is not foreseen. Money is
//! in millionths of the currency unit of the configured prices.

use std::collections::BTreeMap;

use longshore_model::{ClusterId, Codec, CollectionName, FileClass, PolicyKind, RegionId, StreamFacts};
use longshore_policy::{
    Decision, ExplainRow, Override, ShadowOutcome, added_stream_bytes, monthly_cost_micros, stored_stream_bytes,
    transfer_cost_micros,
};
use serde::Serialize;

use crate::costs::month_estimate_micros;
use crate::plan::{BackupPlan, PlannedCollection};

/// A plan as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Which cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: String,
    /// Its region.
    pub home_region: RegionId,
    /// Every collection, those that go in before those that are left out, each in order of name.
    pub collections: Vec<PlanRow>,
    /// Every region that gets something.
    pub regions: Vec<PlanRegion>,
    /// All of it.
    pub totals: PlanTotals,
    /// What the project costs this month, as the policies were told; `None` where nothing has a price or a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<PlanMonth>,
    /// Every decision with its reason.
    pub decisions: Vec<ExplainRow>,
    /// What candidates would have decided otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowOutcome>,
}

/// What is planned for one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRow {
    /// Which one.
    pub collection: CollectionName,
    /// It goes in.
    pub included: bool,
    /// The operator protects it.
    pub protected: bool,
    /// Region of its main backup; `None` if it is left out.
    pub region: Option<RegionId>,
    /// Regions of further copies.
    pub copies: Vec<RegionId>,
    /// Days to keep it; `None`: as the schedule says, or for ever.
    pub retention_days: Option<u32>,
    /// Codec of each class of its files.
    pub codecs: BTreeMap<FileClass, String>,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Of these, bytes that no earlier backup holds.
    pub new_bytes: u64,
    /// What all of it takes in all vaults together, estimated.
    pub stored_bytes: u64,
    /// Of these, bytes that come there with this backup.
    pub added_bytes: u64,
    /// What keeping it costs a month, all copies together.
    pub monthly_cost_micros: u64,
    /// What moving it out of the home region costs, once.
    pub transfer_cost_micros: u64,
    /// Why it goes in or not, where it goes, and how it is compressed.
    pub reasons: Vec<PlanReason>,
}

/// Why something was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReason {
    /// Which kind of decision.
    pub kind: PolicyKind,
    /// Which class of files, for compression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<FileClass>,
    /// Code of the reason.
    pub code: String,
    /// The reason as a sentence.
    pub message: String,
    /// The member that said so.
    pub decided_by: String,
    /// The guardrail that changed the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
}

/// What a region gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRegion {
    /// Which region.
    pub region: RegionId,
    /// It is the cluster's own.
    pub home: bool,
    /// Collections whose main backup it holds.
    pub collections: u64,
    /// Collections of which it holds a copy.
    pub copies: u64,
    /// Bytes that are kept there, estimated.
    pub stored_bytes: u64,
    /// Of these, bytes that come there with this backup.
    pub added_bytes: u64,
    /// What keeping them costs a month.
    pub monthly_cost_micros: u64,
}

/// What keeping the backups of a project costs, in millionths of the currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanMonth {
    /// This month until now.
    pub spend_micros: u64,
    /// A whole month of what is stored now.
    pub estimate_micros: u64,
    /// What a month may cost, if there is a budget.
    pub budget_micros: Option<u64>,
}

impl PlanMonth {
    fn of(plan: &BackupPlan) -> Option<Self> {
        let run = &plan.run;
        let month = Self {
            spend_micros: run.month_spend_micros,
            estimate_micros: month_estimate_micros(&plan.storage),
            budget_micros: run.month_budget_micros,
        };
        let free = plan.storage.iter().all(|one| one.region.storage_price_micros_per_gb_month == 0);
        (!free || month.budget_micros.is_some()).then_some(month)
    }
}

/// Sums over a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanTotals {
    /// Collections that go in.
    pub included: u64,
    /// Collections that are left out.
    pub excluded: u64,
    /// Bytes of the files that go in.
    pub size_bytes: u64,
    /// Of these, bytes that no earlier backup holds.
    pub new_bytes: u64,
    /// What all regions together keep, estimated.
    pub stored_bytes: u64,
    /// Of these, bytes that come there with this backup.
    pub added_bytes: u64,
    /// What keeping it costs a month.
    pub monthly_cost_micros: u64,
    /// What moving it costs, once.
    pub transfer_cost_micros: u64,
}

impl PlanView {
    /// The table of a plan.
    #[must_use]
    pub fn of(plan: &BackupPlan) -> Self {
        let mut regions = BTreeMap::new();
        let mut totals = PlanTotals::default();
        let mut collections: Vec<PlanRow> =
            plan.collections.iter().map(|planned| included(plan, planned, &mut regions, &mut totals)).collect();
        totals.excluded = plan.excluded.len() as u64;
        collections.extend(plan.excluded.iter().map(|decision| excluded(plan, decision)));
        Self {
            cluster_id: plan.request.cluster.id.clone(),
            cluster_name: plan.request.cluster.name.clone(),
            home_region: plan.request.cluster.home_region.clone(),
            collections,
            regions: regions.into_values().collect(),
            totals,
            month: PlanMonth::of(plan),
            decisions: plan.rows.clone(),
            shadows: plan.shadows.clone(),
        }
    }
}

fn reason<T>(kind: PolicyKind, decision: &Decision<T>, reason: &longshore_model::Reason) -> PlanReason {
    PlanReason {
        kind,
        class: decision.class,
        code: reason.code.clone(),
        message: reason.message.clone(),
        decided_by: decision.decided_by.member.clone(),
        guardrail: decision.overridden.as_ref().map(|Override { rule, .. }| rule.clone()),
    }
}

fn included(
    plan: &BackupPlan,
    planned: &PlannedCollection,
    regions: &mut BTreeMap<RegionId, PlanRegion>,
    totals: &mut PlanTotals,
) -> PlanRow {
    let placed = &planned.placed.value;
    let sum = |of: fn(&StreamFacts, Codec) -> u64| {
        let bytes = planned.streams.iter().map(|stream| of(&stream.facts, stream.choice.value.codec));
        bytes.fold(0, u64::saturating_add)
    };
    let (stored_once, new_once) = (sum(stored_stream_bytes), sum(added_stream_bytes));
    let last_regions = planned.facts.last_backup.as_ref().map_or(&[][..], |last| &last.regions);
    let mut row = PlanRow {
        collection: planned.facts.name.clone(),
        included: true,
        protected: planned.facts.protected,
        region: Some(placed.region.clone()),
        copies: Vec::new(),
        retention_days: placed.retention_days,
        codecs: planned.streams.iter().map(|one| (one.facts.class, one.choice.value.codec.to_string())).collect(),
        size_bytes: planned.streams.iter().map(|stream| stream.facts.size_bytes).sum(),
        new_bytes: planned.streams.iter().map(|stream| stream.facts.new_bytes).sum(),
        stored_bytes: 0,
        added_bytes: 0,
        monthly_cost_micros: 0,
        transfer_cost_micros: 0,
        reasons: vec![
            reason(PolicyKind::Selection, &planned.selected, &planned.selected.value.reason),
            reason(PolicyKind::Placement, &planned.placed, &placed.reason),
        ],
    };
    for stream in &planned.streams {
        row.reasons.push(reason(PolicyKind::Compression, &stream.choice, &stream.choice.value.reason));
    }
    for copy in placed.copies.iter().map(|copy| &copy.region).chain(&plan.request.copies) {
        if *copy != placed.region && !row.copies.contains(copy) {
            row.copies.push(copy.clone());
        }
    }
    for (place, id) in std::iter::once(&placed.region).chain(&row.copies).enumerate() {
        let offer = plan.regions.iter().find(|offer| offer.id == *id);
        let monthly = offer.map_or(0, |offer| monthly_cost_micros(stored_once, offer));
        row.monthly_cost_micros = row.monthly_cost_micros.saturating_add(monthly);
        let added = if last_regions.contains(id) { new_once } else { stored_once };
        row.stored_bytes = row.stored_bytes.saturating_add(stored_once);
        row.added_bytes = row.added_bytes.saturating_add(added);
        let transfer = offer.map_or(0, |offer| transfer_cost_micros(added, offer));
        row.transfer_cost_micros = row.transfer_cost_micros.saturating_add(transfer);
        let region = regions.entry(id.clone()).or_insert_with(|| PlanRegion {
            region: id.clone(),
            home: *id == plan.request.cluster.home_region,
            collections: 0,
            copies: 0,
            stored_bytes: 0,
            added_bytes: 0,
            monthly_cost_micros: 0,
        });
        *(if place == 0 { &mut region.collections } else { &mut region.copies }) += 1;
        region.stored_bytes = region.stored_bytes.saturating_add(stored_once);
        region.added_bytes = region.added_bytes.saturating_add(added);
        region.monthly_cost_micros = region.monthly_cost_micros.saturating_add(monthly);
    }
    totals.included += 1;
    totals.size_bytes = totals.size_bytes.saturating_add(row.size_bytes);
    totals.new_bytes = totals.new_bytes.saturating_add(row.new_bytes);
    totals.stored_bytes = totals.stored_bytes.saturating_add(row.stored_bytes);
    totals.added_bytes = totals.added_bytes.saturating_add(row.added_bytes);
    totals.monthly_cost_micros = totals.monthly_cost_micros.saturating_add(row.monthly_cost_micros);
    totals.transfer_cost_micros = totals.transfer_cost_micros.saturating_add(row.transfer_cost_micros);
    row
}

fn excluded(plan: &BackupPlan, decision: &Decision<longshore_model::Selected>) -> PlanRow {
    let entry = plan.inventory.collections.iter().find(|entry| entry.name == decision.collection);
    PlanRow {
        collection: decision.collection.clone(),
        included: false,
        protected: false,
        region: None,
        copies: Vec::new(),
        retention_days: None,
        codecs: BTreeMap::new(),
        size_bytes: entry.map_or(0, |entry| entry.size_bytes.total()),
        new_bytes: 0,
        stored_bytes: 0,
        added_bytes: 0,
        monthly_cost_micros: 0,
        transfer_cost_micros: 0,
        reasons: vec![reason(PolicyKind::Selection, decision, &decision.value.reason)],
    }
}
