//! The host behind its REST API, as a real process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use longshore_tests::{Client, HostPlace, Server, longshore_in, plugin, residency};
use serde_json::Value;

/// The guide's two request bodies, byte for byte.
const CLUSTER: &str = "{\n\"backupType\": \"CLUSTER\"\n}";
const COLLECTION: &str = "{\n\"backupType\": \"COLLECTION\",\n\"dbCollections\": [\n{\n\"collectionNames\": [\n\"medium_articles\"\n]\n}\n]\n}";
const CREATE: &str = "/v2/clusters/in01-test/backups/create";

/// A host and a key to it.
struct Place {
    host: HostPlace,
    key: String,
}

impl Place {
    fn new(policy: &str) -> Self {
        let host = HostPlace::new(policy);
        let key = host.new_key("tests", "organization-owner");
        Self { host, key }
    }

    fn path(&self) -> &Path {
        self.host.path()
    }

    fn start(&self) -> (Server, Client) {
        let server = Server::start(&self.host.config);
        let client = Client::new(&server, &self.key);
        (server, client)
    }

    /// Checks a backup with the command line: whole in every vault that holds some of it.
    fn verified(&self, backup: &str) -> Value {
        let arguments =
            ["verify", "vault", backup, "--vault", "vault-us", "--vault", "vault-eu-2", "--level", "decoded", "--json"];
        longshore_in(self.path(), arguments).ok().json()
    }
}

fn hostile(behaviour: &str, more: &str) -> String {
    format!(
        "[[policy.selection]]\nplugin = '{}'\nname = \"hostile\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n{more}\n[[policy.selection]]\nplugin = \"standard\"\n",
        plugin("hostile").display()
    )
}

