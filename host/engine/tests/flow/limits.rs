//! Limits that change while a job runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{
    BackupRequest, ClusterTarget, CopyRequest, CreateBackup, EngineError, EraseRequest, HealRequest, Host, HostConfig,
    HostOptions, Limits, Principal, RegionVaults, RestoreScope, Role, RunContext, VerifyLevel, VerifyRequest,
    copy_backup, export_backup, heal, plan_backup, plan_erase, plan_restore, run_backup, run_erase, run_prune,
    run_restore, verify_backup,
};
use longshore_model::{BackupType, JobStatus, RestoredLoadState};
use longshore_source::MilvusLiteTarget;
use longshore_vault::{Priority, PruneOptions, ThrottleLimits, Vault, VaultOptions};
use object_store::memory::InMemory;

use crate::support::{Counting, Place, root, sample};

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

/// At a byte per second nothing of this ends; without a limit it does.
async fn waits_until_the_limit_goes<T: Send + 'static>(
    what: &str,
    context: &RunContext,
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> T {
    let slow = ThrottleLimits { bandwidth_bytes_per_second: Some(1), ..ThrottleLimits::default() };
    context.throttle.set(slow);
    let mut work = tokio::spawn(work);
    let ended = tokio::time::timeout(Duration::from_millis(300), &mut work).await;
    assert!(ended.is_err(), "{what} does not keep to the bandwidth");
    context.throttle.set(ThrottleLimits::default());
    work.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prunes_erases_and_exports_keeps_to_a_bandwidth_that_can_change_while_it_runs() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let context = RunContext::new(Limits::default());
    let folder = tempfile::tempdir().unwrap();

    let (vaults, again, to) = (place.vaults.clone(), context.clone(), folder.path().join("out"));
    let export = async move { export_backup(&vaults, &id, &[], &to, &again).await };
    assert!(waits_until_the_limit_goes("an export", &context, export).await.files > 10);

    let (vaults, again) = (place.vaults.clone(), context.clone());
    let request = EraseRequest {
        collection: "medium_articles".parse().unwrap(),
        clusters: Default::default(),
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
    };
    let plan = async move { plan_erase(request, &vaults, &again).await };
    let plan = waits_until_the_limit_goes("planning an erasure", &context, plan).await;
    let (vaults, again) = (place.vaults.clone(), context.clone());
    let erase = async move { run_erase(&plan, &vaults, &again).await };
    assert_eq!(waits_until_the_limit_goes("an erasure", &context, erase).await.backups.len(), 1);

    let (vaults, again) = (place.vaults.clone(), context.clone());
    let prune = async move { run_prune(&vaults, &PruneOptions::default(), &again).await };
    assert_eq!(waits_until_the_limit_goes("a prune", &context, prune).await.vaults.len(), 1);
}

/// Does work while somebody else has the only thread, until it waits for one; says with which priority. Then there is a
/// second thread, and it ends although the first one is never given back.
async fn waits_for_a_thread<T: Send + 'static>(
    what: &str,
    context: &RunContext,
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> Priority {
    context.throttle.set(ThrottleLimits { cpu_threads: Some(1), ..ThrottleLimits::default() });
    let _only = context.throttle.cpu().await;
    let work = tokio::spawn(work);
    let waiting = |priority| context.throttle.waiting_for_cpu(priority) > 0;
    while !waiting(Priority::Restore) && !waiting(Priority::Backup) {
        assert!(!work.is_finished(), "{what} takes no thread that is counted");
        tokio::task::yield_now().await;
    }
    let priority = if waiting(Priority::Restore) { Priority::Restore } else { Priority::Backup };
    context.throttle.set(ThrottleLimits { cpu_threads: Some(2), ..ThrottleLimits::default() });
    work.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
    priority
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_threads_before_everything_else_and_an_export_with_everything_else() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let folder = tempfile::tempdir().unwrap();
    let context = RunContext::new(Limits::default());

    let (vaults, again, to, backup) = (place.vaults.clone(), context.clone(), folder.path().join("r.db"), id.clone());
    let restore = async move {
        let plan = plan_restore(&vaults, None, &backup, RestoreScope::WholeCluster(RestoredLoadState::Keep)).await?;
        run_restore(plan, &MilvusLiteTarget::new(&to), &again).await
    };
    assert_eq!(waits_for_a_thread("a restore", &context, restore).await, Priority::Restore);

    let (vaults, again, to, backup) = (place.vaults.clone(), context.clone(), folder.path().join("out"), id.clone());
    let export = async move { export_backup(&vaults, &backup, &[], &to, &again).await };
    assert_eq!(waits_for_a_thread("an export", &context, export).await, Priority::Backup);

    let (vaults, again, backup) = (place.vaults.clone(), context.clone(), id.clone());
    let verify = VerifyRequest::new(VerifyLevel::Decoded);
    let verify = async move { verify_backup(&vaults, &backup, &verify, &again).await };
    assert_eq!(waits_for_a_thread("a verification", &context, verify).await, Priority::Backup);
}

