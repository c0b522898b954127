//! `longshore backup`: the engine on one cluster and one vault, without a host.

use std::path::{Path, PathBuf};

use anyhow::Context;
use longshore_engine::{
    BackupRequest, Limits, PlanView, PolicyConfig, PreparedVault, RegionVaults, RunContext, RunPolicy, StopSignal,
    build_chains, plan_backup, run_backup,
};
use longshore_model::CreationMethod;
use longshore_sandbox::{Sandbox, SandboxConfig};
use longshore_source::SourceKind;
use longshore_vault::Vault;
use serde_json::json;

use crate::Exit;
use crate::args::Backup;
use crate::bars::with_bars;
use crate::commands::source::OpenedCluster;
use crate::output::Output;
use crate::tables;

pub(crate) async fn run(
    arguments: Backup,
    cache: Option<PathBuf>,
    output: Output,
    stop: &StopSignal,
) -> anyhow::Result<Exit> {
    let opened = OpenedCluster::open(&arguments.of)?;
    let source = opened.source.as_ref();
    // One that is not there is for the source to complain about.
    if let Some(folder) = opened.folder.as_ref().filter(|folder| folder.exists()) {
        refuse_overlap(folder, &arguments.to)?;
    }
    let mut context = RunContext::new(Limits {
        check_free_space: !arguments.no_space_check,
        checkpoint_ms: (arguments.checkpoint_seconds * 1_000.0) as u64,
        ..arguments.throttle.limits()
    });
    context.stop = stop.clone();
    let project = "proj-local".parse()?;
    let prepared =
        PreparedVault::prepare(&arguments.to, &project, &arguments.keys.read()?, context.random.as_ref()).await?;
    let vault = prepared.vault();
    let policy = policy(arguments.policy.as_deref(), cache, vault).await?;
    let mut cluster = opened.target(vault.region_id().clone())?;
    cluster.project_id = vault.project_id().clone();
    let vaults = RegionVaults::of([vault.clone()])?;
    let mut request = BackupRequest::manual(cluster, arguments.collections, &context)?;
    if arguments.automatic {
        request.creation_method = CreationMethod::Auto;
    }
    let planning = plan_backup(request, source, &policy, &vaults, &context);
    if arguments.dry_run {
        let plan = planning.await?;
        let view = PlanView::of(&plan);
        let value = json!({ "dryRun": true, "plan": view });
        output.result(&value, || tables::plan(&view));
        return Ok(Exit::Done);
    }
    // A server is flushed while it is planned, which can take longer than the rest.
    let backing_up = async {
        let plan = planning.await?;
        let vaults = RegionVaults::of([prepared.make().await?])?;
        anyhow::Ok(run_backup(plan, source, &vaults, &context).await?)
    };
    let outcome = with_bars(&context, output, backing_up).await?;
    output.result(&serde_json::to_value(&outcome)?, || tables::backup(&outcome));
    let vault = arguments.to.display();
    // What a server is restored into is another server.
    let place = if source.kind() == SourceKind::Milvus { "--config longshore.toml" } else { "--to restored.db" };
    output.hint(&format!("\nNext: longshore verify {vault}\n      longshore restore {vault} {place}"));
    Ok(Exit::Done)
}

/// A vault inside the database would be backed up into itself; a database inside the vault would be another program's
/// data in it.
fn refuse_overlap(directory: &Path, vault: &Path) -> anyhow::Result<()> {
    let directory = directory.canonicalize().with_context(|| format!("cannot resolve {}", directory.display()))?;
    // The vault may not be there yet; its parent then says where it will be.
    let resolved = vault.canonicalize().or_else(|_| {
        let parent = vault.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.canonicalize().map(|parent| parent.join(vault.file_name().unwrap_or_default()))
    });
    let Ok(resolved) = resolved else { return Ok(()) };
    anyhow::ensure!(
        !resolved.starts_with(&directory) && !directory.starts_with(&resolved),
        "the vault {} and the database {} lie inside one another; give the vault a folder of its own",
        resolved.display(),
        directory.display()
    );
    Ok(())
}

pub(crate) async fn policy(
    file: Option<&Path>,
    code_cache: Option<PathBuf>,
    vault: &Vault,
) -> anyhow::Result<RunPolicy> {
    let (file, vault) = (file.map(Path::to_owned), vault.clone());
    let built = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
        let Some(file) = file else { return Ok(RunPolicy::standard_in(&sandbox, &vault)?) };
        Ok(RunPolicy::of(build_chains(&sandbox, &PolicyConfig::read(&file)?, &Limits::default())?, &vault))
    });
    built.await?
}
