//! Backup policies: automatic backups are made, expire, and go with their cluster.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use longshore_catalog::{BackupFilter, Catalog as _, Page};
use longshore_engine::Role;
use longshore_model::{BackupStatus, CreationMethod};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::place::{ManualClock, Place, Start};

const POLICY: &str = "/v2/clusters/in01-test/backups/policy";
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Ids of the automatic backups that are listed, newest first.
async fn automatic(place: &Place) -> Vec<String> {
    let listed = place.send("GET", "/v2/backups?creationMethod=AUTO&pageSize=100", "").await;
    let backups = listed.data()["backups"].as_array().unwrap();
    backups.iter().map(|backup| backup["backupId"].as_str().unwrap().to_owned()).collect()
}

/// Waits until no job is left that has not ended.
async fn quiet(place: &Place) {
    let jobs = place.send("GET", "/v2/jobs?pageSize=100", "").await;
    for job in jobs.data()["jobs"].as_array().unwrap() {
        place.ended(job["jobId"].as_str().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_off_until_it_is_set_and_enabling_it_makes_a_first_backup_at_once() {
    let place = Place::start().await;
    let off = json!({
        "clusterId": "in01-test", "status": "DISABLED", "startTime": null, "frequency": null, "retentionDays": 0,
        "crossRegionCopies": [], "cron": null, "nextRunTime": null,
    });
    assert_eq!(place.send("GET", POLICY, "").await.data(), &off);
    assert!(automatic(&place).await.is_empty());

    // As the official command line sends it.
    let body =
        r#"{"enabled":true,"frequency":"1,3,5","startTime":"02:00-04:00","retentionDays":5,"crossRegionCopies":[]}"#;
    let set = place.send("POST", POLICY, body).await;
    assert_eq!(set.data(), &json!({ "clusterId": "in01-test", "status": "ENABLED" }));
    let first = automatic(&place).await;
    assert_eq!(first.len(), 1, "the first backup is accepted when the call answers");
    quiet(&place).await;
    let backup = place.send("GET", &format!("/v2/clusters/in01-test/backups/{}", first[0]), "").await;
    let backup = backup.data();
    assert_eq!((&backup["status"], &backup["backupType"]), (&json!("AVAILABLE"), &json!("CLUSTER")), "{backup}");
    let time = |name: &str| backup[name].as_str().unwrap().parse::<longshore_model::Timestamp>().unwrap();
    assert_eq!(time("expireTime").millis_since(time("createTime")), 5 * 24 * HOUR_MS);

    // The manifest says so too: a catalog that is rebuilt from the vaults expires it as well.
    let vault =
        longshore_vault::Vault::open_local(&place.path("vault-eu"), &longshore_vault::Keys::none()).await.unwrap();
    let roots = vault.list_backups().await.unwrap().backups;
    assert_eq!(roots[0].root.expires.unwrap().millis_since(roots[0].root.created), 5 * 24 * HOUR_MS);

    let mut policy = place.send("GET", POLICY, "").await.data().clone();
    let next = policy["nextRunTime"].take();
    assert!(next.as_str().unwrap() > backup["createTime"].as_str().unwrap(), "{next}");
    let expected = json!({
        "clusterId": "in01-test", "status": "ENABLED", "startTime": "02:00-04:00", "frequency": "1,3,5",
        "retentionDays": 5, "crossRegionCopies": [], "cron": null, "nextRunTime": null,
    });
    assert_eq!(policy, expected);

    // A change makes no backup; what is left out stays.
    place.send("POST", POLICY, r#"{"enabled":true,"cron":"0 */6 * * *"}"#).await.data();
    let policy = place.send("GET", POLICY, "").await.data().clone();
    assert_eq!((&policy["cron"], &policy["frequency"]), (&json!("0 */6 * * *"), &Value::Null), "{policy}");
    assert_eq!(policy["retentionDays"], 5);
    assert_eq!(automatic(&place).await, first);
    // As Terraform deletes it.
    let body = r#"{"frequency":"","startTime":"","retentionDays":0,"enabled":false,"crossRegionCopies":null}"#;
    let set = place.send("POST", POLICY, body).await;
    assert_eq!(set.data(), &json!({ "clusterId": "in01-test", "status": "DISABLED" }));
    assert_eq!(place.send("GET", POLICY, "").await.data(), &off);
    assert_eq!(automatic(&place).await, first, "what was made stays until it expires");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_policies_change_nothing() {
    let place = Place::start().await;
    let viewer = place.key("viewer", Role::BackupView);
    let enable = r#"{"enabled":true}"#;
    assert_eq!(place.send_as(&viewer, "POST", POLICY, enable).await.refusal(), (403, 96027));
    assert_eq!(place.send_as(&viewer, "GET", POLICY, "").await.data()["status"], "DISABLED");
    let other = "/v2/clusters/in01-other/backups/policy";
    assert_eq!(place.send("POST", other, enable).await.refusal(), (404, 96018));
    assert_eq!(place.send("GET", other, "").await.refusal(), (404, 96018));
    for (body, code) in [
        ("", 97001),
        ("[]", 97002),
        (r#"{"enabled":1}"#, 97002),
        (r#"{"enabled":true,"frequency":"8"}"#, 96032),
        (r#"{"enabled":true,"frequency":"1","cron":"0 0 * * *"}"#, 97002),
        (r#"{"enabled":true,"startTime":"02:00"}"#, 96033),
        (r#"{"enabled":true,"retentionDays":31}"#, 96034),
        (r#"{"enabled":true,"crossRegionCopies":[{"regionId":"mars","retentionDays":1}]}"#, 96001),
        (r#"{"enabled":true,"crossRegionCopies":[{"regionId":"local-eu","retentionDays":1}]}"#, 97002),
    ] {
        assert_eq!(place.send("POST", POLICY, body).await.refusal(), (400, code), "{body}");
    }
    assert_eq!(place.counts().0, 0);
    assert_eq!(place.send("GET", POLICY, "").await.data()["status"], "DISABLED");
    let audit = place.catalog().list_audit(&longshore_model::KeyScope::All, Page { size: 100, current: 1 }).unwrap();
    let refused = audit.items.iter().filter(|row| row.entry.action == "schedule.set" && row.entry.outcome != "ok");
    // Those that were refused by what the body says alone never reached the engine.
    assert_eq!(refused.count(), 5, "{audit:?}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_backups_expire_and_manual_ones_do_not() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let place = Place::start_at(clock.clone()).await;
    let manual = place.backup(r#"{"backupType":"CLUSTER"}"#).await;
    let body = r#"{"enabled":true,"frequency":"1,2,3,4,5,6,7","startTime":"02:00-04:00","retentionDays":1}"#;
    place.send("POST", POLICY, body).await.data();
    quiet(&place).await;
    let first = automatic(&place).await;
    assert_eq!(first.len(), 1);
    // The window of the next night is over: it was backed up, and the first one has 8 hours left.
    clock.forward(16 * HOUR_MS);
    assert_eq!(place.host.start_due_backups().await.unwrap().len() + automatic(&place).await.len(), 3);
    quiet(&place).await;
    assert_eq!(place.host.expire_backups().await.unwrap(), Default::default());
    clock.forward(8 * HOUR_MS - 1);
    assert_eq!(place.host.expire_backups().await.unwrap(), Default::default());
    clock.forward(1);
    let outcome = place.host.expire_backups().await.unwrap();
    let deleted: Vec<_> = outcome.deleted.iter().map(ToString::to_string).collect();
    assert_eq!((deleted, outcome.failed), (first.clone(), vec![]));
    let second = automatic(&place).await;
    assert!(second.len() == 1 && second != first);
    let vault = longshore_vault_listing(&place).await;
    assert!(!vault.contains(&first[0]) && vault.contains(&second[0]) && vault.contains(&manual), "{vault:?}");
    let audit = place.catalog().list_audit(&longshore_model::KeyScope::All, Page { size: 100, current: 1 }).unwrap();
    let noted = audit.items.iter().find(|row| row.entry.subject == first[0]).unwrap();
    assert!(noted.entry.actor.contains("it expired at 2026-03-03T12:00:00Z"), "{noted:?}");

    assert_eq!(metric(&place, "longshore_backup_overdue").await, Some(0));
    // Later backups fail: the last one stays, until nobody wants automatic backups any more.
    std::fs::rename(place.path("cluster"), place.path("elsewhere")).unwrap();
    for _ in 0..3 {
        clock.forward(24 * HOUR_MS);
        place.host.start_due_backups().await.unwrap();
        quiet(&place).await;
        place.host.expire_backups().await.unwrap();
    }
    assert_eq!(automatic(&place).await, second);
    assert_eq!(metric(&place, "longshore_backup_overdue").await, Some(1), "somebody has to look");
    place.send("POST", POLICY, r#"{"enabled":false}"#).await.data();
    place.host.expire_backups().await.unwrap();
    assert!(automatic(&place).await.is_empty());
    let vault = longshore_vault_listing(&place).await;
    assert!(vault == [manual], "{vault:?}");
    place.host.shutdown().await;
}

/// What `/metrics` says of the cluster.
async fn metric(place: &Place, name: &str) -> Option<i64> {
    let request = Request::get("/metrics").header("Authorization", format!("Bearer {}", place.owner));
    let response = place.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let bytes = to_bytes(response.into_body(), 1_000_000).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert!(name.ends_with('}') == name.contains('{') && number.parse::<f64>().is_ok(), "{line}");
    }
    let line = format!("{name}{{cluster=\"in01-test\"}} ");
    text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
}

/// Backups that the home vault has.
async fn longshore_vault_listing(place: &Place) -> Vec<String> {
    let vault =
        longshore_vault::Vault::open_local(&place.path("vault-eu"), &longshore_vault::Keys::none()).await.unwrap();
    vault.list_backups().await.unwrap().backups.iter().map(|backup| backup.root.backup_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_stopped_anywhere_are_finished() {
    let place = Place::start().await;
    place.send("POST", POLICY, r#"{"enabled":true}"#).await.data();
    quiet(&place).await;
    let id: longshore_model::BackupId = automatic(&place).await.remove(0).parse().unwrap();
    let catalog = place.catalog();
    // A host that died after the mark, before the vaults.
    catalog.mark_backup_deleted(&id, longshore_model::Timestamp::from_millis(1)).unwrap();
    assert_eq!(longshore_vault_listing(&place).await.len(), 1);
    let outcome = place.host.expire_backups().await.unwrap();
    assert_eq!((outcome.finished, outcome.deleted), (vec![id.clone()], vec![]));
    assert!(longshore_vault_listing(&place).await.is_empty());
    let filter = BackupFilter {
        creation_method: Some(CreationMethod::Auto),
        statuses: Some(vec![BackupStatus::Deleted]),
        not_purged: true,
        ..BackupFilter::default()
    };
    assert_eq!(catalog.list_backups(&filter, Page::default()).unwrap().count, 0);
    assert_eq!(place.host.expire_backups().await.unwrap(), Default::default(), "once is enough");
    // A host that died after the vaults, before its note.
    let connection = rusqlite::Connection::open(place.path("data/catalog.sqlite")).unwrap();
    assert_eq!(connection.execute("UPDATE backups SET purged_ms = NULL WHERE id = ?1", [id.as_str()]).unwrap(), 1);
    let outcome = place.host.expire_backups().await.unwrap();
    assert_eq!((outcome.finished, outcome.failed), (vec![id], vec![]));
    assert_eq!(place.host.expire_backups().await.unwrap(), Default::default());
    place.host.shutdown().await;
}

/// The copies that describe lists, as (region, status).
async fn copies(place: &Place, backup: &str) -> (Vec<(String, String)>, Value) {
    let described = place.send("GET", &format!("/v2/clusters/in01-test/backups/{backup}"), "").await;
    let data = described.data();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let copies = data["crossRegionCopies"].as_array().unwrap();
    (copies.iter().map(|copy| (text(&copy["regionId"]), text(&copy["status"]))).collect(), data["regions"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_after_the_home_backup_by_one_job_per_region_and_can_be_restored_from_alone() {
    let place = Place::start().await;
    let body = r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-us"},{"regionId":"local-us-2"}]}"#;
    let backup = place.backup(body).await;
    // The slot is free as soon as the home backup is there, whatever its copies do.
    let second = place.send("POST", crate::place::CREATE, r#"{"backupType":"CLUSTER"}"#).await;
    second.data();
    quiet(&place).await;
    let jobs = place.send("GET", "/v2/jobs?type=COPY", "").await;
    let jobs = jobs.data()["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    let home = place.send("GET", "/v2/jobs?type=BACKUP&pageSize=100", "").await;
    let home = home.data()["jobs"].as_array().unwrap().iter().find(|job| job["backupId"] == *backup).unwrap().clone();
    for job in &jobs {
        assert_eq!((&job["status"], &job["backupId"]), (&json!("SUCCESSFUL"), &json!(backup)), "{job}");
        assert!(job["createTime"].as_str() >= home["endTime"].as_str(), "a copy starts after the home backup");
    }
    let available = |region: &str| (region.to_owned(), "AVAILABLE".to_owned());
    let (listed, regions) = copies(&place, &backup).await;
    assert_eq!(listed, [available("local-us"), available("local-us-2")]);
    // Both ended side by side, and neither forgot the other.
    assert_eq!(regions, json!(["local-eu", "local-us", "local-us-2"]));
    place.host.shutdown().await;
    let alone = longshore_vault::Vault::open_local(&place.path("vault-us-2"), &longshore_vault::Keys::none()).await;
    let vaults = longshore_engine::RegionVaults::of([alone.unwrap()]).unwrap();
    let opened = longshore_engine::OpenedBackup::find(&vaults, None, &backup.parse().unwrap()).await.unwrap();
    assert_eq!(
        opened.collections().unwrap().len(),
        opened.sealed().unwrap().extra["collections"].as_u64().unwrap() as usize
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_copy_goes_at_its_own_time_and_the_backup_with_the_last_of_its_regions() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let place = Place::start_at(clock.clone()).await;
    let body = r#"{"enabled":true,"frequency":"7","retentionDays":2,"crossRegionCopies":[
        {"regionId":"local-us","retentionDays":1},{"regionId":"local-us-2","retentionDays":3}]}"#;
    place.send("POST", POLICY, body).await.data();
    quiet(&place).await;
    quiet(&place).await;
    let backup = automatic(&place).await.remove(0);
    let entry = |region: &str, status: &str| (region.to_owned(), status.to_owned());
    let expected = [entry("local-us", "AVAILABLE"), entry("local-us-2", "AVAILABLE")];
    assert_eq!(copies(&place, &backup).await.0, expected);
    let policy = place.send("GET", POLICY, "").await;
    let expected = json!([
        { "regionId": "local-us", "retentionDays": 1, "region": "local-us" },
        { "regionId": "local-us-2", "retentionDays": 3, "region": "local-us-2" },
    ]);
    assert_eq!(policy.data()["crossRegionCopies"], expected);
    clock.forward(24 * HOUR_MS - 1);
    assert!(place.host.expire_copies().await.unwrap().is_empty());
    clock.forward(1);
    assert_eq!(place.host.expire_copies().await.unwrap().len(), 1);
    assert!(place.host.expire_copies().await.unwrap().is_empty(), "once is enough");
    let (listed, regions) = copies(&place, &backup).await;
    assert_eq!(listed, [entry("local-us", "EXPIRED"), entry("local-us-2", "AVAILABLE")]);
    assert_eq!(regions, json!(["local-eu", "local-us-2"]));
    let gone =
        longshore_vault::Vault::open_local(&place.path("vault-us"), &longshore_vault::Keys::none()).await.unwrap();
    assert!(gone.list_backups().await.unwrap().backups.is_empty());
    // Nobody wants automatic backups any more, so nothing keeps the last one; the home backup stays for its copy.
    place.send("POST", POLICY, r#"{"enabled":false}"#).await.data();
    clock.forward(2 * 24 * HOUR_MS - 1);
    place.host.expire_backups().await.unwrap();
    assert_eq!(automatic(&place).await, std::slice::from_ref(&backup));
    clock.forward(1);
    place.host.expire_backups().await.unwrap();
    assert!(automatic(&place).await.is_empty());
    place.host.shutdown().await;
}

/// The one copy job of a host.
async fn copy_job(place: &Place) -> Value {
    place.send("GET", "/v2/jobs?type=COPY", "").await.data()["jobs"][0].clone()
}

/// Waits until the copy job waits to be tried again, or has ended.
async fn copy_rests(place: &Place, retries: u64) -> Value {
    for _ in 0..3_000 {
        let job = copy_job(place).await;
        let rests = job["status"] == "PENDING" && job["retries"] == retries;
        if rests || ["SUCCESSFUL", "FAILED", "CANCELED"].iter().any(|status| job["status"] == *status) {
            return job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the copy did not come to rest: {}", copy_job(place).await);
}

const WITH_COPY: &str = r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-us"}]}"#;

async fn host_that_retries(clock: &ManualClock) -> Place {
    let more = "[limits]\ncopy_retries = 2\ncopy_retry_ms = 60000\nheartbeat_ms = 10\n".to_owned();
    Place::start_as(Start { clock: std::sync::Arc::new(clock.clone()), more, ..Start::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_vault_is_away_is_tried_again_with_growing_pauses() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let place = host_that_retries(&clock).await;
    std::fs::rename(place.path("vault-us"), place.path("away")).unwrap();
    let backup = place.backup(WITH_COPY).await;
    let job = copy_rests(&place, 1).await;
    assert_eq!((&job["status"], &job["nextRetryTime"]), (&json!("PENDING"), &json!("2026-03-02T12:01:00Z")), "{job}");
    assert!(job["reason"].as_str().unwrap().contains("local-us"), "{job}");
    let described = place.send("GET", &format!("/v2/clusters/in01-test/backups/{backup}"), "").await.data().clone();
    let copy = &described["crossRegionCopies"][0];
    assert_eq!((&copy["status"], &copy["reason"]), (&json!("CREATING"), &job["reason"]), "{described}");
    assert_eq!(described["status"], "AVAILABLE", "the backup itself is good");
    // What it copies stays, and it does not hold the slot.
    let path = format!("/v2/clusters/in01-test/backups/{backup}");
    assert_eq!(place.send("DELETE", &path, "").await.refusal(), (409, 97004));
    place.backup(r#"{"backupType":"CLUSTER"}"#).await;
    clock.forward(60_000);
    let job = copy_rests(&place, 2).await;
    assert_eq!(job["nextRetryTime"], "2026-03-02T12:03:00Z", "twice as long: {job}");
    assert!(!place.path("vault-us").exists(), "something was written where the vault is missing");
    std::fs::rename(place.path("away"), place.path("vault-us")).unwrap();
    clock.forward(120_000);
    let job = place.ended(job["jobId"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["retries"]), (&json!("SUCCESSFUL"), &json!(2)), "{job}");
    assert_eq!((&job["reason"], &job["nextRetryTime"]), (&json!(""), &Value::Null));
    let (listed, _) = copies(&place, &backup).await;
    assert_eq!(listed, [("local-us".to_owned(), "AVAILABLE".to_owned())]);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_given_up_after_its_retries_and_can_be_canceled_while_it_waits() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let place = host_that_retries(&clock).await;
    std::fs::rename(place.path("vault-us"), place.path("away")).unwrap();
    let backup = place.backup(WITH_COPY).await;
    for retries in 1..=2 {
        copy_rests(&place, retries).await;
        clock.forward(10 * 60_000);
    }
    let job = place.ended(copy_job(&place).await["jobId"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["retries"]), (&json!("FAILED"), &json!(2)), "{job}");
    let (listed, _) = copies(&place, &backup).await;
    assert_eq!(listed, [("local-us".to_owned(), "FAILED".to_owned())]);
    let second = place.backup(WITH_COPY).await;
    let job = copy_rests(&place, 1).await;
    assert_eq!(job["backupId"], *second);
    let id = job["jobId"].as_str().unwrap();
    let canceled = place.send("POST", &format!("/v2/jobs/{id}/cancel"), "{}").await;
    assert_eq!((&canceled.data()["status"], &canceled.data()["nextRetryTime"]), (&json!("CANCELED"), &Value::Null));
    clock.forward(60 * 60_000);
    assert_eq!(place.ended(id).await["status"], "CANCELED");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_time_will_mend_is_not_tried_again() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let place = host_that_retries(&clock).await;
    let backup = place.backup(r#"{"backupType":"CLUSTER"}"#).await;
    // Its packs are lost: a copy fails at once, whenever it is tried.
    std::fs::remove_dir_all(place.path("vault-eu/packs")).unwrap();
    let job = longshore_catalog::NewJob {
        id: "job-copy".parse().unwrap(),
        job_type: longshore_model::JobType::Copy,
        project: "proj-test".parse().unwrap(),
        cluster: Some("in01-test".parse().unwrap()),
        backup: Some(backup.parse().unwrap()),
        request: json!({ "kind": "copy", "to": "local-us", "collections": [] }),
    };
    place.catalog().create_job(&job, longshore_model::Timestamp::from_millis(1)).unwrap();
    let ended = place.ended("job-copy").await;
    assert_eq!((&ended["status"], &ended["retries"]), (&json!("FAILED"), &json!(0)), "{ended}");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_days_of_grace_automatic_backups_outlive_their_cluster_and_no_longer() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    // Before the first table.
    let start = Start { clock: std::sync::Arc::new(clock.clone()), ..Start::default() };
    let place = Place::start_with_head("dropped_cluster_grace_days = 2\n", start).await;
    let manual = place.backup(r#"{"backupType":"CLUSTER"}"#).await;
    place.send("POST", POLICY, r#"{"enabled":true,"retentionDays":30}"#).await.data();
    quiet(&place).await;
    let backup = automatic(&place).await.remove(0);
    let dropped = place.send("DELETE", "/v2/clusters/in01-test/drop", "{}").await.data().clone();
    assert_eq!((&dropped["deletedBackups"], &dropped["backupsKeptUntil"]), (&json!(0), &json!("2026-03-04T12:00:00Z")));
    assert!(dropped["prompt"].as_str().unwrap().contains("2026-03-04T12:00:00Z"), "{dropped}");
    let path = format!("/v2/clusters/in01-test/backups/{backup}");
    let described = place.send("GET", &path, "").await.data().clone();
    assert_eq!((&described["status"], &described["expireTime"]), (&json!("AVAILABLE"), &json!("2026-03-04T12:00:00Z")));
    // Until then it can be restored.
    let body = r#"{"projectId":"proj-test","clusterName":"Back","cuSize":1,"collectionStatus":"KEEP"}"#;
    let restored = place.send("POST", &format!("{path}/restoreCluster"), body).await.data().clone();
    assert_eq!(place.ended(restored["jobId"].as_str().unwrap()).await["status"], "SUCCESSFUL");
    clock.forward(48 * HOUR_MS - 1);
    assert_eq!(place.host.expire_backups().await.unwrap(), Default::default());
    clock.forward(1);
    let deleted: Vec<String> =
        place.host.expire_backups().await.unwrap().deleted.iter().map(ToString::to_string).collect();
    assert_eq!(deleted, [backup]);
    assert_eq!(longshore_vault_listing(&place).await, [manual], "backups made by hand stay");
    place.host.shutdown().await;
}