/// Nobody waits for the database that a verification restores: all of it goes behind restores.
#[tokio::test(flavor = "multi_thread")]
async fn the_restore_of_a_verification_waits_for_threads_with_everything_else() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let scratch = tempfile::tempdir().unwrap();
    let context = RunContext::new(Limits::default());
    context.throttle.set(ThrottleLimits { cpu_threads: Some(1), ..ThrottleLimits::default() });
    let request = VerifyRequest { scratch: Some(scratch.path().to_owned()), ..VerifyRequest::new(VerifyLevel::Opened) };
    let (vaults, again) = (place.vaults.clone(), context.clone());
    let work = tokio::spawn(async move { verify_backup(&vaults, &id, &request, &again).await });
    let mut waited = false;
    while !work.is_finished() {
        waited |= context.throttle.waiting_for_cpu(Priority::Backup) > 0;
        assert_eq!(context.throttle.waiting_for_cpu(Priority::Restore), 0);
        tokio::task::yield_now().await;
    }
    assert!(work.await.unwrap().unwrap().restored && waited);
}

/// Two vaults of a project, one backup, and everything that moves bytes between them.
#[tokio::test(flavor = "multi_thread")]
async fn what_backs_up_verifies_copies_and_heals_keeps_to_a_bandwidth_that_can_change_while_it_runs() {
    let directory = root().join("examples/sample-cluster");
    let place = Arc::new(Place::new().await);
    let options = VaultOptions::random(
        place.vault.project_id().clone(),
        "far".parse().unwrap(),
        Some(place.vault.id_key().unwrap().clone()),
    );
    let store = Arc::new(InMemory::new());
    let far = Vault::init(store, options.unwrap()).await.unwrap();
    let both = RegionVaults::of([place.vault.clone(), far.clone()]).unwrap();
    let context = RunContext::new(Limits::default());

    let (inner, again) = (Arc::clone(&place), context.clone());
    let backup = async move {
        let source = Counting::open(&directory);
        let cluster = ClusterTarget::for_directory(&directory, "local".parse()?)?;
        let request = BackupRequest::manual(cluster, Vec::new(), &again)?;
        let plan = plan_backup(request, &source, inner.policy(), &inner.vaults, &again).await?;
        run_backup(plan, &source, &inner.vaults, &again).await
    };
    let id = waits_until_the_limit_goes("a backup", &context, backup).await.backup_id;

    let (vaults, again, backup_id) = (both.clone(), context.clone(), id.clone());
    let (home, to) = ("local".parse().unwrap(), "far".parse().unwrap());
    let (job_id, collections) = ("job-copy".parse().unwrap(), Vec::new());
    let request = CopyRequest { job_id, fencing_token: 1, backup_id, home, to, collections };
    let copy = async move { copy_backup(&request, &vaults, &again).await };
    waits_until_the_limit_goes("a copy", &context, copy).await;

    let (vaults, again, backup) = (both.clone(), context.clone(), id.clone());
    let request = VerifyRequest::new(VerifyLevel::Stored);
    let verify = async move { verify_backup(&vaults, &backup, &request, &again).await };
    assert!(waits_until_the_limit_goes("a verification", &context, verify).await.is_sound());

    let again = context.clone();
    let request = HealRequest { backup: Some(id), level: VerifyLevel::Stored, dry_run: true };
    let runtime = tokio::runtime::Handle::current();
    let healing = async move {
        let heal = move || runtime.block_on(heal(&far, &[], &request, &again));
        tokio::task::spawn_blocking(heal).await.unwrap()
    };
    assert!(waits_until_the_limit_goes("a heal", &context, healing).await.whole);
}
