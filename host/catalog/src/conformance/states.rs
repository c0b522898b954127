//! How jobs and backups end: finish, cancel, delete, drop, record.

use longshore_model::{
    BackupStatus, CollectionName, CollectionProgress, CreationMethod, JobStatus, JobType, Phase, Progress,
};
use serde_json::{Value, json};

use super::sample::*;
use super::{Broken, Check, Verdict, holds, invalid, refused, same, some};
use crate::{BackupFilter, BackupOutcome, Catalog, CatalogError, JobFilter, Page};
use CreationMethod::{Auto, Manual};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "a backup is renamed until it is deleted, and its number is not used again", run: renamed },
    Check { name: "a job ends together with its backup", run: finish },
    Check { name: "an end that makes no sense is refused and changes nothing", run: bad_ends },
    Check { name: "follow-ups start with the end of their job or not at all", run: follow_ups },
    Check { name: "copies that end side by side both leave their mark on the backup", run: marks },
    Check { name: "a job that waits is canceled at once, a running one when its worker says so", run: cancel },
    Check { name: "a backup is deleted once, and not while a job makes or uses it", run: delete },
    Check { name: "a dropped cluster keeps its backups and names its automatic ones", run: drop },
    Check { name: "a backup found elsewhere is recorded once", run: record },
    Check { name: "progress is kept and says when to stop", run: progress },
];

fn finish(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let row = available(catalog, 1, 1, 10)?;
    same("size and end", (row.size_bytes, row.ended), (4096, Some(at(11))))?;
    let record = some("backup", catalog.get_backup(&backup(1))?)?;
    same("collections", &record.collections, &outcome().collections)?;
    same("detail", &record.detail, &outcome().detail)?;
    let ended = some("job", catalog.get_job(&job(1))?)?;
    same("state", ended.status, JobStatus::Successful)?;
    same("result", &ended.result, &json!({ "rows": 7 }))?;
    same("phase", ended.progress.phase, Phase::Done)?;
    same("times", (ended.started, ended.ended), (Some(at(10)), Some(at(11))))?;
    same("lease", (ended.lease_owner, ended.lease_until), (None, None))?;
    let again = catalog.finish_job(&job(1), ended.fencing_token, &unsuccessful(JobStatus::Failed), at(12));
    let expected = CatalogError::JobEnded { job: job(1), status: JobStatus::Successful };
    refused("a second end", again, &expected)?;
    let row = failed(catalog, 2, 1, 20)?;
    same("error", row.error.as_deref(), Some("the disk is full"))?;
    let ended = some("job", catalog.get_job(&job(2))?)?;
    same("state and reason", (ended.status, ended.reason.as_deref()), (JobStatus::Failed, Some("the disk is full")))
}

fn bad_ends(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    let token = held.fencing_token;
    let mut silent = unsuccessful(JobStatus::Failed);
    silent.reason = None;
    let mut hopeful = unsuccessful(JobStatus::Failed);
    hopeful.follow_ups.push(new_job(2, JobType::Copy, 1, 1)?);
    let mut greedy = successful(Some(outcome()));
    greedy.follow_ups = (0..65).map(|n| new_job(10 + n, JobType::Copy, 1, 1)).collect::<Result<_, _>>()?;
    let mut running = successful(Some(outcome()));
    running.status = JobStatus::InProgress;
    let ends = [
        ("no end", running),
        ("a failure without reason", silent),
        ("a backup without outcome", successful(None)),
        ("follow-ups of a failure", hopeful),
        ("too many follow-ups", greedy),
    ];
    for (what, end) in ends {
        invalid(what, catalog.finish_job(&job(1), token, &end, at(2)))?;
    }
    same("the job", some("job", catalog.get_job(&job(1))?)?, held)?;
    status_of(catalog, 1, BackupStatus::Creating)?;
    same("jobs", catalog.list_jobs(&JobFilter::default(), Page::default())?.count, 1)
}

