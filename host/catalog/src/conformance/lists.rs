//! Lists: filters, order, pages.

use longshore_model::{BackupStatus, BackupType, ClusterId, CreationMethod, JobStatus, JobType, KeyScope, ProjectId};

use super::sample::*;
use super::{Check, Verdict, holds, invalid, same, some};
use crate::{AuditEntry, BackupFilter, Catalog, ClusterFilter, JobFilter, Page};
use CreationMethod::{Auto, Manual};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "backups are listed newest first, failed and deleted ones on request", run: backups },
    Check { name: "each filter of backups leaves out what it must", run: backup_filters },
    Check { name: "jobs are listed newest first and filtered", run: jobs },
    Check { name: "a scope shows what is within it, in every list", run: scopes },
    Check { name: "pages cover a list without gap or overlap", run: pages },
    Check { name: "clusters and projects are listed in order", run: clusters },
];

/// 1 failed, 2 deleted, 3 available of cluster 1; 4 automatic of cluster 3 in project 2; 5 being made of cluster 2;
/// 6 found elsewhere (a COLLECTION backup).
fn fill(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    failed(catalog, 1, 1, 100)?;
    available(catalog, 2, 1, 200)?;
    catalog.mark_backup_deleted(&backup(2), at(210))?;
    available(catalog, 3, 1, 300)?;
    made(catalog, 4, 3, Auto, 400)?;
    create(catalog, 5, 2, Manual, 500)?;
    catalog.record_backup(&found(6, 9, "old")?)?;
    Ok(())
}

fn listed(catalog: &dyn Catalog, filter: &BackupFilter, expected: &[u16]) -> Verdict {
    let list = catalog.list_backups(filter, Page::default())?;
    let ids: Vec<_> = list.items.iter().map(|row| row.id.clone()).collect();
    let expected: Vec<_> = expected.iter().map(|number| backup(*number)).collect();
    same("count", list.count, expected.len() as u64)?;
    same(&format!("{filter:?}"), ids, expected)?;
    let detailed = catalog.list_backup_details(filter, Page::default())?;
    same("count with details", detailed.count, list.count)?;
    for ((row, detail), plain) in detailed.items.iter().zip(&list.items) {
        same("row with its detail", row, plain)?;
        let record = some("the backup", catalog.get_backup(&row.id)?)?;
        same("detail", detail, &record.detail)?;
    }
    same("rows with details", detailed.items.len(), list.items.len())
}

fn backups(catalog: &dyn Catalog) -> Verdict {
    fill(catalog)?;
    listed(catalog, &BackupFilter::default(), &[5, 4, 3, 6])?;
    let with = |statuses: &[BackupStatus]| BackupFilter { statuses: Some(statuses.to_vec()), ..Default::default() };
    listed(catalog, &with(&[BackupStatus::Failed]), &[1])?;
    listed(catalog, &with(&[BackupStatus::Deleted, BackupStatus::Failed]), &[2, 1])?;
    listed(catalog, &with(&[]), &[])
}

fn backup_filters(catalog: &dyn Catalog) -> Verdict {
    fill(catalog)?;
    let all = BackupFilter::default();
    listed(catalog, &BackupFilter { project: Some(project(2)?), ..all.clone() }, &[4])?;
    listed(catalog, &BackupFilter { cluster: Some(cluster(1)), ..all.clone() }, &[3])?;
    listed(catalog, &BackupFilter { creation_method: Some(Auto), ..all.clone() }, &[4])?;
    listed(catalog, &BackupFilter { backup_type: Some(BackupType::Collection), ..all.clone() }, &[6])?;
    listed(catalog, &BackupFilter { start: Some(at(300)), end: Some(at(400)), ..all.clone() }, &[4, 3])?;
    listed(catalog, &BackupFilter { start: Some(at(301)), end: Some(at(399)), ..all.clone() }, &[])?;
    listed(catalog, &BackupFilter { expired_at: Some(at(999_999)), ..all.clone() }, &[])?;
    listed(catalog, &BackupFilter { expired_at: Some(at(1_000_000)), ..all.clone() }, &[4])?;
    listed(catalog, &BackupFilter { dropped_at: Some(at(700)), ..all.clone() }, &[])?;
    catalog.drop_cluster(&cluster(1), at(600))?;
    listed(catalog, &BackupFilter { dropped_at: Some(at(599)), ..all.clone() }, &[])?;
    listed(catalog, &BackupFilter { dropped_at: Some(at(600)), ..all.clone() }, &[3])?;
    listed(catalog, &BackupFilter { project: Some(project(1)?), creation_method: Some(Auto), ..all }, &[])
}

fn jobs(catalog: &dyn Catalog) -> Verdict {
    fill(catalog)?;
    catalog.create_job(&new_job(7, JobType::Restore, 1, 3)?, at(500))?;
    let listed = |filter: JobFilter, expected: &[u16]| -> Verdict {
        let list = catalog.list_jobs(&filter, Page::default())?;
        let ids: Vec<_> = list.items.iter().map(|row| row.id.clone()).collect();
        let expected: Vec<_> = expected.iter().map(|number| job(*number)).collect();
        same("count", list.count, expected.len() as u64)?;
        same(&format!("{filter:?}"), ids, expected)
    };
    let all = JobFilter::default();
    listed(all.clone(), &[7, 5, 4, 3, 2, 1])?;
    listed(JobFilter { project: Some(project(2)?), ..all.clone() }, &[4])?;
    listed(JobFilter { cluster: Some(cluster(1)), ..all.clone() }, &[7, 3, 2, 1])?;
    listed(JobFilter { backup: Some(backup(3)), ..all.clone() }, &[7, 3])?;
    listed(JobFilter { job_type: Some(JobType::Restore), ..all.clone() }, &[7])?;
    listed(JobFilter { statuses: Some(vec![JobStatus::Pending, JobStatus::InProgress]), ..all.clone() }, &[7, 5])?;
    listed(JobFilter { statuses: Some(Vec::new()), ..all }, &[])
}

