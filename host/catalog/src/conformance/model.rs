//! Random histories, played to a catalog and to a model of it side by side.

use std::collections::BTreeSet;
use std::fmt::Debug;

use longshore_model::{BackupStatus, CreationMethod, JobStatus, JobType, Progress, Timestamp};

use super::predict::{CLUSTERS, Model, ModelJob, owner_name, short};
use super::sample::{self, at};
use super::steps::{Step, Token};
use super::{Broken, Verdict, holds, same, some};
use crate::{BackupFilter, Catalog, CatalogError, JobEnd, JobFilter, JobRow, NewJob, NewSchedule, Page};

/// How long a lease lasts, in milliseconds: about as long as a few `Step::Wait`.
const LEASE_MS: i64 = 2_000;

/// Number of workers.
const OWNERS: u8 = 3;

/// Plays a history to a catalog and to the model and compares every answer and, after each step, everything there is.
/// `open` opens the same storage each time, or an image of it as a power cut would leave it; it is empty at first.
///
/// # Errors
/// The first difference, with the step it was seen at.
pub fn replay(open: &mut dyn FnMut() -> Box<dyn Catalog>, steps: &[Step]) -> Verdict {
    let mut catalog = open();
    let mut model = Model::default();
    let mut now = at(0);
    catalog.put_project(&sample::project(1)?, "one", now)?;
    for cluster in 0..CLUSTERS {
        catalog.put_cluster(&sample::new_cluster(cluster)?, now)?;
    }
    for (index, step) in steps.iter().enumerate() {
        let located = |broken: Broken| Broken(format!("step {index}, {step:?}: {broken}"));
        match step {
            Step::Wait(time) => now = now.plus_millis(i64::from(*time) * 10),
            Step::Reopen => {
                // First the new one: an image of what is on disk must not hold what closing would tidy up.
                let reopened = open();
                drop(catalog);
                catalog = reopened;
            }
            _ => apply(&*catalog, &mut model, *step, now).map_err(located)?,
        }
        compare(&*catalog, &model).map_err(located)?;
    }
    Ok(())
}

/// A number modulo how many there are and one more, so that unknown ones are tried too.
fn pick(number: u8, count: usize) -> usize {
    usize::from(number) % (count + 1)
}

