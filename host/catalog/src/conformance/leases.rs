//! Claims, leases, fencing.

use longshore_model::{BackupStatus, CreationMethod, JobStatus, JobType, Phase, Progress};

use super::sample::*;
use super::{Broken, Check, Verdict, holds, invalid, refused, same, some};
use crate::{Catalog, CatalogError};
use CreationMethod::Manual;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "jobs are claimed oldest first, each once", run: order },
    Check { name: "restores are claimed first, but pass nobody over for ever", run: priority },
    Check { name: "a lease holds until the millisecond it lapses", run: lapse },
    Check { name: "renewing keeps a job", run: renew },
    Check { name: "a worker that lost its job can write nothing", run: fenced },
    Check { name: "what a host left behind can be claimed at its next start", run: release },
    Check { name: "of many workers each job goes to one", run: race },
    Check { name: "a lease has bounds", run: bounds },
    Check { name: "a job that is put back waits for its time, and keeps what it was to do", run: retry },
    Check { name: "what cannot be put back is not, and a canceled job is not tried again", run: no_retry },
];

fn order(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 3, 3, Manual, 5)?;
    create(catalog, 2, 2, Manual, 10)?;
    create(catalog, 1, 1, Manual, 10)?;
    for (number, owner) in [(3, "a"), (2, "b"), (1, "a")] {
        let claimed = some("a job", catalog.claim_job(owner, None, at(20), LEASE_MS)?)?;
        same("which", &claimed.id, &job(number))?;
        same("state", claimed.status, JobStatus::InProgress)?;
        same("token and attempt", (claimed.fencing_token, claimed.attempt), (1, 1))?;
        same("owner", claimed.lease_owner.as_deref(), Some(owner))?;
        same("lease", claimed.lease_until, Some(at(20 + LEASE_MS)))?;
        same("start", claimed.started, Some(at(20)))?;
        same("read again", some("job", catalog.get_job(&job(number))?)?, claimed)?;
    }
    same("nothing left", catalog.claim_job("a", None, at(21), LEASE_MS)?, None)
}

fn priority(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let wait = crate::Limits::DEFAULT.passed_over_ms;
    available(catalog, 1, 1, 0)?;
    create(catalog, 2, 2, Manual, 1_000)?;
    create(catalog, 3, 3, Manual, 2_000)?;
    catalog.create_job(&new_job(4, JobType::Restore, 1, 1)?, at(3_000))?;
    catalog.create_job(&new_job(5, JobType::Restore, 1, 1)?, at(4_000))?;
    let claimed = |now: i64| Ok::<_, Broken>(some("a job", catalog.claim_job("a", None, at(now), 2 * wait)?)?.id);
    same("the oldest restore", claimed(5_000)?, job(4))?;
    same("a job that has waited long enough", claimed(1_000 + wait)?, job(2))?;
    same("the next restore", claimed(1_001 + wait)?, job(5))?;
    catalog.create_job(&new_job(6, JobType::Restore, 1, 1)?, at(1_003 + wait))?;
    let only = |now: i64| catalog.claim_job("a", Some(JobType::Restore), at(now), 2 * wait);
    same("restores alone, however long others wait", some("a job", only(2_000 + 2 * wait)?)?.id, job(6))?;
    same("no other for a worker of restores", only(2_001 + 2 * wait)?, None)?;
    same("what is left", claimed(2_002 + 2 * wait)?, job(3))
}

fn lapse(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    catalog.claim_job("a", None, at(0), 100)?;
    same("before", catalog.claim_job("b", None, at(99), 100)?, None)?;
    let expected = CatalogError::JobLeased { job: job(1), owner: "a".to_owned(), until: at(100) };
    refused("before", catalog.claim(&job(1), "b", at(99), 100), &expected)?;
    refused("even its owner", catalog.claim(&job(1), "a", at(99), 100), &expected)?;
    let claimed = some("a lapsed job", catalog.claim_job("b", None, at(100), 100)?)?;
    same("token and attempt", (claimed.fencing_token, claimed.attempt), (2, 2))?;
    same("owner", claimed.lease_owner.as_deref(), Some("b"))?;
    same("first start stays", claimed.started, Some(at(0)))?;
    let claimed = catalog.claim(&job(1), "c", at(200), 100)?;
    same("token", claimed.fencing_token, 3)?;
    let expected = CatalogError::JobNotFound { job: job(9) };
    refused("an unknown job", catalog.claim(&job(9), "c", at(200), 100), &expected)
}

