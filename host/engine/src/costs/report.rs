//! What backups cost, in lines by day or month, region, cluster and backup: `GET /v2/costs` and `longshore costs`.
//!
//! Contract: sums over all lines of a region are what policies are told of it ([`super::RunCosts`]). A filter or a scope
//! leaves lines out and changes none. Bytes on days on which a vault held no backup that the catalog knows are a line without
//! a cluster. Failure: a region whose vault does not answer is named; its days that were noted count.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use longshore_catalog::{BackupFilter, BackupRow, Catalog};
use longshore_model::{BackupId, BackupStatus, ClusterId, KeyScope, ProjectId, RegionId, Timestamp};
use longshore_vault::StoredByDay;
use serde::Serialize;

use super::shares::{Kept, StoredPart, day_of, share_out};
use super::{Month, PARTS, RegionStorage, SEEN, SeenBytes, begin_of, micros};
use crate::EngineError;
use crate::catalog_calls::every;
use crate::config::HostConfig;
use crate::jobs::BackupDetail;
use crate::vaults::RegionVaults;

/// Longest span of a report, in days.
const SPAN_DAYS: i64 = 366;
/// Backups that are read in one go.
const PAGE: u32 = 1_000;

/// Which costs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CostQuery {
    /// Only those of this project.
    pub project_id: Option<ProjectId>,
    /// Only those of this cluster.
    pub cluster_id: Option<ClusterId>,
    /// Only those of this region.
    pub region_id: Option<RegionId>,
    /// From the day of this time on; the first of this month when `None`.
    pub start: Option<Timestamp>,
    /// Until the day of this time; today when `None` or later.
    pub end: Option<Timestamp>,
    /// What a line is about.
    pub group_by: CostGroup,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostGroup {
    /// One day.
    pub day: bool,
    /// One month.
    pub month: bool,
    /// One region.
    pub region: bool,
    /// One cluster.
    pub cluster: bool,
    /// One backup.
    pub backup: bool,
}

impl Default for CostGroup {
    /// By day and region.
    fn default() -> Self {
        Self { day: true, month: false, region: true, cluster: false, backup: false }
    }
}

impl FromStr for CostGroup {
    type Err = String;

    /// Words with commas between: `region,cluster`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut group = Self { day: false, month: false, region: false, cluster: false, backup: false };
        for word in text.split(',') {
            match word {
                "day" => group.day = true,
                "month" => group.month = true,
                "region" => group.region = true,
                "cluster" => group.cluster = true,
                "backup" => group.backup = true,
                _ => {
                    let expected = "any of day, month, region, cluster and backup, separated by commas";
                    return Err(format!("`{}` is not {expected}", text.chars().take(80).collect::<String>()));
                }
            }
        }
        Ok(group)
    }
}

impl fmt::Display for CostGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.day, "day"),
            (self.month, "month"),
            (self.region, "region"),
            (self.cluster, "cluster"),
            (self.backup, "backup"),
        ];
        let words: Vec<&str> = words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word).collect();
        f.write_str(&words.join(","))
    }
}

/// What something cost. What a line is not about is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostLine {
    /// `2026-09-10`.
    pub day: Option<String>,
    /// `2026-09`.
    pub month: Option<String>,
    /// Where.
    pub region_id: Option<RegionId>,
    /// Whose; also `None` for bytes that are no cluster's.
    pub cluster_id: Option<ClusterId>,
    /// Its name at its latest backup.
    pub cluster_name: Option<String>,
    /// Which backup; also `None` for bytes that are no backup's.
    pub backup_id: Option<BackupId>,
    /// Its name.
    pub backup_name: Option<String>,
    /// Bytes times the days for which they were kept.
    pub stored_byte_days: u64,
    /// What keeping them cost, in millionths of the currency unit.
    pub storage_cost_micros: u64,
    /// Bytes that were moved into the region.
    pub transferred_bytes: u64,
    /// What moving them cost.
    pub transfer_cost_micros: u64,
    /// Both.
    pub cost_micros: u64,
}

/// What backups cost in a span of days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostReport {
    /// Begin of the first day.
    pub start: Timestamp,
    /// Last second of the last day.
    pub end: Timestamp,
    /// The lines, in order of day, month, region, cluster and backup.
    pub costs: Vec<CostLine>,
    /// What keeping backups cost, over all lines.
    pub storage_cost_micros: u64,
    /// What moving them cost.
    pub transfer_cost_micros: u64,
    /// Regions whose vault does not answer, and whose costs are therefore told too low.
    pub unknown_regions: Vec<RegionId>,
}

