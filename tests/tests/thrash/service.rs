//! A host whose process is killed while it works on jobs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_tests::{Client, Server, copy_tree, longshore_in, plugin, sample_cluster};
use longshore_vault::testing::{SeededRandom, long, seeds};

/// A host with two regions whose policy wants copies in the second.
struct Service {
    folder: tempfile::TempDir,
    config: PathBuf,
    key: String,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
        let config = folder.path().join("longshore.toml");
        let text = format!(
            r#"
            data_directory = "data"
            server = {{ listen = "127.0.0.1:0" }}
            project = {{ id = "proj-test", name = "Test" }}
            region = [
                {{ id = "local-eu", jurisdiction = "eu", vault = "vault-eu" }},
                {{ id = "local-us", jurisdiction = "us", vault = "vault-us" }},
                {{ id = "local-eu-2", jurisdiction = "eu", vault = "vault-eu-2" }},
            ]
            [limits]
            heartbeat_ms = 20
            [[cluster]]
            id = "in01-test"
            name = "Dedicated-01"
            region = "local-eu"
            milvus_lite = "sample.db"
            [[policy.placement]]
            plugin = '{}'
            required = true
            settings = {{ second_region = true }}
            [[policy.placement]]
            plugin = "standard"
            "#,
            plugin("residency").display()
        );
        std::fs::write(&config, text).unwrap();
        let arguments = ["key", "create", "tests", "--role", "organization-owner", "--config"];
        let arguments = arguments.into_iter().chain([config.to_str().unwrap(), "--quiet"]);
        let key = longshore_in(folder.path(), arguments).ok().stdout.trim().to_owned();
        Self { folder, config, key }
    }

    fn start(&self) -> (Server, Client) {
        let server = Server::start(&self.config);
        let client = Client::new(&server, &self.key);
        (server, client)
    }

    /// Waits for every job there is, and says how each ended.
    async fn all_jobs(&self, client: &Client) -> Vec<serde_json::Value> {
        let jobs = client.data("GET", "/v2/jobs?pageSize=100", None).await;
        let mut ended = Vec::new();
        for job in jobs["jobs"].as_array().unwrap() {
            ended.push(client.ended(job["jobId"].as_str().unwrap()).await);
        }
        ended
    }

    fn verify(&self, backup: &str) {
        let vaults = ["verify", "vault-eu", backup, "--vault", "vault-us", "--vault", "vault-eu-2"];
        let arguments = vaults.into_iter().chain(["--level", "decoded", "--json"]);
        let verified = longshore_in(self.folder.path(), arguments).ok();
        assert_eq!(verified.json()["whole"], true, "{verified:?}");
    }
}

/// Backups, copies, restores and deletions as jobs of a host that is killed again and again.
#[tokio::test]
async fn a_host_that_is_killed_again_and_again_ends_every_job_well() {
    for seed in seeds([2], if long() { 1 } else { 0 }) {
        let (mut random, service) = (SeededRandom::new(seed), Service::new());
        let (wanted, began) = (if long() { 30 } else { 2 }, Instant::now());
        let (mut kills, mut deleted, mut kept) = (0, Vec::new(), Vec::new());
        while kills < wanted || (!long() && began.elapsed() < Duration::from_secs(5)) {
            let (server, client) = service.start();
            let body = Some("{\"backupType\": \"CLUSTER\"}");
            let (status, made) = client.send("POST", "/v2/clusters/in01-test/backups/create", body).await;
            assert_eq!(status, 200, "seed {seed}: {made}");
            let backup = made["data"]["backupId"].as_str().unwrap().to_owned();
            if random.chance(40) && kept.len() > 1 {
                let victim: String = kept.remove(0);
                client.send("DELETE", &format!("/v2/clusters/in01-test/backups/{victim}"), None).await;
                deleted.push(victim);
            }
            tokio::time::sleep(Duration::from_millis(random.below(700))).await;
            server.kill();
            kills += 1;
            let (server, client) = service.start();
            for job in service.all_jobs(&client).await {
                assert_eq!(job["status"], "SUCCESSFUL", "seed {seed}, kill {kills}: {job} {}", server.log());
            }
            // The copies are jobs that the backup's end makes.
            for job in service.all_jobs(&client).await {
                assert_eq!(job["status"], "SUCCESSFUL", "seed {seed}, kill {kills}: {job} {}", server.log());
            }
            server.stop();
            service.verify(&backup);
            kept.push(backup);
        }
        for backup in &kept {
            service.verify(backup);
        }
        for vault in ["vault-eu", "vault-us", "vault-eu-2"] {
            let listed = longshore_in(service.folder.path(), ["list", vault, "--json"]).ok();
            assert!(!deleted.iter().any(|id| listed.stdout.contains(id.as_str())), "a deleted backup is in {vault}");
        }
        eprintln!("seed {seed}: {kills} kills, {} backups kept, {} deleted", kept.len(), deleted.len());
        assert!(kills > 0);
    }
}
