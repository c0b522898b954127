//! What a host tells Prometheus, read by Prometheus's own parser; and its log as JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use longshore_tests::{Client, HostPlace, Ran, not_run, plugin, root};
use serde_json::Value;

const CREATE: &str = "/v2/clusters/in01-test/backups/create";

/// A Python with Prometheus's client; `None`, noted as skipped, where it cannot be had.
fn python() -> Option<String> {
    let script = root().join("tests/python/venv.sh");
    let requirements = root().join("tests/python/requirements-prometheus.txt");
    let ran: Ran = Command::new("bash").arg(script).arg(requirements).arg("prometheus_client").output().ok()?.into();
    if ran.code != 0 {
        not_run(&format!("Prometheus's own parser: {}", ran.stderr.trim()));
        return None;
    }
    ran.stdout.trim().lines().last().map(str::to_owned)
}

/// The metrics of a host as the parser reads them.
async fn metrics(python: &str, client: &Client) -> Value {
    let (status, text) = client.send("GET", "/metrics", None).await;
    assert_eq!(status, 200);
    let mut child = Command::new(python)
        .arg(root().join("tests/python/read_metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_str().expect("text, not JSON").as_bytes()).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.ok().json()
}

/// The value of one sample, by its name and labels.
fn value(metrics: &Value, family: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = metrics[family]["samples"].as_array().unwrap_or_else(|| panic!("no family {family}: {metrics}"));
    let is_it = |sample: &&Value| {
        sample["name"] == name && labels.iter().all(|(label, text)| sample["labels"][*label] == **text)
    };
    samples.iter().find(is_it).map(|sample| sample["value"].as_f64().unwrap())
}

async fn back_up(client: &Client) -> Value {
    let made = client.data("POST", CREATE, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    client.ended(made["jobId"].as_str().unwrap()).await
}

#[tokio::test]
async fn prometheus_reads_what_happened() {
    let Some(python) = python() else { return };
    let policy = format!(
        "recovery_point_objective_seconds = 3600\n[[policy.selection]]\nplugin = '{}'\nname = \"hostile\"\nsettings = {{ behaviour = \"panic\" }}\n\
         on_failure = \"skip\"\n[[policy.selection]]\nplugin = \"standard\"\n",
        plugin("hostile").display()
    );
    let host = HostPlace::new(&policy);
    let (server, client) = host.start();
    let empty = metrics(&python, &client).await;
    assert_eq!(value(&empty, "longshore_newest_backup_age_seconds", "longshore_newest_backup_age_seconds", &[]), None);
    let job = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    std::fs::rename(host.path().join("sample.db"), host.path().join("away")).unwrap();
    let (status, _) = client.send("POST", CREATE, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    assert_eq!(status, 500, "the cluster cannot be read");
    std::fs::rename(host.path().join("away"), host.path().join("sample.db")).unwrap();

    let read = metrics(&python, &client).await;
    let one = |family: &str, labels: &[(&str, &str)]| value(&read, family, family, labels);
    let ended = [("type", "BACKUP"), ("status", "SUCCESSFUL")];
    assert_eq!(one("longshore_jobs", &ended), Some(1.0));
    assert_eq!(read["longshore_job_moved_bytes"]["type"], "counter");
    let moved = value(&read, "longshore_job_moved_bytes", "longshore_job_moved_bytes_total", &ended).unwrap();
    assert_eq!(moved, job["doneBytes"].as_f64().unwrap(), "{job}");
    assert_eq!(read["longshore_job_duration_seconds"]["type"], "histogram");
    let histogram = |name: &str| value(&read, "longshore_job_duration_seconds", name, &ended).unwrap();
    assert_eq!(histogram("longshore_job_duration_seconds_count"), 1.0);
    let took = histogram("longshore_job_duration_seconds_sum");
    // Times of a job are told in whole seconds.
    let told = |key: &str| job[key].as_str().unwrap().parse::<longshore_model::Timestamp>().unwrap();
    let seconds = told("endTime").millis_since(told("startTime")) as f64 / 1_000.0;
    assert!(took > 0.0 && (seconds - 1.0..seconds + 1.0).contains(&took), "{took} s: {job}");
    assert_eq!(one("longshore_backups", &[("status", "AVAILABLE")]), Some(1.0));
    assert!(one("longshore_vault_used_bytes", &[("region", "local-eu")]).unwrap() > 0.0);
    assert_eq!(one("longshore_vault_up", &[("region", "local-us")]), Some(1.0));
    let cluster = [("cluster", "in01-test")];
    let age = one("longshore_newest_backup_age_seconds", &cluster).unwrap();
    assert!((0.0..600.0).contains(&age), "{age}");
    assert_eq!(one("longshore_backup_overdue", &cluster), Some(0.0));
    assert!(one("longshore_catalog_snapshot_timestamp_seconds", &[("region", "local-eu")]).is_some());
    let policy = |family: &str, labels: &[(&str, &str)]| value(&read, family, &format!("{family}_total"), labels);
    let standard = [("kind", "selection"), ("member", "standard")];
    assert!(policy("longshore_policy_calls", &standard).unwrap() >= 1.0);
    assert!(policy("longshore_policy_fuel", &standard).unwrap() > 1_000.0);
    let hostile = [("kind", "selection"), ("member", "hostile")];
    assert_eq!(policy("longshore_policy_failures", &hostile), Some(1.0), "{read}");
    assert!(policy("longshore_policy_time_seconds", &[("member", "standard")]).unwrap() > 0.0);
    assert_eq!(policy("longshore_policy_events", &[("event", "failures")]), Some(1.0), "{read}");
    assert_eq!(one("longshore_policy_quarantined_members", &[]), Some(0.0));
    assert_eq!(one("longshore_policy_set", &[]), Some(1.0));

    // What is summed over jobs goes on after a restart; what the process counted begins anew.
    server.stop();
    let (server, client) = host.start();
    let read = metrics(&python, &client).await;
    assert_eq!(value(&read, "longshore_job_moved_bytes", "longshore_job_moved_bytes_total", &ended), Some(moved));
    assert_eq!(value(&read, "longshore_policy_calls", "longshore_policy_calls_total", &standard), None);
    server.stop();
}

#[tokio::test]
async fn a_log_in_json_is_one_object_per_line() {
    let host = HostPlace::new("[log]\nformat = \"json\"\n");
    let (server, client) = host.start();
    back_up(&client).await;
    server.signal("TERM");
    let mut lines = Vec::new();
    for _ in 0..500 {
        lines = server.log().lines().map(str::to_owned).collect();
        if lines.iter().any(|line| line.contains("stopping")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let events: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let ended = events.iter().find(|event| event["message"] == "job ended").unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!((&ended["level"], &ended["status"]), (&"INFO".into(), &"SUCCESSFUL".into()), "{ended}");
    assert!(ended["timestamp"].is_string() && ended["job"].as_str().unwrap().starts_with("job-"), "{ended}");
}