fn apply(catalog: &dyn Catalog, model: &mut Model, step: Step, now: Timestamp) -> Verdict {
    match step {
        Step::Wait(_) | Step::Reopen => Ok(()),
        Step::CreateBackup(cluster, method) => {
            let (backup, job) = (model.backups.len(), model.jobs.len());
            let (mut new, mut its_job) = sample::new_backup(short(backup), cluster % CLUSTERS, method);
            (new.id, its_job.id) = (sample::backup(short(backup)), sample::job(short(job)));
            let found = catalog.create_backup(&new, &its_job, now).map(|_| ());
            agree(found, model.create_backup(cluster % CLUSTERS, method, now))
        }
        Step::CreateRestore(backup) => {
            let backup = pick(backup, model.backups.len());
            let cluster = model.backups.get(backup).map_or(0, |backup| backup.cluster);
            let new = sample::new_job(short(model.jobs.len()), JobType::Restore, cluster, short(backup))?;
            agree(catalog.create_job(&new, now).map(|_| ()), model.create_restore(backup, now))
        }
        Step::ClaimNext(owner) => {
            let found = catalog.claim_job(&owner_name(owner % OWNERS), None, now, LEASE_MS)?.map(|job| job.id);
            let expected = model.claim_next(owner % OWNERS, now, LEASE_MS);
            same("claimed job", found, expected.map(|job| sample::job(short(job))))
        }
        Step::Claim(job, owner) => {
            let job = pick(job, model.jobs.len());
            let found = catalog.claim(&sample::job(short(job)), &owner_name(owner % OWNERS), now, LEASE_MS);
            agree(found.map(|_| ()), model.claim(job, owner % OWNERS, now, LEASE_MS))
        }
        Step::Renew(job, token) => with_token(model, job, token, |model, job, token| {
            let found = catalog.renew_lease(&sample::job(short(job)), token, now, LEASE_MS);
            agree(found, model.renew(job, token, now.plus_millis(LEASE_MS)))
        }),
        Step::Progress(job, token) => with_token(model, job, token, |model, job, token| {
            let found = catalog.set_progress(&sample::job(short(job)), token, &Progress::default());
            agree(found, model.progress(job, token))
        }),
        Step::Finish(job, token, status) => with_token(model, job, token, |model, job, token| {
            let copy = follow_up(model, job, status)?;
            let end = if status == JobStatus::Successful {
                JobEnd { follow_ups: copy.iter().cloned().collect(), ..sample::successful(Some(sample::outcome())) }
            } else {
                sample::unsuccessful(status)
            };
            let found = catalog.finish_job(&sample::job(short(job)), token, &end, now).map(|_| ());
            agree(found, model.finish(job, token, status, copy.is_some(), now))
        }),
        Step::Retry(job, token) => {
            let wait = now.plus_millis(i64::from(job) * 10);
            with_token(model, job, token, |model, job, token| {
                let found =
                    catalog.retry_job(&sample::job(short(job)), token, "try again", wait, now).map(|row| row.status);
                agree(found, model.retry(job, token, wait, now))
            })
        }
        Step::Schedule(cluster, due) => {
            let cluster = cluster % CLUSTERS;
            let due = (due > 0).then(|| now.plus_millis(i64::from(due - 1) * 10));
            let new = NewSchedule { cluster: sample::cluster(cluster), schedule: serde_json::json!(1), due };
            let expected = Some(model.revision(cluster)).filter(|revision| *revision > 0);
            let found = catalog.swap_schedule(&new, expected, now).map(|row| row.is_some());
            agree(found, model.set_schedule(cluster, due))
        }
        Step::StartScheduled(cluster, stale) => {
            let cluster = cluster % CLUSTERS;
            let (backup, job) = (model.backups.len(), model.jobs.len());
            let (mut new, mut its_job) = sample::new_backup(short(backup), cluster, CreationMethod::Auto);
            (new.id, its_job.id) = (sample::backup(short(backup)), sample::job(short(job)));
            let revision = model.revision(cluster).saturating_sub(u64::from(stale));
            let next = now.plus_millis(500);
            let found = catalog.start_scheduled_backup(revision, next, &new, &its_job, now);
            agree(found.map(|made| made.is_some()), model.start_scheduled(cluster, revision, next, now))
        }
        Step::Cancel(_) | Step::Delete(_) | Step::Release(_) | Step::Drop(_) | Step::Register(_) => {
            administer(catalog, model, step, now)
        }
    }
}

/// Every second backup that ends well is copied into another region by the job that follows. It comes with the end, or
/// neither is there; it does not hold the place of a backup, and what it uses stays.
fn follow_up(model: &Model, job: usize, status: JobStatus) -> Result<Option<NewJob>, Broken> {
    let ended = model.jobs.get(job).filter(|job| job.kind == JobType::Backup && job.backup % 2 == 0);
    let copied = ended.filter(|_| status == JobStatus::Successful);
    let copy = |of: &ModelJob| sample::new_job(short(model.jobs.len()), JobType::Copy, of.cluster, short(of.backup));
    copied.map(copy).transpose()
}

