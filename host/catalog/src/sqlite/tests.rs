//! Tests that look inside the file: damage, versions, full disk, failures in the middle of a transaction.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_model::{BackupId, BackupType, ClusterId, CreationMethod, JobId, JobStatus, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::BackupOutcome;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn settled(folder: &Path) -> (PathBuf, SqliteCatalog) {
    let path = folder.join("catalog.db");
    let catalog = SqliteCatalog::open(&path).unwrap();
    settle(&catalog);
    (path, catalog)
}

fn settle(catalog: &SqliteCatalog) {
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

fn create(catalog: &SqliteCatalog, number: u8, detail: Value) -> Result<(BackupRow, JobRow), CatalogError> {
    let backup = NewBackup {
        id: BackupId::from_random([number; 10]),
        cluster: ClusterId::from_random([1; 8]),
        backup_type: BackupType::Cluster,
        creation_method: CreationMethod::Manual,
        expires: None,
        expiring_copies: Vec::new(),
        collections: Value::Null,
        detail,
    };
    catalog.create_backup(&backup, &NewBackupJob { id: JobId::from_random([number; 12]), request: json!({}) }, NOW)
}

/// Everything in the file as text, to see that nothing changed.
fn dump(catalog: &SqliteCatalog) -> String {
    let connection = catalog.reader.lock().unwrap();
    let mut text = String::new();
    for table in ["projects", "clusters", "backups", "jobs", "api_keys", "audit", "settings"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<rusqlite::types::Value> = (0..columns).map(|column| row.get(column).unwrap()).collect();
            text.push_str(&format!("{table} {values:?}\n"));
        }
    }
    text
}

#[test]
fn a_transaction_that_breaks_in_its_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, catalog) = settled(folder.path());
    let break_at = |event: &str| {
        let sql = format!("CREATE TRIGGER broken {event} BEGIN SELECT raise(ABORT, 'broken'); END");
        catalog.writer.lock().unwrap().execute_batch(&sql).unwrap();
    };
    let repair = || catalog.writer.lock().unwrap().execute_batch("DROP TRIGGER broken").unwrap();

    // The counter and the backup are written before the job.
    let before = dump(&catalog);
    break_at("BEFORE INSERT ON jobs");
    assert!(matches!(create(&catalog, 1, Value::Null), Err(CatalogError::Unavailable { .. })));
    assert_eq!(dump(&catalog), before);
    repair();
    assert_eq!(create(&catalog, 1, Value::Null).unwrap().0.name, "Dedicated-01_backup1");

    // The job is ended before its backup.
    let job = catalog.claim_job("a", None, NOW, 1_000).unwrap().unwrap();
    let before = dump(&catalog);
    break_at("BEFORE UPDATE ON backups");
    let backup = Some(BackupOutcome { size_bytes: 1, collections: Value::Null, detail: Value::Null });
    let end =
        JobEnd { status: JobStatus::Successful, reason: None, result: Value::Null, backup, follow_ups: Vec::new() };
    catalog.finish_job(&job.id, job.fencing_token, &end, NOW).unwrap_err();
    assert_eq!(dump(&catalog), before);
    repair();
    catalog.finish_job(&job.id, job.fencing_token, &end, NOW).unwrap();

    // A waiting job is canceled before its backup.
    create(&catalog, 2, Value::Null).unwrap();
    let before = dump(&catalog);
    break_at("BEFORE UPDATE ON backups");
    catalog.cancel_job(&JobId::from_random([2; 12]), NOW).unwrap_err();
    assert_eq!(dump(&catalog), before);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, catalog) = settled(folder.path());
    // SQLite answers a file that may not grow exactly as a disk without space.
    let pages: i64 = catalog.writer.lock().unwrap().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        let writer = catalog.writer.lock().unwrap();
        let _: i64 = writer.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    };
    limit(pages + 2);
    let before = dump(&catalog);
    let error = create(&catalog, 1, json!("x".repeat(100_000))).unwrap_err();
    assert_eq!(error, CatalogError::DiskFull { path: path.display().to_string() });
    assert!(error.is_transient());
    assert_eq!(dump(&catalog), before);
    limit(1_000_000);
    create(&catalog, 1, json!("x".repeat(100_000))).unwrap();
}