fn follow_ups(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    let mut end = successful(Some(outcome()));
    end.follow_ups = vec![new_job(2, JobType::Copy, 1, 1)?, new_job(1, JobType::Copy, 1, 1)?];
    let expected = CatalogError::Exists { what: "job", id: job(1).to_string() };
    refused("a follow-up whose id is taken", catalog.finish_job(&job(1), held.fencing_token, &end, at(2)), &expected)?;
    same("the other follow-up", catalog.get_job(&job(2))?, None)?;
    same("the job", some("job", catalog.get_job(&job(1))?)?, held.clone())?;
    status_of(catalog, 1, BackupStatus::Creating)?;
    end.follow_ups = vec![new_job(2, JobType::Copy, 1, 1)?, new_job(3, JobType::Copy, 1, 1)?];
    catalog.finish_job(&job(1), held.fencing_token, &end, at(3))?;
    for number in [2, 3] {
        let copy = some("follow-up", catalog.get_job(&job(number))?)?;
        same("follow-up", (copy.status, copy.created), (JobStatus::Pending, at(3)))?;
    }
    // Copies do not hold the slot of manual backups.
    create(catalog, 4, 1, Manual, 4)?;
    Ok(())
}

fn marks(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    for (number, region) in [(2, "eu"), (3, "us")] {
        catalog.create_job(&new_job(number, JobType::Copy, 1, 1)?, at(10))?;
        let held = catalog.claim(&job(number), "a", at(11), LEASE_MS)?;
        let detail = json!({ "copies": { region: { "bytes": number } }, "absent": null });
        let outcome = BackupOutcome { size_bytes: 1, collections: json!("ignored"), detail };
        catalog.finish_job(&job(number), held.fencing_token, &successful(Some(outcome)), at(12))?;
    }
    let record = some("backup", catalog.get_backup(&backup(1))?)?;
    let expected = json!({ "root": "abc", "copies": { "eu": { "bytes": 2 }, "us": { "bytes": 3 } } });
    same("detail", &record.detail, &expected)?;
    same("size", record.backup.size_bytes, 4096)?;
    same("collections", &record.collections, &outcome().collections)
}

fn cancel(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    same("a waiting one", catalog.cancel_job(&job(1), at(1))?.status, JobStatus::Canceled)?;
    let ended = some("job", catalog.get_job(&job(1))?)?;
    same("its end", (ended.ended, ended.reason.is_some()), (Some(at(1)), true))?;
    holds(status_of(catalog, 1, BackupStatus::Failed)?.error.is_some(), "its backup says why it failed")?;
    let expected = CatalogError::JobEnded { job: job(1), status: JobStatus::Canceled };
    refused("again", catalog.cancel_job(&job(1), at(2)), &expected)?;
    same("nothing to claim", catalog.claim_job("a", None, at(2), LEASE_MS)?, None)?;

    create(catalog, 2, 1, Manual, 3)?;
    let held = catalog.claim(&job(2), "a", at(4), LEASE_MS)?;
    same("a running one", catalog.cancel_job(&job(2), at(5))?.status, JobStatus::Canceling)?;
    same("asked again", catalog.cancel_job(&job(2), at(6))?.status, JobStatus::Canceling)?;
    let renewed = catalog.renew_lease(&job(2), held.fencing_token, at(7), LEASE_MS)?;
    same("what its worker hears", renewed, JobStatus::Canceling)?;
    let taken = catalog.claim(&job(2), "b", at(7 + LEASE_MS), LEASE_MS)?;
    same("state for the next worker", taken.status, JobStatus::Canceling)?;
    catalog.finish_job(&job(2), taken.fencing_token, &unsuccessful(JobStatus::Canceled), at(8))?;
    status_of(catalog, 2, BackupStatus::Failed)?;
    let expected = CatalogError::JobNotFound { job: job(9) };
    refused("an unknown one", catalog.cancel_job(&job(9), at(9)), &expected)
}

