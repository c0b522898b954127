//! What is to be told, numbers about jobs, and copies of the whole catalog.

use longshore_model::{CreationMethod, JobStatus, JobType};
use serde_json::json;

use super::sample::*;
use super::{Check, Verdict, holds, invalid, same, some};
use crate::{
    AuditEntry, BackupFilter, Catalog, DeliveryOutcome, JOB_ENDED, JobFilter, Limits, NewDelivery, Page, SqliteCatalog,
};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "each end of a job is to be told, once", run: ends },
    Check { name: "a delivery waits until it is taken or given up", run: outcomes },
    Check { name: "what ended is forgotten after a while, what waits is not", run: forgotten },
    Check { name: "jobs are counted by type, state and duration", run: statistics },
    Check { name: "a snapshot holds everything and opens as a catalog", run: snapshot },
];

fn waiting(catalog: &dyn Catalog, ms: i64) -> Result<Vec<String>, super::Broken> {
    Ok(catalog.due_deliveries(at(ms), 100)?.into_iter().map(|row| row.name).collect())
}

fn ends(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    failed(catalog, 2, 1, 10)?;
    create(catalog, 3, 1, CreationMethod::Manual, 20)?;
    same(
        "those that ended",
        waiting(catalog, 100)?,
        vec![format!("job.ended:{}", job(1)), format!("job.ended:{}", job(2))],
    )?;
    catalog.cancel_job(&job(3), at(30))?;
    let due = catalog.due_deliveries(at(100), 100)?;
    same("also one that was canceled", due.len(), 3)?;
    let last = some("delivery", due.into_iter().next_back())?;
    same("its kind", (last.kind.as_str(), last.subject, last.created), (JOB_ENDED, job(3).to_string(), at(30)))?;
    same("at most", catalog.due_deliveries(at(100), 2)?.len(), 2)
}

fn outcomes(catalog: &dyn Catalog) -> Verdict {
    let new = |name: &str| NewDelivery {
        name: name.to_owned(),
        kind: "test".to_owned(),
        subject: "x".to_owned(),
        body: json!({ "n": name }),
    };
    same("new", catalog.queue_delivery(&new("a"), at(0))?, true)?;
    same("again", catalog.queue_delivery(&new("a"), at(1))?, false)?;
    catalog.queue_delivery(&new("b"), at(2))?;
    same("not yet", waiting(catalog, 1)?, vec!["a".to_owned()])?;
    let rows = catalog.due_deliveries(at(2), 10)?;
    let (a, b) = (some("a", rows.first().cloned())?, some("b", rows.get(1).cloned())?);
    same("body", (&a.body, a.attempts, &a.error), (&json!({ "n": "a" }), 0, &None))?;
    let later = DeliveryOutcome::Again { due: at(50), error: "refused".to_owned() };
    catalog.note_delivery(a.sequence, &later, at(3))?;
    same("only the other", waiting(catalog, 49)?, vec!["b".to_owned()])?;
    let again = some("a", catalog.due_deliveries(at(50), 10)?.into_iter().find(|row| row.name == "a"))?;
    same("what is known", (again.attempts, again.error.as_deref(), again.created), (1, Some("refused"), at(0)))?;
    catalog.note_delivery(a.sequence, &DeliveryOutcome::Delivered, at(51))?;
    catalog.note_delivery(b.sequence, &DeliveryOutcome::Abandoned { error: "gone".to_owned() }, at(52))?;
    same("nothing waits", waiting(catalog, 1_000)?, Vec::new())?;
    invalid("noted again", catalog.note_delivery(a.sequence, &DeliveryOutcome::Delivered, at(53)))?;
    same("the name stays taken", catalog.queue_delivery(&new("a"), at(54))?, false)?;
    catalog.queue_delivery(&new("c"), at(55))?;
    let counts = catalog.count_deliveries()?;
    same("counts", (counts.waiting, counts.delivered, counts.abandoned), (1, 1, 1))?;
    same("discarded", catalog.discard_deliveries()?, 1)?;
    same("counts", catalog.count_deliveries()?.waiting, 0)
}

