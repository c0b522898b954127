//! Schedules: what is due, runs that are neither lost nor made twice.

use longshore_model::{BackupStatus, CreationMethod};
use serde_json::{Value, json};

use super::sample::*;
use super::{Check, Verdict, invalid, refused, same, some};
use crate::{BackupFilter, Catalog, CatalogError, CopyRow, NewSchedule, Page, ScheduleRow};
use CreationMethod::{Auto, Manual};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "of two who change a schedule at once only one does", run: swaps },
    Check { name: "what is due is told, longest due first", run: due },
    Check { name: "a scheduled backup moves its schedule on, both or neither", run: runs },
    Check { name: "a run waits for another automatic one and not for a manual one", run: beside },
    Check { name: "a schedule that was changed or turned off starts nothing", run: changed },
    Check { name: "a copy goes before its backup, once, and not while a job uses the backup", run: copies },
    Check { name: "a dropped cluster has no schedule, also when it is registered again", run: dropped },
];

fn schedule(of: u8, due: Option<i64>) -> NewSchedule {
    NewSchedule { cluster: cluster(of), schedule: json!({ "of": of }), due: due.map(at) }
}

/// Makes or replaces a schedule that must be there to be replaced.
fn put(catalog: &dyn Catalog, of: u8, due: Option<i64>, ms: i64) -> Result<ScheduleRow, super::Broken> {
    let expected = catalog.get_schedule(&cluster(of))?.map(|row| row.revision);
    some("a schedule that was put", catalog.swap_schedule(&schedule(of, due), expected, at(ms))?)
}

fn swaps(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    same("none yet", catalog.get_schedule(&cluster(1))?, None)?;
    same("put where one was expected", catalog.swap_schedule(&schedule(1, None), Some(1), at(0))?, None)?;
    let first = some("the first", catalog.swap_schedule(&schedule(1, Some(50)), None, at(1))?)?;
    same("due", (first.due, first.changed), (Some(at(50)), at(1)))?;
    same("put where none was expected", catalog.swap_schedule(&schedule(1, None), None, at(2))?, None)?;
    let second = catalog.swap_schedule(&schedule(1, None), Some(first.revision), at(2))?;
    let second = some("the second", second)?;
    same("off", (second.due, second.schedule.clone(), second.changed), (None, json!({ "of": 1 }), at(2)))?;
    let stale = catalog.swap_schedule(&schedule(1, Some(9)), Some(first.revision), at(3))?;
    same("put by an old revision", stale, None)?;
    same("read again", catalog.get_schedule(&cluster(1))?, Some(second))?;
    let expected = CatalogError::ClusterNotFound { cluster: cluster(9) };
    refused("a schedule of no cluster", catalog.swap_schedule(&schedule(9, None), None, at(3)), &expected)
}

fn due(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    put(catalog, 1, Some(300), 0)?;
    put(catalog, 2, Some(200), 0)?;
    put(catalog, 3, None, 0)?;
    let clusters = |ms: i64, most: u32| -> Result<Vec<_>, super::Broken> {
        Ok(catalog.due_schedules(at(ms), most)?.into_iter().map(|row| row.cluster).collect())
    };
    same("before", clusters(199, 10)?, vec![])?;
    same("one", clusters(200, 10)?, vec![cluster(2)])?;
    same("both", clusters(1_000_000, 10)?, vec![cluster(2), cluster(1)])?;
    same("at most one", clusters(1_000_000, 1)?, vec![cluster(2)])?;
    let listed = catalog.list_schedules(Page { size: 2, current: 1 })?;
    let ids: Vec<_> = listed.items.iter().map(|row| row.cluster.clone()).collect();
    same("page of schedules, those that are off too", (listed.count, ids), (3, vec![cluster(1), cluster(2)]))
}

fn runs(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let row = put(catalog, 1, Some(100), 0)?;
    let (new, its_job) = new_backup(1, 1, Auto);
    let start = |next: i64, now: i64| catalog.start_scheduled_backup(row.revision, at(next), &new, &its_job, at(now));
    same("before it is due", start(500, 99)?, None)?;
    invalid("a next run that is not later", start(100, 100))?;
    same("nothing was made", catalog.get_backup(&backup(1))?, None)?;
    let (made, job) = some("a scheduled backup", start(500, 120)?)?;
    same("backup", (made.status, made.created, made.creation_method), (BackupStatus::Creating, at(120), Auto))?;
    same("its job", (job.backup, job.created), (Some(backup(1)), at(120)))?;
    let moved = some("schedule", catalog.get_schedule(&cluster(1))?)?;
    same("moved on", (moved.due, moved.schedule, moved.changed), (Some(at(500)), row.schedule.clone(), row.changed))?;
    same("the same run again", start(600, 121)?, None)?;
    // A backup whose job cannot be made is not made, and the schedule stays due.
    let (other, _) = new_backup(2, 2, Auto);
    let second = put(catalog, 2, Some(100), 130)?;
    let taken = catalog.start_scheduled_backup(second.revision, at(500), &other, &its_job, at(130));
    refused("a job id that is taken", taken, &CatalogError::Exists { what: "job", id: its_job.id.to_string() })?;
    same("no backup without its job", catalog.get_backup(&other.id)?, None)?;
    same("still due", catalog.get_schedule(&cluster(2))?, Some(second.clone()))?;
    let (by_hand, its_job) = new_backup(3, 2, Manual);
    invalid("a manual one", catalog.start_scheduled_backup(second.revision, at(500), &by_hand, &its_job, at(130)))
}

