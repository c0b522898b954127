//! The webhook: what happened is told to a real server, at least once, signed, and not for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use base64::Engine as _;
use longshore_catalog::{AuditEntry, Catalog as _, Page};
use longshore_server::HttpNotifier;
use serde_json::{Value, json};

use crate::place::{ManualClock, Place, Start};

const CLUSTER_BODY: &str = r#"{"backupType":"CLUSTER"}"#;
const SECRET: &str = "a secret that only we and the receiver know";
const HOUR_MS: i64 = 3_600_000;

/// A message that arrived.
#[derive(Debug, Clone)]
struct Arrived {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks the signature as the specification says, with nothing of ours.
    fn is_signed(&self) -> bool {
        let timestamp = self.headers["webhook-timestamp"].to_str().unwrap();
        let content = [self.id().as_bytes(), b".", timestamp.as_bytes(), b".", &self.body].concat();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = self.headers["webhook-signature"].to_str().unwrap().strip_prefix("v1,").unwrap();
        let signature = base64::engine::general_purpose::STANDARD.decode(signature).unwrap();
        ring::hmac::verify(&key, &content, &signature).is_ok()
    }
}

#[derive(Default)]
struct Seen {
    arrived: Vec<Arrived>,
    /// Answers to the next messages; 204 when there are none left.
    answers: VecDeque<Response>,
    /// Takes messages and does not answer.
    hangs: bool,
}

/// A server that takes messages.
#[derive(Clone)]
struct Receiver {
    seen: Arc<Mutex<Seen>>,
    url: String,
}

impl Receiver {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hidden-in-the-address", listener.local_addr().unwrap());
        let take = |State(seen): State<Arc<Mutex<Seen>>>, uri: axum::http::Uri, headers: HeaderMap, body: Bytes| async move {
            let answer = {
                let mut seen = seen.lock().unwrap();
                seen.arrived.push(Arrived { path: uri.to_string(), headers, body });
                if seen.hangs { None } else { Some(seen.answers.pop_front()) }
            };
            match answer {
                Some(answer) => answer.unwrap_or_else(|| StatusCode::NO_CONTENT.into_response()),
                None => std::future::pending().await,
            }
        };
        let router = Router::new().fallback(any(take)).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { seen, url }
    }

    fn answer(&self, answers: impl IntoIterator<Item = Response>) {
        self.seen.lock().unwrap().answers.extend(answers);
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.seen.lock().unwrap().arrived.clone()
    }

    /// Waits until so many messages have arrived. Bounded, so that a host that sends none fails the test.
    async fn wait_for(&self, count: usize) -> Vec<Arrived> {
        for _ in 0..3_000 {
            let arrived = self.arrived();
            if arrived.len() >= count {
                return arrived;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} messages did not arrive within half a minute: {:?}", self.arrived());
    }

    /// How a host is started that tells this receiver.
    fn start_of(&self, folder: &std::path::Path, more: &str) -> Start {
        let path = folder.join("webhook.secret");
        if !path.exists() {
            longshore_engine::write_key_file(&path, "x", "x").unwrap();
            std::fs::write(&path, SECRET).unwrap();
        }
        let more = format!(
            "[webhook]\nurl = \"{}\"\nsecret_file = \"webhook.secret\"\ntimeout_ms = 2000\nattempts = 3\n{more}",
            self.url
        );
        Start { more, notifier: Some(Arc::new(HttpNotifier::new().unwrap())), ..Start::default() }
    }
}

