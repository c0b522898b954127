//! Limits that change while a job runs.

use std::path::Path;
use std::time::Duration;

use longshore_engine::{CreateBackup, Host, HostConfig, HostOptions, Principal, Role};
use longshore_model::{BackupType, JobStatus};

use crate::support::sample;

fn write_config(folder: &Path, limits: &str) {
    let text = format!(
        "data_directory = \"data\"\n[project]\nid = \"proj-a\"\nname = \"A\"\n[[region]]\nid = \"local-eu\"\n\
         vault = \"vault\"\n[[cluster]]\nid = \"in01-aa\"\nname = \"A\"\nregion = \"local-eu\"\n\
         milvus_lite = \"sample.db\"\n[limits]\n{limits}\n"
    );
    std::fs::write(folder.join("longshore.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_frees_a_backup_that_crawls() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    // The sample has megabytes, so this backup would take minutes.
    write_config(folder.path(), "bandwidth_bytes_per_second = 65536\ncpu_threads = 1");
    let path = folder.path().join("longshore.toml");
    let options = HostOptions { config_path: Some(path.clone()), ..HostOptions::default() };
    let host = Host::start(HostConfig::read(&path).unwrap(), options).await.unwrap();
    let who = Principal::host("test", Role::OrganizationOwner);
    let request = CreateBackup { backup_type: BackupType::Cluster, collections: Vec::new(), copies: Vec::new() };
    let job = host.create_backup(&who, &"in01-aa".parse().unwrap(), request).await.unwrap().job_id;
    while host.describe_job(&who, &job).await.unwrap().progress.bytes().0 == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    write_config(folder.path(), "");
    let report = host.reload(&who).await.unwrap();
    assert!(report.needs_restart.is_empty(), "{:?}", report.needs_restart);
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let job = host.describe_job(&who, &job).await.unwrap();
            if job.status.is_terminal() {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let ended = ended.await.expect("the limit still holds");
    assert_eq!(ended.status, JobStatus::Successful, "{}", ended.reason);
    write_config(folder.path(), "parallel_jobs = 7");
    assert_eq!(host.reload(&who).await.unwrap().needs_restart, ["[limits]"]);
    host.shutdown().await;
}
