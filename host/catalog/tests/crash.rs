//! A process that works with the catalog is killed at any moment: what it was told is done stays done, and nothing is
//! half done.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use longshore_catalog::{
    BackupFilter, BackupOutcome, Catalog, JobEnd, JobFilter, NewBackup, NewBackupJob, NewCluster, NewJob, Page,
    SqliteCatalog,
};
use longshore_model::{
    BackupId, BackupStatus, BackupType, ClusterId, CreationMethod, JobId, JobStatus, JobType, Timestamp,
};
use serde_json::{Value, json};

/// Names the catalog for the process that will be killed; unset in the one that kills.
const PATH: &str = "LONGSHORE_CRASH_TEST_CATALOG";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn backup_id(number: u32) -> BackupId {
    format!("backup0_{number:08x}").parse().unwrap()
}

fn job_id(number: u32, kind: &str) -> JobId {
    format!("job-{number:08x}{kind}").parse().unwrap()
}

fn prepare(catalog: &SqliteCatalog) {
    catalog.put_project(&"proj-1".parse().unwrap(), "one", NOW).unwrap();
    let cluster = NewCluster {
        id: ClusterId::from_random([1; 8]),
        name: "Dedicated-01".to_owned(),
        project: "proj-1".parse().unwrap(),
        region: "local".parse().unwrap(),
        source_kind: "milvus-lite".to_owned(),
        location: "/data".to_owned(),
        cu_size: 1,
        status: "RUNNING".to_owned(),
    };
    catalog.put_cluster(&cluster, NOW).unwrap();
}

/// Makes backup after backup, each with a follow-up copy, and says which ones are done.
fn work_until_killed(path: &Path, first: u32) {
    let catalog = SqliteCatalog::open(path).unwrap();
    let mut out = std::io::stdout();
    for number in first.. {
        let backup = NewBackup {
            id: backup_id(number),
            cluster: ClusterId::from_random([1; 8]),
            backup_type: BackupType::Cluster,
            creation_method: CreationMethod::Manual,
            expires: None,
            expiring_copies: Vec::new(),
            collections: Value::Null,
            detail: json!("x".repeat(5_000)),
        };
        catalog.create_backup(&backup, &NewBackupJob { id: job_id(number, "b"), request: json!({}) }, NOW).unwrap();
        writeln!(out, "created {number}").unwrap();
        let held = catalog.claim(&job_id(number, "b"), "worker", NOW, 60_000).unwrap();
        let copy = NewJob {
            id: job_id(number, "c"),
            job_type: JobType::Copy,
            project: "proj-1".parse().unwrap(),
            cluster: Some(backup.cluster.clone()),
            backup: Some(backup.id.clone()),
            request: json!({}),
        };
        let end = JobEnd {
            status: JobStatus::Successful,
            reason: None,
            result: json!("y".repeat(5_000)),
            backup: Some(BackupOutcome { size_bytes: 1, collections: Value::Null, detail: json!({ "n": number }) }),
            follow_ups: vec![copy],
        };
        catalog.finish_job(&held.id, held.fencing_token, &end, NOW).unwrap();
        writeln!(out, "finished {number}").unwrap();
    }
}

#[test]
fn a_killed_process_leaves_what_it_was_told_and_nothing_by_halves() {
    if let Some(path) = std::env::var_os(PATH) {
        let first = std::env::var("LONGSHORE_CRASH_TEST_FIRST").unwrap().parse().unwrap();
        work_until_killed(Path::new(&path), first);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    prepare(&SqliteCatalog::open(&path).unwrap());
    let (mut created, mut finished) = (0_u32, 0_u32);
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_what_it_was_told_and_nothing_by_halves", "--nocapture"])
            .env(PATH, &path)
            .env("LONGSHORE_CRASH_TEST_FIRST", (created + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Killed after another number of answers each round, while it is at the next step.
        let mut told = lines.filter_map(|line| {
            let (what, number) = line.split_once(' ')?;
            matches!(what, "created" | "finished").then_some(())?;
            Some((what == "finished", number.parse::<u32>().ok()?))
        });
        let mut last = (0, 0);
        for (done, number) in told.by_ref().take(3 + round * 7) {
            if done { last.1 = number } else { last.0 = number }
        }
        child.kill().unwrap();
        // What it still said before it died counts as well.
        for (done, number) in told {
            if done { last.1 = number } else { last.0 = number }
        }
        child.wait().unwrap();
        assert!(last.0 > created, "round {round}: the process did nothing");
        let catalog = SqliteCatalog::open(&path).unwrap();
        (created, finished) = check(&catalog, last.0, finished.max(last.1));
        // As a host does at its start: what was left behind is ended, so that the next round can begin.
        catalog.release_leases_of("worker").unwrap();
        while let Some(job) = catalog.claim_job("worker", None, NOW, 60_000).unwrap() {
            let reason = Some("the host stopped".to_owned());
            let result = Value::Null;
            let end = JobEnd { status: JobStatus::Failed, reason, result, backup: None, follow_ups: Vec::new() };
            catalog.finish_job(&job.id, job.fencing_token, &end, NOW).unwrap();
        }
    }
    assert!(finished > 50, "only {finished} backups were made");
}

/// Checks that everything told is there and everything there is whole; the highest numbers found.
fn check(catalog: &SqliteCatalog, created: u32, finished: u32) -> (u32, u32) {
    let statuses = [BackupStatus::Creating, BackupStatus::Available, BackupStatus::Failed];
    let filter = BackupFilter { statuses: Some(statuses.to_vec()), ..BackupFilter::default() };
    let (mut highest, mut highest_finished) = (0, 0);
    for current in 1.. {
        let page = catalog.list_backups(&filter, Page { size: 1_000, current }).unwrap();
        if page.items.is_empty() {
            break;
        }
        for backup in page.items {
            let number = u32::from_str_radix(backup.id.as_str().trim_start_matches("backup0_"), 16).unwrap();
            highest = highest.max(number);
            assert_eq!(backup.name, format!("Dedicated-01_backup{number}"), "a number is lost or used twice");
            let job = catalog.get_job(&job_id(number, "b")).unwrap().expect("a backup has its job");
            let copy = catalog.get_job(&job_id(number, "c")).unwrap();
            let expected = match job.status {
                JobStatus::Pending | JobStatus::InProgress => BackupStatus::Creating,
                JobStatus::Successful => BackupStatus::Available,
                _ => BackupStatus::Failed,
            };
            assert_eq!(backup.status, expected, "backup {number}");
            assert_eq!(copy.is_some(), expected == BackupStatus::Available, "copy of backup {number}");
            if expected == BackupStatus::Available {
                highest_finished = highest_finished.max(number);
            }
        }
    }
    let jobs =
        catalog.list_jobs(&JobFilter { job_type: Some(JobType::Backup), ..JobFilter::default() }, Page::default());
    assert_eq!(jobs.unwrap().count, u64::from(highest), "a job without a backup, or the other way round");
    assert!(highest >= created, "backup {created} was acknowledged and is gone");
    assert!(highest_finished >= finished, "the end of backup {finished} was acknowledged and is gone");
    (highest, highest_finished)
}