async fn back_up(client: &Client, body: &str) -> (String, Value) {
    let made = client.data("POST", CREATE, Some(body)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    (made["backupId"].as_str().unwrap().to_owned(), job)
}

async fn decisions(client: &Client, backup: &str) -> Value {
    client.data("GET", &format!("/v2/clusters/in01-test/backups/{backup}/decisions"), None).await
}

fn placements(decisions: &Value) -> Vec<(String, String)> {
    let rows = decisions["decisions"]["rows"].as_array().unwrap();
    rows.iter()
        .filter(|row| row["kind"] == "placement")
        .map(|row| (row["item"].as_str().unwrap().to_owned(), row["decision"].as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn the_guides_requests_make_backups_that_can_be_described_listed_restored_and_deleted() {
    let place = Place::new("");
    let (server, client) = place.start();
    let (cluster, job) = back_up(&client, CLUSTER).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert_eq!(job["progress"], "100");
    let (collection, job) = back_up(&client, COLLECTION).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");

    let described = client.data("GET", &format!("/v2/clusters/in01-test/backups/{cluster}"), None).await;
    assert_eq!(described["status"], "AVAILABLE");
    assert_eq!(described["backupName"], "Dedicated-01_backup1");
    let listed = client.data("GET", "/v2/backups?clusterId=in01-test&pageSize=1&currentPage=2", None).await;
    assert_eq!((&listed["count"], &listed["backups"][0]["backupId"]), (&2.into(), &cluster.as_str().into()));

    let body = r#"{"projectId":"proj-test","clusterName":"Restored","cuSize":1,"collectionStatus":"KEEP"}"#;
    let path = format!("/v2/clusters/in01-test/backups/{cluster}/restoreCluster");
    let restoring = client.data("POST", &path, Some(body)).await;
    let job = client.ended(restoring["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let new = restoring["clusterId"].as_str().unwrap();
    let described = client.data("GET", &format!("/v2/clusters/{new}"), None).await;
    assert_eq!(described["clusterName"], "Restored");

    let body = format!(
        r#"{{"destClusterId":"{new}","dbCollections":[{{"dbName":"default","destDbName":"default","collections":[{{"collectionName":"medium_articles","destCollectionName":"copy","destCollectionStatus":"LOADED"}}]}}]}}"#
    );
    let path = format!("/v2/clusters/in01-test/backups/{collection}/restoreCollection");
    let restoring = client.data("POST", &path, Some(&body)).await;
    let job = client.ended(restoring["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");

    client.data("DELETE", &format!("/v2/clusters/in01-test/backups/{cluster}"), None).await;
    let listed = client.data("GET", "/v2/backups", None).await;
    assert_eq!(listed["count"], 1);
    let left = longshore_in(place.path(), ["list", "vault", "--json"]).ok().json();
    assert_eq!(left["backups"].as_array().unwrap().len(), 1);
    server.stop();
}

#[tokio::test]
async fn swapping_the_policy_changes_placement_and_the_manifest_says_who_decided() {
    let place = Place::new("");
    let (server, client) = place.start();
    let (first, _) = back_up(&client, CLUSTER).await;
    let before = decisions(&client, &first).await;
    assert!(placements(&before).iter().all(|(_, region)| region == "local-eu"), "{before}");

    place.host.write(&residency("{}"));
    client.data("POST", "/v2/reload", Some("{}")).await;
    let (second, job) = back_up(&client, CLUSTER).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let after = decisions(&client, &second).await;
    let regions: Vec<String> = placements(&after).into_iter().map(|(_, region)| region).collect();
    assert!(regions.contains(&"local-us".to_owned()) && regions.contains(&"local-eu".to_owned()), "{after}");
    let file = std::fs::read(plugin("residency")).unwrap();
    let digest = longshore_vault::digest_of(&file).to_string();
    assert_eq!(after["policies"]["placement"][0]["digest"], digest.as_str(), "{after}");
    assert_eq!(place.verified(&second)["whole"], true);

    // A configuration that is wrong changes nothing, and says so.
    place.host.write("[[policy.placement]]\nplugin = \"nowhere.wasm\"");
    let (status, answer) = client.send("POST", "/v2/reload", Some("{}")).await;
    assert!(status >= 400 && answer["message"].as_str().unwrap().contains("nowhere.wasm"), "{status} {answer}");
    let (third, _) = back_up(&client, CLUSTER).await;
    assert_eq!(placements(&decisions(&client, &third).await), placements(&after));
    server.stop();
}

#[tokio::test]
async fn the_hangup_signal_reloads_too() {
    let place = Place::new("");
    let (server, client) = place.start();
    place.host.write(&residency("{}"));
    server.signal("HUP");
    // The signal has no answer; the log says when it was carried out.
    for _ in 0..500 {
        if server.log().contains("reloaded: policy placement: residency") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (backup, _) = back_up(&client, CLUSTER).await;
    let regions = placements(&decisions(&client, &backup).await);
    assert!(regions.iter().any(|(_, region)| region == "local-us"), "{regions:?} {}", server.log());
    server.stop();
}

#[tokio::test]
async fn a_second_region_gets_a_copy_that_can_be_restored_alone() {
    let place = Place::new(&residency("{ second_region = true }"));
    let (server, client) = place.start();
    let (backup, job) = back_up(&client, CLUSTER).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let jobs = client.data("GET", "/v2/jobs?pageSize=100", None).await;
    let copies: Vec<&Value> = jobs["jobs"].as_array().unwrap().iter().filter(|job| job["type"] == "COPY").collect();
    assert!(!copies.is_empty(), "{jobs}");
    for copy in copies {
        let ended = client.ended(copy["jobId"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "SUCCESSFUL", "{ended}");
    }
    assert_eq!(place.verified(&backup)["whole"], true);
    server.stop();
    // The vault with the copy is enough for what it holds.
    std::fs::rename(place.path().join("vault"), place.path().join("gone")).unwrap();
    let shown = longshore_in(place.path(), ["show", "vault-eu-2", &backup, "--vault", "vault-us", "--json"]);
    let eu: Vec<Value> = shown.json()["collections"].as_array().cloned().unwrap_or_default();
    assert!(eu.iter().any(|one| one["region"] == "local-eu-2"), "{shown:?}");
}

#[tokio::test]
async fn a_plugin_that_misbehaves_fails_the_job_with_its_name_and_within_its_budget() {
    // A budget stays within the operator's ceiling, which a host takes when it starts.
    let place = Place::new("[plugin_ceiling]\nfuel = 1000000000000000");
    let (server, client) = place.start();
    let cases = [
        ("loop", "budget = { fuel = 20000000 }", "fuel"),
        ("loop", "budget = { wall_time_ms = 200, fuel = 1000000000000000 }", "ms"),
        ("eat-memory", "", "memory"),
        ("panic", "", "hostile"),
        ("answer-twice", "", "hostile"),
        ("answer-unknown", "", "hostile"),
        ("huge-carry", "", "hostile"),
        ("sleep", "budget = { wall_time_ms = 2000 }", ""),
        ("refuse", "", "hostile"),
    ];
    for (behaviour, budget, expected) in cases {
        place.host.write(&format!("{}\n[plugin_ceiling]\nfuel = 1000000000000000\n", hostile(behaviour, budget)));
        let (status, answer) = client.send("POST", "/v2/reload", Some("{}")).await;
        assert_eq!(status, 200, "{behaviour}: {answer}");
        let (_, job) = back_up(&client, CLUSTER).await;
        if behaviour == "sleep" {
            continue; // A sleep costs no time here; it may answer. That the job ended at all is the point.
        }
        assert_eq!(job["status"], "FAILED", "{behaviour}: {job}");
        let reason = job["reason"].as_str().unwrap();
        assert!(reason.contains("hostile") && reason.contains(expected), "{behaviour}: {reason}");
    }
    let listed = client.data("GET", "/v2/backups", None).await;
    assert!(listed["count"].as_u64().unwrap() <= 1, "a failed job left a backup: {listed}");
    server.stop();
}

#[test]
fn what_is_no_plugin_is_explained_before_the_host_starts() {
    let place = Place::new("");
    std::fs::write(place.path().join("text.wasm"), "this is no wasm").unwrap();
    let stranger = plugin("stranger").display().to_string();
    for (file, expected) in
        [("text.wasm", "wasm"), (stranger.as_str(), "longshore:policy"), ("nowhere.wasm", "nowhere")]
    {
        place.host.write(&format!("[[policy.selection]]\nplugin = '{file}'"));
        let log = Server::try_start(&place.host.config).err().expect("it must not start");
        assert!(log.contains(expected) && log.contains("error:") && !log.contains("panicked"), "{file}: {log}");
        let config = place.host.config.to_str().unwrap();
        assert_eq!(longshore_in(place.path(), ["serve", "--check", "--config", config]).code, 1);
    }
}

#[test]
fn the_example_configuration_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let config = longshore_tests::root().join("examples/longshore.toml");
    let ran = longshore_in(folder.path(), ["serve", "--check", "--config", config.to_str().unwrap()]).ok();
    assert!(ran.stdout.contains("placement: residency"), "{ran:?}");
}

#[tokio::test]
async fn keys_say_who_may_do_what() {
    let place = Place::new("");
    let viewer = place.host.new_key("viewer", "backup-view");
    let (server, client) = place.start();
    let (backup, _) = back_up(&client, CLUSTER).await;
    let viewer = Client::new(&server, &viewer);
    viewer.data("GET", "/v2/backups", None).await;
    let (status, answer) = viewer.send("POST", CREATE, Some(CLUSTER)).await;
    assert!(status == 403 && answer["code"] != 0, "{status} {answer}");
    let (status, _) = viewer.send("DELETE", &format!("/v2/clusters/in01-test/backups/{backup}"), None).await;
    assert_eq!(status, 403);
    let (status, _) = viewer.send("POST", "/v2/reload", Some("{}")).await;
    assert_eq!(status, 403);
    let stranger = Client::new(&server, "lsk_000000000000000000000000000000000000000000000000");
    let (status, answer) = stranger.send("GET", "/v2/backups", None).await;
    assert_eq!((status, &answer["code"]), (401, &21119.into()));
    server.stop();
}

#[tokio::test]
async fn a_host_that_is_killed_at_any_moment_leaves_only_whole_backups_and_ended_jobs() {
    let place = Place::new(&residency("{}"));
    let kills = if std::env::var_os("LONGSHORE_LONG").is_some() { 60 } else { 8 };
    // Moments spread over the length of a job; which step each hits differs from machine to machine, and that is fine.
    for kill in 0..kills {
        let (server, client) = place.start();
        let (status, made) = client.send("POST", CREATE, Some(CLUSTER)).await;
        assert_eq!(status, 200, "{made}");
        tokio::time::sleep(std::time::Duration::from_millis(kill * 37 % 300)).await;
        server.kill();
        let (server, client) = place.start();
        let job = client.ended(made["data"]["jobId"].as_str().unwrap()).await;
        assert_eq!(job["status"], "SUCCESSFUL", "kill {kill}: {job} {}", server.log());
        server.stop();
    }
    let (server, client) = place.start();
    let listed = client.data("GET", "/v2/backups?pageSize=100", None).await;
    assert_eq!(listed["count"], kills);
    let in_vault = longshore_in(place.path(), ["list", "vault", "--json"]).ok().json();
    assert_eq!(in_vault["backups"].as_array().unwrap().len() as u64, kills);
    for backup in listed["backups"].as_array().unwrap() {
        assert_eq!(place.verified(backup["backupId"].as_str().unwrap())["whole"], true);
    }
    server.stop();
}

#[tokio::test]
async fn a_host_without_its_vault_is_not_ready_and_backs_up_where_it_can() {
    let place = Place::new("");
    let (server, client) = place.start();
    assert_eq!(client.send("GET", "/readyz", None).await.0, 200);
    std::fs::rename(place.path().join("vault-us"), place.path().join("gone")).unwrap();
    let (status, answer) = client.send("GET", "/readyz", None).await;
    assert_eq!(status, 503, "{answer}");
    assert!(server.log().contains("local-us"), "the log says which: {}", server.log());
    let (_, job) = back_up(&client, CLUSTER).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert!(!place.path().join("vault-us").exists(), "something was written where the vault is missing");
    server.stop();
}

#[tokio::test]
async fn two_hosts_cannot_share_a_data_directory() {
    let place = Place::new("");
    let (server, _) = place.start();
    let log = Server::try_start(&place.host.config).err().expect("it must not start");
    assert!(log.contains("another longshore"), "{log}");
    server.stop();
}
