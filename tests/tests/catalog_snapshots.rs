//! The catalog backs itself up into a vault, and what only it knew comes back from there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use longshore_tests::{Client, Encrypted, HostPlace, Server, copy_tree, longshore_in, sample_cluster};
use serde_json::{Value, json};

const CREATE: &str = "/v2/clusters/in01-test/backups/create";
const WITH_COPY: &str = r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-us"}]}"#;

/// Makes a backup, and waits for it and everything that follows from it.
async fn back_up(client: &Client, body: &str) -> String {
    let made = client.data("POST", CREATE, Some(body)).await;
    client.ended(made["jobId"].as_str().unwrap()).await;
    all_ended(client).await;
    made["backupId"].as_str().unwrap().to_owned()
}

async fn all_ended(client: &Client) {
    for job in client.data("GET", "/v2/jobs?pageSize=100", None).await["jobs"].as_array().unwrap() {
        client.ended(job["jobId"].as_str().unwrap()).await;
    }
}

fn snapshots(vault: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(vault.join("catalogs"));
    let mut found: Vec<_> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Stops the host and starts it again: it writes a snapshot when it starts, if anything has changed.
async fn start_with_snapshot(host: &HostPlace, server: Server) -> Server {
    let before = snapshots(&host.path().join("vault")).len();
    server.stop();
    let server = Server::start(&host.config);
    for _ in 0..3_000 {
        if snapshots(&host.path().join("vault")).len() > before {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no snapshot was written: {}", server.log());
}

fn lose(host: &HostPlace) {
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(host.path().join("data").join(name));
    }
}

#[tokio::test]
async fn schedules_keys_jobs_and_the_audit_log_come_back_and_the_vaults_win_about_backups() {
    let host = HostPlace::new("");
    let text = std::fs::read_to_string(&host.config).unwrap();
    let priced = text.replace("vault = \"vault-us\"", "transfer_price_micros_per_gb = 80000000, vault = \"vault-us\"");
    assert_ne!(priced, text);
    std::fs::write(&host.config, priced).unwrap();
    let key = host.new_key("ops", "organization-owner");
    let server = Server::start(&host.config);
    let client = Client::new(&server, &key);
    let first = back_up(&client, WITH_COPY).await;
    let paid = client.data("GET", "/v2/costs", None).await["transferCostMicros"].clone();
    assert!(paid.as_u64().unwrap() > 0, "{paid}");
    let gone = back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let policy = r#"{"enabled":true,"frequency":"7","startTime":"22:00-00:00","retentionDays":9}"#;
    client.data("POST", "/v2/clusters/in01-test/backups/policy", Some(policy)).await;
    // While the first automatic one runs, a manual one is refused.
    all_ended(&client).await;
    back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let before = client.data("GET", &format!("/v2/clusters/in01-test/backups/{first}"), None).await;
    assert_eq!(before["crossRegionCopies"][0]["status"], "AVAILABLE", "{before}");
    let audit = client.data("GET", "/v2/auditLogs?pageSize=100", None).await["count"].as_u64().unwrap();

    let server = start_with_snapshot(&host, server).await;
    // What happens after the snapshot: a backup, a deletion.
    let client = Client::new(&server, &key);
    let late = back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    client.data("DELETE", &format!("/v2/clusters/in01-test/backups/{gone}"), None).await;
    server.kill();
    lose(&host);

    let plan = host.rebuild(&["--dry-run"]).ok().json();
    assert_eq!(plan["snapshot"]["region"], "local-eu", "{plan}");
    assert_eq!(plan["snapshot"]["workingKeys"], json!(["ops"]), "{plan}");
    assert!(!host.path().join("data/catalog.sqlite").exists(), "a dry run wrote a catalog");
    let report = host.rebuild(&[]).ok().json();
    assert_eq!(report["snapshot"], plan["snapshot"]);
    assert_eq!(report["snapshot"]["deletedBackups"], json!([gone]), "{report}");
    assert_eq!(report["backups"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["backups"][0]["backupId"], *late);
    let again = host.rebuild(&[]).ok().json();
    assert_eq!((&again["snapshot"], &again["backups"]), (&Value::Null, &json!([])), "it begins with a snapshot once");

    let server = Server::start(&host.config);
    let client = Client::new(&server, &key);
    let after = client.data("GET", &format!("/v2/clusters/in01-test/backups/{first}"), None).await;
    assert_eq!(after, before, "with the job that made its copy");
    assert_eq!(client.data("GET", "/v2/costs", None).await["transferCostMicros"], paid, "with what it cost");
    let policy = client.data("GET", "/v2/clusters/in01-test/backups/policy", None).await;
    assert_eq!((&policy["startTime"], &policy["retentionDays"]), (&json!("22:00-00:00"), &json!(9)), "{policy}");
    let log = client.data("GET", "/v2/auditLogs?pageSize=100", None).await;
    assert!(log["count"].as_u64().unwrap() > audit, "{log}");
    assert!(log.to_string().contains("catalog.rebuild"), "{log}");
    for (backup, status) in [(&late, "AVAILABLE"), (&gone, "DELETED")] {
        let described = client.data("GET", &format!("/v2/clusters/in01-test/backups/{backup}"), None).await;
        assert_eq!(described["status"], status, "{described}");
    }
    let jobs = client.data("GET", "/v2/jobs?pageSize=100", None).await;
    assert!(jobs["jobs"].as_array().unwrap().iter().all(|job| job["status"] == "SUCCESSFUL"), "{jobs}");
    server.stop();
}

#[tokio::test]
async fn what_a_snapshot_was_doing_is_ended_as_the_vaults_say() {
    let host = HostPlace::new("");
    let (server, client) = host.start();
    let ours = back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    server.stop();
    // A host whose snapshot was taken while a backup with a copy and a restore were running, and that ended the backup
    // afterwards: the catalog is put back to that moment by hand.
    let file = host.path().join("data/catalog.sqlite");
    let catalog = longshore_catalog::SqliteCatalog::open(&file).unwrap();
    let (server, client) = {
        use longshore_catalog::Catalog as _;
        let now = longshore_model::Timestamp::from_millis(1_700_000_000_000);
        let restore = longshore_catalog::NewJob {
            id: "job-restore".parse().unwrap(),
            job_type: longshore_model::JobType::Restore,
            project: "proj-test".parse().unwrap(),
            cluster: Some("in01-test".parse().unwrap()),
            backup: Some(ours.parse().unwrap()),
            request: json!({ "kind": "restore-collections", "request": {
                "destination": "in01-test",
                "collections": [{
                    "from": { "database": "default", "collection": "medium_articles" },
                    "to": { "database": "default", "collection": "again" },
                }],
            } }),
        };
        catalog.create_job(&restore, now).unwrap();
        catalog.claim(&restore.id, "host-dead", now, 1_000_000).unwrap();
        drop(catalog);
        let sql = format!(
            "PRAGMA wal_checkpoint(TRUNCATE); UPDATE backups SET status = 'CREATING', ended_ms = NULL WHERE id = '{ours}'; \
             UPDATE jobs SET status = 'IN_PROGRESS', ended_ms = NULL, result = 'null', lease_owner = 'host-dead', \
             lease_until_ms = 9 WHERE backup_id = '{ours}' AND job_type = 'BACKUP'; DELETE FROM deliveries;"
        );
        let Some(python) = longshore_tests::python() else { return };
        let script =
            "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.executescript(sys.argv[2])\ndb.commit()\n";
        let ran = std::process::Command::new(python).args(["-c", script]).arg(&file).arg(&sql).status().unwrap();
        assert!(ran.success());
        let vault = longshore_vault::Vault::open_local(&host.path().join("vault"), &longshore_vault::Keys::none())
            .await
            .unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let later = longshore_model::Clock::now(&longshore_model::SystemClock).plus_millis(1_000);
        vault.put_catalog(bytes.into(), later).await.unwrap();
        lose(&host);
        let report = host.rebuild(&[]).ok().json();
        assert_eq!(report["snapshot"]["endedJobs"], json!(["job-restore"]), "{report}");
        host.start()
    };
    let described = client.data("GET", &format!("/v2/clusters/in01-test/backups/{ours}"), None).await;
    assert_eq!(described["status"], "AVAILABLE", "{described}");
    let restore = client.data("GET", "/v2/jobs/job-restore", None).await;
    assert_eq!(restore["status"], "FAILED");
    assert!(restore["reason"].as_str().unwrap().contains("how it ended is not known"), "{restore}");
    server.stop();
    assert!(!host.path().join("sample.db/collections/again").exists(), "a restore of long ago was run again");
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_and_without_a_good_one_nothing_is_begun() {
    let host = HostPlace::new("");
    let (server, client) = host.start();
    back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let server = start_with_snapshot(&host, server).await;
    server.stop();
    let found = snapshots(&host.path().join("vault"));
    assert!(found.len() >= 2, "{found:?}");
    lose(&host);
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    damage(found.last().unwrap());
    let plan = host.rebuild(&["--dry-run"]).ok().json();
    assert_eq!(plan["unreadableSnapshots"].as_array().unwrap().len(), 1, "{plan}");
    assert_ne!(plan["snapshot"], Value::Null);
    found.iter().rev().skip(1).for_each(|path| damage(path));
    host.rebuild(&[]).refused(1, "none can be read");
    assert!(!host.path().join("data/catalog.sqlite").exists());
    let report = host.rebuild(&["--without-snapshot"]).ok().json();
    assert_eq!((report["backups"].as_array().unwrap().len(), &report["snapshot"]), (1, &Value::Null), "{report}");
}

#[tokio::test]
async fn in_encrypted_vaults_it_is_encrypted_and_rebuilding_takes_a_reader_key() {
    let folder = Encrypted::new(&["--region", "local-eu", "--project", "proj-test"]).folder;
    copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
    let keys = "[keys]\nwriter_key_file = \"writer.key\"\n";
    let host = HostPlace::inside(folder, ", encryption = \"age-1\"", keys);
    let key = host.new_key("a-name-to-look-for", "organization-owner");
    let server = Server::start(&host.config);
    let client = Client::new(&server, &key);
    back_up(&client, r#"{"backupType":"CLUSTER"}"#).await;
    let server = start_with_snapshot(&host, server).await;
    server.stop();
    for path in snapshots(&host.path().join("vault")) {
        let bytes = std::fs::read(&path).unwrap();
        for word in ["a-name-to-look-for", "medium_articles", "SQLite format"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} in {path:?}");
        }
    }
    lose(&host);
    host.rebuild(&[]).refused(1, "reader key");
    host.write(&format!("{keys}reader_key_file = \"recovery.key\"\n"));
    let report = host.rebuild(&[]).ok().json();
    assert!(report["snapshot"]["workingKeys"].to_string().contains("a-name-to-look-for"), "{report}");
    let server = Server::start(&host.config);
    assert_eq!(Client::new(&server, &key).data("GET", "/v2/backups", None).await["count"], 1);
    server.stop();
    // A file that nobody else on the machine can read.
    let listed = longshore_in(host.path(), ["key", "list", "--config", host.config.to_str().unwrap(), "--json"]).ok();
    assert!(listed.stdout.contains("a-name-to-look-for"), "{listed:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(host.path().join("data/catalog.sqlite")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