fn renew(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(0), 100)?;
    catalog.renew_lease(&job(1), held.fencing_token, at(90), 100)?;
    same("after the first lease", catalog.claim_job("b", None, at(150), 100)?, None)?;
    // Late, but nobody took it: the work is not lost.
    catalog.renew_lease(&job(1), held.fencing_token, at(500), 100)?;
    same("after a late renewal", catalog.claim_job("b", None, at(599), 100)?, None)?;
    same("token", some("job", catalog.get_job(&job(1))?)?.fencing_token, held.fencing_token)
}

/// Every write of a job with a token that is not the current one, and what it answers.
fn writes(catalog: &dyn Catalog, token: u64) -> [Result<(), CatalogError>; 4] {
    let progress = Progress { phase: Phase::Commit, ..Progress::default() };
    [
        catalog.renew_lease(&job(1), token, at(300), LEASE_MS).map(|_| ()),
        catalog.set_progress(&job(1), token, &progress).map(|_| ()),
        catalog.finish_job(&job(1), token, &successful(Some(outcome())), at(300)).map(|_| ()),
        catalog.finish_job(&job(1), token, &unsuccessful(JobStatus::Failed), at(300)).map(|_| ()),
    ]
}

fn fenced(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let (_, waiting) = create(catalog, 1, 1, Manual, 0)?;
    let check = |token: u64, current: u64| -> Verdict {
        let before = some("job", catalog.get_job(&job(1))?)?;
        let expected = CatalogError::Fenced { job: job(1), token, current };
        for answer in writes(catalog, token) {
            refused("a write of somebody who does not hold the job", answer, &expected)?;
        }
        same("the job", some("job", catalog.get_job(&job(1))?)?, before)
    };
    // Nobody holds a waiting job, not even with its token.
    check(waiting.fencing_token, 0)?;
    check(1, 0)?;
    let first = catalog.claim(&job(1), "a", at(1), 100)?;
    check(0, 1)?;
    check(2, 1)?;
    let second = catalog.claim(&job(1), "b", at(101), LEASE_MS)?;
    check(first.fencing_token, 2)?;
    status_of(catalog, 1, BackupStatus::Creating)?;
    catalog.finish_job(&job(1), second.fencing_token, &successful(Some(outcome())), at(400))?;
    check(first.fencing_token, 2)?;
    status_of(catalog, 1, BackupStatus::Available)?;
    let expected = CatalogError::JobNotFound { job: job(9) };
    refused("an unknown job", catalog.renew_lease(&job(9), 1, at(500), LEASE_MS), &expected)
}

fn release(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    for number in [1, 2, 3] {
        create(catalog, number, u8::try_from(number).unwrap_or_default(), Manual, 0)?;
    }
    let held = catalog.claim(&job(1), "host-a", at(1), LEASE_MS)?;
    catalog.claim(&job(2), "host-b", at(1), LEASE_MS)?;
    let done = catalog.claim(&job(3), "host-a", at(1), LEASE_MS)?;
    catalog.finish_job(&job(3), done.fencing_token, &unsuccessful(JobStatus::Failed), at(2))?;
    same("how many", catalog.release_leases_of("host-a")?, 1)?;
    let claimed = some("the released job", catalog.claim_job("host-a", None, at(3), LEASE_MS)?)?;
    same("which", &claimed.id, &job(1))?;
    same("no other", catalog.claim_job("host-a", None, at(3), LEASE_MS)?, None)?;
    let expected = CatalogError::Fenced { job: job(1), token: held.fencing_token, current: 2 };
    refused("the worker from before", catalog.renew_lease(&job(1), held.fencing_token, at(4), LEASE_MS), &expected)?;
    same("of a stranger", catalog.release_leases_of("host-z")?, 0)
}