fn administer(catalog: &dyn Catalog, model: &mut Model, step: Step, now: Timestamp) -> Verdict {
    match step {
        Step::Cancel(job) => {
            let job = pick(job, model.jobs.len());
            agree(catalog.cancel_job(&sample::job(short(job)), now).map(|_| ()), model.cancel(job, now))
        }
        Step::Delete(backup) => {
            let backup = pick(backup, model.backups.len());
            let found = catalog.mark_backup_deleted(&sample::backup(short(backup)), now).map(|_| ());
            agree(found, model.delete(backup))
        }
        Step::Release(owner) => {
            same("released", catalog.release_leases_of(&owner_name(owner % OWNERS))?, model.release(owner % OWNERS))
        }
        Step::Drop(cluster) => {
            let found = catalog.drop_cluster(&sample::cluster(cluster % CLUSTERS), now).map(|_| ());
            agree(found, model.drop_cluster(cluster % CLUSTERS))
        }
        Step::Register(cluster) => {
            catalog.put_cluster(&sample::new_cluster(cluster % CLUSTERS)?, now)?;
            model.set_dropped(cluster % CLUSTERS, false);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn with_token(
    model: &mut Model,
    job: u8,
    token: Token,
    write: impl FnOnce(&mut Model, usize, u64) -> Verdict,
) -> Verdict {
    let job = pick(job, model.jobs.len());
    let current = model.jobs.get(job).map_or(0, |job| job.token);
    let token = match token {
        Token::Current => current,
        Token::Stale => current.saturating_sub(1),
        Token::Future => current + 1,
    };
    write(model, job, token)
}

fn agree<T: Debug + PartialEq>(found: Result<T, CatalogError>, expected: Result<T, CatalogError>) -> Verdict {
    same("answer", found, expected)
}

fn compare(catalog: &dyn Catalog, model: &Model) -> Verdict {
    for (number, expected) in model.backups.iter().enumerate() {
        let found = some("backup", catalog.get_backup(&sample::backup(short(number)))?)?.backup;
        same("state of a backup", found.status, expected.status)?;
        let name = format!("Dedicated-0{}_backup{}", expected.cluster, expected.name_number);
        same("name of a backup", found.name, name)?;
    }
    let everything = Page { size: 1_000, current: 1 };
    let jobs = catalog.list_jobs(&JobFilter::default(), everything)?;
    same("number of jobs", jobs.items.len(), model.jobs.len())?;
    for (number, expected) in model.jobs.iter().enumerate() {
        let found = some("job", jobs.items.iter().find(|job| job.id == sample::job(short(number))))?;
        same("what a job does", found.job_type, expected.kind)?;
        same("state of a job", found.status, expected.status)?;
        same("token", found.fencing_token, expected.token)?;
        same("attempt", u64::from(found.attempt), expected.token)?;
        let times = (found.created, found.started, found.ended);
        same("times of a job", times, (expected.created, expected.started, expected.ended))?;
        let lease = expected.lease.map(|(owner, until)| (owner_name(owner), until));
        same("retries", (found.retries, found.not_before), (expected.retries, expected.not_before))?;
        same("lease", found.lease_owner.clone().zip(found.lease_until), lease)?;
    }
    for (cluster, (revision, due)) in (0..CLUSTERS).zip(model.schedules) {
        let found = catalog.get_schedule(&sample::cluster(cluster))?;
        same("schedule", found.map(|row| (row.revision, row.due)), Some((revision, due)).filter(|_| revision > 0))?;
    }
    let listed = catalog.list_backups(&BackupFilter::default(), everything)?;
    let visible = [BackupStatus::Creating, BackupStatus::Available];
    let expected = model.backups.iter().filter(|backup| visible.contains(&backup.status)).count();
    same("listed backups", listed.items.len(), expected)?;
    let told = catalog.due_deliveries(at(i64::from(u32::MAX)), 1_000)?;
    let told: BTreeSet<String> = told.into_iter().map(|row| row.subject).collect();
    let ended = model.jobs.iter().enumerate().filter(|(_, job)| job.status.is_terminal());
    same("ends that are to be told", told, ended.map(|(number, _)| sample::job(short(number)).to_string()).collect())?;
    invariants(catalog, &jobs.items)
}

/// What must be true whatever the model thinks: at most one active backup per cluster and kind, a CREATING backup for
/// each active backup job and for nothing else.
fn invariants(catalog: &dyn Catalog, jobs: &[JobRow]) -> Verdict {
    let mut slots: BTreeSet<(String, &'static str)> = BTreeSet::new();
    let mut creating = 0;
    for job in jobs.iter().filter(|job| job.job_type == JobType::Backup && !job.status.is_terminal()) {
        let backup = some("backup of a job", job.backup.as_ref())?;
        let backup = some("backup of a job", catalog.get_backup(backup)?)?.backup;
        same("state of the backup of an active job", backup.status, BackupStatus::Creating)?;
        let new = slots.insert((backup.cluster.to_string(), backup.creation_method.as_str()));
        holds(new, "two active backups of one kind on one cluster")?;
        creating += 1;
    }
    let filter = BackupFilter { statuses: Some(vec![BackupStatus::Creating]), ..BackupFilter::default() };
    let found = catalog.list_backups(&filter, Page { size: 1_000, current: 1 })?;
    same("CREATING backups and active backup jobs", found.count, creating)?;
    let manual = found.items.iter().filter(|backup| backup.creation_method == CreationMethod::Manual).count();
    holds(manual <= usize::from(CLUSTERS), "more manual backups than clusters")
}