const FAST: &str = "[limits]\ndelivery_look_ms = 10\ndelivery_retry_ms = 10\n";
/// Nothing is sent but when the test says so.
const SLOW: &str =
    "[limits]\ndelivery_look_ms = 100000000\noverdue_look_ms = 100000000000000\ndelivery_retry_ms = 60000\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_each_job_is_told_once_and_signed() {
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    let start = receiver.start_of(folder.path(), FAST);
    let place = Place::start_in(folder, start).await;
    let backup = place.backup(CLUSTER_BODY).await;
    let gone = place.path("cluster");
    std::fs::rename(&gone, place.path("elsewhere")).unwrap();
    let verified =
        place.send("POST", &format!("/v2/clusters/in01-test/backups/{backup}/verify"), "{}").await.data().clone();
    place.ended(verified["jobId"].as_str().unwrap()).await;
    let arrived = receiver.wait_for(2).await;
    assert!(arrived.iter().all(Arrived::is_signed), "{arrived:?}");
    let told: Vec<Value> = arrived.iter().map(Arrived::json).collect();
    for message in &told {
        assert_eq!(message["type"], "job.ended");
        let id = message["data"]["jobId"].as_str().unwrap();
        let job = place.send("GET", &format!("/v2/jobs/{id}"), "").await.data().clone();
        for name in
            ["type", "status", "reason", "startTime", "endTime", "createTime", "clusterId", "backupId", "retries"]
        {
            assert_eq!(message["data"][name], job[name], "{name}: {message} {job}");
        }
    }
    let mut kinds: Vec<&str> = told.iter().map(|message| message["data"]["type"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["BACKUP", "VERIFY"]);
    assert_eq!(arrived[0].headers["content-type"], "application/json");
    // A tampered body is not signed.
    let mut tampered = arrived[0].clone();
    tampered.body = Bytes::from(arrived[0].body.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    assert!(!tampered.is_signed());
    place.host.tell_webhook().await.unwrap();
    assert_eq!(receiver.arrived().len(), 2, "once is enough");
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_later_under_the_same_id_and_given_up_in_the_end() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    let start = Start { clock: Arc::new(clock.clone()), ..receiver.start_of(folder.path(), SLOW) };
    let place = Place::start_in(folder, start).await;
    place.backup(CLUSTER_BODY).await;
    let target = format!("{}/elsewhere", receiver.url.split("/hook").next().unwrap());
    receiver.answer([
        StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (StatusCode::TEMPORARY_REDIRECT, [("location", target)]).into_response(),
        StatusCode::FORBIDDEN.into_response(),
    ]);
    let waiting = || place.catalog().due_deliveries(longshore_model::Timestamp::from_millis(i64::MAX), 10).unwrap();
    assert_eq!(place.host.tell_webhook().await.unwrap(), 0);
    assert_eq!(place.host.tell_webhook().await.unwrap(), 0);
    assert_eq!(receiver.arrived().len(), 1, "not again at once");
    assert_eq!(waiting()[0].error.as_deref(), Some("it answered 500"));
    clock.forward(60_000);
    place.host.tell_webhook().await.unwrap();
    let arrived = receiver.arrived();
    assert_eq!(arrived.len(), 2);
    assert!(arrived.iter().all(|one| one.path.starts_with("/hook")), "a redirect was followed: {arrived:?}");
    assert!(waiting()[0].error.as_deref().unwrap().contains("redirects are not followed"));
    clock.forward(60_000);
    place.host.tell_webhook().await.unwrap();
    assert_eq!(receiver.arrived().len(), 2, "the pause grows");
    clock.forward(3 * 60_000);
    place.host.tell_webhook().await.unwrap();
    let arrived = receiver.arrived();
    assert!(arrived.len() == 3 && arrived.iter().all(|one| one.id() == arrived[0].id() && one.is_signed()));
    assert_ne!(arrived[0].headers["webhook-timestamp"], arrived[2].headers["webhook-timestamp"]);
    clock.forward(1_000 * HOUR_MS);
    place.host.tell_webhook().await.unwrap();
    assert_eq!(receiver.arrived().len(), 3, "it is given up after three attempts");
    let counts = place.catalog().count_deliveries().unwrap();
    assert_eq!((counts.waiting, counts.abandoned), (0, 1));
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_told_after_a_restart_and_a_receiver_that_hangs_holds_nothing_up() {
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    // Nobody listens at this address: a port that was free a moment ago.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut away = receiver.start_of(folder.path(), "[limits]\ndelivery_look_ms = 10\ndelivery_retry_ms = 1\n");
    away.more = away
        .more
        .replace(&receiver.url, &format!("http://{nobody}/hook?token=hidden"))
        .replace("attempts = 3", "attempts = 20");
    let place = Place::start_in(folder, away).await;
    place.backup(CLUSTER_BODY).await;
    let waiting =
        |place: &Place| place.catalog().due_deliveries(longshore_model::Timestamp::from_millis(i64::MAX), 10).unwrap();
    for _ in 0..1_000 {
        if waiting(&place).iter().any(|row| row.attempts > 0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let row = waiting(&place).remove(0);
    let error = row.error.unwrap();
    assert!(row.attempts > 0 && !error.contains("hidden") && !error.contains("/hook"), "{error}");
    receiver.seen.lock().unwrap().hangs = true;
    let mut start = receiver.start_of(place.folder.path(), FAST);
    start.more = start.more.replace("timeout_ms = 2000", "timeout_ms = 60000");
    let place = place.restart(start.clone()).await;
    let arrived = receiver.wait_for(1).await;
    assert_eq!(arrived[0].id(), row.name, "the same id as before");
    assert_eq!(arrived[0].json()["data"]["type"], "BACKUP");
    // A host that ends does not wait for an answer; the next one sends it again.
    let restarting = tokio::time::timeout(std::time::Duration::from_secs(50), place.restart(start));
    let place = restarting.await.expect("the host waits for a receiver that hangs");
    let arrived = receiver.wait_for(2).await;
    assert_eq!(arrived[1].id(), row.name);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_webhook_nothing_waits() {
    let place = Place::start_as(Start { more: FAST.to_owned(), ..Start::default() }).await;
    place.backup(CLUSTER_BODY).await;
    place.host.tell_webhook().await.unwrap();
    assert_eq!(place.catalog().count_deliveries().unwrap(), Default::default());
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_others_can_read_stops_the_host_at_its_start() {
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    let start = receiver.start_of(folder.path(), FAST);
    std::fs::set_permissions(folder.path().join("webhook.secret"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let path = folder.path().join("longshore.toml");
    std::fs::write(&path, format!("{}{}", crate::place::CONFIGURATION, start.more)).unwrap();
    let config = longshore_engine::HostConfig::read(&path).unwrap();
    assert!(!format!("{config:?}").contains("hidden-in-the-address"), "the address may hold a token");
    let error = longshore_engine::Host::start(config, Default::default()).await.err().unwrap().to_string();
    assert!(error.contains("chmod 600") && !error.contains(SECRET), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_good_backup_is_told_repeated_and_called_off() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    let mut start = Start { clock: Arc::new(clock.clone()), ..receiver.start_of(folder.path(), SLOW) };
    // The last table of the configuration is the cluster.
    start.more = format!("recovery_point_objective_seconds = 7200\n{}", start.more);
    let place = Place::start_in(folder, start.clone()).await;
    let alarms = async |place: &Place| {
        place.host.raise_alarms().await.unwrap();
        place.host.tell_webhook().await.unwrap();
        let of = |one: &Arrived| Some(one.json()).filter(|json| json["type"] != "job.ended");
        receiver.arrived().iter().filter_map(of).collect::<Vec<Value>>()
    };
    let metric = async |place: &Place| {
        let who = longshore_engine::Principal::host("t", longshore_engine::Role::OrganizationOwner);
        place.host.metrics(&who).await.unwrap().clusters[0].overdue.is_some()
    };
    clock.forward(2 * HOUR_MS);
    assert!(alarms(&place).await.is_empty() && !metric(&place).await, "it has two hours for its first backup");
    clock.forward(1);
    let told = alarms(&place).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["type"], &told[0]["data"]["clusterId"]), (&json!("backup.overdue"), &json!("in01-test")));
    assert_eq!(told[0]["data"]["reason"], "recovery-point-objective", "{told:?}");
    assert_eq!(told[0]["data"]["newestBackupTime"], Value::Null);
    assert!(metric(&place).await);
    clock.forward(23 * HOUR_MS);
    assert_eq!(alarms(&place).await.len(), 1, "not again for a day");
    // Another host in its place says nothing new either.
    let place = place.restart(start).await;
    assert_eq!(alarms(&place).await.len(), 1);
    clock.forward(HOUR_MS);
    assert_eq!(alarms(&place).await.len(), 2, "again after a day");
    place.backup(CLUSTER_BODY).await;
    let told = alarms(&place).await;
    assert_eq!((told.len(), &told[2]["type"]), (3, &json!("backup.recovered")), "{told:?}");
    assert_ne!(told[2]["data"]["newestBackupTime"], Value::Null);
    assert_eq!(alarms(&place).await.len(), 3);
    // And from the beginning, counted from that backup.
    clock.forward(2 * HOUR_MS + 1);
    assert_eq!(alarms(&place).await.len(), 4);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_backups_fail_raises_the_alarm_too() {
    let clock = ManualClock::at("2026-03-02T12:00:00Z");
    let receiver = Receiver::start().await;
    let folder = Place::folder();
    let start = Start { clock: Arc::new(clock.clone()), ..receiver.start_of(folder.path(), SLOW) };
    let place = Place::start_in(folder, start).await;
    place.send("POST", "/v2/clusters/in01-test/backups/policy", r#"{"enabled":true,"cron":"0 12 * * *"}"#).await.data();
    let jobs = place.send("GET", "/v2/jobs", "").await.data()["jobs"].clone();
    place.ended(jobs[0]["jobId"].as_str().unwrap()).await;
    std::fs::rename(place.path("cluster"), place.path("elsewhere")).unwrap();
    let raised = async || {
        place.host.raise_alarms().await.unwrap();
        place.host.tell_webhook().await.unwrap();
        receiver.arrived().iter().map(Arrived::json).filter(|json| json["type"] == "backup.overdue").collect::<Vec<_>>()
    };
    // The backup of the next day at noon has six hours of grace.
    clock.forward(30 * HOUR_MS);
    assert!(raised().await.is_empty());
    clock.forward(1);
    let raised = raised().await;
    assert_eq!((raised.len(), &raised[0]["data"]["reason"]), (1, &json!("schedule")), "{raised:?}");
    let audit: Vec<AuditEntry> = place
        .catalog()
        .list_audit(&longshore_model::KeyScope::All, Page { size: 100, current: 1 })
        .unwrap()
        .items
        .into_iter()
        .map(|row| row.entry)
        .collect();
    assert!(!format!("{audit:?}").contains(SECRET));
    place.host.shutdown().await;
}