/// What the vaults of a configuration hold now.
pub(crate) async fn read_storage(config: &HostConfig, vaults: &RegionVaults) -> Vec<RegionStorage> {
    let mut storage = Vec::with_capacity(config.regions.len());
    for region in &config.regions {
        let stored = match vaults.stored_by_day(&region.id).await {
            Ok(stored) => Some(stored),
            // Its vault was never made.
            Err(EngineError::NotFound { .. }) => Some(StoredByDay::default()),
            Err(_) => None,
        };
        storage.push(RegionStorage { region: region.region(), stored });
    }
    storage
}

/// What backups cost, as far as `scope` reaches. For commands beside a host; a host has [`crate::Host::costs`].
///
/// # Errors
/// [`EngineError::BadRequest`] for a span of more than a year, [`EngineError::Catalog`].
pub async fn cost_report(
    config: &HostConfig,
    vaults: &RegionVaults,
    catalog: &dyn Catalog,
    (query, scope): (&CostQuery, &KeyScope),
    now: Timestamp,
) -> Result<CostReport, EngineError> {
    let storage = read_storage(config, vaults).await;
    report(&config.project.id, &storage, catalog, (query, scope), now)
}

/// The same for what vaults were found to hold.
pub(crate) fn report(
    project: &ProjectId,
    storage: &[RegionStorage],
    catalog: &dyn Catalog,
    (query, scope): (&CostQuery, &KeyScope),
    now: Timestamp,
) -> Result<CostReport, EngineError> {
    let today = day_of(now);
    let first = query.start.map_or(Month::of(now).first, day_of);
    let last = query.end.map_or(today, day_of).min(today);
    if last - first >= SPAN_DAYS {
        let what =
            format!("costs are told for at most {SPAN_DAYS} days at once; ask for a later start or an earlier end");
        return Err(EngineError::BadRequest { what });
    }
    let seen = SeenBytes::from_value(catalog.get_setting(SEEN.key)?.as_ref())?;
    let backups = Backups::read(catalog, project, last)?;
    let wanted = Wanted { query, scope, project };
    let mut sums = Sums { group: query.group_by, lines: BTreeMap::new() };
    for one in storage.iter().filter(|one| query.region_id.as_ref().is_none_or(|region| *region == one.region.id)) {
        let region = &one.region.id;
        let kept = backups.by_region.get(region).map_or(&[][..], Vec::as_slice);
        for day in first..=last {
            let held = seen.held(one, day, today);
            let shares = share_out(kept, day, held.bytes);
            if shares.is_empty() && held.bytes > 0 && wanted.nobodys() {
                let storage = (u128::from(held.bytes), held.parts());
                sums.add((day, region, None, None), Amount { storage, ..Amount::default() });
            }
            for (place, bytes) in shares {
                let Some(one) = kept.get(place).filter(|one| wanted.wants(&one.cluster)) else { continue };
                let storage = (bytes, held.parts_of(bytes));
                let about = (day, region, Some(&one.cluster), Some(&one.backup));
                sums.add(about, Amount { storage, ..Amount::default() });
            }
        }
    }
    for moved in backups.moved.iter().filter(|moved| (first..=last).contains(&moved.day)) {
        let of_region = query.region_id.as_ref().is_none_or(|region| *region == moved.region);
        if of_region && wanted.wants(&moved.cluster) {
            let transfer = (u128::from(moved.bytes), u128::from(moved.micros) * PARTS);
            let about = (moved.day, &moved.region, Some(&moved.cluster), Some(&moved.backup));
            sums.add(about, Amount { transfer, ..Amount::default() });
        }
    }
    let unknown = storage.iter().filter(|one| one.stored.is_none()).map(|one| one.region.id.clone()).collect();
    Ok(sums.report(&backups, (first, last), unknown))
}

/// What somebody wants and may see.
struct Wanted<'a> {
    query: &'a CostQuery,
    scope: &'a KeyScope,
    project: &'a ProjectId,
}

impl Wanted<'_> {
    fn of_project(&self) -> bool {
        self.query.project_id.as_ref().is_none_or(|project| project == self.project)
    }

    fn wants(&self, cluster: &ClusterId) -> bool {
        let filter = self.query.cluster_id.as_ref().is_none_or(|wanted| wanted == cluster);
        self.of_project() && filter && self.scope.includes(self.project, Some(cluster))
    }

    /// Whether bytes that are no cluster's are wanted.
    fn nobodys(&self) -> bool {
        self.of_project() && self.query.cluster_id.is_none() && self.scope.has_project(self.project)
    }
}

/// Bytes that came into a region that is not the home region.
struct Moved {
    day: i64,
    region: RegionId,
    cluster: ClusterId,
    backup: BackupId,
    bytes: u64,
    micros: u64,
}