fn race(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    for number in [1, 2, 3] {
        create(catalog, number, u8::try_from(number).unwrap_or_default(), Manual, 0)?;
    }
    let claims: Vec<_> = std::thread::scope(|scope| {
        let worker = |n: usize| move || catalog.claim_job(&format!("worker-{n}"), None, at(1), LEASE_MS);
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(worker(n))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| Broken("a call panicked".to_owned()))).collect()
    });
    let mut ids = Vec::new();
    for claim in claims {
        ids.extend(claim??.map(|job| job.id));
    }
    ids.sort();
    same("claimed", ids, vec![job(1), job(2), job(3)])
}

fn bounds(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    for lease_ms in [0, -1, i64::MIN, i64::MAX] {
        invalid("claim_job", catalog.claim_job("a", None, at(0), lease_ms))?;
        invalid("claim", catalog.claim(&job(1), "a", at(0), lease_ms))?;
        invalid("renew_lease", catalog.renew_lease(&job(1), 0, at(0), lease_ms))?;
    }
    same("the job", some("job", catalog.get_job(&job(1))?)?.status, JobStatus::Pending)
}

fn retry(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    catalog.create_job(&new_job(2, JobType::Copy, 1, 1)?, at(10))?;
    let first = some("job", catalog.claim_job("a", None, at(11), LEASE_MS)?)?;
    let waiting = catalog.retry_job(&job(2), first.fencing_token, "the vault is away", at(500), at(20))?;
    let seen = (waiting.status, waiting.retries, waiting.not_before, waiting.reason.as_deref(), waiting.ended);
    same("put back", seen, (JobStatus::Pending, 1, Some(at(500)), Some("the vault is away"), None))?;
    same("its lease", (waiting.lease_owner, waiting.lease_until), (None, None))?;
    // Whoever put it back holds it no more.
    let expected = CatalogError::Fenced { job: job(2), token: first.fencing_token, current: first.fencing_token };
    refused("a late end", catalog.finish_job(&job(2), first.fencing_token, &successful(None), at(30)), &expected)?;
    same("before its time", catalog.claim_job("a", None, at(499), LEASE_MS)?, None)?;
    // What it uses stays meanwhile.
    let expected = CatalogError::BackupBusy { backup: backup(1), job: job(2) };
    refused("deleting what it uses", catalog.mark_backup_deleted(&backup(1), at(40)), &expected)?;
    let again = some("job", catalog.claim_job("b", None, at(500), LEASE_MS)?)?;
    same("again", (again.id.clone(), again.attempt, again.retries, again.not_before), (job(2), 2, 1, None))?;
    same("what it is to do", again.request, first.request)?;
    holds(again.fencing_token > first.fencing_token, "a token is given out once")?;
    let ended = catalog.finish_job(&job(2), again.fencing_token, &successful(None), at(600))?;
    same("ended", (ended.status, ended.retries, ended.reason), (JobStatus::Successful, 1, None))
}

fn no_retry(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, CreationMethod::Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    invalid("a backup job", catalog.retry_job(&job(1), held.fencing_token, "why", at(9), at(2)))?;
    catalog.finish_job(&job(1), held.fencing_token, &successful(Some(outcome())), at(3))?;
    catalog.create_job(&new_job(2, JobType::Copy, 1, 1)?, at(10))?;
    let expected = CatalogError::Fenced { job: job(2), token: 0, current: 0 };
    refused("one that nobody holds", catalog.retry_job(&job(2), 0, "why", at(9), at(11)), &expected)?;
    let held = catalog.claim(&job(2), "a", at(11), LEASE_MS)?;
    invalid("without a reason", catalog.retry_job(&job(2), held.fencing_token, "", at(9), at(12)))?;
    catalog.cancel_job(&job(2), at(13))?;
    let ended = catalog.retry_job(&job(2), held.fencing_token, "why", at(90), at(14))?;
    same("canceled", (ended.status, ended.ended, ended.not_before), (JobStatus::Canceled, Some(at(14)), None))?;
    catalog.create_job(&new_job(3, JobType::Copy, 1, 1)?, at(20))?;
    let held = catalog.claim(&job(3), "a", at(21), LEASE_MS)?;
    catalog.retry_job(&job(3), held.fencing_token, "why", at(90), at(22))?;
    let canceled = catalog.cancel_job(&job(3), at(23))?;
    same("canceled while it waits", (canceled.status, canceled.not_before), (JobStatus::Canceled, None))
}
