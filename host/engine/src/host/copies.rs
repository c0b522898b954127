//! Copies in other regions: what there is of a backup, and what goes before it.
//!
//! Order when a copy goes: the tombstone in its region's vault, then the catalog's note. A host that dies in between does
//! both again. Parts of the backup that its placement put into that region are not touched: the root at home names them.

use longshore_catalog::{Catalog, CopyRow, JobFilter, Page as CatalogPage};
use longshore_model::{BackupId, JobStatus, JobType, RegionId, Timestamp};
use longshore_vault::Withdrawal;
use serde_json::json;

use super::Host;
use crate::EngineError;
use crate::access::{Principal, Role};
use crate::jobs::JobRequest;
use crate::views::{CopyState, CopyView};

/// Copies, and jobs of one backup, that are read in one go.
const PAGE: u32 = 500;

/// The copies of a backup, in order of region, as their newest jobs left them.
pub(super) fn of(
    catalog: &dyn Catalog,
    backup: &BackupId,
    expires: Option<Timestamp>,
) -> Result<Vec<CopyView>, EngineError> {
    let filter = JobFilter { backup: Some(backup.clone()), job_type: Some(JobType::Copy), ..JobFilter::default() };
    let jobs = catalog.list_jobs(&filter, CatalogPage { size: PAGE, current: 1 })?.items;
    let expiring = catalog.copies_of(backup)?;
    let mut copies: Vec<CopyView> = Vec::new();
    // Newest first.
    for job in jobs {
        let JobRequest::Copy { to, .. } = JobRequest::from_value(&job.request)? else { continue };
        if copies.iter().any(|copy| copy.region_id == to) {
            continue;
        }
        let row = expiring.iter().find(|row| row.region == to);
        let state = match job.status {
            _ if row.is_some_and(|row| row.withdrawn.is_some()) => CopyState::Expired,
            JobStatus::Successful => CopyState::Available,
            JobStatus::Failed | JobStatus::Canceled => CopyState::Failed,
            JobStatus::Pending | JobStatus::InProgress | JobStatus::Canceling => CopyState::Creating,
        };
        let expire_time = row.map(|row| row.expires).or(expires);
        let reason = job.reason.unwrap_or_default();
        copies.push(CopyView { region_id: to, state, expire_time, job_id: job.id, reason });
    }
    copies.sort_by(|one, other| one.region_id.cmp(&other.region_id));
    Ok(copies)
}

/// What changes in the detail of a backup whose copy was withdrawn.
fn withdrawn(region: &RegionId, now: Timestamp) -> serde_json::Value {
    json!({ "copied": { region.as_str(): null }, "stored": { region.as_str(): { "until": now } } })
}

impl Host {
    /// Withdraws copies whose time is over from the vaults of their regions; their bytes go with the next prune. Answers
    /// which. One that cannot be withdrawn now is tried again the next time, and does not keep the others.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub async fn expire_copies(&self) -> Result<Vec<(BackupId, RegionId)>, EngineError> {
        let expired = self.catalog("listing copies", |catalog, now| Ok(catalog.expired_copies(now, PAGE)?)).await?;
        let mut withdrawn = Vec::new();
        for copy in expired {
            self.inner.stop.check()?;
            let outcome = self.withdraw_copy(&copy).await;
            let actor = format!("expiry, the copy in {} expired at {}", copy.region, copy.expires);
            let who = Principal::host(actor, Role::ProjectAdmin);
            self.audit(&who, "copy.delete", copy.backup.as_str(), &outcome).await;
            match outcome {
                Ok(()) => withdrawn.push((copy.backup, copy.region)),
                Err(error) => {
                    tracing::warn!(backup = %copy.backup, region = %copy.region, %error, "an expired copy was not withdrawn; the next look tries again");
                }
            }
        }
        Ok(withdrawn)
    }

    async fn withdraw_copy(&self, copy: &CopyRow) -> Result<(), EngineError> {
        let withdrawal = Withdrawal { time: self.inner.clock.now(), by: "expiry".to_owned(), job_id: None };
        let vault = self.inner.vaults.get(&copy.region)?;
        vault.withdraw_backup(&copy.backup, &withdrawal).await.map_err(EngineError::vault(&copy.region))?;
        let (copy, detail) = (copy.clone(), withdrawn(&copy.region, self.inner.clock.now()));
        self.catalog("noting a deletion", move |catalog, now| {
            Ok(catalog.mark_copy_withdrawn(&copy.backup, &copy.region, &detail, now)?)
        })
        .await
    }
}