fn beside(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    create(catalog, 1, 1, Manual, 0)?;
    let row = put(catalog, 1, Some(10), 0)?;
    let (new, its_job) = new_backup(2, 1, Auto);
    let made = catalog.start_scheduled_backup(row.revision, at(50), &new, &its_job, at(10))?;
    some("an automatic backup beside a manual one", made)?;
    let row = some("schedule", catalog.get_schedule(&cluster(1))?)?;
    let (new, its_job) = new_backup(3, 1, Auto);
    let expected = CatalogError::AutomaticBackupActive { cluster: cluster(1), job: job(2) };
    let found = catalog.start_scheduled_backup(row.revision, at(90), &new, &its_job, at(50));
    refused("beside an automatic one", found, &expected)?;
    same("not told while it waits", catalog.due_schedules(at(60), 10)?, vec![])?;
    same("it stays due", catalog.get_schedule(&cluster(1))?, Some(row.clone()))?;
    let held = catalog.claim(&job(2), "a", at(60), LEASE_MS)?;
    catalog.finish_job(&job(2), held.fencing_token, &successful(Some(outcome())), at(70))?;
    same("told again", catalog.due_schedules(at(71), 10)?, vec![row.clone()])?;
    let made = catalog.start_scheduled_backup(row.revision, at(90), &new, &its_job, at(71))?;
    some("after the other one ended", made)?;
    let automatic = BackupFilter { creation_method: Some(Auto), ..BackupFilter::default() };
    same("automatic backups", catalog.list_backups(&automatic, Page::default())?.count, 2)
}

fn changed(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let row = put(catalog, 1, Some(10), 0)?;
    let newer = put(catalog, 1, Some(10), 1)?;
    let (new, its_job) = new_backup(1, 1, Auto);
    let start = |revision| catalog.start_scheduled_backup(revision, at(50), &new, &its_job, at(20));
    same("by the old revision", start(row.revision)?, None)?;
    let off = put(catalog, 1, None, 2)?;
    same("by the revision before it was turned off", start(newer.revision)?, None)?;
    same("by that of one that is off", start(off.revision)?, None)?;
    same("nothing is due", catalog.due_schedules(at(1_000), 10)?, vec![])?;
    same("nothing was made", catalog.get_backup(&backup(1))?, None)?;
    let (other, its_job) = new_backup(2, 2, Auto);
    same("none at all", catalog.start_scheduled_backup(1, at(50), &other, &its_job, at(20))?, None)
}

fn dropped(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let row = put(catalog, 1, Some(10), 0)?;
    catalog.drop_cluster(&cluster(1), at(5))?;
    same("nothing is due", catalog.due_schedules(at(1_000), 10)?, vec![])?;
    same("nothing is listed", catalog.list_schedules(Page::default())?.count, 0)?;
    let (new, its_job) = new_backup(1, 1, Auto);
    let expected = CatalogError::ClusterNotFound { cluster: cluster(1) };
    let start = || catalog.start_scheduled_backup(row.revision, at(50), &new, &its_job, at(20));
    refused("a run of a dropped cluster", start(), &expected)?;
    catalog.put_cluster(&new_cluster(1)?, at(30))?;
    let left = some("what is left of it", catalog.get_schedule(&cluster(1))?)?;
    same("off", (left.due, left.schedule), (None, Value::Null))?;
    same("by the old revision", start()?, None)?;
    let again = put(catalog, 1, Some(40), 31)?;
    same("set again", again.due, Some(at(40)))
}

fn copies(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let (mut new, its_job) = new_backup(1, 1, Auto);
    new.expires = Some(at(1_000));
    new.expiring_copies = vec![(region()?, at(1_000))];
    invalid("a copy that does not go before its backup", catalog.create_backup(&new, &its_job, at(0)))?;
    new.expiring_copies = vec![(region()?, at(500))];
    catalog.create_backup(&new, &its_job, at(0))?;
    let row = CopyRow { backup: backup(1), region: region()?, expires: at(500), withdrawn: None };
    same("noted", catalog.copies_of(&backup(1))?, vec![row.clone()])?;
    same("while the backup is made", catalog.expired_copies(at(600), 10)?, vec![])?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    let mut end = successful(Some(outcome()));
    end.follow_ups = vec![new_job(2, longshore_model::JobType::Copy, 1, 1)?];
    catalog.finish_job(&job(1), held.fencing_token, &end, at(2))?;
    same("while it is copied", catalog.expired_copies(at(600), 10)?, vec![])?;
    let held = catalog.claim(&job(2), "a", at(3), LEASE_MS)?;
    let mut end = successful(None);
    end.backup = Some(crate::BackupOutcome {
        size_bytes: 0,
        collections: Value::Null,
        detail: json!({ "copied": { "local": true } }),
    });
    catalog.finish_job(&job(2), held.fencing_token, &end, at(4))?;
    same("before it expires", catalog.expired_copies(at(499), 10)?, vec![])?;
    same("after", catalog.expired_copies(at(500), 10)?, vec![row.clone()])?;
    let detail = json!({ "copied": { "local": null } });
    for ms in [501, 502] {
        catalog.mark_copy_withdrawn(&backup(1), &region()?, &detail, at(ms))?;
        let gone = CopyRow { withdrawn: Some(at(501)), ..row.clone() };
        same("withdrawn", catalog.copies_of(&backup(1))?, vec![gone])?;
    }
    same("no longer told", catalog.expired_copies(at(600), 10)?, vec![])?;
    let record = some("its backup", catalog.get_backup(&backup(1))?)?;
    same("detail", record.detail, json!({ "root": "abc", "copied": {} }))?;
    same("the backup stays", record.backup.status, BackupStatus::Available)?;
    let (mut by_hand, its_job) = new_backup(3, 2, Manual);
    by_hand.expiring_copies = vec![(region()?, at(5))];
    invalid("a manual one", catalog.create_backup(&by_hand, &its_job, at(0)))
}