#[test]
fn a_file_that_is_no_catalog_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let name = path.display().to_string();

    for content in [
        vec![b'x'; 4096],
        b"not a database, but text that is longer than a header of one hundred bytes \
        so that nobody can take it for an empty file"
            .to_vec(),
    ] {
        std::fs::write(&path, &content).unwrap();
        let error = SqliteCatalog::open(&path).unwrap_err();
        assert!(matches!(error, CatalogError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }

    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE birds (name TEXT)").unwrap();
    let content = std::fs::read(&path).unwrap();
    assert_eq!(SqliteCatalog::open(&path).unwrap_err(), CatalogError::NotACatalog { path: name.clone() });
    assert_eq!(std::fs::read(&path).unwrap(), content);

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(SqliteCatalog::open(&path).unwrap_err(), CatalogError::Unavailable { .. }));
    let missing = folder.path().join("missing/catalog.db");
    assert!(matches!(SqliteCatalog::open(&missing).unwrap_err(), CatalogError::Unavailable { .. }));
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (path, catalog) = settled(folder.path());
    drop(catalog);
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
    let content = std::fs::read(&path).unwrap();
    let error = SqliteCatalog::open(&path).unwrap_err();
    assert_eq!(error, CatalogError::TooNew { path: path.display().to_string(), found: 7, supported: 4 });
    let text = error.to_string();
    assert!(text.contains("version 7") && text.contains("up to 4"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

#[test]
fn damage_is_found_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (path, catalog) = settled(folder.path());
    for number in 0..40 {
        catalog.put_setting(&format!("key {number}"), &json!("x".repeat(1_000))).unwrap();
    }
    drop(catalog);
    let good = std::fs::read(&path).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        SqliteCatalog::open(&path).map(|_| ())
    };
    damaged(&|_| {}).unwrap();
    for change in [
        &(|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2)) as &dyn Fn(&mut Vec<u8>),
        &|bytes: &mut Vec<u8>| bytes[0] ^= 1,
        &|bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0xA5);
        },
    ] {
        assert!(matches!(damaged(change), Err(CatalogError::Corrupt { .. })));
    }
}

#[test]
fn a_row_that_cannot_be_read_is_damage_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (_, catalog) = settled(folder.path());
    let (_, job) = create(&catalog, 1, Value::Null).unwrap();
    for (change, column) in
        [("request = '{'", "request"), ("attempt = -1", "attempt"), ("backup_id = NULL, id = 'x'", "id")]
    {
        catalog.writer.lock().unwrap().execute_batch(&format!("UPDATE jobs SET {change}")).unwrap();
        let page = Page::default();
        let error = catalog.list_jobs(&JobFilter::default(), page).unwrap_err();
        assert!(matches!(&error, CatalogError::Corrupt { detail, .. } if detail.contains(column)), "{error}");
        let repair = format!("UPDATE jobs SET request = '{{}}', attempt = 0, id = '{}'", job.id);
        catalog.writer.lock().unwrap().execute_batch(&repair).unwrap();
    }
}

#[test]
fn another_process_in_the_way_is_said_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let limits = Limits { busy_timeout_ms: 0, ..Limits::DEFAULT };
    let catalog = SqliteCatalog::open_with(&path, limits).unwrap();
    settle(&catalog);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM projects WHERE id = 'nobody'").unwrap();
    let error = create(&catalog, 1, Value::Null).unwrap_err();
    assert_eq!(error, CatalogError::Busy { path: path.display().to_string() });
    assert_eq!(catalog.list_projects().unwrap().len(), 1);
    other.execute_batch("COMMIT").unwrap();
    create(&catalog, 1, Value::Null).unwrap();
}