/// Cluster 3 is in project 2, all others in project 1.
fn scopes(catalog: &dyn Catalog) -> Verdict {
    fill(catalog)?;
    catalog.create_job(&new_job(7, JobType::Restore, 1, 3)?, at(500))?;
    let subjects = [
        cluster(1).to_string(),
        backup(4).to_string(),
        job(5).to_string(),
        project(2)?.to_string(),
        "configuration".to_owned(),
        cluster(77).to_string(),
    ];
    for subject in subjects {
        let (actor, action, outcome) = ("k1".to_owned(), "tried".to_owned(), "ok".to_owned());
        catalog.append_audit(&AuditEntry { time: at(0), actor, action, subject, outcome })?;
    }
    let none: [ProjectId; 0] = [];
    within(catalog, &KeyScope::All, &[5, 4, 3, 6], &[7, 5, 4, 3, 2, 1], &[1, 2, 3], 6)?;
    within(catalog, &KeyScope::of([project(2)?], []), &[4], &[4], &[3], 2)?;
    within(catalog, &KeyScope::of([project(1)?], []), &[5, 3, 6], &[7, 5, 3, 2, 1], &[1, 2], 2)?;
    within(catalog, &KeyScope::of(none.clone(), [cluster(1)]), &[3], &[7, 3, 2, 1], &[1], 1)?;
    within(catalog, &KeyScope::of([project(2)?], [cluster(2)]), &[5, 4], &[5, 4], &[2, 3], 3)?;
    // Of a cluster that was never registered here.
    within(catalog, &KeyScope::of(none, [cluster(9)]), &[6], &[], &[], 0)?;
    let nothing =
        KeyScope::Only { projects: std::collections::BTreeSet::new(), clusters: std::collections::BTreeSet::new() };
    within(catalog, &nothing, &[], &[], &[], 0)?;
    // A filter narrows a scope and never widens it.
    let filter =
        BackupFilter { scope: KeyScope::of([project(2)?], []), cluster: Some(cluster(1)), ..BackupFilter::default() };
    listed(catalog, &filter, &[])
}

fn within(
    catalog: &dyn Catalog,
    scope: &KeyScope,
    backups: &[u16],
    jobs: &[u16],
    clusters: &[u8],
    audit: u64,
) -> Verdict {
    listed(catalog, &BackupFilter { scope: scope.clone(), ..BackupFilter::default() }, backups)?;
    let list = catalog.list_jobs(&JobFilter { scope: scope.clone(), ..JobFilter::default() }, Page::default())?;
    let ids: Vec<_> = list.items.iter().map(|row| row.id.clone()).collect();
    same(&format!("jobs within {scope}"), ids, jobs.iter().map(|number| job(*number)).collect())?;
    same("count", list.count, jobs.len() as u64)?;
    let filter = ClusterFilter { scope: scope.clone(), ..ClusterFilter::default() };
    let list = catalog.list_clusters(&filter, Page::default())?;
    let ids: Vec<ClusterId> = list.items.into_iter().map(|row| row.cluster.id).collect();
    same(&format!("clusters within {scope}"), ids, clusters.iter().map(|number| cluster(*number)).collect())?;
    let list = catalog.list_audit(scope, Page::default())?;
    same(&format!("audit log within {scope}"), (list.count, list.items.len() as u64), (audit, audit))
}

fn pages(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    for number in 1..=7 {
        // All at the same moment: the order must not depend on the page.
        catalog.record_backup(&found(number, 1, "x")?)?;
    }
    let mut seen = Vec::new();
    for current in 1..=4 {
        let list = catalog.list_backups(&BackupFilter::default(), Page { size: 3, current })?;
        same("count", list.count, 7)?;
        holds(list.items.len() <= 3, "a page has at most its size")?;
        seen.extend(list.items.into_iter().map(|row| row.id));
    }
    seen.sort();
    same("all pages", seen, (1..=7).map(backup).collect())?;
    let far = Page { size: 1, current: u32::MAX };
    same("far beyond the end", catalog.list_backups(&BackupFilter::default(), far)?.items.len(), 0)?;
    for page in [Page { size: 0, current: 1 }, Page { size: 1, current: 0 }, Page { size: u32::MAX, current: 1 }] {
        invalid("backups", catalog.list_backups(&BackupFilter::default(), page))?;
        invalid("jobs", catalog.list_jobs(&JobFilter::default(), page))?;
        invalid("clusters", catalog.list_clusters(&ClusterFilter::default(), page))?;
        invalid("audit log", catalog.list_audit(&KeyScope::All, page))?;
    }
    Ok(())
}

fn clusters(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    catalog.drop_cluster(&cluster(1), at(9))?;
    let listed = |filter: &ClusterFilter, expected: &[u8]| -> Verdict {
        let list = catalog.list_clusters(filter, Page::default())?;
        same("count", list.count, expected.len() as u64)?;
        let ids: Vec<_> = list.items.into_iter().map(|row| row.cluster.id).collect();
        same(&format!("{filter:?}"), ids, expected.iter().map(|number| cluster(*number)).collect())
    };
    listed(&ClusterFilter::default(), &[2, 3])?;
    listed(&ClusterFilter { include_dropped: true, ..ClusterFilter::default() }, &[1, 2, 3])?;
    listed(&ClusterFilter { project: Some(project(2)?), ..ClusterFilter::default() }, &[3])?;
    let ids: Vec<_> = catalog.list_projects()?.into_iter().map(|row| row.id).collect();
    same("projects", ids, vec![project(1)?, project(2)?])
}