fn delete(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let busy = |by| CatalogError::BackupBusy { backup: backup(1), job: job(by) };
    refused("while CREATING", catalog.mark_backup_deleted(&backup(1), at(1)), &busy(1))?;
    invalid("purge before deletion", catalog.mark_backup_purged(&backup(1), at(1)))?;
    let held = catalog.claim(&job(1), "a", at(2), LEASE_MS)?;
    catalog.finish_job(&job(1), held.fencing_token, &successful(Some(outcome())), at(3))?;
    catalog.create_job(&new_job(2, JobType::Restore, 1, 1)?, at(4))?;
    refused("while a restore waits", catalog.mark_backup_deleted(&backup(1), at(5)), &busy(2))?;
    catalog.cancel_job(&job(2), at(6))?;
    let less = BackupOutcome { size_bytes: 1, collections: json!([]), detail: json!({ "less": true }) };
    catalog.replace_backup_content(&backup(1), &less)?;
    let row = some("a backup of which something was erased", catalog.get_backup(&backup(1))?)?;
    same("its content", (row.backup.size_bytes, &row.collections, &row.detail), (1, &less.collections, &less.detail))?;
    same("its state", row.backup.status, BackupStatus::Available)?;
    let expected = CatalogError::BackupNotFound { backup: backup(9) };
    refused("content of an unknown one", catalog.replace_backup_content(&backup(9), &less), &expected)?;
    let deleted = catalog.mark_backup_deleted(&backup(1), at(7))?;
    same("state", (deleted.status, deleted.deleted), (BackupStatus::Deleted, Some(at(7))))?;
    let expected = CatalogError::BackupAlreadyDeleted { backup: backup(1) };
    refused("again", catalog.mark_backup_deleted(&backup(1), at(8)), &expected)?;
    let expected = CatalogError::BackupNotAvailable { backup: backup(1), status: BackupStatus::Deleted };
    refused("restore", catalog.create_job(&new_job(3, JobType::Restore, 1, 1)?, at(9)), &expected)?;
    refused("content of a deleted one", catalog.replace_backup_content(&backup(1), &less), &expected)?;
    let to_purge =
        BackupFilter { statuses: Some(vec![BackupStatus::Deleted]), not_purged: true, ..BackupFilter::default() };
    same("to purge", catalog.list_backups(&to_purge, Page::default())?.count, 1)?;
    catalog.mark_backup_purged(&backup(1), at(10))?;
    catalog.mark_backup_purged(&backup(1), at(11))?;
    same("purged", status_of(catalog, 1, BackupStatus::Deleted)?.purged, Some(at(10)))?;
    same("to purge", catalog.list_backups(&to_purge, Page::default())?.count, 0)?;
    failed(catalog, 4, 1, 20)?;
    catalog.mark_backup_deleted(&backup(4), at(30))?;
    let expected = CatalogError::BackupNotFound { backup: backup(9) };
    refused("an unknown one", catalog.mark_backup_deleted(&backup(9), at(31)), &expected)?;
    refused("an unknown one", catalog.mark_backup_purged(&backup(9), at(31)), &expected)
}

fn drop(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    made(catalog, 2, 1, Auto, 10)?;
    made(catalog, 3, 1, Auto, 20)?;
    catalog.mark_backup_deleted(&backup(3), at(30))?;
    create(catalog, 4, 1, Auto, 40)?;
    let expected = CatalogError::ClusterBusy { cluster: cluster(1), job: job(4) };
    refused("while a job waits", catalog.drop_cluster(&cluster(1), at(41)), &expected)?;
    catalog.cancel_job(&job(4), at(42))?;
    let dropped = catalog.drop_cluster(&cluster(1), at(50))?;
    same("time", dropped.cluster.dropped, Some(at(50)))?;
    same("automatic backups", dropped.automatic_backups, vec![backup(2), backup(4)])?;
    status_of(catalog, 1, BackupStatus::Available)?;
    let filter = BackupFilter { creation_method: Some(Auto), dropped_at: Some(at(50)), ..BackupFilter::default() };
    let left: Vec<_> = catalog.list_backups(&filter, Page::default())?.items.into_iter().map(|row| row.id).collect();
    same("what a later start finds", left, vec![backup(2)])?;
    let expected = CatalogError::ClusterNotFound { cluster: cluster(1) };
    refused("again", catalog.drop_cluster(&cluster(1), at(51)), &expected)?;
    let back = catalog.put_cluster(&new_cluster(1)?, at(60))?;
    same("registered again", (back.dropped, back.created, back.backup_counter), (None, at(0), 4))
}