#[test]
fn the_file_itself_forbids_two_active_backups_of_a_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (_, catalog) = settled(folder.path());
    create(&catalog, 1, Value::Null).unwrap();
    let copy = "INSERT INTO jobs (id, job_type, status, slot, project_id, cluster_id, backup_id, request, progress, \
                result, created_ms) SELECT 'job-2', job_type, status, slot, project_id, cluster_id, backup_id, \
                request, progress, result, created_ms FROM jobs";
    let error = catalog.writer.lock().unwrap().execute_batch(copy).unwrap_err();
    assert!(fail::is_duplicate(&error), "{error}");
}

#[test]
fn commits_reach_the_disk_and_only_the_owner_can_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, catalog) = settled(folder.path());
    let ask = |sql: &str| -> String {
        let writer = catalog.writer.lock().unwrap();
        let value: rusqlite::types::Value = writer.query_row(sql, [], |row| row.get(0)).unwrap();
        format!("{value:?}")
    };
    assert_eq!(ask("PRAGMA journal_mode"), "Text(\"wal\")");
    assert_eq!(ask("PRAGMA synchronous"), "Integer(2)", "2 is FULL");
    assert_eq!(ask("PRAGMA foreign_keys"), "Integer(1)");
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = format!("{}{suffix}", path.display());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_released_schema_never_changes() {
    // Catalogs with this version exist. A change belongs into the file of the next one.
    let digest = blake3::hash(include_bytes!("schema_1.sql")).to_string();
    insta::assert_snapshot!(digest, @"c3eabc71cc8f4d2804fe43ecab90a4889cba0eedce1239d2d459ef883c404d10");
}

#[test]
fn a_catalog_of_the_first_version_is_brought_up_to_date_and_keeps_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("schema_1.sql")).unwrap();
    old.execute_batch(
        "PRAGMA application_id = 0x4C534354; PRAGMA user_version = 1; \
         INSERT INTO projects VALUES ('proj-1', 'one', 5); \
         INSERT INTO clusters VALUES ('in01-aa', 'proj-1', 'Old', 'local', 'milvus-lite', '/data', 1, 'RUNNING', 6, NULL, 41); \
         INSERT INTO jobs (id, job_type, status, project_id, request, progress, result, created_ms, ended_ms) \
         VALUES ('job-aa', 'VERIFY', 'SUCCESSFUL', 'proj-1', '{}', '{}', 'null', 7, 8)",
    )
    .unwrap();
    let progress = serde_json::to_string(&longshore_model::Progress::default()).unwrap();
    old.execute("UPDATE jobs SET progress = ?1", [progress]).unwrap();
    drop(old);
    let catalog = SqliteCatalog::open(&path).unwrap();
    let cluster = "in01-aa".parse().unwrap();
    assert_eq!(catalog.get_cluster(&cluster).unwrap().unwrap().backup_counter, 41);
    assert_eq!(catalog.get_job(&"job-aa".parse().unwrap()).unwrap().unwrap().created, Timestamp::from_millis(7));
    let new = crate::NewSchedule { cluster, schedule: json!(1), due: None };
    assert!(catalog.swap_schedule(&new, None, Timestamp::from_millis(9)).unwrap().is_some());
    let version: i64 = catalog.writer.lock().unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 4);
}

#[test]
fn lists_of_one_cluster_or_project_use_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (_, catalog) = settled(folder.path());
    let plan = |sql: &str| -> String {
        let connection = catalog.reader.lock().unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let backups = "SELECT * FROM backups WHERE cluster_id = 'a' ORDER BY created_ms DESC, id DESC LIMIT 10";
    assert!(plan(backups).contains("backups_by_cluster"), "{}", plan(backups));
    assert!(!plan(backups).contains("TEMP B-TREE"), "{}", plan(backups));
    let claim = format!(
        "SELECT id FROM jobs WHERE {} AND (status = 'PENDING' OR lease_until_ms <= 5) ORDER BY created_ms, seq LIMIT 1",
        jobs::ACTIVE
    );
    assert!(plan(&claim).contains("jobs_active"), "{}", plan(&claim));
}
