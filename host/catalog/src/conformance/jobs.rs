//! The job rules (`crate::Catalog::create_backup`).

use longshore_model::{BackupStatus, CreationMethod, JobStatus, JobType};
use serde_json::json;

use super::sample::*;
use super::{Broken, Check, Verdict, holds, invalid, refused, same, some};
use crate::{BackupFilter, Catalog, CatalogError, JobFilter, Page};
use CreationMethod::{Auto, Manual};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "a backup and its job appear together", run: together },
    Check { name: "a manual backup waits for a manual one until that one has ended", run: manual_manual },
    Check { name: "a manual backup is refused while an automatic one is active", run: manual_automatic },
    Check { name: "an automatic backup starts beside a manual one but not beside an automatic one", run: automatic },
    Check { name: "another cluster and other kinds of job do not hold the slot", run: bystanders },
    Check { name: "a refused backup leaves nothing behind and uses up no name", run: refusal_is_clean },
    Check { name: "numbers in names are never used twice", run: names },
    Check { name: "of many callers at the same moment one gets the slot", run: race },
    Check { name: "nothing is made for a cluster that is unknown or dropped", run: unknown_cluster },
    Check { name: "jobs only use backups that are AVAILABLE", run: usable },
];

fn together(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let (row, made) = create(catalog, 1, 1, Auto, 10)?;
    same("name", row.name.as_str(), "Dedicated-01_backup1")?;
    same("home region", &row.region, &region()?)?;
    same("project", &row.project, &project(1)?)?;
    same("state", row.status, BackupStatus::Creating)?;
    same("expiry", row.expires, Some(at(1_000_000)))?;
    same("times", (row.created, row.ended), (at(10), None))?;
    same("state of the job", made.status, JobStatus::Pending)?;
    same("type of the job", made.job_type, JobType::Backup)?;
    same("what the job is about", (made.cluster.as_ref(), made.backup.as_ref()), (Some(&row.cluster), Some(&row.id)))?;
    same("request", &made.request, &json!({ "number": 1 }))?;
    same("token and attempt", (made.fencing_token, made.attempt), (0, 0))?;
    same("the backup read again", some("backup", catalog.get_backup(&backup(1))?)?.backup, row)?;
    same("the job read again", some("job", catalog.get_job(&job(1))?)?, made)
}

fn manual_manual(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let taken = || CatalogError::ManualBackupActive { cluster: cluster(1), job: job(1) };
    create(catalog, 1, 1, Manual, 0)?;
    refused("beside a PENDING one", create(catalog, 2, 1, Manual, 1), &taken())?;
    let held = catalog.claim(&job(1), "a", at(2), LEASE_MS)?;
    refused("beside an IN_PROGRESS one", create(catalog, 2, 1, Manual, 3), &taken())?;
    catalog.cancel_job(&job(1), at(4))?;
    refused("beside a CANCELING one", create(catalog, 2, 1, Manual, 5), &taken())?;
    // A lapsed lease is no end: the job will be picked up.
    refused("beside one whose worker died", create(catalog, 2, 1, Manual, LEASE_MS * 10), &taken())?;
    catalog.finish_job(&job(1), held.fencing_token, &unsuccessful(JobStatus::Canceled), at(6))?;
    create(catalog, 2, 1, Manual, 7)?;
    let held = catalog.claim(&job(2), "a", at(8), LEASE_MS)?;
    catalog.finish_job(&job(2), held.fencing_token, &unsuccessful(JobStatus::Failed), at(9))?;
    create(catalog, 3, 1, Manual, 10)?;
    let held = catalog.claim(&job(3), "a", at(11), LEASE_MS)?;
    catalog.finish_job(&job(3), held.fencing_token, &successful(Some(outcome())), at(12))?;
    create(catalog, 4, 1, Manual, 13)?;
    catalog.cancel_job(&job(4), at(14))?;
    create(catalog, 5, 1, Manual, 15)?;
    Ok(())
}

fn manual_automatic(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Auto, 0)?;
    let taken = CatalogError::AutomaticBackupActive { cluster: cluster(1), job: job(1) };
    refused("beside a PENDING one", create(catalog, 2, 1, Manual, 1), &taken)?;
    let held = catalog.claim(&job(1), "a", at(2), LEASE_MS)?;
    refused("beside an IN_PROGRESS one", create(catalog, 2, 1, Manual, 3), &taken)?;
    catalog.finish_job(&job(1), held.fencing_token, &successful(Some(outcome())), at(4))?;
    create(catalog, 2, 1, Manual, 5)?;
    Ok(())
}

fn automatic(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    create(catalog, 2, 1, Auto, 1)?;
    let taken = CatalogError::AutomaticBackupActive { cluster: cluster(1), job: job(2) };
    refused("two automatic ones", create(catalog, 3, 1, Auto, 2), &taken)
}

fn bystanders(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    for (number, kind) in [(2, JobType::Copy), (3, JobType::Restore), (4, JobType::Verify)] {
        catalog.create_job(&new_job(number, kind, 1, 1)?, at(10))?;
    }
    create(catalog, 5, 2, Manual, 11)?;
    create(catalog, 6, 1, Manual, 12)?;
    Ok(())
}

