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
    fn new(limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
        let config = folder.path().join("longshore.toml");
        let text = format!(
            r#"
            data_directory = "data"
            server = {{ listen = "127.0.0.1:0", calls_per_second = 1000 }}
            project = {{ id = "proj-test", name = "Test" }}
            region = [
                {{ id = "local-eu", jurisdiction = "eu", vault = "vault-eu" }},
                {{ id = "local-us", jurisdiction = "us", vault = "vault-us" }},
                {{ id = "local-eu-2", jurisdiction = "eu", vault = "vault-eu-2" }},
            ]
            [limits]
            heartbeat_ms = 20
            {limits}
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

    /// A folder of this name, or one that begins with `.` and has it in its name, wherever the host keeps it.
    fn folders_of(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let is_folder = entry.file_type().unwrap().is_dir();
                if is_folder && entry.file_name().to_string_lossy().contains(name) {
                    found.push(entry.path());
                } else if is_folder {
                    folders.push(entry.path());
                }
            }
        }
        found
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
        let (mut random, service) = (SeededRandom::new(seed), Service::new(""));
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

/// A restore goes on where the killed host stopped; until its end there is no target, and then the target is whole.
#[tokio::test]
async fn a_restore_of_a_host_that_is_killed_is_taken_up_again_and_ends_well() {
    for seed in seeds([4], if long() { 1 } else { 0 }) {
        // Slow enough to be killed in the middle.
        let (mut random, service) = (SeededRandom::new(seed), Service::new("bandwidth_bytes_per_second = 8000000"));
        let sample = service.folder.path().join("sample.db");
        let (server, client) = service.start();
        let made =
            client.data("POST", "/v2/clusters/in01-test/backups/create", Some(r#"{"backupType":"CLUSTER"}"#)).await;
        service.all_jobs(&client).await;
        server.stop();
        let path = format!("/v2/clusters/in01-test/backups/{}/restoreCluster", made["backupId"].as_str().unwrap());
        let (mut cut, mut rounds) = (0, 0);
        while cut < if long() { 20 } else { 2 } {
            rounds += 1;
            assert!(rounds < 200, "seed {seed}: {cut} restores were cut in {rounds} rounds");
            let (server, client) = service.start();
            let name = format!("Restored-{rounds}");
            let body =
                format!(r#"{{"projectId":"proj-test","clusterName":"{name}","cuSize":1,"collectionStatus":"KEEP"}}"#);
            let restoring = client.data("POST", &path, Some(&body)).await;
            let (job, id) = (restoring["jobId"].as_str().unwrap(), restoring["clusterId"].as_str().unwrap());
            for _ in 0..=random.below(2) {
                tokio::time::sleep(Duration::from_millis(random.below(900))).await;
            }
            server.kill();
            let found = service.folders_of(id);
            let target = found.iter().find(|folder| folder.file_name().is_some_and(|name| name == id));
            match target {
                Some(target) => {
                    assert!(crate::same_files(target, &sample) > 20, "seed {seed}: what is visible is whole")
                }
                None => cut += 1,
            }
            let (server, client) = service.start();
            let ended = client.ended(job).await;
            assert_eq!(ended["status"], "SUCCESSFUL", "seed {seed}, round {rounds}: {ended} {}", server.log());
            let described = client.data("GET", &format!("/v2/clusters/{id}"), None).await;
            assert_eq!(described["clusterName"], name.as_str());
            server.stop();
            let found = service.folders_of(id);
            assert_eq!(found.len(), 1, "seed {seed}: nothing is left beside the target: {found:?}");
            assert!(crate::same_files(&found[0], &sample) > 20, "seed {seed}: {found:?}");
        }
        eprintln!("seed {seed}: {cut} restores cut in {rounds} rounds");
    }
}
