//! `longshore plan`: what a backup would do, from a directory alone or from a host's configuration.

use std::path::PathBuf;
use std::sync::Arc;

use longshore_engine::{
    BackupRequest, ClusterTarget, HostConfig, Limits, PlanView, PreparedVault, RegionVaults, RunContext, RunPolicy,
    StopSignal, plan_backup, policy_of,
};
use longshore_model::CreationMethod;
use longshore_source::{MilvusLiteSource, Source};

use super::backup;
use super::source::one_of;
use crate::Exit;
use crate::args::Plan;
use crate::output::Output;
use crate::tables;

/// Everything a plan is made from.
struct Inputs {
    source: Arc<dyn Source>,
    cluster: ClusterTarget,
    policy: RunPolicy,
    vaults: RegionVaults,
}

pub(crate) async fn run(
    arguments: Plan,
    cache: Option<PathBuf>,
    output: Output,
    stop: &StopSignal,
) -> anyhow::Result<Exit> {
    let config = arguments.config.as_deref().map(HostConfig::read).transpose()?;
    // As the host would do it: how much is sampled is among its limits.
    let limits = config.as_ref().map_or_else(Limits::default, |config| config.limits);
    let mut context = RunContext::new(Limits { held_descriptors: crate::descriptors::for_points(), ..limits });
    context.stop = stop.clone();
    let inputs = match &config {
        Some(config) => configured(&arguments, config, cache, &context).await?,
        None => alone(&arguments, cache, &context).await?,
    };
    let Inputs { source, cluster, policy, vaults } = inputs;
    let mut request = BackupRequest::manual(cluster, arguments.collections, &context)?;
    if arguments.automatic {
        request.creation_method = CreationMethod::Auto;
    }
    let plan = plan_backup(request, source.as_ref(), &policy, &vaults, &context).await?;
    let view = PlanView::of(&plan);
    output.result(&serde_json::to_value(&view)?, || tables::plan(&view));
    Ok(Exit::Done)
}

/// One directory, one region without prices.
async fn alone(arguments: &Plan, cache: Option<PathBuf>, context: &RunContext) -> anyhow::Result<Inputs> {
    let directory = arguments.directory.as_deref().ok_or_else(|| anyhow::anyhow!("give a directory or --config"))?;
    let source: Arc<dyn Source> = Arc::new(MilvusLiteSource::open(directory)?);
    let (project, random) = ("proj-local".parse()?, context.random.as_ref());
    let vault = match &arguments.to {
        Some(to) => PreparedVault::prepare(to, &project, &arguments.keys.read()?, random).await?.vault().clone(),
        None => RegionVaults::in_memory(&project, random).await?,
    };
    let policy = backup::policy(arguments.policy.as_deref(), cache, &vault).await?;
    let mut cluster = ClusterTarget::for_directory(directory, vault.region_id().clone())?;
    cluster.project_id = vault.project_id().clone();
    Ok(Inputs { source, cluster, policy, vaults: RegionVaults::of([vault])? })
}

async fn configured(
    arguments: &Plan,
    config: &HostConfig,
    cache: Option<PathBuf>,
    context: &RunContext,
) -> anyhow::Result<Inputs> {
    let cluster = one_of(config, arguments.cluster.as_ref())?;
    let keys = config.keys.read()?;
    let vaults =
        RegionVaults::open_to_plan(&config.project.id, &config.regions, &keys, context.random.as_ref()).await?;
    let (asked, id) = (config.clone(), cluster.id.clone());
    let policy = tokio::task::spawn_blocking(move || policy_of(&asked, &id, cache)).await??;
    let source = cluster.source()?;
    Ok(Inputs { source, cluster: ClusterTarget::configured(config, cluster), policy, vaults })
}