fn forgotten(catalog: &dyn Catalog) -> Verdict {
    let new = |name: &str| NewDelivery {
        name: name.to_owned(),
        kind: "test".to_owned(),
        subject: String::new(),
        body: json!(null),
    };
    for name in ["old", "waits", "new"] {
        catalog.queue_delivery(&new(name), at(0))?;
    }
    let rows = catalog.due_deliveries(at(0), 10)?;
    let number = |name: &str| some("delivery", rows.iter().find(|row| row.name == name).map(|row| row.sequence));
    catalog.note_delivery(number("old")?, &DeliveryOutcome::Delivered, at(1))?;
    catalog.note_delivery(
        number("new")?,
        &DeliveryOutcome::Delivered,
        at(2 + Limits::DEFAULT.ended_deliveries_kept_ms),
    )?;
    let counts = catalog.count_deliveries()?;
    same("counts", (counts.waiting, counts.delivered), (1, 1))?;
    same("what waits", waiting(catalog, 5)?, vec!["waits".to_owned()])
}

fn statistics(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    same("nothing", catalog.job_statistics(&[1, 2])?, Vec::new())?;
    available(catalog, 1, 1, 0)?;
    for (number, took) in [(2, 40), (3, 200)] {
        catalog.create_job(&new_job(number, JobType::Copy, 1, 1)?, at(100))?;
        let held = catalog.claim(&job(number), "a", at(1_000), LEASE_MS)?;
        let mut progress = longshore_model::Progress::default();
        let name =
            longshore_model::CollectionName::new("", "docs").map_err(|error| super::Broken(error.to_string()))?;
        progress.collections.push(longshore_model::CollectionProgress { name, total_bytes: 90, done_bytes: 70 });
        catalog.set_progress(&job(number), held.fencing_token, &progress)?;
        catalog.finish_job(&job(number), held.fencing_token, &successful(None), at(1_000 + took))?;
    }
    catalog.create_job(&new_job(4, JobType::Copy, 1, 1)?, at(100))?;
    let statistics = catalog.job_statistics(&[39, 40, 1_000])?;
    let of = |kind: JobType, status: JobStatus| {
        let found = statistics.iter().find(|one| one.job_type == kind && one.status == status);
        some("numbers", found.map(|one| (one.count, one.duration_ms, one.moved_bytes, one.within.clone())))
    };
    same("copies", of(JobType::Copy, JobStatus::Successful)?, (2, 240, 140, vec![0, 1, 2]))?;
    same("one that waits", of(JobType::Copy, JobStatus::Pending)?, (1, 0, 0, vec![0, 0, 0]))?;
    same("the backup", of(JobType::Backup, JobStatus::Successful)?, (1, 1, 0, vec![1, 1, 1]))?;
    invalid("bounds that do not grow", catalog.job_statistics(&[2, 2]))
}

fn snapshot(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    available(catalog, 1, 1, 0)?;
    create(catalog, 2, 2, CreationMethod::Auto, 10)?;
    let entry = AuditEntry {
        time: at(5),
        actor: "k1".to_owned(),
        action: "a".to_owned(),
        subject: "s".to_owned(),
        outcome: "ok".to_owned(),
    };
    catalog.append_audit(&entry)?;
    catalog.put_setting("a", &json!(1))?;
    let name = format!("longshore-snapshot-{}-{:p}", std::process::id(), &raw const entry);
    let file = std::env::temp_dir().join(name);
    let checked = (|| {
        catalog.snapshot(&file)?;
        // What happens later is not in it.
        catalog.put_setting("a", &json!(2))?;
        holds(catalog.snapshot(&file).is_err(), "a file that is there is not replaced")?;
        let copy = SqliteCatalog::open(&file)?;
        let every = Page { size: 100, current: 1 };
        let (jobs, backups) = (JobFilter::default(), BackupFilter::default());
        same("jobs", copy.list_jobs(&jobs, every)?, catalog.list_jobs(&jobs, every)?)?;
        same("backups", copy.list_backups(&backups, every)?, catalog.list_backups(&backups, every)?)?;
        same(
            "audit",
            copy.list_audit(&longshore_model::KeyScope::All, every)?,
            catalog.list_audit(&longshore_model::KeyScope::All, every)?,
        )?;
        same("setting", copy.get_setting("a")?, Some(json!(1)))?;
        same("deliveries", waiting(&copy, 100)?, waiting(catalog, 100)?)
    })();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    checked
}