/// What the catalog knows of the project's backups.
#[derive(Default)]
struct Backups {
    by_region: BTreeMap<RegionId, Vec<Kept>>,
    moved: Vec<Moved>,
    /// Names of backups.
    names: BTreeMap<BackupId, String>,
    /// Names of clusters at their latest backup.
    clusters: BTreeMap<ClusterId, String>,
}

impl Backups {
    /// Reads what was made until a day.
    fn read(catalog: &dyn Catalog, project: &ProjectId, last: i64) -> Result<Self, EngineError> {
        let filter = BackupFilter {
            project: Some(project.clone()),
            statuses: Some(vec![BackupStatus::Available, BackupStatus::Deleted]),
            end: Some(Timestamp::from_millis(begin_of(last.saturating_add(1)).as_millis() - 1)),
            ..BackupFilter::default()
        };
        let mut backups = Self::default();
        for (row, detail) in every(PAGE, |page| catalog.list_backup_details(&filter, page))? {
            backups.add(row, &BackupDetail::from_value(&detail));
        }
        Ok(backups)
    }

    /// Newest first.
    fn add(&mut self, row: BackupRow, detail: &BackupDetail) {
        for (region, part) in &detail.stored {
            let StoredPart { bytes, since, until, transfer_micros } = part;
            let ended = [*until, row.deleted].into_iter().flatten().min();
            self.by_region.entry(region.clone()).or_default().push(Kept {
                backup: row.id.clone(),
                cluster: row.cluster.clone(),
                added: *bytes,
                size: row.size_bytes,
                first: day_of(*since),
                last: ended.map(day_of),
            });
            if *region != row.region {
                self.moved.push(Moved {
                    day: day_of(*since),
                    region: region.clone(),
                    cluster: row.cluster.clone(),
                    backup: row.id.clone(),
                    bytes: *bytes,
                    micros: *transfer_micros,
                });
            }
        }
        self.clusters.entry(row.cluster).or_insert(row.cluster_name);
        self.names.insert(row.id, row.name);
    }
}

/// Bytes and what they cost, in [`PARTS`].
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    storage: (u128, u128),
    transfer: (u128, u128),
}

type Key = (Option<i64>, Option<String>, Option<RegionId>, Option<ClusterId>, Option<BackupId>);

/// Amounts by line.
struct Sums {
    group: CostGroup,
    lines: BTreeMap<Key, Amount>,
}

impl Sums {
    fn add(
        &mut self,
        (day, region, cluster, backup): (i64, &RegionId, Option<&ClusterId>, Option<&BackupId>),
        amount: Amount,
    ) {
        let group = self.group;
        let key = (
            group.day.then_some(day),
            group.month.then(|| date(day).get(..7).unwrap_or_default().to_owned()),
            group.region.then(|| region.clone()),
            cluster.filter(|_| group.cluster).cloned(),
            backup.filter(|_| group.backup).cloned(),
        );
        let sum = self.lines.entry(key).or_default();
        sum.storage.0 += amount.storage.0;
        sum.storage.1 += amount.storage.1;
        sum.transfer.0 += amount.transfer.0;
        sum.transfer.1 += amount.transfer.1;
    }

    fn report(self, backups: &Backups, (first, last): (i64, i64), unknown_regions: Vec<RegionId>) -> CostReport {
        let storage = self.lines.values().map(|amount| amount.storage.1).sum();
        let transfer = self.lines.values().map(|amount| amount.transfer.1).sum();
        let costs = self.lines.into_iter().map(|(key, amount)| line(backups, key, amount)).collect();
        CostReport {
            start: begin_of(first),
            end: Timestamp::from_millis(begin_of(last.saturating_add(1)).as_millis() - 1_000),
            costs,
            storage_cost_micros: micros(storage),
            transfer_cost_micros: micros(transfer),
            unknown_regions,
        }
    }
}

fn line(backups: &Backups, (day, month, region_id, cluster_id, backup_id): Key, amount: Amount) -> CostLine {
    let bytes = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    CostLine {
        day: day.map(date),
        month,
        region_id,
        cluster_name: cluster_id.as_ref().and_then(|id| backups.clusters.get(id).cloned()),
        cluster_id,
        backup_name: backup_id.as_ref().and_then(|id| backups.names.get(id).cloned()),
        backup_id,
        stored_byte_days: bytes(amount.storage.0),
        storage_cost_micros: micros(amount.storage.1),
        transferred_bytes: bytes(amount.transfer.0),
        transfer_cost_micros: micros(amount.transfer.1),
        cost_micros: micros(amount.storage.1 + amount.transfer.1),
    }
}

/// `2026-09-10`.
fn date(day: i64) -> String {
    let time = begin_of(day).to_string();
    time.get(..10).unwrap_or_default().to_owned()
}