fn record(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let mut record = found(1, 200, "Elsewhere_backup3")?;
    same("first time", catalog.record_backup(&record)?, true)?;
    same("read again", some("backup", catalog.get_backup(&backup(1))?)?, record.clone())?;
    record.backup.size_bytes = 1;
    same("second time", catalog.record_backup(&record)?, false)?;
    same("size", status_of(catalog, 1, BackupStatus::Available)?.size_bytes, 99)?;
    // It can be used although its cluster is not registered, and stays deleted once it was.
    catalog.create_job(&new_job(2, JobType::Restore, 200, 1)?, at(10))?;
    catalog.cancel_job(&job(2), at(11))?;
    catalog.mark_backup_deleted(&backup(1), at(12))?;
    same("after deletion", catalog.record_backup(&record)?, false)?;
    status_of(catalog, 1, BackupStatus::Deleted)?;
    let mut unfinished = found(3, 1, "x")?;
    unfinished.backup.status = BackupStatus::Creating;
    invalid("one without an end", catalog.record_backup(&unfinished))?;
    let mut mortal = found(3, 1, "x")?;
    mortal.backup.expires = Some(at(9));
    invalid("a manual one that expires", catalog.record_backup(&mortal))?;
    let mut homeless = found(3, 1, "x")?;
    homeless.backup.project = project(8)?;
    let expected = CatalogError::ProjectNotFound { project: project(8)? };
    refused("one of no project", catalog.record_backup(&homeless), &expected)
}

fn progress(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    let name = CollectionName::new("", "docs").map_err(|error| Broken(error.to_string()))?;
    let progress = Progress {
        phase: Phase::Transfer,
        collections: vec![CollectionProgress { name, total_bytes: 10, done_bytes: 4 }],
        bytes_per_second: Some(7),
        remaining_seconds: Some(1),
        waiting_for: Some("a flush".to_owned()),
    };
    same("answer", catalog.set_progress(&job(1), held.fencing_token, &progress)?, JobStatus::InProgress)?;
    same("kept", &some("job", catalog.get_job(&job(1))?)?.progress, &progress)?;
    catalog.cancel_job(&job(1), at(2))?;
    same("answer", catalog.set_progress(&job(1), held.fencing_token, &progress)?, JobStatus::Canceling)?;
    catalog.finish_job(&job(1), held.fencing_token, &unsuccessful(JobStatus::Canceled), at(3))?;
    let ended = some("job", catalog.get_job(&job(1))?)?;
    same("a canceled job keeps how far it was", &ended.progress, &progress)?;
    same("result", ended.result, Value::Null)
}

fn renamed(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let expected = CatalogError::BackupNotFound { backup: backup(1) };
    refused("an unknown backup", catalog.rename_backup(&backup(1), "before-upgrade"), &expected)?;
    available(catalog, 1, 1, 0)?;
    same("renamed", catalog.rename_backup(&backup(1), "before-upgrade")?.name.as_str(), "before-upgrade")?;
    let (next, _) = create(catalog, 2, 1, longshore_model::CreationMethod::Manual, 10)?;
    same("the next one", next.name.as_str(), "Dedicated-01_backup2")?;
    catalog.mark_backup_deleted(&backup(1), at(20))?;
    let expected = CatalogError::BackupAlreadyDeleted { backup: backup(1) };
    refused("a deleted backup", catalog.rename_backup(&backup(1), "again"), &expected)
}