fn refusal_is_clean(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    holds(create(catalog, 2, 1, Manual, 1).is_err(), "a second manual backup must be refused")?;
    // The backup is new, its job's id is not: neither may stay.
    let (new, mut its_job) = new_backup(3, 2, Manual);
    its_job.id = job(1);
    let exists = CatalogError::Exists { what: "job", id: job(1).to_string() };
    refused("a job id that is taken", catalog.create_backup(&new, &its_job, at(2)), &exists)?;
    let (new, its_job) = new_backup(1, 2, Manual);
    let exists = CatalogError::Exists { what: "backup", id: backup(1).to_string() };
    refused("a backup id that is taken", catalog.create_backup(&new, &its_job, at(2)), &exists)?;
    let (mut new, its_job) = new_backup(4, 2, Manual);
    new.expires = Some(at(9));
    invalid("a manual backup that expires", catalog.create_backup(&new, &its_job, at(2)))?;
    for number in [2, 3, 4] {
        same("a refused backup", catalog.get_backup(&backup(number))?, None)?;
    }
    same("jobs", catalog.list_jobs(&JobFilter::default(), Page::default())?.count, 1)?;
    same("backups", catalog.list_backups(&BackupFilter::default(), Page::default())?.count, 1)?;
    let (row, _) = create(catalog, 5, 2, Manual, 3)?;
    same("first name of a cluster whose earlier requests were refused", row.name.as_str(), "Dedicated-02_backup1")
}

fn names(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    failed(catalog, 2, 1, 10)?;
    catalog.mark_backup_deleted(&backup(1), at(20))?;
    catalog.mark_backup_deleted(&backup(2), at(20))?;
    let mut renamed = new_cluster(1)?;
    renamed.name = "Renamed".to_owned();
    catalog.put_cluster(&renamed, at(21))?;
    let third = available(catalog, 3, 1, 30)?;
    same("name after renaming the cluster", third.name.as_str(), "Renamed_backup3")?;
    same("an older name", status_of(catalog, 1, BackupStatus::Deleted)?.name.as_str(), "Dedicated-01_backup1")?;
    catalog.record_backup(&found(4, 1, "Dedicated-01_backup41")?)?;
    catalog.record_backup(&found(5, 1, "Dedicated-01_backup7")?)?;
    catalog.record_backup(&found(6, 1, "no number")?)?;
    same("name after one was found", available(catalog, 7, 1, 40)?.name.as_str(), "Renamed_backup42")
}

fn race(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8).map(|n| scope.spawn(move || create(catalog, n, 1, Manual, 0))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| Broken("a call panicked".to_owned()))).collect()
    });
    let mut winners = Vec::new();
    let mut blamed = Vec::new();
    for result in results {
        match result? {
            Ok((_, made)) => winners.push(made.id),
            Err(CatalogError::ManualBackupActive { job, .. }) => blamed.push(job),
            Err(other) => return Err(other.into()),
        }
    }
    same("winners", winners.len(), 1)?;
    holds(blamed.iter().all(|job| winners.contains(job)), "each refusal names the job that won")
}

fn unknown_cluster(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let missing = |number| CatalogError::ClusterNotFound { cluster: cluster(number) };
    refused("an unknown cluster", create(catalog, 1, 9, Manual, 0), &missing(9))?;
    catalog.drop_cluster(&cluster(2), at(1))?;
    refused("a dropped cluster", create(catalog, 1, 2, Manual, 2), &missing(2))
}

fn usable(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    failed(catalog, 2, 2, 0)?;
    available(catalog, 3, 2, 10)?;
    for (number, status) in [(1, BackupStatus::Creating), (2, BackupStatus::Failed)] {
        let expected = CatalogError::BackupNotAvailable { backup: backup(number), status };
        refused("restore", catalog.create_job(&new_job(9, JobType::Restore, 1, number)?, at(20)), &expected)?;
    }
    let expected = CatalogError::BackupNotFound { backup: backup(77) };
    refused("restore of nothing", catalog.create_job(&new_job(9, JobType::Restore, 1, 77)?, at(20)), &expected)?;
    invalid("a backup job alone", catalog.create_job(&new_job(9, JobType::Backup, 1, 3)?, at(20)))?;
    let mut homeless = new_job(9, JobType::Restore, 1, 3)?;
    homeless.project = project(8)?;
    let expected = CatalogError::ProjectNotFound { project: project(8)? };
    refused("a job of no project", catalog.create_job(&homeless, at(20)), &expected)?;
    let made = catalog.create_job(&new_job(9, JobType::Restore, 1, 3)?, at(20))?;
    same("state", made.status, JobStatus::Pending)?;
    let expected = CatalogError::Exists { what: "job", id: job(9).to_string() };
    refused("the same job again", catalog.create_job(&new_job(9, JobType::Restore, 1, 3)?, at(20)), &expected)
}
